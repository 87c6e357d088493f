"""The table of differences in docs/migration.md."""

from __future__ import annotations

from pathlib import Path

from .differences import DIFFERENCES

PAGE = Path(__file__).parents[2] / "docs" / "migration.md"
BEGIN = "<!-- differences: written by python -m tests.sidebyside -->"
END = "<!-- end of differences -->"


def build_table() -> str:
    """Return the table as Markdown."""
    rows = ["| | stock | durable | why |", "| --- | --- | --- | --- |"]
    rows += [f"| {each.what} | {each.stock} | {each.durable} | {each.why} |" for each in DIFFERENCES]
    return "\n".join(rows)


def with_table(page: str) -> str:
    """Return the page with the table of now."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    assert rest, f"{PAGE} has no place for the table: {BEGIN}"
    return f"{before}{BEGIN}\n\n{build_table()}\n\n{END}{after}"
