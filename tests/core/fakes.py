"""A world for the protocol: a server that holds Dag runs and one journal, and a port onto it that can crash or fail."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

from airflow_durable.core import protocol
from airflow_durable.core.errors import JournalWriteError
from airflow_durable.core.model import Attempt, ChildRun, Decision, Look, Mode, Request
from airflow_durable.core.record import Record, load

if TYPE_CHECKING:
    from collections.abc import Callable

EPOCH = datetime(2026, 1, 1, tzinfo=timezone.utc)
FIXED_DATE = datetime(2025, 6, 1, tzinfo=timezone.utc)


class Crash(BaseException):
    """The process died here."""


@dataclass
class Run:
    """A Dag run at the server."""

    run_id: str
    logical_date: datetime | None
    state: str = "queued"
    clear_number: int = 0


@dataclass(frozen=True)
class Fault:
    """
    What befalls one call.

    :param error: raised instead of the answer.
    :param is_after: the call took effect before.
    """

    error: BaseException
    is_after: bool = False


@dataclass
class Server:
    """
    Airflow's part: the Dag runs with their two unique keys, and the journal, as JSON text.

    :param current: the number of the attempt whose writes are accepted.
    :param calls: what was asked of it, over all attempts.
    """

    runs: dict[tuple[str, str], Run] = field(default_factory=dict)
    journal: str | None = None
    current: int = 0
    seconds: float = 0.0
    calls: list[str] = field(default_factory=list)
    told: list[tuple[Decision, str, str | None]] = field(default_factory=list)
    on_sleep: Callable[[Server], None] = lambda server: server.end_all("success")

    def now(self) -> datetime:
        """Return a moment that no earlier call returned."""
        self.seconds += 0.001
        return EPOCH + timedelta(seconds=self.seconds)

    def create(self, dag_id: str, run: Run) -> bool:
        """Create a run; False if either unique key is taken."""
        for (other_dag_id, run_id), other in self.runs.items():
            is_date_taken = other.logical_date is not None and other.logical_date == run.logical_date
            if other_dag_id == dag_id and (run_id == run.run_id or is_date_taken):
                return False
        self.runs[dag_id, run.run_id] = run
        return True

    def end_all(self, state: str) -> None:
        """Let every active run end."""
        for run in self.runs.values():
            if run.state in {"queued", "running"}:
                run.state = state

    def record(self) -> Record | None:
        """Return what is in the journal."""
        return None if self.journal is None else load(json.loads(self.journal))

    def states(self) -> list[str]:
        """Return the states of all runs, in the order of their creation."""
        return [run.state for run in self.runs.values()]


class FakePort:
    """
    A port of one attempt.

    :param faults: for each method, what befalls its next calls; None: nothing.
    :param crash_at: the number of the call, from 0 over all methods, at which the process dies.
    :param is_crash_after: it dies when the call has taken effect already.
    """

    def __init__(
        self,
        server: Server,
        attempt: Attempt,
        *,
        faults: dict[str, list[Fault | None]] | None = None,
        crash_at: int | None = None,
        is_crash_after: bool = False,
    ) -> None:
        self.server = server
        self.attempt = attempt
        self.faults = faults or {}
        self.crash_at = crash_at
        self.is_crash_after = is_crash_after
        self.calls: list[str] = []
        self.sleeps: list[float] = []
        self.troubles: list[Exception] = []
        server.current = attempt.try_number

    def read(self) -> Record | None:
        """Return what the journal holds."""
        with_fault = self._call("read")
        record = self.server.record()
        with_fault()
        return record

    def write(self, record: Record) -> None:
        """Store the record, unless a newer attempt has begun."""
        with_fault = self._call("write")
        if self.server.current != self.attempt.try_number:
            raise JournalWriteError(record.dag_id, record.run_id, "superseded")
        self.server.journal = json.dumps(record.dump())
        with_fault()

    def look_up(self, dag_id: str, run_id: str, *, is_detailed: bool) -> ChildRun | None:
        """Return the run as the server has it."""
        with_fault = self._call("look_up")
        run = self.server.runs.get((dag_id, run_id))
        with_fault()
        if run is None:
            return None
        return ChildRun(run.state, run.clear_number, run.logical_date) if is_detailed else ChildRun(run.state)

    def submit(self, record: Record) -> bool:
        """Create the run, unless one of its keys is taken."""
        with_fault = self._call("submit")
        is_created = self.server.create(record.dag_id, Run(record.run_id, record.logical_date))
        with_fault()
        return is_created

    def reset(self, record: Record) -> None:
        """Clear the run, or create it."""
        with_fault = self._call("reset")
        run = self.server.runs.get((record.dag_id, record.run_id))
        if run is None:
            self.server.create(record.dag_id, Run(record.run_id, record.logical_date))
        else:
            run.state, run.clear_number = "queued", run.clear_number + 1
        with_fault()

    def fresh_run_id(self, generation: int) -> str:
        """Return the id of this try and generation."""
        return f"generated-{self.attempt.try_number}-{generation}"

    def now(self) -> datetime:
        """Return the server's time."""
        return self.server.now()

    def sleep(self, seconds: float) -> None:
        """Let the time pass, and the children go on."""
        with_fault = self._call("sleep")
        self.sleeps.append(seconds)
        self.server.seconds += seconds
        self.server.on_sleep(self.server)
        with_fault()

    def report(self, decision: Decision, record: Record, seen: ChildRun | Look | None) -> None:
        """Remember what was told."""
        state = seen.state if isinstance(seen, ChildRun) else seen and seen.value
        self.server.told.append((decision, record.run_id, state))

    def report_trouble(self, error: Exception) -> None:
        """Remember what was told."""
        self.troubles.append(error)

    def _call(self, name: str) -> Callable[[], None]:
        """Count the call; fail before its effect, or return what fails after it."""
        number = len(self.calls)
        self.calls.append(name)
        self.server.calls.append(name)
        fault = self.faults[name].pop(0) if self.faults.get(name) else None
        if number == self.crash_at:
            fault = Fault(Crash(), self.is_crash_after)
        if fault and not fault.is_after:
            raise fault.error

        def after() -> None:
            if fault:
                raise fault.error

        return after


