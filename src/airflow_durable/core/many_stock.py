"""How each item of a task with many children stands: which of its runs is the present one, and what it calls for."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING

from airflow_durable.core import port as calls
from airflow_durable.core.board import Status
from airflow_durable.core.model import ChildRun, Clear, OnChildFailure, OnClear

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from airflow_durable.core.many_state import Many

SAMPLED = 8
"""A retry looks up about this many items without keys, to see whether the list is still the same."""


def take_stock(many: Many, clear: Clear | None) -> None:
    """
    Find out how each item stands: which generation it has, and what is decided about its run.

    A count settles what needs no comparison. A run is looked up where it has to be compared with what the task asks for
    by now (after a clear, and in all tries after one that has replaced runs), or where a count does not prove that this
    parent started it. In those later tries only the runs of before the clear are decided about as after it.
    """
    board, left = many.board, list(range(many.goal.items.count))
    is_asked_upstream = clear is not None and many.goal.request.on_clear is OnClear.AUTO
    if is_asked_upstream and many.ledger.outdated_before is not None:
        many.ledger = replace(many.ledger, outdated_before=many.port.now())
    present: dict[int, list[int]] = {}
    for generation in range(many.ledger.generation, -1, -1):
        found = set(many.survey(generation).find(left, None))
        present[generation] = sorted(found)
        left = [index for index in left if index not in found]
        board.generations.update(dict.fromkeys(found if generation else (), generation))
    # Those that are left stay pending: none of their runs exists.
    board.by_clear.update(left if clear is not None else ())
    is_uncleared = clear is None and not many.is_settled
    outdated_before = many.ledger.outdated_before if is_uncleared and many.port.has_details else None
    is_moved = is_uncleared and _is_moved(many, sorted(chain(*present.values())))
    for generation, indices in present.items():
        if is_asked_upstream or outdated_before is not None or is_moved or not _is_count_enough(many, generation):
            for index in indices:
                seen = calls.look_up(many.port.item(index), many.ledger.dag_id, many.run_id(index))
                if seen is not None:
                    is_outdated = outdated_before is not None and _is_asked_before(outdated_before, seen)
                    is_newer = (is_asked_upstream or is_outdated) and _is_upstream_newer(many, seen)
                    is_other = is_moved or is_outdated
                    is_given_up = not is_newer and _is_given_up(many, seen)
                    since = Clear(is_anew=False) if is_other and not is_given_up else clear
                    if _is_unsent(many, index, seen):
                        since, is_other = Clear(is_anew=False), many.goal.items.keys is None
                    many.act(index, seen, since, is_upstream_newer=is_newer, is_moved=is_other)
        else:
            _sort_by_counts(many, generation, indices, clear)


def _is_unsent(many: Many, index: int, seen: ChildRun) -> bool:
    """
    Return whether a first try meets a run that seems to be of this life, and has another conf than its item.

    This try has not sent it, and there was none before. On 3.2 a run that is queued shows nothing of its life. As with
    one child (:func:`.protocol.trigger`) it is decided about like one that is met after a clear.
    """
    is_first = many.attempt.try_number == 1 and not many.ledger.tries
    is_other = is_first and seen.is_same_request is False
    return is_other and many.record(index, is_recovered=True).is_author_of(seen, many.attempt)


def _is_asked_before(moment: datetime, seen: ChildRun) -> bool:
    """Return whether a run was asked for before a moment: its logical date says when. If it has none, it may have."""
    return seen.logical_date is None or seen.logical_date < moment


def _is_given_up(many: Many, seen: ChildRun) -> bool:
    """Return whether an item that has failed has not moved, and stays failed in a retry."""
    request = many.goal.request
    is_final = request.on_child_failure is OnChildFailure.FAIL and request.is_failure(seen.state)
    return is_final and seen.is_same_request is True


def _is_upstream_newer(many: Many, seen: ChildRun) -> bool | None:
    """
    Return whether something upstream ran again since this run was asked for: its logical date is the moment of that.

    Not since the ledger was written. A try that starts all anew after a clear may die half-way: what it has started is
    of after the upstream task, and the next try keeps it.
    """
    return many.port.is_upstream_newer(seen.logical_date or many.ledger.asked_at)


def is_list_changed(many: Many, ends: Sequence[tuple[int, str | None]] = ()) -> bool:
    """
    Return whether items without keys have moved while the task was deferred: then it has to begin again.

    Only where some are yet to be sent. Those that have been were of one list.

    :param ends: how runs ended meanwhile. Another run may have to follow one of them.
    """
    sent = [index for index, status in enumerate(many.board.statuses) if status != Status.PENDING]
    is_open = bool(many.board.pending or many.board.to_resume)
    is_sending = is_open or any(_is_followed(many, index, state) for index, state in ends)
    return is_sending and _is_moved(many, sent)


def _is_followed(many: Many, index: int, state: str | None) -> bool:
    """Return whether another run may be sent in the place of this one, which has ended."""
    has_failed = state is None or not many.goal.request.is_success(state)
    return many.board.status(index) is Status.WAITED_OUT or (has_failed and many.goal.child_tries > 1)


def _is_moved(many: Many, indices: Sequence[int]) -> bool:
    """
    Return whether items without keys have moved since they were sent, as far as a few of them tell.

    An item that was put in or taken out moves all behind it, so the first and the last one tell nearly always.
    """
    if many.goal.items.keys is not None or not many.port.has_details:
        return False
    step = max(1, len(indices) // SAMPLED)
    for index in dict.fromkeys([*indices[:1], *indices[-1:], *indices[step:-1:step]]):
        seen = calls.look_up(many.port.item(index), many.ledger.dag_id, many.run_id(index))
        if seen is not None and seen.is_same_request is False:
            return True
    return False


def _is_count_enough(many: Many, generation: int) -> bool:
    """Return whether a run that exists is known to be this parent's."""
    if generation < many.ledger.first:
        return False
    if generation == 0 and many.ledger.is_clean and many.ledger.is_of(many.goal.items):
        return True
    # 3.0 and 3.1 say no more of a run than its state. There a first try, which sent nothing, takes none for its own.
    return not many.port.has_details and (many.has_begun or many.attempt.try_number > 1)


def is_proven(many: Many) -> bool:
    """Return whether each run that exists was proven to be this parent's, so that later tries can believe a count."""
    return many.port.has_details and not many.has_others


def _sort_by_counts(many: Many, generation: int, indices: Sequence[int], clear: Clear | None) -> None:
    """Sort items whose runs exist into failed, done and active ones. Of the last, some may have ended well by now."""
    board, goal, survey = many.board, many.goal, many.survey(generation)
    for chunk in survey.chunks(indices) if goal.is_waiting else ():
        done = survey.count(chunk, goal.done_states)
        failed = survey.find(chunk, goal.failed_states) if done < len(chunk) else []
        for index in failed:
            if goal.request.on_child_failure is OnChildFailure.RESUME:
                # A count does not say what it takes to decide that: it is looked up when it is its turn.
                board.set(index, Status.TO_RESUME)
            else:
                many.act(index, ChildRun(goal.failed_states[0]), clear)
        known = set(failed)
        rest = [index for index in chunk if index not in known]
        if failed:
            # A run that was counted as done may have been marked as failed since: then another one has not ended.
            done = survey.count(rest, goal.done_states)
        is_all_done = done >= len(rest)
        for index in rest:
            if is_all_done:
                board.set(index, Status.DONE)
            else:
                many.take(index)
        board.ended_unseen += 0 if is_all_done else done
    for index in () if goal.is_waiting else indices:
        many.take(index)
