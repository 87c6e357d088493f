"""Many children: failed runs continue from where they failed, some at a time, by what the ledger asks for."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from airflow_durable.core import many
from airflow_durable.core.asks import RESUMED_AT_ONCE, Action, ActionKind, Asks, asks_of, without_action
from airflow_durable.core.board import Status
from airflow_durable.core.errors import LookUpFailedError, ReconcilerMissingError, RecordDamagedError
from airflow_durable.core.items import Items
from airflow_durable.core.ledger import Ledger, dump, load
from airflow_durable.core.many_errors import ItemsFailedError
from airflow_durable.core.model import Mode, OnChildFailure, OnParentEnd, Proof
from airflow_durable.core.observed import ChildNow, Entry, ParentNow
from airflow_durable.core.proof import is_plain
from airflow_durable.core.reconcile import decide
from airflow_durable.core.run_ids import child_run_id, item_part
from airflow_durable.core.verdicts import Act, Reason
from tests.schedules import many_world
from tests.schedules.many_world import EPOCH, PARENT, SimulatedPort

from .test_many import ATTEMPT, REQUEST, open_many, open_world

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.schedules.many_world import World

RESUME = replace(REQUEST, on_child_failure=OnChildFailure.RESUME, reconciler_timeout_seconds=3.0)
LEDGER = Ledger("child", "x", Proof.RUN_ID, Mode.WAIT, 3, 0, task_instance_id="ti-1", count=2, digest="position")

WAITING = ParentNow("ti-1", "running", None, "running")


def retried(count: int = 3, failed: int = 1, **goal: Any) -> tuple[World, many.Many]:  # noqa: ANN401 - Goal's own
    """Return a second try that has begun, after some runs of the first one have failed."""
    world, port = open_world(count, child_tries=goal.get("child_tries", 1))
    first = open_many(port, request=RESUME)
    many.begin(first)
    many.send(first)
    for run in list(world.runs.values())[:failed]:
        run.state = "failed"
    world.current = 2
    goal.setdefault("request", RESUME)
    second = open_many(
        SimulatedPort(world, 2, port.confs), replace(ATTEMPT, try_number=2, task_instance_id="ti-2"), **goal
    )
    many.begin(second)
    return world, second


def let_all_be_resumed(world: World, whole: many.Many, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let a reconciler do all that is asked for whenever the task waits; return how many runs it found each time."""
    turns: list[int] = []

    def sleep(_seconds: float) -> None:
        due = world.due()
        turns.append(len(due))
        for run in due:
            world.resume(run)

    monkeypatch.setattr(whole.port, "sleep", sleep)
    return turns


def stored_asks(world: World) -> list[Any]:
    """Return what each entry asks for."""
    return [json.loads(entry).get("asks") for entry in world.store]


def test_the_same_runs_continue_and_nothing_is_asked_for_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    world, whole = retried(failed=2)
    assert [whole.board.status(index) for index in range(3)] == [Status.TO_RESUME, Status.TO_RESUME, Status.ACTIVE]
    let_all_be_resumed(world, whole, monkeypatch)
    many.send(whole)
    assert [run.clear_number for run in world.runs.values()] == [1, 1, 0]
    assert whole.board.watched == 3
    assert stored_asks(world)[-2:] == [{"resume_items": {"n0": 0, "n1": 0}}, None]


def test_a_hundred_are_asked_for_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(many_world, "MOST_STEPS", 10_000)
    world, whole = retried(130, 130)
    turns = let_all_be_resumed(world, whole, monkeypatch)
    many.send(whole)
    assert turns == [RESUMED_AT_ONCE, 30]
    assert len(world.runs) == whole.board.watched == 130


def test_the_window_holds_for_those_that_continue(monkeypatch: pytest.MonkeyPatch) -> None:
    world, whole = retried(4, 3, max_active=2)
    turns = let_all_be_resumed(world, whole, monkeypatch)
    many.send(whole)
    assert (turns, whole.board.running, whole.board.to_resume) == ([1], 2, 2)
    assert not whole.board.is_over
    assert many.wake_of(whole, 60).is_more_to_send


def test_nobody_acts(monkeypatch: pytest.MonkeyPatch) -> None:
    world, whole = retried(failed=2)
    naps: list[float] = []
    monkeypatch.setattr(whole.port, "sleep", naps.append)
    with pytest.raises(ReconcilerMissingError, match=r"reconciler_timeout \(3 s\).*true of 1 more child run"):
        many.send(whole)
    assert sum(naps) == RESUME.reconciler_timeout_seconds
    assert stored_asks(world)[-1] is None
    assert [run.state for run in world.runs.values()] == ["failed", "failed", "queued"]


