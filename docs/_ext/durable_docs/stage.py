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

from airflow_durable.core import protocol
from airflow_durable.core.errors import DurableError, JournalWriteError
from airflow_durable.core.model import Attempt, ChildRun, Decision, Look, Mode, Request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from airflow_durable.core.record import Record

CHILD_DAG = "child"
_ACTIVE = "running"


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

    runs: dict[str, ChildRun] = field(default_factory=dict)
    record: Record | None = None
    current_try: int = 0
    events: list[Event] = field(default_factory=list)
    held: list[Callable[[], str]] = field(default_factory=list)
    _clock: datetime = datetime(2026, 1, 1, tzinfo=timezone.utc)

    def now(self) -> datetime:
        """Return a later moment every time."""
        self._clock += timedelta(seconds=1)
        return self._clock

    def tell(self, who: Who, text: str, kind: str = "plain") -> None:
        """Note something down."""
        self.events.append(Note(who, text, kind))

    def mark(self, run_id: str, state: str) -> None:
        """Let a child run end, or go on."""
        self.runs[run_id] = replace(self.runs[run_id], state=state)
        kind = {"success": "success", "failed": "failure"}.get(state, "plain")
        self.tell(Who.CHILD, f"{run_id} is {state}", kind)

    def delete(self, run_id: str) -> None:
        """Delete a child run."""
        del self.runs[run_id]
        self.tell(Who.CHILD, f"{run_id} is deleted", "failure")

    def arrive_late(self) -> None:
        """Let the requests that were delayed arrive now."""
        for arrive in self.held:
            self.events.append(Message("the delayed request of try 1", arrive(), is_late=True))
        self.held.clear()


class StagePort:
    """
    The protocol's port onto a :class:`World`, for one attempt.

    :param faults: what goes wrong, by call and its number among its kind, from 0: ``{("submit", 0): DIE_AFTER}``.
    :param meanwhile: what happens while the attempt sleeps, one each time; a worker that sleeps on with nothing left
        to happen would wait for ever.
    """

    def __init__(
        self,
        world: World,
        attempt: Attempt,
        faults: Mapping[tuple[str, int], Fault],
        meanwhile: Iterator[Callable[[], None]],
    ) -> None:
        self._world = world
        self._attempt = attempt
        self._faults = faults
        self._meanwhile = meanwhile
        self._counts: dict[str, int] = {}

    def read(self) -> Record | None:
        """Return the record."""
        record = self._world.record
        self._call("read", "read the record", lambda: f"it names {record.run_id}" if record else "there is none")
        return record

    def write(self, record: Record) -> None:
        """Store the record, if this is the current attempt."""
        what = "consumed" if record.is_consumed else record.tries[-1].decision.value

        def arrive() -> str:
            if self._attempt.try_number != self._world.current_try:
                return "404: superseded"
            self._world.record = record
            return "stored"

        if self._call("write", f"record {record.run_id} ({what})", arrive) != "stored":
            raise JournalWriteError(record.dag_id, record.run_id, "404")

    def look_up(self, dag_id: str, run_id: str, *, is_detailed: bool) -> ChildRun | None:  # noqa: ARG002 - both known
        """Return the run."""
        run = self._world.runs.get(run_id)
        self._call("look_up", f"look {run_id} up", lambda: run.state if run else "404: no such run")
        return run

    def submit(self, record: Record) -> bool:
        """Start the recorded run."""

        def arrive() -> str:
            if record.run_id in self._world.runs:
                return "409: it exists"
            self._world.runs[record.run_id] = ChildRun(_ACTIVE, 0, record.logical_date)
            self._world.tell(Who.CHILD, f"{record.run_id} starts", "start")
            return "created"

        return self._call("submit", f"start {record.run_id}", arrive) == "created"

    def reset(self, record: Record) -> None:
        """Clear the recorded run."""

        def arrive() -> str:
            before = self._world.runs[record.run_id]
            self._world.runs[record.run_id] = ChildRun(_ACTIVE, (before.clear_number or 0) + 1, record.logical_date)
            self._world.tell(Who.CHILD, f"{record.run_id} is cleared, and starts over", "start")
            return "cleared"

        self._call("reset", f"clear {record.run_id}", arrive)

    def fresh_run_id(self, generation: int) -> str:
        """Return run A, run B and so on."""
        return f"run {'ABCDEFGH'[generation]}"

    def now(self) -> datetime:
        """Return the present."""
        return self._world.now()

    def sleep(self, seconds: float) -> None:  # noqa: ARG002 - time is what happens meanwhile
        """Let the next thing happen."""
        next(self._meanwhile)()

    def report(self, decision: Decision, record: Record, seen: ChildRun | Look | None) -> None:  # noqa: ARG002 - a note is short
        """Note the decision."""
        self._world.tell(Who.WORKER, decision.value, "decision")

    def report_trouble(self, error: Exception) -> None:
        """Note the trouble."""
        self._world.tell(Who.WORKER, f"{type(error).__name__}: tried again")

    def _call(self, kind: str, request: str, arrive: Callable[[], str]) -> str:
        number = self._counts.get(kind, 0)
        self._counts[kind] = number + 1
        fault = self._faults.get((kind, number))
        world = self._world
        if fault is Fault.DIE_BEFORE:
            world.tell(Who.WORKER, "the worker is killed", "death")
            raise WorkerDied
        if fault is Fault.HOLD:
            world.held.append(arrive)
            world.events.append(Message(request, None, has_arrived=False))
            world.tell(Who.WORKER, "the worker is cut off", "death")
            raise WorkerDied
        # The message stands before what it brings about.
        place = len(world.events)
        reply = arrive()
        world.events.insert(place, Message(request, None if fault else reply))
        if fault is Fault.DIE_AFTER:
            world.tell(Who.WORKER, "the worker is killed", "death")
            raise WorkerDied
        if fault is Fault.LOSE_REPLY:
            reply = arrive()
            world.events.append(Message(f"{request}, again", reply))
        return reply


