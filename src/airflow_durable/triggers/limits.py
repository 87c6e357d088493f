"""How large the requests for one Dag may be: as large as the client takes, and smaller where a server does not."""

from __future__ import annotations

import string
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MAX_QUERY_BYTES = 60_000
"""
Of a request's query. The client refuses addresses over 65,536 characters (httpx 0.27 and 0.28, ``_urlparse.py``), and
a server over HTTP (uvicorn) takes 65,536 bytes for the head of a request.
"""

_BYTES_A_RUN_ID = len("&run_ids=")
_UNQUOTED = (string.ascii_letters + string.digits + "_.-~").encode()
_BYTES_QUOTED_MORE = len("%3A") - len(":")
_BYTES_ELSE = 2_000
"""For the Dag, the states and the server's own part of the address."""

MAX_BATCH_BYTES = MAX_QUERY_BYTES - _BYTES_ELSE
"""Of the run ids of one request."""

RECOVERY_SECONDS = 10.0
"""After which one batch tries a larger size again. If that fails, the next trial is after twice as long..."""

LONGEST_RECOVERY_SECONDS = 3600.0
"""... up to this, or sooner..."""

POLLS_A_TRIAL = 200
"""... after this many polls of the group, if batches are small: a trial that fails costs about eight requests."""

_TRIALS_SHARE = 20.0
"""There is no trial for this many times as long as the failed request took."""

Value = TypeVar("Value")


def query_bytes(run_id: str) -> int:
    """
    Return how many bytes of a request's query a run id takes, quoted as the client quotes it.

    It is asked for each run id of each count. To quote them all would take some milliseconds for a large count.
    """
    encoded = run_id.encode()
    quoted = encoded.translate(None, delete=_UNQUOTED)
    return len(encoded) + _BYTES_QUOTED_MORE * len(quoted) + _BYTES_A_RUN_ID


def divide(run_ids: Sequence[str], limit: int) -> Iterator[Sequence[str]]:
    """Divide run ids among requests of at most ``limit`` bytes; each has at least one run id."""
    part: list[str] = []
    size = 0
    for run_id in run_ids:
        bytes_of_one = query_bytes(run_id)
        if part and size + bytes_of_one > limit:
            yield part
            part, size = [], 0
        part.append(run_id)
        size += bytes_of_one
    yield part


@dataclass(slots=True)
class SizeLimit:
    """
    The limit of the requests for one Dag, in bytes of run ids. It is lowered by failures, and recovers.

    It recovers by trials: one batch at a time takes twice as much. So a trial that fails costs a few requests, however
    many batches there are, and after one that succeeds the next follows at once.

    :param lowest: the lowest that it has been.
    """

    current: int = MAX_BATCH_BYTES
    lowest: int = MAX_BATCH_BYTES
    recovery_seconds: float = RECOVERY_SECONDS
    _next_trial_at: float = 0.0
    _no_trial_until: float = 0.0
    _polls: int = 0
    _tried: int | None = None
    _failed: int = MAX_BATCH_BYTES

    def lower(self, size: int, failed: int, now: float, seconds: float) -> bool:
        """
        Take note that a request of some size failed, where one run alone did not.

        :param size: the next to try; 0: each run by itself.
        :param failed: the size that failed.
        :param seconds: how long that took.
        :returns: whether the limit is lower than ever.
        """
        if self._tried is not None and failed >= self._tried:
            self.recovery_seconds = min(2 * self.recovery_seconds, LONGEST_RECOVERY_SECONDS)
            self._tried = None
        self._failed = min(self._failed, failed)
        self._next_trial_at = now + self.recovery_seconds
        self._no_trial_until = now + _TRIALS_SHARE * seconds
        self._polls = 0
        self.current = min(self.current, size)
        is_new = self.current < self.lowest
        self.lowest = min(self.lowest, self.current)
        return is_new

    def note_poll(self, now: float) -> bool:
        """Take note of a poll, and return whether its batch may try a larger size."""
        self._polls += 1
        is_time = now >= self._next_trial_at or self._polls > POLLS_A_TRIAL
        return self.current < MAX_BATCH_BYTES and is_time and now >= self._no_trial_until

    def begin_trial(self, size: int, now: float) -> None:
        """Take note that a batch of this size is tried."""
        self._tried = size
        self._next_trial_at = now + self.recovery_seconds
        self._polls = 0

    def note_success(self, size: int, now: float) -> None:
        """Take note that a request of this size succeeded."""
        if size <= self.current:
            return
        self.current = size
        self._tried = None
        self._next_trial_at = now
        if size >= self._failed:
            # What failed has passed.
            self.recovery_seconds = RECOVERY_SECONDS
            self._failed = MAX_BATCH_BYTES
