"""The table of scenarios and versions, for a terminal and for the docs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from packaging.version import Version
from rich.table import Table

from .results import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .results import EnvironmentResult, TestResult

_UNIT_FOLDERS = ("core", "adapters", "sidebyside")
_HEAD = """\
# Every supported Airflow

The results of the tests on each supported Airflow: with the newest standard provider, and with the one that the
constraints of that Airflow pin. Each runs in an environment of its own, with the pins in `constraints/`. `make matrix`
writes this page; do not edit it. For one Airflow alone: `make matrix MATRIX="--airflow 3.0.6 --provider own"`.
"""
_LIVE_HEAD = """\
## What happens after a crash

Each row describes what happens on a real Airflow whose workers, triggerer and connections are killed or cut at an exact
moment. The name in parentheses is that of the test in `tests/live`. Each column is an Airflow and its standard
provider. *pass* means that the test saw this happen there. *cannot* is a limit of that Airflow: the note with that
number, at the end of this page, says what happens instead. The test checks that, too, and fails otherwise. *pass at the
second run* means that it failed beside all others, and passed when its module was run again. On a busy machine Airflow
fails tries before any of our code runs (*state mismatch* in its audit log), and a test had counted on their number; and
the scheduler of 3.1 can end by a race of its own (*StaleDataError*), with all that runs beside it.
"""


class Footnotes:
    """Numbered notes, each once."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def number_of(self, note: str) -> int:
        """Return the note's number."""
        if note not in self.notes:
            self.notes.append(note)
        return self.notes.index(note) + 1


def build_markdown(results: Sequence[EnvironmentResult]) -> str:
    """Return the page for the docs."""
    results = _in_order(results)
    lines = [_HEAD, "| Airflow | Python | standard provider | core | adapters | side by side with stock | live |"]
    lines.append("|---|---|---|---|---|---|---|")
    for result in results:
        counts = [_tell_counts(result, folder) for folder in (*_UNIT_FOLDERS, "live")]
        lines.append(f"| {result.airflow} | {result.python} | {result.provider} | {' | '.join(counts)} |")
    live = [result for result in results if result.count("live")]
    if live:
        lines += ["", _LIVE_HEAD, *_build_live_lines(live)]
    return "\n".join(lines) + "\n"


def build_tables(results: Sequence[EnvironmentResult]) -> list[Table]:
    """Return the same for a terminal, without the scenarios' descriptions."""
    results = _in_order(results)
    overview = Table("Airflow", "Python", "standard provider", *_UNIT_FOLDERS, "live", title="Tests by environment")
    for result in results:
        counts = [_tell_counts(result, folder) for folder in (*_UNIT_FOLDERS, "live")]
        overview.add_row(result.airflow, result.python, result.provider, *counts)
    live = [result for result in results if result.count("live")]
    if not live:
        return [overview]
    notes = Footnotes()
    scenarios = Table("scenario", *(result.label for result in live), title="Live scenarios")
    for test in _scenarios(live):
        scenarios.add_row(test.name, *(_tell(result.find(test.name), notes) for result in live))
    explained = Table("", "", title="What cannot be done", show_header=False)
    for number, note in enumerate(notes.notes, 1):
        explained.add_row(str(number), note)
    return [overview, scenarios, *([explained] if notes.notes else [])]


def _build_live_lines(live: Sequence[EnvironmentResult]) -> Iterable[str]:
    notes = Footnotes()
    story = None
    for test in _scenarios(live):
        if test.story != story:
            story = test.story
            yield from (f"\n### {story}\n", f"| scenario | {' | '.join(result.label for result in live)} |")
            yield f"|---|{'---|' * len(live)}"
        cells = " | ".join(_tell(result.find(test.name), notes) for result in live)
        yield f"| {test.promise} (`{test.name}`) | {cells} |"
    if notes.notes:
        yield "\n## What happens instead, and why\n"
        yield from (f"{number}. {note}" for number, note in enumerate(notes.notes, 1))


def _scenarios(live: Sequence[EnvironmentResult]) -> list[TestResult]:
    """Return one result of each scenario, in the order in which the newest Airflow ran them."""
    found: dict[str, TestResult] = {}
    for result in reversed(live):
        for test in result.tests:
            if test.folder == "live" and test.promise:
                found.setdefault(test.name, test)
    return list(found.values())


def _tell(test: TestResult | None, notes: Footnotes) -> str:
    if test is None:
        return Verdict.NOT_RUN.value
    if test.verdict is Verdict.FAIL:
        return "**FAIL**"
    verdict: str = test.verdict.value
    if not test.reason:
        return verdict
    note = f"Instead: {test.instead}. {test.reason}" if test.instead else test.reason
    return f"{verdict} ({notes.number_of(note)})"


def _tell_counts(result: EnvironmentResult, folder: str) -> str:
    counts = result.count(folder)
    return ", ".join(f"{counts[verdict]} {verdict.value}" for verdict in Verdict if counts[verdict]) or "not run"


def _in_order(results: Sequence[EnvironmentResult]) -> list[EnvironmentResult]:
    return sorted(
        results, key=lambda result: (Version(result.airflow), Version(result.provider), Version(result.python))
    )
