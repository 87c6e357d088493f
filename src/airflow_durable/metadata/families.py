"""
The parents and the child runs of calls, as Airflow's tables have them: what a decision of the reconciler rests on.

Which runs are a parent's own follows from its rows alone, never from what a record says.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from airflow_durable.core.model import UNFINISHED_STATES, Parent
from airflow_durable.core.observed import ChildNow, ParentNow
from airflow_durable.metadata.identities import identities_of, is_item, item_prefixes
from airflow_durable.metadata.values import as_region, as_text, as_utc, as_uuid

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from airflow_durable.core.ledger import Ledger
    from airflow_durable.metadata.calls import CallKey
    from airflow_durable.metadata.reads import Execute
    from airflow_durable.metadata.tables import Tables

CALLS_AT_ONCE = 300

ITEMS_AT_ONCE = 100
"""The most runs of ledgers that are returned, and ended, at a time."""


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


class Families:
    """Reads of parents and of their child runs, on one connection or session."""

    def __init__(self, tables: Tables, execute: Execute) -> None:
        self._tables = tables
        self._execute = execute

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
            sa.select(
                run.c.id,
                key.task_id,
                key.map_index,
                key.region_id,
                latest.id,
                columns.state,
                sa.case((self._tables.is_end_of_earlier_try, None), else_=columns.end_date),
                columns.updated_at,
            )
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


def _parent_row(key: CallKey, run: Any, latest: Any) -> ParentRow:  # noqa: ANN401 - rows
    dag_id, run_id, run_state, run_after, start_date = run[:5]
    after: Any = as_utc(run_after)
    started_at: datetime | None = as_utc(start_date)
    # One that is removed, or not there any more, ends with its Dag run.
    run_ended_at = as_utc(run[6])
    now = ParentNow(None, None, run_ended_at, as_text(run_state))
    if latest is not None:
        state = as_text(latest[1])
        ended_at = run_ended_at if state == "removed" else _end_of(as_utc(latest[2]), as_utc(latest[3]), run_ended_at)
        now = ParentNow(str(as_uuid(latest[0])), state, ended_at, as_text(run_state))
    plain = Parent(dag_id, run_id, key.task_id, key.map_index, after, started_at=started_at)
    return ParentRow(dag_id, run_id, key.task_id, key.map_index, now, identities_of(plain, key.region_id))


def _end_of(end_date: datetime | None, written_at: datetime | None, run_ended_at: datetime | None) -> datetime | None:
    """
    Return when a task instance has ended.

    ``end_date`` is not enough: it is empty where ``dagrun_timeout`` skips a task, that of an earlier try where a
    person, or what is upstream, ends a task that waits for its next one, and by the worker's clock, which may be ahead.
    When the row was last written may be later: a triggerer that starts does so (3.3 and 3.4:
    ``jobs/scheduler_job_runner.py``, ``_schedule_dag_run``; ``models/taskinstance.py``, ``set_state``;
    ``models/trigger.py``, ``clean_unused``).

    :param end_date: None: it is empty, or an earlier try's.
    :param run_ended_at: when its Dag run has ended.
    """
    return min((moment for moment in (end_date or run_ended_at, written_at) if moment is not None), default=None)


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
