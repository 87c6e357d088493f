"""
Our own parameters of the operator: their defaults for the deployment, and what is checked when a Dag is parsed.

Nothing here is imported that only a running task needs.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from airflow_durable.compat import conf
from airflow_durable.defaults import CHOICES, NEEDING_STORE, OPTIONS, read_default_choice, read_default_timeout
from airflow_durable.durations import read_interval, read_timeout
from airflow_durable.stock import request_takes

SECTION = "durable"
_OF_DEPLOYMENT = f" It is the default in [{SECTION}]."

# They are checked as a task's own values are, where a task uses them.
_given = {name: conf.get(SECTION, name, fallback="") for name in OPTIONS}
ON_CHILD_FAILURE = read_default_choice("on_child_failure", _given["on_child_failure"])
ON_PARENT_END = read_default_choice("on_parent_end", _given["on_parent_end"])
START_TIMEOUT: Any = read_default_timeout(_given["start_timeout"])
RUN_TIMEOUT: Any = read_default_timeout(_given["run_timeout"])

DEFAULTS: dict[str, Any] = {
    "on_clear": "auto",
    "on_child_failure": ON_CHILD_FAILURE,
    "on_parent_end": ON_PARENT_END,
    "start_timeout": START_TIMEOUT,
    "run_timeout": RUN_TIMEOUT,
    "defer_after": None,
    "result": None,
    "partition_key": None,
}
"""Of our parameters but ``durable``: what a task has that is made durable without the operator's ``__init__``."""

OWN: tuple[str, ...] = ("durable", *DEFAULTS)
"""Our parameters, and the attributes that hold them."""


def check_all(task_id: str, given: dict[str, Any], *, is_durable: bool | None) -> None:
    """
    Check our parameters, when the Dag is parsed.

    :param given: those that are known by now, by their names.
    :param is_durable: None: it is not known yet.
    :raises ValueError: a value that cannot be used, here or on this Airflow.
    :raises TypeError: ``durable`` or ``result`` of a wrong type.
    """
    if "durable" in given:
        check_durable(task_id, given["durable"])
    if is_durable is False:
        # It does not use the deployment's defaults, whatever they are.
        given = {name: value for name, value in given.items() if name not in DEFAULTS or value != DEFAULTS[name]}
    for name in CHOICES.keys() & given.keys():
        _check_choice(task_id, name, given[name], is_used=is_durable is not False)
    for name in {"start_timeout", "run_timeout", "defer_after"} & given.keys():
        check_duration(task_id, name, given[name])
    if given.get("result") is not None:
        _check_result(task_id, given["result"])
    partition_key = given.get("partition_key")
    if isinstance(partition_key, (bool, int, float, bytes)):
        message = f"partition_key of task {task_id!r} must be a string, not {partition_key!r}."
        raise TypeError(message)
    if partition_key is not None and not _is_partition_key_sent():
        message = (
            f"partition_key of task {task_id!r} cannot be used: this Airflow does not pass on the partition key that a "
            f"task gives to the run it triggers."
        )
        raise ValueError(message)
    if is_durable is False:
        _check_not_durable(task_id, given)


@cache
def why_defaults_unusable() -> str | None:
    """Return why a task cannot have the deployment's defaults; None: it can. They are the same for all of a process."""
    try:
        check_all("*", DEFAULTS, is_durable=True)
    except (TypeError, ValueError) as error:
        return f"a default in [{SECTION}] cannot be used: {str(error).removesuffix(_OF_DEPLOYMENT)}"
    return None


def check_durable(task_id: str, durable: object) -> bool:
    """Return it if it is a bool: a text is true whatever it says, and ``durable`` is no template field."""
    if isinstance(durable, bool):
        return durable
    message = f"durable of task {task_id!r} must be True or False, not {durable!r}."
    raise TypeError(message)


def check_poke_interval(task_id: str, given: object) -> None:
    """Refuse it when the Dag is parsed, not after the child was started."""
    if read_interval(given) is None:
        message = (
            f"poke_interval of task {task_id!r} must be a number of seconds, 0 or more, or a timedelta, not {given!r}."
        )
        raise ValueError(message)


def check_duration(task_id: str, name: str, given: object) -> None:
    """Refuse a timeout that is none; ``defer_after`` may be 0."""
    if given is None or read_timeout(given, is_zero_allowed=name == "defer_after") is not None:
        return
    least = "0 or more" if name == "defer_after" else "more than 0"
    message = f"{name} of task {task_id!r} must be a number of seconds, {least}, a timedelta or None, not {given!r}."
    raise ValueError(message + _origin(name, given))


def check_result_is_awaited(task_id: str, *, is_waiting: object) -> None:
    """Refuse ``result`` where the task does not wait. What is no bool is a template: that is left to the task."""
    if is_waiting is False:
        message = (
            f"result of task {task_id!r} needs a task that waits for its child: set wait_for_completion=True or "
            f"deferrable=True."
        )
        raise ValueError(message)


def _is_partition_key_sent() -> bool:
    from airflow_durable import task_sdk

    return task_sdk.can_send_partition_key()


def _check_choice(task_id: str, name: str, given: object, *, is_used: bool) -> None:
    choices = CHOICES[name]
    if not isinstance(given, str) or given not in choices:
        message = f"{name} of task {task_id!r} must be one of {', '.join(choices)}, not {given!r}."
        raise ValueError(message + _origin(name, given))
    # The task state store, in which it is recorded, came with ``run_after`` in the request of a Dag run.
    if is_used and given == NEEDING_STORE.get(name) and not request_takes("run_after"):
        message = (
            f"{name}={given!r} of task {task_id!r} needs Airflow 3.3: before, there is no task state store that could "
            f"keep what is asked for."
        )
        raise ValueError(message + _origin(name, given))


def _origin(name: str, given: object) -> str:
    """Return where a value comes from that the Dag file may not have."""
    return _OF_DEPLOYMENT if given == DEFAULTS[name] else ""


def _check_result(task_id: str, given: object) -> None:
    if given is True:
        message = (
            f"result=True of task {task_id!r} is not supported: no Airflow lets a task ask which tasks of another Dag "
            f"are marked with @result. Name them: result='task_id'."
        )
        raise ValueError(message)
    names = given if isinstance(given, (list, tuple)) else [given]
    if not names or not all(isinstance(name, str) and name for name in names):
        message = f"result of task {task_id!r} must be a task id of the child Dag, or a list of them, not {given!r}."
        raise TypeError(message)


def _check_not_durable(task_id: str, given: dict[str, Any]) -> None:
    """Refuse what would be ignored: the stock operator has none of it."""
    for name in ("start_timeout", "run_timeout", "defer_after", "result", "partition_key"):
        if given.get(name) is not None:
            message = (
                f"{name} of task {task_id!r} needs durable=True: without it the task is one of the stock operator."
            )
            raise ValueError(message)
