"""A report, for people: what it cost, which tasks, what to do, on one screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_durable.audit.model import Dismissal, Sureness
from airflow_durable.audit.report import costs, coverage, hours
from airflow_durable.layout import count, fold, make_table, wrap
from airflow_durable.switch.verdict import Kind

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from airflow_durable.audit.model import Finding, Report

_SHOWN_TASKS = 10
"""Of the tasks with duplicates: one screen is enough to decide whether to read on."""


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


def _advise(report: Report) -> Iterator[str]:
    """Yield what to do."""
    kinds = coverage(report)
    covered = [task for task, kind in kinds.items() if kind is Kind.STOCK]
    tasks = "This task made" if len(kinds) == 1 else f"These {len(kinds)} tasks made"
    number = sum(finding.parent.task in covered for finding in report.findings)
    made = f"{tasks} {count(len(report.findings), 'duplicate')}; `[durable] stock_operators = durable` covers"
    if not covered:
        yield f"{made} none of them."
    else:
        which = "it" if len(kinds) == 1 else f"{len(covered)} of them, which made {number}"
        yield f"{made} {which}, without a change to any Dag."
    told = {
        Kind.MAYBE_SUBCLASS: "subclasses of the stock operator. `airflow-durable doctor` says more about them",
        Kind.OWN: "already airflow_durable's operator. Set durable=True if it is not set",
        Kind.DURABLE: "TriggerDagRunsOperator now, which is durable",
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
