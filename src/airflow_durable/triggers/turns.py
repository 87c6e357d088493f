"""A turn of the poller: poll a batch, or continue the search for what has ended in some."""

from __future__ import annotations

import asyncio
import logging
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_durable.core.errors import LookUpFailedError
from airflow_durable.triggers.channel import Channel
from airflow_durable.triggers.ends import EndSearch
from airflow_durable.triggers.health import SHORTEST_INTERVAL_SECONDS, jitter, pause_seconds
from airflow_durable.triggers.outcomes import Outcomes
from airflow_durable.triggers.pacing import Pace
from airflow_durable.triggers.requests import Count, CountTasks
from airflow_durable.triggers.search import Cell
from airflow_durable.triggers.tasks import FINISHED
from airflow_durable.triggers.unknown import UNREADABLE, UnknownState, interval_seconds

if TYPE_CHECKING:
    from airflow_durable.triggers.batches import Batch, Batches, Group, Wait
    from airflow_durable.triggers.health import Health
    from airflow_durable.triggers.requests import LookUps, Steps

REST = 0.02
"""After a turn, as a part of the time that it took: however much there is to ask, the supervisor gets to rest."""

REQUESTS_A_TURN = 50
SECONDS_A_TURN = 2.0
"""A turn ends after this many requests or this much time, so that others get theirs before a search continues."""

ENDS_TOGETHER = 4
"""Batches are polled together until this many runs have to be searched for, and... Where the children's tasks help, one
is enough: the tasks of each batch are asked for apart, so nothing is gained by waiting for more."""

TOGETHER_SECONDS = 5.0
"""... if they were due within this time after the first one. Those due later wait for their turn."""

_TRIES_OF_A_SEARCH = 3
"""After this many failures in a row a search is given up. Its batches are polled again."""

log = logging.getLogger(__name__)


@dataclass(eq=False)
class Search:
    """
    A search that is under way for what has ended in some batches of a group.

    :param known_size: a count of this many bytes of run ids has succeeded.
    :param request: the next one; it stays the next one until it is answered.
    :param failures: how often in a row it has failed.
    :param errors: how many look-ups of single runs have failed in a row.
    """

    group: Group
    batches: list[Batch]
    due: float
    steps: Steps[None]
    known_size: int
    request: Any = None
    failures: int = 0
    errors: int = 0


