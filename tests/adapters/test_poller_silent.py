"""Ten thousand waits in calm, of children whose tasks say nothing: what has ended is found by counts alone."""

from __future__ import annotations

import asyncio
import random

import pytest

from .poller_fakes import DAG, Server, Waits, names, now, run

WAITS = 10_000
ENDS = 200
ENDS_A_SECOND = 100 / 60
POLL_INTERVAL = 5.0


def test_ends_are_found_soon_without_the_tasks_help() -> None:
    """Half within 2 s, 99 % within 5 s, where a request takes 20 ms. The clock is simulated."""

    async def measure() -> tuple[list[float], float]:
        chance = random.Random(5)  # noqa: S311 - no secret
        server = Server(seconds=0.02)
        run_ids = names(WAITS)
        server.start(run_ids)
        server.tasks = {(DAG, run_id): {} for run_id in run_ids}
        waits = Waits(server)
        waits.begin(run_ids, poll_interval=POLL_INTERVAL)
        await asyncio.sleep(60)
        begun, asked = now(), len(server.asked)
        late: list[float] = []

        async def note(run_id: str, ended_at: float) -> None:
            await waits.tasks[run_id]
            late.append(now() - ended_at)

        noted = []
        for run_id in chance.sample(run_ids, ENDS):
            await asyncio.sleep(chance.expovariate(ENDS_A_SECOND))
            server.states[DAG, run_id] = "success"
            noted.append(asyncio.ensure_future(note(run_id, now())))
        await asyncio.gather(*noted)
        rate = (len(server.asked) - asked) / (now() - begun)
        for task in waits.tasks.values():
            task.cancel()
        await asyncio.gather(*waits.tasks.values(), return_exceptions=True)
        await asyncio.sleep(1)
        return sorted(late), rate

    late, rate = run(measure())
    assert late[ENDS // 2] <= 2
    assert late[ENDS * 99 // 100 - 1] <= 5
    assert rate <= 0.015 * WAITS / POLL_INTERVAL


@pytest.mark.parametrize("count", [30, 300])
def test_a_failed_task_in_each_run_tells_nothing(count: int) -> None:
    """An optional task has failed in each run, and two of three runs have succeeded nevertheless."""

    async def measure() -> tuple[float, int]:
        server = Server()
        run_ids = names(count)
        server.start(run_ids)
        waits = Waits(server)
        waits.begin(run_ids)
        await asyncio.sleep(20)
        begun, asked = now(), len(server.asked)
        for number, run_id in enumerate(run_ids):
            state = "success" if number % 3 else "failed"
            server.states[DAG, run_id] = state
            server.tasks[DAG, run_id] = {"optional": "failed", "last": state}
        await asyncio.gather(*waits.tasks.values())
        seconds, requests = now() - begun, len(server.asked) - asked
        await waits.stop()
        return seconds, requests

    seconds, requests = run(measure())
    assert seconds <= 10
    assert requests <= count
