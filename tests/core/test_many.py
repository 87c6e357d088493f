"""Many children: items, board, ledger, survey, and when the wait for all of them ends."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_durable.core import indices, many
from airflow_durable.core.board import Status
from airflow_durable.core.errors import RunIdsTakenError, SubmissionRefusedError
from airflow_durable.core.items import Items
from airflow_durable.core.ledger import Ledger, load
from airflow_durable.core.many_errors import ItemKeysEqualError, ItemsFailedError
from airflow_durable.core.model import Attempt, Mode, OnClear, OnParentEnd, Proof, Request
from airflow_durable.core.packing import pack_keys, unpack_keys
from airflow_durable.core.run_ids import MAX_LENGTH, date_in, is_generated
from airflow_durable.core.survey import Survey
from tests.schedules.many_world import (
    EPOCH,
    PARENT,
    Chooser,
    Run,
    Scenario,
    SimulatedPort,
    World,
    explore,
    play,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_durable.core.record import Record

ATTEMPT = Attempt(PARENT, "ti-1", 1, 3, 3, 0)
REQUEST = Request("child", None, None, False, True, Mode.WAIT, frozenset({"success"}), frozenset({"failed"}))
KEYS = Items.of_keys(["north", "south", "a b/ü"])


def open_world(count: int = 3, **scenario: Any) -> tuple[World, SimulatedPort]:  # noqa: ANN401 - Scenario's own
    """Return a world in which nothing goes wrong, and the port of its first try."""
    items = tuple((str(number), "1") for number in range(count))
    world = World(Scenario(items, **scenario), Chooser(()), current=1, items=items)
    return world, SimulatedPort(world, 1, items)


def open_many(port: SimulatedPort, attempt: Attempt = ATTEMPT, **goal: Any) -> many.Many:  # noqa: ANN401 - Goal's own
    """Return a try, as it is before it has begun."""
    request = goal.pop("request", REQUEST)
    return many.Many(port, many.Goal(request, goal.pop("items", Items(len(port.confs))), **goal), attempt)


# Items and run ids.


def test_run_ids_differ_by_item_kind_of_identity_epoch_and_generation() -> None:
    made = {
        items.run_id(PARENT, index, epoch=epoch, generation=generation)
        for items in (Items(3), Items.of_keys(["0", "1", "2"]))
        for index in range(3)
        for epoch in range(2)
        for generation in range(2)
    }
    assert len(made) == 24
    assert all(is_generated(run_id) for run_id in made)
    assert {date_in(run_id) for run_id in made} == {EPOCH}


def test_a_run_id_shows_the_key_as_far_as_airflow_admits_it() -> None:
    assert KEYS.run_id(PARENT, 0, epoch=0, generation=0).endswith("_inorth")
    assert re.search(r"_e3_ia-b---[a-z2-7]{12}_r1$", KEYS.run_id(PARENT, 2, epoch=3, generation=1))
    assert Items(3).run_id(PARENT, 2, epoch=0, generation=0).endswith("_n2")
    long = Items.of_keys(["x" * 500]).run_id(PARENT, 0, epoch=1, generation=1)
    assert len(long) < MAX_LENGTH
    assert is_generated(long)


@given(keys=st.lists(st.text(min_size=1) | st.from_regex(r"a-?[a-z2-7]{12}", fullmatch=True), unique=True, min_size=2))
@settings(deadline=None)
def test_no_two_keys_have_one_run_id(keys: list[str]) -> None:
    """A key that cannot be shown whole is told by a digest; one that looks like that is not taken for it."""
    forged = [run_id.rpartition("_i")[2] for run_id in _run_ids(keys)]
    every = list(dict.fromkeys([*keys, *forged]))
    assert len(set(_run_ids(every))) == len(every)


def _run_ids(keys: list[str]) -> list[str]:
    items = Items.of_keys(keys)
    return [items.run_id(PARENT, index, epoch=0, generation=0) for index in range(items.count)]


def test_the_ledger_asks_for_the_whole_set() -> None:
    """What is asked of the reconciler follows the Dag file, also where an earlier try asked for nothing."""
    world, port = open_world(2)
    whole = open_many(port)
    many.begin(whole)
    many.send(whole)
    assert "asks" not in json.loads(world.store[-1])
    request = replace(REQUEST, on_parent_end=OnParentEnd.CANCEL)
    again = open_many(SimulatedPort(world, 1, port.confs), RETRY, request=request)
    many.begin(again)
    assert json.loads(world.store[-1])["asks"] == {"on_parent_end": "cancel"}
    assert load(json.loads(world.store[-1])) == again.ledger
    assert again.record(0, is_recovered=True).asks is None


def test_an_item_is_shown_to_people_by_its_key_or_else_its_position() -> None:
    assert [KEYS.name_of(index) for index in range(2)] == ["north", "south"]
    assert Items(2).name_of(1) == "1"


def test_the_digest_of_keys_never_changes() -> None:
    """It is stored: with another one, every ledger of before an upgrade would be of other items."""
    assert Items.of_keys(["b", "a"]).digest == "3554d2b8a1e34099053865de8576d146"


def test_two_items_with_one_key() -> None:
    with pytest.raises(ItemKeysEqualError, match="positions 1 and 3") as raised:
        Items.of_keys(["a", "secret", "b", "secret"])
    assert "secret" not in str(raised.value)


def test_the_digest_tells_lists_apart_whatever_their_order() -> None:
    lists = [Items(2), Items.of_keys(["a", "b"]), Items.of_keys(["a", "c"]), Items.of_keys(["a"])]
    assert len({(items.count, items.digest) for items in lists}) == 4
    other = Items.of_keys(["b", "a"])
    assert other.digest == lists[1].digest
    ledger = Ledger("child", "x", Proof.RUN_ID, Mode.WAIT, 3, 0, count=2, digest=other.digest)
    assert [ledger.is_of(items) for items in lists] == [False, True, False, False]
    assert Items(2).digest == Items(3).digest


def test_packed_keys() -> None:
    assert unpack_keys(pack_keys(["a", "ü"])) == ["a", "ü"]
    with pytest.raises(ValueError, match=r"^it was not packed here$"):
        unpack_keys("?")


@pytest.mark.parametrize("given", [[], [0], [0, 1, 2], [0, 2, 3, 9], [5]])
def test_positions_as_text(given: list[int]) -> None:
    assert list(indices.load(indices.dump(given))) == given


def test_positions_as_text_are_short() -> None:
    assert indices.dump([*range(1000), 5000]) == "0-999,5000"


# A try.


def test_the_first_try_writes_before_it_sends() -> None:
    world, port = open_world()
    whole = open_many(port)
    many.begin(whole)
    assert (len(world.store), world.runs) == (1, {})
    many.send(whole)
    assert len(world.runs) == 3
    assert not whole.board.is_over


@pytest.mark.parametrize("items", [Items(0), Items.of_keys([])])
def test_no_items(items: Items) -> None:
    world, port = open_world(0)
    whole = open_many(port, items=items)
    many.begin(whole)
    many.send(whole)
    many.finish(whole)
    assert whole.board.is_over
    assert world.store == []


def test_what_is_said_of_failed_items() -> None:
    _, port = open_world(14)
    whole = open_many(port)
    many.begin(whole)
    many.send(whole)
    with pytest.raises(ItemsFailedError, match=r"12 of 14 items failed, and 0 are tolerated.* and 2 more") as raised:
        many.note_ends(whole, [(index, "failed") for index in range(12)])
    assert "2 child runs are still active" in str(raised.value)
    assert "new run for each failed item" in raised.value.explain(has_next_try=True)


def test_an_end_is_told_twice_or_of_what_is_not_waited_for() -> None:
    _, port = open_world()
    whole = open_many(port)
    many.begin(whole)
    many.note_ends(whole, [(0, "success")])
    assert whole.board.status(0) is Status.PENDING
    many.send(whole)
    many.note_ends(whole, [(0, "running"), (1, "success"), (1, "failed")])
    assert [whole.board.status(index) for index in range(2)] == [Status.ACTIVE, Status.DONE]


def test_a_run_in_a_state_that_nobody_knows_has_failed_once_nothing_happens_in_it() -> None:
    """The poller reports it when the run has ended. Before, the item stayed active, and the wait never ended."""
    _, port = open_world(2)
    whole = open_many(port, tolerated=1)
    many.begin(whole)
    many.send(whole)
    many.note_ends(whole, [(0, "cancelled"), (1, "success")])
    assert [whole.board.status(index) for index in range(2)] == [Status.FAILED, Status.DONE]
    assert whole.board.is_over


def test_a_state_that_the_task_counts_as_failed_has_failed_whether_it_is_known_or_not() -> None:
    """It ends a run that waits in it, too, and another run may follow."""
    world, port = open_world(2)
    request = replace(REQUEST, failed_states=frozenset({"failed", "cancelled", "running"}))
    whole = open_many(port, request=request, child_tries=3)
    many.begin(whole)
    many.send(whole)
    many.note_ends(whole, [(0, "cancelled"), (1, "running")])
    assert [whole.board.status(index) for index in range(2)] == [Status.PENDING, Status.PENDING]
    assert (whole.board.generations, whole.board.starts) == ({0: 1, 1: 1}, {0: 2, 1: 2})
    for run in world.runs.values():
        run.state = "failed"
    many.send(whole)
    many.note_ends(whole, [(0, "failed")])
    assert (whole.board.status(0), whole.board.starts[0]) == (Status.PENDING, 3)


def test_a_run_that_is_waited_out_ends_in_a_state_that_nobody_knows() -> None:
    """Nobody knows that it is over: no run is started beside it, in this try."""
    world, port = open_world(2)
    whole = open_many(port, tolerated=1)
    many.begin(whole)
    many.send(whole)
    run_ids = list(world.runs)
    world.runs[run_ids[0]].conf = ("0", "of before")
    cleared = replace(ATTEMPT, try_number=2, max_tries=4, clear_number=1, task_instance_id="ti-2")
    world.current = 2
    again = open_many(SimulatedPort(world, 2, port.confs), cleared, tolerated=1)
    many.begin(again)
    assert [again.board.status(index) for index in range(2)] == [Status.WAITED_OUT, Status.ACTIVE]
    many.note_ends(again, [(0, "running")])
    assert again.board.status(0) is Status.WAITED_OUT
    world.runs[run_ids[0]].state = "suspended"
    many.note_ends(again, [(0, "suspended"), (1, "success")])
    assert [again.board.status(index) for index in range(2)] == [Status.FAILED, Status.DONE]
    # Its conf is not what is asked for by now. An automatic retry has to see that, too, as long as nothing is marked.
    many.send(again)
    assert again.ledger.is_cleared_before(cleared)
    many.finish(again)
    assert not again.ledger.is_cleared_before(cleared)
    assert len(world.runs) == 2


@pytest.mark.parametrize("is_losing", [False, True])
def test_all_anew_waits_for_a_run_in_a_state_that_nobody_knows(
    monkeypatch: pytest.MonkeyPatch,
    is_losing: bool,  # noqa: FBT001 - the cases
) -> None:
    world, port = open_world(2)
    request = replace(REQUEST, on_clear=OnClear.FRESH)
    whole = open_many(port, request=request)
    many.begin(whole)
    many.send(whole)
    first, second = world.runs.values()
    first.state, second.state = "suspended", "success"
    if is_losing:
        world.store.clear()
    cleared = replace(ATTEMPT, try_number=2, max_tries=4, clear_number=1, task_instance_id="ti-2")
    world.current = 2
    again = SimulatedPort(world, 2, port.confs)
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        first.state = "failed"

    monkeypatch.setattr(again, "sleep", sleep)
    many.begin(open_many(again, cleared, request=request))
    assert len(slept) == 1


def test_a_task_whose_ledger_is_lost_had_succeeded_whatever_had_failed_before_an_earlier_clear() -> None:
    """It had failed, was asked for anew, and succeeded. The next clear asks for all anew."""
    world, port = open_world(2)
    whole = open_many(port)
    many.begin(whole)
    many.send(whole)
    first, second = world.runs.values()
    first.state, second.state = "failed", "success"
    world.current, world.ask = 2, 1
    cleared = replace(ATTEMPT, try_number=2, max_tries=4, clear_number=1, task_instance_id="ti-2")
    request = replace(REQUEST, on_clear=OnClear.FRESH)
    again = open_many(SimulatedPort(world, 2, port.confs), cleared, request=request)
    many.begin(again)
    many.send(again)
    for run in list(world.runs.values())[2:]:
        run.state = "success"
    world.store.clear()
    world.current = 3
    cleared = replace(ATTEMPT, try_number=3, max_tries=5, clear_number=2, task_instance_id="ti-3")
    third = open_many(SimulatedPort(world, 3, port.confs), cleared)
    many.begin(third)
    assert (third.ledger.epoch, third.board.pending) == (2, 2)


def test_a_run_in_a_state_that_nobody_knows_shows_that_a_task_whose_ledger_is_lost_had_not_succeeded() -> None:
    world, port = open_world(1)
    whole = open_many(port, tolerated=1)
    many.begin(whole)
    many.send(whole)
    (run,) = world.runs.values()
    run.state = "suspended"
    world.store.clear()
    cleared = replace(ATTEMPT, try_number=2, max_tries=4, clear_number=1, task_instance_id="ti-2")
    world.current = 2
    again = open_many(SimulatedPort(world, 2, port.confs), cleared, tolerated=1)
    many.begin(again)
    assert (again.ledger.epoch, again.board.status(0)) == (0, Status.ACTIVE)


class Refusing:
    """The port of an item whose request is refused."""

    def __init__(self, port: Any, status: int = 400, *, is_of_dag: bool = False) -> None:  # noqa: ANN401 - a port
        self._port, self._status, self._is_of_dag = port, status, is_of_dag

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever it is
        """Do all else as the right port does."""
        return getattr(self._port, name)

    def submit(self, record: Record) -> bool:
        """Refuse."""
        raise SubmissionRefusedError(
            "child", record.run_id, f"HTTP {self._status}", status=self._status, is_of_dag=self._is_of_dag
        )


def test_no_run_is_started_beside_one_in_a_state_that_nobody_knows() -> None:
    """It counts as failed but may still be running. It stays the run of its item until a person has marked it."""
    world, port = open_world(1)
    whole = open_many(port, child_tries=2)
    many.begin(whole)
    many.send(whole)
    with pytest.raises(ItemsFailedError):
        many.note_ends(whole, [(0, "suspended")])
    assert (whole.board.status(0), len(world.runs)) == (Status.FAILED, 1)


def test_a_run_that_is_marked_as_failed_while_runs_are_counted_lets_no_other_one_count_as_done(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One has succeeded and the other is active: what is counted of the first must not be taken for the second."""
    world, port = open_world(2)
    first = open_many(port)
    many.begin(first)
    many.send(first)
    done, active = world.runs.values()
    done.state = "success"
    world.current = 2
    second = open_many(
        SimulatedPort(world, 2, world.items), replace(ATTEMPT, try_number=2, task_instance_id="ti-2"), child_tries=2
    )
    right = Survey.count

    def count(survey: Survey, indices: Sequence[int], states: Sequence[str] | None) -> int:
        counted = right(survey, indices, states)
        if states == ["success"]:
            done.state = "failed"
        return counted

    monkeypatch.setattr(Survey, "count", count)
    many.begin(second)
    assert active.state == "queued"
    assert [second.board.status(index) for index in range(2)] == [Status.PENDING, Status.ACTIVE]
    assert second.board.running == 1


