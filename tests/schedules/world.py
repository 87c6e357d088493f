"""
The simulated Airflow: what its database holds.

A model of Airflow (3.0 to 3.4), not of the protocol: it knows nothing of decisions, and never looks into a record.

=====================  ================================================================================================
what                   as in
=====================  ================================================================================================
two unique keys        ``models/dagrun.py``: (dag_id, run_id) and (dag_id, logical_date); either answers 409
reset                  ``sdk/api/client.py``, ``DagRunOperations.trigger``: create; on a 409 clear by run id. The run
                       keeps its conf
the store              ``execution_api/routes/task_state_store.py``: a value for each key; a write under an id that is
                       gone gets 404; a read that gets 404 returns the default (``sdk/execution_time/context.py``)
a repeated write       ``sdk/api/client.py``: a PUT without an answer is sent again, so that a copy can arrive late
retry                  ``models/taskinstance.py``: a new id and ``try_number + 1`` while ``try_number <= max_tries``
clear                  ``clear_task_instances``: a new id, ``max_tries = try_number + retries``; of a running task
                       ``max_tries`` stays or not, by what its executor reports (``scheduler_job_runner.py``); the Dag
                       run's ``clear_number`` grows, and the start of one that had finished moves
a discarded record     ``clearTaskInstances`` without ``keep_task_state`` (3.4)
deleted and made anew  a deleted task instance is made anew with its first try and another id, and its store is kept;
                       with a deleted Dag run its store goes
the same try twice     ``ti_run`` (a repeated start from the same host and pid) and ``_reschedule_stuck_task``
=====================  ================================================================================================
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_durable.core.model import ChildRun, Parent

if TYPE_CHECKING:
    from tests.schedules.attempts import Payload, Step

ACTIVE = "running"
SUCCESS = "success"
FAILED = "failed"
HEALTHY = frozenset({ACTIVE, SUCCESS})
ENDED = frozenset({"success", "failed", "skipped"})
REMOVED = "removed"
RESTARTING = "restarting"
"""It was cleared while it ran, and its process has not been stopped yet. What that writes is accepted, as the task
instance still has its id (``models/taskinstance.py``, ``clear_task_instances``)."""

BEGINNING = datetime(2026, 1, 1, tzinfo=timezone.utc)


LEAP = timedelta(days=100)
"""By how much the clock moves, where it moves: by more than all task instances of a schedule take."""

QUEUED = "queued"
"""How far a run has come: it waits in the queue."""

RESUMED = "resumed"
"""It waits in the queue, and some of its tasks have run before."""

STARTED = "started"
"""It has left the queue, and none of its tasks has begun."""


def moment_of(number: int) -> datetime:
    """Return when the task instance of this number began. What is between two of them is measured from there."""
    return BEGINNING + timedelta(days=number)


def parent_of(number: int, started: int = 0) -> Parent:
    """
    Return a parent, as its tries see it.

    :param started: with which task instance its Dag run started.
    """
    return Parent("parent", "run", "task", number, BEGINNING, started_at=moment_of(started))


class Kept:
    """A value, as it is stored or sent. One object for each value, so that comparing worlds is cheap."""

    __slots__ = ("__weakref__", "text", "value")

    def __init__(self, text: str, value: Any) -> None:  # noqa: ANN401 - JSON
        self.text = text
        self.value = value


class Ask(NamedTuple):
    """
    What the run of one call is asked to be: the request's identity, for the oracle.

    :param conf: its token.
    :param run_id: what the user fixed; None: nothing.
    :param date: the logical date that the user fixed.
    """

    dag_id: str
    conf: str
    run_id: str | None = None
    date: datetime | None = None


class Token(NamedTuple):
    """
    Who asked for a run: a parent, in one life of its Dag run, with one of its calls, and for what.

    :param demand: see :class:`Ledger`: which demand the try was to meet.
    :param ask: what was really sent.
    """

    parent: int
    life: int
    call: int
    demand: int
    ask: Ask


class Run(NamedTuple):
    """
    A run of a child Dag.

    :param conf: the token of the conf that it carries.
    :param started_at: when its first task could run.
    :param owners: who created or reset it; empty: it is foreign.
    :param queued_at: when it was last queued by the server, or by a person.
    :param is_revived: a person cleared it. For the oracle.
    :param is_late: it was created or reset by a request that came after its try was superseded. For the oracle.
    :param stage: how far it has come; empty: a first task has begun. Always empty where no ``start_timeout`` is set.
    :param asked_clock: how often the clock had moved when the try began that had the run started, or started over. For
        the oracle.
    :param queued_clock: how often it had moved when that was done. For the oracle.
    """

    dag_id: str
    run_id: str
    date: datetime | None
    run_after: datetime
    conf: str
    state: str
    started_at: datetime
    queued_at: datetime
    clear_number: int = 0
    owners: frozenset[Token] = frozenset()
    is_revived: bool = False
    is_late: bool = False
    stage: str = ""
    asked_clock: int = 0
    queued_clock: int = 0

    @property
    def shown_state(self) -> str:
        """Return its Dag run state, as the server shows it."""
        return QUEUED if self.state == ACTIVE and self.is_queued else self.state

    @property
    def is_queued(self) -> bool:
        """Whether it waits in the queue, if it is active."""
        return self.stage in {QUEUED, RESUMED}

    @property
    def key(self) -> tuple[str, str]:
        """Return what it is looked up by."""
        return self.dag_id, self.run_id

    def owners_of(self, parent: int) -> list[Token]:
        """Return the tokens of one parent."""
        return [token for token in self.owners if token.parent == parent]


class Task(NamedTuple):
    """
    A parent's task instance, and its Dag run.

    :param state: ``scheduled``, ``running``, ``deferred``, ``restarting``, ``removed``, or ended.
    :param number: its id. A superseded process has another.
    :param clear_number: its Dag run's.
    :param execution: how many executions of this try there were before.
    :param life: how often its Dag run was deleted and created again.
    :param started: the number of the task instance with which its Dag run started.
    :param upstream: the number of the task instance before which something upstream of it ran again; 0: nothing did.
    :param version: what its Dag file asks for by now.
    :param store: its task state store.
    :param is_marked: a person marked it as failed or as success: nobody has reported that.
    :param is_run_over: it is removed, and its Dag run has ended.
    :param trigger: what a deferred task left to the trigger: the record, in which states the trigger
        fires, and when it does so in any case.
    """

    state: str
    try_number: int
    max_tries: int
    retries: int
    number: int = 0
    clear_number: int = 0
    execution: int = 0
    life: int = 0
    started: int = 0
    upstream: int = 0
    version: str = ""
    store: tuple[tuple[str, Kept], ...] = ()
    is_marked: bool = False
    is_run_over: bool = False
    trigger: tuple[Kept, frozenset[str], datetime | None] | None = None

    @property
    def is_eligible_to_retry(self) -> bool:
        """As ``TaskInstance.is_eligible_to_retry``."""
        return bool(self.retries) and self.try_number <= self.max_tries

    @property
    def is_over(self) -> bool:
        """Whether it comes back only if a person wants it."""
        return self.state in ENDED or self.is_run_over

    @property
    def run_state(self) -> str:
        """Its Dag run's state: there is nothing else in it."""
        return "failed" if self.is_over else "running"

    @property
    def ended_at(self) -> datetime | None:
        """When it ended, or its Dag run did."""
        return moment_of(self.number) + timedelta(hours=20) if self.is_over else None

    def get(self, key: str) -> Kept | None:
        """Return what its store has under a key."""
        return next((kept for known, kept in self.store if known == key), None)

    def with_value(self, key: str, kept: Kept) -> Task:
        """Return it with a value stored."""
        others = [entry for entry in self.store if entry[0] != key]
        return self._replace(store=tuple(sorted((*others, (key, kept)), key=lambda entry: entry[0])))


