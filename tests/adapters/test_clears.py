"""After a person's clear: what becomes of the child that was started before it."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_durable.operators.trigger_dagrun import TriggerDagRunOperator

from .dags import DEFER, FORGET, WAIT, finish, killed_while_waiting, make_dag
from .supervisor import NOW, ServerError, Supervisor
from .versions import load_trigger_kwargs, needs_details, needs_store

pytestmark = needs_store

CLEARED: dict[str, Any] = {"try_number": 2, "max_tries": 4, "clear_number": 1}
LONG_AGO = NOW
FAR_AHEAD = datetime(2999, 1, 1, tzinfo=timezone.utc)
each_waiting_mode = pytest.mark.parametrize("mode", [WAIT, DEFER], ids=["wait", "defer"])


def confs_of(supervisor: Supervisor) -> list[Any]:
    return [run.conf for run in supervisor.runs.values()]


def behind_upstream(**kwargs: Any) -> DAG:  # noqa: ANN401 - the operator's own
    """Return a Dag whose durable task has a task upstream."""
    from airflow.providers.standard.operators.empty import EmptyOperator

    with DAG("parent", schedule=None) as dag:
        correct_the_input = EmptyOperator(task_id="correct_the_input")
        correct_the_input >> TriggerDagRunOperator(
            task_id="trigger", trigger_dag_id="child", durable=True, retries=3, **kwargs
        )
    return dag


class Watching(Supervisor):
    """Remembers which runs were active when another one was started."""

    def __init__(self) -> None:
        super().__init__()
        self.started_beside: list[str] = []

    def answer_truly(self, request: Any) -> Any:  # noqa: ANN401 - see Supervisor
        """Answer."""
        before = dict(self.runs)
        answered = super().answer_truly(request)
        if len(self.runs) > len(before):
            self.started_beside += [run.run_id for run in before.values() if run.state in {"queued", "running"}]
        return answered


@each_waiting_mode
def test_an_active_child_with_the_same_request_is_adopted(supervisor: Supervisor, mode: dict[str, Any]) -> None:
    dag = make_dag(conf={"a": 1}, **mode)
    killed_while_waiting(supervisor, dag)
    outcome = finish(supervisor, dag, **CLEARED)
    assert (outcome.state, supervisor.states()) == ("success", ["success"])


@each_waiting_mode
def test_an_active_child_with_another_request_is_waited_out(mode: dict[str, Any]) -> None:
    supervisor = Watching()
    killed_while_waiting(supervisor, make_dag(conf={"a": 1}, **mode))
    outcome = finish(supervisor, make_dag(conf={"a": 2}, **mode), **CLEARED)
    assert outcome.state == "success"
    assert confs_of(supervisor) == [{"a": 1}, {"a": 2}]
    assert supervisor.started_beside == []
    assert outcome.said("waiting for its end before a fresh run is started. To wait no longer, mark that run as failed")


@each_waiting_mode
@pytest.mark.parametrize("end", ["failed", "deleted"])
def test_a_waited_out_child_may_end_as_it_likes(mode: dict[str, Any], end: str) -> None:
    supervisor = Watching()
    killed_while_waiting(supervisor, make_dag(conf={"a": 1}, **mode))

    def on_sleep() -> None:
        for run in list(supervisor.runs.values()):
            if run.conf == {"a": 2}:
                run.state = "success"
            elif end == "deleted":
                del supervisor.runs[run.dag_id, run.run_id]
            else:
                run.state = end

    supervisor.on_sleep = on_sleep
    assert finish(supervisor, make_dag(conf={"a": 2}, **mode), **CLEARED).state == "success"
    assert confs_of(supervisor)[-1] == {"a": 2}
    assert supervisor.started_beside == []


def test_a_deferred_wait_for_the_end_of_another_run_ends_with_it_alone(supervisor: Supervisor) -> None:
    mode = {**DEFER, "allowed_states": ["running"], "failed_states": []}
    killed_while_waiting(supervisor, make_dag(conf={"a": 1}, **mode))
    outcome = supervisor.run(make_dag(conf={"a": 2}, **mode), **CLEARED)
    assert outcome.state == "deferred"
    assert load_trigger_kwargs(outcome.final.trigger_kwargs)["states"] == ["failed", "success"]


@pytest.mark.parametrize(
    ("allowed", "failed"), [(["success"], []), (["failed"], []), (["running"], ["failed"])], ids=str
)
def test_a_deferred_wait_ends_with_its_run(supervisor: Supervisor, allowed: list[str], failed: list[str]) -> None:
    outcome = supervisor.run(make_dag(allowed_states=allowed, failed_states=failed, **DEFER))
    assert {"success", "failed"} <= set(load_trigger_kwargs(outcome.final.trigger_kwargs)["states"])


@each_waiting_mode
def test_a_crash_while_a_child_is_waited_out(mode: dict[str, Any]) -> None:
    supervisor = Watching()
    killed_while_waiting(supervisor, make_dag(conf={"a": 1}, **mode))
    edited = make_dag(conf={"a": 2}, **mode)
    supervisor.before["SetXCom"] = lambda: supervisor.fail("SetXCom", ServerError(500, "dies"))
    assert finish(supervisor, edited, **CLEARED).state == "up_for_retry"
    supervisor.before.clear()
    supervisor.faults.clear()
    assert len(supervisor.runs) == 1
    outcome = finish(supervisor, edited, **CLEARED | {"try_number": 3})
    assert outcome.state == "success"
    assert confs_of(supervisor) == [{"a": 1}, {"a": 2}]
    assert supervisor.started_beside == []


def test_a_child_that_was_only_started_is_not_waited_for(supervisor: Supervisor) -> None:
    killed_while_waiting(supervisor, make_dag(conf={"a": 1}, **FORGET))
    outcome = finish(supervisor, make_dag(conf={"a": 2}, **FORGET), **CLEARED)
    assert outcome.state == "success"
    assert confs_of(supervisor) == [{"a": 1}, {"a": 2}]
    first = next(iter(supervisor.runs.values())).run_id
    assert any("Starting a fresh run beside an active one" in line and first in line for line in outcome.log)


@each_waiting_mode
def test_a_conf_that_renders_otherwise_starts_no_second_run_beside_an_active_one(mode: dict[str, Any]) -> None:
    supervisor = Watching()
    dag = make_dag(conf={"try": "{{ ti.try_number }}"}, **mode)
    killed_while_waiting(supervisor, dag)
    assert finish(supervisor, dag, **CLEARED).state == "success"
    assert confs_of(supervisor) == [{"try": "1"}, {"try": "2"}]
    assert supervisor.started_beside == []


@each_waiting_mode
@pytest.mark.parametrize("on_clear", ["auto", "adopt", "fresh"])
def test_on_clear_and_an_active_child_with_another_request(mode: dict[str, Any], on_clear: str) -> None:
    supervisor = Watching()
    killed_while_waiting(supervisor, make_dag(conf={"a": 1}, on_clear=on_clear, **mode))
    assert finish(supervisor, make_dag(conf={"a": 2}, on_clear=on_clear, **mode), **CLEARED).state == "success"
    assert confs_of(supervisor) == ([{"a": 1}] if on_clear == "adopt" else [{"a": 1}, {"a": 2}])
    assert bool(supervisor.started_beside) is (on_clear == "fresh")


@each_waiting_mode
@pytest.mark.parametrize("on_clear", ["auto", "adopt", "fresh"])
def test_on_clear_and_a_success_that_was_taken(supervisor: Supervisor, mode: dict[str, Any], on_clear: str) -> None:
    """The work is asked for anew, whatever the parameter says."""
    dag = make_dag(on_clear=on_clear, **mode)
    finish(supervisor, dag)
    assert finish(supervisor, dag, **CLEARED).state == "success"
    assert supervisor.states() == ["success", "success"]


@needs_details
@each_waiting_mode
@pytest.mark.parametrize(
    ("upstream", "on_clear", "children"),
    [
        (LONG_AGO, "auto", 1),
        (FAR_AHEAD, "auto", 2),
        (None, "auto", 2),
        (FAR_AHEAD, "adopt", 1),
        (LONG_AGO, "fresh", 2),
    ],
    ids=["upstream is older", "upstream ran again", "not known", "adopt", "fresh"],
)
def test_an_ended_child_counts_only_if_nothing_upstream_ran_again(
    supervisor: Supervisor, mode: dict[str, Any], upstream: datetime | None, on_clear: str, children: int
) -> None:
    """*Clear Run* of a parent that died: everything upstream ran again, on corrected input."""
    dag = behind_upstream(on_clear=on_clear, **mode)
    killed_while_waiting(supervisor, dag)
    supervisor.end_all("success")
    if upstream:
        supervisor.upstream["correct_the_input"] = upstream
    assert finish(supervisor, dag, **CLEARED).state == "success"
    assert len(supervisor.runs) == children


def test_what_is_upstream_is_asked_only_after_a_clear(supervisor: Supervisor) -> None:
    dag = behind_upstream(**WAIT)
    supervisor.upstream["correct_the_input"] = FAR_AHEAD
    killed_while_waiting(supervisor, dag)
    supervisor.end_all("success")
    outcome = finish(supervisor, dag, try_number=2)
    assert (outcome.state, supervisor.states()) == ("success", ["success"])
    assert "GetPreviousTI" not in outcome.names()
