"""
What the poller asks the server, as values: the searches yield them and get the answers (a generator's ``send``).

So a search knows nothing of channels, timeouts and pauses. If a request fails it is sent again later, and the search
continues where it was.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar

if TYPE_CHECKING:
    from airflow_durable.core.model import ChildRun

Result = TypeVar("Result")
States: TypeAlias = Mapping[str, "str | None"]
"""Of the tasks of one run, by name."""

Steps: TypeAlias = Generator[Any, Any, Result]
"""A search: it yields requests, gets their answers, and returns a result."""


class LookUps(Protocol):
    """The server. Each method raises LookUpFailedError."""

    async def count(self, dag_id: str, run_ids: Sequence[str], states: Sequence[str]) -> int:
        """Return how many of these runs exist and are in one of these states; no states: in any."""

    async def look_up(self, dag_id: str, run_id: str) -> ChildRun | None:
        """Return the run, None if there is none."""

    async def count_tasks(
        self, dag_id: str, run_ids: Sequence[str], task_id: str | None, states: Sequence[str] = ()
    ) -> int:
        """Return how many task instances these runs have: of one task or of all, in these states or in any."""

    async def task_states(self, dag_id: str, run_ids: Sequence[str], task_id: str | None) -> Mapping[str, States]:
        """Return the states of those tasks, of each run that has any."""


@dataclass(frozen=True, slots=True)
class Count:
    """
    How many of these runs exist and are in one of these states; no states: in any.

    :param is_error_answer: a failure is the answer, and the search decides what it means.
    """

    run_ids: Sequence[str]
    states: Sequence[str] = ()
    is_error_answer: bool = False

    async def send(self, look_ups: LookUps, dag_id: str) -> int:
        """Ask."""
        return await look_ups.count(dag_id, self.run_ids, self.states)


@dataclass(frozen=True, slots=True)
class LookUp:
    """One run. A failure is the answer."""

    run_id: str
    is_error_answer: bool = True

    async def send(self, look_ups: LookUps, dag_id: str) -> ChildRun | None:
        """Ask."""
        return await look_ups.look_up(dag_id, self.run_id)


@dataclass(frozen=True, slots=True)
class CountTasks:
    """How many task instances these runs have. A failure is the answer."""

    run_ids: Sequence[str]
    task_id: str | None = None
    states: Sequence[str] = ()
    is_error_answer: bool = True

    async def send(self, look_ups: LookUps, dag_id: str) -> int:
        """Ask."""
        if self.states:
            return await look_ups.count_tasks(dag_id, self.run_ids, self.task_id, self.states)
        return await look_ups.count_tasks(dag_id, self.run_ids, self.task_id)


@dataclass(frozen=True, slots=True)
class ListTasks:
    """The states of the tasks of these runs. A failure is the answer."""

    run_ids: Sequence[str]
    task_id: str | None = None
    is_error_answer: bool = True

    async def send(self, look_ups: LookUps, dag_id: str) -> Mapping[str, States]:
        """Ask."""
        return await look_ups.task_states(dag_id, self.run_ids, self.task_id)
