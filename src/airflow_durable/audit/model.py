"""The words of the audit. Nothing here holds a Dag run's conf: a digest tells whether two are equal."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from airflow_durable.metadata.model import DagRun, DagRunKey, InstanceKey, TaskKey, TaskTry
    from airflow_durable.metadata.trigger_tasks import TriggerTask


class Sureness(str, Enum):
    """How sure a finding is. The rules are in :func:`airflow_durable.audit.rules.judge`."""

    CERTAIN = "certain"
    LIKELY = "likely"
    POSSIBLE = "possible"

    @property
    def rank(self) -> int:
        """Return 0 for the surest."""
        return list(Sureness).index(self)


class Dismissal(str, Enum):
    """Why a child run that its parent does not name as its own is no duplicate."""

    RERUN = "rerun_after_success"
    """The attempt had succeeded: a person cleared it to have the work done again."""

    CHILD_FAILED = "retry_after_child_failed"
    """The run had failed before the later attempt began: a fresh one was due."""

    NO_SECOND_RUN = "no_second_run"
    """No later attempt has started a run (yet)."""


@dataclass(frozen=True)
class Instance:
    """A parent and its attempts, the oldest first."""

    key: InstanceKey
    attempts: tuple[TaskTry, ...]


@dataclass(frozen=True)
class Trace:
    """
    What a parent's last attempt left behind.

    :param claimed: the run id in its XCom ``trigger_run_id``: written once the run was there.
    :param linked: the run of its extra link: written before the run was requested.
    :param child_dag_id: its rendered ``trigger_dag_id``.
    :param waits: its rendered ``wait_for_completion``; None: not known.
    :param recorded: all runs in its journal. Not None: the parent is durable.
    """

    claimed: str | None = None
    linked: DagRunKey | None = None
    child_dag_id: str | None = None
    waits: bool | None = None
    recorded: frozenset[DagRunKey] | None = None


@dataclass(frozen=True)
class TriggeredRun:
    """
    A Dag run that an operator has triggered; dates in UTC.

    :param began: when it was requested; see :func:`airflow_durable.audit.rules.began`.
    :param digest: of its conf, without what OpenLineage adds.
    :param made_by: ``dag_id.task_id`` of its parent, where OpenLineage has told.
    :param is_cleared: it was cleared since, so its state and its times say nothing about it before.
    """

    run: DagRun
    began: datetime
    digest: str
    made_by: str | None = None
    is_cleared: bool = False

    @property
    def key(self) -> DagRunKey:
        """What tells it from every other."""
        return self.run.key

    @property
    def state(self) -> str | None:
        """Its state."""
        return self.run.state

    @property
    def start_date(self) -> datetime | None:
        """When it started to run."""
        return self.run.start_date

    @property
    def end_date(self) -> datetime | None:
        """When it ended; None: it has not."""
        return self.run.end_date


@dataclass(frozen=True)
class Evidence:
    """
    One thing that a finding is based on.

    :param rule: its name; the names are part of the JSON's schema.
    :param says: the same for people.
    """

    rule: str
    says: str


@dataclass(frozen=True)
class Finding:
    """
    One duplicate.

    :param run: the run that its parent lost.
    :param later: the run that a later attempt started.
    :param could_also_be: other parents that may have started the run.
    """

    sureness: Sureness
    parent: InstanceKey
    attempt: TaskTry
    run: TriggeredRun
    later: DagRunKey
    later_try: int
    evidence: tuple[Evidence, ...]
    could_also_be: tuple[InstanceKey, ...] = ()


@dataclass(frozen=True)
class Report:
    """
    What an audit has found.

    :param made_at: until then a run that has not ended is counted.
    :param parents: how many parents with more than one attempt were looked at.
    :param durable_parents: how many of these are durable.
    :param unresolved: how many of these have left nothing that tells the Dag they trigger.
    :param unexplained: how many unclaimed runs in these parents' times cannot be theirs.
    :param trigger_tasks: what is known of the tasks with findings, as far as they are in the latest version of a Dag.
    :param hidden: findings that were left out, since they were not sure enough.
    """

    made_at: datetime
    findings: tuple[Finding, ...]
    tasks: int
    parents: int
    durable_parents: int
    unresolved: int
    unexplained: int
    dismissed: Mapping[Dismissal, int] = field(default_factory=dict)
    trigger_tasks: Mapping[TaskKey, TriggerTask] = field(default_factory=dict)
    hidden: int = 0

    def at_least(self, sureness: Sureness) -> Report:
        """Return the report without the findings that are less sure."""
        findings = tuple(one for one in self.findings if one.sureness.rank <= sureness.rank)
        return replace(self, findings=findings, hidden=self.hidden + len(self.findings) - len(findings))
