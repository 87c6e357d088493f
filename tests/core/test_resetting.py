"""A reset is asked of the reconciler, where it can prove that the run is ours; else the task does it itself."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from airflow_durable.core.asks import ActionKind
from airflow_durable.core.errors import (
    ChildRunForeignError,
    LookUpFailedError,
    ReconcilerMissingError,
    RunUsedUpError,
    StartTimeoutError,
    SubmissionRefusedError,
    SubmissionUnknownError,
)
from airflow_durable.core.model import Decision, Mode, OnClear, OnParentEnd, Request

from . import fakes
from .fakes import (
    AWAY,
    FIXED_DATE,
    FORBIDDEN,
    Crash,
    FakePort,
    Fault,
    Run,
    Server,
    _die,
    ask,
    ask_fixed_date,
    ask_fixed_id,
    ask_unprovable,
    attempt,
    child_failed,
    cleared,
    crash_while_waiting,
    run_try,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_durable.core.model import Attempt
    from airflow_durable.core.record import Record

ASKED = replace(ask_fixed_id(), is_reset=True, reset_timeout_seconds=5.0)
DATED = replace(ask_fixed_date(), is_reset=True, reset_timeout_seconds=5.0)


def failed(request: Request = ASKED) -> Server:
    """Return a server whose parent's first try died while it waited; then its child failed."""
    return child_failed(request)


def reconcile(server: Server) -> None:
    """Act as the reconciler, once: a reset is what is asked for, if anything is."""
    asks = server.record().asks
    assert asks is None or asks.action is None or asks.action.kind is ActionKind.RESET
    fakes.reconcile(server)


def resets(port: FakePort) -> int:
    """Return how often the task sent a request of its own."""
    return port.calls.count("reset")


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("request_", [ASKED, DATED])
def test_the_reconciler_resets_it_and_the_task_sends_nothing(mode: Mode, request_: Request) -> None:
    request = replace(request_, mode=mode, on_parent_end=OnParentEnd.CANCEL)
    server = failed(replace(request, mode=Mode.WAIT))
    server.on_sleep = reconcile
    # Fire-and-forget takes any run of its own; after a clear it wants the work anew.
    again = attempt(2)
    if mode is Mode.FIRE_AND_FORGET:
        again, request = cleared(2), replace(request, on_clear=OnClear.FRESH)
    port = FakePort(server, again)
    record = run_try(port, request)
    assert (resets(port), server.only_run().clear_number) == (0, 1)
    assert record.is_consumed
    assert [checked.reset is not None for checked in port.checked] == [True]
    assert {entry.mode for entry in server.records()[1:]} == {mode}
    actions = [entry.asks.action is not None for entry in server.records() if entry.asks]
    assert actions == [False, True, False, False]


@pytest.mark.parametrize("request_", [ASKED, DATED])
def test_where_nobody_acts_the_task_withdraws_it_and_resets_it_itself(request_: Request) -> None:
    server = failed(request_)
    server.on_sleep = lambda server: server.end_all("success")
    port = FakePort(server, attempt(2))
    run_try(port, request_)
    assert (resets(port), server.only_run().clear_number) == (1, 1)
    assert sum(port.sleeps[:5]) == pytest.approx(5)
    (trouble,) = port.troubles
    assert isinstance(trouble, ReconcilerMissingError)
    assert "reset_timeout (5 s)" in str(trouble)
    assert f"{request_.dag_id!r}" in str(trouble)
    assert f"{server.only_run().run_id!r}" in str(trouble)
    asks = [entry.asks for entry in server.records()]
    assert [it is not None and it.action is not None for it in asks] == [False, True, False, False]


def test_the_reconciler_is_waited_for_as_long_as_the_task_says_however_short_that_is() -> None:
    request = replace(ASKED, reset_timeout_seconds=0.5)
    server = failed(request)
    server.on_sleep = reconcile
    port = FakePort(server, attempt(2))
    run_try(port, request)
    assert (resets(port), server.only_run().clear_number) == (0, 1)


