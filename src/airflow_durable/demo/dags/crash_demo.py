"""Three parents and their children, the same but for what makes them durable. Run by ``airflow-durable demo``."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator as StockTriggerDagRunOperator
from airflow.sdk import DAG, task

from airflow_durable.operators.trigger_dagrun import TriggerDagRunOperator


@task
def work(**context: object) -> None:
    """Do the work of the child: sleep as many seconds as its conf says."""
    time.sleep(float(context["dag_run"].conf["seconds"]))  # type: ignore[attr-defined] # the Dag run has no public type


PARENTS: dict[str, tuple[Any, dict[str, bool]]] = {
    "stock": (TriggerDagRunOperator, {"durable": False}),
    "durable": (TriggerDagRunOperator, {"durable": True}),
    # Nothing here says that it is durable: the configuration does, for every stock operator.
    "switched": (StockTriggerDagRunOperator, {}),
}

for kind, (operator, given) in PARENTS.items():
    with DAG(f"demo_{kind}_child", schedule=None, catchup=False):
        work()

    with DAG(f"demo_{kind}_parent", schedule=None, catchup=False):
        operator(
            task_id="run_child",
            trigger_dag_id=f"demo_{kind}_child",
            conf={"seconds": "{{ dag_run.conf['seconds'] }}"},
            wait_for_completion=True,
            poke_interval=2,
            retries=3,
            retry_delay=timedelta(seconds=1),
            **given,
        )
