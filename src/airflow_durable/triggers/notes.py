"""
What the log of a deferred parent says of its wait: that it is still under way, and its end.

That it has begun the task has said before it deferred. Another line here would take a triggerer longer than all else
that it does to begin a wait: with it ten thousand took 130 to 150 seconds instead of 86.

The lines between are written on the poller's turns, a few on each: ten thousand waits need no timers of their own, and
those that began together do not stop the poller when their hour has come.
"""

from __future__ import annotations

import contextvars
import logging
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from airflow_durable.durations import format_duration
from airflow_durable.logs import write_line

if TYPE_CHECKING:
    from airflow_durable.triggers.batches import Wait

FIRST_NOTE_SECONDS = 600.0
"""After this long the log says that the wait is still under way, and..."""

NOTE_INTERVAL_SECONDS = 3600.0
"""... again each time after this long."""

NOTES_A_TURN = 20

log = logging.getLogger(__name__)


class WaitLog:
    """
    The lines about one wait, in the log of its parent.

    Airflow finds the log by a context variable (``trigger_id``, ``jobs/triggerer_job_runner.py``, 3.0 to 3.4), so the
    lines are written in the context in which this was made.

    :param log: the trigger's.
    :param dag_id: the child's Dag.
    :param run_id: the child's run id.
    """

    __slots__ = ("_context", "_dag_id", "_log", "_run_id")

    def __init__(self, log: Any, dag_id: str, run_id: str) -> None:  # noqa: ANN401 - differs by version
        self._log = log
        self._dag_id = dag_id
        self._run_id = run_id
        self._context = contextvars.copy_context()

    def wait(self, waited_seconds: float) -> None:
        """Say that it is still under way."""
        self._write("Still waiting for the child run.", waited=format_duration(waited_seconds))

    def end(self, state: str | None, waited_seconds: float) -> None:
        """
        Say how it ended.

        :param state: None: the run does not exist any more.
        """
        text = "The child run does not exist any more." if state is None else "The child run has ended."
        self._write(text, state=state or "missing", waited=format_duration(waited_seconds))

    def due(self, waited_seconds: float) -> None:
        """Say that a timeout can be over."""
        self._write(
            "A timeout of the child run can be over: the task checks it.", waited=format_duration(waited_seconds)
        )

    def _write(self, text: str, **fields: str) -> None:
        self._context.run(write_line, self._log, "info", text, dag_id=self._dag_id, run_id=self._run_id, **fields)


class Notes:
    """The waits whose logs are written to now and then."""

    def __init__(self) -> None:
        # Each in the order in which they are due.
        self._first: OrderedDict[Wait, tuple[float, WaitLog]] = OrderedDict()
        self._further: OrderedDict[Wait, tuple[float, WaitLog]] = OrderedDict()

    def add(self, wait: Wait, wait_log: WaitLog) -> None:
        """Write to the log of a wait from now on."""
        self._first[wait] = (wait.since + FIRST_NOTE_SECONDS, wait_log)

    def remove(self, wait: Wait) -> None:
        """Write to it no more."""
        self._first.pop(wait, None)
        self._further.pop(wait, None)

    def write_due(self, now: float) -> None:
        """Write the lines that are due, a few of them at once."""
        for _ in range(NOTES_A_TURN):
            queue = next((each for each in (self._first, self._further) if _next_at(each) <= now), None)
            if queue is None:
                return
            wait, (_, wait_log) = queue.popitem(last=False)
            self._further[wait] = (now + NOTE_INTERVAL_SECONDS, wait_log)
            try:
                wait_log.wait(now - wait.since)
            except Exception:
                # A log that cannot be written is no reason to end the waits.
                log.exception("A line about a wait could not be written. run_id=%s", wait.run_id)


def _next_at(queue: OrderedDict[Wait, tuple[float, WaitLog]]) -> float:
    return next((due for due, _ in queue.values()), float("inf"))
