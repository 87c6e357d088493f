"""
What the reconciler does about one call of a parent. Pure.

The reconciler runs in the API server. A record is written by a task, and a task can write anything, so **nothing is
done on the word of a record**. The record says what is wanted; that it may be wanted is proven by what the database
says of the row, of the parent and of the run (:func:`.proof.prove`).

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

from datetime import timedelta
from typing import TYPE_CHECKING

from airflow_durable.core.asks import ActionKind
from airflow_durable.core.ledger import Ledger
from airflow_durable.core.model import ENDED_STATES, UNFINISHED_STATES, OnParentEnd
from airflow_durable.core.verdicts import Act, Reason, Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from airflow_durable.core.asks import Action, Asks
    from airflow_durable.core.observed import ChildNow, Entry, ParentNow
    from airflow_durable.core.record import Record

LATE_AFTER = timedelta(minutes=10)
"""How long after the parent's end its request may still create the run."""

_PARENT_ENDED = frozenset({"failed", "success", "skipped", "upstream_failed"})
_REMOVED = "removed"
_PARENT_WAITS = frozenset({"running", "deferred"})


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
