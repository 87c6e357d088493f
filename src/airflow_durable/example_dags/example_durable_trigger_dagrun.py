"""
One Dag for each way to trigger another Dag durably, and the Dag that they trigger.

Kill the worker of any of these parents while it waits: its next try continues with the same child run.
"""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, Param, task

from airflow_durable.operators.trigger_dagrun import TriggerDagRunOperator
from airflow_durable.operators.trigger_dagruns import TriggerDagRunsOperator

CHILD = "example_durable_child"

DEFAULT_ARGS: dict[str, Any] = {
    "durable": True,
    # A crash needs a next try that can find the child again.
    "retries": 3,
    "retry_delay": timedelta(seconds=10),
}


@task
def work(**context: Any) -> None:  # noqa: ANN401 - Airflow's context
    """Stand in for work that must not be done twice."""
    time.sleep(context["params"]["seconds"])


with DAG(CHILD, schedule=None, catchup=False, params={"seconds": Param(5, type="number")}, tags=["example"]):
    work()

with DAG("example_durable_wait", schedule=None, catchup=False, default_args=DEFAULT_ARGS, tags=["example"]):
    # [START durable_wait]
    TriggerDagRunOperator(
        task_id="run_child",
        trigger_dag_id=CHILD,
        wait_for_completion=True,
        poke_interval=30,
        retries=3,
        durable=True,
    )
    # [END durable_wait]

with DAG("example_durable_deferrable", schedule=None, catchup=False, default_args=DEFAULT_ARGS, tags=["example"]):
    # [START durable_deferrable]
    TriggerDagRunOperator(
        task_id="run_child",
        trigger_dag_id=CHILD,
        wait_for_completion=True,
        deferrable=True,
        poke_interval=10,
    )
    # [END durable_deferrable]

with DAG("example_durable_fire_and_forget", schedule=None, catchup=False, default_args=DEFAULT_ARGS, tags=["example"]):
    # [START durable_fire_and_forget]
    TriggerDagRunOperator(task_id="run_child", trigger_dag_id=CHILD, wait_for_completion=False)
    # [END durable_fire_and_forget]

with DAG("example_durable_mapped", schedule=None, catchup=False, default_args=DEFAULT_ARGS, tags=["example"]):
    # [START durable_mapped]
    TriggerDagRunOperator.partial(
        task_id="run_child", trigger_dag_id=CHILD, wait_for_completion=True, poke_interval=10
    ).expand(conf=[{"seconds": seconds} for seconds in (1, 2, 3)])
    # [END durable_mapped]

with DAG("example_durable_fixed_run_id", schedule=None, catchup=False, default_args=DEFAULT_ARGS, tags=["example"]):
    # [START durable_fixed_run_id]
    TriggerDagRunOperator(
        task_id="run_child",
        trigger_dag_id=CHILD,
        trigger_run_id="for_{{ run_id }}",
        wait_for_completion=True,
        poke_interval=10,
    )
    # [END durable_fixed_run_id]

with DAG("example_durable_many", schedule=None, catchup=False, tags=["example"]):
    # [START durable_many]
    TriggerDagRunsOperator(
        task_id="run_children",
        trigger_dag_id=CHILD,
        items=[{"seconds": seconds} for seconds in (1, 2, 3)],
        key="seconds",
        max_active=2,
        deferrable=True,
        retries=3,
    )
    # [END durable_many]
