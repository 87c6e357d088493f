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
from airflow_durable.core.model import Mode, OnClear
from tests.schedules.many_world import EPOCH, PARENT, Run, SimulatedPort

from .test_many import ATTEMPT, REQUEST, open_many, open_world

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_durable.core.model import Attempt, Request
    from tests.schedules.many_world import World

LIFE = replace(PARENT, started_at=EPOCH + timedelta(days=1))
"""The present life of the parent. The runs of an earlier one are of the day before."""

FIRST = replace(ATTEMPT, parent=LIFE)
RETRY = replace(FIRST, try_number=2, task_instance_id="ti-2")
CLEARED = replace(RETRY, max_tries=4, clear_number=1)
BEFORE = EPOCH + timedelta(hours=1)


def keyed(count: int) -> Items:
    """Return items whose keys are their positions."""
    return Items.of_keys([str(index) for index in range(count)])


def old_run(world: World, index: int, generation: int, state: str, conf: str = "old", **of: Any) -> Run:  # noqa: ANN401
    """
    Let an item have a run of an earlier life.

    :param of: ``items``, if they have no keys.
    """
    items = of.get("items", keyed(len(world.items)))
    run_id = items.run_id(PARENT, index, epoch=0, generation=generation)
    world.runs[run_id] = Run(run_id, (str(index), conf), None, state, is_stray=True, asked_at=BEFORE)
    return world.runs[run_id]


def request_of(world: World, **options: Any) -> Request:  # noqa: ANN401 - Request's own
    """Return a request. Where there is no store, a task cannot choose the date by which it knows its runs."""
    return replace(REQUEST, is_run_after_ours=world.scenario.has_store, **options)


def open_try(world: World, attempt: Attempt = FIRST, confs: Any = None, **goal: Any) -> many.Many:  # noqa: ANN401
    """Return a try as it is before it has begun."""
    world.current = attempt.try_number
    world.seconds = max(world.seconds, 86_400)
    port = SimulatedPort(world, attempt.try_number, confs or world.items, attempt.parent)
    return open_many(port, attempt, **{"items": keyed(len(port.confs)), "request": request_of(world), **goal})


def begin(world: World, attempt: Attempt = FIRST, confs: Any = None, **goal: Any) -> many.Many:  # noqa: ANN401
    """Begin a try, send nothing."""
    whole = open_try(world, attempt, confs, **goal)
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
    request = request_of(world, mode=mode)
    whole = begin(world, request=request)
    many.send(whole)
    with counted() as calls:
        again = begin(world, RETRY, request=request)
    assert generations(again) == [0, 0]
    assert calls["count"] == counts


# A first try that meets a run which is queued (3.2): nothing in it says of which life it is.


@pytest.mark.parametrize("on_clear", [OnClear.AUTO, OnClear.FRESH])
def test_a_first_try_waits_out_a_queued_run_with_another_conf(on_clear: OnClear) -> None:
    world, _ = open_world(2, has_store=False)
    request = request_of(world, on_clear=on_clear)
    old = [old_run(world, index, 0, "queued", conf) for index, conf in enumerate(["old", "1"])]
    whole = begin(world, request=request)
    many.send(whole)
    assert statuses(whole) == [Status.WAITED_OUT, Status.ACTIVE], "the other one has the conf of its item"
    assert world.runs == {run.run_id: run for run in old}
    old[0].state = "success"
    many.note_ends(whole, [(0, "success")])
    many.send(whole)
    assert [run.conf for run in own(world)] == [("0", "1")]
    assert (generations(whole), whole.board.status(0)) == ([1, 0], Status.ACTIVE)
    assert not whole.ledger.is_cleared_before(FIRST), "all is sent: a later try continues from there"


@pytest.mark.parametrize("has_store", [False, True])
def test_runs_of_another_life_that_have_ended_are_no_clear(has_store: bool) -> None:  # noqa: FBT001 - the cases
    """They are known as others'. A retry does not have to compare what this try has sent."""
    world, _ = open_world(2, has_store=has_store)
    old_run(world, 0, 0, "success")
    whole = begin(world)
    assert not whole.board.by_clear
    assert not whole.ledger.is_cleared_before(FIRST)


def test_a_first_try_that_begins_again_keeps_what_it_has_sent_whatever_the_confs_are_by_now() -> None:
    """It was deferred, and an item was added and another one edited meanwhile: as in a retry, the key tells."""
    world, _ = open_world(1, has_store=False)
    whole = begin(world)
    many.send(whole)
    again = open_try(world, confs=[("0", "2"), ("1", "1")])
    many.begin(again, whole.ledger)
    assert statuses(again) == [Status.ACTIVE, Status.PENDING]


def test_without_keys_a_first_try_adopts_no_other_items_queued_run() -> None:
    """Of some twenty runs not all are compared to see whether the list has moved. Here the one that is not."""
    world, _ = open_world(20, has_store=False)
    for index in range(20):
        old_run(world, index, 0, "queued", "old" if index == 1 else "1", items=Items(20))
    whole = begin(world, items=Items(20), request=request_of(world, on_clear=OnClear.ADOPT))
    assert [index for index in range(20) if whole.board.status(index) is Status.WAITED_OUT] == [1]
