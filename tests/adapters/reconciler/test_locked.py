"""What is read and locked for one parent, however many map indexes its task has."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
import sqlalchemy as sa

from airflow_durable.metadata.asked import Asked
from airflow_durable.metadata.tables import load_tables
from airflow_durable.server.reconciler import Reconciler
from tests.support.asking_parents import PARENT_DAG

if TYPE_CHECKING:
    from tests.support.asking_parents import Asking, World

MAPPED = 20


class Recorder:
    """
    Executes statements, and keeps how many rows each has.

    :param before_lock: called instead of the first one that locks; it finds no rows.
    """

    def __init__(self, connection: sa.Connection, before_lock: Any = None) -> None:  # noqa: ANN401 - a callable
        self._connection = connection
        self._before_lock = before_lock
        self.counts: list[int] = []

    def __call__(self, statement: Any) -> Any:  # noqa: ANN401 - a statement, rows
        """Return the rows."""
        if self._before_lock is not None and getattr(statement, "_for_update_arg", None) is not None:
            before_lock, self._before_lock = self._before_lock, None
            before_lock()
            return []
        rows = self._connection.execute(statement).all()
        self.counts.append(len(rows))
        return rows


def make_mapped(world: World) -> Asking:
    """Make a parent, and as many of the same task with other map indexes, each with an entry."""
    parent = world.parent(state="failed")
    tables = load_tables()
    assert tables.store is not None
    store = tables.store
    with world.open() as session:
        task = tables.latest.table
        row = dict(
            session.execute(
                sa.select(task).where(tables.latest.is_included, tables.latest.key.run_id == parent.parent.run_id)
            )
            .mappings()
            .first()
            or {}
        )
        entry = dict(session.execute(sa.select(store.table)).mappings().first() or {})
        entry.pop("id")
        index = tables.latest.key.map_index.name
        for number in range(MAPPED):
            ids = {"id": type(row["id"])(int=number + 1)} if hasattr(row["id"], "int") else {"id": f"{number:032}"}
            session.execute(task.insert().values({**row, **ids, "task_id": "trigger", index: number}))
            session.execute(store.table.insert().values({**entry, store.key.map_index.name: number}))
    return parent


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_of_a_mapped_task_one_instance_alone_is_read(world: World) -> None:
    make_mapped(world)
    with world.engine.connect() as connection:
        keys = Asked(load_tables(), connection.execute).scan(0, world.last_id())
        assert len(keys) == MAPPED + 1
        one = {min(keys)}
        execute = Recorder(connection)
        asked = Asked(load_tables(), execute)
        assert asked.families.parents(one, is_locked=True).keys() == one
        assert asked.journals(one).keys() == one
    assert max(execute.counts) == 1


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_parent_whose_row_a_clear_replaced_while_its_lock_was_waited_for_is_read_anew(world: World) -> None:
    # From Airflow 3.4 a clear archives the row and inserts another: on PostgreSQL a SELECT … FOR UPDATE that had waited
    # for it finds neither.
    parent = world.parent(state="failed")
    dag_id, run_id = PARENT_DAG, parent.parent.run_id
    world.set_run(dag_id, run_id, state="failed")

    def clear() -> None:
        world.set_task(dag_id, run_id, "trigger", None)
        world.set_run(dag_id, run_id, state="queued")

    with world.engine.connect() as connection:
        (key,) = Asked(load_tables(), connection.execute).scan(0, world.last_id())
        asked = Asked(load_tables(), Recorder(connection, clear))
        now = asked.families.parents({key}, is_locked=True)[key].now
    assert now.task_instance_id is not None
    assert (now.state, now.run_state) == (None, "queued")


@pytest.mark.parametrize("database", ["postgres"], indirect=True)
def test_parent_that_is_cleared_while_its_lock_is_waited_for_keeps_its_child(world: World) -> None:
    parent = world.parent(state="failed")
    latest, run_id = load_tables().latest, parent.parent.run_id
    world.set_run(PARENT_DAG, run_id, state="failed")
    where = sa.and_(latest.is_included, latest.key.run_id == run_id, latest.key.task_id == "trigger")
    is_waiting = sa.text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
    with ThreadPoolExecutor(1) as pool, world.open() as session:
        row = dict(session.execute(sa.select(latest.table).where(where)).mappings().one())
        session.execute(latest.table.delete().where(where))
        session.execute(latest.table.insert().values({**row, "id": uuid4(), "state": None}))
        turn = pool.submit(Reconciler(world.open).turn)
        with world.engine.connect() as watching:
            while not turn.done() and not watching.scalar(is_waiting):
                watching.rollback()
        session.commit()
        assert not turn.result().done
    assert world.child(parent) == ("running", 0)
