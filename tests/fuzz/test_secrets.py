"""A marked secret in every position of every answer: nothing that a log may show has it."""

from __future__ import annotations

import builtins
import traceback
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest import mock

import httpx
import pytest
from airflow.sdk.api.client import ServerResponseError
from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType
from airflow.sdk.execution_time import comms, task_runner
from hypothesis import example, given
from hypothesis import strategies as st
from structlog.tracebacks import ExceptionDictTransformer

from airflow_durable import task_sdk
from airflow_durable.compat import DagRunTriggerException
from airflow_durable.core.errors import DurableError
from airflow_durable.task.conf import parse_conf

if TYPE_CHECKING:
    from collections.abc import Callable

SECRET = "hunter2"
CONF = {"token": SECRET, "nested": {"list": [SECRET, {"deep": SECRET}]}, "limit": 3}

REFUSED_BY_PARAMS = (
    f"Invalid input for param token: {SECRET!r} is not of type 'integer'\n\n"
    f"Failed validating 'type' in schema:\n    {{}}\n\nOn instance:\n    {SECRET!r}"
)

# What Airflow and pydantic write around a value, and what might be taken for it.
TEXTS = [
    SECRET,
    REFUSED_BY_PARAMS,
    f"Invalid input for param {SECRET}: {SECRET!r}\n\nFailed validating '{SECRET}' in schema",
    f"Invalid input for param token {SECRET}: x",
    f"Logical date [{SECRET}] should be >= start_date [{SECRET}] from Dag's default_args",
    f"The run_id provided '{SECRET}' does not match regex pattern '{SECRET}'",
    f"The run_id '{SECRET}' must not contain '..' to prevent path traversal",
    f"conf.{SECRET}",
    "value_error",
    "not_found",
    "Value rejected by database",
    "conf",
    "ConnectError",
]
KEYS = ["detail", "reason", "message", "loc", "msg", "input", "ctx", "type", "statement", "orig_error", "token", SECRET]

texts = st.sampled_from(TEXTS)
bodies = st.recursive(
    texts | st.none() | st.integers(0, 600) | st.booleans(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5)
        | st.fixed_dictionaries({"reason": texts, "message": inner})
        | st.lists(
            st.fixed_dictionaries(
                {"loc": st.lists(texts | st.integers(0, 9), max_size=4), "msg": inner, "input": inner}
            )
        )
    ),
    max_leaves=12,
)
statuses = st.sampled_from([400, 401, 403, 404, 408, 409, 413, 422, 429, 499, 500, 502, 503, 504])


def from_a_supervisor(status: object, body: object, message: str, kind: object) -> Exception:
    """Return the error in a task (``supervisor.py``, ``handle_requests``), where each part may be anything."""
    detail = {"status_code": status, "message": message, "detail": body, "exception_type": kind}
    return AirflowRuntimeError(comms.ErrorResponse(error=ErrorType.API_SERVER_ERROR, detail=detail))


def from_a_client(status: int, body: object, message: str) -> Exception:
    """Return the error in ``dag.test()``, made by the client of this Airflow."""
    request = httpx.Request("POST", f"http://{SECRET}/")
    response = httpx.Response(status, json=body, request=request)
    made = ServerResponseError.from_response(response)
    return made or httpx.HTTPStatusError(message, request=request, response=response)


def from_another_client(status: int, body: object, message: str, detail: object) -> Exception:
    """Return the error of a client of another version: its ``detail`` is the body, a part of it, or models."""
    request = httpx.Request("POST", f"http://{SECRET}/")
    error = ServerResponseError(message, request=request, response=httpx.Response(status, json=body, request=request))
    error.detail = detail  # type: ignore[assignment] # as it may be
    return error


def with_a_note(error: Exception) -> Exception:
    """Return the error with what Airflow's log shows beside the text, and with a cause that has the value, too."""
    error.__notes__ = [SECRET]  # as add_note() of Python 3.11 does
    error.__cause__ = ValueError(SECRET)
    return error


models = st.builds(SimpleNamespace, loc=st.lists(texts, max_size=3), msg=texts, type=texts)
errors = st.one_of(
    st.builds(from_a_supervisor, statuses | st.none() | texts, bodies, texts, texts | st.none()),
    st.builds(from_a_client, statuses, bodies | st.fixed_dictionaries({"detail": bodies}), texts),
    st.builds(from_another_client, statuses, bodies, texts, bodies | st.lists(models, max_size=2)),
    st.builds(
        lambda kind, text: kind(text),
        st.sampled_from([httpx.ConnectError, httpx.ReadTimeout, ValueError, OSError, EOFError, RuntimeError, KeyError]),
        texts,
    ),
).map(with_a_note)


