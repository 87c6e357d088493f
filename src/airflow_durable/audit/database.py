"""The deployment's metadata database, as the audit's source. Nothing is written: the connection cannot."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from airflow_durable.audit.model import Instance, Trace, TriggeredRun
from airflow_durable.audit.rules import began, digest_conf, is_cleared, order, without_dates
from airflow_durable.audit.source import (
    TRIGGER_FIELD,
    WAITS_FIELD,
    XCOM_LINK,
    XCOM_RUN_ID,
    SourceError,
    read_link,
    read_recorded_runs,
    read_text,
)
from airflow_durable.metadata.connections import Database, open_airflow
from airflow_durable.metadata.installation import DatabaseUnreadableError
from airflow_durable.metadata.ledgers import LedgerCounts
from airflow_durable.metadata.model import UNFINISHED_STATES, DagRunKey, TaskKey
from airflow_durable.metadata.reads import chunks
from airflow_durable.metadata.trigger_tasks import TriggerTask, tasks_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime

    from airflow_durable.audit.source import Moments, Spans
    from airflow_durable.core.ledger import Ledger
    from airflow_durable.metadata.ledgers import ItemCounts
    from airflow_durable.metadata.model import DagRun, InstanceKey, Loss, TaskTry
    from airflow_durable.metadata.tables import Condition, Tries
    from airflow_durable.wording import HeartbeatLimits

_OPERATOR = "OPERATOR"


@contextlib.contextmanager
def open_database() -> Iterator[DatabaseSource]:
    """
    Open the metadata database that this machine's Airflow is configured for, read-only.

    :raises SourceError: there is none, or it is not an Airflow 3's.
    """
    try:
        with open_airflow() as (database, airflow_version):
            yield DatabaseSource(database, airflow_version)
    except DatabaseUnreadableError as error:
        raise SourceError(str(error)) from error


class DatabaseSource:
    """
    Implements :class:`airflow_durable.audit.source.Source`.

    By task, along the indexes (dag_id, task_id, ...) of the tables, and in streams: what is held in memory are the
    retried parents and the runs in their tries' times.
    """

    kind = "database"

    def __init__(self, database: Database, airflow_version: str) -> None:
        self.airflow_version = airflow_version
        self.address = database.address
        self.dialect = database.dialect
        self.deployment = database.deployment
        self._reads = database.reads
        self._tables = database.tables
        self._records = database.records(has_ledgers=True)
        self._ledgers = LedgerCounts(database.tables, database.execute)
        self._trigger_tasks: dict[TaskKey, TriggerTask] | None = None

    def dag_ids(self) -> set[str]:
        """Return all Dags that there are, those included whose files are gone."""
        return self.deployment.dag_ids()

    def trigger_tasks(self) -> dict[TaskKey, TriggerTask]:
        """Return the tasks with a trigger operator's template field, by the latest version of their Dags."""
        if self._trigger_tasks is None:
            self._trigger_tasks = {
                task.key: task
                for dag_id, serialized in self._reads.serialized_dags()
                for task in tasks_in(dag_id, serialized)
            }
        return self._trigger_tasks

    def recorded_tasks(self) -> frozenset[TaskKey]:
        """Return the tasks that have records: instances of them were durable. Empty before Airflow 3.3."""
        return frozenset() if self._records is None else frozenset(self._records.tasks())

    def active_tasks(self) -> list[TriggerTask]:
        """Return those of the Dags whose files are there."""
        active = self.deployment.dag_ids(is_active_only=True)
        return [task for key, task in self.trigger_tasks().items() if key.dag_id in active]

    def tasks(self) -> list[TaskKey]:
        """Return the tasks with a trigger operator's template field, and those that have left a trigger's XCom."""
        found = {TaskKey(*names) for names in self._reads.tasks_with_xcom(XCOM_RUN_ID)}
        return sorted(found | set(self.trigger_tasks()))

    def retried(self, tasks: Iterable[TaskKey], since: datetime | None) -> Iterator[Instance]:
        """Yield the parents with more than one try; with ``since``, those whose last one began since then."""
        latest, earlier = self._tables.latest, self._tables.earlier
        conditions = [latest.columns.try_number > 1]
        if since:
            conditions.append(latest.columns.start_date >= since)
        for task in tasks:
            found = self._begun_tries(latest, task, *conditions)
            if not found:
                continue
            before = self._begun_tries(earlier, task)
            for key, tries in found.items():
                # The history first: up to 3.3 a try that is to be retried is in both.
                ran = order([*before.get(key, ()), *tries])
                if len(ran) > 1:
                    yield Instance(key, ran)

    def around(self, tasks: Iterable[TaskKey], moments: Moments) -> Iterator[Instance]:
        """Yield the parents that ran at one of these moments, with all their tries."""
        both = (self._tables.earlier, self._tables.latest)
        for task in tasks:
            keys = set()
            for where in both:
                dates = where.columns
                is_near = sa.and_(
                    dates.start_date <= moments.last,
                    sa.or_(dates.end_date.is_(None), dates.end_date >= moments.first),
                )
                for one in self._stream_begun(where, task, is_near):
                    if moments.has_within(one.start_date, one.end_date):
                        keys.add(one.key)
            for chunk in chunks(sorted(keys)):
                tries: dict[InstanceKey, list[TaskTry]] = defaultdict(list)
                for where in both:
                    for one in self._stream_begun(where, task, where.key.run_id.in_({key.run_id for key in chunk})):
                        tries[one.key].append(one)
                for key in chunk:
                    yield Instance(key, order(tries[key]))

    def traces(self, keys: Sequence[InstanceKey]) -> dict[InstanceKey, Trace]:
        """Return what each of these parents has left behind."""
        by_task: dict[TaskKey, list[InstanceKey]] = defaultdict(list)
        for key in keys:
            by_task[key.task].append(key)
        traces: dict[InstanceKey, Trace] = {}
        for task, own in by_task.items():
            for chunk in chunks(own):
                traces |= self._traces_of(task, chunk)
        return traces

    def runs(self, dag_id: str, spans: Spans) -> list[TriggeredRun]:
        """Return the runs of a Dag that operators have triggered within the spans."""
        table = self._tables.dag_run.c
        found: dict[str, tuple[datetime, DagRun]] = {}
        for run in self._reads.runs(
            table.dag_id == dag_id,
            sa.cast(table.triggered_by, sa.String) == _OPERATOR,
            table.run_after >= spans.first,
        ):
            moment = began(run.logical_date, run.run_after, run.queued_at)
            if moment is not None and spans.contains(moment):
                found[run.run_id] = (moment, run)
        digests = {run_id: digest_conf(conf) for run_id, conf in self._reads.confs(dag_id, list(found))}
        return [
            TriggeredRun(run, moment, *digests[run_id], is_cleared=is_cleared(moment, run.queued_at))
            for run_id, (moment, run) in found.items()
            if run_id in digests
        ]

    def instances(self, dag_id: str, run_id: str, task_id: str, map_index: int) -> list[Instance]:
        """Return the task instances with these names and what they have tried: one, but in a loop (3.4)."""
        tries: dict[InstanceKey, list[TaskTry]] = defaultdict(list)
        for where in (self._tables.earlier, self._tables.latest):
            is_own = sa.and_(where.key.run_id == run_id, where.key.map_index == map_index)
            for one in self._stream_begun(where, TaskKey(dag_id, task_id), is_own):
                tries[one.key].append(one)
        return [Instance(key, order(own)) for key, own in sorted(tries.items())]

    def unfinished(self, tasks: Iterable[TaskKey]) -> Iterator[TaskTry]:
        """Yield the latest try of each of these tasks' instances that has not ended."""
        latest, wanted = self._tables.latest, set(tasks)
        for one in self._reads.tries(latest, latest.columns.state.in_(UNFINISHED_STATES)):
            if one.key.task in wanted:
                yield without_dates(one)

    def losses(self, instance: Instance) -> dict[int, Loss]:
        """Return the tries that Airflow ended for a lost heartbeat, by the audit log."""
        return self._reads.losses(instance.key, instance.attempts)

    def heartbeat_limits(self) -> HeartbeatLimits:
        """Return when Airflow gives a silent try up, by the configuration of this machine."""
        # It loads Airflow, which a machine without a configured one must not.
        from airflow_durable.heartbeats import load_limits

        return load_limits()

    def stored_record(self, key: InstanceKey) -> str | None:
        """Return a parent's record as it is stored, None if it has none."""
        if self._records is None:
            return None
        return next((row.value for row in self._records.rows(self._records.is_of_parent(key))), None)

    def item_counts(self, key: InstanceKey, ledger: Ledger) -> ItemCounts | None:
        """Return how the items of a task with many children stand, with the failed ones; None: its run is gone."""
        return self._ledgers.of(key, ledger, has_names=True)

    def times(self, keys: Sequence[DagRunKey]) -> Iterator[DagRun]:
        """Yield what is known of these runs, as far as they are there."""
        found = self._reads.runs_of(keys)
        return (found[key] for key in keys if key in found)

    def _traces_of(self, task: TaskKey, keys: Sequence[InstanceKey]) -> dict[InstanceKey, Trace]:
        run_ids = {key.run_id for key in keys}
        left: dict[InstanceKey, dict[str, Any]] = {key: {} for key in keys}
        # Of other instances of the task, what is read is let go of.
        nothing: dict[str, Any] = {}
        for key, name, value in self._reads.xcoms([XCOM_RUN_ID, XCOM_LINK], *task, run_ids):
            traces = left.get(key, nothing)
            if name == XCOM_RUN_ID:
                traces["claimed"] = read_text(value)
            else:
                traces["linked"] = read_link(value)
        for key, fields in self._reads.rendered_fields((TRIGGER_FIELD, WAITS_FIELD), task, run_ids):
            traces = left.get(key, nothing)
            child_dag_id, waits = fields[TRIGGER_FIELD], fields[WAITS_FIELD]
            traces["child_dag_id"] = child_dag_id if isinstance(child_dag_id, str) else None
            traces["waits"] = None if waits is None else bool(waits)
        if self._records is not None:
            for key, value in self._records.of_task(*task, run_ids):
                traces = left.get(key, nothing)
                traces["recorded"] = traces.get("recorded", frozenset()) | read_recorded_runs(value)
        return {key: Trace(**traces) for key, traces in left.items()}

    def _begun_tries(self, where: Tries, task: TaskKey, *conditions: Condition) -> dict[InstanceKey, list[TaskTry]]:
        tries: dict[InstanceKey, list[TaskTry]] = defaultdict(list)
        for one in self._stream_begun(where, task, *conditions):
            tries[one.key].append(one)
        return tries

    def _stream_begun(self, where: Tries, task: TaskKey, *conditions: Condition) -> Iterator[TaskTry]:
        return self._reads.tries(
            where,
            where.key.dag_id == task.dag_id,
            where.key.task_id == task.task_id,
            where.columns.start_date.is_not(None),
            *conditions,
        )
