"""Many children of a Dag run that was deleted and created again under its name: whose a run is."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import pytest

from airflow_durable.core import many
from airflow_durable.core.board import Status
from airflow_durable.core.items import Items
from airflow_durable.core.model import Mode
from tests.schedules.many_world import EPOCH, PARENT, Run, SimulatedPort

from .test_many import ATTEMPT, REQUEST, open_many, open_world

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_durable.core.model import Attempt
    from tests.schedules.many_world import World

LIFE = replace(PARENT, started_at=EPOCH + timedelta(days=1))
"""The present life of the parent. The runs of an earlier one are of the day before."""

FIRST = replace(ATTEMPT, parent=LIFE)
RETRY = replace(FIRST, try_number=2, task_instance_id="ti-2")
CLEARED = replace(RETRY, max_tries=4, clear_number=1)
BEFORE = EPOCH + timedelta(hours=1)


def old_run(world: World, index: int, generation: int, state: str, conf: str = "old") -> Run:
    """Let an item have a run of an earlier life."""
    run_id = Items(len(world.items)).run_id(PARENT, index, epoch=0, generation=generation)
    world.runs[run_id] = Run(run_id, (str(index), conf), None, state, is_stray=True, asked_at=BEFORE)
    return world.runs[run_id]


def begin(world: World, attempt: Attempt = FIRST, confs: Any = None, **goal: Any) -> many.Many:  # noqa: ANN401
    """Begin a try, send nothing."""
    world.current = attempt.try_number
    world.seconds = max(world.seconds, 86_400)
    port = SimulatedPort(world, attempt.try_number, confs or world.items, attempt.parent)
    whole = open_many(port, attempt, **goal)
    many.begin(whole)
    return whole


def own(world: World) -> list[Run]:
    """Return the runs of the present life."""
    return [run for run in world.runs.values() if not run.is_stray]


@contextmanager
def counted() -> Iterator[Counter[str]]:
    """Count the calls that are made, by their kind."""
    made: Counter[str] = Counter()
    right = SimulatedPort.call

    def call(port: SimulatedPort, what: str, effect: Any) -> Any:  # noqa: ANN401 - as the right one
        made[what] += 1
        return right(port, what, effect)

    with patch.object(SimulatedPort, "call", call):
        yield made


def generations(whole: many.Many) -> list[int]:
    return [whole.board.generation(index) for index in range(whole.goal.items.count)]


def statuses(whole: many.Many) -> list[Status]:
    return [whole.board.status(index) for index in range(whole.goal.items.count)]


# Without a record: an own run lies behind those of other lives, or of more child_tries.


@pytest.mark.parametrize("lives", [1, 2, 3, 20])
@pytest.mark.parametrize("attempt", [RETRY, CLEARED], ids=["retry", "clear"])
def test_a_lost_ledger_hides_no_active_run_behind_runs_of_other_lives(lives: int, attempt: Attempt) -> None:
    world, _ = open_world(2, has_store=False)
    for generation in range(lives):
        old_run(world, 0, generation, "success", "1")
    whole = begin(world)
    many.send(whole)
    assert generations(whole) == [lives, 0]
    again = begin(world, attempt)
    many.send(again)
    assert generations(again) == generations(whole)
    assert statuses(again) == [Status.ACTIVE, Status.ACTIVE]
    assert len(own(world)) == 2


def test_fewer_child_tries_after_a_clear_hide_no_active_run() -> None:
    """An item had failed four times in one try, which is tolerated now. Its fifth run is active."""
    world, _ = open_world(2)
    whole = begin(world, child_tries=5)
    many.send(whole)
    for _ in range(4):
        world.runs[whole.run_id(1)].state = "failed"
        many.note_ends(whole, [(1, "failed")])
        many.send(whole)
    world.runs[whole.run_id(0)].state = "success"
    world.store.clear()
    again = begin(world, CLEARED, tolerated=1)
    many.send(again)
    assert (generations(again), again.board.status(1)) == ([0, 4], Status.ACTIVE)
    assert [run.state for run in world.runs.values()].count("queued") == 1


@pytest.mark.parametrize(("mode", "counts"), [(Mode.WAIT, 4), (Mode.FIRE_AND_FORGET, 2)])
def test_a_retry_without_a_ledger_counts_no_more_than_it_has_to(mode: Mode, counts: int) -> None:
    """Two generations may exist. The second is empty, so no third one is counted."""
    world, _ = open_world(2, has_store=False, mode=mode)
    request = replace(REQUEST, mode=mode)
    whole = begin(world, request=request)
    many.send(whole)
    with counted() as calls:
        again = begin(world, RETRY, request=request)
    assert generations(again) == [0, 0]
    assert calls["count"] == counts
