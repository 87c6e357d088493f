"""How a try ended: what is called a crash, from when, and in which words."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from airflow_durable.metadata.model import DagRun, InstanceKey, Loss, TaskTry
from airflow_durable.server.endings import Cause, Ending, find_ending
from airflow_durable.wording import HeartbeatLimits
from tests.support.waits_rows import minutes

LIMITS = HeartbeatLimits()
FAILED = TaskTry(InstanceKey("p", "run", "trigger", -1), 1, 3, "failed", minutes(0), minutes(10))
RUNNING = replace(FAILED, state="running", end_date=None)
LOST = Loss(minutes(10), timedelta(seconds=300))
GONE_ON = DagRun("c", "run", "running", minutes(1), minutes(1))
ENDED_BEFORE = DagRun("c", "run", "success", minutes(1), minutes(1), minutes(7))
FAILED_BEFORE = replace(ENDED_BEFORE, state="failed")


def ending(one: TaskTry, run: DagRun | None = None, loss: Loss | None = None, now: float = 30) -> Ending | None:
    return find_ending(one, run, loss, minutes(now), LIMITS)


@pytest.mark.parametrize("run", [None, GONE_ON, ENDED_BEFORE, FAILED_BEFORE])
@pytest.mark.parametrize("state", ["failed", "up_for_retry"])
def test_crash_is_a_crash_whatever_the_child_did(state: str, run: DagRun | None) -> None:
    found = ending(replace(FAILED, state=state), run, LOST)
    assert found is not None
    assert found.cause is Cause.CRASHED
    assert (found.died_at, found.noticed_at) == (minutes(5), minutes(10))
    assert found.words == "crashed: no heartbeat after 12:05:00; Airflow ended it at 12:10:00"


@pytest.mark.parametrize(
    ("heartbeat", "timeout", "died_at"),
    [
        (4, 300, 4),  # kept: it is what counts
        (None, 120, 8),  # the log's own time limit, not today's
        (None, None, 5),  # the log does not say: today's
        (None, 0, 10),  # the executor reported the loss
        (None, 9999, 0),  # never before it began
    ],
)
def test_when_it_died(heartbeat: float | None, timeout: float | None, died_at: float) -> None:
    one = replace(FAILED, last_heartbeat_at=None if heartbeat is None else minutes(heartbeat))
    found = ending(one, loss=Loss(minutes(10), None if timeout is None else timedelta(seconds=timeout)))
    assert found is not None
    assert found.died_at == minutes(died_at)


def test_without_the_audit_log_a_whole_time_limit_of_silence_is_a_crash() -> None:
    silent, alive = (replace(FAILED, last_heartbeat_at=minutes(at)) for at in (4.5, 9.9))
    assert [found and found.cause for found in map(ending, (silent, alive))] == [Cause.CRASHED, Cause.FAILED]


def test_dead_parent_is_said_to_be_dead_before_airflow_notices() -> None:
    one = replace(RUNNING, last_heartbeat_at=minutes(20))
    assert ending(one, GONE_ON, now=20.4) is None
    found = ending(one, GONE_ON, now=22)
    assert found is not None
    assert found.cause is Cause.SILENT
    assert found.words == "no heartbeat since 12:20:00; Airflow will retry it by about 12:25:10"
    last = ending(replace(one, try_number=4), GONE_ON, now=22)
    assert last is not None
    assert "Airflow will fail it by about 12:25:10" in last.words


@pytest.mark.parametrize(
    ("one", "run", "cause"),
    [
        (FAILED, GONE_ON, Cause.CUT_OFF),
        (FAILED, FAILED_BEFORE, Cause.CHILD_FAILED),
        (FAILED, ENDED_BEFORE, Cause.FAILED),
        (FAILED, None, Cause.FAILED),
        (replace(FAILED, state="success"), GONE_ON, None),
        (replace(FAILED, state="skipped"), GONE_ON, None),
        (RUNNING, GONE_ON, None),
        (replace(RUNNING, state="deferred", last_heartbeat_at=minutes(0)), GONE_ON, None),
        (replace(FAILED, state="queued", start_date=None, end_date=None, last_heartbeat_at=minutes(0)), GONE_ON, None),
    ],
)
def test_other_ends(one: TaskTry, run: DagRun | None, cause: Cause | None) -> None:
    found = ending(one, run)
    assert (found and found.cause) == cause


def test_many_children_that_go_on_do_not_say_why_the_try_ended() -> None:
    """The task may have failed by itself: more items had failed than it tolerates."""
    found = find_ending(FAILED, GONE_ON, None, minutes(30), LIMITS, is_many=True)
    assert found is not None
    assert found.cause is Cause.FAILED
    assert found.words.startswith("ended while some of its child runs continued: too many items had failed, ")
    found = find_ending(FAILED, FAILED_BEFORE, None, minutes(30), LIMITS, is_many=True)
    assert found is not None
    assert (found.cause, found.words) == (Cause.CHILD_FAILED, "failed, as child runs had failed")
