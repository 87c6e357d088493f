"""
Tries: the real protocol, stopped at each of its calls.

A try is what one process of a parent's task executes. It is not modelled: :mod:`airflow_durable.core` itself runs, and,
where there is a task state store, :class:`airflow_durable.task.journal.StoreJournal`. To stop it at a call and to
continue from there later, it is executed again from its start, with the outcomes of its earlier calls replayed
(stateless model checking). The code is deterministic but for its calls, so a history of outcomes determines where it
stands. Each history is executed once; the results are kept in a tree (:class:`Step`).

What is part of a history: the calls through which a try touches the world. The clock, sleeping and reporting are
answered on the spot.
"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from types import EllipsisType, SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest import mock
from weakref import WeakValueDictionary

from airflow_durable.core import protocol, timeouts, waiting
from airflow_durable.core.errors import (
    DurableError,
    LookUpFailedError,
    ResultMissingError,
    ResultUnreadableError,
    SubmissionRefusedError,
    SubmissionUnknownError,
)
from airflow_durable.core.model import Attempt, ChildRun, Decision, Look, Mode, OnChildFailure, Outcome, Request
from airflow_durable.core.stored import dump, load
from airflow_durable.server_errors import Failure
from airflow_durable.task import journal
from tests.schedules.world import LEAP, QUEUED, Ask, Kept, moment_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime

    from airflow_durable.core.record import Record

POKE_INTERVAL_SECONDS = 60.0
DEFER_AFTER_SECONDS = 0.5
"""Less than a pause: it looks twice, then it defers."""

Answer = Kept | ChildRun | bool | int | None


class Payload(NamedTuple):
    """What a request for a run says."""

    dag_id: str
    run_id: str
    date: datetime | None
    run_after: datetime | None
    conf: str
    call: int


class Call(NamedTuple):
    """
    What a try asks of the world: at this it stands until the explorer gives it an outcome.

    :param kind: ``get``, ``set``, ``look``, ``count``, ``newer``, ``tasks``, ``submit``, ``reset``, ``result``; and how
        it ends: ``defer``, ``succeed``, ``fail``.
    :param key: of the store; or the run's.
    :param what: what is stored, or left to the trigger.
    :param states: of runs that are counted, or in which the trigger fires.
    """

    kind: str
    key: str = ""
    dag_id: str = ""
    is_detailed: bool = False
    what: Kept | None = None
    payload: Payload | None = None
    run_ids: tuple[str, ...] = ()
    states: frozenset[str] | None = None
    moment: datetime | None = None
    call: int = 1
    error: DurableError | None = None


class Reply(NamedTuple):
    """
    What the world answers.

    :param error: the name of the failure as in :data:`_ERRORS`; empty: the call succeeds.
    :param is_lasting: the same call, repeated after a pause, fails in the same way: the server stays away for the whole
        burst.
    :param clock: how often the clock had moved by then.
    """

    value: Answer = None
    error: str = ""
    is_lasting: bool = False
    clock: int = 0


class _StoreError(Exception):
    """What a task state store raises."""

    def __init__(self, *, is_transient: bool) -> None:
        super().__init__("no answer")
        self.is_transient = is_transient


_ERRORS: dict[str, Callable[[Call], Exception]] = {
    "no store": lambda call: _StoreError(is_transient=True),
    "superseded": lambda call: _StoreError(is_transient=False),
    "away": lambda call: LookUpFailedError(call.dag_id, call.key, "no answer", is_transient=True),
    "forbidden": lambda call: LookUpFailedError(call.dag_id, call.key, "HTTP 403", is_transient=False),
    "refused": lambda call: SubmissionRefusedError(call.dag_id, call.key, "HTTP 400"),
    "no result": lambda call: ResultMissingError(call.dag_id, call.key, "task", "it has returned none"),
    "unreadable": lambda call: ResultUnreadableError(call.dag_id, call.key, "task", "no answer"),
    "unknown": lambda call: SubmissionUnknownError(call.dag_id, call.key, "no answer"),
}

_HASTE = timedelta(seconds=10)

_MORE_THAN_A_MINUTE = timedelta(seconds=61)
"""What could not be known of a timeout is asked again after a minute."""

ENDS = frozenset({"defer", "succeed", "fail"})
STATES = ("running", "success", "failed")
"""Of child runs. A queued one is to the protocol as a running one: neither allowed nor failed."""

MOST_CLEARS = 4
"""How often a child is cleared or resumed at most, within the bounds."""

SUPERSEDED = {"get": Reply(None), "set": Reply(error="superseded")}
"""What the store answers under a task instance id that is gone."""

_kept: WeakValueDictionary[str, Kept] = WeakValueDictionary()


def keep(value: Any) -> Kept:  # noqa: ANN401 - JSON
    """Return the one object for a value."""
    text = json.dumps(value, sort_keys=True)
    kept = _kept.get(text)
    if kept is None:
        kept = _kept[text] = Kept(text, value)
    return kept


class Wanted(NamedTuple):
    """What one call of the task asks for, by the Dag file as it is."""

    request: Request
    conf: str

    @property
    def ask(self) -> Ask:
        """Return what its run has to be."""
        return Ask(self.request.dag_id, self.conf, self.request.run_id, self.request.logical_date)


class Start(NamedTuple):
    """
    With what a try is executed.

    :param wanted: its calls, in their order.
    :param number: of its task instance.
    :param execution: tells two executions of one try apart.
    :param upstream: see :class:`.world.Task`.
    :param is_waiting_first: a deferrable task waits a while before it defers.
    :param has_result: what the child has returned is wanted.
    :param clock: how often the clock had moved when it began.
    :param resumed: what ended a deferral: the record, the child's state (None: missing), and whether it ended because a
        timeout can be over (then the state says nothing); None: not resumed.
    """

    wanted: tuple[Wanted, ...]
    attempt: Attempt
    number: int
    execution: int
    upstream: int
    has_store: bool
    has_details: bool
    is_waiting_first: bool = False
    has_result: bool = False
    clock: int = 0
    resumed: tuple[Kept, str | None, bool] | None = None


class Step:
    """
    Where a try stands after a history of outcomes. One object for each history.

    :ivar call: what it asks next.
    :ivar is_paused: it has paused since its call before.
    :ivar previous: what it asked before that.
    :ivar is_repetition: it has just asked the same, and paused.
    :ivar lasting: how often in a row this call has failed in a lasting way.
    :ivar seen: each run as its latest look-up told of it (None: missing). For the oracle.
    :ivar looked_at: of which run the latest look-up was.
    """

    __slots__ = (
        "_is_harmless",
        "_next",
        "call",
        "is_paused",
        "is_repetition",
        "lasting",
        "looked_at",
        "outcomes",
        "previous",
        "seen",
        "start",
    )

    def __init__(self, start: Start, outcomes: tuple[Reply, ...], before: Step | None) -> None:
        self._next: dict[Reply, Step] = {}
        self.start = start
        self.outcomes = outcomes
        self.call, self.is_paused = _execute(start, outcomes)
        self.is_repetition = before is not None and self.is_paused and self.call == before.call
        self.previous = before.call if before is not None else None
        self.lasting = 0
        if before is not None and self.is_repetition and outcomes[-1].is_lasting:
            self.lasting = before.lasting + 1
        self._is_harmless: bool | None = None
        self.looked_at: tuple[str, str] = before.looked_at if before is not None else ("", "")
        if before is not None and before.call.kind == "look":
            self.looked_at = (before.call.dag_id, before.call.key)
        self.seen = _seen(before, outcomes[-1]) if before is not None else _seen_at(start)

    @property
    def clock(self) -> int:
        """How often the clock had moved when it was last told something."""
        return self.outcomes[-1].clock if self.outcomes else self.start.clock

    def after(self, outcome: Reply) -> Step:
        """Return where the try stands after its call's outcome."""
        step = self._next.get(outcome)
        if step is None:
            step = self._next[outcome] = Step(self.start, (*self.outcomes, outcome), self)
        return step

    @property
    def is_harmless(self) -> bool:
        """
        Tell whether a superseded try that stands here can do nothing any more but ask, whatever it is told.

        Such a try can be left out: its reads are answered with nothing, its writes refused, its end unheard. Found out
        by executing it, not taken from what the protocol promises.
        """
        if self._is_harmless is None:
            self._is_harmless = self._find_harmless()
        return self._is_harmless

    def _find_harmless(self) -> bool:
        if self.call.kind in ENDS:
            return True
        if self.call.kind in SUPERSEDED:
            return self.after(SUPERSEDED[self.call.kind]._replace(clock=self.clock)).is_harmless
        request = self.start.wanted[0].request
        if request.start_timeout_seconds is not None:
            return self._is_polling_only()
        is_asking = request.on_child_failure is OnChildFailure.RESUME or request.reset_timeout_seconds > 0
        if self.call.kind == "look" and (not self.call.is_detailed or (is_asking and self.is_repetition)):
            numbers = range(MOST_CLEARS) if self.call.is_detailed else (None,)
            answers = [Reply(ChildRun(state, number)) for state in STATES for number in numbers] + [Reply(None)]
            if self.is_repetition:
                answers = [answer for answer in answers if answer != self.outcomes[-1]]
            return all(self.after(answer).is_harmless for answer in answers)
        return False

    def _is_polling_only(self, *, is_second: bool = False) -> bool:
        """
        Tell the same where there is a ``start_timeout``: what it does depends on the clock, too.

        A poll may be followed by a check of the timeout, and then by the next poll, as often as the clock moves and the
        run starts over. So it is executed up to the next poll, and not any further.
        """
        kind, clock = self.call.kind, self.clock
        is_poll = kind == "look" and not self.call.is_detailed
        if kind in ENDS or (is_second and is_poll):
            return True
        if kind in SUPERSEDED:
            return self.after(SUPERSEDED[kind]._replace(clock=clock))._is_polling_only(is_second=is_second)
        if kind == "tasks":
            answers = [Reply(value, clock=clock) for value in (None, keep({"task": None}), keep({"task": "running"}))]
        elif is_poll:
            answers = [Reply(ChildRun(state), clock=clock + 1) for state in (QUEUED, *STATES)] + [Reply(None)]
        elif kind == "look" and self.previous == self.call._replace(is_detailed=False):
            # It looks more closely at the run that it has just polled.
            answers = [Reply(ChildRun(state, number), clock=clock) for state in (QUEUED, *STATES) for number in (0, 1)]
        else:
            return False
        return all(self.after(it)._is_polling_only(is_second=True) for it in answers)


