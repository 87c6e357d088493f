"""The demonstration's result, for people and for machines."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from airflow_durable.layout import make_table

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_durable.demo.comparison import Comparison, ParentResult

_COLUMNS = {
    "stock": "durable=False",
    "durable": "durable=True",
    "switched": "stock operator, stock_operators=durable",
}
_ROWS: tuple[tuple[str, Callable[[ParentResult], str]], ...] = (
    ("child runs", lambda parent: str(parent.child_runs)),
    ("tries", lambda parent: str(parent.attempts)),
    ("the retry", lambda parent: parent.retry_did),
    ("child work done twice", lambda parent: f"{parent.work_done_twice_seconds:.0f} s"),
    ("from the crash to the parent's end", lambda parent: f"{parent.recovery_seconds:.0f} s"),
    ("the parent's end", lambda parent: parent.state),
)


def build_lines(comparison: Comparison) -> list[str]:
    """Return the before/after table."""
    headings = ("", *(_COLUMNS[parent.kind] for parent in comparison.parents))
    rows = [(name, *(show(parent) for parent in comparison.parents)) for name, show in _ROWS]
    title = f"A worker was killed while its task waited (Airflow {comparison.airflow_version})"
    return [title, "", *make_table(headings, rows)]


def build_json(comparison: Comparison) -> dict[str, Any]:
    """Return the same, as JSON has it."""
    return {**asdict(comparison), "faults": comparison.faults}
