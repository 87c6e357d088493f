"""
Letting failed runs of items continue from where they failed, some of them at a time.

The reconciler is asked, as for one child (:mod:`.resuming`), but by the ledger: one entry names up to
:data:`.asks.RESUMED_AT_ONCE` runs, each with its ``clear_number``. So the ledger stays of bounded size, and a request
for each of them says by a compare-and-set whether it has been done.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING

from airflow_durable.core import port as calls
from airflow_durable.core import run_ids
from airflow_durable.core.asks import RESUMED_AT_ONCE, Action, ActionKind, asks_of, without_action
from airflow_durable.core.board import Status
from airflow_durable.core.errors import LookUpFailedError, ReconcilerMissingError
from airflow_durable.core.many_ends import note_end
from airflow_durable.core.model import ChildRun, Decision, Look
from airflow_durable.core.resuming import PAUSE_SECONDS

if TYPE_CHECKING:
    from airflow_durable.core.many_state import Many


def resume(many: Many) -> None:
    """
    Let the runs continue that are to be resumed, as far as the window has room for them.

    Each is looked up first: what it is like then is what the ledger asks for. Crash before the ledger is written:
    nothing was asked. After it: what it asks for is void, because the next try is another task instance. That try
    finds by counts which runs have failed. Those that the reconciler resumed in time are active, and are adopted; for
    the others that try asks, from their ``clear_number`` then. So a run is resumed at most once for each
    ``clear_number``, and nothing is ever started beside it.

    Then the entry is withdrawn, in its own place: the reconciler holds that row while it acts, so what is withdrawn is
    not done afterwards (:func:`airflow_durable.metadata.asked.Asked.journals`).

    :raises ItemsFailedError: more items have failed than are tolerated.
    :raises ReconcilerMissingError: nothing has happened for as long as the reconciler is waited for.
    :raises LookUpFailedError: a run cannot be looked up.
    """
    while batch := _next_batch(many):
        asked = _find_actions(many, batch)
        if asked:
            _ask(many, asked)
        many.check_failures()


def _next_batch(many: Many) -> list[int]:
    board, window = many.board, many.goal.max_active
    if many.is_settled:
        return []
    room = RESUMED_AT_ONCE if window is None else max(0, min(RESUMED_AT_ONCE, window - board.running))
    return board.first(Status.TO_RESUME, room)


def _find_actions(many: Many, batch: list[int]) -> dict[int, Action]:
    """Look up each run, decide about it again, and return what to ask the reconciler for."""
    found: dict[int, Action] = {}
    for index in batch:
        seen = calls.look_up(many.port.item(index), many.ledger.dag_id, many.run_id(index))
        if seen is None:
            # As for one that is found to be missing when a try begins: it is sent again, under the same run id.
            many.board.set(index, Status.PENDING)
            continue
        many.act(index, seen, None)
        if many.board.status(index) is Status.TO_RESUME:
            found[index] = Action(ActionKind.RESUME, seen.clear_number or 0, seen.state)
    return found


def _ask(many: Many, asked: dict[int, Action]) -> None:
    """
    Ask, wait, and withdraw. What was not done by then is looked up once more: it cannot be done afterwards.

    Where something was done meanwhile, the others are asked for again: the reconciler has much to do.
    """
    request = many.goal.request
    many.port.report(Decision.RESUME, many)
    wanted = [(_name(many, index), action.clear_number) for index, action in asked.items()]
    many.ledger = replace(many.ledger, asks=asks_of(request.on_parent_end, resume_items=wanted))
    many.write()
    left = _wait(many, deque(asked.items()))
    many.ledger = replace(many.ledger, asks=without_action(many.ledger.asks))
    many.write()
    undone = [index for index, action in left if not _is_taken(many, index, action, _look_up(many, index))]
    if undone and len(undone) == len(left):
        raise ReconcilerMissingError(
            many.ledger.dag_id, many.run_id(undone[0]), request.reconciler_timeout_seconds, others=len(undone) - 1
        )


def _wait(many: Many, left: deque[tuple[int, Action]]) -> deque[tuple[int, Action]]:
    """
    Wait until each run is not as it was, or none has changed for as long as the reconciler is waited for.

    One that nobody acts on does not hide the others: the next poll begins with the one after it.

    :returns: those that are as they were.
    """
    idle_seconds, limit = 0.0, many.goal.request.reconciler_timeout_seconds
    while True:
        while left and _is_changed(many, *left[0]):
            left.popleft()
            idle_seconds = 0.0
        if not left or idle_seconds >= limit:
            return left
        left.rotate(-1)
        many.port.report_progress(many)
        many.port.sleep(PAUSE_SECONDS)
        idle_seconds += PAUSE_SECONDS


def _is_changed(many: Many, index: int, action: Action) -> bool:
    try:
        run = many.port.item(index).look_up(many.ledger.dag_id, many.run_id(index), is_detailed=True)
    except LookUpFailedError as error:
        if not error.is_transient:
            raise error.after_asking() from error
        many.port.item(index).report_trouble(error)
        return False
    return _is_taken(many, index, action, run or Look.MISSING)


def _look_up(many: Many, index: int) -> ChildRun | Look:
    try:
        return calls.look_up(many.port.item(index), many.ledger.dag_id, many.run_id(index)) or Look.MISSING
    except LookUpFailedError as error:
        raise error.after_asking() from error


def _is_taken(many: Many, index: int, action: Action, seen: ChildRun | Look) -> bool:
    """Take note of a run that is not as it was; return whether that is so."""
    if isinstance(seen, ChildRun) and action.is_of(seen):
        return False
    many.take(index)
    if not isinstance(seen, ChildRun):
        note_end(many, index, None)
    elif not seen.is_active:
        # It has ended again already; or a person has marked it.
        note_end(many, index, seen.state)
    return True


def _name(many: Many, index: int) -> str:
    return run_ids.item_part(many.run_id(index))
