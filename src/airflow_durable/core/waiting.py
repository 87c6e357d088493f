"""Waiting for the child, and taking its outcome."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from airflow_durable.core import port as calls
from airflow_durable.core import timeouts
from airflow_durable.core.errors import ChildRunMissingError, ChildStateUnknownError, LookUpFailedError
from airflow_durable.core.failing import failure_of
from airflow_durable.core.model import ENDED_STATES, UNFINISHED_STATES, Outcome, Phase
from airflow_durable.core.protocol import Started

if TYPE_CHECKING:
    from airflow_durable.core.model import ChildRun, Request
    from airflow_durable.core.port import Port
    from airflow_durable.core.record import Record

FIRST_PAUSE_SECONDS = 1.0
PAUSE_SHARE = 0.1
"""How late the child's end may be seen, as a share of the time waited so far."""


def wait(
    port: Port, request: Request, started: Started, *, poke_interval: float, at_most_seconds: float | None = None
) -> Started | None:
    """
    Wait until the child has ended.

    Looks first, then sleeps. A crash anywhere here leaves the unconsumed record: the next try adopts the run.

    :param poke_interval: the longest sleep between two look-ups, in seconds.
    :param at_most_seconds: how long to wait here; None: until the end.
    :returns: None: it has not ended by then. ``is_settled``: the outcome is success, to be consumed. Else the run was
        waited out, and :func:`.protocol.trigger` has to decide again.
    :raises StartTimeoutError: no task of the child has begun in time (RunTimeoutError: the child has not ended).
    :raises ChildRunFailedError: the child ended in a failed state, or in none that is allowed.
    :raises ChildRunMissingError: the child was deleted.
    :raises LookUpFailedError: the child cannot be looked up, for a reason that will not pass.
    """
    record, run, waited_seconds = started.record, started.run, 0.0
    due = None if started.is_waiting_out else timeouts.first_due(request, record)
    while True:
        is_missing = False
        if run is None:
            run, is_missing = _look_up_state(port, record)
        port.report_wait(record, run.state if run else None, waited_seconds)
        if started.is_waiting_out:
            if is_missing or (run is not None and run.state in ENDED_STATES):
                return replace(started, run=run)
        elif is_missing:
            raise ChildRunMissingError(record.dag_id, record.run_id)
        elif run is not None and is_success(request, record, run.state):
            return replace(started, run=run, is_settled=True)
        if due is not None and port.now() >= due:
            checked = timeouts.check(port, request, record)
            record, due = checked.record, checked.due
            started = replace(started, record=record)
        pause_seconds = min(max(FIRST_PAUSE_SECONDS, waited_seconds * PAUSE_SHARE), poke_interval)
        if at_most_seconds is not None and waited_seconds >= at_most_seconds:
            return None
        if due is not None:
            pause_seconds = max(FIRST_PAUSE_SECONDS, min(pause_seconds, (due - port.now()).total_seconds()))
        port.sleep(pause_seconds)
        waited_seconds += pause_seconds
        run = None


def resume(request: Request, record: Record, outcome: Outcome) -> Started | None:
    """
    Go on after a deferral.

    :param outcome: the child's, as the trigger saw it.
    :returns: None if the child has not ended: defer again. Else the outcome is success, to be consumed; or the run was
        waited out (``is_waiting_out``), and :func:`.protocol.trigger` has to decide again.
    :raises ChildRunFailedError: the child ended in a failed state, or in none that is allowed.
    :raises ChildRunMissingError: the child was deleted.
    :raises ChildStateUnknownError: it stays in a state that is not known here. Deferred for it again, the task would
        be told the same at once, forever.
    """
    if record.is_consumed:
        return Started(record, is_settled=True)
    if record.phase is Phase.WAITED_OUT:
        if outcome.state is None or outcome.state in ENDED_STATES:
            return Started(record, is_waiting_out=True)
    elif outcome.state is None:
        raise ChildRunMissingError(record.dag_id, record.run_id)
    elif is_success(request, record, outcome.state):
        return Started(replace(record, outcome=outcome), is_settled=True)
    if outcome.state not in UNFINISHED_STATES:
        raise ChildStateUnknownError(record.dag_id, record.run_id, outcome.state)
    return None


def is_success(request: Request, record: Record, state: str) -> bool:
    """Return whether the run has done its part; raise ChildRunFailedError if it has failed."""
    if request.is_failure(state):
        raise failure_of(request, record, state)
    return request.is_success(state)


def consume(port: Port, started: Started) -> Record:
    """
    Mark the outcome as consumed, before success is reported.

    Crash before: the next try finds the run in its allowed state and consumes it then. After: an automatic retry
    succeeds again without a look-up, and a person's clear, which changes ``max_tries``, starts a fresh child. The mark
    is an entry of its own, so a late copy of an earlier write cannot undo it.
    """
    record = started.record
    if record.is_consumed:
        return record
    # A run that was only just created is queued (``api/common/trigger_dag.py``, 3.0 to 3.4): that is all that
    # fire-and-forget waits for.
    state = started.run.state if started.run else "queued"
    outcome = record.outcome or Outcome(record.dag_id, record.run_id, state, port.now())
    consumed = replace(record, phase=Phase.CONSUMED, outcome=outcome)
    calls.write(port, consumed)
    return consumed


def _look_up_state(port: Port, record: Record) -> tuple[ChildRun | None, bool]:
    """Return the child, and whether it is missing; neither if that cannot be known just now."""
    try:
        run = port.look_up(record.dag_id, record.run_id, is_detailed=False)
    except LookUpFailedError as error:
        if not error.is_transient:
            raise
        port.report_trouble(error)
        return None, False
    return run, run is None
