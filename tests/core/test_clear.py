"""After a person's clear: which child counts, which is waited out, and that no second one runs beside an active one."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from airflow_durable.core.errors import (
    ChildRunFailedError,
    ChildRunForeignError,
    FixedRunFailedError,
    ForeignRunSkipError,
    LookUpFailedError,
    RunUsedUpError,
    SubmissionUnknownError,
)
from airflow_durable.core.model import Decision, Mode, OnClear
from airflow_durable.core.run_ids import child_run_id
from airflow_durable.core.stored import key_of

from .fakes import (
    FIXED_DATE,
    PARENT,
    Crash,
    FakePort,
    Fault,
    Run,
    Server,
    ask,
    ask_fixed_date,
    ask_fixed_id,
    ask_generated,
    ask_unprovable,
    attempt,
    cleared,
    crash_while_waiting,
    run_calls,
    run_try,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_durable.core.model import Request
    from airflow_durable.core.record import Record

WAITS = [Mode.WAIT, Mode.DEFER]
AWAY = Fault(LookUpFailedError("child", "x", "away", is_transient=True))
ASKS = {"generated": ask_generated, "id": ask_fixed_id, "date": ask_fixed_date, "id and run_after": ask_unprovable}
UNKNOWN = SubmissionUnknownError("child", "x", "no answer")
FIXED = {"id": ask_fixed_id, "date": ask_fixed_date, "id and run_after": ask_unprovable}


def watch(server: Server) -> list[int]:
    """Let the children succeed in the wait; return how many were active at once, to be filled."""
    active: list[int] = []

    def end(server: Server) -> None:
        active.append(sum(run.state == "queued" for run in server.runs.values()))
        server.end_all("success")

    server.on_sleep = end
    return active


# The child is active.


@pytest.mark.parametrize("mode", WAITS)
@pytest.mark.parametrize("ask_it", ASKS.values(), ids=ASKS)
def test_an_active_child_with_the_present_request_is_adopted(ask_it: Callable[[Mode], Request], mode: Mode) -> None:
    server = Server()
    crash_while_waiting(server, ask_it(mode))
    run_try(FakePort(server, cleared(2)), ask_it(mode))
    assert server.states() == ["success"]
    assert server.told[0][0] is Decision.RECONNECT


@pytest.mark.parametrize("mode", WAITS)
def test_an_active_child_with_another_request_is_waited_out(mode: Mode) -> None:
    server = Server()
    crash_while_waiting(server, ask(mode=mode), conf="old")
    active = watch(server)
    run_try(FakePort(server, cleared(2), conf="new"), ask(mode=mode))
    assert server.confs() == ["old", "new"]
    assert max(active) == 1


def test_a_child_that_is_deleted_while_it_is_waited_out_is_followed_by_a_fresh_one() -> None:
    server = Server()
    crash_while_waiting(server, ask(), conf="old")
    old = server.only_run()

    def delete_or_end(server: Server) -> None:
        if old.run_id in {run_id for _, run_id in server.runs} and server.only_run() is old:
            server.runs.clear()
        server.end_all("success")

    server.on_sleep = delete_or_end
    run_try(FakePort(server, cleared(2), conf="new"), ask())
    assert server.only_run().conf == "new"


def test_a_child_of_another_dag_is_waited_out() -> None:
    server = Server()
    crash_while_waiting(server, ask(dag_id="old"))
    active = watch(server)
    run_try(FakePort(server, cleared(2)), ask())
    assert [dag_id for dag_id, _ in server.runs] == ["old", "child"]
    assert max(active) == 1


def test_a_crash_while_a_child_is_waited_out_changes_nothing() -> None:
    server = Server()
    crash_while_waiting(server, ask(), conf="old")
    crash_while_waiting(server, ask(), at=cleared(2), conf="new")
    active = watch(server)
    run_try(FakePort(server, attempt(3, max_tries=4, clear_number=1), conf="new"), ask())
    assert server.confs() == ["old", "new"]
    assert max(active) == 1


def test_fire_and_forget_starts_beside_an_active_child_of_another_request() -> None:
    server = Server()
    crash_while_waiting(server, ask(), conf="old")
    run_try(FakePort(server, cleared(2), conf="new"), ask(mode=Mode.FIRE_AND_FORGET))
    assert server.confs("queued") == ["old", "new"]
    assert server.told == [(Decision.FRESH_SUBMIT, child_run_id(PARENT, epoch=0, call=1, generation=0), "queued")]


def test_on_clear_adopt_adopts_whatever_changed() -> None:
    server = Server()
    crash_while_waiting(server, ask(), conf="old")
    run_try(FakePort(server, cleared(2), conf="new"), ask(on_clear=OnClear.ADOPT))
    assert server.confs() == ["old"]


def test_on_clear_fresh_starts_beside_an_active_child() -> None:
    server = Server()
    crash_while_waiting(server, ask())
    run_try(FakePort(server, cleared(2)), ask(on_clear=OnClear.FRESH))
    assert server.states() == ["success", "success"]


def test_on_clear_fresh_waits_a_fixed_identity_out() -> None:
    server = Server()
    crash_while_waiting(server, ask_fixed_id())
    with pytest.raises(RunUsedUpError):
        run_try(FakePort(server, cleared(2)), replace(ask_fixed_id(), on_clear=OnClear.FRESH))
    assert server.states() == ["success"]


def test_on_clear_fresh_resets_a_fixed_identity() -> None:
    server = Server()
    crash_while_waiting(server, ask_fixed_id())
    run_try(FakePort(server, cleared(2)), replace(ask_fixed_id(), on_clear=OnClear.FRESH, is_reset=True))
    assert server.only_run().clear_number == 1


# The child has ended, and success was not marked.


@pytest.mark.parametrize("ask_it", ASKS.values(), ids=ASKS)
def test_a_success_with_the_present_request_is_taken(ask_it: Callable[[], Request]) -> None:
    server = Server()
    crash_while_waiting(server, ask_it())
    server.end_all("success")
    run_try(FakePort(server, cleared(2)), ask_it())
    assert server.states() == ["success"]
    assert server.calls == ["read", "look_up", "upstream", "write"]


def test_a_success_is_not_taken_if_something_upstream_ran_again() -> None:
    server = Server()
    crash_while_waiting(server, ask())
    server.end_all("success")
    server.upstream_ran_at = server.now()
    run_try(FakePort(server, cleared(2)), ask())
    assert server.states() == ["success", "success"]


def test_a_success_is_not_taken_if_nobody_knows_what_ran_upstream() -> None:
    server = Server()
    crash_while_waiting(server, ask())
    server.end_all("success")
    server.upstream_ran_at = None
    run_try(FakePort(server, cleared(2)), ask())
    assert server.states() == ["success", "success"]


def test_a_success_of_another_request_is_not_taken() -> None:
    server = Server()
    crash_while_waiting(server, ask(), conf="old")
    server.end_all("success")
    run_try(FakePort(server, cleared(2), conf="new"), ask())
    assert server.confs() == ["old", "new"]


def test_on_clear_adopt_takes_any_success() -> None:
    server = Server()
    crash_while_waiting(server, ask(), conf="old")
    server.end_all("success")
    server.upstream_ran_at = server.now()
    run_try(FakePort(server, cleared(2), conf="new"), ask(on_clear=OnClear.ADOPT))
    assert server.confs() == ["old"]


@pytest.mark.parametrize("ask_it", FIXED.values(), ids=FIXED)
def test_under_a_fixed_identity_there_is_no_second_run(ask_it: Callable[[], Request]) -> None:
    server = Server()
    crash_while_waiting(server, ask_it(), conf="old")
    server.end_all("success")
    used_up = "Dag 'child' already has the run .* This task started it before it was cleared; it is success"
    with pytest.raises(RunUsedUpError, match=used_up) as caught:
        run_try(FakePort(server, cleared(2), conf="new"), ask_it())
    assert repr(ask_it().run_id) in str(caught.value)
    with pytest.raises(ForeignRunSkipError):
        run_try(FakePort(server, cleared(2), conf="new"), replace(ask_it(), is_skip=True))
    assert server.only_run().clear_number == 0
    run_try(FakePort(server, cleared(2), conf="new"), replace(ask_it(), is_reset=True))
    assert server.only_run().clear_number == 1


@pytest.mark.parametrize("again", [attempt(2), cleared(2)], ids=["retry", "clear"])
@pytest.mark.parametrize("ask_it", FIXED.values(), ids=FIXED)
def test_a_failed_run_under_a_fixed_identity_is_reset_or_refused(ask_it: Callable[[], Request], again: object) -> None:
    server = Server()
    crash_while_waiting(server, ask_it())
    server.end_all("failed")
    with pytest.raises(FixedRunFailedError, match="is failed"):
        run_try(FakePort(server, again), ask_it())  # type: ignore[arg-type]
    assert server.only_run().clear_number == 0
    run_try(FakePort(server, again), replace(ask_it(), is_reset=True))  # type: ignore[arg-type]
    assert server.only_run().clear_number == 1
    assert server.states() == ["success"]


@pytest.mark.parametrize("again", [attempt(2), cleared(2)], ids=["retry", "clear"])
def test_a_failed_child_is_followed_by_a_fresh_one(again: object) -> None:
    server = Server()
    server.on_sleep = lambda server: server.end_all("failed")
    with pytest.raises(ChildRunFailedError):
        run_try(FakePort(server, attempt(1)), ask())
    server.on_sleep = lambda server: server.end_all("success")
    run_try(FakePort(server, again), ask())  # type: ignore[arg-type]
    assert server.states() == ["failed", "success"]
    assert list(server.runs)[1] == ("child", child_run_id(PARENT, epoch=0, call=1, generation=1))


# Success was marked: the work is asked for anew.


@pytest.mark.parametrize("mode", Mode)
def test_a_clear_after_success_starts_a_fresh_child_in_a_new_epoch(mode: Mode) -> None:
    server = Server()
    run_try(FakePort(server, attempt(1)), ask(mode=mode))
    server.end_all("success")
    run_try(FakePort(server, cleared(2)), ask(mode=mode))
    assert list(server.runs)[1] == ("child", child_run_id(PARENT, epoch=1, call=1, generation=0))
    server.end_all("success")
    run_try(FakePort(server, attempt(5, max_tries=7, clear_number=2)), ask(mode=mode))
    assert list(server.runs)[2] == ("child", child_run_id(PARENT, epoch=4, call=1, generation=0))


def test_a_retry_after_success_was_marked_succeeds_again() -> None:
    server = Server()
    run_try(FakePort(server, attempt(1)), ask())
    server.calls.clear()
    run_try(FakePort(server, attempt(2), conf="changed"), ask())
    assert server.states() == ["success"]
    assert server.calls == ["read", "read"]  # the second: that the task made one call only


def test_on_clear_adopt_starts_anew_after_success() -> None:
    server = Server()
    run_try(FakePort(server, attempt(1)), ask())
    run_try(FakePort(server, cleared(2)), ask(on_clear=OnClear.ADOPT))
    assert server.states() == ["success", "success"]


def test_a_child_that_a_person_cleared_too_is_adopted() -> None:
    server = Server()
    run_try(FakePort(server, attempt(1)), ask())
    server.only_run().state = "running"
    server.on_sleep = lambda server: setattr(server.only_run(), "state", "success")
    run_try(FakePort(server, cleared(2)), ask())
    assert server.states() == ["success"]


# Where the look-up says nothing, or the run has gone.


@pytest.mark.parametrize("again", [attempt(2), cleared(2)], ids=["retry", "clear"])
@pytest.mark.parametrize("ask_it", ASKS.values(), ids=ASKS)
def test_a_missing_run_is_submitted_again_under_the_same_run_id(ask_it: Callable[[], Request], again: object) -> None:
    server = Server()
    crash_while_waiting(server, ask_it())
    before = list(server.runs)
    server.runs.clear()
    run_try(FakePort(server, again), ask_it())  # type: ignore[arg-type]
    assert list(server.runs) == before
    assert server.told[0][0] is Decision.RESUBMIT


@pytest.mark.parametrize("again", [attempt(2), cleared(2)], ids=["retry", "clear"])
@pytest.mark.parametrize("ask_it", ASKS.values(), ids=ASKS)
def test_an_unreadable_run_is_submitted_again_and_met(ask_it: Callable[[], Request], again: object) -> None:
    server = Server()
    crash_while_waiting(server, ask_it())
    run_try(FakePort(server, again, faults={"look_up": [AWAY]}), ask_it())  # type: ignore[arg-type]
    assert server.states() == ["success"]
    assert server.told[0][0] is Decision.RESUBMIT


@pytest.mark.parametrize("ask_it", [ask_fixed_id, ask_fixed_date])
def test_a_used_run_that_could_not_be_read_is_still_its_own(ask_it: Callable[[], Request]) -> None:
    """Its date was forgotten, so that after an edit of the conf it counted as somebody else's."""
    server = Server()
    run_try(FakePort(server, attempt(1), conf="old"), ask_it())
    with pytest.raises(RunUsedUpError):
        run_try(FakePort(server, cleared(2), conf="new", faults={"look_up": [AWAY]}), ask_it())
    assert len(server.runs) == 1


