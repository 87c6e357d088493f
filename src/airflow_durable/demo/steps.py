"""What all demonstrations do: start a scratch Airflow, and kill the worker of a parent."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from airflow_durable.demo.api import PublicApi

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from airflow_durable.demo.engine import ScratchAirflow
    from airflow_durable.metadata.model import TaskTry

    Report = Callable[[str], None]

STEP_LIMIT_SECONDS = 300.0

# A dead worker is noticed within seconds; with Airflow's defaults it takes five minutes.
OPTIONS = {
    "core.parallelism": "8",
    "scheduler.task_instance_heartbeat_timeout": "8",
    "scheduler.task_instance_heartbeat_timeout_detection_interval": "1",
}


def start(airflow: ScratchAirflow, dag_ids: Collection[str], report: Report) -> tuple[PublicApi, str]:
    """Start an Airflow, and wait for these Dags; return its public API, and its version."""
    began = time.monotonic()
    report("Starting Airflow: API server, scheduler (LocalExecutor on SQLite), Dag processor, triggerer.")
    airflow.start()
    airflow.wait_for_dags(set(dag_ids))
    api = PublicApi(airflow.url)
    version = api.version()
    report(f"Airflow {version} is ready after {time.monotonic() - began:.0f} s.")
    return api, version


def kill_worker_of(airflow: ScratchAirflow, parent: TaskTry, name: str) -> tuple[int, ...]:
    """Kill the worker of a parent whose child runs; return the ids of the processes that were killed."""
    if parent.pid is None:
        message = f"Airflow's database has no process id of the {name}, though its child runs."
        raise RuntimeError(message)
    return airflow.kill_worker(parent.pid)
