"""Sets of positions, as the short text that a deferral carries: ``0-199,205``."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


def dump(indices: Iterable[int]) -> str:
    """Return positions as text."""
    parts: list[str] = []
    start = last = None
    for index in sorted(indices):
        if last is not None and index == last + 1:
            last = index
            continue
        if start is not None:
            parts.append(_part(start, last))
        start = last = index
    if start is not None:
        parts.append(_part(start, last))
    return ",".join(parts)


def load(text: str) -> Iterator[int]:
    """
    Iterate over the positions of such a text.

    :raises ValueError: it is none.
    """
    for part in text.split(",") if text else ():
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)


def _part(start: int, last: int | None) -> str:
    return str(start) if start == last else f"{start}-{last}"
