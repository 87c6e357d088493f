"""
One poller for all deferred waits of a triggerer process.

The stock trigger asks for its own run at each interval. The triggerer has one channel to its supervisor, which answers
one request at a time and goes through its whole loop for each (Airflow 3.0 to 3.3, ``jobs/triggerer_job_runner.py``,
``run_once``), so the requests of a thousand such waits take longer than their interval. Here one coroutine asks for
all: a request a batch (:mod:`airflow_durable.triggers.batches`), one at a time, so that whatever else wants the
channel waits for one of them at most.

Nothing is kept but in memory: the waits themselves lie in the database, and whichever triggerer they are given to
makes a poller for them. A wait that is cancelled just leaves.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import random
import weakref
from typing import TYPE_CHECKING, Protocol, TypeVar

from airflow_durable.core.errors import LookUpFailedError
from airflow_durable.triggers.batches import Batch, Batches, Wait

if TYPE_CHECKING:
    from collections.abc import Awaitable, Collection, Mapping, Sequence

    from airflow_durable.core.model import ChildRun
    from airflow_durable.triggers.batches import Group
    from airflow_durable.triggers.tasks import States

SHORTEST_INTERVAL_SECONDS = 1.0
"""Between two looks at one batch, and from a wait's beginning to the first one."""

SHARE_OF_NOMINAL = 0.005
"""How many requests the looks may cost, of those that the waits would need each by itself..."""

LEAST_RATE = 1.0
"""... if that is more than so many a second, and..."""

SHARE_OF_TIME = 0.9
"""... how much of the time, as long as requests take: the rest is for finding what has ended, and for others. Not where
the waits' own intervals ask for more: then only the rests are left."""

LONGEST_PAUSE_SECONDS = 30.0
"""After requests that failed. It begins at a second and doubles."""

REST = 0.02
"""After a look, as a part of the time that it took: however much there is to ask, the supervisor gets to rest."""

_WEIGHT_OF_LATEST = 0.1
"""Of the latest request in the mean of how long requests take."""

_FEW = 2
"""So many runs are looked up one by one rather than counted."""

_MANY = 8
"""Of so many runs that have ended in different states, the tasks are asked which are alike."""

REQUESTS_A_LOOK = 50
"""After so many, what has ended besides is found by the batch's next look: others have their turn before."""

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")


class LookUps(Protocol):
    """What the poller asks the server."""

    async def count(self, dag_id: str, run_ids: Sequence[str], states: Sequence[str]) -> int:
        """Return how many of these runs are there and in one of these states. Raises LookUpFailedError."""

    async def look_up(self, dag_id: str, run_id: str) -> ChildRun | None:
        """Return the run, None if there is none. Raises LookUpFailedError."""

    async def count_tasks(self, dag_id: str, run_ids: Sequence[str], task_id: str | None) -> int:
        """Return how many tasks these runs have, or how many parts one of them has. Raises LookUpFailedError."""

    async def task_states(self, dag_id: str, run_ids: Sequence[str], task_id: str | None) -> Mapping[str, States]:
        """Return the states of those tasks, of each run that has any. Raises LookUpFailedError."""


_pollers: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Poller] = weakref.WeakKeyDictionary()


def get_poller(look_ups: LookUps) -> Poller:
    """Return the running event loop's poller; make it if there is none."""
    loop = asyncio.get_running_loop()
    poller = _pollers.get(loop)
    if poller is None:
        poller = _pollers[loop] = Poller(look_ups)
    return poller


