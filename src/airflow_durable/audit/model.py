"""The words of the audit. Nothing here holds a Dag run's conf: a digest tells whether two are equal."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime


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


class TaskKey(NamedTuple):
    """A task that triggers Dag runs."""

    dag_id: str
    task_id: str


class ParentKey(NamedTuple):
    """A parent: a task instance that triggers."""

    dag_id: str
    run_id: str
    task_id: str
    map_index: int

    @property
    def task(self) -> TaskKey:
        """Return its task."""
        return TaskKey(self.dag_id, self.task_id)


class RunKey(NamedTuple):
    """A Dag run."""

    dag_id: str
    run_id: str


@dataclass(frozen=True)
class Attempt:
    """
    One execution of a parent; dates in UTC.

    :param max_tries: grows by a person's clear, and by nothing else.
    :param end: None: it has not ended.
    """

    try_number: int
    max_tries: int
    state: str | None
    start: datetime
    end: datetime | None

    def contains(self, moment: datetime) -> bool:
        """Tell whether the attempt ran at that moment."""
        return self.start <= moment and (self.end is None or moment <= self.end)


@dataclass(frozen=True)
class Instance:
    """A parent and its attempts, the oldest first."""

    key: ParentKey
    attempts: tuple[Attempt, ...]


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
    linked: RunKey | None = None
    child_dag_id: str | None = None
    waits: bool | None = None
    recorded: frozenset[RunKey] | None = None


@dataclass(frozen=True)
class Run:
    """
    A Dag run that an operator has triggered; dates in UTC.

    :param began: when it was requested; see :func:`airflow_durable.audit.rules.began`.
    :param digest: of its conf, without what OpenLineage adds.
    :param made_by: ``dag_id.task_id`` of its parent, where OpenLineage has told.
    :param is_cleared: it was cleared since, so its state and its times tell nothing of what it was like before.
    """

    key: RunKey
    state: str
    began: datetime
    start: datetime | None
    end: datetime | None
    digest: str
    made_by: str | None = None
    is_cleared: bool = False


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
    parent: ParentKey
    attempt: Attempt
    run: Run
    later: RunKey
    later_try: int
    evidence: tuple[Evidence, ...]
    could_also_be: tuple[ParentKey, ...] = ()


@dataclass(frozen=True)
class Report:
    """
    What an audit has found.

    :param made_at: until then a run that has not ended is counted.
    :param parents: how many parents with more than one attempt were looked at.
    :param durable_parents: how many of these are durable.
    :param unresolved: how many of these have left nothing that tells the Dag they trigger.
    :param unexplained: how many unclaimed runs in these parents' times cannot be theirs.
    """

    made_at: datetime
    findings: tuple[Finding, ...]
    tasks: int
    parents: int
    durable_parents: int
    unresolved: int
    unexplained: int
    dismissed: Mapping[Dismissal, int] = field(default_factory=dict)
