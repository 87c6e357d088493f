"""The words that the page and the command line share."""

from __future__ import annotations

from datetime import timedelta

import pytest

from airflow_durable.core.model import Decision
from airflow_durable.wording import (
    DECISIONS,
    HeartbeatLimits,
    describe_crash,
    describe_silence,
    format_moment,
    is_quiet,
)

from .audit_fakes import at

LIMITS = HeartbeatLimits()


def test_every_decision_has_words() -> None:
    assert set(DECISIONS) == set(Decision)
    assert len({words.label for words in DECISIONS.values()}) == len(Decision)


@pytest.mark.parametrize(
    ("state", "seconds", "is_it"),
    [("running", 5, False), ("running", 31, True), ("deferred", 500, False), ("success", 500, False)],
)
def test_only_a_running_try_can_be_without_heartbeat(state: str, seconds: float, *, is_it: bool) -> None:
    assert is_quiet(state, at(0), at(seconds), LIMITS) is is_it


def test_a_try_that_never_sent_one_is_not_without() -> None:
    assert not is_quiet("running", None, at(500), LIMITS)


def test_a_slow_heartbeat_is_not_a_lost_one() -> None:
    assert not is_quiet("running", at(0), at(100), HeartbeatLimits(interval=timedelta(seconds=60)))


def test_what_airflow_will_do_and_when() -> None:
    said = describe_silence(at(0), at(60), LIMITS, has_next_try=True)
    assert said == "no heartbeat since 12:00:00; Airflow will retry it by about 12:05:10"
    assert "will fail it by about" in describe_silence(at(0), at(60), LIMITS, has_next_try=False)


def test_a_scheduler_that_does_not_notice_is_asked_about() -> None:
    said = describe_silence(at(0), at(400), LIMITS, has_next_try=True)
    assert said == "no heartbeat since 12:00:00; Airflow should have ended it by 12:05:10: is the scheduler running?"


def test_a_crash_is_death_and_then_detection() -> None:
    assert describe_crash(at(0), at(304), at(400)) == (
        "crashed: no heartbeat after 12:00:00; Airflow ended it at 12:05:04"
    )
    assert describe_crash(None, at(304), at(400)) == "crashed: its heartbeats stopped; Airflow ended it at 12:05:04"


def test_another_day_has_its_date() -> None:
    assert format_moment(at(0), at(86_400)) == "2026-01-01 12:00:00"
