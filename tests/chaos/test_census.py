"""The count can find what it counts: each case is a parent with its children as a broken protocol would leave them."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest

from airflow_durable.metadata.model import InstanceKey, TaskTry
from tests.chaos.census import Child, Count, Parent, count_parents
from tests.chaos.population import Pair

_NOON = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)


def _at(minute: float) -> datetime:
    return _NOON + timedelta(minutes=minute)


def _child(number: int, state: str, ended: float, clear_number: int = 0) -> Child:
    """Return a child that was made in the minute of its number."""
    return Child(number, f"run_{number}", state, _at(number), _at(ended), clear_number)


def _count(  # noqa: PLR0913 - a case has many sides
    mode: str,
    state: str | None,
    *children: Child,
    named: str | None = None,
    has_foreign: bool = False,
    fails_once: bool = False,
    is_reset_struck: bool = False,
    is_taken: bool = False,
) -> Count:
    attempt = TaskTry(
        InstanceKey(f"durable_{mode}", "p00001", "run_child", -1),
        try_number=2,
        max_tries=60,
        state=state,
        start_date=_at(0),
        end_date=_at(60),
    )
    pair = Pair(1, mode, has_foreign, fails_once)
    named_run_id = named or (children[-1].run_id if children else None)
    return count_parents([Parent(attempt, pair, named_run_id, children, is_reset_struck, is_taken)])


@pytest.mark.parametrize(
    "count",
    [
        _count("wait", "success", _child(1, "success", 5)),
        _count("wait", "success", _child(1, "failed", 2), _child(3, "success", 5), fails_once=True),
        _count("wait_fixed", "failed", _child(1, "failed", 2), fails_once=True),
        _count("wait_reset", "success", _child(1, "success", 5, clear_number=1), has_foreign=True),
        _count("wait_reset", "success", _child(1, "success", 5, clear_number=1), fails_once=True),
        _count("fire", "success", _child(1, "failed", 70), fails_once=True),
    ],
    ids=["plain", "failed once", "fixed failed", "foreign reset", "failed reset", "fire and forget"],
)
def test_right(count: Count) -> None:
    assert count.violations == 0
    assert count.examples == []


def test_duplicate() -> None:
    count = _count("wait", "success", _child(1, "success", 5), _child(2, "success", 6))
    assert (count.duplicates, count.abandoned, count.wrong_ends) == (1, 1, 0)
    assert count.scatter == {"2,2": 1}


def test_duplicate_of_child_that_failed_later() -> None:
    count = _count("wait", "success", _child(1, "failed", 5), _child(2, "success", 6), fails_once=True)
    assert (count.duplicates, count.abandoned) == (1, 1)


def test_two_duplicates() -> None:
    count = _count("fire", "success", _child(1, "success", 9), _child(2, "success", 9), _child(3, "success", 9))
    assert (count.duplicates, count.abandoned) == (2, 2)


def test_healthy_child_reset() -> None:
    assert _count("wait_reset", "success", _child(1, "success", 5, clear_number=1)).healthy_resets == 1
    count = _count("wait_reset", "success", _child(1, "success", 5, clear_number=3), has_foreign=True)
    assert count.healthy_resets == 2


def test_late_reset_is_counted_apart() -> None:
    count = _count("wait_reset", "success", _child(1, "success", 5, clear_number=1), is_reset_struck=True)
    assert (count.healthy_resets, count.late_resets, count.violations) == (0, 1, 0)


@pytest.mark.parametrize("state", ["failed", "skipped"])
def test_wrong_end_abandons(state: str) -> None:
    count = _count("wait_fixed", state, _child(1, "success", 70))
    assert (count.wrong_ends, count.abandoned) == (1, 1)


def test_failed_though_another_child_was_possible() -> None:
    assert _count("wait", "failed", _child(1, "failed", 5), fails_once=True).wrong_ends == 1


def test_success_without_success() -> None:
    assert _count("wait", "success").wrong_ends == 1
    assert _count("wait", "success", _child(1, "failed", 5)).wrong_ends == 1
    count = _count("wait", "success", _child(1, "failed", 5), _child(6, "success", 7), named="run_1")
    assert count.wrong_ends == 1


@pytest.mark.parametrize("state", [None, "running", "up_for_retry", "deferred"])
def test_never_ended(state: str | None) -> None:
    assert _count("wait", state, _child(1, "success", 5)).never_ended == 1


def test_lost_work_is_a_success_without_a_child_of_its_own() -> None:
    count = _count("contended", "success")
    assert (count.wrong_ends, count.lost_work) == (1, 1)


def test_one_that_contends_in_vain_has_to_fail() -> None:
    taken, free = _count("contended", "failed", is_taken=True), _count("contended", "failed")
    assert (taken.wrong_ends, taken.lost_work) == (0, 0)
    assert free.wrong_ends == 1


def test_each_call_has_a_child_of_its_own() -> None:
    children = [Child(part, f"run_{part}", "success", _at(part), _at(part + 1), 0, part) for part in range(3)]
    assert _count("calls", "success", *children).violations == 0
    assert _count("calls", "success", *children[:2]).lost_work == 1
    again = Child(9, "run_9", "success", _at(9), _at(10), 0, 1)
    assert _count("calls", "success", *children, again).duplicates == 1


def test_a_cleared_parent_may_repeat_what_had_ended_but_not_what_is_active() -> None:
    first, beside = Child(1, "run_1", "success", _at(1), _at(5), 0), Child(2, "run_2", "success", _at(3), _at(7), 0)
    after = Child(2, "run_2", "success", _at(6), _at(7), 0)
    assert _count("cleared", "success", first, beside).duplicates == 1
    assert _count("cleared", "success", first, after).duplicates == 0


def test_each_item_of_many_has_one_healthy_child() -> None:
    children = [replace(_child(number, "success", 9), part=number) for number in range(6)]
    replaced = replace(_child(6, "failed", 6.5), part=2), replace(_child(7, "success", 9), part=2)
    right = _count("many", "success", *children[:2], *replaced, *children[3:])
    assert (right.violations, right.examples) == (0, [])
    twice = _count("many", "success", *children, replaced[1])
    assert (twice.duplicates, twice.lost_work) == (1, 0)


@pytest.mark.parametrize("left", [[], [replace(_child(2, "failed", 5), part=2)]], ids=["no child", "failed child"])
def test_lost_work_of_an_item(left: list[Child]) -> None:
    others = [replace(_child(number, "success", 9), part=number) for number in (0, 1, 3, 4, 5)]
    count = _count("many", "success", *others, *left)
    assert (count.lost_work, count.wrong_ends) == (1, 1)
