"""
``start_timeout`` of items: how long a run may be queued before its item counts as failed.

A count says which runs are queued, and costs one request for some hundred of them. It says neither when a run left the
queue nor whether a task of it has begun: for that each run would have to be looked up. So an item begins in time when
its run leaves the queue in time.

The clock of a run starts when this try asked for it, or found it. It is kept on the board, and so survives a deferral.
A run that has left the queue is not asked about again. So each run is in one check, whatever the number of checks.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from airflow_durable.core.board import Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from airflow_durable.core.many_state import Many

SHARE = 8
"""A timeout is seen up to an eighth of it late: what was asked for within that time is checked together."""


def begin_clock(many: Many, index: int) -> None:
    """Note that an item's run may be queued from now on."""
    limit = many.goal.request.start_timeout_seconds
    if limit is not None:
        step = limit / SHARE
        many.board.queued_since[index] = math.ceil(many.port.now().timestamp() / step) * step


def due_at(many: Many) -> float | None:
    """Return when a run can be overdue for the first time, in seconds since 1970; None: none can."""
    limit = many.goal.request.start_timeout_seconds
    return None if limit is None else min((since + limit for since in many.board.queued_since.values()), default=None)


def check_starts(many: Many) -> None:
    """
    Find the runs that have not left the queue in time. Their items count as failed from here on, in this try.

    Nothing is written, and nothing is done to the runs: a later try finds them active, adopts them, and starts none
    beside them. Crash anywhere: that try begins to measure anew.
    """
    limit, board, now = many.goal.request.start_timeout_seconds, many.board, many.port.now().timestamp()
    if limit is None:
        return
    late = sorted(index for index, since in board.queued_since.items() if since + limit <= now)
    note_overdue(many, late, ["queued"])
    for index in late:
        board.queued_since.pop(index, None)


def note_overdue(many: Many, indices: Iterable[int], states: Sequence[str]) -> None:
    """Let those of these items count as failed whose run is in one of these states."""
    by_generation: dict[int, list[int]] = {}
    for index in indices:
        by_generation.setdefault(many.board.generation(index), []).append(index)
    for generation, members in by_generation.items():
        for index in many.survey(generation).find(members, states):
            many.board.set(index, Status.OVERDUE)
