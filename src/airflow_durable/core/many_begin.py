"""How a try with many children begins: it finds out how each item stands, and writes that it continues from there."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from airflow_durable.core.board import Status
from airflow_durable.core.decide import plan
from airflow_durable.core.many_stock import is_proven, take_stock
from airflow_durable.core.many_timeouts import note_overdue
from airflow_durable.core.model import ENDED_STATES, UNFINISHED_STATES, Clear, Decision, OnClear, Phase

if TYPE_CHECKING:
    from airflow_durable.core.ledger import Ledger
    from airflow_durable.core.many_state import Many

QUIET_PAUSE_SECONDS = 10.0


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
        take_stock(many, None)
        many.ledger = replace(many.ledger, is_clean=is_proven(many))
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
    take_stock(many, clear)
    if many.is_settled:
        _close(many)
        many.port.report(Decision.SUCCEED_AGAIN, many)
        return
    # Where a count did not prove it, each run that exists was looked up.
    many.ledger = replace(many.of_goal(), phase=Phase.SENT, outcome=None, is_clean=is_proven(many))
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
    many.ledger = replace(anew, first=0, outdated_before=None)
    _pass_over(many, 0)
    take_stock(many, None)
    many.ledger = replace(many.ledger, is_clean=is_proven(many))
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
    take_stock(many, clear)
    # What the ledger says from here on is what was found.
    found = max(many.board.generations.values(), default=0)
    many.ledger = replace(many.ledger, generation=found, is_clean=is_proven(many))
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
