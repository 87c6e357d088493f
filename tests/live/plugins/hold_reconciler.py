"""
An Airflow plugin for the live tests: it holds the reconciler of its process at a step, for the process to be killed.

A file in the folder ``HOLD_RECONCILER``, named after the step and the child's Dag, says where; a file beside it says
that the reconciler is there. It continues if the file is removed.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

FOLDER = os.environ.get("HOLD_RECONCILER")
_PAUSE_SECONDS = 0.05


def hold(step: str, dag_id: str) -> None:
    """Stay here for as long as a scenario wants it."""
    wanted = Path(FOLDER or "") / f"{step} {dag_id}"
    while wanted.exists():
        wanted.with_name(f"{wanted.name} held").touch()
        time.sleep(_PAUSE_SECONDS)


def hold_after(step: str, function: Callable[..., None], find_dag_id: Callable[..., str]) -> Callable[..., None]:
    """Return a function that holds after it has done what the given one does."""

    def held(*arguments: Any) -> None:  # noqa: ANN401 - as the given one's
        function(*arguments)
        hold(step, find_dag_id(*arguments))

    return held


if FOLDER:
    from airflow_durable.server import changes, reporting

    # All is done then but the commit.
    changes.write_audit_log = hold_after("before_commit", changes.write_audit_log, lambda *given: given[2]["dag_id"])
    reporting.Reports.done = staticmethod(  # type: ignore[method-assign] # planted
        hold_after("after_commit", reporting.Reports.done, lambda done, *_: done.dag_id)
    )
