"""The child's life, as the operator has it: its failure, its timeouts, its result; on this very Airflow."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_durable import task_sdk
from airflow_durable.operators.trigger_dagrun import TriggerDagRunOperator
from airflow_durable.triggers import dag_run
from airflow_durable.triggers.dag_run import DurableDagRunTrigger
from airflow_durable.triggers.watch import LEAST_SECONDS
from tests.support.interpreter import run_python

from .dags import DEFER, FORGET, WAIT, event_of, finish, killed_while_waiting, make_dag
from .supervisor import ServerError, Supervisor
from .versions import HAS_DETAILS, HAS_STORE, load_trigger_kwargs, needs_details, needs_store

each_waiting_mode = pytest.mark.parametrize("mode", [WAIT, DEFER], ids=["wait", "defer"])


def fail_all(supervisor: Supervisor, **tasks: str) -> None:
    """Let the children fail, with these tasks."""
    for run in supervisor.runs.values():
        run.tasks = dict(tasks)
    supervisor.end_all("failed")


def reconcile(supervisor: Supervisor) -> None:
    """Act as the reconciler does, by the newest entry; then let the run succeed."""
    run, action = supervisor.only_run(), supervisor.record().get("asks", {}).get("action")
    if action and (run.clear_number, run.state) == (action["clear_number"], action["state"]):
        run.state, run.clear_number = "queued", run.clear_number + 1
    else:
        supervisor.end_all("success")


# Its failure.


@each_waiting_mode
def test_fail_is_not_tried_again(supervisor: Supervisor, mode: dict[str, Any]) -> None:
    dag = make_dag(on_child_failure="fail", **mode)
    supervisor.on_sleep = lambda: fail_all(supervisor)
    assert finish(supervisor, dag).state == "failed"
    assert supervisor.states() == ["failed"]


@each_waiting_mode
def test_fail_holds_after_a_crash_and_a_clear_starts_a_fresh_one(supervisor: Supervisor, mode: dict[str, Any]) -> None:
    dag = make_dag(on_child_failure="fail", **mode)
    killed_while_waiting(supervisor, dag)
    fail_all(supervisor)
    assert finish(supervisor, dag, try_number=2).state == "failed"
    assert finish(supervisor, dag, try_number=3, max_tries=5, clear_number=1).state == "success"
    assert supervisor.states() == ["failed", "success"]


@needs_store
@pytest.mark.parametrize(
    ("mode", "asked"), [(WAIT, {"on_parent_end": "cancel"}), (FORGET, None)], ids=["wait", "forget"]
)
def test_a_run_that_is_only_started_outlives_its_task(
    supervisor: Supervisor, mode: dict[str, Any], asked: dict[str, str] | None
) -> None:
    supervisor.on_sleep = lambda: supervisor.end_all("success")
    assert finish(supervisor, make_dag(on_parent_end="cancel", **mode)).state == "success"
    assert {json.dumps(entry.get("asks")) for entry in supervisor.entries()} == {json.dumps(asked)}


@needs_store
@each_waiting_mode
def test_resume_lets_the_same_run_continue(supervisor: Supervisor, mode: dict[str, Any]) -> None:
    dag = make_dag(on_child_failure="resume", on_parent_end="cancel", **mode)
    killed_while_waiting(supervisor, dag)
    fail_all(supervisor)
    supervisor.on_sleep = lambda: reconcile(supervisor)
    outcome = finish(supervisor, dag, try_number=2)
    assert (outcome.state, supervisor.states()) == ("success", ["success"])
    assert supervisor.only_run().clear_number == 1
    assert outcome.said("asking the reconciler to resume it")
    asks = [entry.get("asks") for entry in supervisor.entries()]
    assert asks[1] == {
        "on_parent_end": "cancel",
        "action": {"kind": "resume", "clear_number": 0, "state": "failed"},
    }
    assert all(it == {"on_parent_end": "cancel"} for number, it in enumerate(asks) if number != 1)


@needs_store
def test_where_no_reconciler_acts_the_error_says_so(supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__DURABLE__RECONCILER_TIMEOUT", "3")
    dag = make_dag(on_child_failure="resume", **WAIT)
    killed_while_waiting(supervisor, dag)
    fail_all(supervisor)
    supervisor.on_sleep = lambda: None
    supervisor.sleeps.clear()
    outcome = supervisor.run(dag, try_number=2)
    assert outcome.state == "up_for_retry"
    assert "no reconciler acted" in str(outcome.error)
    assert sum(supervisor.sleeps) == pytest.approx(3)
    assert "asks" not in supervisor.record()


RESET: dict[str, Any] = {"trigger_run_id": "fixed", "reset_dag_run": True}


def resets(supervisor: Supervisor) -> int:
    """Return how often the task sent a reset of its own."""
    return sum(getattr(request, "reset_dag_run", False) is True for request in supervisor.requests)


@needs_store
@each_waiting_mode
def test_a_reset_is_left_to_the_reconciler(supervisor: Supervisor, mode: dict[str, Any]) -> None:
    dag = make_dag(**RESET, on_parent_end="cancel", **mode)
    killed_while_waiting(supervisor, dag)
    fail_all(supervisor)
    supervisor.on_sleep = lambda: reconcile(supervisor)
    assert finish(supervisor, dag, try_number=2).state == "success"
    assert (resets(supervisor), supervisor.only_run().clear_number) == (0, 1)
    assert supervisor.entries()[1]["asks"]["action"] == {"kind": "reset", "clear_number": 0, "state": "failed"}
    assert supervisor.record()["asks"] == {"on_parent_end": "cancel"}


@needs_store
@pytest.mark.parametrize("seconds", ["3", "0"])
def test_where_no_reconciler_acts_the_task_resets_the_run_itself(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch, seconds: str
) -> None:
    monkeypatch.setenv("AIRFLOW__DURABLE__RESET_TIMEOUT", seconds)
    dag = make_dag(**RESET, **WAIT)
    killed_while_waiting(supervisor, dag)
    fail_all(supervisor)
    supervisor.sleeps.clear()
    waited: list[float] = []
    supervisor.before["TriggerDagRun"] = lambda: waited.append(sum(supervisor.sleeps))
    supervisor.on_sleep = lambda: supervisor.end_all("success")
    outcome = finish(supervisor, dag, try_number=2)
    assert (outcome.state, waited) == ("success", [float(seconds)])
    assert (resets(supervisor), supervisor.only_run().clear_number) == (1, 1)
    assert outcome.said("No reconciler has reset run 'fixed'") is (seconds != "0")
    assert all("asks" not in entry for entry in supervisor.entries()[2:])


def test_the_error_names_the_tasks_that_failed(supervisor: Supervisor) -> None:
    supervisor.on_sleep = lambda: fail_all(supervisor, extract="success", load="failed", report="upstream_failed")
    text = str(finish(supervisor, make_dag(**WAIT)).error)
    assert "Its failed tasks:\nload" in text
    assert "extract" not in text
    if HAS_DETAILS:
        assert "/tasks/load" in text


@pytest.mark.parametrize("message", ["GetTaskBreadcrumbs", "GetTaskStates", "GetPreviousTI", "GetDagRun"])
def test_what_cannot_be_told_of_them_hides_nothing(supervisor: Supervisor, message: str) -> None:
    supervisor.on_sleep = lambda: fail_all(supervisor, load="failed")
    supervisor.fail(message, ServerError(500), times=9)
    outcome = finish(supervisor, make_dag(**WAIT))
    assert outcome.state == "up_for_retry"
    assert "ended in the failed state 'failed'" in str(outcome.error)


# Its timeouts.


def test_a_child_that_does_not_begin_is_not_waited_for(supervisor: Supervisor) -> None:
    supervisor.dags["child"] = True
    supervisor.on_sleep = lambda: None
    outcome = supervisor.run(make_dag(start_timeout=0.05, **WAIT))
    assert outcome.state == "failed"
    assert "has not begun within start_timeout (0.05 s): the run is queued" in str(outcome.error)
    if HAS_DETAILS:
        assert "its Dag is paused" in str(outcome.error)
    assert supervisor.states() == ["queued"]


def test_a_child_that_does_not_end_is_not_waited_for(supervisor: Supervisor) -> None:
    def begin() -> None:
        run = supervisor.only_run()
        run.state, run.tasks, run.start_date = "running", {"slow": "running"}, datetime.now(tz=timezone.utc)

    supervisor.on_sleep = begin
    outcome = supervisor.run(make_dag(run_timeout=timedelta(seconds=0.05), **WAIT))
    assert outcome.state == "failed"
    assert "has not ended within run_timeout (0.05 s): the run is running (running: slow)" in str(outcome.error)


@needs_store
def test_a_retry_does_not_start_them_anew(supervisor: Supervisor) -> None:
    dag = make_dag(start_timeout=3600, **WAIT)
    killed_while_waiting(supervisor, dag)
    for entry in supervisor.store.values():
        entry["clock"]["since"] = (datetime.now(tz=timezone.utc) - timedelta(hours=2)).isoformat()
    supervisor.on_sleep = lambda: None
    assert supervisor.run(dag, try_number=2).state == "failed"


def due_event(outcome: Any) -> Any:  # noqa: ANN401 - JSON
    """Return the event with which the trigger ends when a timeout can be over."""
    trigger = DurableDagRunTrigger(**load_trigger_kwargs(outcome.final.trigger_kwargs))
    return list(trigger.payload(None, is_due=True))


def test_a_deferral_says_when_a_timeout_can_be_over(supervisor: Supervisor) -> None:
    dag = make_dag(start_timeout=0.05, **DEFER)
    deferred = supervisor.run(dag)
    kwargs = load_trigger_kwargs(deferred.final.trigger_kwargs)
    assert datetime.fromisoformat(kwargs["due"]) < datetime.now(tz=timezone.utc) + timedelta(seconds=1)
    supervisor.only_run().state = "queued"
    outcome = _until_ended(supervisor, dag, deferred)
    assert outcome.state == "failed"
    assert "has not begun within start_timeout" in str(outcome.error)


def _until_ended(supervisor: Supervisor, dag: DAG, outcome: Any) -> Any:  # noqa: ANN401 - an outcome
    for _ in range(1000):
        if outcome.state != "deferred":
            return outcome
        outcome = supervisor.run(dag, event=due_event(outcome))
    raise AssertionError("it does not end")


def test_a_deferral_goes_on_if_none_is_over(supervisor: Supervisor) -> None:
    dag = make_dag(start_timeout=3600, run_timeout=7200, **DEFER)
    deferred = supervisor.run(dag)
    again = supervisor.run(dag, event=due_event(deferred))
    assert again.state == "deferred"
    assert load_trigger_kwargs(again.final.trigger_kwargs)["due"]
    supervisor.end_all("success")
    assert supervisor.run(dag, event=due_event(again)).state == "success"


def test_a_child_that_has_begun_has_no_start_timeout_any_more(supervisor: Supervisor) -> None:
    dag = make_dag(start_timeout=0.001, **DEFER)
    deferred = supervisor.run(dag)
    supervisor.only_run().state, supervisor.only_run().tasks = "running", {"first": "running"}
    again = supervisor.run(dag, event=due_event(deferred))
    assert again.state == "deferred"
    assert "due" not in load_trigger_kwargs(again.final.trigger_kwargs)


def test_a_deferred_child_that_has_gone_by_then_is_missing(supervisor: Supervisor) -> None:
    dag = make_dag(start_timeout=3600, **DEFER)
    deferred = supervisor.run(dag)
    supervisor.runs.clear()
    assert "does not exist any more" in str(supervisor.run(dag, event=due_event(deferred)).error)


def run_trigger(monkeypatch: pytest.MonkeyPatch, state: str, due: datetime | None) -> dict[str, Any]:
    """Run a trigger whose child is in this state, and return what its event says."""

    class Look:
        async def wait(self, *_: object) -> str:
            if state == "running":
                await asyncio.Event().wait()
            return state

    monkeypatch.setattr(dag_run, "get_poller", lambda _: Look())
    trigger = DurableDagRunTrigger(
        dag_id="child",
        run_id="r",
        states=["success"],
        poll_interval=1,
        record={},
        due=None if due is None else due.isoformat(),
    )

    async def first() -> Any:  # noqa: ANN401 - an event
        return await anext(trigger.run())

    payload = asyncio.run(first()).payload[1]
    assert isinstance(payload, dict)
    return payload


def test_the_trigger_ends_the_wait_when_a_timeout_can_be_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """To the stock operator, which may read the event after an edit, it must not read as success."""
    monkeypatch.setattr(dag_run, "LEAST_SECONDS", 0.01)
    past = datetime.now(tz=timezone.utc) - timedelta(seconds=1)
    for due in (past, past + timedelta(seconds=1.05)):
        payload = run_trigger(monkeypatch, "running", due)
        assert (payload["is_due"], payload["is_missing"], payload["r"]) == (True, False, "failed")


def test_a_trigger_whose_clock_is_ahead_does_not_end_at_once() -> None:
    """The task would find that nothing is over yet, and be deferred until the same moment, again and again."""
    past = datetime.now(tz=timezone.utc) - timedelta(hours=1)
    trigger = DurableDagRunTrigger(
        dag_id="child", run_id="r", states=[], poll_interval=1, record={}, due=past.isoformat()
    )
    assert trigger._seconds_left() == LEAST_SECONDS > 1


def test_a_child_that_ends_before_is_told_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    for due in (None, datetime.now(tz=timezone.utc) + timedelta(hours=1)):
        payload = run_trigger(monkeypatch, "success", due)
        assert payload["r"] == "success"
        assert "is_due" not in payload


def test_a_trigger_without_a_timeout_has_the_arguments_that_it_always_had() -> None:
    trigger = DurableDagRunTrigger(dag_id="child", run_id="r", states=[], poll_interval=1, record={})
    assert set(trigger.serialize()[1]) == {"dag_id", "run_id", "states", "poll_interval", "record"}


# The deployment's defaults.


def test_the_configuration_has_defaults_for_all_tasks() -> None:
    code = (
        "from airflow_durable import TriggerDagRunOperator as T; t = T(task_id='a', trigger_dag_id='b', retries=1); "
        "print(t.on_child_failure, t.start_timeout, t.run_timeout, t.durable)"
    )
    given = {"ON_CHILD_FAILURE": "fail", "START_TIMEOUT": "60", "RUN_TIMEOUT": "1.5"}
    configured = {f"AIRFLOW__DURABLE__{name}": value for name, value in given.items()}
    assert run_python(code, **configured) == "fail 60.0 1.5 False"
    assert run_python(code) == "fresh None None False"
    code = (
        "from airflow_durable import TriggerDagRunOperator as T\n"
        "try: T(task_id='a', trigger_dag_id='b', retries=1, durable=True)\n"
        "except ValueError as error: print(error)"
    )
    said = run_python(code, AIRFLOW__DURABLE__RUN_TIMEOUT="an hour")
    assert said.startswith("run_timeout of task 'a' must be a number of seconds")


# Where it waits.


def test_a_short_child_pays_no_deferral(supervisor: Supervisor) -> None:
    outcome = supervisor.run(make_dag(defer_after=60, **WAIT))
    assert outcome.state == "success"


@pytest.mark.parametrize("mode", [WAIT, DEFER], ids=["wait", "defer"])
def test_a_long_one_is_deferred_after_a_while(supervisor: Supervisor, mode: dict[str, Any]) -> None:
    supervisor.on_sleep = lambda: None
    dag = make_dag(defer_after=timedelta(seconds=60), **mode)
    deferred = supervisor.run(dag)
    assert deferred.state == "deferred"
    assert 60 <= sum(supervisor.sleeps) < 70
    supervisor.end_all("success")
    assert supervisor.run(dag, event=event_of(supervisor, deferred)).state == "success"


def test_defer_after_0_is_deferrable(supervisor: Supervisor) -> None:
    assert supervisor.run(make_dag(defer_after=0, **WAIT)).state == "deferred"
    assert supervisor.sleeps == []


def test_a_call_that_cannot_be_deferred_says_so(supervisor: Supervisor) -> None:
    from airflow.sdk import task

    with DAG("parent", schedule=None) as dag:

        @task(task_id="trigger", retries=1)
        def call(**context: Any) -> None:  # noqa: ANN401 - Airflow's
            TriggerDagRunOperator(
                task_id="inner", trigger_dag_id="child", wait_for_completion=True, durable=True, defer_after=1
            ).execute(context)  # type: ignore[arg-type] # Airflow hands over its own

        call()
    outcome = supervisor.run(dag)
    assert outcome.state == "success"
    assert outcome.said("defer_after is ignored")


# Its result.


def returning(supervisor: Supervisor, tasks: dict[str, str], returned: dict[str, Any], state: str = "success") -> None:
    """Let the child end, with what its tasks returned."""
    for run in supervisor.runs.values():
        run.tasks, run.returned = dict(tasks), returned
    supervisor.end_all(state)


@each_waiting_mode
@pytest.mark.parametrize(
    ("result", "tasks", "returned", "expected"),
    [
        ("load", {"load": "success"}, {"load": {"rows": 7}}, {"rows": 7}),
        ("each", {"each_0": "success", "each_1": "success"}, {"each": ["a", "b"]}, ["a", "b"]),
        (["a", "b"], {"a": "success", "b_0": "success"}, {"a": 1, "b": [2]}, {"a": 1, "b": [2]}),
        (("a",), {"a": "success"}, {"a": 0}, {"a": 0}),
    ],
    ids=["one", "mapped", "several", "a list of one"],
)
def test_what_the_child_returns_is_returned(  # noqa: PLR0913, PLR0917 - a case
    supervisor: Supervisor,
    mode: dict[str, Any],
    result: str | list[str],
    tasks: dict[str, str],
    returned: dict[str, Any],
    expected: object,
) -> None:
    supervisor.on_sleep = lambda: returning(supervisor, tasks, returned)
    outcome = finish(supervisor, make_dag(result=result, **mode))
    assert outcome.state == "success"
    assert supervisor.xcoms["return_value"] == expected
    assert not any(str(expected) in line for line in outcome.log)
    assert str(expected) not in str(supervisor.store)


def test_without_it_nothing_is_returned(supervisor: Supervisor) -> None:
    supervisor.on_sleep = lambda: returning(supervisor, {"load": "success"}, {"load": 1})
    assert finish(supervisor, make_dag(**WAIT)).state == "success"
    assert "return_value" not in supervisor.xcoms


@needs_store
@each_waiting_mode
def test_a_later_try_that_succeeds_returns_it_too(supervisor: Supervisor, mode: dict[str, Any]) -> None:
    dag = make_dag(result="load", **mode)
    supervisor.on_sleep = lambda: returning(supervisor, {"load": "success"}, {"load": 5})
    finish(supervisor, dag)
    assert supervisor.record()["phase"] == "consumed"
    supervisor.xcoms.clear()
    again = finish(supervisor, dag, try_number=2)
    assert again.state == "success"
    assert supervisor.xcoms["return_value"] == 5
    assert len(supervisor.runs) == 1


@each_waiting_mode
@pytest.mark.parametrize(
    ("tasks", "said"),
    [({}, "that run has no such task"), ({"load": "skipped"}, "the task is skipped, and has returned none")],
    ids=["no task", "no value"],
)
def test_a_missing_result_is_an_error_and_uses_nothing_up(
    supervisor: Supervisor, mode: dict[str, Any], tasks: dict[str, str], said: str
) -> None:
    dag = make_dag(result="load", **mode)
    supervisor.on_sleep = lambda: returning(supervisor, tasks, {})
    outcome = finish(supervisor, dag)
    assert outcome.state == "failed"
    assert said in str(outcome.error)
    if HAS_STORE:
        assert supervisor.record()["phase"] != "consumed"
        returning(supervisor, {"load": "success"}, {"load": 1})
        again = finish(supervisor, dag, try_number=2, max_tries=4, clear_number=1)
        assert (again.state, len(supervisor.runs)) == ("success", 1)


@pytest.mark.parametrize("message", ["GetXCom", "GetTaskStates"])
def test_a_result_that_cannot_be_read_is_read_by_the_next_try(supervisor: Supervisor, message: str) -> None:
    dag = make_dag(result="load", **WAIT)
    supervisor.on_sleep = lambda: returning(supervisor, {"load": "success"}, {"load": 5})
    supervisor.fail(message, ServerError(None))
    assert finish(supervisor, dag).state == "up_for_retry"
    assert finish(supervisor, dag, try_number=2).state == "success"
    assert supervisor.xcoms["return_value"] == 5


# Its partition key.


@pytest.fixture
def passing_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this be an Airflow whose supervisor passes it on, as the scripted one does."""
    monkeypatch.setattr(task_sdk, "can_send_partition_key", lambda: True)


