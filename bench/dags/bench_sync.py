"""The parents and the children of the live benchmark of the synchronous wait."""

from __future__ import annotations

import time

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator as Stock
from airflow.sdk import DAG, task

from airflow_durable.operators.trigger_dagrun import TriggerDagRunOperator

for child_seconds in (1, 10, 60):
    for kind in ("stock", "durable"):
        with DAG(f"bench_sync_child_{kind}_{child_seconds}", schedule=None):

            @task
            def work(seconds: int) -> None:
                """Take that long."""
                time.sleep(seconds)

            work(child_seconds)

        # The default poke_interval is what is measured.
        with DAG(f"bench_sync_{kind}_{child_seconds}", schedule=None):
            child = f"bench_sync_child_{kind}_{child_seconds}"
            if kind == "stock":
                Stock(task_id="wait", trigger_dag_id=child, wait_for_completion=True)
            else:
                TriggerDagRunOperator(
                    task_id="wait", trigger_dag_id=child, wait_for_completion=True, durable=True, retries=1
                )
