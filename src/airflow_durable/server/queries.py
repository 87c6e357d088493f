"""
What one user may see of the waits: each read is narrowed to the Dags that they may read.

A page is first a list of ids, then the rows of those ids, their task instances and their child runs; see
:mod:`airflow_durable.metadata.record_rows`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from uuid import UUID

import sqlalchemy as sa

from airflow_durable.core.run_ids import date_in
from airflow_durable.metadata import records
from airflow_durable.metadata.model import DagRun
from airflow_durable.metadata.reads import Reads
from airflow_durable.metadata.record_rows import RecordRows
from airflow_durable.metadata.tables import load_tables
from airflow_durable.server.model import TAKEOVERS, WAITING, Filters, Wait

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from sqlalchemy.orm import Session

    from airflow_durable.core.record import Record
    from airflow_durable.metadata.model import DagRunKey, InstanceKey, TaskTry
    from airflow_durable.metadata.record_rows import RecordRow
    from airflow_durable.metadata.tables import Condition

PAGE_SIZE = 50

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
    return RecordRows(load_tables(), session.execute)


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
    What one user may see. Without a task state store that is :meth:`runs` and :meth:`derived_children`.

    :param readable: the Dags that the user may read.
    """

    def __init__(self, session: Session, readable: Collection[str]) -> None:
        self._session = session
        self._readable = readable
        self._reads = Reads(load_tables(), session.execute)

    @property
    def _records(self) -> RecordRows:
        return open_records(self._session)

    def page(self, filters: Filters, cursor: Cursor, size: int = PAGE_SIZE) -> Page:
        """Return one page of the waits that pass the filters."""
        is_upward = bool(cursor.after)
        found = self._collect(filters, cursor, size + 1)
        has_more = len(found) > size
        waits = found[:size]
        if is_upward:
            return Page(tuple(reversed(waits)), has_newer=has_more, has_older=True)
        return Page(tuple(waits), has_newer=bool(cursor.before), has_older=has_more)

    def get(self, wait_id: int) -> Wait | None:
        """Return one wait; None if there is none, or none that the user may see."""
        return next(iter(self._read(self._records.id == wait_id)), None)

    def of_parent_run(self, dag_id: str, run_id: str) -> list[Wait]:
        """Return the waits of one Dag run's own tasks."""
        return list(reversed(self._read(self._records.is_of_run(dag_id, run_id))))

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

    def silent_tries(self, parent: InstanceKey) -> set[int]:
        """Return the tries of a parent whose worker went silent. Only for who may read the Dag's audit log."""
        return set(self._reads.losses(parent))

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

    def _collect(self, filters: Filters, cursor: Cursor, wanted: int) -> list[Wait]:
        """
        Return that many waits from the cursor on.

        Where the text of a record has misled the query (a record that cannot be understood, a child that may not be
        seen), it is asked for more, from where it stopped.
        """
        is_upward = bool(cursor.after)
        at = cursor.after or cursor.before
        conditions = self._select(filters)
        found: list[Wait] = []
        while True:
            after, before = (at, 0) if is_upward else (0, at)
            ids = self._records.ids(*conditions, after=after, before=before, limit=wanted)
            waits = self._read(self._records.id.in_(ids)) if ids else []
            if is_upward:
                waits.reverse()
            found.extend(wait for wait in waits if filters.matches(wait))
            if len(found) >= wanted or len(ids) < wanted:
                return found[:wanted]
            at = ids[-1]

    def _select(self, filters: Filters) -> list[Condition]:
        """
        Return conditions as narrow as the filters and the text of a record allow.

        :meth:`Filters.matches` has the last word.
        """
        of = self._records
        if filters.dag_id:
            conditions = [of.is_of_dag(filters.dag_id) if filters.dag_id in self._readable else sa.false()]
        else:
            conditions = [of.is_of_dags(self._readable)]
        if filters.child_dag_id:
            is_readable = filters.child_dag_id in self._readable
            conditions.append(of.has_field("dag_id", filters.child_dag_id) if is_readable else sa.false())
        if filters.state == WAITING:
            conditions += [of.has_unfinished_parent(), of.is_unconsumed()]
        elif filters.state:
            conditions.append(of.has_parent_in(filters.state))
        if filters.is_recovered_only:
            conditions.append(is_taken_over(of))
        return conditions

    def _read(self, *conditions: Condition) -> list[Wait]:
        """Return the waits that may be seen of those, the newest first."""
        rows = [row for row in self._records.rows(*conditions) if row.parent.dag_id in self._readable]
        found = {row.id: records.read(row.value) for row in rows}
        runs = self.runs((record.dag_id, record.run_id) for record in found.values() if record)
        return [self._wait(row, found[row.id], runs) for row in rows]

    def _wait(self, row: RecordRow, record: Record | None, runs: dict[DagRunKey, DagRun]) -> Wait:
        wait = Wait(row.id, row.parent, row.state, row.try_number, row.is_mapped, record)
        if record is None:
            return wait
        if record.dag_id not in self._readable:
            return replace(wait, is_child_hidden=True)
        missing = DagRun(record.dag_id, record.run_id)
        return replace(wait, child=runs.get(missing.key, missing))


def is_taken_over(of: RecordRows) -> Condition:
    """Return the condition that a record has a try that took over the run of an earlier one."""
    return sa.or_(*(of.has_field("decision", decision.value) for decision in sorted(TAKEOVERS)))
