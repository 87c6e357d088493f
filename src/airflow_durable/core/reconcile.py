"""
What the reconciler does about one call of a parent, and how it knows that the parent may ask for it. Pure.

The reconciler runs in the API server. A record is written by a task, and a task can write anything, so **nothing is
done on the word of a record**. The record says what is wanted; that it may be wanted is proven by what the database
says of the row, of the parent and of the run (:func:`prove`).

========  =============================================================================================================
act       when (all of it, in the transaction that does it)
--------  -------------------------------------------------------------------------------------------------------------
RESUME    the newest entry asks for it; the task instance that wrote it is the parent's current one, and runs or is
          deferred; the run is failed, and its ``clear_number`` is as recorded
RESET     the same; the run's ``clear_number`` is as recorded, and it has ended as recorded, or is active if it was
CANCEL    the newest entry has ``on_parent_end``, its outcome was not taken, the parent has ended for good; the run
          is queued or running, and no person has started it again since
NOTHING   else
========  =============================================================================================================

Of a task with many children the ledger asks for the whole set: a CANCEL is decided for each of its active runs as for
that of any other call, and done in a transaction of its own. The ledger is settled when none of them is active. A
RESUME is asked for some of its runs at a time, and decided and done for each as for that of any other call.

**Ended for good** is the state of the parent's current task instance: failed (that is not up_for_retry), success,
skipped or upstream_failed. After a retry, a clear or an eviction it has another one: up_for_retry, none, queued,
scheduled, restarting, running, deferred. A task instance that is removed, or not there any more, has ended with its Dag
run, or with the Dag run's deletion: until then Airflow restores a removed one once the Dag has the task again, and
removes those of a mapped task whose upstream was cleared (3.3, ``models/dagrun.py``,
``_check_for_removed_or_restored_tasks``).

Crash argument: each of them moves what its condition holds (``clear_number``, the run's state), in one transaction that
first locks the run's row. Before the commit nothing has happened; after it the condition does not hold any more. So it
happens once, or not at all, however many reconcilers there are and whenever they end.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from typing import TYPE_CHECKING

from airflow_durable.core.asks import RESUMED_AT_ONCE, ActionKind, OnParentEnd, is_run_of
from airflow_durable.core.ledger import Ledger
from airflow_durable.core.model import ENDED_STATES, UNFINISHED_STATES, Proof
from airflow_durable.core.run_ids import tag_of_parent

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from airflow_durable.core.asks import Action, Asks
    from airflow_durable.core.model import Parent
    from airflow_durable.core.record import Record

MAX_CALLS = 100_000
MAX_NUMBER = 1_000_000
MAX_TEXT = 250
"""Of Dag ids and run ids, in Airflow's database."""

WORKER_CLOCK_AHEAD = timedelta(seconds=5)
WRITTEN_WITHIN = timedelta(seconds=30)
"""How long after its date of ours the entry that first names it may have been written: a write is repeated."""

LATE_AFTER = timedelta(minutes=10)
"""How long after the parent's end its request may still create the run."""

_PARENT_ENDED = frozenset({"failed", "success", "skipped", "upstream_failed"})
_REMOVED = "removed"
_PARENT_WAITS = frozenset({"running", "deferred"})


class Act(str, Enum):
    """What is done to the child."""

    CANCEL = "cancel"
    RESUME = "resume"
    RESET = "reset"
    NOTHING = "nothing"


class Reason(str, Enum):
    """Why. The values are in the audit log and in the server's log."""

    PARENT_ENDED = "the parent task has ended without having taken the outcome"
    PARENT_GONE = "the parent task instance does not exist any more, and its Dag run has ended or was deleted"
    ASKED = "the parent task's present try asks for it"

    NOT_ASKED = "nothing is asked for"
    CONSUMED = "the outcome was taken"
    NOT_ENDED = "the parent task has not ended for good"
    SUPERSEDED = "the try that asked is not the present one, or does not wait"
    OVERTAKEN = "the run is not as it was when this was asked for"
    CHILD_MISSING = "there is no such run"
    CHILD_ENDED = "the run has ended"
    CHILD_RESTARTED = "the run was cleared after the parent's end"

    UNPROVEN_DAMAGED = "the record cannot be understood"
    UNPROVEN_NAME = "the run id does not follow from the parent"
    UNPROVEN_ORIGIN = "the run was not made by a task"
    UNPROVEN_DATE = "the date of the run does not prove that the parent started it"
    UNPROVEN_REPLY = "nothing of the run proves that the parent started it"
    UNPROVEN_TEAM = "the parent and the run are of different teams"
    DAG_UNKNOWN = "Airflow has no serialized form of the run's Dag"
    DAG_BROKEN = "the run's Dag is in no Dag file, or has import errors"
    UNPROVEN_TWICE = "another parent's record proves the same of the same run"


@dataclass(frozen=True)
class Entry:
    """
    One entry of a call's journal, as its row has it.

    :param record: None: it cannot be understood.
    :param sequence: its number, by the row's key.
    :param root: which entries belong together; empty where release 0.1.0 wrote it.
    :param written_at: the server's time of its latest write.
    """

    record: Record | None
    sequence: int
    root: str
    written_at: datetime


