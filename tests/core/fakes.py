"""
A world for the protocol: a server with Dag runs and a task state store, and a port onto it that can crash or fail.

The journal is the package's own, on that store. So a rule of it that the protocol rests on is not told twice.
"""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from airflow_durable.core import protocol, waiting
from airflow_durable.core.errors import JournalWriteError, LookUpFailedError
from airflow_durable.core.model import Attempt, ChildRun, Decision, Look, Mode, OnClear, Outcome, Parent, Request
from airflow_durable.core.stored import dump, key_of, load
from airflow_durable.task.journal import StoreJournal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from airflow_durable.core.protocol import Started
    from airflow_durable.core.record import Record

EPOCH = datetime(2026, 1, 1, tzinfo=timezone.utc)
FIXED_DATE = datetime(2025, 6, 1, tzinfo=timezone.utc)
RUN_AFTER = datetime(2025, 12, 31, 23, tzinfo=timezone.utc)
PARENT = Parent("parent", "scheduled__2026-01-01", "trigger", -1, RUN_AFTER, started_at=RUN_AFTER)
OTHER_PARENT = replace(PARENT, map_index=7)
RETRIES = 3
ENDLESS = 200
"""More sleeps than a test needs. A wrong protocol that waits for ever has to fail, not to hang."""


class Crash(BaseException):
    """The process died here."""


