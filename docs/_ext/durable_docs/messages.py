"""Every error that a user can meet, made from its class with sample values."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from airflow_durable import exceptions
from airflow_durable.core import errors
from airflow_durable.core.errors import DurableError

if TYPE_CHECKING:
    from collections.abc import Iterator

SAMPLES: dict[str, Any] = {
    "dag_id": "child",
    "run_id": "manual__2026-01-01",
    "state": "failed",
    "logical_date": "2026-01-01T00:00:00+00:00",
    "reason": "…",
    "name": "logical_date",
    "times": 5,
    "is_transient": True,
    "key": "durable_child_run",
}
_BASES = (DurableError, exceptions.DurableTriggerError, exceptions.DurableTriggerFailError)


def classes() -> Iterator[type[Exception]]:
    """Return every error class with a message of its own."""
    for module in (errors, exceptions):
        for item in vars(module).values():
            if (
                inspect.isclass(item)
                and issubclass(item, Exception)
                and item.__module__ == module.__name__
                and item not in _BASES
            ):
                yield item


def find(name: str) -> type[Exception]:
    """Return the class of that name."""
    return next(item for item in classes() if item.__name__ == name)


def message_of(error: type[Exception]) -> str:
    """Return its message, with sample values."""
    parameters = inspect.signature(error).parameters
    return str(error(**{name: SAMPLES[name] for name in parameters}))


def outcome_of(error: type[Exception]) -> str:
    """Return what Airflow makes of it."""
    if not issubclass(error, DurableError):
        return "The task may be tried again."
    if error is errors.ForeignRunSkipError:
        return "The task is skipped."
    if error.is_terminal:
        return "The task fails, and is not tried again: another try could change nothing."
    return "The try fails. With tries left, the task is tried again."