def test_what_the_stock_operator_refuses_is_not_asked_for() -> None:
    server = failed()
    port = FakePort(server, attempt(2), faults={"check": [Fault(RuntimeError("the Dag is paused"))]})
    with pytest.raises(RuntimeError):
        run_try(port, ASKED)
    assert len(server.records()) == 1
    assert server.states() == ["failed"]


@pytest.mark.parametrize(
    "request_",
    [
        replace(ASKED, reset_timeout_seconds=0.0),
        replace(ask_unprovable(), is_reset=True, reset_timeout_seconds=5.0),
    ],
)
def test_where_the_reconciler_is_not_asked_the_task_does_it_at_once(request_: Request) -> None:
    server = failed(request_)
    port = FakePort(server, attempt(2))
    run_try(port, request_)
    assert (resets(port), server.only_run().clear_number) == (1, 1)
    assert all(entry.asks is None for entry in server.records())


def test_of_a_foreign_run_the_reconciler_is_not_asked() -> None:
    """Not even of one that this task had reset: nothing of it is the task's own."""
    server = Server()
    server.create("child", Run("fixed", FIXED_DATE, "success"))
    crash_while_waiting(server, ASKED)
    server.end_all("failed")
    port = FakePort(server, attempt(2))
    run_try(port, ASKED)
    assert (resets(port), server.only_run().clear_number) == (1, 2)
    assert all(entry.asks is None for entry in server.records())


def test_of_a_run_whose_record_was_lost_the_reconciler_is_not_asked() -> None:
    server = failed()
    server.lose_record()
    port = FakePort(server, attempt(2))
    run_try(port, ASKED)
    assert (resets(port), server.only_run().clear_number) == (1, 1)


def test_what_a_try_that_died_had_asked_for_and_got_is_adopted() -> None:
    server = failed()
    server.on_sleep = _die
    with pytest.raises(Crash):
        run_try(FakePort(server, attempt(2)), ASKED)
    server.on_sleep = lambda server: server.end_all("success")
    reconcile(server)
    port = FakePort(server, attempt(3))
    run_try(port, ASKED)
    assert (resets(port), server.only_run().clear_number) == (0, 1)
    assert server.told[-1][0] is Decision.RECONNECT


def test_what_a_try_that_died_had_asked_for_and_did_not_get_is_asked_for_anew() -> None:
    server = failed()
    server.on_sleep = _die
    with pytest.raises(Crash):
        run_try(FakePort(server, attempt(2)), ASKED)
    server.on_sleep = reconcile
    run_try(FakePort(server, attempt(3)), ASKED)
    assert server.only_run().clear_number == 1
    assert server.record().task_instance_id == "ti-3"


def test_a_run_that_a_person_clears_meanwhile_has_started_over() -> None:
    server = failed()

    def clear(server: Server) -> None:
        run = server.only_run()
        run.state, run.clear_number = "running", run.clear_number + 1
        server.on_sleep = lambda server: server.end_all("success")

    server.on_sleep = clear
    port = FakePort(server, attempt(2))
    run_try(port, ASKED)
    assert (resets(port), server.only_run().clear_number) == (0, 1)


@pytest.mark.parametrize("before", ["queued", "running"])
def test_an_active_run_that_ends_meanwhile_starts_over_all_the_same(before: str) -> None:
    request = replace(ASKED, on_clear=OnClear.FRESH)
    server = Server()
    crash_while_waiting(server, request)
    server.only_run().state = before

    def end(server: Server) -> None:
        server.end_all("success")
        server.on_sleep = reconcile

    server.on_sleep = end
    port = FakePort(server, cleared(2))
    run_try(port, request)
    assert (resets(port), server.only_run().clear_number) == (0, 1)
    actions = [entry.asks.action.state for entry in server.records() if entry.asks and entry.asks.action]
    assert actions == [before, "success"]


def test_an_active_run_that_ends_meanwhile_does_not_begin_the_patience_anew() -> None:
    request = replace(ASKED, on_clear=OnClear.FRESH)
    server = Server()
    crash_while_waiting(server, request)
    began = server.seconds

    def end_late(server: Server) -> None:
        if server.seconds - began >= 3:
            server.end_all("success")

    server.on_sleep = end_late
    port = FakePort(server, cleared(2))
    run_try(port, request)
    assert (resets(port), server.only_run().clear_number) == (1, 1)
    withdrawn_at = port.calls.index("reset")
    assert port.calls[:withdrawn_at].count("sleep") == 5