class Tree:
    """All histories seen so far."""

    def __init__(self) -> None:
        self._starts: dict[Start, Step] = {}

    def begin(self, start: Start) -> Step:
        """Return where a try stands before its first call."""
        step = self._starts.get(start)
        if step is None:
            step = self._starts[start] = Step(start, (), None)
        return step


class _StopError(BaseException):
    """The try has come to a call whose outcome is not known yet. Not an Exception: nothing may catch it."""

    def __init__(self, call: Call) -> None:
        self.call = call


class ReplayPort:
    """The protocol's port, answered from a history."""

    def __init__(self, start: Start, outcomes: Iterator[Reply]) -> None:
        self._start = start
        self._outcomes = outcomes
        self._moments = 0
        self._clock = start.clock
        self.journal: journal.Journal = (
            journal.StoreJournal(self, f"{start.attempt.parent.map_index}-{start.number}")
            if start.has_store
            else journal.NoJournal()
        )
        self.has_store = self.journal.has_store
        self.has_details = start.has_details
        self.wanted = start.wanted[0]
        self.has_slept = False
        self.is_proven = False

    def _ask(self, call: Call) -> Answer:
        outcome = next(self._outcomes, None)
        if outcome is None:
            raise _StopError(call)
        self.has_slept = False
        self._clock = outcome.clock
        if outcome.error:
            raise _ERRORS[outcome.error](call)
        return outcome.value

    # The task state store, as the journal uses it.

    def get(self, key: str) -> Any:  # noqa: ANN401 - JSON
        """Ask the store."""
        kept = self._ask(Call("get", key))
        return kept.value if isinstance(kept, Kept) else None

    def set(self, key: str, value: Any, *, retention: object) -> None:  # noqa: ANN401 - JSON
        """Store a value."""
        self._ask(Call("set", key, what=keep(value)))

    # The protocol's port.

    def read(self, call: int) -> Record | None:
        """Read the journal."""
        record = self.journal.read(call)
        self.is_proven = self.is_proven or (call == 1 and record is not None)
        return record

    def write(self, record: Record) -> None:
        """Write to the journal."""
        self.journal.write(record)

    def look_up(self, dag_id: str, run_id: str, *, is_detailed: bool) -> ChildRun | None:
        """Ask for a run."""
        detailed = is_detailed and self.has_details
        return self._ask(Call("look", run_id, dag_id, detailed, call=self._call))  # type: ignore[return-value] # of a look

    def count(self, dag_id: str, run_ids: Sequence[str], states: Sequence[str] | None) -> int:
        """Count runs."""
        found = self._ask(
            Call("count", "", dag_id, run_ids=tuple(run_ids), states=None if states is None else frozenset(states))
        )
        return int(found)  # type: ignore[arg-type] # what a count answers

    def is_upstream_newer(self, than: datetime | None) -> bool | None:
        """Ask for what ran upstream."""
        return self._ask(Call("newer", moment=than))  # type: ignore[return-value] # what this answers

    def task_states(self, dag_id: str, run_id: str) -> dict[str, str | None] | None:
        """Ask whether a first task has begun, where there is a limit to that. Else: what a failed run is like."""
        if self._pace is _HASTE:
            return {"task": "failed"}
        kept = self._ask(Call("tasks", run_id, dag_id, call=self._call))
        return kept.value if isinstance(kept, Kept) else None

    def result(self, record: Record) -> Kept:
        """Read what the run has returned."""
        return self._ask(Call("result", record.run_id, record.dag_id, call=record.call))  # type: ignore[return-value] # of a result

    def why_queued(self, dag_id: str) -> None:
        """Tell nothing."""

    def check(self, record: Record) -> None:
        """Find nothing wrong."""

    def submit(self, record: Record) -> bool:
        """Ask for the recorded run."""
        return bool(self._ask(self._request("submit", record)))

    def reset(self, record: Record) -> None:
        """Ask for its reset."""
        self._ask(self._request("reset", record))

    def _request(self, kind: str, record: Record) -> Call:
        """Return what the stock operator sends: the recorded run, and all else as the Dag file has it by now."""
        payload = Payload(
            record.dag_id, record.run_id, record.logical_date, record.run_after, self.wanted.conf, record.call
        )
        return Call(kind, record.run_id, record.dag_id, payload=payload, call=record.call)

    @property
    def _call(self) -> int:
        return self._start.wanted.index(self.wanted) + 1

    def now(self) -> datetime:
        """Return a moment that no other execution has: in the order of task instances, executions and calls."""
        self._moments += 1
        start = self._start
        hours = 2 * start.execution + (1 if start.resumed else 0)
        # A task instance that was removed and restored begins another try under its id.
        minutes = 5 * start.attempt.try_number
        began = moment_of(start.number) + timedelta(hours=hours, minutes=minutes)
        return began + self._clock * LEAP + self._moments * self._pace

    @property
    def _pace(self) -> timedelta:
        """Return how much later it is each time that the time is asked for."""
        is_timed = self._start.wanted[0].request.start_timeout_seconds is not None
        return _MORE_THAN_A_MINUTE if is_timed else _HASTE

    def sleep(self, seconds: float) -> None:
        """Note that it paused."""
        self.has_slept = True

    def report(self, decision: Decision, record: Record, seen: ChildRun | Look | None) -> None:
        """Tell nobody."""

    def report_wait(self, record: Record, state: str | None, waited_seconds: float) -> None:
        """Tell nobody."""

    def report_trouble(self, error: Exception) -> None:
        """Tell nobody."""


