"""
The record: what survives between tries.

A journal holds a list of entries for each call; an entry is never changed once it is written, and each holds the whole
record as it was then. So a write that arrives twice or late writes what is already there, and can undo nothing. The
newest entry is what counts. :mod:`.stored` has the stored form.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from airflow_durable.core import run_ids
from airflow_durable.core.asks import without_action
from airflow_durable.core.model import Decision, Phase, Proof

if TYPE_CHECKING:
    from datetime import datetime

    from airflow_durable.core.asks import Asks
    from airflow_durable.core.model import Attempt, ChildRun, Mode, Outcome, Request

MAX_TRIES = 50
"""How many tries a record remembers: its size must stay bounded over any number of clears."""

_ASKING = frozenset({Decision.FRESH_SUBMIT, Decision.RESUBMIT, Decision.TERMINAL_RESUBMIT, Decision.RESET})
"""Decisions by which the server is asked for the run, or to start it over."""

CLEARED = -1
"""In place of ``max_tries``: no try has this value, so the record always counts as older than a clear."""

TAG_REACH = timedelta(seconds=2)
"""How far in the past a date of ours may be, so that its microseconds are our tag."""

MAX_DATES = 8
"""How many of the dates that were sent with one run id a record remembers."""


@dataclass(frozen=True)
class TryEntry:
    """What one try decided, about which run, and when (with its time zone)."""

    try_number: int
    decision: Decision
    run_id: str
    at: datetime


@dataclass(frozen=True)
class Baseline:
    """A run as it was before its reset. When ``clear_number`` has changed, the run has been reset."""

    clear_number: int
    logical_date: datetime | None
    run_after: datetime | None = None

    def is_of(self, run: ChildRun) -> bool:
        """Return whether this is that run, reset or not. Release 0.1.0 recorded no ``run_after``."""
        return self.logical_date == run.logical_date and self.run_after in {None, run.run_after}


@dataclass(frozen=True)
class Clock:
    """
    The moment from which the timeouts of the run are measured.

    :param since: when it was asked for, to start or to start over.
    :param clear_number: the run's, once that has been done. If it has changed since, a person has cleared the run.
    """

    since: datetime
    clear_number: int


@dataclass(frozen=True)
class Record:
    """
    One entry of the journal.

    :param proof: what in the run proves that it is ours.
    :param logical_date: as sent; None: none was sent.
    :param run_after: as sent; None: none was sent.
    :param epoch: the try whose clear last asked for the work again; 0: none. A run that is adopted then keeps its run
        id, which is of an earlier epoch (:attr:`epoch_of_run`).
    :param generation: how many run ids of the run id's epoch came before this one.
    :param dates: all values that were sent with this run id for the date that we choose.
    :param adopted: what an adopted run has in its place, if no entry says that it was sent: the run counts as ours, but
        nothing that was there before it proves that.
    :param task_instance_id: of the try that wrote the entry; empty where the release that wrote it kept none.
    :param reset: the run as it was before the reset that was asked for.
    :param clock: None: the task has no timeout for its child.
    :param asks: what is asked of the reconciler; None: nothing.
    :param is_recovered: it was not read from a journal, but rebuilt from the run that was found.
    """

    dag_id: str
    run_id: str
    proof: Proof
    mode: Mode
    max_tries: int
    clear_number: int
    logical_date: datetime | None = None
    run_after: datetime | None = None
    call: int = 1
    epoch: int = 0
    generation: int = 0
    phase: Phase = Phase.INTENDED
    outcome: Outcome | None = None
    dates: tuple[datetime, ...] = ()
    reset: Baseline | None = None
    task_instance_id: str = ""
    tries: tuple[TryEntry, ...] = ()
    clock: Clock | None = None
    asks: Asks | None = None
    is_recovered: bool = False
    adopted: datetime | None = None

    @property
    def is_fixed(self) -> bool:
        """Whether the user fixed the run id or the logical date."""
        return self.proof is not Proof.RUN_ID

    @property
    def epoch_of_run(self) -> int:
        """
        The epoch in which the run id was chosen. It is part of the run id, and stays when the work is asked for anew.

        The run ids of release 0.1.0 are of none, as are fixed ones: there the epoch of the record is meant by now.
        """
        return self.epoch if self.is_fixed else run_ids.epoch_in(self.run_id) or 0

    @property
    def is_consumed(self) -> bool:
        """Whether success was about to be reported."""
        return self.phase is Phase.CONSUMED

    @property
    def asked_at(self) -> datetime | None:
        """When the run was last asked for; None if that is not known."""
        return next((entry.at for entry in reversed(self.tries) if self._is_asking(entry)), None)

    def _is_asking(self, entry: TryEntry) -> bool:
        return entry.run_id == self.run_id and entry.decision in _ASKING

    @property
    def is_known_foreign(self) -> bool:
        """Whether an earlier try took the run for somebody else's, and said so (or had it reset)."""
        decisions = [it.decision for it in self.tries if it.run_id == self.run_id and it.decision is not Decision.RESET]
        return decisions[-1:] == [Decision.FOREIGN]

    @property
    def last_try(self) -> int:
        """The try that wrote the newest entry; 0 if none is known."""
        return self.tries[-1].try_number if self.tries else 0

    def with_try(self, attempt: Attempt, decision: Decision, at: datetime) -> Record:
        """
        Return the record as this try leaves it: what shows a later clear, and its decision as last entry.

        An action that an earlier entry asked for is withdrawn.
        """
        entry = TryEntry(attempt.try_number, decision, self.run_id, at)
        return replace(
            self,
            max_tries=attempt.max_tries,
            clear_number=attempt.clear_number,
            task_instance_id=attempt.task_instance_id,
            tries=(*self.tries, entry)[-MAX_TRIES:],
            asks=without_action(self.asks),
            is_recovered=False,
        )

    def settled_by(self, entered: Record) -> Record:
        """Return the record as a try leaves it that has settled a clear: later tries of the task continue from it."""
        return replace(
            self,
            max_tries=entered.max_tries,
            clear_number=entered.clear_number,
            task_instance_id=entered.task_instance_id,
            tries=entered.tries,
        )

    def with_clear_kept(self) -> Record:
        """
        Return the record as it is written where a try ends for good after a clear.

        It must not hide the clear: a retry after a crash here has to decide the same. A record that was read shows it
        as it is; one that was rebuilt has the numbers of this try.
        """
        return replace(self, phase=Phase.CONSUMED, max_tries=CLEARED) if self.is_recovered else self

    def with_dates(self, *, logical_date: datetime | None, run_after: datetime | None) -> Record:
        """Return the record of a request that is sent with these dates."""
        ours = logical_date if self.proof in {Proof.RUN_ID, Proof.LOGICAL_DATE} else run_after
        known = self.dates if ours is None or ours in self.dates else (*self.dates, ours)[-MAX_DATES:]
        return replace(self, logical_date=logical_date, run_after=run_after, dates=known)

    def with_dates_of(self, previous: Record | None) -> Record:
        """Return the record of a run that is asked for again: under a fixed identity an earlier one may be there."""
        known = previous and (previous.dag_id, previous.run_id, previous.proof)
        if previous is None or known != (self.dag_id, self.run_id, self.proof):
            return self
        return replace(self, dates=previous.dates, adopted=previous.adopted)

    def with_seen(self, run: ChildRun) -> Record:
        """Return the record of a run that is adopted: what it has in the place of what is ours makes it ours."""
        seen = self._ours_of(run)
        return self if seen is None or seen in self.dates else replace(self, adopted=seen)

    def is_same_identity(self, request: Request) -> bool:
        """
        Whether the request is for the run that the record names: same Dag, and the same fixed run id if it has one.

        Its dates may differ, and so may the proof that it is ours: Airflow allows no second run under the run id.
        """
        return self.dag_id == request.dag_id and (self.run_id if self.is_fixed else None) == request.run_id

    def has_dates_of(self, request: Request) -> bool:
        """Whether the request has the same fixed logical date as when this was recorded, or again none."""
        is_ours = self.proof in {Proof.RUN_ID, Proof.LOGICAL_DATE}
        return (None if is_ours else self.logical_date) == request.logical_date

    def is_cleared_before(self, attempt: Attempt) -> bool:
        """
        Return whether a person asked for the task again between the newest entry and this try.

        A clear sets ``max_tries`` to the try it cleared plus the retries that the Dag has at that time. The sum stays
        the same only if the retries were edited meanwhile. Then, and only then, the Dag run's ``clear_number`` decides,
        which a clear of any other task of the Dag run raises, too. A task instance that was deleted and created again
        starts from its first try again, under another id.
        """
        if self.max_tries != attempt.max_tries or self.is_remade_before(attempt):
            return True
        written_by = self.last_try or 1
        is_sum_of_a_clear = written_by <= attempt.max_tries - attempt.retries < attempt.try_number
        return is_sum_of_a_clear and self.clear_number != attempt.clear_number

    def is_remade_before(self, attempt: Attempt) -> bool:
        """Return whether the task instance was deleted and created again since the newest entry."""
        if attempt.try_number == self.last_try:
            return bool(self.task_instance_id) and self.task_instance_id != attempt.task_instance_id
        return attempt.try_number < self.last_try

    def is_author_of(self, run: ChildRun, attempt: Attempt) -> bool:
        """
        Return whether the run under the recorded id is one that this parent started.

        Where a look-up shows no dates (3.0, 3.1), all ids are generated, and belong to this parent alone. There, only a
        first try can recognise a run of an earlier life of the parent, because it looks before it sends: what it finds
        is not ours. The ids of release 0.1.0 (generation -1) are proof by themselves.
        """
        if self.proof is Proof.REPLY:
            return self.phase is not Phase.INTENDED or self.is_reset_done(run)
        if self.is_fixed:
            seen = self._ours_of(run)
            return self._is_ours(seen, run_ids.tag_of_parent(attempt.parent, self.call), run, attempt)
        if self.generation < 0 or run.clear_number is None:
            return self.generation < 0 or not (self.is_recovered and attempt.try_number == 1)
        is_dated = bool(self.dates) or self.adopted is not None
        is_sent_undated = not is_dated and not (self.is_recovered and run.logical_date)
        if is_sent_undated or (self.logical_date is None and run.logical_date is None):
            return not _is_of_earlier_life(run, attempt)
        return self._is_ours(run.logical_date, run_ids.tag_of_life(attempt.parent, self.call), run, attempt)

    def is_proven_by_run(self, run: ChildRun) -> bool:
        """
        Return whether the run itself proves that it is ours, given only the parent and the record.

        A generated run id does, but for those of release 0.1.0, which hold no date of the parent's: most are random.
        Not so a fixed identity that was only adopted: somebody else's run that was reset, or one whose record was lost.
        """
        if not self.is_fixed:
            return run_ids.date_in(self.run_id) is not None
        return self.proof is not Proof.REPLY and self._ours_of(run) in self.dates

    @property
    def is_provable(self) -> bool:
        """Whether the run that was asked for, reset or adopted proves that it is ours, as far as the record says."""
        is_sent = self.reset is None or self._ours_of(self.reset) in self.dates
        return not self.is_fixed or (self.proof is not Proof.REPLY and self.adopted is None and is_sent)

    def is_sent_as(self, run: ChildRun) -> bool:
        """Return whether the run has the date of ours that was sent last: then that request has created it."""
        if self.proof is Proof.REPLY or not self.dates:
            return False
        return self._ours_of(run) == self.dates[-1]

    def _ours_of(self, run: ChildRun | Baseline) -> datetime | None:
        """Return what the run has in the place of the date that is ours."""
        return run.run_after if self.proof is Proof.RUN_AFTER else run.logical_date

    def _is_ours(self, seen: datetime | None, tag: int, run: ChildRun, attempt: Attempt) -> bool:
        if seen is not None:
            # The tag alone, without the very date: from an execution of this try, or a try, whose entry is lost. Under
            # a fixed identity the tag is the same in every life of the parent, and another may have it by chance.
            is_tagged = seen.microsecond == tag and (not self.is_fixed or _is_likely_ours(seen, run, attempt))
            if seen in self.dates or seen == self.adopted or is_tagged:
                return True
        return self.is_reset_done(run)

    def is_reset_pending(self, run: ChildRun) -> bool:
        """Return whether the recorded reset has not reached the run yet."""
        return self.reset is not None and self.reset.is_of(run) and self.reset.clear_number == (run.clear_number or 0)

    def is_reset_done(self, run: ChildRun) -> bool:
        """
        Return whether it has reached the run, or a person has cleared the run since.

        A run that this task has reset counts as its own, whoever started it; one whose reset has not arrived does not.
        """
        return self.reset is not None and self.reset.is_of(run) and not self.is_reset_pending(run)


