"""
The page's reads of Airflow's metadata database.

The journal is the table ``task_state_store`` (3.3): one row a parent, its record as JSON text. Its indexes know the
parent's Dag and run, none knows the key, the record's child or its decisions, and none is added: the table is
Airflow's. So

- a page is first a list of ids, sought along the primary key from where the last page ended: a page far back costs what
  the first one does, and nothing is sorted. Then come the rows of those ids, their task instances and their child runs;
- what stands in the record is sought by the text that Airflow makes of it (``json.dumps``,
  ``execution_api/routes/task_state_store.py``), and then read from the record itself.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias
from uuid import UUID

import sqlalchemy as sa
import sqlalchemy.orm as sa_orm
from airflow.models.dagrun import DagRun
from airflow.models.log import Log
from airflow.models.taskinstance import TaskInstance
from airflow.models.taskinstancehistory import TaskInstanceHistory

from airflow_durable.core.errors import RecordDamagedError
from airflow_durable.core.stored import KEY, load
from airflow_durable.waits.model import TAKEOVERS, UNFINISHED_STATES, WAITING, Attempt, Filters, Parent, Run, Wait

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from sqlalchemy.orm import Session

    from airflow_durable.core.record import Record

Statement: TypeAlias = Any
Condition: TypeAlias = Any
"""SQLAlchemy's types of them differ by version."""


def _find_store() -> Any:  # noqa: ANN401 - a model, or None
    """Return the model of the task state store; None before 3.3, with which the branch can go."""
    try:
        from airflow.models.task_state_store import TaskStateStoreModel
    except ImportError:
        return None
    return TaskStateStoreModel


Store: Any = _find_store()

PAGE_SIZE = 50
FEW_DAGS = 10
"""Of so few Dags, the records are found by the Dag; of more, in the order of the ids."""

CHUNK_SIZE = 500
"""How many runs one query asks for: within what every database takes in one statement."""

_GENERATED = re.compile(r"manual__durable_([0-9a-f]{32})_\d+")
_DERIVED = "manual!_!_durable!_%"
_NOT_STARTED_STATES = frozenset({None, "scheduled", "queued"})
_SILENCE = ("heartbeat timeout", "state mismatch")
"""The scheduler's words in the audit log for a lost worker (3.1 to 3.3, ``jobs/scheduler_job_runner.py``)."""


@dataclass(frozen=True)
class Page:
    """
    Some waits, the newest first.

    :param has_newer: there are newer ones, before the first.
    :param has_older: there are older ones, after the last.
    """

    waits: tuple[Wait, ...]
    has_newer: bool = False
    has_older: bool = False


@dataclass(frozen=True)
class Cursor:
    """Where a page begins: below one id, or above one (then it is the page that ends just above it). 0: at the top."""

    before: int = 0
    after: int = 0