@dataclass(frozen=True)
class ParentNow:
    """
    The parent's current task instance.

    :param task_instance_id: None: there is none.
    :param ended_at: when it ended; None: not known.
    :param run_state: of its Dag run; None: that was deleted.
    """

    task_instance_id: str | None
    state: str | None
    ended_at: datetime | None
    run_state: str | None


@dataclass(frozen=True)
class ChildNow:
    """
    The run.

    :param queued_at: moves when it is cleared.
    :param created_at: when the server made its row; None: not known.
    :param is_from_task: a task triggered it (``triggered_by``).
    """

    dag_id: str
    run_id: str
    state: str
    clear_number: int
    queued_at: datetime | None
    created_at: datetime | None
    logical_date: datetime | None
    run_after: datetime | None
    is_from_task: bool


@dataclass(frozen=True)
class Verdict:
    """
    What is to be done now.

    :param is_settled: nothing can come of this entry any more, unless a further one is written.
    """

    act: Act
    reason: Reason
    is_settled: bool = False


def newest_of(entries: Sequence[Entry]) -> Entry | None:
    """
    Return the entry that counts: the last one with the root of the first, as the task reads it.

    Entries with another root are of a task instance that was deleted.
    """
    in_order = sorted(entries, key=lambda entry: entry.sequence)
    if not in_order:
        return None
    root = in_order[0].root
    return next((entry for entry in reversed(in_order) if not root or entry.root in {root, ""}), None)


def decide(  # noqa: PLR0911 - a row a return
    entry: Entry | None, parent: ParentNow, child: ChildNow | None, now: datetime
) -> Verdict:
    """
    Decide about one call, by its newest entry.

    :param child: the run that the entry names; None: there is none.
    """
    record = entry.record if entry else None
    if record is None:
        return Verdict(Act.NOTHING, Reason.UNPROVEN_DAMAGED if entry else Reason.NOT_ASKED, is_settled=True)
    if record.asks is None:
        return Verdict(Act.NOTHING, Reason.NOT_ASKED, is_settled=True)
    if record.is_consumed:
        return Verdict(Act.NOTHING, Reason.CONSUMED, is_settled=True)
    if record.asks.action is not None and not isinstance(record, Ledger) and _is_waiting(record, parent):
        return _decide_action(record.asks.action, child)
    if is_resuming_items(record, parent):
        return _decide_item(record.asks, child)
    is_on_end = record.asks.on_parent_end is OnParentEnd.CANCEL
    if not _is_over(parent):
        reason = Reason.NOT_ENDED if is_on_end else Reason.SUPERSEDED
        return Verdict(Act.NOTHING, reason, is_settled=not is_on_end and not _may_wait(record, parent))
    if not is_on_end:
        return Verdict(Act.NOTHING, Reason.SUPERSEDED, is_settled=True)
    return _decide_end(parent, child, now)


def is_resuming_items(record: Record, parent: ParentNow) -> bool:
    """Return whether it is a ledger that asks for some of its runs to be resumed, and the task waits for that."""
    is_asking = isinstance(record, Ledger) and record.asks is not None and bool(record.asks.resume_items)
    return is_asking and _is_waiting(record, parent)


def _is_waiting(record: Record, parent: ParentNow) -> bool:
    return _may_wait(record, parent) and parent.state in _PARENT_WAITS


def _may_wait(record: Record, parent: ParentNow) -> bool:
    return bool(record.task_instance_id) and record.task_instance_id == parent.task_instance_id


def _is_over(parent: ParentNow) -> bool:
    if parent.task_instance_id is None or parent.state == _REMOVED:
        return parent.run_state is None or parent.run_state in ENDED_STATES
    return parent.state in _PARENT_ENDED


def _decide_action(action: Action, child: ChildNow | None) -> Verdict:
    if child is None:
        return Verdict(Act.NOTHING, Reason.CHILD_MISSING)
    if action.kind is ActionKind.RESUME:
        is_as_asked = child.state == action.state == "failed"
    else:
        is_as_asked = action.state == child.state or not ENDED_STATES & {action.state, child.state}
    if action.clear_number != child.clear_number or not is_as_asked:
        return Verdict(Act.NOTHING, Reason.OVERTAKEN)
    return Verdict(Act(action.kind.value), Reason.ASKED)


def _decide_item(asks: Asks, child: ChildNow | None) -> Verdict:
    if child is None:
        return Verdict(Act.NOTHING, Reason.CHILD_MISSING)
    action = asks.item_action(child.run_id)
    return Verdict(Act.NOTHING, Reason.NOT_ASKED) if action is None else _decide_action(action, child)