def baseline_of(run: ChildRun) -> Baseline:
    """Return what the run is like before its reset."""
    return Baseline(run.clear_number or 0, run.logical_date, run.run_after)


def _is_likely_ours(seen: datetime, run: ChildRun, attempt: Attempt) -> bool:
    """
    Return whether a run with a fixed identity and our tag carries our request, and is of this life of the parent.

    Our date is the current time, or up to two seconds earlier; so in this life it comes after the start of the
    parent's Dag run, unless a clear has moved that.
    """
    before = _start_of_life(attempt)
    return run.is_same_request is True and (before is None or seen >= before - TAG_REACH)


def _is_of_earlier_life(run: ChildRun, attempt: Attempt) -> bool:
    """Return whether a run without a date of ours began before the parent's Dag run did."""
    before = _start_of_life(attempt)
    return before is not None and run.started_at is not None and run.started_at < before


def _start_of_life(attempt: Attempt) -> datetime | None:
    """
    Return when the parent's Dag run first started; None if that can no longer be known.

    A clear of a finished Dag run moves its start, and every clear raises ``clear_number`` (3.2 and later,
    ``models/taskinstance.py``, ``clear_task_instances``; only there a look-up says when a run began).
    """
    return None if attempt.clear_number or attempt.last_cleared_try else attempt.parent.started_at
