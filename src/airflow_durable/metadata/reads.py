"""Typed reads, on any connection."""

from __future__ import annotations

import contextlib
import json
import re
import zlib
from collections import defaultdict
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from airflow_durable.metadata.model import DagRun, DagRunKey, InstanceKey, Loss, TaskTry, losses_of
from airflow_durable.metadata.values import as_region, as_text, as_utc, as_uuid, bind_uuid, is_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
    from datetime import datetime
    from uuid import UUID

    from airflow_durable.metadata.model import TaskKey
    from airflow_durable.metadata.tables import Column, Condition, LeftBehind, Tables, Tries

    Execute = Callable[[Any], Iterable[Any]]

KEYS_AT_ONCE = 500
"""How many rows one query asks for by their keys: within what every database takes in one statement."""

SILENCE = ("heartbeat timeout", "state mismatch")
"""The scheduler's words in the audit log for a lost worker (3.1 to 3.4, ``jobs/scheduler_job_runner.py``)."""

_TIME_LIMIT = re.compile(r"within time limit \(([0-9.]+) ?seconds\)")
"""In the scheduler's own words for it (3.1 to 3.4)."""

_NOT_BEGUN_STATES = frozenset({None, "scheduled", "queued"})


class Reads:
    """
    Reads of one database.

    :param execute: runs a statement and returns its rows.
    """

    def __init__(self, tables: Tables, execute: Execute) -> None:
        self.tables = tables
        self._execute = execute

    # Tries of task instances.

    def tries(self, where: Tries, *conditions: Condition) -> Iterator[TaskTry]:
        """Yield the tries for which the conditions hold."""
        columns = where.columns
        statement = sa.select(
            *where.key,
            columns.try_number,
            columns.max_tries,
            columns.state,
            columns.start_date,
            columns.end_date,
            where.id,
            columns.pid,
            where.last_heartbeat_at,
        ).where(where.is_included, *conditions)
        for row in self._execute(statement):
            number, max_tries, state, start, end, task_instance_id, pid, heartbeat = row[5:]
            yield TaskTry(
                as_key(row[:5]),
                number,
                max_tries,
                as_text(state),
                as_utc(start),
                as_utc(end),
                as_uuid(task_instance_id),
                pid,
                as_utc(heartbeat),
            )

    def tries_of(self, key: InstanceKey) -> list[TaskTry]:
        """Return all tries of a task instance, in their order, each once."""
        earlier = list(self.tries(self.tables.earlier, is_of(self.tables.earlier.key, key)))
        latest = list(self.tries(self.tables.latest, is_of(self.tables.latest.key, key)))
        return without_copied_dates([*earlier, *latest])

    def try_of_id(self, task_instance_id: UUID) -> TaskTry | None:
        """Return the try with this id of the task instance; None: there is none."""
        for where in (self.tables.latest, self.tables.earlier):
            found = list(self.tries(where, where.id == bind_uuid(where.id, task_instance_id)))
            if found:
                return found[0]
        return None

    def losses(self, key: InstanceKey, of_tries: Iterable[TaskTry]) -> dict[int, Loss]:
        """
        Return the tries of which the audit log says that their worker was lost, with what it says.

        :param of_tries: those of the task instance.
        """
        log = self.tables.log.c
        by_name = sa.and_(
            log.dag_id == key.dag_id,
            log.task_id == key.task_id,
            log.run_id == key.run_id,
            log.map_index == key.map_index,
        )
        is_own = by_name
        if "task_instance_id" in log:  # from 3.4; its map_index is the iteration's of no loop
            tries = self.tables.latest
            ids = sa.select(tries.id).where(is_of(tries.key, key))
            is_own = sa.or_(log.task_instance_id.in_(ids), sa.and_(log.task_instance_id.is_(None), by_name))
        lost = log.event.in_(SILENCE)
        statement = sa.select(log.try_number, log.dttm, log.event, log.extra).where(is_own, lost)
        entries = []
        for number, at, event, extra in self._execute(statement.order_by(log.dttm)):
            noticed_at = as_utc(at)
            if number is not None and noticed_at is not None:
                timeout = _timeout_in(extra) if event == SILENCE[0] else timedelta(0)
                entries.append((number, Loss(noticed_at, timeout)))
        return losses_of(of_tries, entries)

    # Dag runs.

    def runs(self, *conditions: Condition, newest: int = 0) -> Iterator[DagRun]:
        """
        Yield the Dag runs for which the conditions hold.

        :param newest: only so many, the newest first.
        """
        run = self.tables.dag_run.c
        statement = sa.select(
            run.dag_id,
            run.run_id,
            run.state,
            run.queued_at,
            run.start_date,
            run.end_date,
            run.logical_date,
            run.run_after,
            self.tables.run_created_at,
            run.clear_number,
            run.id,
        ).where(*conditions)
        if newest:
            statement = statement.order_by(run.id.desc()).limit(newest)
        for row in self._execute(statement):
            queued, start, end, logical, after, created = map(as_utc, row[3:9])
            yield DagRun(
                row[0], row[1], as_text(row[2]), queued, start, end, logical, after, created, row[9] or 0, row[10]
            )

    def runs_of(self, keys: Iterable[tuple[str, str]]) -> dict[DagRunKey, DagRun]:
        """
        Return those of these Dag runs that exist.

        Asked for by Dag: given pairs, SQLite does not go by the unique key (dag_id, run_id) but reads the whole table.
        """
        run = self.tables.dag_run.c
        found: dict[DagRunKey, DagRun] = {}
        for chunk in chunks(sorted(set(keys))):
            are_of_dag = [sa.and_(run.dag_id == dag_id, run.run_id.in_(ids)) for dag_id, ids in by_dag(chunk).items()]
            found |= {one.key: one for one in self.runs(sa.or_(*are_of_dag))}
        return found

    def paused_dags(self, dag_ids: Iterable[str]) -> set[str]:
        """Return those of these Dags that are paused: the scheduler neither starts their runs nor continues them."""
        dag = self.tables.dag.c
        found: set[str] = set()
        for chunk in chunks(sorted(set(dag_ids))):
            statement = sa.select(dag.dag_id).where(dag.dag_id.in_(chunk), dag.is_paused.is_(True))
            found |= {row[0] for row in self._execute(statement)}
        return found

    def confs(self, dag_id: str, run_ids: Sequence[str]) -> Iterator[tuple[str, Any]]:
        """Yield the conf of each of a Dag's runs. It is the user's: nothing of it may be shown."""
        run = self.tables.dag_run.c
        for chunk in chunks(run_ids):
            statement = sa.select(run.run_id, run.conf).where(run.dag_id == dag_id, run.run_id.in_(chunk))
            yield from self._execute(statement)

    # What tasks have left behind.

    def xcoms(
        self, names: Collection[str], dag_id: str, task_id: str, run_ids: Collection[str] | None = None
    ) -> Iterator[tuple[InstanceKey, str, Any]]:
        """Yield the XComs of a task, as they are stored. Where two are of the same name, the later one counts."""
        for where in self.tables.xcoms:
            columns = where.columns
            for key, (name, value) in self._left_behind(
                where, dag_id, task_id, run_ids, columns.key, columns.value, condition=columns.key.in_(names)
            ):
                yield key, name, value

    def tasks_with_xcom(self, name: str) -> set[tuple[str, str]]:
        """Return the Dag and the task of each that has left such an XCom. Reads all of that name."""
        found = set()
        for where in self.tables.xcoms:
            statement = sa.select(where.key.dag_id, where.key.task_id).select_from(where.source).distinct()
            found |= {(row[0], row[1]) for row in self._execute(statement.where(where.columns.key == name))}
        return found

    def rendered_fields(
        self, names: Sequence[str], task: TaskKey, run_ids: Collection[str]
    ) -> Iterator[tuple[InstanceKey, dict[str, Any]]]:
        """Yield some of a task's rendered template fields. The rest, the conf among them, stays in the database."""
        for where in self.tables.rendered:
            # The column's own type knows no path into it in 3.0 and 3.1.
            fields = sa.type_coerce(where.columns.rendered_fields, sa.JSON)
            columns = [fields[name] for name in names]
            for key, values in self._left_behind(where, *task, run_ids, *columns):
                yield key, dict(zip(names, values, strict=True))

    def _left_behind(
        self,
        where: LeftBehind,
        dag_id: str,
        task_id: str,
        run_ids: Collection[str] | None,
        *columns: Column,
        condition: Condition | None = None,
    ) -> Iterator[tuple[InstanceKey, Sequence[Any]]]:
        statement = (
            sa.select(*where.key, *columns)
            .select_from(where.source)
            .where(where.key.dag_id == dag_id, where.key.task_id == task_id, where.is_included)
        )
        if run_ids is not None:
            statement = statement.where(where.key.run_id.in_(run_ids))
        for row in self._execute(statement if condition is None else statement.where(condition)):
            yield as_key(row[:5]), row[5:]

    def serialized_dags(self, dag_ids: Collection[str] | None = None) -> Iterator[tuple[str, Any]]:
        """
        Yield each Dag and its latest serialized form.

        :param dag_ids: only these; None: all.
        """
        table = self.tables.serialized_dag.c
        newest = sa.select(table.dag_id, sa.func.max(table.created_at).label("at")).group_by(table.dag_id).subquery()
        is_newest = sa.and_(table.dag_id == newest.c.dag_id, table.created_at == newest.c.at)
        statement = sa.select(table.dag_id, table.data, table.data_compressed).where(is_newest)
        if dag_ids is not None:
            statement = statement.where(table.dag_id.in_(dag_ids), newest.c.dag_id.in_(dag_ids))
        # Each may be large.
        for dag_id, data, compressed in self._execute(statement.execution_options(yield_per=20)):
            yield dag_id, json.loads(zlib.decompress(compressed)) if compressed else data


