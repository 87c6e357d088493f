"""The parents that ask for something of the child's life, and their children: see ``tests/chaos/life.py``."""

from __future__ import annotations

import contextlib
import os
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from airflow.exceptions import AirflowFailException
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, get_current_context, get_parsing_context, task

from airflow_durable.operators.trigger_dagrun import TriggerDagRunOperator
from tests.chaos.life import LIFE_MODES, PREFIX, WORK_URL_VARIABLE, LifeMode, Work
from tests.chaos.modes import TASK_ID

if TYPE_CHECKING:
    from collections.abc import Iterator

RETRIED: dict[str, Any] = {"retries": 60, "retry_delay": timedelta(seconds=1)}


def note(what: str) -> None:
    """Note in the database what this task does."""
    with open_work() as (connection, here):
        statement = "INSERT INTO chaos_work (dag_id, run_id, task_id, what) VALUES (:dag_id, :run_id, :task_id, :what)"
        connection.execute(sa.text(statement), {**here, "what": what})


def count_noted(what: str) -> int:
    """Return how often this task has done that in this run."""
    with open_work() as (connection, here):
        where = "dag_id = :dag_id AND run_id = :run_id AND task_id = :task_id AND what = :what"
        statement = f"SELECT count(*) FROM chaos_work WHERE {where}"  # noqa: S608 - constants
        return int(connection.scalar(sa.text(statement), {**here, "what": what}) or 0)


@contextlib.contextmanager
def open_work() -> Iterator[tuple[sa.Connection, dict[str, str]]]:
    """Open a transaction; yield it, and how this task is named there."""
    ti = get_current_context()["ti"]
    engine = sa.create_engine(os.environ[WORK_URL_VARIABLE], poolclass=sa.pool.NullPool)
    with engine.begin() as connection:
        yield connection, {"dag_id": ti.dag_id, "run_id": ti.run_id, "task_id": ti.task_id}


def make_working_child() -> None:
    """Make the tasks of a child that fails so often as its conf says, and then returns something."""

    @task(retries=60, retry_delay=timedelta(seconds=1))
    def extract() -> None:
        note("finished")

    @task(retries=60, retry_delay=timedelta(seconds=1))
    def load() -> dict[str, str]:
        context = get_current_context()
        conf = context["dag_run"].conf or {}
        if count_noted("failed") < int(conf["failures"]):
            note("failed")
            message = "As planned."
            raise AirflowFailException(message)
        note("finished")
        return {"parent": conf["parent"], "run_id": str(context["run_id"])}

    extract() >> load() >> EmptyOperator(task_id="after")


def make_hanging_child() -> None:
    """Make the task of a child that runs for a day, without a process."""

    @task(retries=9, retry_delay=timedelta(days=1))
    def hang() -> None:
        message = "As planned: it is retried tomorrow."
        raise RuntimeError(message)

    hang()


def make_child(name: str, mode: LifeMode) -> None:
    """Make the children's Dag of a mode."""
    is_paused = mode.work is Work.QUEUED
    with DAG(f"{PREFIX}{name}_child", schedule=None, catchup=False, is_paused_upon_creation=is_paused):
        if mode.work is Work.RESULT:
            make_working_child()
        elif mode.work is Work.HANGING:
            make_hanging_child()
        else:
            EmptyOperator(task_id="work")


def make_parent(name: str, mode: LifeMode) -> None:
    """Make the parents' Dag of a mode."""
    own = {
        "trigger_dag_id": f"{PREFIX}{name}_child",
        "durable": True,
        "wait_for_completion": True,
        "poke_interval": 3,
        **mode.arguments,
    }
    retried: dict[str, Any] = {**RETRIED, "retries": 0} if mode.is_last else RETRIED
    with DAG(f"{PREFIX}{name}", schedule=None, catchup=False):
        if mode.parts > 1:
            make_calls(mode.parts, own)
            return
        conf = {"parent": "{{ run_id }}", "failures": "{{ dag_run.conf['failures'] }}"}
        TriggerDagRunOperator(task_id=TASK_ID, conf=conf, **retried, **own)


def make_calls(parts: int, arguments: dict[str, Any]) -> None:
    """Make a task that starts several children, one after the other."""

    @task(task_id=TASK_ID, **RETRIED)
    def launch(**given: Any) -> None:  # noqa: ANN401 - Airflow's context
        context: Any = given
        for part in range(parts):
            conf = {"parent": given["run_id"], "part": part}
            TriggerDagRunOperator(task_id="call", conf=conf, **arguments).execute(context)

    launch()


wanted = get_parsing_context().dag_id
for name, mode in LIFE_MODES.items():
    # A task process asks for its own Dag; it starts sooner without the others.
    if wanted in {None, f"{PREFIX}{name}_child"}:
        make_child(name, mode)
    if wanted in {None, f"{PREFIX}{name}"}:
        make_parent(name, mode)