def test_an_unreadable_run_with_another_request_is_not_taken_after_a_clear() -> None:
    server = Server()
    crash_while_waiting(server, ask(), conf="old")
    server.end_all("success")
    run_try(FakePort(server, cleared(2), conf="new", faults={"look_up": [AWAY]}), ask())
    assert server.confs() == ["old", "new"]


def test_an_unreadable_run_is_looked_up_again_where_the_task_asks_for_another_one() -> None:
    server = Server()
    crash_while_waiting(server, ask_fixed_id())
    port = FakePort(server, attempt(2), faults={"look_up": [AWAY] * 4})
    with pytest.raises(LookUpFailedError):
        run_try(port, ask(run_id="another"))
    assert len(server.runs) == 1


def test_an_unreadable_run_is_looked_up_again_while_its_reset_is_pending() -> None:
    server = Server()
    request = replace(ask_fixed_id(), is_reset=True)
    server.create("child", Run("fixed", FIXED_DATE, "success"))
    crash_while_waiting(server, request)
    port = FakePort(server, attempt(2), faults={"look_up": [AWAY] * 4})
    with pytest.raises(LookUpFailedError):
        run_try(port, request)
    assert server.only_run().clear_number == 1


def test_a_missing_run_of_another_identity_is_not_submitted_again() -> None:
    server = Server()
    crash_while_waiting(server, ask_fixed_id())
    server.runs.clear()
    run_try(FakePort(server, attempt(2)), ask(run_id="another"))
    assert list(server.runs) == [("child", "another")]