def test_a_refused_item_is_tolerated_as_a_failed_one(monkeypatch: pytest.MonkeyPatch) -> None:
    world, port = open_world()
    right = SimulatedPort.item
    monkeypatch.setattr(port, "item", lambda index: Refusing(right(port, index)) if index == 1 else right(port, index))
    whole = open_many(port, tolerated=1)
    many.begin(whole)
    many.send(whole)
    assert whole.board.refused == {1}
    assert len(world.runs) == 2
    strict = open_many(SimulatedPort(world, 1, port.confs))
    monkeypatch.setattr(strict.port, "item", lambda index: Refusing(right(port, index)))
    many.begin(strict)
    strict.board.start_anew(0)
    with pytest.raises(SubmissionRefusedError):
        many.send(strict)


@pytest.mark.parametrize(("status", "is_of_dag"), [(401, False), (403, False), (404, False), (400, True)])
def test_what_refuses_all_items_is_not_tolerated(
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    is_of_dag: bool,  # noqa: FBT001 - the cases
) -> None:
    """There is no such Dag: with 100 % tolerated the task would succeed, and nothing would have run."""
    world, port = open_world()
    right = SimulatedPort.item
    monkeypatch.setattr(port, "item", lambda index: Refusing(right(port, index), status, is_of_dag=is_of_dag))
    whole = open_many(port, tolerated=3)
    many.begin(whole)
    with pytest.raises(SubmissionRefusedError):
        many.send(whole)
    assert not world.runs


