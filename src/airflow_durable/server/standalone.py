"""The reconciler as a process of its own: ``airflow-durable reconcile``."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING

from airflow_durable.metadata.tables import load_tables
from airflow_durable.server import hosting
from airflow_durable.server.reconciler import Reconciler

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from airflow_durable.server.reconciler import Turn

_PAST = {"cancel": "Ended", "resume": "Resumed", "reset": "Reset"}


class NoRecordsError(Exception):
    """This Airflow keeps no records, so nothing can be asked for."""


def run_here(say: Callable[[str], object], *, is_once: bool) -> None:
    """
    Run the reconciler in this process, until SIGTERM or SIGINT.

    :param say: is given a line of progress.
    :raises NoRecordsError: Airflow is older than 3.3.
    """
    if load_tables().store is None:
        raise NoRecordsError("This Airflow has no task state store (3.3 has), so no task can ask for anything.")
    progress = _Progress(say)
    if is_once:
        progress.report(Reconciler().turn())
        return
    stop = threading.Event()

    def end(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    say(f"The reconciler looks every {hosting.interval_seconds():g} seconds. Interrupt it to end it.")
    hosting.run(stop, progress.report)
    say("The reconciler has ended.")


class _Progress:
    """Says what a turn did, and how many records are watched when that changes."""

    def __init__(self, say: Callable[[str], object]) -> None:
        self._say = say
        self._watched: int | None = None

    def report(self, turn: Turn) -> None:
        for one in turn.done:
            self._say(f"{_PAST[one.act.value]} {one.dag_id} {one.run_id} for {one.parent}.")
        if turn.watched != self._watched:
            self._say(f"Watching {turn.watched} record{'' if turn.watched == 1 else 's'}.")
            self._watched = turn.watched