def test_a_missing_run_whose_work_is_asked_for_anew_is_not_submitted_again() -> None:
    server = Server()
    run_try(FakePort(server, attempt(1)), ask())
    server.runs.clear()
    run_try(FakePort(server, cleared(2)), ask())
    assert list(server.runs) == [("child", child_run_id(PARENT, epoch=1, call=1, generation=0))]


def test_a_run_that_was_deleted_after_its_reset_is_not_reset_again() -> None:
    server = Server()
    request = replace(ask_fixed_date(), is_reset=True)
    server.create("child", Run(request.run_id or "", FIXED_DATE, "success"))
    crash_while_waiting(server, request)
    server.runs.clear()
    crash_while_waiting(server, request, at=attempt(2))
    run_try(FakePort(server, attempt(3)), request)
    assert server.only_run().clear_number == 0


def ask_fixed_id_and_date() -> Request:
    return replace(ask_fixed_date(), run_id="fixed")


@pytest.mark.parametrize("edited", [ask_fixed_id, ask_unprovable, ask_fixed_id_and_date])
@pytest.mark.parametrize("asked", [ask_fixed_id, ask_unprovable, ask_fixed_id_and_date])
def test_a_fixed_run_stays_this_tasks_own_whatever_dates_are_given(
    asked: Callable[[], Request], edited: Callable[[], Request]
) -> None:
    """By what the run is known differs then; which run it is does not."""
    server = Server()
    crash_while_waiting(server, asked())
    server.end_all("failed")
    with pytest.raises(FixedRunFailedError):
        run_try(FakePort(server, attempt(2)), replace(edited(), is_skip=True))
    server.runs.clear()
    run_try(FakePort(server, attempt(3)), edited())
    assert server.states() == ["success"]
    assert server.record().proof is edited().proof


