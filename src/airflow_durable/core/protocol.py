"""
The protocol: the order of calls, and for each the crash argument.

Written against a small :class:`Port`, so that the same code runs against Airflow and against a simulated server which
may crash it between any two calls. Everything random or timely comes through the port.

The one invariant: **the run id is in the journal before the request that creates the run is sent**, and a new run id is
recorded only when the run under the old one has failed, or a person asked for the work to be done again. So at any
moment at most one healthy run can come of what was sent: the unique key (dag_id, run_id) makes every repetition of a
request, by a retry, by the client or by a superseded attempt, the same request.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from airflow_durable.core.decide import decide, plan
from airflow_durable.core.errors import (
    ChildRunFailedError,
    ChildRunForeignError,
    ChildRunMissingError,
    FixedRunFailedError,
    ForeignRunSkipError,
    LogicalDateClashError,
    LogicalDateTakenError,
    LookUpFailedError,
    SubmissionUnknownError,
)
from airflow_durable.core.model import ChildRun, Decision, Look, Mode
from airflow_durable.core.record import Baseline, Record

if TYPE_CHECKING:
    from datetime import datetime

    from airflow_durable.core.model import Attempt, Request

RESEND_PAUSES_SECONDS = (1.0, 5.0, 15.0)
"""Pauses before a request with an unknown or unreadable answer is repeated. Airflow's client has by then repeated it
5 times itself (3.1 to 3.3, ``sdk/api/client.py``)."""

MAX_DATE_CLASHES = 5


class Port(Protocol):
    """What the protocol needs of the world. Every call may crash, fail, or take effect and lose its answer."""

    def read(self) -> Record | None:
        """Return the journal's record, None if there is none. Raises JournalReadError, RecordDamagedError."""

    def write(self, record: Record) -> None:
        """
        Store the record, durably, if this attempt is still the current one.

        Raises JournalWriteError if it is not, or if the record may not have been stored.
        """

    def look_up(self, dag_id: str, run_id: str, *, is_detailed: bool) -> ChildRun | None:
        """
        Return the run, None if there is none. Raises LookUpFailedError.

        :param is_detailed: ``clear_number`` and ``logical_date`` are wanted too.
        """

    def submit(self, record: Record) -> bool:
        """
        Ask for the recorded run: True if it was created, False on a 409.

        Raises SubmissionRefusedError (nothing was started), SubmissionUnknownError (it may have been).
        """

    def reset(self, record: Record) -> None:
        """Clear the recorded run, or create it if it has gone. Raises as :meth:`submit` does."""

    def fresh_run_id(self, generation: int) -> str:
        """Return a run id that this parent alone uses: the same one for the same try and generation."""

    def now(self) -> datetime:
        """Return the present, with its time zone, to the microsecond."""

    def sleep(self, seconds: float) -> None:
        """Sleep."""

    def report(self, decision: Decision, record: Record, seen: ChildRun | Look | None) -> None:
        """Tell people what was decided. Must not fail."""

    def report_trouble(self, error: Exception) -> None:
        """Tell people of a failed call that will be repeated. Must not fail."""


@dataclass(frozen=True)
class Started:
    """
    How :func:`start` left things.

    :param record: as last written (or read).
    :param run: the child as last seen; None if it was only just created.
    :param is_settled: the outcome is known to be success.
    :param is_consumed_before: an earlier attempt consumed the outcome; there is nothing left to write.
    """

    record: Record
    run: ChildRun | None = None
    is_settled: bool = False
    is_consumed_before: bool = False


def trigger(port: Port, request: Request, attempt: Attempt) -> Started:
    """
    Make sure that the one child run exists; consume its outcome if that is known already.

    :returns: ``is_settled``: the task succeeds now. Else the child is to be waited for (:func:`wait`, or a deferral
        and :func:`resume`).
    """
    started = _start(port, request, attempt)
    if started.is_settled and not started.is_consumed_before:
        return replace(started, record=_consume(port, started.record))
    return started


def wait(port: Port, request: Request, started: Started, *, poke_interval: float) -> Record:
    """
    Wait until the child has ended; consume its success.

    Looks first, then sleeps. A crash anywhere here leaves the unconsumed record: the next attempt adopts the run.

    :param poke_interval: the longest sleep between two looks, in seconds.
    :raises ChildRunFailedError: the child ended in a failed state.
    :raises ChildRunMissingError: the child was deleted.
    :raises LookUpFailedError: the child cannot be looked up, for a reason that will not pass.
    """
    record, run, waited_seconds = started.record, started.run, 0.0
    while True:
        state = run.state if run else _look_up_state(port, record)
        if state is not None and is_success(request, record, state):
            return _consume(port, record)
        pause_seconds = min(max(1.0, waited_seconds / 10), poke_interval)
        port.sleep(pause_seconds)
        waited_seconds += pause_seconds
        run = None