def _ask(call: Callable[[], Any]) -> Any:  # noqa: ANN401 - as many types as there are answers
    """Ask the store, as ``task_sdk.ask`` does; a mistake of these modules is not taken for its failure."""
    try:
        return call()
    except _StoreError as error:
        return Failure("no answer", status=None if error.is_transient else 404, is_from_server=True)


_NO_SUPERVISOR = SimpleNamespace(ask=_ask)


def _seen_at(start: Start) -> dict[tuple[str, str], ChildRun | None]:
    if start.resumed is None:
        return {}
    kept, state, is_due = start.resumed
    if is_due:
        return {}
    child = kept.value["child"]
    return {(child["dag_id"], child["run_id"]): None if state is None else ChildRun(state)}


def _seen(before: Step, outcome: Reply) -> dict[tuple[str, str], ChildRun | None]:
    if before.call.kind != "look" or outcome.error:
        return before.seen
    run = outcome.value if isinstance(outcome.value, ChildRun) else None
    return {**before.seen, (before.call.dag_id, before.call.key): run}


def _execute(start: Start, outcomes: tuple[Reply, ...]) -> tuple[Call, bool]:
    """Execute a try up to its first call without a recorded outcome; return that call, and whether it paused."""
    port = ReplayPort(start, iter(outcomes))
    try:
        with mock.patch.object(journal, "task_sdk", _NO_SUPERVISOR):
            end = run(port, start)
    except _StopError as stop:
        return stop.call, port.has_slept
    except DurableError as error:
        return Call("fail", error=error), False
    return end, False


