"""
Many children of one task, beside bare requests and mapped stock operators, on a real Airflow.

``python -m bench.many [NUMBER ...] [--mapped NUMBER ...] [--database sqlite|postgresql] [--write FILE]``

Beside that, without an Airflow: what is counted on a simulated server (:mod:`bench.many_simulated`), and memory.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
import tracemalloc
import uuid
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from airflow_durable.core.board import Board, Status
from airflow_durable.core.items import Items
from airflow_durable.core.model import Parent
from airflow_durable.core.packing import pack_keys
from airflow_durable.demo.api import PublicApi
from airflow_durable.demo.engine import DEFAULT_COMPONENTS, ScratchAirflow
from bench import charts, many_report, many_simulated
from tests.support.servers import PostgresServer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

NUMBERS = [100, 1000]
MAPPED = [50]
LIMIT_SECONDS = 7200.0
IDLE_SECONDS = 20.0
ROUNDS = 3
ROUNDS_TO = 1000
"""More runs are started once, fewer are started ``ROUNDS`` times."""
BARE_TO = 10_000
"""Above this number, bare requests are not measured: at 100,000 they take as long again, and the ratio is known."""


def main() -> None:
    """Measure, print the figures as JSON, and write their page."""
    parser = argparse.ArgumentParser(prog="python -m bench.many", description="Measure many children of one task.")
    parser.add_argument("numbers", nargs="*", type=int, default=NUMBERS, help="how many runs are started %(default)s")
    parser.add_argument("--mapped", nargs="+", type=int, default=MAPPED, help="by mapped stock operators %(default)s")
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument(
        "--bare-to", type=int, default=BARE_TO, help="above this number of runs, measure ours alone %(default)s"
    )
    parser.add_argument("--results", type=Path, help="where figures are kept; what is there is not measured again")
    parser.add_argument("--write", type=Path, help="a Markdown file to write the tables to, with its chart beside it")
    arguments = parser.parse_args()
    figures: dict[str, Any] = {"database": arguments.database, "mapped": {}, "started": {}}
    if arguments.results and arguments.results.exists():
        figures = json.loads(arguments.results.read_text(encoding="utf-8"))
        if figures["database"] != arguments.database:
            parser.error(f"{arguments.results} has figures of {figures['database']}")
    home = Path(tempfile.mkdtemp(prefix="bench-many-"))
    try:
        with contextlib.ExitStack() as servers:
            options = {}
            if arguments.database == "postgresql":
                options = servers.enter_context(PostgresServer(home)).options
            numbers = [number for number in arguments.numbers if str(number) not in figures["started"]]
            mapped = [number for number in arguments.mapped if str(number) not in figures["mapped"]]
            for kind, number, found in measure_starts(home, numbers, mapped, options, bare_to=arguments.bare_to):
                figures[kind][str(number)] = found
                print(json.dumps({kind: {number: found}}), file=sys.stderr, flush=True)  # noqa: T201 - progress
                if arguments.results:
                    arguments.results.write_text(json.dumps(figures, indent=1), encoding="utf-8")
    finally:
        shutil.rmtree(home, ignore_errors=True)
    figures["memory"] = [measure_memory(count) for count in (10_000, 100_000)]
    figures["simulated"] = many_simulated.measure()
    print(json.dumps(figures, indent=1))  # noqa: T201 - the output
    if arguments.write:
        arguments.write.write_text(many_report.write(figures), encoding="utf-8")
        charts.write(arguments.write)


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


def measure_starts(
    home: Path, numbers: Sequence[int], mapped: Sequence[int], options: Mapping[str, str], *, bare_to: int = BARE_TO
) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """
    Measure how long it takes to start runs, and the parents' processor time.

    That is of the scheduler with its LocalExecutor, in whose processes the tasks and their supervisors run, less what
    these take while nothing runs. The child Dags are paused, so none of it is for the children.

    :param numbers: how many runs are started, each in turn.
    :param mapped: how many are started by mapped stock operators.
    :param options: of the configuration; none: SQLite.
    :param bare_to: above this number of runs, bare requests are not measured.
    """
    os.environ["BENCH_MAPPED"] = ",".join(map(str, mapped))
    airflow = ScratchAirflow(home, dag_folders={"bench": Path(__file__).parent / "dags"}, options=options)
    with airflow, contextlib.closing(PublicApi(airflow.url)) as api:
        airflow.start(DEFAULT_COMPONENTS)
        airflow.wait_for_dags({"bench_many_bare", "bench_many_many", *(f"bench_many_mapped_{each}" for each in mapped)})
        idle = _measure_idle(airflow)
        for number in mapped:
            yield "mapped", number, _measure(airflow, api, f"mapped_{number}", number, idle)
        for number in numbers:
            # In turns, so that what else the machine does is in both.
            rounds = ROUNDS if number <= ROUNDS_TO else 1
            kinds = ("bare", "many") if number <= bare_to else ("many",)
            found = [{kind: _measure(airflow, api, kind, number, idle) for kind in kinds} for _ in range(rounds)]
            yield "started", number, {kind: _median([one[kind] for one in found]) for kind in kinds}


def _median(found: list[dict[str, float]]) -> dict[str, float]:
    return {name: round(statistics.median(one[name] for one in found), 2) for name in found[0]}


def _measure_idle(airflow: ScratchAirflow) -> float:
    """Return the processor seconds that the scheduler takes in a second in which nothing runs."""
    began, before = time.monotonic(), _processor_seconds(airflow)
    time.sleep(IDLE_SECONDS)
    return (_processor_seconds(airflow) - before) / (time.monotonic() - began)


def _measure(airflow: ScratchAirflow, api: PublicApi, kind: str, number: int, idle: float) -> dict[str, float]:
    """Start this many runs, and return the seconds and processor seconds that it took."""
    dag_id, run_id, child = f"bench_many_{kind}", f"run_{uuid.uuid4()}", f"bench_many_child_{kind}"
    began = time.monotonic()
    before, there = _processor_seconds(airflow), len(airflow.database.runs(child))
    api.trigger(dag_id, run_id, {"number": number})
    airflow.wait_for(partial(_has_ended, airflow, dag_id), f"{dag_id} to end", LIMIT_SECONDS)
    processor_seconds = round(_processor_seconds(airflow) - before - idle * (time.monotonic() - began), 2)
    (run,) = (run for run in airflow.database.runs(dag_id) if run.run_id == run_id)
    started = len(airflow.database.runs(child)) - there
    is_mapped = kind.startswith("mapped_")
    # A stock operator that was tried again may have started a second run. That is part of its cost.
    is_complete = started >= number if is_mapped else started == number
    if run.state != "success" or not is_complete:
        logs = sorted((airflow.home / "logs" / f"dag_id={dag_id}").rglob("attempt=*.log"))
        message = f"{dag_id} is {run.state}, {started} runs: {[log.read_text()[-3000:] for log in logs[:1]]}"
        raise RuntimeError(message)
    if not is_mapped:
        task_id = "trigger_bare" if kind == "bare" else "trigger"
        seconds = round(api.xcom(dag_id, run_id, task_id, "return_value"), 2)
    else:
        first, last = run.start_date or run.run_after, run.end_date or run.run_after
        seconds = round((last - first).total_seconds(), 2) if first and last else 0.0
    return {"seconds": seconds, "processor_seconds": processor_seconds}


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
