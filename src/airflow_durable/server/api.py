"""
What the page shows, as JSON and CSV: under the same permissions, for the same filters, and as read-only as the page.

The fields are documented in ``docs/waits-page.md``; they are only ever added to.
"""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

from airflow_durable.wording import DECISIONS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from airflow_durable.metadata.logged_actions import LoggedAction
    from airflow_durable.metadata.model import DagRun
    from airflow_durable.server.attention import Snapshot
    from airflow_durable.server.model import Wait
    from airflow_durable.server.pending import Request, View
    from airflow_durable.server.timeline import Timeline, TryRow
    from airflow_durable.server.totals import Totals

MOST_EXPORTED = 10_000
MOST_LISTED = 100
"""The most of the reconciler's requests, and of its latest actions, that are returned."""

COLUMNS = (
    "id",
    "dag_id",
    "run_id",
    "task_id",
    "map_index",
    "state",
    "try_number",
    "child_dag_id",
    "child_run_id",
    "child_state",
    "since",
    "waited_seconds",
    "ended_at",
    "mode",
    "is_waiting",
    "is_recovered",
    "concerns",
    "last_heartbeat_at",
    "decisions",
)

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""A cell that begins so is a formula to a spreadsheet."""


def wait_json(wait: Wait) -> dict[str, Any]:
    """Return one wait. Dates are in UTC, in ISO 8601."""
    record, child = wait.record, wait.child
    return {
        "id": wait.id,
        **wait.parent.to_json(),
        "state": wait.state,
        "try_number": wait.try_number,
        "max_tries": wait.max_tries,
        "is_record_readable": record is not None,
        "is_child_hidden": wait.is_child_hidden,
        "child_dag_id": child.dag_id if child else None,
        "child_run_id": child.run_id if child else None,
        "child_state": child.state if child else None,
        "is_child_paused": wait.is_child_paused,
        "since": _iso(wait.since),
        "waited_seconds": wait.seconds,
        "ended_at": _iso(wait.ended_at),
        "changed_at": _iso(wait.changed_at),
        "mode": record.mode.value if record else None,
        "is_waiting": wait.is_waiting,
        "is_recovered": wait.is_recovered,
        "items": wait.items.to_json() if wait.items else None,
        "concerns": [concern.value for concern in wait.concerns],
        "last_heartbeat_at": _iso(wait.last_heartbeat_at),
        "tries": [
            {
                "try_number": entry.try_number,
                "decision": entry.decision.value,
                "at": _iso(entry.at),
                **({} if wait.is_child_hidden else {"child_run_id": entry.run_id}),
            }
            for entry in (record.tries if record else ())
        ],
    }


def timeline_json(timeline: Timeline | None) -> dict[str, Any]:
    """Return the tries and the child runs of one wait."""
    if timeline is None:
        return {"timeline": None}
    return {
        "timeline": {
            "tries": [_try_json(row) for row in timeline.tries],
            "child_runs": [_run_json(row.run) for row in timeline.runs],
            "actions": [_action_json(one) for one in timeline.actions],
            "request": _request_json(timeline.request, is_child_named=False) if timeline.request else None,
        }
    }


def totals_json(totals: Totals, snapshot: Snapshot) -> dict[str, Any]:
    """Return the numbers above the table."""
    return {
        "waiting": totals.waiting,
        "recovered": totals.recovered,
        "duplicates_avoided": totals.duplicates_avoided,
        "child_seconds_not_repeated": totals.seconds_not_repeated,
        "records": totals.records,
        "oldest_wait_seconds": snapshot.oldest_seconds,
        "concerns": {concern.value: number for concern, number in snapshot.concerns.items()},
    }


def reconciler_json(view: View) -> dict[str, Any]:
    """Return how the reconciler stands. What it watches and has done is of the process that answers."""
    pending, status = view.pending, view.status
    return {
        "is_enabled": view.is_enabled,
        "looked_at": _iso(status.looked_at),
        "watched": status.watched,
        "done": status.done,
        "is_looking": view.is_looking,
        "waiting": len(pending.waiting),
        "oldest_seconds": pending.oldest_seconds(view.now),
        "is_overdue": view.is_overdue,
        "left_alone": len(pending.left_alone),
        "requests": [_request_json(one) for one in pending.requests[:MOST_LISTED]],
        "latest": [_action_json(one) for one in pending.done[:MOST_LISTED]],
    }


def write_csv(waits: Iterable[Wait]) -> Iterator[str]:
    """Yield the lines of a CSV file."""
    line = io.StringIO()
    writer = csv.writer(line)

    def write(cells: Iterable[object]) -> str:
        line.seek(0)
        line.truncate()
        writer.writerow([_cell(cell) for cell in cells])
        return line.getvalue()

    yield write(COLUMNS)
    for wait in waits:
        fields = wait_json(wait)
        fields["concerns"] = " ".join(fields["concerns"])
        fields["decisions"] = " ".join(f"{one['try_number']}:{one['decision']}" for one in fields["tries"])
        yield write(fields[name] for name in COLUMNS)


def _cell(value: object) -> object:
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return "" if value is None else value


def _try_json(row: TryRow) -> dict[str, Any]:
    one, entry, ending = row.task_try, row.entry, row.ending
    return {
        "try_number": one.try_number,
        "state": one.state,
        "started_at": _iso(one.start_date),
        "ended_at": _iso(one.end_date),
        "last_heartbeat_at": _iso(one.last_heartbeat_at),
        "decision": entry.decision.value if entry else None,
        "decision_says": DECISIONS[entry.decision].says if entry else None,
        "cause": ending.cause.value if ending else None,
        "cause_says": ending.words if ending else None,
        "died_at": _iso(ending.died_at) if ending else None,
        "noticed_at": _iso(ending.noticed_at) if ending else None,
    }


def _run_json(run: DagRun) -> dict[str, Any]:
    return {
        "dag_id": run.dag_id,
        "run_id": run.run_id,
        "state": run.state,
        "queued_at": _iso(run.queued_at),
        "started_at": _iso(run.start_date),
        "ended_at": _iso(run.end_date),
    }


def _request_json(one: Request, *, is_child_named: bool = True) -> dict[str, Any]:
    child = {"child_dag_id": one.child_dag_id or None, "child_run_id": one.child_run_id or None}
    return {
        "wait_id": one.wait_id,
        "act": one.act.value,
        "parent": one.parent.to_json(),
        **(child if is_child_named else {}),
        "since": _iso(one.since),
        "left_alone": one.left_alone.value if one.left_alone else None,
    }


def _action_json(one: LoggedAction) -> dict[str, Any]:
    return {
        "at": _iso(one.at),
        "event": one.event,
        "owner": one.owner,
        "dag_id": one.dag_id,
        "run_id": one.run_id,
        "reason": one.reason,
    }


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
