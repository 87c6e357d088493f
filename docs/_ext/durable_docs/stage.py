"""
A small Airflow of our own, on which the real protocol runs for the sequence diagrams.

It is written for people to look at: one parent, one child Dag, faults at chosen calls. It proves nothing; that is what
the tests are for.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

from airflow_durable.core import protocol, waiting
from airflow_durable.core.errors import DurableError, JournalWriteError
from airflow_durable.core.model import Attempt, ChildRun, Decision, Look, Mode, Outcome, Parent, Phase, Request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from airflow_durable.core.protocol import Started
    from airflow_durable.core.record import Record

CHILD_DAG = "child"
_ACTIVE = "running"
_START = datetime(2026, 1, 1, tzinfo=timezone.utc)
_PARENT = Parent("parent", "manual__2026-01-01", "run_child", -1, _START, started_at=_START)


class Fault(enum.Enum):
    """What goes wrong at one call."""

    DIE_BEFORE = "the worker dies before the request"
    DIE_AFTER = "the worker dies before the reply"
    LOSE_REPLY = "the reply is lost"
    HOLD = "the request is delayed on its way"


class WorkerDied(BaseException):
    """The worker is no more."""


class Who(enum.Enum):
    """The lifelines."""

    WORKER = "Parent's worker"
    AIRFLOW = "Airflow (API server, database)"
    CHILD = "Child Dag"


@dataclass(frozen=True)
class Message:
    """A request and its reply. None: it never came."""

    request: str
    reply: str | None
    has_arrived: bool = True
    is_late: bool = False


@dataclass(frozen=True)
class Note:
    """Something that happens at one lifeline."""

    who: Who
    text: str
    kind: str = "plain"
    """``plain``, ``try``, ``start``, ``rest``, ``decision``, ``death``, ``success`` or ``failure``."""


Event = Message | Note


@dataclass
class World:
    """The Dag runs, the record, and all that has happened."""

    has_store: bool = True
    runs: dict[str, ChildRun] = field(default_factory=dict)
    confs: dict[str, str] = field(default_factory=dict)
    entries: dict[int, list[Record]] = field(default_factory=dict)
    deferred: Record | None = None
    current_try: int = 0
    events: list[Event] = field(default_factory=list)
    held: list[Callable[[], str]] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)
    _clock: datetime = _START

    def now(self) -> datetime:
        """Return a later moment every time."""
        self._clock += timedelta(seconds=1)
        return self._clock

    def note(self, who: Who, text: str, kind: str = "plain") -> None:
        """Note something down."""
        self.events.append(Note(who, text, kind))

    def name(self, run_id: str) -> str:
        """Return what the diagrams call the run: run A, run B; a fixed run id by itself."""
        if run_id in self.names:
            return self.names[run_id]
        is_generated = run_id.startswith("manual__")
        taken = sum(name.startswith("run ") for name in self.names.values())
        self.names[run_id] = f"run {'ABCDEFGH'[taken]}" if is_generated else run_id
        return self.names[run_id]

    def run_id_of(self, name: str) -> str:
        """Return the run id behind a name."""
        return next(run_id for run_id, known in self.names.items() if known == name)

    def mark(self, name: str, state: str) -> None:
        """Let a child run end, or start again."""
        run_id = self.run_id_of(name)
        self.runs[run_id] = replace(self.runs[run_id], state=state)
        kind = {"success": "success", "failed": "failure"}.get(state, "plain")
        self.note(Who.CHILD, f"{name} is {state}", kind)

    def delete(self, name: str) -> None:
        """Delete a child run."""
        del self.runs[self.run_id_of(name)]
        self.note(Who.CHILD, f"{name} is deleted", "failure")

    def discard_record(self) -> None:
        """Forget the record, as a clear does on Airflow 3.4."""
        self.entries.clear()
        self.note(Who.AIRFLOW, "the clear discards the record")

    def arrive_late(self) -> None:
        """Let the requests that were delayed arrive now."""
        for arrive in self.held:
            self.events.append(Message("the delayed request of try 1", arrive(), is_late=True))
        self.held.clear()


class StagePort:
    """
    The protocol's port onto a :class:`World`, for one try.

    :param conf: what the present try gives the child.
    :param faults: what goes wrong, by call and its number among its kind, from 0: ``{("submit", 0): DIE_AFTER}``.
    :param meanwhile: what happens while the try sleeps, one each time; a worker that sleeps on with nothing left to
        happen would wait for ever.
    """

    has_details = True

    def __init__(
        self,
        world: World,
        attempt: Attempt,
        conf: str,
        faults: Mapping[tuple[str, int], Fault],
        meanwhile: Iterator[Callable[[], None]],
    ) -> None:
        self._world = world
        self._attempt = attempt
        self._conf = conf
        self._faults = faults
        self._meanwhile = meanwhile
        self._counts: dict[str, int] = {}
        self.has_store = world.has_store
        self.has_record = False

    def read(self, call: int) -> Record | None:
        """Return the newest entry."""
        entries = self._world.entries.get(call, [])
        record = entries[-1] if entries else None
        of_call = "" if call == 1 else f" of call {call}"
        self._call(
            "read",
            f"read the record{of_call}",
            lambda: f"it names {self._world.name(record.run_id)}" if record else "there is none",
        )
        self.has_record = self.has_record or record is not None
        return record

    def write(self, record: Record) -> None:
        """Add the entry, if this is the current try."""
        if not self.has_store:
            return
        what = "consumed" if record.is_consumed else record.tries[-1].decision.value

        def arrive() -> str:
            if self._attempt.try_number != self._world.current_try:
                return "404: superseded"
            entries = self._world.entries.setdefault(record.call, [])
            if record not in entries[-1:]:
                entries.append(record)
            return "stored"

        if self._call("write", f"record {self._world.name(record.run_id)} ({what})", arrive) != "stored":
            raise JournalWriteError(record.dag_id, record.run_id, "404")

    def look_up(self, dag_id: str, run_id: str, *, is_detailed: bool) -> ChildRun | None:  # noqa: ARG002 - both known
        """Return the run."""
        run = self._world.runs.get(run_id)
        self._call("look_up", f"look {self._world.name(run_id)} up", lambda: run.state if run else "404: no such run")
        if run is None:
            return None
        return replace(run, is_same_request=self._world.confs[run_id] == self._conf)

    def count(self, dag_id: str, run_ids: Sequence[str], states: Sequence[str] | None) -> int:  # noqa: ARG002 - one Dag
        """Return how many of these runs exist."""
        runs = [self._world.runs[run_id] for run_id in run_ids if run_id in self._world.runs]
        found = sum(states is None or run.state in states for run in runs)
        what = "count its child runs" if states is None else "count its active child runs"
        self._call("count", what, lambda: str(found))
        return found

    def is_upstream_newer(self, than: datetime | None) -> bool | None:  # noqa: ARG002 - nothing is upstream
        """Return False: the parent has no upstream tasks."""
        return False

    def task_states(self, dag_id: str, run_id: str) -> None:
        """Tell nothing."""

    def why_queued(self, dag_id: str) -> None:
        """Tell nothing."""

    def check(self, record: Record) -> None:
        """Find nothing wrong."""

    def submit(self, record: Record) -> bool:
        """Start the recorded run."""
        name, conf = self._world.name(record.run_id), self._conf

        def arrive() -> str:
            if record.run_id in self._world.runs:
                return "409: it exists"
            self._world.runs[record.run_id] = ChildRun(_ACTIVE, 0, record.logical_date)
            self._world.confs[record.run_id] = conf
            self._world.note(Who.CHILD, f"{name} starts", "start")
            return "created"

        return self._call("submit", f"start {name}", arrive) == "created"

    def reset(self, record: Record) -> None:
        """Clear the recorded run."""
        name = self._world.name(record.run_id)

        def arrive() -> str:
            before = self._world.runs[record.run_id]
            cleared = replace(before, state=_ACTIVE, clear_number=(before.clear_number or 0) + 1)
            self._world.runs[record.run_id] = cleared
            self._world.note(Who.CHILD, f"{name} is cleared and starts over", "start")
            return "cleared"

        self._call("reset", f"clear {name}", arrive)

    def now(self) -> datetime:
        """Return the present."""
        return self._world.now()

    def sleep(self, seconds: float) -> None:  # noqa: ARG002 - time is what happens meanwhile
        """Let the next thing happen."""
        next(self._meanwhile)()

    def report(self, decision: Decision, record: Record, seen: ChildRun | Look | None) -> None:  # noqa: ARG002 - a note is short
        """Note the decision."""
        self._world.note(Who.WORKER, decision.value, "decision")

    def report_wait(self, record: Record, state: str | None, waited_seconds: float) -> None:
        """Note nothing: the look-ups are in the picture."""

    def report_trouble(self, error: Exception) -> None:
        """Note the trouble."""
        self._world.note(Who.WORKER, f"{type(error).__name__}: tried again")

    def is_killed_at_the_end(self) -> bool:
        """Return whether the worker dies before it can report success."""
        return ("report", 0) in self._faults

    def _call(self, kind: str, request: str, arrive: Callable[[], str]) -> str:
        number = self._counts.get(kind, 0)
        self._counts[kind] = number + 1
        fault = self._faults.get((kind, number))
        world = self._world
        if fault is Fault.DIE_BEFORE:
            world.note(Who.WORKER, "the worker is killed", "death")
            raise WorkerDied
        if fault is Fault.HOLD:
            world.held.append(arrive)
            world.events.append(Message(request, None, has_arrived=False))
            world.note(Who.WORKER, "the worker is cut off", "death")
            raise WorkerDied
        # The message stands before what it brings about.
        place = len(world.events)
        reply = arrive()
        world.events.insert(place, Message(request, None if fault else reply))
        if fault is Fault.DIE_AFTER:
            world.note(Who.WORKER, "the worker is killed", "death")
            raise WorkerDied
        if fault is Fault.LOSE_REPLY:
            reply = arrive()
            world.events.append(Message(f"{request}, again", reply))
        return reply


@dataclass(frozen=True)
class Play:
    """
    One try of the parent.

    :param conf: what this try gives the child.
    :param faults: as :class:`StagePort` takes them.
    :param meanwhile: names of what happens while it sleeps: ``die``, ``late`` (what was delayed arrives),
        ``delete <run>``, or ``<state> <run>``.
    :param calls: how many children it asks for.
    :param is_resumed: it continues after its deferral.
    """

    try_number: int
    max_tries: int = 3
    conf: str = "conf"
    faults: Mapping[tuple[str, int], Fault] = field(default_factory=dict)
    meanwhile: tuple[str, ...] = ()
    calls: int = 1
    is_resumed: bool = False


def play(world: World, request: Request, part: Play) -> None:
    """Let the real protocol run one try, as the operator runs it."""
    attempt = Attempt(
        _PARENT,
        f"task instance {part.try_number}",
        part.try_number,
        part.max_tries,
        retries=3,
        clear_number=part.max_tries - 3,
    )
    world.current_try = part.try_number
    happenings = (_happening(world, name) for name in part.meanwhile)
    port = StagePort(world, attempt, part.conf, part.faults, happenings)
    world.note(Who.WORKER, f"try {part.try_number}{' is resumed' if part.is_resumed else ''}", "try")
    try:
        if part.is_resumed:
            _resume(world, port, request)
        else:
            _run(world, port, request, attempt, part.calls)
    except WorkerDied:
        return
    except DurableError as error:
        world.note(Who.WORKER, f"the try fails: {type(error).__name__}", "failure")


def _run(world: World, port: StagePort, request: Request, attempt: Attempt, calls: int) -> None:
    epoch, is_proven = None, False
    for number in range(1, calls + 1):
        if calls > 1:
            world.note(Who.WORKER, f"call {number}")
        asked = replace(request, call=number, epoch=epoch, is_journal_proven=is_proven)
        started = _bring_about(port, asked, attempt)
        if not started.is_settled:
            world.deferred = started.record
            world.note(Who.WORKER, "deferred: the worker is free", "rest")
            return
        waiting.consume(port, started)
        if number == 1:
            epoch, is_proven = started.record.epoch, port.has_record
    _succeed(world, port)


def _bring_about(port: StagePort, request: Request, attempt: Attempt) -> Started:
    while True:
        started = protocol.trigger(port, request, attempt)
        if started.is_settled or request.mode is Mode.DEFER:
            return started
        ended = waiting.wait(port, request, started, poke_interval=60)
        if ended is not None and ended.is_settled:
            return ended


def _resume(world: World, port: StagePort, request: Request) -> None:
    record = world.deferred
    if record is None:
        message = "A deferred try has recorded its run."
        raise RuntimeError(message)
    run = world.runs.get(record.run_id)
    outcome = Outcome(record.dag_id, record.run_id, run.state if run else None, world.now())
    started = waiting.resume(request, record, outcome)
    if started is None or record.phase is Phase.WAITED_OUT:
        message = "The scenarios resume a try when its child has ended."
        raise RuntimeError(message)
    waiting.consume(port, started)
    _succeed(world, port)


def _succeed(world: World, port: StagePort) -> None:
    if port.is_killed_at_the_end():
        world.note(Who.WORKER, "the worker is killed", "death")
    else:
        world.note(Who.WORKER, "the task succeeds", "success")


def _happening(world: World, name: str) -> Callable[[], None]:
    verb, _, run = name.partition(" ")

    def happen() -> None:
        if verb == "die":
            world.note(Who.WORKER, "the worker is killed while it waits", "death")
            raise WorkerDied
        if verb == "late":
            world.arrive_late()
        elif verb == "delete":
            world.delete(run)
        else:
            world.mark(run, verb)

    return happen
