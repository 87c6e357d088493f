"""The parents and the children of the waiting benchmark. They never run: their rows are laid into the database."""

from __future__ import annotations

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator as Stock
from airflow.sdk import DAG

from airflow_durable.operators.trigger_dagrun import TriggerDagRunOperator

with DAG("bench_parent", schedule=None):
    Stock(task_id="stock", trigger_dag_id="bench_child", deferrable=True, wait_for_completion=True)
    TriggerDagRunOperator(
        task_id="durable",
        trigger_dag_id="bench_child",
        deferrable=True,
        wait_for_completion=True,
        durable=True,
        retries=1,
    )

with DAG("bench_child", schedule=None):
    EmptyOperator(task_id="extract") >> EmptyOperator(task_id="transform") >> EmptyOperator(task_id="load")
