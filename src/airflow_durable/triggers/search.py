"""
Find which runs are members of a set, by as few counts as possible: adaptive group testing with counts.

Each search is a generator: it yields run ids, and is sent how many of them are members. It knows nothing of Dag runs.

A *cell* is some run ids of which it is known how many are members. Every open cell is split in halves, and the first
half is counted. Where that can only be one of two numbers the answer is one bit, and a count could give more: so the
first halves of several cells share their counts (:func:`_find_bits`). Where many bits are unknown,
:mod:`airflow_durable.triggers.weighing` finds them by less than half a count each.

Members may come and go while a search runs. Its result is what the counts said, and may be wrong about a few: the
caller confirms it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from airflow_durable.triggers.joint import locate
from airflow_durable.triggers.weighing import InconsistentCountsError, count_needed, weigh

Result = TypeVar("Result")
Counts: TypeAlias = Generator[Sequence[str], int, Result]

ENOUGH_TO_WEIGH = 13
"""This many bits are weighed. For fewer, halves need no more counts."""

BITS_A_CELL = 0.65
"""How many counts a bit takes that shares its counts with others, about."""

MOST_CELLS = 4
"""In this many cells their only members are searched for together. With more, choosing a count takes too long."""

MOST_IN_COMMON = 512
"""
Larger cells do not share their counts. If a run ends while its cell is searched alone, then another one is found, or it
is found the next time. In a common search the counts contradict each other.
"""

POOL = 64
"""How many cells share their counts."""


@dataclass(frozen=True, slots=True)
class Cell:
    """
    Run ids, and how many of them are members.

    :param is_steady: it may be weighed: no member came or went while that was tried.
    """

    run_ids: Sequence[str]
    members: int
    is_steady: bool = True

    @property
    def is_open(self) -> bool:
        """Whether it is unknown which they are."""
        return 0 < self.members < len(self.run_ids)


@dataclass(frozen=True, slots=True)
class _Part:
    """Some run ids, and the bounds of how many of them are members."""

    run_ids: Sequence[str]
    low: int
    high: int


def expected_counts(cell: Cell) -> float:
    """Return about how many counts it takes to find the members of a cell."""
    return min(_halving_counts(cell), _weighing_counts(cell))


def find(cells: Sequence[Cell]) -> Counts[list[str]]:
    """Return the members of these cells."""
    found, _ = yield from narrow(cells)
    return found


def narrow(
    cells: Sequence[Cell], is_small_enough: Callable[[Cell], bool] | None = None
) -> Counts[tuple[list[str], list[Cell]]]:
    """
    Return the members that are found, and the cells that are small enough for what the caller does with them.

    :param is_small_enough: None: find the members of all.
    """
    found: list[str] = []
    small: list[Cell] = []
    most = max((len(cell.run_ids) for cell in cells), default=0)
    while cells:
        found += [run_id for cell in cells if cell.members >= len(cell.run_ids) for run_id in cell.run_ids]
        to_split, to_weigh = [], []
        for cell in cells:
            if not cell.is_open:
                continue
            if is_small_enough is not None and is_small_enough(cell):
                small.append(cell)
            elif is_small_enough is None and _weighing_counts(cell) < _halving_counts(cell):
                to_weigh.append(cell)
            else:
                to_split.append(cell)
        cells = []
        for cell in to_weigh:
            cells += yield from _weigh(cell)
        if is_small_enough is None:
            single = [cell for cell in to_split if cell.members == 1 and len(cell.run_ids) <= MOST_IN_COMMON]
            to_split = [cell for cell in to_split if cell not in single]
            for start in range(0, len(single), MOST_CELLS):
                together = [cell.run_ids for cell in single[start : start + MOST_CELLS]]
                found += yield from locate(together, most)
        for pool in _pools(to_split, most):
            cells += yield from _split(pool)
    return found, small


def _halving_counts(cell: Cell) -> float:
    fewer = min(cell.members, len(cell.run_ids) - cell.members)
    return fewer * (math.log2(len(cell.run_ids) / fewer) + 0.5) * BITS_A_CELL if fewer else 0.0


def _weighing_counts(cell: Cell) -> float:
    return count_needed(len(cell.run_ids)) - 1 if cell.is_steady else math.inf


def _pools(cells: Sequence[Cell], most: int) -> list[list[Cell]]:
    """Group cells that share counts: each count has at most this many run ids, half of each cell."""
    pools: list[list[Cell]] = []
    size = 0
    for cell in cells:
        half = len(cell.run_ids) // 2
        if not pools or size + half > most or len(pools[-1]) >= POOL:
            pools.append([])
            size = 0
        pools[-1].append(cell)
        size += half
    return pools


def _split(cells: Sequence[Cell]) -> Counts[list[Cell]]:
    """Split each cell in halves, and find how many members they have."""
    parts, bits = [], []
    numbers: dict[int, int] = {}
    for place, cell in enumerate(cells):
        size = len(cell.run_ids) // 2
        low, high = max(0, cell.members - (len(cell.run_ids) - size)), min(cell.members, size)
        part = _Part(cell.run_ids[:size], low, high)
        parts.append(part)
        if high - low == 1 and size <= MOST_IN_COMMON:
            bits.append(place)
        else:
            numbers[place] = yield part.run_ids
    try:
        found = yield from _find_bits([parts[place] for place in bits])
    except InconsistentCountsError:
        found = yield from _count_singly([parts[place] for place in bits])
    numbers |= zip(bits, found, strict=True)
    halves = []
    for place, cell in enumerate(cells):
        first = parts[place].run_ids
        halves.append(Cell(first, numbers[place], cell.is_steady))
        halves.append(Cell(cell.run_ids[len(first) :], cell.members - numbers[place], cell.is_steady))
    return halves


def _weigh(cell: Cell) -> Counts[list[Cell]]:
    """Find the members of a cell by a fixed plan of counts."""
    bits = weigh([_Part((run_id,), 0, 1) for run_id in cell.run_ids])
    try:
        found = yield from _sum_up(bits, known_total=(len(cell.run_ids), cell.members))
    except InconsistentCountsError:
        members = yield cell.run_ids
        return [Cell(cell.run_ids, members, is_steady=False)]
    return [Cell([run_id for run_id, bit in zip(cell.run_ids, found, strict=True) if bit], sum(found))]


def _find_bits(parts: Sequence[_Part]) -> Counts[list[int]]:
    """Return how many members each part has, where it can only be one of two numbers."""
    if len(parts) >= ENOUGH_TO_WEIGH:
        bits = yield from _sum_up(weigh(parts))
        return [part.low + bit for part, bit in zip(parts, bits, strict=True)]
    if not parts:
        return []
    total = yield [run_id for part in parts for run_id in part.run_ids]
    return (yield from _halve_bits(parts, total))


def _halve_bits(parts: Sequence[_Part], total: int) -> Counts[list[int]]:
    if total <= sum(part.low for part in parts):
        return [part.low for part in parts]
    if total >= sum(part.high for part in parts):
        return [part.high for part in parts]
    middle = len(parts) // 2
    first = yield [run_id for part in parts[:middle] for run_id in part.run_ids]
    of_first = yield from _halve_bits(parts[:middle], first)
    of_rest = yield from _halve_bits(parts[middle:], total - first)
    return [*of_first, *of_rest]


def _sum_up(
    bits: Generator[list[_Part], int, list[int]], known_total: tuple[int, int] | None = None
) -> Counts[list[int]]:
    """
    Count the sets of parts that a weighing asks for.

    :param known_total: how many parts there are, and the sum of all their bits.
    """
    answer: int | None = None
    while True:
        try:
            parts = bits.send(answer)  # type: ignore[arg-type] # a generator begins with None
        except StopIteration as end:
            found: list[int] = end.value
            return found
        if known_total and len(parts) == known_total[0]:
            answer = known_total[1]
        else:
            count = yield [run_id for part in parts for run_id in part.run_ids]
            answer = count - sum(part.low for part in parts)


def _count_singly(parts: Sequence[_Part]) -> Counts[list[int]]:
    numbers: list[int] = []
    for part in parts:
        numbers += [(yield part.run_ids)]
    return numbers
