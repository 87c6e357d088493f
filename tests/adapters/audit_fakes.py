"""A deployment that is made up: the audit's own port, answered from lists."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

from airflow_durable.audit.model import Attempt, Instance, ParentKey, Run, RunKey, TaskKey, Trace
from airflow_durable.audit.rules import digest_conf

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from airflow_durable.audit.source import Moments, Spans

NOON = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)
CHILD = "child"


def at(seconds: float) -> datetime:
    """Return a moment, in seconds after noon."""
    return NOON + timedelta(seconds=seconds)


def tried(
    try_number: int, start: float, end: float | None, state: str | None = "failed", max_tries: int = 3
) -> Attempt:
    """Return an attempt, in seconds after noon."""
    return Attempt(try_number, max_tries, state, at(start), None if end is None else at(end))


@dataclass
class Deployment:
    """Implements :class:`airflow_durable.audit.source.Source`."""

    instances: list[Instance] = field(default_factory=list)
    left: dict[ParentKey, Trace] = field(default_factory=dict)
    known: list[Run] = field(default_factory=list)
    kind: str = "made up"
    airflow_version: str = "3"

    def parent(self, name: str, *attempts: Attempt, map_index: int = -1, **trace: object) -> ParentKey:
        """Add a parent with its attempts, and what its last one has left behind."""
        key = ParentKey(name, "run", "trigger", map_index)
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
    ) -> RunKey:
        """Add a run that an operator triggered."""
        key = RunKey(dag_id, run_id)
        finish = None if end is None else at(end)
        self.known.append(Run(key, state, at(began), at(began), finish, *digest_conf(conf)))
        return key

    def tasks(self) -> list[TaskKey]:
        """Return the tasks of all parents."""
        return sorted({instance.key.task for instance in self.instances})

    def retried(self, tasks: Iterable[TaskKey], since: datetime | None) -> Iterator[Instance]:
        """Yield the parents with more than one attempt."""
        wanted = set(tasks)
        for instance in self.instances:
            is_recent = since is None or instance.attempts[-1].start >= since
            if instance.key.task in wanted and len(instance.attempts) > 1 and is_recent:
                yield instance

    def around(self, tasks: Iterable[TaskKey], moments: Moments) -> Iterator[Instance]:
        """Yield the parents that ran at one of these moments."""
        wanted = set(tasks)
        for instance in self.instances:
            is_near = any(moments.has_within(one.start, one.end) for one in instance.attempts)
            if instance.key.task in wanted and is_near:
                yield instance

    def traces(self, keys: Sequence[ParentKey]) -> dict[ParentKey, Trace]:
        """Return what each has left."""
        return {key: self.left[key] for key in keys}

    def runs(self, dag_id: str, spans: Spans) -> list[Run]:
        """Return the runs of a Dag in these spans."""
        return [run for run in self.known if run.key.dag_id == dag_id and spans.contains(run.began)]
