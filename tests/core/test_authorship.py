"""A run counts only if something of it shows that this parent started it: what there is after a 409, or a look-up."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from airflow_durable.core import protocol, sending
from airflow_durable.core.errors import (
    ChildRunForeignError,
    ForeignRunSkipError,
    LogicalDateClashError,
    LogicalDateTakenError,
    LookUpFailedError,
    RunIdsTakenError,
    SubmissionUnknownError,
)
from airflow_durable.core.model import Decision, Mode, OnClear, Phase
from airflow_durable.core.run_ids import child_run_id, tag_of_life

from .fakes import (
    EPOCH,
    FIXED_DATE,
    OTHER_PARENT,
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
    run_try,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_durable.core.model import Attempt, ChildRun, Request
    from airflow_durable.core.record import Record

UNKNOWN = SubmissionUnknownError("child", "x", "no answer")
LOST = Fault(UNKNOWN, is_after=True)
FIXED = {"id": ask_fixed_id, "date": ask_fixed_date, "id and run_after": ask_unprovable}
PROVABLE = {"generated": ask_generated, "id": ask_fixed_id, "date": ask_fixed_date}
NEW_LIFE = replace(PARENT, started_at=PARENT.run_after + timedelta(hours=1))


def first_id() -> str:
    return child_run_id(PARENT, epoch=0, call=1, generation=0)


# A 409 on what this try sent itself.


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("ask_it", PROVABLE.values(), ids=PROVABLE)
def test_a_lost_reply_is_no_conflict(ask_it: Callable[[Mode], Request], mode: Mode) -> None:
    server = Server()
    run_try(FakePort(server, attempt(1), faults={"submit": [LOST]}), ask_it(mode))
    assert len(server.runs) == 1
    assert server.record().is_consumed


def test_a_lost_reply_that_nothing_can_prove_is_a_conflict() -> None:
    server = Server()
    with pytest.raises(ChildRunForeignError):
        run_try(FakePort(server, attempt(1), faults={"submit": [LOST]}), ask_unprovable())
    assert len(server.runs) == 1


def test_a_request_without_an_answer_is_sent_until_one_comes() -> None:
    server = Server()
    port = FakePort(server, attempt(1), faults={"submit": [Fault(UNKNOWN)] * 3})
    run_try(port, ask())
    assert port.sleeps[:3] == [1.0, 5.0, 15.0]
    assert len(port.troubles) == 3
    assert server.states() == ["success"]


def test_a_request_that_never_gets_an_answer_ends_the_try_and_the_next_one_finds_its_run() -> None:
    server = Server()
    with pytest.raises(SubmissionUnknownError):
        run_try(FakePort(server, attempt(1), faults={"submit": [*[Fault(UNKNOWN)] * 3, LOST]}), ask())
    run_try(FakePort(server, attempt(2)), ask())
    assert server.states() == ["success"]


# Parents that contend for one identity.


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("is_skip", [False, True], ids=["fail", "skip"])
@pytest.mark.parametrize("ask_it", FIXED.values(), ids=FIXED)
def test_of_parents_with_one_identity_one_wins_and_the_others_say_so(
    ask_it: Callable[[Mode], Request],
    is_skip: bool,  # noqa: FBT001 - a parameter
    mode: Mode,
) -> None:
    server, succeeded = Server(), []
    for index in range(6):
        parent = replace(PARENT, map_index=index)
        server.store.clear()  # each has a store of its own
        port = FakePort(server, attempt(1, parent=parent), conf=f"conf {index}")
        with contextlib.suppress(ForeignRunSkipError if is_skip else ChildRunForeignError):
            run_try(port, replace(ask_it(mode), is_skip=is_skip))
            succeeded.append(f"conf {index}")
    assert succeeded == ["conf 0"] == [run.conf for run in server.runs.values()]


@pytest.mark.parametrize("ask_it", FIXED.values(), ids=FIXED)
def test_the_loser_of_a_contention_loses_its_next_try_too(ask_it: Callable[[], Request]) -> None:
    server = Server()
    run_try(FakePort(server, attempt(1, parent=OTHER_PARENT), conf="theirs"), ask_it())
    server.store.clear()
    for number in (1, 2):
        with pytest.raises(ChildRunForeignError, match="Nothing was triggered"):
            run_try(FakePort(server, attempt(number)), ask_it())
        assert server.record().tries[-1].decision is Decision.FOREIGN
    assert server.only_run().conf == "theirs"


@pytest.mark.parametrize("at", [attempt(2), cleared(2)], ids=["retry", "clear"])
@pytest.mark.parametrize("is_skip", [False, True], ids=["fail", "skip"])
@pytest.mark.parametrize(
    "new",
    [
        ask(run_id="another"),
        ask(),
        ask(run_id="another", is_reset=True),
        ask(run_id="fixed", dag_id="other"),
        replace(ask(run_id="another"), mode=Mode.FIRE_AND_FORGET),
    ],
    ids=["another id", "none", "another id, reset", "another Dag", "forget"],
)
@pytest.mark.parametrize("ask_it", [ask_fixed_id, ask_unprovable])
def test_after_a_foreign_run_the_corrected_identity_is_used(
    ask_it: Callable[[], Request],
    new: Request,
    is_skip: bool,  # noqa: FBT001 - a parameter
    at: Attempt,
) -> None:
    """The old one was looked up again, and the same error came, after every clear."""
    server = Server()
    server.create("child", Run("fixed", FIXED_DATE, "running", conf="theirs"))
    with pytest.raises(ForeignRunSkipError if is_skip else ChildRunForeignError):
        run_try(FakePort(server, attempt(1)), replace(ask_it(), is_skip=is_skip))
    server.on_sleep = _end_own
    run_try(FakePort(server, at, dag_id=new.dag_id), replace(new, is_skip=is_skip))
    assert [run.conf for run in server.runs.values()] == ["theirs", "conf"]
    theirs = server.runs["child", "fixed"]
    assert (theirs.state, theirs.clear_number) == ("running", 0)
    # Nothing is said of the foreign run: the task neither leaves it nor starts a run beside one of its own.
    (*_, last) = server.runs
    assert server.told[-1] == (Decision.FRESH_SUBMIT, last[1], None)


@pytest.mark.parametrize("is_skip", [False, True], ids=["fail", "skip"])
@pytest.mark.parametrize("is_reset", [False, True], ids=["no reset", "reset"])
def test_a_run_that_may_be_its_own_is_not_left_before_a_person_is_told(
    is_skip: bool,  # noqa: FBT001 - a parameter
    is_reset: bool,  # noqa: FBT001 - a parameter
) -> None:
    """Only the reply could have proved it, and it was lost: another run at once would be a second one."""
    server = Server()
    with pytest.raises(Crash):
        run_try(FakePort(server, attempt(1), crash_at=1, is_crash_after=True), ask_unprovable())
    new = replace(ask(run_id="another"), is_skip=is_skip, is_reset=is_reset)
    with pytest.raises(ChildRunForeignError, match="If that run is not this task's, or has ended, clear") as caught:
        run_try(FakePort(server, attempt(2)), new)
    assert "run 'fixed'" in str(caught.value)
    assert not caught.value.is_run_known
    assert (server.states(), server.only_run().clear_number) == (["queued"], 0)
    run_try(FakePort(server, cleared(3)), new)
    assert [run_id for _, run_id in server.runs] == ["fixed", "another"]


def _end_own(server: Server) -> None:
    for run in server.runs.values():
        run.state = "success" if run.conf == "conf" else run.state


def test_another_parents_tag_is_no_proof_without_the_conf() -> None:
    server = Server()
    tag = tag_of_life(PARENT, 1)
    server.create("child", Run("fixed", FIXED_DATE.replace(microsecond=tag), conf="theirs"))
    with pytest.raises(ChildRunForeignError):
        run_try(FakePort(server, attempt(1)), ask_fixed_id())


def test_a_fixed_identity_is_adopted_without_its_record_where_date_and_conf_are_ours() -> None:
    server = Server()
    crash_while_waiting(server, ask_fixed_id())
    server.lose_record()
    run_try(FakePort(server, attempt(2)), ask_fixed_id())
    assert server.states() == ["success"]


@pytest.mark.parametrize("ask_it", FIXED.values(), ids=FIXED)
def test_a_foreign_run_is_reset_once(ask_it: Callable[[], Request]) -> None:
    """The baseline of the reset makes the run ours, also where nothing else could."""
    server = Server()
    request = replace(ask_it(), is_reset=True)
    server.create("child", Run(request.run_id or "", FIXED_DATE, "success"))
    crash_while_waiting(server, request)
    assert server.only_run().clear_number == 1
    run_try(FakePort(server, attempt(2)), request)
    assert server.only_run().clear_number == 1
    assert server.states() == ["success"]


def test_a_run_that_replaced_the_one_that_was_reset_is_foreign() -> None:
    server = Server()
    request = replace(ask_fixed_id(), is_reset=True)
    server.create("child", Run("fixed", FIXED_DATE, "success"))
    crash_while_waiting(server, request)
    server.runs.clear()
    server.create("child", Run("fixed", FIXED_DATE + timedelta(days=1), "success", conf="theirs"))
    with pytest.raises(ChildRunForeignError):
        run_try(FakePort(server, attempt(2)), replace(request, is_reset=False))


# Logical dates.


def test_a_taken_date_is_answered_by_another_one() -> None:
    server = Server()
    port = FakePort(server, attempt(1))
    real = port.submit

    def clash_first(record: Record) -> bool:
        server.create("child", Run("another", record.logical_date))
        port.submit = real  # type: ignore[method-assign]
        return real(record)

    port.submit = clash_first  # type: ignore[method-assign]
    run_try(port, ask())
    assert list(server.runs) == [("child", "another"), ("child", first_id())]
    assert server.runs["child", first_id()].logical_date == server.record().logical_date
    assert len(server.record().dates) == 2


def test_a_date_that_is_always_taken_ends_the_try_with_one_run_id() -> None:
    server = Server()
    port = FakePort(server, attempt(1))
    port.submit = lambda record: False  # type: ignore[method-assign]
    with pytest.raises(LogicalDateClashError, match=f"{sending.MAX_DATE_CLASHES} times in a row") as raised:
        run_try(port, ask())
    assert first_id() in str(raised.value)
    assert "Dag 'child'" in str(raised.value)
    entries = server.records()
    assert len({record.logical_date for record in entries}) == sending.MAX_DATE_CLASHES
    assert {record.run_id for record in entries} == {first_id()}
    run_try(FakePort(server, attempt(2)), ask())
    assert list(server.runs) == [("child", first_id())]


@pytest.mark.parametrize("ask_it", [ask_generated, ask_fixed_id])
def test_the_date_that_is_ours_is_never_in_the_future(ask_it: Callable[[], Request]) -> None:
    server = Server()
    run_try(FakePort(server, attempt(1)), ask_it())
    date = server.only_run().logical_date
    assert date is not None
    assert EPOCH - timedelta(seconds=1) < date <= server.now()


@pytest.mark.parametrize(
    ("is_skip", "error"), [(False, LogicalDateTakenError), (True, ForeignRunSkipError)], ids=["fail", "skip"]
)
def test_a_fixed_date_under_another_run_id_is_foreign(
    is_skip: bool,  # noqa: FBT001 - a parameter
    error: type[Exception],
) -> None:
    server = Server()
    server.create("child", Run("another", FIXED_DATE))
    with pytest.raises(error, match="'child'") as caught:
        run_try(FakePort(server, attempt(1)), replace(ask_fixed_date(), is_skip=is_skip))
    assert "'manual__fixed'" in str(caught.value)
    assert is_skip or str(FIXED_DATE) in str(caught.value)
    assert len(server.runs) == 1


def test_a_run_that_was_deleted_after_its_409_is_created_again() -> None:
    """No logical date was sent, so none can be taken."""
    server = Server()
    server.create("child", Run("fixed"))
    port = FakePort(server, attempt(1))
    real = port.look_up

    def delete_first(dag_id: str, run_id: str, *, is_detailed: bool) -> ChildRun | None:
        port.look_up = real  # type: ignore[method-assign]
        server.runs.clear()
        return real(dag_id, run_id, is_detailed=is_detailed)

    port.look_up = delete_first  # type: ignore[method-assign]
    run_try(port, ask_unprovable())
    assert server.only_run().conf == "conf"


def test_a_child_without_a_date_after_one_with_a_date_is_still_ours() -> None:
    """The Dag was edited between two tries: it gives ``run_after`` now, so no logical date is sent."""
    server = Server()
    port = FakePort(server, attempt(1), crash_at=1)
    with pytest.raises(Crash):
        run_try(port, ask())
    edited = ask(is_date_ours=False, is_run_after_ours=False)
    crash_while_waiting(server, edited, at=attempt(2))
    server.end_all("success")
    run_try(FakePort(server, attempt(3)), edited)
    assert server.states() == ["success"]


# Another life of the parent: its Dag run was deleted, and made anew under its name; so was its task instance.


def start_earlier_life(server: Server, *, conf: str = "conf") -> None:
    crash_while_waiting(server, ask(), conf=conf)
    server.lose_record()


@pytest.mark.parametrize("version", [(3, 2), (3, 3)], ids=["3.2", "3.3"])
def test_an_ended_run_of_an_earlier_life_is_passed_over(version: tuple[int, int]) -> None:
    server = Server(version)
    start_earlier_life(server)
    server.end_all("success")
    run_try(FakePort(server, attempt(1, parent=NEW_LIFE)), ask())
    assert server.states() == ["success", "success"]


@pytest.mark.parametrize("version", [(3, 1), (3, 2), (3, 3)], ids=["3.1", "3.2", "3.3"])
def test_the_work_of_an_earlier_life_is_not_taken_for_this_ones(version: tuple[int, int]) -> None:
    server = Server(version)
    start_earlier_life(server, conf="old")
    server.end_all("success")
    run_try(FakePort(server, attempt(1, parent=NEW_LIFE), conf="new"), ask())
    assert server.confs() == ["old", "new"]


@pytest.mark.parametrize("version", [(3, 1), (3, 2), (3, 3)], ids=["3.1", "3.2", "3.3"])
def test_after_an_earlier_life_a_crash_makes_no_second_run(version: tuple[int, int]) -> None:
    server = Server(version)
    start_earlier_life(server, conf="old")
    server.end_all("success")
    crash_while_waiting(server, ask(), at=attempt(1, parent=NEW_LIFE), conf="new")
    run_try(FakePort(server, attempt(2, parent=NEW_LIFE), conf="new"), ask())
    assert server.confs() == ["old", "new"]


def test_an_active_run_of_an_earlier_life_with_the_same_request_is_adopted() -> None:
    server = Server()
    start_earlier_life(server)
    run_try(FakePort(server, attempt(1, parent=NEW_LIFE)), ask())
    assert server.states() == ["success"]


def test_an_adopted_run_of_an_earlier_life_stays_adopted() -> None:
    server = Server()
    start_earlier_life(server)
    crash_while_waiting(server, ask(), at=attempt(1, parent=NEW_LIFE))
    server.end_all("success")
    run_try(FakePort(server, attempt(2, parent=NEW_LIFE)), ask())
    assert server.states() == ["success"]


@pytest.mark.parametrize("mode", [Mode.WAIT, Mode.DEFER])
@pytest.mark.parametrize("version", [(3, 1), (3, 2), (3, 3)], ids=["3.1", "3.2", "3.3"])
def test_an_active_run_of_an_earlier_life_with_another_request_is_waited_out(
    version: tuple[int, int], mode: Mode
) -> None:
    server = Server(version)
    start_earlier_life(server, conf="old")
    active: list[int] = []

    def end(server: Server) -> None:
        active.append(sum(run.state == "queued" for run in server.runs.values()))
        server.end_all("success")

    server.on_sleep = end
    run_try(FakePort(server, attempt(1, parent=NEW_LIFE), conf="new"), ask(mode=mode))
    assert server.confs() == ["old", "new"]
    assert max(active) == 1


def test_fire_and_forget_starts_beside_an_active_run_of_an_earlier_life() -> None:
    server = Server()
    start_earlier_life(server, conf="old")
    run_try(FakePort(server, attempt(1, parent=NEW_LIFE), conf="new"), ask(mode=Mode.FIRE_AND_FORGET))
    assert server.confs("queued") == ["old", "new"]


@pytest.mark.parametrize("version", [(3, 1), (3, 2), (3, 3)], ids=["3.1", "3.2", "3.3"])
@pytest.mark.parametrize("states", [("success", "success"), ("failed", "success"), ("success", "queued")])
@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("on_clear", [OnClear.AUTO, OnClear.FRESH])
def test_no_run_of_an_earlier_life_is_taken_by_a_first_try(
    version: tuple[int, int], states: tuple[str, str], mode: Mode, on_clear: OnClear
) -> None:
    # On 3.1 only the first run id was looked for. That of the second was met with a 409, and taken for our own.
    for old in (states, states[::-1]):
        server = Server(version)
        for generation, state in enumerate(old):
            run_id = child_run_id(PARENT, epoch=0, call=1, generation=generation)
            server.create("child", Run(run_id, PARENT.run_after + timedelta(hours=generation), state, conf="old"))
        run_try(FakePort(server, attempt(1, parent=NEW_LIFE), conf="new"), ask(mode=mode, on_clear=on_clear))
        assert [run.conf for run in server.runs.values()] == ["old", "old", "new"]


@pytest.mark.parametrize("mode", Mode)
def test_on_3_1_a_first_try_counts_twice_where_nothing_is_there(mode: Mode) -> None:
    server = Server((3, 1))
    port = FakePort(server, attempt(1))
    run_try(port, ask(mode=mode))
    assert port.calls[: port.calls.index("submit")] in (["count", "count", "write"], ["count", "write"])


def test_a_run_without_a_date_of_an_earlier_life_is_told_by_its_start() -> None:
    server = Server()
    request = ask(is_date_ours=False, is_run_after_ours=False)
    crash_while_waiting(server, request, conf="old")
    server.lose_record()
    server.end_all("success")
    server.only_run().started_at = PARENT.run_after
    run_try(FakePort(server, attempt(1, parent=NEW_LIFE), conf="new"), request)
    assert server.confs() == ["old", "new"]


def test_a_parent_with_too_many_earlier_lives_gives_up() -> None:
    server = Server()
    for generation in range(sending.MAX_OTHER_LIVES + 3):
        server.create("child", Run(child_run_id(PARENT, epoch=0, call=1, generation=generation), None, "success"))
    with pytest.raises(RunIdsTakenError):
        run_try(FakePort(server, attempt(1)), ask())
    assert len(server.runs) == sending.MAX_OTHER_LIVES + 3


# A task instance that was deleted and made again: it is at its first try, and its record may be there.


def test_a_remade_task_instance_adopts_the_active_run_of_its_record() -> None:
    server = Server()
    crash_while_waiting(server, ask())
    run_try(FakePort(server, attempt(1, task_instance_id="remade")), ask())
    assert server.states() == ["success"]


def test_a_remade_task_instance_adopts_the_run_that_its_record_names_and_not_the_first() -> None:
    server = Server()
    crash_while_waiting(server, ask())
    server.end_all("failed")
    crash_while_waiting(server, ask(), at=attempt(2))
    run_try(FakePort(server, attempt(1, task_instance_id="remade")), ask())
    assert server.states() == ["failed", "success"]


@pytest.mark.parametrize("version", [(3, 2), (3, 3)], ids=["3.2", "3.3"])
@pytest.mark.parametrize("is_ended", [False, True], ids=["active", "ended"])
def test_a_remade_task_instance_does_not_take_another_request_for_its_own(
    is_ended: bool,  # noqa: FBT001 - a parameter
    version: tuple[int, int],
) -> None:
    server = Server(version)
    crash_while_waiting(server, ask(), conf="old")
    if is_ended:
        server.end_all("success")
    run_try(FakePort(server, attempt(1, task_instance_id="remade"), conf="new"), ask())
    assert server.confs() == ["old", "new"]


def test_a_try_that_is_executed_twice_has_one_run() -> None:
    server = Server()
    crash_while_waiting(server, ask())
    run_try(FakePort(server, attempt(1)), ask())
    assert server.states() == ["success"]
    assert server.told[-1][0] is Decision.RECONNECT


def test_a_try_that_is_executed_again_after_its_success_was_marked_succeeds() -> None:
    server = Server()
    run_try(FakePort(server, attempt(1)), ask())
    run_try(FakePort(server, attempt(1)), ask())
    assert server.states() == ["success"]
    assert server.record().phase is Phase.CONSUMED


def test_a_superseded_try_starts_nothing() -> None:
    server = Server()
    old = FakePort(server, attempt(1))
    FakePort(server, attempt(2))
    with pytest.raises(Exception, match="superseded"):
        protocol.trigger(old, ask(), old.attempt)
    assert not server.runs


# What is met by a 409 is known at once.


@pytest.mark.parametrize("number", [1, 2])
def test_a_lost_reply_costs_one_look_up(number: int) -> None:
    server = Server()
    server.on_sleep = lambda server: None
    port = FakePort(server, attempt(number), faults={"submit": [LOST]})
    started = protocol.trigger(port, ask(), port.attempt)
    assert (started.run and started.run.state, started.is_settled) == ("queued", False)
    assert server.told[-1] == (Decision.RECONNECT, first_id(), "queued")
    read = ["read"] if number == 1 else []
    assert server.calls[-4 - len(read) :] == ["submit", "sleep", "submit", "look_up", *read]


@pytest.mark.parametrize("ask_it", [ask_generated, ask_fixed_id])
def test_fire_and_forget_waits_for_no_run_that_it_meets_sends_again_or_resets(
    ask_it: Callable[[Mode], Request],
) -> None:
    request = replace(ask_it(Mode.FIRE_AND_FORGET), is_reset=True)
    for port in (
        FakePort(Server(), attempt(1), faults={"submit": [LOST]}),
        FakePort(Server(), attempt(2), faults={"submit": [LOST]}),
    ):
        assert protocol.trigger(port, request, port.attempt).is_settled is True
    server = Server()
    with pytest.raises(Crash):
        run_try(FakePort(server, attempt(1), crash_at=1), ask_it(Mode.WAIT))
    port = FakePort(server, attempt(2))
    assert protocol.trigger(port, request, port.attempt).is_settled is True
    assert server.record().mode is Mode.FIRE_AND_FORGET
    assert "sleep" not in server.calls


def test_fire_and_forget_does_not_wait_for_a_reset() -> None:
    server = Server()
    server.create("child", Run("fixed", FIXED_DATE, "success"))
    port = FakePort(server, attempt(1))
    request = replace(ask_fixed_id(Mode.FIRE_AND_FORGET), is_reset=True)
    assert protocol.trigger(port, request, port.attempt).is_settled is True
    crash_while_waiting(server, replace(ask_fixed_id(), is_reset=True), at=cleared(2))
    assert server.record().mode is Mode.WAIT


def test_a_run_that_was_never_proven_stays_unproven_where_it_cannot_be_read() -> None:
    server = Server()
    with pytest.raises(Crash):
        run_try(FakePort(server, attempt(1), crash_at=1), ask_unprovable())
    server.create("child", Run("fixed", conf="theirs"))
    away = Fault(LookUpFailedError("child", "fixed", "away", is_transient=True))
    with pytest.raises(ChildRunForeignError, match=r"already has a run 'fixed'.* It is queued") as caught:
        run_try(FakePort(server, attempt(2), faults={"look_up": [away]}), ask_unprovable())
    assert "Dag 'child'" in str(caught.value)
    with pytest.raises(ForeignRunSkipError, match="Dag 'child' already has the run 'fixed'"):
        run_try(FakePort(server, attempt(3)), replace(ask_unprovable(), is_skip=True))


def test_a_remade_task_instance_asks_for_the_work_anew_if_its_success_was_marked() -> None:
    server = Server()
    run_try(FakePort(server, attempt(1)), ask())
    run_try(FakePort(server, attempt(1, task_instance_id="remade")), ask())
    assert server.states() == ["success", "success"]


def test_a_remade_task_instance_waits_the_run_of_its_record_out_if_it_asks_for_another() -> None:
    server = Server()
    crash_while_waiting(server, ask(), conf="old")
    crash_while_waiting(server, ask(), at=attempt(2), conf="old")
    run_try(FakePort(server, attempt(1, task_instance_id="remade"), conf="new"), ask())
    assert server.confs() == ["old", "new"]