@pytest.mark.parametrize("is_recreated", [False, True])
def test_a_run_that_is_deleted_meanwhile_is_created_or_reset_by_the_task(is_recreated: bool) -> None:  # noqa: FBT001
    """As the stock operator does. Of the one that somebody else has put there, the reconciler may not be asked."""
    server = failed()
    server.only_run().clear_number = 3

    def delete(server: Server) -> None:
        server.runs.clear()
        if is_recreated:
            server.create("child", Run("fixed", FIXED_DATE, "success", conf="theirs"))
        server.on_sleep = lambda server: server.end_all("success")

    server.on_sleep = delete
    port = FakePort(server, attempt(2))
    run_try(port, ASKED)
    assert resets(port) == 1
    assert server.only_run().clear_number == int(is_recreated)


@pytest.mark.parametrize("request_", [ASKED, DATED])
def test_a_run_that_was_created_anew_is_not_reset_by_the_next_try(request_: Request) -> None:
    """It may have the very dates of the one that was deleted."""
    server = failed(request_)

    def delete(server: Server) -> None:
        server.runs.clear()
        server.on_sleep = _die

    server.on_sleep = delete
    with pytest.raises(Crash):
        run_try(FakePort(server, attempt(2)), request_)
    server.on_sleep = lambda server: server.end_all("success")
    port = FakePort(server, attempt(3))
    run_try(port, request_)
    assert (resets(port), server.only_run().clear_number, "submit" in port.calls) == (0, 0, False)


def test_a_reset_that_comes_with_the_end_of_the_patience_is_seen() -> None:
    server = failed()
    server.on_sleep = lambda server: None

    class LatePort(FakePort):
        """The reconciler acts after the last look, before the ask is taken back."""

        def write(self, record: Record) -> None:
            if sum(self.sleeps) >= ASKED.reset_timeout_seconds and record.asks is None:
                reconcile(server)
            super().write(record)

    port = LatePort(server, attempt(2))
    run_try(port, ASKED)
    assert (resets(port), server.only_run().clear_number) == (0, 1)


def test_look_ups_that_fail_for_a_time_are_repeated() -> None:
    server = failed()
    server.on_sleep = reconcile
    port = FakePort(server, attempt(2), faults={"look_up": [None, AWAY]})
    run_try(port, ASKED)
    assert server.only_run().clear_number == 1


@pytest.mark.parametrize("faults", [[None, FORBIDDEN], [None, None, None, None, None, None, None, *[AWAY] * 4]])
@pytest.mark.parametrize("kind", ["reset", "resume"])
def test_a_look_up_that_fails_after_something_was_asked_for_does_not_say_that_nothing_was_done(
    kind: str, faults: list[Fault | None]
) -> None:
    from .test_child_failure import RESUME

    request = ASKED if kind == "reset" else RESUME
    server = failed(request)
    server.on_sleep = lambda server: None
    port = FakePort(server, attempt(2), faults={"look_up": list(faults)})
    with pytest.raises(LookUpFailedError) as caught:
        run_try(port, request)
    assert "Nothing was done" not in str(caught.value)
    assert "asked the reconciler" in str(caught.value)


def _leave(server: Server) -> None:
    """Let no reconciler act, and the children end."""
    server.end_all("success")


@pytest.mark.parametrize("crash_at", range(12))
@pytest.mark.parametrize("is_crash_after", [False, True])
@pytest.mark.parametrize("act", [reconcile, _leave])
def test_wherever_the_try_dies_it_is_reset_once(
    crash_at: int,
    is_crash_after: bool,  # noqa: FBT001 - before or after the call
    act: Callable[[Server], None],
) -> None:
    server = failed()
    server.on_sleep = act
    port = FakePort(server, attempt(2), crash_at=crash_at, is_crash_after=is_crash_after)
    try:
        run_try(port, ASKED)
    except Crash:
        server.on_sleep = reconcile
        server.end_all("success")
        run_try(FakePort(server, attempt(3)), ASKED)
    assert (server.only_run().clear_number, server.states()) == (1, ["success"])