def test_what_proves_a_run_is_not_changed_where_the_run_cannot_be_read() -> None:
    server = Server()
    crash_while_waiting(server, ask_unprovable())
    with pytest.raises(LookUpFailedError):
        run_try(FakePort(server, attempt(2), faults={"look_up": [AWAY] * 4}), ask_fixed_id())
    assert len(server.records()) == 2


# What was marked before counts for nothing once a run is asked for again.


@pytest.mark.parametrize("mode", WAITS)
def test_a_retry_waits_for_the_run_that_was_reset_after_success(mode: Mode) -> None:
    server, request = Server(), replace(ask_fixed_id(mode), is_reset=True)
    run_try(FakePort(server, attempt(1)), request)
    marked = server.record().outcome
    crash_while_waiting(server, request, at=cleared(2))
    assert server.states() == ["queued"]
    assert server.record().outcome is None
    run_try(FakePort(server, attempt(3, max_tries=4, clear_number=1)), request)
    assert server.states() == ["success"]
    assert server.only_run().clear_number == 1
    assert server.record().outcome != marked


def test_a_run_of_another_parent_is_foreign_although_ours_was_there_before() -> None:
    server = Server()
    crash_while_waiting(server, ask_unprovable())
    server.runs.clear()
    port = FakePort(server, attempt(2))
    real = port.submit

    def come_second(record: Record) -> bool:
        server.create("child", Run("fixed", conf="theirs"))
        return real(record)

    port.submit = come_second  # type: ignore[method-assign]
    with pytest.raises(ChildRunForeignError):
        run_try(port, ask_unprovable())


