"""What a turn takes on: what one Dag asks for does not make another one's running task wait."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from airflow_durable.core.model import Parent, Phase, Proof
from airflow_durable.core.run_ids import tag_of_parent
from airflow_durable.core.stored import KEY, dump
from airflow_durable.core.verdicts import Act
from airflow_durable.metadata.tables import load_tables
from airflow_durable.server import changes, reconciler
from airflow_durable.server.proof import find_rivals
from airflow_durable.server.reconciler import Reconciler
from tests.support.asking_parents import CANCEL, CHILD_DAG, OTHER_DAG, PARENT_DAG, TEARDOWN_DAG, asking

from .test_ledger import ITEMS, make, make_failed, states, to_resume

if TYPE_CHECKING:
    from collections.abc import Collection

    from tests.support.asking_parents import World


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return a clock for the turn, which every lock that is asked for moves on by a second."""
    clock = [0.0]
    lock = changes.lock_run

    def lock_slowly(*arguments: Any) -> bool:  # noqa: ANN401 - as they are
        clock[0] += 1.0
        return lock(*arguments)

    monkeypatch.setattr(changes, "lock_run", lock_slowly)
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    return clock


def test_turn_ends_no_more_than_it_has_time_for(world: World, seconds: list[float]) -> None:
    parents = [world.parent(state="failed") for _ in range(8)]
    one = Reconciler(world.open)
    done = [len(one.turn().done) for _ in range(4)]
    assert done == [3, 3, 2, 0]
    assert seconds == [8.0]
    assert {world.child(parent)[0] for parent in parents} == {"failed"}


def break_ends(monkeypatch: pytest.MonkeyPatch, run_ids: Collection[str]) -> None:
    """Let these runs be such as cannot be ended."""

    def end(session: Any, dag_id: str, run_id: str) -> changes.Changed:  # noqa: ANN401 - a session
        if run_id in run_ids:
            raise ValueError
        return changes.end_run(session, dag_id, run_id)

    monkeypatch.setitem(reconciler._DO, Act.CANCEL, end)


@pytest.mark.usefixtures("seconds")
def test_what_cannot_be_ended_stands_before_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    parents = [world.parent(state="failed") for _ in range(8)]
    break_ends(monkeypatch, {parent.record.run_id for parent in parents[:5]})
    one = Reconciler(world.open)
    assert sum(len(one.turn().done) for _ in range(3)) == 3


@pytest.mark.usefixtures("seconds")
def test_runs_of_a_ledger_that_cannot_be_ended_stand_before_no_others(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconciler, "ENDS_SECONDS", 2.0)
    made = make(world)
    break_ends(monkeypatch, [ITEMS.run_id(made.parent, index, epoch=0, generation=0) for index in range(3)])
    one = Reconciler(world.open)
    assert sum(len(one.turn().done) for _ in range(2)) == 1
    assert states(world) == ["running"] * 3 + ["failed"]


@pytest.mark.usefixtures("seconds")
@pytest.mark.parametrize("is_ledger_stuck", [False, True])
def test_runs_of_ledgers_and_others_stand_before_one_another_in_turns(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    is_ledger_stuck: bool,  # noqa: FBT001 - a case
) -> None:
    parents = [world.parent(state="failed") for _ in range(4)]
    ledger = make(world)
    of_ledger = [ITEMS.run_id(ledger.parent, index, epoch=0, generation=0) for index in range(ITEMS.count)]
    of_others = [parent.record.run_id for parent in parents]
    break_ends(monkeypatch, of_ledger if is_ledger_stuck else of_others)
    one = Reconciler(world.open)
    assert sum(len(one.turn().done) for _ in range(4)) == 4


def test_resumes_that_fail_stand_before_none_of_ledgers(
    world: World, monkeypatch: pytest.MonkeyPatch, seconds: list[float]
) -> None:
    def resume(session: Any, dag_id: str, run_id: str) -> changes.Changed:  # noqa: ANN401 - a session
        if dag_id == OTHER_DAG:
            raise ValueError
        return changes.resume_run(session, dag_id, run_id)

    monkeypatch.setitem(reconciler._DO, Act.RESUME, resume)
    for _ in range(12):
        world.parent(
            asking("resume"), state="running", child_dag=OTHER_DAG, child_state="failed", tasks={"first": "failed"}
        )
    make_failed(world, to_resume("inorth"))
    one = Reconciler(world.open)
    assert sum(len(one.turn().done) for _ in range(2)) == 1
    assert seconds[0] >= 20


