"""What people see of a task with many children: log lines, never a conf."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from airflow_durable.compat import Stats
from airflow_durable.core.model import Decision
from airflow_durable.durations import format_duration
from airflow_durable.logs import write_line

if TYPE_CHECKING:
    from airflow_durable.core.board import Board
    from airflow_durable.core.many import Many

NOTE_SECONDS = 30.0
"""The log says how the whole stands no more often than that."""

SUCCEEDED = "durable.items.succeeded"
FAILED = "durable.items.failed"

_COUNTERS = {
    Decision.FRESH_SUBMIT: ("resumable_job.fresh_submit",),
    Decision.RECONNECT: ("resumable_job.reconnect_attempt", "resumable_job.reconnect_success"),
    Decision.SUCCEED_AGAIN: ("resumable_job.reconnect_attempt", "resumable_job.already_succeeded"),
}
"""Of the whole task, as those of a task with one child."""

_MESSAGES = {
    Decision.FRESH_SUBMIT: "Starting a run for each item.",
    Decision.RECONNECT: "Continuing with the runs of an earlier try: what succeeded or still runs is kept, the rest is "
    "started.",
    Decision.SUCCEED_AGAIN: "An earlier try recorded its success and died before it reported it; succeeding again.",
    Decision.RESUME: "Asking the reconciler to let failed child runs continue from where they failed, and waiting.",
    Decision.WAIT_OUT: "All work is asked for anew, and runs of before are active: waiting for their end first. To "
    "wait no longer, mark them as failed.",
}


class ManyReporter:
    """
    Reports one try.

    :param log: the task's log.
    :param operator: the operator's class name, the tag of every counter.
    :param tags: further tags (the team, where Airflow has teams).
    """

    def __init__(self, log: Any, operator: str, tags: dict[str, str]) -> None:  # noqa: ANN401 - differs by version
        self._log = log
        self._tags = {"operator": operator, **tags}
        self._began = self._noted = time.monotonic()
        self._ended_before: int | None = None

    def decided(self, decision: Decision, many: Many) -> None:
        """Report a decision about the whole."""
        board, ledger = many.board, many.ledger
        text = _MESSAGES.get(decision, decision.value)
        write_line(self._log, "info", text, dag_id=ledger.dag_id, items=f"{board.items.count:,}")
        for counter in _COUNTERS.get(decision, ()):
            Stats.incr(counter, tags=self._tags)
        if decision is not Decision.WAIT_OUT and decision is not Decision.FRESH_SUBMIT:
            self.progress(board, is_due=True)

    def ended(self, board: Board) -> None:
        """Count the items by what became of them, when a try has ended: it succeeds, or too many have failed."""
        for counter, count in ((SUCCEEDED, board.done), (FAILED, board.failed)):
            if count:
                Stats.incr(counter, count, tags=self._tags)

    def items_changed(self, before: int, now: int) -> None:
        """Report that the list is another one than the one that an earlier try had."""
        write_line(
            self._log,
            "warning",
            "The items have changed since an earlier try. Items with a key of before keep their runs, new ones get a "
            "run, and runs of items that were taken out are left as they are.",
            items_before=f"{before:,}",
            items=f"{now:,}",
        )

    def progress(self, board: Board, *, is_due: bool = False) -> None:
        """Report how the whole stands, if it is time to."""
        ended, now = board.done + board.failed, time.monotonic()
        if self._ended_before is None:
            self._ended_before = ended
        if is_due or now - self._noted >= NOTE_SECONDS:
            self._noted = now
            write_line(self._log, "info", describe(board) + self._remaining(board, ended, now))

    def watching(self, board: Board, ended: int, failed: int) -> None:
        """
        Report how a wait stands.

        :param ended: so many more have ended than the board says...
        :param failed: ... and so many of them failed.
        """
        done, _ = board.after(ended, failed)
        left = self._remaining(board, done + board.failed + failed, time.monotonic())
        write_line(self._log, "info", describe(board, ended=ended, failed=failed) + left)

    def trouble(self, error: Exception) -> None:
        """Report a failed call that will be repeated."""
        write_line(self._log, "warning", f"{error} It is tried again.")

    def _remaining(self, board: Board, ended: int, now: float) -> str:
        in_this_try, left = ended - (self._ended_before or 0), board.items.count - ended
        if in_this_try <= 0 or not left:
            return ""
        return f", about {format_duration((now - self._began) / in_this_try * left)} left"


def describe(board: Board, *, ended: int = 0, failed: int = 0) -> str:
    """
    Return how the whole stands, in one line.

    :param ended: so many more have ended than the board says...
    :param failed: ... and so many of them failed.
    """
    done, running = board.after(ended, failed)
    counts = {
        "failed": board.failed + failed,
        "running": running,
        "to be started": board.pending,
        "to be resumed": board.to_resume,
    }
    of_all = f"{done:,} of {board.items.count:,} done"
    return ", ".join([of_all, *(f"{count:,} {what}" for what, count in counts.items() if count)])