def attempt(try_number: int, *, max_tries: int = 3, clear_number: int = 0) -> Attempt:
    """Return an attempt of a task with three retries."""
    return Attempt(try_number, max_tries, retries=3, clear_number=clear_number)


def ask(  # noqa: PLR0913 - what a user may ask for
    *,
    mode: Mode = Mode.WAIT,
    run_id: str | None = None,
    logical_date: datetime | None = None,
    is_date_ours: bool = True,
    digest: str = "sha256:one",
    dag_id: str = "child",
    allowed_states: frozenset[str] = frozenset({"success"}),
    failed_states: frozenset[str] = frozenset({"failed"}),
    is_reset: bool = False,
    is_skip: bool = False,
) -> Request:
    """Return a request: by default a synchronous wait with a generated identity."""
    return Request(
        dag_id=dag_id,
        run_id=run_id,
        logical_date=logical_date,
        is_date_ours=is_date_ours,
        digest=digest,
        mode=mode,
        allowed_states=allowed_states,
        failed_states=failed_states,
        is_reset=is_reset,
        is_skip=is_skip,
    )


def run_attempt(port: FakePort, request: Request, *, poke_interval: float = 60.0) -> None:
    """Do what the operator does, in the request's mode. While deferred, the child ends as ``on_sleep`` says."""
    started = protocol.trigger(port, request, port.attempt)
    if started.is_settled:
        return
    if request.mode is not Mode.DEFER:
        protocol.wait(port, request, started, poke_interval=poke_interval)
        return
    is_ended = False
    while not is_ended:
        port.server.on_sleep(port.server)
        run = port.server.runs.get((started.record.dag_id, started.record.run_id))
        is_ended = protocol.resume(port, request, started.record, run.state if run else None)
