"""
The child's result: what its named tasks have returned.

It is read before the outcome is marked as consumed, so a try that dies in between reads it again; and again by each
later try that succeeds. It is stored nowhere and never logged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_durable import task_sdk
from airflow_durable.core.errors import ResultMissingError, ResultUnreadableError
from airflow_durable.server_errors import Failure

if TYPE_CHECKING:
    from airflow_durable.core.record import Record


def read_result(wanted: str | list[str] | None, record: Record) -> Any:  # noqa: ANN401 - the user's
    """
    Return what the named tasks of the child have returned.

    :param wanted: a task id: its value, a list of them for a mapped task; several: a dict by task id; None: None.
    :raises ResultMissingError: a task is not there, or has returned nothing.
    :raises ResultUnreadableError: it cannot be read just now.
    :raises LookUpFailedError: the states of the child's tasks cannot be read.
    """
    if wanted is None:
        return None
    if isinstance(wanted, str):
        return _value_of(record, wanted)
    return {task_id: _value_of(record, task_id) for task_id in wanted}


def _value_of(record: Record, task_id: str) -> Any:  # noqa: ANN401 - the user's
    states = task_sdk.task_states(record.dag_id, record.run_id, [task_id])
    if not states:
        raise ResultMissingError(record.dag_id, record.run_id, task_id, "that run has no such task")
    is_mapped = task_id not in states
    value = task_sdk.return_value(record.dag_id, record.run_id, task_id, is_mapped=is_mapped)
    if isinstance(value, Failure):
        raise ResultUnreadableError(record.dag_id, record.run_id, task_id, value.said)
    if value is None:
        state = "mapped" if is_mapped else states[task_id] or "not scheduled"
        raise ResultMissingError(record.dag_id, record.run_id, task_id, f"the task is {state}, and has returned none")
    return value
