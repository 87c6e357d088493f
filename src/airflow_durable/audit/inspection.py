"""One parent in detail: its tries, its record, its child runs, and what happened when."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from airflow_durable.audit.search import audit
from airflow_durable.audit.source import NothingThereError
from airflow_durable.core.errors import RecordDamagedError
from airflow_durable.core.ledger import Ledger
from airflow_durable.core.stored import dump
from airflow_durable.durations import format_duration
from airflow_durable.layout import fold, make_table, wrap
from airflow_durable.metadata import records
from airflow_durable.metadata.model import ENDED_STATES, DagRunKey
from airflow_durable.wording import DECISIONS, HeartbeatLimits, describe_crash, describe_silence, is_quiet

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from airflow_durable.audit.model import Finding, Instance
    from airflow_durable.audit.source import DetailedSource
    from airflow_durable.core.record import Record
    from airflow_durable.metadata.ledgers import ItemCounts
    from airflow_durable.metadata.model import DagRun, InstanceKey, Loss, TaskTry

MOST_NAMED = 20
"""The most failed items that are listed; JSON has up to 100."""

VERSION = 1
"""Of the JSON's schema. Within a version fields are added, never changed or removed."""


@dataclass(frozen=True)
class Inspection:
    """
    What the deployment says of one parent.

    :param record: its journal; None: it has none, or it cannot be understood.
    :param damage: why it cannot be understood.
    :param claimed: the run that it names in its XCom and extra link.
    :param runs: the runs of the record and of the claim, as far as they exist, and those that it lost.
    :param losses: the tries that Airflow ended for a lost heartbeat.
    :param lost: the child runs that it lost and started again, as the audit finds them.
    :param items: of a task with many children, how its items stand; None: not known, or it has one child.
    """

    parent: InstanceKey
    attempts: tuple[TaskTry, ...]
    record: Record | None
    damage: str | None
    claimed: DagRunKey | None
    runs: tuple[DagRun, ...]
    losses: Mapping[int, Loss] = field(default_factory=dict)
    lost: tuple[Finding, ...] = ()
    limits: HeartbeatLimits = field(default_factory=HeartbeatLimits)
    items: ItemCounts | None = None


def inspect(source: DetailedSource, parent: InstanceKey, *, now: datetime) -> Inspection:
    """
    Read all that is known of a parent.

    :param parent: without a region, the one task instance that has these names in any.
    :raises NothingThereError: there is no such task instance, or more than one.
    :raises SourceError: the deployment cannot be read.
    """
    instance = _find(source, parent)
    parent, attempts = instance.key, instance.attempts
    stored, damage, record = source.stored_record(parent), None, None
    if stored is not None:
        try:
            record = records.parse(stored)
        except RecordDamagedError as error:
            damage = str(error)
    trace = source.traces([parent])[parent]
    child_dag_id = trace.linked.dag_id if trace.linked else trace.child_dag_id
    claimed = DagRunKey(child_dag_id, trace.claimed) if child_dag_id and trace.claimed else trace.linked
    many = record if isinstance(record, Ledger) else None
    keys = [*(records.runs_in(record) if record and not many else ()), *([claimed] if claimed else [])]
    items = source.item_counts(parent, many) if many else None
    items = items and replace(items, is_over=attempts[-1].state in ENDED_STATES)
    lost: tuple[Finding, ...] = ()
    if stored is None and len(attempts) > 1:
        found = audit(source, now=now, dag_ids=[parent.dag_id]).findings
        lost = tuple(finding for finding in found if finding.parent == parent)
    runs = {run.key: run for run in source.times(list(dict.fromkeys(keys)))}
    runs |= {finding.run.key: finding.run.run for finding in lost}
    losses, limits = source.losses(instance), source.heartbeat_limits()
    return Inspection(parent, attempts, record, damage, claimed, tuple(runs.values()), losses, lost, limits, items)


