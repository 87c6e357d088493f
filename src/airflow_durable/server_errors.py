"""
What an error means that came back instead of an answer, and the little of it that people are shown.

A server's error may quote what was sent to it, the conf among it: jsonschema's text has the refused value, an HTTP 422
its whole input, a database error the statement with its parameters. So nothing of an answer is shown. What is known is
said in words of our own (:mod:`airflow_durable.refusals`), the rest by its HTTP status.

An error that is read here must not become the cause or the context of another one: Airflow logs the text of every link
of that chain (``sdk/log.py`` in 3.0, ``sdk/_shared/logging/structlog.py`` from 3.1 on).
"""

from __future__ import annotations

import builtins
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from airflow_durable.core.errors import SubmissionRefusedError, SubmissionUnknownError
from airflow_durable.refusals import NOT_FOUND, OF_DAG, describe_detail, read_reason

_STATUSES = range(100, 600)
_CLIENT_ERRORS = range(400, 500)
_PASSING_STATUSES = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS})

_OTHER_EXCEPTIONS = frozenset({"ValidationError", "PydanticSerializationError", "DecodeError", "RetryError"})
_CANNOT_BE_SENT = (UnicodeEncodeError, OverflowError, NotImplementedError)
"""What the encoder of the channel raises, before a byte is sent (``comms.py``, ``as_bytes``, 3.0 to 3.4.0b2)."""


@dataclass(frozen=True)
class Failure:
    """
    A request that has no usable answer.

    :param said: what people are shown: nothing in it comes from the server.
    :param status: the HTTP status; None: there was no HTTP answer.
    :param reason: the one that the server gave, if it is a known one.
    :param is_from_server: it came from the server, or from the network to it, and not from this process.
    :param is_unsent: it was certainly not sent.
    :param is_answer_unreadable: there was an answer, of a form that Airflow's client does not know.
    """

    said: str
    status: int | None = None
    reason: str | None = None
    is_from_server: bool = False
    is_unsent: bool = False
    is_answer_unreadable: bool = False

    @property
    def is_missing(self) -> bool:
        """It says that what was asked for does not exist, and not that the route or the server does not."""
        return self.status == HTTPStatus.NOT_FOUND and self.reason == NOT_FOUND

    @property
    def is_conflict(self) -> bool:
        """It says that there is such a run already, or one with its logical date."""
        return self.status == HTTPStatus.CONFLICT

    @property
    def is_refusal(self) -> bool:
        """The same request will be refused again."""
        return self.is_unsent or (self.status in _CLIENT_ERRORS and self.status not in _PASSING_STATUSES)

    @property
    def is_transient(self) -> bool:
        """
        The same request may succeed later.

        Not so where the channel to the supervisor is closed: that process is gone for good. Nor where Airflow's client
        cannot read the answer, a Dag run state for example that is newer than it: it will not learn that by itself.
        """
        if self.status is not None:
            return not self.is_refusal
        return self.is_from_server and not self.is_answer_unreadable


def read_failure(error: Exception, *, conf: object = None) -> Failure:
    """
    Return what the error means.

    In a task the supervisor sends an ``AirflowRuntimeError`` whose ``error.detail`` has ``status_code`` and the body
    under ``detail``; without an answer ``status_code`` is None and ``exception_type`` names the error (3.2 and later)
    (``sdk/execution_time/supervisor.py``, ``handle_requests``, 3.0 to 3.4.0b2). In ``dag.test()`` the client's own
    error arrives.

    :param conf: the one that was sent: a refused parameter is named if it is a key of it.
    """
    status = _status_of(error)
    if status is None:
        said = _describe_unanswered(error)
        return Failure(
            said,
            is_from_server=is_from_server(error),
            is_unsent=isinstance(error, _CANNOT_BE_SENT),
            is_answer_unreadable=_is_answer_unreadable(error),
        )
    detail = _detail_of(error)
    said = describe_detail(detail, conf=conf) or _phrase(status)
    return Failure(
        f"{said} (HTTP {status})" if said else f"HTTP {status}", status, read_reason(detail), is_from_server(error)
    )


