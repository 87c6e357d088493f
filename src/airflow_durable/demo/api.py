"""What a person does to a scratch Airflow: triggers, clears, marks and deletes, over its public REST API."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx

if TYPE_CHECKING:
    from collections.abc import Mapping

_TIMEOUT_SECONDS = 60.0
_UNAUTHORIZED = 401


class PublicApi:
    """
    The public REST API (version 2) of an Airflow whose simple auth manager takes everybody for an administrator.

    Every method raises ``httpx.HTTPStatusError`` if Airflow refuses. One request at a time is sent: on SQLite two that
    are written to the audit log block each other
    (see :attr:`airflow_durable.demo.engine.ScratchAirflow.execution_url`).

    :param url: the API server's address.
    """

    def __init__(self, url: str) -> None:
        self._lock = threading.Lock()
        self._client = httpx.Client(base_url=url, timeout=_TIMEOUT_SECONDS, trust_env=False)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def trigger(self, dag_id: str, run_id: str, conf: Mapping[str, Any] | None = None) -> None:
        """Start a run of a Dag."""
        body = {"dag_run_id": run_id, "logical_date": None, "conf": dict(conf or {})}
        self._request("POST", f"/dags/{quote(dag_id)}/dagRuns", body)

    def mark_run(self, dag_id: str, run_id: str, state: str) -> None:
        """Mark a Dag run as ``success`` or ``failed``, or queue it again."""
        self._request("PATCH", f"{_path_of(dag_id, run_id)}", {"state": state})

    def delete_run(self, dag_id: str, run_id: str) -> None:
        """Delete a Dag run."""
        self._request("DELETE", f"{_path_of(dag_id, run_id)}")

    def clear_run(self, dag_id: str, run_id: str) -> None:
        """Clear a Dag run, all of its tasks."""
        self._request("POST", f"{_path_of(dag_id, run_id)}/clear", {"dry_run": False, "only_failed": False})

    def clear_task(
        self,
        dag_id: str,
        run_id: str,
        task_id: str,
        *,
        only_running: bool = False,
        keep_task_state: bool | None = None,
    ) -> None:
        """
        Clear a task instance (all of them, if it is mapped).

        :param only_running: only if it runs; else whatever its state.
        :param keep_task_state: whether what the task has stored survives; None: as the server has it. Airflow 3.4 alone
            knows the choice (``core_api/datamodels/task_instances.py``); older ones keep it, and refuse the field.
        """
        body = {
            "dry_run": False,
            "dag_run_id": run_id,
            "task_ids": [task_id],
            "only_failed": False,
            "only_running": only_running,
            **({} if keep_task_state is None else {"keep_task_state": keep_task_state}),
        }
        self._request("POST", f"/dags/{quote(dag_id)}/clearTaskInstances", body)

    def mark_task(self, dag_id: str, run_id: str, task_id: str, state: str) -> None:
        """Mark a task instance as ``success`` or ``failed``."""
        self._request("PATCH", f"{_path_of(dag_id, run_id)}/taskInstances/{quote(task_id)}", {"new_state": state})

    def conf(self, dag_id: str, run_id: str) -> Any:  # noqa: ANN401 - JSON
        """Return a Dag run's conf."""
        return self._request("GET", _path_of(dag_id, run_id)).json()["conf"]

    def xcom(self, dag_id: str, run_id: str, task_id: str, key: str) -> Any:  # noqa: ANN401 - JSON
        """Return an XCom of a task."""
        path = f"{_path_of(dag_id, run_id)}/taskInstances/{quote(task_id)}/xcomEntries/{quote(key)}"
        return self._request("GET", path).json()["value"]

    def clear_store(self, dag_id: str, run_id: str, task_id: str) -> None:
        """Delete all that a task has in the task state store (Airflow 3.3 and later)."""
        self._request("DELETE", f"{_path_of(dag_id, run_id)}/taskInstances/{quote(task_id)}/state-store")

    def pause(self, dag_id: str, *, is_paused: bool) -> None:
        """Pause or unpause a Dag."""
        self._request("PATCH", f"/dags/{quote(dag_id)}", {"is_paused": is_paused})

    def version(self) -> str:
        """Return Airflow's version."""
        return str(self._request("GET", "/version").json()["version"])

    def _request(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> httpx.Response:
        with self._lock:
            return self._send(method, path, body)

    def _send(self, method: str, path: str, body: Mapping[str, Any] | None) -> httpx.Response:
        response = self._client.request(method, f"/api/v2{path}", json=body)
        if response.status_code == _UNAUTHORIZED:
            token = self._client.get("/auth/token").raise_for_status().json()["access_token"]
            self._client.headers["Authorization"] = f"Bearer {token}"
            response = self._client.request(method, f"/api/v2{path}", json=body)
        if response.is_error:
            message = f"{method} {path}: HTTP {response.status_code} {response.text[:500]}"
            raise httpx.HTTPStatusError(message, request=response.request, response=response)
        return response


def _path_of(dag_id: str, run_id: str) -> str:
    return f"/dags/{quote(dag_id)}/dagRuns/{quote(run_id, safe='')}"