def run(port: ReplayPort, start: Start) -> Call:
    """Do what ``operators/trigger_dagrun.py`` does with the protocol, for each call of the task."""
    epoch = None
    results = []
    for number, wanted in enumerate(start.wanted, 1):
        port.wanted = wanted
        request = replace(wanted.request, call=number, epoch=epoch, is_journal_proven=port.is_proven)
        started: protocol.Started | None = None
        if start.resumed is not None and number == 1:
            resumed = _resume(port, request, *start.resumed)
            if isinstance(resumed, Call):
                return resumed
            started = resumed if resumed.is_settled else None
        while started is None:
            started = protocol.trigger(port, request, start.attempt)
            if started.is_settled:
                break
            is_deferred = request.mode is Mode.DEFER
            if is_deferred and not start.is_waiting_first:
                return _deferral(port, request, started.record)
            record, at_most = started.record, DEFER_AFTER_SECONDS if is_deferred else None
            started = waiting.wait(port, request, started, poke_interval=POKE_INTERVAL_SECONDS, at_most_seconds=at_most)
            if started is None:
                return _deferral(port, request, record)
            if not started.is_settled:
                started = None
        if number == 1:
            epoch = started.record.epoch
        results += _finish(port, started, has_result=start.has_result)
    return Call("succeed", what=keep(results))


