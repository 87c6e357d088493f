"""
Find one member in each of a few cells, by counts that the cells share.

With one cell, a count of its half gives one bit. A count of a half of each of four cells gives two, if what the sum
leaves open is not asked for at once. So this search keeps every combination of intervals that agrees with the counts
so far, and asks each time for what is least known.
"""

from __future__ import annotations

import math
from itertools import product
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

Interval: TypeAlias = tuple[int, int]
"""The places from the first number up to, but not including, the second."""

Box: TypeAlias = tuple[Interval, ...]
"""An interval for each cell: the members are in these."""

Plan: TypeAlias = dict[tuple[int, Interval], Interval]
"""A count: which part of each interval of a cell is counted."""

_MOST_BOXES = 8
"""With this many combinations, one must be ruled out before a new one is made: choosing a count takes time."""


def locate(cells: Sequence[Sequence[str]], most: int) -> Generator[Sequence[str], int, list[str]]:
    """
    Return the one member of each cell; nothing, if the counts contradict each other.

    :param most: how many run ids a count may have.
    """
    boxes: list[Box] = [tuple((0, len(cell)) for cell in cells)]
    while boxes and (len(boxes) > 1 or _volume(boxes[0]) > 1):
        plan = _choose(boxes, most)
        if not plan:
            return []
        counted = yield [run_id for (number, _), part in plan.items() for run_id in cells[number][slice(*part)]]
        boxes = [part for box in boxes for part, members in _split(box, plan) if members == counted]
    return [cell[start] for cell, (start, _) in zip(cells, boxes[0], strict=True)] if boxes else []


def _choose(boxes: Sequence[Box], most: int) -> Plan:
    """Return a count that says much: one that cannot be improved by counting more or less of one interval."""
    places = dict.fromkeys((number, interval) for box in boxes for number, interval in enumerate(box))
    plan: Plan = {}
    best = 0.0
    is_improved = True
    while is_improved:
        is_improved = False
        for place in places:
            for part in _parts(place[1], may_halve=len(boxes) < _MOST_BOXES):
                trial = {**plan, place: part}
                if part != plan.get(place) and sum(map(_size, trial.values())) <= most:
                    information = _information(boxes, trial)
                    if information > best + 1e-9:
                        best, plan, is_improved = information, trial, True
    return {place: part for place, part in plan.items() if _size(part)}


def _parts(interval: Interval, *, may_halve: bool) -> list[Interval]:
    start, stop = interval
    middle = (start + stop) // 2
    parts = [(start, middle)] if may_halve and middle > start else []
    return [*parts, (start, stop), (start, start)]


def _information(boxes: Sequence[Box], plan: Plan) -> float:
    """Return how many bits the answer to a count gives."""
    weights: dict[int, float] = {}
    for box in boxes:
        chances = [1.0]
        for number, interval in enumerate(box):
            chance = _size(plan.get((number, interval), (0, 0))) / _size(interval)
            chances = [
                without * (1 - chance) + within * chance
                for without, within in zip([*chances, 0.0], [0.0, *chances], strict=True)
            ]
        for members, chance in enumerate(chances):
            weights[members] = weights.get(members, 0.0) + _volume(box) * chance
    total = sum(weights.values())
    return -sum(weight / total * math.log2(weight / total) for weight in weights.values() if weight > 0)


def _split(box: Box, plan: Plan) -> Iterator[tuple[Box, int]]:
    """Split a box by a count, and yield each part with the number of members that are counted in it."""
    sides = []
    for number, (start, stop) in enumerate(box):
        middle = plan.get((number, (start, stop)), (start, start))[1]
        sides.append([(side, is_in) for side, is_in in (((start, middle), 1), ((middle, stop), 0)) if _size(side)])
    for chosen in product(*sides):
        yield tuple(side for side, _ in chosen), sum(is_in for _, is_in in chosen)


def _size(interval: Interval) -> int:
    return interval[1] - interval[0]


def _volume(box: Box) -> int:
    return math.prod(map(_size, box))