@needs_details
@pytest.mark.usefixtures("passing_on")
def test_the_partition_key_is_rendered_and_sent(supervisor: Supervisor) -> None:
    assert finish(supervisor, make_dag(partition_key="{{ ti.task_id }}/7", **WAIT)).state == "success"
    assert supervisor.only_run().partition_key == "trigger/7"


@needs_store
@pytest.mark.usefixtures("passing_on")
def test_another_partition_key_is_another_request(supervisor: Supervisor) -> None:
    killed_while_waiting(supervisor, make_dag(partition_key="a", **WAIT))
    finish(supervisor, make_dag(partition_key="b", **WAIT), try_number=2, max_tries=4, clear_number=1)
    assert [run.partition_key for run in supervisor.runs.values()] == ["a", "b"]


def test_where_airflow_drops_it_the_dag_says_so() -> None:
    """Fails with an Airflow that passes it on: then the pages and a live scenario are to say that it does."""
    assert not task_sdk.can_send_partition_key()
    with pytest.raises(ValueError, match=r"partition_key of task 'trigger' cannot be used: this Airflow does not pass"):
        make_dag(partition_key="a", **WAIT)


@pytest.mark.skipif(HAS_STORE, reason="here there is a task state store")
@pytest.mark.parametrize("given", [{"on_child_failure": "resume"}, {"on_parent_end": "cancel"}])
def test_what_needs_a_store_is_refused_without_one(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"needs Airflow 3\.3"):
        make_dag(**given)


