"""The benchmarks' table: figure, stock, ours, ratio; medians with their spread, ratios within each run."""

from __future__ import annotations

import os
import platform
import statistics
from collections import Counter
from importlib import metadata
from typing import TYPE_CHECKING, Any

import psutil

from bench.charts import embed

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_TITLE = """# Benchmarks

Measured against the stock operator, on the same machine, one after the other. `{command}` writes this page.

{machine}; {versions}.

If something was measured more than once, the figure is the median, with the lowest and the highest value in
parentheses. A ratio is the median of the ratios of the runs. Another machine gives other figures, but the ratios should
be similar.
"""

_ABOUT_WAITS = """Measured on one real triggerer, unless the row says more, with a real PostgreSQL. The waits are
written into the database as Airflow would have stored them. Each minute 100 children, of three tasks each, end at
random moments, one second after the last of their tasks. The database counts look-ups and transactions. *Needed* is one
look-up for each wait every 5 s. A parent has resumed when it is scheduled again in the database. After its trigger has
fired, the rest of the time is Airflow's: its runner reports once a second, and the supervisor's next turn resumes the
parent. A parent that had not resumed five minutes later is not part of the latencies.
"""

_ABOUT_OUTAGES = """The table of the Dag runs is locked for the given time. Meanwhile all children end: three of five
succeed, and two fail. To look them up one by one would take at least one look-up for each wait.
"""

_TASKS = {"few": "", "many": ", children with 15 tasks (6 of them mapped)", "none": ", children without tasks"}

_ABOUT_SYNC = """Measured on a simulated clock, with the default `poke_interval` of 60 s. Each row is for durations from
10 % less to 10 % more. *Stock* is Airflow's own handler, *ours* is the protocol. A request takes no time.

To notice the end of a child after at most a tenth of its duration, a wait has to check about fifty times in the first
ten minutes. The stock operator checks ten times. For children of about 45 minutes and more our operator checks less
than twice as often as the stock one in total. A retry whose child has ended decides after two requests: the record and
the look-up. A third one marks the outcome as consumed. Without this mark, the next retry could not be distinguished
from a person's clear.
"""


_ABOUT_SYNC_LIVE = """Measured with SQLite and the LocalExecutor, and the default `poke_interval` of 60 s. The end times
are those in the database. A child run takes some seconds longer than its task works, because its worker has to start
and the scheduler has to notice the end. A parent's end includes what its worker does after its last check.
"""


_ABOUT_COSTS = """Processor time of {imports} pairs for the import and of {parses} for the rest, with the quartiles in
parentheses. A Dag file is parsed as the Dag processor does it: in a fork of a process that has loaded the plugins and
has imported the `airflow.*` modules that the file names. The durable operator adds time when the file is executed,
because it is one more class with an `__init__`. Airflow merges `default_args` and the Dag's params once more for it,
and it has checks of its own. This costs more in a Dag with many params.
"""


_ABOUT_SWITCH = """One Dag file with the stock operator is parsed with each value of `[durable] stock_operators` in
turn, in forks of one process: {parses} rounds, and {starts} starts. Processor time in seconds, with the quartiles in
parentheses. The ratios compare figures of the same round.
"""


def write(results: Sequence[dict[str, Any]], *, command: str) -> str:
    """Return the page."""
    parts = [
        _TITLE.format(command=command, machine=describe_machine(), versions=describe_versions()),
        *_write_waits([result for result in results if result["part"] == "waits"]),
        *_write_sync(
            [result for result in results if result["part"] == "sync"],
            [result for result in results if result["part"] == "recovery"],
        ),
        *_write_sync_live([result for result in results if result["part"] == "sync-live"]),
        *_write_costs([result for result in results if result["part"] == "costs"]),
        *_write_switch([result for result in results if result["part"] == "switch"]),
    ]
    return "\n".join(parts)