@dataclass(frozen=True)
class Play:
    """
    One attempt of the parent.

    :param faults: as :class:`StagePort` takes them.
    :param meanwhile: names of what happens while it sleeps: ``die``, ``late`` (what was delayed arrives),
        ``delete <run id>``, or ``<state> <run id>``.
    :param is_resumed: it goes on after its deferral.
    """

    try_number: int
    max_tries: int = 3
    faults: Mapping[tuple[str, int], Fault] = field(default_factory=dict)
    meanwhile: tuple[str, ...] = ()
    is_resumed: bool = False
    is_superseded: bool = False


def play(world: World, request: Request, part: Play) -> None:
    """Let the real protocol run one attempt, as the operator runs it."""
    attempt = Attempt(part.try_number, part.max_tries, retries=3, clear_number=part.max_tries - 3)
    if not part.is_superseded:
        world.current_try = part.try_number
    port = StagePort(world, attempt, part.faults, (_happening(world, name) for name in part.meanwhile))
    world.tell(Who.WORKER, f"try {part.try_number}{' goes on' if part.is_resumed else ''}", "try")
    try:
        _run(world, port, request, attempt, is_resumed=part.is_resumed)
    except WorkerDied:
        return
    except DurableError as error:
        world.tell(Who.WORKER, f"the try fails: {type(error).__name__}", "failure")


def _run(world: World, port: StagePort, request: Request, attempt: Attempt, *, is_resumed: bool) -> None:
    if is_resumed:
        if world.record is None:
            message = "A deferred attempt has recorded its run."
            raise RuntimeError(message)
        run = world.runs.get(world.record.run_id)
        protocol.resume(port, request, world.record, run.state if run else None)
    else:
        started = protocol.trigger(port, request, attempt)
        if not started.is_settled and request.mode is Mode.DEFER:
            world.tell(Who.WORKER, "deferred: the worker is free", "rest")
            return
        if not started.is_settled:
            protocol.wait(port, request, started, poke_interval=60)
    if ("report", 0) in port._faults:  # noqa: SLF001 - one module
        world.tell(Who.WORKER, "the worker is killed", "death")
        return
    world.tell(Who.WORKER, "the task succeeds", "success")


def _happening(world: World, name: str) -> Callable[[], None]:
    verb, _, run_id = name.partition(" ")

    def happen() -> None:
        if verb == "die":
            world.tell(Who.WORKER, "the worker is killed while it waits", "death")
            raise WorkerDied
        if verb == "late":
            world.arrive_late()
        elif verb == "delete":
            world.delete(run_id)
        else:
            world.mark(run_id, verb)

    return happen
