"""
Lays deferred waits into a metadata database, as Airflow would have stored them: parents, their children, triggers.

Runs in a process of its own, in the scratch Airflow's environment: ``python -m bench.lay '{"kind": ...}'``.
Airflow's own table definitions give the defaults, so that one text serves every supported version.
"""

from __future__ import annotations

import json
import sys
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow.triggers.base import BaseTrigger

PARENT_DAG = "bench_parent"
CHILD_DAG = "bench_child"
CHILD_TASKS = {
    "few": [("extract", -1), ("transform", -1), ("load", -1)],
    "many": [*((f"step_{number}", -1) for number in range(8)), *(("mapped", part) for part in range(6)), ("load", -1)],
    "none": [],
}
"""Tasks and map indexes. The last one of them runs, and the others have succeeded."""
ROWS_A_STATEMENT = 1000


def lay(  # noqa: PLR0913 - as many as a plan has
    *, kind: str, count: int, child_dags: int, child_tasks: str, poll_interval: float, first: int
) -> None:
    """
    Lay the waits.

    :param kind: ``stock`` or ``durable``: whose trigger waits.
    :param child_dags: over how many child Dags the children are spread.
    :param child_tasks: how many tasks a child has, a key of :data:`CHILD_TASKS`.
    :param poll_interval: of every wait, in seconds.
    :param first: the number of the first wait.
    """
    from airflow.models.dagrun import DagRun
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.trigger import Trigger
    from airflow.utils.session import create_session

    now = datetime.now(tz=timezone.utc)
    numbers = range(first, first + count)
    with create_session() as session:
        version_id = _dag_version(session)
        for part in _parts(numbers):
            rows = [
                _run(dag_id, run_id, now - timedelta(microseconds=number * 10), number)
                for number in part
                for dag_id, run_id in (
                    (PARENT_DAG, f"parent_{number}"),
                    (child_dag(number, child_dags), child_run(number)),
                )
            ]
            session.execute(DagRun.__table__.insert(), rows)
            triggers = [
                Trigger.from_object(_trigger(kind, child_dag(number, child_dags), child_run(number), poll_interval))
                for number in part
            ]
            session.add_all(triggers)
            session.flush()
            instances = [
                _parent(kind, number, trigger.id, version_id, now)
                for number, trigger in zip(part, triggers, strict=True)
            ]
            instances += [
                _child(child_dag(number, child_dags), child_run(number), task_id, version_id, now)
                | {"map_index": index}
                for number in part
                for task_id, index in CHILD_TASKS[child_tasks]
            ]
            session.execute(TaskInstance.__table__.insert(), instances)


def child_dag(number: int, child_dags: int) -> str:
    """Return the child Dag of a wait."""
    return CHILD_DAG if child_dags == 1 else f"{CHILD_DAG}_{number % child_dags}"


def child_run(number: int) -> str:
    """Return the child's run id of a wait, of the length and the characters of those that this package makes."""
    return f"manual__2026-11-26T03:00:00+00:00_{number:012d}"


def _parts(numbers: range) -> Iterator[range]:
    for start in range(0, len(numbers), ROWS_A_STATEMENT):
        yield numbers[start : start + ROWS_A_STATEMENT]


def _dag_version(session: Any) -> Any:  # noqa: ANN401 - Airflow's, untyped
    from airflow.models.dag_version import DagVersion

    version = DagVersion.get_latest_version(PARENT_DAG, session=session)
    if version is None:
        message = f"Dag {PARENT_DAG!r} has not been parsed."
        raise LookupError(message)
    return version.id


def _run(dag_id: str, run_id: str, date: datetime, number: int) -> dict[str, Any]:
    from airflow.utils.types import DagRunTriggeredByType

    return {
        "dag_id": dag_id,
        "run_id": run_id,
        "logical_date": date - timedelta(days=number % 97),
        "run_after": date,
        "queued_at": date,
        "start_date": date,
        "state": "running",
        "run_type": "manual",
        "triggered_by": DagRunTriggeredByType.OPERATOR,
        "log_template_id": 1,
    }


def _trigger(kind: str, dag_id: str, run_id: str, poll_interval: float) -> BaseTrigger:
    if kind == "stock":
        from airflow.providers.standard.triggers.external_task import DagStateTrigger
        from airflow.utils.state import DagRunState

        return DagStateTrigger(
            dag_id=dag_id,
            states=[DagRunState.SUCCESS, DagRunState.FAILED],
            run_ids=[run_id],
            poll_interval=poll_interval,
        )
    from airflow_durable.core.model import Decision, Mode, Proof
    from airflow_durable.core.record import Record, TryEntry
    from airflow_durable.core.stored import dump
    from airflow_durable.triggers.dag_run import DurableDagRunTrigger

    now = datetime.now(tz=timezone.utc)
    record = Record(
        dag_id=dag_id,
        run_id=run_id,
        proof=Proof.RUN_ID,
        logical_date=now,
        dates=(now,),
        mode=Mode.DEFER,
        max_tries=1,
        clear_number=0,
        tries=(TryEntry(1, Decision.FRESH_SUBMIT, run_id, now),),
    )
    return DurableDagRunTrigger(
        dag_id=dag_id,
        run_id=run_id,
        states=["failed", "success"],
        poll_interval=poll_interval,
        record=dump(record),
    )


def _parent(kind: str, number: int, trigger_id: int, version_id: object, now: datetime) -> dict[str, Any]:
    return {
        **_task_instance(PARENT_DAG, f"parent_{number}", kind, version_id, now),
        "state": "deferred",
        "operator": "TriggerDagRunOperator",
        "trigger_id": trigger_id,
        "next_method": "execute_complete",
    }


def _child(dag_id: str, run_id: str, task_id: str, version_id: object, now: datetime) -> dict[str, Any]:
    return {
        **_task_instance(dag_id, run_id, task_id, version_id, now),
        "state": "running" if task_id == "load" else "success",
        "operator": "EmptyOperator",
        "trigger_id": None,
        "next_method": None,
    }


def _task_instance(dag_id: str, run_id: str, task_id: str, version_id: object, now: datetime) -> dict[str, Any]:
    return {
        "task_id": task_id,
        "dag_id": dag_id,
        "run_id": run_id,
        "map_index": -1,
        "start_date": now,
        "try_number": 1,
        "max_tries": 1,
        "pool": "default_pool",
        "pool_slots": 1,
        "queue": "default",
        "priority_weight": 1,
        "dag_version_id": version_id,
    }


if __name__ == "__main__":
    lay(**json.loads(sys.argv[1]))