@pytest.mark.parametrize("on_clear", [OnClear.FRESH, OnClear.AUTO])
@pytest.mark.parametrize("request_", [ASKED, DATED])
def test_what_this_clear_had_started_is_not_reset_again(request_: Request, on_clear: OnClear) -> None:
    """The run was created, its reply was lost, and the repeated request got a 409."""
    request = replace(request_, on_clear=on_clear)
    server = Server()
    run_try(FakePort(server, attempt(1)), request)
    server.runs.clear()
    lost = Fault(SubmissionUnknownError("child", "fixed", "no answer"), is_after=True)
    port = FakePort(server, cleared(2), faults={"submit": [lost]})
    assert run_try(port, request).is_consumed
    assert "reset" not in port.calls
    assert (server.only_run().clear_number, server.states()) == (0, ["success"])


def test_where_nothing_in_the_run_proves_it_the_run_is_reset() -> None:
    """A known limit: only the reply would have proved that this clear had started it, and it was lost."""
    request = replace(ask_unprovable(), is_reset=True)
    server = Server()
    run_try(FakePort(server, attempt(1)), request)
    server.runs.clear()
    lost = Fault(SubmissionUnknownError("child", "fixed", "no answer"), is_after=True)
    assert run_try(FakePort(server, cleared(2), faults={"submit": [lost]}), request).is_consumed
    assert (server.only_run().clear_number, server.states()) == (1, ["success"])


def test_a_run_of_before_the_clear_is_reset_though_it_arrives_late() -> None:
    """It has our tag, but not the date that was sent after the clear."""
    request = replace(ASKED, on_clear=OnClear.FRESH)
    server = Server()
    with pytest.raises(Crash):
        run_try(FakePort(server, attempt(1), crash_at=1), request)
    late = server.record()

    class LatePort(FakePort):
        """The request of the try before the clear arrives before this one's."""

        def submit(self, record: Record) -> bool:
            server.create("child", self._new_run(late))
            return super().submit(record)

    run_try(LatePort(server, cleared(2)), request)
    assert server.only_run().clear_number == 1


def test_start_timeout_begins_when_the_run_starts_over() -> None:
    """Not when it was asked for: else a run that has only just started over would be too late."""
    request = replace(ASKED, reset_timeout_seconds=30.0, start_timeout_seconds=20.0)
    server = failed(request)
    reset_at: list[float] = []

    def begin_late(server: Server) -> None:
        run = server.only_run()
        if run.clear_number == 1:
            reset_at.append(server.seconds)
            if server.seconds - reset_at[0] > 8:
                run.state = "success"

    server.on_sleep = begin_late
    port = FakePort(server, attempt(2))
    assert run_try(port, request, poke_interval=5.0).is_consumed
    assert resets(port) == 1


def test_start_timeout_of_a_run_that_the_reconciler_reset_is_over_once() -> None:
    """The reset itself was taken for a clear by a person: so the timeout began once more when it was over."""
    request = replace(ASKED, start_timeout_seconds=20.0)
    server = failed(request)
    reset_at = server.seconds
    server.on_sleep = _reset_and_leave
    with pytest.raises(StartTimeoutError):
        run_try(FakePort(server, attempt(2)), request, poke_interval=5.0)
    assert server.only_run().state == "queued"
    assert server.seconds - reset_at < 2 * 20.0


@pytest.mark.parametrize("cleared_before", [0, 3])
@pytest.mark.parametrize("is_acted", [False, True])
def test_the_clock_knows_how_often_the_run_has_been_cleared_once_it_starts_over(
    cleared_before: int, *, is_acted: bool
) -> None:
    """If it said less, the reset would be taken for a clear by a person; if it said more, that clear for the reset."""
    request = replace(ASKED, start_timeout_seconds=1000.0)
    server = failed(request)
    server.only_run().clear_number = cleared_before
    server.on_sleep = reconcile if is_acted else lambda server: server.end_all("success")
    run_try(FakePort(server, attempt(2)), request)
    assert server.only_run().clear_number == cleared_before + 1
    clocks = [entry.clock for entry in server.records()[2:]]
    assert {clock and clock.clear_number for clock in clocks} == {cleared_before + 1}


