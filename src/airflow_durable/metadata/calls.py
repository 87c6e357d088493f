"""
The entries that records have in the task state store, by call: what a row is, and what is believed of it. Pure.

Nothing in a record is believed here. Values that are too long, or that the core cannot read, come as entries without a
record, and are never shown.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_durable.core import ledger as ledgers
from airflow_durable.core.errors import RecordDamagedError
from airflow_durable.core.observed import Entry
from airflow_durable.core.proof import is_plain
from airflow_durable.core.reconcile import newest_of
from airflow_durable.core.stored import load, position_of
from airflow_durable.metadata.values import as_region, as_utc

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from airflow_durable.core.record import Record

MAX_VALUE = 65_536
"""Characters of a value that is read: a record with 50 tries has some 12,000."""

MAX_ENTRIES = 2_000
"""Entries of one parent that are read. With more, nothing is believed."""

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


def _position(key: str) -> tuple[int, int] | None:
    """Return call and sequence number of a key; None: it is none of ours."""
    sequence = ledgers.position_of(key)
    return position_of(key) if sequence is None else (LEDGER, sequence)


def call_key(row: Sequence[Any]) -> CallKey | None:
    """
    Return the call that a row is of; None: it is none of ours.

    :param row: Dag run's id, task, map index, region, key of the store, and any more.
    """
    position = _position(row[4])
    return None if position is None else CallKey(row[0], row[1], row[2], as_region(row[3]), position[0])


def group(rows: Any, wanted: Collection[CallKey]) -> dict[CallKey, Journal]:  # noqa: ANN401 - an iterable of rows
    """
    Return the entries of the wanted calls. One with more than :data:`MAX_ENTRIES` is missing.

    :param rows: as for :func:`call_key`, then the row's id, when it was written, and its value; in the order of ids.
    """
    entries: dict[CallKey, list[tuple[int, Entry]]] = {}
    calls: dict[tuple[Any, ...], set[int]] = {}
    for row in rows:
        key = call_key(row)
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
