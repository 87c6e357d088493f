"""
When to try again after requests that failed.

Trouble belongs to the batch that has it, until two batches in a row fail that had none before: then perhaps the server
is away, and everything pauses. The next request after a pause is for a batch that had no trouble, if there is one: if
it is answered, the trouble is not the server's.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

SHORTEST_INTERVAL_SECONDS = 1.0
"""Between two polls of one batch, and from a wait's beginning to the first one."""

LONGEST_PAUSE_SECONDS = 30.0
"""After requests that failed. It begins at a second and doubles."""

_PAUSE_AFTER_SLOW = 5.0
"""After a request that failed late, the pause is this many times as long as it took. After the first one in a row it is
as long as that took: a busy machine lets one request wait, and not the next."""

_TRIALS_SHARE = 4.0
"""Of the time, four parts are for batches without trouble, where one goes to requests that fail once more."""

_SUSPICION = 2


@dataclass
class Health:
    """
    Whether the server seems to be there.

    :param failures: how many batches have failed in a row that had no trouble before.
    :param pauses_until: until when nothing is asked, where the server seems to be away.
    :param next_new_at: when a batch that was never answered may be tried meanwhile: so Dags that fail from the
        beginning do not delay another one for long, however many they are.
    :param trials_from: when the next batch may be tried that has failed before.
    """

    failures: int = 0
    pauses_until: float = float("-inf")
    trials_from: float = float("-inf")
    next_new_at: float = float("-inf")

    @property
    def is_server_away(self) -> bool:
        """Whether the server seems to be away."""
        return self.failures >= _SUSPICION

    def due_of(self, failures: int) -> float:
        """Return from when something may be tried that has failed this many times in a row."""
        return self.trials_from if failures else float("-inf")

    def note_failure(self, now: float, seconds: float, *, is_news: bool) -> None:
        """
        Take note of a failure.

        :param seconds: how long the request took.
        :param is_news: the batch had no trouble before, or no batch is without.
        """
        self.trials_from = now + (1.0 if is_news else _TRIALS_SHARE) * seconds
        if is_news:
            self.failures += 1
        self.next_new_at = now + SHORTEST_INTERVAL_SECONDS * jitter()
        if self.is_server_away:
            self.pauses_until = now + pause_seconds(self.failures - 1)

    def note_success(self) -> bool:
        """Take note of an answer, and return whether the server seemed to be away."""
        was_away = self.is_server_away
        self.failures = 0
        return was_away


def pause_seconds(failures: int, request_seconds: float = 0.0) -> float:
    """
    Return how long to pause after this many failures in a row, in seconds.

    :param request_seconds: how long the last one took.
    """
    pause = min(LONGEST_PAUSE_SECONDS, SHORTEST_INTERVAL_SECONDS * 2.0 ** min(failures - 1, 10))
    return max(pause, (1.0 if failures == 1 else _PAUSE_AFTER_SLOW) * request_seconds) * jitter()


def jitter() -> float:
    """Return a factor near one, which keeps what began together from staying together."""
    return random.uniform(0.9, 1.1)  # noqa: S311 - no secret