def test_what_is_written_ahead_after_a_clear_does_not_hide_the_clear() -> None:
    """The request of a superseded try arrives once this one has written, and died."""
    server = Server()
    with pytest.raises(SubmissionUnknownError):
        run_try(FakePort(server, attempt(1), conf="old", faults={"submit": [Fault(UNKNOWN)] * 4}), ask())
    late = server.record()
    with pytest.raises(Crash):
        run_try(FakePort(server, cleared(2), conf="new", faults={"submit": [Fault(Crash())]}), ask())
    server.create("child", Run(late.run_id, late.logical_date, conf="old"))
    run_try(FakePort(server, attempt(3, max_tries=4, clear_number=1), conf="new"), ask())
    assert server.confs() == ["old", "new"]


def test_a_clear_is_settled_once_the_run_is_created() -> None:
    server = Server()
    crash_while_waiting(server, ask())
    server.runs.clear()
    crash_while_waiting(server, ask(), at=cleared(2))
    server.end_all("success")
    server.upstream_ran_at = None
    run_try(FakePort(server, attempt(3, max_tries=4, clear_number=1), conf="edited"), ask())
    assert server.confs() == ["conf"]


def test_a_fixed_run_of_before_a_clear_that_arrives_late_is_not_taken() -> None:
    server = Server()
    run_try(FakePort(server, attempt(1)), ask_fixed_id())
    before = server.only_run()
    server.runs.clear()
    port = FakePort(server, cleared(2))
    real = port.submit

    def come_second(record: Record) -> bool:
        server.create("child", before)
        return real(record)

    port.submit = come_second  # type: ignore[method-assign]
    with pytest.raises(RunUsedUpError):
        run_try(port, ask_fixed_id())


def test_a_lost_reply_after_a_clear_is_no_conflict() -> None:
    server = Server()
    request = ask(mode=Mode.FIRE_AND_FORGET)
    run_try(FakePort(server, attempt(1)), request)
    run_try(FakePort(server, cleared(2), faults={"submit": [Fault(UNKNOWN, is_after=True)]}), request)
    assert len(server.runs) == 2