def _find(source: DetailedSource, parent: InstanceKey) -> Instance:
    found = source.instances(*parent[:4])
    if parent.region_id:
        found = [instance for instance in found if instance.key.region_id == parent.region_id]
    if not found:
        message = (
            f"Dag {parent.dag_id!r}, run {parent.run_id!r} has no instance of task {parent.task_id!r} with map index "
            f"{parent.map_index} that has begun. Mapped tasks, and tasks in a loop, need --map-index."
        )
        raise NothingThereError(message)
    if len(found) > 1:
        regions = ", ".join(instance.key.region_id for instance in found)
        message = (
            f"Dag {parent.dag_id!r}, run {parent.run_id!r} has {len(found)} instances of task {parent.task_id!r} with "
            f"map index {parent.map_index}: it is in a loop. Choose one by --region: {regions}."
        )
        raise NothingThereError(message)
    return found[0]


def list_events(inspection: Inspection, now: datetime) -> Iterator[tuple[datetime, str]]:
    """Yield what happened, in the order of the clock."""
    happened: list[tuple[datetime, str]] = []
    for attempt in inspection.attempts:
        number = attempt.try_number
        happened.append((attempt.began_at, f"try {number} began"))
        if (loss := inspection.losses.get(number)) is not None:
            died_at = last_heard_of(attempt, loss)
            happened.append((loss.at, f"try {number} {describe_crash(died_at, loss.at, now)}"))
            if died_at is not None:
                happened.append((died_at, f"try {number} was last heard of"))
        elif attempt.end_date is not None:
            happened.append((attempt.end_date, f"try {number} ended as {attempt.state}"))
    if inspection.record:
        happened += [
            (
                entry.at,
                (
                    f"try {entry.try_number}: {DECISIONS[entry.decision].says} ({entry.decision.value})"
                    f"{'' if isinstance(inspection.record, Ledger) else f': {entry.run_id}'}"
                ),
            )
            for entry in inspection.record.tries
        ]
    lost = {finding.run.key for finding in inspection.lost}
    for run in inspection.runs:
        name = f"{'lost run' if run.key in lost else 'child run'} {run.key.run_id}"
        for moment, what in (
            (run.queued_at, "was queued"),
            (run.start_date, "began"),
            (run.end_date, f"ended as {run.state}"),
        ):
            if moment is not None:
                happened.append((moment, f"{name} {what}"))
    yield from sorted(happened)


def last_heard_of(attempt: TaskTry, loss: Loss) -> datetime | None:
    """Return when a crashed try was last heard of; None: not known any more. From the audit log: to some seconds."""
    last = attempt.last_heartbeat_at
    if last is not None and attempt.began_at <= last <= loss.at:
        return last
    return None if loss.timeout is None else max(attempt.began_at, loss.at - loss.timeout)


def build_lines(inspection: Inspection, now: datetime) -> Iterator[str]:
    """Yield how the parent is, then what happened."""
    parent = inspection.parent
    index = f" [{parent.map_index}]" if parent.map_index >= 0 else ""
    yield f"{parent.dag_id}.{parent.task_id}{index}, run {parent.run_id}"
    yield ""
    yield from fold(list(_summarize(inspection, now)))
    yield ""
    rows = [(f"{moment:%Y-%m-%d %H:%M:%S.%f}"[:-3], what) for moment, what in list_events(inspection, now)]
    yield from make_table(("UTC", "what happened"), rows)
    yield from _list_failed_items(inspection.items)
    for finding in inspection.lost:
        yield ""
        lost, number = finding.run.key.run_id, finding.attempt.try_number
        yield from wrap(
            f"Try {number} lost the child run {lost}, and try {finding.later_try} started {finding.later.run_id}. "
            f"This is {finding.sureness.value}:"
        )
        for one in finding.evidence:
            yield from wrap(one.says, first="  - ", rest="    ")


def _list_failed_items(items: ItemCounts | None) -> Iterator[str]:
    if not items or not items.failed_items:
        return
    yield ""
    shown = items.failed_items[:MOST_NAMED]
    yield from make_table(("failed item", "its child run"), [(one.name, one.run.run_id) for one in shown])
    if items.failed > len(shown):
        yield f"and {items.failed - len(shown):,} more."


