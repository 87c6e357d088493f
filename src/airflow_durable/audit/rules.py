"""
What a duplicate is, and how sure that is. Pure: no Airflow, no clock, no I/O.

A stock attempt starts one run at most, soon after its own start, and only the last attempt's run is named by what the
parent leaves behind (XCom is cleared at each start). So a run that an operator triggered, that began within an earlier
attempt's time, and that no parent claims, is that attempt's lost run. Whether it is a *duplicate* depends on what came
next:

==============================================  ==================================================================
the attempt that started the run                then
----------------------------------------------  ------------------------------------------------------------------
succeeded                                       RERUN: a person wanted the work done again
ended without success, and no later attempt
has started a run                               NO_SECOND_RUN
ended without success, its run had failed
before the later attempt began, and the parent
waits for its child                             CHILD_FAILED: a fresh run was due
ended without success, and its run was cleared
since                                           a duplicate, ``possible``: the run may have failed before
ended without success, and a person cleared it  a duplicate, ``possible``: they may have wanted a second run
ended without success, and was retried          a duplicate, as sure as the evidence that the run is the attempt's
==============================================  ==================================================================
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow_durable.audit.model import Dismissal, Evidence, Finding, Sureness, TriggeredRun
from airflow_durable.core.run_ids import is_generated

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from airflow_durable.audit.model import Instance, Trace
    from airflow_durable.metadata.model import InstanceKey, TaskTry

TRIGGER_LIMIT = timedelta(minutes=5)
"""An operator triggers as soon as its task has been imported. What began later in an attempt may be another's."""

CONFIRMATION_LIMIT = timedelta(minutes=1)

_OPENLINEAGE = "openlineage"


def began(logical_date: datetime | None, run_after: datetime | None, queued_at: datetime | None) -> datetime | None:
    """
    Return when a run was requested.

    The operator takes the present moment as the logical date, and the server takes its own as ``run_after``: where the
    two are close, the first is the moment itself, on the clock of the attempt. Else the user fixed one of them, and
    ``queued_at`` tells, though a clear of the run moves it. None: nothing tells.
    """
    if logical_date and run_after and timedelta(0) <= run_after - logical_date <= CONFIRMATION_LIMIT:
        return logical_date
    return queued_at or run_after


def is_cleared(began_at: datetime, queued_at: datetime | None) -> bool:
    """Return whether a run was cleared since it began (or queued by a person): nothing else queues it anew."""
    return queued_at is not None and queued_at - began_at > CONFIRMATION_LIMIT


def is_durable_run_id(run_id: str) -> bool:
    """Return whether a durable parent has chosen this run id (``core/run_ids.py``)."""
    return is_generated(run_id)


