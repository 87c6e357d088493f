"""
What one user may see of the waits: each read is narrowed to the Dags that they may read.

A page is first a list of ids, then the rows of those ids, their task instances and their child runs; see
:mod:`airflow_durable.metadata.record_rows`.
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING
from uuid import UUID

import sqlalchemy as sa

from airflow_durable.core.run_ids import date_in
from airflow_durable.heartbeats import load_limits
from airflow_durable.metadata import logged_actions, records
from airflow_durable.metadata.model import DagRun
from airflow_durable.metadata.reads import KEYS_AT_ONCE, Reads
from airflow_durable.metadata.record_rows import RecordRows
from airflow_durable.metadata.tables import load_tables
from airflow_durable.server.model import Filters, Wait
from airflow_durable.server.paging import (
    KEYS,
    MOST_COUNTED,
    MOST_READ,
    MOST_SORTED,
    PAGE_SIZE,
    Count,
    Cursor,
    Order,
    Page,
)
from airflow_durable.server.selection import is_countable, select

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from sqlalchemy.orm import Session

    from airflow_durable.core.record import Record
    from airflow_durable.metadata.logged_actions import LoggedAction
    from airflow_durable.metadata.model import DagRunKey, InstanceKey, Loss, TaskTry
    from airflow_durable.metadata.record_rows import RecordRow
    from airflow_durable.metadata.tables import Condition


_OF_TRY = re.compile(r"manual__durable_([0-9a-f]{32})_\d+")
"""The run ids of release 0.1.0 on Airflow 3.3: they hold the id of the try."""

_DERIVED = ("manual!_!_durable!_%", f"manual!_!_%+00:00!_{12 * '_'}%")
"""The forms of generated run ids, of 0.1.0 and of this release (:func:`airflow_durable.core.run_ids.child_run_id`)."""


def has_store() -> bool:
    """Return whether this Airflow has a task state store (from 3.3). The branches go with 3.2."""
    return load_tables().store is not None


def open_records(session: Session) -> RecordRows:
    """
    Return the records.

    :raises NoStoreError: there can be none.
    """
    return RecordRows(load_tables(), session.execute, has_ledgers=True)


class Waits:
    """
    What one user may see. Without a task state store that is :meth:`runs` and :meth:`derived_children`.

    :param readable: the Dags that the user may read.
    """

    def __init__(self, session: Session, readable: Collection[str]) -> None:
        self.session = session
        self._readable = readable
        self._reads = Reads(load_tables(), session.execute)
        self._limits = load_limits()
        self.now = datetime.now(tz=timezone.utc)

    @property
    def _records(self) -> RecordRows:
        return open_records(self.session)

    def page(self, filters: Filters, cursor: Cursor, size: int = PAGE_SIZE, order: Order | None = None) -> Page:
        """Return one page of the waits that pass the filters."""
        order = order or Order()
        if not order.is_by_id:
            return self._sorted_page(filters, cursor, size, order)
        is_backward = bool(cursor.after if order.is_descending else cursor.before)
        at = cursor.after or cursor.before
        is_upward = is_backward is order.is_descending
        found, searched_to = self._collect(filters, at, size + 1, is_upward=is_upward)
        has_more, waits = len(found) > size, found[:size]
        if is_backward:
            return Page(tuple(reversed(waits)), has_previous=has_more, has_next=True)
        return Page(tuple(waits), has_previous=bool(at), has_next=has_more, searched_to=searched_to)

    def count(self, filters: Filters) -> Count | None:
        """Return how many waits pass the filters, up to :data:`MOST_COUNTED`; None: that may not be counted."""
        if not is_countable(filters, self._readable):
            return None
        number = self._records.count(*self._select(filters), limit=MOST_COUNTED + 1)
        return Count(min(number, MOST_COUNTED), number > MOST_COUNTED)

    def iterate(self, filters: Filters, limit: int) -> Iterator[Wait]:
        """Yield the waits that pass the filters, the latest change first, at most that many."""
        at, left = 0, limit
        while left > 0:
            wanted = min(left, KEYS_AT_ONCE)
            found, at = self._collect(filters, at, wanted)
            yield from found
            left -= len(found)
            if not at:
                if len(found) < wanted:
                    return
                at = found[-1].id

    def waiting(self, limit: int) -> list[Wait]:
        """Return the waits that have not ended, those first whose record was not changed for longest."""
        ids = self._records.ids(*self._select(Filters(state="waiting")), limit=limit, is_upward=True)
        return [wait for wait in self._of_ids(ids) if wait.is_waiting]

    def get(self, wait_id: int) -> Wait | None:
        """Return one wait; None if there is none, or none that the user may see."""
        return next(iter(self._read(self._records.id == wait_id)), None)

    def of_parent_run(self, dag_id: str, run_id: str) -> list[Wait]:
        """Return the waits of one Dag run's own tasks, the first first; of many, the newest :data:`KEYS_AT_ONCE`."""
        return list(reversed(self._read(self._records.is_of_run(dag_id, run_id))))

    def of_task_instance(self, dag_id: str, run_id: str, task_id: str, map_index: int) -> list[Wait]:
        """Return the waits of one task instance: one for each of its calls. In a loop (3.4), of all iterations."""
        is_of_instance = self._records.is_of_instance(task_id, map_index)
        return list(reversed(self._read(self._records.is_of_run(dag_id, run_id), is_of_instance)))

    def of_child_run(self, dag_id: str, run_id: str) -> list[Wait]:
        """
        Return the waits for one Dag run.

        A generated run id begins with the ``run_after`` of its parent's Dag run; one of release 0.1.0 names the try
        that made it. So few records have to be searched. A fixed one is searched for in all records.
        """
        if dag_id not in self._readable:
            return []
        named = [self._records.has_field("run_id", run_id), self._records.has_field("dag_id", dag_id)]
        if match := _OF_TRY.fullmatch(run_id):
            made_by = self._reads.try_of_id(UUID(match.group(1)))
            waits = self._read(self._records.is_of_parent(made_by.key)) if made_by else []
        elif date := date_in(run_id):
            waits = self._read(self._records.is_of_run_after(self._reads.tables, date), *named)
        else:
            waits = self._read(*named)
        return [wait for wait in waits if wait.record and (dag_id, run_id) in records.runs_in(wait.record)]

    def tries(self, parent: InstanceKey) -> list[TaskTry]:
        """Return all tries of a parent, the first first."""
        return [one for one in self._reads.tries_of(parent) if one.try_number > 0]

    def losses(self, parent: InstanceKey, tries: Iterable[TaskTry]) -> dict[int, Loss]:
        """Return those of a parent's tries whose worker was lost. Only for who may read the Dag's audit log."""
        return self._reads.losses(parent, tries)

    def actions_on(self, dag_id: str, run_ids: Collection[str]) -> list[LoggedAction]:
        """Return what the reconciler and people did to child runs. Only for who may read their Dag's audit log."""
        return logged_actions.of_runs(self._reads.tables, self.session.execute, dag_id, run_ids)

    def runs(self, keys: Iterable[tuple[str, str]]) -> dict[DagRunKey, DagRun]:
        """Return those of these Dag runs that exist and that the user may read."""
        return self._reads.runs_of(key for key in keys if key[0] in self._readable)

    def derived_children(self, cursor: Cursor, size: int = PAGE_SIZE) -> tuple[list[DagRun], bool]:
        """
        Return child runs by the form of their run id, the newest first, and whether there are more.

        Where there is no task state store (3.1 and 3.2), this is all that can be known: a generated run id holds a
        digest of its parent, not its name.
        """
        run = self._reads.tables.dag_run.c
        has_form = sa.or_(*(run.run_id.like(form, escape="!") for form in _DERIVED))
        conditions = [has_form, run.dag_id.in_(self._readable)]
        if cursor.before:
            conditions.append(run.id < cursor.before)
        found = list(self._reads.runs(*conditions, newest=size + 1))
        return found[:size], len(found) > size

    def _sorted_page(self, filters: Filters, cursor: Cursor, size: int, order: Order) -> Page:
        """Of those that have not ended, the oldest are among those that are sorted; of all others, the newest."""
        found, searched_to = self._collect(filters, 0, MOST_SORTED + 1, is_upward=filters.is_of_unfinished)
        is_capped = len(found) > MOST_SORTED or bool(searched_to)
        found = sorted(found[:MOST_SORTED], key=KEYS[order.by], reverse=order.is_descending)
        begin = size * (cursor.number - 1)
        end = begin + size
        return Page(tuple(found[begin:end]), begin > 0, len(found) > end, len(found), is_capped)

    def _collect(self, filters: Filters, at: int, wanted: int, *, is_upward: bool = False) -> tuple[list[Wait], int]:
        """
        Return that many waits from an id on, and where the search ended if it was for the number of records.

        Where the text of a record has misled the query (a record that cannot be understood, a child that may not be
        seen), it is asked for more, from where it stopped.
        """
        conditions = self._select(filters)
        found: list[Wait] = []
        read, limit = 0, wanted
        while True:
            after, before = (at, 0) if is_upward else (0, at)
            ids = self._records.ids(*conditions, after=after, before=before, limit=limit, is_upward=is_upward)
            found.extend(wait for wait in self._of_ids(ids) if filters.matches(wait))
            read += len(ids)
            if len(found) >= wanted or len(ids) < limit:
                return found[:wanted], 0
            at = ids[-1]
            if read >= MOST_READ:
                return found, at
            limit = KEYS_AT_ONCE

    def _select(self, filters: Filters) -> list[Condition]:
        return select(self._records, filters, self._readable, self.now, self._limits)

    def _of_ids(self, ids: list[int]) -> list[Wait]:
        """Return the waits that may be seen of those, in the order of the ids."""
        found: dict[int, Wait] = {}
        for start in range(0, len(ids), KEYS_AT_ONCE):
            some = ids[start : start + KEYS_AT_ONCE]
            found |= {wait.id: wait for wait in self._read(self._records.id.in_(some))}
        return [found[one] for one in ids if one in found]

    def _read(self, *conditions: Condition) -> list[Wait]:
        """Return the waits that may be seen of those, the newest first."""
        rows = [row for row in self._records.rows(*conditions) if row.parent.dag_id in self._readable]
        found = {row.id: records.read(row.value) for row in rows}
        runs = self.runs((record.dag_id, record.run_id) for record in found.values() if record)
        unfinished = {key.dag_id for key, run in runs.items() if run.state in {"queued", "running"}}
        paused = self._reads.paused_dags(unfinished) if unfinished else set()
        return [self._wait(row, found[row.id], runs, paused) for row in rows]

    def _wait(
        self, row: RecordRow, record: Record | None, runs: dict[DagRunKey, DagRun], paused: Collection[str]
    ) -> Wait:
        wait = Wait(
            row.id,
            row.parent,
            row.state,
            row.try_number,
            row.is_mapped,
            record,
            self.now,
            max_tries=row.max_tries,
            ended_at=row.ended_at,
            last_heartbeat_at=row.last_heartbeat_at,
            changed_at=row.changed_at,
            limits=self._limits,
        )
        if record is None:
            return wait
        if record.dag_id not in self._readable:
            return replace(wait, is_child_hidden=True)
        missing = DagRun(record.dag_id, record.run_id)
        return replace(wait, child=runs.get(missing.key, missing), is_child_paused=record.dag_id in paused)
