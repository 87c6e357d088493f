"""An event loop whose clock moves by itself, and a server of Dag runs that counts what it is asked."""

from __future__ import annotations

import asyncio
import contextvars
import random
import selectors
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from airflow_durable.core.errors import LookUpFailedError
from airflow_durable.core.model import ChildRun
from airflow_durable.triggers import poller

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Sequence

Result = TypeVar("Result")

DAG = "child"
ENDS = frozenset({"success", "failed"})
TASK_OF_WAIT: contextvars.ContextVar[str] = contextvars.ContextVar("task_of_wait", default="")


class FastLoop(asyncio.SelectorEventLoop):
    """An event loop that never waits: where it would, its clock jumps to the next thing that is due."""

    def __init__(self) -> None:
        self.now = 0.0
        super().__init__(_JumpingSelector(self))

    def time(self) -> float:
        """Return what its clock says."""
        return self.now


class _JumpingSelector(selectors.DefaultSelector):
    def __init__(self, loop: FastLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "nothing is due any more: the test would wait for ever"
        self._loop.now += max(0.0, timeout)
        found: list[tuple[selectors.SelectorKey, int]] = super().select(0)
        return found


def run(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """Run a test's coroutine on a loop of its own, and see that nothing of the poller is left."""
    random.seed(0)  # The poller moves its looks at random: here always in the same way.
    loop = FastLoop()
    try:
        result = loop.run_until_complete(coroutine)
        loop.run_until_complete(asyncio.sleep(0))
        assert not asyncio.all_tasks(loop)
        assert loop not in poller._pollers
        return result
    finally:
        loop.close()


@dataclass(frozen=True)
class Asked:
    """
    One request.

    :param rows: how many tasks its answer lists.
    """

    at: float
    kind: str
    dag_id: str
    run_ids: tuple[str, ...]
    context: str
    states: tuple[str, ...] = ()
    task_id: str | None = None
    rows: int = 0

    @property
    def is_count(self) -> bool:
        """Whether it was a count."""
        return self.kind == "count"


@dataclass
class Server:
    """
    A server of Dag runs: implements the poller's ``LookUps``.

    :param seconds: how long a request takes.
    :param refuse: gets each request; raises what it is to fail with.
    :param tasks: the tasks of runs and their states; a run of which nothing is said has one, in the run's state.
    """

    seconds: float = 0.02
    refuse: Callable[[Asked], None] = lambda _: None
    states: dict[tuple[str, str], str] = field(default_factory=dict)
    tasks: dict[tuple[str, str], dict[str, str | None]] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    in_flight: int = 0

    def start(self, run_ids: Iterable[str], dag_id: str = DAG) -> None:
        """Make runs."""
        self.states |= {(dag_id, run_id): "running" for run_id in run_ids}

    async def count(self, dag_id: str, run_ids: Sequence[str], states: Sequence[str]) -> int:
        """Count as the Execution API does: a run once, however often it is asked for; no states mean any state."""
        await self._ask("count", dag_id, tuple(run_ids), states=tuple(states))
        found = [self.states[dag_id, run_id] for run_id in set(run_ids) if (dag_id, run_id) in self.states]
        return sum(not states or state in states for state in found)

    async def look_up(self, dag_id: str, run_id: str) -> ChildRun | None:
        """Return a run."""
        await self._ask("look-up", dag_id, (run_id,))
        state = self.states.get((dag_id, run_id))
        return None if state is None else ChildRun(state)

    async def count_tasks(
        self, dag_id: str, run_ids: Sequence[str], task_id: str | None, states: Sequence[str] = ()
    ) -> int:
        """Count the tasks of the runs."""
        await self._ask("tasks counted", dag_id, tuple(run_ids), task_id=task_id, states=tuple(states))
        tasks = self._tell_tasks(dag_id, run_ids, task_id)
        return sum(not states or state in states for run in tasks.values() for state in run.values())

    async def task_states(
        self, dag_id: str, run_ids: Sequence[str], task_id: str | None
    ) -> dict[str, dict[str, str | None]]:
        """Return the states of the tasks of the runs."""
        told = self._tell_tasks(dag_id, run_ids, task_id)
        await self._ask("tasks", dag_id, tuple(run_ids), task_id=task_id, rows=sum(map(len, told.values())))
        return told

    def _tell_tasks(self, dag_id: str, run_ids: Sequence[str], task_id: str | None) -> dict[str, dict[str, str | None]]:
        told = {}
        for run_id in run_ids:
            state = self.states.get((dag_id, run_id))
            if state is not None:
                tasks = self.tasks.get((dag_id, run_id), {"work": None if state in {"queued", "new"} else state})
                # A part of a mapped task is told under the task's id and its index.
                told[run_id] = {
                    name: task_state
                    for name, task_state in tasks.items()
                    if task_id in {None, name, name.rpartition("_")[0]}
                }
        return {run_id: tasks for run_id, tasks in told.items() if tasks}

    async def _ask(self, kind: str, dag_id: str, run_ids: tuple[str, ...], **more: Any) -> None:  # noqa: ANN401 - Asked's
        assert not self.in_flight, "one request at a time"
        asked = Asked(now(), kind, dag_id, run_ids, TASK_OF_WAIT.get(), **more)
        self.asked.append(asked)
        self.in_flight += 1
        try:
            await asyncio.sleep(self.seconds)
            self.refuse(asked)
        finally:
            self.in_flight -= 1


class Waits:
    """
    Waits by many parents, and when and how each ended.

    :param server: what they look at.
    """

    def __init__(self, server: Server) -> None:
        self.server = server
        self.outcomes: dict[str, str | Exception | None] = {}
        self.ended_at: dict[str, float] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    def begin(
        self, run_ids: Iterable[str], dag_id: str = DAG, states: frozenset[str] = ENDS, poll_interval: float = 5.0
    ) -> None:
        """Begin a wait for each of the runs, by a parent of the run's name."""
        for run_id in run_ids:
            self.begin_one(run_id, run_id, dag_id, states, poll_interval)

    def begin_one(
        self,
        parent: str,
        run_id: str,
        dag_id: str = DAG,
        states: frozenset[str] = ENDS,
        poll_interval: float = 5.0,
    ) -> None:
        """Begin a wait."""

        async def wait() -> None:
            TASK_OF_WAIT.set(parent)
            try:
                self.outcomes[parent] = await poller.get_poller(self.server).wait(dag_id, run_id, states, poll_interval)
            except (LookUpFailedError, RuntimeError) as error:
                self.outcomes[parent] = error
            self.ended_at[parent] = now()

        self.tasks[parent] = asyncio.create_task(wait())

    async def stop(self) -> None:
        """Cancel those that have not ended, as a triggerer does."""
        for task in self.tasks.values():
            task.cancel()
        await asyncio.gather(*self.tasks.values(), return_exceptions=True)
        # What the poller is in the middle of comes to its end.
        await asyncio.sleep(90)


def names(count: int) -> list[str]:
    """Return run ids as they are."""
    return [f"manual__2026-01-01T00:00:00.{number:06}+00:00_{number:016x}" for number in range(count)]


def now() -> float:
    """Return what the loop's clock says."""
    return asyncio.get_running_loop().time()


def passing(dag_id: str = DAG, run_id: str = "?") -> LookUpFailedError:
    """Return an error that may pass."""
    return LookUpFailedError(dag_id, run_id, "the database is away", is_transient=True)


def lasting(dag_id: str = DAG, run_id: str = "?") -> LookUpFailedError:
    """Return an error that will not pass."""
    return LookUpFailedError(dag_id, run_id, "not like this (HTTP 422)", is_transient=False)
