"""The scripted supervisor itself: it answers as the Execution API does, and does what it is told to requests."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.standard.operators.trigger_dagrun import (
    TriggerDagRunOperator as StockTriggerDagRunOperator,
)
from airflow.sdk import DAG, task
from airflow.sdk.exceptions import AirflowRuntimeError
from airflow.sdk.execution_time import comms, task_runner

from .dags import DEFER, killed_while_waiting, make_dag
from .supervisor import ServerError, Supervisor, no_such_key
from .triggerer import run_trigger
from .versions import HAS_RUN_AFTER, needs_details, needs_store

if TYPE_CHECKING:
    from collections.abc import Callable

DATE = datetime(2025, 6, 1, tzinfo=timezone.utc)


def in_task(supervisor: Supervisor, body: Callable[..., Any], **attempt: Any) -> Any:  # noqa: ANN401 - what it returns
    """Return what a task's code returns that speaks to the supervisor."""
    returned = []

    with DAG("parent", schedule=None) as dag:

        @task(task_id="trigger")
        def run(**context: Any) -> None:  # noqa: ANN401 - Airflow's
            returned.append(body(context))

        run()
    outcome = supervisor.run(dag, **attempt)
    assert outcome.state == "success", outcome.error
    return returned[0]


def send(message: Any) -> Any:  # noqa: ANN401 - as many types as there are messages
    return task_runner.SUPERVISOR_COMMS.send(message)


def test_runs_are_counted_by_id_state_and_date(supervisor: Supervisor) -> None:
    supervisor.add("a", "running", logical_date=DATE)
    supervisor.add("b", "success")
    supervisor.add("c", "running", dag_id="another")
    asked: list[tuple[dict[str, Any], int]] = [
        ({}, 2),
        ({"run_ids": ["a", "b", "c"]}, 2),
        ({"run_ids": ["a", "b"], "states": ["queued", "running"]}, 1),
        ({"logical_dates": [DATE]}, 1),
        ({"run_ids": []}, 2),
    ]

    def count(context: dict[str, Any]) -> list[int]:
        return [send(comms.GetDRCount(dag_id="child", **filters)).count for filters, _ in asked]

    assert in_task(supervisor, count) == [expected for _, expected in asked]


@needs_details
def test_a_run_is_told_in_detail(supervisor: Supervisor) -> None:
    supervisor.dags["child"] = False
    dag = make_dag(
        StockTriggerDagRunOperator,
        trigger_run_id="a",
        conf={"x": 1},
        logical_date=DATE,
        note="why",
        **({"run_after": DATE.replace(month=7)} if HAS_RUN_AFTER else {}),
    )
    assert supervisor.run(dag).state == "success"
    found = in_task(supervisor, lambda _: send(comms.GetDagRun(dag_id="child", run_id="a")))
    assert (found.conf, found.logical_date, found.clear_number) == ({"x": 1}, DATE, 0)
    assert found.run_after == (DATE.replace(month=7) if HAS_RUN_AFTER else DATE)
    assert getattr(found, "note", "why") == "why"
    assert supervisor.only_run().note == "why"


@needs_details
def test_breadcrumbs_are_of_the_tasks_that_have_ended(supervisor: Supervisor) -> None:
    run = supervisor.add("a", "running", tasks={"x": "success", "y": "running", "z": "failed", "w": None})
    found = in_task(supervisor, lambda _: send(comms.GetTaskBreadcrumbs(dag_id="child", run_id="a")))
    assert {crumb["task_id"]: crumb["state"] for crumb in found.breadcrumbs} == {"x": "success", "z": "failed"}
    states = in_task(supervisor, lambda _: send(comms.GetTaskStates(dag_id="child", run_ids=["a"])))
    assert states.task_states == {"a": run.tasks}


def test_both_keys_of_a_run_are_unique(supervisor: Supervisor) -> None:
    supervisor.add("a", "running", logical_date=DATE)

    def trigger(run_id: str, date: datetime | None, *, reset: bool = False) -> object:
        try:
            answer = send(comms.TriggerDagRun(dag_id="child", run_id=run_id, logical_date=date, reset_dag_run=reset))
        except AirflowRuntimeError as error:
            return (error.error.detail or {})["status_code"]
        return type(answer).__name__

    def tried(context: dict[str, Any]) -> list[object]:
        return [
            trigger("a", None),
            trigger("b", DATE),
            trigger("b", DATE, reset=True),
            trigger("c", None),
            trigger("d", None),
            trigger("a", None, reset=True),
            trigger("e/f", None),
            trigger("g#h", None),
        ]

    made = "OKResponse"
    assert in_task(supervisor, tried) == ["ErrorResponse", "ErrorResponse", 404, made, made, made, 404, made]
    assert [run_id for _, run_id in supervisor.runs] == ["a", "c", "d", "g"]
    assert (supervisor.runs["child", "a"].state, supervisor.runs["child", "a"].clear_number) == ("queued", 1)


