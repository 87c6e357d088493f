"""
The simulated Airflow: what its database holds, and what happens to that by itself, by people and by calls.

It is a model of Airflow (3.0 to 3.3), not of the protocol: it knows nothing of decisions. What it takes from a record
is what the server sees of it, the run id and the logical date; beside that only the oracle looks into one, to see
whether a success was marked as consumed when a person cleared the task (contract, point 5).

=====================  ================================================================================================
what                   as in
=====================  ================================================================================================
two unique keys        ``models/dagrun.py``: (dag_id, run_id) and (dag_id, logical_date); either answers 409
reset                  ``sdk/api/client.py``, ``DagRunOperations.trigger``: create; on a 409 clear by run id
fencing by try         ``execution_api/routes/task_state_store.py``: a write under an id that is gone gets 404; a read
                       that gets 404 returns the default (``sdk/execution_time/context.py``)
retry                  ``models/taskinstance.py``: a new id and ``try_number + 1`` while ``try_number <= max_tries``
clear                  ``clear_task_instances``: a new id, ``max_tries = try_number + retries``; of a running task
                       ``max_tries`` stays or not, by what its executor reports (``scheduler_job_runner.py``)
the same try twice     ``ti_run`` (a repeated start from the same host and pid) and ``_reschedule_stuck_task``
=====================  ================================================================================================
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from airflow_durable.core.model import ChildRun

if TYPE_CHECKING:
    from datetime import datetime

    from airflow_durable.core.record import Record
    from tests.schedules.attempts import Step

ACTIVE = "running"
SUCCESS = "success"
FAILED = "failed"
HEALTHY = frozenset({ACTIVE, SUCCESS})
ENDED = frozenset({"success", "failed", "skipped"})


class Kept:
    """A record as the database keeps it. One object for each record, so that comparing worlds is cheap."""

    __slots__ = ("record",)

    def __init__(self, record: Record) -> None:
        self.record = record


class Run(NamedTuple):
    """
    A run of the child Dag.

    :param owner: the epoch of the parent that created or reset it; None: it is foreign.
    :param is_revived: a person cleared it when it had failed, or was foreign and about to be reset. For the oracle.
    :param is_late: it was created or reset by a request that came after its attempt was superseded. For the oracle.
    """

    run_id: str
    date: datetime | None
    state: str
    clear_number: int
    owner: int | None
    is_revived: bool = False
    is_late: bool = False


class Task(NamedTuple):
    """
    The parent's task instance.

    :param state: ``scheduled``, ``running``, ``deferred``, or ended.
    :param number: its id. A superseded process has another.
    :param clear_number: its Dag run's.
    :param execution: how many executions of this try there were before.
    """

    state: str
    try_number: int
    max_tries: int
    retries: int
    number: int
    clear_number: int
    execution: int = 0

    @property
    def is_eligible_to_retry(self) -> bool:
        """As ``TaskInstance.is_eligible_to_retry``."""
        return bool(self.retries) and self.try_number <= self.max_tries


class Process(NamedTuple):
    """
    An attempt that is being executed, perhaps after the server has given it up.

    :param epoch: what the person who last asked for the work asked for; see :class:`World`.
    """

    step: Step
    task_number: int
    try_number: int
    execution: int
    epoch: int

    @property
    def name(self) -> str:
        """Name it in a schedule."""
        again = f" (execution {self.execution + 1})" if self.execution else ""
        return f"try {self.try_number}{again}"


class Message(NamedTuple):
    """A request that is on its way, though its sender was told that it is lost."""

    kind: str
    kept: Kept
    task_number: int
    try_number: int
    execution: int
    epoch: int


class Budget(NamedTuple):
    """What may still go wrong or be done by people: the bound of the enumeration."""

    faults: int
    clears: int
    failures: int
    people: int

    @property
    def total(self) -> int:
        """Return how much is left in all."""
        return sum(self)


class World(NamedTuple):
    """
    All of it. Equal worlds have equal futures: it holds all that any later action reads.

    :param epoch: how often people have asked for the work anew: by a clear of a task that had its success, or with
        another request. For the oracle: each asks for one child.
    :param request: which of the two requests the parent's Dag file makes now.
    :param achieved: a bit for each epoch in which a child of it reached an allowed state after it was started or reset.
    :param started: a bit for each epoch in which a child was started or reset.
    :param deleted: the run ids of the runs that people deleted.
    """

    runs: tuple[Run, ...]
    kept: Kept | None
    task: Task
    processes: tuple[Process, ...]
    messages: tuple[Message, ...]
    trigger: Kept | None
    budget: Budget
    epoch: int = 0
    request: int = 0
    achieved: int = 0
    started: int = 0
    deleted: frozenset[str] = frozenset()

    def run(self, run_id: str) -> Run | None:
        """Return the run of this id."""
        for run in self.runs:
            if run.run_id == run_id:
                return run
        return None

    def with_run(self, changed: Run) -> World:
        """Return the world with this run, new or instead of the one of its id."""
        others = [run for run in self.runs if run.run_id != changed.run_id]
        return self._replace(runs=tuple(sorted((*others, changed), key=lambda run: run.run_id)))

    def without_run(self, run_id: str) -> World:
        """Return the world after a person deleted the run of this id."""
        left = tuple(run for run in self.runs if run.run_id != run_id)
        return self._replace(runs=left, deleted=self.deleted | {run_id})

    def is_taken(self, record: Record) -> bool:
        """Tell whether a request to create the recorded run gets a 409."""
        return any(
            run.run_id == record.run_id or (run.date is not None and run.date == record.logical_date)
            for run in self.runs
        )

    def is_current(self, task_number: int) -> bool:
        """Tell whether a task instance of this id exists: only then are the writes under it accepted."""
        return self.task.number == task_number

    def spend(self, **amounts: int) -> World:
        """Return the world with less of the budget."""
        left = {name: getattr(self.budget, name) - amount for name, amount in amounts.items()}
        return self._replace(budget=self.budget._replace(**left))


def see(run: Run | None, *, is_detailed: bool) -> ChildRun | None:
    """Return what a look-up says of the run."""
    if run is None:
        return None
    return ChildRun(run.state, run.clear_number, run.date) if is_detailed else ChildRun(run.state)
