"""
A simulated Airflow for one task with many items, and every schedule of it up to a bound.

Each call of a try may succeed, crash the try before or after it took effect, or be a request that arrives late; each
wait lets one run end. What happens is a list of choices. All lists are tried (:func:`explore`), by executing the real
core from the start for each (stateless search).

The oracle counts runs. It knows nothing of ledgers, generations or epochs.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_durable.core import many
from airflow_durable.core.board import Board, Status
from airflow_durable.core.errors import DurableError, JournalWriteError, SubmissionUnknownError
from airflow_durable.core.items import Items
from airflow_durable.core.ledger import Ledger, dump, load
from airflow_durable.core.model import Attempt, ChildRun, Mode, OnChildFailure, OnClear, Parent, Request
from airflow_durable.core.observed import ChildNow, Entry, ParentNow
from airflow_durable.core.reconcile import decide
from airflow_durable.core.run_ids import tag_of_life
from airflow_durable.core.verdicts import Act

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

EPOCH = datetime(2026, 1, 1, tzinfo=timezone.utc)
PARENT = Parent("parent", "scheduled__2026-01-01", "trigger", -1, EPOCH, started_at=EPOCH)
ACTIVE = ("queued", "running")
HEALTHY = (*ACTIVE, "success")
START_TIMEOUT = 10_000
"""Of a scenario with delays, in seconds: more than all steps take."""

MOST_STEPS = 400
"""More calls than any try needs. A wrong protocol that never ends has to fail, not to hang."""


class Crash(BaseException):
    """The try's process died here."""


class PropertyBrokenError(AssertionError):
    """What must never happen has happened."""


@dataclass
class Run:
    """A child run. What tells whose it is: the item's key in its conf."""

    run_id: str
    conf: tuple[str, str]
    run_after: datetime | None
    state: str = "queued"
    ask: int = 0
    is_stray: bool = False
    asked_at: datetime | None = None
    clear_number: int = 0
    failed_in_try: int = 0
    dag_id: str = "child"
    try_number: int = 0
    ended_ask: int = -1

    @property
    def name(self) -> str:
        """What tells it from all other runs, of whatever Dag."""
        return _name(self.dag_id, self.run_id)

    @property
    def key(self) -> str:
        """The item's key."""
        return self.conf[0]


def _name(dag_id: str, run_id: str) -> str:
    return run_id if dag_id == "child" else f"{dag_id}: {run_id}"


class Scenario(NamedTuple):
    """
    What is explored.

    :param items: (key, conf) of each item.
    :param edited: the items from the second try on; None: the same.
    :param is_edited_at_clear: they are from the first clear on.
    :param is_edited_while_deferred: they are from some deferral on, or never.
    :param is_dag_edited: with them another Dag is asked for.
    :param faults: how many calls may go wrong.
    :param failures: how many runs may fail.
    :param deletions: how many runs may be deleted while they are waited for.
    :param clears: how often a person may clear the task when it has ended.
    :param is_run_over: the parent's Dag run has ended by then, too: each clear moves its start.
    :param is_keyed: each item has a key; else its position is what identifies it.
    :param is_losing: each clear discards the ledger.
    :param is_upstream_cleared: each clear lets something upstream run again, too.
    :param is_deferring: the board goes through its stored form at each wait.
    :param delays: the task has a ``start_timeout``, and so often it may pass while runs are waited for.
    :param is_reconciled: there is a reconciler. That it does not act in time is a fault.
    """

    items: tuple[tuple[str, str], ...] = (("a", "1"), ("b", "1"))
    edited: tuple[tuple[str, str], ...] | None = None
    is_edited_at_clear: bool = False
    is_edited_while_deferred: bool = False
    is_dag_edited: bool = False
    window: int | None = None
    tolerated: int = 0
    child_tries: int = 1
    faults: int = 0
    failures: int = 0
    deletions: int = 0
    clears: int = 0
    is_run_over: bool = True
    retries: int = 2
    on_clear: OnClear = OnClear.AUTO
    mode: Mode = Mode.WAIT
    has_store: bool = True
    has_details: bool = True
    is_keyed: bool = True
    is_losing: bool = False
    is_upstream_cleared: bool = False
    is_deferring: bool = False
    on_child_failure: OnChildFailure = OnChildFailure.FRESH
    is_reconciled: bool = True
    delays: int = 0


