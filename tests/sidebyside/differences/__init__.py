"""
The differences between the stock operator and this one with ``durable=True``: each with its reason, reviewed.

docs/migration.md shows them (``python -m tests.sidebyside`` writes them there). A difference that is not listed fails a
test, and so does one that is listed and does not show.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import of_code, of_conflicts, of_requests, of_waits

if TYPE_CHECKING:
    from .model import Difference, Shown

DIFFERENCES: tuple[Difference, ...] = (
    *of_waits.DIFFERENCES,
    *of_conflicts.DIFFERENCES,
    *of_requests.DIFFERENCES,
    *of_code.DIFFERENCES,
)


def shown_here() -> list[Shown]:
    """Return where differences show on the installed Airflow."""
    return [shown for difference in DIFFERENCES for shown in difference.shows if shown.is_on_this_airflow()]
