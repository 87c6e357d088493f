"""
The parents and children of the scenarios about lost work: those that need more than one operator with parameters.

As in ``scenarios.py`` the children are paused: their runs stay queued until the test marks them.
"""

from __future__ import annotations

import warnings
from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, task

from airflow_durable.operators.trigger_dagrun import DurableRetriesWarning, TriggerDagRunOperator

FIXED_LOGICAL_DATE = "2026-01-02T03:04:05+00:00"
PARTS = 3

DEFAULTS: dict[str, Any] = {"durable": True, "wait_for_completion": True, "poke_interval": 2}
RETRIED: dict[str, Any] = {**DEFAULTS, "retries": 3, "retry_delay": timedelta(seconds=1)}


def make_child(name: str) -> str:
    """Make the child Dag of a scenario."""
    with DAG(f"{name}_child", schedule=None, catchup=False, is_paused_upon_creation=True):
        EmptyOperator(task_id="work")
    return f"{name}_child"


# Six parents that ask for one run, each with a conf of its own.
BY_DATE: dict[str, Any] = {**RETRIED, "logical_date": FIXED_LOGICAL_DATE}
CONTENDED: dict[str, dict[str, Any]] = {
    "contended_date": BY_DATE,
    "contended_date_deferred": {**BY_DATE, "deferrable": True},
    "contended_date_skip": {**BY_DATE, "skip_when_already_exists": True},
    "contended_id": {**RETRIED, "trigger_run_id": "shared"},
}
for name, given in CONTENDED.items():
    child = make_child(name)
    with DAG(f"{name}_parent", schedule=None, catchup=False):
        TriggerDagRunOperator.partial(task_id="run_child", trigger_dag_id=child, **given).expand(
            conf=[{"part": part} for part in range(6)]
        )


# Several calls in one task.
for name in ("calls_in_a_task", "calls_killed_between"):
    child = make_child(name)
    with DAG(f"{name}_parent", schedule=None, catchup=False):

        @task(task_id="run_child", retries=3, retry_delay=timedelta(seconds=1))
        def launch(child: str = child, **given: Any) -> None:  # noqa: ANN401 - Airflow's context
            """Start one child after the other."""
            context: Any = given
            for part in range(PARTS):
                TriggerDagRunOperator(task_id="call", trigger_dag_id=child, conf={"part": part}, **DEFAULTS).execute(
                    context
                )

        launch()


class Launcher(TriggerDagRunOperator):
    """Starts one child after the other."""

    def execute(self, context: Any) -> None:  # noqa: ANN401 - Airflow's context
        """Call the operator several times."""
        for part in range(PARTS):
            self.conf = {"part": part}
            super().execute(context)


with DAG("calls_in_a_subclass_parent", schedule=None, catchup=False):
    Launcher(task_id="run_child", trigger_dag_id=make_child("calls_in_a_subclass"), **RETRIED)


# A template that names no Dag at first.
with DAG("refusal_corrected_parent", schedule=None, catchup=False):
    TriggerDagRunOperator(
        task_id="run_child",
        trigger_dag_id=f"{{{{ 'nowhere' if ti.try_number == 1 else '{make_child('refusal_corrected')}' }}}}",
        **RETRIED,
    )


class WithHook(TriggerDagRunOperator):
    """Does something of its own when the child has ended."""

    def execute_complete(self, context: Any, event: Any) -> str:  # noqa: ANN401 - Airflow's
        """Fail in the first try, after the child's outcome was taken."""
        super().execute_complete(context, event)
        if context["ti"].try_number == 1:
            message = "the hook fails"
            raise RuntimeError(message)
        return "done"


with DAG("hook_fails_parent", schedule=None, catchup=False):
    WithHook(task_id="run_child", trigger_dag_id=make_child("hook_fails"), deferrable=True, **RETRIED)


with warnings.catch_warnings():
    # Without retries is what the clear of a crashed parent is about.
    warnings.simplefilter("ignore", DurableRetriesWarning)

    CLEARED: dict[str, dict[str, Any]] = {
        "record_discarded": {},
        "record_discarded_child_done": {},
        "clear_adopts_anyway": {"conf": {"try": "{{ ti.try_number }}"}, "on_clear": "adopt"},
        "clear_starts_fresh": {"on_clear": "fresh"},
        "fixed_id_used_up": {"trigger_run_id": "fixed"},
    }
    for name, given in CLEARED.items():
        child = make_child(name)
        with DAG(f"{name}_parent", schedule=None, catchup=False):
            TriggerDagRunOperator(task_id="run_child", trigger_dag_id=child, **{**DEFAULTS, **given})

    # Something upstream, which Clear Run runs again.
    with DAG("upstream_ran_again_parent", schedule=None, catchup=False):

        @task
        def prepare() -> None:
            """Run in a worker: an empty task would have no dates of its own."""

        prepare() >> TriggerDagRunOperator(
            task_id="run_child", trigger_dag_id=make_child("upstream_ran_again"), **DEFAULTS
        )