def as_submission_error(
    dag_id: str, run_id: str, error: Exception | Failure, *, is_reset: bool = False
) -> SubmissionRefusedError | SubmissionUnknownError:
    """Return what the error means to a submission: that it was refused for good, or that its fate is not known."""
    failure = error if isinstance(error, Failure) else read_failure(error)
    said = failure.said
    if failure.is_missing:
        said = f"there is no such Dag{' or run' if is_reset else ''} (HTTP {failure.status})"
    if failure.is_refusal:
        is_of_dag = failure.reason in OF_DAG
        return SubmissionRefusedError(
            dag_id, run_id, said, status=failure.status, is_of_dag=is_of_dag, is_reset=is_reset
        )
    return SubmissionUnknownError(dag_id, run_id, said, is_reset=is_reset)


def is_missing(error: Exception) -> bool:
    """
    Return whether the error says that the Dag run does not exist, and not that the route or the server does not.

    The body is ``{"detail": {"reason": "not_found", ...}}`` (``execution_api/routes/dag_runs.py``, 3.0 to 3.4.0b2); an
    unknown route has a text in its place.
    """
    return read_failure(error).is_missing


def describe(error: Exception) -> str:
    """Return what happened, in a line, without anything that was sent or came back."""
    return read_failure(error).said


def is_transient(error: Exception) -> bool:
    """Return whether the same request may succeed later."""
    return read_failure(error).is_transient


def is_from_server(error: Exception) -> bool:
    """
    Return whether the error came from the server, or from the network to it, and not from this process.

    In a task it is the supervisor's ``AirflowRuntimeError``, also where the server did not answer (3.2 and later); in
    ``dag.test()`` the client's own error.
    """
    import httpx
    from airflow.sdk.exceptions import AirflowRuntimeError

    return isinstance(error, (AirflowRuntimeError, httpx.HTTPError))


def _supervisors_detail(error: Exception) -> dict[str, Any] | None:
    detail = getattr(getattr(error, "error", None), "detail", None)
    return detail if isinstance(detail, dict) else None


def _status_of(error: Exception) -> int | None:
    supervisors = _supervisors_detail(error)
    status = (
        getattr(getattr(error, "response", None), "status_code", None)
        if supervisors is None
        else supervisors.get("status_code")
    )
    return status if isinstance(status, int) and status in _STATUSES else None


def _detail_of(error: Exception) -> Any:  # noqa: ANN401 - whatever the server sent
    """Return the ``detail`` of the body that the server sent: an object, a list, a text, or None."""
    supervisors = _supervisors_detail(error)
    if supervisors is not None:
        body = supervisors.get("detail")
        return body.get("detail") if isinstance(body, dict) else body
    detail = getattr(error, "detail", None)
    if isinstance(detail, dict) and detail.keys() == {"detail"}:
        # The client of 3.0 and 3.1 keeps the whole body if its detail is an object (``sdk/api/client.py``).
        return detail["detail"]
    return detail


def _describe_unanswered(error: Exception) -> str:
    from airflow.sdk.exceptions import ErrorType

    if isinstance(error, _CANNOT_BE_SENT):
        return f"the request cannot be encoded ({type(error).__name__})"
    supervisors = _supervisors_detail(error)
    if _is_answer_unreadable(error):
        return "Airflow's client cannot read the server's answer; is the server newer than this worker?"
    if supervisors is not None:
        name = supervisors.get("exception_type")
        return f"no answer from the server ({name})" if _is_exception_name(name) else "no answer from the server"
    kind = getattr(getattr(error, "error", None), "error", None)
    name = type(error).__name__
    if isinstance(kind, ErrorType):
        return f"{name}: {kind.value}"
    if is_from_server(error):
        return f"no answer from the server ({name})"
    is_closed = isinstance(error, (EOFError, ConnectionError))
    return f"the channel to the supervisor is closed ({name})" if is_closed else name


def _is_answer_unreadable(error: Exception) -> bool:
    """Return whether the client's models refused the answer: in ``dag.test()`` it is their error, else its name."""
    from pydantic import ValidationError

    supervisors = _supervisors_detail(error)
    named = supervisors is not None and supervisors.get("exception_type") == ValidationError.__name__
    return named or isinstance(error, ValidationError)


def _is_exception_name(name: object) -> bool:
    """Return whether it is the name of an exception of Python or of the HTTP client: it comes as a text."""
    import httpx

    if not isinstance(name, str):
        return False
    found = getattr(httpx, name, None) or getattr(builtins, name, None)
    return name in _OTHER_EXCEPTIONS or (isinstance(found, type) and issubclass(found, Exception))


def _phrase(status: int) -> str:
    """Return what HTTP calls the status, nothing if it has no name."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
