"""
The distributed Airflow: PostgreSQL, a broker, two schedulers, two Celery workers and what else it takes.

Each worker has a fault proxy in front of the API server and a gate in front of the broker for itself: they are what
makes its partition possible. Whatever ends is started again, as a process supervisor would: that is the one thing that
an Airflow installation has to bring along.
"""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import psutil
from celery import Celery
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from airflow_durable.demo import processes
from airflow_durable.demo.api import PublicApi
from airflow_durable.demo.engine import ScratchAirflow
from airflow_durable.metadata.values import as_utc
from tests.chaos.ledger import make_work_table
from tests.chaos.life import WORK_URL_VARIABLE
from tests.support.fault_proxy import FaultProxy
from tests.support.servers import PostgresServer, ValkeyServer
from tests.support.tcp_gate import TcpGate

if TYPE_CHECKING:
    from uuid import UUID

    from typing_extensions import Self

    from airflow_durable.demo.processes import Component
    from airflow_durable.metadata.model import TaskTry
    from airflow_durable.metadata.scratch import ScratchDatabase

DAGS_FOLDER = Path(__file__).parent / "dags"
WORKERS = ("first", "second")
HEARTBEAT_TIMEOUT_SECONDS = 15
_CONCURRENCY = 16
_BEAT_SECONDS = 10.0
_BROKER_ERRORS = (OSError, OperationalError, RedisError)
_JOB_TYPES = {"scheduler": "SchedulerJob", "dag-processor": "DagProcessorJob", "triggerer": "TriggererJob"}

_OPTIONS = {
    "core.executor": "CeleryExecutor",
    "core.parallelism": "64",
    "celery.worker_concurrency": str(_CONCURRENCY),
    # An unacknowledged message of a worker that died is delivered again after this time, in seconds.
    "celery_broker_transport_options.visibility_timeout": "60",
    # A message that a broker lost is noticed after this time. It is the lifetime of a queued task's token, too: on a
    # slow machine a task that waits longer for a worker is refused.
    "scheduler.task_queued_timeout": "45",
    "scheduler.task_queued_timeout_check_interval": "5",
    "scheduler.num_stuck_in_queued_retries": "10",
    "scheduler.task_instance_heartbeat_timeout": str(HEARTBEAT_TIMEOUT_SECONDS),
    "scheduler.scheduler_idle_sleep_time": "1",
    "scheduler.orphaned_tasks_check_interval": "5",
    "scheduler.scheduler_health_check_threshold": "15",
    # A worker that is cut off goes on: its supervisors do not give up before the network is back.
    "workers.max_failed_heartbeats": "1000",
    "workers.min_heartbeat_interval": "4",
    "workers.execution_api_timeout": "10",
    "workers.execution_api_retry_wait_min": "0.5",
    "workers.execution_api_retry_wait_max": "3",
    "triggerer.triggerer_health_check_threshold": "12",
    # For the durable parents that are stock operators in their Dag file.
    "durable.stock_operators": "durable",
    "durable.stock_operators_only": "durable_*",
    "durable.reconciler_interval": "2",
}


