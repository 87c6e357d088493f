"""What is read for all users at once is kept for a while."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.orm import Session

T = TypeVar("T")


class Cache(Generic[T]):
    """
    The latest value, of one process.

    While it is read anew, whoever asks gets the old one.

    :param read: reads it.
    :param fresh_seconds: for how long it is given again.
    """

    def __init__(
        self, read: Callable[[Session], T], fresh_seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._read = read
        self._fresh_seconds = fresh_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._latest: tuple[float, T] | None = None

    def get(self, session: Session) -> T:
        """Return the value: at most so many seconds old, or the one that is just being replaced."""
        latest = self._latest
        if latest is not None and (self._clock() - latest[0] < self._fresh_seconds or self._lock.locked()):
            return latest[1]
        with self._lock:
            current = self._latest
            if current is latest or current is None:
                current = (self._clock(), self._read(session))
                self._latest = current
            return current[1]