# What is refused when the Dag is parsed.


WRONG: list[tuple[dict[str, Any], str]] = [
    (
        {"on_child_failure": "retry"},
        "on_child_failure of task 'trigger' must be one of fresh, resume, fail, not 'retry'",
    ),
    ({"on_child_failure": None}, "on_child_failure of task 'trigger' must be one of"),
    ({"on_parent_end": "kill"}, "on_parent_end of task 'trigger' must be one of abandon, cancel, not 'kill'"),
    ({"start_timeout": 0}, "start_timeout of task 'trigger' must be a number of seconds, more than 0"),
    ({"run_timeout": "1h"}, "run_timeout of task 'trigger' must be a number of seconds"),
    ({"run_timeout": True}, "run_timeout of task 'trigger' must be a number of seconds"),
    ({"start_timeout": timedelta(days=-1)}, "start_timeout of task 'trigger'"),
    ({"run_timeout": float("inf")}, "run_timeout of task 'trigger'"),
    ({"defer_after": -1}, "defer_after of task 'trigger' must be a number of seconds, 0 or more"),
    ({"result": True}, "result=True of task 'trigger' is not supported"),
    ({"result": []}, "result of task 'trigger' must be a task id of the child Dag, or a list of them"),
    ({"result": ["a", 1]}, "result of task 'trigger' must be a task id"),
    ({"partition_key": 7}, "partition_key of task 'trigger' must be a string"),
]


