"""A real Airflow whose waits have crashed and recovered, with users who must sign in."""

from __future__ import annotations

import contextlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from airflow_durable.demo.api import PublicApi
from airflow_durable.demo.engine import DEFAULT_COMPONENTS, ScratchAirflow
from tests.support.scopes import SCOPES
from tests.support.waits_rows import Rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow_durable.metadata.model import DagRun, TaskTry

RUN_ID = "2026-11-24"
LIMIT_SECONDS = 300.0
SCRIPT = "<script>alert(1)</script>"
USERS = {"ada": "secret-of-ada", "lim": "secret-of-lim"}
"""Ada may read every Dag, Lim those of :data:`SCOPE` alone."""
SCOPE = ("nightly_finance", "reconcile_ledger", "bonuses")
HIDDEN = ("payroll", "payroll_run", "weekly_close", "hourly_ingest")

_ROOT = Path(__file__).parents[2]
_DAGS = {
    "nightly_finance",
    "weekly_close",
    "forecasting",
    "hourly_ingest",
    "reporting",
    "payroll",
    "bonuses",
    "reconcile_ledger",
    "close_books",
    "train_forecast",
    "load_region",
    "render_report",
    "payroll_run",
}
_OPTIONS = {
    "core.parallelism": "24",
    "core.auth_manager": "tests.support.scoped_auth.ScopedAuthManager",
    "scheduler.task_instance_heartbeat_timeout": "12",
}


@dataclass(frozen=True)
class Lab:
    """The Airflow, and what there is to see in it."""

    airflow: ScratchAirflow

    def runs(self, dag_id: str) -> list[DagRun]:
        """Return the runs of a Dag."""
        return self.airflow.database.runs(dag_id)

    def parent(self, dag_id: str, map_index: int = -1) -> TaskTry | None:
        """Return the latest try of a parent."""
        attempts = self.airflow.database.latest_tries(dag_id, RUN_ID)
        return next((attempt for attempt in attempts if attempt.map_index == map_index), None)

    def wait_for(self, is_done: Callable[[], bool], what: str) -> None:
        """Wait until the condition holds."""
        self.airflow.wait_for(is_done, what, LIMIT_SECONDS)

    def wait_for_state(self, dag_id: str, state: str, try_number: int = 1, map_index: int = -1) -> None:
        """Wait until a parent is in that state, in that try or a later one."""

        def is_there() -> bool:
            parent = self.parent(dag_id, map_index)
            return parent is not None and parent.state == state and parent.try_number >= try_number

        self.wait_for(is_there, f"{dag_id} to be {state} in try {try_number}")

    def crash(self, dag_id: str, child_dag_id: str, try_number: int = 1, map_index: int = -1) -> None:
        """Kill the worker of a parent once its own child run is there, and wait for the next try to wait."""
        self.wait_for_state(dag_id, "running", try_number, map_index)
        self._wait_for_decision(dag_id, try_number, map_index)
        # Decided is recorded before it is done: killed in between, the next try would start the run again.
        (run_id,) = {
            record["child"]["run_id"]
            for (_, index, _), record in self.airflow.database.stored(dag_id, RUN_ID).items()
            if index == map_index
        }
        self.wait_for(lambda: run_id in {run.run_id for run in self.runs(child_dag_id)}, f"the run {run_id}")
        parent = self.parent(dag_id, map_index)
        assert parent is not None
        assert parent.pid is not None
        self.airflow.kill_worker(parent.pid)
        self._wait_for_decision(dag_id, try_number + 1, map_index)

    def serve(self, base: str = "") -> None:
        """Start the API server anew: it lets nobody in without a password, and may stand under a path prefix."""
        (server,) = [component for component in self.airflow.components if component.kind == "api-server"]
        self.airflow.kill(server)
        self.airflow.start_component(
            "api-server",
            AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS="False",
            AIRFLOW__API__BASE_URL=f"{self.airflow.url}{base}",
        )
        self.airflow.wait_until_ready()

    def insert_script(self) -> None:
        """Make a parent and a child whose every name is a script. Airflow's parser refuses such Dag ids."""
        engine = sa.create_engine(self.airflow.options["database.sql_alchemy_conn"])
        with Session(engine) as session:
            Rows(session).wait(
                SCRIPT, SCRIPT, child=(SCRIPT, f"{SCRIPT}0"), task_id=SCRIPT, decisions=("fresh_submit", "reconnect")
            )
        engine.dispose()

    @contextlib.contextmanager
    def served_under(self, base: str) -> Iterator[str]:
        """Serve under a path prefix for a while."""
        self.serve(base)
        try:
            yield base
        finally:
            self.serve()

    def _wait_for_decision(self, dag_id: str, try_number: int, map_index: int) -> None:
        def has_decided() -> bool:
            records = self.airflow.database.stored(dag_id, RUN_ID)
            return any(
                entry["try_number"] == try_number
                for (_, index, _), record in records.items()
                if index == map_index
                for entry in record["attempts"]
            )

        self.wait_for(has_decided, f"try {try_number} of {dag_id} to decide")


@contextlib.contextmanager
def open_lab(home: Path) -> Iterator[Lab]:
    """Start it all, make the waits, let nobody in without a password, and end it all."""
    passwords = home / "passwords.json"
    passwords.write_text(json.dumps(USERS))
    options = {
        **_OPTIONS,
        "core.simple_auth_manager_users": ",".join(f"{name}:viewer" for name in USERS),
        "core.simple_auth_manager_passwords_file": str(passwords),
    }
    os.environ[SCOPES] = json.dumps({"lim": SCOPE})
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))
    airflow = ScratchAirflow(home, dag_folders={"waits": Path(__file__).parent / "dags"}, options=options)
    with airflow:
        airflow.options["core.execution_api_server_url"] = f"{airflow.execution_url}/execution/"
        airflow.start((*DEFAULT_COMPONENTS, "execution-api-server"))
        lab = Lab(airflow)
        with contextlib.closing(PublicApi(airflow.url)) as api:
            _make_waits(lab, api)
        lab.serve()
        yield lab


def _make_waits(lab: Lab, api: PublicApi) -> None:
    lab.airflow.wait_for_dags(_DAGS)
    for dag_id in (
        "weekly_close",
        "nightly_finance",
        "hourly_ingest",
        "forecasting",
        "reporting",
        "payroll",
        "bonuses",
    ):
        api.trigger(dag_id, RUN_ID)

    def crash_twice() -> None:
        lab.crash("weekly_close", "close_books")
        lab.crash("weekly_close", "close_books", try_number=2)

    with ThreadPoolExecutor(3) as pool:
        crashes: list[Any] = [
            pool.submit(crash_twice),
            pool.submit(lab.crash, "nightly_finance", "reconcile_ledger"),
            pool.submit(lab.crash, "hourly_ingest", "load_region", map_index=1),
        ]
        for crash in crashes:
            crash.result()
    for dag_id in ("weekly_close", "nightly_finance", "reporting", "payroll", "bonuses"):
        lab.wait_for_state(dag_id, "success")
    lab.wait_for_state("forecasting", "deferred")