def _write_waits(results: list[dict[str, Any]]) -> list[str]:
    if not results:
        return []
    rows = []
    outages = [result for result in results if result["plan"].get("outage_seconds")]
    results = [result for result in results if not result["plan"].get("outage_seconds")]
    keys = sorted({_key(result) for result in results})
    for key in keys:
        stock = [result for result in results if _key(result) == key and _is_stock(result)]
        ours = [result for result in results if _key(result) == key and not _is_stock(result)]
        waits, child_dags, triggerers, interval, child_tasks = key
        nominal = waits / interval
        what = f"{waits:,} waits"
        what += f" for {child_dags} Dags" if child_dags > 1 else ""
        what += f" on {triggerers} triggerers" if triggerers > 1 else ""
        what += _TASKS[child_tasks]
        rows += [
            _row(f"{what}: look-ups a second, needed", f"{nominal:,.0f}", "", ""),
            _compare(f"{what}: look-ups a second, made", stock, ours, "look_ups"),
            _compare(f"{what}: the same while nothing ends", stock, ours, "idle_look_ups"),
            _row(
                f"{what}: look-ups made, as a share of those needed",
                _percent([result["look_ups"] / nominal for result in stock]),
                _percent([result["look_ups"] / nominal for result in ours]),
                "",
            ),
            _compare(f"{what}: database transactions a second", stock, ours, "transactions"),
            _compare_latency(f"{what}: child's end to parent's resumption, p50 (s)", stock, ours, "p50"),
            _compare_latency(f"{what}: the same, p99 (s)", stock, ours, "p99"),
            _compare_latency(f"{what}: of that, until the trigger has fired, p50 (s)", stock, ours, "noticed_p50"),
            _compare_latency(f"{what}: the same, p99 (s)", stock, ours, "noticed_p99"),
            _compare(f"{what}: ended children whose parents have resumed (%)", stock, ours, "resumed_share"),
            _compare(f"{what}: processors busy", stock, ours, "cpu"),
        ]
        if triggerers > 1:
            rows.append(_compare(f"{what}: waits on the triggerer with the fewest", stock, ours, "fewest"))
        else:  # a second one loads its modules while it is measured
            rows.append(_compare(f"{what}: memory a wait (KiB)", stock, ours, "memory_kib"))
    shown = [embed("benchmarks-latency"), embed("benchmarks-look-ups")]
    return ["## Deferred waits\n", _ABOUT_WAITS, *shown, *_table(rows), *_write_outages(outages)]


def _write_outages(results: list[dict[str, Any]]) -> list[str]:
    if not results:
        return []
    rows = []
    for waits, seconds, tasks in sorted({_outage_key(result) for result in results}):
        ours = [result for result in results if _outage_key(result) == (waits, seconds, tasks)]
        what = f"{waits:,} waits{_TASKS[tasks]}, {seconds:,.0f} s"
        rows += [
            _compare(f"{what}: look-ups for each wait until all have resumed", [], ours, "asked_for_each"),
            _compare_latency(f"{what}: end of the outage to the parent's resumption, p50 (s)", [], ours, "p50"),
            _compare_latency(f"{what}: the same, the last one (s)", [], ours, "longest"),
            _compare(f"{what}: ended children whose parents have resumed (%)", [], ours, "resumed_share"),
        ]
    return ["## After an outage\n", _ABOUT_OUTAGES, *_table(rows)]


def _write_sync(results: list[dict[str, Any]], recoveries: list[dict[str, Any]]) -> list[str]:
    if not results:
        return []
    rows = []
    for seconds in sorted({result["child_seconds"] for result in results}):
        by_kind = {result["kind"]: result["waits"] for result in results if result["child_seconds"] == seconds}
        for figure, name in (("seconds", "child's end to parent's end (s)"), ("requests", "requests")):
            stock, durable = ([wait[figure] for wait in by_kind[kind]] for kind in ("stock", "durable"))
            ratio = statistics.mean(durable) / statistics.mean(stock)
            rows.append(_row(f"a child of {seconds:,.0f} s: {name}", _spread(stock), _spread(durable), f"{ratio:.2f}"))
    if recoveries:
        ours = f"{recoveries[-1]['requests']}, {recoveries[-1]['sleeps']}"
        rows.append(_row("a retry that finds its child finished: requests, sleeps", "starts a second child", ours, ""))
    return [
        "## The synchronous wait\n",
        _ABOUT_SYNC,
        *_table(rows),
    ]


def _write_sync_live(results: list[dict[str, Any]]) -> list[str]:
    rows = []
    for seconds in sorted({result["child_seconds"] for result in results}):
        stock, durable = (
            [result["waited"] for result in results if (result["kind"], result["child_seconds"]) == (kind, seconds)]
            for kind in ("stock", "durable")
        )
        for figure, name in (("seconds", "child's end to parent's end (s)"), ("requests", "requests")):
            rows.append(_compare(f"a child whose task works {seconds} s: {name}", stock, durable, figure))
    if not rows:
        return []
    shown = embed("benchmarks-worker")
    return ["## The synchronous wait, on a real Airflow\n", _ABOUT_SYNC_LIVE, shown, *_table(rows)]


def _write_costs(results: list[dict[str, Any]]) -> list[str]:
    if not results:
        return []
    names = {
        "import": "import of the operator, which imports Airflow",
        "parse": "a Dag file with 200 operators: everything that the parsing process does",
        "execute": "of that, executing the file",
    }
    rows = []
    counts = Counter(result["figure"] for result in results)
    for name, text in names.items():
        pairs = [result for result in results if result["figure"] == name]
        if not pairs:
            continue
        ratios = [pair["durable"] / pair["stock"] for pair in pairs]
        rows.append(
            _row(
                f"{text} (s)",
                _quartiles([pair["stock"] for pair in pairs]),
                _quartiles([pair["durable"] for pair in pairs]),
                _quartiles(ratios),
            )
        )
    return [
        "## What it costs to import and to parse\n",
        _ABOUT_COSTS.format(imports=counts["import"], parses=counts["parse"]),
        *_table(rows),
    ]


