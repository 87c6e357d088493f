"""The page of what many children of one task cost: ``docs/benchmarks-many.md``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench import report
from bench.charts import embed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_TITLE = """# Benchmarks: many child runs of one task

`{command}` writes this page. {machine}; {versions}.

Another machine gives other times, but the ratios should be similar. Counts of requests do not depend on the machine.
"""

_ABOUT_START = """## Starting runs

Measured on a real Airflow with the LocalExecutor and {database}, with everything on one machine. *Bare
requests* are a loop over trigger requests in a `@task`, without a record or a wait: the least that any operator
has to do. They and the task with many runs take turns, three times each up to 1,000 runs; the figures are
medians. More than 10,000 are started by ours alone, unless `--bare-to` says more. The child Dag is paused, so
its runs take no time. The API server sets the pace: a task has one channel to its supervisor, which answers one
request at a time.

"""

_ABOUT_PROCESSOR = """## Processor time of the parents

The processor time of the scheduler and the LocalExecutor, in which the tasks and their supervisors run, from
the parent's start to its end, less what they take while nothing runs. A *mapped* stock operator has a task
instance and a process for each run. One that fails is tried again, up to twice, and each of its tries counts.
The ratio is that of the times for one run.

"""

_ABOUT_COUNTS = """## Requests

Counted on a simulated server, on which a request takes 20 ms.

"""

_ABOUT_LAST = """## The end of the last run

On the same simulated server. The wait is deferred. The times are from the end of the last run to the end of the
wait, when all ends are known.

"""

_ABOUT_MEMORY = """## Memory

"""


def write(figures: Mapping[str, Any]) -> str:
    """Return the page."""
    parts = [
        _TITLE.format(
            command=_command(figures), machine=report.describe_machine(), versions=report.describe_versions()
        ),
        _ABOUT_START.format(database={"sqlite": "SQLite", "postgresql": "PostgreSQL"}[figures["database"]]),
        embed("benchmarks-many"),
        _start_table(figures["started"]),
        _ABOUT_PROCESSOR,
        _processor_table(figures["mapped"], figures["started"]),
        _ABOUT_COUNTS,
        _counts_table(figures["simulated"]),
        _ABOUT_LAST,
        _last_table(figures["simulated"]["last_end"]),
        _ABOUT_MEMORY,
        _memory_table(figures),
    ]
    return "\n".join(part.strip("\n") + "\n" for part in parts)


def _command(figures: Mapping[str, Any]) -> str:
    """Return what measures these figures again."""
    numbers, mapped = (
        " ".join(str(number) for number, _ in _by_number(figures[kind])) for kind in ("started", "mapped")
    )
    database = "" if figures["database"] == "postgresql" else f" DATABASE={figures['database']}"
    return f'make bench-many NUMBERS="{numbers}" MAPPED="{mapped}"{database}'


def _start_table(started: Mapping[str, Any]) -> str:
    rows: list[list[object]] = []
    for number, kinds in _by_number(started):
        many = kinds["many"]["seconds"]
        bare = kinds["bare"]["seconds"] if "bare" in kinds else None
        ratio = "" if bare is None else round(many / bare, 2)
        each = ["" if seconds is None else round(1000 * seconds / number, 1) for seconds in (bare, many)]
        rows.append([f"{number:,} runs: time to start them (s)", "" if bare is None else bare, many, ratio])
        rows.append([f"{number:,} runs: time for each (ms)", *each, ratio])
    return _table(["figure", "bare requests", "ours", "ratio"], rows)


def _by_number(found: Mapping[str, Any]) -> list[tuple[int, Any]]:
    return sorted((int(number), one) for number, one in found.items())


def _processor_table(mapped: Mapping[str, Any], started: Mapping[str, Any]) -> str:
    number, kinds = _by_number(started)[-1]
    ours = kinds["many"]["processor_seconds"] / number
    rows = [
        [
            f"{count:,} mapped stock operators, {number:,} runs of one task: for each run (ms)",
            round(1000 * found["processor_seconds"] / count, 1),
            round(1000 * ours, 2),
            round(found["processor_seconds"] / count / ours, 1),
        ]
        for count, found in _by_number(mapped)
    ]
    return _table(["figure", "mapped", "ours", "mapped / ours"], rows)


def _counts_table(simulated: Mapping[str, Any]) -> str:
    rows = [
        [f"{one['items']:,} items: requests beside those that start the runs, without a crash", one["requests"]]
        for one in simulated["without_a_crash"]
    ]
    for one in simulated["recovery"]:
        how = f"killed after {one['sent']:,}, of which {one['done']:.0%} are done and {one['failed']} failed"
        rows.append(
            [f"{one['items']:,} items, {how}: requests of the next try before its first new run", one["requests"]]
        )
    rows += [
        [
            f"{one['items']:,} active runs, {one['ended_a_minute']} end each minute: requests a minute",
            one["requests_a_minute"],
        ]
        for one in simulated["wait"]
    ]
    return _table(["figure", "requests"], rows)


def _last_table(ends: Iterable[Mapping[str, Any]]) -> str:
    rows = []
    for one in ends:
        each = one["ended_a_minute"]
        how = f"{each} end each minute" if isinstance(each, int) else f"{each}"
        figure = f"{one['items']:,} runs, {how}"
        rows.append(
            [figure, one["times"], one["seconds_after_the_last_end_p50"], one["seconds_after_the_last_end_max"]]
        )
    return _table(["figure", "times", "median (s)", "longest (s)"], rows)


def _memory_table(figures: Mapping[str, Any]) -> str:
    rows: list[list[object]] = [
        [f"{one['items']:,} items with keys of 15 characters: in the task, for each (bytes)", one["bytes_an_item"]]
        for one in figures["memory"]
    ]
    rows += [
        [f"{one['items']:,} active runs: in the triggerer, for each (bytes)", one["bytes_an_item"]]
        for one in figures["simulated"]["memory_of_the_wait"]
    ]
    rows += [
        [f"{one['items']:,} items: the arguments of the trigger (bytes)", one["bytes_of_the_trigger_row"]]
        for one in figures["memory"]
    ]
    return _table(["figure", ""], rows)


def _table(head: list[str], rows: Iterable[list[object]]) -> str:
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    lines += [f"| {' | '.join(f'{cell:,}' if isinstance(cell, int) else str(cell) for cell in row)} |" for row in rows]
    return "\n".join(lines)
