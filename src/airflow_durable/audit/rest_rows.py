"""What the REST API's JSON is to us: the same types as a database's rows. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from airflow_durable.metadata.model import DagRun, InstanceKey, TaskKey, TaskTry
from airflow_durable.metadata.trigger_tasks import TriggerTask


def key_of(item: dict[str, Any]) -> InstanceKey:
    """Return the task instance that an item is of."""
    # From 3.4: the map index of a task in a loop is -1 here, and the region tells the iterations apart.
    region_id = (item.get("region_id") or "").replace("-", "")
    index = item["region_index"] if region_id else item["map_index"]
    return InstanceKey(item["dag_id"], item["dag_run_id"], item["task_id"], index, region_id)


def try_of(key: InstanceKey, item: dict[str, Any]) -> TaskTry:
    """Return the try that an item is of."""
    dates = date_of(item["start_date"]), date_of(item["end_date"])
    return TaskTry(key, item["try_number"], item["max_tries"], item["state"], *dates)


def run_of(dag_id: str, item: dict[str, Any]) -> DagRun:
    """Return a Dag run."""
    queued_at, start, end = (date_of(item[name]) for name in ("queued_at", "start_date", "end_date"))
    return DagRun(dag_id, item["dag_run_id"], item["state"], queued_at, start, end)


def trigger_task_of(dag: dict[str, Any], task: dict[str, Any]) -> TriggerTask:
    """Return a task of a Dag."""
    reference, delay = task.get("class_ref") or {}, task.get("retry_delay")
    return TriggerTask(
        TaskKey(dag["dag_id"], task["task_id"]),
        str(reference.get("class_name") or task.get("operator_name") or ""),
        str(reference.get("module_path") or ""),
        frozenset(tag["name"] for tag in dag.get("tags") or ()),
        bool(task.get("is_mapped")),
        None if task.get("retries") is None else int(task["retries"]),
        _seconds(delay),
    )


def _seconds(delay: Any) -> float | None:  # noqa: ANN401 - JSON
    """Return a duration as the API has it: ``{"days": 0, "seconds": 300, "microseconds": 0}``."""
    if not isinstance(delay, dict):
        return None
    parts = {name: delay.get(name, 0) for name in ("days", "seconds", "microseconds")}
    return timedelta(**parts).total_seconds()


def region_of(key: InstanceKey) -> dict[str, str]:
    """Return the query by which a request names a task instance that is in a region (3.4)."""
    return {"region_id": key.region_id, "region_index": str(key.map_index)} if key.region_id else {}


def date_of(text: str | None) -> datetime | None:
    """Return a date."""
    # Python 3.10's fromisoformat does not know the Z.
    return datetime.fromisoformat(text.replace("Z", "+00:00")) if text else None
