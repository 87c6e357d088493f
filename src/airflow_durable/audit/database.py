"""The deployment's metadata database, through Airflow's own configuration. Nothing is written: the session cannot."""

from __future__ import annotations

import contextlib
import importlib
import json
import warnings
import zlib
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from airflow_durable.audit.model import Attempt, Instance, ParentKey, Run, RunKey, TaskKey, Trace
from airflow_durable.audit.rules import began, digest_conf, is_cleared, order
from airflow_durable.audit.source import (
    TRIGGER_FIELD,
    XCOM_LINK,
    XCOM_RUN_ID,
    SourceError,
    read_link,
    read_record,
    read_text,
)
from airflow_durable.core.stored import KEY

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from airflow_durable.audit.source import Moments, Spans

_MODELS = (
    "dagrun",
    "taskinstance",
    "taskinstancehistory",
    "xcom",
    "renderedtifields",
    "serialized_dag",
    "task_state_store",  # 3.3
)

_ROWS_AT_ONCE = 2_000
_KEYS_AT_ONCE = 500
_OPERATOR = "OPERATOR"

_READ_ONLY = {"sqlite": "PRAGMA query_only = ON", "mysql": "SET SESSION TRANSACTION READ ONLY"}
_READ_WRITE = {"sqlite": "PRAGMA query_only = OFF", "mysql": "SET SESSION TRANSACTION READ WRITE"}


@contextlib.contextmanager
def open_database() -> Iterator[DatabaseSource]:
    """
    Open the metadata database that this machine's Airflow is configured for, read-only.

    The engine is Airflow's own, so that what the installation does to connect (``airflow_local_settings``) is done.

    :raises SourceError: there is none, or it is not an Airflow 3's.
    """
    from airflow import __version__, settings

    if settings.engine is None:
        message = "Airflow has no database connection here: [database] sql_alchemy_conn is not to be used by it."
        raise SourceError(message)
    with open_engine(settings.engine, __version__) as source:
        yield source


@contextlib.contextmanager
def open_engine(engine: sa.Engine, airflow_version: str) -> Iterator[DatabaseSource]:
    """Open a metadata database, read-only."""
    dialect = engine.dialect.name
    try:
        with contextlib.closing(_connect(engine)) as connection:
            try:
                yield DatabaseSource(connection, airflow_version)
            finally:
                connection.rollback()
                # The connection goes back to Airflow's pool.
                if dialect in _READ_WRITE:
                    connection.exec_driver_sql(_READ_WRITE[dialect])
    except sa.exc.SQLAlchemyError as error:
        cause = error.orig if isinstance(error, sa.exc.DBAPIError) else error
        message = (
            f"The metadata database ({dialect}) could not be read: {cause}. The audit reads the database that Airflow "
            f"is configured for ([database] sql_alchemy_conn), and needs an Airflow 3 that is migrated to the "
            f"installed version ({airflow_version})."
        )
        raise SourceError(message) from error


def _connect(engine: sa.Engine) -> sa.Connection:
    """Return a connection on which the database refuses to write."""
    dialect = engine.dialect.name
    connection = engine.connect()
    if dialect == "postgresql":
        return connection.execution_options(postgresql_readonly=True)
    if dialect not in _READ_ONLY:
        connection.close()
        message = f"The metadata database is of a kind ({dialect}) that the audit does not know how to open read-only."
        raise SourceError(message)
    connection.exec_driver_sql(_READ_ONLY[dialect])
    return connection


def load_tables() -> Mapping[str, sa.Table]:
    """Return the tables of the installed Airflow, with its own columns, types and schema. Its ORM is not used."""
    with warnings.catch_warnings():
        # Airflow's own modules use names that it has deprecated (3.0 and 3.1): nothing that a reader could mend.
        warnings.simplefilter("ignore")
        for name in _MODELS:
            with contextlib.suppress(ModuleNotFoundError):
                importlib.import_module(f"airflow.models.{name}")
        from airflow.models.base import Base

    tables: Mapping[str, sa.Table] = Base.metadata.tables
    return tables


@dataclass(frozen=True)
class RunTimes:
    """A Dag run, whoever has triggered it; dates in UTC."""

    key: RunKey
    state: str
    queued_at: datetime | None
    start: datetime | None
    end: datetime | None


