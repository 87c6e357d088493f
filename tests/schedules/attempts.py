"""
Attempts: the real protocol, stopped at each of its calls.

An attempt is what one process of the parent's task executes. It is not modelled: :mod:`airflow_durable.core.protocol`
itself runs, and, where there is no task state store, :class:`airflow_durable.journal.DerivedJournal` itself. To stop it
at a call and to go on from there later, it is executed again from its start, with the outcomes of its earlier calls
replayed from a record (stateless model checking). The code is deterministic but for its calls, so a recorded history
determines where it stands. Each history is executed once; the results are kept in a tree (:class:`Step`).

What is part of a history: the calls through which an attempt touches the world. The clock, sleeping and telling are
answered on the spot.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from types import SimpleNamespace
from typing import TYPE_CHECKING, NamedTuple
from unittest import mock

from airflow_durable import journal
from airflow_durable.core import protocol
from airflow_durable.core.errors import (
    DurableError,
    JournalReadError,
    JournalWriteError,
    LookUpFailedError,
    SubmissionRefusedError,
    SubmissionUnknownError,
)
from airflow_durable.core.model import Attempt, ChildRun, Decision, Look, Mode, Request
from airflow_durable.core.run_ids import generate_run_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow_durable.core.record import Record

POKE_INTERVAL_SECONDS = 60.0
BEGINNING = datetime(2026, 1, 1, tzinfo=timezone.utc)


class Call(NamedTuple):
    """What an attempt asks of the world: at this it stands until the explorer gives it an outcome."""

    kind: str
    """``read``, ``write``, ``look``, ``submit``, ``reset``; and how it ends: ``defer``, ``succeed``, ``fail``."""

    run_id: str = ""
    is_detailed: bool = False
    record: Record | None = None
    error: DurableError | None = None


class Outcome(NamedTuple):
    """
    What the world answers.

    :param error: the name of the failure as in :data:`_ERRORS`; empty: the call succeeds.
    """

    value: Record | ChildRun | bool | None = None
    error: str = ""
    is_lasting: bool = False
    """The same call, repeated after a pause, fails in the same way: the API server stays away for the whole burst."""


_ERRORS: dict[str, Callable[[Call], DurableError]] = {
    "unreadable": lambda call: JournalReadError("no answer"),
    "unwritable": lambda call: JournalWriteError("child", call.run_id, "no answer"),
    "away": lambda call: LookUpFailedError("child", call.run_id, "no answer", is_transient=True),
    "forbidden": lambda call: LookUpFailedError("child", call.run_id, "HTTP 403", is_transient=False),
    "refused": lambda call: SubmissionRefusedError("child", call.run_id, "HTTP 400"),
    "unknown": lambda call: SubmissionUnknownError("child", call.run_id, "no answer"),
}


ENDS = frozenset({"defer", "succeed", "fail"})
STATES = ("running", "success", "failed")
"""Of child runs. A queued one is to the protocol as a running one: neither allowed nor failed."""

SUPERSEDED_OUTCOMES = {"read": Outcome(None), "write": Outcome(error="unwritable")}


class Start(NamedTuple):
    """
    With what an attempt is executed.

    :param execution: tells two executions of one try apart.
    :param resumed: the record and the child's state (None: missing) that ended a deferral; None: not resumed.
    """

    request: Request
    attempt: Attempt
    task_instance: int
    execution: int
    has_store: bool
    resumed: tuple[Record, str | None] | None = None


class Step:
    """
    Where an attempt stands after a history of outcomes. One object for each history.

    :ivar call: what it asks next.
    :ivar is_repetition: it has just asked the same, and paused.
    :ivar lasting: how often in a row this call has failed in a lasting way.
    :ivar seen: each run as its latest look-up told of it (None: missing). For the oracle.
    """

    __slots__ = ("_is_harmless", "_next", "call", "is_repetition", "lasting", "outcomes", "seen", "start")

    def __init__(self, start: Start, outcomes: tuple[Outcome, ...], before: Step | None) -> None:
        self._next: dict[Outcome, Step] = {}
        self.start = start
        self.outcomes = outcomes
        self.call, has_slept = _execute(start, outcomes)
        self.is_repetition = before is not None and has_slept and self.call[:3] == before.call[:3]
        self.lasting = 0
        if before is not None and self.is_repetition and outcomes[-1].is_lasting:
            self.lasting = before.lasting + 1
        self._is_harmless: bool | None = None
        self.seen = _seen(before, outcomes[-1]) if before is not None else _seen_at(start)

    def after(self, outcome: Outcome) -> Step:
        """Return where the attempt stands after its call's outcome."""
        step = self._next.get(outcome)
        if step is None:
            step = self._next[outcome] = Step(self.start, (*self.outcomes, outcome), self)
        return step

    @property
    def is_harmless(self) -> bool:
        """
        Tell whether a superseded attempt that stands here can do nothing any more but ask, whatever it is told.

        Such an attempt can be left out: its reads are answered with nothing, its writes refused, its end unheard.
        Found out by executing it, not taken from what the protocol promises.
        """
        if self._is_harmless is None:
            self._is_harmless = self._find_harmless()
        return self._is_harmless

    def _find_harmless(self) -> bool:
        if self.call.kind in ENDS:
            return True
        if self.call.kind in SUPERSEDED_OUTCOMES:
            return self.after(SUPERSEDED_OUTCOMES[self.call.kind]).is_harmless
        if self.call.kind == "look" and not self.call.is_detailed:
            answers = [Outcome(ChildRun(state)) for state in STATES] + [Outcome(None)]
            if self.is_repetition:
                answers = [answer for answer in answers if answer != self.outcomes[-1]]
            return all(self.after(answer).is_harmless for answer in answers)
        return False


