"""What a task with many children writes into its ledger, field by field, and what it says."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from airflow_durable.core import many
from airflow_durable.core.asks import asks_of
from airflow_durable.core.board import Status
from airflow_durable.core.items import Items
from airflow_durable.core.ledger import Ledger, load
from airflow_durable.core.many_begin import QUIET_PAUSE_SECONDS
from airflow_durable.core.many_errors import ItemsFailedError
from airflow_durable.core.model import Decision, Mode, OnClear, OnParentEnd, Phase, Proof
from airflow_durable.core.record import CLEARED
from airflow_durable.core.run_ids import tag_of_life
from tests.schedules.many_world import EPOCH, PARENT, SimulatedPort

from .test_many import ATTEMPT, REQUEST, open_many, open_world

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_durable.core.model import Attempt
    from tests.schedules.many_world import World

KEYS = Items.of_keys(["north", "south"])
FIRST = Ledger(
    dag_id="child",
    run_id=KEYS.run_id(PARENT, 0, epoch=0, generation=0),
    proof=Proof.RUN_ID,
    mode=Mode.WAIT,
    max_tries=3,
    clear_number=0,
    task_instance_id="ti-1",
    count=2,
    digest=KEYS.digest,
    is_clean=True,
)
"""As the first try of a task writes it, where nothing is there yet."""

RETRY = replace(ATTEMPT, try_number=2, task_instance_id="ti-2")
CLEAR = replace(RETRY, max_tries=4, clear_number=1)


class TellingPort(SimulatedPort):
    """Notes what is said, and how long is slept."""

    def __init__(self, world: World, number: int, confs: Sequence[tuple[str, str]]) -> None:
        super().__init__(world, number, confs)
        self.told: list[Decision] = []
        self.changes: list[int] = []
        self.slept: list[float] = []
        self.progress = 0

    def report(self, decision: Any, whole: Any) -> None:  # noqa: ANN401 - see SimulatedPort
        """Note what was decided."""
        assert isinstance(whole, many.Many)
        self.told.append(decision)

    def report_change(self, before: int, whole: Any) -> None:  # noqa: ANN401 - see SimulatedPort
        """Note how many items there were."""
        assert isinstance(whole, many.Many)
        self.changes.append(before)

    def report_progress(self, whole: Any) -> None:  # noqa: ANN401 - see SimulatedPort
        """Note that the whole stands somehow."""
        assert isinstance(whole, many.Many)
        self.progress += 1

    def sleep(self, seconds: float) -> None:
        """Note it."""
        self.slept.append(seconds)
        super().sleep(seconds)


def begin(world: World, attempt: Attempt = ATTEMPT, **goal: Any) -> tuple[many.Many, TellingPort]:  # noqa: ANN401 - Goal's own
    """Let a try begin."""
    world.current = attempt.try_number
    port = TellingPort(world, attempt.try_number, world.items)
    whole = open_many(port, attempt, **{"items": KEYS, **goal})
    many.begin(whole)
    return whole, port


def entry(world: World) -> Ledger:
    """Return the newest entry, without the list of tries."""
    return replace(load(json.loads(world.store[-1])), tries=())


def decisions(world: World) -> list[Decision]:
    """Return what each try has decided."""
    return [it.decision for it in load(json.loads(world.store[-1])).tries]


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("on_parent_end", OnParentEnd)
@pytest.mark.parametrize("is_tagged", [True, False])
def test_a_first_try(mode: Mode, on_parent_end: OnParentEnd, is_tagged: bool) -> None:  # noqa: FBT001
    world, _ = open_world(2)
    request = replace(REQUEST, mode=mode, on_parent_end=on_parent_end, is_run_after_ours=is_tagged)
    _, port = begin(world, request=request)
    tag = tag_of_life(PARENT, 1) if is_tagged else None
    assert entry(world) == replace(FIRST, mode=mode, asks=asks_of(on_parent_end), tag=tag)
    assert port.told == decisions(world) == [Decision.FRESH_SUBMIT]


def sent(world: World, **goal: Any) -> many.Many:  # noqa: ANN401 - Goal's own
    """Return a first try that has asked for its runs, and has died."""
    whole, port = begin(world, **goal)
    many.send(whole)
    assert port.progress == len(whole.goal.items.keys or ())
    return whole


def half_done(world: World) -> many.Many:
    """Return a first try that has failed: of its two items, the second one has succeeded."""
    whole = sent(world)
    first, second = world.runs.values()
    first.state, second.state = "failed", "success"
    with pytest.raises(ItemsFailedError):
        many.note_ends(whole, [(0, "failed"), (1, "success")])
    return whole


def test_a_retry() -> None:
    world, _ = open_world(2)
    tag = sent(world).ledger.tag
    request = replace(REQUEST, mode=Mode.DEFER, on_parent_end=OnParentEnd.CANCEL)
    _, port = begin(world, RETRY, request=request)
    expected = replace(FIRST, mode=Mode.DEFER, asks=asks_of(OnParentEnd.CANCEL), phase=Phase.SENT, tag=tag)
    assert entry(world) == replace(expected, task_instance_id="ti-2")
    assert port.told == [Decision.RECONNECT]
    assert decisions(world) == [Decision.FRESH_SUBMIT, Decision.RECONNECT]
    assert port.changes == []


def test_a_retry_with_another_list() -> None:
    world, _ = open_world(2)
    sent(world)
    world.items = (*world.items, ("2", "1"))
    other = Items.of_keys(["north", "south", "west"])
    _, port = begin(world, RETRY, items=other)
    assert (entry(world).count, entry(world).digest, entry(world).is_clean) == (3, other.digest, True)
    assert port.changes == [2]


def test_a_retry_whose_failed_items_get_another_run() -> None:
    world, _ = open_world(2)
    whole = sent(world)
    world.runs[whole.run_id(1)].state = "failed"
    again, _ = begin(world, RETRY)
    assert entry(world).generation == 0
    many.send(again)
    assert (entry(world).generation, entry(world).max_tries) == (1, 3)
    third, _ = begin(world, replace(RETRY, try_number=3, task_instance_id="ti-3"))
    assert [third.board.generation(index) for index in range(2)] == [0, 1]
    assert (entry(world).generation, entry(world).outdated_before) == (1, None)


def test_a_clear_of_a_task_that_had_succeeded() -> None:
    """All is asked for anew, in an epoch of its own. What is active of the old one is waited for."""
    world, _ = open_world(2)
    whole = sent(world)
    tag = whole.ledger.tag
    for run in world.runs.values():
        run.state = "success"
    many.note_ends(whole, [(0, "success"), (1, "success")])
    many.finish(whole)
    assert entry(world) == replace(FIRST, phase=Phase.CONSUMED, tag=tag)
    world.runs[whole.run_id(0)].state = "running"
    again, port = begin(world, CLEAR)
    assert entry(world) == replace(FIRST, epoch=1, max_tries=4, clear_number=1, task_instance_id="ti-2", tag=tag)
    assert port.told == [Decision.WAIT_OUT, Decision.FRESH_SUBMIT]
    assert port.slept == [QUIET_PAUSE_SECONDS]
    assert again.board.pending == 2


def test_a_clear_that_replaces_a_run() -> None:
    """The clear stays visible until the new run has been asked for; what was replaced stays known after that."""
    world, _ = open_world(2)
    tag = half_done(world).ledger.tag
    world.items = (world.items[0], ("1", "2"))
    again, port = begin(world, CLEAR)
    expected = replace(FIRST, phase=Phase.SENT, clear_number=1, task_instance_id="ti-2", tag=tag, max_tries=CLEARED)
    moment = entry(world).outdated_before
    assert moment is not None
    assert max(run.asked_at for run in world.runs.values() if run.asked_at) < moment
    assert entry(world) == replace(expected, outdated_before=moment)
    assert port.told == [Decision.RECONNECT]
    many.send(again)
    assert entry(world) == replace(expected, outdated_before=moment, generation=1, max_tries=4)
    assert decisions(world) == [Decision.FRESH_SUBMIT, Decision.RECONNECT, Decision.FRESH_SUBMIT]


@pytest.mark.parametrize("is_anything", [True, False])
def test_a_retry_whose_ledger_is_lost(is_anything: bool) -> None:  # noqa: FBT001
    """Its tag is lost, too: the runs are known by when they began."""
    world, _ = open_world(2)
    whole = sent(world)
    if is_anything:
        world.runs[whole.run_id(0)].state = "failed"
        again, _ = begin(world, RETRY)
        many.send(again)
    else:
        world.runs.clear()
    world.store.clear()
    _, port = begin(world, replace(RETRY, try_number=3, task_instance_id="ti-3"))
    generation = 1 if is_anything else 0
    assert entry(world) == replace(FIRST, tag=None, task_instance_id="ti-3", generation=generation)
    assert port.told == [Decision.RECONNECT if is_anything else Decision.FRESH_SUBMIT]


def test_a_clear_with_all_anew_whose_ledger_is_lost() -> None:
    world, _ = open_world(2)
    whole = sent(world)
    world.runs[whole.run_id(0)].state = "success"
    world.store.clear()
    request = replace(REQUEST, on_clear=OnClear.FRESH)
    again, port = begin(world, CLEAR, request=request)
    assert port.slept == [QUIET_PAUSE_SECONDS]
    assert (entry(world).epoch, entry(world).generation, entry(world).max_tries) == (1, 0, 4)
    assert again.board.pending == 2


@pytest.mark.parametrize("is_deleted", [True, False])
def test_a_retry_after_a_clear_that_has_replaced_a_run(is_deleted: bool) -> None:  # noqa: FBT001
    """Its new run is the item's, whatever its conf is by now. If it was deleted, the old one does not count."""
    world, _ = open_world(2)
    half_done(world)
    world.items = (world.items[0], ("1", "2"))
    again, _ = begin(world, CLEAR)
    many.send(again)
    moment = entry(world).outdated_before
    new = world.runs[again.run_id(1)]
    new.state = "success"
    if is_deleted:
        del world.runs[new.run_id]
    world.items = (world.items[0], ("1", "3"))
    third, port = begin(world, replace(CLEAR, try_number=3, task_instance_id="ti-3"))
    assert port.told == [Decision.RECONNECT]
    assert third.board.generation(1) == 1
    assert third.board.status(1) is (Status.PENDING if is_deleted else Status.DONE)
    assert entry(world).outdated_before == moment


@pytest.mark.parametrize(("on_clear", "is_later"), [(OnClear.AUTO, True), (OnClear.ADOPT, False)])
def test_a_later_clear_that_compares_makes_all_that_is_older_outdated(on_clear: OnClear, is_later: bool) -> None:  # noqa: FBT001
    """One that takes what has succeeded, whatever it was asked for, does not: a retry would start that again."""
    world, _ = open_world(2)
    whole = sent(world)
    whole.ledger = replace(whole.ledger, outdated_before=EPOCH)
    whole.write()
    begin(world, CLEAR, request=replace(REQUEST, on_clear=on_clear))
    moment = entry(world).outdated_before
    assert moment is not None
    assert (moment > max(run.asked_at for run in world.runs.values() if run.asked_at)) is is_later
