"""
The parents and children of the audit's tests: the stock operator itself, a subclass of it, and a durable one beside.

As in ``scenarios.py`` the children are paused: their runs stay queued until the test marks them.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import DAG

from airflow_durable.operators.trigger_dagrun import TriggerDagRunOperator as DurableOperator


class Launcher(TriggerDagRunOperator):
    """A subclass, as people have them: Airflow knows it by another name."""


DEFAULTS: dict[str, Any] = {
    "task_id": "run_child",
    "conf": {"secret": "audited-secret"},
    "wait_for_completion": True,
    "poke_interval": 2,
    "retries": 3,
    "retry_delay": timedelta(seconds=1),
}

for name, operator, given in (
    ("audited_shared", TriggerDagRunOperator, {}),
    ("audited_subclass", Launcher, {}),
    ("audited_forgotten", TriggerDagRunOperator, {"wait_for_completion": False}),
    ("audited_crashed_cleared", TriggerDagRunOperator, {"retries": 0}),
    ("audited_child_failed", TriggerDagRunOperator, {}),
    ("audited_rerun", TriggerDagRunOperator, {}),
):
    with DAG(f"{name}_child", schedule=None, catchup=False, is_paused_upon_creation=True):
        EmptyOperator(task_id="work")
    with DAG(f"{name}_parent", schedule=None, catchup=False):
        operator(trigger_dag_id=f"{name}_child", **{**DEFAULTS, **given})

# Two more parents of the shared child Dag: one that nothing happens to, and a durable one.
with DAG("audited_shared_rival", schedule=None, catchup=False):
    TriggerDagRunOperator(trigger_dag_id="audited_shared_child", **DEFAULTS)

with DAG("audited_shared_durable", schedule=None, catchup=False):
    DurableOperator(trigger_dag_id="audited_shared_child", durable=True, **DEFAULTS)

with DAG("audited_mapped_child", schedule=None, catchup=False, is_paused_upon_creation=True):
    EmptyOperator(task_id="work")

with DAG("audited_mapped_parent", schedule=None, catchup=False):
    TriggerDagRunOperator.partial(
        trigger_dag_id="audited_mapped_child", **{key: value for key, value in DEFAULTS.items() if key != "conf"}
    ).expand(conf=[{"part": part} for part in range(2)])
