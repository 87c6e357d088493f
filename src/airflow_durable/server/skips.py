"""
What tasks of a run have decided to skip: a branch that was not taken, what a short circuit has cut off.

Airflow asks for such a decision again when a cleared task is scheduled, but only that of a direct upstream task
(``ti_deps/deps/not_previously_skipped_dep.py``, 3.3.2). A short circuit skips everything downstream. So what lies
further down must not be cleared: with ``trigger_rule="none_failed"``, for example, it would run.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from airflow.utils.state import TaskInstanceState

from airflow_durable.metadata.reads import Reads
from airflow_durable.metadata.tables import load_tables

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy.orm import Session

XCOM = "skipmixin_key"
"""The key under which a branch or a short circuit leaves its decision (``SkipMixin`` of the standard provider)."""

ALL_INDICES = -1


def decided_skips(session: Session, dag: Any, tis: Iterable[Any]) -> set[tuple[str, int]]:  # noqa: ANN401 - Airflow's
    """
    Return what successful tasks of a run have decided to skip, as pairs of task id and map index.

    :param dag: the serialized Dag.
    :param tis: all task instances of one run.
    """
    done = [ti for ti in tis if ti.state == TaskInstanceState.SUCCESS]
    deciding = {ti.task_id for ti in done if getattr(dag.task_dict.get(ti.task_id), "inherits_from_skipmixin", False)}
    if not deciding:
        return set()
    (dag_id, run_id), reads = (done[0].dag_id, done[0].run_id), Reads(load_tables(), session.execute)
    instances = {(ti.task_id, ti.map_index) for ti in done}
    return {
        (skipped, key.map_index)
        for task_id in deciding
        for key, _, value in reads.xcoms([XCOM], dag_id, task_id, [run_id])
        if (task_id, key.map_index) in instances
        for skipped in _skipped(value, dag.task_dict[task_id].downstream_task_ids)
    }


def is_decided(decided: set[tuple[str, int]], ti: Any) -> bool:  # noqa: ANN401 - Airflow's
    """Return whether a task instance is among what was decided to be skipped."""
    return bool({(ti.task_id, ti.map_index), (ti.task_id, ALL_INDICES)} & decided)


def _skipped(value: Any, downstream: Iterable[str]) -> set[str]:  # noqa: ANN401 - what a task has stored
    """Return the tasks that a stored decision skips; what is no decision skips none."""
    try:
        decision = json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return set()
    if not isinstance(decision, dict):
        return set()
    if "followed" in decision:
        followed = _task_ids(decision["followed"])
        return set() if followed is None else set(downstream) - followed
    return _task_ids(decision.get("skipped")) or set()


def _task_ids(stored: Any) -> set[str] | None:  # noqa: ANN401 - what a task has stored
    # Airflow stores a set or a tuple as a dict that has its items under this key.
    items = stored.get("__data__") if isinstance(stored, dict) else stored
    if not isinstance(items, list):
        return None
    return {item for item in items if isinstance(item, str)}