def _timeout_in(extra: str | None) -> timedelta | None:
    """Return the time limit that the audit log's entry names; None if it names none."""
    found = _TIME_LIMIT.search(extra or "")
    with contextlib.suppress(ValueError, OverflowError):
        return timedelta(seconds=float(found.group(1))) if found else None
    return None


def as_key(row: Sequence[Any]) -> InstanceKey:
    """Return the task instance that the five columns of :class:`InstanceColumns` name."""
    return InstanceKey(row[0], row[1], row[2], row[3], as_region(row[4]))


def without_copied_dates(tries: Iterable[TaskTry]) -> list[TaskTry]:
    """
    Return tries of one task instance in their order, each number once: the last one given.

    Until a try begins, its row has the dates of the one before it (3.0 to 3.4). They are left out.
    """
    by_number = {one.try_number: one for one in tries}
    starts: set[datetime | None] = set()
    found: list[TaskTry] = []
    for _, one in sorted(by_number.items()):
        if one.state in _NOT_BEGUN_STATES or one.start_date in starts:
            found.append(replace(one, start_date=None, end_date=None))
        else:
            starts.add(one.start_date)
            found.append(one)
    return found


def by_dag(keys: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Return the run ids of each Dag of these Dag runs."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for dag_id, run_id in keys:
        found[dag_id].append(run_id)
    return found


def chunks(keys: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """Yield the keys, :data:`KEYS_AT_ONCE` at a time."""
    for start in range(0, len(keys), KEYS_AT_ONCE):
        yield keys[start : start + KEYS_AT_ONCE]