@dataclass
class Run:
    """
    A Dag run at the server.

    :param conf: a token that stands for it.
    :param tasks: the states of its tasks; None: they cannot be told.
    """

    run_id: str
    logical_date: datetime | None = None
    state: str = "queued"
    clear_number: int = 0
    run_after: datetime = EPOCH
    started_at: datetime | None = None
    conf: str = "conf"
    tasks: dict[str, str | None] | None = None


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
    Airflow's part: the Dag runs with their two unique keys, and the task state store of one task, as JSON text.

    :param version: of Airflow, as far as the protocol can tell them apart: (3, 1), (3, 2) or (3, 3).
    :param current: the id of the task instance whose writes are accepted.
    :param upstream_ran_at: when something upstream of the parent last ran; None: that cannot be known.
    :param calls: what was asked of it, over all tries.
    :param on_sleep: what happens while a try sleeps, or is deferred.
    """

    version: tuple[int, int] = (3, 3)
    runs: dict[tuple[str, str], Run] = field(default_factory=dict)
    store: dict[str, str] = field(default_factory=dict)
    current: str = ""
    seconds: float = 0.0
    upstream_ran_at: datetime | None = EPOCH
    why_queued: str | None = None
    calls: list[str] = field(default_factory=list)
    told: list[tuple[Decision, str, str | None]] = field(default_factory=list)
    on_sleep: Callable[[Server], None] = lambda server: server.end_all("success")

    def now(self) -> datetime:
        """Return a moment that no earlier call returned."""
        self.seconds += 1.001
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

    def records(self, call: int = 1) -> list[Record]:
        """Return the entries of a call, oldest first."""
        found: list[Record] = []
        while (text := self.store.get(key_of(call, len(found)))) is not None:
            found.append(load(json.loads(text)))
        return found

    def record(self, call: int = 1) -> Record:
        """Return the newest entry of a call."""
        return self.records(call)[-1]

    def lose_record(self) -> None:
        """Delete what the store holds."""
        self.store.clear()

    def only_run(self) -> Run:
        """Return the run, of which there has to be one."""
        (run,) = self.runs.values()
        return run

    def states(self) -> list[str]:
        """Return the states of all runs, in the order of their creation."""
        return [run.state for run in self.runs.values()]

    def confs(self, state: str = "success") -> list[str]:
        """Return the confs of the runs in a state."""
        return [run.conf for run in self.runs.values() if run.state == state]


class _Journal(StoreJournal):
    """The package's journal, on the server's store; only what needs Airflow is changed."""

    def __init__(self, server: Server, task_instance_id: str) -> None:
        super().__init__(self, task_instance_id)
        self._server = server
        self._id = task_instance_id

    def get(self, key: str) -> Any:  # noqa: ANN401 - JSON
        text = self._server.store.get(key)
        return None if text is None else json.loads(text)

    def _set(self, record: Record, sequence: int, root: str) -> None:
        if self._server.current != self._id:
            raise JournalWriteError(record.dag_id, record.run_id, "superseded")
        self._server.store[key_of(record.call, sequence)] = json.dumps({**dump(record), "root": root})


class FakePort:
    """
    A port of one execution of a try.

    :param conf: of the present request, a token.
    :param dag_id: of the present request.
    :param faults: for each method, what befalls its next calls; None: nothing.
    :param crash_at: the number of the call, from 0 over all methods, at which the process dies.
    :param is_crash_after: it dies when the call has taken effect already.
    """

    def __init__(  # noqa: PLR0913 - what may befall a try
        self,
        server: Server,
        attempt: Attempt,
        *,
        conf: str = "conf",
        dag_id: str = "child",
        faults: dict[str, list[Fault | None]] | None = None,
        crash_at: int | None = None,
        is_crash_after: bool = False,
    ) -> None:
        self.server = server
        self.attempt = attempt
        self.conf = conf
        self.dag_id = dag_id
        self.has_store = server.version >= (3, 3)
        self.has_details = server.version >= (3, 2)
        self.faults = faults or {}
        self.crash_at = crash_at
        self.is_crash_after = is_crash_after
        self.calls: list[str] = []
        self.counted: list[int] = []
        self.sleeps: list[float] = []
        self.troubles: list[Exception] = []
        self.waits: list[tuple[str, str | None, float]] = []
        self.checked: list[Record] = []
        self.was_read: set[int] = set()
        self._journal = _Journal(server, attempt.task_instance_id)
        server.current = attempt.task_instance_id

    def read(self, call: int) -> Record | None:
        """Return what the journal holds."""
        with_fault = self._call("read")
        record = self._journal.read(call) if self.has_store else None
        with_fault()
        if record is not None:
            self.was_read.add(call)
        return record

    def write(self, record: Record) -> None:
        """Store the record, unless a newer try has begun."""
        with_fault = self._call("write")
        if self.has_store:
            known = copy.deepcopy(self._journal._calls)
            self._journal.write(record)
            try:
                with_fault()
            except JournalWriteError:
                # The store has it, and the journal does not know.
                self._journal._calls = known
                raise
        with_fault()

    def look_up(self, dag_id: str, run_id: str, *, is_detailed: bool) -> ChildRun | None:
        """Return the run as the server has it."""
        with_fault = self._call("look_up")
        run = self.server.runs.get((dag_id, run_id))
        with_fault()
        if run is None:
            return None
        if not (is_detailed and self.has_details):
            return ChildRun(run.state)
        is_same = dag_id == self.dag_id and run.conf == self.conf
        return ChildRun(run.state, run.clear_number, run.logical_date, run.run_after, run.started_at, is_same)

    def count(self, dag_id: str, run_ids: Sequence[str], states: Sequence[str] | None) -> int:
        """Count the runs."""
        with_fault = self._call("count")
        self.counted.append(len(run_ids))
        found = [self.server.runs[dag_id, run_id] for run_id in run_ids if (dag_id, run_id) in self.server.runs]
        with_fault()
        return sum(states is None or run.state in states for run in found)

    def is_upstream_newer(self, than: datetime | None) -> bool | None:
        """Compare with when something upstream last ran."""
        self._call("upstream")()
        if than is None or self.server.upstream_ran_at is None:
            return None
        return self.server.upstream_ran_at > than

    def task_states(self, dag_id: str, run_id: str) -> dict[str, str | None] | None:
        """Return the states of the run's tasks."""
        self._call("task_states")()
        run = self.server.runs.get((dag_id, run_id))
        return run.tasks if run else {}

    def why_queued(self, dag_id: str) -> str | None:
        """Return why its runs are queued."""
        return self.server.why_queued

    def check(self, record: Record) -> None:
        """Find nothing wrong, but for a fault."""
        self._call("check")()
        self.checked.append(record)

    def submit(self, record: Record) -> bool:
        """Create the run, unless one of its keys is taken."""
        with_fault = self._call("submit")
        is_created = self.server.create(record.dag_id, self._new_run(record))
        with_fault()
        return is_created

    def reset(self, record: Record) -> None:
        """Clear the run, which keeps its conf, or create it."""
        with_fault = self._call("reset")
        run = self.server.runs.get((record.dag_id, record.run_id))
        if run is None:
            self.server.create(record.dag_id, self._new_run(record))
        else:
            run.state, run.clear_number = "queued", run.clear_number + 1
        with_fault()

    def now(self) -> datetime:
        """Return the server's time."""
        return self.server.now()

    def sleep(self, seconds: float) -> None:
        """Let the time pass, and the children go on."""
        with_fault = self._call("sleep")
        self.sleeps.append(seconds)
        if len(self.sleeps) > ENDLESS:
            raise AssertionError("the wait does not end")
        self.server.seconds += seconds
        self.server.on_sleep(self.server)
        with_fault()

    def report(self, decision: Decision, record: Record, seen: ChildRun | Look | None) -> None:
        """Remember what was told."""
        state = seen.state if isinstance(seen, ChildRun) else seen and seen.value
        self.server.told.append((decision, record.run_id, state))

    def report_wait(self, record: Record, state: str | None, waited_seconds: float) -> None:
        """Remember what was told."""
        self.waits.append((record.run_id, state, waited_seconds))

    def report_trouble(self, error: Exception) -> None:
        """Remember what was told."""
        self.troubles.append(error)

    def position(self, call: int) -> dict[str, Any]:
        """Return where the journal stands."""
        return self._journal.position(call) if self.has_store else {}

    def restore(self, call: int, position: dict[str, Any]) -> None:
        """Be a new process of the same try, which continues where the journal stood."""
        self._journal = _Journal(self.server, self.attempt.task_instance_id)
        if self.has_store:
            self._journal.restore(call, position)

    def _new_run(self, record: Record) -> Run:
        run_after = record.run_after or self.server.now()
        return Run(record.run_id, record.logical_date, run_after=run_after, conf=self.conf)

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


