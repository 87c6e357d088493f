"""Where the bars stand, and which attempt is said to have been cut off."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from airflow_durable.metadata.model import DagRun, InstanceKey, Loss, TaskTry
from airflow_durable.server.endings import is_cut_off_before
from airflow_durable.server.timeline import TICKS, draw
from tests.support.waits_rows import NOON, make_record, minutes

if TYPE_CHECKING:
    from datetime import datetime


def tried(number: int, state: str, start: datetime | None, end: datetime | None) -> TaskTry:
    return TaskTry(InstanceKey("p", "run", "trigger", -1), number, 3, state, start, end)


FIRST = tried(1, "failed", minutes(0), minutes(10))


def child(state: str = "success", start: float = 1, end: float | None = 20, queued: float = 0) -> DagRun:
    return DagRun("c", "run", state, minutes(queued), minutes(start), None if end is None else minutes(end))


@pytest.mark.parametrize(
    ("one", "run", "expected"),
    [
        (FIRST, child(), True),
        (FIRST, child("running", end=None), True),
        (FIRST, DagRun("c", "run", "queued", minutes(1)), True),
        (FIRST, child("failed", end=9), False),  # it failed since its child had
        (FIRST, child("failed", end=10), False),
        (FIRST, None, False),
        (FIRST, child(queued=11, start=12), False),  # cleared and started again since
        (tried(1, "success", minutes(0), minutes(10)), child(), False),
        (tried(1, "running", minutes(0), None), child(), False),
        (tried(1, "deferred", minutes(0), minutes(10)), child(), False),
        (tried(1, "up_for_retry", minutes(0), minutes(10)), child(), True),
    ],
)
def test_cut_off(one: TaskTry, run: DagRun | None, expected: bool) -> None:  # noqa: FBT001 - a case
    assert is_cut_off_before(one, run) is expected


def test_bar_of_a_crash_ends_at_the_last_heartbeat_and_its_notice_is_a_mark_of_its_own() -> None:
    record = make_record(("c", "run"), ("fresh_submit",))
    losses = {1: Loss(minutes(10), timedelta(minutes=5))}
    (row,) = draw(record, [FIRST], {"run": child()}, minutes(30), losses=losses).tries
    assert row.bar is not None
    assert row.unnoticed is not None
    assert row.bar.end == row.unnoticed.start == minutes(5)
    assert row.unnoticed.end == minutes(10)
    assert row.bar.right == pytest.approx(row.unnoticed.left)


@pytest.mark.parametrize(("begun", "died", "noticed"), [(0, 0.01, 8), (50, 50.01, 60), (99.97, 99.98, 100)])
def test_try_that_died_at_once_does_not_hide_how_long_that_was_not_noticed(
    begun: float, died: float, noticed: float
) -> None:
    """Its bar is as wide as one has to be to be seen; the next one begins where it ends."""
    record = make_record(("c", "run"), ("fresh_submit",))
    one = replace(tried(1, "failed", minutes(begun), minutes(noticed)), last_heartbeat_at=minutes(died))
    losses = {1: Loss(minutes(noticed), timedelta(minutes=noticed - died))}
    (row,) = draw(record, [one], {"run": child(start=0, end=100)}, minutes(100), losses=losses).tries
    assert row.bar is not None
    assert row.unnoticed is not None
    assert 0 <= row.bar.left < row.bar.right == pytest.approx(row.unnoticed.left)
    assert row.unnoticed.left < row.unnoticed.right <= 100


def test_dead_parent_is_drawn_to_its_last_heartbeat_and_on_to_the_present() -> None:
    record = make_record(("c", "run"), ("fresh_submit",))
    one = replace(tried(1, "running", minutes(0), None), last_heartbeat_at=minutes(6))
    (row,) = draw(record, [one], {"run": child("running", end=None)}, minutes(8)).tries
    assert row.bar is not None
    assert row.unnoticed is not None
    assert (row.bar.end, row.unnoticed.end) == (minutes(6), minutes(8))
    assert row.unnoticed.is_open


def test_bars_stay_within_the_picture() -> None:
    record = make_record(("c", "run"), ("fresh_submit", "reconnect"))
    tries = [FIRST, tried(2, "running", minutes(20), None)]
    drawn = draw(record, tries, {"run": child("running", end=None, queued=-5)}, minutes(60))
    bars = [*(row.bar for row in drawn.tries), *(row.bar for row in drawn.runs)]
    for bar in bars:
        assert bar is not None
        assert 0 <= bar.left <= bar.right <= 100
    assert bars[1] is not None
    assert bars[1].is_open
    assert bars[1].right == pytest.approx(100)
    assert bars[2] is not None
    assert bars[2].queued_left == 0
    assert [tick.left for tick in drawn.ticks] == [100 / TICKS * number for number in range(TICKS + 1)]
    assert (drawn.ticks[0].at, drawn.ticks[-1].at) == (minutes(-5), minutes(60))


def test_ended_wait_is_drawn_to_its_end_and_not_to_the_present() -> None:
    record = make_record(("c", "run"), ("fresh_submit",))
    drawn = draw(record, [tried(1, "success", minutes(0), minutes(10))], {"run": child(end=9)}, minutes(9999))
    assert drawn.ticks[-1].at == minutes(10)


def test_what_has_not_begun_has_no_bar() -> None:
    record = make_record(("c", "run"), ("fresh_submit",))
    drawn = draw(record, [tried(1, "queued", None, None)], {"run": DagRun("c", "run", "queued")}, NOON)
    assert drawn.tries[0].bar is None
    assert drawn.runs[0].bar is None


def test_moment_gets_a_bar_that_can_be_seen() -> None:
    record = make_record(("c", "run"), ("fresh_submit", "reconnect"))
    tries = [tried(1, "failed", minutes(99.999), minutes(100))]
    drawn = draw(record, tries, {"run": child(start=0, end=100)}, NOON + timedelta(days=1))
    bar = drawn.tries[0].bar
    assert bar is not None
    assert bar.width >= 0.5
    assert bar.right <= 100
