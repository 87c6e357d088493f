"""
The wait for many runs of one Dag, on the poller that all waits share.

It runs in the triggerer for a deferred task, and in the worker for one that waits there.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from airflow_durable.core.model import ENDED_STATES
from airflow_durable.triggers.poller import get_poller

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from airflow_durable.core.many import Wake
    from airflow_durable.triggers.batches import Wait
    from airflow_durable.triggers.poller import Poller
    from airflow_durable.triggers.requests import LookUps

NOTE_SECONDS = 60.0
"""The log says how the whole stands no more often than that."""

LEAST_SECONDS = 5.0
"""A wait does not end sooner because of a timeout: the clocks of the triggerer and of the worker may disagree."""

SLICE = 250
"""The most waits that are begun before the event loop, which others share, has its turn again."""


class Watch:
    """
    One wait.

    :param runs: the run id of each item's present run.
    :param failed_states: the states in which a run has failed.
    :param waited_out: items whose run is not taken, whatever states end the others' waits: its end is waited for.
    :param note: is called now and then with how many runs have ended, and how many of them failed.
    :ivar ends: what has become of runs; None: deleted.
    :ivar failed: how many of them failed or were deleted.
    """

    def __init__(  # noqa: PLR0913 - what a wait is about
        self,
        dag_id: str,
        runs: Mapping[int, str],
        failed_states: Collection[str],
        wake: Wake,
        note: Callable[[int, int], None],
        *,
        waited_out: Collection[int] = (),
    ) -> None:
        self._dag_id = dag_id
        self._runs = runs
        self._waited_out = waited_out
        self._states: frozenset[str] = frozenset()
        self._failed_states = failed_states
        self._wake = wake
        self._note = note
        self.failed = 0
        self._error: BaseException | None = None
        self._has_news = asyncio.Event()
        self._late_at: float | None = None
        self._waits: dict[int, Wait] = {}
        self.ends: dict[int, str | None] = {}

    async def run(self, look_ups: LookUps, states: frozenset[str], poll_interval: float) -> dict[int, str | None]:
        """
        Wait until there is something to do for the task, and return what has become of runs; None: deleted.

        :param states: those that end the wait for a run, beside the final ones.
        :raises LookUpFailedError: a run cannot be looked up, for a reason that will not pass.
        """
        loop = asyncio.get_running_loop()
        poller = get_poller(look_ups)
        self._states = states
        first_at: float | None = None
        next_note = loop.time() + NOTE_SECONDS
        if self._wake.due_at is not None:
            self._late_at = loop.time() + max(LEAST_SECONDS, self._wake.due_at - time.time())
        try:
            for number, (index, run_id) in enumerate(self._runs.items(), start=1):
                awaited = frozenset() if index in self._waited_out else states
                wait = self._waits[index] = poller.begin(self._dag_id, run_id, awaited, poll_interval, is_patient=True)
                wait.ended.add_done_callback(self._taker(poller, index))
                if number % SLICE == 0:
                    await asyncio.sleep(0)
            while not self._is_due(0.0 if first_at is None else loop.time() - first_at):
                await self._pause(None if first_at is None else first_at + self._wake.patience_seconds - loop.time())
                if self._error is not None:
                    raise self._error
                first_at = loop.time() if first_at is None and self.ends else first_at
                if loop.time() >= next_note:
                    next_note = loop.time() + NOTE_SECONDS
                    self._note(len(self.ends), self.failed)
        finally:
            for wait in self._waits.values():
                poller.leave(wait)
            self._waits.clear()
        return self.ends

    def _taker(self, poller: Poller, index: int) -> Callable[[Any], None]:
        def take(future: asyncio.Future[str | None]) -> None:
            wait = self._waits.pop(index, None)
            if wait is None or future.cancelled():
                return
            # At once: the poller counts the runs of those that have not left.
            poller.leave(wait)
            self._has_news.set()
            error = future.exception()
            if error is not None:
                self._error = error
                return
            state = self.ends[index] = future.result()
            self.failed += self._is_failure(state)

        return take

    def _is_failure(self, state: str | None) -> bool:
        """Tell whether it is a failure: so is a state that nobody knows, and in which nothing happens any more."""
        is_known = state in self._states or state in ENDED_STATES
        return state is None or state in self._failed_states or not is_known

    def _is_due(self, since_first_seconds: float) -> bool:
        return self._wake.is_due(
            ended=len(self.ends),
            failed=self.failed,
            left=len(self._runs) - len(self.ends),
            since_first_seconds=since_first_seconds,
            is_late=self._late_at is not None and asyncio.get_running_loop().time() >= self._late_at,
        )

    async def _pause(self, seconds: float | None) -> None:
        """Wait for news; if something has ended, no longer than patience lasts, and never beyond a timeout."""
        seconds = NOTE_SECONDS if seconds is None or seconds <= 0 else min(seconds, NOTE_SECONDS)
        if self._late_at is not None:
            seconds = min(seconds, max(0.0, self._late_at - asyncio.get_running_loop().time()))
        self._has_news.clear()
        handle = asyncio.get_running_loop().call_later(seconds, self._has_news.set)
        try:
            await self._has_news.wait()
        finally:
            handle.cancel()


async def in_slices(pairs: Iterable[tuple[int, str]]) -> dict[int, str]:
    """Return a dict of these pairs, and give way to others on the event loop while it is made."""
    found: dict[int, str] = {}
    for index, run_id in pairs:
        found[index] = run_id
        if len(found) % SLICE == 0:
            await asyncio.sleep(0)
    return found