class Poller:
    """
    Looks up the runs that are waited for, for as long as there are any.

    :param look_ups: the server.
    """

    def __init__(self, look_ups: LookUps) -> None:
        self._look_ups = look_ups
        self._batches = Batches()
        self._task: asyncio.Task[None] | None = None
        self._has_news = asyncio.Event()
        self._failures = 0
        self._request_seconds = 0.0
        self._requests_left = 0
        self._can_ask_for_tasks = True

    async def wait(self, dag_id: str, run_id: str, states: frozenset[str], poll_interval: float) -> str | None:
        """
        Wait until the run is in one of the states, and return which; None: there is no such run.

        :param poll_interval: the longest time between two looks, in seconds, if the server can keep up.
        :raises LookUpFailedError: the run cannot be looked up, for a reason that will not pass.
        """
        loop = asyncio.get_running_loop()
        now = loop.time()
        wait = Wait(run_id, max(poll_interval, SHORTEST_INTERVAL_SECONDS), now, loop.create_future())
        self._batches.add(wait, dag_id, states, due=now + SHORTEST_INTERVAL_SECONDS * _about_one())
        self._has_news.set()
        if self._task is None or self._task.done():
            # In a context of its own: in this one the logs go to the log of this wait's task.
            self._task = contextvars.Context().run(loop.create_task, self._run())
        try:
            return await wait.ended
        finally:
            self._batches.remove(wait)

    async def _run(self) -> None:
        try:
            while batch := min(self._batches, key=_due, default=None):
                if batch.due > self._now():
                    await self._sleep_until(batch.due)
                else:
                    await self._look_after(batch)
        except Exception as error:
            # Without a poller the waits would never end. Failed, their parents find their children again by a retry.
            log.exception("The poller of the deferred waits has failed; so do the waits.")
            for wait in self._batches.waits:
                _end(wait, _restate(error))
        except asyncio.CancelledError:
            for wait in self._batches.waits:
                wait.ended.cancel()
            raise
        finally:
            if _pollers.get(asyncio.get_running_loop()) is self:
                del _pollers[asyncio.get_running_loop()]

    async def _look_after(self, batch: Batch) -> None:
        """Look at a batch, and settle when it is looked at next."""
        self._batches.merge(batch)
        if not batch.waits:
            return
        begun = self._now()
        try:
            await self._look(batch)
        except LookUpFailedError as error:
            await self._bear(error, batch)
            return
        self._recover(batch)
        if batch.waits:
            batch.due = self._now() + self._interval(batch) * _about_one()
        await asyncio.sleep((self._now() - begun) * REST)

    async def _look(self, batch: Batch) -> None:
        """
        Look at a batch once.

        :raises LookUpFailedError: it failed, and with this batch's size or the server, not with one of its runs.
        """
        self._requests_left = REQUESTS_A_LOOK
        run_ids = list(batch.waits)
        if len(run_ids) == 1:
            await self._look_singly(batch, run_ids)
            return
        going = await self._count(batch, run_ids, batch.group.others)
        await self._find(batch, run_ids, len(run_ids) - going)

    async def _find(self, batch: Batch, run_ids: Sequence[str], changed: int, *, are_tasks_asked: bool = False) -> None:
        """
        Find the runs that have ended or gone: first where no task is left to be done, then by halves.

        :param changed: how many they are. Of what changes meanwhile, some is found now and the rest by the next look.
        """
        if changed <= 0 or self._requests_left <= 0:
            return
        if changed >= len(run_ids) or len(run_ids) <= _FEW:
            await self._find_states(batch, run_ids, are_tasks_asked=are_tasks_asked)
            return
        suspects = None if are_tasks_asked else await self._suspect(batch.group, run_ids, changed)
        if suspects is not None:
            found = await self._check(batch, suspects, changed)
            await self._find(batch, _without(run_ids, suspects), changed - found, are_tasks_asked=True)
            return
        half, rest = _halve(run_ids)
        changed_in_half = len(half) - await self._count(batch, half, batch.group.others)
        await self._find(batch, half, changed_in_half, are_tasks_asked=are_tasks_asked)
        await self._find(batch, rest, changed - changed_in_half, are_tasks_asked=are_tasks_asked)

    async def _suspect(self, group: Group, run_ids: Sequence[str], changed: int) -> list[str] | None:
        """
        Return the runs that have probably ended or gone, by their tasks.

        An answer that does not come, or does not help, is no failure of the look.

        :param changed: how many runs have.
        :returns: None if the tasks of so many runs are not to be asked for.
        """
        tasks = group.tasks
        if not self._can_ask_for_tasks or not tasks.may_be_asked_for(self._now()):
            return None
        asked = group.dag_id, run_ids, tasks.last_task
        try:
            if tasks.are_to_be_counted(self._now()):
                count = await self._timed(self._look_ups.count_tasks(*asked))
                tasks.note_count(count, len(run_ids), self._now())
            if not tasks.fit_into_answer(len(run_ids)):
                return None
            states = await self._timed(self._look_ups.task_states(*asked))
        except LookUpFailedError as error:
            self._can_ask_for_tasks = error.is_transient
            tasks.note_failure(self._now())
            log.info(
                "The tasks of %s cannot be looked up: %s. Its runs are found by counts.", group.dag_id, error.reason
            )
            return None
        return tasks.note_states(run_ids, states, changed, self._now())

    async def _check(self, batch: Batch, suspects: Sequence[str], changed: int) -> int:
        """Find which of these have ended or gone, and return how many."""
        if len(suspects) <= max(changed, _FEW):
            await self._find_states(batch, suspects, are_tasks_asked=True)
        else:
            changed = len(suspects) - await self._count(batch, suspects, batch.group.others)
            await self._find(batch, suspects, changed, are_tasks_asked=True)
        return sum(wait is None or wait.ended.done() for wait in map(batch.waits.get, suspects))

    async def _find_states(self, batch: Batch, run_ids: Sequence[str], *, are_tasks_asked: bool) -> None:
        """Find how runs have ended, if they have: many at once, if they have ended alike."""
        if self._requests_left <= 0:
            return
        if len(run_ids) <= 1:
            await self._look_singly(batch, run_ids)
            return
        for state in sorted(batch.group.awaited, reverse=True):  # "success" comes first.
            if await self._count(batch, run_ids, {state}) == len(run_ids):
                for run_id in run_ids:
                    _end(batch.waits.get(run_id), state)
                return
        if not are_tasks_asked and len(run_ids) > _MANY:
            # In this order those that have ended alike come together.
            suspects = await self._suspect(batch.group, run_ids, len(run_ids)) or []
            run_ids = [*suspects, *_without(run_ids, suspects)]
        for half in _halve(run_ids):
            await self._find_states(batch, half, are_tasks_asked=True)

    async def _look_singly(self, batch: Batch, run_ids: Sequence[str]) -> None:
        """Look runs up one by one. The trouble with one is no reason not to look at the others."""
        for run_id in run_ids:
            try:
                run = await self._timed(self._look_ups.look_up(batch.group.dag_id, run_id))
            except LookUpFailedError as error:
                wait = batch.waits.get(run_id)
                if not error.is_transient:
                    _end(wait, error)
                elif len(batch.waits) == 1:
                    raise
                elif wait is not None:
                    self._batches.isolate(wait, due=self._now() + _pause_seconds(1))
                continue
            if run is None or run.state in batch.group.awaited:
                _end(batch.waits.get(run_id), run.state if run else None)
            else:
                batch.group.learn(run.state)

    async def _count(self, batch: Batch, run_ids: Sequence[str], states: Collection[str]) -> int:
        return await self._timed(self._look_ups.count(batch.group.dag_id, run_ids, sorted(states)))

    async def _timed(self, request: Awaitable[Answer]) -> Answer:
        """Make a request, and keep in mind how long requests take."""
        self._requests_left -= 1
        begun = self._now()
        try:
            return await request
        finally:
            self._request_seconds += _WEIGHT_OF_LATEST * (self._now() - begun - self._request_seconds)

    async def _bear(self, error: LookUpFailedError, batch: Batch) -> None:
        """Go on after a failed look: later, and later each time, or with fewer runs at a time."""
        if not error.is_transient:
            self._batches.shrink()
            how = "fewer at a time" if self._batches.can_batch else "one by one"
            log.warning("Dag runs could not be counted: %s. From now on they are looked up %s.", error.reason, how)
            return
        if not self._failures and not batch.failures:
            log.warning(
                "Dag runs cannot be looked up: %s. It is tried again, and this is not said again until it succeeds. "
                "dag_id=%s run_id=%s",
                error.reason,
                error.dag_id,
                error.run_id,
            )
        batch.failures += 1
        batch.due = self._now() + _pause_seconds(batch.failures)
        # The first failure may be this batch's own matter. A second one in a row is the server's.
        self._failures += 1
        if self._failures > 1:
            await asyncio.sleep(_pause_seconds(self._failures - 1))

    def _recover(self, batch: Batch) -> None:
        batch.failures = 0
        if self._failures > 1:
            log.info("Dag runs can be looked up again.")
            for other in self._batches:
                other.due = min(other.due, self._now())
        self._failures = 0

    def _interval(self, batch: Batch) -> float:
        """
        Return the time until the next look at this batch, in seconds.

        As long as a round of all batches takes at the rate that the looks may cost. Where that is long, a wait that has
        just begun is looked at sooner, at intervals that double; and no wait's own interval is exceeded.
        """
        affordable = SHARE_OF_TIME / max(self._request_seconds, 0.001)
        rate = max(LEAST_RATE, min(SHARE_OF_NOMINAL * self._batches.nominal_rate, affordable))
        round_seconds = len(self._batches) / rate
        age = self._now() - batch.youngest()
        return max(SHORTEST_INTERVAL_SECONDS, min(round_seconds, age, batch.poll_interval()))

    async def _sleep_until(self, due: float) -> None:
        """Sleep until then, or until a wait has begun."""
        self._has_news.clear()
        delay = due - self._now()
        if delay > 0:
            handle = asyncio.get_running_loop().call_later(delay, self._has_news.set)
            try:
                await self._has_news.wait()
            finally:
                handle.cancel()

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()