class DatabaseSource:
    """
    Implements :class:`airflow_durable.audit.source.Source`.

    By task, along the indexes (dag_id, task_id, ...) of the tables, and in streams: what is held in memory are the
    retried parents and the runs in their attempts' times.
    """

    kind = "database"

    def __init__(self, connection: sa.Connection, airflow_version: str) -> None:
        self.airflow_version = airflow_version
        self._connection = connection
        self._tables = load_tables()
        self._has_store = "task_state_store" in self._tables

    def tasks(self) -> list[TaskKey]:
        """Return the tasks with a trigger operator's template field, and those that have left a trigger's XCom."""
        xcom = self._tables["xcom"].c
        found = {
            TaskKey(dag_id, task_id)
            for dag_id, task_id in self._stream(
                sa.select(xcom.dag_id, xcom.task_id).where(xcom.key == XCOM_RUN_ID).distinct()
            )
        }
        return sorted(found | set(self._serialized_tasks()))

    def retried(self, tasks: Iterable[TaskKey], since: datetime | None) -> Iterator[Instance]:
        """Yield the parents with more than one attempt; with ``since``, those whose last one began since then."""
        table = self._tables["task_instance"].c
        conditions = [table.try_number > 1]
        if since:
            conditions.append(table.start_date >= since)
        for task in tasks:
            latest = self._attempts("task_instance", task, *conditions)
            if not latest:
                continue
            earlier = self._attempts("task_instance_history", task)
            for key, attempts in latest.items():
                # The history first: an attempt that is to be retried is in both.
                ran = order([*earlier.get(key, ()), *attempts])
                if len(ran) > 1:
                    yield Instance(key, ran)

    def around(self, tasks: Iterable[TaskKey], moments: Moments) -> Iterator[Instance]:
        """Yield the parents that ran at one of these moments, with all their attempts."""
        for task in tasks:
            keys = set()
            for name in ("task_instance", "task_instance_history"):
                table = self._tables[name].c
                is_near = sa.and_(
                    table.start_date <= moments.last,
                    sa.or_(table.end_date.is_(None), table.end_date >= moments.first),
                )
                for key, attempt in self._stream_attempts(name, task, is_near):
                    if moments.has_within(attempt.start, attempt.end):
                        keys.add(key)
            for chunk in _chunks(sorted(keys)):
                attempts: dict[ParentKey, list[Attempt]] = defaultdict(list)
                for name in ("task_instance_history", "task_instance"):
                    has_run = self._tables[name].c.run_id.in_({key.run_id for key in chunk})
                    for key, attempt in self._stream_attempts(name, task, has_run):
                        attempts[key].append(attempt)
                for key in chunk:
                    yield Instance(key, order(attempts[key]))

    def traces(self, keys: Sequence[ParentKey]) -> dict[ParentKey, Trace]:
        """Return what each of these parents has left behind."""
        by_task: dict[TaskKey, list[ParentKey]] = defaultdict(list)
        for key in keys:
            by_task[key.task].append(key)
        traces: dict[ParentKey, Trace] = {}
        for task, own in by_task.items():
            for chunk in _chunks(own):
                traces |= self._traces_of(task, chunk)
        return traces

    def runs(self, dag_id: str, spans: Spans) -> list[Run]:
        """Return the runs of a Dag that operators have triggered within the spans."""
        table = self._tables["dag_run"].c
        statement = sa.select(
            table.run_id,
            table.state,
            table.logical_date,
            table.run_after,
            table.queued_at,
            table.start_date,
            table.end_date,
        ).where(
            table.dag_id == dag_id,
            sa.cast(table.triggered_by, sa.String) == _OPERATOR,
            table.run_after >= spans.first,
        )
        found = {}
        for row in self._stream(statement):
            moment = began(row.logical_date, row.run_after, row.queued_at)
            if moment is not None and spans.contains(moment):
                found[row.run_id] = (moment, row)
        confs = self._digests(dag_id, list(found))
        return [
            Run(
                RunKey(dag_id, run_id),
                row.state,
                moment,
                row.start_date,
                row.end_date,
                *confs[run_id],
                is_cleared=is_cleared(moment, row.queued_at),
            )
            for run_id, (moment, row) in found.items()
            if run_id in confs
        ]

    def attempts(self, key: ParentKey) -> tuple[Attempt, ...]:
        """Return all attempts of one parent that have begun."""
        found: list[Attempt] = []
        for name in ("task_instance_history", "task_instance"):
            table = self._tables[name].c
            is_own = sa.and_(table.run_id == key.run_id, table.map_index == key.map_index)
            found += [attempt for _, attempt in self._stream_attempts(name, key.task, is_own)]
        return order(found)

    def stored_record(self, key: ParentKey) -> str | None:
        """Return a parent's journal as it is stored, None if it has none."""
        if not self._has_store:
            return None
        table = self._tables["task_state_store"].c
        statement = sa.select(table.value).where(
            table.dag_id == key.dag_id,
            table.run_id == key.run_id,
            table.task_id == key.task_id,
            table.map_index == key.map_index,
            table.key == KEY,
        )
        return next((value for (value,) in self._stream(statement)), None)

    def times(self, keys: Sequence[RunKey]) -> Iterator[RunTimes]:
        """Yield what is known of these runs, as far as they are there."""
        table = self._tables["dag_run"].c
        columns = (table.state, table.queued_at, table.start_date, table.end_date)
        for key in keys:
            is_it = sa.and_(table.dag_id == key.dag_id, table.run_id == key.run_id)
            for row in self._stream(sa.select(*columns).where(is_it)):
                yield RunTimes(key, *row)

    def _digests(self, dag_id: str, run_ids: list[str]) -> dict[str, tuple[str, str | None]]:
        table = self._tables["dag_run"].c
        digests: dict[str, tuple[str, str | None]] = {}
        for chunk in _chunks(run_ids):
            statement = sa.select(table.run_id, table.conf).where(table.dag_id == dag_id, table.run_id.in_(chunk))
            digests |= {run_id: digest_conf(conf) for run_id, conf in self._stream(statement)}
        return digests

    def _traces_of(self, task: TaskKey, keys: Sequence[ParentKey]) -> dict[ParentKey, Trace]:
        wanted = set(keys)
        run_ids = {key.run_id for key in keys}
        left: dict[ParentKey, dict[str, Any]] = {key: {} for key in keys}

        def read(name: str, *columns: sa.ColumnElement[Any], where: sa.ColumnElement[bool] | None = None) -> Any:  # noqa: ANN401 - rows
            table = self._tables[name].c
            statement = sa.select(table.run_id, table.map_index, *columns).where(
                table.dag_id == task.dag_id, table.task_id == task.task_id, table.run_id.in_(run_ids)
            )
            for run_id, map_index, *values in self._stream(statement if where is None else statement.where(where)):
                key = ParentKey(task.dag_id, run_id, task.task_id, map_index)
                if key in wanted:
                    yield left[key], values

        xcom = self._tables["xcom"].c
        for traces, (name, value) in read("xcom", xcom.key, xcom.value, where=xcom.key.in_([XCOM_RUN_ID, XCOM_LINK])):
            if name == XCOM_RUN_ID:
                traces["claimed"] = read_text(value)
            else:
                traces["linked"] = read_link(value)
        # The column's own type knows no path into it in 3.0 and 3.1.
        fields = sa.type_coerce(self._tables["rendered_task_instance_fields"].c.rendered_fields, sa.JSON)
        # Taken out by the database: the rest of the fields, the conf among them, stays there.
        columns = (fields[TRIGGER_FIELD], fields["wait_for_completion"])
        for traces, (dag_id, waits) in read("rendered_task_instance_fields", *columns):
            traces["child_dag_id"] = dag_id if isinstance(dag_id, str) else None
            traces["waits"] = None if waits is None else bool(waits)
        if self._has_store:
            store = self._tables["task_state_store"].c
            for traces, (value,) in read("task_state_store", store.value, where=store.key == KEY):
                traces["recorded"] = read_record(value)
        return {key: Trace(**traces) for key, traces in left.items()}

    def _serialized_tasks(self) -> Iterator[TaskKey]:
        """Yield the tasks with a trigger operator's template field, by the latest version of each Dag."""
        table = self._tables["serialized_dag"].c
        newest = sa.select(table.dag_id, sa.func.max(table.created_at).label("at")).group_by(table.dag_id).subquery()
        is_newest = sa.and_(table.dag_id == newest.c.dag_id, table.created_at == newest.c.at)
        statement = sa.select(table.dag_id, table.data, table.data_compressed).where(is_newest)
        for dag_id, data, compressed in self._stream(statement, rows_at_once=20):
            stored = json.loads(zlib.decompress(compressed)) if compressed else data
            for task_id in find_trigger_tasks(stored):
                yield TaskKey(dag_id, task_id)

    def _attempts(
        self, name: str, task: TaskKey, *conditions: sa.ColumnElement[bool]
    ) -> dict[ParentKey, list[Attempt]]:
        attempts: dict[ParentKey, list[Attempt]] = defaultdict(list)
        for key, attempt in self._stream_attempts(name, task, *conditions):
            attempts[key].append(attempt)
        return attempts

    def _stream_attempts(
        self, name: str, task: TaskKey, *conditions: sa.ColumnElement[bool]
    ) -> Iterator[tuple[ParentKey, Attempt]]:
        table = self._tables[name].c
        statement = sa.select(
            table.run_id,
            table.map_index,
            table.try_number,
            table.max_tries,
            table.state,
            table.start_date,
            table.end_date,
        ).where(table.dag_id == task.dag_id, table.task_id == task.task_id, table.start_date.is_not(None), *conditions)
        for run_id, map_index, try_number, max_tries, state, start, end in self._stream(statement):
            key = ParentKey(task.dag_id, run_id, task.task_id, map_index)
            yield key, Attempt(try_number, max_tries, state, start, end)

    def _stream(self, statement: sa.Select[Any], rows_at_once: int = _ROWS_AT_ONCE) -> Iterator[Any]:
        # SQLAlchemy 1.4, of Airflow 3.0, has no results that are context managers.
        result = self._connection.execute(statement, execution_options={"yield_per": rows_at_once})
        with contextlib.closing(result):
            yield from result


def find_trigger_tasks(serialized: Any) -> Iterator[str]:  # noqa: ANN401 - as Airflow stored it
    """Yield the ids of a serialized Dag's tasks that have a trigger operator's template field (3.0 to 3.3)."""
    tasks = serialized.get("dag", {}).get("tasks", ()) if isinstance(serialized, dict) else ()
    for task in tasks:
        fields = task.get("__var", task)
        if TRIGGER_FIELD in fields.get("template_fields", ()):
            yield str(fields["task_id"])


def _chunks(keys: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(keys), _KEYS_AT_ONCE):
        yield keys[start : start + _KEYS_AT_ONCE]
