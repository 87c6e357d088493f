"""
The decision tables, asked from :mod:`airflow_durable.core.decide`.

A row is a condition, in words and as a predicate. What it leads to is not written here: every combination of inputs is
put to the real function, and the row shows what the function answers. A row whose inputs get two answers, an input
that no row covers, or a row that no input reaches, is an error.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Generic, TypeVar

from airflow_durable.core.decide import decide, plan
from airflow_durable.core.model import (
    Attempt,
    ChildRun,
    Clear,
    Decision,
    Look,
    Mode,
    OnChildFailure,
    OnClear,
    Outcome,
    Parent,
    Phase,
    Proof,
    Request,
)
from airflow_durable.core.record import Baseline, Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

Case = TypeVar("Case")

LOOK_UP = "looks up the recorded run, once"
PHRASES: dict[Decision, str] = {
    Decision.FRESH_SUBMIT: "Starts a fresh run",
    Decision.RESUBMIT: "Sends the request again, under the recorded run id",
    Decision.RECONNECT: "Adopts the run and waits for it",
    Decision.ALREADY_SUCCEEDED: "Succeeds at once, by this run",
    Decision.SUCCEED_AGAIN: "Succeeds again, without a look-up",
    Decision.TERMINAL_RESUBMIT: "Starts a fresh run in place of the failed one",
    Decision.RESUME: "Lets the run continue from where it failed",
    Decision.GIVE_UP: "Fails, without another try",
    Decision.WAIT_OUT: "Waits for the end of the run, then decides again",
    Decision.RESET: "Resets the run",
    Decision.FOREIGN: "Does what the stock operator does",
    Decision.USED_UP: "Fails, or is skipped",
    Decision.REFUSE: "Fails",
}
"""What each decision does, as the end of a row."""

_OURS = datetime(2026, 1, 1, tzinfo=timezone.utc)
_THEIRS = datetime(2025, 1, 1, tzinfo=timezone.utc)
_PARENT = Parent("parent", "run", "task", -1, _OURS)
_ATTEMPT = Attempt(_PARENT, "ti-2", try_number=2, max_tries=3, retries=3, clear_number=0)
_UNLISTED = "failed, in no list"
_STATES = ("success", "failed", _UNLISTED, "running", "a state of next year")


class TableError(Exception):
    """The table does not say what the code does."""


@dataclass(frozen=True)
class Row(Generic[Case]):
    """
    One condition.

    :param applies: whether a case that no earlier row has taken belongs to this one.
    """

    condition: str
    applies: Callable[[Case], bool]


@dataclass(frozen=True)
class Answer:
    """
    A row as it is shown.

    :param decisions: one for each column; None: the recorded run has to be looked up.
    """

    condition: str
    decisions: tuple[Decision | None, ...]


@dataclass(frozen=True)
class Table:
    """
    A table as it is shown.

    :param columns: the names of the columns that hold decisions.
    """

    columns: tuple[str, ...]
    answers: list[Answer]


@dataclass(frozen=True)
class PlanCase:
    """
    What :func:`plan` is asked.

    :param outcome: the recorded one; None: release 0.1.0 recorded none.
    :param was_forgotten: the record was written in fire-and-forget mode.
    """

    is_consumed: bool
    outcome: str | None
    was_forgotten: bool
    is_forgotten: bool
    clear: Clear | None

    @property
    def is_accepted(self) -> bool:
        """Whether the outcome is one that the task accepts now."""
        is_known_good = not self.was_forgotten if self.outcome is None else self.outcome == "success"
        return self.is_forgotten or is_known_good

    def ask(self) -> Decision | None:
        """Return the function's answer."""
        record = replace(
            _record(is_consumed=self.is_consumed),
            mode=_mode(is_forgotten=self.was_forgotten),
            outcome=Outcome("child", "run", self.outcome, _OURS) if self.outcome else None,
        )
        request = Request(
            dag_id="child",
            run_id=None,
            logical_date=None,
            is_date_ours=True,
            is_run_after_ours=True,
            mode=_mode(is_forgotten=self.is_forgotten),
            allowed_states=frozenset({"success"}),
            failed_states=frozenset({"failed"}),
        )
        return plan(record, request, self.clear)


