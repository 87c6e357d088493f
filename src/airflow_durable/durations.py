"""Durations, as people read them."""

from __future__ import annotations

_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def format_duration(seconds: float) -> str:
    """
    Return a duration in its two largest units: ``47 s``, ``3 min 20 s``, ``2 h 5 min``, ``3 d 4 h``.

    :param seconds: negative ones count as 0.
    """
    whole = max(0, round(seconds))
    if whole < _MINUTE:
        return f"{whole} s"
    for size, name, smaller, smaller_name in ((_DAY, "d", _HOUR, "h"), (_HOUR, "h", _MINUTE, "min"), (_MINUTE, "min", 1, "s")):
        if whole >= size:
            break
    rest = whole % size // smaller
    return f"{whole // size} {name} {rest} {smaller_name}" if rest else f"{whole // size} {name}"
