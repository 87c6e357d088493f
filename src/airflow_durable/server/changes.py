"""
What can be done to a Dag run, with Airflow's own functions: end it, let it resume, start it over.

All of it in the caller's transaction, which has locked the run's row first (:func:`lock_run`). None of Airflow's
functions commits where it is given a session (3.3 and 3.4: ``api/common/mark_tasks.py``,
``serialization/definitions/dag.py``, ``models/taskinstance.py``).
"""

from __future__ import annotations

import contextlib
import json
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from airflow.api.common.mark_tasks import set_dag_run_state_to_failed
from airflow.models import taskinstance
from airflow.models.dag import DagModel
from airflow.models.dagbag import DBDagBag
from airflow.models.dagrun import DagRun
from airflow.models.log import Log
from airflow.models.taskinstance import TaskInstance
from airflow.utils.state import DagRunState, TaskInstanceState

from airflow_durable.metadata.reads import Reads
from airflow_durable.metadata.tables import load_tables
from airflow_durable.metadata.values import as_utc
from airflow_durable.server.skips import decided_skips, is_decided

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sqlalchemy.orm import Session

log = logging.getLogger("airflow_durable.reconciler")

OWNER = "airflow-durable"
"""Who did it, in the audit log, where no person did."""


LOCK_TIMEOUT_SECONDS = 5.0


class DagUnknownError(Exception):
    """Airflow has no serialized form of the run's Dag any more, so nothing can be done to its tasks."""


class DagBrokenError(Exception):
    """Airflow starts no run of this Dag now: it is in no Dag file, or has import errors."""


@dataclass(frozen=True)
class Changed:
    """
    What was done to a run.

    :param run: None: tasks alone were changed.
    :param count: how many task instances were changed. 0: nothing was done.
    :param killed: task instances that were ended while they ran, for the listeners.
    """

    run: Any
    dag: Any
    count: int
    killed: tuple[Any, ...] = ()


def lock_run(
    session: Session, row_id: int, state: str, clear_number: int, timeout_seconds: float = LOCK_TIMEOUT_SECONDS
) -> bool:
    """
    Lock a Dag run's row until the transaction ends; return whether it is in that state, and was cleared so often.

    It has to come first in the transaction: SQLite's only lock is taken by a write, and after a read it may be refused.
    On PostgreSQL no lock is waited for longer than the timeout, in this transaction.
    """
    if session.get_bind().dialect.name == "postgresql":
        session.execute(sa.text(f"SET LOCAL lock_timeout = {round(1000 * timeout_seconds)}"))
    run = load_tables().dag_run
    condition = sa.and_(run.c.id == row_id, run.c.state == state, run.c.clear_number == clear_number)
    result: Any = session.execute(sa.update(run).where(condition).values(clear_number=run.c.clear_number))
    return bool(result.rowcount)


def end_run(session: Session, dag_id: str, run_id: str) -> Changed:
    """
    Mark a run as failed, as Airflow's "mark as failed" does: its running tasks fail, those that wait are skipped.

    Its teardowns still run, and while one of them does, the run is not failed yet: then a second call changes nothing.

    :raises DagUnknownError: see there.
    """
    run, dag = _load(session, dag_id, run_id)
    before = run.state
    updated, killed = _pair(set_dag_run_state_to_failed(dag=dag, run_id=run_id, commit=True, session=session))
    session.flush()
    session.refresh(run)
    count = max(len(updated), int(run.state != before))
    return Changed(run, dag, count, tuple(killed))


def resume_run(session: Session, dag_id: str, run_id: str) -> Changed:
    """
    Let a failed run continue from where it failed.

    Cleared are its failed and upstream_failed tasks, those that were skipped without having begun (when a run is marked
    as failed or times out, that is what becomes of all tasks that wait), and the setups and teardowns of these. A task
    that has succeeded, has skipped itself, or was skipped by a branch or a short circuit that has succeeded, is not
    done again. If there is nothing of that, the run is queued again, and ends as its tasks have ended.

    :raises DagUnknownError: see there.
    """
    run, dag = _load(session, dag_id, run_id)
    tis = resumable(session, dag, run)
    _clear(session, run, tis)
    return Changed(run, dag, max(1, len(tis)))


def reset_run(session: Session, dag_id: str, run_id: str) -> Changed:
    """
    Clear all of a run, as the stock operator's ``reset_dag_run`` does (``execution_api/routes/dag_runs.py``).

    :raises DagBrokenError: Airflow refuses that request then, too.
    :raises DagUnknownError: see there.
    """
    model = session.scalar(sa.select(DagModel).where(DagModel.dag_id == dag_id))
    if model is None or model.is_stale or model.has_import_errors:
        message = f"Airflow starts no run of {dag_id!r} now."
        raise DagBrokenError(message)
    run, dag = _load(session, dag_id, run_id)
    is_latest = _is_latest_wanted(session, dag_id)
    count = dag.clear(run_id=run_id, run_on_latest_version=is_latest, session=session)
    if not count:
        _clear(session, run, [])
    return Changed(run, dag, max(1, count))


