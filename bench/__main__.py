"""
Runs the benchmarks and writes their table: ``python -m bench [--quick] [--results FILE] [--write FILE]``.

Every figure is kept in the results file as soon as it is measured, so that what was interrupted can go on: figures are
added to what is there already, and the table is made of all of them.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import subprocess
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import parse, report, switch, sync, sync_live, waits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PARTS = ("costs", "switch", "sync", "sync-live", "waits")
IMPORT_PAIRS = 15
PARSE_PAIRS = 200
CHILD_SECONDS = (1.0, 10.0, 60.0, 600.0, 1800.0, 3600.0, 10800.0)
LIVE_CHILD_SECONDS = (1, 10, 60)
SPREAD = 50
"""How many durations near each of those are simulated: how long the last pause is depends on the exact one."""

FULL_WAITS = (
    waits.Plan("durable", 10_000),
    waits.Plan("durable", 10_000, triggerers=2),
    waits.Plan("durable", 5000),
    waits.Plan("stock", 1000),
    waits.Plan("durable", 1000),
    waits.Plan("stock", 200),
    waits.Plan("durable", 200),
    waits.Plan("stock", 10_000),
    waits.Plan("durable", 1000, child_dags=200),
    waits.Plan("durable", 10_000, child_tasks="none"),
    waits.Plan("durable", 1000, child_tasks="many", outage_seconds=300.0),
    waits.Plan("durable", 1000, child_tasks="none", outage_seconds=300.0),
)
QUICK = {"warm_up_seconds": 3.0, "settle_seconds": 5.0, "idle_seconds": 5.0, "window_seconds": 10.0}
QUICK_WAITS = (
    waits.Plan("stock", 100, **QUICK),  # type: ignore[arg-type] # floats
    waits.Plan("durable", 100, **QUICK),  # type: ignore[arg-type] # floats
    waits.Plan("durable", 100, child_tasks="many", outage_seconds=20.0, **QUICK),  # type: ignore[arg-type] # floats
)


def main() -> None:
    """Measure, then write the table."""
    arguments = _parse_arguments()
    results: list[dict[str, Any]] = json.loads(arguments.results.read_text()) if arguments.results.exists() else []

    def keep(part: str, figures: dict[str, Any]) -> None:
        results.append({"part": part, **figures})
        arguments.results.write_text(json.dumps(results, indent=1))

    runs = arguments.runs or (1 if arguments.quick else 3)
    for part in arguments.parts:
        _MEASURES[part](runs, arguments.quick, keep)
    table = report.write(results, command="make bench-quick" if arguments.quick else "make bench")
    if arguments.write:
        arguments.write.write_text(table)
    print(table)  # noqa: T201 - the output


def _measure_costs(runs: int, is_quick: bool, keep: Callable[[str, dict[str, Any]], None]) -> None:  # noqa: FBT001 - ours
    parse.prepare()
    for number in range(1 if is_quick else max(runs, IMPORT_PAIRS)):
        kinds = sorted(parse.MODULES, reverse=number % 2 == 1)
        keep("costs", {"figure": "import", **{kind: parse.import_seconds(kind) for kind in kinds}})
    for figures in parse.measure_parse(2 if is_quick else PARSE_PAIRS):
        keep("costs", figures)


def _measure_switch(runs: int, is_quick: bool, keep: Callable[[str, dict[str, Any]], None]) -> None:  # noqa: FBT001 - ours
    list(switch.measure_parse(1))  # have the bytecode written
    for _ in range(1 if is_quick else max(runs, IMPORT_PAIRS)):
        keep("switch", {"figure": "start", **switch.start_seconds()})
    for figures in switch.measure_parse(2 if is_quick else PARSE_PAIRS):
        keep("switch", figures)


def _measure_sync(_: int, is_quick: bool, keep: Callable[[str, dict[str, Any]], None]) -> None:  # noqa: FBT001 - ours
    for seconds in CHILD_SECONDS[:4] if is_quick else CHILD_SECONDS:
        durations = [seconds * (0.9 + 0.2 * number / SPREAD) for number in range(SPREAD + 1)]
        for kind, wait in (("stock", sync.wait_as_stock), ("durable", sync.wait_durably)):
            keep(
                "sync",
                {"kind": kind, "child_seconds": seconds, "waits": [asdict(wait(duration)) for duration in durations]},
            )
    requests, sleeps = sync.recover_finished()
    keep("recovery", {"requests": requests, "sleeps": sleeps})


def _measure_sync_live(runs: int, is_quick: bool, keep: Callable[[str, dict[str, Any]], None]) -> None:  # noqa: FBT001 - ours
    with _scratch_home() as home:
        for wait in sync_live.measure(home, LIVE_CHILD_SECONDS[:1] if is_quick else LIVE_CHILD_SECONDS, runs):
            keep("sync-live", asdict(wait))


def _measure_waits(runs: int, is_quick: bool, keep: Callable[[str, dict[str, Any]], None]) -> None:  # noqa: FBT001 - ours
    for _ in range(runs):
        for plan in QUICK_WAITS if is_quick else FULL_WAITS:
            keep("waits", _measure_plan(plan))


def _measure_plan(plan: waits.Plan) -> dict[str, Any]:
    with _scratch_home() as home:
        return asdict(waits.measure(replace(plan), home))


@contextlib.contextmanager
def _scratch_home() -> Iterator[Path]:
    home = Path(tempfile.mkdtemp(prefix="bench-"))
    try:
        yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)


_MEASURES: dict[str, Callable[[int, bool, Callable[[str, dict[str, Any]], None]], None]] = {
    "costs": _measure_costs,
    "switch": _measure_switch,
    "sync": _measure_sync,
    "sync-live": _measure_sync_live,
    "waits": _measure_waits,
}


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("parts", nargs="*", default=PARTS, help="what to measure (all)")
    parser.add_argument("--quick", action="store_true", help="few and small figures: that the benchmarks run")
    parser.add_argument("--runs", type=int, help="how often each figure is measured")
    parser.add_argument("--results", type=Path, default=Path("bench-results.json"), help="where figures are kept")
    parser.add_argument("--write", type=Path, help="where to write the table")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        raise SystemExit(f"{error}\n{(error.stderr or '')[-2000:]}") from error