class Waits:
    """
    What one user may see.

    :param readable: the Dags that the user may read.
    """

    def __init__(self, session: Session, readable: Collection[str]) -> None:
        self._session = session
        self._readable = readable

    def page(self, filters: Filters, cursor: Cursor, size: int = PAGE_SIZE) -> Page:
        """Return one page of what the filters want."""
        is_upward = bool(cursor.after)
        found = self._collect(filters, cursor, size + 1)
        has_more = len(found) > size
        waits = found[:size]
        if is_upward:
            return Page(tuple(reversed(waits)), has_newer=has_more, has_older=True)
        return Page(tuple(waits), has_newer=bool(cursor.before), has_older=has_more)

    def get(self, wait_id: int) -> Wait | None:
        """Return one wait; None if there is none, or none that the user may see."""
        return next(iter(self._read(Store.id == wait_id)), None)

    def of_parent_run(self, dag_id: str, run_id: str) -> list[Wait]:
        """Return the waits of one Dag run's own tasks."""
        return list(reversed(self._read(Store.dag_id == dag_id, Store.run_id == run_id)))

    def of_child_run(self, dag_id: str, run_id: str) -> list[Wait]:
        """
        Return the waits for one Dag run.

        A generated run id names the try that made it (:func:`airflow_durable.core.run_ids.generate_run_id`), so its
        parent is found by an index. A fixed one is sought in all records.
        """
        if dag_id not in self._readable:
            return []
        if match := _GENERATED.fullmatch(run_id):
            parent = self._parent_of_try(UUID(match.group(1)))
            if parent is None:
                return []
            waits = self._read(
                Store.dag_id == parent[0],
                Store.run_id == parent[1],
                Store.task_id == parent[2],
                Store.map_index == parent[3],
            )
        else:
            waits = self._read(_says("run_id", run_id), _says("dag_id", dag_id))
        return [
            wait
            for wait in waits
            if wait.record
            and wait.record.dag_id == dag_id
            and run_id in {wait.record.run_id, *(entry.run_id for entry in wait.record.tries)}
        ]

    def attempts(self, parent: Parent, *, is_silence_readable: bool) -> list[Attempt]:
        """Return all tries of a parent, the first first."""
        entities: tuple[Any, ...] = (TaskInstanceHistory, TaskInstance)
        silent = self._silent_tries(parent) if is_silence_readable else None
        found: dict[int, Attempt] = {}
        for entity in entities:
            columns = (entity.try_number, entity.state, entity.start_date, entity.end_date)
            for number, state, start_date, end_date in self._session.execute(
                sa.select(*columns).where(*_is_of(entity, parent)).order_by(entity.try_number)
            ):
                if entity is TaskInstance and state in _NOT_STARTED_STATES:
                    # Its dates are still those of the try before.
                    start_date = end_date = None  # noqa: PLW2901
                is_silent = None if silent is None else number in silent
                found[number] = Attempt(number, _text(state), start_date, end_date, is_silent)
        return [found[number] for number in sorted(found) if number > 0]

    def runs(self, keys: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Run]:
        """Return those of these Dag runs that exist and that the user may read."""
        return read_runs(self._session, [key for key in keys if key[0] in self._readable])

    def derived_children(self, cursor: Cursor, size: int = PAGE_SIZE) -> tuple[list[tuple[int, Run]], bool]:
        """
        Return child runs by the form of their run id, the newest first, and whether there are more.

        Where there is no task state store (3.1 and 3.2), this is all that can be known: a derived run id holds its
        parent's digest, not its name.
        """
        statement = (
            sa.select(DagRun.id, *_run_columns())
            .where(DagRun.run_id.like(_DERIVED, escape="!"), DagRun.dag_id.in_(self._readable))
            .order_by(DagRun.id.desc())
            .limit(size + 1)
        )
        if cursor.before:
            statement = statement.where(DagRun.id < cursor.before)
        rows = [(row[0], _run(row[1:])) for row in self._session.execute(statement)]
        return rows[:size], len(rows) > size

    def _collect(self, filters: Filters, cursor: Cursor, wanted: int) -> list[Wait]:
        """
        Return so many waits from the cursor on.

        Where the text of a record has misled the query (a record that cannot be understood, a child that may not be
        seen), it is asked for more, from where it stopped.
        """
        is_upward = bool(cursor.after)
        at = cursor.after or cursor.before
        found: list[Wait] = []
        while True:
            statement = select_ids(self._readable, filters)
            if at:
                statement = statement.where(Store.id > at if is_upward else Store.id < at)
            order = Store.id.asc() if is_upward else Store.id.desc()
            ids = list(self._session.scalars(statement.order_by(order).limit(wanted)))
            waits = self._read(Store.id.in_(ids)) if ids else []
            if is_upward:
                waits.reverse()
            found.extend(wait for wait in waits if filters.matches(wait))
            if len(found) >= wanted or len(ids) < wanted:
                return found[:wanted]
            at = ids[-1]

    def _read(self, *conditions: Condition) -> list[Wait]:
        """Return the waits that may be seen of those, the newest first."""
        names = (Store.dag_id, Store.run_id, Store.task_id, Store.map_index)
        statement = (
            sa.select(Store.id, Store.value, *names, TaskInstance.state, TaskInstance.try_number)
            .outerjoin(TaskInstance, sa.and_(*_is_parent_of(Store)))
            .where(Store.key == KEY, *conditions)
            .order_by(Store.id.desc())
            .limit(CHUNK_SIZE)
        )
        rows = [row for row in self._session.execute(statement) if row.dag_id in self._readable]
        records = {row.id: read_record(row.value) for row in rows}
        runs = self.runs((record.dag_id, record.run_id) for record in records.values() if record)
        return [self._wait(row.id, _parent(row), records[row.id], runs) for row in rows]

    def _wait(self, wait_id: int, parent: Parent, record: Record | None, runs: dict[tuple[str, str], Run]) -> Wait:
        if record is None:
            return Wait(wait_id, parent, None)
        if record.dag_id not in self._readable:
            return Wait(wait_id, parent, record, is_child_hidden=True)
        key = (record.dag_id, record.run_id)
        return Wait(wait_id, parent, record, runs.get(key, Run(*key)))

    def _parent_of_try(self, task_instance_id: UUID) -> tuple[str, str, str, int] | None:
        pairs: tuple[tuple[Any, Any], ...] = (
            (TaskInstance, TaskInstance.id),
            (TaskInstanceHistory, TaskInstanceHistory.task_instance_id),
        )
        for entity, column in pairs:
            columns = (entity.dag_id, entity.run_id, entity.task_id, entity.map_index)
            row = self._session.execute(sa.select(*columns).where(column == task_instance_id)).first()
            if row is not None:
                return (row[0], row[1], row[2], row[3])
        return None

    def _silent_tries(self, parent: Parent) -> set[int]:
        statement = sa.select(Log.try_number).where(*_is_of(Log, parent), Log.event.in_(_SILENCE))
        return set(self._session.scalars(statement))


