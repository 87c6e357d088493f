"""
Without a record: find the child of this parent by its possible run ids.

Airflow before 3.3 keeps no record; from 3.3 one can be lost: a person's clear discards it (3.4, by default), it is
deleted, expires, or is lost when a backup is restored; and an upgrade to 3.3 finds none. The run ids are computed from
the parent, so all candidates are known, and a count says whether one of them is active. That one must be found: a
second child must never be started beside it. Nobody can know whether an ended child's outcome was consumed before a
clear, so it is not taken then.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_durable.core import port as calls
from airflow_durable.core.model import UNFINISHED_STATES, Clear, Mode, OnClear
from airflow_durable.core.record import Record
from airflow_durable.core.run_ids import child_run_id, legacy_run_id
from airflow_durable.core.sending import most_generations

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_durable.core.model import Attempt, ChildRun, Request
    from airflow_durable.core.port import Port

COUNTED_AT_ONCE = 100
"""Run ids in one count: they travel in the address of the request, which servers limit (to 64 KiB in h11)."""


@dataclass(frozen=True)
class Candidate:
    """A run id that a child of this parent can have."""

    run_id: str
    epoch: int
    generation: int


@dataclass(frozen=True)
class Recovered:
    """
    What was found.

    :param clear: None: the run was started since the latest clear, by a try that this one continues.
    """

    record: Record
    seen: ChildRun
    clear: Clear | None


def recover(port: Port, request: Request, attempt: Attempt) -> Recovered | None:
    """
    Return the child that an earlier try started, None if there is none.

    :raises LookUpFailedError: it cannot be known.
    """
    if request.run_id is not None:
        return _recover_fixed(port, request, attempt)
    ids = candidates(attempt, request.call)
    found = None if _is_beside(request, attempt) else _find(port, request.dag_id, ids, UNFINISHED_STATES)
    if found is None:
        since_clear = [candidate for candidate in ids if candidate.epoch == attempt.last_cleared_try]
        found = _find(port, request.dag_id, since_clear, None)
    if found is None:
        return None
    candidate, seen = found
    is_before_clear = candidate.epoch != attempt.last_cleared_try
    return Recovered(_record(request, attempt, candidate), seen, Clear(is_anew=True) if is_before_clear else None)


def candidates(attempt: Attempt, call: int) -> list[Candidate]:
    """
    Return all run ids that a child of this parent can have at this try, the newest first.

    Among them are those that come after run ids of other lives of the parent, whether such runs still exist or not. A
    409 would not find them: after a clear the next run id is of another epoch, and that one may be free.
    """
    latest = attempt.last_cleared_try
    epochs = sorted(range(attempt.try_number), key=lambda epoch: (epoch != latest, -epoch))
    found = [
        Candidate(child_run_id(attempt.parent, epoch=epoch, call=call, generation=generation), epoch, generation)
        for epoch in epochs
        for generation in reversed(range(most_generations(attempt, epoch)))
    ]
    if call == 1:
        # Generation -1: the next one is the first in the present form.
        found += [
            Candidate(legacy_run_id(attempt.parent, attempt.max_tries, generation), latest, -1)
            for generation in range(attempt.try_number - 1, -1, -1)
        ]
    return found


def _is_beside(request: Request, attempt: Attempt) -> bool:
    """
    Return whether the newest run counts, active or not.

    What a first try finds is of other lives, and nothing but its run id matters of it where the child is started beside
    an active one: the next run id has to be free, as after a 409 nothing would tell whose run it is (3.0, 3.1).
    """
    is_forgotten = request.mode is Mode.FIRE_AND_FORGET and request.on_clear is not OnClear.ADOPT
    return attempt.try_number == 1 and (is_forgotten or request.on_clear is OnClear.FRESH)


def _recover_fixed(port: Port, request: Request, attempt: Attempt) -> Recovered | None:
    """Look up the run with the fixed id. If it may be older than a clear, its outcome is not taken."""
    candidate = Candidate(request.run_id or "", attempt.last_cleared_try, 0)
    seen = calls.look_up(port, request.dag_id, candidate.run_id)
    if seen is None:
        return None
    clear = Clear(is_anew=True) if attempt.last_cleared_try else None
    return Recovered(_record(request, attempt, candidate), seen, clear)


def _record(request: Request, attempt: Attempt, candidate: Candidate) -> Record:
    return Record(
        dag_id=request.dag_id,
        run_id=candidate.run_id,
        proof=request.proof,
        mode=request.mode,
        max_tries=attempt.max_tries,
        clear_number=attempt.clear_number,
        logical_date=request.logical_date,
        call=request.call,
        epoch=candidate.epoch,
        generation=candidate.generation,
        task_instance_id=attempt.task_instance_id,
        is_recovered=True,
    )


def _find(
    port: Port, dag_id: str, ids: Sequence[Candidate], states: Sequence[str] | None
) -> tuple[Candidate, ChildRun] | None:
    """
    Return the first of these runs that exists: one count for each hundred, then halves.

    :param states: only a run in one of these states, none of which is an ended one; None: in any state.
    """
    start = 0
    while start < len(ids):
        some = ids[start : start + COUNTED_AT_ONCE]
        place = _place_of_first(port, dag_id, some, states)
        if place is not None:
            seen = calls.look_up(port, dag_id, some[place].run_id)
            if seen is not None and (states is None or seen.is_active):
                return some[place], seen
        # If there was one, it has ended, or was deleted, since it was counted: what follows it is counted anew.
        start += len(some) if place is None else place + 1
    return None


def _place_of_first(port: Port, dag_id: str, ids: Sequence[Candidate], states: Sequence[str] | None) -> int | None:
    """Return which of these runs is the first that exists; None: none does."""

    def count(start: int, end: int) -> int:
        return calls.count(port, dag_id, [candidate.run_id for candidate in ids[start:end]], states)

    if not count(0, len(ids)):
        return None
    start, end = 0, len(ids)
    while end - start > 1:
        middle = (start + end) // 2
        if count(start, middle):
            end = middle
        else:
            start = middle
    return start
