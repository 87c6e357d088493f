"""
Letting a run under a fixed identity start over, once.

A task's own request for it has no condition: one that is delivered after its try was superseded, or twice, clears what
came of the run since. The reconciler's act has one. So it is asked first, where it can prove that the run is ours. If
nobody acts in time, the task withdraws what it asked for, and sends its own request, as the stock operator does.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from airflow_durable.core import port as calls
from airflow_durable.core import timeouts
from airflow_durable.core.asks import Action, ActionKind, asks_of, without_action
from airflow_durable.core.errors import LookUpFailedError, ReconcilerMissingError
from airflow_durable.core.model import ChildRun, Phase
from airflow_durable.core.record import baseline_of
from airflow_durable.core.resuming import wait_for_reconciler

if TYPE_CHECKING:
    from airflow_durable.core.model import Request
    from airflow_durable.core.port import Port
    from airflow_durable.core.record import Record


def reset(port: Port, request: Request, record: Record, found: ChildRun) -> Record:
    """
    Reset the run, once.

    What it was like is durable before anything can happen to it: whichever try comes next resets only a run that is
    still like that. What cannot be prevented where the task does it itself: a request that is delivered after its try
    was superseded.

    :param record: as this try leaves it.
    :returns: the record as last written.
    """
    record = replace(record, reset=baseline_of(found), phase=Phase.INTENDED, outcome=None, mode=request.mode)
    if _is_asked(port, request, record, found):
        # What the stock operator refuses to start is refused here, too.
        port.check(record)
        record, is_done = _ask(port, request, record, found)
        if is_done:
            return record
    else:
        calls.write(port, record)
    port.reset(record)
    return record


def _is_asked(port: Port, request: Request, record: Record, found: ChildRun) -> bool:
    """
    Return whether the reconciler is asked. It acts only on what it can prove.

    So it is not asked about a foreign run, one that this parent merely reset, or one whose record was lost.
    """
    is_waited_for = port.has_store and request.reset_timeout_seconds > 0
    return is_waited_for and found.clear_number is not None and record.is_proven_by_run(found)


def _ask(port: Port, request: Request, record: Record, seen: ChildRun) -> tuple[Record, bool]:
    """
    Ask the reconciler, and wait until it has acted, or for as long as the task waits for it.

    Crash before the entry is written: nothing was asked. After it: the action is void, as the next try is another task
    instance. That one finds the run cleared, and adopts it; or as it was, and then it asks anew.

    The entry that follows withdraws the action. The reconciler writes that one, too, in the transaction in which it
    acts (:func:`.asks.withdrawn`). So once it is written, the reconciler has acted, or never will, and what the run is
    like *then* says whether it is still to be reset.

    :returns: the record as last written; and whether somebody has cleared the run, so that it has started over.
    """
    waited_seconds = 0.0
    while True:
        action = Action(ActionKind.RESET, seen.clear_number or 0, seen.state)
        record = replace(record, asks=asks_of(request.on_parent_end, action))
        calls.write(port, record)
        changed, waited_seconds = wait_for_reconciler(
            port, record, action, request.reset_timeout_seconds, waited_seconds
        )
        if not isinstance(changed, ChildRun) or not record.is_reset_pending(changed):
            break
        # It has ended meanwhile, or a person has marked it. It still has to start over.
        seen = changed
    # The run starts over now, so the time that it may take begins now.
    clock = timeouts.new_clock(request, port.now(), clear_number=(seen.clear_number or 0) + 1)
    record = replace(record, asks=without_action(record.asks), clock=clock)
    calls.write(port, record)
    try:
        run = calls.look_up(port, record.dag_id, record.run_id)
    except LookUpFailedError as error:
        raise error.after_asking() from error
    if run is not None and record.is_reset_done(run):
        return record, True
    if run is not None and record.is_reset_pending(run):
        seconds = request.reset_timeout_seconds
        port.report_trouble(ReconcilerMissingError(record.dag_id, record.run_id, seconds, is_reset=True))
    else:
        # It was deleted: the task's own request creates it, and what is created must not be taken for what was there.
        # Or there is another run of its name by now: that one is reset, once.
        clear_number = 0 if run is None else (run.clear_number or 0) + 1
        clock = record.clock and replace(record.clock, clear_number=clear_number)
        record = replace(record, reset=None if run is None else baseline_of(run), clock=clock)
        calls.write(port, record)
    return record, False
