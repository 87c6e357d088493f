"""A report, for people, for machines, and for a spreadsheet."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from airflow_durable.audit.model import Dismissal, Sureness

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from rich.console import RenderableType

    from airflow_durable.audit.model import Finding, Report
    from airflow_durable.metadata.model import DagRunKey, InstanceKey, TaskKey

VERSION = 1
"""Of the JSON's schema. Within a version fields are added, never changed or removed."""

_SECONDS_PER_HOUR = 3600
_SHOWN_FINDINGS = 50

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
    """Return the tasks where ``durable=True`` would pay, the dearest first."""
    by_task: dict[TaskKey, Cost] = {}
    for finding in report.findings:
        cost = by_task.setdefault(finding.parent.task, Cost(finding.parent.task))
        cost.hours += hours(finding, report.made_at)
        cost.counts[finding.sureness] += 1
    return sorted(by_task.values(), key=lambda cost: (-cost.hours, -cost.counts.total(), cost.task))


def build_text(report: Report) -> RenderableType:
    """Return the tables, and what was looked at."""
    parts: list[RenderableType] = []
    if report.findings:
        parts += [_cost_table(report), Text(), _finding_table(report)]
        if len(report.findings) > _SHOWN_FINDINGS:
            parts.append(Text(f"{len(report.findings) - _SHOWN_FINDINGS} more are in --json and --tsv."))
        parts.append(Text())
    parts += [Text(line) for line in _summarize(report)]
    return Group(*parts)


def build_json(report: Report, *, source: str, airflow_version: str, filters: dict[str, Any]) -> dict[str, Any]:
    """Return the report as JSON has it; docs/audit.md describes it."""
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


def _cost_table(report: Report) -> Table:
    table = Table(title="Where durable=True would pay", title_justify="left")
    table.add_column("Dag")
    table.add_column("task")
    for name in ("duplicates", "certain", "likely", "possible", "hours"):
        table.add_column(name, justify="right")
    for cost in costs(report):
        counts = (cost.counts.total(), *(cost.counts[one] for one in Sureness))
        table.add_row(
            Text(cost.task.dag_id), Text(cost.task.task_id), *(str(count) for count in counts), f"{cost.hours:.2f}"
        )
    return table


def _finding_table(report: Report) -> Table:
    table = Table(title="Child runs that their parents lost and started again", title_justify="left", show_lines=True)
    for name in ("parent", "lost run", "hours", "sure", "because"):
        table.add_column(name, justify="right" if name == "hours" else "left", overflow="fold")
    for finding in report.findings[:_SHOWN_FINDINGS]:
        parent, run = finding.parent, finding.run
        mapped = f" [{parent.map_index}]" if parent.map_index >= 0 else ""
        table.add_row(
            Text(f"{parent.dag_id}.{parent.task_id}{mapped}\n{parent.run_id}\ntry {finding.attempt.try_number}"),
            Text(f"{run.key.dag_id}\n{run.key.run_id}\n{run.state}"),
            f"{hours(finding, report.made_at):.2f}",
            finding.sureness.value,
            Text("\n".join(one.says for one in finding.evidence)),
        )
    return table


def _summarize(report: Report) -> Iterator[str]:
    count = len(report.findings)
    total = sum(hours(finding, report.made_at) for finding in report.findings)
    yield (
        f"{count} {'duplicate' if count == 1 else 'duplicates'}, {total:.2f} hours. Looked at {report.parents} retried "
        f"parents of {report.tasks} tasks that trigger Dag runs."
    )
    if report.durable_parents:
        yield f"Durable parents among these, whose retries start no second run: {report.durable_parents}."
    told = {
        Dismissal.RERUN: "of attempts that had succeeded and were cleared, so the work was wanted twice",
        Dismissal.CHILD_FAILED: "that had failed before the retry, so a fresh one was due",
        Dismissal.NO_SECOND_RUN: "with no second run beside them (yet)",
    }
    for dismissal, says in told.items():
        if number := report.dismissed.get(dismissal, 0):
            yield f"No duplicates, unclaimed runs {says}: {number}."
    if report.unexplained:
        yield f"No duplicates, unclaimed runs that no retried parent can have started: {report.unexplained}."
    if report.unresolved:
        yield (
            f"Not audited, retried parents that have left nothing which tells the Dag they trigger (their XComs and "
            f"rendered fields are gone): {report.unresolved}."
        )


def _iso(date: datetime | None) -> str | None:
    return date.isoformat() if date else None


def _clean(text: str) -> str:
    """Return the text without what would break a line of the table in two."""
    return text.translate({ord("\t"): " ", ord("\n"): " ", ord("\r"): " "})
