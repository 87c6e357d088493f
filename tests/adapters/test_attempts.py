"""Attempts of the operator in the real task runner: what exists at the server after each way through it."""

from __future__ import annotations

import os
import signal
import uuid
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk import DAG, task

from airflow_durable.operators.trigger_dagrun import TriggerDagRunOperator

from .dags import DEFER, FORGET, WAIT, each_mode, event_of, finish, killed_while_waiting, make_dag
from .supervisor import LOOKS, Fault, Run, ServerError, Supervisor, SupervisorGone
from .versions import HAS_EARLY_LINK, HAS_STORE, listener_manager, needs_retry_policy, needs_store

if TYPE_CHECKING:
    from collections.abc import Iterator

AWAY = ServerError(None)
OVERLOADED = ServerError(503, "Service Unavailable")
FIXED: dict[str, Any] = {"trigger_run_id": "fixed"}


@each_mode
def test_a_crash_while_waiting_makes_no_second_run(supervisor: Supervisor, mode: dict[str, Any]) -> None:
    dag = make_dag(**mode)
    first = killed_while_waiting(supervisor, dag)
    assert first.state == "up_for_retry"
    second = finish(supervisor, dag, try_number=2)
    assert second.state == "success"
    run = supervisor.only_run()
    assert supervisor.xcoms["trigger_run_id"] == run.run_id
    assert "TriggerDagRun" not in second.names()
    assert (run.state == "success") is (mode != FORGET)
    if mode == FORGET:
        # That it was started is all that counts; the XCom was not pushed yet, so the mark was not written.
        assert second.said("The run that an earlier try triggered has done its part; nothing is submitted.")
    else:
        assert second.said("Reconnecting to the run that an earlier try triggered.")
        assert second.said(f"dag_id=child run_id={run.run_id} state=queued")


@each_mode
def test_the_post_arrives_and_its_reply_is_lost(supervisor: Supervisor, mode: dict[str, Any]) -> None:
    supervisor.fail("TriggerDagRun", AWAY, is_after=True)
    outcome = finish(supervisor, make_dag(**mode))
    assert outcome.state == "success"
    assert supervisor.xcoms["trigger_run_id"] == supervisor.only_run().run_id


@each_mode
def test_the_first_attempt_dies_before_the_post(supervisor: Supervisor, mode: dict[str, Any]) -> None:
    dag = make_dag(**mode)
    supervisor.fail("TriggerDagRun", AWAY, times=4)
    assert finish(supervisor, dag).state == "up_for_retry"
    assert not supervisor.runs
    outcome = finish(supervisor, dag, try_number=2)
    assert outcome.state == "success"
    assert len(supervisor.runs) == 1
    if HAS_STORE:
        assert [entry["decision"] for entry in supervisor.record()["attempts"]] == ["fresh_submit", "resubmit"]


@pytest.mark.parametrize("mode", [WAIT, DEFER], ids=["wait", "defer"])
def test_a_failed_child_is_followed_by_a_fresh_one(supervisor: Supervisor, mode: dict[str, Any]) -> None:
    dag = make_dag(**mode)
    supervisor.on_sleep = lambda: supervisor.end_all("failed")
    first = finish(supervisor, dag)
    assert first.state == "up_for_retry"
    assert "ended in the failed state 'failed'" in str(first.error)
    supervisor.on_sleep = lambda: supervisor.end_all("success")
    second = finish(supervisor, dag, try_number=2)
    assert (second.state, supervisor.states()) == ("success", ["failed", "success"])
    assert supervisor.xcoms["trigger_run_id"] == list(supervisor.runs.values())[-1].run_id


@pytest.mark.parametrize("mode", [WAIT, DEFER], ids=["wait", "defer"])
def test_the_last_failed_child_fails_the_task(supervisor: Supervisor, mode: dict[str, Any]) -> None:
    supervisor.on_sleep = lambda: supervisor.end_all("failed")
    assert finish(supervisor, make_dag(retries=0, durable=False, **mode)).state == "failed"
    with pytest.warns(UserWarning, match="retries=0"):
        dag = make_dag(retries=0, **mode)
    assert finish(supervisor, dag).state == "failed"
    assert supervisor.states() == ["failed", "failed"]


