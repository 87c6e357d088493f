"""The searches for members of a set: they find them, and by how few counts."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_durable.triggers import search, weighing
from airflow_durable.triggers.search import Cell

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator, Sequence


def answer(
    counts: Generator[Sequence[Any], int, list[Any]],
    members: Collection[object],
    change: Callable[[int], None] = lambda _: None,
) -> tuple[list[Any], int, int]:
    """
    Answer a search.

    :param change: gets the number of each count; it may change the members.
    :returns: what the search returns, how many counts it made, and how many run ids the largest had.
    """
    asked, largest = 0, 0
    reply: int | None = None
    while True:
        try:
            run_ids = counts.send(reply)  # type: ignore[arg-type] # a generator begins with None
        except StopIteration as end:
            return end.value, asked, largest
        change(asked)
        asked += 1
        largest = max(largest, len(run_ids))
        assert len(set(run_ids)) == len(run_ids)
        reply = sum(run_id in members for run_id in run_ids)


def draw(runs: int, members: int, seed: int = 1) -> tuple[list[str], set[str]]:
    """Return run ids, and some of them as members."""
    run_ids = [f"run_{number}" for number in range(runs)]
    return run_ids, set(random.Random(seed).sample(run_ids, members))  # noqa: S311 - no secret


@settings(max_examples=200, deadline=None)
@given(cells=st.lists(st.lists(st.booleans(), min_size=1, max_size=150), min_size=1, max_size=12))
def test_all_members_are_found_and_nothing_else(cells: list[list[bool]]) -> None:
    names = [[f"{number}_{place}" for place in range(len(cell))] for number, cell in enumerate(cells)]
    members = {
        name for row, cell in zip(names, cells, strict=True) for name, is_in in zip(row, cell, strict=True) if is_in
    }
    known = [Cell(row, sum(cell)) for row, cell in zip(names, cells, strict=True)]
    found, asked, _ = answer(search.find(known), members)
    assert sorted(found) == sorted(members)
    assert asked <= sum(len(cell) for cell in cells)


@settings(max_examples=100, deadline=None)
@given(bits=st.lists(st.booleans(), max_size=300))
def test_a_weighing_finds_every_bit_by_the_counts_that_it_names(bits: list[bool]) -> None:
    members = {number for number, bit in enumerate(bits) if bit}
    found, asked, _ = answer(weighing.weigh(range(len(bits))), members)
    assert found == [int(bit) for bit in bits]
    assert asked <= weighing.count_needed(len(bits))


@pytest.mark.parametrize("runs", [2, 5, 20, 100, 300, 1000])
@pytest.mark.parametrize("share", [0.01, 0.1, 0.4, 0.6, 0.95])
def test_a_search_is_near_the_limit_of_information(runs: int, share: float) -> None:
    """A count of half of the runs, of which k are members, says about log2(pi e k / 2) / 2 bits."""
    for seed in range(5):
        run_ids, members = draw(runs, max(1, round(runs * share)), seed)
        if len(members) < runs:
            found, asked, largest = answer(search.find([Cell(run_ids, len(members))]), members)
            assert set(found) == members
            doubtful = min(len(members), runs - len(members))
            bits = max(1.0, math.log2(math.pi * math.e * doubtful / 2) / 2)
            assert asked <= 2.5 * math.log2(math.comb(runs, doubtful)) / bits + 2
            assert asked < runs
            assert largest <= runs


def test_a_thousand_runs_of_both_kinds_take_a_quarter_of_a_thousand_counts() -> None:
    run_ids, members = draw(1000, 600)
    assert answer(search.find([Cell(run_ids, 600)]), members)[1] <= 256


def test_the_only_members_of_some_cells_are_found_together() -> None:
    for seed in range(5):
        cells = [[f"{number}_{place}" for place in range(1000)] for number in range(4)]
        members = {random.Random(f"{seed}{cell[0]}").choice(cell) for cell in cells}  # noqa: S311 - no secret
        found, asked, _ = answer(search.find([Cell(cell, 1) for cell in cells]), members)
        assert set(found) == members
        # Each by itself takes ten.
        assert asked <= 30


@pytest.mark.parametrize("members", [1, 4, 100, 400])
def test_members_that_come_meanwhile_do_not_break_a_search(members: int) -> None:
    for seed in range(30):
        chance = random.Random(seed)  # noqa: S311 - no secret
        run_ids, before = draw(1000, members, seed)
        now = set(before)

        def join(_: int, chance: random.Random = chance, run_ids: list[str] = run_ids, now: set[str] = now) -> None:
            if chance.random() < 0.1:
                now.add(chance.choice(run_ids))

        found, asked, _ = answer(search.find([Cell(run_ids, members)]), now, join)
        assert len(found) <= len(set(run_ids))
        assert asked <= 1300
