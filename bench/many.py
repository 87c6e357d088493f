"""
Starting many runs from one task, beside bare requests and mapped stock operators.

``python -m bench.many [NUMBER] [--database sqlite|postgresql]``.

Also, without an Airflow: what an item costs in memory, and in the row of a deferral.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import tempfile
import tracemalloc
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from airflow_durable.core.items import Board, Items, Status, pack_keys
from airflow_durable.core.model import Parent
from airflow_durable.demo.api import PublicApi
from airflow_durable.demo.engine import DEFAULT_COMPONENTS, ScratchAirflow
from tests.support.servers import PostgresServer

if TYPE_CHECKING:
    from collections.abc import Mapping

NUMBER = 1000
MAPPED = 50
LIMIT_SECONDS = 900.0


def main() -> None:
    """Measure, and print the figures as JSON."""
    parser = argparse.ArgumentParser(prog="python -m bench.many", description="Measure many children of one task.")
    parser.add_argument("number", nargs="?", type=int, default=NUMBER, help="how many runs are started (%(default)s)")
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    arguments = parser.parse_args()
    figures: dict[str, Any] = {"memory": [measure_memory(count) for count in (10_000, 100_000)]}
    home = Path(tempfile.mkdtemp(prefix="bench-many-"))
    try:
        with contextlib.ExitStack() as servers:
            options = {}
            if arguments.database == "postgresql":
                options = servers.enter_context(PostgresServer(home)).options
            figures["start"] = {"database": arguments.database, **measure_start(home, arguments.number, options)}
    finally:
        shutil.rmtree(home, ignore_errors=True)
    print(json.dumps(figures, indent=1))  # noqa: T201 - the output


def measure_memory(count: int) -> dict[str, Any]:
    """Measure what the items of a task take beside their confs, and the arguments of its trigger."""
    parent = Parent("parent", "scheduled__2026-01-01", "trigger", -1, datetime(2026, 1, 1, tzinfo=timezone.utc))
    tracemalloc.start()
    items = Items.of_keys([f"customer-{number:06}" for number in range(count)])
    board = Board(items)
    for index in range(count):
        board.set(index, Status.ACTIVE)
    in_task = tracemalloc.get_traced_memory()[0]
    runs = {index: items.run_id(parent, index, epoch=0, generation=0) for index in range(count)}
    waiting = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    keys = items.keys or ()
    return {
        "items": count,
        "bytes_an_item": round(in_task / count),
        "bytes_an_item_while_waiting": round(waiting / count),
        "bytes_of_the_trigger_row": len(json.dumps(board.dump())) + len(pack_keys(keys)),
        "runs": len(runs),
    }


def measure_start(home: Path, number: int, options: Mapping[str, str]) -> dict[str, Any]:
    """
    Measure how long it takes to start this many runs, and the parents' processor time.

    That is of the scheduler with its LocalExecutor, in whose processes the tasks and their supervisors run. The child
    Dags are paused, so none of it is for the children.

    :param options: of the configuration; none: SQLite.
    """
    os.environ["BENCH_MANY"], os.environ["BENCH_MAPPED"] = str(number), str(MAPPED)
    airflow = ScratchAirflow(home, dag_folders={"bench": Path(__file__).parent / "dags"}, options=options)
    with airflow, contextlib.closing(PublicApi(airflow.url)) as api:
        airflow.start(DEFAULT_COMPONENTS)
        kinds = ("bare", "many", "mapped")
        airflow.wait_for_dags({f"bench_many_{kind}" for kind in kinds})
        found: dict[str, Any] = {"runs": number, "mapped_runs": MAPPED}
        for kind in kinds:
            dag_id = f"bench_many_{kind}"
            before = _processor_seconds(airflow)
            api.trigger(dag_id, "run")
            airflow.wait_for(partial(_has_ended, airflow, dag_id), f"{dag_id} to end", LIMIT_SECONDS)
            (run,) = airflow.database.runs(dag_id)
            if run.state != "success":
                logs = sorted((home / "logs").glob(f"dag_id={dag_id}/*/*/attempt=*.log"))
                message = f"{dag_id} is {run.state}: {[log.read_text()[-3000:] for log in logs[:1]]}"
                raise RuntimeError(message)
            found[f"{kind}_processor_seconds"] = round(_processor_seconds(airflow) - before, 2)
            if kind != "mapped":
                task_id = "trigger_bare" if kind == "bare" else "trigger"
                found[f"{kind}_seconds"] = round(api.xcom(dag_id, "run", task_id, "return_value"), 2)
            elif run.start_date and run.end_date:
                found["mapped_seconds"] = round((run.end_date - run.start_date).total_seconds(), 2)
        mapped, many = found["mapped_processor_seconds"] / MAPPED, found["many_processor_seconds"] / number
        found["processor_seconds_a_run_mapped_over_many"] = round(mapped / many, 1)
        found["children"] = {kind: len(airflow.database.runs(f"bench_many_child_{kind}")) for kind in kinds}
        return found


def _processor_seconds(airflow: ScratchAirflow) -> float:
    """Return the processor time of the scheduler's processes so far, in seconds, those that have ended included."""
    (leader,) = (component.process.pid for component in airflow.components if component.kind == "scheduler")
    processes = [psutil.Process(leader)]
    processes += processes[0].children(recursive=True)
    total = 0.0
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            total += sum(process.cpu_times()[:4])
    return total


def _has_ended(airflow: ScratchAirflow, dag_id: str) -> bool:
    return {run.state for run in airflow.database.runs(dag_id)} <= {"success", "failed"}


if __name__ == "__main__":
    main()