def test_one_that_nobody_acts_on_hides_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    world, whole = retried(failed=3)

    def act(_seconds: float) -> None:
        for run in world.due()[1:]:
            world.resume(run)

    monkeypatch.setattr(whole.port, "sleep", act)
    with pytest.raises(ReconcilerMissingError) as raised:
        many.send(whole)
    assert "more child run" not in str(raised.value)
    assert [whole.board.status(index) for index in range(3)] == [Status.TO_RESUME, Status.ACTIVE, Status.ACTIVE]


def test_a_slow_reconciler_is_not_a_missing_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """It resumes a run each second, always the one that the task has just looked at."""
    world, whole = retried(10, 10)

    def act(_seconds: float) -> None:
        world.resume(world.due()[0])

    monkeypatch.setattr(whole.port, "sleep", act)
    many.send(whole)
    assert [run.clear_number for run in world.runs.values()] == [1] * 10
    assert (whole.board.watched, stored_asks(world)[-1]) == (10, None)


def test_what_is_done_at_the_last_moment_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reconciler acts after the task's last look, and before the withdrawal: that is seen after it."""
    world, whole = retried()
    monkeypatch.setattr(whole.port, "sleep", lambda _: None)
    right = whole.port.write

    def write(ledger: Ledger) -> None:
        for run in world.due() if ledger.asks is None else ():
            world.resume(run)
        right(ledger)

    monkeypatch.setattr(whole.port, "write", write)
    many.send(whole)
    assert whole.board.status(0) is Status.ACTIVE


@pytest.mark.parametrize(
    ("state", "child_tries", "status"),
    [
        ("success", 1, Status.DONE),
        ("running", 1, Status.ACTIVE),
        (None, 1, Status.MISSING),
        (None, 2, Status.ACTIVE),
    ],
)
def test_a_person_is_first(
    monkeypatch: pytest.MonkeyPatch, state: str | None, child_tries: int, status: Status
) -> None:
    world, whole = retried(tolerated=1, child_tries=child_tries)
    (run_id, run), *_ = world.runs.items()

    def act(_seconds: float) -> None:
        if state is None:
            world.runs.pop(run_id, None)
        else:
            run.state = state

    monkeypatch.setattr(whole.port, "sleep", act)
    many.send(whole)
    assert whole.board.status(0) is status
    assert run.clear_number == 0


def test_a_run_that_is_gone_when_it_is_its_turn_is_sent_again() -> None:
    world, whole = retried()
    run_id = next(iter(world.runs))
    del world.runs[run_id]
    many.send(whole)
    assert (whole.board.status(0), len(world.runs)) == (Status.ACTIVE, 3)
    assert run_id in world.runs


def test_a_run_that_fails_again_is_resumed_as_often_as_the_task_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    world, whole = retried(1, 1, child_tries=2)
    let_all_be_resumed(world, whole, monkeypatch)
    (run,) = world.runs.values()
    for clear_number in (1, 2):
        many.send(whole)
        assert (run.clear_number, whole.board.status(0)) == (clear_number, Status.ACTIVE)
        run.state = "failed"
        if clear_number == 1:
            many.note_ends(whole, [(0, "failed")])
    with pytest.raises(ItemsFailedError) as raised:
        many.note_ends(whole, [(0, "failed")])
    assert "continue from where it failed" in raised.value.explain(has_next_try=True)


def test_a_failed_run_that_is_met_when_it_is_sent_is_resumed(monkeypatch: pytest.MonkeyPatch) -> None:
    """An earlier request arrived late, and its run has failed since."""
    world, whole = retried()
    run_id, run = next(iter(world.runs.items()))
    let_all_be_resumed(world, whole, monkeypatch)
    whole.board.set(0, Status.PENDING)
    many.send(whole)
    assert (whole.board.status(0), run.clear_number, next(iter(world.runs))) == (Status.ACTIVE, 1, run_id)


def test_a_run_that_a_person_has_cleared_before_its_turn_is_adopted() -> None:
    world, whole = retried()
    run = next(iter(world.runs.values()))
    run.state, run.clear_number = "running", 1
    many.send(whole)
    assert (whole.board.status(0), run.clear_number) == (Status.ACTIVE, 1)
    assert stored_asks(world)[-1] is None


