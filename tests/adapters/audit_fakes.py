"""A deployment that is made up: the audit's own port, answered from lists."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

from airflow_durable.audit.model import Instance, Trace, TriggeredRun
from airflow_durable.audit.rules import digest_conf
from airflow_durable.metadata.model import DagRun, DagRunKey, InstanceKey, TaskKey, TaskTry

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from airflow_durable.audit.source import Moments, Spans
    from airflow_durable.metadata.trigger_tasks import TriggerTask

NOON = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)
CHILD = "child"


def at(seconds: float) -> datetime:
    """Return a moment, in seconds after noon."""
    return NOON + timedelta(seconds=seconds)


def tried(
    try_number: int, start: float, end: float | None, state: str | None = "failed", max_tries: int = 3
) -> TaskTry:
    """Return an attempt, in seconds after noon."""
    key = InstanceKey("parent", "run", "trigger", -1)
    return TaskTry(key, try_number, max_tries, state, at(start), None if end is None else at(end))


@dataclass
class Deployment:
    """Implements :class:`airflow_durable.audit.source.Source`."""

    instances: list[Instance] = field(default_factory=list)
    left: dict[InstanceKey, Trace] = field(default_factory=dict)
    known: list[TriggeredRun] = field(default_factory=list)
    described: dict[TaskKey, TriggerTask] = field(default_factory=dict)
    kind: str = "made up"
    address: str = "made up"
    airflow_version: str = "3"

    def parent(self, name: str, *attempts: TaskTry, map_index: int = -1, **trace: object) -> InstanceKey:
        """Add a parent with its attempts, and what its last one has left behind."""
        key = InstanceKey(name, "run", "trigger", map_index)
        self.instances.append(Instance(key, attempts))
        self.left[key] = Trace(**{"child_dag_id": CHILD, **trace})  # type: ignore[arg-type] # Trace's own
        return key

    def run(  # noqa: PLR0913 - what a run is
        self,
        run_id: str,
        began: float,
        *,
        state: str = "success",
        end: float | None = 1000,
        conf: object = None,
        dag_id: str = CHILD,
    ) -> DagRunKey:
        """Add a run that an operator triggered."""
        key = DagRunKey(dag_id, run_id)
        finish = None if end is None else at(end)
        row = DagRun(dag_id, run_id, state, start_date=at(began), end_date=finish)
        self.known.append(TriggeredRun(row, at(began), *digest_conf(conf)))
        return key

    def dag_ids(self) -> set[str]:
        """Return the Dags of all parents."""
        return {instance.key.dag_id for instance in self.instances}

    def trigger_tasks(self) -> dict[TaskKey, TriggerTask]:
        """Return what was given."""
        return self.described

    def tasks(self) -> list[TaskKey]:
        """Return the tasks of all parents."""
        return sorted({instance.key.task for instance in self.instances})

    def retried(self, tasks: Iterable[TaskKey], since: datetime | None) -> Iterator[Instance]:
        """Yield the parents with more than one attempt."""
        wanted = set(tasks)
        for instance in self.instances:
            is_recent = since is None or instance.attempts[-1].began_at >= since
            if instance.key.task in wanted and len(instance.attempts) > 1 and is_recent:
                yield instance

    def around(self, tasks: Iterable[TaskKey], moments: Moments) -> Iterator[Instance]:
        """Yield the parents that ran at one of these moments."""
        wanted = set(tasks)
        for instance in self.instances:
            is_near = any(moments.has_within(one.began_at, one.end_date) for one in instance.attempts)
            if instance.key.task in wanted and is_near:
                yield instance

    def traces(self, keys: Sequence[InstanceKey]) -> dict[InstanceKey, Trace]:
        """Return what each has left."""
        return {key: self.left[key] for key in keys}

    def runs(self, dag_id: str, spans: Spans) -> list[TriggeredRun]:
        """Return the runs of a Dag in these spans."""
        return [run for run in self.known if run.key.dag_id == dag_id and spans.contains(run.began)]