class Chooser:
    """Answers each question as its list of choices says, and with the first answer beyond it."""

    def __init__(self, prefix: Sequence[int]) -> None:
        self.taken = list(prefix)
        self.widths: list[int] = []

    def choose(self, width: int) -> int:
        """Return one of so many answers."""
        place = len(self.widths)
        self.widths.append(width)
        if place == len(self.taken):
            self.taken.append(0)
        return self.taken[place]


def explore(run: Callable[[Chooser], object], limit: int = 1_000_000) -> int:
    """Try every list of choices; return how many there are. A broken property names the list."""
    waiting: list[tuple[int, ...]] = [()]
    count = 0
    while waiting:
        prefix = waiting.pop()
        chooser = Chooser(prefix)
        try:
            run(chooser)
        except PropertyBrokenError as error:
            message = f"{error} (choices {tuple(chooser.taken)})"
            raise PropertyBrokenError(message) from error
        count += 1
        assert count < limit, "more schedules than the bound was meant for"
        for place in range(len(prefix), len(chooser.taken)):
            waiting += [(*chooser.taken[:place], other) for other in range(1, chooser.widths[place])]
    return count


@dataclass
class World:
    """The server: runs, the store, and what is under way."""

    scenario: Scenario
    chooser: Chooser
    runs: dict[str, Run] = field(default_factory=dict)
    store: list[str] = field(default_factory=list)
    late: list[Run] = field(default_factory=list)
    late_ones: int = 0
    marked: tuple[tuple[str, str], ...] = ()
    has_cleared: bool = False
    upstream_at: datetime | None = None
    current: int = 0
    ask: int = 0
    faults: int = 0
    failures: int = 0
    deletions: int = 0
    seconds: int = 0
    delays: int = 0
    overdue: set[str] = field(default_factory=set)
    resumed: Counter[tuple[int, str]] = field(default_factory=Counter)
    items: tuple[tuple[str, str], ...] = ()
    is_edited: bool = False
    trail: list[str] = field(default_factory=list)

    def now(self) -> datetime:
        """Return a later moment each time."""
        self.seconds += 1
        return EPOCH + timedelta(seconds=self.seconds)

    @property
    def dag_id(self) -> str:
        """The Dag that the task asks for by now."""
        return "other" if self.is_edited and self.scenario.is_dag_edited else "child"

    def let_edit(self) -> None:
        """Let a person edit the Dag file while the task is deferred; or not."""
        if self.scenario.is_edited_while_deferred and not self.is_edited and self.chooser.choose(2):
            self.is_edited, self.items = True, self.scenario.edited or self.items
            # Another Dag is other work.
            self.ask += self.scenario.is_dag_edited
            self.trail.append(f"while the task is deferred: {self.dag_id}, {self.items}")

    def note_clear(self) -> None:
        """Let a person clear the task."""
        scenario = self.scenario
        self.has_cleared = True
        self.trail.append("a person clears the task")
        if self.is_marked and scenario.on_clear is not OnClear.ADOPT:
            self.ask += 1
        is_lost = scenario.is_losing or not scenario.has_store
        if scenario.on_clear is OnClear.FRESH or (is_lost and not self.is_work_left()):
            self.ask = max(self.ask, self.current)
        if scenario.is_upstream_cleared:
            self.upstream_at, self.ask = self.now(), self.ask + 1
        if scenario.is_losing:
            self.store.clear()

    def is_work_left(self) -> bool:
        """Return whether runs alone show that the task had not succeeded: then a clear does not ask for all anew."""
        if self.scenario.mode is Mode.FIRE_AND_FORGET or not self.scenario.has_details:
            return False
        runs = [run for run in self.runs.values() if run.ask == self.ask and not run.is_stray]
        lacking = [key for key, _ in self.items if not any(run.key == key and run.state == "success" for run in runs)]
        is_active = any(run.state in ACTIVE for run in runs)
        return bool(runs) and (is_active or len(lacking) > self.scenario.tolerated)

    @property
    def is_marked(self) -> bool:
        """Whether the task's success was about to be reported: a clear asks for the work anew then."""
        return bool(self.store) and json.loads(self.store[-1])["phase"] == "consumed"

    def create(self, run: Run) -> bool:
        """Create a run, unless there is one of its id; hold what there is then against the promises."""
        if run.name in self.runs:
            return False
        others = [other for other in self.runs.values() if other.key == run.key and not other.is_stray]
        is_outdated = run.ask != self.ask
        self.runs[run.name] = run
        self.trail.append(f"created {run.run_id[-8:]} for {run.conf}")
        if is_outdated:
            # A request of before a person asked for all anew, that was under way since: a known limit.
            run.is_stray = True
            return True
        if not self.scenario.is_keyed and self.scenario.edited is not None:
            # By definition an item that has moved is another item.
            others = []
        if self.scenario.mode is Mode.FIRE_AND_FORGET:
            # What asks for a start alone is asked anew by a clear, whatever became of the run of before.
            others = [other for other in others if other.ask == run.ask]
        if any(other.state in ACTIVE for other in others):
            self.fail(f"a second run of item {run.key} beside an active one")
        if any(other.state == "success" and other.ask == run.ask and other.conf == run.conf for other in others):
            self.fail(f"item {run.key} had succeeded, and was started again")
        self._check_policy(run, others)
        self._check_window()
        return True

    def check_numbers(self) -> None:
        """Hold how many runs of an item the present try has started against what the task wants."""
        scenario = self.scenario
        started = Counter(run.key for run in self.runs.values() if run.try_number == self.current)
        is_counted = scenario.is_keyed and not self.has_cleared and not scenario.is_dag_edited
        if is_counted and max(started.values(), default=0) > scenario.child_tries:
            self.fail(f"one try has started more runs of an item than the task wants: {started}")

    def _check_window(self) -> None:
        """Hold how many runs are active against the window. Neither those of removed items count, nor overdue ones."""
        window, keys = self.scenario.window, {key for key, _ in self.items}
        active = sum(
            other.state in ACTIVE and other.key in keys and not self.is_overdue(other) for other in self.runs.values()
        )
        if window is not None and active > window + self.late_ones:
            self.fail("more active runs than the window")

    def _check_policy(self, run: Run, others: Sequence[Run]) -> None:
        """Hold a run that was created against what the task wants for items that have failed."""
        failed = [other for other in others if other.state == "failed" and other.conf == run.conf]
        policy = self.scenario.on_child_failure
        if self.has_cleared or not failed:
            return
        if policy is OnChildFailure.RESUME:
            self.fail(f"a fresh run of item {run.key}, and not the one that failed")
        if policy is OnChildFailure.FAIL and any(other.failed_in_try < self.current for other in failed):
            self.fail(f"item {run.key} had failed in an earlier try, and was started again")

    @property
    def is_asking(self) -> bool:
        """Whether the ledger asks for runs to be resumed."""
        return bool(self.store) and "resume_items" in json.loads(self.store[-1]).get("asks", {})

    def due(self) -> list[Run]:
        """Return the runs that a reconciler resumes now, while the task instance of the latest try is running."""
        if not self.is_asking or not self.scenario.is_reconciled:
            return []
        entry = Entry(load(json.loads(self.store[-1])), len(self.store), "", EPOCH)
        parent = ParentNow(f"ti-{self.current}", "running", None, "running")
        return [run for run in self.runs.values() if decide(entry, parent, _child(run), EPOCH).act is Act.RESUME]

    def reconcile(self) -> None:
        """Let a reconciler have a turn, or not: it resumes one run, which may have failed again at the next look."""
        due = self.due()
        ways = len(due) + (self.faults > 0)
        choice = self.chooser.choose(ways) if due else 0
        if choice < len(due):
            self.resume(due[choice])
        elif due:
            self.faults -= 1
            self.trail.append("the reconciler has no turn")

    def let_time_pass(self) -> None:
        """Let so much time pass that a timeout is over; meanwhile some runs leave the queue."""
        self.delays -= 1
        self.seconds += 2 * START_TIMEOUT
        for run in self.runs.values():
            if run.state == "queued" and self.chooser.choose(2):
                run.state = "running"
                self.trail.append(f"{run.run_id[-8:]} leaves the queue")

    def note_overdue(self, run_id: str) -> None:
        """Hold a run that the task takes for overdue against what it is."""
        if run_id in self.overdue:
            return
        self.overdue.add(run_id)
        self.trail.append(f"{run_id[-8:]} is overdue")
        run = self.runs.get(run_id)
        if run is None or not self.is_overdue(run):
            self.fail("a run counts as overdue that is not queued, or is not queued for so long")

    def is_overdue(self, run: Run) -> bool:
        """Return whether a run has been queued for longer than the task wants."""
        age = EPOCH + timedelta(seconds=self.seconds) - (run.asked_at or EPOCH)
        return run.state == "queued" and age >= timedelta(seconds=START_TIMEOUT)

    def note_failure(self, error: BaseException) -> None:
        """Note that a try failed. If its worker died, nobody has noticed that yet: a reconciler may act."""
        self.trail.append(f"try {self.current} ends: {type(error).__name__} {error}")
        if isinstance(error, Crash):
            self.reconcile_late()

    def reconcile_late(self) -> None:
        """Let a reconciler have a turn that the task does not wait for; or not."""
        due = self.due()
        if due and self.chooser.choose(2):
            self.resume(due[0])

    def resume(self, run: Run) -> None:
        """Resume a run, and hold what there is then against the promises."""
        others = [one for one in self.runs.values() if one.key == run.key and one is not run and not one.is_stray]
        run.state = "queued"
        run.clear_number += 1
        self.trail.append(f"resumed {run.run_id[-8:]}")
        is_done = any(one.state == "success" and one.ask == run.ask and one.conf == run.conf for one in others)
        if is_done or any(one.state in ACTIVE for one in others):
            self.fail(f"a run of item {run.key} was resumed beside a healthy one")
        if run.conf not in self.items:
            self.fail(f"a run was resumed that is not what the task asks for: {run.conf}")
        self.resumed[self.current, run.run_id] += 1
        if self.resumed[self.current, run.run_id] > self.scenario.child_tries:
            self.fail("a run was resumed more often than the task asks for")
        self._check_window()
        if self.failures and self.chooser.choose(2):
            self.failures -= 1
            run.state, run.failed_in_try = "failed", self.current

    def fail(self, what: str) -> None:
        """Report a broken promise, with what led to it."""
        raise PropertyBrokenError("\n".join([what, *self.trail]))

    def let_one_end(self, waited_for: Sequence[str]) -> bool:
        """Let one active run end, one way or the other; tell whether there was one."""
        active = [run for run in self.runs.values() if run.state in ACTIVE]
        ended = any(run_id not in self.runs or self.runs[run_id].state not in ACTIVE for run_id in waited_for)
        if not active or ended:
            return ended
        can_fail, can_go = self.failures > 0, self.deletions > 0
        ways = 1 + can_fail + can_go
        choice = self.chooser.choose(len(active) * ways)
        run, way = active[choice // ways], choice % ways
        if way == 0:
            run.state, run.ended_ask = "success", self.ask
        elif way == 1 and can_fail:
            run.state, run.failed_in_try = "failed", self.current
            self.failures -= 1
        else:
            del self.runs[run.name]
            self.deletions -= 1
        self.trail.append(f"{run.run_id[-8:]} {run.state if run.name in self.runs else 'deleted'}")
        return True


class ItemPort:
    """The port of one item."""

    def __init__(self, port: SimulatedPort, index: int) -> None:
        self._port, self._index = port, index
        self.has_store, self.has_details = port.has_store, port.has_details

    def write(self, record: Any) -> None:  # noqa: ANN401 - see the core's port
        """Do nothing: the ledger has it."""

    def read(self, call: int) -> None:
        """Do nothing: the whole reads the ledger."""

    def look_up(self, dag_id: str, run_id: str, *, is_detailed: bool) -> ChildRun | None:
        """Do as the core's port says."""

        def look() -> ChildRun | None:
            run = self._port.world.runs.get(_name(dag_id, run_id))
            if run is None:
                return None
            if not (is_detailed and self.has_details):
                return ChildRun(run.state)
            is_same = run.conf == self._port.confs[self._index]
            started_at = None if run.state == "queued" else run.asked_at or EPOCH
            return ChildRun(run.state, run.clear_number, run.asked_at, run.run_after, started_at, is_same)

        found: ChildRun | None = self._port.call("look up", look)
        return found

    def count(self, dag_id: str, run_ids: Sequence[str], states: Sequence[str] | None) -> int:
        """Do as the core's port says."""
        runs, names = self._port.world.runs, [_name(dag_id, run_id) for run_id in run_ids]
        counted: int = self._port.call(
            "count", lambda: sum(name in runs and (states is None or runs[name].state in states) for name in names)
        )
        return counted

    def submit(self, record: Any) -> bool:  # noqa: ANN401
        """Do as the core's port says."""
        world = self._port.world
        # Before 3.3, which has the store, a task cannot choose it.
        tag = tag_of_life(self._port.parent, 1) if record.tag is None else record.tag
        run_after = world.now().replace(microsecond=tag if world.scenario.has_store else 0)
        run = Run(record.run_id, self._port.confs[self._index], run_after, ask=world.ask, asked_at=world.now())
        run.dag_id, run.try_number = record.dag_id, self._port.number
        return self._port.submit(run)

    def now(self) -> datetime:
        """Do as the core's port says."""
        return self._port.now()

    def sleep(self, seconds: float) -> None:
        """No time passes."""

    def report_trouble(self, error: Exception) -> None:
        """Nobody listens."""


class SimulatedPort:
    """The port of one execution of a try."""

    def __init__(self, world: World, number: int, confs: Sequence[tuple[str, str]], parent: Parent = PARENT) -> None:
        self.world, self.number, self.confs, self.parent = world, number, confs, parent
        self.has_store = world.scenario.has_store
        self.has_details = world.scenario.has_details
        self.steps = 0
        self.next_entry = 0

    def call(self, what: str, effect: Callable[[], Any]) -> Any:  # noqa: ANN401 - as many types as there are calls
        """Do it, or let it go wrong."""
        world = self.world
        self.steps += 1
        if self.steps > MOST_STEPS:
            world.fail("a try does not end")
        if world.late and world.chooser.choose(2):
            world.trail.append("a late request arrives")
            world.create(world.late.pop())
        kind = world.chooser.choose(3) if world.faults else 0
        if kind:
            world.faults -= 1
            world.trail.append(f"crash {'before' if kind == 1 else 'after'} {what}")
        if kind == 1:
            raise Crash
        answer = effect()
        if kind == 2:
            raise Crash
        return answer

    def submit(self, run: Run) -> bool:
        """Do as the core's port says."""
        world = self.world
        if world.faults:
            kind = world.chooser.choose(3)
            if kind == 1:
                world.faults -= 1
                world.trail.append("the reply is lost")
                world.create(run)
                message = "no answer"
                raise SubmissionUnknownError("child", run.run_id, message)
            if kind == 2:
                world.faults -= 1
                world.trail.append(f"crash, and the request for {run.run_id[-8:]} is under way")
                world.late.append(run)
                world.late_ones += 1
                raise Crash
        created: bool = self.call("submit", lambda: world.create(run))
        return created

    def read(self) -> Ledger | None:
        """Do as the core's port says."""
        store = self.world.store
        newest: Ledger | None = self.call("read", lambda: load(json.loads(store[-1])) if store else None)
        self.restore()
        return newest

    def restore(self) -> None:
        """Continue behind the entries that there are. Who has not read writes from the first on."""
        self.next_entry = len(self.world.store)

    def write(self, ledger: Any) -> None:  # noqa: ANN401 - the core casts
        """Do as the core's port says."""
        world = self.world
        if self.number != world.current:
            raise JournalWriteError("child", "?", "superseded")
        # After the task's last look, and before the withdrawal.
        world.reconcile_late()
        if self.has_store:
            place, entry = self.next_entry, json.dumps(dump(ledger))
            self.call("write", lambda: world.store.__setitem__(slice(place, place + 1), [entry]))
            self.next_entry += 1

    def item(self, index: int) -> Any:  # noqa: ANN401 - it lacks what the core does not use
        """Do as the core's port says."""
        return ItemPort(self, index)

    def is_upstream_newer(self, than: datetime | None) -> bool | None:
        """Do as the core's port says."""
        if self.world.upstream_at is None:
            return False
        return None if than is None else self.world.upstream_at > than

    def now(self) -> datetime:
        """Do as the core's port says."""
        return self.world.now()

    def sleep(self, seconds: float) -> None:
        """While the task waits for quiet, runs end; while it waits for the reconciler, that has a turn."""
        if self.world.is_asking:
            self.world.reconcile()
        else:
            self.world.let_one_end(())

    def report(self, decision: Any, whole: Any) -> None:  # noqa: ANN401
        """Do as the core's port says."""
        self.world.trail.append(f"try {self.number}: {decision.value}")

    def report_change(self, before: int, whole: Any) -> None:  # noqa: ANN401
        """Nobody listens."""

    def report_progress(self, whole: Any) -> None:  # noqa: ANN401
        """Nobody listens."""


def play(scenario: Scenario, chooser: Chooser) -> World:
    """Let the task run, with all its tries and a person's clears, and hold what comes of it against the promises."""
    world = World(scenario, chooser, faults=scenario.faults, failures=scenario.failures, deletions=scenario.deletions)
    world.delays = scenario.delays
    clears, max_tries, clear_number = scenario.clears, scenario.retries, 0
    number, parent = 0, PARENT
    while True:
        number += 1
        world.current = number
        if not scenario.is_edited_while_deferred:
            world.is_edited = world.has_cleared if scenario.is_edited_at_clear else number > 1
        world.items = items = scenario.edited or scenario.items if world.is_edited else scenario.items
        attempt = Attempt(parent, f"ti-{number}", number, max_tries, scenario.retries, clear_number)
        port = SimulatedPort(world, number, items, parent)
        world.trail.append(f"-- try {number} of {items}")
        is_success = False
        try:
            is_settled = _execute(world, port, attempt)
            is_success = True
            # What was marked as a success before is only reported again.
            _check_success(world, world.marked if is_settled else world.items)
        except (Crash, DurableError) as error:
            world.note_failure(error)
        world.check_numbers()
        if is_success or number > max_tries:
            if not clears or not chooser.choose(2):
                is_explained = scenario.failures or scenario.delays
                if not is_success and not (world.faults or world.failures or world.deletions) and not is_explained:
                    _check_faults_explain(world, scenario)
                return world
            clears -= 1
            world.note_clear()
            max_tries, clear_number = number + scenario.retries, clear_number + 1
            if scenario.is_run_over:
                parent = replace(parent, started_at=world.now())


def _open(world: World, port: SimulatedPort, attempt: Attempt) -> many.Many:
    """Return a try, or what continues after a deferral, with what the Dag file asks for by now."""
    scenario, items = world.scenario, world.items
    request = Request(
        world.dag_id, None, None, False, scenario.has_store, scenario.mode,
        frozenset({"success"}), frozenset({"failed"}), on_clear=scenario.on_clear,
        on_child_failure=scenario.on_child_failure, reconciler_timeout_seconds=1.0,
        start_timeout_seconds=float(START_TIMEOUT) if scenario.delays else None,
    )  # fmt: skip
    goal = many.Goal(
        request,
        Items.of_keys([key for key, _ in items]) if scenario.is_keyed else Items(len(items)),
        max_active=scenario.window,
        tolerated=scenario.tolerated,
        child_tries=scenario.child_tries,
    )
    return many.Many(port, goal, attempt)


def _come_back(world: World, whole: many.Many) -> tuple[many.Many, bool]:
    """Defer, and continue in another process; tell whether the try has begun again, as the operator does."""
    ledger, board = json.loads(json.dumps([dump(whole.ledger), whole.board.dump()]))
    world.let_edit()
    port = SimulatedPort(world, world.current, world.items, whole.attempt.parent)
    port.restore()
    again = _open(world, port, whole.attempt)
    begun = load(ledger)
    if not begun.is_of(again.goal.items) or begun.dag_id != world.dag_id:
        many.begin(again, begun)
        return again, True
    again.ledger, again.board = begun, Board.load(again.goal.items, board)
    return again, False


def _await_ends(world: World, whole: many.Many) -> list[tuple[int, str | None]]:
    """Let a run end, and return what became of those that are waited for."""
    watched = {
        index: _name(whole.ledger.dag_id, whole.run_id(index))
        for index in whole.board.of(Status.ACTIVE, Status.WAITED_OUT)
    }
    if not world.let_one_end(list(watched.values())):
        world.fail("the task waits, and nothing is there to end")
    ends: list[tuple[int, str | None]] = []
    for index, run_id in watched.items():
        state = world.runs[run_id].state if run_id in world.runs else None
        if state not in ACTIVE:
            ends.append((index, state))
    return ends


def _execute(world: World, port: SimulatedPort, attempt: Attempt) -> bool:
    """Execute one try; tell whether an earlier one had consumed the outcome."""
    scenario = world.scenario
    whole = _open(world, port, attempt)
    many.begin(whole)
    while True:
        many.send(whole)
        for index in whole.board.of(Status.OVERDUE):
            world.note_overdue(whole.run_id(index))
        if whole.board.is_over:
            break
        if scenario.is_deferring:
            whole, has_begun = _come_back(world, whole)
            if has_begun:
                continue
        if world.delays and many.wake_of(whole, 60).due_at is not None and world.chooser.choose(2):
            world.let_time_pass()
            continue
        many.note_ends(whole, _await_ends(world, whole))
    if not whole.is_settled:
        world.marked = world.items
    many.finish(whole)
    port.call("end", lambda: None)
    return whole.is_settled


def _child(run: Run) -> ChildNow:
    return ChildNow("child", run.run_id, run.state, run.clear_number, None, None, None, None, is_from_task=True)


def _check_success(world: World, items: Sequence[tuple[str, str]]) -> None:
    """No lost work: each item has a run that succeeded with its own conf, or not more lack one than are tolerated."""
    is_waiting = world.scenario.mode is not Mode.FIRE_AND_FORGET
    if any(run.clear_number and run.state in ACTIVE for run in world.runs.values()):
        world.fail("the task succeeded while a run that was resumed for it is active")
    enough = ("success",) if is_waiting else (*HEALTHY, "failed")
    # A retry takes an item whose key is the same for the same item, whatever its conf is by now: a known limit.
    is_key_enough = world.scenario.is_keyed and not world.has_cleared
    lacking = [
        key
        for key, conf in items
        if not any(
            (run.conf == (key, conf) or (is_key_enough and run.key == key)) and run.state in enough
            for run in world.runs.values()
            # What had ended before something upstream ran again has another input.
            if run.dag_id == world.dag_id and (run.ended_ask == world.ask or not world.scenario.is_upstream_cleared)
        )
    ]
    if len(lacking) > world.scenario.tolerated:
        world.fail(f"the task succeeded without {lacking}")


def _check_faults_explain(world: World, scenario: Scenario) -> None:
    """Where no run failed, a task with more retries than faults has to succeed."""
    if scenario.retries >= scenario.faults + scenario.deletions:
        world.fail("the task failed although nothing is wrong any more")