@each_mode
def test_a_child_that_succeeded_meanwhile_ends_the_retry_at_once(supervisor: Supervisor, mode: dict[str, Any]) -> None:
    dag = make_dag(**mode)
    killed_while_waiting(supervisor, dag)
    supervisor.end_all("success")
    second = finish(supervisor, dag, try_number=2)
    assert (second.state, supervisor.states(), supervisor.sleeps) == ("success", ["success"], [])


@each_mode
def test_a_clear_after_success_starts_a_fresh_child(supervisor: Supervisor, mode: dict[str, Any]) -> None:
    dag = make_dag(**mode)
    finish(supervisor, dag)
    assert finish(supervisor, dag, try_number=2, max_tries=4, clear_number=1).state == "success"
    assert len(supervisor.runs) == 2


@each_mode
def test_a_clear_of_a_crashed_parent(supervisor: Supervisor, mode: dict[str, Any]) -> None:
    dag = make_dag(**mode)
    supervisor.fail("TriggerDagRun", AWAY, times=4, is_after=True)
    supervisor.fail("GetDagRunState", AWAY, times=4)
    finish(supervisor, dag)
    supervisor.faults.clear()
    assert len(supervisor.runs) == 1
    assert finish(supervisor, dag, try_number=2, max_tries=4, clear_number=1).state == "success"
    # Where nothing can be recorded, a clear always starts anew (contract, point 9).
    assert len(supervisor.runs) == (1 if HAS_STORE else 2)


