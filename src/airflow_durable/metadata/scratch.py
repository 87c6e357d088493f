"""The database of a scratch Airflow, which other processes write: each read repeats itself while it is busy."""

from __future__ import annotations

import json
import time
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from airflow_durable.metadata.model import ENDED_STATES
from airflow_durable.metadata.reads import Reads, as_key
from airflow_durable.metadata.tables import reflect_tables
from airflow_durable.metadata.values import as_utc

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from datetime import datetime
    from uuid import UUID

    from airflow_durable.metadata.model import DagRun, InstanceKey, TaskTry
    from airflow_durable.metadata.tables import Condition, Tries

T = TypeVar("T")

_BUSY_PAUSES_SECONDS = (0.1, 0.5, 1.0, 2.0, 5.0)
_SHOWN = (
    "try_number",
    "state",
    "pid",
    "trigger_id",
    "scheduled_dttm",
    "queued_dttm",
    "start_date",
    "last_heartbeat_at",
    "updated_at",
)


class ScratchDatabase:
    """
    Reads of a metadata database. Each repeats itself while SQLite is locked or a server is away for a moment.

    Airflow is not imported: this process's own may be set up for another database.

    :param url: SQLAlchemy's, as in ``[database] sql_alchemy_conn``. Its tables may be made later, before the first
        read.
    """

    def __init__(self, url: str) -> None:
        self._engine = sa.create_engine(url, poolclass=sa.pool.NullPool)

    def close(self) -> None:
        """Let go of what was opened."""
        self._engine.dispose()

    @cached_property
    def reads(self) -> Reads:
        """The typed reads."""
        return Reads(self._repeat(lambda: reflect_tables(self._engine)), self._execute)

    # Dag runs.

    def runs(self, dag_id: str) -> list[DagRun]:
        """Return the runs of a Dag, in the order in which they were made."""
        dag_run = self.reads.tables.dag_run.c
        return sorted(self.reads.runs(dag_run.dag_id == dag_id), key=lambda run: run.id)

    def confs(self, dag_id: str, run_ids: Collection[str]) -> dict[str, Any]:
        """Return the confs of some of a Dag's runs."""
        return dict(self.reads.confs(dag_id, list(run_ids)))

    # Tries of task instances.

    def latest_tries(self, dag_id: str, run_id: str | None = None) -> list[TaskTry]:
        """Return the latest try of each task instance of a Dag, or of one of its runs."""
        return self._tries(self.reads.tables.latest, *_of(self.reads.tables.latest, dag_id, run_id))

    def tries(self, dag_id: str, run_id: str | None = None) -> list[TaskTry]:
        """
        Return all tries of the task instances of a Dag, or of one of its runs, in their order.

        To 3.3 a try that ran is in the history, too, from its end on (``models/taskinstance.py``): each task instance
        id is returned once.
        """
        earlier, latest = self.reads.tables.earlier, self.reads.tables.latest
        both = [one for where in (earlier, latest) for one in self._tries(where, *_of(where, dag_id, run_id))]
        return _in_order({one.id: one for one in both}.values())

    def try_of_id(self, task_instance_id: UUID) -> TaskTry | None:
        """Return the try of this task instance id, None if there is none."""
        return self.reads.try_of_id(task_instance_id)

    def latest_in_state(self, state: str, task_id: str) -> list[TaskTry]:
        """Return the latest tries of a task that are in this state, of all Dags."""
        latest = self.reads.tables.latest
        return self._tries(latest, latest.columns.state == state, latest.key.task_id == task_id)

    def unfinished(self) -> list[Mapping[str, Any]]:
        """Return the rows of all task instances that have not ended, for a person to look at."""
        latest = self.reads.tables.latest
        state = latest.columns.state
        columns = [latest.columns[name] for name in _SHOWN]
        statement = sa.select(*latest.key, *columns).where(
            latest.is_included, sa.or_(state.is_(None), state.not_in(ENDED_STATES))
        )
        return [row._mapping for row in self._execute(statement)]  # noqa: SLF001 - SQLAlchemy's own name for it

    def has_trigger(self, dag_id: str) -> bool:
        """Return whether a task instance of the Dag waits for a trigger."""
        latest = self.reads.tables.latest
        return bool(self._tries(latest, latest.key.dag_id == dag_id, latest.columns.trigger_id.is_not(None)))

    def set_state(self, dag_id: str, state: str) -> None:
        """Put the latest tries of all of a Dag's task instances in this state."""
        latest = self.reads.tables.latest
        statement = latest.table.update().where(latest.key.dag_id == dag_id, latest.is_included).values(state=state)
        with self._engine.begin() as connection:
            connection.execute(statement)

    # What tasks have stored.

    @property
    def has_store(self) -> bool:
        """Whether this Airflow has a task state store."""
        return self.reads.tables.store is not None

    def stored(self, dag_id: str, run_id: str | None = None) -> dict[tuple[str, int, str], Any]:
        """Return the task state store of a Dag or of one of its runs: (task_id, map_index, key) to value."""
        store = self.reads.tables.store
        if store is None:
            return {}
        statement = sa.select(*store.key, store.table.c.key, store.table.c.value).where(store.key.dag_id == dag_id)
        if run_id is not None:
            statement = statement.where(store.key.run_id == run_id)
        found: dict[tuple[str, int, str], Any] = {}
        for row in self._execute(statement):
            key: InstanceKey = as_key(row[:5])
            found[key.task_id, key.map_index, row[5]] = json.loads(row[6])
        return found

    def overwrite_stored(self, dag_id: str, value: object) -> int:
        """Put this in the place of all that a Dag's tasks have stored; return how many rows there were."""
        store = self.reads.tables.store
        if store is None:
            return 0
        statement = store.table.update().where(store.key.dag_id == dag_id).values(value=json.dumps(value))
        with self._engine.begin() as connection:
            return connection.execute(statement).rowcount

    def xcoms(self, name: str, dag_id: str, task_id: str) -> dict[InstanceKey, Any]:
        """Return the XCom of this name of each instance of a task, as it is stored."""
        return {key: value for key, _, value in self.reads.xcoms([name], dag_id, task_id)}

    # What else there is.

    def known_dags(self) -> set[str]:
        """Return the Dags that have been parsed and can be triggered."""
        return {row["dag_id"] for row in self.select("SELECT DISTINCT dag_id FROM serialized_dag")}

    def import_errors(self) -> list[str]:
        """Return what went wrong in Dag files."""
        rows = self.select("SELECT filename, stacktrace FROM import_error")
        return [f"{row['filename']}: {row['stacktrace']}" for row in rows]

    def beats(self, job_type: str, since: datetime) -> int:
        """Return how many jobs of this type have started since then and have not ended."""
        rows = self.select(
            "SELECT start_date, latest_heartbeat FROM job WHERE job_type = :job_type AND state = 'running'",
            job_type=job_type,
        )
        return sum(1 for row in rows if (as_utc(row["start_date"]) or since) >= since)

    def select(self, statement: str, **parameters: Any) -> list[Mapping[str, Any]]:  # noqa: ANN401 - as SQL takes them
        """Return the rows of a query in SQL, for a table that is the same in each Airflow."""
        return [row._mapping for row in self._execute(sa.text(statement).bindparams(**parameters))]  # noqa: SLF001 - SQLAlchemy's own name for it

    def _execute(self, statement: Any) -> list[Any]:  # noqa: ANN401 - a statement
        def execute() -> list[Any]:
            with self._engine.connect() as connection:
                return list(connection.execute(statement))

        return self._repeat(execute)

    @staticmethod
    def _repeat(read: Callable[[], T]) -> T:
        for pause_seconds in _BUSY_PAUSES_SECONDS:
            try:
                return read()
            except OperationalError:  # noqa: PERF203 - a pause follows
                time.sleep(pause_seconds)
        return read()

    def _tries(self, where: Tries, *conditions: Condition) -> list[TaskTry]:
        return _in_order(self.reads.tries(where, *conditions))


def _of(where: Tries, dag_id: str, run_id: str | None) -> list[Condition]:
    is_of_dag = [where.key.dag_id == dag_id]
    return is_of_dag if run_id is None else [*is_of_dag, where.key.run_id == run_id]


def _in_order(tries: Any) -> list[TaskTry]:  # noqa: ANN401 - an iterable of tries
    return sorted(tries, key=lambda one: (one.run_id, one.task_id, one.map_index, one.try_number))
