"""Two parents and their children, the same but for ``durable``. Run by ``airflow-durable demo``."""

from __future__ import annotations

import time
from datetime import timedelta

from airflow.sdk import DAG, task

from airflow_durable.operators.trigger_dagrun import TriggerDagRunOperator


@task
def work(**context: object) -> None:
    """Do the work of the child: sleep as many seconds as its conf says."""
    time.sleep(float(context["dag_run"].conf["seconds"]))  # type: ignore[attr-defined] # the Dag run has no public type


for kind, is_durable in (("stock", False), ("durable", True)):
    with DAG(f"demo_{kind}_child", schedule=None, catchup=False):
        work()

    with DAG(f"demo_{kind}_parent", schedule=None, catchup=False):
        TriggerDagRunOperator(
            task_id="run_child",
            trigger_dag_id=f"demo_{kind}_child",
            conf={"seconds": "{{ dag_run.conf['seconds'] }}"},
            wait_for_completion=True,
            poke_interval=2,
            retries=3,
            retry_delay=timedelta(seconds=1),
            durable=is_durable,
        )
