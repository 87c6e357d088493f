"""
The parents with many children, and their children: one empty task each, which the scheduler ends without a process.

``MANY_CHILDREN`` says how many (60).
"""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG

from airflow_durable.operators.trigger_dagruns import TriggerDagRunsOperator

NUMBER = int(os.environ.get("MANY_CHILDREN", "60"))
PARENTS: dict[str, dict[str, Any]] = {
    "many_deferred": {"deferrable": True, "max_active": NUMBER // 3},
    "many_waiting": {"key": "name"},
}

for name, given in PARENTS.items():
    with DAG(f"{name}_child", schedule=None, catchup=False, max_active_runs=16):
        EmptyOperator(task_id="work")
    with DAG(f"{name}_parent", schedule=None, catchup=False):
        TriggerDagRunsOperator(
            task_id="run_child",
            trigger_dag_id=f"{name}_child",
            items=[{"name": f"item-{number}"} for number in range(NUMBER)],
            poke_interval=5,
            retries=6,
            retry_delay=timedelta(seconds=1),
            **given,
        )

# The children of these are paused: their runs stay queued until the test marks them.
OVERDUE: dict[str, dict[str, Any]] = {
    "many_overdue": {"on_clear": "failed"},
    "many_overdue_deferred": {"deferrable": True, "tolerated_failures": 1},
}

for name, given in OVERDUE.items():
    with DAG(f"{name}_child", schedule=None, catchup=False, is_paused_upon_creation=True):
        EmptyOperator(task_id="work")
    with DAG(f"{name}_parent", schedule=None, catchup=False):
        TriggerDagRunsOperator(
            task_id="run_child",
            trigger_dag_id=f"{name}_child",
            items={key: {} for key in ("north", "south", "west")},
            start_timeout=timedelta(seconds=60),
            poke_interval=2,
            retries=3,
            retry_delay=timedelta(seconds=1),
            **given,
        )
