"""
How often a batch is polled: as often as its waits ask for, within what polls and searches may cost together.

Pure: times are given, in seconds of one clock.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from airflow_durable.triggers.health import SHORTEST_INTERVAL_SECONDS

if TYPE_CHECKING:
    from airflow_durable.triggers.batches import Batch, Batches

SHARE_OF_NOMINAL = 0.005
"""Polls may cost this share of the requests that the waits would need one by one."""

SHARE_OF_ALL = 0.012
"""Polls and searches together may cost this share: the more searches there are, the fewer polls are left. If the
children's tasks show what has ended, a search is so short that this does not count. If they do not, 0.009 makes the
slowest hundredth of 10,000 waits twice as late (``tests/adapters/test_poller_silent.py``)."""

_RATE_SECONDS = 20.0
"""The rate at which searches send requests is a mean over this time."""

LEAST_RATE = 2.0
"""Polls may always cost this many requests a second, if there is time for them. A thousand waits, as many as a
triggerer takes by default, are two batches: each is polled once a second."""

PATIENT_RATE = 0.45
"""How many requests a second the polls of one task's many children may cost: 27 a minute. The fewer are left, the fewer
batches there are, and the sooner each is polled again: every 2.2 seconds if they fit into one."""

SHARE_OF_TIME = 0.9
"""Polls may take this share of the time: the rest is for finding what has ended, and for others. Where the waits' own
intervals ask for more, there is no limit but the rest after each turn (``turns.REST``)."""


class Pace:
    """Keeps the rate at which searches send requests, and says how long a batch rests."""

    def __init__(self) -> None:
        self._search_rate = 0.0
        self._search_at = 0.0

    def note_search_request(self, now: float) -> None:
        """Take note of a request that a search has made."""
        self._search_rate = self._rate_at(now) + 1 / _RATE_SECONDS
        self._search_at = now

    def interval_seconds(self, batch: Batch, batches: Batches, request_seconds: float, now: float) -> float:
        """
        Return the time until the next poll of a batch, in seconds.

        As long as a round of all batches takes at the rate that the polls may cost. Where that is long, a wait that has
        just begun is polled sooner, at intervals that double; and no wait's own interval is exceeded.

        :param request_seconds: how long a request takes at present.
        """
        affordable = SHARE_OF_TIME / max(request_seconds, 0.001)
        nominal = batches.nominal_rate
        share = max(SHARE_OF_NOMINAL / 4, min(SHARE_OF_NOMINAL, SHARE_OF_ALL - self._rate_at(now) / nominal))
        rate = max(LEAST_RATE, min(share * nominal, affordable))
        if batch.is_patient:
            rate = min(rate, PATIENT_RATE)
        round_seconds = len(batches) / rate
        # Of many runs that belong together one batch or another is polled every few seconds from the start.
        age = math.inf if batch.is_patient else now - batch.youngest()
        return max(SHORTEST_INTERVAL_SECONDS, min(round_seconds, age, batch.poll_interval()))

    def _rate_at(self, now: float) -> float:
        return self._search_rate * math.exp((self._search_at - now) / _RATE_SECONDS)
