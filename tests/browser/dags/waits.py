"""Parents and children as a deployment might have them, short enough for a test."""

from __future__ import annotations

import os
import time
from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import DAG

from airflow_durable.operators.trigger_dagrun import TriggerDagRunOperator

SLOWER = float(os.environ.get("DURABLE_TEST_SLOWER", "1"))
"""The children of parents that crash live so much longer: on default settings Airflow takes five minutes to notice."""

DEFAULTS: dict[str, Any] = {
    "durable": True,
    "wait_for_completion": True,
    "poke_interval": 2,
    "retries": 4,
    "retry_delay": timedelta(seconds=1),
}


def work(seconds: float) -> None:
    """Work for so long."""
    time.sleep(seconds)


def fail_first(dag_run: Any) -> None:  # noqa: ANN401 - Airflow's
    """Fail in a parent's first child run, succeed in its next."""
    if dag_run.run_id.endswith("_0"):
        message = "The first one fails."
        raise RuntimeError(message)


def make_child(dag_id: str, seconds: float | None) -> None:
    """
    Make a child Dag.

    :param seconds: how long its task works; None: it is paused, so that its runs wait.
    """
    with DAG(dag_id, schedule=None, catchup=False, is_paused_upon_creation=seconds is None):
        PythonOperator(task_id="work", python_callable=work, op_args=[seconds or 0])


def make_parent(dag_id: str, task_id: str, child_dag_id: str, **given: Any) -> None:  # noqa: ANN401 - the operator's
    """Make a parent Dag."""
    with DAG(dag_id, schedule=None, catchup=False):
        TriggerDagRunOperator(task_id=task_id, trigger_dag_id=child_dag_id, **{**DEFAULTS, **given})


make_child("reconcile_ledger", 50 * SLOWER)
make_parent("nightly_finance", "reconcile", "reconcile_ledger")

# Long names, and a child that ends before Airflow notices that its parent has crashed.
make_child("reconcile_general_ledger_against_all_subledgers_of_all_legal_entities", 4)
make_parent(
    "finance_emea_nightly_reconciliation_and_regulatory_reporting_pipeline",
    "trigger_reconciliation_of_all_legal_entities",
    "reconcile_general_ledger_against_all_subledgers_of_all_legal_entities",
)

make_child("close_books", 90 * SLOWER)
make_parent("weekly_close", "close_books", "close_books")

make_child("train_forecast", None)
make_parent("forecasting", "train", "train_forecast", deferrable=True)

make_child("load_region", None)
with DAG("hourly_ingest", schedule=None, catchup=False):
    TriggerDagRunOperator.partial(task_id="load_region", trigger_dag_id="load_region", **DEFAULTS).expand(
        conf=[{"region": region} for region in ("emea", "apac", "amer")]
    )

with DAG("render_report", schedule=None, catchup=False):
    PythonOperator(task_id="render", python_callable=fail_first)
make_parent("reporting", "publish", "render_report")

make_child("payroll_run", 1)
make_parent("payroll", "pay", "payroll_run")
make_parent("bonuses", "pay", "payroll_run")