def resume(port: Port, request: Request, record: Record, state: str | None) -> bool:
    """
    Go on after a deferral; consume the child's success.

    :param state: the child's, as the trigger saw it; None: the run was missing.
    :returns: False if the child has not ended: defer again.
    :raises ChildRunFailedError: the child ended in a failed state.
    :raises ChildRunMissingError: the child was deleted.
    """
    if state is None:
        raise ChildRunMissingError(record.dag_id, record.run_id)
    if not is_success(request, record, state):
        return False
    _consume(port, record)
    return True


def is_success(request: Request, record: Record, state: str) -> bool:
    """Tell whether the state is an allowed one; raise ChildRunFailedError if it is a failed one."""
    if state in request.failed_states:
        raise ChildRunFailedError(record.dag_id, record.run_id, state)
    return state in request.allowed_states


def _start(port: Port, request: Request, attempt: Attempt) -> Started:
    # A first attempt has nothing to read. If its try is executed twice (run_ids.generate_run_id says when), a generated
    # run id is the same again, and a fixed identity finds a run: then it reads.
    record = port.read() if attempt.try_number > 1 else None
    if record is None:
        return _start_fresh(port, request, attempt, None, Decision.FRESH_SUBMIT)
    return _go_on(port, request, attempt, record)


def _go_on(port: Port, request: Request, attempt: Attempt, record: Record) -> Started:  # noqa: PLR0911 - a decision a return
    decision = plan(record, request, attempt)
    if decision is Decision.FRESH_SUBMIT:
        return _start_fresh(port, request, attempt, record, decision)
    if decision is Decision.SUCCEED_AGAIN:
        port.report(decision, record, None)
        return Started(record, is_settled=True, is_consumed_before=True)

    seen = _look_once(port, record)
    decision = decide(record, request, seen)
    if decision is Decision.TERMINAL_RESUBMIT:
        return _start_fresh(port, request, attempt, record, decision, seen)
    port.report(decision, record, seen)
    entered = record.with_entry(attempt, decision, port.now())
    if isinstance(seen, Look):
        # What a reset found is no more: the run that is created now must not be taken for it, and reset again.
        entered = replace(entered, reset=None)
        if seen is Look.MISSING:
            # What is sent is the present request, which may have been edited: a later clear has to know it again. Where
            # the run may be there after all, the recorded request made it.
            entered = replace(entered, digest=request.digest, mode=request.mode)
        return _submit(port, request, entered)
    if decision is Decision.ALREADY_SUCCEEDED:
        # Consumed by the caller in its next call. A crash before that: the next attempt finds the same.
        return Started(entered, seen, is_settled=True)
    if decision is Decision.RECONNECT:
        # Reconnected already; the write is for the people who read the record, and a sign to a superseded attempt
        # that it is one: it fails here.
        port.write(entered)
        return Started(entered, seen)
    if decision is Decision.REFUSE:
        raise FixedRunFailedError(record.dag_id, record.run_id, seen.state)
    if decision is Decision.RESET:
        return _reset(port, request, entered, seen)
    return _as_stock_does(port, request, entered, seen)


def _start_fresh(  # noqa: PLR0913, PLR0917 - what an attempt knows when it decides to start a child
    port: Port,
    request: Request,
    attempt: Attempt,
    previous: Record | None,
    decision: Decision,
    seen: ChildRun | Look | None = None,
) -> Started:
    """Choose the run id, record it, submit it. Nothing of the attempt exists before the record does."""
    generation = previous.generation + 1 if previous else 0
    record = Record(
        dag_id=request.dag_id,
        run_id=request.run_id or port.fresh_run_id(generation),
        logical_date=port.now() if request.is_date_ours else request.logical_date,
        is_fixed=request.run_id is not None,
        is_date_ours=request.is_date_ours,
        digest=request.digest,
        mode=request.mode,
        max_tries=attempt.max_tries,
        clear_number=attempt.clear_number,
        generation=generation,
        attempts=previous.attempts if previous else (),
    )
    # A fixed identity is recorded only once it was seen to be free: that is the proof that a run under it is ours.
    found = _look_persistently(port, record) if record.is_fixed else None
    if found is not None:
        if attempt.try_number == 1 and (earlier := port.read()) is not None:
            return _go_on(port, request, attempt, earlier)
        decision = Decision.RESET if request.is_reset else Decision.FOREIGN
    port.report(decision, record, found or seen)
    entered = record.with_entry(attempt, decision, port.now())
    if found is not None:
        return _as_stock_does(port, request, entered, found)
    return _submit(port, request, entered)


