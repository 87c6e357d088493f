"""
The decision table, whole. All functions are pure: equal arguments, equal answers.

First of all, two cases differ: an **automatic retry** continues with what an earlier try started. After a person's
**clear** the child counts only if it is still what the task asks for. A second child never joins one that is active.

==========================================  ==============================================================
the record alone (:func:`plan`)
------------------------------------------  --------------------------------------------------------------
consumed, an automatic retry, and the       SUCCEED_AGAIN
outcome is one that the task takes by now
else                                        look the recorded run up
==========================================  ==============================================================

==========================================  ==============================================================
the recorded run (:func:`decide`)
------------------------------------------  --------------------------------------------------------------
missing                                     RESUBMIT, under the recorded run id; FRESH_SUBMIT if the task
                                            asks for another run by now, or for the work again
unreadable                                  RESUBMIT; FRESH_SUBMIT if the work is asked for again
not ours, fixed identity                    FOREIGN; if the task asks for another run by now FRESH_SUBMIT,
                                            unless it may be ours after all, and no try has said that it is
                                            not (only the reply could have proved it)
not ours, generated identity (another       active, same request: RECONNECT; active: WAIT_OUT;
life of the parent)                         ended, or after a clear with ``fresh``: FRESH_SUBMIT
its reset was recorded and has not arrived  RESET, if the task still asks for the reset of this very run;
                                            else the rows below: as after a clear that asks for the work
                                            anew, for how it ended does not count, unless it has failed
in a failed state, or ended in none that    TERMINAL_RESUBMIT, under a fresh run id; with a fixed identity
is allowed                                  RESET with ``reset_dag_run``, else REFUSE.
                                            ``on_child_failure="fail"``: GIVE_UP, but not after a clear.
                                            ``"resume"``: RESUME, if the run's own state is failed, it
                                            carries the same request (with a fixed identity, whatever it
                                            carries) and the server can prove that it is ours; after a clear
                                            only where a success would be taken, too
in an allowed state                         ALREADY_SUCCEEDED; after a clear only if the work is not asked
                                            for anew (below), else FRESH_SUBMIT; with a fixed identity
                                            RESET with ``reset_dag_run``, else USED_UP
active                                      RECONNECT; after a clear only if it carries the same request,
                                            else WAIT_OUT
==========================================  ==============================================================

After a clear the work is asked for again if the task's success was marked, if the child carries another request, or if
something upstream of the task ran again since the child was asked for. ``on_clear`` overrides: with ``adopt`` what was
not consumed counts whatever changed, with ``fresh`` nothing counts.

Fire-and-forget promises only the start. So any run of ours that exists counts as being in an allowed state, and none is
waited out: a fresh run is started even beside an active one with another request, and the log says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_durable.core.model import Clear, Decision, Look, Mode, OnChildFailure, OnClear, Proof

if TYPE_CHECKING:
    from airflow_durable.core.model import Attempt, ChildRun, Request
    from airflow_durable.core.record import Record


def plan(record: Record, request: Request, clear: Clear | None) -> Decision | None:
    """Decide what can be decided from the record alone. None: the recorded run has to be looked up."""
    is_over = record.is_consumed and clear is None and _is_enough(record, request)
    return Decision.SUCCEED_AGAIN if is_over else None


def _is_enough(record: Record, request: Request) -> bool:
    """Return whether the recorded outcome is one that the task takes by now: mode and states may have been edited."""
    if request.mode is Mode.FIRE_AND_FORGET:
        return True
    if record.outcome is None or record.outcome.state is None:
        # Release 0.1.0 recorded no outcome.
        return record.mode is not Mode.FIRE_AND_FORGET
    return request.is_success(record.outcome.state)


def decide(  # noqa: PLR0911, PLR0913 - a row a return; what a decision depends on
    record: Record,
    request: Request,
    attempt: Attempt,
    seen: ChildRun | Look,
    clear: Clear | None = None,
    *,
    is_upstream_newer: bool | None = None,
) -> Decision:
    """
    Decide about the recorded run, from what the look-up said of it.

    :param clear: what a person did since the record was written; None: nothing, this is an automatic retry.
    :param is_upstream_newer: whether something upstream ran again since the run was asked for; None: not known. It is
        asked only where :func:`is_upstream_asked` says so.
    """
    if isinstance(seen, Look):
        return _decide_unseen(record, request, seen, clear)
    is_reset_pending = record.is_reset_pending(seen)
    if is_reset_pending and request.is_reset and record.is_same_identity(request):
        return Decision.RESET
    if not record.is_author_of(seen, attempt):
        return _decide_foreign(record, request) if record.is_fixed else _decide_other_life(request, seen, clear)
    is_forgotten = request.mode is Mode.FIRE_AND_FORGET
    if is_reset_pending and (is_forgotten or not request.is_failure(seen.state)):
        # It was to start over, so the work was asked for anew; what was written ahead hides the clear that did.
        clear = Clear(is_anew=True)
    if is_forgotten:
        return _decide_done(record, request, seen, clear, is_upstream_newer=is_upstream_newer)
    if request.is_failure(seen.state):
        if clear is None and request.on_child_failure is OnChildFailure.FAIL:
            return Decision.GIVE_UP
        if _is_resumed(record, request, seen, clear, is_upstream_newer=is_upstream_newer):
            return Decision.RESUME
        return _decide_failed(record, request)
    if request.is_success(seen.state):
        return _decide_done(record, request, seen, clear, is_upstream_newer=is_upstream_newer)
    return _decide_active(record, request, seen, clear)


def is_upstream_asked(record: Record, request: Request, seen: ChildRun | Look, clear: Clear | None) -> bool:
    """Return whether the decision depends on what ran upstream of the task: that costs requests."""
    if clear is None or clear.is_anew or isinstance(seen, Look) or request.on_clear is not OnClear.AUTO:
        return False
    is_done = request.mode is Mode.FIRE_AND_FORGET or request.is_success(seen.state)
    is_resumed = request.on_child_failure is OnChildFailure.RESUME and request.is_failure(seen.state)
    return (is_done or is_resumed) and _is_same(record, request, seen)


def _is_same(record: Record, request: Request, seen: ChildRun) -> bool:
    """Return whether the run is known to be what the present try asks for: Dag, conf, fixed run id and date."""
    # A run that is met under a run id that stays may have the date of before an edit, and the record the present one.
    is_same_date = request.logical_date is None or seen.logical_date == request.logical_date
    is_same = record.is_same_identity(request) and record.has_dates_of(request) and is_same_date
    return is_same and seen.is_same_request is True


def _decide_unseen(record: Record, request: Request, seen: Look, clear: Clear | None) -> Decision:
    # A later call is asked for anew because the first one is. Where it was not used itself, its run id still is what
    # refuses a superseded try's request that is on its way.
    is_used = clear is not None and clear.is_anew and (record.is_consumed or request.epoch is None)
    if is_used or (clear is not None and request.on_clear is OnClear.FRESH):
        return Decision.FRESH_SUBMIT
    if seen is Look.MISSING and not record.is_same_identity(request):
        return Decision.FRESH_SUBMIT
    return Decision.RESUBMIT


def _decide_foreign(record: Record, request: Request) -> Decision:
    # Somebody else's run is in nobody's way once the task asks for another one. But where a reply that was lost could
    # have proved that it is ours, another one would be a second run: so a person is told first.
    is_known = record.proof is not Proof.REPLY or record.is_known_foreign
    return Decision.FOREIGN if record.is_same_identity(request) or not is_known else Decision.FRESH_SUBMIT


def _decide_other_life(request: Request, seen: ChildRun, clear: Clear | None) -> Decision:
    # Without a record (3.2), a run of before a clear that moved the start of the parent's Dag run looks like one of
    # another life.
    is_fresh_wanted = clear is not None and request.on_clear is OnClear.FRESH
    if not seen.is_active or is_fresh_wanted:
        return Decision.FRESH_SUBMIT
    if seen.is_same_request or request.on_clear is OnClear.ADOPT:
        return Decision.RECONNECT
    is_beside = request.mode is Mode.FIRE_AND_FORGET or request.on_clear is OnClear.FRESH
    return Decision.FRESH_SUBMIT if is_beside else Decision.WAIT_OUT


def _is_resumed(
    record: Record, request: Request, seen: ChildRun, clear: Clear | None, *, is_upstream_newer: bool | None
) -> bool:
    """
    Return whether the failed run continues from where it failed.

    It keeps its conf. So a task that now asks for another conf gets a fresh run, where there can be one. And the
    reconciler acts only on what it can prove: not on a run that this parent merely reset, or knows only from a reply.
    """
    is_asked = request.on_child_failure is OnChildFailure.RESUME and record.is_same_identity(request)
    # A failed state may be "success": nothing of such a run has failed, and the reconciler refuses it.
    is_resumable = seen.state == "failed" and seen.clear_number is not None
    if not is_asked or not is_resumable or not record.is_proven_by_run(seen):
        return False
    if clear is None:
        return record.is_fixed or seen.is_same_request is not False
    if clear.is_anew or request.on_clear is OnClear.FRESH:
        return False
    is_same = _is_same(record, request, seen) and is_upstream_newer is False
    return is_same or request.on_clear is OnClear.ADOPT


def _decide_failed(record: Record, request: Request) -> Decision:
    if not record.is_fixed or not record.is_same_identity(request):
        return Decision.TERMINAL_RESUBMIT
    return Decision.RESET if request.is_reset else Decision.REFUSE


def _decide_done(
    record: Record, request: Request, seen: ChildRun, clear: Clear | None, *, is_upstream_newer: bool | None
) -> Decision:
    if clear is None or (request.on_clear is OnClear.ADOPT and not clear.is_anew):
        return Decision.ALREADY_SUCCEEDED
    is_same = _is_same(record, request, seen) and is_upstream_newer is False
    if is_same and not clear.is_anew and request.on_clear is OnClear.AUTO:
        return Decision.ALREADY_SUCCEEDED
    if seen.is_active and request.mode is not Mode.FIRE_AND_FORGET and request.on_clear is OnClear.AUTO:
        # An allowed state may be an active one: even so nothing is started beside it.
        return Decision.WAIT_OUT
    return _start_anew(record, request)


def _decide_active(record: Record, request: Request, seen: ChildRun, clear: Clear | None) -> Decision:
    if clear is None or request.on_clear is OnClear.ADOPT:
        return Decision.RECONNECT
    if request.on_clear is OnClear.FRESH:
        return Decision.WAIT_OUT if record.is_fixed and not request.is_reset else _start_anew(record, request)
    return Decision.RECONNECT if _is_same(record, request, seen) else Decision.WAIT_OUT


def _start_anew(record: Record, request: Request) -> Decision:
    if not record.is_fixed or not record.is_same_identity(request):
        return Decision.FRESH_SUBMIT
    return Decision.RESET if request.is_reset else Decision.USED_UP
