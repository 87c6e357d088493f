"""What a task asks about Dag runs and their tasks, and the values that these have returned."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow_durable.core.errors import LookUpFailedError
from airflow_durable.task_sdk.answers import are_task_states, read_count, read_run
from airflow_durable.task_sdk.channel import Failure, ask, send

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from airflow_durable.core.model import ChildRun


def look_up(
    dag_id: str,
    run_id: str,
    *,
    is_detailed: bool,
    is_same_request: Callable[[str, Any, str | None], bool] | None = None,
) -> ChildRun | None:
    """
    Return the Dag run, None if there is none.

    There is no public call for it: ``RuntimeTaskInstance.get_dagrun_state`` gives the state alone. ``GetDagRun`` exists
    from 3.2, in a task only (``sdk/execution_time/comms.py``).

    :param is_same_request: says whether a run of this Dag with this conf and partition key carries the request of the
        present try. The conf goes no further.
    :raises LookUpFailedError: with ``is_transient`` where the same look-up may succeed later.
    """
    from airflow.sdk.execution_time import comms

    message_type = comms.GetDagRun if is_detailed else comms.GetDagRunState
    answer = send(message_type(dag_id=dag_id, run_id=run_id))
    if isinstance(answer, Failure):
        if answer.is_missing:
            return None
        raise LookUpFailedError(dag_id, run_id, answer.said, is_transient=answer.is_transient)
    run = read_run(dag_id, run_id, answer, is_detailed=is_detailed)
    if not is_detailed or is_same_request is None:
        return run
    conf, partition_key = getattr(answer, "conf", None), getattr(answer, "partition_key", None)
    return replace(run, is_same_request=is_same_request(dag_id, conf, partition_key))


def count(dag_id: str, run_ids: Sequence[str], states: Sequence[str] | None) -> int:
    """
    Return how many of these Dag runs exist.

    ``RuntimeTaskInstance.get_dr_count`` sends the same message (3.0 to 3.4), but does not read an error.

    :param states: count only those in one of these states.
    :raises LookUpFailedError: with ``is_transient`` where the same count may succeed later.
    """
    from airflow.sdk.execution_time.comms import GetDRCount

    wanted = None if states is None else list(states)
    answer = send(GetDRCount(dag_id=dag_id, run_ids=list(run_ids), states=wanted))
    if isinstance(answer, Failure):
        raise LookUpFailedError(dag_id, run_ids[0], answer.said, is_transient=answer.is_transient)
    return read_count(dag_id, run_ids[0], answer)


def task_ended_at(dag_id: str, run_id: str, task_id: str, logical_date: datetime) -> datetime | None:
    """
    Return when a task of this very Dag run ended last; None if that cannot be known.

    Nothing says that of a task. ``GetPreviousTI`` (3.2 and later) gives the newest task instance of a Dag run before
    a logical date, so it is asked for what is before the moment after this one
    (``execution_api/routes/task_instances.py``, ``get_previous_task_instance``). Of a mapped task the first part
    counts.

    :param logical_date: of the Dag run.
    """
    from airflow.sdk.execution_time import comms

    if not hasattr(comms, "GetPreviousTI"):
        return None
    just_after = logical_date + timedelta(microseconds=1)
    for map_index in (-1, 0):
        message = comms.GetPreviousTI(dag_id=dag_id, task_id=task_id, logical_date=just_after, map_index=map_index)
        found = getattr(send(message), "task_instance", None)
        if found is not None and found.run_id == run_id:
            ended: datetime | None = found.end_date or found.start_date
            return ended
    return None


def task_states(dag_id: str, run_id: str, task_ids: Sequence[str] | None = None) -> dict[str, str | None]:
    """
    Return the states of the tasks of a Dag run by their names; None is the state of one yet to be scheduled.

    A part of a mapped task is named by the task's id, an underscore and its map index.

    :param task_ids: these tasks alone.
    :raises LookUpFailedError: with ``is_transient`` where the same request may succeed later.
    """
    from airflow.sdk.execution_time.comms import GetTaskStates

    wanted = None if task_ids is None else list(task_ids)
    answer = send(GetTaskStates(dag_id=dag_id, run_ids=[run_id], task_ids=wanted))
    if isinstance(answer, Failure):
        raise LookUpFailedError(dag_id, run_id, answer.said, is_transient=answer.is_transient)
    states: Any = getattr(answer, "task_states", None)
    if not are_task_states(states):
        reason = f"the answer {type(answer).__name__} has no task states"
        raise LookUpFailedError(dag_id, run_id, reason, is_transient=False)
    return dict(states.get(run_id, {}))


def failed_tasks(dag_id: str, run_id: str) -> list[tuple[str, int]]:
    """
    Return the failed tasks of a Dag run, each with its map index (-1: not mapped); empty: it cannot be known.

    ``GetTaskBreadcrumbs`` (3.2 and later). Goes with 3.1.
    """
    from airflow.sdk.execution_time import comms

    if not hasattr(comms, "GetTaskBreadcrumbs"):
        return []
    answer = send(comms.GetTaskBreadcrumbs(dag_id=dag_id, run_id=run_id))
    crumbs = getattr(answer, "breadcrumbs", None) or []
    return [
        (str(crumb.get("task_id")), int(crumb.get("map_index", -1)))
        for crumb in crumbs
        if str(crumb.get("state")) == "failed"
    ]


def try_number_of(dag_id: str, run_id: str, task_id: str, map_index: int, logical_date: datetime) -> int | None:
    """
    Return how often a task of a Dag run was tried; None if that cannot be known.

    By ``GetPreviousTI``, as in :func:`task_ended_at`.

    :param logical_date: of the Dag run.
    """
    from airflow.sdk.execution_time import comms

    if not hasattr(comms, "GetPreviousTI"):
        return None
    just_after = logical_date + timedelta(microseconds=1)
    message = comms.GetPreviousTI(dag_id=dag_id, task_id=task_id, logical_date=just_after, map_index=map_index)
    found = getattr(send(message), "task_instance", None)
    return found.try_number if found is not None and found.run_id == run_id else None


def return_value(dag_id: str, run_id: str, task_id: str, *, is_mapped: bool) -> Any:  # noqa: ANN401 - the user's
    """
    Return what a task of another Dag run has returned; a list, in the order of the map indexes, for a mapped one.

    It goes through the deployment's XCom backend. None: it has returned nothing.

    :returns: a :class:`Failure` where it cannot be read.
    """
    from airflow.sdk.execution_time.xcom import XCom

    of_task: dict[str, Any] = {"key": "return_value", "dag_id": dag_id, "run_id": run_id, "task_id": task_id}
    if is_mapped:
        return ask(lambda: XCom.get_all(**of_task))
    return ask(lambda: XCom.get_one(**of_task))


def why_queued(dag_id: str) -> str | None:
    """Return why a run of the Dag may be queued, as far as a task can know (3.2 and later: ``GetDag``)."""
    from airflow.sdk.execution_time import comms

    if not hasattr(comms, "GetDag"):
        return None
    is_paused = getattr(send(comms.GetDag(dag_id=dag_id)), "is_paused", None)
    if is_paused is None:
        return None
    return "its Dag is paused" if is_paused else "it is behind max_active_runs, or the scheduler has not got to it yet"
