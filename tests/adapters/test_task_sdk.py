"""What comes back from the server, in each shape in which it comes, and what is made of it."""

from __future__ import annotations

import signal
import socket
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import pytest
from airflow.sdk.exceptions import ErrorType
from airflow.sdk.execution_time import comms, task_runner

from airflow_durable import task_sdk
from airflow_durable.compat import DagRunTriggerException
from airflow_durable.core.errors import LookUpFailedError, SubmissionRefusedError, SubmissionUnknownError
from airflow_durable.core.model import ChildRun

from .server_error_shapes import each_shape, in_a_task, in_dag_test
from .supervisor import NOW
from .versions import HAS_DETAILS, HAS_RUN_AFTER, IS_DEFERRABLE_WAITING, needs_details

if TYPE_CHECKING:
    from collections.abc import Callable

SECRET = "hunter2"
NOT_FOUND = {"reason": "not_found", "message": "DagRun not found"}


class Channel:
    """A channel that has one answer."""

    def __init__(self, answer: Any) -> None:  # noqa: ANN401 - a message or an error
        self.answer = answer
        self.sent: list[Any] = []

    def send(self, message: Any) -> Any:  # noqa: ANN401
        """Answer."""
        self.sent.append(message)
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


def asking(answer: Any) -> Any:  # noqa: ANN401 - a patch
    """Let the next requests have this answer."""
    return patch.object(task_runner, "SUPERVISOR_COMMS", Channel(answer), create=True)


def look_up(answer: Any) -> ChildRun | None:  # noqa: ANN401
    with asking(answer):
        return task_sdk.look_up("child", "run-1", is_detailed=False)


def submit(answer: Any, **fields: Any) -> bool:  # noqa: ANN401
    with asking(answer):
        return task_sdk.submit(request_for(**fields), is_reset=False)


def request_for(**fields: Any) -> DagRunTriggerException:  # noqa: ANN401
    """Return the stock operator's request."""
    return DagRunTriggerException(
        **{
            "trigger_dag_id": "child",
            "dag_run_id": "run-1",
            "conf": {"password": SECRET},
            "logical_date": NOW,
            "reset_dag_run": True,
            "skip_when_already_exists": False,
            "wait_for_completion": True,
            "allowed_states": ["success"],
            "failed_states": ["failed"],
            "poke_interval": 60,
            "deferrable": False,
            **fields,
        }
    )


# Look-ups.


@each_shape
def test_a_run_that_is_not_there(shape: Callable[..., Exception]) -> None:
    assert look_up(shape(404, NOT_FOUND)) is None


@each_shape
@pytest.mark.parametrize("detail", ["Not Found", {"reason": "other", "message": "x"}, None, ["x"]], ids=str)
def test_a_404_that_does_not_say_that_the_run_is_missing(shape: Callable[..., Exception], detail: object) -> None:
    """An unknown route, or a proxy: it proves nothing about the run."""
    with pytest.raises(LookUpFailedError) as caught:
        look_up(shape(404, detail))
    assert not caught.value.is_transient


@each_shape
@pytest.mark.parametrize("status", [None, 408, 429, 500, 502, 503, 504])
def test_what_may_pass(shape: Callable[..., Exception], status: int | None) -> None:
    with pytest.raises(LookUpFailedError, match="'run-1' of Dag 'child' could not be read") as caught:
        look_up(shape(status, "away"))
    assert caught.value.is_transient


@each_shape
@pytest.mark.parametrize("status", [400, 401, 403, 409, 422])
def test_what_will_not_pass(shape: Callable[..., Exception], status: int) -> None:
    with pytest.raises(LookUpFailedError) as caught:
        look_up(shape(status, {"reason": "x", "message": "no"}))
    assert not caught.value.is_transient


@pytest.mark.parametrize(
    "error", [EOFError("closed"), BrokenPipeError(), OSError("bad"), TypeError("a mistake")], ids=repr
)
def test_a_channel_that_is_closed_will_not_open_again(error: Exception) -> None:
    with pytest.raises(LookUpFailedError) as caught:
        look_up(error)
    assert not caught.value.is_transient


@pytest.mark.parametrize("answer", [None, comms.OKResponse(ok=True)], ids=str)
def test_an_answer_of_another_kind(answer: object) -> None:
    with pytest.raises(LookUpFailedError, match="has no state") as caught:
        look_up(answer)
    assert not caught.value.is_transient


def test_a_state() -> None:
    assert look_up(comms.DagRunStateResult(state="queued")) == ChildRun("queued")  # type: ignore[arg-type] # its text


@needs_details
def test_details() -> None:
    later = NOW + timedelta(hours=1)
    answer = comms.DagRunResult.model_construct(
        state="success", clear_number=None, logical_date=NOW, run_after=later, start_date=None, conf={"a": 1}
    )
    with asking(answer) as channel:
        assert task_sdk.look_up("child", "run-1", is_detailed=True) == ChildRun("success", 0, NOW, later)
    assert type(channel.sent[0]).__name__ == "GetDagRun"


# Submissions.


def test_a_run_that_was_created() -> None:
    assert submit(comms.OKResponse(ok=True))


