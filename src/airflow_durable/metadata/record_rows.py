"""
The records as rows: the conditions by which they are found, and the parents they belong to.

The journal is the table ``task_state_store`` (3.3): one row for each entry, as JSON text. Each entry holds the whole
record of one call as it was then, so only the newest of a call counts. The table's indexes know the parent's Dag and
run, none knows the key, the record's child or its decisions, and none is added: the table is Airflow's. So

- ids are sought along the primary key, from where the last page ended: a page far back costs what the first one does,
  and nothing is sorted. Then come the rows of those ids and their task instances;
- what stands in the record is sought by the text that Airflow makes of it (``json.dumps``,
  ``execution_api/routes/task_state_store.py``), and then read from the record itself.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from airflow_durable.core.model import Phase
from airflow_durable.metadata.model import UNFINISHED_STATES, InstanceKey, TaskKey
from airflow_durable.metadata.reads import KEYS_AT_ONCE, as_key
from airflow_durable.metadata.record_keys import call_of, escape, is_asking, is_entry
from airflow_durable.metadata.values import as_text, as_utc, is_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator
    from datetime import datetime

    from airflow_durable.metadata.reads import Execute
    from airflow_durable.metadata.tables import Column, Condition, Store, Tables

FEW_DAGS = 10
"""Of so few Dags, the records are found by the Dag; of more, in the order of the ids."""


@dataclass(frozen=True)
class RecordRow:
    """
    A stored record and its parent.

    :param id: of the row.
    :param value: see :mod:`airflow_durable.metadata.records`.
    :param state: the parent's, in its latest try. With no try the parent is not there any more.
    :param is_mapped: the parent is of a mapped task. If not, a map index is the iteration of a loop (3.4).
    :param ended_at: when the parent's latest try ended; None: it has not.
    :param last_heartbeat_at: when the parent's latest try was last heard of.
    :param changed_at: when the record was last written.
    """

    id: int
    parent: InstanceKey
    value: str
    state: str | None
    try_number: int | None
    is_mapped: bool
    max_tries: int | None = None
    ended_at: datetime | None = None
    last_heartbeat_at: datetime | None = None
    changed_at: datetime | None = None


class NoStoreError(Exception):
    """This Airflow has no task state store (it has from 3.3), so nothing is recorded."""


class RecordRows:
    """
    The records of one database.

    :param has_ledgers: those of tasks with many children are meant, too.
    :raises NoStoreError: there can be none.
    """

    def __init__(self, tables: Tables, execute: Execute, *, has_ledgers: bool = False) -> None:
        if tables.store is None:
            raise NoStoreError
        self._has_ledgers = has_ledgers
        self._store: Store = tables.store
        self._latest = tables.latest
        self._is_mapped = tables.is_mapped(tables.store.key)
        self._execute = execute
        self.id = tables.store.table.c.id
        self.changed_at = tables.store.table.c.updated_at

    # Conditions.

    def is_of_parent(self, key: InstanceKey) -> Condition:
        """Return the condition that a record is of this task instance."""
        return is_of(self._store.key, key)

    def is_of_run(self, dag_id: str, run_id: str) -> Condition:
        """Return the condition that a record is of a task of this Dag run."""
        return sa.and_(self._store.key.dag_id == dag_id, self._store.key.run_id == run_id)

    def is_of_instance(self, task_id: str, map_index: int) -> Condition:
        """Return the condition that a record's parent has this task id and map index; in a loop (3.4), iteration."""
        return sa.and_(self._store.key.task_id == task_id, self._store.key.map_index == map_index)

    def is_of_dag(self, dag_id: str) -> Condition:
        """Return the condition that a record's parent is in this Dag."""
        return self._store.key.dag_id == dag_id

    def is_of_run_after(self, tables: Tables, run_after: datetime) -> Condition:
        """Return the condition that a record's parent is in a Dag run with this ``run_after``."""
        run = tables.dag_run.c
        return self._store.key.run_id.in_(sa.select(run.run_id).where(run.run_after == run_after))

    def is_of_dags(self, dag_ids: Collection[str]) -> Condition:
        """Return the condition that a record's parent is in one of these Dags."""
        if len(dag_ids) <= FEW_DAGS:
            return self._store.key.dag_id.in_(dag_ids)
        # Joined to nothing, the name would have its index used, and all rows of all Dags sorted for each page.
        return self._store.key.dag_id.concat("").in_(dag_ids)

    def has_field(self, name: str, value: object) -> Condition:
        """Return the condition that a record has such a field, as far as its text tells."""
        text = escape(json.dumps({name: value})[1:-1])
        return self._store.table.c.value.like(f"%{text}%", escape="!")

    def mentions(self, text: str) -> Condition:
        """Return the condition that a record contains a text, in capitals or not, as far as its own text tells."""
        return contains(self._store.table.c.value, json.dumps(text)[1:-1])

    def is_of_task_like(self, text: str) -> Condition:
        """Return the condition that the parent's task id contains a text, in capitals or not."""
        return contains(self._store.key.task_id, text)

    def is_of_run_like(self, text: str) -> Condition:
        """Return the condition that the run id of the parent's Dag run contains a text, in capitals or not."""
        return contains(self._store.key.run_id, text)

    def has_silent_parent(self, since: datetime) -> Condition:
        """Return the condition that a record's parent counts as running and was not heard of since then."""
        latest = self._latest
        return self._has_parent_among(
            sa.and_(latest.columns.state == "running", latest.columns.last_heartbeat_at < since)
        )

    def has_parent_in(self, state: str) -> Condition:
        """Return the condition that a record's parent is in this state."""
        is_it = self._latest.columns.state == state
        if state in UNFINISHED_STATES:
            return self._has_parent_among(is_it)
        return sa.exists().where(self._is_parent_of(self._store), is_it)

    def has_unfinished_parent(self) -> Condition:
        """Return the condition that a record's parent has not ended."""
        return self._has_parent_among(self._is_unfinished())

    # Rows.

    def count(self, *conditions: Condition, limit: int) -> int:
        """Return how many records there are for which the conditions hold; more than the limit are not counted."""
        some = sa.select(self.id).where(self._is_record(self._store), *conditions).limit(limit).subquery()
        return next(int(row[0]) for row in self._execute(sa.select(sa.func.count()).select_from(some)))

    def ids(
        self, *conditions: Condition, after: int = 0, before: int = 0, limit: int, is_upward: bool = False
    ) -> list[int]:
        """
        Return ids of records: just above one id, in their order, or else just below one, the newest first.

        :param is_upward: in their order, from the lowest one on if none is given.
        """
        statement = sa.select(self.id).where(self._is_record(self._store), *conditions).limit(limit)
        if after or is_upward:
            statement = statement.where(self.id > after).order_by(self.id.asc())
        else:
            statement = statement.where(self.id < before) if before else statement
            statement = statement.order_by(self.id.desc())
        return [row[0] for row in self._execute(statement)]

    def rows(self, *conditions: Condition) -> Iterator[RecordRow]:
        """Yield the records for which the conditions hold, the newest first, at most :data:`KEYS_AT_ONCE`."""
        latest = self._latest
        tried = latest.columns
        columns = (
            self.id,
            self._store.table.c.value,
            tried.state,
            tried.try_number,
            tried.max_tries,
            tried.end_date,
            latest.last_heartbeat_at,
            self.changed_at,
        )
        statement = (
            sa.select(*self._store.key, *columns, self._is_mapped)
            .select_from(self._store.table.outerjoin(latest.table, self._is_parent_of(self._store)))
            .where(self._is_record(self._store), *conditions)
            .order_by(self.id.desc())
            .limit(KEYS_AT_ONCE)
        )
        for row in self._execute(statement):
            row_id, value, state, try_number, max_tries, end, heartbeat, changed, is_mapped = row[5:]
            yield RecordRow(
                row_id,
                as_key(row[:5]),
                value,
                as_text(state),
                try_number,
                bool(is_mapped),
                max_tries,
                as_utc(end),
                as_utc(heartbeat),
                as_utc(changed),
            )

    def count_by_dag(self) -> dict[str, int]:
        """Return how many records the parents of each Dag have."""
        dag_id = self._store.key.dag_id
        statement = sa.select(dag_id, sa.func.count()).where(self._is_record(self._store)).group_by(dag_id)
        return {row[0]: row[1] for row in self._execute(statement)}

    def tasks(self) -> set[TaskKey]:
        """Return the tasks that have records."""
        key = self._store.key
        statement = sa.select(key.dag_id, key.task_id).where(self._is_entry(self._store)).distinct()
        return {TaskKey(row[0], row[1]) for row in self._execute(statement)}

    def values(self, *conditions: Condition, is_unfinished: bool = False) -> Iterator[tuple[str, str]]:
        """
        Yield the Dag of each parent and what it has stored.

        :param is_unfinished: only of those that have not ended.
        """
        store = self._store
        statement = sa.select(store.key.dag_id, store.table.c.value).where(self._is_record(store), *conditions)
        if is_unfinished:
            statement = statement.select_from(store.table.join(self._latest.table, self._is_parent_of(store))).where(
                self._is_unfinished()
            )
        for row in self._execute(statement.execution_options(yield_per=1000)):
            yield row[0], row[1]

    def of_task(self, dag_id: str, task_id: str, run_ids: Iterable[str]) -> Iterator[tuple[InstanceKey, str]]:
        """Yield what the instances of a task have stored, in some of its Dag's runs."""
        key = self._store.key
        statement = sa.select(*key, self._store.table.c.value).where(
            self._is_record(self._store), key.dag_id == dag_id, key.task_id == task_id, key.run_id.in_(run_ids)
        )
        for row in self._execute(statement):
            yield as_key(row[:5]), row[5]

    def is_unconsumed(self) -> Condition:
        """Return the condition that no outcome was consumed, as far as the text of either version tells."""
        phases = [self.has_field("phase", phase.value) for phase in (Phase.INTENDED, Phase.SENT)]
        return sa.or_(self.has_field("consumed", False), *phases)

    def _is_record(self, store: Store) -> Condition:
        """Return the condition that a row is the newest entry of its call."""
        newer = store.aliased()
        return sa.and_(
            self._is_entry(store),
            ~sa.exists().where(
                newer.key.match(store.key),
                self._is_entry(newer),
                call_of(newer.table.c.key) == call_of(store.table.c.key),
                newer.table.c.id > store.table.c.id,
            ),
        )

    def _is_entry(self, store: Store) -> Condition:
        key = store.table.c.key
        return is_asking(key) if self._has_ledgers else is_entry(key)

    def _is_parent_of(self, store: Store) -> Condition:
        return sa.and_(self._latest.key.match(store.key), self._latest.is_included)

    def _is_unfinished(self) -> Condition:
        state = self._latest.columns.state
        return sa.or_(state.in_(UNFINISHED_STATES), state.is_(None))

    def _has_parent_among(self, condition: Condition) -> Condition:
        """
        Return the condition that a parent is among some task instances.

        These are found first: of those that have not ended there are few.
        """
        other = self._store.aliased()
        joined = other.table.join(self._latest.table, self._is_parent_of(other))
        ids = sa.select(other.table.c.id).select_from(joined).where(self._is_record(other), condition)
        return self.id.in_(ids)


def contains(column: Column, text: str) -> Condition:
    """Return the condition that a column contains a text. Beyond ASCII, SQLite takes capitals for other letters."""
    return sa.func.lower(column).like(f"%{escape(text.lower())}%", escape="!")