def digest_conf(conf: Any) -> tuple[str, str | None]:  # noqa: ANN401 - it is as the user made it
    """Return the digest of a conf, and who OpenLineage says has made the run. Neither holds a value of the conf."""
    made_by = None
    if isinstance(conf, dict) and _OPENLINEAGE in conf:
        said = conf[_OPENLINEAGE]
        name = said.get("parentJobName") if isinstance(said, dict) else None
        made_by = name if isinstance(name, str) else None
        conf = {key: value for key, value in conf.items() if key != _OPENLINEAGE}
    text = json.dumps(conf or {}, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest(), made_by


def order(attempts: list[TaskTry]) -> tuple[TaskTry, ...]:
    """
    Return the attempts that ran, the oldest first, each once.

    Where an attempt is given twice, the first one stands. One that was only queued has the start of the one before it.
    """
    unique: dict[int, TaskTry] = {}
    for attempt in attempts:
        unique.setdefault(attempt.try_number, attempt)
    ran: list[TaskTry] = []
    for attempt in sorted(unique.values(), key=lambda attempt: attempt.try_number):
        if not ran or attempt.began_at > ran[-1].began_at:
            ran.append(attempt)
    return tuple(ran)


def without_dates(one: TaskTry) -> TaskTry:
    """Return a try that has not begun without the dates of the one before it, which its row has until it begins."""
    return replace(one, start_date=None, end_date=None) if one.state in (None, "scheduled", "queued") else one


@dataclass(frozen=True)
class Host:
    """An attempt that may have started a run."""

    instance: Instance
    attempt: TaskTry

    @property
    def key(self) -> tuple[InstanceKey, int]:
        """Return what tells it from every other."""
        return self.instance.key, self.attempt.try_number

    @property
    def is_lost(self) -> bool:
        """Return whether a run of this attempt is one that its parent lost: it failed, and another attempt followed."""
        return self.attempt.state != "success" and self.attempt.try_number < self.instance.attempts[-1].try_number

    def is_in_lineage_of(self, run: TriggeredRun) -> bool:
        """Return whether OpenLineage names the attempt's task as the parent of the run."""
        return run.made_by == ".".join(self.instance.key.task)


@dataclass(frozen=True)
class Case:
    """
    A run, and the attempt that it is ascribed to.

    :param rivals: other parents that may have started it, and of which it would be no duplicate.
    :param twins: other parents that may have started it, and of which it would be a duplicate just as well.
    :param is_contested: the attempt may have started another run instead.
    """

    run: TriggeredRun
    host: Host
    rivals: tuple[InstanceKey, ...] = ()
    twins: tuple[InstanceKey, ...] = ()
    is_contested: bool = False


def waits(trace: Trace, last: TaskTry, own: TriggeredRun | None) -> bool:
    """Return whether the parent waits for its child: as it says, or because it has not succeeded before its child."""
    if trace.waits is not None:
        return trace.waits
    if own is None or last.state != "success" or last.end_date is None:
        return True
    return own.end_date is not None and own.end_date <= last.end_date


def judge(
    case: Case, trace: Trace, runs: Mapping[int, TriggeredRun], own: tuple[int, str] | None
) -> Finding | Dismissal:
    """
    Say whether the run is a duplicate, and how sure that is.

    ``certain``: the attempt was retried by the scheduler; no other attempt in the database can have started the run;
    the run began within :data:`TRIGGER_LIMIT` of the attempt's start; the parent names the run of a later attempt; and
    the two runs have the same conf. ``likely``: one or both of the last two do not hold, or another parent is there of
    which it would be a duplicate as well. ``possible``: anything else, a person's clear of the parent or of the run
    among it, or a run that had failed and whose parent does not seem to wait for it.

    :param trace: of the parent.
    :param runs: the runs of the parent's attempts, as far as known, by try number.
    :param own: the run that the parent names, and the attempt that started it.
    """
    parent, attempt, run = case.host.instance, case.host.attempt, case.run
    if attempt.state == "success":
        return Dismissal.RERUN
    starters = {number: known.key.run_id for number, known in runs.items()} | (dict([own]) if own else {})
    later = next((one for one in parent.attempts if _is_later(one, attempt) and one.try_number in starters), None)
    if later is None:
        return Dismissal.NO_SECOND_RUN
    is_waiting = waits(trace, parent.attempts[-1], runs.get(own[0]) if own else None)
    had_failed = run.state == "failed" and run.end_date is not None and run.end_date <= later.began_at
    if had_failed and is_waiting and not run.is_cleared:
        return Dismissal.CHILD_FAILED
    is_retry = later.max_tries == attempt.max_tries
    is_prompt = run.began - attempt.began_at <= TRIGGER_LIMIT
    is_named = own is not None and own[0] >= later.try_number
    twin = runs.get(later.try_number)
    is_same = case.host.is_in_lineage_of(run) or (twin is not None and twin.digest == run.digest)
    is_alone = not case.rivals and not case.is_contested
    is_guessed = had_failed and trace.waits is None
    if not (is_retry and is_prompt and is_alone) or is_guessed or run.is_cleared:
        sureness = Sureness.POSSIBLE
    elif is_named and is_same and not case.twins:
        sureness = Sureness.CERTAIN
    else:
        sureness = Sureness.LIKELY
    return Finding(
        sureness=sureness,
        parent=parent.key,
        attempt=attempt,
        run=run,
        later=run.key._replace(run_id=starters[later.try_number]),
        later_try=later.try_number,
        evidence=tuple(_list_evidence(case, later, is_waiting=is_waiting, is_named=is_named, is_same=is_same)),
        could_also_be=tuple(sorted({*case.rivals, *case.twins})),
    )


def _is_later(one: TaskTry, attempt: TaskTry) -> bool:
    return one.try_number > attempt.try_number


def _list_evidence(case: Case, later: TaskTry, *, is_waiting: bool, is_named: bool, is_same: bool) -> list[Evidence]:
    """Return what a finding is based on, what speaks against it included."""
    attempt, run = case.host.attempt, case.run
    delay = (run.began - attempt.began_at).total_seconds()
    said = [
        Evidence("operator", "An operator triggered the run, and no task instance names it as its own."),
        Evidence("window", f"It began {delay:.1f} s after try {attempt.try_number} did, within that try's time."),
    ]
    if delay > TRIGGER_LIMIT.total_seconds():
        said.append(Evidence("late", "That is later than an operator usually takes to trigger."))
    if later.max_tries == attempt.max_tries:
        said.append(Evidence("retry", f"Try {attempt.try_number} ended as {attempt.state}; the scheduler retried it."))
    else:
        said.append(
            Evidence(
                "clear",
                f"Try {attempt.try_number} ended as {attempt.state}, and a person cleared it: max_tries went from "
                f"{attempt.max_tries} to {later.max_tries}. They may have wanted a second run.",
            )
        )
    if run.is_cleared:
        says = f"It was cleared since, so it is not known what it was like when try {later.try_number} began."
        said.append(Evidence("cleared_run", says))
    else:
        said.append(Evidence("healthy", _describe_health(run, later, is_waiting=is_waiting)))
    if is_named:
        said.append(Evidence("named", f"The parent names a run of try {later.try_number} or later as its own."))
    else:
        said.append(Evidence("unnamed", "The parent names no run: the later one is known by its time alone."))
    return said + _list_further_evidence(case, is_same=is_same)


def _list_further_evidence(case: Case, *, is_same: bool) -> list[Evidence]:
    """Return what the confs say, and who else may have started the run."""
    said = []
    if case.host.is_in_lineage_of(case.run):
        said.append(Evidence("lineage", "OpenLineage names this task as the run's parent."))
    elif is_same:
        said.append(Evidence("conf", "Both runs have the same conf."))
    else:
        said.append(Evidence("other_conf", "The two runs' confs differ, or one is not there to compare."))
    if case.twins:
        said.append(Evidence("twins", f"It may be a duplicate of {len(case.twins)} other parents instead."))
    if case.rivals:
        said.append(Evidence("rivals", f"{len(case.rivals)} other parents may have started it, once each."))
    if case.is_contested:
        said.append(Evidence("contested", "Another unclaimed run began within the same try, which starts one at most."))
    return said


def _describe_health(run: TriggeredRun, later: TaskTry, *, is_waiting: bool) -> str:
    if run.end_date is None or run.end_date > later.began_at:
        return f"It had not ended when try {later.try_number} began."
    if run.state == "failed" and not is_waiting:
        return f"It had failed when try {later.try_number} began, but the parent only has to start it."
    return f"It was {run.state} when try {later.try_number} began."
