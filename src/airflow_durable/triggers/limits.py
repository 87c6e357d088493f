"""How large the requests for one Dag may be: as large as the client takes, and smaller where a server does not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MAX_QUERY_BYTES = 60_000
"""
Of a request's query. The client refuses addresses over 65,536 characters (httpx 0.27 and 0.28, ``_urlparse.py``), and
a server over HTTP (uvicorn) takes 65,536 bytes for the head of a request.
"""

_BYTES_A_RUN_ID = len("&run_ids=")
_BYTES_ELSE = 2_000
"""For the Dag, the states and the server's own part of the address."""

MAX_BATCH_BYTES = MAX_QUERY_BYTES - _BYTES_ELSE
"""Of the run ids of one request."""

RECOVERY_SECONDS = 30.0
"""After which a lowered limit is doubled. If that was too much, the next time is twice as long..."""

LONGEST_RECOVERY_SECONDS = 3600.0
"""... up to this."""

_SMALLEST = 128
"""Bytes, from which a limit of none grows again."""

Value = TypeVar("Value")


def query_bytes(run_id: str) -> int:
    """Return how many bytes of a request's query a run id takes, quoted as the client quotes it."""
    return len(quote(run_id, safe="")) + _BYTES_A_RUN_ID


def divide(run_ids: Sequence[str], limit: int) -> Iterator[Sequence[str]]:
    """Divide run ids among requests of so many bytes at most; each has one run id at least."""
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

    :param lowest: the lowest that it has been.
    """

    current: int = MAX_BATCH_BYTES
    lowest: int = MAX_BATCH_BYTES
    recovery_seconds: float = RECOVERY_SECONDS
    _recovers_at: float = 0.0
    _was_raised: bool = False

    def lower(self, size: int, now: float) -> bool:
        """
        Take note that a request of twice the size failed, where one run alone did not.

        :param size: the next to try; 0: each run by itself.
        :returns: whether it is lower than ever.
        """
        if self._was_raised:
            self.recovery_seconds = min(2 * self.recovery_seconds, LONGEST_RECOVERY_SECONDS)
        self._was_raised = False
        self.current = min(self.current, size)
        self._recovers_at = now + self.recovery_seconds
        is_new = self.current < self.lowest
        self.lowest = min(self.lowest, self.current)
        return is_new

    def recover(self, now: float) -> None:
        """Raise a lowered limit, if it is time."""
        if self.current < MAX_BATCH_BYTES and now >= self._recovers_at:
            self.current = min(max(_SMALLEST, 2 * self.current), MAX_BATCH_BYTES)
            self._recovers_at = now + self.recovery_seconds
            self._was_raised = True
