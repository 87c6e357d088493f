"""What the poller's look-ups are as messages to the triggerer's supervisor, and what its answers mean."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk.api.datamodels._generated import DagRunState
from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType
from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.comms import (
    DagRunStateResult,
    DRCount,
    ErrorResponse,
    GetDagRunState,
    GetDRCount,
    GetTaskStates,
    GetTICount,
    TaskStatesResult,
    TICount,
)

from airflow_durable.core.errors import LookUpFailedError
from airflow_durable.core.model import ChildRun
from airflow_durable.task_sdk import AsyncLookUps
from airflow_durable.triggers.dag_run import DurableDagRunTrigger

if TYPE_CHECKING:
    from collections.abc import Callable

NOT_FOUND = {"status_code": 404, "message": "", "detail": {"detail": {"reason": "not_found", "message": "none"}}}
NO_ROUTE = {"status_code": 404, "message": "", "detail": {"detail": "Not Found"}}
BROKEN = {"status_code": 500, "message": "oh", "detail": None}
NO_ANSWER = {"status_code": None, "message": "connection refused", "exception_type": "ConnectError"}


@dataclass
class Channel:
    """A triggerer's end of the channel; an answer that is a dictionary is an error's details."""

    answer: Any
    sent: list[Any] = field(default_factory=list)

    def send(self, message: Any) -> Any:  # noqa: ANN401 - as many types as there are messages
        """Answer."""
        self.sent.append(message)
        if isinstance(self.answer, dict):
            raise AirflowRuntimeError(ErrorResponse(error=ErrorType.API_SERVER_ERROR, detail=self.answer))
        return self.answer


class AsyncChannel(Channel):
    """The same, as a triggerer has it. The other one is that of ``dag.test()``."""

    async def asend(self, message: Any) -> Any:  # noqa: ANN401 - see above
        """Answer."""
        return Channel.send(self, message)

    def send(self, message: Any) -> Any:  # noqa: ANN401 - see above
        """Fail: it would take a thread."""
        raise AssertionError(message)


@pytest.fixture(params=[Channel, AsyncChannel])
def connect(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], Channel]:
    """Return what puts a channel of either kind into its place."""

    def connect(answer: Any) -> Channel:  # noqa: ANN401 - see above
        channel: Channel = request.param(answer)
        monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", channel, raising=False)
        return channel

    return connect


def test_a_count(connect: Callable[[Any], Channel]) -> None:
    channel = connect(DRCount(count=2))
    assert asyncio.run(AsyncLookUps().count("child", ["a", "b"], ["running"])) == 2
    assert channel.sent == [GetDRCount(dag_id="child", run_ids=["a", "b"], states=["running"])]


def test_a_count_of_runs_in_any_state(connect: Callable[[Any], Channel]) -> None:
    channel = connect(DRCount(count=1))
    assert asyncio.run(AsyncLookUps().count("child", ["a", "b"], [])) == 1
    # An empty list would be left out of the request's query, too. None says what is meant.
    assert channel.sent == [GetDRCount(dag_id="child", run_ids=["a", "b"], states=None)]


def test_a_look_up(connect: Callable[[Any], Channel]) -> None:
    channel = connect(DagRunStateResult(state=DagRunState.RUNNING))
    assert asyncio.run(AsyncLookUps().look_up("child", "a")) == ChildRun("running")
    assert channel.sent == [GetDagRunState(dag_id="child", run_id="a")]


def test_a_missing_run(connect: Callable[[Any], Channel]) -> None:
    connect(NOT_FOUND)
    assert asyncio.run(AsyncLookUps().look_up("child", "a")) is None


@pytest.mark.parametrize(
    ("answer", "is_transient"), [(NO_ROUTE, False), (BROKEN, True), (NO_ANSWER, True), (DRCount(count=1), False)]
)
def test_a_failed_look_up(connect: Callable[[Any], Channel], answer: object, is_transient: bool) -> None:  # noqa: FBT001 - a case
    connect(answer)
    with pytest.raises(LookUpFailedError) as caught:
        asyncio.run(AsyncLookUps().look_up("child", "a"))
    assert caught.value.is_transient is is_transient


@pytest.mark.parametrize(
    ("answer", "is_transient"),
    [(NOT_FOUND, False), (NO_ROUTE, False), (BROKEN, True), (NO_ANSWER, True), (None, False)],
)
def test_a_failed_count(connect: Callable[[Any], Channel], answer: object, is_transient: bool) -> None:  # noqa: FBT001 - a case
    connect(answer)
    with pytest.raises(LookUpFailedError) as caught:
        asyncio.run(AsyncLookUps().count("child", ["a"], ["running"]))
    assert caught.value.is_transient is is_transient


def test_tasks(connect: Callable[[Any], Channel]) -> None:
    channel = connect(TaskStatesResult(task_states={"a": {"work": "success", "mapped_0": None}}))
    states = {"a": {"work": "success", "mapped_0": None}}
    assert asyncio.run(AsyncLookUps().task_states("child", ["a", "b"], None)) == states
    asyncio.run(AsyncLookUps().task_states("child", ["a", "b"], "work"))
    assert channel.sent == [
        GetTaskStates(dag_id="child", run_ids=["a", "b"]),
        GetTaskStates(dag_id="child", run_ids=["a", "b"], task_ids=["work"]),
    ]


def test_a_count_of_tasks(connect: Callable[[Any], Channel]) -> None:
    channel = connect(TICount(count=3))
    assert asyncio.run(AsyncLookUps().count_tasks("child", ["a", "b"], None)) == 3
    asyncio.run(AsyncLookUps().count_tasks("child", ["a", "b"], "work"))
    assert channel.sent == [
        GetTICount(dag_id="child", run_ids=["a", "b"]),
        GetTICount(dag_id="child", run_ids=["a", "b"], task_ids=["work"]),
    ]


def test_a_count_of_tasks_in_some_states(connect: Callable[[Any], Channel]) -> None:
    channel = connect(TICount(count=3))
    assert asyncio.run(AsyncLookUps().count_tasks("child", ["a"], None, ["success"])) == 3
    assert channel.sent == [GetTICount(dag_id="child", run_ids=["a"], states=["success"])]


@pytest.mark.parametrize("answer", [NO_ROUTE, BROKEN, NO_ANSWER, None])
def test_tasks_that_cannot_be_counted(connect: Callable[[Any], Channel], answer: object) -> None:
    connect(answer)
    with pytest.raises(LookUpFailedError):
        asyncio.run(AsyncLookUps().count_tasks("child", ["a"], None))


@pytest.mark.parametrize(
    "answer",
    [
        NO_ROUTE,
        BROKEN,
        NO_ANSWER,
        None,
        TaskStatesResult(task_states={"a": "success"}),
        TaskStatesResult(task_states={"a": {"work": ["success"]}}),
    ],
)
def test_tasks_that_cannot_be_looked_up(connect: Callable[[Any], Channel], answer: object) -> None:
    connect(answer)
    with pytest.raises(LookUpFailedError):
        asyncio.run(AsyncLookUps().task_states("child", ["a"], None))


def test_the_trigger_asks_through_the_poller(connect: Callable[[Any], Channel]) -> None:
    channel = connect(DagRunStateResult(state=DagRunState.FAILED))
    trigger = DurableDagRunTrigger(
        dag_id="child", run_id="a", states=["failed", "success"], poll_interval=60.0, record={"version": 1}
    )

    async def first() -> Any:  # noqa: ANN401 - Airflow's, untyped
        return await trigger.run().__anext__()

    _, payload = asyncio.run(first()).payload
    assert payload["a"] == "failed"
    assert payload["record"] == {"version": 1}
    assert len(channel.sent) == 1
