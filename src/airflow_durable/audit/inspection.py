"""One parent, looked at: its attempts, its record, its child runs, and what happened when."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from airflow_durable.audit.source import SourceError
from airflow_durable.core.errors import RecordDamagedError
from airflow_durable.core.stored import dump
from airflow_durable.metadata import records
from airflow_durable.metadata.model import DagRunKey

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from rich.console import RenderableType

    from airflow_durable.audit.database import DatabaseSource
    from airflow_durable.audit.model import Instance
    from airflow_durable.core.record import Record
    from airflow_durable.metadata.model import DagRun, InstanceKey, TaskTry

VERSION = 1
"""Of the JSON's schema."""


@dataclass(frozen=True)
class Inspection:
    """
    What the database says of one parent.

    :param record: its journal; None: it has none, or it cannot be understood.
    :param damage: why it cannot be understood.
    :param claimed: the run that it names in its XCom and extra link.
    :param runs: the runs of the record and of the claim, as far as they exist.
    """

    parent: InstanceKey
    attempts: tuple[TaskTry, ...]
    record: Record | None
    damage: str | None
    claimed: DagRunKey | None
    runs: tuple[DagRun, ...]


def inspect(source: DatabaseSource, parent: InstanceKey) -> Inspection:
    """
    Read all that is known of a parent.

    :param parent: without a region, the one task instance that has these names in any.
    :raises SourceError: there is no such task instance, or more than one, or the database cannot be read.
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
    keys = [*(records.runs_in(record) if record else ()), *([claimed] if claimed else [])]
    runs = tuple(source.times(list(dict.fromkeys(keys))))
    return Inspection(parent, attempts, record, damage, claimed, runs)


def _find(source: DatabaseSource, parent: InstanceKey) -> Instance:
    found = source.instances(*parent[:4])
    if parent.region_id:
        found = [instance for instance in found if instance.key.region_id == parent.region_id]
    if not found:
        message = (
            f"Dag {parent.dag_id!r}, run {parent.run_id!r} has no instance of task {parent.task_id!r} with map index "
            f"{parent.map_index} that has begun. Mapped tasks, and tasks in a loop, need --map-index."
        )
        raise SourceError(message)
    if len(found) > 1:
        regions = ", ".join(instance.key.region_id for instance in found)
        message = (
            f"Dag {parent.dag_id!r}, run {parent.run_id!r} has {len(found)} instances of task {parent.task_id!r} with "
            f"map index {parent.map_index}: it is in a loop. Choose one by --region: {regions}."
        )
        raise SourceError(message)
    return found[0]


def list_events(inspection: Inspection) -> Iterator[tuple[datetime, str]]:
    """Yield what happened, in the order of the clock."""
    happened: list[tuple[datetime, str]] = []
    for attempt in inspection.attempts:
        happened.append((attempt.began_at, f"try {attempt.try_number} began"))
        if attempt.end_date is not None:
            happened.append((attempt.end_date, f"try {attempt.try_number} ended as {attempt.state}"))
    if inspection.record:
        happened += [
            (entry.at, f"try {entry.try_number} decided {entry.decision.value}, run {entry.run_id}")
            for entry in inspection.record.tries
        ]
    for run in inspection.runs:
        for moment, what in (
            (run.queued_at, "was queued"),
            (run.start_date, "began"),
            (run.end_date, f"ended as {run.state}"),
        ):
            if moment is not None:
                happened.append((moment, f"run {run.key.run_id} {what}"))
    yield from sorted(happened)


def build_text(inspection: Inspection) -> RenderableType:
    """Return the timeline, and what the record says."""
    table = Table(title=f"{'.'.join(inspection.parent.task)}, {inspection.parent.run_id}", title_justify="left")
    table.add_column("UTC", no_wrap=True)
    table.add_column("what happened", overflow="fold")
    for moment, what in list_events(inspection):
        table.add_row(f"{moment:%Y-%m-%d %H:%M:%S.%f}"[:-3], Text(what))
    return Group(table, *(Text(line) for line in _summarize(inspection)))


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
                "ended_at": attempt.end_date.isoformat() if attempt.end_date else None,
            }
            for attempt in inspection.attempts
        ],
        "record": dump(inspection.record) if inspection.record else None,
        "damage": inspection.damage,
        "claimed": inspection.claimed._asdict() if inspection.claimed else None,
        "runs": [
            {
                **run.key._asdict(),
                "state": run.state,
                "queued_at": run.queued_at.isoformat() if run.queued_at else None,
                "started_at": run.start_date.isoformat() if run.start_date else None,
                "ended_at": run.end_date.isoformat() if run.end_date else None,
            }
            for run in inspection.runs
        ],
    }


def _summarize(inspection: Inspection) -> Iterator[str]:
    record, known = inspection.record, {run.key: run.state for run in inspection.runs}
    if inspection.damage:
        yield inspection.damage
    elif record is None:
        yield "There is no record: the task is not durable, has not triggered yet, or this is Airflow 3.0 to 3.2."
    else:
        state = known.get(DagRunKey(record.dag_id, record.run_id), "not there")
        outcome = "consumed" if record.is_consumed else "not consumed"
        yield (
            f"Record: child run {record.run_id} of Dag {record.dag_id}, which is {state}; its outcome is {outcome}; "
            f"mode {record.mode.value}; max_tries {record.max_tries}; generation {record.generation}."
        )
    if inspection.claimed and not record:
        state = known.get(inspection.claimed, "not there")
        yield f"By its XCom its child is run {inspection.claimed.run_id} of Dag {inspection.claimed.dag_id}: {state}."
