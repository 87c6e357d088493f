"""Many children: a run that does not leave the queue in time counts as failed, and nothing is started beside it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from airflow_durable.core import many
from airflow_durable.core.board import Board, Status
from airflow_durable.core.items import Items
from airflow_durable.core.many_errors import ItemsFailedError
from airflow_durable.core.many_timeouts import SHARE
from tests.schedules import many_world
from tests.schedules.many_world import Run, SimulatedPort

from .test_many import ATTEMPT, REQUEST, open_many, open_world

if TYPE_CHECKING:
    from tests.schedules.many_world import World

LIMIT = 1_000
TIMED = replace(REQUEST, start_timeout_seconds=float(LIMIT))


def sent(count: int, **goal: Any) -> tuple[World, many.Many]:  # noqa: ANN401 - Goal's own
    """Return a try that has asked for its runs."""
    world, port = open_world(count)
    whole = open_many(port, request=TIMED, **goal)
    many.begin(whole)
    many.send(whole)
    return world, whole


def pass_time(world: World) -> None:
    """Let the timeout pass."""
    world.seconds += LIMIT * (SHARE + 1) // SHARE


def statuses(whole: many.Many) -> list[Status]:
    """Return the status of each item."""
    return [whole.board.status(index) for index in range(whole.goal.items.count)]


def test_without_a_timeout_nothing_is_due() -> None:
    _, port = open_world()
    whole = open_many(port)
    many.begin(whole)
    many.send(whole)
    assert whole.board.queued_since == {}
    assert many.wake_of(whole, 60).due_at is None
    assert "queued_since" not in whole.board.dump()


def test_a_run_that_is_queued_for_too_long_counts_as_failed() -> None:
    world, whole = sent(3, tolerated=1)
    first, second, third = world.runs.values()
    first.state, third.state = "running", "success"
    many.note_ends(whole, [(2, "success")])
    before = many.wake_of(whole, 60).due_at
    assert before is not None
    assert before <= world.now().timestamp() + LIMIT * (SHARE + 1) / SHARE
    many.send(whole)
    assert Status.OVERDUE not in statuses(whole), "it is not late yet"
    pass_time(world)
    many.send(whole)
    assert statuses(whole) == [Status.ACTIVE, Status.OVERDUE, Status.DONE]
    assert whole.failed_items(9) == [("1", second.run_id, Status.OVERDUE)]
    assert many.wake_of(whole, 60).due_at is None, "a run that has left the queue is not asked about again"
    many.note_ends(whole, [(1, "success")])
    assert whole.board.status(1) is Status.OVERDUE
    assert whole.board.is_over is False


def test_the_task_fails_and_says_why() -> None:
    world, whole = sent(2)
    pass_time(world)
    with pytest.raises(ItemsFailedError, match=r"2 of them are still queued after start_timeout \(1000 s\)") as raised:
        many.send(whole)
    assert raised.value.is_terminal
    assert "2 child runs are still active" in str(raised.value)


def test_another_try_helps_what_has_failed() -> None:
    world, whole = sent(3, tolerated=1)
    many.note_ends(whole, [(0, "failed")])
    with pytest.raises(ItemsFailedError) as raised:
        many.note_ends(whole, [(1, "failed")])
    assert not raised.value.is_terminal
    pass_time(world)
    with pytest.raises(ItemsFailedError) as raised:
        many.send(whole)
    assert not raised.value.is_terminal


def test_another_try_adopts_it() -> None:
    world, whole = sent(1)
    pass_time(world)
    with pytest.raises(ItemsFailedError):
        many.send(whole)
    world.current = 2
    second = open_many(
        SimulatedPort(world, 2, world.items), replace(ATTEMPT, try_number=2, task_instance_id="ti-2"), request=TIMED
    )
    many.begin(second)
    many.send(second)
    assert (statuses(second), len(world.runs)) == ([Status.ACTIVE], 1)


def test_the_window_has_room_beside_it() -> None:
    world, whole = sent(2, tolerated=1, max_active=1)
    assert len(world.runs) == 1
    pass_time(world)
    many.send(whole)
    assert statuses(whole) == [Status.OVERDUE, Status.ACTIVE]


def test_runs_of_all_generations_are_asked_about() -> None:
    world, whole = sent(2, tolerated=1, child_tries=2)
    (first, _) = world.runs.values()
    first.state = "failed"
    many.note_ends(whole, [(0, "failed")])
    many.send(whole)
    assert whole.board.generation(0) == 1
    list(world.runs.values())[1].state = "running"
    pass_time(world)
    many.send(whole)
    assert statuses(whole) == [Status.OVERDUE, Status.ACTIVE]


@pytest.mark.parametrize("state", ["queued", "running"])
def test_a_consumed_outcome_says_it_again(state: str) -> None:
    """Also of a run that has left the queue since: it has not succeeded, and has no result."""
    world, whole = sent(2, tolerated=1)
    world.runs[whole.run_id(0)].state = "success"
    many.note_ends(whole, [(0, "success")])
    pass_time(world)
    many.send(whole)
    assert whole.board.is_over
    many.finish(whole)
    world.runs[whole.run_id(1)].state = state
    world.current = 2
    second = open_many(
        SimulatedPort(world, 2, world.items),
        replace(ATTEMPT, try_number=2, task_instance_id="ti-2"),
        request=TIMED,
        tolerated=1,
    )
    many.begin(second)
    many.send(second)
    assert second.is_settled
    assert statuses(second) == [Status.DONE, Status.OVERDUE]


def test_the_clock_survives_a_deferral() -> None:
    items = Items(6)
    board = Board(items)
    for index in range(6):
        board.set(index, Status.ACTIVE)
    board.queued_since.update({0: 10.5, 1: 10.5, 2: 10.5, 4: 20.0})
    dumped = json.loads(json.dumps(board.dump()))
    assert dumped["queued_since"] == {"10.5": "0-2", "20.0": "4"}
    loaded = Board.load(items, dumped)
    assert loaded.queued_since == board.queued_since
    del dumped["queued_since"]
    assert Board.load(items, dumped).queued_since == {}
    loaded.set(1, Status.DONE)
    assert 1 not in loaded.queued_since


def test_of_ten_thousand_items_a_few_counts_tell_which_are_queued(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(many_world, "MOST_STEPS", 100_000)
    world, port = open_world(10_000)
    whole = open_many(port, request=TIMED, tolerated=10_000)
    many.begin(whole)
    for index in range(10_000):
        run_id = whole.run_id(index)
        world.runs[run_id] = Run(run_id, (str(index), "1"), None, "running" if index < 1_016 else "queued")
        whole.take(index)
    assert len(json.dumps(whole.board.dump())) < 10_000
    world.seconds += 10 * LIMIT + 10_000
    before = port.steps
    many.send(whole)
    assert whole.board.overdue == 10_000 - 1_016
    assert port.steps - before < 60


def test_a_wait_ends_when_a_run_may_be_late() -> None:
    wake = many.Wake(failures_left=0, is_more_to_send=False, enough=1, patience_seconds=60, due_at=5.0)
    assert wake.is_due(ended=0, failed=0, left=3, since_first_seconds=0, is_late=True)
    assert not wake.is_due(ended=0, failed=0, left=3, since_first_seconds=0)


def test_a_run_is_due_when_its_time_is_over_and_not_before() -> None:
    world, whole = sent(1)
    since = whole.board.queued_since[0]
    assert many.wake_of(whole, 60).due_at == since + LIMIT
    world.seconds = int(since - many_world.EPOCH.timestamp()) + LIMIT - 2
    many.send(whole)
    assert statuses(whole) == [Status.ACTIVE]
    with pytest.raises(ItemsFailedError):
        many.send(whole)
