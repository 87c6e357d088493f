"""What becomes of an item when its run has ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_durable.core.board import Status
from airflow_durable.core.model import ENDED_STATES, UNFINISHED_STATES, OnChildFailure

if TYPE_CHECKING:
    from airflow_durable.core.many_state import Many


def note_end(many: Many, index: int, state: str | None) -> None:
    """
    Take note of what became of an item's run.

    :param state: None: it does not exist any more.
    """
    board, request = many.board, many.goal.request
    status = board.status(index)
    has_ended = state is None or state not in UNFINISHED_STATES
    # Nobody can say of a state that this release does not know that it is the last one: none is started beside it.
    is_unknown = state is not None and state not in ENDED_STATES and not request.is_failure(state)
    if status is Status.WAITED_OUT and has_ended:
        if is_unknown:
            board.set(index, Status.FAILED)
        else:
            board.start_anew(index)
        board.by_clear.add(index)
    elif status is Status.ACTIVE and state is not None and request.is_success(state):
        board.set(index, Status.DONE)
    elif status is Status.ACTIVE and (state is None or has_ended or request.is_failure(state)):
        starts = board.starts.get(index, 1)
        if is_unknown or starts >= many.goal.child_tries:
            board.set(index, Status.MISSING if state is None else Status.FAILED)
            return
        board.starts[index] = starts + 1
        if state is None:
            board.set(index, Status.PENDING)
        elif request.on_child_failure is OnChildFailure.RESUME:
            board.set(index, Status.TO_RESUME)
        else:
            board.start_anew(index)
