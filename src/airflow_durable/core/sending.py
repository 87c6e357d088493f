"""
Sending: which run id and which dates a request carries, and the one way in which it is recorded and sent.

If the run already exists, :mod:`.protocol` decides what that means.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from airflow_durable.core import port as calls
from airflow_durable.core.errors import (
    ForeignRunSkipError,
    LogicalDateClashError,
    LogicalDateTakenError,
    RunIdsTakenError,
)
from airflow_durable.core.model import Phase, Proof
from airflow_durable.core.record import Record
from airflow_durable.core.run_ids import child_run_id, tag_of_life, tag_of_parent

if TYPE_CHECKING:
    from datetime import datetime

    from airflow_durable.core.model import Attempt, ChildRun, Request
    from airflow_durable.core.port import Port

MAX_DATE_CLASHES = 5
MAX_OTHER_LIVES = 20
"""How many run ids of other lives of the parent are skipped before the try fails."""


def new_record(request: Request, attempt: Attempt, previous: Record | None, *, is_anew: bool) -> Record:
    """
    Return the record of a run that was never asked for, without its dates.

    :param previous: of the run before it, None if there is none.
    :param is_anew: a person asked for the work again: the epoch moves.
    :raises RunIdsTakenError: too many run ids belong to other lives of this parent.
    """
    epoch, generation = _place(request, attempt, previous, is_anew=is_anew)
    run_id = request.run_id or child_run_id(attempt.parent, epoch=epoch, call=request.call, generation=generation)
    if request.run_id is None and generation >= most_generations(attempt, epoch):
        raise RunIdsTakenError(request.dag_id, run_id)
    return Record(
        dag_id=request.dag_id,
        run_id=run_id,
        proof=request.proof,
        mode=request.mode,
        max_tries=attempt.max_tries,
        clear_number=attempt.clear_number,
        call=request.call,
        epoch=epoch,
        generation=generation,
        tries=previous.tries if previous else (),
    )


def most_generations(attempt: Attempt, epoch: int) -> int:
    """
    Return how many run ids an epoch can have by the end of this try.

    An epoch is a try that was cleared, and each generation took at least one try of it: so epoch and generation add up
    to less than the number of the try. Added to these are the generations that are skipped because another life of the
    parent has them.
    """
    return max(1, attempt.try_number - epoch) + MAX_OTHER_LIVES


def with_new_dates(
    port: Port, request: Request, attempt: Attempt, record: Record, *, taken: tuple[datetime, ...] = ()
) -> Record:
    """
    Return the record with the dates that are sent.

    The date that we choose is the latest moment whose microseconds are our tag: never in the future. It is a new one,
    so the run that has it was created by this very request (:meth:`.Record.is_sent_as`).

    :param taken: dates that were sent before, and are not in the record any more.
    """
    taken = (*record.dates, *taken)
    if request.is_date_ours:
        tag = (tag_of_parent if record.is_fixed else tag_of_life)(attempt.parent, request.call)
        return record.with_dates(logical_date=tagged(port.now(), tag, taken), run_after=None)
    if record.proof is Proof.RUN_AFTER:
        date = tagged(port.now(), tag_of_parent(attempt.parent, request.call), taken)
        return record.with_dates(logical_date=request.logical_date, run_after=date)
    return record.with_dates(logical_date=request.logical_date, run_after=None)


def epoch_of(request: Request, attempt: Attempt, record: Record, *, is_anew: bool) -> int:
    """
    Return the epoch of what is done now about the recorded run.

    For the first call it moves when a person asks for the work again; the later calls compare, and follow.
    """
    if request.epoch is not None:
        return max(record.epoch, request.epoch)
    return max(record.epoch + 1, attempt.last_cleared_try) if is_anew else record.epoch


def send(port: Port, request: Request, attempt: Attempt, record: Record) -> tuple[Record, ChildRun | None]:
    """
    Record, then send.

    Crash before the write is done: nothing was sent. After it: the next try looks the recorded run up, finds it or not,
    and sends the same request again or adopts the run that it created. A superseded try fails at the write.

    :returns: the record as last written; and the run that already had its run id, None if this created it.
    :raises LogicalDateTakenError: another run has the fixed logical date (ForeignRunSkipError with the skip).
    :raises LogicalDateClashError: other runs had each of the logical dates that we chose.
    """
    for _ in range(MAX_DATE_CLASHES):
        calls.write(port, record)
        if calls.submit(port, record):
            return _created(port, record), None
        # 409. An earlier send arrived (its reply was lost, or an earlier try's request was late); or somebody else's
        # run has our fixed identity; or a run under another id has our logical date: the unique keys of dag_run answer
        # alike.
        found = calls.look_up(port, record.dag_id, record.run_id)
        if found is not None:
            return record, found
        if not request.is_date_ours and record.logical_date is not None:
            raise _taken(request, record)
        record = with_new_dates(port, request, attempt, record)
    raise LogicalDateClashError(record.dag_id, record.run_id, MAX_DATE_CLASHES)


def _place(request: Request, attempt: Attempt, previous: Record | None, *, is_anew: bool) -> tuple[int, int]:
    """
    Return epoch and generation of a new run id. They were never used together before.

    In an epoch that has no run id yet, as what was there was adopted, the generations begin again: see
    :func:`most_generations`.
    """
    if previous is None:
        return attempt.last_cleared_try if request.epoch is None else request.epoch, 0
    epoch = epoch_of(request, attempt, previous, is_anew=is_anew)
    return (epoch, 0) if epoch > previous.epoch_of_run else (epoch, previous.generation + 1)


def tagged(now: datetime, tag: int, taken: tuple[datetime, ...] = ()) -> datetime:
    """Return the latest moment with the tag as its microseconds that is not taken: never in the future."""
    date = now.replace(microsecond=tag)
    while date > now or date in taken:
        date -= timedelta(seconds=1)
    return date


def _created(port: Port, record: Record) -> Record:
    """Take the run as ours. If nothing in it could prove that later, record this at once."""
    if record.proof is Proof.REPLY:
        record = replace(record, phase=Phase.SENT)
        calls.write(port, record)
    return record


def _taken(request: Request, record: Record) -> Exception:
    if request.is_skip:
        return ForeignRunSkipError(record.dag_id, record.run_id, is_run_known=False)
    return LogicalDateTakenError(record.dag_id, record.run_id, str(record.logical_date))
