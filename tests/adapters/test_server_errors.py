"""What people are shown of an error of the server: which, where it is known, and nothing that the server quoted."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from airflow.sdk import Param
from airflow.sdk.definitions.param import ParamsDict
from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType
from airflow.sdk.execution_time import comms
from structlog.tracebacks import ExceptionDictTransformer

from airflow_durable import task_sdk
from airflow_durable.compat import AirflowException
from airflow_durable.core.errors import LookUpFailedError, SubmissionRefusedError
from airflow_durable.server_errors import as_submission_error, read_failure

from .dags import make_dag
from .server_error_shapes import as_the_client_of_3_0_keeps_it, each_shape, in_a_task, in_dag_test
from .supervisor import ServerError
from .test_task_sdk import look_up, request_for, submit

if TYPE_CHECKING:
    from collections.abc import Callable

    from .supervisor import Supervisor

SECRET = "hunter2"
CONF = {"token": SECRET, "limit": 3}


def refused_by_params(conf: dict[str, Any], **params: Param) -> str:
    """Return Airflow's own words for a conf that the child Dag's params refuse."""
    known = ParamsDict(dict(params))
    with pytest.raises((ValueError, AirflowException), match="Invalid input for param") as caught:
        known.update(conf)
    return str(caught.value)


def shown_of(error: BaseException) -> str:
    """Return all that a log may show of an error: as Airflow writes it (without locals), and as Python does."""
    as_airflow = ExceptionDictTransformer(use_rich=False, show_locals=False)((type(error), error, error.__traceback__))
    return repr(as_airflow) + "".join(traceback.format_exception(error)) + repr(error.args)


def refuse(detail: Any, status: int = 400, shape: Callable[..., Exception] = in_a_task) -> str:  # noqa: ANN401 - JSON
    """Return the message of the error in which a submission ends; see that no secret is behind it either."""
    with pytest.raises(SubmissionRefusedError) as caught:
        submit(shape(status, detail), conf=CONF)
    assert SECRET not in shown_of(caught.value)
    assert caught.value.__context__ is None
    return str(caught.value)


# A conf that the child Dag's params refuse.


@each_shape
@pytest.mark.parametrize(
    ("param", "rule"),
    [
        (Param(1, type="integer"), "type"),
        (Param("a", enum=["a", "b"]), "enum"),
        (Param("a", type="string", maxLength=3), "maxLength"),
        (Param("2026-01-01", type="string", format="date"), "format"),
        (Param("a", type="string", pattern="^a$"), "pattern"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_parameter_and_the_rule_are_named(shape: Callable[..., Exception], param: Param, rule: str) -> None:
    message = refused_by_params(CONF, token=param)
    assert SECRET in message, "Airflow quotes the value: else this test shows nothing"
    said = refuse({"reason": "value_error", "message": message}, shape=shape)
    assert (
        f"the Dag's params refuse the parameter 'token': it breaks the rule {rule!r} of its schema (HTTP 400)" in said
    )


def test_a_rule_inside_a_value_is_not_taken_for_the_broken_one() -> None:
    message = refused_by_params({"token": "x\n\nFailed validating 'enum' in schema"}, token=Param(1, type="integer"))
    assert "the rule 'type'" in refuse({"reason": "value_error", "message": message})


@pytest.mark.parametrize(
    "message",
    [
        f"Invalid input for param {SECRET}: it is wrong",
        f"Invalid input for param other: {SECRET}",
        f"Invalid input for param token {SECRET}: it is wrong",
        f"Invalid input for param : {SECRET}",
        f"Invalid input for param limit.{SECRET}: it is wrong",
        f"Invalid input for param \n\nFailed validating '{SECRET}' in schema",
    ],
)
def test_a_parameter_that_is_no_key_of_the_conf_is_not_named(message: str) -> None:
    assert "the Dag's params refuse a parameter (HTTP 400)" in refuse({"reason": "value_error", "message": message})


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (f"Logical date [{SECRET}] should be >= start_date [x]", "the logical date lies before the start_date"),
        (f"The run_id provided '{SECRET}' does not match", "the run id does not match [scheduler] allowed_run_id"),
        (
            f"The run_id '{SECRET}' must not contain '..' to prevent path traversal",
            "the run id contains '..' ([core] a",
        ),
        (f"what is {SECRET}?", "the Dag refuses a value of the request"),
        (None, "the Dag refuses a value of the request"),
        ({"token": SECRET}, "the Dag refuses a value of the request"),
    ],
)
def test_another_value_that_the_dag_refuses(message: object, said: str) -> None:
    assert said in refuse({"reason": "value_error", "message": message})


# Other refusals.


@each_shape
@pytest.mark.parametrize(
    ("status", "reason", "said"),
    [
        (404, "not_found", "there is no such Dag (HTTP 404)"),
        (400, "import_errors", "the Dag has import errors (HTTP 400)"),
        (400, "denied_run_type", "the Dag does not allow runs that an operator starts (HTTP 400)"),
        (400, "not_partitioned", "the Dag is not partitioned, so it takes no partition_key (HTTP 400)"),
        (400, "invalid_partition_key", "the Dag does not take this partition_key (HTTP 400)"),
        (422, "Value rejected by database", "the database refuses a value of the request (HTTP 422)"),
        (400, SECRET, "Bad Request (HTTP 400)"),
        (403, None, "Forbidden (HTTP 403)"),
        (499, "new", "HTTP 499"),
    ],
)
def test_a_reason_is_said_in_our_own_words(
    shape: Callable[..., Exception], status: int, reason: str | None, said: str
) -> None:
    detail = {"reason": reason, "message": SECRET, "statement": SECRET, "orig_error": SECRET}
    assert f"of Dag 'child': {said}. Nothing was triggered." in refuse(detail, status, shape)


def test_a_reset_of_what_is_not_there() -> None:
    error = as_submission_error("child", "run", in_a_task(404, {"reason": "not_found"}), is_reset=True)
    assert "there is no such Dag or run (HTTP 404)" in str(error)


@each_shape
def test_an_invalid_request_names_the_fields_of_airflow_only(shape: Callable[..., Exception]) -> None:
    quoted = [
        {"type": "x", "loc": ["body", "logical_date"], "msg": SECRET, "input": CONF, "ctx": {"error": SECRET}},
        {"type": "x", "loc": ["body", "conf", SECRET, "note"], "msg": SECRET, "input": SECRET},
        {"type": "x", "loc": ["body", "conf", "again"], "msg": SECRET},
        {"type": "x", "loc": ["body", SECRET], "msg": SECRET},
    ]
    assert "the server does not accept logical_date, conf (HTTP 422)" in refuse(quoted, 422, shape)
    assert ": Unprocessable" in refuse([{"type": "x", "loc": [SECRET], "msg": SECRET}], 422, shape)


# What is shown of each kind.


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (in_a_task(404, {"reason": "not_found", "message": SECRET}), "Not Found (HTTP 404)"),
        (in_a_task(404, SECRET), "Not Found (HTTP 404)"),
        (in_a_task(500, None), "Internal Server Error (HTTP 500)"),
        (
            in_a_task(500, {"reason": "Database error", "message": SECRET}),
            "the server's database has failed (HTTP 500)",
        ),
        (in_a_task(None), "no answer from the server (ConnectError)"),
        (in_dag_test(404, {"reason": "not_found", "message": SECRET}), "Not Found (HTTP 404)"),
        (in_dag_test(None), "no answer from the server (ConnectError)"),
        (EOFError(SECRET), "the channel to the supervisor is closed (EOFError)"),
        (BrokenPipeError(SECRET), "the channel to the supervisor is closed (BrokenPipeError)"),
        (RuntimeError(SECRET), "RuntimeError"),
        (
            AirflowRuntimeError(comms.ErrorResponse(error=ErrorType.GENERIC_ERROR)),
            "AirflowRuntimeError: GENERIC_ERROR",
        ),
    ],
)
def test_what_is_shown(error: Exception, said: str) -> None:
    assert task_sdk.describe(error) == said


def test_the_text_of_a_lost_connection_is_not_shown() -> None:
    """It may have the address, and what is in it."""
    detail = {"status_code": None, "message": f"http://{SECRET}/", "exception_type": SECRET}
    error = AirflowRuntimeError(comms.ErrorResponse(error=ErrorType.API_SERVER_ERROR, detail=detail))
    assert task_sdk.describe(error) == "no answer from the server"
    assert task_sdk.describe(httpx.ReadTimeout(SECRET)) == "no answer from the server (ReadTimeout)"


def test_the_whole_body_as_the_client_of_3_0_keeps_it() -> None:
    error = as_the_client_of_3_0_keeps_it(404, {"reason": "not_found", "message": SECRET})
    assert task_sdk.is_missing(error)
    assert look_up(error) is None


@each_shape
def test_a_look_up_that_fails_has_nothing_of_the_answer(shape: Callable[..., Exception]) -> None:
    with pytest.raises(LookUpFailedError, match=r"could not be read: Forbidden \(HTTP 403\)\.") as caught:
        look_up(shape(403, {"reason": SECRET, "message": SECRET}))
    assert SECRET not in shown_of(caught.value)
    assert caught.value.__context__ is None


def test_an_error_without_details_may_pass() -> None:
    error = AirflowRuntimeError(comms.ErrorResponse(error=ErrorType.GENERIC_ERROR))
    assert task_sdk.is_transient(error)


def test_a_status_that_is_none() -> None:
    for status in (True, 7, 10_000, "404"):
        detail = {"status_code": status, "detail": {"detail": {"reason": "not_found"}}}
        error = AirflowRuntimeError(comms.ErrorResponse(error=ErrorType.API_SERVER_ERROR, detail=detail))
        assert read_failure(error).status is None
        assert not task_sdk.is_missing(error)


# The whole operator.


def test_neither_error_nor_log_of_the_task_has_the_value(supervisor: Supervisor) -> None:
    message = refused_by_params(CONF, token=Param(1, type="integer"))
    supervisor.fail("TriggerDagRun", ServerError(400, {"reason": "value_error", "message": message}))
    outcome = supervisor.run(make_dag(conf=CONF, wait_for_completion=True))
    assert outcome.state == "up_for_retry"
    assert outcome.error is not None
    assert "the parameter 'token': it breaks the rule 'type'" in str(outcome.error)
    assert SECRET not in shown_of(outcome.error)
    assert not outcome.said(SECRET)


@pytest.mark.parametrize("conf", ['{"n": 1180591620717411303424}', r'{"s": "\ud800"}'], ids=["integer", "surrogate"])
def test_what_cannot_be_sent_is_refused_before_anything_is_recorded(supervisor: Supervisor, conf: str) -> None:
    """As a text: a dict with these does not get as far, as Airflow fails to send its rendered fields (3.3.2)."""
    outcome = supervisor.run(make_dag(conf=conf, wait_for_completion=True))
    assert outcome.state == "up_for_retry"
    assert "The conf for Dag 'child' is not JSON: conf[" in str(outcome.error)
    assert not {"TriggerDagRun", "SetTaskStateStore"} & set(outcome.names())
    assert supervisor.sleeps == []


def test_a_field_that_the_client_refuses_has_no_value() -> None:
    request = request_for(logical_date=SECRET)
    with pytest.raises(SubmissionRefusedError, match="does not accept its logical_date") as caught:
        task_sdk.submit(request, is_reset=False)
    assert SECRET not in shown_of(caught.value)


def test_an_answer_that_the_client_cannot_read_is_not_asked_for_again(supervisor: Supervisor) -> None:
    """A Dag run state that is newer than this worker's Airflow: the wait ends, and does not ask for ever."""

    class UnreadError(ServerError):
        def response(self) -> comms.ErrorResponse:
            detail = {"status_code": None, "message": "1 validation error", "exception_type": "ValidationError"}
            return comms.ErrorResponse(error=ErrorType.API_SERVER_ERROR, detail=detail)

    supervisor.fail("GetDagRunState", UnreadError(None))
    outcome = supervisor.run(make_dag(wait_for_completion=True))
    assert outcome.state == "up_for_retry"
    assert "cannot read the server's answer" in str(outcome.error)
    assert outcome.names().count("GetDagRunState") == 1
