"""A report, for machines and for a spreadsheet. For people: :mod:`.summary`."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_durable.audit.model import Dismissal, Sureness
from airflow_durable.switch.settings import Switch
from airflow_durable.switch.verdict import Kind, classify_serialized

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from airflow_durable.audit.model import Finding, Report
    from airflow_durable.metadata.model import DagRunKey, InstanceKey, TaskKey

VERSION = 1
"""Of the JSON's schema. Within a version fields are added, never changed or removed."""

_SECONDS_PER_HOUR = 3600

_TSV_COLUMNS = (
    "sureness",
    "parent_dag_id",
    "parent_run_id",
    "parent_task_id",
    "parent_map_index",
    "try_number",
    "child_dag_id",
    "child_run_id",
    "child_state",
    "began_at",
    "hours",
    "later_run_id",
)


@dataclass
class Cost:
    """What the duplicates of one task have cost."""

    task: TaskKey
    hours: float = 0.0
    counts: Counter[Sureness] = field(default_factory=Counter)


def hours(finding: Finding, made_at: datetime) -> float:
    """Return how long the duplicate ran, or has run so far, in hours."""
    run = finding.run
    if run.start_date is None:
        return 0.0
    return max(0.0, ((run.end_date or made_at) - run.start_date).total_seconds() / _SECONDS_PER_HOUR)


def costs(report: Report) -> list[Cost]:
    """Return the tasks that have made duplicates, those with the most hours first."""
    by_task: dict[TaskKey, Cost] = {}
    for finding in report.findings:
        cost = by_task.setdefault(finding.parent.task, Cost(finding.parent.task))
        cost.hours += hours(finding, report.made_at)
        cost.counts[finding.sureness] += 1
    return sorted(by_task.values(), key=lambda cost: (-cost.hours, -cost.counts.total(), cost.task))


def coverage(report: Report) -> dict[TaskKey, Kind]:
    """Return what each task with duplicates is to ``[durable] stock_operators``, whether that is on or not."""
    found = {}
    for cost in costs(report):
        task = report.trigger_tasks.get(cost.task)
        found[cost.task] = Kind.NOT_STOCK
        if task is not None:
            verdict = classify_serialized(
                Switch(),
                dag_id=cost.task.dag_id,
                task_id=cost.task.task_id,
                task_type=task.type_name,
                task_module=task.module,
                tags=task.tags,
                is_trigger=True,
            )
            found[cost.task] = verdict.kind
    return found


def build_json(report: Report, *, source: str, airflow_version: str, filters: dict[str, Any]) -> dict[str, Any]:
    """Return the report as JSON has it; docs/audit.md describes it."""
    kinds = coverage(report)
    return {
        "version": VERSION,
        "made_at": report.made_at.isoformat(),
        "source": {"kind": source, "airflow_version": airflow_version},
        "filters": filters,
        "totals": {
            "duplicates": len(report.findings),
            "hours": round(sum(hours(finding, report.made_at) for finding in report.findings), 4),
            **{one.value: sum(finding.sureness is one for finding in report.findings) for one in Sureness},
        },
        "looked_at": {
            "tasks": report.tasks,
            "retried_parents": report.parents,
            "durable_parents": report.durable_parents,
            "unresolved_parents": report.unresolved,
        },
        "no_duplicates": {
            **{one.value: report.dismissed.get(one, 0) for one in Dismissal},
            "unexplained": report.unexplained,
        },
        "tasks": [
            {
                "dag_id": cost.task.dag_id,
                "task_id": cost.task.task_id,
                "duplicates": cost.counts.total(),
                "hours": round(cost.hours, 4),
                **{one.value: cost.counts[one] for one in Sureness},
                "switch": kinds[cost.task].value,
            }
            for cost in costs(report)
        ],
        "findings": [_finding_json(finding, report.made_at) for finding in report.findings],
    }


def build_tsv(report: Report) -> Iterator[str]:
    """Yield the findings as lines of tab-separated values, a heading first."""
    yield "\t".join(_TSV_COLUMNS)
    for finding in report.findings:
        run = finding.run
        values = (
            finding.sureness.value,
            *finding.parent[:2],
            finding.parent.task_id,
            finding.parent.map_index,
            finding.attempt.try_number,
            *run.key,
            run.state,
            run.began.isoformat(),
            f"{hours(finding, report.made_at):.4f}",
            finding.later.run_id,
        )
        yield "\t".join(_clean(str(value)) for value in values)


def _finding_json(finding: Finding, made_at: datetime) -> dict[str, Any]:
    attempt, run = finding.attempt, finding.run
    return {
        "sureness": finding.sureness.value,
        "parent": _parent_json(finding.parent),
        "try": {
            "try_number": attempt.try_number,
            "state": attempt.state,
            "started_at": _iso(attempt.began_at),
            "ended_at": _iso(attempt.end_date),
        },
        "duplicate": {
            **_run_json(run.key),
            "state": run.state,
            "began_at": _iso(run.began),
            "started_at": _iso(run.start_date),
            "ended_at": _iso(run.end_date),
            "hours": round(hours(finding, made_at), 4),
        },
        "later": {**_run_json(finding.later), "try_number": finding.later_try},
        "could_also_be": [_parent_json(parent) for parent in finding.could_also_be],
        "evidence": [{"rule": one.rule, "says": one.says} for one in finding.evidence],
    }


def _parent_json(parent: InstanceKey) -> dict[str, Any]:
    return parent.to_json()


def _run_json(run: DagRunKey) -> dict[str, Any]:
    return run._asdict()


def _iso(date: datetime | None) -> str | None:
    return date.isoformat() if date else None


def _clean(text: str) -> str:
    """Return the text without what would break a line of the table in two."""
    return text.translate({ord("\t"): " ", ord("\n"): " ", ord("\r"): " "})