def test_on_clear_fresh_waits_for_the_answer_of_a_look_up() -> None:
    """Else the log could not say beside which run the fresh one is started; it ends in the pause."""
    server = Server()
    crash_while_waiting(server, ask())
    run_try(FakePort(server, cleared(2), faults={"look_up": [AWAY]}), ask(on_clear=OnClear.FRESH))
    assert server.told == [(Decision.FRESH_SUBMIT, child_run_id(PARENT, epoch=0, call=1, generation=0), "success")]


# A clear deletes the record (Airflow 3.4), and the process of the cleared try still writes until it is stopped.


class ForgottenPort(FakePort):
    """The record is deleted just before one of the calls, and what is written after that is kept."""

    forgotten_at = 0

    def _call(self, name: str) -> Callable[[], None]:
        if len(self.calls) == self.forgotten_at:
            self.server.lose_record()
        return super()._call(name)


@pytest.mark.parametrize("tries", [1, 3])
@pytest.mark.parametrize("state", ["success", "failed"])
@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("is_reset", [False, True])
@pytest.mark.parametrize("ask_it", ASKS.values(), ids=ASKS)
def test_what_has_outlived_the_record_costs_no_try(
    ask_it: Callable[[Mode], Request],
    is_reset: bool,  # noqa: FBT001 - of a parameter
    mode: Mode,
    state: str,
    tries: int,
) -> None:
    # The next try read that there was no first entry, wrote it, found the next one, and failed as the read was wrong.
    request = replace(ask_it(mode), is_reset=is_reset)
    for forgotten_at in range(12):
        server = Server()
        for number in range(1, tries):
            crash_while_waiting(server, ask_it(Mode.WAIT), at=attempt(number, max_tries=tries, retries=tries))
        server.on_sleep = lambda server: server.end_all(state)
        cleared_one = ForgottenPort(server, attempt(tries, max_tries=tries, retries=tries))
        cleared_one.forgotten_at = forgotten_at
        with contextlib.suppress(ChildRunFailedError, ChildRunForeignError):
            run_try(cleared_one, request)
        server.on_sleep = lambda server: server.end_all("success")
        next_one = FakePort(server, attempt(tries + 1, max_tries=2 * tries, retries=tries, clear_number=1))
        if request.run_id is None or is_reset:
            run_try(next_one, request)
            assert server.states()[-1] == "success" or mode is Mode.FIRE_AND_FORGET
        else:
            # A second run is not possible. Any other error would be wrong.
            with contextlib.suppress(RunUsedUpError, FixedRunFailedError, ChildRunForeignError):
                run_try(next_one, request)
        assert len(server.runs) <= 2


def test_a_later_call_whose_first_entry_is_gone_is_continued() -> None:
    server = Server()
    first = ForgottenPort(server, attempt(1, max_tries=0, retries=0))
    # In the wait for the child of the second call: its end is written as the second entry, and nothing else is left.
    first.forgotten_at = 7
    run_calls(first, [ask(), ask()])
    assert list(server.store) == [key_of(2, 1)]
    run_calls(FakePort(server, attempt(2, max_tries=1, retries=0, clear_number=1)), [ask(), ask()])
    assert server.states() == ["success"] * 4


# What the errors of a fixed identity say to do works.


@pytest.mark.parametrize("state", ["success", "failed"])
def test_a_fixed_run_is_waited_for_when_it_was_cleared_or_started_again_when_it_was_deleted(state: str) -> None:
    """The conf was edited: to clear the run does not help then, as the error once promised."""
    server = Server()
    crash_while_waiting(server, ask_fixed_id(), conf="old")
    server.end_all(state)
    for number, conf in ((2, "new"), (3, "new")):
        with pytest.raises((RunUsedUpError, FixedRunFailedError), match="If the conf or the date was edited, delete"):
            run_try(FakePort(server, cleared(number), conf=conf), ask_fixed_id())
        run = server.only_run()
        run.state, run.clear_number = "queued", run.clear_number + 1
    crash_while_waiting(server, ask_fixed_id(), at=cleared(4), conf="old")
    server.runs.clear()
    run_try(FakePort(server, cleared(5), conf="new"), ask_fixed_id())
    assert server.confs() == ["new"]
