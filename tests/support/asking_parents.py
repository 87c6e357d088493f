"""A metadata database with real Dags and Dag runs, whose parents' records ask for something. As Airflow writes it."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.orm import Session, sessionmaker

from airflow_durable.core.asks import Action, ActionKind, Asks
from airflow_durable.core.model import Mode, OnParentEnd, Parent, Proof
from airflow_durable.core.record import Record
from airflow_durable.core.run_ids import child_run_id
from airflow_durable.core.stored import dump, key_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from contextlib import AbstractContextManager

BUNDLE = "tests"
CANCEL = Asks(OnParentEnd.CANCEL)
PARENT_DAG, CHILD_DAG, OTHER_DAG = "asking_parent", "asked_child", "others_dag"
TEARDOWN_DAG = "with_teardown"
"""Its task ``first`` is a setup, and ``apart`` its teardown."""

SKIPPING_DAG = "that_skips"
"""Its task ``first`` decides what is skipped: after ``second`` comes ``last``, which runs if nothing has failed."""

TASKS = ("first", "second", "apart")
"""Of a child: the first, one after it, and one apart."""


def asking(kind: str, clear_number: int = 0, state: str = "failed", *, on_end: bool = False) -> Asks:
    """Return what asks for an action."""
    on_parent_end = OnParentEnd.CANCEL if on_end else OnParentEnd.ABANDON
    return Asks(on_parent_end, Action(ActionKind(kind), clear_number, state))


@dataclass(frozen=True)
class Asking:
    """A parent with its record, and its child."""

    parent: Parent
    dag_run_id: int
    record: Record


class World:
    """
    Writes and reads one database, with sessions as Airflow has them.

    :param engine: of a database with Airflow's tables.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self.engine = engine
        self._make = sessionmaker(bind=engine, expire_on_commit=False, autoflush=False)
        self._runs = 0

    def open(self) -> AbstractContextManager[Session]:
        """Open a session that commits when it is left, as ``airflow.utils.session.create_session`` does."""
        return self._make.begin()

    def make_dags(self) -> None:
        """Write the Dags, as the Dag processor does."""
        from airflow.models.dagbundle import DagBundleModel
        from airflow.models.serialized_dag import SerializedDagModel
        from airflow.models.tasklog import LogTemplate
        from airflow.providers.standard.operators.empty import EmptyOperator
        from airflow.providers.standard.operators.python import ShortCircuitOperator
        from airflow.sdk import DAG
        from airflow.serialization.definitions.dag import SerializedDAG
        from airflow.serialization.serialized_objects import LazyDeserializedDAG

        dags = []
        with DAG(PARENT_DAG, schedule=None) as dag:
            EmptyOperator(task_id="trigger")
            EmptyOperator(task_id="others_trigger")
        dags.append(dag)
        for dag_id in (CHILD_DAG, OTHER_DAG):
            with DAG(dag_id, schedule=None) as dag:
                first, second, _ = (EmptyOperator(task_id=task_id) for task_id in TASKS)
                first >> second
            dags.append(dag)
        with DAG(TEARDOWN_DAG, schedule=None) as dag:
            first, second, apart = (EmptyOperator(task_id=task_id) for task_id in TASKS)
            first >> second >> apart.as_teardown(setups=first)
        dags.append(dag)
        with DAG(SKIPPING_DAG, schedule=None) as dag:
            second, apart = (EmptyOperator(task_id=task_id) for task_id in TASKS[1:])
            ShortCircuitOperator(task_id="first", python_callable=bool) >> [second, apart]
            second >> EmptyOperator(task_id="last", trigger_rule="none_failed")
        dags.append(dag)
        with self.open() as session, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            session.merge(DagBundleModel(name=BUNDLE))
            session.add(LogTemplate(filename="{{ ti.task_id }}", elasticsearch_id=""))
            session.flush()
            lazy = [LazyDeserializedDAG.from_dag(dag) for dag in dags]
            SerializedDAG.bulk_write_to_db(BUNDLE, None, lazy, session=session)
            for one in lazy:
                SerializedDagModel.write_dag(one, BUNDLE, session=session)

    def clear(self) -> None:
        """Delete all Dag runs, and what hangs on them."""
        from airflow.models.base import Base

        with self.open() as session:
            for name in ("xcom_v2", "xcom_v1", "xcom", "task_state_store", "log", "task_instance", "dag_run"):
                if name in Base.metadata.tables:  # xcom_v1 and xcom_v2: from 3.4
                    session.execute(Base.metadata.tables[name].delete())

    def run(self, dag_id: str, run_id: str, state: str = "running", **values: Any) -> int:  # noqa: ANN401 - columns
        """Make a Dag run as a task's request does; return its id."""
        from airflow.models.dagbag import DBDagBag
        from airflow.models.dagrun import DagRun
        from airflow.utils.types import DagRunTriggeredByType, DagRunType

        now = datetime.now(tz=timezone.utc)
        with self.open() as session:
            dag: Any = DBDagBag().get_latest_version_of_dag(dag_id, session=session)
            run = dag.create_dagrun(
                run_id=run_id,
                run_after=values.pop("run_after", now),
                logical_date=values.pop("logical_date", None),
                run_type=DagRunType.MANUAL,
                triggered_by=values.pop("triggered_by", DagRunTriggeredByType.OPERATOR),
                state=state,
                session=session,
            )
            session.flush()
            row_id: int = run.id
            session.execute(
                sa.update(DagRun.__table__)
                .where(DagRun.id == row_id)
                .values(**{"clear_number": 0, "start_date": now, **values})
            )
        return row_id

    def parent(  # noqa: PLR0913 - as much as there is to say
        self,
        asks: Asks | None = CANCEL,
        *,
        state: str | None = "failed",
        child_state: str | None = "running",
        child_dag: str = CHILD_DAG,
        run_id_of_parent: str = "",
        tasks: Mapping[str, str | None] | None = None,
        **changes: Any,  # noqa: ANN401 - the record's fields
    ) -> Asking:
        """Make a parent in this state whose record asks for something, and its child."""
        self._runs += 1
        run_id = run_id_of_parent or f"run_{self._runs}"
        row_id = self.run(PARENT_DAG, run_id, "running")
        found = self.run_row(PARENT_DAG, run_id)
        parent = Parent(PARENT_DAG, run_id, "trigger", -1, _utc(found["run_after"]))
        self.set_task(PARENT_DAG, run_id, "trigger", state)
        record = Record(
            child_dag,
            child_run_id(parent, epoch=0, call=1, generation=0),
            Proof.RUN_ID,
            Mode.WAIT,
            3,
            0,
            task_instance_id=self.task_instance_id(PARENT_DAG, run_id, "trigger"),
            asks=asks,
        )
        record = replace(record, **changes)
        asking_parent = Asking(parent, row_id, record)
        self.write(asking_parent)
        if child_state is not None:
            self.run(child_dag, record.run_id, child_state)
            for task_id, task_state in (tasks or {}).items():
                self.set_task(child_dag, record.run_id, task_id, task_state)
        return asking_parent

    def write_key(self, asking_parent: Asking, key: str, value: str) -> None:
        """Write a value under any key."""
        parent, store = asking_parent.parent, self._store()
        names = {"dag_id": parent.dag_id, "run_id": parent.run_id, "task_id": "trigger"}
        row = {"dag_run_id": asking_parent.dag_run_id, "key": key, "value": value}
        with self.open() as session:
            session.execute(store.insert().values(**names, **row, updated_at=datetime.now(tz=timezone.utc)))

    def write_many(self, asking_parent: Asking, calls: range, value: str) -> None:
        """Write the same value as the first entry of many calls."""
        parent, store = asking_parent.parent, self._store()
        names = {"dag_id": parent.dag_id, "run_id": parent.run_id, "task_id": "trigger"}
        row = {**names, "dag_run_id": asking_parent.dag_run_id, "value": value}
        at = datetime.now(tz=timezone.utc)
        with self.open() as session:
            session.execute(store.insert(), [{**row, "key": key_of(call + 2, 0), "updated_at": at} for call in calls])

    def write(  # noqa: PLR0913 - a row's columns
        self,
        asking_parent: Asking,
        sequence: int = 0,
        *,
        call: int = 1,
        value: str | None = None,
        root: str = "root",
        at: datetime | None = None,
        task_id: str = "trigger",
    ) -> None:
        """Write an entry, as the Execution API does."""
        store = self._store()
        stored = json.dumps({**dump(asking_parent.record), "root": root}) if value is None else value
        names = {"dag_id": asking_parent.parent.dag_id, "run_id": asking_parent.parent.run_id, "task_id": task_id}
        row = {
            **names,
            "dag_run_id": asking_parent.dag_run_id,
            "key": key_of(call, sequence),
            "value": stored,
            "updated_at": at or datetime.now(tz=timezone.utc),
        }
        with self.open() as session:
            session.execute(store.insert().values(**row))

    @staticmethod
    def _store() -> Any:  # noqa: ANN401 - a table
        from airflow_durable.metadata.tables import load_tables

        store = load_tables().store
        assert store is not None
        return store.table

    def set_task(self, dag_id: str, run_id: str, task_id: str, state: str | None, **values: Any) -> None:  # noqa: ANN401 - columns
        """Put a task instance into a state, as if it had run for a minute."""
        from airflow_durable.metadata.tables import load_tables

        latest = load_tables().latest
        now = datetime.now(tz=timezone.utc)
        begun = state not in {None, "upstream_failed", "queued", "scheduled"}
        dates = {
            "start_date": now - timedelta(minutes=1) if begun else None,
            "end_date": now if state in {"success", "failed", "skipped"} else None,
        }
        where = sa.and_(
            latest.is_included, latest.key.dag_id == dag_id, latest.key.run_id == run_id, latest.key.task_id == task_id
        )
        with self.open() as session:
            session.execute(
                sa.update(latest.table).where(where).values(state=state, **{"try_number": 1, **dates, **values})
            )

    def set_decision(self, dag_id: str, run_id: str, task_id: str, decision: Any) -> None:  # noqa: ANN401 - JSON
        """Leave what a branch or a short circuit leaves: which tasks it skips."""
        from airflow.models.xcom import XComModel

        key = "skipmixin_key"
        with self.open() as session:
            XComModel.set(key, decision, dag_id=dag_id, task_id=task_id, run_id=run_id, session=session)

    def set_run(self, dag_id: str, run_id: str, **values: Any) -> None:  # noqa: ANN401 - columns
        """Change a run's row."""
        from airflow.models.dagrun import DagRun

        table = DagRun.__table__
        with self.open() as session:
            session.execute(sa.update(table).where(table.c.dag_id == dag_id, table.c.run_id == run_id).values(**values))

    def delete_run(self, dag_id: str, run_id: str) -> None:
        """Delete a run, and what hangs on it."""
        from airflow.models.dagrun import DagRun

        table, store = DagRun.__table__, self._store()
        with self.open() as session:
            session.execute(store.delete().where(store.c.dag_id == dag_id, store.c.run_id == run_id))
            task = table.metadata.tables["task_instance"]
            session.execute(task.delete().where(task.c.dag_id == dag_id, task.c.run_id == run_id))
            session.execute(table.delete().where(table.c.dag_id == dag_id, table.c.run_id == run_id))

    def last_id(self) -> int:
        """Return the highest id of an entry."""
        with self.open() as session:
            return int(session.scalar(sa.select(sa.func.max(self._store().c.id))) or 0)

    def set_value(self, asking_parent: Asking, record: Record, *, new_id: int) -> None:
        """Write over an entry, under another id."""
        store = self._store()
        with self.open() as session:
            session.execute(
                store.update()
                .where(store.c.dag_run_id == asking_parent.dag_run_id)
                .values(id=new_id, value=json.dumps({**dump(record), "root": "root"}))
            )

    def task_instance_id(self, dag_id: str, run_id: str, task_id: str) -> str:
        """Return the id of the current task instance."""
        return str(self._task(dag_id, run_id, task_id).id)

    def tasks(self, dag_id: str, run_id: str) -> dict[str, str | None]:
        """Return the state of each task of a run."""
        return {task_id: self._text(self._task(dag_id, run_id, task_id).state) for task_id in TASKS}

    def state_of(self, dag_id: str, run_id: str, task_id: str) -> str | None:
        """Return a task's state."""
        return self._text(self._task(dag_id, run_id, task_id).state)

    def forget(self, asking_parent: Asking) -> None:
        """Delete all entries of a parent, as the clear of Airflow 3.4 does."""
        store = self._store()
        with self.open() as session:
            session.execute(store.delete().where(store.c.dag_run_id == asking_parent.dag_run_id))

    def entries(self, asking_parent: Asking) -> int:
        """Return how many entries a parent has."""
        store = self._store()
        with self.open() as session:
            statement = sa.select(sa.func.count()).where(store.c.dag_run_id == asking_parent.dag_run_id)
            return int(session.scalar(statement) or 0)

    def _task(self, dag_id: str, run_id: str, task_id: str) -> Any:  # noqa: ANN401 - a row
        from airflow_durable.metadata.tables import load_tables

        latest = load_tables().latest
        with self.open() as session:
            return session.execute(
                sa.select(latest.id.label("id"), latest.columns.state).where(
                    latest.is_included,
                    latest.key.dag_id == dag_id,
                    latest.key.run_id == run_id,
                    latest.key.task_id == task_id,
                )
            ).one()

    def run_row(self, dag_id: str, run_id: str) -> dict[str, Any]:
        """Return a run's row."""
        from airflow.models.dagrun import DagRun

        with self.open() as session:
            table = DagRun.__table__
            row = session.execute(sa.select(table).where(table.c.dag_id == dag_id, table.c.run_id == run_id)).one()
        return {**row._mapping, "state": self._text(row.state)}

    def child(self, asking_parent: Asking) -> tuple[str, int]:
        """Return state and clear number of the child."""
        row = self.run_row(asking_parent.record.dag_id, asking_parent.record.run_id)
        return row["state"], row["clear_number"]

    def audit_log(self) -> list[tuple[str, str, str, dict[str, Any]]]:
        """Return event, Dag, run and details of each row of ours."""
        from airflow.models.log import Log

        with self.open() as session:
            rows = session.execute(
                sa.select(Log.event, Log.dag_id, Log.run_id, Log.extra).where(Log.event.startswith("durable."))
            )
            return [
                (event, dag_id or "", run_id or "", json.loads(extra or "{}")) for event, dag_id, run_id, extra in rows
            ]

    @staticmethod
    def _text(state: Any) -> str | None:  # noqa: ANN401 - an enum or a text
        return None if state is None else str(getattr(state, "value", state))


def make_tables(engine: sa.Engine) -> Iterator[World]:
    """Make Airflow's tables and the Dags; yield the world."""
    from airflow.models import import_all_models
    from airflow.models.base import Base

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import_all_models()  # type: ignore[no-untyped-call] # Airflow's
        Base.metadata.create_all(engine)
    world = World(engine)
    world.make_dags()
    yield world
    engine.dispose()


def _utc(date: datetime) -> datetime:
    return date.replace(tzinfo=timezone.utc) if date.tzinfo is None else date.astimezone(timezone.utc)