def write(value: str) -> Callable[[dict[str, Any]], None]:
    return lambda context: context["task_state_store"].set("key", value)


@needs_store
def test_a_superseded_try_can_write_nothing(supervisor: Supervisor) -> None:
    def superseded(context: dict[str, Any]) -> object:
        write("first")(context)
        supervisor.supersede()
        with pytest.raises(AirflowRuntimeError):
            write("second")(context)
        # To one that reads it looks as if nothing were there.
        return context["task_state_store"].get("key")

    assert in_task(supervisor, superseded) is None
    assert supervisor.store == {"key": "first"}


@needs_store
def test_a_write_arrives_twice(supervisor: Supervisor) -> None:
    supervisor.repeat("SetTaskStateStore")
    in_task(supervisor, lambda context: [write(value)(context) for value in ("first", "second")])
    assert supervisor.store == {"key": "second"}
    supervisor.deliver_late()
    assert supervisor.store == {"key": "first"}
    assert not supervisor.late


@needs_store
def test_a_write_arrives_late(supervisor: Supervisor) -> None:
    supervisor.delay("SetTaskStateStore")

    def late(context: dict[str, Any]) -> None:
        with pytest.raises(AirflowRuntimeError):
            write("first")(context)

    in_task(supervisor, late)
    assert supervisor.store == {}
    supervisor.deliver_late()
    assert supervisor.store == {"key": "first"}


@needs_store
def test_a_late_write_of_an_earlier_try_is_refused(supervisor: Supervisor) -> None:
    supervisor.repeat("SetTaskStateStore")
    in_task(supervisor, write("first"))
    in_task(supervisor, write("second"), try_number=2)
    supervisor.deliver_late()
    assert supervisor.store == {"key": "second"}


@needs_store
def test_a_read_that_wrongly_says_none(supervisor: Supervisor) -> None:
    supervisor.store["key"] = "there"
    supervisor.say("GetTaskStateStore", no_such_key("key"))

    def read(context: dict[str, Any]) -> list[object]:
        return [context["task_state_store"].get("key") for _ in range(2)]

    assert in_task(supervisor, read) == [None, "there"]


def test_a_request_for_a_run_arrives_late(supervisor: Supervisor) -> None:
    supervisor.delay("TriggerDagRun", ServerError(504))
    outcome = supervisor.run(make_dag(StockTriggerDagRunOperator))
    assert outcome.state in {"up_for_retry", "exited"}
    assert not supervisor.runs
    supervisor.deliver_late()
    assert supervisor.states() == ["queued"]


@needs_store
def test_a_try_is_executed_twice(supervisor: Supervisor) -> None:
    """Under one id, so that both may write; an earlier one's may not."""
    ids = [in_task(supervisor, lambda context: context["ti"].id)]
    ids.append(in_task(supervisor, lambda context: context["ti"].id, instance_id=supervisor.current_id))
    in_task(supervisor, write("twice"), instance_id=supervisor.current_id)
    assert ids[0] == ids[1]
    in_task(supervisor, write("later"), try_number=2)

    def superseded(context: dict[str, Any]) -> None:
        with pytest.raises(AirflowRuntimeError):
            write("superseded")(context)

    in_task(supervisor, superseded, instance_id=ids[0])
    assert supervisor.store == {"key": "later"}


def test_two_parents_have_one_server(supervisor: Supervisor) -> None:
    other = supervisor.beside()
    dag = make_dag(StockTriggerDagRunOperator, trigger_run_id="same")
    assert supervisor.run(dag).state == "success"
    assert other.run(dag, map_index=1, parent={"run_id": "another-run"}).state == "failed"
    assert len(other.runs) == 1
    assert set(other.xcoms) < set(supervisor.xcoms)


@pytest.mark.parametrize("operator", [StockTriggerDagRunOperator, None], ids=["stock", "durable"])
def test_the_real_trigger_waits_for_the_run(supervisor: Supervisor, operator: Any) -> None:  # noqa: ANN401 - a class
    dag = make_dag(operator, **DEFER) if operator else make_dag(**DEFER)
    deferred = supervisor.run(dag)
    assert deferred.state == "deferred"
    _, told = run_trigger(supervisor, deferred)
    run = supervisor.only_run()
    assert (told["run_ids"], told[run.run_id]) == ([run.run_id], "success")
    assert supervisor.run(dag, event=run_trigger(supervisor, deferred)).state == "success"


def test_one_that_is_killed_leaves_its_run(supervisor: Supervisor) -> None:
    killed_while_waiting(supervisor, make_dag())
    assert supervisor.states() == ["queued"]
