"""
The one room that speaks the Task SDK's internal language: messages to the supervisor, and what comes back.

Each item says why the internal is needed, the versions it was read in, and when it can go. Nothing here imports Airflow
before it is called.
"""

from airflow_durable.server_errors import (
    as_submission_error,
    describe,
    is_from_server,
    is_missing,
    is_transient,
    read_failure,
)
from airflow_durable.task_sdk.abilities import (
    can_defer,
    can_send_partition_key,
    can_send_run_after,
    dag_run_states,
    has_details,
    is_deferrable_waiting,
    is_event_left_over,
    loop_index_of,
)
from airflow_durable.task_sdk.addresses import url_of_run, url_of_task
from airflow_durable.task_sdk.channel import Failure, ask, undisturbed
from airflow_durable.task_sdk.dag_runs import (
    count,
    failed_tasks,
    look_up,
    return_value,
    task_ended_at,
    task_states,
    try_number_of,
    why_queued,
)
from airflow_durable.task_sdk.event_loop import AsyncLookUps, TaskLookUps
from airflow_durable.task_sdk.submission import submit

__all__ = [
    "AsyncLookUps",
    "Failure",
    "TaskLookUps",
    "as_submission_error",
    "ask",
    "can_defer",
    "can_send_partition_key",
    "can_send_run_after",
    "count",
    "dag_run_states",
    "describe",
    "failed_tasks",
    "has_details",
    "is_deferrable_waiting",
    "is_event_left_over",
    "is_from_server",
    "is_missing",
    "is_transient",
    "look_up",
    "loop_index_of",
    "read_failure",
    "return_value",
    "submit",
    "task_ended_at",
    "task_states",
    "try_number_of",
    "undisturbed",
    "url_of_run",
    "url_of_task",
    "why_queued",
]
