"""
What records ask of the reconciler: found in the task state store, and read with all that a decision rests on.

What is believed of an entry is in :mod:`.calls`; parents and child runs are read by :mod:`.families`.
"""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from airflow_durable.core.asks import withdrawn
from airflow_durable.core.stored import dump, key_of
from airflow_durable.metadata.calls import MAX_VALUE, CallKey, Journal, RowMark, call_key, group
from airflow_durable.metadata.families import CALLS_AT_ONCE, Families
from airflow_durable.metadata.record_keys import call_of, is_asking, is_entry

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from airflow_durable.core.record import Record
    from airflow_durable.metadata.reads import Execute
    from airflow_durable.metadata.tables import Condition, Tables

IDS_AT_ONCE = 5_000
ROWS_AT_ONCE = 1_000


class Asked:
    """
    Reads of what is asked for, on one connection or session.

    :param tables: of an Airflow with a task state store (from 3.3).
    :ivar families: reads of the calls' parents and child runs.
    """

    def __init__(self, tables: Tables, execute: Execute) -> None:
        if tables.store is None:
            message = "This Airflow has no task state store (it has from 3.3)."
            raise ValueError(message)
        self._tables = tables
        self._store = tables.store
        self._execute = execute
        self.families = Families(tables, execute)

    # Which calls ask for something.

    def last_id(self) -> int:
        """Return the highest id in the store; 0: it is empty."""
        return self.newest().row_id

    def newest(self) -> RowMark:
        """Return the mark of the row with the highest id; its id is 0 if the store is empty."""
        columns = self._store.table.c
        statement = sa.select(columns.id, columns.updated_at).order_by(columns.id.desc()).limit(1)
        return next((RowMark(*row) for row in self._execute(statement)), RowMark(0, None))

    def chunk_end(self, low: int) -> int | None:
        """
        Return the id of the last one of the next :data:`IDS_AT_ONCE` rows above an id; None: there are none.

        By rows, since ids have gaps: on PostgreSQL each write of a key that exists takes one, too.
        """
        table = self._store.table
        rows = sa.select(table.c.id).where(table.c.id > low).order_by(table.c.id).limit(IDS_AT_ONCE).subquery()
        (row,) = self._execute(sa.select(sa.func.max(rows.c.id)))
        return None if row[0] is None else int(row[0])

    def scan(self, low: int, high: int) -> set[CallKey]:
        """
        Return the calls whose newest entry is among these ids (the first one excluded) and may ask for something.

        A task instance that was deleted and made again writes over the first entries: their ids are not the highest.
        """
        newer = self._store.aliased()
        is_newest = ~sa.exists().where(
            newer.key.match(self._store.key),
            is_asking(newer.table.c.key),
            call_of(newer.table.c.key) == call_of(self._store.table.c.key),
            newer.table.c.id > self._store.table.c.id,
            newer.table.c.updated_at >= self._store.table.c.updated_at,
        )
        is_open = ~self._store.table.c.value.like('%"phase": "consumed"%')
        return set(self._find(low, high, is_newest, is_open))

    def new(self, after: int) -> list[tuple[RowMark, CallKey | None]]:
        """
        Return the rows above an id that may ask for something, in their order, with their calls.

        At most :data:`ROWS_AT_ONCE`.
        """
        table = self._store.table
        statement = self._asking(table.c.id > after).order_by(table.c.id).limit(ROWS_AT_ONCE)
        return [(RowMark(row[0], row[6]), call_key(row[1:])) for row in self._execute(statement)]

    def _find(self, low: int, high: int, *conditions: Condition) -> Iterator[CallKey]:
        table = self._store.table
        for row in self._execute(self._asking(table.c.id > low, table.c.id <= high, *conditions)):
            if key := call_key(row[1:]):
                yield key

    def _asking(self, *conditions: Condition) -> Any:  # noqa: ANN401 - a select
        store = self._store
        columns = store.table.c
        return sa.select(columns.id, *self._call_columns, columns.updated_at).where(
            *conditions, is_asking(columns.key), columns.value.like('%"asks": {%')
        )

    # What a decision rests on.

    def journals(self, keys: Collection[CallKey], *, is_locked: bool = False) -> dict[CallKey, Journal]:
        """
        Return the entries of these calls. One that has none any more is missing.

        :param is_locked: a task that writes one of these entries again waits until the transaction ends (where the
            database locks rows; SQLite has one writer at a time). So a ledger withdraws what it asked for.
        """
        store = self._store
        columns = store.table.c
        wanted = set(keys)
        parents = sorted({key[:4] for key in wanted})
        value = sa.case((sa.func.length(columns.value) <= MAX_VALUE, columns.value), else_=None)
        found: dict[CallKey, Journal] = {}
        for start in range(0, len(parents), CALLS_AT_ONCE):
            chunk = parents[start : start + CALLS_AT_ONCE]
            run_ids = {parent[0] for parent in chunk}
            # By the map index, too: a task may have some thousand of them.
            statement = (
                sa.select(
                    columns.dag_run_id,
                    columns.task_id,
                    store.key.map_index,
                    store.key.region_id,
                    columns.key,
                    columns.id,
                    columns.updated_at,
                    value,
                )
                .where(columns.dag_run_id.in_(run_ids), columns.task_id.in_({parent[1] for parent in chunk}))
                .where(store.key.map_index.in_({parent[2] for parent in chunk}), is_asking(store.table.c.key))
                .order_by(columns.id)
            )
            statement = statement.with_for_update(of=store.table) if is_locked else statement
            found |= group(self._execute(statement), wanted)
        return found

    @property
    def _call_columns(self) -> tuple[Any, ...]:
        """What :func:`_call_key` reads, in its order."""
        columns, key = self._store.table.c, self._store.key
        return columns.dag_run_id, columns.task_id, key.map_index, key.region_id, columns.key

    def key_of(self, row_id: int) -> CallKey | None:
        """Return the call that a row is of; None: there is none, or it is none of ours."""
        statement = sa.select(*self._call_columns).where(self._store.table.c.id == row_id)
        return next((call_key(row) for row in self._execute(statement)), None)

    def find(self, dag_id: str, run_id: str, task_id: str, map_index: int, call: int) -> dict[str, int]:
        """Return the id of the last row of one call of a parent, by region: in loops (3.4) one pass has many."""
        columns, key = self._store.table.c, self._store.key
        statement = sa.select(*self._call_columns, columns.id).where(
            key.dag_id == dag_id, key.run_id == run_id, key.task_id == task_id, key.map_index == map_index
        )
        rows = list(self._execute(statement.where(is_entry(self._store.table.c.key)).order_by(columns.id)))
        keys = ((row[5], call_key(row)) for row in rows)
        return {key.region_id: row_id for row_id, key in keys if key is not None and key.call == call}

    def rows_of_parent(self, key: CallKey) -> list[int]:
        """Return the ids of all our rows of a parent, of all its calls."""
        columns, store = self._store.table.c, self._store
        statement = sa.select(*self._call_columns, columns.id).where(
            columns.dag_run_id == key.dag_run_id, columns.task_id == key.task_id, is_entry(store.table.c.key)
        )
        statement = statement.where(store.key.map_index == key.map_index)
        return sorted(
            row[5] for row in self._execute(statement) if (found := call_key(row)) is not None and found[:4] == key[:4]
        )

    def withdraw(self, key: CallKey, journal: Journal) -> Any:  # noqa: ANN401 - a statement
        """
        Return the statement that writes the entry after the newest one, without the action (:func:`withdrawn`).

        It fails if there is one: the task has withdrawn the action itself. Until the transaction ends, the task's own
        write of that entry waits.
        """
        newest, table = journal.newest, self._store.table
        if newest is None or newest.record is None:
            message = "There is no entry that asks for anything."
            raise ValueError(message)
        row_id = journal.ids[journal.entries.index(newest)]
        stored = withdrawn({**dump(newest.record), "root": newest.root})
        changed: dict[str, Any] = {
            "key": key_of(key.call, newest.sequence + 1),
            "value": json.dumps(stored),
            "updated_at": datetime.now(tz=timezone.utc),
        }
        columns = [column for column in table.c if column.name != "id"]
        values = [
            sa.literal(changed[column.name], column.type) if column.name in changed else column for column in columns
        ]
        return table.insert().from_select(
            [column.name for column in columns], sa.select(*values).where(table.c.id == row_id)
        )

    def delete(self, ids: Collection[int]) -> Any:  # noqa: ANN401 - a statement
        """Return the statement that deletes these rows."""
        return self._store.table.delete().where(self._store.table.c.id.in_(ids))

    def named_elsewhere(self, record: Record, but: CallKey, window: tuple[datetime, datetime]) -> list[CallKey]:
        """
        Return the calls of other parents with an entry of this time that names this run.

        No index has the time, so all rows are passed over, some thousand in each query; but only of those of this time,
        a few, the value is read. It is done outside of any lock.
        """
        columns = self._store.table.c
        text = json.dumps({"run_id": record.run_id})[1:-1]
        statement = sa.select(columns.id, *self._call_columns).where(columns.updated_at.between(*window))
        statement = statement.where(is_entry(self._store.table.c.key), columns.value.contains(text, autoescape=True))
        keys: set[CallKey] = set()
        low, last = 0, self.last_id()
        while low < last and (high := self.chunk_end(low)) is not None:
            rows = self._execute(statement.where(columns.id > low, columns.id <= high))
            keys |= {key for row in rows if (key := call_key(row[1:]))}
            low = high
        return sorted(key for key in keys if key[:4] != but[:4])
