"""The words of the doctor. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from airflow_durable.defaults import OPTIONS, find_unusable
from airflow_durable.metadata.import_errors import ImportErrors
from airflow_durable.switch.settings import Switch

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from airflow_durable.metadata.model import TaskKey
    from airflow_durable.metadata.trigger_tasks import TriggerTask
    from airflow_durable.switch.verdict import Kind


STORE_SINCE = (3, 3)
"""The first Airflow with a task state store."""


class Severity(str, Enum):
    """How bad a finding is. The worst comes first."""

    PROBLEM = "problem"
    """A task that is meant to be durable is not safe. The exit code is 1."""

    WARNING = "warning"
    """It works against durable tasks, or may."""

    NOTE = "note"
    """Good to know."""

    @property
    def rank(self) -> int:
        """Return 0 for the worst."""
        return list(Severity).index(self)


@dataclass(frozen=True)
class Finding:
    """
    One thing to know.

    :param check: its name; the names are part of the JSON's schema.
    :param says: what is so.
    :param advice: what to do.
    :param tasks: the tasks that it is about, ``dag_id.task_id``.
    """

    severity: Severity
    check: str
    says: str
    advice: str
    tasks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Job:
    """A component of the deployment that sends heartbeats: scheduler, triggerer, Dag processor."""

    kind: str
    hostname: str
    latest_heartbeat: datetime | None
    executor: str = ""


@dataclass(frozen=True)
class Facts:
    """
    What is known of a deployment.

    :param kind: ``database`` or ``api``.
    :param options: of the configuration, ``section.option`` to value; what is not in it is not known.
    :param is_configuration_known: whether the options are those of the deployment.
    :param dialect: of the database; empty: not known.
    :param here: the versions of packages that are installed here.
    :param api_server: those of the API server's providers; empty: not known.
    :param missing_parts: what the durable operator needs and the standard provider that is installed here lacks.
    :param recorded: the tasks that have records: instances of them were durable.
    :param import_errors: the Dag files that cannot be imported because of this package.
    :param unsafe_classes: why a subclass cannot be made durable, by its module and name; None: it can be. Only those
        that were imported.
    :param own_classes: the imported ones that are subclasses of this package's operator: theirs is what they say.
    """

    kind: str
    address: str
    airflow_version: str
    tasks: tuple[TriggerTask, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict)
    is_configuration_known: bool = True
    switch: Switch = field(default_factory=Switch)
    jobs: tuple[Job, ...] | None = ()
    dialect: str = ""
    here: Mapping[str, str] = field(default_factory=dict)
    api_server: Mapping[str, str] = field(default_factory=dict)
    missing_parts: tuple[str, ...] = ()
    recorded: frozenset[TaskKey] = frozenset()
    import_errors: ImportErrors = field(default_factory=ImportErrors)
    unsafe_classes: Mapping[tuple[str, str], str | None] = field(default_factory=dict)
    own_classes: frozenset[tuple[str, str]] = frozenset()

    @property
    def minor(self) -> tuple[int, ...]:
        """The Airflow version's first two numbers."""
        return version_of(self.airflow_version)[:2]

    @property
    def unusable_defaults(self) -> dict[str, str]:
        """The defaults in ``[durable]`` that no durable task can have, by name: what each has to be."""
        given = {name: self.options.get(f"durable.{name}", "") for name in OPTIONS}
        return dict(find_unusable(given, has_store=self.minor >= STORE_SINCE))

    def flag(self, name: str, *, default: bool) -> bool:
        """Return an option that is True or False."""
        value = self.options.get(name, "").strip().lower()
        return value in ("true", "t", "1", "yes", "on") if value else default

    def number(self, name: str) -> float | None:
        """Return an option that is a number; None: it is not known."""
        try:
            return float(self.options[name])
        except (KeyError, ValueError):
            return None


class Standing(str, Enum):
    """What a task is, as far as it can be known."""

    DURABLE = "durable"
    SWITCHED = "durable by the switch"
    WOULD_BE = "would be by the switch"
    MAYBE = "subclass, not known"
    UNKNOWN = "ours, not known"
    NOT_DURABLE = "durable=False"
    EXCLUDED = "opted out"
    NOT_POSSIBLE = "not possible"

    @property
    def is_durable(self) -> bool:
        """Whether a task is durable now."""
        return self in (Standing.DURABLE, Standing.SWITCHED)


@dataclass(frozen=True)
class Assessed:
    """
    A task, and what it is.

    :param reason: why it is left alone, or cannot be made durable.
    :param retries: those that it has at run time; None: not known.
    """

    task: TriggerTask
    kind: Kind
    standing: Standing
    reason: str = ""
    retries: int | None = None

    @property
    def name(self) -> str:
        """``dag_id.task_id``."""
        return ".".join(self.task.key)


@dataclass(frozen=True)
class Diagnosis:
    """Everything: the facts, the tasks, and the findings, the worst first."""

    facts: Facts
    tasks: tuple[Assessed, ...]
    findings: tuple[Finding, ...]

    @property
    def has_problem(self) -> bool:
        """Whether there is a problem."""
        return any(finding.severity is Severity.PROBLEM for finding in self.findings)


def version_of(text: str) -> tuple[int, ...]:
    """Return a version's leading numbers: those of ``3.4.0b2`` are 3, 4, 0."""
    numbers = []
    for part in text.split(".")[:3]:
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            break
        numbers.append(int(digits))
    return tuple(numbers)