@pytest.mark.parametrize("cleared_before", [None, 0, 2])
def test_the_clock_of_another_run_of_the_name_counts_its_clears(cleared_before: int | None) -> None:
    """None: there is no run any more, and the one that the task creates has not been cleared."""
    request = replace(ASKED, start_timeout_seconds=1000.0)
    server = failed(request)
    server.only_run().clear_number = 7

    def replace_run(server: Server) -> None:
        server.runs.clear()
        if cleared_before is not None:
            theirs = Run("fixed", FIXED_DATE, "success", conf="theirs")
            theirs.clear_number = cleared_before
            server.create("child", theirs)
        server.on_sleep = lambda server: server.end_all("success")

    server.on_sleep = replace_run
    run_try(FakePort(server, attempt(2)), request)
    expected = 0 if cleared_before is None else cleared_before + 1
    assert server.only_run().clear_number == expected
    # The first entry is the try's that died; then the reset is asked for, and withdrawn as there is no run to reset.
    clocks = [entry.clock for entry in server.records()[3:]]
    assert {clock and clock.clear_number for clock in clocks} == {expected}


@pytest.mark.parametrize("cleared_before", [0, 2])
def test_the_clock_of_a_foreign_run_counts_its_reset(cleared_before: int) -> None:
    request = replace(ask_fixed_id(), is_reset=True, start_timeout_seconds=1000.0)
    server = Server(on_sleep=lambda server: server.end_all("success"))
    theirs = Run("fixed", FIXED_DATE, "success")
    theirs.clear_number = cleared_before
    server.create("child", theirs)
    run_try(FakePort(server, attempt(1)), request)
    assert server.only_run().clear_number == cleared_before + 1
    clock = server.record().clock
    assert clock is not None
    assert clock.clear_number == cleared_before + 1


def _reset_and_leave(server: Server) -> None:
    reconcile(server)
    server.on_sleep = lambda server: None


@pytest.mark.parametrize("is_recreated", [False, True])
def test_start_timeout_of_what_the_task_starts_over_itself_is_over_once(*, is_recreated: bool) -> None:
    request = replace(ASKED, start_timeout_seconds=20.0)
    server = failed(request)
    server.only_run().clear_number = 3

    def delete(server: Server) -> None:
        server.runs.clear()
        if is_recreated:
            server.create("child", Run("fixed", FIXED_DATE, "success", conf="theirs"))
        server.on_sleep = lambda server: None

    server.on_sleep = delete
    began = server.seconds
    with pytest.raises(StartTimeoutError):
        run_try(FakePort(server, attempt(2)), request, poke_interval=5.0)
    assert server.seconds - began < 2 * 20.0


@pytest.mark.parametrize("ask_it", [ask_fixed_id, ask_fixed_date])
def test_a_timeout_of_a_foreign_run_that_is_reset_is_over_once(ask_it: Callable[[], Request]) -> None:
    """The reset was taken for a clear by a person, so the timeout began once more when it was over."""
    request = replace(ask_it(), is_reset=True, start_timeout_seconds=20.0)
    server = Server(on_sleep=lambda server: None)
    server.create("child", Run(request.run_id or "", FIXED_DATE, "success"))
    began = server.seconds
    with pytest.raises(StartTimeoutError):
        run_try(FakePort(server, attempt(1)), request, poke_interval=5.0)
    assert server.only_run().clear_number == 1
    assert server.seconds - began < 2 * 20.0


def test_another_run_of_the_name_is_reset_once_though_the_try_dies() -> None:
    server = failed()

    def replace_run(server: Server) -> None:
        server.runs.clear()
        server.create("child", Run("fixed", FIXED_DATE, "success", conf="theirs"))
        server.on_sleep = _die

    server.on_sleep = replace_run
    first = FakePort(server, attempt(2))
    with pytest.raises(Crash):
        run_try(first, ASKED)
    server.on_sleep = lambda server: server.end_all("success")
    second = FakePort(server, attempt(3))
    run_try(second, ASKED)
    assert (resets(first), resets(second), server.only_run().clear_number) == (1, 0, 1)


