"""The parents that have not ended: how long each has waited for which child run, and whether its worker is silent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_durable.audit.inspection import describe_state
from airflow_durable.core.ledger import Ledger
from airflow_durable.durations import format_duration
from airflow_durable.layout import count, fold, make_table
from airflow_durable.metadata import records
from airflow_durable.metadata.model import DagRunKey
from airflow_durable.wording import is_quiet

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence
    from datetime import datetime, timedelta

    from airflow_durable.audit.source import DetailedSource
    from airflow_durable.core.record import Record
    from airflow_durable.metadata.ledgers import ItemCounts
    from airflow_durable.metadata.model import DagRun, InstanceKey, TaskTry
    from airflow_durable.wording import HeartbeatLimits

VERSION = 1
"""Of the JSON's schema. Within a version fields are added, never changed or removed."""

_HEADINGS = ("waited", "parent task", "run", "try", "state", "child run", "child state")
_COLUMNS = (
    "waited_seconds",
    "dag_id",
    "run_id",
    "task_id",
    "map_index",
    "try_number",
    "state",
    "is_silent",
    "is_durable",
    "child_dag_id",
    "child_run_id",
    "child_state",
)


@dataclass(frozen=True)
class Waiting:
    """
    A parent that has not ended.

    :param latest: its latest try.
    :param since: when its present child run was requested; else when this try began.
    :param child: None: it has requested none yet, or nothing tells.
    :param run: None: that run does not exist (any more).
    :param items: of a task with many children, how its items stand.
    :param is_durable: it has a record. Airflow 3.0 to 3.2 has none.
    """

    latest: TaskTry
    since: datetime | None
    child: DagRunKey | None
    run: DagRun | None
    is_durable: bool
    is_silent: bool
    items: ItemCounts | None = None

    def seconds(self, now: datetime) -> float:
        """Return for how long it has waited."""
        return max(0.0, (now - self.since).total_seconds()) if self.since else 0.0


def find_waiting(
    source: DetailedSource,
    *,
    now: datetime,
    dag_ids: Collection[str] = (),
    longer_than: timedelta | None = None,
    is_silent_only: bool = False,
) -> list[Waiting]:
    """
    Return the parents that have not ended, the one that has waited longest first.

    One that has never begun waits for nothing yet, and is left out.

    :raises SourceError: the deployment could not be read.
    """
    limits = source.heartbeat_limits()
    tasks = [task for task in source.trigger_tasks() if not dag_ids or task.dag_id in dag_ids]
    latest = [one for one in source.unfinished(tasks) if one.start_date is not None or one.try_number > 1]
    if is_silent_only:
        latest = [one for one in latest if is_quiet(one.state, one.last_heartbeat_at, now, limits)]
    found = list(_describe(source, latest, now, limits))
    if longer_than is not None:
        found = [one for one in found if one.seconds(now) > longer_than.total_seconds()]
    return sorted(found, key=lambda one: (-one.seconds(now), one.latest.key))


def _describe(
    source: DetailedSource, latest: Sequence[TaskTry], now: datetime, limits: HeartbeatLimits
) -> Iterator[Waiting]:
    traces = source.traces([one.key for one in latest])
    children: dict[InstanceKey, DagRunKey | None] = {}
    asked_at: dict[InstanceKey, datetime] = {}
    items: dict[InstanceKey, ItemCounts | None] = {}
    durable = set()
    for one in latest:
        trace, record = traces[one.key], records.read(source.stored_record(one.key))
        if record is not None:
            durable.add(one.key)
            children[one.key] = DagRunKey(record.dag_id, record.run_id)
            asked_at |= _asked_at(one.key, record)
            if isinstance(record, Ledger):
                items[one.key] = source.item_counts(one.key, record)
        else:
            dag_id = trace.linked.dag_id if trace.linked else trace.child_dag_id
            children[one.key] = DagRunKey(dag_id, trace.claimed) if dag_id and trace.claimed else trace.linked
    runs = {run.key: run for run in source.times(list(dict.fromkeys(key for key in children.values() if key)))}
    for one in latest:
        child = children[one.key]
        run = runs.get(child) if child else None
        since = asked_at.get(one.key) or (run.queued_at if run else None) or one.start_date
        is_silent = is_quiet(one.state, one.last_heartbeat_at, now, limits)
        yield Waiting(one, since, child, run, one.key in durable, is_silent, items.get(one.key))


