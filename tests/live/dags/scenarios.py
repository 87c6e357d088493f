"""
The parents and children of the live tests: one pair for each scenario, so that a count by Dag is a count by scenario.

The children are paused: their runs stay queued, which is an active state, until the test marks them. That costs no
process, and whoever counts runs counts what was started.
"""

from __future__ import annotations

import warnings
from datetime import timedelta
from importlib.util import find_spec
from typing import Any

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG

from airflow_durable.operators.trigger_dagrun import DurableRetriesWarning, TriggerDagRunOperator
from airflow_durable.operators.trigger_dagruns import TriggerDagRunsOperator

HAS_STORE = find_spec("airflow.models.task_state_store") is not None
"""The task state store (3.3): without it nobody can be asked for anything."""

FIXED_RUN_ID = "fixed"
FIXED_LOGICAL_DATE = "2026-01-02T03:04:05+00:00"

FIXED: dict[str, Any] = {"trigger_run_id": FIXED_RUN_ID}
DEFERRABLE: dict[str, Any] = {"deferrable": True}
FIRE_AND_FORGET: dict[str, Any] = {"wait_for_completion": False}

RESUMING: dict[str, Any] = {"on_child_failure": "resume"} if HAS_STORE else {}
ENDING: dict[str, Any] = {"on_parent_end": "cancel", "retries": 0} if HAS_STORE else {}

SCENARIOS: dict[str, dict[str, Any]] = {
    "killed_while_waiting": {},
    "supervisor_killed": {},
    "killed_before_reply": {},
    "killed_before_request": {},
    "killed_twice": {},
    "killed_after_consumption": {},
    "killed_before_success": {},
    "reply_lost": {},
    "child_finished": {},
    "child_failed": {},
    "child_deleted": {},
    "child_deleted_while_waiting": {},
    "fixed_id": FIXED,
    "fixed_id_before_reply": FIXED,
    "fixed_date": {"logical_date": FIXED_LOGICAL_DATE},
    "fixed_id_skip": {**FIXED, "skip_when_already_exists": True},
    "fixed_id_reset": {**FIXED, "reset_dag_run": True},
    "fixed_id_reset_before_reply": {**FIXED, "reset_dag_run": True},
    "foreign": FIXED,
    "foreign_skip": {**FIXED, "skip_when_already_exists": True},
    "fire_and_forget": FIRE_AND_FORGET,
    "deferred": DEFERRABLE,
    "killed_before_deferral": DEFERRABLE,
    "deferred_child_deleted": DEFERRABLE,
    "deferred_child_failed": DEFERRABLE,
    "deferred_triggerer_killed": DEFERRABLE,
    "clear_after_success": {},
    "clear_child_running": {"retries": 0},
    "clear_child_done": {"retries": 0},
    "clear_running": {},
    "clear_other_request": {"retries": 0, "conf": {"try": "{{ ti.try_number }}"}},
    "clear_parent_run": {},
    "delete_parent_run": {"retries": 0},
    "marked_success": {},
    "marked_failed": {},
    "marked_deferred": DEFERRABLE,
    "child_cleared": {},
    "child_failed_and_cleared": {"retries": 0},
    "execution_timeout": {"execution_timeout": timedelta(seconds=20)},
    "partition": {},
    "superseded_before_record": {},
    "superseded_before_request": {},
    "server_away": {},
    "connection_broken": {},
    "record_damaged": {"retries": 1},
    "journal_away": {},
    "resumed": RESUMING,
    "resumed_deferred": {**RESUMING, **DEFERRABLE},
    "ended_with_failed": ENDING,
    "ended_with_marked_failed": ENDING,
    "ended_with_marked_success": {**ENDING, **DEFERRABLE},
    "ended_with_run": {**ENDING, "retries": 3},
    "kept_by_retry": {**ENDING, "retries": 3},
    "kept_by_clear": ENDING,
    "kept_by_termination": {**ENDING, "retries": 3},
    "reconciler_killed": ENDING,
    "reconciler_killed_resumed": RESUMING,
    "stock": {"durable": False},
    "stock_fixed_id": {**FIXED, "durable": False},
}

DEFAULTS: dict[str, Any] = {
    "durable": True,
    "wait_for_completion": True,
    "poke_interval": 2,
    "retries": 3,
    "retry_delay": timedelta(seconds=1),
}


def make_child(name: str) -> None:
    """Make the child Dag of a scenario."""
    with DAG(f"{name}_child", schedule=None, catchup=False, is_paused_upon_creation=True):
        EmptyOperator(task_id="work")


for name, given in SCENARIOS.items():
    make_child(name)
    with DAG(f"{name}_parent", schedule=None, catchup=False), warnings.catch_warnings():
        # Without retries is what the clear of a crashed parent is about.
        warnings.simplefilter("ignore", DurableRetriesWarning)
        TriggerDagRunOperator(task_id="run_child", trigger_dag_id=f"{name}_child", **{**DEFAULTS, **given})

for name, given in {"items_resumed": {**RESUMING, "retries": 5}, "items_ended": {"retries": 1, **ENDING}}.items():
    make_child(name)
    with DAG(f"{name}_parent", schedule=None, catchup=False), warnings.catch_warnings():
        warnings.simplefilter("ignore", DurableRetriesWarning)
        TriggerDagRunsOperator(
            task_id="run_child",
            trigger_dag_id=f"{name}_child",
            items=[{"part": part} for part in range(3)],
            key="part",
            poke_interval=2,
            retry_delay=timedelta(seconds=1),
            **given,
        )

make_child("mapped")
with DAG("mapped_parent", schedule=None, catchup=False):
    TriggerDagRunOperator.partial(task_id="run_child", trigger_dag_id="mapped_child", **DEFAULTS).expand(
        conf=[{"part": part} for part in range(3)]
    )
