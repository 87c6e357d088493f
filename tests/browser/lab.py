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
from tests.support.waits_rows import Rows, minutes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from airflow_durable.metadata.model import DagRun, TaskTry

RUN_ID = "2026-11-24"
LIMIT_SECONDS = 300.0
SCRIPT = "<script>alert(1)</script>"
USERS = {"ada": "secret-of-ada", "lim": "secret-of-lim", "eve": "secret-of-eve"}
ROLES = {"ada": "viewer", "lim": "viewer", "eve": "user"}
"""Ada may read every Dag, Lim those of :data:`SCOPE` alone. Eve may also change runs."""
SCOPE = ("nightly_finance", "reconcile_ledger", "bonuses")
HIDDEN = ("payroll", "payroll_run", "weekly_close", "hourly_ingest")

_ROOT = Path(__file__).parents[2]
LONG_PARENT = "finance_emea_nightly_reconciliation_and_regulatory_reporting_pipeline"
LONG_CHILD = "reconcile_general_ledger_against_all_subledgers_of_all_legal_entities"
_DAGS = {
    LONG_PARENT,
    LONG_CHILD,
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
}
_QUICK = {"scheduler.task_instance_heartbeat_timeout": "12"}
_DEFAULT = {
    "scheduler.task_instance_heartbeat_sec": "0",
    "scheduler.task_instance_heartbeat_timeout": "300",
    "scheduler.task_instance_heartbeat_timeout_detection_interval": "10",
    "workers.min_heartbeat_interval": "5",
}
"""Airflow's own defaults, in place of the scratch Airflow's (3.1 to 3.4, ``config_templates/config.yml``)."""
SLOWER = 4.4
"""On default settings: see the Dag file."""


@dataclass(frozen=True)
class Lab:
    """The Airflow, and what there is to see in it."""

    airflow: ScratchAirflow
    limit_seconds: float = LIMIT_SECONDS
    is_default: bool = False

    def runs(self, dag_id: str) -> list[DagRun]:
        """Return the runs of a Dag."""
        return self.airflow.database.runs(dag_id)

    def parent(self, dag_id: str, map_index: int = -1) -> TaskTry | None:
        """Return the latest try of a parent."""
        attempts = self.airflow.database.latest_tries(dag_id, RUN_ID)
        return next((attempt for attempt in attempts if attempt.map_index == map_index), None)

    def wait_for(self, is_done: Callable[[], bool], what: str) -> None:
        """Wait until the condition holds."""
        self.airflow.wait_for(is_done, what, self.limit_seconds)

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
            # For the page, Airflow takes long to notice: so the words stay the same for as long as the tests run.
            **({} if self.is_default else {"AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "3600"}),
        )
        self.airflow.wait_until_ready()

    def lose_the_workers(self) -> None:
        """Kill the scheduler with its workers: what still runs sends no heartbeat from now on, and nobody notices."""
        (scheduler,) = [component for component in self.airflow.components if component.kind == "scheduler"]
        self.airflow.kill(scheduler)

    def insert_script(self) -> None:
        """Make a parent and a child whose every name is a script. Airflow's parser refuses such Dag ids."""
        with self._rows() as rows:
            rows.wait(
                SCRIPT, SCRIPT, child=(SCRIPT, f"{SCRIPT}0"), task_id=SCRIPT, decisions=("fresh_submit", "reconnect")
            )

    def insert_late_crash(self, dag_id: str) -> None:
        """Make a parent that crashed while its child ran, and a child that ended before Airflow noticed."""
        with self._rows() as rows:
            rows.wait(
                dag_id,
                "run",
                child=(f"{dag_id}_child", "child"),
                decisions=("fresh_submit", "already_succeeded"),
                state="success",
                is_consumed=True,
                child_state="success",
                child_end=minutes(4),
            )
            rows.insert(
                "log",
                dttm=minutes(5),
                dag_id=dag_id,
                run_id="run",
                task_id="trigger",
                map_index=-1,
                try_number=1,
                event="heartbeat timeout",
                extra="Task did not emit heartbeat within time limit (120 seconds) and will be terminated.",
            )

    def insert_runs(self, dag_id: str, child_dag_id: str, run_ids: Sequence[tuple[str, str]]) -> None:
        """Make waits of one parent: its run ids, each with its child's."""
        with self._rows() as rows:
            for run_id, child_run_id in run_ids:
                rows.wait(dag_id, run_id, child=(child_dag_id, child_run_id), state="success", is_consumed=True)

    @contextlib.contextmanager
    def _rows(self) -> Iterator[Rows]:
        engine = sa.create_engine(self.airflow.options["database.sql_alchemy_conn"])
        with Session(engine) as session:
            yield Rows(session)
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
def open_lab(home: Path, *, is_default: bool = False) -> Iterator[Lab]:
    """
    Start it all, make the waits, let nobody in without a password, and end it all.

    :param is_default: leave it to Airflow's default settings when a crash is noticed: that takes some ten minutes.
    """
    passwords = home / "passwords.json"
    passwords.write_text(json.dumps(USERS))
    options = {
        **_OPTIONS,
        **(_DEFAULT if is_default else _QUICK),
        "core.simple_auth_manager_users": ",".join(f"{name}:{role}" for name, role in ROLES.items()),
        "core.simple_auth_manager_passwords_file": str(passwords),
    }
    os.environ[SCOPES] = json.dumps({"lim": SCOPE})
    if is_default:
        os.environ["DURABLE_TEST_SLOWER"] = str(SLOWER)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))
    airflow = ScratchAirflow(home, dag_folders={"waits": Path(__file__).parent / "dags"}, options=options)
    with airflow:
        airflow.options["core.execution_api_server_url"] = f"{airflow.execution_url}/execution/"
        airflow.start((*DEFAULT_COMPONENTS, "execution-api-server"))
        lab = Lab(airflow, LIMIT_SECONDS * (SLOWER if is_default else 1), is_default)
        with contextlib.closing(PublicApi(airflow.url)) as api:
            _make_waits(lab, api, crashes=1 if is_default else 2)
        lab.lose_the_workers()
        lab.serve()
        yield lab


def _make_waits(lab: Lab, api: PublicApi, crashes: int) -> None:
    lab.airflow.wait_for_dags(_DAGS)
    for dag_id in (
        "weekly_close",
        "nightly_finance",
        "hourly_ingest",
        "forecasting",
        "reporting",
        "payroll",
        "bonuses",
        LONG_PARENT,
    ):
        api.trigger(dag_id, RUN_ID)

    def crash_again_and_again() -> None:
        for number in range(1, crashes + 1):
            lab.crash("weekly_close", "close_books", try_number=number)

    with ThreadPoolExecutor(4) as pool:
        ends: list[Any] = [
            pool.submit(lab.crash, LONG_PARENT, LONG_CHILD),
            pool.submit(crash_again_and_again),
            pool.submit(lab.crash, "nightly_finance", "reconcile_ledger"),
            pool.submit(lab.crash, "hourly_ingest", "load_region", map_index=1),
        ]
        for end in ends:
            end.result()
    for dag_id in (LONG_PARENT, "weekly_close", "nightly_finance", "reporting", "payroll", "bonuses"):
        lab.wait_for_state(dag_id, "success")
    lab.wait_for_state("forecasting", "deferred")