def _asked_at(parent: InstanceKey, record: Record) -> dict[InstanceKey, datetime]:
    """Return when the parent first requested its present child run."""
    moments = [entry.at for entry in record.tries if entry.run_id == record.run_id]
    return {parent: moments[0]} if moments else {}


def build_lines(found: Sequence[Waiting], now: datetime, limits: HeartbeatLimits) -> Iterator[str]:
    """Yield a table for people, and below it what is to be known of the parents without heartbeat."""
    if not found:
        yield "No parent task is waiting."
        return
    yield from make_table(_HEADINGS, list(_rows(found, now)))
    silent = [one for one in found if one.is_silent]
    yield ""
    yield f"{count(len(found), 'parent task')}; without heartbeat: {len(silent)}."
    for one in silent:
        said = describe_state(one.latest, None, now, limits)
        yield from fold([f"{_name(one)}, run {one.latest.run_id}: {said}. The child run is not affected."])


def _rows(found: Iterable[Waiting], now: datetime) -> Iterator[tuple[object, ...]]:
    for one in found:
        state = "no heartbeat" if one.is_silent else (one.latest.state or "none").replace("_", " ")
        child = f"{one.child.dag_id}, {one.child.run_id}" if one.child else "-"
        if one.items and one.child:
            child, child_state = f"{one.child.dag_id}, {one.items.describe()}", one.items.state
            yield _waited(one, now), _name(one), one.latest.run_id, one.latest.try_number, state, child, child_state
            continue
        child_state = (one.run.state or "none") if one.run else "does not exist" if one.child else "-"
        yield _waited(one, now), _name(one), one.latest.run_id, one.latest.try_number, state, child, child_state


def _waited(one: Waiting, now: datetime) -> str:
    return format_duration(one.seconds(now)) if one.since else "-"


def _name(one: Waiting) -> str:
    index = f" [{one.latest.map_index}]" if one.latest.map_index >= 0 else ""
    return f"{one.latest.dag_id}.{one.latest.task_id}{index}"


def build_json(found: Iterable[Waiting], now: datetime, *, source: str, airflow_version: str) -> dict[str, Any]:
    """Return the same as JSON has it."""
    return {
        "version": VERSION,
        "made_at": now.isoformat(),
        "source": {"kind": source, "airflow_version": airflow_version},
        "waiting": [
            {
                "parent": one.latest.key.to_json(),
                "try_number": one.latest.try_number,
                "state": one.latest.state,
                "is_durable": one.is_durable,
                "is_silent": one.is_silent,
                "last_heartbeat_at": _iso(one.latest.last_heartbeat_at),
                "since": _iso(one.since),
                "waited_seconds": round(one.seconds(now), 3),
                "child": {**one.child._asdict(), "state": one.run.state if one.run else None} if one.child else None,
                "items": one.items.to_json() if one.items else None,
            }
            for one in found
        ],
    }


def build_tsv(found: Iterable[Waiting], now: datetime) -> Iterator[str]:
    """Yield a line for each parent, a heading first."""
    yield "\t".join(_COLUMNS)
    for one in found:
        latest = one.latest
        values = (round(one.seconds(now)), latest.dag_id, latest.run_id, latest.task_id, latest.map_index)
        flags = (latest.try_number, latest.state, int(one.is_silent), int(one.is_durable))
        child = (*one.child, one.run.state if one.run else "") if one.child else ("", "", "")
        cells = (" ".join(str(value).split("\t")).replace("\n", " ") for value in (*values, *flags, *child))
        yield "\t".join(cells)


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
