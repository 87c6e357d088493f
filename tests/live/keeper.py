"""A service manager for the scheduler: starts another one where it has died, or lives on and does nothing."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

from airflow_durable.metadata.values import as_utc

if TYPE_CHECKING:
    from typing_extensions import Self

    from airflow_durable.demo.engine import ScratchAirflow

CHECK_SECONDS = 5.0
SILENT = timedelta(minutes=2)
"""So long without a heartbeat of a scheduler's job (``[scheduler] job_heartbeat_sec``: every 5 s)."""


class SchedulerKeeper(threading.Thread):
    """
    Does what a deployment does with a liveness probe (``airflow jobs check``).

    Airflow's scheduler can end by a race of its own (StaleDataError, 3.1; IntegrityError, 3.4.0b2). With the
    LocalExecutor it then waits for all of its tasks, which may be for ever, and all scenarios wait with it.
    """

    def __init__(self, airflow: ScratchAirflow) -> None:
        super().__init__(daemon=True)
        self._airflow = airflow
        self._is_over = threading.Event()

    def __enter__(self) -> Self:
        """Begin to look."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        self._is_over.set()
        self.join()

    def run(self) -> None:
        """Look now and then."""
        started_at = datetime.now(tz=timezone.utc)
        while not self._is_over.wait(CHECK_SECONDS):
            now = datetime.now(tz=timezone.utc)
            for scheduler in [each for each in self._airflow.components if each.kind == "scheduler"]:
                is_silent = now - max(started_at, self._last_heartbeat() or started_at) > SILENT
                if is_silent or not scheduler.is_alive:
                    self._airflow.kill(scheduler)
                    self._airflow.start_component("scheduler")
                    started_at = now

    def _last_heartbeat(self) -> datetime | None:
        rows = self._airflow.database.select(
            "SELECT latest_heartbeat FROM job WHERE job_type = 'SchedulerJob' AND state = 'running'"
        )
        return max((beat for row in rows if (beat := as_utc(row["latest_heartbeat"]))), default=None)