def test_rows_that_are_locked_are_not_all_waited_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    if world.engine.dialect.name != "postgresql":
        pytest.skip("SQLite has one writer at a time")
    monkeypatch.setattr(reconciler, "LOCK_TIMEOUT_SECONDS", 0.2)
    monkeypatch.setattr(reconciler, "ENDS_SECONDS", 0.3)
    for _ in range(8):
        world.parent(state="failed")
    one = Reconciler(world.open)
    locks = []
    lock = changes.lock_run

    def note_lock(*arguments: Any) -> bool:  # noqa: ANN401 - as they are
        locks.append(arguments)
        return lock(*arguments)

    monkeypatch.setattr(changes, "lock_run", note_lock)
    with world.engine.connect() as other:
        other.execute(sa.text("SELECT id FROM dag_run WHERE dag_id = :dag_id FOR UPDATE"), {"dag_id": CHILD_DAG})
        assert not one.turn().done
        other.rollback()
    assert 1 <= len(locks) <= 2
    assert sum(len(one.turn().done) for _ in range(20)) == 8


def test_rivals_of_a_run_whose_teardown_runs_are_searched_for_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime.now(tz=timezone.utc)
    parent = Parent(PARENT_DAG, "own", "trigger", -1, now)
    date = now.replace(microsecond=tag_of_parent(parent, 1))
    made = world.parent(None, state="failed", child_state=None, run_id_of_parent=parent.run_id)
    record = replace(
        made.record, dag_id=TEARDOWN_DAG, run_id="fixed", proof=Proof.LOGICAL_DATE, dates=(date,), asks=CANCEL
    )
    world.write(replace(made, record=record), 1, at=date)
    world.run(TEARDOWN_DAG, "fixed", logical_date=date, created_at=date + timedelta(seconds=1))
    for task_id, state in (("first", "success"), ("second", "running"), ("apart", None)):
        world.set_task(TEARDOWN_DAG, "fixed", task_id, state)
    searches = []

    def find(*arguments: Any) -> Any:  # noqa: ANN401 - as they are
        searches.append(arguments)
        return find_rivals(*arguments)

    monkeypatch.setattr(reconciler, "find_rivals", find)
    one = Reconciler(world.open)
    assert [len(one.turn().done) for _ in range(4)] == [1, 0, 0, 0]
    assert len(searches) == 1


def test_entry_that_was_written_over_is_found_by_the_next_search(world: World) -> None:
    """As by a task instance that was deleted and made again, a thousand rows later."""
    clock = [0.0]
    one = Reconciler(world.open, clock=lambda: clock[0])
    made = world.parent(CANCEL, state="success", child_state="success")
    world.write(replace(made, record=replace(made.record, phase=Phase.CONSUMED)), 1)
    world.write_many(world.parent(None, state="running", child_state=None), range(1_100), "{}")
    one.turn()
    store = load_tables().store
    assert store is not None
    row = store.table.c
    written = {"value": json.dumps({**dump(made.record), "root": "new"}), "updated_at": datetime.now(tz=timezone.utc)}
    with world.open() as session:
        its_first = row.dag_run_id == made.dag_run_id, row.key == KEY
        session.execute(store.table.update().where(*its_first).values(**written))
    world.set_run(made.record.dag_id, made.record.run_id, state="running")
    world.set_task(PARENT_DAG, made.parent.run_id, "trigger", "failed")
    clock[0] = 4_000.0
    assert len(one.turn().done) == 1


def test_key_that_python_cannot_read_as_a_number_stops_no_turn(world: World) -> None:
    made = world.parent(state="failed")
    world.write_key(world.parent(None, state="running"), f"{KEY}.{'9' * 100}", '{"asks": {}}')
    if world.engine.dialect.name == "sqlite":  # PostgreSQL keeps no key as long as that
        world.write_key(world.parent(None, state="running"), f"{KEY}.{'9' * 5_000}", '{"asks": {}}')
    assert len(Reconciler(world.open).turn().done) == 1
    assert world.child(made)[0] == "failed"