@pytest.mark.parametrize(("given", "said"), WRONG, ids=[str(given) for given, _ in WRONG])
def test_a_wrong_value_is_refused_when_the_dag_is_parsed(given: dict[str, Any], said: str) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        make_dag(**given, **WAIT)
    assert said in str(caught.value)
    with pytest.raises((TypeError, ValueError)) as caught:
        TriggerDagRunOperator.partial(task_id="trigger", durable=True, **given)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "given", [{"start_timeout": 5}, {"run_timeout": 5}, {"defer_after": 5}, {"result": "a"}], ids=str
)
def test_what_the_stock_operator_has_not_needs_durable(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="of task 'trigger' needs durable=True"):
        make_dag(durable=False, **given, **WAIT)


def test_a_result_needs_a_wait() -> None:
    with pytest.raises(ValueError, match="result of task 'trigger' needs a task that waits"):
        make_dag(result="a", **FORGET)


@pytest.mark.usefixtures("passing_on")
def test_the_template_fields_are_the_stock_ones_but_for_a_partition_key() -> None:
    plain = make_dag(**WAIT).task_dict["trigger"]
    assert plain.template_fields == type(plain).template_fields
    keyed = make_dag(partition_key="a", **WAIT).task_dict["trigger"]
    assert keyed.template_fields == (*type(plain).template_fields, "partition_key")
