"""
The protocol: the order of calls, and for each the crash argument.

Written against a small port, so that the same code runs against Airflow and against a simulated server which may crash
it between any two calls. Time and randomness come only through the port.

The invariants: **the run id is in the journal before the request that creates the run is sent, and it is computed from
the parent**; and a new run id is recorded only when the run under the old one has failed, or when a person asked for
the work again and that run is not active. So at any moment at most one healthy run can result from what was sent.
Because of the unique key (dag_id, run_id), a request that is repeated by a retry, by the client or by a superseded try
is still the same request. If the record is lost, the child is found again by its run ids. **A run counts only if
something in it proves that this parent started it**; otherwise the task ends as with the stock operator.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from airflow_durable.core import port as calls
from airflow_durable.core import resetting, resuming, sending, timeouts
from airflow_durable.core.asks import asks_of
from airflow_durable.core.decide import decide, is_upstream_asked, plan
from airflow_durable.core.errors import (
    CallsDifferError,
    ChildRunForeignError,
    FixedRunFailedError,
    ForeignRunSkipError,
    LookUpFailedError,
    RunUsedUpError,
)
from airflow_durable.core.failing import failure_of
from airflow_durable.core.model import ChildRun, Clear, Decision, Look, Mode, OnClear, Phase
from airflow_durable.core.recovery import recover

if TYPE_CHECKING:
    from airflow_durable.core.model import Attempt, Request
    from airflow_durable.core.port import Port
    from airflow_durable.core.record import Record


@dataclass(frozen=True)
class Started:
    """
    The situation after :func:`trigger`.

    :param record: as last written (or read, or recovered).
    :param run: the child as last seen; None if it was only just created.
    :param is_settled: the outcome is known to be success.
    :param is_waiting_out: the run is not adopted: when it has ended, :func:`trigger` has to decide again.
    """

    record: Record
    run: ChildRun | None = None
    is_settled: bool = False
    is_waiting_out: bool = False


def trigger(port: Port, request: Request, attempt: Attempt) -> Started:
    """
    Make sure that the one child run exists.

    :returns: ``is_settled``: its outcome is success, to be consumed (:func:`.waiting.consume`) when the task has done
        what depends on it. Otherwise wait for the child (:func:`.waiting.wait`, or a deferral and
        :func:`.waiting.resume`).
    """
    # A first try reads nothing. What it sends is refused with a 409 if an earlier execution of it, or an earlier task
    # instance of its name, had sent it: then it reads.
    if attempt.try_number > 1 and port.has_store:
        record = calls.read(port, request.call)
        if record is not None:
            return _continue(port, request, attempt, record)
    if _may_have_started(port, request, attempt):
        found = recover(port, request, attempt)
        if found is not None:
            return _act(port, request, attempt, found.record, found.seen, found.clear)
    return _start_fresh(port, request, attempt, None, Decision.FRESH_SUBMIT)


def _may_have_started(port: Port, request: Request, attempt: Attempt) -> bool:
    """Return whether there can be a child, although there is no record of one."""
    if attempt.try_number == 1:
        # Where a look-up says no dates (3.0, 3.1) a run of an earlier life of this parent can be told from our own only
        # by looking before anything is sent.
        return not port.has_details
    return not request.is_journal_proven


def _continue(port: Port, request: Request, attempt: Attempt, record: Record) -> Started:
    """Continue from the record of an earlier try."""
    clear = _find_clear(port, request, attempt, record)
    decision = plan(record, request, clear)
    if decision is Decision.SUCCEED_AGAIN:
        _check_calls(port, request, record, None, clear)
        port.report(decision, record, None)
        return Started(record, is_settled=True)
    seen = _look_once(port, request, record)
    _check_calls(port, request, record, seen, clear)
    return _act(port, request, attempt, record, seen, clear)


def _find_clear(port: Port, request: Request, attempt: Attempt, record: Record) -> Clear | None:
    """
    Return what a person did to the task since the record was written.

    The first call decides for the whole task: its success was marked if every call's outcome was. A later call follows
    it: where that one's epoch moved, all work is asked for again.
    """
    if request.epoch is not None and record.epoch < request.epoch:
        return Clear(is_anew=True)
    if not record.is_cleared_before(attempt):
        return None
    return Clear(is_anew=request.epoch is None and _is_success_marked(port, record))


def _is_success_marked(port: Port, record: Record) -> bool:
    call = record.call
    while record.is_consumed:
        call += 1
        following = calls.read(port, call)
        if following is None or following.epoch < record.epoch:
            return True
        record = following
    return False


def _check_calls(
    port: Port, request: Request, record: Record, seen: ChildRun | Look | None, clear: Clear | None
) -> None:
    """
    Refuse a retry whose calls differ from those of the earlier try.

    A task that makes one call may ask for something else in a retry: it continues with what was started. If a task
    makes several, nobody could know which of them are done.

    :raises CallsDifferError: this call differs.
    """
    if clear is not None or (request.call == 1 and seen is not None and _is_same_call(record, request, seen)):
        return
    if request.call == 1 and calls.read(port, 2) is None:
        return
    if seen is None:
        seen = _look_once(port, request, record)
    if not _is_same_call(record, request, seen):
        raise CallsDifferError(record.dag_id, record.run_id, request.call)


def _is_same_call(record: Record, request: Request, seen: ChildRun | Look) -> bool:
    is_other_conf = isinstance(seen, ChildRun) and seen.is_same_request is False
    return record.is_same_identity(request) and record.has_dates_of(request) and not is_other_conf


def _act(  # noqa: PLR0913, PLR0917 - what a try knows when it decides
    port: Port, request: Request, attempt: Attempt, record: Record, seen: ChildRun | Look, clear: Clear | None
) -> Started:
    """Decide about the run, and do it."""
    decision = _decide(port, request, attempt, record, seen, clear)
    is_anew = clear is not None and (clear.is_anew or decision in {Decision.FRESH_SUBMIT, Decision.RESET})
    if decision in {Decision.FRESH_SUBMIT, Decision.TERMINAL_RESUBMIT}:
        # A foreign run is none that the task leaves, or starts another one beside.
        is_foreign = record.is_fixed and isinstance(seen, ChildRun) and not record.is_author_of(seen, attempt)
        left = None if is_foreign else seen
        return _start_fresh(port, request, attempt, record, decision, left, clear if is_anew else None)
    port.report(decision, record, seen)
    if decision is Decision.WAIT_OUT and isinstance(seen, ChildRun):
        # Nothing is written: whenever the run has ended, this try or a later one decides the same way about its end.
        return Started(replace(record, phase=Phase.WAITED_OUT), seen, is_waiting_out=True)
    now = port.now()
    clock = timeouts.clock_after(request, record, decision, seen, clear, now)
    timed = replace(record, clock=clock, asks=asks_of(request.on_parent_end))
    epoch = sending.epoch_of(request, attempt, record, is_anew=is_anew)
    entered = replace(timed, epoch=epoch).with_try(attempt, decision, now)
    if isinstance(seen, Look):
        return _resubmit(port, request, attempt, entered, timed if clear else entered, seen, clear)
    return _continue_with(port, request, record, entered, decision, seen)


def _decide(  # noqa: PLR0913, PLR0917 - what a try knows when it decides
    port: Port, request: Request, attempt: Attempt, record: Record, seen: ChildRun | Look, clear: Clear | None
) -> Decision:
    is_newer = None
    if is_upstream_asked(record, request, seen, clear):
        is_newer = port.is_upstream_newer(record.asked_at)
    return decide(record, request, attempt, seen, clear, is_upstream_newer=is_newer)


def _continue_with(  # noqa: PLR0913, PLR0917 - a return for each decision; what a try knows by then
    port: Port, request: Request, record: Record, entered: Record, decision: Decision, seen: ChildRun
) -> Started:
    """
    Do what was decided about a run that exists.

    :param record: as it was read.
    :param entered: as this try leaves it.
    """
    if decision is Decision.ALREADY_SUCCEEDED:
        # Consumed by the caller in its next call. A crash before that: the next try finds the same.
        return Started(replace(entered, phase=Phase.SENT, outcome=None), seen, is_settled=True)
    if decision is Decision.RECONNECT:
        # Reconnected already; the write is for the people who read the record, and a sign to a superseded try that it
        # is one: it fails here. From here on a retry continues with the run, whatever was cleared before.
        entered = replace(entered.with_seen(seen), phase=Phase.SENT, mode=request.mode, outcome=None)
        if entered.is_reset_pending(seen):
            # The task does not ask for it any more. How the run ends counts now.
            entered = replace(entered, reset=None)
        calls.write(port, entered)
        return Started(entered, seen, is_settled=request.mode is Mode.FIRE_AND_FORGET)
    if decision is Decision.RESUME:
        return Started(*resuming.resume(port, request, entered.with_seen(seen), seen))
    if decision is Decision.RESET:
        return _reset(port, request, entered, seen)
    if decision is Decision.USED_UP:
        return _end_like_stock(port, request, record.with_clear_kept(), seen, is_own=True)
    if decision is Decision.FOREIGN:
        return _end_like_stock(port, request, entered, seen, is_own=False)
    if decision is Decision.GIVE_UP:
        # Nothing is written: a try that dies before its failure is reported is followed by one that gives up, too.
        raise failure_of(request, record, seen.state)
    raise FixedRunFailedError(record.dag_id, record.run_id, seen.state)


def _start_fresh(  # noqa: PLR0913, PLR0917 - what a try knows when it decides to start a child
    port: Port,
    request: Request,
    attempt: Attempt,
    previous: Record | None,
    decision: Decision,
    seen: ChildRun | Look | None = None,
    clear: Clear | None = None,
) -> Started:
    """
    Choose the run id, record it, send it. Nothing that this try starts exists before the record does.

    :param clear: a person asked for the work again: the epoch moves. With a fixed identity the run that is found then
        may be the old one.
    """
    record = sending.new_record(request, attempt, previous, is_anew=clear is not None)
    # The record that is reported is that of the run that was decided about.
    port.report(decision, previous if previous and seen else record, seen)
    record = record.with_dates_of(previous)
    dated = sending.with_new_dates(port, request, attempt, record, taken=previous.dates if previous else ())
    now = port.now()
    dated = replace(dated, clock=timeouts.new_clock(request, now), asks=asks_of(request.on_parent_end))
    entered = dated.with_try(attempt, decision, now)
    return _submit(port, request, attempt, entered, clear if entered.is_fixed else None)


def _resubmit(  # noqa: PLR0913, PLR0917 - what a try knows when it sends again
    port: Port,
    request: Request,
    attempt: Attempt,
    entered: Record,
    record: Record,
    seen: Look,
    clear: Clear | None,
) -> Started:
    """
    Send the current request under the recorded run id.

    If the run does not exist, nothing of an earlier request counts any more. If it could not be read, a 409 says that
    it exists, and it is looked up then.

    After a clear, what is written ahead must not hide the clear: a superseded try's request may still arrive, and its
    run may carry another request. Only the reply that creates the run settles it.

    :param entered: the record as this try leaves it.
    :param record: what is written ahead: the same, or, after a clear, what was read.
    """
    record = replace(record, mode=request.mode, phase=_phase_after(record, seen), outcome=None)
    if seen is Look.MISSING:
        # What a reset found is not there any more: the run that is created now must not be taken for it, and reset
        # again.
        record = replace(record, reset=None, proof=request.proof, adopted=None)
    sent, found = sending.send(port, request, attempt, sending.with_new_dates(port, request, attempt, record))
    if found is not None and not _is_created(port, sent, found, clear):
        return _meet(port, request, attempt, sent, found, clear)
    if clear is not None:
        sent = sent.settled_by(entered)
        calls.write(port, sent)
    return Started(sent, is_settled=request.mode is Mode.FIRE_AND_FORGET)


def _phase_after(record: Record, seen: Look) -> Phase:
    if seen is Look.MISSING:
        return Phase.INTENDED
    return Phase.SENT if record.is_consumed else record.phase


def _submit(port: Port, request: Request, attempt: Attempt, record: Record, clear: Clear | None) -> Started:
    """Record, then send. If the run already exists, decide about it."""
    sent, found = sending.send(port, request, attempt, record)
    if found is not None and not _is_created(port, sent, found, clear):
        return _meet(port, request, attempt, sent, found, clear)
    return Started(sent, is_settled=request.mode is Mode.FIRE_AND_FORGET)


def _is_created(port: Port, record: Record, found: ChildRun, clear: Clear | None) -> bool:
    """
    Return whether the run that a 409 pointed to is what this try itself has created after a clear.

    Its reply was lost, and the repeated request got the 409. Else the run would be taken for one of before the clear,
    and would be waited out, or reset.
    """
    is_created = clear is not None and record.is_sent_as(found)
    if is_created:
        port.report(Decision.RECONNECT, record, found)
    return is_created


def _meet(  # noqa: PLR0913, PLR0917 - what a try knows when it finds a run
    port: Port, request: Request, attempt: Attempt, record: Record, found: ChildRun, clear: Clear | None
) -> Started:
    """Continue with the run that a 409 pointed to, if it is ours; else decide about it."""
    if attempt.try_number == 1 and port.has_store:
        # The first try has not read yet. An entry that is not its own is of an earlier execution, or of a task instance
        # of its name that was deleted.
        earlier = calls.read(port, request.call)
        if earlier is not None and earlier.run_id != record.run_id:
            return _continue(port, request, attempt, earlier)
        if earlier is not None and earlier != record:
            return _act(port, request, attempt, earlier, found, _find_clear(port, request, attempt, earlier))
    if clear is None and attempt.try_number == 1 and found.is_same_request is False:
        # Not what this try sent. A task instance of its name that was deleted sent it, and its entry is overwritten,
        # or was never kept.
        clear = Clear(is_anew=False)
    # What had failed before this try asked for it costs the try nothing: it is decided about, as after a look-up.
    has_failed_before = request.is_failure(found.state) and not record.is_sent_as(found)
    if clear is None and record.is_author_of(found, attempt) and not has_failed_before:
        port.report(Decision.RECONNECT, record, found)
        return Started(record, found, is_settled=request.mode is Mode.FIRE_AND_FORGET)
    return _act(port, request, attempt, record, found, clear)


def _end_like_stock(port: Port, request: Request, record: Record, found: ChildRun, *, is_own: bool) -> Started:
    """
    End as the stock operator would if a run has our fixed identity: reset, skip or fail.

    If the task asks for another run by now, this one is never reset, and is no reason to be skipped.

    :param is_own: the run is ours, and its outcome was used before.
    """
    is_left = not record.is_same_identity(request)
    if request.is_reset and not is_left:
        clock = timeouts.new_clock(request, port.now(), clear_number=(found.clear_number or 0) + 1)
        return _reset(port, request, replace(record, clock=clock), found)
    # Nothing is asked for a run that is not adopted; and a foreign run was not reset, as far as is known.
    record = replace(record, asks=None, reset=record.reset if is_own else None)
    # People who read the record see what became of the run. And a journal that had wrongly seemed to have no entry is
    # found out by the write: what is decided here is for good.
    calls.write(port, record)
    if request.is_skip and not is_left:
        raise ForeignRunSkipError(record.dag_id, record.run_id)
    if is_own:
        raise RunUsedUpError(record.dag_id, record.run_id, found.state)
    raise ChildRunForeignError(record.dag_id, record.run_id, state=found.state, is_left=is_left)


def _reset(port: Port, request: Request, record: Record, found: ChildRun) -> Started:
    return Started(resetting.reset(port, request, record, found), is_settled=request.mode is Mode.FIRE_AND_FORGET)


def _look_once(port: Port, request: Request, record: Record) -> ChildRun | Look:
    """
    Look the recorded run up, once: sending its request again answers the same question.

    This is not so if a reset is pending, if the task now asks for another run, or if something else would prove that
    run to be ours. Then the look-up is repeated until there is an answer.
    """
    is_answer_needed = (
        record.reset is not None or record.proof is not request.proof or not record.is_same_identity(request)
    )
    try:
        if is_answer_needed or request.on_clear is OnClear.FRESH:
            return calls.look_up(port, record.dag_id, record.run_id) or Look.MISSING
        return port.look_up(record.dag_id, record.run_id, is_detailed=True) or Look.MISSING
    except LookUpFailedError as error:
        if is_answer_needed:
            raise
        port.report_trouble(error)
        return Look.UNREADABLE
