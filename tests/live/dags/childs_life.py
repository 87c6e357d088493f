"""
The parents and children of the scenarios about the child's life: its failure, its timeouts, its result.

As in ``scenarios.py`` the children are paused, but for those that have to run.
"""

from __future__ import annotations

import warnings
from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, task

from airflow_durable.operators.trigger_dagrun import DurableRetriesWarning, TriggerDagRunOperator

SCENARIOS: dict[str, dict[str, Any]] = {
    "child_failure_is_the_end": {"on_child_failure": "fail"},
    "start_timeout_is_over": {"start_timeout": 4, "retry_delay": timedelta(seconds=1)},
    "start_timeout_is_over_deferred": {"start_timeout": timedelta(seconds=4), "deferrable": True},
    "run_timeout_is_over": {"run_timeout": 4},
    "causes_are_named": {"retries": 0},
    "deferred_after_a_while": {"defer_after": 2},
    "result_is_returned": {"result": ["work", "parts"], "deferrable": True},
}

DEFAULTS: dict[str, Any] = {
    "durable": True,
    "wait_for_completion": True,
    "poke_interval": 2,
    "retries": 3,
    "retry_delay": timedelta(seconds=1),
}

OWN_CHILDREN = {"result_is_returned", "run_timeout_is_over"}

for name, given in SCENARIOS.items():
    with DAG(f"{name}_parent", schedule=None, catchup=False), warnings.catch_warnings():
        # What a failed child's error says takes one try.
        warnings.simplefilter("ignore", DurableRetriesWarning)
        TriggerDagRunOperator(task_id="run_child", trigger_dag_id=f"{name}_child", **{**DEFAULTS, **given})
    if name not in OWN_CHILDREN:
        with DAG(f"{name}_child", schedule=None, catchup=False, is_paused_upon_creation=True):
            EmptyOperator(task_id="work")

with DAG("result_is_returned_child", schedule=None, catchup=False, is_paused_upon_creation=False):

    @task
    def work() -> dict[str, int]:
        """Return what the parent is to return."""
        return {"rows": 7}

    @task
    def parts(part: int) -> int:
        """Return a part of a mapped task."""
        return part * 10

    work()
    parts.expand(part=[1, 2])

with DAG("run_timeout_is_over_child", schedule=None, catchup=False, is_paused_upon_creation=False):

    @task(retries=1, retry_delay=timedelta(days=1))
    def hang() -> None:
        """Run for a day, without a process."""
        message = "It is retried tomorrow."
        raise RuntimeError(message)

    hang()