def _summarize(inspection: Inspection, now: datetime) -> Iterator[str]:
    last = inspection.attempts[-1]
    yield f"The parent: {describe_state(last, inspection.losses.get(last.try_number), now, inspection.limits)}."
    record, known = inspection.record, {run.key: run for run in inspection.runs}
    if inspection.damage:
        yield inspection.damage
    elif record is None:
        yield "There is no record: the task is not durable, has not triggered yet, or this is Airflow 3.0 to 3.2."
        if inspection.claimed:
            yield f"The child run by its XCom: {describe_run(inspection.claimed, known.get(inspection.claimed), now)}."
    elif isinstance(record, Ledger):
        how = inspection.items.describe() if inspection.items else f"{record.count:,} items"
        outcome = "used" if record.is_consumed else "not used yet"
        yield f"The child runs of Dag {record.dag_id}: {how}. Their outcome is {outcome}."
    else:
        child = DagRunKey(record.dag_id, record.run_id)
        outcome = "used" if record.is_consumed else "not used yet"
        yield f"The child run by its record: {describe_run(child, known.get(child), now)}. Its outcome is {outcome}."
    if inspection.lost:
        yield (
            f"Lost child runs: {len(inspection.lost)}. A retry of the stock operator does not know of the child run "
            f"that a crashed try has started. `[durable] stock_operators = durable`, or durable=True, prevents it."
        )


def describe_state(last: TaskTry, loss: Loss | None, now: datetime, limits: HeartbeatLimits) -> str:
    """Return how a parent is, in a line: its try, its state, and whether it is dead."""
    words = f"try {last.try_number}, {(last.state or 'no state').replace('_', ' ')}"
    if loss is not None:
        return f"{words}; {describe_crash(last_heard_of(last, loss), loss.at, now)}"
    if last.last_heartbeat_at is not None and is_quiet(last.state, last.last_heartbeat_at, now, limits):
        has_next_try = last.max_tries > 0 and last.try_number <= last.max_tries
        return f"{words}; {describe_silence(last.last_heartbeat_at, now, limits, has_next_try=has_next_try)}"
    if last.state in ENDED_STATES or last.start_date is None:
        return words
    return f"{words} for {format_duration((now - last.start_date).total_seconds())}"


def describe_run(key: DagRunKey, run: DagRun | None, now: datetime) -> str:
    """Return how a child run is, in a line."""
    name = f"{key.run_id} of Dag {key.dag_id}"
    if run is None:
        return f"{name}, which does not exist"
    since = run.start_date if run.end_date is None else None
    since = since or (run.queued_at if run.state == "queued" else None)
    return f"{name}, {run.state}" + (f" for {format_duration((now - since).total_seconds())}" if since else "")


def build_json(inspection: Inspection) -> dict[str, Any]:
    """Return the same as JSON has it."""
    return {
        "version": VERSION,
        "parent": inspection.parent.to_json(),
        "attempts": [
            {
                "try_number": attempt.try_number,
                "max_tries": attempt.max_tries,
                "state": attempt.state,
                "started_at": attempt.began_at.isoformat(),
                "ended_at": _iso(attempt.end_date),
                "last_heartbeat_at": _iso(attempt.last_heartbeat_at),
                "crash_noticed_at": _iso(loss.at if (loss := inspection.losses.get(attempt.try_number)) else None),
            }
            for attempt in inspection.attempts
        ],
        "record": dump(inspection.record) if inspection.record else None,
        "items": inspection.items.to_json() if inspection.items else None,
        "damage": inspection.damage,
        "claimed": inspection.claimed._asdict() if inspection.claimed else None,
        "runs": [
            {
                **run.key._asdict(),
                "state": run.state,
                "queued_at": _iso(run.queued_at),
                "started_at": _iso(run.start_date),
                "ended_at": _iso(run.end_date),
            }
            for run in inspection.runs
        ],
        "lost": [
            {
                **finding.run.key._asdict(),
                "try_number": finding.attempt.try_number,
                "sureness": finding.sureness.value,
                "later": {**finding.later._asdict(), "try_number": finding.later_try},
            }
            for finding in inspection.lost
        ],
    }


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