@pytest.mark.parametrize(
    "answer",
    [comms.ErrorResponse(error=ErrorType.DAGRUN_ALREADY_EXISTS), in_a_task(409, "x"), in_dag_test(409, "x")],
    ids=["answer", "task", "dag.test"],
)
def test_a_conflict(answer: object) -> None:
    assert not submit(answer)
    with asking(answer), pytest.raises(SubmissionUnknownError, match=r"whether run 'run-1' .* was reset"):
        task_sdk.submit(request_for(), is_reset=True)


@each_shape
@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_what_is_refused_for_good(shape: Callable[..., Exception], status: int) -> None:
    with pytest.raises(SubmissionRefusedError, match=f"of Dag 'child': .*HTTP {status}.*Nothing was triggered"):
        submit(shape(status, {"reason": "x", "message": "no"}))


@each_shape
@pytest.mark.parametrize("status", [None, 408, 429, 500, 503])
def test_what_may_have_arrived(shape: Callable[..., Exception], status: int | None) -> None:
    with pytest.raises(SubmissionUnknownError, match="It is not known whether run 'run-1' of Dag 'child'"):
        submit(shape(status, "away"))


def test_an_answer_that_is_another_error() -> None:
    with pytest.raises(SubmissionUnknownError, match=ErrorType.GENERIC_ERROR.value):
        submit(comms.ErrorResponse(error=ErrorType.GENERIC_ERROR))


def test_what_is_sent() -> None:
    with asking(comms.OKResponse(ok=True)) as channel:
        task_sdk.submit(request_for(), is_reset=False)
        task_sdk.submit(request_for(), is_reset=True)
    assert [message.reset_dag_run for message in channel.sent] == [False, True]
    assert [(message.dag_id, message.run_id) for message in channel.sent] == [("child", "run-1")] * 2
    assert channel.sent[0].conf == {"password": SECRET}


def test_only_what_the_message_knows_is_sent() -> None:
    request = request_for()
    request.note, request.run_after = "text", NOW
    with asking(comms.OKResponse(ok=True)) as channel:
        task_sdk.submit(request, is_reset=False)
    assert getattr(channel.sent[0], "note", None) == ("text" if HAS_DETAILS else None)
    assert getattr(channel.sent[0], "run_after", None) == (NOW if HAS_RUN_AFTER else None)


@pytest.mark.skipif("partition_key" not in comms.TriggerDagRun.model_fields, reason="this Airflow has no such field")
def test_what_the_stock_operator_may_learn_is_passed_on() -> None:
    request = request_for()
    request.__dict__["partition_key"] = "2026-01-02"
    with asking(comms.OKResponse(ok=True)) as channel:
        task_sdk.submit(request, is_reset=False)
    assert channel.sent[0].partition_key == "2026-01-02"


def test_a_request_that_is_not_valid_names_its_fields_only() -> None:
    with pytest.raises(SubmissionRefusedError, match=r"Airflow's client does not accept its conf\. Nothing") as caught:
        submit(comms.OKResponse(ok=True), conf=SECRET)
    assert SECRET not in str(caught.value)
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    "error", [UnicodeEncodeError("utf-8", SECRET, 0, 1, "x"), OverflowError(SECRET), NotImplementedError(SECRET)]
)
def test_a_request_that_cannot_be_encoded_was_not_sent(error: Exception) -> None:
    with pytest.raises(SubmissionRefusedError, match=f"cannot be encoded .{type(error).__name__}.. Nothing") as caught:
        submit(error)
    assert SECRET not in str(caught.value)


def test_what_the_channel_cannot_encode_never_reaches_it() -> None:
    """The error that is taken for an unsent request is one that comes before the first byte."""
    left, right = socket.socketpair()
    with left, right, patch.object(task_runner, "SUPERVISOR_COMMS", comms.CommsDecoder(socket=left), create=True):
        for conf in ({"a": 2**64}, {"a": "\ud800"}, {"a": type("Text", (str,), {})("x")}):
            with pytest.raises(SubmissionRefusedError, match="cannot be encoded"):
                task_sdk.submit(request_for(conf=conf), is_reset=False)
        right.setblocking(False)
        with pytest.raises(BlockingIOError):
            right.recv(1)


def test_an_alarm_during_a_request_that_fails_has_nothing_of_the_error() -> None:
    """The error of the request is dropped before the alarm is raised: Airflow would log it as the alarm's context."""

    def raise_alarm(*_: object) -> None:
        raise KeyboardInterrupt

    class Refusing:
        def send(self, message: object) -> None:
            signal.raise_signal(signal.SIGALRM)
            raise in_a_task(400, {"reason": "value_error", "message": SECRET})

    before = signal.signal(signal.SIGALRM, raise_alarm)
    try:
        with (
            patch.object(task_runner, "SUPERVISOR_COMMS", Refusing(), create=True),
            pytest.raises(KeyboardInterrupt) as caught,
        ):
            task_sdk.submit(request_for(), is_reset=False)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert caught.value.__context__ is None


# Versions.


def test_deferring() -> None:
    left, right = socket.socketpair()
    with left, right, patch.object(task_runner, "SUPERVISOR_COMMS", comms.CommsDecoder(socket=left), create=True):
        assert task_sdk.can_defer()
    assert task_sdk.is_deferrable_waiting() is IS_DEFERRABLE_WAITING