def _without(run_ids: Sequence[str], others: Sequence[str]) -> list[str]:
    excluded = set(others)
    return [run_id for run_id in run_ids if run_id not in excluded]


def _halve(run_ids: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    return run_ids[: len(run_ids) // 2], run_ids[len(run_ids) // 2 :]


def _due(batch: Batch) -> float:
    return batch.due


def _end(wait: Wait | None, outcome: str | Exception | None) -> None:
    """End a wait, unless it was cancelled meanwhile."""
    if wait is None or wait.ended.done():
        return
    if isinstance(outcome, Exception):
        wait.ended.set_exception(outcome)
    else:
        wait.ended.set_result(outcome)


def _restate(error: BaseException) -> RuntimeError:
    """Return an error for one of many: one exception must not be raised in all of them."""
    restated = RuntimeError(f"The poller of the deferred waits has failed: {error!r}")
    restated.__cause__ = error
    return restated


def _pause_seconds(failures: int) -> float:
    """Return how long to pause after so many failures in a row, in seconds."""
    return min(LONGEST_PAUSE_SECONDS, SHORTEST_INTERVAL_SECONDS * 2.0 ** min(failures - 1, 10)) * _about_one()


def _about_one() -> float:
    """Return a factor that keeps what began together from going on together."""
    return random.uniform(0.9, 1.1)  # noqa: S311 - no secret