class DistributedAirflow:
    """
    As a context manager: all of it started, and all of it ended.

    :param home: an existing, empty folder. It is left to the caller to remove.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self.postgres = PostgresServer(home)
        self.broker = ValkeyServer(home)
        self.restarts: Counter[str] = Counter()
        self._scopes = contextlib.ExitStack()

    def __enter__(self) -> Self:
        """Start it all, and wait until it works."""
        with contextlib.ExitStack() as scopes:
            self._open(scopes)
            self._scopes = scopes.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        """End it all."""
        self._scopes.close()

    @property
    def database(self) -> ScratchDatabase:
        """The metadata database."""
        return self.airflow.database

    def restart(self, component: Component) -> Component:
        """Kill a component and all its offspring by SIGKILL, and start another one in its place."""
        name = self._worker_names.pop(component.name, None)
        self.airflow.kill(component)
        return self._start_worker(name) if name else self.airflow.start_component(component.kind)

    def restart_what_ended(self) -> list[str]:
        """Start again what has ended by itself; return its names."""
        ended = [component for component in self.airflow.components if not component.is_alive]
        for component in ended:
            self.restarts[component.kind] += 1
            self.restart(component)
        return [component.name for component in ended]

    def is_ready(self, kind: str) -> bool:
        """Tell whether the components of a kind work just now, the one started last among them."""
        if kind in _JOB_TYPES:
            return self._is_beating(kind)
        if kind == "celery-worker":
            return self._are_workers_ready()
        if kind == "reconciler":
            return all(component.is_alive for component in self.components_of(kind))
        with contextlib.suppress(httpx.HTTPError):
            self.api.version()
            return True
        return False

    def components_of(self, kind: str) -> list[Component]:
        """Return the components of a kind, in a fixed order."""
        return sorted(
            (component for component in self.airflow.components if component.kind == kind),
            key=lambda component: self._worker_names.get(component.name, component.name),
        )

    def worker_of(self, pid: int | None) -> str | None:
        """Return the name of the Celery worker that a process belongs to."""
        with contextlib.suppress(ProcessLookupError):
            session = os.getsid(pid) if pid else None
            for component in self.components_of("celery-worker"):
                if component.process.pid == session:
                    return self._worker_names[component.name]
        return None

    def kill_task(self, pid: int) -> bool:
        """Kill a task process alone: its supervisor reports it. False: it has gone already."""
        if self.worker_of(pid) is None:
            return False
        with contextlib.suppress(psutil.NoSuchProcess):
            psutil.Process(pid).kill()
            return True
        return False

    def kill_supervisor(self, pid: int) -> bool:
        """Kill a task process and its supervisor. False: they have gone already."""
        with contextlib.suppress(LookupError):
            return bool(self.airflow.kill_worker(pid))
        return False

    def cut_off(self, worker: str) -> None:
        """Cut a worker off: nothing passes to or from the API server and the broker."""
        self.proxies[worker].is_partitioned = True
        self.gates[worker].close()

    def heal(self, worker: str) -> None:
        """Undo :meth:`cut_off`."""
        self.gates[worker].open()
        self.proxies[worker].is_partitioned = False

    def _open(self, scopes: contextlib.ExitStack) -> None:
        scopes.enter_context(self.postgres)
        scopes.enter_context(self.broker)
        options = {**_OPTIONS, **self.postgres.options, "celery.broker_url": self.broker.url}
        self.airflow = scopes.enter_context(
            ScratchAirflow(self.home, dag_folders={"population": DAGS_FOLDER}, options=options)
        )
        self.api = scopes.enter_context(contextlib.closing(PublicApi(self.airflow.url)))
        self.proxies = {
            worker: scopes.enter_context(FaultProxy(self.airflow.url, self._find_attempt, self.kill_supervisor))
            for worker in WORKERS
        }
        self.gates = {worker: scopes.enter_context(TcpGate(self.broker.port)) for worker in WORKERS}
        self._celery = scopes.enter_context(contextlib.closing(Celery(broker=self.broker.url)))
        self._worker_names: dict[str, str] = {}
        self.airflow.migrate()
        make_work_table(self.postgres.url)
        for kind in ("api-server", "scheduler", "scheduler", "dag-processor", "triggerer", "reconciler"):
            self.airflow.start_component(kind)
        for worker in WORKERS:
            self._start_worker(worker)
        self.airflow.wait_until_ready()
        self.airflow.wait_for(self._are_workers_ready, "the Celery workers", 300)

    def _start_worker(self, worker: str) -> Component:
        url = f"http://{processes.LOCALHOST}:{self.proxies[worker].port}/execution/"
        component = self.airflow.start_component(
            "celery-worker",
            "--celery-hostname",
            worker,
            "--without-mingle",
            "--without-gossip",
            AIRFLOW__CORE__EXECUTION_API_SERVER_URL=url,
            AIRFLOW__CELERY__BROKER_URL=self.broker.url_at(self.gates[worker].port),
            **{WORK_URL_VARIABLE: self.postgres.url},
            # Celery as root warns, and refuses some serializers; a scratch Airflow has nothing to protect from itself.
            C_FORCE_ROOT="1",
        )
        self._worker_names[component.name] = worker
        return component

    def _is_beating(self, kind: str) -> bool:
        rows = self.database.select(
            "SELECT start_date, latest_heartbeat FROM job WHERE job_type = :job_type AND state = 'running'",
            job_type=_JOB_TYPES[kind],
        )
        components = self.components_of(kind)
        since = datetime.now(tz=timezone.utc) - timedelta(seconds=_BEAT_SECONDS)
        youngest = datetime.fromtimestamp(max(component.started_at for component in components), tz=timezone.utc)
        started = [as_utc(row["start_date"]) for row in rows if (as_utc(row["latest_heartbeat"]) or since) > since]
        return len(started) >= len(components) and any(date is not None and date >= youngest for date in started)

    def _are_workers_ready(self) -> bool:
        # A connection of its own each time: one of a pool may have been made to a broker that is no more.
        with contextlib.suppress(*_BROKER_ERRORS), self._celery.connection_for_write() as connection:
            return len(self._celery.control.ping(timeout=1.0, connection=connection)) == len(WORKERS)
        return False

    def _find_attempt(self, task_instance_id: UUID) -> TaskTry | None:
        with contextlib.suppress(SQLAlchemyError):
            return self.database.try_of_id(task_instance_id)
        return None