class Ledger(NamedTuple):
    """
    The oracle's own account of one parent: never taken from a record.

    :param asked: (call, ask): what its tries have asked for since the work was last demanded anew.
    :param reached: (call, ask, state): what its runs have reached since then; a run that is created is active.
    :param cleared: what was cleared and no try has begun since: ``""``, ``unreported`` or ``reported`` (its success had
        been reported), ``upstream`` (what is upstream of it ran again, too).
    :param demand: how often the work was demanded anew, or with another request.
    :param is_hidden: a clear of a running task was reported as a failure, so that Airflow counts a retry.
    :param remade: ``remade``: the task instance was deleted and made anew; ``written``: and a try of it has written.
    :param is_cleared: a person cleared the task since the newest of its runs was asked for.
    :param settled: the calls for which a run was created since then.
    :param is_known_done: a try wrote what it does last before it reports success, and may not have come to report it.
    :param lost: ``lost``: its record is incomplete; ``rewritten``: and a try has written since;
        ``restored``: and a later try has begun; empty: it was never lost.
    :param cleared_clock: how often the clock had moved when the first try after the latest clear began.
    """

    asked: frozenset[tuple[int, Ask]] = frozenset()
    reached: frozenset[tuple[int, Ask, str]] = frozenset()
    cleared: str = ""
    demand: int = 0
    is_cleared: bool = False
    settled: frozenset[int] = frozenset()
    is_hidden: bool = False
    remade: str = ""
    is_known_done: bool = False
    lost: str = ""
    cleared_clock: int = 0


class Process(NamedTuple):
    """
    A try that is being executed, perhaps after the server has given it up.

    :param failed: which runs had failed before it began, and how often each had been cleared by then. Empty of a try
        that was deferred. For the oracle.
    """

    step: Step
    parent: int
    task_number: int
    try_number: int
    execution: int
    life: int
    demand: int
    failed: frozenset[tuple[tuple[str, str], int]] = frozenset()

    @property
    def name(self) -> str:
        """Name it in a schedule."""
        again = f" (execution {self.execution + 1})" if self.execution else ""
        return f"{_of(self.parent)}try {self.try_number}{again}"


class Sent(NamedTuple):
    """
    A request that is on its way.

    :param kind: ``set``, ``submit`` or ``reset``.
    :param what: the key and the value that are stored; or what is said of a run.
    :param is_copy: a copy of one that has its answer.
    """

    kind: str
    what: tuple[str, Kept] | Payload
    sender: Sender
    is_copy: bool