class Unreadable:
    """The port of an item that can be looked up only a few times."""

    def __init__(self, port: Any, left: list[int], *, is_transient: bool) -> None:  # noqa: ANN401 - a port
        self._port, self._left, self._is_transient = port, left, is_transient

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever it is
        """Do all else as the right port does."""
        return getattr(self._port, name)

    def look_up(self, dag_id: str, run_id: str, *, is_detailed: bool) -> Any:  # noqa: ANN401 - a run
        """Count down."""
        self._left[0] -= 1
        if self._left[0] < 0:
            raise LookUpFailedError(dag_id, run_id, "HTTP 503", is_transient=self._is_transient)
        return self._port.look_up(dag_id, run_id, is_detailed=is_detailed)


@pytest.mark.parametrize(("before", "is_transient"), [(1, False), (1, True), (5, False)])
def test_a_run_that_cannot_be_looked_up_ends_the_try(
    monkeypatch: pytest.MonkeyPatch,
    before: int,
    is_transient: bool,  # noqa: FBT001 - the cases
) -> None:
    """1: at once after it was asked for; 5: after the withdrawal."""
    _, whole = retried()
    right, left = whole.port.item, [before]
    monkeypatch.setattr(whole.port, "sleep", lambda _: None)
    monkeypatch.setattr(whole.port, "item", lambda index: Unreadable(right(index), left, is_transient=is_transient))
    with pytest.raises(LookUpFailedError) as raised:
        many.send(whole)
    assert "had asked the reconciler" in str(raised.value)


def test_a_consumed_outcome_resumes_nothing() -> None:
    world, whole = retried(2, 1, tolerated=1)
    whole.board.set(0, Status.FAILED)
    whole.board.set(1, Status.DONE)
    many.finish(whole)
    world.current = 3
    third = open_many(
        SimulatedPort(world, 3, whole.port.confs),  # type: ignore[attr-defined] # the simulated one
        replace(ATTEMPT, try_number=3, task_instance_id="ti-3"),
        request=RESUME,
        tolerated=1,
    )
    many.begin(third)
    many.send(third)
    assert [third.board.status(index) for index in range(2)] == [Status.FAILED, Status.DONE]
    assert third.is_settled


FAIL = replace(REQUEST, on_child_failure=OnChildFailure.FAIL)


@pytest.mark.parametrize(("state", "is_terminal"), [("failed", True), (None, False)])
def test_failed_is_failed(state: str | None, is_terminal: bool) -> None:  # noqa: FBT001 - the cases
    """What was deleted is sent again by another try, so it does not end the task."""
    _, whole = retried(request=FAIL, failed=0)
    many.send(whole)
    with pytest.raises(ItemsFailedError) as raised:
        many.note_ends(whole, [(0, state)])
    assert raised.value.is_terminal is is_terminal


def test_what_failed_in_an_earlier_try_is_not_started_again() -> None:
    world, whole = retried(request=FAIL, tolerated=1)
    many.send(whole)
    assert (whole.board.status(0), len(world.runs)) == (Status.FAILED, 3)


def test_what_failed_stays_failed_where_other_items_have_moved() -> None:
    """Without keys all runs are compared then. Nobody has cleared the task, so only what has changed is started."""
    world, port = open_world(3)
    first = open_many(port, request=FAIL)
    many.begin(first)
    many.send(first)
    next(iter(world.runs.values())).state = "failed"
    world.current = 2
    edited = (*port.confs[:2], ("2", "another"))
    second = open_many(
        SimulatedPort(world, 2, edited), replace(ATTEMPT, try_number=2, task_instance_id="ti-2"), request=FAIL
    )
    many.begin(second)
    assert [second.board.status(index) for index in range(3)] == [Status.FAILED, Status.ACTIVE, Status.WAITED_OUT]


# What is asked, and what is done about it.


@pytest.mark.parametrize(
    ("asks", "stored"),
    [
        (Asks(resume_items=(("n0", 0), ("iwest_r1", 2))), {"resume_items": {"n0": 0, "iwest_r1": 2}}),
        (Asks(OnParentEnd.CANCEL, resume_items=(("n0", 3),)), {"on_parent_end": "cancel", "resume_items": {"n0": 3}}),
    ],
)
def test_what_a_ledger_asks_for_survives_its_stored_form(asks: Asks, stored: dict[str, Any]) -> None:
    ledger = replace(LEDGER, asks=asks)
    assert dump(ledger)["asks"] == stored
    assert load(json.loads(json.dumps(dump(ledger)))) == ledger
    assert without_action(asks) == asks_of(asks.on_parent_end)