# The Dag no longer asks for the reset that was recorded.


NOT_DONE = {
    "refused": Fault(SubmissionRefusedError("child", "fixed", "import errors", status=400, is_reset=True)),
    "unknown": Fault(SubmissionUnknownError("child", "fixed", "no answer", is_reset=True)),
    "crash": Fault(Crash()),
}


@pytest.mark.parametrize("fault", NOT_DONE.values(), ids=NOT_DONE)
@pytest.mark.parametrize("at", [attempt(2), cleared(2)], ids=["retry", "clear"])
@pytest.mark.parametrize("new", [ask_fixed_id(), ask(run_id="another"), ask(run_id="another", is_reset=True)])
@pytest.mark.parametrize("ask_it", [ask_fixed_id, ask_unprovable])
def test_a_foreign_run_is_not_reset_where_the_dag_no_longer_asks_for_that(
    ask_it: Callable[[], Request], new: Request, at: Attempt, fault: Fault
) -> None:
    """It was reset anyway, and its success was taken; the run that the Dag asks for was not started."""
    server = Server()
    server.create("child", Run("fixed", FIXED_DATE, "running", conf="theirs"))
    with pytest.raises(type(fault.error)):
        run_try(FakePort(server, attempt(1), faults={"reset": [fault]}), replace(ask_it(), is_reset=True))
    server.on_sleep = _end_own
    port = FakePort(server, at)
    if new.run_id == "fixed":
        with pytest.raises(ChildRunForeignError):
            run_try(port, new)
    else:
        run_try(port, new)
        assert server.runs["child", "another"].state == "success"
    theirs = server.runs["child", "fixed"]
    assert (resets(port), theirs.state, theirs.clear_number) == (0, "running", 0)


def _end_own(server: Server) -> None:
    for run in server.runs.values():
        run.state = "success" if run.conf == "conf" else run.state


def test_a_foreign_run_that_somebody_clears_after_that_is_still_foreign() -> None:
    """It was not reset by this task, as its next try saw: that it starts over later proves nothing."""
    server = Server()
    server.create("child", Run("fixed", FIXED_DATE, "success"))
    refused = NOT_DONE["refused"]
    with pytest.raises(SubmissionRefusedError):
        run_try(FakePort(server, attempt(1), faults={"reset": [refused]}), ASKED)
    with pytest.raises(ChildRunForeignError):
        run_try(FakePort(server, attempt(2)), ask_fixed_id())
    server.only_run().clear_number = 1
    with pytest.raises(ChildRunForeignError):
        run_try(FakePort(server, cleared(3)), ask_fixed_id())


def test_a_used_outcome_is_not_taken_again_where_the_reset_is_no_longer_asked_for() -> None:
    """The reset that was written ahead is all that shows that the work was asked for anew."""
    server = Server()
    run_try(FakePort(server, attempt(1)), ASKED)
    with pytest.raises(Crash):
        run_try(FakePort(server, cleared(2), faults={"reset": [NOT_DONE["crash"]]}), ASKED)
    for at in (attempt(3, max_tries=4, clear_number=1), cleared(4)):
        with pytest.raises(RunUsedUpError):
            run_try(FakePort(server, at), ask_fixed_id())
    assert (server.states(), server.only_run().clear_number) == (["success"], 0)


def test_an_active_run_that_is_no_longer_to_be_reset_is_adopted_and_counts() -> None:
    request = replace(ASKED, on_clear=OnClear.FRESH, reset_timeout_seconds=0.0)
    server = Server()
    crash_while_waiting(server, request)
    with pytest.raises(Crash):
        run_try(FakePort(server, cleared(2), faults={"reset": [NOT_DONE["crash"]]}), request)
    crash_while_waiting(server, ask_fixed_id(), at=attempt(3, max_tries=4, clear_number=1))
    server.end_all("success")
    run_try(FakePort(server, attempt(4, max_tries=4, clear_number=1)), ask_fixed_id())
    assert (server.states(), server.only_run().clear_number) == (["success"], 0)
    assert server.told[-1][0] is Decision.ALREADY_SUCCEEDED
