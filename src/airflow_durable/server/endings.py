"""How a try of a parent ended, and what a person needs to know of it. Pure; dates are in UTC."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from airflow_durable.metadata.model import UNFINISHED_STATES
from airflow_durable.wording import describe_crash, describe_silence, is_quiet

if TYPE_CHECKING:
    from datetime import datetime

    from airflow_durable.metadata.model import DagRun, Loss, TaskTry
    from airflow_durable.wording import HeartbeatLimits

_DONE_STATES = frozenset({"success", "skipped"})


class Cause(str, Enum):
    """How a try ended. The values are in JSON."""

    CRASHED = "crashed"
    """Airflow ended it since its worker was not heard of any more."""

    SILENT = "no_heartbeat"
    """It counts as running and sends no heartbeat; Airflow has not noticed yet."""

    CUT_OFF = "cut_off"
    """It ended otherwise, without success, while its child run was there and had not ended."""

    CHILD_FAILED = "child_failed"
    """It failed after its child run had failed."""

    FAILED = "failed"
    """It failed: why is in its log."""


@dataclass(frozen=True)
class Ending:
    """
    How one try ended.

    :param words: a sentence without its subject and its full stop, with times in UTC.
    :param died_at: when the worker was last heard of, for a crash and a silent try.
    :param noticed_at: when Airflow noticed; None: it has not, or there was nothing to notice.
    """

    cause: Cause
    words: str
    died_at: datetime | None = None
    noticed_at: datetime | None = None

    @property
    def label(self) -> str:
        """The words of the mark beside a try."""
        return _LABELS[self.cause]


_LABELS = {
    Cause.CRASHED: "crashed",
    Cause.SILENT: "no heartbeat",
    Cause.CUT_OFF: "cut off",
    Cause.CHILD_FAILED: "child failed",
    Cause.FAILED: "failed",
}


def find_ending(  # noqa: PLR0913 - all that it follows from
    one: TaskTry,
    run: DagRun | None,
    loss: Loss | None,
    now: datetime,
    limits: HeartbeatLimits,
    *,
    is_many: bool = False,
) -> Ending | None:
    """
    Return how a try ended; None: it succeeded, was skipped, goes on, or has not begun.

    :param run: the child run that it waited for, if that is there and may be seen.
    :param loss: what the audit log says of its worker, if the user may know.
    :param is_many: the run stands for all children of a task with many.
    """
    if one.start_date is None:
        return None
    if is_quiet(one.state, one.last_heartbeat_at, now, limits) and one.last_heartbeat_at:
        has_next_try = bool(one.max_tries) and one.try_number <= one.max_tries
        words = describe_silence(one.last_heartbeat_at, now, limits, has_next_try=has_next_try)
        return Ending(Cause.SILENT, words, one.last_heartbeat_at)
    if one.state in _DONE_STATES or not is_over(one):
        return None
    noticed_at = loss.at if loss else _noticed_without_log(one, limits)
    if noticed_at is None:
        return _find_other_of_many(one, run) if is_many else _find_other(one, run)
    died_at = max(one.start_date, min(_last_heard(one, loss, noticed_at, limits), noticed_at))
    return Ending(Cause.CRASHED, describe_crash(died_at, noticed_at, now), died_at, noticed_at)


def _find_other(one: TaskTry, run: DagRun | None) -> Ending:
    if is_cut_off_before(one, run):
        words = "ended while its child run continued: it timed out, was stopped, or a person ended it"
        return Ending(Cause.CUT_OFF, words)
    if _has_failed_before(one, run):
        return Ending(Cause.CHILD_FAILED, "failed, as its child run had failed")
    return _find_failed(one)


def _find_other_of_many(one: TaskTry, run: DagRun | None) -> Ending:
    # A task with many children may end by itself while some of them continue.
    if is_cut_off_before(one, run):
        why = "too many items had failed, it timed out, was stopped, or a person ended it"
        return Ending(Cause.FAILED, f"ended while some of its child runs continued: {why}")
    if _has_failed_before(one, run):
        return Ending(Cause.CHILD_FAILED, "failed, as child runs had failed")
    return _find_failed(one)


def _find_failed(one: TaskTry) -> Ending:
    return Ending(Cause.FAILED, f"ended as {str(one.state).replace('_', ' ')}: the reason is in its log")


def _has_failed_before(one: TaskTry, run: DagRun | None) -> bool:
    has_failed = run is not None and run.state == "failed"
    return has_failed and bool(run and run.end_date and one.end_date and run.end_date <= one.end_date)


def is_cut_off_before(one: TaskTry, run: DagRun | None) -> bool:
    """
    Return whether a try ended without success while its child run was there and had not ended.

    A run that started (again) after the try's end proves nothing: it may have been cleared meanwhile.
    """
    end = one.end_date
    if end is None or run is None or one.state in _DONE_STATES or not is_over(one):
        return False
    begin = run.queued_at or run.start_date
    return begin is not None and begin <= end and (run.end_date is None or run.end_date > end)


def is_over(one: TaskTry) -> bool:
    """Return whether the try has ended; one that waits for its retry has."""
    return one.state == "up_for_retry" or one.state not in UNFINISHED_STATES


def _noticed_without_log(one: TaskTry, limits: HeartbeatLimits) -> datetime | None:
    """
    Return when Airflow ended a try that had been silent for its whole time limit; None: it had not.

    For those who may not read the audit log, and for when its entries have been deleted.
    """
    if one.end_date is None or one.last_heartbeat_at is None:
        return None
    return one.end_date if one.end_date - one.last_heartbeat_at >= limits.timeout else None


def _last_heard(one: TaskTry, loss: Loss | None, noticed_at: datetime, limits: HeartbeatLimits) -> datetime:
    """
    Return after when there was no heartbeat.

    Where the last one is not kept (earlier tries, to 3.3), it came before the time limit by which Airflow noticed.
    """
    if one.last_heartbeat_at is not None:
        return one.last_heartbeat_at
    silent_for = limits.timeout if loss is None or loss.timeout is None else loss.timeout
    return noticed_at - silent_for
