"""The demonstration: all parents lose their workers, and what their retries did is read from the database."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_durable.demo import steps
from airflow_durable.demo.engine import ScratchAirflow
from airflow_durable.demo.steps import STEP_LIMIT_SECONDS
from airflow_durable.metadata.model import ENDED_STATES

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_durable.demo.steps import Report
    from airflow_durable.metadata.model import DagRun, TaskTry
    from airflow_durable.metadata.scratch import ScratchDatabase

DAGS_FOLDER = Path(__file__).parent / "dags"
KINDS = ("stock", "durable", "switched")
"""The third is written like the first, with the stock operator, and made durable by the configuration alone."""
WORK_SECONDS = 30
RUN_ID = "demo"
TASK_ID = "run_child"

_OPTIONS = {
    **steps.OPTIONS,
    "durable.stock_operators": "durable",
    "durable.stock_operators_only": "demo_switched_parent",
}
_ENDED_RUN_STATES = frozenset({"success", "failed"})


@dataclass(frozen=True)
class ParentResult:
    """
    What became of one parent, by the database.

    :param work_done_twice_seconds: the work of all child runs but the first.
    :param recovery_seconds: from the kill to the parent's end.
    """

    kind: str
    state: str
    child_runs: int
    tries: int
    retry_did: str
    work_done_twice_seconds: float
    recovery_seconds: float


@dataclass(frozen=True)
class Comparison:
    """The result of the demonstration."""

    airflow_version: str
    parents: tuple[ParentResult, ...]
    took_seconds: float

    @property
    def faults(self) -> tuple[str, ...]:
        """Return why the demonstration does not show what it should. Empty if it does."""
        found = [
            f"The {parent.kind} parent was not retried, so its crash did not happen."
            for parent in self.parents
            if parent.tries < 2  # noqa: PLR2004 - the crashed one and its retry
        ]
        for durable in self.parents:
            if durable.kind == "stock":
                continue
            if durable.child_runs != 1:
                found.append(f"The {durable.kind} parent has {durable.child_runs} child runs, not exactly one.")
            if durable.state != "success":
                found.append(f"The {durable.kind} parent ended as {durable.state}, not as success.")
        return tuple(found)


def compare(
    home: Path, report: Report, show: Callable[[Comparison, str], None] = lambda _comparison, _url: None
) -> Comparison:
    """
    Start an Airflow in this folder, crash all parents, wait for their ends, and end the Airflow.

    :param report: is called with a line of progress at a time.
    :param show: is called with the result and Airflow's address before the Airflow is ended.
    :raises airflow_durable.demo.engine.AirflowNotReadyError: Airflow did not do its part.
    """
    began = time.monotonic()
    with ScratchAirflow(home, dag_folders={"demo": DAGS_FOLDER}, options=_OPTIONS) as airflow:
        dag_ids = {f"demo_{kind}_{role}" for kind in KINDS for role in ("parent", "child")}
        api, version = steps.start(airflow, dag_ids, report)
        for kind in KINDS:
            api.trigger(f"demo_{kind}_parent", RUN_ID, {"seconds": WORK_SECONDS})
        api.close()
        report(f"Triggered {len(KINDS)} parents. Each starts a child run of {WORK_SECONDS} s and waits for it.")
        killed_at = _crash_when_children_run(airflow, report)
        _watch_until_ended(airflow, report)
        parents = tuple(_measure(airflow.database, kind, killed_at[kind]) for kind in KINDS)
        comparison = Comparison(version, parents, time.monotonic() - began)
        show(comparison, airflow.url)
    return comparison


def _crash_when_children_run(airflow: ScratchAirflow, report: Report) -> dict[str, datetime]:
    database = airflow.database

    def is_working(kind: str) -> bool:
        return any(child.state == "running" for child in database.latest_tries(f"demo_{kind}_child"))

    airflow.wait_for(lambda: all(is_working(kind) for kind in KINDS), "all child runs to run", STEP_LIMIT_SECONDS)
    report("All child runs are running.")
    killed_at = {}
    for kind in KINDS:
        pids = steps.kill_worker_of(airflow, _parent(database, kind), f"{kind} parent")
        killed_at[kind] = datetime.now(tz=timezone.utc)
        report(f"Killed the worker of the {kind} parent by SIGKILL (processes {', '.join(map(str, pids))}).")
    return killed_at


def _watch_until_ended(airflow: ScratchAirflow, report: Report) -> None:
    """Wait until all parents and all child runs have ended; report each change on the way."""
    reported: dict[str, str] = {}

    def check() -> bool:
        is_done = True
        for kind in KINDS:
            parent, runs = _parent(airflow.database, kind), airflow.database.runs(f"demo_{kind}_child")
            states = ", ".join(str(run.state) for run in runs)
            line = f"{kind} parent: try {parent.try_number} {parent.state or 'waiting'}; child runs: {states}"
            if reported.get(kind) != line:
                reported[kind] = line
                report(line)
            is_done = is_done and parent.state in ENDED_STATES
            is_done = is_done and all(run.state in _ENDED_RUN_STATES for run in runs)
        return is_done

    report("Waiting for the scheduler to miss their heartbeats and to retry them.")
    airflow.wait_for(check, "all parents to end", STEP_LIMIT_SECONDS)


def _measure(database: ScratchDatabase, kind: str, killed_at: datetime) -> ParentResult:
    parent = _parent(database, kind)
    runs = database.runs(f"demo_{kind}_child")
    work_seconds = [_work_seconds(database, run) for run in runs]
    return ParentResult(
        kind=kind,
        state=parent.state or "none",
        child_runs=len(runs),
        tries=parent.try_number,
        retry_did=_what_the_retry_did(runs, killed_at),
        work_done_twice_seconds=sum(work_seconds[1:]),
        recovery_seconds=((parent.end_date or killed_at) - killed_at).total_seconds(),
    )


def _what_the_retry_did(runs: list[DagRun], killed_at: datetime) -> str:
    later = [run for run in runs if run.queued_at and run.queued_at > killed_at]
    if later:
        return "started a second child run" if len(later) == 1 else f"started {len(later)} more child runs"
    return "continued with the same child run"


def _work_seconds(database: ScratchDatabase, run: DagRun) -> float:
    return sum(
        (attempt.end_date - attempt.start_date).total_seconds()
        for attempt in database.tries(run.dag_id, run.run_id)
        if attempt.start_date and attempt.end_date
    )


def _parent(database: ScratchDatabase, kind: str) -> TaskTry:
    (attempt,) = database.latest_tries(f"demo_{kind}_parent", RUN_ID)
    return attempt
