"""The switch is turned while tasks run, wait, are deferred or up for retry: nothing is lost, nothing new done twice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator as StockTriggerDagRunOperator

from airflow_durable.switch.apply import apply_switch
from airflow_durable.switch.settings import Mode, Switch

from .dags import DEFER, WAIT, each_mode, event_of, finish, killed_while_waiting, make_dag
from .supervisor import Supervisor
from .versions import load_trigger_kwargs

if TYPE_CHECKING:
    from airflow.sdk import DAG

each_wait = pytest.mark.parametrize("mode", [WAIT, DEFER], ids=["wait", "defer"])


class Subclass(StockTriggerDagRunOperator):
    """Somebody's own."""


each_operator = pytest.mark.parametrize("operator", [StockTriggerDagRunOperator, Subclass])


def off(operator: type[StockTriggerDagRunOperator] = StockTriggerDagRunOperator, **kwargs: Any) -> DAG:  # noqa: ANN401
    """Return the Dag as it is parsed where the switch is off."""
    return make_dag(operator, **kwargs)


def on(operator: type[StockTriggerDagRunOperator] = StockTriggerDagRunOperator, **kwargs: Any) -> DAG:  # noqa: ANN401
    """Return the Dag as it is parsed where the switch is on."""
    dag = make_dag(operator, **kwargs)
    apply_switch(dag, Switch(mode=Mode.DURABLE))
    return dag


def test_a_task_says_that_the_switch_made_it_durable(supervisor: Supervisor) -> None:
    assert finish(supervisor, on(**WAIT)).said("[durable] stock_operators")
    assert not finish(Supervisor(), make_dag(**WAIT)).said("[durable] stock_operators")


# On.


@each_operator
@each_mode
def test_on_a_crash_is_survived(
    supervisor: Supervisor, operator: type[StockTriggerDagRunOperator], mode: dict[str, Any]
) -> None:
    dag = on(operator, **mode)
    killed_while_waiting(supervisor, dag)
    assert finish(supervisor, dag, try_number=2).state == "success"
    assert len(supervisor.runs) == 1


@each_operator
@pytest.mark.parametrize("state", ["success", "failed"])
def test_on_while_it_is_deferred(
    supervisor: Supervisor, operator: type[StockTriggerDagRunOperator], state: str
) -> None:
    first = supervisor.run(off(operator, **DEFER))
    supervisor.end_all(state)
    resumed = supervisor.run(on(operator, **DEFER), event=event_of(supervisor, first))
    assert resumed.state == {"success": "success", "failed": "up_for_retry"}[state]
    assert len(supervisor.runs) == 1


@each_mode
def test_on_before_the_retry(supervisor: Supervisor, mode: dict[str, Any]) -> None:
    """Of the child of a stock try nothing is known: the retry starts another, like stock's, and keeps to that one."""
    killed_while_waiting(supervisor, off(**mode))
    dag = on(**mode)
    killed_while_waiting(supervisor, dag, try_number=2)
    assert finish(supervisor, dag, try_number=3).state == "success"
    assert len(supervisor.runs) == 2


@each_wait
def test_on_before_the_retry_of_a_fixed_run_id(supervisor: Supervisor, mode: dict[str, Any]) -> None:
    """The run of a stock try is not known as this task's own: the task ends like a stock one, and names the run."""
    killed_while_waiting(supervisor, off(trigger_run_id="fixed", **mode))
    outcome = supervisor.run(on(trigger_run_id="fixed", **mode), try_number=2)
    assert outcome.state == "failed"
    assert supervisor.states() == ["queued"]


def test_on_after_an_ordinary_failure(supervisor: Supervisor) -> None:
    supervisor.on_sleep = lambda: supervisor.end_all("failed")
    finish(supervisor, off(**WAIT))
    supervisor.on_sleep = lambda: supervisor.end_all("success")
    assert finish(supervisor, on(**WAIT), try_number=2).state == "success"
    assert supervisor.states() == ["failed", "success"]


# Off.


@each_operator
@pytest.mark.parametrize("state", ["success", "failed"])
def test_off_while_it_is_deferred(
    supervisor: Supervisor, operator: type[StockTriggerDagRunOperator], state: str
) -> None:
    first = supervisor.run(on(operator, **DEFER))
    supervisor.end_all(state)
    resumed = supervisor.run(off(operator, **DEFER), event=event_of(supervisor, first))
    assert resumed.state == {"success": "success", "failed": "up_for_retry"}[state]
    assert len(supervisor.runs) == 1


@pytest.mark.parametrize("state", ["failed", None], ids=["failed", "deleted"])
def test_off_while_it_is_deferred_and_no_failure_is_listed(supervisor: Supervisor, state: str | None) -> None:
    """The stock operator takes any state that is no failed one for success; its own trigger would never send this."""
    parameters = {**DEFER, "failed_states": []}
    first = supervisor.run(on(**parameters))
    if state:
        supervisor.end_all(state)
    else:
        supervisor.runs.clear()
    assert supervisor.run(off(**parameters), event=event_of(supervisor, first)).state == "up_for_retry"


def test_off_while_it_is_deferred_and_the_child_ends_otherwise(supervisor: Supervisor) -> None:
    parameters = {**DEFER, "allowed_states": ["failed"], "failed_states": ["queued"]}
    first = supervisor.run(on(**parameters))
    supervisor.end_all("success")
    assert supervisor.run(off(**parameters), event=event_of(supervisor, first)).state == "up_for_retry"


def test_off_while_the_child_of_before_a_clear_is_waited_out(supervisor: Supervisor) -> None:
    """That child carries an earlier request: its end is no success of this one."""
    killed_while_waiting(supervisor, on(conf={"a": 1}, **DEFER), max_tries=3)
    second = supervisor.run(on(conf={"a": 2}, **DEFER), try_number=2, max_tries=4, clear_number=1)
    assert second.state == "deferred"
    assert len(supervisor.runs) == 1
    supervisor.end_all("success")
    event = event_of(supervisor, second)
    resumed = supervisor.run(off(conf={"a": 2}, **DEFER), try_number=2, max_tries=4, clear_number=1, event=event)
    assert resumed.state == "up_for_retry"


# Off and on again.


@each_mode
def test_off_and_on_again(supervisor: Supervisor, mode: dict[str, Any]) -> None:
    """The stock try in between starts a run, as it would anyhow; the next durable one continues with what it knows."""
    killed_while_waiting(supervisor, on(**mode))
    killed_while_waiting(supervisor, off(**mode), try_number=2)
    assert len(supervisor.runs) == 2
    assert finish(supervisor, on(**mode), try_number=3).state == "success"
    assert len(supervisor.runs) == 2


def test_off_and_on_again_while_it_is_deferred(supervisor: Supervisor) -> None:
    first = supervisor.run(on(**DEFER))
    killed_while_waiting(supervisor, off(**DEFER), try_number=2)
    third = supervisor.run(on(**DEFER), try_number=3)
    assert third.state == "deferred"
    run_ids = [load_trigger_kwargs(outcome.final.trigger_kwargs)["run_id"] for outcome in (first, third)]
    assert run_ids[0] == run_ids[1]
    supervisor.end_all("success")
    assert supervisor.run(on(**DEFER), try_number=3, event=event_of(supervisor, third)).state == "success"
    assert len(supervisor.runs) == 2