@dataclass(frozen=True)
class RunCase:
    """
    What :func:`decide` is asked.

    :param is_same_conf: None: this Airflow does not say (3.0, 3.1).
    :param is_newer: whether something upstream ran again; None: not known.
    :param is_later_call: the task makes several calls, and the first of them asks for the work anew.
    """

    seen: Look | str
    is_forgotten: bool
    is_fixed: bool
    is_author: bool
    is_reset_pending: bool
    is_reset_asked: bool
    is_same_identity: bool
    is_same_date: bool
    is_same_conf: bool | None
    clear: Clear | None
    is_newer: bool | None
    is_later_call: bool

    @property
    def is_possible(self) -> bool:
        """Only a fixed identity is ever reset; and where the answer of a look-up is needed, it is waited for."""
        if self.is_later_call and not self.is_anew:
            return False
        if not self.is_fixed and (self.is_reset_pending or self.is_reset_asked):
            return False
        return self.seen is not Look.UNREADABLE or (self.is_same_identity and not self.is_reset_pending)

    @property
    def is_unseen(self) -> bool:
        """Whether there is no run to decide about."""
        return isinstance(self.seen, Look)

    @property
    def is_other_life(self) -> bool:
        """Whether a Dag run of before had a task of the same name, which started it."""
        return not self.is_author and not self.is_fixed

    @property
    def is_ended(self) -> bool:
        """Whether nothing happens in the run any more."""
        return self.seen in {"success", "failed", _UNLISTED}

    @property
    def is_failed(self) -> bool:
        """Whether the run has failed, for a task that waits."""
        return self.seen in {"failed", _UNLISTED}

    @property
    def is_done(self) -> bool:
        """Whether the run has done its part."""
        return self.is_forgotten or self.seen == "success"

    @property
    def is_same_request(self) -> bool:
        """Whether it is known to be what the task asks for now."""
        return self.is_same_identity and self.is_same_date and self.is_same_conf is True

    @property
    def is_replaceable(self) -> bool:
        """Whether there can be a fresh run beside the recorded one."""
        return not self.is_fixed or not self.is_same_identity

    @property
    def is_given_up(self) -> bool:
        """Whether it was to be reset, and is not any more: the task does not ask for that now."""
        return self.is_reset_pending and not (self.is_reset_asked and self.is_same_identity)

    @property
    def is_used(self) -> bool:
        """Whether its outcome does not count, whatever the task asks for."""
        return self.is_anew or self.is_given_up

    @property
    def is_anew(self) -> bool:
        """Whether the clear asks for the work anew, whatever the run is."""
        return self.clear is not None and self.clear.is_anew

    def ask(self, on_clear: OnClear) -> Decision:
        """Return the function's answer."""
        date = _OURS if self.is_author else _THEIRS
        # Where the run is not ours, it is not the one that was to be reset either.
        reset = Baseline(7, _OURS) if self.is_reset_pending else None
        record = _record(is_fixed=self.is_fixed, reset=reset)
        other = "another run id" if self.is_fixed else None
        request = Request(
            dag_id="child" if self.is_same_identity or self.is_fixed else "another Dag",
            run_id=record.run_id if self.is_fixed and self.is_same_identity else other,
            logical_date=None if self.is_same_date else _THEIRS,
            is_date_ours=self.is_same_date,
            is_run_after_ours=True,
            mode=_mode(is_forgotten=self.is_forgotten),
            allowed_states=frozenset({"success"}),
            failed_states=frozenset() if self.seen == _UNLISTED else frozenset({"failed"}),
            is_reset=self.is_reset_asked,
            on_clear=on_clear,
            call=2 if self.is_later_call else 1,
            epoch=1 if self.is_later_call else None,
        )
        if isinstance(self.seen, Look):
            seen: ChildRun | Look = self.seen
        else:
            state = "failed" if self.seen == _UNLISTED else self.seen
            seen = ChildRun(state, 7, date, is_same_request=self.is_same_conf)
        return decide(record, request, _ATTEMPT, seen, self.clear, is_upstream_newer=self.is_newer)