class Sender(NamedTuple):
    """Who sent a request."""

    parent: int
    task_number: int
    try_number: int
    life: int
    demand: int
    step: Step


class Budget(NamedTuple):
    """
    What may still go wrong or be done by people: the bound of the enumeration.

    :param faults: of the machines and of the network.
    :param clears: of the parents' tasks.
    :param failures: child runs that fail.
    :param people: a person deletes or clears a child run.
    :param edits: of a parent's Dag file, without a clear.
    :param losses: of the record, by whatever makes it incomplete.
    :param remakes: a task instance, or its Dag run, that is deleted and made anew.
    :param marks: a person marks a task as failed or as success.
    :param removals: a task instance that is removed, and may be restored (its Dag, or what it is mapped over, changes).
    :param leaps: the clock moves, past every ``start_timeout``.
    """

    faults: int = 0
    clears: int = 0
    failures: int = 0
    people: int = 0
    edits: int = 0
    losses: int = 0
    remakes: int = 0
    marks: int = 0
    removals: int = 0
    leaps: int = 0

    @property
    def total(self) -> int:
        """Return how much is left in all."""
        return sum(self)


class World(NamedTuple):
    """
    All of it. Equal worlds have equal futures: it holds all that any later action reads.

    :param has_store: Airflow's version, as far as it can change.
    :param deleted: the keys of the runs that people deleted.
    :param acted: for which tries the reconciler has resumed or reset a run. For the oracle.
    :param clock: how often the clock has moved, beside the time that passes from one try to the next.
    """

    runs: tuple[Run, ...]
    tasks: tuple[Task, ...]
    ledgers: tuple[Ledger, ...]
    budget: Budget
    has_store: bool
    processes: tuple[Process, ...] = ()
    messages: tuple[Sent, ...] = ()
    deleted: frozenset[tuple[str, str]] = frozenset()
    acted: frozenset[tuple[int, int, int]] = frozenset()
    clock: int = 0

    def run(self, dag_id: str, run_id: str) -> Run | None:
        """Return the run of this id."""
        for run in self.runs:
            if run.run_id == run_id and run.dag_id == dag_id:
                return run
        return None

    def with_run(self, changed: Run) -> World:
        """Return the world with this run, new or instead of the one of its id."""
        others = [run for run in self.runs if run.key != changed.key]
        return self._replace(runs=tuple(sorted((*others, changed), key=lambda run: run.key)))

    def without_run(self, gone: Run) -> World:
        """Return the world after a person deleted the run."""
        left = tuple(run for run in self.runs if run.key != gone.key)
        # One that is created under the same names after that is another one, which has not failed yet.
        processes = tuple(
            process._replace(failed=frozenset(one for one in process.failed if one[0] != gone.key))
            for process in self.processes
        )
        return self._replace(runs=left, deleted=self.deleted | {gone.key}, processes=processes)

    def with_task(self, parent: int, task: Task) -> World:
        """Return the world with a parent's task instance changed."""
        return self._replace(tasks=(*self.tasks[:parent], task, *self.tasks[parent + 1 :]))

    def with_ledger(self, parent: int, ledger: Ledger) -> World:
        """Return the world with the account of a parent changed."""
        return self._replace(ledgers=(*self.ledgers[:parent], ledger, *self.ledgers[parent + 1 :]))

    def is_taken(self, payload: Payload) -> bool:
        """Tell whether a request to create the run gets a 409."""
        return any(
            run.dag_id == payload.dag_id
            and (run.run_id == payload.run_id or (run.date is not None and run.date == payload.date))
            for run in self.runs
        )

    def is_current(self, parent: int, task_number: int) -> bool:
        """Tell whether a task instance of this id exists: only then are the writes under it accepted."""
        return self.tasks[parent].number == task_number

    def spend(self, **amounts: int) -> World:
        """Return the world with less of the budget."""
        left = {name: getattr(self.budget, name) - amount for name, amount in amounts.items()}
        return self._replace(budget=self.budget._replace(**left))


def given_up(world: World, parent: int) -> World:
    """Fail the try, or have the server say so: another try, if any is left."""
    task = world.tasks[parent]
    if task.is_eligible_to_retry:
        return world.with_task(parent, task._replace(state="scheduled", number=task.number + 1))
    return world.with_task(parent, task._replace(state="failed"))


def see(run: Run | None, ask_dag_id: str, conf: str, *, is_detailed: bool) -> ChildRun | None:
    """
    Return what a look-up says of the run.

    :param ask_dag_id: with the conf: what the present request asks for.
    """
    if run is None:
        return None
    if not is_detailed:
        return ChildRun(run.shown_state)
    is_same = run.dag_id == ask_dag_id and run.conf == conf
    started_at = None if run.is_queued else run.started_at
    return ChildRun(run.shown_state, run.clear_number, run.date, run.run_after, started_at, is_same)


def _of(parent: int) -> str:
    return f"parent {parent + 1}, " if parent else ""