def attempt(  # noqa: PLR0913 - what tells one execution from another
    try_number: int,
    *,
    max_tries: int = RETRIES,
    retries: int = RETRIES,
    clear_number: int = 0,
    task_instance_id: str = "",
    parent: Parent = PARENT,
) -> Attempt:
    """Return a try of a task with three retries; each has a task instance id of its own."""
    return Attempt(parent, task_instance_id or f"ti-{try_number}", try_number, max_tries, retries, clear_number)


def cleared(try_number: int, *, parent: Parent = PARENT) -> Attempt:
    """Return the try that follows a person's clear of the try before it."""
    return attempt(try_number, max_tries=try_number - 1 + RETRIES, clear_number=1, parent=parent)


def ask(  # noqa: PLR0913 - what a user may ask for
    *,
    mode: Mode = Mode.WAIT,
    run_id: str | None = None,
    logical_date: datetime | None = None,
    is_date_ours: bool = True,
    is_run_after_ours: bool = True,
    dag_id: str = "child",
    allowed_states: frozenset[str] = frozenset({"success"}),
    failed_states: frozenset[str] = frozenset({"failed"}),
    is_reset: bool = False,
    is_skip: bool = False,
    on_clear: OnClear = OnClear.AUTO,
) -> Request:
    """Return a request: by default a synchronous wait with a generated identity."""
    return Request(
        dag_id=dag_id,
        run_id=run_id,
        logical_date=logical_date,
        is_date_ours=is_date_ours,
        is_run_after_ours=is_run_after_ours,
        mode=mode,
        allowed_states=allowed_states,
        failed_states=failed_states,
        is_reset=is_reset,
        is_skip=is_skip,
        on_clear=on_clear,
    )


