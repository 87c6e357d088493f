"""
The benchmarks as bars, drawn from the page's own tables: what a chart shows is what the table behind it says.

SVG by hand, because there are few bars, and nothing else here needs a plotting library. ``python -m bench.charts
docs/benchmarks.md`` draws them again.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_ROW = re.compile(r"^\| (?P<figure>[^|]+) \| (?P<stock>[^|]*) \| (?P<ours>[^|]*) \| [^|]* \|$", re.MULTILINE)
_NUMBER = re.compile(r"-?[\d,]*\.?\d+")
_COLOURS = ("#c4472c", "#1b7f5c")
_WIDTH, _LEFT, _RIGHT, _TOP = 760, 200, 150, 64
_BAR, _GAP = 16, 14


@dataclass(frozen=True)
class Chart:
    """
    A chart of some rows.

    :param pattern: of the rows' figures; its group is what a bar is labelled with.
    :param label: how the group is shown.
    :param kinds: what the two columns are called.
    """

    name: str
    title: str
    pattern: str
    label: str
    kinds: tuple[str, str] = ("stock operator", "durable")


CHARTS = (
    Chart(
        "benchmarks-latency",
        "Deferred waits: from the child's end to the parent's resumption (median, seconds)",
        r"([\d,]+ waits): child's end to parent's resumption, p50 \(s\)",
        "{}",
    ),
    Chart(
        "benchmarks-look-ups",
        "Deferred waits: look-ups of Dag runs a second",
        r"([\d,]+ waits): look-ups a second, made",
        "{}",
    ),
    Chart(
        "benchmarks-worker",
        "Waits on a worker: from the child's end to the parent's end (median, seconds)",
        r"a child whose task works ([\d,]+ s): child's end to parent's end \(s\)",
        "a child of {}",
    ),
    Chart(
        "benchmarks-many",
        "Many runs of one task: the time for each as their number grows (milliseconds)",
        r"([\d,]+ runs): time for each \(ms\)",
        "{}",
        ("bare requests", "one task with many runs"),
    ),
)


def draw_all(page: str) -> dict[str, str]:
    """Return the SVG of each chart for which the page has rows, by its name."""
    return {chart.name: drawn for chart in CHARTS if (drawn := _draw(chart, page))}


def write(page: Path) -> None:
    """Write the charts of a page beside it."""
    for name, svg in draw_all(page.read_text(encoding="utf-8")).items():
        page.with_name(f"{name}.svg").write_text(svg, encoding="utf-8")


def embed(name: str) -> str:
    """Return how the page shows a chart."""
    (chart,) = [chart for chart in CHARTS if chart.name == name]
    return f"![{chart.title}]({name}.svg)\n"


def _draw(chart: Chart, page: str) -> str:
    rows = list(_rows(chart, page))
    if not rows:
        return ""
    longest = max((_value(text) or 0.0 for _, texts in rows for text in texts), default=0.0) or 1.0
    scale = (_WIDTH - _LEFT - _RIGHT) / longest
    parts = [_legend(chart.kinds)]
    y = _TOP
    for label, texts in rows:
        parts.append(_text(_LEFT - 12, y + _BAR + 2, label, anchor="end"))
        for colour, text in zip(_COLOURS, texts, strict=True):
            value = _value(text)
            width = max((value or 0.0) * scale, 1.0)
            if value is not None:
                parts.append(f'<rect x="{_LEFT}" y="{y}" width="{width:.1f}" height="{_BAR - 2}" fill="{colour}"/>\n')
            shown = text.partition(" (")[0] or "not measured"
            parts.append(_text(_LEFT + (width if value is not None else 0) + 6, y + _BAR - 4, shown))
            y += _BAR
        y += _GAP
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {y}" font-family="sans-serif" font-size="13" '
        f'role="img" aria-label="{escape(chart.title)}">\n<rect width="100%" height="100%" fill="#ffffff"/>\n'
    )
    return f"{head}{_text(16, 24, chart.title, size=15)}{''.join(parts)}</svg>\n"


def _rows(chart: Chart, page: str) -> Iterator[tuple[str, tuple[str, str]]]:
    for row in _ROW.finditer(page):
        if match := re.fullmatch(chart.pattern, row["figure"]):
            yield chart.label.format(match[1]), (row["stock"].strip(), row["ours"].strip())


def _value(text: str) -> float | None:
    """Return the median, None if there is none."""
    match = _NUMBER.match(text)
    return float(match[0].replace(",", "")) if match else None


def _legend(kinds: tuple[str, str]) -> str:
    parts, x = [], _LEFT
    for title, colour in zip(kinds, _COLOURS, strict=True):
        parts.append(f'<rect x="{x}" y="38" width="12" height="12" fill="{colour}"/>\n{_text(x + 18, 49, title)}')
        x += 140
    return "".join(parts)


def _text(x: float, y: float, text: str, *, anchor: str = "start", size: int = 13) -> str:
    return f'<text x="{x:.1f}" y="{y}" text-anchor="{anchor}" font-size="{size}" fill="#222222">{escape(text)}</text>\n'


if __name__ == "__main__":
    write(Path(sys.argv[1]))