def _write_switch(results: list[dict[str, Any]]) -> list[str]:
    if not results:
        return []
    names = {
        "start": "to import Airflow's settings, as each process of Airflow does",
        "switch": "to parse a Dag file with 200 stock operators",
    }
    counts = Counter(result["figure"] for result in results)
    rows = ["| figure | without the package | `as_is` | `report` | `durable` |", "|---|---|---|---|---|"]
    for name, text in names.items():
        rounds = [result for result in results if result["figure"] == name]
        if not rounds:
            continue
        kinds = [kind for kind in ("absent", "as_is", "report", "durable") if kind in rounds[0]]
        seconds = [_quartiles([each[kind] for each in rounds]) for kind in kinds]
        ratios = ["1", *(_quartiles([each[kind] / each["absent"] for each in rounds]) for kind in kinds[1:])]
        blank = [""] * (4 - len(kinds))
        rows.append(f"| {' | '.join([text, *seconds, *blank])} |")
        rows.append(f"| {' | '.join(['ratio', *ratios, *blank])} |")
    about = _ABOUT_SWITCH.format(parses=counts["switch"], starts=counts["start"])
    return ["## What the switch costs\n", about, *rows, ""]


def _table(rows: Iterable[str]) -> list[str]:
    return ["| figure | stock | ours | ratio |\n|---|---|---|---|", *rows, ""]


def _row(figure: str, stock: str, ours: str, ratio: str) -> str:
    return f"| {figure} | {stock} | {ours} | {ratio} |"


def _compare(figure: str, stock: list[dict[str, Any]], ours: list[dict[str, Any]], name: str) -> str:
    return _row(
        figure,
        _spread([_value(result, name) for result in stock]),
        _spread([_value(result, name) for result in ours]),
        _ratio(stock, ours, name),
    )


def _compare_latency(figure: str, stock: list[dict[str, Any]], ours: list[dict[str, Any]], name: str) -> str:
    return _row(figure, _latency(stock, name), _latency(ours, name), _ratio(stock, ours, name))


def _ratio(stock: list[dict[str, Any]], ours: list[dict[str, Any]], name: str) -> str:
    pairs = [
        (_value(a, name), _value(b, name))
        for a, b in zip(stock, ours, strict=False)
        if _value(a, name) and _value(b, name) is not None
    ]
    return f"{statistics.median(b / a for a, b in pairs):.3g}" if pairs else ""


def _value(result: dict[str, Any], name: str) -> Any:  # noqa: ANN401 - a number or None
    if name == "memory_kib":
        return result["memory_a_wait"] / 1024
    if name == "resumed_share":
        return 100 * result["resumed"] / result["ended"]
    return result[name]


def _latency(results: list[dict[str, Any]], name: str) -> str:
    if not results:
        return ""
    return _spread([result[name] for result in results]) or "none resumed"


def _spread(values: Sequence[float | None]) -> str:
    numbers = sorted(value for value in values if value is not None)
    if not numbers:
        return ""
    median = statistics.median(numbers)
    if len(numbers) == 1 or numbers[0] == numbers[-1]:
        return _number(median)
    return f"{_number(median)} ({_number(numbers[0])} to {_number(numbers[-1])})"


def _quartiles(values: Sequence[float]) -> str:
    if len(values) < 2:  # noqa: PLR2004 - no quartiles of one
        return _spread(values)
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return f"{_number(median)} ({_number(low)} to {_number(high)})"


def _percent(shares: Sequence[float]) -> str:
    return _spread([100 * share for share in shares]) + (" %" if shares else "")


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"  # noqa: PLR2004 - three digits


def _key(result: dict[str, Any]) -> tuple[int, int, int, float, str]:
    plan = result["plan"]
    tasks = plan.get("child_tasks", "few")
    return plan["waits"], plan["child_dags"], plan.get("triggerers", 1), plan["poll_interval"], tasks


def _outage_key(result: dict[str, Any]) -> tuple[int, float, str]:
    plan = result["plan"]
    return plan["waits"], plan["outage_seconds"], plan["child_tasks"]


def _is_stock(result: dict[str, Any]) -> bool:
    return bool(result["plan"]["kind"] == "stock")


def describe_machine() -> str:
    """Say on what was measured."""
    gib = round(psutil.virtual_memory().total / 2**30)
    return f"{os.cpu_count()} cores, {gib} GiB, {platform.system()}"


def describe_versions() -> str:
    """Say with what was measured."""
    packages = ("apache-airflow", "apache-airflow-providers-standard", "airflow-durable")
    said = ", ".join(f"{package} {metadata.version(package)}" for package in packages)
    return f"Python {platform.python_version()}, {said}"
