"""
What records ask of the reconciler: found in the task state store, and read with all that a decision rests on.

Nothing in a record is believed here. Values that are too long, or that the core cannot read, come as entries without a
record, and are never shown.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from airflow_durable.core import ledger as ledgers
from airflow_durable.core.asks import withdrawn
from airflow_durable.core.errors import RecordDamagedError
from airflow_durable.core.model import UNFINISHED_STATES, Parent
from airflow_durable.core.reconcile import ChildNow, Entry, ParentNow, is_plain, newest_of
from airflow_durable.core.stored import dump, key_of, load, position_of
from airflow_durable.metadata.identities import identities_of, is_item, item_prefixes
from airflow_durable.metadata.record_keys import call_of, is_asking, is_entry
from airflow_durable.metadata.values import as_region, as_text, as_utc, as_uuid

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from airflow_durable.core.ledger import Ledger
    from airflow_durable.core.record import Record
    from airflow_durable.metadata.reads import Execute
    from airflow_durable.metadata.tables import Condition, Tables

MAX_VALUE = 65_536
"""Characters of a value that is read: a record with 50 tries has some 12,000."""

MAX_ENTRIES = 2_000
"""Entries of one parent that are read. With more, nothing is believed."""

IDS_AT_ONCE = 5_000
ROWS_AT_ONCE = 1_000
CALLS_AT_ONCE = 300

ITEMS_AT_ONCE = 100
"""The most runs of ledgers that are returned, and ended, at a time."""

LEDGER = 0
"""In the place of a call's number: those of calls start from 1."""


class RowMark(NamedTuple):
    """What tells a row of the store: SQLite gives the ids of deleted rows out again."""

    row_id: int
    updated_at: Any


class CallKey(NamedTuple):
    """
    One call of a parent.

    :param dag_run_id: of the parent's Dag run's row.
    :param map_index: in a loop (3.4), the pass.
    :param region_id: as 32 hexadecimal digits; empty: none (3.4).
    :param call: :data:`LEDGER` for that of a task with many children.
    """

    dag_run_id: int
    task_id: str
    map_index: int
    region_id: str
    call: int


@dataclass(frozen=True)
class ParentRow:
    """
    A parent, as the rows of its Dag run and of its task instance have it.

    :param identities: how the task may see itself; by its rows alone.
    """

    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    now: ParentNow
    identities: tuple[Parent, ...]

    def to_json(self) -> dict[str, Any]:
        """Return its name and its state, as the audit log and the actions' answers have them."""
        return {
            "dag_id": self.dag_id,
            "run_id": self.run_id,
            "task_id": self.task_id,
            "map_index": self.map_index,
            "state": self.now.state,
        }


@dataclass(frozen=True)
class Journal:
    """
    All that the store has of one call.

    :param ids: of the rows.
    :param calls: how many calls the parent has entries of.
    """

    entries: tuple[Entry, ...]
    ids: tuple[int, ...]
    calls: int

    @property
    def newest(self) -> Entry | None:
        """The entry that counts."""
        return newest_of(self.entries)

    @property
    def record(self) -> Record | None:
        """What that entry says; None: it cannot be understood."""
        newest = self.newest
        return newest.record if newest else None