@dataclass(frozen=True)
class FailureCase:
    """
    What :func:`decide` is asked about a failed run, after an automatic retry.

    :param is_same_conf: the run has the conf that the task asks for now.
    :param is_proven: something of the run itself shows that this task started it.
    """

    is_fixed: bool
    is_same_conf: bool
    is_reset_asked: bool
    is_proven: bool

    def ask(self, on_child_failure: OnChildFailure) -> Decision:
        """Return the function's answer."""
        record = _record(is_fixed=self.is_fixed)
        if self.is_fixed and not self.is_proven:
            record = replace(record, proof=Proof.REPLY, phase=Phase.SENT)
        request = Request(
            dag_id="child",
            run_id=record.run_id if self.is_fixed else None,
            logical_date=None,
            is_date_ours=True,
            is_run_after_ours=True,
            mode=Mode.WAIT,
            allowed_states=frozenset({"success"}),
            failed_states=frozenset({"failed"}),
            is_reset=self.is_reset_asked,
            on_child_failure=on_child_failure,
        )
        return decide(record, request, _ATTEMPT, ChildRun("failed", 7, _OURS, is_same_request=self.is_same_conf), None)


FAILURE_ROWS: tuple[Row[FailureCase], ...] = (
    Row(
        "Its run id is generated, and it carries the same request.",
        lambda case: not case.is_fixed and case.is_same_conf,
    ),
    Row("Its run id is generated, and the task now asks for another conf.", lambda case: not case.is_fixed),
    Row(
        "Its run id is fixed, something of the run shows that this task started it, and `reset_dag_run` is set.",
        lambda case: case.is_proven and case.is_reset_asked,
    ),
    Row("Its run id is fixed, and something of the run shows that this task started it.", lambda case: case.is_proven),
    Row(
        "Its run id is fixed, only the reply that created it showed that, and `reset_dag_run` is set.",
        lambda case: case.is_reset_asked,
    ),
    Row("Its run id is fixed, and only the reply that created it showed that.", lambda _: True),
)

PLAN_ROWS: tuple[Row[PlanCase], ...] = (
    Row(
        "The record says that success was about to be reported, this is an automatic retry, and the task still accepts "
        "that outcome.",
        lambda case: case.is_consumed and case.clear is None and case.is_accepted,
    ),
    Row("Anything else.", lambda _: True),
)

_OTHER_LIFE: tuple[Row[RunCase], ...] = (
    Row(
        "It belongs to an earlier Dag run of the same name as this one, and has ended.",
        lambda case: case.is_other_life and case.is_ended,
    ),
    Row(
        "It belongs to an earlier Dag run of the same name, is active, and carries the same request.",
        lambda case: case.is_other_life and case.is_same_conf is True,
    ),
    Row(
        "It belongs to an earlier Dag run of the same name and is active, with another request; fire-and-forget.",
        lambda case: case.is_other_life and case.is_forgotten,
    ),
    Row(
        "It belongs to an earlier Dag run of the same name and is active, with another request; the task waits.",
        lambda case: case.is_other_life,
    ),
)

_TO_BE_RESET: tuple[Row[RunCase], ...] = (
    Row(
        "It was to be reset, that has not happened yet, and the task still asks for it.",
        lambda case: case.is_reset_pending and case.is_reset_asked and case.is_same_identity,
    ),
)

RETRY_ROWS: tuple[Row[RunCase], ...] = (
    Row(
        "It does not exist: it was never created, or it was deleted.",
        lambda case: case.seen is Look.MISSING and case.is_same_identity,
    ),
    Row(
        "It does not exist, and the task now asks for another Dag or another fixed run id.",
        lambda case: case.seen is Look.MISSING,
    ),
    Row("It cannot be read: the look-up failed for another reason.", lambda case: case.is_unseen),
    Row(
        "It has a fixed run id, and nothing shows that this task started it.",
        lambda case: case.is_fixed and not case.is_author and case.is_same_identity,
    ),
    Row(
        "It has a fixed run id, nothing shows that this task started it, and the task now asks for another Dag or "
        "another run id.",
        lambda case: case.is_fixed and not case.is_author,
    ),
    *_OTHER_LIFE,
    *_TO_BE_RESET,
    Row(
        "It was to be reset, but the task now asks for another Dag or another run id; it has done its part.",
        lambda case: case.is_given_up and case.is_done and not case.is_same_identity,
    ),
    Row(
        "It was to be reset, but `reset_dag_run` is not set any more; it has done its part.",
        lambda case: case.is_given_up and case.is_done,
    ),
    Row(
        "It was to be reset, but the task no longer asks for that; it is active and carries the same request.",
        lambda case: case.is_given_up and not case.is_failed and case.is_same_request,
    ),
    Row(
        "It was to be reset, but the task no longer asks for that; it is active, with another request.",
        lambda case: case.is_given_up and not case.is_failed,
    ),
    Row("It exists, in any state, and the mode is fire-and-forget.", lambda case: case.is_forgotten),
    Row(
        "It has failed, and its run id is generated, or is not the one that the task now asks for.",
        lambda case: case.is_failed and case.is_replaceable,
    ),
    Row(
        "It has failed, its run id is fixed, and `reset_dag_run` is set.",
        lambda case: case.is_failed and case.is_reset_asked,
    ),
    Row("It has failed, its run id is fixed, and `reset_dag_run` is not set.", lambda case: case.is_failed),
    Row("It is in an allowed state.", lambda case: case.is_done),
    Row("It is active: queued, running, or in a state that this release does not know.", lambda _: True),
)

