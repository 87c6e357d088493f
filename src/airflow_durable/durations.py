"""Durations, as people give them and as people read them."""

from __future__ import annotations

from datetime import timedelta

SHORTEST_PAUSE_SECONDS = 1.0

_LONGEST_SECONDS = 100 * 365 * 86400
"""A hundred years: a date that is longer ahead may be none that Python knows."""

_UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def read_interval(given: object) -> float | None:
    """
    Return an interval in seconds; None if it is no number of them and no timedelta, negative or without an end.

    0, with which the stock operator asks without a pause, is the shortest pause of ours.
    """
    seconds = given.total_seconds() if isinstance(given, timedelta) else given
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 <= seconds < _LONGEST_SECONDS:
        return None
    return float(seconds) or SHORTEST_PAUSE_SECONDS


def read_timeout(given: object, *, is_zero_allowed: bool = False) -> float | None:
    """Return a timeout in seconds; None if it is no number of them and no timedelta, negative, 0 or without an end."""
    seconds = given.total_seconds() if isinstance(given, timedelta) else given
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 <= seconds < _LONGEST_SECONDS:
        return None
    return float(seconds) if seconds or is_zero_allowed else None


def format_duration(seconds: float) -> str:
    """
    Return a duration in its two largest units: ``47 s``, ``3 min 20 s``, ``2 h 5 min``, ``3 d 4 h``.

    :param seconds: negative ones count as 0.
    """
    rest = max(0, round(seconds))
    parts = []
    for size, name in _UNITS:
        count, rest = divmod(rest, size)
        parts.append((count, name))
    largest = next((place for place, (count, _) in enumerate(parts) if count), len(parts) - 1)
    return " ".join(f"{count} {name}" for count, name in parts[largest : largest + 2] if count) or "0 s"
