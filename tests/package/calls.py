"""Calls of the operator that a type checker accepts, and calls that it rejects: those marked ``# wrong``."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

from airflow_durable import TriggerDagRunOperator
from airflow_durable.operators.trigger_dagrun import TriggerDagRunOperator as TheSame

NOW = datetime.now(tz=timezone.utc)

# Right.
TriggerDagRunOperator(task_id="parent", trigger_dag_id="child")
TriggerDagRunOperator(task_id="parent", trigger_dag_id="child", durable=True, retries=3, retry_delay=timedelta(0))
TriggerDagRunOperator(task_id="parent", trigger_dag_id="child", logical_date=NOW, run_after="{{ ts }}", note="why")
TriggerDagRunOperator(task_id="parent", trigger_dag_id="child", logical_date=None, allowed_states=["success"])
TriggerDagRunOperator(
    task_id="parent", trigger_dag_id="child", conf={"rows": [1, 2]}, wait_for_completion=True, deferrable=True
)
TheSame(task_id="parent", trigger_dag_id="child").durable.bit_count()
TriggerDagRunOperator.partial(task_id="parent", durable=True).expand(trigger_dag_id=["a", "b"])


class Subclass(TriggerDagRunOperator):
    """Adds a parameter of its own, and hands on the others."""

    def __init__(self, *, region: str, **kwargs: Any) -> None:  # noqa: ANN401 - as people write it
        super().__init__(trigger_dag_id=f"child_{region}", durable=True, **kwargs)


Subclass(task_id="parent", region="north")

# Wrong.
TriggerDagRunOperator(task_id="parent")  # wrong
TriggerDagRunOperator("parent", trigger_dag_id="child")  # wrong
TriggerDagRunOperator(task_id="parent", trigger_dag_id=3)  # wrong
TriggerDagRunOperator(task_id="parent", trigger_dag_id="child", durable="yes")  # wrong
TriggerDagRunOperator(task_id="parent", trigger_dag_id="child", conf="rows")  # wrong
TriggerDagRunOperator(task_id="parent", trigger_dag_id="child", poke_interval="60")  # wrong
TriggerDagRunOperator(task_id="parent", trigger_dag_id="child", logical_date=3)  # wrong
TriggerDagRunOperator(task_id="parent", trigger_dag_id="child", run_after=3)  # wrong
TriggerDagRunOperator(task_id="parent", trigger_dag_id="child", allowed_states="success")  # wrong
TriggerDagRunOperator(task_id="parent", trigger_dag_id="child", wait_for_completion="no")  # wrong
TheSame(task_id="parent", trigger_dag_id="child", note=3)  # wrong
Subclass(task_id="parent", region=3)  # wrong
