"""Every error that a user can meet, made from its class with sample values."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from airflow_durable import exceptions
from airflow_durable.core import errors, many_errors
from airflow_durable.core.errors import DurableError

if TYPE_CHECKING:
    from collections.abc import Iterator

SAMPLES: dict[str, Any] = {
    "is_of_wrong_type": False,
    "is_of_dag": True,
    "dag_id": "child",
    "run_id": "manual__2026-01-01",
    "state": "failed",
    "logical_date": "2026-01-01T00:00:00+00:00",
    "reason": "…",
    "name": "logical_date",
    "times": 5,
    "is_transient": True,
    "is_asked": False,
    "key": "durable_child_run",
    "call": 2,
    "status": 404,
    "text": "poke_interval must be a number of seconds, 0 or more, or a timedelta, not -1.",
    "is_awaited": True,
    "is_run_known": True,
    "is_fixed": False,
    "is_left": False,
    "is_reset": False,
    "on_child_failure": "fresh",
    "others": 3,
    "overdue": 0,
    "seconds": 1800.0,
    "where": "the run is queued: its Dag is paused",
    "task_id": "summarise",
    "failed": [("north", "manual__2026-01-01T00:00:00+00:00_k3v9xq2m4wfa_inorth")],
    "failures": 1,
    "count": 40,
    "tolerated": 0,
    "running": 3,
    "pending": 12,
    "first": 0,
    "second": 2,
}
_BASES = (
    DurableError,
    many_errors.ItemsInvalidError,
    exceptions.DurableTriggerError,
    exceptions.DurableTriggerFailError,
    exceptions.DurableTriggerValueError,
    exceptions.DurableTriggerDateError,
    exceptions.DurableTriggerTypeError,
    exceptions.DurableTriggerServerError,
)
"""Those without a message of their own."""


def classes() -> Iterator[type[Exception]]:
    """Return every error class with a message of its own."""
    for module in (errors, many_errors, exceptions):
        for item in vars(module).values():
            if (
                inspect.isclass(item)
                and issubclass(item, Exception)
                and item.__module__.startswith(module.__name__)
                and item not in _BASES
            ):
                yield item


def find(name: str) -> type[Exception]:
    """Return the class of that name."""
    return next(item for item in classes() if item.__name__ == name)


def message_of(error: type[Exception], *, has_next_try: bool = True) -> str:
    """Return its message, with sample values, as it is in the log of a task that will, or will not, be tried again."""
    parameters = inspect.signature(error).parameters
    made = error(**{name: SAMPLES[name] for name in parameters})
    return made.explain(has_next_try=has_next_try) if isinstance(made, DurableError) else str(made)


def outcome_of(error: type[Exception]) -> str:
    """Return what happens to the task."""
    if not issubclass(error, DurableError):
        return "The try fails. If tries are left, Airflow retries the task."
    if error is errors.ForeignRunSkipError:
        return "The task is skipped."
    if error.is_terminal:
        return "The task fails and is not retried: another try could change nothing."
    return "The try fails. If tries are left, Airflow retries the task."