def test_run_ids_that_are_taken_by_other_lives_end_somewhere() -> None:
    world, port = open_world(1)
    whole = open_many(port)
    many.begin(whole)
    for generation in range(30):
        run_id = Items(1).run_id(PARENT, 0, epoch=0, generation=generation)
        world.runs[run_id] = Run(run_id, ("0", "1"), EPOCH.replace(microsecond=1), state="success", is_stray=True)
    with pytest.raises(RunIdsTakenError):
        many.send(whole)


def test_an_item_may_have_failed_often() -> None:
    """A list that grows while the task is deferred lets the try begin again each time, and start what has failed."""
    world, port = open_world(1)
    whole = open_many(port)
    many.begin(whole)
    whole.board.generations[0] = 1000
    many.send(whole)
    assert len(world.runs) == 1


def test_the_ledger_is_written_again_in_between(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(many, "BURST", 2)
    world, port = open_world(5)
    whole = open_many(port)
    many.begin(whole)
    many.send(whole)
    assert len(set(world.store)) == 1
    assert len(world.store) == 1 + 3


@pytest.mark.parametrize(
    ("count", "sample"),
    [(1, [0]), (3, [0, 1, 2]), (9, list(range(9))), (100, [0, 12, 24, 36, 48, 60, 72, 84, 96, 99])],
)
def test_of_a_list_that_may_have_moved_a_few_items_are_looked_up(
    monkeypatch: pytest.MonkeyPatch, count: int, sample: list[int]
) -> None:
    """The first, the last, and some between."""
    world, port = open_world(count)
    first = open_many(port)
    many.begin(first)
    many.send(first)
    world.current = 2
    again = SimulatedPort(world, 2, world.items)
    looked: list[int] = []
    right = again.item

    class Looked:
        """The port of one item, which notes that it was looked up."""

        def __init__(self, index: int) -> None:
            self._index, self._port = index, right(index)

        def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever it is
            """Do all else as the right port does."""
            if name == "look_up":
                looked.append(self._index)
            return getattr(self._port, name)

    monkeypatch.setattr(again, "item", Looked)
    many.begin(open_many(again, replace(ATTEMPT, try_number=2, task_instance_id="ti-2")))
    assert sorted(looked) == sample


def test_a_first_try_takes_no_run_of_another_life() -> None:
    """Where a look-up says no dates, what is there before anything was sent is not ours."""
    world, port = open_world(1, has_store=False, has_details=False)
    run_id = Items(1).run_id(PARENT, 0, epoch=0, generation=0)
    world.runs[run_id] = Run(run_id, ("other", "1"), None, state="success")
    whole = open_many(port)
    many.begin(whole)
    many.send(whole)
    assert len(world.runs) == 2
    assert not whole.ledger.is_clean


def test_a_run_that_is_gone_when_it_is_looked_up_is_sent() -> None:
    world, port = open_world(1, has_store=False, has_details=True)
    run_id = Items(1).run_id(PARENT, 0, epoch=0, generation=0)
    world.runs[run_id] = Run(run_id, ("other", "1"), None)
    whole = open_many(port)
    right = port.item

    def item(index: int) -> Any:  # noqa: ANN401 - a port
        found = right(index)
        found.look_up = lambda *_, **__: None
        return found

    port.item = item  # type: ignore[method-assign] # for this test
    many.begin(whole)
    assert whole.board.status(0) is Status.PENDING


@pytest.mark.parametrize("mode", [Mode.WAIT, Mode.FIRE_AND_FORGET])
def test_another_dag_is_another_epoch(mode: Mode) -> None:
    """A retry that starts another Dag by now starts all in it, when nothing of before is active."""
    world, port = open_world(2)
    request = replace(REQUEST, mode=mode)
    first = open_many(port, request=request)
    many.begin(first)
    many.send(first)
    retry = replace(ATTEMPT, try_number=2, task_instance_id="ti-2")
    second = open_many(SimulatedPort(world, 1, port.confs), retry, request=replace(request, dag_id="other"))
    many.begin(second)
    assert (second.ledger.epoch, second.ledger.dag_id) == (1, "other")
    assert {run.state for run in world.runs.values()} == ({"success"} if mode is Mode.WAIT else {"queued"})


def test_a_consumed_outcome_tells_of_each_item_again() -> None:
    world, port = open_world(3)
    whole = open_many(port, tolerated=3, items=Items.of_keys(["0", "1", "2"]))
    many.begin(whole)
    many.send(whole)
    run_ids = list(world.runs)
    world.runs[run_ids[0]].state = "success"
    world.runs[run_ids[1]].state = "failed"
    del world.runs[run_ids[2]]
    many.note_ends(whole, [(0, "success"), (1, "failed"), (2, None)])
    many.finish(whole)
    retry = replace(ATTEMPT, try_number=2, task_instance_id="ti-2")
    again = open_many(SimulatedPort(world, 1, port.confs), retry, tolerated=3, items=Items.of_keys(["0", "1", "2"]))
    many.begin(again)
    many.send(again)
    many.finish(again)
    assert again.is_settled
    assert [again.board.status(index) for index in range(3)] == [Status.DONE, Status.FAILED, Status.MISSING]
    failed = [("1", run_ids[1], Status.FAILED), ("2", run_ids[2], Status.MISSING)]
    assert (again.failed_items(9), again.failed_items(1)) == (failed, failed[:1])


@pytest.mark.parametrize(
    ("scenario", "choices"),
    [
        (Scenario(failures=1, clears=1, retries=0, on_clear=on_clear, is_losing=is_losing), (0, 1, 1))
        for on_clear in OnClear
        for is_losing in (False, True)
    ],
)
def test_a_clear_of_a_task_that_failed(scenario: Scenario, choices: tuple[int, ...]) -> None:
    """The oracle of the schedules says what must not be. Here the work is done in the end."""
    world = play(scenario, Chooser(choices))
    assert {run.key for run in world.runs.values() if run.state == "success"} == {"a", "b"}


# The end of a wait.


@pytest.mark.parametrize(
    ("given", "news", "is_due"),
    [
        ((0, False, 1, 60.0), (0, 0, 1, 0.0), False),
        ((0, False, 1, 60.0), (1, 0, 0, 0.0), True),
        ((0, False, 1, 60.0), (1, 1, 1, 0.0), True),
        ((1, False, 1, 60.0), (1, 1, 1, 99.0), False),
        ((0, True, 3, 60.0), (2, 0, 9, 59.0), False),
        ((0, True, 3, 60.0), (2, 0, 9, 60.0), True),
        ((0, True, 3, 60.0), (1, 0, 9, 60.0), True),
        ((0, True, 3, 60.0), (3, 0, 9, 0.0), True),
        ((0, True, 3, 60.0), (0, 0, 9, 99.0), False),
        ((None, False, 3, 60.0), (3, 0, 9, 99.0), False),
        ((None, False, 3, 60.0), (3, 1, 9, 0.0), True),
    ],
)
def test_when_the_wait_ends(given: tuple[Any, ...], news: tuple[int, int, int, float], is_due: bool) -> None:  # noqa: FBT001 - the cases
    ended, failed, left, since = news
    assert many.Wake(*given).is_due(ended=ended, failed=failed, left=left, since_first_seconds=since) is is_due


def test_when_a_try_is_woken() -> None:
    _, port = open_world(20)
    whole = open_many(port, max_active=8, tolerated=2)
    many.begin(whole)
    many.send(whole)
    assert many.wake_of(whole, 9.0) == many.Wake(2, is_more_to_send=True, enough=2, patience_seconds=9.0)
    assert many.wake_of(open_many(port, child_tries=2), 9.0).failures_left is None


RETRY = replace(ATTEMPT, try_number=2, task_instance_id="ti-2")


def test_a_retry_of_fire_and_forget_starts_what_is_missing() -> None:
    world, port = open_world(3)
    request = replace(REQUEST, mode=Mode.FIRE_AND_FORGET)
    whole = open_many(port, request=request)
    many.begin(whole)
    many.send(whole)
    world.runs.popitem()
    again = open_many(SimulatedPort(world, 1, port.confs), RETRY, request=request)
    many.begin(again)
    assert (again.board.done, again.board.pending) == (2, 1)
    many.send(again)
    assert again.board.is_over


def test_other_items_than_an_earlier_try_had_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    world, port = open_world(2)
    whole = open_many(port, items=Items.of_keys(["0", "1"]))
    many.begin(whole)
    many.send(whole)
    other = SimulatedPort(world, 1, [("1", "1"), ("2", "1")])
    said: list[int] = []
    monkeypatch.setattr(other, "report_change", lambda before, whole: said.append(before))
    again = open_many(other, RETRY, items=Items.of_keys(["1", "2"]))
    many.begin(again)
    many.send(again)
    assert said == [2]
    assert len(world.runs) == 3


def test_a_consumed_outcome_stays_whatever_became_of_its_runs() -> None:
    world, port = open_world(2)
    whole = open_many(port)
    many.begin(whole)
    many.send(whole)
    for run in world.runs.values():
        run.state = "success"
    many.note_ends(whole, [(0, "success"), (1, "success")])
    many.finish(whole)
    next(iter(world.runs.values())).state = "running"
    again = open_many(SimulatedPort(world, 1, port.confs), RETRY)
    many.begin(again)
    assert again.is_settled
    assert (again.board.done, again.board.is_over) == (2, True)


def test_a_consumed_outcome_stays_whatever_the_list_is_by_now() -> None:
    """Without keys, a list that moved after the success was marked."""
    world, port = open_world(2)
    whole = open_many(port)
    many.begin(whole)
    many.send(whole)
    for run in world.runs.values():
        run.state = "success"
    many.note_ends(whole, [(0, "success"), (1, "success")])
    many.finish(whole)
    moved = SimulatedPort(world, 1, [("1", "1"), ("2", "1")])
    again = open_many(moved, RETRY)
    many.begin(again)
    assert (again.board.done, again.board.failed, again.board.is_over) == (2, 0, True)


def test_a_consumed_outcome_waits_for_no_run_of_another_life() -> None:
    world, port = open_world(1)
    run_id = Items(1).run_id(PARENT, 0, epoch=0, generation=0)
    world.runs[run_id] = Run(run_id, ("0", "1"), EPOCH.replace(microsecond=1), state="success", is_stray=True)
    whole = open_many(port, tolerated=1)
    many.begin(whole)
    many.send(whole)
    del world.runs[whole.run_id(0)]
    many.note_ends(whole, [(0, None)])
    many.finish(whole)
    world.runs[run_id] = Run(run_id, ("0", "2"), EPOCH.replace(microsecond=1), state="running", is_stray=True)
    again = open_many(SimulatedPort(world, 1, port.confs), RETRY, tolerated=1)
    many.begin(again)
    assert (again.board.failed, again.board.is_over) == (1, True)


@pytest.mark.parametrize(
    ("now", "is_keyed", "window", "is_changed"),
    [
        ((("0", "1"), ("1", "1")), False, 1, False),
        ((("1", "1"), ("2", "1")), False, 1, True),
        ((("1", "1"), ("2", "1")), True, 1, False),
        ((("1", "1"), ("2", "1")), False, None, False),
    ],
)
def test_whether_a_list_moved_while_the_task_was_deferred(
    now: tuple[tuple[str, str], ...],
    is_keyed: bool,  # noqa: FBT001 - the cases
    window: int | None,
    is_changed: bool,  # noqa: FBT001 - the cases
) -> None:
    """Only where items have no keys, and some are yet to be sent."""
    world, port = open_world(2)
    items = Items.of_keys(["0", "1"]) if is_keyed else Items(2)
    whole = open_many(port, max_active=window, items=items)
    many.begin(whole)
    many.send(whole)
    assert len(world.runs) == (window or 2)
    whole.port = SimulatedPort(world, 1, now)
    assert many.is_list_changed(whole) is is_changed


@pytest.mark.parametrize(
    ("end", "child_tries", "status", "is_changed"),
    [
        ("failed", 2, Status.ACTIVE, True),
        (None, 2, Status.ACTIVE, True),
        ("success", 2, Status.ACTIVE, False),
        ("failed", 1, Status.ACTIVE, False),
        ("success", 1, Status.WAITED_OUT, True),
    ],
)
def test_whether_a_list_moved_where_a_run_is_to_follow_one_that_has_ended(
    end: str | None,
    child_tries: int,
    status: Status,
    is_changed: bool,  # noqa: FBT001 - the cases
) -> None:
    """All were sent. The run that follows would have the conf of the item that has the position by now."""
    world, port = open_world(2)
    whole = open_many(port, child_tries=child_tries)
    many.begin(whole)
    many.send(whole)
    whole.board.set(1, status)
    whole.port = SimulatedPort(world, 1, (("1", "1"), ("2", "1")))
    assert not many.is_list_changed(whole)
    assert many.is_list_changed(whole, [(1, end)]) is is_changed
    # Whether an item is resumed is decided anew, from the conf that is now at its position.
    whole.board.set(0, Status.TO_RESUME)
    assert many.is_list_changed(whole)


A, B = ("a", "1"), ("b", "1")


@pytest.mark.parametrize(
    "scenario",
    [
        Scenario(items=(A,), deletions=1, failures=1, child_tries=2, faults=1),
        Scenario(items=(A,), faults=1, clears=1, retries=0, edited=(("a", "2"),)),
        Scenario(failures=1, clears=1, retries=0, edited=(("a", "2"), B)),
        Scenario(failures=1, clears=1, retries=0, on_clear=OnClear.FRESH),
        Scenario(items=(A,), edited=(B,), faults=1, is_keyed=False),
        Scenario(items=(A,), faults=1, clears=1, retries=0, is_losing=True, mode=Mode.FIRE_AND_FORGET),
        Scenario(items=(A,), faults=1, failures=1, clears=1, retries=0, is_losing=True),
        Scenario(failures=1, clears=1, retries=0, is_losing=True, on_clear=OnClear.FRESH),
        Scenario(items=(A,), faults=1, clears=1, retries=0, has_store=False, has_details=False),
    ],
)
def test_no_schedule_of_a_few_breaks_a_promise(scenario: Scenario) -> None:
    """``tests/schedules/test_many.py`` explores more."""
    assert explore(lambda chooser: play(scenario, chooser)) > 1


def test_a_first_try_that_is_executed_twice_continues() -> None:
    world, port = open_world(3)
    first = open_many(port)
    many.begin(first)
    first.goal = replace(first.goal, max_active=2)
    many.send(first)
    run_ids = list(world.runs)
    world.runs[run_ids[0]].state = "failed"
    again = open_many(SimulatedPort(world, 1, port.confs))
    many.begin(again)
    assert (again.board.pending, again.board.generation(0)) == (2, 1)
    many.send(again)
    assert len(world.runs) == 4


def test_all_anew_while_an_item_has_another_conf_starts_nothing_beside(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is met under an item's run id, and has another conf, is waited out also with ``on_clear="all"``."""
    world, port = open_world(1)
    whole = open_many(port, request=replace(REQUEST, on_clear=OnClear.FRESH, is_run_after_ours=False))
    many.begin(whole)
    run_id = whole.run_id(0)
    world.runs[run_id] = Run(run_id, ("0", "another"), EPOCH)
    many.send(whole)
    assert whole.board.status(0) is Status.WAITED_OUT
    assert len(world.runs) == 1
    assert whole.ledger.is_cleared_before(ATTEMPT)
    many.note_ends(whole, [(0, "running")])
    assert whole.board.status(0) is Status.WAITED_OUT
    world.runs[run_id].state = "success"
    many.note_ends(whole, [(0, "success")])
    many.send(whole)
    assert len(world.runs) == 2
    assert not whole.ledger.is_cleared_before(ATTEMPT)


def test_a_clear_that_moves_the_start_of_the_dag_run_does_not_hide_whose_a_run_is() -> None:
    """Of two items one had succeeded in an earlier life, and one in this one."""
    world, port = open_world(2)
    foreign = Items(2).run_id(PARENT, 0, epoch=0, generation=0)
    world.runs[foreign] = Run(foreign, ("0", "1"), EPOCH.replace(microsecond=1), state="success", is_stray=True)
    whole = open_many(port)
    many.begin(whole)
    many.send(whole)
    own = [run for run in world.runs.values() if run.run_id != foreign]
    own[1].state = "success"
    moved = replace(PARENT, started_at=EPOCH.replace(year=2027))
    cleared = replace(ATTEMPT, parent=moved, try_number=2, max_tries=4, clear_number=1, task_instance_id="ti-2")
    world.current = 2
    again = open_many(SimulatedPort(world, 2, port.confs, moved), cleared)
    many.begin(again)
    assert [again.board.generation(index) for index in range(2)] == [1, 0]
    assert [again.board.status(index) for index in range(2)] == [Status.ACTIVE, Status.DONE]
    # What is deleted is sent again, and that with the same tag: the next try knows it as well.
    del world.runs[own[0].run_id]
    again.board.set(0, Status.PENDING)
    many.send(again)
    assert len({run.run_after.microsecond for run in world.runs.values() if run.run_after}) == 2


def test_what_an_earlier_life_had_under_a_generation_is_passed_over() -> None:
    """A retry looks up what exists beyond the first generation, and what is not proven."""
    world, port = open_world(2)
    whole = open_many(port)
    many.begin(whole)
    foreign = Items(2).run_id(PARENT, 0, epoch=0, generation=0)
    world.runs[foreign] = Run(foreign, ("0", "1"), EPOCH.replace(microsecond=1), state="success", is_stray=True)
    whole.goal = replace(whole.goal, request=replace(REQUEST, is_run_after_ours=True))
    many.send(whole)
    assert len(world.runs) == 3
    assert whole.has_others
