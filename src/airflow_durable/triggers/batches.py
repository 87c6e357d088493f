"""
Waits in batches: which waits share one request, and when each batch is polled next.

The Execution API counts Dag runs by one Dag, many run ids and many states (``dag-runs/count``, Airflow 3.0 to 3.3,
``execution_api/routes/dag_runs.py``). So a batch is of one child Dag, and of waits for the same states. Counting the
runs that exist and are **active** answers two questions at once: as long as all are counted, no run has ended and none
was deleted. About states other than the active and the ended ones: :mod:`airflow_durable.triggers.unknown`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from airflow_durable.core.model import ENDED_STATES, UNFINISHED_STATES
from airflow_durable.triggers.limits import MAX_BATCH_BYTES, SizeLimit, query_bytes
from airflow_durable.triggers.tasks import Tasks

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable, Iterator

    from airflow_durable.triggers.unknown import UnknownState

_ROOM = 1.25
"""Batches are joined only if all waits of the group fit into fewer with this much room, so that new ones find room."""


@dataclass(eq=False, slots=True)
class Wait:
    """
    One parent's wait.

    :param since: when it began, by the loop's clock.
    :param ended: done when the wait is over: the run's state, or None if there is no such run.
    :param is_patient: it is one of many that belong together, and may be polled less often.
    """

    run_id: str
    poll_interval: float
    since: float
    ended: asyncio.Future[str | None]
    batch: Batch = field(init=False)
    is_patient: bool = False

    @property
    def query_bytes(self) -> int:
        """How much of a request's query it takes."""
        return query_bytes(self.run_id)

    def end(self, outcome: str | BaseException | None) -> None:
        """End it, unless it was cancelled meanwhile."""
        if self.ended.done():
            return
        if isinstance(outcome, BaseException):
            self.ended.set_exception(outcome)
        else:
            self.ended.set_result(outcome)


@dataclass(eq=False)
class Group:
    """
    The waits that may share requests.

    :param awaited: the states that end a wait: those it waits for, and those in which a run has ended.
    :param active: the states that do not.
    :param others_ended: states that this package does not know, in which a run has ended (one set for all groups).
    :param tasks: what is known of the runs' tasks.
    """

    dag_id: str
    awaited: frozenset[str]
    active: set[str]
    others_ended: set[str] = field(default_factory=set)
    tasks: Tasks = field(default_factory=Tasks)
    batches: list[Batch] = field(default_factory=list)
    limit: SizeLimit = field(default_factory=SizeLimit)

    def is_end(self, state: str) -> bool:
        """Tell whether a wait ends when its run is in this state."""
        return state in self.awaited or state in self.others_ended

    @property
    def max_batch_bytes(self) -> int:
        """How large a batch may be; 0: one wait."""
        # Without any state to count there is nothing to count: every run that exists has reached an awaited state.
        return self.limit.current if self.active else 0

    def find_room(self, run_id: str, *, besides: Batch | None = None) -> Batch | None:
        """Return a batch that can take one wait more."""
        size = query_bytes(run_id)
        # A count counts a run once, however often it is asked for: so a run is in a batch once.
        # The latest first: the earlier ones are full, and a hundred thousand waits begin one after the other.
        for batch in reversed(self.batches):
            if (
                batch is not besides
                and batch.can_change
                and batch.query_bytes + size <= self.max_batch_bytes
                and run_id not in batch.waits
            ):
                return batch
        return None


@dataclass(eq=False)
class Batch:
    """
    The waits of one request.

    :param due: when it is polled next, by the loop's clock.
    :param failures: how many polls of it have failed in a row.
    :param refused_since: since when each of them was refused, rather than not answered.
    :param succeeded_at: when one succeeded.
    :param is_searched: a search of its ended runs is under way.
    :param unknown: it has one wait, whose run is in a state that nobody knows.
    """

    group: Group
    due: float
    waits: dict[str, Wait] = field(default_factory=dict)
    query_bytes: int = 0
    failures: int = 0
    refused_since: float | None = None
    succeeded_at: float = float("-inf")
    is_searched: bool = False
    unknown: UnknownState | None = None

    @property
    def can_change(self) -> bool:
        """Whether waits may join it, or it may be joined with others."""
        return not self.failures and not self.is_searched and self.unknown is None

    def add(self, wait: Wait) -> None:
        """Put a wait into it."""
        self.waits[wait.run_id] = wait
        self.query_bytes += wait.query_bytes
        wait.batch = self

    def remove(self, wait: Wait) -> None:
        """Take a wait out of it."""
        del self.waits[wait.run_id]
        self.query_bytes -= wait.query_bytes

    def rotate(self) -> Wait:
        """Return one of its waits: each time another one."""
        wait = next(iter(self.waits.values()))
        self.waits[wait.run_id] = self.waits.pop(wait.run_id)
        return wait

    def poll_interval(self) -> float:
        """Return the shortest that one of its waits asks for, in seconds."""
        return min(wait.poll_interval for wait in self.waits.values())

    @property
    def is_patient(self) -> bool:
        """Whether each of its waits is one of many that belong together."""
        return all(wait.is_patient for wait in self.waits.values())

    def youngest(self) -> float:
        """Return when its latest wait began."""
        return max(wait.since for wait in self.waits.values())


