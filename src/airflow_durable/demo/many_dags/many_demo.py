"""A parent with as many children as its conf has items. Run by ``airflow-durable demo --many``."""

from __future__ import annotations

from datetime import timedelta

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG

from airflow_durable.operators.trigger_dagruns import TriggerDagRunsOperator

with DAG("demo_many_child", schedule=None, catchup=False):
    # The scheduler ends it without a process: what is shown are the runs.
    EmptyOperator(task_id="work")

with DAG("demo_many_parent", schedule=None, catchup=False):
    TriggerDagRunsOperator(
        task_id="run_children",
        trigger_dag_id="demo_many_child",
        items="{{ dag_run.conf['items'] | tojson }}",
        key="name",
        poke_interval=2,
        retries=3,
        retry_delay=timedelta(seconds=1),
    )
