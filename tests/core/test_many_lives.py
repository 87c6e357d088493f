"""Many children of a Dag run that was deleted and created again under its name: whose a run is."""

from __future__ import annotations

import json
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
from airflow_durable.core.ledger import dump, load
from airflow_durable.core.model import Mode, OnClear
from tests.schedules.many_world import EPOCH, PARENT, ItemPort, Run, SimulatedPort

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


# A first try on 3.0 and 3.1, where a look-up says nothing but the state: it starts where no run is.


def open_blind(count: int) -> World:
    """Return a world in which a look-up says nothing but the state."""
    return open_world(count, has_store=False, has_details=False)[0]


@pytest.mark.parametrize(
    "states", [["success"], ["failed", "success"], ["failed", "failed", "success"], ["success"] * 25]
)
def test_a_first_try_starts_where_no_life_of_before_had_a_run(states: list[str]) -> None:
    world = open_blind(1)
    for generation, state in enumerate(states):
        old_run(world, 0, generation, state)
    whole = begin(world)
    many.send(whole)
    assert [run.state for run in own(world)] == ["queued"]
    assert (generations(whole), statuses(whole)) == ([len(states)], [Status.ACTIVE])


def test_a_first_try_waits_out_the_newest_run_of_a_life_of_before() -> None:
    """Of one item a retry's run is active, of another one the first run, and one has none."""
    world = open_blind(3)
    old_run(world, 0, 0, "failed")
    retried, first = old_run(world, 0, 1, "running"), old_run(world, 1, 0, "queued")
    whole = begin(world)
    many.send(whole)
    assert statuses(whole) == [Status.WAITED_OUT, Status.WAITED_OUT, Status.ACTIVE]
    assert [run.key for run in own(world)] == ["2"]
    retried.state = first.state = "success"
    many.note_ends(whole, [(0, "success"), (1, "success")])
    many.send(whole)
    assert (statuses(whole), generations(whole)) == ([Status.ACTIVE] * 3, [2, 2, 2])
    assert sorted(run.key for run in own(world)) == ["0", "1", "2"]


def test_a_retry_continues_what_a_first_try_has_started_behind_runs_of_a_life_of_before() -> None:
    world = open_blind(2)
    old_run(world, 0, 0, "failed")
    old_run(world, 0, 1, "success")
    old_run(world, 1, 0, "success")
    whole = begin(world)
    many.send(whole)
    one, other = own(world)
    one.state = "failed"
    again = begin(world, RETRY)
    many.send(again)
    assert (generations(again), statuses(again)) == ([3, 2], [Status.ACTIVE] * 2)
    assert [run.state for run in own(world)] == ["failed", other.state, "queued"]


def test_a_run_of_a_life_of_before_that_is_gone_when_it_is_looked_up_gives_its_place_to_none() -> None:
    """Below the first free generation the run ids are of another life: this try asks for none of them."""
    world = open_blind(2)
    gone = old_run(world, 0, 0, "success")
    old_run(world, 1, 0, "failed")
    old_run(world, 1, 1, "success")
    whole = open_try(world)
    right = ItemPort.look_up

    def look_up(port: ItemPort, dag_id: str, run_id: str, **options: Any) -> Any:  # noqa: ANN401 - as the right one
        world.runs.pop(gone.run_id, None)
        return right(port, dag_id, run_id, **options)

    with patch.object(ItemPort, "look_up", look_up):
        many.begin(whole)
    many.send(whole)
    assert generations(whole) == [2, 2]
    assert len(own(world)) == 2


@pytest.mark.parametrize("is_blind", [False, True])
def test_a_first_try_that_finds_no_run_counts_once(is_blind: bool) -> None:  # noqa: FBT001 - the cases
    world = open_blind(3) if is_blind else open_world(3, has_store=False)[0]
    with counted() as calls:
        whole = begin(world)
    assert calls == {"count": 1}
    assert (whole.ledger.first, whole.ledger.generation) == (0, 0)


# Such a try is deferred, and begins again.


@pytest.mark.parametrize("on_clear", OnClear)
def test_a_first_try_that_begins_again_takes_no_run_of_a_life_of_before(on_clear: OnClear) -> None:
    """One item is sent, one is waited out, and two are to be sent when an item is added."""
    world = open_blind(4)
    request = request_of(world, on_clear=on_clear)
    old_run(world, 0, 0, "failed")
    old = [old_run(world, index, int(index == 0), "success") for index in (0, 2, 3)]
    waited_out = old_run(world, 1, 0, "queued")
    whole = begin(world, request=request, max_active=2)
    many.send(whole)
    # With "failed" (ADOPT) an active run counts, whatever its conf is.
    second = Status.ACTIVE if on_clear is OnClear.ADOPT else Status.WAITED_OUT
    assert statuses(whole) == [Status.ACTIVE, second, Status.PENDING, Status.PENDING]
    confs = [*world.items, ("4", "1")]
    again = open_try(world, confs=confs, request=request)
    many.begin(again, load(json.loads(json.dumps(dump(whole.ledger)))))
    many.send(again)
    assert statuses(again) == [Status.ACTIVE, second, Status.ACTIVE, Status.ACTIVE, Status.ACTIVE]
    waited_out.state = "success"
    many.note_ends(again, [(1, "success")])
    many.send(again)
    started = ["0", "2", "3", "4"] if on_clear is OnClear.ADOPT else ["0", "1", "2", "3", "4"]
    assert sorted(run.key for run in own(world)) == started
    assert {again.board.generation(int(key)) for key in started} == {2}
    assert all(run.state == "success" for run in old)


def test_a_first_try_that_starts_another_dag_by_now_takes_no_run_of_a_life_of_before() -> None:
    """The Dag is edited while the task is deferred, as it was in an earlier life."""
    world = open_blind(1)
    old_run(world, 0, 0, "success")
    whole = begin(world)
    many.send(whole)
    for run in own(world):
        run.state = "success"
    items = keyed(1)
    for generation in range(2):
        run_id = items.run_id(PARENT, 0, epoch=1, generation=generation)
        run = Run(run_id, ("0", "old"), None, "success", is_stray=True, dag_id="other")
        world.runs[run.name] = run
    world.ask += 1
    again = open_try(world, request=request_of(world, dag_id="other"))
    many.begin(again, whole.ledger)
    many.send(again)
    assert (again.ledger.epoch, generations(again)) == (1, [2])
    assert [(run.dag_id, run.state) for run in own(world)] == [("child", "success"), ("other", "queued")]
