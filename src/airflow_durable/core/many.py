"""
Many children of one task: each item is a child like any other, decided by the same functions.

:func:`.many_begin.begin` finds out how each item stands and writes the ledger; :func:`send` asks for the runs that the
window has room for; :func:`note_ends` takes what became of runs; :func:`finish` consumes. Between, the caller waits, in
the worker or in a trigger (:class:`Wake` says until when).

The invariants are those of :mod:`.protocol`. **The ledger says from which epoch and up to which generation run ids may
have been asked for, before the request is sent**; an item's next generation is asked for only when its run of the one
before has failed, or when a person's clear asked for the work anew and that run has ended. So at any moment an item has
at most one healthy run, and a try that knows nothing finds it by counting the run ids that it can have.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

from airflow_durable.core import sending
from airflow_durable.core.board import Status
from airflow_durable.core.errors import RunIdsTakenError, SubmissionRefusedError
from airflow_durable.core.many_begin import begin
from airflow_durable.core.many_ends import note_end
from airflow_durable.core.many_resume import resume
from airflow_durable.core.many_state import Goal, Many, ManyPort
from airflow_durable.core.many_stock import is_list_changed
from airflow_durable.core.many_timeouts import check_starts, due_at
from airflow_durable.core.model import Clear, Decision, Phase
from airflow_durable.core.record import CLEARED

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow_durable.core.ledger import Ledger

__all__ = ["BURST", "Goal", "Many", "ManyPort", "Wake", "begin", "finish", "is_list_changed", "note_ends", "send"]

BURST = 500
"""After so many requests the ledger is written again: a superseded try is refused there."""

_SHARE_OF_WINDOW = 4
"""The task is woken when a fourth of its window is free: not for each child that ends."""


_REFUSING_ALL = frozenset({401, 403, 404})
"""HTTP statuses that say nothing of the one item: it may not be asked for, or there is no such Dag."""


@dataclass(frozen=True)
class Wake:
    """
    When the wait for many runs has to end, because there is something to do.

    :param failures_left: so many more may fail; None: a failed one may get another run in this try.
    :param is_more_to_send: items wait for room in the window, to be started or resumed, or for the end of a run in
        their place.
    :param enough: with something to send, the wait ends when so many runs have ended, or...
    :param patience_seconds: ... so long after the first one.
    :param due_at: when a run may have been queued for too long, in seconds since 1970; None: none can be.
    """

    failures_left: int | None
    is_more_to_send: bool
    enough: int
    patience_seconds: float
    due_at: float | None = None

    def is_due(self, *, ended: int, failed: int, left: int, since_first_seconds: float, is_late: bool = False) -> bool:
        """
        Return whether the wait has to end.

        :param ended: how many runs have ended in this wait, the failed and the deleted ones included.
        :param failed: how many of them failed, or were deleted.
        :param left: how many are still waited for.
        :param since_first_seconds: the time since the first end of this wait.
        :param is_late: the moment ``due_at`` has come.
        """
        if not left or is_late:
            return True
        if self.failures_left is not None and failed > self.failures_left:
            return True
        if not (self.is_more_to_send or (self.failures_left is None and failed)):
            return False
        return ended >= self.enough or (ended > 0 and since_first_seconds >= self.patience_seconds)


def wake_of(many: Many, patience_seconds: float) -> Wake:
    """Return when the next wait of this try has to end."""
    board, goal = many.board, many.goal
    window = goal.max_active or board.watched
    return Wake(
        failures_left=None if goal.child_tries > 1 else max(0, goal.tolerated - board.failed),
        is_more_to_send=bool(board.pending or board.to_resume) or any(board.of(Status.WAITED_OUT)),
        enough=max(1, window // _SHARE_OF_WINDOW),
        patience_seconds=patience_seconds,
        due_at=due_at(many),
    )


def send(many: Many) -> None:
    """
    Ask for the runs that there is room for. Those that are resumed come first: they have been begun.

    Crash anywhere: the ledger covers each run id that was asked for, so the next try counts what arrived.

    :raises ItemsFailedError: more items have failed than are tolerated.
    :raises ReconcilerMissingError: failed runs are to be resumed, and nobody does it.
    :raises SubmissionRefusedError: the server refused an item, and no further failure is tolerated; or it refused all.
    :raises SubmissionUnknownError: the server does not answer.
    """
    board, sent = many.board, 0
    check_starts(many)
    many.check_failures()
    resume(many)
    while (index := _next_to_send(many)) is not None:
        if sent % BURST == 0:
            # The same entry again: it changes nothing, and a superseded try is refused.
            many.write()
        sent += 1
        _send_one(many, index)
        many.port.report_progress(many)
        many.check_failures()
        if many.board.status(index) is Status.TO_RESUME:
            # An earlier send had arrived, and its run has failed since.
            resume(many)
    is_clear_seen = not many.is_settled and many.ledger.is_cleared_before(many.attempt)
    if is_clear_seen and not board.by_clear:
        # All that the clear asked for has been sent: later tries continue from there.
        settled = many.ledger.with_try(many.attempt, Decision.FRESH_SUBMIT, many.port.now())
        many.ledger = cast("Ledger", settled)
        many.write()


def note_ends(many: Many, ends: Iterable[tuple[int, str | None]]) -> None:
    """
    Take note of what became of runs. It may be told twice, and of runs that are not waited for any more.

    A state that is neither active nor known has ended a run: the poller found that nothing happens in it any more. It
    is no success, so the item has failed; to wait longer would be to wait forever.

    :param ends: items, and the state of their present run; None: it does not exist any more.
    :raises ItemsFailedError: more items have failed than are tolerated.
    """
    for index, state in ends:
        note_end(many, index, state)
    many.check_failures()


def finish(many: Many) -> None:
    """
    Mark the outcome as consumed, before success is reported.

    Crash before: the next try finds that all have ended, and consumes. After: an automatic retry succeeds again and
    sends nothing; a person's clear asks for the work anew.
    """
    if not many.is_settled:
        if many.ledger.is_cleared_before(many.attempt):
            # What a clear has asked for could not be started, and is tolerated: a run is in a state that nobody knows.
            settled = many.ledger.with_try(many.attempt, Decision.RECONNECT, many.port.now())
            many.ledger = cast("Ledger", settled)
        many.ledger = replace(many.ledger, phase=Phase.CONSUMED)
        many.write()


def _next_to_send(many: Many) -> int | None:
    board, window = many.board, many.goal.max_active
    if many.is_settled or (window is not None and board.running >= window):
        return None
    return board.next_pending()


def _send_one(many: Many, index: int) -> None:
    board, request = many.board, many.goal.request
    generation = max(board.generation(index), many.ledger.first)
    if generation:
        board.generations[index] = generation
    if many.met[index] > sending.MAX_OTHER_LIVES:
        raise RunIdsTakenError(request.dag_id, many.run_id(index))
    if generation > many.ledger.generation:
        # Written ahead: from here on a try that knows nothing counts this generation, too.
        many.ledger = replace(many.ledger, generation=generation)
        many.write()
    record = many.record(index, is_recovered=False)
    try:
        _, found = sending.send(many.port.item(index), request, many.attempt, record)
    except SubmissionRefusedError as error:
        if error.is_of_dag or error.status in _REFUSING_ALL or board.failed >= many.goal.tolerated:
            raise
        board.refused.add(index)
        board.set(index, Status.FAILED)
        return
    if found is None:
        many.take(index)
        return
    # 409. An earlier send arrived, if the run is ours and has the item's conf; else it is decided about like one that
    # is met after a clear.
    many.met[index] += 1
    clear = Clear(is_anew=False) if found.is_same_request is False else None
    many.act(index, found, clear, is_recovered=False, is_moved=many.goal.items.keys is None)
    if board.by_clear and not many.ledger.is_cleared_before(many.attempt):
        # As after a clear: a later try has to compare, too.
        many.ledger = replace(many.ledger, max_tries=CLEARED)
        many.write()
