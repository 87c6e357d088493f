"""One parent, looked at: its attempts, its record, its child runs, and what happened when."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from airflow_durable.audit.model import RunKey
from airflow_durable.audit.source import SourceError
from airflow_durable.core.errors import RecordDamagedError
from airflow_durable.core.stored import dump, load

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from rich.console import RenderableType

    from airflow_durable.audit.database import DatabaseSource, RunTimes
    from airflow_durable.audit.model import Attempt, ParentKey
    from airflow_durable.core.record import Record

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

    parent: ParentKey
    attempts: tuple[Attempt, ...]
    record: Record | None
    damage: str | None
    claimed: RunKey | None
    runs: tuple[RunTimes, ...]


def inspect(source: DatabaseSource, parent: ParentKey) -> Inspection:
    """
    Read all that is known of a parent.

    :raises SourceError: there is no such task instance, or the database cannot be read.
    """
    attempts = source.attempts(parent)
    if not attempts:
        message = (
            f"Dag {parent.dag_id!r}, run {parent.run_id!r} has no instance of task {parent.task_id!r} with map index "
            f"{parent.map_index} that has begun. Mapped tasks need --map-index."
        )
        raise SourceError(message)
    stored, damage, record = source.stored_record(parent), None, None
    if stored is not None:
        try:
            record = load(json.loads(stored))
        except (RecordDamagedError, ValueError) as error:
            damage = str(error)
    trace = source.traces([parent])[parent]
    child_dag_id = trace.linked.dag_id if trace.linked else trace.child_dag_id
    claimed = RunKey(child_dag_id, trace.claimed) if child_dag_id and trace.claimed else trace.linked
    keys = [RunKey(record.dag_id, entry.run_id) for entry in record.tries] if record else []
    keys += [RunKey(record.dag_id, record.run_id)] if record else []
    keys += [claimed] if claimed else []
    runs = tuple(source.times(list(dict.fromkeys(keys))))
    return Inspection(parent, attempts, record, damage, claimed, runs)


def tell(inspection: Inspection) -> Iterator[tuple[datetime, str]]:
    """Yield what happened, in the order of the clock."""
    happened: list[tuple[datetime, str]] = []
    for attempt in inspection.attempts:
        happened.append((attempt.start, f"try {attempt.try_number} began"))
        if attempt.end is not None:
            happened.append((attempt.end, f"try {attempt.try_number} ended as {attempt.state}"))
    if inspection.record:
        happened += [
            (entry.at, f"try {entry.try_number} decided {entry.decision.value}, run {entry.run_id}")
            for entry in inspection.record.tries
        ]
    for run in inspection.runs:
        for moment, what in ((run.queued_at, "was queued"), (run.start, "began"), (run.end, f"ended as {run.state}")):
            if moment is not None:
                happened.append((moment, f"run {run.key.run_id} {what}"))
    yield from sorted(happened)


def build_text(inspection: Inspection) -> RenderableType:
    """Return the timeline, and what the record says."""
    table = Table(title=f"{'.'.join(inspection.parent.task)}, {inspection.parent.run_id}", title_justify="left")
    table.add_column("UTC", no_wrap=True)
    table.add_column("what happened", overflow="fold")
    for moment, what in tell(inspection):
        table.add_row(f"{moment:%Y-%m-%d %H:%M:%S.%f}"[:-3], Text(what))
    return Group(table, *(Text(line) for line in _summarize(inspection)))


def build_json(inspection: Inspection) -> dict[str, Any]:
    """Return the same as JSON has it."""
    return {
        "version": VERSION,
        "parent": inspection.parent._asdict(),
        "attempts": [
            {
                "try_number": attempt.try_number,
                "max_tries": attempt.max_tries,
                "state": attempt.state,
                "started_at": attempt.start.isoformat(),
                "ended_at": attempt.end.isoformat() if attempt.end else None,
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
                "started_at": run.start.isoformat() if run.start else None,
                "ended_at": run.end.isoformat() if run.end else None,
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
        state = known.get(RunKey(record.dag_id, record.run_id), "not there")
        outcome = "consumed" if record.is_consumed else "not consumed"
        yield (
            f"Record: child run {record.run_id} of Dag {record.dag_id}, which is {state}; its outcome is {outcome}; "
            f"mode {record.mode.value}; max_tries {record.max_tries}; generation {record.generation}."
        )
    if inspection.claimed and not record:
        state = known.get(inspection.claimed, "not there")
        yield f"By its XCom its child is run {inspection.claimed.run_id} of Dag {inspection.claimed.dag_id}: {state}."
