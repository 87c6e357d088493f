"""
The decision tables, asked from :mod:`airflow_durable.core.decide`.

A row is a condition in words and as a predicate. What it leads to is not written here: every combination of inputs is
put to the real function, and the row shows what the function answers. A row whose inputs get two answers, an input
that no row covers, or a row that no input reaches, is an error.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Generic, TypeVar

from airflow_durable.core.decide import decide, plan
from airflow_durable.core.model import Attempt, ChildRun, Decision, Look, Mode, Request
from airflow_durable.core.record import Baseline, Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Case = TypeVar("Case")

LOOK_UP = "the recorded run is looked up"
_OURS = datetime(2026, 1, 1, tzinfo=timezone.utc)
_THEIRS = datetime(2025, 1, 1, tzinfo=timezone.utc)


class TableError(Exception):
    """The table does not tell what the code does."""


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
    """A row as it is shown."""

    condition: str
    decision: str


@dataclass(frozen=True)
class PlanCase:
    """What :func:`plan` is asked."""

    is_recorded: bool
    is_consumed: bool
    is_cleared: bool
    is_same_request: bool

    def ask(self) -> Decision | None:
        """Return the function's answer."""
        record = _record(is_consumed=self.is_consumed) if self.is_recorded else None
        request = _request(digest="same" if self.is_same_request else "other")
        return plan(
            record, request, Attempt(try_number=2, max_tries=4 if self.is_cleared else 3, retries=3, clear_number=0)
        )


@dataclass(frozen=True)
class RunCase:
    """What :func:`decide` is asked."""

    seen: Look | str
    mode: Mode
    is_fixed: bool
    is_author: bool
    is_reset_pending: bool
    is_reset_asked: bool
    is_same_identity: bool

    @property
    def is_possible(self) -> bool:
        """Only a fixed identity can be somebody else's, have a reset, or be another one than asked for now."""
        return self.is_fixed or (self.is_author and not self.is_reset_pending and self.is_same_identity)

    def ask(self) -> Decision:
        """Return the function's answer."""
        date = _OURS if self.is_author else _THEIRS
        record = _record(is_fixed=self.is_fixed, reset=Baseline(7, date) if self.is_reset_pending else None)
        if not self.is_author and self.is_reset_pending:
            # The run under our id is neither the one that we made nor the one that was to be reset.
            record = _record(is_fixed=True, reset=Baseline(7, _OURS))
        run_id = record.run_id if self.is_same_identity else "another"
        request = _request(mode=self.mode, run_id=run_id if self.is_fixed else None, is_reset=self.is_reset_asked)
        return decide(record, request, self.seen if isinstance(self.seen, Look) else ChildRun(self.seen, 7, date))


PLAN_ROWS: tuple[Row[PlanCase], ...] = (
    Row("there is no record", lambda case: not case.is_recorded),
    Row(
        "its outcome was consumed, and this is an automatic retry",
        lambda case: case.is_consumed and not case.is_cleared,
    ),
    Row("its outcome was consumed, and a person cleared the task", lambda c: c.is_consumed),
    Row(
        "its outcome was not consumed, a person cleared the task, and the task asks for something else now "
        "(child Dag, conf or fixed identity)",
        lambda case: case.is_cleared and not case.is_same_request,
    ),
    Row("anything else: a retry, or a clear of a task that had not got its outcome", lambda _: True),
)

RUN_ROWS: tuple[Row[RunCase], ...] = (
    Row("is missing: it was never created, or it was deleted", lambda case: case.seen is Look.MISSING),
    Row("cannot be read: the look-up failed for another reason", lambda case: case.seen is Look.UNREADABLE),
    Row("is not ours: somebody else's run has our fixed `trigger_run_id`", lambda case: not case.is_author),
    Row("is to be reset, and the recorded reset has not reached it", lambda case: case.is_reset_pending),
    Row("exists, in any state, and the mode is fire-and-forget", lambda case: case.mode is Mode.FIRE_AND_FORGET),
    Row("is in a failed state, with a generated identity", lambda case: case.seen == "failed" and not case.is_fixed),
    Row(
        "is in a failed state, with a fixed identity which the task does not ask for any more",
        lambda case: case.seen == "failed" and not case.is_same_identity,
    ),
    Row(
        "is in a failed state, with a fixed identity and `reset_dag_run`",
        lambda case: case.seen == "failed" and case.is_reset_asked,
    ),
    Row("is in a failed state, with a fixed identity, without `reset_dag_run`", lambda case: case.seen == "failed"),
    Row("is in an allowed state", lambda case: case.seen == "success"),
    Row("is in any other state: queued, running, or one of Airflow's to come", lambda _: True),
)


def plan_table() -> list[Answer]:
    """Return what is decided before any look-up."""
    cases = [PlanCase(*values) for values in itertools.product((True, False), repeat=4)]
    return _ask(PLAN_ROWS, cases, lambda case: case.ask())


def run_table() -> list[Answer]:
    """Return what is decided about the recorded run."""
    return _ask(RUN_ROWS, list(_run_cases()), lambda case: case.ask())


def _run_cases() -> Iterator[RunCase]:
    seen = (*Look, "success", "failed", "running", "queued", "a state of next year")
    for values in itertools.product(seen, Mode, *[(True, False)] * 5):
        case = RunCase(*values)
        if case.is_possible:
            yield case


def _ask(rows: tuple[Row[Case], ...], cases: list[Case], ask: Callable[[Case], Decision | None]) -> list[Answer]:
    answers: dict[str, set[Decision | None]] = {row.condition: set() for row in rows}
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
    return [Answer(condition, _name(next(iter(decisions)))) for condition, decisions in answers.items()]


def _name(decision: Decision | None) -> str:
    return LOOK_UP if decision is None else decision.value


def _record(*, is_consumed: bool = False, is_fixed: bool = False, reset: Baseline | None = None) -> Record:
    return Record(
        dag_id="child",
        run_id="run",
        logical_date=_OURS,
        is_fixed=is_fixed,
        is_date_ours=True,
        digest="same",
        mode=Mode.WAIT,
        max_tries=3,
        clear_number=0,
        reset=reset,
        is_consumed=is_consumed,
    )


def _request(
    *, digest: str = "same", mode: Mode = Mode.WAIT, run_id: str | None = None, is_reset: bool = False
) -> Request:
    return Request(
        dag_id="child",
        run_id=run_id,
        logical_date=None,
        is_date_ours=True,
        digest=digest,
        mode=mode,
        allowed_states=frozenset({"success"}),
        failed_states=frozenset({"failed"}),
        is_reset=is_reset,
    )
