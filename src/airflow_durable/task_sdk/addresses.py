"""Where a Dag run and its tasks are in Airflow's UI."""

from __future__ import annotations


def url_of_run(dag_id: str, run_id: str) -> str | None:
    """Return the address of the run in Airflow's UI; None if it is not known (before 3.0.3, no ``[api] base_url``)."""
    from airflow.utils import helpers

    build = getattr(helpers, "build_airflow_dagrun_url", None)
    try:
        url = build and build(dag_id=dag_id, run_id=run_id)
    except Exception:  # noqa: BLE001 - for people only: it must not fail a task
        return None
    return str(url) if url else None


def url_of_task(dag_id: str, run_id: str, task_id: str, map_index: int) -> str | None:
    """Return the address of a task of the run in Airflow's UI (``sdk/execution_time/task_runner.py``, ``log_url``)."""
    of_run = url_of_run(dag_id, run_id)
    mapped = "" if map_index < 0 else f"/mapped/{map_index}"
    return of_run and f"{of_run}/tasks/{task_id}{mapped}"
