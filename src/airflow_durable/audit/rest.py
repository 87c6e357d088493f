"""The deployment's public REST API, version 2 (Airflow 3.0 to 3.4). Only GET requests are sent."""

from __future__ import annotations

import contextlib
import re
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow_durable.audit.client import ApiForbiddenError, ApiMissingError, read_options
from airflow_durable.audit.model import Instance, Trace, TriggeredRun
from airflow_durable.audit.rest_rows import date_of, key_of, region_of, run_of, trigger_task_of, try_of
from airflow_durable.audit.rules import began, digest_conf, is_cleared, order, without_dates
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
from airflow_durable.core.ledger import KEY as LEDGER_KEY
from airflow_durable.core.run_ids import date_in
from airflow_durable.core.stored import position_of
from airflow_durable.metadata.ledgers import MOST_FAILED, FailedItem, Region, estimate
from airflow_durable.metadata.model import UNFINISHED_STATES, Loss, TaskKey, losses_of
from airflow_durable.metadata.reads import SILENCE
from airflow_durable.wording import HeartbeatLimits

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime

    from airflow_durable.audit.client import ApiClient
    from airflow_durable.audit.source import Moments, Spans
    from airflow_durable.core.ledger import Ledger
    from airflow_durable.metadata.ledgers import ItemCounts
    from airflow_durable.metadata.model import DagRun, DagRunKey, InstanceKey, TaskTry
    from airflow_durable.metadata.trigger_tasks import TriggerTask

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
        self.client = client
        try:
            version = client.get("version").get("version")
        except ApiMissingError as error:
            message = f"{error} There is no REST API of version 2 at this address, so no Airflow 3."
            raise SourceError(message) from error
        self.airflow_version = str(version)
        self.address = client.url
        self._dags: list[dict[str, Any]] | None = None
        self._trigger_tasks: dict[TaskKey, TriggerTask] | None = None
        self._rendered: dict[InstanceKey, dict[str, Any]] = {}

    def dag_ids(self) -> set[str]:
        """Return all Dags that the user may read, those included whose files are gone."""
        return {dag["dag_id"] for dag in self.dags()}

    def dags(self) -> list[dict[str, Any]]:
        """Return all Dags that the user may read, as the API has them."""
        if self._dags is None:
            self._dags = list(self.client.pages("dags", key="dags", exclude_stale="false", order_by="dag_id"))
        return self._dags

    def trigger_tasks(self) -> dict[TaskKey, TriggerTask]:
        """Return the tasks with a trigger operator's template field, by the latest version of each Dag."""
        if self._trigger_tasks is None:
            self._trigger_tasks = {}
            for dag in self.dags():
                try:
                    tasks = self.client.get("dags", dag["dag_id"], "tasks")["tasks"]
                except ApiMissingError:
                    # Never serialized: nothing of it has run.
                    continue
                for task in tasks:
                    if TRIGGER_FIELD in (task.get("template_fields") or ()):
                        read = trigger_task_of(dag, task)
                        self._trigger_tasks[read.key] = read
        return self._trigger_tasks

    def active_tasks(self) -> list[TriggerTask]:
        """Return those of the Dags whose files are there."""
        active = {dag["dag_id"] for dag in self.dags() if not dag.get("is_stale")}
        return [task for key, task in self.trigger_tasks().items() if key.dag_id in active]

    def tasks(self) -> list[TaskKey]:
        """Return the same, without what is known of them."""
        return sorted(self.trigger_tasks())

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
                start = date_of(item["run_after"]) if is_retried else date_of(item["start_date"])
                if start is None or not moments.has_within(start, date_of(item["end_date"])):
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
            for item in self.client.pages(
                "dags",
                dag_id,
                "dagRuns",
                key="dag_runs",
                run_after_gte=spans.first.isoformat(),
                order_by="id",
            ):
                if item["triggered_by"] != _OPERATOR:
                    continue
                queued_at = date_of(item["queued_at"])
                moment = began(date_of(item["logical_date"]), date_of(item["run_after"]), queued_at)
                if moment is not None and spans.contains(moment):
                    found.append(
                        TriggeredRun(
                            run_of(dag_id, item),
                            moment,
                            *digest_conf(item["conf"]),
                            is_cleared=is_cleared(moment, queued_at),
                        )
                    )
        except ApiMissingError:
            # The Dag has been deleted, and its runs with it.
            return []
        return found

    def instances(self, dag_id: str, run_id: str, task_id: str, map_index: int) -> list[Instance]:
        """Return the task instances with these names and what they have tried: one, but in a loop (3.4)."""
        path = ("dags", dag_id, "dagRuns", run_id, "taskInstances")
        found = []
        with contextlib.suppress(ApiMissingError):
            for item in self.client.pages(*path, key="task_instances", task_id=task_id, order_by="id"):
                key = key_of(item)
                if item["task_id"] == task_id and key.map_index == map_index:
                    self._keep_rendered(key, item)
                    instance = self._with_attempts(item)
                    found += [instance] if instance.attempts else []
        return sorted(found, key=lambda instance: instance.key)

    def unfinished(self, tasks: Iterable[TaskKey]) -> Iterator[TaskTry]:
        """Yield the latest try of each of these tasks' instances that has not ended."""
        wanted, seen = set(tasks), set()
        path = ("dags", "~", "dagRuns", "~", "taskInstances")
        # Not for a trigger operator, and Airflow 3.0 to 3.2 refuses the name.
        states = [state for state in UNFINISHED_STATES if state != "awaiting_input"]
        with contextlib.suppress(ApiMissingError):
            for item in self.client.pages(*path, key="task_instances", state=states, order_by="id"):
                key = key_of(item)
                # A retry while the pages are turned gives one another id, and another place.
                if key.task in wanted and key not in seen:
                    seen.add(key)
                    self._keep_rendered(key, item)
                    yield without_dates(try_of(key, item))

    def stored_record(self, key: InstanceKey) -> Any:  # noqa: ANN401 - JSON
        """Return a parent's record as it is stored; None if it has none."""
        return self._get_newest_entry(key) if self._has_store else None

    def item_counts(self, key: InstanceKey, ledger: Ledger) -> ItemCounts | None:
        """
        Return how the items of a task with many children stand, by a count for each state.

        Which failed runs were replaced is not known, if there are any. In a task loop (3.4) there are no counts of its
        passes: which pass a run is of would take a count for each.
        """
        run_after = date_in(ledger.run_id)
        if run_after is None:
            return None
        region = Region(key, ledger, 0, run_after)
        if len(region.prefixes) > 1:
            return None
        (prefix,) = region.prefixes

        def read(states: list[str], limit: int = 1) -> dict[str, Any]:
            found = self.client.get(
                "dags", ledger.dag_id, "dagRuns", run_id_pattern=prefix, state=states, limit=limit, order_by="-id"
            )
            return found if isinstance(found, dict) else {}

        try:
            done, active = (read(states).get("total_entries", 0) for states in (["success"], ["queued", "running"]))
            failed = read(["failed"], MOST_FAILED)
        except (ApiMissingError, ApiForbiddenError):
            return None
        counts = estimate(ledger.count, done=done, failed_runs=failed.get("total_entries", 0), active=active)
        if ledger.generation:
            return counts
        runs = [run_of(ledger.dag_id, item) for item in failed.get("dag_runs", [])]
        items = ((region.split(run.run_id), run) for run in runs)
        named = tuple(FailedItem(item[0], run) for item, run in items if item)
        return replace(counts, is_estimate=False, failed_items=named)

    def times(self, keys: Sequence[DagRunKey]) -> Iterator[DagRun]:
        """Yield what is known of these runs, as far as they are there."""
        for key in keys:
            with contextlib.suppress(ApiMissingError):
                yield run_of(key.dag_id, self.client.get("dags", key.dag_id, "dagRuns", key.run_id))

    def losses(self, instance: Instance) -> dict[int, Loss]:
        """Return the tries that Airflow ended for a lost heartbeat. Empty, too, if the audit log may not be read."""
        key, entries = instance.key, []
        query = {"dag_id": key.dag_id, "run_id": key.run_id, "task_id": key.task_id, "order_by": "when"}
        with contextlib.suppress(ApiMissingError, ApiForbiddenError):
            for item in self.client.pages("eventLogs", key="event_logs", **query):
                at, number = date_of(item["when"]), item.get("try_number")
                is_own = item.get("map_index") in (None, key.map_index) or bool(key.region_id)
                if item["event"] in SILENCE and is_own and at and number is not None:
                    entries.append((number, Loss(at)))
        return losses_of(instance.attempts, entries)

    def heartbeat_limits(self) -> HeartbeatLimits:
        """Return when the deployment gives a silent try up: Airflow's defaults, unless it shows its configuration."""
        timeout = read_options(self.client).get("scheduler.task_instance_heartbeat_timeout")
        return HeartbeatLimits(timeout=timedelta(seconds=float(timeout))) if timeout else HeartbeatLimits()

    def _keep_rendered(self, key: InstanceKey, item: dict[str, Any]) -> None:
        """Keep only these two: the conf is among the others."""
        if fields := item.get("rendered_fields"):
            self._rendered[key] = {name: fields.get(name) for name in (TRIGGER_FIELD, WAITS_FIELD)}

    def _instances(self, task: TaskKey, **query: str | None) -> Iterator[dict[str, Any]]:
        """Yield a task's instances, each once: a retry while the pages are turned gives one another place."""
        seen = set()
        path = ("dags", task.dag_id, "dagRuns", "~", "taskInstances")
        items = self.client.pages(*path, key="task_instances", task_id=task.task_id, order_by="id", **query)
        # A Dag that is deleted meanwhile has no more of them.
        with contextlib.suppress(ApiMissingError):
            for item in items:
                key = key_of(item)
                if item["task_id"] == task.task_id and key not in seen:
                    seen.add(key)
                    self._keep_rendered(key, item)
                    yield item

    def _with_attempts(self, item: dict[str, Any]) -> Instance:
        key = key_of(item)
        items = [item]
        if item["try_number"] > 1:
            path = self._path(key)
            mapped = () if item["map_index"] < 0 else (str(item["map_index"]),)
            try:
                items = self.client.get(*path, *mapped, "tries", **region_of(key))["task_instances"]
            except ApiMissingError:
                # Deleted since.
                items = [item]
        attempts = [try_of(key, one) for one in items if one["start_date"]]
        return Instance(key, order(attempts))

    def _trace(self, key: InstanceKey) -> Trace:
        rendered = self._read_rendered(key)
        child_dag_id, waits = rendered.get(TRIGGER_FIELD), rendered.get(WAITS_FIELD)
        stored = self._get_newest_entry(key) if self._has_store else None
        return Trace(
            claimed=read_text(self._get_value(key, "xcomEntries", XCOM_RUN_ID)),
            linked=read_link(self._get_value(key, "xcomEntries", XCOM_LINK)),
            child_dag_id=child_dag_id if isinstance(child_dag_id, str) else None,
            waits=None if waits is None else bool(waits),
            recorded=None if stored is None else read_recorded_runs(stored),
        )

    def _read_rendered(self, key: InstanceKey) -> dict[str, Any]:
        """
        Return the rendered fields that are of use.

        With the SQLAlchemy of their own constraints, Airflow 3.0 to 3.2 leave them out of the list of task instances
        (``models/taskinstance.py``: the relationship is ``noload``). A single task instance has them.
        """
        if key not in self._rendered:
            mapped = () if key.map_index < 0 or key.region_id else (str(key.map_index),)
            with contextlib.suppress(ApiMissingError):
                self._keep_rendered(key, self.client.get(*self._path(key), *mapped, **region_of(key)))
        return self._rendered.get(key, {})

    def _get_value(self, key: InstanceKey, collection: str, name: str) -> Any:  # noqa: ANN401 - JSON
        try:
            query = region_of(key) or {"map_index": str(key.map_index)}
            return self.client.get(*self._path(key), collection, name, **query)["value"]
        except ApiMissingError:
            return None

    def _get_newest_entry(self, key: InstanceKey) -> Any:  # noqa: ANN401 - JSON
        """Return the newest entry of the first call, or of the ledger; None if there is none."""
        query = region_of(key) or {"map_index": str(key.map_index)}
        try:
            items = list(self.client.pages(*self._path(key), "state-store", key="task_state_store", **query))
        except ApiMissingError:
            return None
        entries = {place: item["value"] for item in items if (place := position_of(item["key"])) and place[0] == 1}
        if not entries:
            entries = {place: item["value"] for item in items if (place := _place_in_ledger(item["key"]))}
        return entries[max(entries)] if entries else None

    @property
    def _has_store(self) -> bool:
        found = re.match(r"(\d+)\.(\d+)", self.airflow_version)
        return found is not None and (int(found[1]), int(found[2])) >= _STORE_SINCE

    @staticmethod
    def _path(key: InstanceKey) -> tuple[str, ...]:
        return ("dags", key.dag_id, "dagRuns", key.run_id, "taskInstances", key.task_id)


def _place_in_ledger(key: str) -> tuple[int, int] | None:
    """Return the place of an entry of a ledger, as of one of a record; None: it is none."""
    head, _, number = key.partition(".")
    if head != LEDGER_KEY or (number and not number.isdecimal()):
        return None
    return 1, int(number or 0)
