"""The run ids of items never change, and Airflow refuses none of them because of the item's key."""

from __future__ import annotations

import itertools
from datetime import datetime, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_durable.core.items import Items
from airflow_durable.core.model import Parent
from airflow_durable.core.run_ids import check_run_id, is_generated, item_part

AIRFLOWS_PATTERN = r"^[A-Za-z0-9_.~:+-]+$"
PLAIN = Parent(
    "parent", "scheduled__2026-11-26T03:00:00+00:00", "trigger", -1, datetime(2026, 11, 26, 3, tzinfo=timezone.utc)
)
BEGINNING = "manual__2026-11-26T03:00:00+00:00_hhu4fxpt6vud_i"

DOTTED = ["1..10", "../data/north.csv", "a...b", "..", "x..", "..x", "....", "a. ..b", "a./.b", f"{'x' * 46}..y"]


def run_ids_of(keys: list[str], *, epoch: int = 0, generation: int = 0) -> list[str]:
    items = Items.of_keys(keys)
    return [items.run_id(PLAIN, index, epoch=epoch, generation=generation) for index in range(items.count)]


# Never change these values: a later release has to find the children of this one.


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("north", "north"),
        ("v1.2", "v1.2"),
        (".x", ".x"),
        ("x.", "x."),
        ("a.-.b", "a.-.b"),
        ("west coast", "west-coast-4aqstcpr5f4x"),
        ("a b/ü", "a-b---k2ckkdrmuuc5"),
        ("x. y", "x.-y-u6vxjzqe2kk5"),
        ("x" * 61, f"{'x' * 47}-tomwrx347psn"),
        ("a-p5e7wd4j3sqb", "a-p5e7wd4j3sqb-v3zubukl3gpq"),
        ("1..10", "1-10-2zpmdqies2aj"),
        ("../data/north.csv", "--data-north.csv-lgzx76bsqjnf"),
        ("..", "--lpkkugipmmns"),
    ],
)
def test_the_run_id_of_a_key_never_changes(key: str, expected: str) -> None:
    assert run_ids_of([key]) == [BEGINNING + expected]


@given(key=st.lists(st.sampled_from([".", "..", "-", "a", "b" * 30, "/", "ü"]), min_size=1, max_size=12).map("".join))
@settings(deadline=None)
def test_no_run_id_has_two_dots_whatever_the_key_is(key: str) -> None:
    """Airflow refuses them (3.3 and later). Nothing before or behind the key has a dot beside it."""
    for epoch, generation in itertools.product((0, 3), (0, 2)):
        (run_id,) = run_ids_of([key], epoch=epoch, generation=generation)
        assert ".." not in run_id
        assert is_generated(run_id)
        assert item_part(run_id)
        check_run_id("child", run_id, allowed_pattern=AIRFLOWS_PATTERN)


def test_keys_with_two_dots_have_run_ids_of_their_own() -> None:
    """Also beside the keys that look like what is shown of them."""
    shown = [run_id.removeprefix(BEGINNING) for run_id in run_ids_of(DOTTED)]
    every = [*DOTTED, *shown, *run_ids_of(shown), "1.10", "1-10", "a.b", "a-b"]
    assert len(set(run_ids_of(every))) == len(every)


def test_a_key_without_two_dots_is_shown_whole() -> None:
    for key in (".", ".x.", "a.b.c", "1.-.10", "x" * 60):
        assert run_ids_of([key]) == [BEGINNING + key]
