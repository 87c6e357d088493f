"""
Parents that import only the stock operator: the lab's switch makes them durable. See ``tests/live/test_switch.py``.

A Dag with a name from ``TURNED`` has the tag that opts out for as long as the test keeps a file of its name: each
worker parses this file anew, so a try finds the switch as it is then.
"""

from __future__ import annotations

import os
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import DAG, TaskGroup

TURNED_OFF = Path(os.environ.get("AIRFLOW_HOME", ".")) / "turned_off"


class Executing(TriggerDagRunOperator):
    """Changes its request."""

    def execute(self, context: Any) -> Any:  # noqa: ANN401 - Airflow's
        """Execute."""
        self.conf = {"by": "theirs"}
        return super().execute(context)


class Completing(TriggerDagRunOperator):
    """Returns a value after a deferral."""

    def execute_complete(self, context: Any, event: Any) -> str:  # noqa: ANN401 - Airflow's
        """Complete."""
        super().execute_complete(context, event)
        return "theirs"


class Named:
    """Stands in front of the operator."""

    customer: str
    conf: Any

    def execute(self, context: Any) -> Any:  # noqa: ANN401 - Airflow's
        """Execute."""
        self.conf = {"customer": self.customer}
        return super().execute(context)  # type: ignore[misc] # the operator's


class Mixed(Named, TriggerDagRunOperator):
    """Has a mixin, and a parameter of its own."""

    def __init__(self, *, customer: str, **kwargs: Any) -> None:  # noqa: ANN401 - an operator's
        super().__init__(**kwargs)
        self.customer = customer


DEFAULTS: dict[str, Any] = {
    "wait_for_completion": True,
    "poke_interval": 2,
    "retries": 3,
    "retry_delay": timedelta(seconds=1),
}
DEFERRABLE: dict[str, Any] = {"deferrable": True}
OPERATORS: dict[str, tuple[type[TriggerDagRunOperator], dict[str, Any]]] = {
    "switched": (TriggerDagRunOperator, {}),
    "switched_deferred": (TriggerDagRunOperator, DEFERRABLE),
    "switched_without_retries": (TriggerDagRunOperator, {"retries": 0}),
    "switched_executing": (Executing, {}),
    "switched_completing": (Completing, DEFERRABLE),
    "switched_off_while_deferred": (TriggerDagRunOperator, DEFERRABLE),
    "switched_on_while_deferred": (TriggerDagRunOperator, DEFERRABLE),
    "stock_until_switched": (TriggerDagRunOperator, {}),
    "stock_excepted": (TriggerDagRunOperator, {}),
    "stock_by_policy": (TriggerDagRunOperator, {}),
}
# What a factory reads from somewhere, with the operator as a text.
GENERATED = {
    "switched_generated": {
        "operator": "airflow.providers.standard.operators.trigger_dagrun.TriggerDagRunOperator",
        "arguments": {**DEFAULTS, "wait_for_completion": False},
    }
}


def make_child(name: str) -> None:
    """Make the child Dag of a scenario."""
    with DAG(f"{name}_child", schedule=None, catchup=False, is_paused_upon_creation=True):
        EmptyOperator(task_id="work")


def make_parent(name: str) -> DAG:
    """Make the parent Dag of a scenario, without its task."""
    make_child(name)
    tags = ["not-durable"] if (TURNED_OFF / name).exists() else []
    return DAG(f"{name}_parent", schedule=None, catchup=False, tags=tags)


for name, (operator, given) in OPERATORS.items():
    with make_parent(name):
        operator(task_id="run_child", trigger_dag_id=f"{name}_child", **{**DEFAULTS, **given})

for name, described in GENERATED.items():
    module, _, class_name = str(described["operator"]).rpartition(".")
    with make_parent(name):
        arguments: Any = described["arguments"]
        getattr(import_module(module), class_name)(task_id="run_child", trigger_dag_id=f"{name}_child", **arguments)

with make_parent("switched_group"), TaskGroup("group", prefix_group_id=False):
    EmptyOperator(task_id="before") >> TriggerDagRunOperator(
        task_id="run_child", trigger_dag_id="switched_group_child", **DEFAULTS
    )

with make_parent("switched_mapped"):
    TriggerDagRunOperator.partial(task_id="run_child", trigger_dag_id="switched_mapped_child", **DEFAULTS).expand(
        conf=[{"part": part} for part in range(2)]
    )

with make_parent("switched_mixed"):
    Mixed.partial(task_id="run_child", trigger_dag_id="switched_mixed_child", **DEFAULTS).expand(customer=["a"])