_CLEAR_UNSEEN: tuple[Row[RunCase], ...] = (
    Row(
        "It does not exist or cannot be read. The task's success had been marked, or its record was lost.",
        lambda case: case.is_unseen and case.is_anew and not case.is_later_call,
    ),
    Row(
        "It does not exist, and the task now asks for another Dag or another fixed run id.",
        lambda case: case.seen is Look.MISSING and not case.is_same_identity,
    ),
    Row(
        "It does not exist or cannot be read. The task had not finished (of several calls: this one had not).",
        lambda case: case.is_unseen,
    ),
)

CLEAR_ROWS: tuple[Row[RunCase], ...] = (
    *_CLEAR_UNSEEN,
    *_OTHER_LIFE,
    Row(
        "It has done its part, and the task's success had been marked (or the record was lost).",
        lambda case: case.is_done and case.is_anew,
    ),
    Row(
        "It has done its part and carries the same request; nothing upstream of the task has run again.",
        lambda case: case.is_done and case.is_same_request and case.is_newer is False,
    ),
    Row(
        "It has done its part, but the request has changed, or something upstream has run again, or that cannot "
        "be known.",
        lambda case: case.is_done,
    ),
    Row("It has failed.", lambda case: case.is_failed),
    Row("It is active and carries the same request.", lambda case: case.is_same_request),
    Row("It is active, and is not known to carry the same request.", lambda _: True),
)

CLEAR_FIXED_ROWS: tuple[Row[RunCase], ...] = (
    *_CLEAR_UNSEEN,
    Row(
        "It shows nothing to prove that this task started it.",
        lambda case: not case.is_author and case.is_same_identity,
    ),
    Row(
        "It shows nothing to prove that this task started it, and the task now asks for another run id.",
        lambda case: not case.is_author,
    ),
    *_TO_BE_RESET,
    Row(
        "It has done its part, the task's success had been marked, and `reset_dag_run` is set.",
        lambda case: case.is_done and case.is_used and case.is_reset_asked and case.is_same_identity,
    ),
    Row(
        "It has done its part, and the task's success had been marked, or the run was to be reset.",
        lambda case: case.is_done and case.is_used and case.is_same_identity,
    ),
    Row(
        "It has done its part and carries the same request; nothing upstream has run again; `reset_dag_run` is set.",
        lambda case: case.is_done and case.is_same_request and case.is_newer is False and case.is_reset_asked,
    ),
    Row(
        "It has done its part and carries the same request; nothing upstream has run again.",
        lambda case: case.is_done and case.is_same_request and case.is_newer is False,
    ),
    Row(
        "It has done its part, the task now asks for another run id, and the task's success had been marked, or the "
        "run was to be reset.",
        lambda case: case.is_done and case.is_used,
    ),
    Row(
        "It has done its part, and the task now asks for another run id.",
        lambda case: case.is_done and not case.is_same_identity,
    ),
    Row(
        "It has done its part, but the request has changed, or something upstream has run again, or that cannot "
        "be known; `reset_dag_run` is set.",
        lambda case: case.is_done and case.is_reset_asked,
    ),
    Row(
        "It has done its part, but the request has changed, or something upstream has run again, or that cannot "
        "be known.",
        lambda case: case.is_done,
    ),
    Row(
        "It has failed, and the task now asks for another run id.",
        lambda case: case.is_failed and case.is_replaceable,
    ),
    Row("It has failed, and `reset_dag_run` is set.", lambda case: case.is_failed and case.is_reset_asked),
    Row("It has failed.", lambda case: case.is_failed),
    Row(
        "It is active and carries the same request; `reset_dag_run` is set.",
        lambda case: case.is_same_request and case.is_reset_asked,
    ),
    Row("It is active and carries the same request.", lambda case: case.is_same_request),
    Row(
        "It is active, and the task now asks for another run id; `reset_dag_run` is set.",
        lambda case: case.is_reset_asked and not case.is_same_identity,
    ),
    Row(
        "It is active, and is not known to carry the same request; `reset_dag_run` is set.",
        lambda case: case.is_reset_asked,
    ),
    Row("It is active, and is not known to carry the same request.", lambda _: True),
)


