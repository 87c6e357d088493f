"""Dags of one task, and the three modes."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk import DAG

from airflow_durable.operators.trigger_dagrun import TriggerDagRunOperator
from airflow_durable.triggers.dag_run import DurableDagRunTrigger

if TYPE_CHECKING:
    from airflow.providers.standard.operators.trigger_dagrun import (
        TriggerDagRunOperator as StockTriggerDagRunOperator,
    )

    from .supervisor import Outcome, Supervisor

WAIT: dict[str, Any] = {"wait_for_completion": True}
DEFER: dict[str, Any] = {"wait_for_completion": True, "deferrable": True}
FORGET: dict[str, Any] = {}

each_mode = pytest.mark.parametrize("mode", [WAIT, DEFER, FORGET], ids=["wait", "defer", "forget"])


class Killed(BaseException):
    """The attempt ends here, whatever it was about to do."""


def make_dag(operator: type[StockTriggerDagRunOperator] = TriggerDagRunOperator, **kwargs: Any) -> DAG:  # noqa: ANN401
    """Return a Dag with the one task: durable, with retries, if nothing else is said."""
    if operator is TriggerDagRunOperator:
        kwargs = {"durable": True, **kwargs}
    kwargs = {"trigger_dag_id": "child", "retries": 3, "retry_delay": timedelta(0), **kwargs}
    with DAG("parent", schedule=None) as dag:
        operator(task_id="trigger", **kwargs)
    return dag


def finish(supervisor: Supervisor, dag: DAG, **attempt: Any) -> Outcome:  # noqa: ANN401 - see Supervisor.run
    """
    Run one attempt to its end, over its deferral.

    :returns: its last outcome, with the requests and the log of both parts.
    """
    outcome = supervisor.run(dag, **attempt)
    requests, log = outcome.requests, outcome.log
    while outcome.state == "deferred":
        supervisor.on_sleep()
        outcome = supervisor.run(dag, **attempt, event=event_of(supervisor, outcome))
        requests, log = requests + outcome.requests, log + outcome.log
    outcome.requests, outcome.log = requests, log
    return outcome


def event_of(supervisor: Supervisor, outcome: Outcome) -> Any:  # noqa: ANN401 - JSON
    """Return the event of the trigger that the attempt deferred to, as the run is now."""
    from .versions import load_trigger_kwargs

    kwargs = load_trigger_kwargs(outcome.final.trigger_kwargs)
    run_id = kwargs["run_id"] if "run_id" in kwargs else kwargs["run_ids"][0]
    run = supervisor.runs.get((kwargs["dag_id"], run_id))
    if "record" in kwargs:
        return DurableDagRunTrigger(**kwargs).payload(run.state if run else None)
    event = {
        "dag_id": kwargs["dag_id"],
        "run_ids": [run_id],
        "states": kwargs["states"],
        "poll_interval": kwargs["poll_interval"],
        run_id: run.state if run else "failed",
    }
    return (outcome.final.classpath, event)


def killed_while_waiting(supervisor: Supervisor, dag: DAG, **attempt: Any) -> Outcome:  # noqa: ANN401
    """Run an attempt that dies when its child has just been started; the child goes on."""
    supervisor.before["SetXCom"] = _die_at_the_run_id(supervisor)
    outcome = supervisor.run(dag, **attempt)
    assert supervisor.states()[-1] == "queued"
    return outcome


def _die_at_the_run_id(supervisor: Supervisor) -> Any:  # noqa: ANN401
    from .supervisor import ServerError

    def die() -> None:
        if supervisor.requests[-1].key == "trigger_run_id":
            del supervisor.before["SetXCom"]
            supervisor.fail("SetXCom", ServerError(500, "the attempt dies here"))

    return die