class Turns:
    """
    Takes the turns.

    :param look_ups: the server.
    """

    def __init__(self, look_ups: LookUps, batches: Batches) -> None:
        self.searches: list[Search] = []
        self._batches = batches
        self._channel = Channel(look_ups)
        self._pace = Pace()
        self._outcomes = Outcomes(batches, self._channel, self._pace)

    @property
    def health(self) -> Health:
        """How the server is."""
        return self._outcomes.health

    async def take(self, item: Batch | Search) -> None:
        """Poll a batch, or continue a search."""
        begun = _now()
        try:
            if isinstance(item, Search):
                await self._continue(item)
            else:
                self._batches.merge(item, begun)
                if item.waits:
                    await self._poll(item)
        except Exception as error:
            # A fault in this package. It stays with the batch.
            log.exception("A search for the ends of Dag runs has failed. dag_id=%s", item.group.dag_id)
            failure = LookUpFailedError(item.group.dag_id, "?", f"{type(error).__name__}: {error}", is_transient=False)
            if isinstance(item, Search):
                self._give_up(item)
            else:
                self._outcomes.fail(item, failure)
        await asyncio.sleep((_now() - begun) * REST)

    async def _poll(self, batch: Batch) -> None:
        """Poll a batch, and others of its group that are due, and begin to search for what has ended."""
        if batch.unknown is not None:
            await self._watch(batch, batch.unknown)
        elif len(batch.waits) == 1:
            await self._look_up(batch, next(iter(batch.waits.values())))
        elif not batch.failures or await self._look_up(batch, batch.rotate()):
            counted: dict[Batch, Cell] = {}
            due, begun = batch.due, _now()
            await self._count(batch, counted)
            most = 1 if batch.group.tasks.may_be_asked_for(_now()) else ENDS_TOGETHER
            for other in self._others_to_count(batch, is_search_due=bool(counted), due=due):
                # What was counted long ago is searched in vain: so no more than what one search takes.
                if sum(cell.members for cell in counted.values()) < most and _now() - begun < SECONDS_A_TURN:
                    await self._count(other, counted)
            if counted:
                await self._begin(batch.group, counted)

    def _others_to_count(self, batch: Batch, *, is_search_due: bool, due: float) -> list[Batch]:
        """
        Return the other batches of a group that are due, and some more if a search is due that had better be common.

        As many more as a search in this one takes counts, about: where batches are small, there are many of them, and a
        search takes few.

        :param due: when this one was due. Those that were due much later are not before others that wait for a turn.
        """
        now = _now()
        others = [
            other for other in batch.group.batches if other is not batch and other.can_change and len(other.waits) > 1
        ]
        others.sort(key=lambda other: other.due)
        number = sum(other.due <= min(now, due + TOGETHER_SECONDS) for other in others)
        if is_search_due and not batch.group.tasks.may_be_asked_for(now):
            number = max(number, math.ceil(2 * math.log2(len(batch.waits) + 1)))
        return others[:number]

    async def _count(self, batch: Batch, counted: dict[Batch, Cell]) -> None:
        """Count the active runs of a batch, and note it if some are missing."""
        run_ids = list(batch.waits)
        # A count counts a run once: batches that have a run in common are not searched together.
        if not run_ids or any(not batch.waits.keys().isdisjoint(cell.run_ids) for cell in counted.values()):
            return
        try:
            # Whole, even if the limit was lowered meanwhile: divided, a poll would cost a request a run.
            size = batch.query_bytes
            active = await self._channel.ask(batch.group, Count(run_ids, sorted(batch.group.active)), size)
        except LookUpFailedError as error:
            if batch.failures and len(batch.waits) > 1:
                self._outcomes.split(batch, error)
            else:
                self._outcomes.fail(batch, error)
            return
        self._outcomes.succeed(batch)
        batch.group.limit.note_success(size, _now())
        if active < len(run_ids):
            counted[batch] = Cell(run_ids, len(run_ids) - active)
        if batch.is_patient and 2 * active <= len(run_ids):
            _hasten_next(batch)

    async def _begin(self, group: Group, counted: dict[Batch, Cell]) -> None:
        def report(run_id: str, outcome: str | LookUpFailedError | None) -> None:
            wait = next((batch.waits[run_id] for batch in counted if run_id in batch.waits), None)
            if wait is not None:
                self._settle(wait, outcome)
            search.errors = search.errors + 1 if isinstance(outcome, LookUpFailedError) else 0

        for batch in counted:
            batch.is_searched = True
        steps = EndSearch(group, _now, report).run(list(counted.values()))
        search = Search(group, list(counted), _now(), steps, max(batch.query_bytes for batch in counted))
        self.searches.append(search)
        search.request = next(steps, None)
        await self._continue(search)

    async def _continue(self, search: Search) -> None:
        """Make some of a search's requests."""
        try:
            begun = _now()
            for asked in range(REQUESTS_A_TURN):
                if asked and _now() - begun >= SECONDS_A_TURN:
                    break
                if search.request is None or not any(batch.waits for batch in search.batches):
                    self._finish(search)
                    return
                answer = await self._channel.ask(search.group, search.request, search.known_size)
                search.failures = 0
                self._outcomes.note_success()
                self._pace.note_search_request(_now())
                search.request = _proceed(search.steps, answer)
                if search.errors >= _TRIES_OF_A_SEARCH:
                    self._give_up(search)
                    return
            search.due = _now()
        except LookUpFailedError as error:
            self._outcomes.note_failure(error, is_news=not search.failures)
            search.failures += 1
            search.due = _now() + pause_seconds(search.failures, self._channel.latest_seconds)
            if search.failures >= _TRIES_OF_A_SEARCH:
                self._give_up(search)

    def _finish(self, search: Search) -> None:
        search.steps.close()
        self.searches.remove(search)
        for batch in search.batches:
            batch.is_searched = False
            if batch.waits and not batch.failures:
                batch.due = self._outcomes.next_due(batch)

    def _give_up(self, search: Search) -> None:
        """End a search that fails: what it has not found is found when its batches are polled again."""
        self._finish(search)
        for batch in search.batches:
            batch.failures = max(batch.failures, 1)
            batch.due = _now() + pause_seconds(batch.failures)

    async def _look_up(self, batch: Batch, wait: Wait) -> bool:
        """Look up one of a batch's runs, and return whether that succeeded."""
        # One way after the other: perhaps only one of them fails.
        outcome = await self._ask_about(batch, wait, by_counts=batch.failures % 2 == 1)
        if isinstance(outcome, LookUpFailedError):
            self._outcomes.fail(batch, outcome, wait)
            return False
        if len(batch.waits) == 1:
            self._outcomes.succeed(batch)
        else:
            self._outcomes.note_success()
        self._settle(wait, outcome)
        # The wait leaves its batch before that is counted.
        await asyncio.sleep(0)
        return True

    async def _watch(self, batch: Batch, unknown: UnknownState) -> None:
        """Find out whether a run in an unknown state has ended."""
        wait = next(iter(batch.waits.values()))
        outcome = await self._ask_about(batch, wait, by_counts=unknown.state == UNREADABLE)
        if isinstance(outcome, LookUpFailedError):
            self._outcomes.fail(batch, outcome, wait)
            return
        self._outcomes.succeed(batch)
        if outcome != unknown.state:
            unknown.forget(batch.group)
            batch.unknown = None
            self._settle(wait, outcome)
            return
        if _now() < unknown.next_at:
            return
        total = await self._channel.ask(batch.group, CountTasks([wait.run_id]))
        finished = await self._channel.ask(batch.group, CountTasks([wait.run_id], states=sorted(FINISHED)))
        if unknown.note_tasks(_number(total), _number(finished), _now()):
            log.warning(
                "Dag run state %r is not known here. A run has been in it for long and has nothing left to do: runs in "
                "this state have ended. dag_id=%s run_id=%s",
                unknown.state,
                batch.group.dag_id,
                wait.run_id,
            )
            unknown.end(batch.group)
            wait.end(unknown.state)
        unknown.next_at = _now() + interval_seconds(sum(each.unknown is not None for each in self._batches)) * jitter()
        if unknown.state == UNREADABLE:
            batch.due = unknown.next_at

    async def _ask_about(self, batch: Batch, wait: Wait, *, by_counts: bool) -> str | LookUpFailedError | None:
        outcomes: list[str | LookUpFailedError | None] = []
        search = EndSearch(batch.group, _now, lambda _, outcome: outcomes.append(outcome))
        steps = search.count_one(wait.run_id) if by_counts else search.look_up(wait.run_id, is_enough=True)
        request = next(steps, None)
        while request is not None:
            request = _proceed(steps, await self._channel.ask(batch.group, request))
        return outcomes[0]

    def _settle(self, wait: Wait, outcome: str | LookUpFailedError | None) -> None:
        """Do what follows from what has become of a wait's run, unless the wait has left meanwhile."""
        if wait.run_id not in wait.batch.waits:
            return
        group = wait.batch.group
        if isinstance(outcome, LookUpFailedError):
            batch = self._batches.isolate(wait, _now() + pause_seconds(1))
            batch.failures = max(batch.failures, 1)
        elif outcome is None or group.is_end(outcome):
            wait.end(outcome)
        elif outcome not in group.active:
            batch = self._batches.isolate(wait, _now() + SHORTEST_INTERVAL_SECONDS)
            batch.unknown = UnknownState(outcome, _now())
            batch.unknown.learn(group)


def _hasten_next(batch: Batch) -> None:
    """
    Let the next batch of a group be polled at once, where half of the runs of this one have ended since its last poll.

    Runs of one task that end so fast may all have ended. Each such batch pays for one poll more, so ends that are few
    cost nothing.
    """
    others = [other for other in batch.group.batches if other is not batch and other.can_change]
    if others:
        soonest = min(others, key=lambda other: other.due)
        soonest.due = min(soonest.due, _now())


def _proceed(steps: Steps[None], answer: Any) -> Any:  # noqa: ANN401 - as many types as there are requests
    """Give a search its answer, and return its next request; None: it has ended."""
    try:
        return steps.send(answer)
    except StopIteration:
        return None


def _number(answer: int | LookUpFailedError) -> int | None:
    return None if isinstance(answer, LookUpFailedError) else answer


def _now() -> float:
    return asyncio.get_running_loop().time()
