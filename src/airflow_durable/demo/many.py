"""The demonstration of many children: the worker of their parent is killed while it starts them."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_durable.demo import steps
from airflow_durable.demo.engine import ScratchAirflow
from airflow_durable.demo.steps import STEP_LIMIT_SECONDS
from airflow_durable.layout import make_table
from airflow_durable.metadata.model import ENDED_STATES

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_durable.demo.steps import Report
    from airflow_durable.metadata.scratch import ScratchDatabase

DAGS_FOLDER = Path(__file__).parent / "many_dags"
PARENT, CHILD, RUN_ID = "demo_many_parent", "demo_many_child", "demo"
SECONDS_A_CHILD = 3.0
"""How long a child may take from its start to its end, on a busy machine and on SQLite."""


@dataclass(frozen=True)
class ManyResult:
    """
    What became of the parent and its children, by the database.

    :param runs_at_kill: child runs that were there when the worker was killed.
    :param runs_twice: child runs for an item that had one already.
    :param recovery_seconds: from the kill to the first run that the next try started; None: it started none.
    """

    airflow_version: str
    items: int
    state: str
    tries: int
    child_runs: int
    succeeded: int
    runs_at_kill: int
    runs_twice: int
    recovery_seconds: float | None
    took_seconds: float

    @property
    def faults(self) -> tuple[str, ...]:
        """Return why the demonstration does not show what it should. Empty if it does."""
        found = []
        if self.tries < 2:  # noqa: PLR2004 - the crashed one and its retry
            found.append("The parent was not retried, so its crash did not happen.")
        if not 0 < self.runs_at_kill < self.items:
            found.append(f"The worker was killed after {self.runs_at_kill} runs, not in the middle.")
        if (self.child_runs, self.succeeded, self.runs_twice) != (self.items, self.items, 0):
            found.append(f"There are {self.child_runs} child runs, not exactly {self.items} that succeeded.")
        if self.state != "success":
            found.append(f"The parent ended as {self.state}, not as success.")
        return tuple(found)


def run_many(
    home: Path,
    items: int,
    report: Report,
    progress: Callable[[int, int], None],
    show: Callable[[ManyResult, str], None] = lambda _result, _url: None,
) -> ManyResult:
    """
    Start an Airflow in this folder, let a task start this many children, kill its worker in the middle, and wait.

    :param report: is called with a line of progress at a time.
    :param progress: is called again and again with how many child runs there are, and how many have succeeded.
    :param show: is called with the result and Airflow's address before the Airflow is ended.
    :raises airflow_durable.demo.engine.AirflowNotReadyError: Airflow did not do its part.
    """
    began = time.monotonic()
    with ScratchAirflow(home, dag_folders={"demo": DAGS_FOLDER}, options=steps.OPTIONS) as airflow:
        api, version = steps.start(airflow, {PARENT, CHILD}, report)
        api.trigger(PARENT, RUN_ID, {"items": [{"name": f"item-{number}"} for number in range(items)]})
        api.close()
        report(f"Triggered the parent. It starts {items} child runs and waits for all of them.")
        killed_at, runs_at_kill = _crash_in_the_middle(airflow, items, report, progress)
        report("Waiting for the scheduler to miss its heartbeat and to retry it.")

        def is_over() -> bool:
            _note(airflow.database, progress)
            (parent,) = airflow.database.latest_tries(PARENT, RUN_ID)
            return parent.state in ENDED_STATES

        airflow.wait_for(is_over, "the parent to end", STEP_LIMIT_SECONDS + items * SECONDS_A_CHILD)
        result = _measure(airflow.database, version, items, killed_at, runs_at_kill, time.monotonic() - began)
        show(result, airflow.url)
    return result


def build_lines(result: ManyResult) -> list[str]:
    """Return the result as a table."""
    first = "none was missing" if result.recovery_seconds is None else f"{result.recovery_seconds:.0f} s"
    rows = (
        ("items", f"{result.items:,}"),
        ("child runs when the worker was killed", f"{result.runs_at_kill:,}"),
        ("child runs at the end", f"{result.child_runs:,}"),
        ("of these succeeded", f"{result.succeeded:,}"),
        ("items with a second child run", f"{result.runs_twice:,}"),
        ("tries", str(result.tries)),
        ("from the crash to the next new child run", first),
        ("the parent's end", result.state),
    )
    title = f"A worker was killed while its task started {result.items:,} runs (Airflow {result.airflow_version})"
    return [title, "", *make_table(("", "TriggerDagRunsOperator"), rows)]


def build_json(result: ManyResult) -> dict[str, Any]:
    """Return the same, as JSON has it."""
    return {**asdict(result), "faults": result.faults}


def _crash_in_the_middle(
    airflow: ScratchAirflow, items: int, report: Report, progress: Callable[[int, int], None]
) -> tuple[datetime, int]:
    """Kill the worker when half of the runs are there; return when, and how many there were."""
    database = airflow.database

    def is_half() -> bool:
        return _note(database, progress) >= items // 2

    airflow.wait_for(is_half, "half of the child runs", STEP_LIMIT_SECONDS + items * SECONDS_A_CHILD)
    (parent,) = database.latest_tries(PARENT, RUN_ID)
    pids = steps.kill_worker_of(airflow, parent, "parent")
    killed_at, count = datetime.now(tz=timezone.utc), len(database.runs(CHILD))
    killed = ", ".join(map(str, pids))
    report(f"Killed the worker by SIGKILL after {count} of {items} child runs (processes {killed}).")
    return killed_at, count


def _note(database: ScratchDatabase, progress: Callable[[int, int], None]) -> int:
    runs = database.runs(CHILD)
    progress(len(runs), sum(run.state == "success" for run in runs))
    return len(runs)


def _measure(  # noqa: PLR0913, PLR0917 - what the result is about
    database: ScratchDatabase, version: str, items: int, killed_at: datetime, runs_at_kill: int, took_seconds: float
) -> ManyResult:
    (parent,) = database.latest_tries(PARENT, RUN_ID)
    runs = database.runs(CHILD)
    names = {conf["name"] for conf in database.confs(CHILD, [run.run_id for run in runs]).values()}
    since = parent.start_date or killed_at
    later = [run.queued_at for run in runs if run.queued_at and run.queued_at >= since]
    return ManyResult(
        version,
        items,
        parent.state or "none",
        parent.try_number,
        len(runs),
        sum(run.state == "success" for run in runs),
        runs_at_kill,
        len(runs) - len(names),
        (min(later) - killed_at).total_seconds() if later else None,
        took_seconds,
    )
