"""A diagnosis, for people and for machines. Pure."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from airflow_durable.doctor import components, options, tasks
from airflow_durable.doctor.model import Diagnosis, Severity, Standing
from airflow_durable.durations import format_duration
from airflow_durable.layout import count, wrap

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from airflow_durable.doctor.model import Facts, Finding, Job

VERSION = 1
"""Of the JSON's schema. Within a version fields are added, never changed or removed."""

_SHOWN_TASKS = 3
_SHOWN_NOTES = 3
_KINDS = {
    "SchedulerJob": "scheduler",
    "DagProcessorJob": "Dag processor",
    "TriggererJob": "triggerer",
}


def diagnose(facts: Facts) -> Diagnosis:
    """Return everything that there is to know, the worst first."""
    assessed = tuple(tasks.assess(facts, task) for task in facts.tasks)
    found = [*components.check(facts), *options.check(facts), *tasks.check(facts, assessed)]
    return Diagnosis(facts, assessed, tuple(sorted(found, key=lambda one: one.severity.rank)))


def build_lines(diagnosis: Diagnosis, now: datetime, *, is_detailed: bool = False) -> Iterator[str]:
    """
    Yield the diagnosis for people.

    :param is_detailed: all notes, and all tasks of each finding.
    """
    yield from wrap(_describe_tasks(diagnosis))
    yield ""
    notes = [one for one in diagnosis.findings if one.severity is Severity.NOTE]
    hidden = () if is_detailed or len(notes) <= _SHOWN_NOTES + 1 else notes[_SHOWN_NOTES:]
    for finding in diagnosis.findings:
        if finding not in hidden:
            yield from _describe(finding, is_detailed=is_detailed)
    if hidden:
        yield f"... and {count(len(hidden), 'note')} more: --details shows all."
    if diagnosis.findings:
        yield ""
    yield from _describe_components(diagnosis.facts, now)
    counts = Counter(one.severity for one in diagnosis.findings)
    summary = ", ".join(count(counts[severity], severity.value) for severity in Severity)
    yield f"{summary}."


def _describe_tasks(diagnosis: Diagnosis) -> str:
    standings = Counter(one.standing for one in diagnosis.tasks)
    durable = sum(number for standing, number in standings.items() if standing.is_durable)
    total = len(diagnosis.tasks)
    if not total:
        return "No task triggers Dag runs."
    rest = "; ".join(f"{_WORDS[standing]}: {standings[standing]}" for standing in Standing if standings[standing])
    return f"{count(total, 'task triggers', 'tasks trigger')} Dag runs, {durable} of them durable ({rest})."


_WORDS = {
    Standing.DURABLE: "written so",
    Standing.SWITCHED: "by the switch",
    Standing.WOULD_BE: "would be by the switch",
    Standing.MAYBE: "of other classes",
    Standing.UNKNOWN: "not known",
    Standing.NOT_DURABLE: "durable=False",
    Standing.EXCLUDED: "opted out",
    Standing.NOT_POSSIBLE: "not possible",
}


def _describe(finding: Finding, *, is_detailed: bool) -> Iterator[str]:
    mark, rest = f"{finding.severity.value:8} ", " " * 9
    if is_detailed:
        yield from wrap(finding.says, first=mark, rest=rest)
        yield from (f"{rest}  {name}" for name in finding.tasks)
        yield from wrap(finding.advice, first=f"{rest}-> ", rest=f"{rest}   ")
    elif finding.severity is Severity.NOTE:
        yield from wrap(f"{finding.says} -> {finding.advice}", first=mark, rest=rest)
    else:
        shown = finding.tasks[:_SHOWN_TASKS]
        more = f" and {len(finding.tasks) - len(shown)} more" if finding.tasks[_SHOWN_TASKS:] else ""
        names = f" ({', '.join(shown)}{more})" if shown else ""
        yield from wrap(finding.says + names, first=mark, rest=rest)
        yield from wrap(finding.advice, first=f"{rest}-> ", rest=f"{rest}   ")


def _describe_components(facts: Facts, now: datetime) -> Iterator[str]:
    here = ", ".join(f"{name} {version}" for name, version in facts.here.items())
    yield from wrap(f"Here: {here}.")
    if facts.api_server:
        known = {
            name: facts.api_server.get(name, "not installed") for name in (components.PACKAGE, components.PROVIDER)
        }
        said = ", ".join(f"{name} {version}" for name, version in known.items())
        yield from wrap(f"API server: Airflow {facts.airflow_version}, {said}.")
    if facts.jobs:
        yield from wrap(f"Running: {', '.join(_describe_job(job, now) for job in facts.jobs)}.")
    unknown = list(_unknown(facts))
    if unknown:
        yield from wrap(f"Not known from here: {', '.join(unknown)}.")


def _describe_job(job: Job, now: datetime) -> str:
    name = f"{_KINDS.get(job.kind, job.kind)} on {job.hostname}"
    if job.latest_heartbeat is None:
        return name
    return f"{name} (heartbeat {format_duration((now - job.latest_heartbeat).total_seconds())} ago)"


def _unknown(facts: Facts) -> Iterator[str]:
    if not facts.is_configuration_known:
        yield "the configuration (the API server does not show it: [api] expose_config)"
    if facts.jobs is None:
        yield "which components run"
    elif not facts.jobs:
        yield "components (none has sent a heartbeat in the last minute)"
    if facts.kind == "api":
        yield "fixed run ids and dates"
    yield f"what is installed {'on the workers' if not facts.jobs else 'there and on the workers'}"


def build_json(diagnosis: Diagnosis, now: datetime) -> dict[str, Any]:
    """Return the same as JSON has it."""
    facts = diagnosis.facts
    return {
        "version": VERSION,
        "made_at": now.isoformat(),
        "source": {"kind": facts.kind, "airflow_version": facts.airflow_version},
        "totals": {
            **{f"{one.value}s": sum(finding.severity is one for finding in diagnosis.findings) for one in Severity},
            "tasks": len(diagnosis.tasks),
            "durable_tasks": sum(one.standing.is_durable for one in diagnosis.tasks),
        },
        "switch": {
            "stock_operators": facts.switch.mode.value,
            "is_known": facts.is_configuration_known,
            "stock_operators_min_retries": facts.switch.min_retries,
        },
        "findings": [
            {
                "severity": one.severity.value,
                "check": one.check,
                "says": one.says,
                "advice": one.advice,
                "tasks": list(one.tasks),
            }
            for one in diagnosis.findings
        ],
        "tasks": [
            {
                "dag_id": one.task.key.dag_id,
                "task_id": one.task.key.task_id,
                "operator": f"{one.task.module}.{one.task.type_name}",
                "standing": one.standing.name.lower(),
                "reason": one.reason,
                "retries": one.retries,
                "retry_delay_seconds": one.task.retry_delay_seconds,
                "has_fixed_identity": one.task.has_fixed_id,
                "deferrable": one.task.deferrable,
                "is_mapped": one.task.is_mapped,
            }
            for one in diagnosis.tasks
        ],
        "components": {
            "here": dict(facts.here),
            "api_server": {name: facts.api_server.get(name) for name in (components.PACKAGE, components.PROVIDER)}
            if facts.api_server
            else None,
            "jobs": None
            if facts.jobs is None
            else [
                {
                    "kind": job.kind,
                    "hostname": job.hostname,
                    "latest_heartbeat": job.latest_heartbeat.isoformat() if job.latest_heartbeat else None,
                }
                for job in facts.jobs
            ],
        },
    }
