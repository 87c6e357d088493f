"""A part of a play, and the hooks by which Airflow tells users' code of it."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.adapters.versions import IS_RETRIED_AFTER_EXIT, listener_manager

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TRIGGER = "the trigger"
FIRED = "fired"
KILLED = "killed"
ENDLESS = "waits for ever"
RETRY = "up_for_retry"
FAILED = "failed"
EXITED = "exited"
"""The task runner itself failed, as before Airflow 3.3 it does where the stock operator's request is refused. Nobody is
told, no callback is called, and the supervisor reports a failure (``sdk/execution_time/supervisor.py``,
``final_state``)."""


HOOKS = (
    "on_execute_callback",
    "on_success_callback",
    "on_failure_callback",
    "on_retry_callback",
    "on_skipped_callback",
)


@dataclass
class Part:
    """
    A part of a play: a try until it ends or defers, a trigger, a resumption, a user's own call.

    :ivar error: what it ended with.
    :ivar is_retry_left: a failure is followed by another try.
    :ivar hooks: which of Airflow's hooks were called, and what they could see.
    """

    name: str
    state: str = ""
    requests: list[Any] = field(default_factory=list)
    error: BaseException | None = None
    is_retry_left: bool = False
    hooks: list[tuple[str, Any]] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    sleeps: list[float] = field(default_factory=list)


def state_of(part: Part) -> str:
    """Return the state that the task instance is in after the part."""
    if part.state == EXITED:
        return RETRY if part.is_retry_left and IS_RETRIED_AFTER_EXIT else FAILED
    return part.state


def callbacks_into(part: Callable[[], Part]) -> dict[str, Any]:
    """Return the callbacks that note that they are called, and with what."""

    def noted(name: str) -> Any:  # noqa: ANN401 - a callback
        return lambda context, *result: part().hooks.append((name, _seen_by_hook(context["ti"], context, *result)))

    return {name: noted(name) for name in (*HOOKS, "pre_execute", "post_execute")}


def _seen_by_hook(instance: Any, context: Any, *more: Any) -> dict[str, Any]:  # noqa: ANN401 - Airflow's
    task = instance.task
    error = context.get("exception")
    return {
        "trigger_dag_id": task.trigger_dag_id,
        "trigger_run_id": task.trigger_run_id,
        "conf": task.conf,
        "error": error if error is None or isinstance(error, str) else public_classes(error),
        "more": [str(item) for item in more],
    }


def public_classes(error: BaseException) -> list[str]:
    """Return the classes by which code that knows nothing of this package can tell the error."""
    return [cls.__name__ for cls in _public(error)]


def special_classes(error: BaseException) -> list[str]:
    """Return the most special of them, sorted: a rule on one of them, or on what it derives from, matches."""
    public = _public(error)
    return sorted(cls.__name__ for cls in public if not any(issubclass(o, cls) for o in public if o is not cls))


def _public(error: BaseException) -> list[type]:
    return [
        cls
        for cls in type(error).__mro__
        if not cls.__module__.startswith("airflow_durable") and cls not in {object, BaseException, Exception}
    ]


@contextlib.contextmanager
def listening_into(part: Part) -> Iterator[None]:
    """Let a listener note what it is told."""
    from airflow.listeners import hookimpl

    def noted(name: str, instance: Any, previous: Any, error: Any = None) -> None:  # noqa: ANN401 - Airflow's
        seen = _seen_by_hook(instance, {"exception": error}, previous)
        part.hooks.append((name, {**seen, "state": str(instance.state)}))

    class Listener:
        @hookimpl
        def on_task_instance_running(self, previous_state: Any, task_instance: Any) -> None:  # noqa: ANN401
            noted("listener: running", task_instance, previous_state)

        @hookimpl
        def on_task_instance_success(self, previous_state: Any, task_instance: Any) -> None:  # noqa: ANN401
            noted("listener: success", task_instance, previous_state)

        @hookimpl
        def on_task_instance_failed(self, previous_state: Any, task_instance: Any, error: Any) -> None:  # noqa: ANN401
            noted("listener: failed", task_instance, previous_state, error)

        if _has_skipped():

            @hookimpl
            def on_task_instance_skipped(self, previous_state: Any, task_instance: Any) -> None:  # noqa: ANN401
                noted("listener: skipped", task_instance, previous_state)

    listener = Listener()
    listener_manager().pm.register(listener)
    try:
        yield
    finally:
        listener_manager().pm.unregister(listener)


def _has_skipped() -> bool:
    """Tell whether listeners are told of skips: from Airflow 3.1."""
    return hasattr(listener_manager().hook, "on_task_instance_skipped")
