"""A report, for people, for machines, and for a spreadsheet."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_durable.audit.model import Dismissal, Sureness
from airflow_durable.layout import count, fold, make_table, wrap
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
_SHOWN_TASKS = 10
"""Of the tasks with duplicates, in the summary: one screen is enough to decide whether to read on."""

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


def build_lines(report: Report, *, is_detailed: bool = False) -> Iterator[str]:
    """
    Yield the report for people: what it cost, which tasks, what to do, on one screen.

    :param is_detailed: all tasks, and after the summary each finding with its evidence and what was looked at.
    """
    if report.findings:
        yield from _headline(report)
        yield ""
        yield from _cost_table(report, is_detailed=is_detailed)
        yield ""
    if is_detailed:
        for finding in report.findings:
            yield from _describe_finding(finding, report.made_at)
            yield ""
    yield from fold(list(_summarize(report, is_detailed=is_detailed)))
    if report.findings:
        yield ""
        yield from fold(list(_advise(report)))


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


def _headline(report: Report) -> list[str]:
    number, tasks = len(report.findings), len(costs(report))
    total = sum(hours(finding, report.made_at) for finding in report.findings)
    sure = ", ".join(f"{found} {one.value}" for one in Sureness if (found := _number_of(report, one)))
    return wrap(
        f"{count(number, 'duplicate')} ({sure}) of {count(tasks, 'task')}: {total:.2f} hours of child runs that were "
        f"lost and started again."
    )


def _number_of(report: Report, sureness: Sureness) -> int:
    return sum(finding.sureness is sureness for finding in report.findings)


def _cost_table(report: Report, *, is_detailed: bool) -> Iterator[str]:
    found = costs(report)
    shown = found if is_detailed or len(found) <= _SHOWN_TASKS + 1 else found[:_SHOWN_TASKS]
    names = ("duplicates", *(one.value for one in Sureness), "hours")
    rows = [
        (
            cost.task.dag_id,
            cost.task.task_id,
            cost.counts.total(),
            *(cost.counts[one] for one in Sureness),
            f"{cost.hours:.2f}",
        )
        for cost in shown
    ]
    yield from make_table(("Dag", "task", *names), rows, right=names)
    if rest := found[len(shown) :]:
        duplicates = count(sum(cost.counts.total() for cost in rest), "duplicate")
        yield f"... and {count(len(rest), 'task')} more with {duplicates}: --details shows all."


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


def _advise(report: Report) -> Iterator[str]:
    """Yield what to do."""
    kinds = coverage(report)
    covered = [task for task, kind in kinds.items() if kind is Kind.STOCK]
    tasks = "This task made" if len(kinds) == 1 else f"These {len(kinds)} tasks made"
    number = sum(finding.parent.task in covered for finding in report.findings)
    covers = "covers it" if len(kinds) == len(covered) == 1 else f"covers {len(covered)} of them ({number})"
    yield (
        f"{tasks} {count(len(report.findings), 'duplicate')}; `[durable] stock_operators = durable` {covers}, without "
        f"a change to any Dag. In a Dag file, airflow_durable's TriggerDagRunOperator with durable=True does the same."
    )
    told = {
        Kind.MAYBE_SUBCLASS: "subclasses of the stock operator. `airflow-durable doctor` says more about them",
        Kind.OWN: "already airflow_durable's operator. Set durable=True if it is not set",
        Kind.EXCLUDED: "their Dags have the tag not-durable",
        Kind.NOT_STOCK: "no longer in the latest version of their Dags",
    }
    for kind, says in told.items():
        if names := [".".join(task) for task, own in kinds.items() if own is kind]:
            yield f"{_names(names)}: {says}."


def _names(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN_TASKS]) + (f" and {len(names) - _SHOWN_TASKS} more" if names[_SHOWN_TASKS:] else "")


def _describe_finding(finding: Finding, made_at: datetime) -> Iterator[str]:
    parent, run = finding.parent, finding.run
    mapped = f" [{parent.map_index}]" if parent.map_index >= 0 else ""
    yield f"{parent.dag_id}.{parent.task_id}{mapped}, run {parent.run_id}, try {finding.attempt.try_number}"
    yield f"  lost       {run.key.dag_id}, run {run.key.run_id}: {run.state}, {hours(finding, made_at):.2f} hours"
    yield f"  started    {finding.later.run_id}, by try {finding.later_try}"
    yield f"  sureness   {finding.sureness.value}"
    for one in finding.evidence:
        yield from wrap(one.says, first="    - ", rest="      ")


def _summarize(report: Report, *, is_detailed: bool) -> Iterator[str]:
    if not report.findings:
        yield "No duplicates."
    if report.hidden:
        yield f"Left out, as not sure enough: {report.hidden}."
    more = "" if is_detailed or not report.findings else " --details shows each finding, and what it is based on."
    yield (
        f"Looked at {count(report.parents, 'retried parent')} of {count(report.tasks, 'task')} that "
        f"{'triggers' if report.tasks == 1 else 'trigger'} Dag runs.{more}"
    )
    if report.unresolved:
        yield (
            f"Not audited: {count(report.unresolved, 'retried parent')} whose child Dag is not known, since XComs and "
            f"rendered fields are gone."
        )
    if report.durable_parents:
        yield f"Durable parents among these, whose retries start no second run: {report.durable_parents}."
    if not is_detailed:
        return
    told = {
        Dismissal.RERUN: "of tries that had succeeded and were cleared, so the work was wanted twice",
        Dismissal.CHILD_FAILED: "that had failed before the retry, so a fresh one was due",
        Dismissal.NO_SECOND_RUN: "with no second run beside them (yet)",
    }
    for dismissal, says in told.items():
        if number := report.dismissed.get(dismissal, 0):
            yield f"No duplicates: unclaimed runs {says}: {number}."
    if report.unexplained:
        yield f"No duplicates: unclaimed runs that no retried parent can have started: {report.unexplained}."


def _iso(date: datetime | None) -> str | None:
    return date.isoformat() if date else None


def _clean(text: str) -> str:
    """Return the text without what would break a line of the table in two."""
    return text.translate({ord("\t"): " ", ord("\n"): " ", ord("\r"): " "})