@pytest.mark.parametrize("items", [[], {"n0": "1"}, {"n0": True}, "n0"])
def test_what_no_ledger_asks_for(items: object) -> None:
    with pytest.raises(RecordDamagedError):
        load({**dump(LEDGER), "asks": {"resume_items": items}})


@pytest.mark.parametrize("key", [None, "north", "a b/ü", "x" * 80, "inorth_r1"])
@pytest.mark.parametrize("epoch", [0, 2])
def test_the_part_of_a_run_id_that_says_which_item_it_is(key: str | None, epoch: int) -> None:
    items = Items(1) if key is None else Items.of_keys([key])
    first, second = (items.run_id(PARENT, 0, epoch=epoch, generation=generation) for generation in (0, 12))
    assert first.endswith(f"_{item_part(first)}")
    assert item_part(second) == f"{item_part(first)}_r12"
    assert item_part(child_run_id(PARENT, epoch=epoch, call=1, generation=1)) == ""


def decided(
    asks: Asks | None,
    parent: Callable[[ParentNow], ParentNow] = lambda now: now,
    name: str = "n0",
    **child: Any,  # noqa: ANN401 - ChildNow's own
) -> tuple[Act, Reason]:
    """Return what is decided about a failed run of a task that runs."""
    run_id = Items(9).run_id(PARENT, int(name[1:]), epoch=0, generation=0)
    run = ChildNow("child", run_id, "failed", 0, None, None, None, None, is_from_task=True)
    now = parent(WAITING)
    verdict = decide(Entry(replace(LEDGER, asks=asks), 0, "", EPOCH), now, replace(run, **child), EPOCH)
    return verdict.act, verdict.reason


def test_a_run_is_resumed_as_it_was_asked_for_and_while_that_try_waits() -> None:
    asks = Asks(resume_items=(("n0", 0),))
    asked = (Act.RESUME, Reason.ASKED)
    assert decided(asks) == asked
    assert decided(asks, lambda now: replace(now, state="deferred")) == asked
    assert decided(asks, clear_number=1) == (Act.NOTHING, Reason.OVERTAKEN)
    assert decided(asks, state="running") == (Act.NOTHING, Reason.OVERTAKEN)
    assert decided(asks, name="n1") == (Act.NOTHING, Reason.NOT_ASKED)
    assert decided(asks, lambda now: replace(now, task_instance_id="ti-2")) == (Act.NOTHING, Reason.SUPERSEDED)
    assert decided(asks, lambda now: replace(now, state="up_for_retry")) == (Act.NOTHING, Reason.SUPERSEDED)
    unseen = decide(Entry(replace(LEDGER, asks=asks), 0, "", EPOCH), WAITING, None, EPOCH)
    assert (unseen.act, unseen.reason, unseen.is_settled) == (Act.NOTHING, Reason.CHILD_MISSING, False)
    both = replace(asks, on_parent_end=OnParentEnd.CANCEL)
    assert decided(both) == asked
    assert decided(both, lambda now: replace(now, state="failed"), state="running")[0] is Act.CANCEL


def test_an_action_of_one_child_in_a_ledger_and_items_in_its_record_are_none() -> None:
    assert decided(Asks(action=Action(ActionKind.RESUME, 0, "failed")))[0] is Act.NOTHING
    run_id = Items(1).run_id(PARENT, 0, epoch=0, generation=0)
    run = ChildNow("child", run_id, "failed", 0, None, None, None, None, is_from_task=True)
    record = load(dump(LEDGER)).record_of(REQUEST, run_id, 0, False)
    record = replace(record, task_instance_id="ti-1", asks=Asks(resume_items=(("n0", 0),)))
    assert decide(Entry(record, 0, "", EPOCH), WAITING, run, EPOCH).act is Act.NOTHING


@pytest.mark.parametrize(
    ("items", "is_known"),
    [
        ([("n0", 0)], True),
        ([("n0", 10**9)], False),
        ([("n" * 300, 0)], False),
        ([("n0\n", 0)], False),
        ([(f"n{number}", 0) for number in range(RESUMED_AT_ONCE)], True),
        ([(f"n{number}", 0) for number in range(RESUMED_AT_ONCE + 1)], False),
    ],
)
def test_a_ledger_that_asks_for_too_much_is_not_believed(items: list[tuple[str, int]], is_known: bool) -> None:  # noqa: FBT001
    assert is_plain(replace(LEDGER, asks=Asks(resume_items=tuple(items))), 1) is is_known
