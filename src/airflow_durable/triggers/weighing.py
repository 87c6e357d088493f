"""
A fixed plan of counts that finds an unknown bit for each of many parts.

Cantor and Mills, "Determination of a subset from certain combinatorial properties" (1966): 2^k counts find the bits of
k * 2^(k-1) + 1 parts: 13 in 8, 81 in 32, 449 in 128, 1025 in 256. That is about 2n / log2(n) counts for n parts, and
the order cannot be better. Splitting in halves needs 0.7n where the bits are as good as random.

How: let a plan for n parts have m counts, the first of them over all parts. Take two sets X and Y of n parts each, and
m - 1 single parts z. Count everything, and X with all z: the difference is Y. For each further count r of the smaller
plan make two: r(X) + r(Y), and r(X) + (Y without r(Y)) + z. Their sum is 2 r(X) + Y + z: its parity gives z, then r(X)
and r(Y) follow, and the smaller plan gives the bits of X and of Y. So 2m counts serve for 2n + m - 1 parts.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

Part = TypeVar("Part")


class InconsistentCountsError(Exception):
    """The counts contradict each other: a run has changed between two of them."""


def count_needed(parts: int) -> int:
    """Return how many counts the bits of this many parts take."""
    return sum(2**order for order, _ in _divide(parts))


def weigh(parts: Sequence[Part]) -> Generator[list[Part], int, list[int]]:
    """
    Find the bit of each part. It yields sets of parts, and is sent the sum of their bits.

    :raises InconsistentCountsError: the sums contradict each other.
    """
    bits: list[int] = []
    for order, size in _divide(len(parts)):
        block = parts[len(bits) : len(bits) + size]
        sums = []
        for row in _rows(order):
            chosen = [block[number] for number in row if number < size]
            sums.append((yield chosen) if chosen else 0)
        found = _decode(order, sums)
        if any(found[size:]) or not set(found) <= {0, 1}:
            raise InconsistentCountsError
        bits += found[:size]
    return bits


def _capacity(order: int) -> int:
    """Return for how many parts the plan of 2^order counts serves."""
    return (order << order >> 1) + 1


@lru_cache(maxsize=4096)
def _divide(parts: int) -> tuple[tuple[int, int], ...]:
    """Return the plans that take the fewest counts for this many parts, and how many parts each gets."""
    if parts <= 0:
        return ()
    order = 0
    while _capacity(order) < parts:
        order += 1
    whole = ((order, parts),)
    if order == 0:
        return whole
    smaller = _capacity(order - 1)
    divided = ((order - 1, smaller), *_divide(parts - smaller))
    return min(whole, divided, key=lambda plans: sum(2**plan for plan, _ in plans))


@lru_cache(maxsize=16)
def _rows(order: int) -> tuple[tuple[int, ...], ...]:
    """Return the plan of 2^order counts: each is the numbers of its parts."""
    if order == 0:
        return ((0,),)
    inner = _rows(order - 1)
    size = _capacity(order - 1)
    extra = range(2 * size, 2 * size + len(inner) - 1)
    rows: list[tuple[int, ...]] = [tuple(range(_capacity(order))), (*range(size), *extra)]
    for row, part in zip(inner[1:], extra, strict=True):
        second = tuple(size + number for number in row)
        rows.append((*row, *second))
        rows.append((*row, *sorted(set(range(size, 2 * size)) - set(second)), part))
    return tuple(rows)


def _decode(order: int, sums: Sequence[int]) -> list[int]:
    """Return the bits of the plan's parts."""
    if order == 0:
        return list(sums)
    everything, first_and_extra, *pairs = sums
    second = everything - first_and_extra
    of_first, of_second, extra = [0], [second], []
    for both, mixed in zip(pairs[::2], pairs[1::2], strict=True):
        extra.append((both + mixed - second) % 2)
        of_first.append((both + mixed - second - extra[-1]) // 2)
        of_second.append(both - of_first[-1])
    of_first[0] = first_and_extra - sum(extra)
    return [*_decode(order - 1, of_first), *_decode(order - 1, of_second), *extra]