def resumable(session: Session, dag: Any, run: Any) -> list[Any]:  # noqa: ANN401 - Airflow's
    """Return the task instances that a resume clears."""
    tis = list(
        session.scalars(
            sa.select(TaskInstance).where(TaskInstance.dag_id == run.dag_id, TaskInstance.run_id == run.run_id)
        )
    )
    failed = {TaskInstanceState.FAILED, TaskInstanceState.UPSTREAM_FAILED}
    decided = decided_skips(session, dag, tis)

    def is_skipped_with_the_run(ti: Any) -> bool:  # noqa: ANN401 - Airflow's
        return ti.state == TaskInstanceState.SKIPPED and not is_decided(decided, ti) and not _has_begun(session, ti)

    chosen = [ti for ti in tis if ti.state in failed or is_skipped_with_the_run(ti)]
    task_ids = {ti.task_id for ti in chosen} & set(dag.task_dict)
    if not task_ids:
        return chosen
    # As SerializedDAG.clear does: what a task works with is set up again, and torn down again.
    subset = dag.partial_subset(task_ids=task_ids, include_downstream=False, include_upstream=False)
    around = set(subset.task_dict) - task_ids
    ids = {ti.id for ti in chosen}
    return [*chosen, *(ti for ti in tis if ti.task_id in around and ti.id not in ids)]


def write_audit_log(
    session: Session, event: str, run: Mapping[str, str], owner: str, details: Mapping[str, Any]
) -> None:
    """Add a row to Airflow's audit log, in this transaction."""
    session.add(Log(event=event, owner=owner, extra=json.dumps(details), dag_id=run["dag_id"], run_id=run["run_id"]))


def call_listeners(changed: Changed, text: str) -> None:
    """
    Call Airflow's listeners of a run that was ended, and of its tasks, after the commit.

    As ``core_api/services/public/dag_run.py`` does it (3.3, ``patch_dag_run_state``). A listener that fails is logged.
    """
    from airflow.listeners.listener import get_listener_manager

    hook = get_listener_manager().hook
    for ti in changed.killed:
        with _logged():
            hook.on_task_instance_failed(previous_state=None, task_instance=ti, error=text)
    if changed.run is None:
        return
    if changed.run.dag is None:
        changed.run.dag = changed.dag
    with _logged():
        hook.on_dag_run_failed(dag_run=changed.run, msg=text)


@contextlib.contextmanager
def _logged() -> Iterator[None]:
    try:
        yield
    except Exception:
        log.exception("A listener failed.")


def _load(session: Session, dag_id: str, run_id: str) -> tuple[Any, Any]:
    run = session.scalar(sa.select(DagRun).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id))
    dag = run and DBDagBag(load_op_links=False).get_dag_for_run(run, session=session)
    if dag is None:
        message = f"Airflow has no serialized Dag {dag_id!r} for this run."
        raise DagUnknownError(message)
    return run, dag


def _clear(session: Session, run: Any, tis: list[Any]) -> None:  # noqa: ANN401 - Airflow's
    is_latest = _is_latest_wanted(session, run.dag_id)
    if not tis:
        run.clear_number += 1
        run.state = DagRunState.QUEUED
        run.last_scheduling_decision = None
        run.start_date = None
    elif hasattr(taskinstance, "clear_task_instances_for_runs"):  # from 3.4
        taskinstance.clear_task_instances_for_runs(
            tis,
            session=session,
            dag_run_state=DagRunState.QUEUED,
            run_on_latest_version=is_latest,
            later_loop_iterations=False,
        )
    else:
        taskinstance.clear_task_instances(tis, session, run_on_latest_version=is_latest)
    session.flush()


def _is_latest_wanted(session: Session, dag_id: str) -> bool:
    """Return whether a cleared run is to go on with the Dag's latest version, as Airflow's own clear asks (3.3.2)."""
    from airflow.api_fastapi.common import dagbag

    resolve = getattr(dagbag, "resolve_run_on_latest_version", None)
    return bool(resolve(None, dag_id, session)) if resolve else False


def _has_begun(session: Session, ti: Any) -> bool:  # noqa: ANN401 - Airflow's
    """
    Return whether a skipped task instance has run in its present try.

    One that has not has no dates, or one date for both (``TaskInstance.set_state``), or those of the try before it.
    """
    start, end = as_utc(ti.start_date), as_utc(ti.end_date)
    if start is None or end is None or start >= end:
        return False
    earlier = load_tables().earlier
    key = earlier.key
    conditions = [key.dag_id == ti.dag_id, key.run_id == ti.run_id, key.task_id == ti.task_id]
    tries = Reads(load_tables(), session.execute).tries(earlier, *conditions)
    return all(one.start_date != start for one in tries)


def _pair(result: Any) -> tuple[list[Any], list[Any]]:  # noqa: ANN401 - differs by version
    """Return what was updated, and what of it was running; some 3.3 returns the first alone."""
    return result if isinstance(result, tuple) else (result, [])