def _submit(port: Port, request: Request, record: Record) -> Started:
    """
    Record, then send.

    Crash before the write is done: nothing was sent. After it: the next attempt looks the recorded run up, finds it
    or not, and sends the same request again or adopts what came of it. A superseded attempt fails at the write.
    """
    for _ in range(MAX_DATE_CLASHES):
        port.write(record)
        if _send_persistently(port, record):
            return Started(record, is_settled=request.mode is Mode.FIRE_AND_FORGET)
        # 409. An earlier send arrived (its reply was lost, or an earlier attempt's request was late); or a run under
        # another id has our logical date: both unique keys of dag_run answer alike.
        found = _look_persistently(port, record)
        if found is not None:
            return _adopt(port, request, record, found)
        if record.is_fixed and not record.is_date_ours:
            raise _taken(request, record)
        if record.is_date_ours:
            record = replace(record, logical_date=port.now())
    raise LogicalDateClashError(record.dag_id, record.run_id, MAX_DATE_CLASHES)


def _adopt(port: Port, request: Request, record: Record, found: ChildRun) -> Started:
    """Go on with the run that a 409 told of, if it is ours."""
    if not record.is_author_of(found):
        return _as_stock_does(port, request, record, found)
    port.report(Decision.RECONNECT, record, found)
    return Started(record, found, is_settled=request.mode is Mode.FIRE_AND_FORGET)


def _as_stock_does(port: Port, request: Request, record: Record, found: ChildRun) -> Started:
    """End as the stock operator would where somebody else's run has our fixed identity: reset, skip or fail."""
    if request.is_reset:
        return _reset(port, request, record, found)
    if request.is_skip:
        raise ForeignRunSkipError(record.dag_id, record.run_id)
    raise ChildRunForeignError(record.dag_id, record.run_id, state=found.state)


def _reset(port: Port, request: Request, record: Record, found: ChildRun) -> Started:
    """
    Reset the run, once.

    What it was like is durable before the request: whichever attempt comes next resets only a run that is still like
    that. What cannot be prevented from here: a request that is delivered after its attempt was superseded.
    """
    record = replace(
        record,
        logical_date=port.now() if record.is_date_ours else record.logical_date,
        reset=Baseline(found.clear_number or 0, found.logical_date),
    )
    port.write(record)
    port.reset(record)
    return Started(record, is_settled=request.mode is Mode.FIRE_AND_FORGET)


def _consume(port: Port, record: Record) -> Record:
    """
    Mark the outcome as consumed, before success is reported.

    Crash before: the next attempt finds the run in its allowed state and consumes it then. After: an automatic
    retry succeeds again without a look, and a person's clear, which changes ``max_tries``, starts a fresh child.
    """
    consumed = replace(record, is_consumed=True)
    port.write(consumed)
    return consumed


def _taken(request: Request, record: Record) -> Exception:
    if request.is_skip:
        return ForeignRunSkipError(record.dag_id, record.run_id)
    return LogicalDateTakenError(record.dag_id, record.run_id, str(record.logical_date))


def _look_once(port: Port, record: Record) -> ChildRun | Look:
    """
    Look the recorded run up, once: a submission under its id answers the same question.

    Not so where a reset is pending: there, another reset would be the answer to a question not asked.
    """
    try:
        if record.reset is not None:
            return _look_persistently(port, record) or Look.MISSING
        return port.look_up(record.dag_id, record.run_id, is_detailed=record.is_fixed) or Look.MISSING
    except LookUpFailedError as error:
        if record.reset is not None:
            raise
        port.report_trouble(error)
        return Look.UNREADABLE


def _look_up_state(port: Port, record: Record) -> str | None:
    """Return the child's state; None if it cannot be told just now."""
    try:
        run = port.look_up(record.dag_id, record.run_id, is_detailed=False)
    except LookUpFailedError as error:
        if not error.is_transient:
            raise
        port.report_trouble(error)
        return None
    if run is None:
        raise ChildRunMissingError(record.dag_id, record.run_id)
    return run.state


def _look_persistently(port: Port, record: Record) -> ChildRun | None:
    """Look the run up; repeat what fails for a reason that may pass."""
    for pause_seconds in RESEND_PAUSES_SECONDS:
        try:
            return port.look_up(record.dag_id, record.run_id, is_detailed=record.is_fixed)
        except LookUpFailedError as error:
            if not error.is_transient:
                raise
            port.report_trouble(error)
        port.sleep(pause_seconds)
    return port.look_up(record.dag_id, record.run_id, is_detailed=record.is_fixed)


def _send_persistently(port: Port, record: Record) -> bool:
    """Submit; repeat what may not have arrived. The repetition cannot make a second run: it has the same run id."""
    for pause_seconds in RESEND_PAUSES_SECONDS:
        try:
            return port.submit(record)
        except SubmissionUnknownError as error:
            port.report_trouble(error)
        port.sleep(pause_seconds)
    return port.submit(record)
