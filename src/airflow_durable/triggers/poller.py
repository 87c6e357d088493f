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
import weakref
from typing import TYPE_CHECKING

from airflow_durable.triggers.batches import Batches, Wait
from airflow_durable.triggers.health import SHORTEST_INTERVAL_SECONDS, jitter
from airflow_durable.triggers.notes import Notes
from airflow_durable.triggers.turns import Search, Turns

if TYPE_CHECKING:
    from airflow_durable.triggers.batches import Batch
    from airflow_durable.triggers.notes import WaitLog
    from airflow_durable.triggers.requests import LookUps

log = logging.getLogger(__name__)

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
        self._batches = Batches()
        self._turns = Turns(look_ups, self._batches)
        self._notes = Notes()
        self._task: asyncio.Task[None] | None = None
        self._has_news = asyncio.Event()

    async def wait(
        self,
        dag_id: str,
        run_id: str,
        states: frozenset[str],
        poll_interval: float,
        wait_log: WaitLog | None = None,
    ) -> str | None:
        """
        Wait until the run is in one of the states or has ended, and return its state; None: there is no such run.

        :param poll_interval: the longest time between two polls, in seconds, if the server can keep up.
        :param wait_log: is written to now and then.
        :raises LookUpFailedError: the run cannot be looked up, for a reason that will not pass.
        """
        wait = self.begin(dag_id, run_id, states, poll_interval, wait_log)
        try:
            return await wait.ended
        finally:
            self.leave(wait)

    def begin(  # noqa: PLR0913 - what a wait is about
        self,
        dag_id: str,
        run_id: str,
        states: frozenset[str],
        poll_interval: float,
        wait_log: WaitLog | None = None,
        *,
        is_patient: bool = False,
    ) -> Wait:
        """
        Begin a wait, as :meth:`wait` does; its future says when it is over. Whoever began it has to leave.

        :param is_patient: it is one of many that belong together, and may be polled less often.
        """
        loop = asyncio.get_running_loop()
        now = loop.time()
        wait = Wait(run_id, max(poll_interval, SHORTEST_INTERVAL_SECONDS), now, loop.create_future())
        wait.is_patient = is_patient
        self._batches.add(wait, dag_id, states, due=now + SHORTEST_INTERVAL_SECONDS * jitter())
        if wait_log is not None:
            self._notes.add(wait, wait_log)
        self._has_news.set()
        if self._task is None or self._task.done():
            # In a context of its own: in this one the logs go to the log of this wait's task.
            self._task = contextvars.Context().run(loop.create_task, self._run())
        return wait

    def leave(self, wait: Wait) -> None:
        """End a wait, whether it is over or not."""
        self._batches.remove(wait)
        self._notes.remove(wait)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while (chosen := self._choose()) is not None:
                due, item = chosen
                self._notes.write_due(loop.time())
                if due > loop.time():
                    await self._sleep(due - loop.time())
                else:
                    await self._turns.take(item)
        except Exception as error:
            # Without a poller the waits would never end. Failed, their parents find their children again by a retry.
            log.exception("The poller of the deferred waits has failed; so do the waits.")
            for wait in self._batches.waits:
                wait.end(_restate(error))
        except BaseException as error:
            self._interrupt(error)
            if isinstance(error, (asyncio.CancelledError, SystemExit, KeyboardInterrupt)):
                raise
        finally:
            if _pollers.get(loop) is self:
                del _pollers[loop]

    def _interrupt(self, error: BaseException) -> None:
        """
        End all waits.

        In a worker, Airflow's ``AirflowTaskTimeout`` is raised wherever the process is just then, and asyncio would
        keep it with this coroutine, for which nobody waits: it is for whoever waits.
        """
        for wait in self._batches.waits:
            if isinstance(error, asyncio.CancelledError):
                wait.ended.cancel()
            else:
                wait.end(error)

    def _choose(self) -> tuple[float, Batch | Search] | None:
        """Return what has the next turn, and when."""
        health = self._turns.health
        batches = [batch for batch in self._batches if not batch.is_searched]
        searches = [search for search in self._turns.searches if not search.failures]
        if health.is_server_away and searches:
            return health.pauses_until, searches[0]
        if health.is_server_away and batches:
            healthy = [batch for batch in batches if not batch.failures]
            if healthy or health.failures % 2:
                # What was answered last is the likeliest to be answered.
                probe = max(healthy or batches, key=lambda batch: batch.succeeded_at)
                is_new = not probe.failures and probe.succeeded_at == float("-inf")
                return min(health.pauses_until, health.next_new_at) if is_new else health.pauses_until, probe
            return health.pauses_until, min(batches, key=lambda batch: batch.due)
        items: list[Batch | Search] = [*batches, *self._turns.searches]
        turns = [(max(item.due, health.due_of(item.failures)), item) for item in items]
        return min(turns, key=lambda turn: turn[0], default=None)

    async def _sleep(self, seconds: float) -> None:
        """Sleep, until a wait has begun at the longest."""
        self._has_news.clear()
        handle = asyncio.get_running_loop().call_later(seconds, self._has_news.set)
        try:
            await self._has_news.wait()
        finally:
            handle.cancel()


def _restate(error: BaseException) -> RuntimeError:
    """Return an error for one of many: one exception must not be raised in all of them."""
    restated = RuntimeError(f"The poller of the deferred waits has failed: {error!r}")
    restated.__cause__ = error
    return restated