def record_table() -> Table:
    """Return what is decided before any look-up."""
    both = (True, False)
    clears = (None, Clear(is_anew=False), Clear(is_anew=True))
    outcomes = (None, "success", "failed", "running")
    cases = [PlanCase(*values) for values in itertools.product(both, outcomes, both, both, clears)]
    return Table(("this try",), _ask(PLAN_ROWS, cases, lambda case: (case.ask(),)))


def retry_table() -> Table:
    """
    Return what an automatic retry decides about the recorded run.

    ``on_clear`` counts here only where an earlier Dag run had this one's name, so that nobody retries its task: the
    table has the default there.
    """
    cases = list(_run_cases((True, False), (None,), (None,)))
    return Table(("this try",), _ask(RETRY_ROWS, cases, lambda case: (case.ask(OnClear.AUTO),)))


def failure_table() -> Table:
    """Return what an automatic retry decides about a recorded run that has failed, by ``on_child_failure``."""
    cases = [
        FailureCase(*values) for values in itertools.product((True, False), (True, False), (True, False), (True, False))
    ]
    columns = tuple(f'`on_child_failure="{choice.value}"`' for choice in OnChildFailure)
    return Table(columns, _ask(FAILURE_ROWS, cases, lambda case: tuple(case.ask(choice) for choice in OnChildFailure)))


def clear_table() -> Table:
    """Return what a try after a person's clear decides about a recorded run with a generated run id."""
    return _clear_table(CLEAR_ROWS, is_fixed=False)


def clear_fixed_table() -> Table:
    """Return what a try after a person's clear decides about a recorded run with a fixed identity."""
    return _clear_table(CLEAR_FIXED_ROWS, is_fixed=True)


def _clear_table(rows: tuple[Row[RunCase], ...], *, is_fixed: bool) -> Table:
    clears = (Clear(is_anew=False), Clear(is_anew=True))
    cases = list(_run_cases((is_fixed,), clears, (True, False, None)))
    columns = tuple(f'`on_clear="{choice.value}"`' for choice in OnClear)
    return Table(columns, _ask(rows, cases, lambda case: tuple(case.ask(choice) for choice in OnClear)))


def _run_cases(
    fixed: Sequence[bool], clears: Sequence[Clear | None], newer: Sequence[bool | None]
) -> Iterator[RunCase]:
    both = (True, False)
    for values in itertools.product(
        (*Look, *_STATES), both, fixed, both, both, both, both, both, (True, False, None), clears, newer, both
    ):
        case = RunCase(*values)
        if case.is_possible:
            yield case


def _ask(
    rows: tuple[Row[Case], ...], cases: list[Case], ask: Callable[[Case], tuple[Decision | None, ...]]
) -> list[Answer]:
    answers: dict[str, set[tuple[Decision | None, ...]]] = {row.condition: set() for row in rows}
    for case in cases:
        row = next((row for row in rows if row.applies(case)), None)
        if row is None:
            message = f"No row of the table covers {case}."
            raise TableError(message)
        answers[row.condition].add(ask(case))
    for condition, decisions in answers.items():
        if len(decisions) != 1:
            message = f"The row {condition!r} has {len(decisions)} answers: {decisions}."
            raise TableError(message)
    return [Answer(condition, next(iter(decisions))) for condition, decisions in answers.items()]


def _mode(*, is_forgotten: bool) -> Mode:
    return Mode.FIRE_AND_FORGET if is_forgotten else Mode.WAIT


def _record(*, is_consumed: bool = False, is_fixed: bool = False, reset: Baseline | None = None) -> Record:
    return Record(
        dag_id="child",
        run_id="run",
        proof=Proof.LOGICAL_DATE if is_fixed else Proof.RUN_ID,
        mode=Mode.WAIT,
        max_tries=3,
        clear_number=0,
        logical_date=_OURS,
        dates=(_OURS,),
        phase=Phase.CONSUMED if is_consumed else Phase.SENT,
        reset=reset,
    )
