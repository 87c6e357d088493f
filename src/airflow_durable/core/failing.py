"""How a task ends when its child has failed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_durable.core.errors import ChildRunFailedError
from airflow_durable.core.model import OnChildFailure

if TYPE_CHECKING:
    from airflow_durable.core.model import Request
    from airflow_durable.core.record import Record


def failure_of(request: Request, record: Record, state: str) -> ChildRunFailedError:
    """Return the error with which the task ends where its child has ended in this state."""
    return ChildRunFailedError(
        record.dag_id,
        record.run_id,
        state,
        is_awaited=state in request.failed_states,
        is_fixed=record.is_fixed,
        is_reset=request.is_reset,
        on_child_failure=_next_of(request, record, state).value,
    )


def _next_of(request: Request, record: Record, state: str) -> OnChildFailure:
    """Return what comes next: what has not failed, or cannot be proven to be ours, is never resumed."""
    is_resumable = state == "failed" and record.is_provable
    is_resumed = request.on_child_failure is OnChildFailure.RESUME
    return OnChildFailure.FRESH if is_resumed and not is_resumable else request.on_child_failure