class Batches:
    """All batches of a triggerer process."""

    def __init__(self) -> None:
        self._groups: dict[tuple[str, frozenset[str]], Group] = {}
        self._others_ended: set[str] = set()
        self.nominal_rate = 0.0
        """How many requests a second these waits would need, each by itself at its own poll interval."""

    def __iter__(self) -> Iterator[Batch]:
        """Iterate over the batches."""
        for group in self._groups.values():
            yield from group.batches

    def __len__(self) -> int:
        """Return how many there are."""
        return sum(len(group.batches) for group in self._groups.values())

    @property
    def waits(self) -> Iterable[Wait]:
        """All waits, of all batches."""
        return [wait for batch in self for wait in batch.waits.values()]

    def add(self, wait: Wait, dag_id: str, states: frozenset[str], due: float) -> None:
        """
        Put a wait into a batch of its group, a new one if need be.

        :param states: those that the wait is for.
        :param due: when to poll that batch, at the latest.
        """
        awaited = states | ENDED_STATES
        group = self._groups.get((dag_id, awaited))
        if group is None:
            group = Group(dag_id, awaited, set(UNFINISHED_STATES) - awaited, self._others_ended)
            self._groups[dag_id, awaited] = group
        self._put(wait, group, due)
        self.nominal_rate += 1 / wait.poll_interval

    def remove(self, wait: Wait) -> None:
        """Take a wait out."""
        batch = wait.batch
        batch.remove(wait)
        if not batch.waits:
            self._drop(batch)
        # Started anew when nothing is left, so that rounding errors do not add up.
        self.nominal_rate = self.nominal_rate - 1 / wait.poll_interval if self._groups else 0.0

    def merge(self, batch: Batch, now: float) -> None:
        """Move the waits of a batch to others of its group, if the group needs fewer batches than it has."""
        group = batch.group
        if not batch.can_change or len(group.batches) == 1:
            return
        if group.limit.note_poll(now) and group.active:
            self._enlarge(batch, now)
            return
        others = [other for other in group.batches if other.can_change]
        total = sum(other.query_bytes for other in others)
        if total * _ROOM > group.max_batch_bytes * (len(others) - 1):
            return
        for wait in list(batch.waits.values()):
            room = group.find_room(wait.run_id, besides=batch)
            if room is None:
                return
            batch.remove(wait)
            room.add(wait)
            room.due = min(room.due, batch.due)
        self._drop(batch)

    def _enlarge(self, batch: Batch, now: float) -> None:
        """Let a batch take waits of others beyond the limit of its group: about as many as it has, one at least."""
        limit = batch.group.limit
        most = min(2 * max(batch.query_bytes, limit.current), MAX_BATCH_BYTES)
        for other in list(batch.group.batches):
            if other is batch or not other.can_change:
                continue
            for wait in list(other.waits.values()):
                size = batch.query_bytes + wait.query_bytes
                is_fit = size <= (most if len(batch.waits) > 1 else MAX_BATCH_BYTES)
                if is_fit and wait.run_id not in batch.waits:
                    other.remove(wait)
                    batch.add(wait)
            if not other.waits:
                self._drop(other)
        if batch.query_bytes > limit.current:
            limit.begin_trial(batch.query_bytes, now)

    def isolate(self, wait: Wait, due: float) -> Batch:
        """Give a wait a batch of its own."""
        if len(wait.batch.waits) == 1:
            wait.batch.due = due
            return wait.batch
        batch = Batch(wait.batch.group, due)
        wait.batch.remove(wait)
        batch.group.batches.append(batch)
        batch.add(wait)
        return batch

    def halve(self, batch: Batch) -> Batch:
        """Move half of the waits of a batch to a new one, and return that."""
        new = Batch(batch.group, batch.due, failures=batch.failures, refused_since=batch.refused_since)
        batch.group.batches.append(new)
        for wait in list(batch.waits.values())[len(batch.waits) // 2 :]:
            batch.remove(wait)
            new.add(wait)
        return new

    def _put(self, wait: Wait, group: Group, due: float) -> None:
        batch = group.find_room(wait.run_id)
        if batch is None:
            batch = Batch(group, due)
            group.batches.append(batch)
        batch.due = min(batch.due, due)
        batch.add(wait)

    def _drop(self, batch: Batch) -> None:
        group = batch.group
        if batch.unknown is not None:
            batch.unknown.forget(group)
        group.batches.remove(batch)
        if not group.batches:
            del self._groups[group.dag_id, group.awaited]
