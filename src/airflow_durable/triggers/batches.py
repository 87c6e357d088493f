"""
Waits in batches: which look-ups can share one request, and when each batch is looked at next.

The Execution API counts Dag runs by one Dag, many run ids and many states (``dag-runs/count``, Airflow 3.0 to 3.3,
``execution_api/routes/dag_runs.py``). So a batch is of one child Dag, and of waits for the same states. Counting the
runs that are there and in **none** of the awaited states tells two things at once: as long as all are counted, no run
has ended and none was deleted.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import quote

from airflow_durable.triggers.tasks import Tasks

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable, Iterator

KNOWN_STATES = frozenset({"queued", "running", "success", "failed"})
"""Those of ``DagRunState`` (3.0 to 3.3). One that is new in a later Airflow is learnt when it is first seen."""

MAX_QUERY_BYTES = 60_000
"""
Of a request's query. The client refuses addresses over 65,536 characters (httpx 0.27 and 0.28, ``_urlparse.py``), and
a server over HTTP (uvicorn) takes 65,536 bytes for the head of a request.
"""

_BYTES_A_RUN_ID = len("&run_ids=")
_BYTES_ELSE = 2_000
"""For the Dag, the states and the server's own part of the address."""


@dataclass(eq=False, slots=True)
class Wait:
    """
    One parent's wait.

    :param since: when it began, by the loop's clock.
    :param ended: done when the wait is over: the run's state, or None if there is no such run.
    """

    run_id: str
    poll_interval: float
    since: float
    ended: asyncio.Future[str | None]
    batch: Batch = field(init=False)

    @property
    def query_bytes(self) -> int:
        """How much of a request's query it takes."""
        return query_bytes(self.run_id)


@dataclass(eq=False)
class Group:
    """
    The waits that may share requests.

    :param awaited: the states that end a wait.
    :param others: the known states that do not.
    :param tasks: what is known of the runs' tasks.
    """

    dag_id: str
    awaited: frozenset[str]
    others: set[str]
    tasks: Tasks = field(default_factory=Tasks)
    batches: list[Batch] = field(default_factory=list)

    def learn(self, state: str) -> None:
        """Take note of a state that is not one of the known ones: a run in it is counted as waiting from now on."""
        if state not in self.awaited:
            self.others.add(state)

    def find_room(self, run_id: str, limit: int, *, besides: Batch | None = None) -> Batch | None:
        """
        Return a batch that can take one wait more.

        :param limit: of a batch's query, in bytes; 0: each wait is a batch of its own.
        """
        size = query_bytes(run_id)
        if not limit:
            return None
        # A count counts a run once, however often it is asked for: so a run is in a batch once.
        for batch in self.batches:
            if (
                batch is not besides
                and not batch.failures
                and batch.query_bytes + size <= limit
                and run_id not in batch.waits
            ):
                return batch
        return None


@dataclass(eq=False)
class Batch:
    """
    The waits of one request.

    :param due: when it is looked at next, by the loop's clock.
    :param failures: how many looks at it have failed in a row.
    """

    group: Group
    due: float
    waits: dict[str, Wait] = field(default_factory=dict)
    query_bytes: int = 0
    failures: int = 0

    def add(self, wait: Wait) -> None:
        """Put a wait into it."""
        self.waits[wait.run_id] = wait
        self.query_bytes += wait.query_bytes
        wait.batch = self

    def remove(self, wait: Wait) -> None:
        """Take a wait out of it."""
        del self.waits[wait.run_id]
        self.query_bytes -= wait.query_bytes

    def poll_interval(self) -> float:
        """Return the shortest that one of its waits asks for, in seconds."""
        return min(wait.poll_interval for wait in self.waits.values())

    def youngest(self) -> float:
        """Return when its latest wait began."""
        return max(wait.since for wait in self.waits.values())


class Batches:
    """All batches of a triggerer process."""

    def __init__(self) -> None:
        self._groups: dict[tuple[str, frozenset[str]], Group] = {}
        self._limit = MAX_QUERY_BYTES - _BYTES_ELSE
        self.nominal_rate = 0.0
        """How many look-ups a second these waits would need, each by itself at its own poll interval."""

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

    @property
    def can_batch(self) -> bool:
        """Whether a batch may have more than one wait."""
        return self._limit > 0

    def add(self, wait: Wait, dag_id: str, awaited: frozenset[str], due: float) -> None:
        """
        Put a wait into a batch of its group, a new one if need be.

        :param due: when that batch is to be looked at, at the latest.
        """
        group = self._groups.get((dag_id, awaited))
        if group is None:
            group = self._groups[dag_id, awaited] = Group(dag_id, awaited, set(KNOWN_STATES - awaited))
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

    def merge(self, batch: Batch) -> None:
        """Move the waits of a batch that has become small to others of its group, if all of them have room there."""
        group = batch.group
        if batch.failures or len(group.batches) == 1 or batch.query_bytes * 4 > self._limit:
            return
        for wait in list(batch.waits.values()):
            room = group.find_room(wait.run_id, self._limit_of(group), besides=batch)
            if room is None:
                return
            batch.remove(wait)
            room.add(wait)
            room.due = min(room.due, batch.due)
        self._drop(batch)

    def isolate(self, wait: Wait, due: float) -> None:
        """Put a wait whose look-up has failed into a batch of its own, for as long as it fails."""
        batch = Batch(wait.batch.group, due, failures=1)
        wait.batch.remove(wait)
        batch.group.batches.append(batch)
        batch.add(wait)

    def shrink(self) -> None:
        """Halve the size of batches, down to single waits: a server does not take requests of this size."""
        self._limit //= 2
        if self._limit < _BYTES_ELSE:
            self._limit = 0
        for batch in list(self):
            for wait in list(batch.waits.values())[1:]:
                if batch.query_bytes <= self._limit:
                    break
                batch.remove(wait)
                self._put(wait, batch.group, batch.due)

    def _put(self, wait: Wait, group: Group, due: float) -> None:
        batch = group.find_room(wait.run_id, self._limit_of(group))
        if batch is None:
            batch = Batch(group, due)
            group.batches.append(batch)
        batch.due = min(batch.due, due)
        batch.add(wait)

    def _limit_of(self, group: Group) -> int:
        # Without any state to count there is nothing to count: every run that is there has reached an awaited state.
        return self._limit if group.others else 0

    def _drop(self, batch: Batch) -> None:
        group = batch.group
        group.batches.remove(batch)
        if not group.batches:
            del self._groups[group.dag_id, group.awaited]


def query_bytes(run_id: str) -> int:
    """Return how many bytes of a request's query a run id takes, quoted as the client quotes it."""
    return len(quote(run_id, safe="")) + _BYTES_A_RUN_ID