def _finish(port: ReplayPort, started: protocol.Started, *, has_result: bool) -> list[str]:
    """Do what ``task/execution.py``, ``_finish``, does."""
    results = [port.result(started.record).value] if has_result else []
    waiting.consume(port, started)
    return results


def _resume(port: ReplayPort, request: Request, kept: Kept, state: str | None, is_due: bool) -> protocol.Started | Call:  # noqa: FBT001 - of an event
    """Do what ``_complete_durably`` does; return the next deferral if that is what comes of it."""
    record = load(kept.value)
    port.journal.restore(record.call, kept.value)
    request = _rebuilt(request, record)
    outcome: Outcome | None = Outcome(record.dag_id, record.run_id, state, port.now())
    if is_due:
        checked = timeouts.check(port, request, record)
        record, outcome = checked.record, timeouts.outcome_of(checked, port.now())
        if outcome is None:
            return _deferral(port, request, record, checked.due)
    started = outcome and waiting.resume(request, record, outcome)
    return started or _deferral(port, request, record)


def _rebuilt(request: Request, record: Record) -> Request:
    """Return what a resumed try asks for, as ``task/request.py``, ``rebuild_request``, does."""
    return replace(
        request,
        dag_id=record.dag_id,
        run_id=record.run_id if record.is_fixed else None,
        logical_date=record.logical_date,
        is_date_ours=False,
        is_run_after_ours=False,
        mode=Mode.DEFER,
        call=record.call,
        epoch=None,
    )


def _deferral(port: ReplayPort, request: Request, record: Record, due: datetime | EllipsisType | None = ...) -> Call:
    kept = keep({**dump(record), **port.journal.position(record.call)})
    states = request.allowed_states | request.failed_states
    moment = timeouts.first_due(request, record) if isinstance(due, EllipsisType) else due
    return Call("defer", record.run_id, record.dag_id, what=kept, states=states, moment=moment)
