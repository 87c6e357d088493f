"""The task's end of the channel to its supervisor: a request is sent, and its answer or its failure read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_durable.alarm import undisturbed
from airflow_durable.server_errors import Failure, read_failure

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Failure", "ask", "send", "undisturbed"]


def ask(call: Callable[[], Any], *, conf: object = None) -> Any:  # noqa: ANN401 - as many types as there are answers
    """
    Call what sends a message to the supervisor, undisturbed; return the answer, or the :class:`Failure`.

    An error is read here and dropped, before an alarm that has waited is raised: raised while the error is handled, it
    would have the error's text, and what that quotes, as its context.

    :param conf: the one in the message.
    """
    with undisturbed():
        try:
            return call()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is read
            return read_failure(error, conf=conf)


def send(message: Any, *, conf: object = None) -> Any:  # noqa: ANN401 - as many types as there are messages
    """
    Send a message; return the answer, or the :class:`Failure`.

    :param conf: the one in the message.
    """
    from airflow.sdk.execution_time import task_runner

    return ask(lambda: task_runner.SUPERVISOR_COMMS.send(message), conf=conf)