def ask_generated(mode: Mode = Mode.WAIT) -> Request:
    """Return a request whose run id is ours."""
    return ask(mode=mode)


def ask_fixed_id(mode: Mode = Mode.WAIT) -> Request:
    """Return a request whose run id is the user's, and whose logical date is ours."""
    return ask(mode=mode, run_id="fixed")


def ask_fixed_date(mode: Mode = Mode.WAIT) -> Request:
    """Return a request whose logical date is the user's, and whose ``run_after`` is ours."""
    return ask(mode=mode, run_id="manual__fixed", logical_date=FIXED_DATE, is_date_ours=False)


def ask_unprovable(mode: Mode = Mode.WAIT) -> Request:
    """Return a request with the user's ``run_after``: nothing of the run is ours."""
    return ask(mode=mode, run_id="fixed", is_date_ours=False, is_run_after_ours=False)


def run_try(port: FakePort, request: Request, *, poke_interval: float = 60.0) -> Record:
    """Do what the operator does for one call. While deferred, the child ends as ``on_sleep`` says."""
    for _ in range(ENDLESS):
        started = protocol.trigger(port, request, port.attempt)
        if not started.is_settled:
            if request.mode is Mode.DEFER:
                started = defer(port, request, started)
            else:
                ended = waiting.wait(port, request, started, poke_interval=poke_interval)
                assert ended is not None
                started = ended
        if started.is_settled:
            return waiting.consume(port, started)
    raise AssertionError("the try does not come to an end")


def defer(port: FakePort, request: Request, started: Started) -> Started:
    """Wait in the triggerer; what comes back is a new process of the same try."""
    call = started.record.call
    sent = json.dumps({**dump(started.record), **port.position(call)})
    record = load(json.loads(sent))
    resumed = None
    for _ in range(ENDLESS):
        if resumed is not None:
            port.restore(call, json.loads(sent))
            return resumed
        port.server.on_sleep(port.server)
        run = port.server.runs.get((record.dag_id, record.run_id))
        outcome = Outcome(record.dag_id, record.run_id, run.state if run else None, port.server.now())
        resumed = waiting.resume(request, record, outcome)
    raise AssertionError("the deferred wait does not end")


def run_calls(port: FakePort, requests: Sequence[Request], confs: Sequence[str] = ()) -> None:
    """Do what a loop over ``execute`` does: each request is a call of its own."""
    epoch: int | None = None
    for number, request in enumerate(requests, start=1):
        port.conf = confs[number - 1] if confs else port.conf
        numbered = replace(request, call=number, epoch=epoch, is_journal_proven=1 in port.was_read and number > 1)
        record = run_try(port, numbered)
        epoch = record.epoch if epoch is None else epoch


def crash_while_waiting(server: Server, request: Request, *, at: Attempt | None = None, conf: str = "conf") -> None:
    """Run a try that dies in its wait, with the child active."""
    on_sleep, server.on_sleep = server.on_sleep, _die
    try:
        run_try(FakePort(server, at or attempt(1), conf=conf, dag_id=request.dag_id), request)
    except Crash:
        pass
    else:
        raise AssertionError("it did not wait")
    server.on_sleep = on_sleep
    server.calls.clear()
    server.told.clear()


def _die(server: Server) -> None:
    raise Crash


AWAY = Fault(LookUpFailedError("child", "x", "away", is_transient=True))
FORBIDDEN = Fault(LookUpFailedError("child", "x", "forbidden", is_transient=False))


def child_failed(request: Request, *, server: Server | None = None) -> Server:
    """Return a server whose parent's first try died while it waited; then its child failed."""
    server = server or Server()
    crash_while_waiting(server, request)
    server.end_all("failed")
    return server


def reconcile(server: Server) -> None:
    """Act as the reconciler, once: by the newest entry alone."""
    asks = server.record().asks
    for run in server.runs.values():
        if asks and asks.action and (run.clear_number, run.state) == (asks.action.clear_number, asks.action.state):
            run.state, run.clear_number = "queued", run.clear_number + 1
            server.on_sleep = lambda server: server.end_all("success")
