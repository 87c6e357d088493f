"""What a task raises, and which tasks of a failed child have failed, for the people who read the error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_durable import task_sdk
from airflow_durable.core import child_tasks
from airflow_durable.core.errors import ChildRunFailedError, DurableError, LookUpFailedError
from airflow_durable.exceptions import as_airflow
from airflow_durable.task.request import has_next_try

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from airflow.providers.common.compat.sdk import Context


def guarded(context: Context, run: Callable[[], Any]) -> Any:  # noqa: ANN401 - what it returns
    """
    Do something of a durable task.

    :raises DurableTriggerError: the try failed, and the next one continues from what is recorded.
    :raises DurableTriggerFailError: the task failed, and another try could change nothing.
    """
    try:
        return run()
    except DurableError as error:
        name_failed_tasks(error)
        raised = as_airflow(error, has_next_try=has_next_try(context))
    # Out of the except block: what is raised in it is logged with the error's text a second time.
    raise raised


def name_failed_tasks(error: DurableError) -> None:
    """Add the failed tasks to the error, as far as this Airflow can tell them. Never fails."""
    if not isinstance(error, ChildRunFailedError):
        return
    try:
        error.failed_tasks = tuple(_lines(error.dag_id, error.run_id))
    except Exception:  # noqa: BLE001 - for people only: the error itself must not be lost
        error.failed_tasks = ()


def _lines(dag_id: str, run_id: str) -> list[str]:
    found = task_sdk.failed_tasks(dag_id, run_id)
    if not found:
        # Before 3.2 only names are known, and of a part of a mapped task the name does not tell the map index.
        names = child_tasks.failed(task_sdk.task_states(dag_id, run_id))
        return [child_tasks.list_names(names)] if names else []
    logical_date = _logical_date(dag_id, run_id)
    lines = []
    for task_id, map_index in found[: child_tasks.MAX_NAMED]:
        tries = logical_date and task_sdk.try_number_of(dag_id, run_id, task_id, map_index, logical_date)
        name = task_id if map_index < 0 else f"{task_id} (map index {map_index})"
        url = task_sdk.url_of_task(dag_id, run_id, task_id, map_index)
        lines.append(" ".join(part for part in (name, f"try {tries}" if tries else "", url or "") if part))
    more = len(found) - child_tasks.MAX_NAMED
    return [*lines, f"and {more} more"] if more > 0 else lines


def _logical_date(dag_id: str, run_id: str) -> datetime | None:
    try:
        run = task_sdk.look_up(dag_id, run_id, is_detailed=task_sdk.has_details())
    except LookUpFailedError:
        return None
    return run.logical_date if run else None
