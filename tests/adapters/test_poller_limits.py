"""A size that fails for a while: what that costs, and how soon the waits are joined again."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_durable.triggers.limits import MAX_BATCH_BYTES, POLLS_A_TRIAL, RECOVERY_SECONDS, SizeLimit, query_bytes

from .poller_fakes import Asked, Server, Waits, lasting, names, now, passing, run

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_durable.core.errors import LookUpFailedError


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_run_id_takes_what_it_takes_when_it_is_quoted(run_id: str) -> None:
    assert query_bytes(run_id) == len(f"&run_ids={quote(run_id, safe='')}")


FAULTS = pytest.mark.parametrize("error", [passing, lasting], ids=["fault", "refusal"])


@FAULTS
@pytest.mark.parametrize("most", [1, 9])
def test_waits_that_were_split_are_joined_again_soon(most: int, error: Callable[[], LookUpFailedError]) -> None:
    async def scenario() -> tuple[int, int]:
        def refuse(asked: Asked) -> None:
            if 30 <= asked.at < 90 and asked.is_count and len(asked.run_ids) > most:
                raise error()

        server = Server(seconds=0.01, refuse=refuse)
        server.start(names(200))
        waits = Waits(server)
        waits.begin(names(200), poll_interval=1.0)
        await asyncio.sleep(90)
        asked = len(server.asked)
        await asyncio.sleep(20)
        on_the_way, asked = len(server.asked) - asked, len(server.asked)
        await asyncio.sleep(20)
        calm = len(server.asked) - asked
        await waits.stop()
        return on_the_way, calm

    on_the_way, calm = run(scenario())
    # One batch, a poll a second; and, until they are joined, a few seconds of what each asks by itself.
    assert calm <= 22
    assert on_the_way <= 500


def test_a_size_that_always_fails_is_tried_now_and_then_and_by_one_batch() -> None:
    async def scenario() -> tuple[Counter[int], int]:
        def refuse(asked: Asked) -> None:
            if asked.is_count and len(asked.run_ids) > 40:
                raise lasting()

        server = Server(refuse=refuse)
        server.start(names(900))
        waits = Waits(server)
        waits.begin(names(900), poll_interval=60.0)
        await asyncio.sleep(600)
        already = len(server.asked)
        await asyncio.sleep(1200)
        asked = server.asked[already:]
        await waits.stop()
        return Counter(int(each.at // 60) for each in asked if len(each.run_ids) > 40), len(asked)

    failed, asked = run(scenario())
    assert sum(failed.values()) <= 0.1 * asked
    assert max(failed.values(), default=0) <= 8


@pytest.mark.parametrize("seconds", [0.02, 30.0])
def test_a_trial_that_fails_late_is_not_repeated_soon(seconds: float) -> None:
    limit = SizeLimit()
    assert limit.lower(0, 1000, 100.0, seconds)
    polls = next(number for number in range(100_000) if limit.note_poll(100.0 + number * 0.01))
    assert (polls == POLLS_A_TRIAL) == (seconds < 1)


def test_the_next_trial_is_later_after_one_that_failed_and_at_once_after_one_that_succeeded() -> None:
    limit = SizeLimit()
    limit.lower(1000, 2000, 0.0, 0.02)
    assert not limit.note_poll(RECOVERY_SECONDS - 1)
    assert limit.note_poll(RECOVERY_SECONDS)
    limit.begin_trial(1900, 10.0)
    # Others fail meanwhile that are as large: it counts once.
    for at in (11.0, 11.5, 12.0):
        limit.lower(950, 1900, at, 0.02)
    assert limit.recovery_seconds == 2 * RECOVERY_SECONDS
    limit.begin_trial(1800, 40.0)
    limit.note_success(1800, 41.0)
    assert limit.current == 1800
    assert limit.note_poll(41.0)
    limit.begin_trial(3600, 41.0)
    limit.note_success(3600, 42.0)
    assert limit.recovery_seconds == RECOVERY_SECONDS
    limit.note_success(MAX_BATCH_BYTES, 43.0)
    assert not limit.note_poll(10_000.0)


def test_batches_take_turns_in_the_order_in_which_they_are_due() -> None:
    async def scenario() -> float:
        def refuse(asked: Asked) -> None:
            if 30 <= asked.at < 50 and asked.is_count and len(asked.run_ids) > 1:
                raise passing()

        server = Server(seconds=0.05, refuse=refuse)
        waits = Waits(server)
        for number in range(3):
            run_ids = [f"{number}_{place}" for place in range(200)]
            server.start(run_ids, f"dag_{number}")
            waits.begin(run_ids, f"dag_{number}", poll_interval=1.0)
        await asyncio.sleep(45)
        ended = [f"{number}_{place}" for number in range(3) for place in range(0, 200, 10)]
        for run_id in ended:
            server.states[f"dag_{run_id[0]}", run_id] = "success"
        await asyncio.sleep(90)
        assert waits.outcomes == dict.fromkeys(ended, "success")
        begun = now() - 90
        await waits.stop()
        return max(waits.ended_at.values()) - begun

    assert run(scenario()) < 40
