"""How a try with many children begins: it finds out how each item stands, and writes that it continues from there."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING

from airflow_durable.core import port as calls
from airflow_durable.core.board import Status
from airflow_durable.core.decide import plan
from airflow_durable.core.many_timeouts import note_overdue
from airflow_durable.core.model import (
    ENDED_STATES,
    UNFINISHED_STATES,
    ChildRun,
    Clear,
    Decision,
    OnChildFailure,
    OnClear,
    Phase,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_durable.core.ledger import Ledger
    from airflow_durable.core.many_state import Many

QUIET_PAUSE_SECONDS = 10.0

SAMPLED = 8
"""Of items without keys a retry looks up about so many, to see whether the list is still the same."""


def begin(many: Many, begun: Ledger | None = None) -> None:
    """
    Find out how each item stands, and record that this try continues from there. Nothing is sent.

    A first try counts whether any of its run ids exist. If none does, whatever exists later is this parent's: later
    tries can believe a count. A crash before the ledger is written leaves nothing.

    If some do, they are of another life of the parent's Dag run. Where a look-up does not say so (3.0, 3.1) the try
    starts in a generation that has no run at all: see :func:`_pass_over`.

    :param begun: the ledger as this very try has written it, where it begins once more: it was deferred, and the items
        or the Dag are others since. What exists it may have sent itself.
    """
    if not many.goal.items.count:
        many.is_settled = True
        return
    many.has_begun = begun is not None
    is_retry = many.attempt.try_number > 1
    ledger = many.port.read() if begun is None and is_retry and many.port.has_store else begun
    if ledger is not None:
        _continue(many, ledger)
    elif is_retry:
        _recover(many)
    elif not many.count(1, None):
        many.ledger = replace(many.ledger, is_clean=True)
        many.enter(Decision.FRESH_SUBMIT)
    elif many.port.has_store and (ledger := many.port.read()) is not None:
        # An earlier execution of this very try; or a task instance of its name that was deleted.
        _continue(many, ledger)
    else:
        _pass_over(many, 1)
        _take_stock(many, None)
        many.ledger = replace(many.ledger, is_clean=_is_proven(many))
        many.enter(Decision.FRESH_SUBMIT)


def _pass_over(many: Many, generation: int) -> None:
    """
    Let a first try that cannot know whose a run is (3.0, 3.1) start where no run is: what it meets later is its own.

    So it counts one generation after the other, before it sends anything, until one has no run of any item. What is in
    the lower ones is of other lives of the parent's Dag run: what is active of it is waited out, nothing is taken.

    Crash anywhere: nothing is kept. The next try cannot know what this one has found: a known limit.

    :param generation: the first one that may have no run.
    """
    if many.port.has_details or many.attempt.try_number > 1:
        return
    while many.count_in(generation, None):
        generation += 1
    many.ledger = replace(many.ledger, first=generation, generation=max(0, generation - 1))


def _continue(many: Many, ledger: Ledger) -> None:
    """Continue from the ledger of an earlier try."""
    many.ledger = ledger
    if not ledger.is_of(many.goal.items):
        many.port.report_change(ledger.count, many)
    clear = _find_clear(many)
    if ledger.dag_id != many.goal.request.dag_id or (clear is not None and clear.is_anew):
        _start_anew(many)
        return
    is_over = plan(ledger, many.goal.request, clear) is Decision.SUCCEED_AGAIN
    # Of items that are new in the list the consumed outcome says nothing.
    many.is_settled = is_over and ledger.is_of(many.goal.items)
    _take_stock(many, clear)
    if many.is_settled:
        _close(many)
        many.port.report(Decision.SUCCEED_AGAIN, many)
        return
    # Where a count did not prove it, each run that exists was looked up.
    many.ledger = replace(many.of_goal(), phase=Phase.SENT, outcome=None, is_clean=_is_proven(many))
    many.enter(Decision.RECONNECT)


def _find_clear(many: Many) -> Clear | None:
    """Return what a person did to the task since the ledger was written."""
    on_clear = many.goal.request.on_clear
    if not many.ledger.is_cleared_before(many.attempt):
        return None
    if many.attempt.try_number == 1 and not many.port.has_details:
        # The ledger says so because runs of another life are waited out. They are known by their generation.
        return None
    return Clear(is_anew=on_clear is OnClear.FRESH or (many.ledger.is_consumed and on_clear is OnClear.AUTO))


def _start_anew(many: Many) -> None:
    """
    Move the epoch: a person asks for all work anew, or the task starts another Dag by now.

    Runs of the epoch before are waited for first, so nothing is started beside an active one. A crash meanwhile leaves
    the ledger as it was, and the next try waits again.
    """
    _await_quiet(many)
    epoch = max(many.ledger.epoch + 1, many.attempt.last_cleared_try)
    anew = replace(many.of_goal(), epoch=epoch, generation=0, phase=Phase.INTENDED, outcome=None, is_clean=False)
    many.ledger = replace(anew, first=0, has_outdated=False)
    _pass_over(many, 0)
    _take_stock(many, None)
    many.ledger = replace(many.ledger, is_clean=_is_proven(many))
    many.enter(Decision.FRESH_SUBMIT)


def _recover(many: Many) -> None:
    """
    Continue without a ledger: there is no store (3.0 to 3.2), or it was lost (3.4 discards it at a clear).

    With it the tag of the runs is lost, which may have been sent before a clear that has moved the start of the
    parent's Dag run. So they are known by when they began, as on 3.2, in this try and in all later ones.

    The epoch of the latest clear is continued, if anything of it exists. Else an earlier one is that cannot have been
    consumed: with an active run, or with fewer that succeeded than the task needs for its own success.
    """
    latest = many.attempt.last_cleared_try
    many.ledger = replace(many.ledger, tag=None)
    many.ledger = _reaching(many, latest)
    if many.goal.is_waiting:
        _find_epoch(many)
    clear = None if many.ledger.epoch == latest else Clear(is_anew=False)
    if clear is not None and many.goal.request.on_clear is OnClear.FRESH:
        _await_quiet(many)
        many.ledger, clear = _reaching(many, latest), None
    _take_stock(many, clear)
    # What the ledger says from here on is what was found.
    found = max(many.board.generations.values(), default=0)
    many.ledger = replace(many.ledger, generation=found, is_clean=_is_proven(many))
    is_anything = found or many.board.pending < many.goal.items.count
    many.enter(Decision.RECONNECT if is_anything else Decision.FRESH_SUBMIT)


def _find_epoch(many: Many) -> None:
    """Let the ledger be of the epoch that is continued, with all generations that it has by now."""
    goal, latest, is_over = many.goal, many.attempt.last_cleared_try, False
    for epoch in sorted(range(many.attempt.try_number), key=lambda epoch: (epoch != latest, -epoch)):
        many.ledger = _reaching(many, epoch)
        existing = _count_upwards(many)
        is_needed = epoch == latest or goal.request.on_clear is OnClear.ADOPT
        if existing and (is_needed or _count_active(many, existing)):
            return
        if existing and not is_over and _count_lacking(many) > goal.tolerated:
            return
        # It was consumed, and the ones before it were given up then. Only what is active in them counts.
        is_over = is_over or existing > 0
    many.ledger = _reaching(many, latest)


def _count_upwards(many: Many) -> int:
    """
    Count the runs of the ledger's epoch that exist, and let the ledger reach the highest generation that has any.

    An epoch can have more generations than its tries can start by now: other lives of the parent had some, or
    ``child_tries`` was larger before an edit. In each of these an item has a run, unless it was deleted. So the count
    continues as long as it finds any.
    """
    generation, existing, found = 0, 0, 0
    while generation <= many.ledger.generation or found:
        found = many.count_in(generation, None)
        existing += found
        generation += 1
    many.ledger = replace(many.ledger, generation=generation - 1)
    return existing


def _count_lacking(many: Many) -> int:
    """Count the items whose newest run has not succeeded, or that have none. One may have several that did."""
    left, lacking = list(range(many.goal.items.count)), many.goal.items.count
    for generation in range(many.ledger.generation, -1, -1):
        survey = many.survey(generation)
        found = survey.find(left, None)
        lacking -= sum(survey.count(chunk, many.goal.done_states) for chunk in survey.chunks(found))
        known = set(found)
        left = [index for index in left if index not in known]
    return lacking


def _reaching(many: Many, epoch: int) -> Ledger:
    """Return a ledger of an epoch with all generations that its tries can start: those of this one are to come."""
    generations = max(1, many.attempt.try_number - epoch) * many.goal.child_tries
    return replace(many.ledger, epoch=epoch, generation=generations - 1)


def _take_stock(many: Many, clear: Clear | None) -> None:
    """
    Find out how each item stands: which generation it has, and what is decided about its run.

    A count settles what needs no comparison. A run is looked up where it has to be compared with what the task asks for
    by now (after a clear, and in all tries after one that has replaced runs), or where a count does not prove that this
    parent started it.
    """
    board, left = many.board, list(range(many.goal.items.count))
    present: dict[int, list[int]] = {}
    for generation in range(many.ledger.generation, -1, -1):
        found = set(many.survey(generation).find(left, None))
        present[generation] = sorted(found)
        left = [index for index in left if index not in found]
        board.generations.update(dict.fromkeys(found if generation else (), generation))
    # Those that are left stay pending: none of their runs exists.
    board.by_clear.update(left if clear is not None else ())
    is_asked_upstream = is_compared = clear is not None and many.goal.request.on_clear is OnClear.AUTO
    is_uncleared = clear is None and not many.is_settled
    is_outdated = is_uncleared and many.ledger.has_outdated and many.port.has_details
    is_moved = is_uncleared and not is_outdated and _is_moved(many, sorted(chain(*present.values())))
    if is_outdated or is_moved:
        clear, is_compared, is_asked_upstream = Clear(is_anew=False), True, is_outdated
    for generation, indices in present.items():
        if is_compared or not _is_count_enough(many, generation):
            for index in indices:
                seen = calls.look_up(many.port.item(index), many.ledger.dag_id, many.run_id(index))
                if seen is not None:
                    is_newer = is_asked_upstream and _is_upstream_newer(many, seen)
                    since = None if is_uncleared and _is_given_up(many, seen) else clear
                    is_other = is_moved or is_outdated
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


def _is_given_up(many: Many, seen: ChildRun) -> bool:
    """Return whether an item has not moved, and stays failed in a retry: no person has cleared the task."""
    return many.goal.request.on_child_failure is OnChildFailure.FAIL and seen.is_same_request is True


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


def _is_proven(many: Many) -> bool:
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


def _await_quiet(many: Many) -> None:
    """Wait until no run of the epoch is active."""
    generations = many.ledger.generation + 1
    while many.goal.is_waiting and _count_active(many, many.count(generations, None)):
        many.port.report(Decision.WAIT_OUT, many)
        many.port.sleep(QUIET_PAUSE_SECONDS)


def _count_active(many: Many, existing: int) -> int:
    """
    Return how many runs of the epoch have not ended, those in a state that this release does not know among them.

    :param existing: how many runs of the epoch exist.
    """
    return max(0, existing - many.count(many.ledger.generation + 1, sorted(ENDED_STATES))) if existing else 0


def _close(many: Many) -> None:
    """Say of each item how it ended, where an earlier try consumed the outcome: nothing is sent or waited for."""
    board = many.board
    for index in list(board.of(Status.PENDING)):
        is_failed = board.generation(index) > 0
        if is_failed:
            board.generations[index] -= 1
        board.set(index, Status.FAILED if is_failed else Status.MISSING)
    for index in list(board.of(Status.TO_RESUME)):
        board.set(index, Status.FAILED)
    if many.goal.request.start_timeout_seconds is not None:
        # They counted as failed, if their number was tolerated. Some may have left the queue since.
        states = [state for state in UNFINISHED_STATES if state not in many.goal.done_states]
        note_overdue(many, list(board.of(Status.ACTIVE)), states)
    for index in list(board.of(Status.ACTIVE)):
        board.set(index, Status.DONE)
    for index in list(board.of(Status.WAITED_OUT)):
        # A run of another life of the parent: somebody cleared it since.
        board.set(index, Status.MISSING)
