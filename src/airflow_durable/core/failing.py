"""How a task ends because of its child's failure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_durable.core.errors import ChildRunFailedError

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
        on_child_failure=request.on_child_failure.value,
    )