@needs_store
def test_what_is_injected_into_the_conf_makes_no_other_request(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenLineage adds the parent's run to the conf, with another id in each try."""
    tries = iter(range(10))

    def inject(dr_conf: Any, ti: Any) -> Any:  # noqa: ANN401 - the provider's
        return {**(dr_conf or {}), "openlineage": {"parentRunId": next(tries)}}

    monkeypatch.setattr(
        "airflow.providers.standard.operators.trigger_dagrun.safe_inject_openlineage_properties_into_dagrun_conf",
        inject,
    )
    dag = make_dag(conf={"a": 1}, **WAIT)
    killed_while_waiting(supervisor, dag)
    assert supervisor.only_run().conf == {"a": 1, "openlineage": {"parentRunId": 0}}
    assert finish(supervisor, dag, try_number=2, max_tries=4, clear_number=1).state == "success"
    assert len(supervisor.runs) == 1
    finish(supervisor, dag, try_number=3, max_tries=5, clear_number=2)
    assert len(supervisor.runs) == 2


@each_mode
def test_a_conf_that_renders_otherwise_on_each_try(supervisor: Supervisor, mode: dict[str, Any]) -> None:
    dag = make_dag(conf={"try": "{{ ti.try_number }}"}, **mode)
    killed_while_waiting(supervisor, dag)
    finish(supervisor, dag, try_number=2)
    assert supervisor.only_run().conf == {"try": "1"}


@needs_store
def test_a_clear_with_another_conf_starts_a_fresh_child(supervisor: Supervisor) -> None:
    killed_while_waiting(supervisor, make_dag(conf={"a": 1}, **WAIT))
    finish(supervisor, make_dag(conf={"a": 2}, **WAIT), try_number=2, max_tries=4, clear_number=1)
    assert [run.conf for run in supervisor.runs.values()] == [{"a": 1}, {"a": 2}]


@needs_store
def test_another_child_dag_on_a_retry_goes_on_with_the_run_there_is(supervisor: Supervisor) -> None:
    supervisor.dags["other"] = False
    killed_while_waiting(supervisor, make_dag(**WAIT))
    second = finish(supervisor, make_dag(trigger_dag_id="other", **WAIT), try_number=2)
    assert second.state == "success"
    assert supervisor.only_run().dag_id == "child"
    assert supervisor.xcoms["_link_TriggerDagRunLink"].startswith("/dags/child/runs/")


@needs_store
def test_another_child_dag_after_a_clear_is_another_request(supervisor: Supervisor) -> None:
    supervisor.dags["other"] = False
    killed_while_waiting(supervisor, make_dag(**WAIT))
    finish(supervisor, make_dag(trigger_dag_id="other", **WAIT), try_number=2, max_tries=4, clear_number=1)
    assert [run.dag_id for run in supervisor.runs.values()] == ["child", "other"]


# Fixed identities.


@needs_store
@each_mode
@pytest.mark.parametrize("further", [{}, {"skip_when_already_exists": True}, {"reset_dag_run": True}], ids=str)
def test_a_fixed_id_is_adopted(supervisor: Supervisor, mode: dict[str, Any], further: dict[str, Any]) -> None:
    dag = make_dag(**FIXED, **further, **mode)
    killed_while_waiting(supervisor, dag)
    assert finish(supervisor, dag, try_number=2).state == "success"
    assert supervisor.only_run().clear_number == 0


@each_mode
def test_a_foreign_run_is_skipped_as_stock_does(supervisor: Supervisor, mode: dict[str, Any]) -> None:
    supervisor.runs["child", "fixed"] = Run("child", "fixed", "running")
    skipped: list[str] = []
    dag = make_dag(
        **FIXED, **mode, skip_when_already_exists=True, on_skipped_callback=lambda context: skipped.append("called")
    )
    assert finish(supervisor, dag).state == "skipped"
    assert supervisor.states() == ["running"]
    assert supervisor.only_run().clear_number == 0
    assert skipped == ["called"]
    if HAS_STORE:
        assert supervisor.record()["attempts"][-1]["decision"] == "foreign"


@each_mode
def test_a_foreign_run_fails_the_task_at_once_as_stock_does(supervisor: Supervisor, mode: dict[str, Any]) -> None:
    supervisor.runs["child", "fixed"] = Run("child", "fixed", "running")
    assert finish(supervisor, make_dag(**FIXED, **mode)).state == "failed"
    assert supervisor.states() == ["running"]


@each_mode
def test_a_run_is_reset_once(supervisor: Supervisor, mode: dict[str, Any]) -> None:
    supervisor.runs["child", "fixed"] = Run("child", "fixed", "success")
    dag = make_dag(**FIXED, **mode, reset_dag_run=True)
    if HAS_STORE:
        # The first request creates nothing, as there is a run; the second one resets it.
        supervisor.pass_by("TriggerDagRun")
        supervisor.fail("TriggerDagRun", AWAY, is_after=True)
        assert finish(supervisor, dag).state == "up_for_retry"
    assert finish(supervisor, dag, try_number=2).state == "success"
    assert supervisor.only_run().clear_number == 1


@needs_store
@each_mode
@pytest.mark.parametrize("state", ["success", "running"])
def test_a_conflict_with_another_clear_is_no_reset(supervisor: Supervisor, mode: dict[str, Any], state: str) -> None:
    """Two clears at once: the server rolls one of them back, and answers 409. It was taken for a reset."""
    supervisor.runs["child", "fixed"] = Run("child", "fixed", state, conf={"of": "another"})
    dag = make_dag(**FIXED, **mode, reset_dag_run=True, conf={"of": "this"})
    supervisor.pass_by("TriggerDagRun")
    supervisor.fail("TriggerDagRun", ServerError(409, {"reason": "Unique constraint violation", "message": "x"}))
    outcome = finish(supervisor, dag)
    assert outcome.state == "up_for_retry"
    assert supervisor.only_run().clear_number == 0
    assert "not known whether run 'fixed' of Dag 'child' was reset" in str(outcome.error)
    assert finish(supervisor, dag, try_number=2).state == "success"
    assert supervisor.only_run().clear_number == 1


@needs_store
def test_two_tasks_that_share_a_fixed_id() -> None:
    """The second one meets somebody else's run; nothing of the first one's is touched."""
    first = Supervisor()
    second = first.beside()
    killed_while_waiting(first, make_dag(**FIXED, **WAIT))
    assert finish(second, make_dag(**FIXED, **WAIT), parent={"run_id": "another-parent-run"}).state == "failed"
    assert finish(first, make_dag(**FIXED, **WAIT), try_number=2).state == "success"
    assert first.only_run().clear_number == 0


# The synchronous wait.


def test_the_wait_looks_before_it_sleeps(supervisor: Supervisor) -> None:
    supervisor.before["GetDagRunState"] = lambda: supervisor.end_all("success")
    finish(supervisor, make_dag(**WAIT))
    assert supervisor.sleeps == []


def test_the_wait_survives_an_api_server_that_is_away(supervisor: Supervisor) -> None:
    for error in (AWAY, OVERLOADED, ServerError(429, "slow down"), ServerError(408, "too late")):
        supervisor.fail("GetDagRunState", error, times=5)
    outcome = finish(supervisor, make_dag(**WAIT))
    assert (outcome.state, supervisor.states()) == ("success", ["success"])
    assert outcome.said("could not be read: Service Unavailable (HTTP 503)")
    assert outcome.said("Trying again.")


def test_a_wait_whose_supervisor_is_gone_ends(supervisor: Supervisor) -> None:
    """An orphaned task process would otherwise ask a closed channel for ever."""
    dag = make_dag(**WAIT)

    supervisor.fail("GetDagRunState", SupervisorGone())
    outcome = supervisor.run(dag)
    assert outcome.state in {"up_for_retry", "exited"}
    assert supervisor.sleeps == []


class _Timer:
    """
    Sends the process its alarm while one request of a name is under way, as the kernel's timer does.

    Any thread may receive it: here the supervisor's, which does not block it.
    """

    def __init__(self, supervisor: Supervisor, name: str) -> None:
        self.is_sent = False
        supervisor.before[name] = self.send

    def send(self) -> None:
        if not self.is_sent:
            self.is_sent = True
            os.kill(os.getpid(), signal.SIGALRM)


@pytest.mark.parametrize("name", ["SetTaskStateStore", "SetXCom", "TriggerDagRun", "GetDagRunState"])
def test_a_time_out_while_a_request_is_under_way(supervisor: Supervisor, name: str) -> None:
    """Its answer must not stay in the channel, to be taken for that to the report of the failure."""
    if name == "SetTaskStateStore" and not HAS_STORE:
        pytest.skip("no task state store")
    dag = make_dag(execution_timeout=timedelta(hours=1), **WAIT)
    timer = _Timer(supervisor, name)
    outcome = finish(supervisor, dag)
    assert timer.is_sent
    assert outcome.state == "up_for_retry"
    assert type(outcome.error).__name__ == "AirflowTaskTimeout"
    assert finish(supervisor, dag, try_number=2).state == "success"
    assert supervisor.states() == ["success"]


@needs_store
def test_a_time_out_while_the_journal_is_read(supervisor: Supervisor) -> None:
    dag = make_dag(execution_timeout=timedelta(hours=1), **WAIT)
    killed_while_waiting(supervisor, dag)
    _Timer(supervisor, "GetTaskStateStore")
    assert finish(supervisor, dag, try_number=2).state == "up_for_retry"
    assert finish(supervisor, dag, try_number=3).state == "success"
    assert supervisor.states() == ["success"]


def test_a_time_out_while_it_sleeps(supervisor: Supervisor) -> None:
    dag = make_dag(execution_timeout=timedelta(hours=1), **WAIT)
    supervisor.on_sleep = lambda: signal.raise_signal(signal.SIGALRM)
    outcome = finish(supervisor, dag)
    assert (outcome.state, type(outcome.error).__name__) == ("up_for_retry", "AirflowTaskTimeout")
    assert supervisor.states() == ["queued"]


# The deferred wait.


def test_a_deferred_child_that_is_deleted_ends_the_wait(supervisor: Supervisor) -> None:
    dag = make_dag(**DEFER)
    supervisor.on_sleep = supervisor.runs.clear
    outcome = finish(supervisor, dag)
    assert outcome.state == "up_for_retry"
    assert "does not exist any more" in str(outcome.error)
    supervisor.on_sleep = lambda: supervisor.end_all("success")
    assert finish(supervisor, dag, try_number=2).state == "success"
    assert supervisor.states() == ["success"]


def test_a_child_that_is_not_at_its_end_defers_again(supervisor: Supervisor) -> None:
    dag = make_dag(**DEFER)
    first = supervisor.run(dag)
    again = supervisor.run(dag, event=event_of(supervisor, first))
    assert (again.state, again.final.trigger_kwargs) == ("deferred", first.final.trigger_kwargs)


def test_the_event_of_an_earlier_try_is_not_this_ones(supervisor: Supervisor) -> None:
    """Airflow 3.0 resumes the retry of a task that failed after its deferral with the old event."""
    dag = make_dag(**DEFER)
    first = supervisor.run(dag)
    supervisor.end_all("failed")
    event = event_of(supervisor, first)
    assert supervisor.run(dag, event=event).state == "up_for_retry"
    supervisor.current_id = uuid.uuid4()
    retried = supervisor.run(dag, try_number=2, event=event)
    assert retried.state == "deferred"
    assert supervisor.states() == ["failed", "queued"]
    supervisor.end_all("success")
    assert supervisor.run(dag, try_number=2, event=event_of(supervisor, retried)).state == "success"


@pytest.mark.parametrize("is_durable_now", [True, False], ids=["durable", "no longer durable"])
def test_a_dag_that_was_edited_while_its_task_was_deferred(
    supervisor: Supervisor,
    is_durable_now: bool,  # noqa: FBT001 - a parameter
) -> None:
    first = supervisor.run(make_dag(**DEFER))
    supervisor.end_all("failed")
    edited = make_dag(
        durable=is_durable_now, trigger_dag_id="other", conf={"b": 1}, allowed_states=["failed"], failed_states=[]
    )
    assert supervisor.run(edited, event=event_of(supervisor, first)).state == "success"


@needs_store
def test_an_event_of_the_stock_trigger_ends_as_stock_ends_it(supervisor: Supervisor) -> None:
    event = ("airflow.x.DagStateTrigger", {"run_ids": ["x"], "x": "failed", "states": []})
    outcome = supervisor.run(make_dag(**DEFER), event=event)
    assert outcome.state == "up_for_retry"
    assert "failed with failed states" in str(outcome.error)
    assert supervisor.run(make_dag(**DEFER), event=(event[0], {**event[1], "x": "success"})).state == "success"


# What Airflow adds around the operator.


@each_mode
def test_the_link_and_the_xcom_name_the_run(supervisor: Supervisor, mode: dict[str, Any]) -> None:
    dag = make_dag(**mode)
    killed_while_waiting(supervisor, dag)
    finish(supervisor, dag, try_number=2)
    run_id = supervisor.only_run().run_id
    assert supervisor.xcoms == {
        "trigger_run_id": run_id,
        "_link_TriggerDagRunLink": f"/dags/child/runs/{run_id}",
    }


class Listener:
    """Remembers what listeners read of the task."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str | None]] = []

    def hooks(self) -> Any:  # noqa: ANN401 - a pluggy plugin
        """Return the plugin that Airflow calls."""
        from airflow.listeners import hookimpl

        seen = self.seen

        class Hooks:
            @hookimpl
            def on_task_instance_success(self, previous_state: Any, task_instance: Any) -> None:  # noqa: ANN401
                seen.append(("success", task_instance.task.trigger_run_id))

            @hookimpl
            def on_task_instance_failed(self, previous_state: Any, task_instance: Any, error: Any) -> None:  # noqa: ANN401
                seen.append(("failed", task_instance.task.trigger_run_id))

        return Hooks()


@pytest.fixture
def listener() -> Iterator[Listener]:
    listener, hooks = Listener(), None
    hooks = listener.hooks()
    listener_manager().pm.register(hooks)
    yield listener
    listener_manager().pm.unregister(hooks)


@each_mode
def test_listeners_read_the_run_id(supervisor: Supervisor, mode: dict[str, Any], listener: Listener) -> None:
    dag = make_dag(**mode)
    killed_while_waiting(supervisor, dag)
    finish(supervisor, dag, try_number=2)
    run_id = supervisor.only_run().run_id
    assert listener.seen[0] == ("failed", run_id)
    assert listener.seen[-1] == ("success", run_id)


@each_mode
def test_callbacks_are_called(supervisor: Supervisor, mode: dict[str, Any]) -> None:
    called: list[str] = []
    dag = make_dag(
        **mode,
        on_execute_callback=lambda context: called.append("execute"),
        on_retry_callback=lambda context: called.append("retry"),
        on_success_callback=lambda context: called.append("success"),
    )
    killed_while_waiting(supervisor, dag)
    finish(supervisor, dag, try_number=2)
    assert {"execute", "retry", "success"} == set(called)


@needs_retry_policy
@pytest.mark.parametrize("mode", [WAIT, DEFER], ids=["wait", "defer"])
def test_a_retry_policy_decides_about_a_failed_child(supervisor: Supervisor, mode: dict[str, Any]) -> None:
    from airflow.sdk.definitions.retry_policy import RetryDecision, RetryPolicy

    from airflow_durable.compat import AirflowException

    seen: list[BaseException] = []

    class FailAtOnce(RetryPolicy):
        def evaluate(self, exception: BaseException, *args: Any, **kwargs: Any) -> RetryDecision:  # noqa: ANN401
            seen.append(exception)
            return RetryDecision.fail("it is of no use")

    supervisor.on_sleep = lambda: supervisor.end_all("failed")
    outcome = finish(supervisor, make_dag(retry_policy=FailAtOnce(), **mode))
    assert outcome.state == "failed"
    assert [isinstance(error, AirflowException) for error in seen] == [True]


def test_a_mapped_task_has_a_child_for_each_index(supervisor: Supervisor) -> None:
    with DAG("parent", schedule=None) as dag:
        TriggerDagRunOperator.partial(
            task_id="trigger", trigger_dag_id="child", retries=3, durable=True, wait_for_completion=True
        ).expand(conf=[{"n": 0}, {"n": 1}])
    supervisors = [supervisor, Supervisor()]
    supervisors[1].runs = supervisor.runs
    for index, each in enumerate(supervisors):
        each.fail("GetDagRunState", ServerError(403, "no"))
        assert finish(each, dag, map_index=index, max_tries=3).state == "up_for_retry"
    for index, each in enumerate(supervisors):
        assert finish(each, dag, map_index=index, max_tries=3, try_number=2).state == "success"
    assert [run.conf for run in supervisor.runs.values()] == [{"n": 0}, {"n": 1}]
    assert supervisor.states() == ["success", "success"]


def test_a_task_that_follows_gets_no_return_value(supervisor: Supervisor) -> None:
    @task
    def follow(value: object) -> None: ...

    dag = make_dag(**WAIT)
    finish(supervisor, dag)
    assert "return_value" not in supervisor.xcoms


def test_a_fault_is_what_the_supervisor_sends() -> None:
    """The scripted supervisor is itself used: a request that it does not know breaks the test."""
    supervisor = Supervisor()
    supervisor.faults["SetXCom"] = [*([None] if HAS_EARLY_LINK else []), Fault(AWAY)]
    outcome = finish(supervisor, make_dag(**FORGET))
    assert outcome.state == "up_for_retry"
    assert set(LOOKS) & set(outcome.names()) == set()