def _decide_end(parent: ParentNow, child: ChildNow | None, now: datetime) -> Verdict:
    if child is None:
        is_late = parent.ended_at is not None and now - parent.ended_at > LATE_AFTER
        return Verdict(Act.NOTHING, Reason.CHILD_MISSING, is_settled=is_late or parent.ended_at is None)
    if child.state not in UNFINISHED_STATES:
        return Verdict(Act.NOTHING, Reason.CHILD_ENDED, is_settled=True)
    if child.clear_number > 0 and _is_after(child.queued_at, parent.ended_at):
        return Verdict(Act.NOTHING, Reason.CHILD_RESTARTED, is_settled=True)
    return Verdict(Act.CANCEL, Reason.PARENT_GONE if parent.task_instance_id is None else Reason.PARENT_ENDED)


def _is_after(moment: datetime | None, other: datetime | None) -> bool:
    return moment is not None and other is not None and moment > other


def prove(  # noqa: PLR0911 - a rule a return
    identities: Sequence[Parent], entries: Sequence[Entry], record: Record, child: ChildNow, *, calls: int
) -> Reason | None:
    """
    Return why it is not proven that the parent started this run; None: it is.

    The run ids of a **ledger's** children all begin with a digest of 60 bits of the parent, so each of them is proven
    by itself, whatever the ledger says of them.

    A **generated** run id follows from the parent by a digest of 60 bits, so that no other parent's run has it.

    A **fixed** identity can be named by everybody. What proves it is our date in the run: its microseconds follow from
    the parent, and the entry that names it was in the database before the run was, and was written when the clock had
    that date. Who has not chosen the date cannot know it to the microsecond before the run is there. Of a run that only
    the reply to its request proves as ours, nothing is known here.

    :param identities: the parent, by its row alone; several where the row leaves open how the task sees itself (3.4).
    :param entries: all of the call.
    :param calls: how many calls the parent has entries of.
    """
    if not child.is_from_task:
        return Reason.UNPROVEN_ORIGIN
    if isinstance(record, Ledger):
        is_one = any(
            record.is_started_by(parent, child.run_id) and record.is_of_pass(parent, child.run_after)
            for parent in identities
        )
        return None if is_one and child.dag_id == record.dag_id else Reason.UNPROVEN_NAME
    if (child.dag_id, child.run_id) != (record.dag_id, record.run_id):
        return Reason.UNPROVEN_NAME
    if record.proof is Proof.RUN_ID:
        return None if any(is_run_of(record, parent) for parent in identities) else Reason.UNPROVEN_NAME
    if record.proof is Proof.REPLY:
        return Reason.UNPROVEN_REPLY
    seen = child.run_after if record.proof is Proof.RUN_AFTER else child.logical_date
    if seen is None or not seen.microsecond or record.call > calls:
        return Reason.UNPROVEN_DATE
    is_tagged = any(seen.microsecond == tag_of_parent(parent, record.call) for parent in identities)
    return None if is_tagged and _is_written_ahead(entries, record, seen, child.created_at) else Reason.UNPROVEN_DATE


def proving_window(record: Record, child: ChildNow) -> tuple[datetime, datetime] | None:
    """
    Return when an entry was written that proves a fixed identity as :func:`prove` wants it; None: none can.

    It is over before the run is there. So what is written later plays no part in who can prove it.
    """
    seen = child.run_after if record.proof is Proof.RUN_AFTER else child.logical_date
    if record.proof not in {Proof.RUN_AFTER, Proof.LOGICAL_DATE} or seen is None or child.created_at is None:
        return None
    return seen - WORKER_CLOCK_AHEAD, min(seen + WRITTEN_WITHIN, child.created_at)


def _is_written_ahead(entries: Sequence[Entry], record: Record, seen: datetime, created_at: datetime | None) -> bool:
    """Return whether the entry that names the date is of before the run, and of when the clock had that date."""
    written = [entry.written_at for entry in entries if entry.record and _names(entry.record, record, seen)]
    if seen not in record.dates or not written or created_at is None:
        return False
    first = min(written)
    return first < created_at and seen - WORKER_CLOCK_AHEAD <= first <= seen + WRITTEN_WITHIN


def _names(entry: Record, record: Record, date: datetime) -> bool:
    is_same = (entry.dag_id, entry.run_id, entry.proof) == (record.dag_id, record.run_id, record.proof)
    return is_same and date in entry.dates


def is_plain(record: Record, call: int) -> bool:
    """
    Return whether a record has only values with which the database can be asked.

    :param call: that its row's key names.
    """
    items = record.asks.resume_items if record.asks else ()
    texts = [record.dag_id, record.run_id, record.task_instance_id, *(name for name, _ in items)]
    numbers = [record.epoch, record.generation, record.clear_number, record.max_tries, *(one for _, one in items)]
    is_small = all(abs(number) <= MAX_NUMBER for number in numbers) and 1 <= call <= MAX_CALLS
    is_bounded = is_small and len(items) <= RESUMED_AT_ONCE
    return record.call == call and is_bounded and all(map(is_plain_text, texts))


def is_plain_text(text: str) -> bool:
    """Return whether a name can be asked for: some databases refuse one with a NUL, or half of a surrogate pair."""
    return len(text) <= MAX_TEXT and text.isprintable()