class Asked:
    """
    Reads of what is asked for, on one connection or session.

    :param tables: of an Airflow with a task state store (from 3.3).
    """

    def __init__(self, tables: Tables, execute: Execute) -> None:
        if tables.store is None:
            message = "This Airflow has no task state store (it has from 3.3)."
            raise ValueError(message)
        self._tables = tables
        self._store = tables.store
        self._execute = execute

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
        """Return the calls whose newest entry is among these ids (the first one excluded) and may ask for something."""
        newer = self._store.aliased()
        is_newest = ~sa.exists().where(
            newer.key.match(self._store.key),
            is_asking(newer.table.c.key),
            call_of(newer.table.c.key) == call_of(self._store.table.c.key),
            newer.table.c.id > self._store.table.c.id,
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
        return [(RowMark(row[0], row[6]), _call_key(row[1:])) for row in self._execute(statement)]

    def _find(self, low: int, high: int, *conditions: Condition) -> Iterator[CallKey]:
        table = self._store.table
        for row in self._execute(self._asking(table.c.id > low, table.c.id <= high, *conditions)):
            if key := _call_key(row[1:]):
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
            found |= _group(self._execute(statement), wanted)
        return found

    def parents(self, keys: Collection[CallKey], *, is_locked: bool = False) -> dict[CallKey, ParentRow]:
        """
        Return the parents of these calls; one whose Dag run is not there any more is missing.

        :param is_locked: nobody may change the task instances until the transaction ends (where the database locks
            rows; SQLite has one writer at a time).
        """
        found: dict[CallKey, ParentRow] = {}
        ordered = sorted(set(keys))
        for start in range(0, len(ordered), CALLS_AT_ONCE):
            chunk = ordered[start : start + CALLS_AT_ONCE]
            if is_locked:
                # Where a clear or a retry held the row, it has put another one in its place (from 3.4). PostgreSQL
                # then finds neither: the statement saw what was there before it began to wait. The next one sees all.
                self._tries(chunk, is_locked=True)
            runs = self._runs_by_id({key.dag_run_id for key in chunk})
            tries = self._tries(chunk, is_locked=is_locked)
            for key in chunk:
                if (row := runs.get(key.dag_run_id)) is not None:
                    found[key] = _parent_row(key, row, tries.get(key[:4]))
        return found

    def _runs_by_id(self, ids: Collection[int]) -> dict[int, Any]:
        run = self._tables.dag_run.c
        statement = sa.select(
            run.dag_id, run.run_id, run.state, run.run_after, run.start_date, run.id, run.end_date
        ).where(run.id.in_(ids))
        return {row[5]: row for row in self._execute(statement)}

    def _tries(self, calls: Collection[CallKey], *, is_locked: bool) -> dict[tuple[int, str, int, str], Any]:
        """
        Return the current task instances by Dag run, task, index and region: found by each Dag run's own names.

        No others are locked: for one map index not those of the whole task.
        """
        latest, run = self._tables.latest, self._tables.dag_run
        key, columns = latest.key, latest.columns
        joined = run.join(latest.table, sa.and_(key.dag_id == run.c.dag_id, key.run_id == run.c.run_id))
        statement = (
            sa.select(run.c.id, key.task_id, key.map_index, key.region_id, latest.id, columns.state, columns.end_date)
            .select_from(joined)
            .where(latest.is_included, run.c.id.in_({call.dag_run_id for call in calls}))
            .where(key.task_id.in_({call.task_id for call in calls}))
            .where(key.map_index.in_({call.map_index for call in calls}))
        )
        if is_locked:
            statement = statement.with_for_update(of=latest.table)
        return {(row[0], row[1], row[2], as_region(row[3])): row[4:] for row in self._execute(statement)}

    def children(self, keys: Collection[tuple[str, str]]) -> dict[tuple[str, str], tuple[int, ChildNow]]:
        """Return those of these Dag runs that exist, each with its row's id."""
        run = self._tables.dag_run.c
        found = {}
        ordered = sorted(set(keys))
        for start in range(0, len(ordered), CALLS_AT_ONCE):
            chunk = ordered[start : start + CALLS_AT_ONCE]
            by_dag: dict[str, list[str]] = {}
            for dag_id, run_id in chunk:
                by_dag.setdefault(dag_id, []).append(run_id)
            for dag_id, ids in by_dag.items():
                statement = self._runs().where(run.dag_id == dag_id, run.run_id.in_(ids))
                for row in self._execute(statement):
                    found[row[1], row[2]] = row[0], _child(row)
        return found

    def active_items(self, ledger: Ledger, parent: ParentRow, after: int) -> list[tuple[int, ChildNow]]:
        """
        Return the active runs of a ledger, each with its row's id: the first some of those above an id, in that order.

        They are found by how their run ids begin, which follows from the parent alone. Left out are those that a person
        has cleared since the parent's end.
        """
        run = self._tables.dag_run.c
        statement = self._runs().where(
            run.dag_id == ledger.dag_id,
            run.state.in_(UNFINISHED_STATES),
            is_item(run.run_id, item_prefixes(parent.identities, ledger.epoch)),
            run.id > after,
        )
        if parent.now.ended_at is not None:
            is_restarted = sa.and_(run.clear_number > 0, run.queued_at > parent.now.ended_at)
            statement = statement.where(sa.not_(sa.func.coalesce(is_restarted, sa.false())))
        rows = self._execute(statement.order_by(run.id).limit(ITEMS_AT_ONCE))
        return [(row[0], _child(row)) for row in rows]

    def items_to_resume(self, ledger: Ledger, parent: ParentRow) -> list[tuple[int, ChildNow]]:
        """
        Return the failed runs that a ledger asks to be resumed, each with its row's id.

        Their run ids are made of how those of the parent begin, and what the ledger names: so none is another's.
        """
        run = self._tables.dag_run.c
        names = ledger.asks.resume_items if ledger.asks else ()
        prefixes = item_prefixes(parent.identities, ledger.epoch)
        run_ids = [f"{prefix}{name}" for prefix in prefixes for name, _ in names]
        statement = self._runs().where(run.dag_id == ledger.dag_id, run.run_id.in_(run_ids), run.state == "failed")
        return [(row[0], _child(row)) for row in self._execute(statement.order_by(run.id))]

    @property
    def _call_columns(self) -> tuple[Any, ...]:
        """What :func:`_call_key` reads, in its order."""
        columns, key = self._store.table.c, self._store.key
        return columns.dag_run_id, columns.task_id, key.map_index, key.region_id, columns.key

    def _runs(self) -> Any:  # noqa: ANN401 - a select
        run = self._tables.dag_run.c
        return sa.select(
            run.id,
            run.dag_id,
            run.run_id,
            run.state,
            run.clear_number,
            run.queued_at,
            self._tables.run_created_at,
            run.logical_date,
            run.run_after,
            run.triggered_by,
        )

    def key_of(self, row_id: int) -> CallKey | None:
        """Return the call that a row is of; None: there is none, or it is none of ours."""
        statement = sa.select(*self._call_columns).where(self._store.table.c.id == row_id)
        return next((_call_key(row) for row in self._execute(statement)), None)

    def find(self, dag_id: str, run_id: str, task_id: str, map_index: int, call: int) -> dict[str, int]:
        """Return the id of the last row of one call of a parent, by region: in loops (3.4) one pass has many."""
        columns, key = self._store.table.c, self._store.key
        statement = sa.select(*self._call_columns, columns.id).where(
            key.dag_id == dag_id, key.run_id == run_id, key.task_id == task_id, key.map_index == map_index
        )
        rows = list(self._execute(statement.where(is_entry(self._store.table.c.key)).order_by(columns.id)))
        keys = ((row[5], _call_key(row)) for row in rows)
        return {key.region_id: row_id for row_id, key in keys if key is not None and key.call == call}

    def rows_of_parent(self, key: CallKey) -> list[int]:
        """Return the ids of all our rows of a parent, of all its calls."""
        columns, store = self._store.table.c, self._store
        statement = sa.select(*self._call_columns, columns.id).where(
            columns.dag_run_id == key.dag_run_id, columns.task_id == key.task_id, is_entry(store.table.c.key)
        )
        statement = statement.where(store.key.map_index == key.map_index)
        return sorted(
            row[5] for row in self._execute(statement) if (found := _call_key(row)) is not None and found[:4] == key[:4]
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
            keys |= {key for row in rows if (key := _call_key(row[1:]))}
            low = high
        return sorted(key for key in keys if key[:4] != but[:4])


def _position(key: str) -> tuple[int, int] | None:
    """Return call and sequence number of a key; None: it is none of ours."""
    sequence = ledgers.position_of(key)
    return position_of(key) if sequence is None else (LEDGER, sequence)


def _call_key(row: Sequence[Any]) -> CallKey | None:
    position = _position(row[4])
    return None if position is None else CallKey(row[0], row[1], row[2], as_region(row[3]), position[0])


def _group(rows: Any, wanted: Collection[CallKey]) -> dict[CallKey, Journal]:  # noqa: ANN401 - an iterable of rows
    entries: dict[CallKey, list[tuple[int, Entry]]] = {}
    calls: dict[tuple[Any, ...], set[int]] = {}
    for row in rows:
        key = _call_key(row)
        if key is None:
            continue
        calls.setdefault(key[:4], set()).add(key.call)
        if key in wanted:
            position = _position(row[4])
            entries.setdefault(key, []).append((row[5], _entry(row[7], position, row[6])))
    return {
        key: Journal(tuple(entry for _, entry in found), tuple(row_id for row_id, _ in found), len(calls[key[:4]]))
        for key, found in entries.items()
        if len(found) <= MAX_ENTRIES
    }


def _entry(value: str | None, position: tuple[int, int] | None, updated_at: Any) -> Entry:  # noqa: ANN401 - as stored
    call, sequence = position or (0, 0)
    written_at: Any = as_utc(updated_at)
    try:
        stored = json.loads(value or "")
        record = ledgers.load(stored) if call == LEDGER else load(stored)
        root = stored.get("root", "")
    except (RecordDamagedError, ValueError, RecursionError, OverflowError):
        return Entry(None, sequence, "", written_at)
    is_known = is_plain(record, call or 1) and isinstance(root, str)
    return Entry(record if is_known else None, sequence, root if isinstance(root, str) else "", written_at)


def _parent_row(key: CallKey, run: Any, latest: Any) -> ParentRow:  # noqa: ANN401 - rows
    dag_id, run_id, run_state, run_after, start_date = run[:5]
    after: Any = as_utc(run_after)
    started_at: datetime | None = as_utc(start_date)
    # One that is removed, or not there any more, ends with its Dag run.
    run_ended_at = as_utc(run[6])
    now = ParentNow(None, None, run_ended_at, as_text(run_state))
    if latest is not None:
        state = as_text(latest[1])
        ended_at = run_ended_at if state == "removed" else as_utc(latest[2])
        now = ParentNow(str(as_uuid(latest[0])), state, ended_at, as_text(run_state))
    plain = Parent(dag_id, run_id, key.task_id, key.map_index, after, started_at=started_at)
    return ParentRow(dag_id, run_id, key.task_id, key.map_index, now, identities_of(plain, key.region_id))


def _child(row: Any) -> ChildNow:  # noqa: ANN401 - a row
    return ChildNow(
        dag_id=row[1],
        run_id=row[2],
        state=as_text(row[3]) or "",
        clear_number=row[4] or 0,
        queued_at=as_utc(row[5]),
        created_at=as_utc(row[6]),
        logical_date=as_utc(row[7]),
        run_after=as_utc(row[8]),
        is_from_task=(as_text(row[9]) or "").lower() == "operator",
    )
