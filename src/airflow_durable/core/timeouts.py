"""
``start_timeout`` and ``run_timeout``: how long the child may take to begin, and to end.

Both are measured from what is durable. The *clock* in the record says when the run was asked for; Airflow says when the
run left the queue (``start_date``). So neither a retry nor a deferral restarts them, whatever crashes: each try
computes the same moment. They restart only when the run itself does (it is submitted because it did not exist, it is
reset or resumed, or a person clears it), or when a person clears the task, and so asks for the child again.

Nothing is requested before a timeout can be over: until then the wait costs no more than without one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from airflow_durable.core import child_tasks
from airflow_durable.core.errors import LookUpFailedError, RunTimeoutError, StartTimeoutError
from airflow_durable.core.model import ChildRun, Decision, Look, Outcome
from airflow_durable.core.record import Clock

if TYPE_CHECKING:
    from datetime import datetime

    from airflow_durable.core.model import Clear, Request
    from airflow_durable.core.port import Port
    from airflow_durable.core.record import Record

_CHECK_AGAIN = timedelta(seconds=60)
"""When it cannot be told whether a timeout is over, it is asked again after this."""

_QUEUED = "queued"


@dataclass(frozen=True)
class Checked:
    """
    What a check found, if no timeout is over.

    :param due: when the next one can be over; None: none can.
    :param seen: the run as it is now; None: it could not be read.
    """

    record: Record
    due: datetime | None
    seen: ChildRun | Look | None


def has_any(request: Request) -> bool:
    """Return whether the task has a timeout for its child."""
    return request.start_timeout_seconds is not None or request.run_timeout_seconds is not None


def new_clock(request: Request, now: datetime, *, clear_number: int = 0) -> Clock | None:
    """
    Return the clock of a run that is asked for now; None: the task has no timeout for it.

    :param clear_number: the run's, once it has started over.
    """
    return Clock(now, clear_number) if has_any(request) else None


def clock_after(  # noqa: PLR0913, PLR0917 - what the clock depends on
    request: Request,
    record: Record,
    decision: Decision,
    seen: ChildRun | Look,
    clear: Clear | None,
    now: datetime,
) -> Clock | None:
    """Return the clock of the recorded run after a decision about it; None: the task has no timeout for it."""
    if not has_any(request):
        return None
    clear_number = (seen.clear_number or 0) if isinstance(seen, ChildRun) else 0
    if decision in {Decision.RESET, Decision.RESUME}:
        return Clock(now, clear_number + 1)
    if seen is Look.MISSING or clear is not None:
        return Clock(now, clear_number)
    known = record.clock or Clock(record.asked_at or _date_of(record, request, seen) or now, 0)
    return known if clear_number <= known.clear_number else Clock(now, clear_number)


def first_due(request: Request, record: Record) -> datetime | None:
    """Return when a timeout can be over for the first time; None: never."""
    if record.clock is None:
        return None
    limits = [limit for limit in (request.start_timeout_seconds, request.run_timeout_seconds) if limit is not None]
    return record.clock.since + timedelta(seconds=min(limits)) if limits else None


def check(port: Port, request: Request, record: Record) -> Checked:
    """
    Find out whether a timeout is over.

    :raises StartTimeoutError: no task of the run has begun in time.
    :raises RunTimeoutError: the run has not ended in time.
    :raises LookUpFailedError: the run cannot be looked up, for a reason that will not pass.
    """
    now, clock = port.now(), record.clock
    try:
        run = port.look_up(record.dag_id, record.run_id, is_detailed=True)
    except LookUpFailedError as error:
        if not error.is_transient:
            raise
        port.report_trouble(error)
        return Checked(record, now + _CHECK_AGAIN, None)
    if run is None or not run.is_active or clock is None:
        return Checked(record, now + _CHECK_AGAIN, run or Look.MISSING)
    if (run.clear_number or 0) > clock.clear_number:
        record = replace(record, clock=Clock(now, run.clear_number or 0))
        return Checked(record, first_due(request, record), run)
    dues = [*_check_start(port, request, record, clock, run, now), *_check_run(port, request, record, clock, run, now)]
    return Checked(record, min(dues, default=None), run)


def outcome_of(checked: Checked, at: datetime) -> Outcome | None:
    """Return how the run has ended, or that it is missing, if the check has found that; None: the wait continues."""
    record = checked.record
    if checked.seen is Look.MISSING:
        return Outcome(record.dag_id, record.run_id, None, at)
    if isinstance(checked.seen, ChildRun) and not checked.seen.is_active:
        return Outcome(record.dag_id, record.run_id, checked.seen.state, at)
    return None


def _check_start(  # noqa: PLR0913, PLR0917 - as check knows it
    port: Port, request: Request, record: Record, clock: Clock, run: ChildRun, now: datetime
) -> list[datetime]:
    """Return when the start has to be checked again."""
    if request.start_timeout_seconds is None:
        return []
    due = clock.since + timedelta(seconds=request.start_timeout_seconds)
    if now < due:
        return [due]
    if run.state == _QUEUED:
        reason = port.why_queued(record.dag_id)
        where = f"the run is queued: {reason}" if reason else "the run is queued"
        raise StartTimeoutError(record.dag_id, record.run_id, request.start_timeout_seconds, where)
    states = port.task_states(record.dag_id, record.run_id)
    if states is None:
        return [now + _CHECK_AGAIN]
    if child_tasks.has_begun(states):
        return []
    waiting = child_tasks.describe_unfinished(states)
    where = f"the run is {run.state}, and none of its tasks has begun ({waiting or 'none is scheduled'})"
    raise StartTimeoutError(record.dag_id, record.run_id, request.start_timeout_seconds, where)


def _check_run(  # noqa: PLR0913, PLR0917 - as check knows it
    port: Port, request: Request, record: Record, clock: Clock, run: ChildRun, now: datetime
) -> list[datetime]:
    """Return when the end has to be checked again."""
    if request.run_timeout_seconds is None:
        return []
    limit = timedelta(seconds=request.run_timeout_seconds)
    if run.state == _QUEUED:
        return [now + limit]
    # Airflow before 3.2 does not say when the run left the queue: there the time in it counts, too.
    due = max(clock.since, run.started_at or clock.since) + limit
    if now < due:
        return [due]
    unfinished = child_tasks.describe_unfinished(port.task_states(record.dag_id, record.run_id) or {})
    where = f"the run is {run.state}" + (f" ({unfinished})" if unfinished else "")
    raise RunTimeoutError(record.dag_id, record.run_id, request.run_timeout_seconds, where)


def _date_of(record: Record, request: Request, seen: ChildRun | Look) -> datetime | None:
    """Return when a run was requested, if no record says so: our own date in it is of that moment."""
    is_ours = isinstance(seen, ChildRun) and request.is_date_ours and record.is_recovered
    return seen.logical_date if is_ours and isinstance(seen, ChildRun) else None
