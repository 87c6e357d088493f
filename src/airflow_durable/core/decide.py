"""
The decision table, whole. Both functions are pure: equal arguments, equal answers.

==========================================  ==============================================================
before any look-up (:func:`plan`)
------------------------------------------  --------------------------------------------------------------
no record                                   FRESH_SUBMIT
consumed, an automatic retry                SUCCEED_AGAIN
consumed, cleared by a person               FRESH_SUBMIT
not consumed, cleared by a person, and
another request than the recorded one       FRESH_SUBMIT
else                                        look the recorded run up
==========================================  ==============================================================

==========================================  ==============================================================
the recorded run (:func:`decide`)
------------------------------------------  --------------------------------------------------------------
missing, or unreadable                      RESUBMIT, under the recorded run id
not ours (a fixed identity)                 FOREIGN
its reset was recorded and has not arrived  RESET
there at all, fire-and-forget               ALREADY_SUCCEEDED
in a failed state, generated identity       TERMINAL_RESUBMIT, under a fresh run id
in a failed state, fixed identity           RESET with ``reset_dag_run``, else REFUSE
in an allowed state                         ALREADY_SUCCEEDED
any other state                             RECONNECT
==========================================  ==============================================================
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_durable.core.model import Decision, Look, Mode

if TYPE_CHECKING:
    from airflow_durable.core.model import Attempt, ChildRun, Request
    from airflow_durable.core.record import Record


def plan(record: Record | None, request: Request, attempt: Attempt) -> Decision | None:
    """Decide what can be decided from the record alone. None: the recorded run has to be looked up."""
    if record is None:
        return Decision.FRESH_SUBMIT
    is_cleared = record.is_cleared_before(attempt)
    if record.is_consumed:
        return Decision.FRESH_SUBMIT if is_cleared else Decision.SUCCEED_AGAIN
    if is_cleared and record.digest != request.digest:
        return Decision.FRESH_SUBMIT
    return None


def decide(record: Record, request: Request, seen: ChildRun | Look) -> Decision:  # noqa: PLR0911 - a row a return
    """Decide about the recorded run, from what the look-up said of it."""
    if isinstance(seen, Look):
        return Decision.RESUBMIT
    if not record.is_author_of(seen):
        return Decision.FOREIGN
    if record.is_reset_pending(seen):
        return Decision.RESET
    if request.mode is Mode.FIRE_AND_FORGET:
        return Decision.ALREADY_SUCCEEDED
    if seen.state in request.failed_states:
        return _decide_failed(record, request)
    if seen.state in request.allowed_states:
        return Decision.ALREADY_SUCCEEDED
    return Decision.RECONNECT


def _decide_failed(record: Record, request: Request) -> Decision:
    if not record.is_fixed or (request.dag_id, request.run_id) != (record.dag_id, record.run_id):
        return Decision.TERMINAL_RESUBMIT
    return Decision.RESET if request.is_reset else Decision.REFUSE
