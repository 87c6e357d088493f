"""How the reconciler knows that a parent has started a run, without taking a record's word for it. Pure."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from airflow_durable.core.asks import RESUMED_AT_ONCE, is_run_of
from airflow_durable.core.ledger import Ledger
from airflow_durable.core.model import Proof
from airflow_durable.core.run_ids import tag_of_parent
from airflow_durable.core.verdicts import Reason

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from airflow_durable.core.model import Parent
    from airflow_durable.core.observed import ChildNow, Entry
    from airflow_durable.core.record import Record

MAX_CALLS = 100_000
MAX_NUMBER = 1_000_000
MAX_TEXT = 250
"""Of Dag ids and run ids, in Airflow's database."""

WORKER_CLOCK_AHEAD = timedelta(seconds=5)
WRITTEN_WITHIN = timedelta(seconds=30)
"""How long after its date of ours the entry that first names it may have been written: a write is repeated."""


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
    window = _window_of(seen)
    return window and (window[0], min(window[1], child.created_at))


def _is_written_ahead(entries: Sequence[Entry], record: Record, seen: datetime, created_at: datetime | None) -> bool:
    """Return whether the entry that names the date is of before the run, and of when the clock had that date."""
    written = [entry.written_at for entry in entries if entry.record and _names(entry.record, record, seen)]
    if seen not in record.dates or not written or created_at is None:
        return False
    first, window = min(written), _window_of(seen)
    return window is not None and first < created_at and window[0] <= first <= window[1]


def _window_of(date: datetime) -> tuple[datetime, datetime] | None:
    """Return when the first entry with a date of ours was written; None: of a date like that there is none."""
    try:
        return date - WORKER_CLOCK_AHEAD, date + WRITTEN_WITHIN
    except OverflowError:
        # A run may have the first date that there is, or the last.
        return None


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
