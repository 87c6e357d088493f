"""Starting many runs from one task: bare trigger requests in a loop, the operator for many, mapped stock operators."""

from __future__ import annotations

import os
import time
import uuid
from datetime import datetime, timedelta, timezone
from typing import Any

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator as StockTriggerDagRunOperator
from airflow.sdk import DAG, task

from airflow_durable.operators.trigger_dagruns import TriggerDagRunsOperator

MAPPED = [int(text) for text in os.environ.get("BENCH_MAPPED", "50").split(",") if text]

for name in ("bare", "many", *(f"mapped_{number}" for number in MAPPED)):
    # Paused: the runs stay queued, and nothing but their start takes time.
    with DAG(f"bench_many_child_{name}", schedule=None, catchup=False, is_paused_upon_creation=True):
        EmptyOperator(task_id="work")


def items_of(context: Any) -> list[dict[str, int]]:  # noqa: ANN401 - Airflow's context
    """Return as many items as the Dag run's conf says."""
    return [{"number": number} for number in range(context["dag_run"].conf["number"])]


@task
def trigger_bare(**context: Any) -> float:  # noqa: ANN401 - Airflow's context
    """Send the requests, and nothing else; return the seconds that it took."""
    from airflow.sdk.execution_time import task_runner
    from airflow.sdk.execution_time.comms import TriggerDagRun

    began = time.monotonic()
    for conf in items_of(context):
        message: Any = TriggerDagRun(
            dag_id="bench_many_child_bare",
            run_id=f"manual__{uuid.uuid4()}",
            logical_date=datetime.now(tz=timezone.utc),
            conf=conf,
        )
        task_runner.SUPERVISOR_COMMS.send(message)
    return time.monotonic() - began


class Timed(TriggerDagRunsOperator):
    """Returns the seconds that it took."""

    def execute(self, context: Any) -> Any:  # noqa: ANN401 - Airflow's context
        """Start the runs."""
        self.items = items_of(context)
        began = time.monotonic()
        super().execute(context)
        return time.monotonic() - began


with DAG("bench_many_bare", schedule=None, catchup=False):
    trigger_bare()

with DAG("bench_many_many", schedule=None, catchup=False):
    Timed(
        task_id="trigger",
        trigger_dag_id="bench_many_child_many",
        items=[],
        wait_for_completion=False,
        retries=2,
        retry_delay=timedelta(seconds=1),
    )

for number in MAPPED:
    with DAG(f"bench_many_mapped_{number}", schedule=None, catchup=False):
        StockTriggerDagRunOperator.partial(
            task_id="trigger",
            trigger_dag_id=f"bench_many_child_mapped_{number}",
            # Where many tasks start at once on a small machine, one may fail: one of 200 did.
            retries=2,
            retry_delay=timedelta(seconds=1),
        ).expand(conf=[{"number": index} for index in range(number)])
