"""
The parents and children of the chaos run: a pair of Dags for each kind (durable, stock) and mode.

Most children are paused: their runs stay queued, which is an active state, until the run marks them over the public
API. That costs no process, so that the faults meet many parents. The children of the mode ``wait_working`` are run by
the scheduler.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator as StockTriggerDagRunOperator
from airflow.sdk import DAG, get_parsing_context, task

from airflow_durable.operators.trigger_dagrun import TriggerDagRunOperator
from airflow_durable.operators.trigger_dagruns import TriggerDagRunsOperator
from tests.chaos.modes import KINDS, MAPPED_COUNT, MODES, TASK_ID, Mode, name_child, name_parent

RETRIES = 60
"""More than the faults of a run could use up: a parent that has none left would end wrong for no fault of its own."""

RETRIED: dict[str, Any] = {"retries": RETRIES, "retry_delay": timedelta(seconds=1)}


def make_child(kind: str, name: str) -> None:
    """Make the children's Dag of a kind and mode."""
    with DAG(name_child(kind, name), schedule=None, catchup=False, is_paused_upon_creation=not MODES[name].is_working):
        EmptyOperator(task_id="work")


def make_parent(kind: str, name: str) -> None:
    """Make the parents' Dag of a kind and mode."""
    mode = MODES[name]
    is_switched = mode.is_switched and kind == "durable"
    operator: Any = StockTriggerDagRunOperator if is_switched else TriggerDagRunOperator
    own = {
        "trigger_dag_id": name_child(kind, name),
        **({} if is_switched else {"durable": kind == "durable"}),
        "wait_for_completion": True,
        "poke_interval": 4,
        **mode.arguments,
    }
    arguments = {"task_id": TASK_ID, **RETRIED, **own}
    with DAG(name_parent(kind, name), schedule=None, catchup=False):
        if mode.is_many:
            make_many(kind, mode, own)
        elif mode.parts > 1:
            make_calls(mode.parts, own)
        elif mode.is_mapped:
            confs = [{"parent": "{{ run_id }}", "map_index": index} for index in range(MAPPED_COUNT)]
            operator.partial(**arguments).expand(conf=confs)
        else:
            operator(**arguments, conf={"parent": "{{ run_id }}", "map_index": -1})


def make_many(kind: str, mode: Mode, arguments: dict[str, Any]) -> None:
    """Make a task with a child for each of several items; of the stock operator, a task that is mapped over them."""
    if kind == "durable":
        given = {name: value for name, value in arguments.items() if name != "durable"}
        items = [{"parent": "{{ run_id }}", "map_index": -1, "part": part} for part in range(mode.parts)]
        TriggerDagRunsOperator(task_id=TASK_ID, items=items, **RETRIED, **given)
        return
    alike = {name: value for name, value in arguments.items() if name not in {"child_tries", "max_active"}}
    confs = [{"parent": "{{ run_id }}", "map_index": index} for index in range(mode.parts)]
    TriggerDagRunOperator.partial(task_id=TASK_ID, **RETRIED, **alike).expand(conf=confs)


def make_calls(parts: int, arguments: dict[str, Any]) -> None:
    """Make a task that starts several children, one after the other."""

    @task(task_id=TASK_ID, **RETRIED)
    def launch(**given: Any) -> None:  # noqa: ANN401 - Airflow's context
        context: Any = given
        for part in range(parts):
            conf = {"parent": given["run_id"], "map_index": -1, "part": part}
            TriggerDagRunOperator(task_id="call", conf=conf, **arguments).execute(context)

    launch()


wanted = get_parsing_context().dag_id
for kind in KINDS:
    for name in MODES:
        # A task process asks for its own Dag; it starts sooner without the others.
        if wanted in {None, name_child(kind, name)}:
            make_child(kind, name)
        if wanted in {None, name_parent(kind, name)}:
            make_parent(kind, name)
