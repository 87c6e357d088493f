"""What comes back from the supervisor: read into this package's own values, and what is none of them an error."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from airflow_durable.core.errors import LookUpFailedError
from airflow_durable.core.model import ChildRun

_NOTHING = object()


def read_run(dag_id: str, run_id: str, answer: Any, *, is_detailed: bool) -> ChildRun:  # noqa: ANN401 - as many types as there are answers
    """
    Return the Dag run of an answer to ``GetDagRunState``, or, with ``is_detailed``, to ``GetDagRun``.

    :raises LookUpFailedError: the answer is none of these; asking again does not help.
    """
    state = getattr(answer, "state", None)
    state = getattr(state, "value", state)
    if not isinstance(state, str):
        raise LookUpFailedError(dag_id, run_id, f"the answer {type(answer).__name__} has no state", is_transient=False)
    if not is_detailed:
        return ChildRun(state)
    clear_number = getattr(answer, "clear_number", _NOTHING)
    dates: list[Any] = [getattr(answer, name, _NOTHING) for name in ("logical_date", "run_after", "start_date")]
    if not isinstance(clear_number, int | None) or not all(isinstance(date, datetime | None) for date in dates):
        reason = f"the answer {type(answer).__name__} has no clear_number or dates"
        raise LookUpFailedError(dag_id, run_id, reason, is_transient=False)
    logical_date, run_after, started_at = dates
    return ChildRun(state, clear_number or 0, logical_date, run_after, started_at)


def read_count(dag_id: str, run_id: str, answer: Any) -> int:  # noqa: ANN401 - as above
    """
    Return the number of an answer to ``GetDRCount`` or ``GetTICount``.

    :raises LookUpFailedError: the answer has none; asking again does not help.
    """
    count = getattr(answer, "count", None)
    if not isinstance(count, int):
        raise LookUpFailedError(dag_id, run_id, f"the answer {type(answer).__name__} has no count", is_transient=False)
    return count


def are_task_states(states: Any) -> bool:  # noqa: ANN401 - as above
    """Return whether these are what ``GetTaskStates`` promises: for each run id the states by the names of tasks."""
    return isinstance(states, dict) and all(
        isinstance(tasks, dict) and all(isinstance(state, str | None) for state in tasks.values())
        for tasks in states.values()
    )