class Tree:
    """All histories seen so far."""

    def __init__(self) -> None:
        self._starts: dict[Start, Step] = {}

    def begin(self, start: Start) -> Step:
        """Return where an attempt stands before its first call."""
        step = self._starts.get(start)
        if step is None:
            step = self._starts[start] = Step(start, (), None)
        return step


class _StopError(BaseException):
    """The attempt has come to a call whose outcome is not known yet. Not an Exception: nothing may catch it."""

    def __init__(self, call: Call) -> None:
        self.call = call


class _ReplayPort:
    """The protocol's port, answered from a history."""

    def __init__(self, start: Start, outcomes: Iterator[Outcome]) -> None:
        self._start = start
        self._outcomes = outcomes
        self._moments = 0
        self.has_slept = False
        self._derived = (
            None
            if start.has_store
            else journal.DerivedJournal(("parent", "run", "task", "-1"), start.request, start.attempt)
        )

    def _ask(self, call: Call) -> Record | ChildRun | bool | None:
        outcome = next(self._outcomes, None)
        if outcome is None:
            raise _StopError(call)
        self.has_slept = False
        if outcome.error:
            raise _ERRORS[outcome.error](call)
        return outcome.value

    def read(self) -> Record | None:
        if self._derived is not None:
            with mock.patch.object(journal, "task_sdk", SimpleNamespace(look_up=self.look_up)):
                return self._derived.read()
        return self._ask(Call("read"))  # type: ignore[return-value] # what a read answers

    def write(self, record: Record) -> None:
        if self._derived is not None:
            self._derived.write(record)
            return
        self._ask(Call("write", record.run_id, record=record))

    def look_up(self, dag_id: str, run_id: str, *, is_detailed: bool) -> ChildRun | None:
        return self._ask(Call("look", run_id, is_detailed))  # type: ignore[return-value] # what a look-up answers

    def submit(self, record: Record) -> bool:
        return bool(self._ask(Call("submit", record.run_id, record=record)))

    def reset(self, record: Record) -> None:
        self._ask(Call("reset", record.run_id, record=record))

    def fresh_run_id(self, generation: int) -> str:
        if self._derived is not None:
            return self._derived.fresh_run_id(generation)
        return generate_run_id(f"ti-{self._start.task_instance}", generation)

    def now(self) -> datetime:
        """Return a moment that no other execution has: in the order of task instances, executions and calls."""
        self._moments += 1
        return BEGINNING + timedelta(
            days=self._start.task_instance,
            hours=self._start.execution,
            minutes=30 if self._start.resumed else 0,
            microseconds=self._moments,
        )

    def sleep(self, seconds: float) -> None:
        self.has_slept = True

    def report(self, decision: Decision, record: Record, seen: ChildRun | Look | None) -> None:
        """Tell nobody."""

    def report_trouble(self, error: Exception) -> None:
        """Tell nobody."""


def _seen_at(start: Start) -> dict[str, ChildRun | None]:
    if start.resumed is None:
        return {}
    record, state = start.resumed
    return {record.run_id: None if state is None else ChildRun(state)}


def _seen(before: Step, outcome: Outcome) -> dict[str, ChildRun | None]:
    if before.call.kind != "look" or outcome.error:
        return before.seen
    return {**before.seen, before.call.run_id: outcome.value if isinstance(outcome.value, ChildRun) else None}


def _execute(start: Start, outcomes: tuple[Outcome, ...]) -> tuple[Call, bool]:
    """Execute an attempt up to its first call without a recorded outcome; return that call, and whether it paused."""
    port = _ReplayPort(start, iter(outcomes))
    try:
        end = _run(port, start)
    except _StopError as stop:
        return stop.call, port.has_slept
    except DurableError as error:
        return Call("fail", error=error), False
    return end, False


def _run(port: _ReplayPort, start: Start) -> Call:
    """Do what ``operators/trigger_dagrun.py`` does with the protocol."""
    request = start.request
    if start.resumed is not None:
        record, state = start.resumed
        if protocol.resume(port, request, record, state):
            return Call("succeed")
        return Call("defer", record.run_id, record=record)
    started = protocol.trigger(port, request, start.attempt)
    if started.is_settled:
        return Call("succeed")
    if request.mode is Mode.DEFER:
        return Call("defer", started.record.run_id, record=started.record)
    protocol.wait(port, request, started, poke_interval=POKE_INTERVAL_SECONDS)
    return Call("succeed")
