"""The deployment's public REST API, version 2 (Airflow 3.0 to 3.4). Only GET requests are sent."""

from __future__ import annotations

import contextlib
import re
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow_durable.audit.client import ApiMissingError
from airflow_durable.audit.model import Instance, Trace, TriggeredRun
from airflow_durable.audit.rules import began, digest_conf, is_cleared, order
from airflow_durable.audit.source import (
    TRIGGER_FIELD,
    WAITS_FIELD,
    XCOM_LINK,
    XCOM_RUN_ID,
    SourceError,
    read_link,
    read_recorded_runs,
    read_text,
)
from airflow_durable.core.stored import position_of
from airflow_durable.metadata.model import DagRun, InstanceKey, TaskKey, TaskTry

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from airflow_durable.audit.client import ApiClient
    from airflow_durable.audit.source import Moments, Spans

_OPERATOR = "operator"
_STORE_SINCE = (3, 3)


class RestSource:
    """
    Implements :class:`airflow_durable.audit.source.Source`.

    What it cannot see and the database can: tasks that are no more in the latest version of their Dag.

    :raises SourceError: there is no Airflow 3, or it cannot be read.
    """

    kind = "api"

    def __init__(self, client: ApiClient) -> None:
        self._client = client
        try:
            version = client.get("version").get("version")
        except ApiMissingError as error:
            message = f"{error} There is no REST API of version 2 at this address, so no Airflow 3."
            raise SourceError(message) from error
        self.airflow_version = str(version)
        self._rendered: dict[InstanceKey, dict[str, Any]] = {}

    def tasks(self) -> list[TaskKey]:
        """Return the tasks with a trigger operator's template field, by the latest version of each Dag."""
        found = []
        dags = self._client.pages("dags", key="dags", exclude_stale="false", order_by="dag_id")
        for dag_id in [dag["dag_id"] for dag in dags]:
            try:
                tasks = self._client.get("dags", dag_id, "tasks")["tasks"]
            except ApiMissingError:
                # Never serialized: nothing of it has run.
                continue
            found += [
                TaskKey(dag_id, task["task_id"])
                for task in tasks
                if TRIGGER_FIELD in (task.get("template_fields") or ())
            ]
        return sorted(found)

    def retried(self, tasks: Iterable[TaskKey], since: datetime | None) -> Iterator[Instance]:
        """Yield the parents with more than one attempt; with ``since``, those whose last one began since then."""
        for task in tasks:
            for item in self._instances(task, start_date_gte=since.isoformat() if since else None):
                if item["try_number"] > 1 and len((instance := self._with_attempts(item)).attempts) > 1:
                    yield instance

    def around(self, tasks: Iterable[TaskKey], moments: Moments) -> Iterator[Instance]:
        """Yield the parents that ran at one of these moments, with all their attempts."""
        for task in tasks:
            for item in self._instances(task):
                # No attempt began before the Dag run was due.
                is_retried = item["try_number"] > 1
                start = _date(item["run_after"]) if is_retried else _date(item["start_date"])
                if start is None or not moments.has_within(start, _date(item["end_date"])):
                    continue
                instance = self._with_attempts(item)
                if any(moments.has_within(attempt.began_at, attempt.end_date) for attempt in instance.attempts):
                    yield instance

    def traces(self, keys: Sequence[InstanceKey]) -> dict[InstanceKey, Trace]:
        """Return what each of these parents has left behind."""
        return {key: self._trace(key) for key in keys}

    def runs(self, dag_id: str, spans: Spans) -> list[TriggeredRun]:
        """Return the runs of a Dag that operators have triggered within the spans."""
        found = []
        try:
            for item in self._client.pages(
                "dags",
                dag_id,
                "dagRuns",
                key="dag_runs",
                run_after_gte=spans.first.isoformat(),
                order_by="id",
            ):
                if item["triggered_by"] != _OPERATOR:
                    continue
                queued_at = _date(item["queued_at"])
                moment = began(_date(item["logical_date"]), _date(item["run_after"]), queued_at)
                if moment is not None and spans.contains(moment):
                    found.append(
                        TriggeredRun(
                            DagRun(
                                dag_id,
                                item["dag_run_id"],
                                item["state"],
                                queued_at,
                                _date(item["start_date"]),
                                _date(item["end_date"]),
                            ),
                            moment,
                            *digest_conf(item["conf"]),
                            is_cleared=is_cleared(moment, queued_at),
                        )
                    )
        except ApiMissingError:
            # The Dag has been deleted, and its runs with it.
            return []
        return found

    def _instances(self, task: TaskKey, **query: str | None) -> Iterator[dict[str, Any]]:
        """Yield a task's instances, each once: a retry while the pages are turned gives one another place."""
        seen = set()
        path = ("dags", task.dag_id, "dagRuns", "~", "taskInstances")
        items = self._client.pages(*path, key="task_instances", task_id=task.task_id, order_by="id", **query)
        # A Dag that is deleted meanwhile has no more of them.
        with contextlib.suppress(ApiMissingError):
            for item in items:
                key = _key(item)
                if item["task_id"] == task.task_id and key not in seen:
                    seen.add(key)
                    fields = item.get("rendered_fields") or {}
                    # Only these two are kept: the conf is among the others.
                    self._rendered[key] = {name: fields.get(name) for name in (TRIGGER_FIELD, WAITS_FIELD)}
                    yield item

    def _with_attempts(self, item: dict[str, Any]) -> Instance:
        key = _key(item)
        items = [item]
        if item["try_number"] > 1:
            path = self._path(key)
            mapped = () if item["map_index"] < 0 else (str(item["map_index"]),)
            try:
                items = self._client.get(*path, *mapped, "tries", **_region(key))["task_instances"]
            except ApiMissingError:
                # Deleted since.
                items = [item]
        attempts = [
            TaskTry(key, one["try_number"], one["max_tries"], one["state"], start, _date(one["end_date"]))
            for one in items
            if (start := _date(one["start_date"])) is not None
        ]
        return Instance(key, order(attempts))

    def _trace(self, key: InstanceKey) -> Trace:
        rendered = self._rendered.get(key, {})
        child_dag_id, waits = rendered.get(TRIGGER_FIELD), rendered.get(WAITS_FIELD)
        stored = self._get_newest_entry(key) if self._has_store else None
        return Trace(
            claimed=read_text(self._get_value(key, "xcomEntries", XCOM_RUN_ID)),
            linked=read_link(self._get_value(key, "xcomEntries", XCOM_LINK)),
            child_dag_id=child_dag_id if isinstance(child_dag_id, str) else None,
            waits=None if waits is None else bool(waits),
            recorded=None if stored is None else read_recorded_runs(stored),
        )

    def _get_value(self, key: InstanceKey, collection: str, name: str) -> Any:  # noqa: ANN401 - JSON
        try:
            query = _region(key) or {"map_index": str(key.map_index)}
            return self._client.get(*self._path(key), collection, name, **query)["value"]
        except ApiMissingError:
            return None

    def _get_newest_entry(self, key: InstanceKey) -> Any:  # noqa: ANN401 - JSON
        """Return the newest entry of the first call, None if there is none."""
        query = _region(key) or {"map_index": str(key.map_index)}
        try:
            items = list(self._client.pages(*self._path(key), "state-store", key="task_state_store", **query))
        except ApiMissingError:
            return None
        entries = {place: item["value"] for item in items if (place := position_of(item["key"])) and place[0] == 1}
        return entries[max(entries)] if entries else None

    @property
    def _has_store(self) -> bool:
        found = re.match(r"(\d+)\.(\d+)", self.airflow_version)
        return found is not None and (int(found[1]), int(found[2])) >= _STORE_SINCE

    @staticmethod
    def _path(key: InstanceKey) -> tuple[str, ...]:
        return ("dags", key.dag_id, "dagRuns", key.run_id, "taskInstances", key.task_id)


def _key(item: dict[str, Any]) -> InstanceKey:
    # From 3.4: the map index of a task in a loop is -1 here, and the region tells the iterations apart.
    region_id = (item.get("region_id") or "").replace("-", "")
    index = item["region_index"] if region_id else item["map_index"]
    return InstanceKey(item["dag_id"], item["dag_run_id"], item["task_id"], index, region_id)


def _region(key: InstanceKey) -> dict[str, str]:
    """Return the query by which a request names a task instance that is in a region (3.4)."""
    return {"region_id": key.region_id, "region_index": str(key.map_index)} if key.region_id else {}


def _date(text: str | None) -> datetime | None:
    # Python 3.10's fromisoformat does not know the Z.
    return datetime.fromisoformat(text.replace("Z", "+00:00")) if text else None
