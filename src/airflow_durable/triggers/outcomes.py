"""
What follows for a batch from a poll of it: when it is polled next, and what happens to it after a failure.

After a failure it pauses. Then one of its runs is looked up alone. If that fails too, the trouble is the Dag's or the
server's, and the batch pauses longer. If not, all are counted again, and if that fails the batch is split in halves: so
the trouble stays with the size that a server does not take, or with the run that has it.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from airflow_durable.triggers.health import SHORTEST_INTERVAL_SECONDS, Health, jitter, pause_seconds

if TYPE_CHECKING:
    from airflow_durable.core.errors import LookUpFailedError
    from airflow_durable.triggers.batches import Batch, Batches, Wait
    from airflow_durable.triggers.channel import Channel
    from airflow_durable.triggers.pacing import Pace

REFUSED_SECONDS = 600.0
"""A wait fails if its own request is refused, and all others about its batch have been for this long..."""

REFUSED_BY_ALL_SECONDS = 3600.0
"""... or for this long, if the server answers nothing else either."""

log = logging.getLogger(__name__)


class Outcomes:
    """
    Draws the conclusions.

    :ivar health: of the server.
    """

    def __init__(self, batches: Batches, channel: Channel, pace: Pace) -> None:
        self.health = Health()
        self._batches = batches
        self._channel = channel
        self._pace = pace

    def split(self, batch: Batch, error: LookUpFailedError) -> None:
        """Halve a batch that cannot be counted, where one of its runs could be looked up."""
        group = batch.group
        failed = batch.query_bytes
        new = self._batches.halve(batch)
        batch.due = new.due = _now()
        is_single = max(len(batch.waits), len(new.waits)) == 1
        size = 0 if is_single else max(batch.query_bytes, new.query_bytes)
        if group.limit.lower(size, failed, _now(), self._channel.latest_seconds):
            how = "one by one" if is_single else "fewer at a time"
            log.warning(
                "Runs of Dag %s could not be counted: %s. From now on they are looked up %s.",
                group.dag_id,
                error.reason,
                how,
            )

    def fail(self, batch: Batch, error: LookUpFailedError, wait: Wait | None = None) -> None:
        """
        Continue after a failed poll: later, and later each time.

        :param wait: the one that the request was for, if it was for one.
        """
        now = _now()
        if error.is_transient:
            batch.refused_since = None
        elif batch.refused_since is None:
            batch.refused_since = now
        # A size that has failed before was tried again: that says nothing about the server.
        is_news = not batch.failures and batch.query_bytes <= batch.group.limit.current
        self.note_failure(error, is_news=is_news)
        batch.failures += 1
        batch.due = now + pause_seconds(batch.failures, self._channel.latest_seconds)
        enough = REFUSED_BY_ALL_SECONDS if self.health.is_server_away else REFUSED_SECONDS
        if wait is not None and batch.refused_since is not None and now - batch.refused_since >= enough:
            wait.end(error)
            batch.due = now + SHORTEST_INTERVAL_SECONDS

    def note_failure(self, error: LookUpFailedError, *, is_news: bool) -> None:
        """
        Note that a request has failed.

        :param is_news: it may say something of the server: not one that was likely to fail.
        """
        if is_news and not self.health.failures:
            log.warning(
                "Dag runs cannot be looked up: %s. Trying again; this line is not repeated until that succeeds. "
                "dag_id=%s run_id=%s",
                error.reason,
                error.dag_id,
                error.run_id,
            )
        is_all = all(batch.failures for batch in self._batches)
        self.health.note_failure(_now(), self._channel.latest_seconds, is_news=is_news or is_all)

    def succeed(self, batch: Batch) -> None:
        """Note that a batch was polled, and when it is polled next."""
        batch.failures = 0
        batch.refused_since = None
        batch.succeeded_at = _now()
        if batch.waits:
            batch.due = self.next_due(batch)
        self.note_success()

    def note_success(self) -> None:
        """Note that a request has succeeded: where none did before, all batches are due."""
        if self.health.note_success():
            log.info("Dag runs can be looked up again.")
            for batch in self._batches:
                batch.due = min(batch.due, _now())

    def next_due(self, batch: Batch) -> float:
        """
        Return when this batch is polled next.

        The polls of one task's many children are spread evenly: together they are one wait, and what ends in one of
        its batches is a reason to look at the next.
        """
        now = _now()
        interval = self._pace.interval_seconds(batch, self._batches, self._channel.request_seconds, now)
        others = [other.due for other in batch.group.batches if other is not batch]
        if not batch.is_patient or not others:
            return now + interval * jitter()
        return min(now + interval, max(now, *others) + interval / (len(others) + 1))


def _now() -> float:
    return asyncio.get_running_loop().time()