def shown_of(error: BaseException) -> str:
    """Return all that a log may show of an error: as Airflow writes it (without locals), and as Python does."""
    as_airflow = ExceptionDictTransformer(use_rich=False, show_locals=False)((type(error), error, error.__traceback__))
    return repr(as_airflow) + "".join(traceback.format_exception(error)) + repr(error.args)


def end_of(call: Callable[[], object]) -> DurableError | None:
    """Return our own error in which the call ends."""
    try:
        call()
    except DurableError as error:
        return error
    return None


def request_with(**fields: Any) -> DagRunTriggerException:  # noqa: ANN401 - whatever a user gives
    """Return the stock operator's request."""
    return DagRunTriggerException(
        **{
            "trigger_dag_id": "child",
            "dag_run_id": "run",
            "conf": CONF,
            "logical_date": None,
            "reset_dag_run": False,
            "skip_when_already_exists": False,
            "wait_for_completion": True,
            "allowed_states": ["success"],
            "failed_states": ["failed"],
            "poke_interval": 60,
            "deferrable": False,
            **fields,
        }
    )


def answering(error: Exception) -> Any:  # noqa: ANN401 - a patch
    """Let each request end in the error."""

    def send(_: object) -> None:
        raise error

    return mock.patch.object(task_runner, "SUPERVISOR_COMMS", SimpleNamespace(send=send), create=True)


@given(error=errors, is_reset=st.booleans())
@example(
    error=from_a_supervisor(400, {"detail": {"reason": "value_error", "message": REFUSED_BY_PARAMS}}, SECRET, None),
    is_reset=False,
)
def test_a_submission_shows_nothing_that_came_back(error: Exception, *, is_reset: bool) -> None:
    with answering(error):
        end = end_of(lambda: task_sdk.submit(request_with(), is_reset=is_reset))
    if end is not None:
        assert SECRET not in shown_of(end)
        assert end.__context__ is None
    assert SECRET not in shown_of(task_sdk.as_submission_error("child", "run", error))


@given(error=errors)
def test_a_look_up_shows_nothing_that_came_back(error: Exception) -> None:
    with answering(error):
        end = end_of(lambda: task_sdk.look_up("child", "run", is_detailed=False))
    if end is not None:
        assert SECRET not in shown_of(end)
        assert end.__context__ is None
    assert SECRET not in task_sdk.describe(error)


@pytest.mark.parametrize("field", ["conf", "logical_date", "run_after", "note", "partition_key", "reset_dag_run"])
@given(value=bodies)
def test_a_request_that_cannot_be_built_shows_no_value(field: str, value: object) -> None:
    request = request_with()
    request.__dict__[field] = value
    with answering(EOFError(SECRET)):
        end = end_of(lambda: task_sdk.submit(request, is_reset=False))
    if end is not None:
        assert SECRET not in shown_of(end)
        assert end.__context__ is None


class _Unfit:
    """What JSON does not have, and whose text is the secret."""

    def __repr__(self) -> str:
        return SECRET


confs = st.recursive(
    st.sampled_from([SECRET, SECRET.encode(), _Unfit(), 2**70, f"{SECRET}\ud800", {SECRET}, 1, None, float("nan")]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["token", f"{SECRET} is data", (SECRET,), SECRET.encode(), 7]), inner, max_size=3
        )
    ),
    max_leaves=8,
)


@given(conf=confs | st.sampled_from([f"{{{SECRET}", f'{{"a": "\\{SECRET}"}}', f'{{"a": "{SECRET}\n"}}', f'"{SECRET}"']))
def test_a_conf_that_is_none_shows_no_value(conf: object) -> None:
    end = end_of(lambda: parse_conf("child", conf))
    if end is not None:
        assert SECRET not in shown_of(end)
        assert end.__context__ is None


def test_the_marked_secret_is_no_name_of_python() -> None:
    """Else it could be shown as the name of an exception."""
    assert not hasattr(builtins, SECRET)
    assert not hasattr(httpx, SECRET)