def select_ids(readable: Collection[str], filters: Filters) -> Statement:
    """
    Return the query for the ids of waits whose parents may be read.

    It is as narrow as the filters and the text of a record allow; :meth:`Filters.matches` has the last word.
    """
    statement = sa.select(Store.id).where(Store.key == KEY)
    if filters.dag_id:
        statement = statement.where(Store.dag_id == filters.dag_id if filters.dag_id in readable else sa.false())
    elif len(readable) <= FEW_DAGS:
        statement = statement.where(Store.dag_id.in_(readable))
    else:
        # Joined to nothing, the name would have its index used, and all rows of all Dags sorted for each page.
        statement = statement.where(Store.dag_id.concat("").in_(readable))
    if filters.child_dag_id:
        is_it = _says("dag_id", filters.child_dag_id) if filters.child_dag_id in readable else sa.false()
        statement = statement.where(is_it)
    if filters.state == WAITING:
        statement = statement.where(_has_parent_among(is_unfinished()), _says("consumed", False))
    elif filters.state in UNFINISHED_STATES:
        statement = statement.where(_has_parent_among(TaskInstance.state == filters.state))
    elif filters.state:
        is_so = sa.exists().where(*_is_parent_of(Store), TaskInstance.state == filters.state)
        statement = statement.where(is_so)
    if filters.is_recovered_only:
        statement = statement.where(is_taken_over())
    return statement


def _has_parent_among(*conditions: Condition) -> Condition:
    """
    Return the condition that a parent is among some task instances.

    These are found first: of those that have not ended there are few.
    """
    other = sa_orm.aliased(Store)
    ids = sa.select(other.id).join(TaskInstance, sa.and_(*_is_parent_of(other))).where(other.key == KEY, *conditions)
    is_among: Condition = Store.id.in_(ids)
    return is_among


def _is_parent_of(store: Any) -> tuple[Condition, ...]:  # noqa: ANN401 - the model, or an alias of it
    return (
        TaskInstance.dag_id == store.dag_id,
        TaskInstance.task_id == store.task_id,
        TaskInstance.run_id == store.run_id,
        TaskInstance.map_index == store.map_index,
    )


def is_unfinished() -> Condition:
    """Return the condition that a task instance has not ended."""
    return sa.or_(TaskInstance.state.in_(UNFINISHED_STATES), TaskInstance.state.is_(None))


def select_waiting() -> Statement:
    """Return the query for the Dag and the record of each parent that has neither ended nor consumed its outcome."""
    statement = sa.select(Store.dag_id, Store.value).join(TaskInstance, sa.and_(*_is_parent_of(Store)))
    return statement.where(Store.key == KEY, is_unfinished(), _says("consumed", False))


def is_taken_over() -> Condition:
    """Return the condition that a record tells of an attempt that took over the run of an earlier one."""
    return sa.or_(*(_says("decision", decision.value) for decision in sorted(TAKEOVERS)))


def read_record(value: str) -> Record | None:
    """Return the record that a row holds; None if it cannot be understood."""
    try:
        return load(json.loads(value))
    except (ValueError, TypeError, RecordDamagedError):
        return None


def read_runs(session: Session, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Run]:
    """
    Return those of these Dag runs that exist.

    Asked for by Dag: given pairs, SQLite does not go by the unique key (dag_id, run_id) but reads the whole table.
    """
    found: dict[tuple[str, str], Run] = {}
    unique = sorted(set(keys))
    for begin in range(0, len(unique), CHUNK_SIZE):
        run_ids: defaultdict[str, list[str]] = defaultdict(list)
        for dag_id, run_id in unique[begin : begin + CHUNK_SIZE]:
            run_ids[dag_id].append(run_id)
        are_of_dag = [sa.and_(DagRun.dag_id == dag_id, DagRun.run_id.in_(ids)) for dag_id, ids in run_ids.items()]
        for row in session.execute(sa.select(*_run_columns()).where(sa.or_(*are_of_dag))):
            found[row[0], row[1]] = _run(row)
    return found


def _run_columns() -> tuple[Any, ...]:
    return (
        DagRun.dag_id,
        DagRun.run_id,
        DagRun.state,
        DagRun.queued_at,
        DagRun.start_date,
        DagRun.end_date,
    )


def _run(row: Sequence[Any]) -> Run:
    dag_id, run_id, state, *dates = row
    return Run(dag_id, run_id, _text(state), *dates)


def _parent(row: Any) -> Parent:  # noqa: ANN401 - of a statement's columns
    return Parent(row.dag_id, row.run_id, row.task_id, row.map_index, _text(row.state), row.try_number)


def _is_of(entity: Any, parent: Parent) -> tuple[Condition, ...]:  # noqa: ANN401 - any of Airflow's models
    return (
        entity.dag_id == parent.dag_id,
        entity.task_id == parent.task_id,
        entity.run_id == parent.run_id,
        entity.map_index == parent.map_index,
    )


def _says(name: str, value: object) -> Condition:
    """Return the condition that a record has such a field, as far as its text tells."""
    text = json.dumps({name: value})[1:-1]
    for special in "!%_":
        text = text.replace(special, f"!{special}")
    is_said: Condition = Store.value.like(f"%{text}%", escape="!")
    return is_said


def _text(state: Any) -> str | None:  # noqa: ANN401 - an enum or a text, by column
    return None if state is None else str(getattr(state, "value", state))
