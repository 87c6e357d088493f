"""The wait for many runs, on the poller that all waits share."""

from __future__ import annotations

import asyncio

from airflow_durable.core.many import Wake
from airflow_durable.triggers.watch import SLICE, Watch, in_slices

from .poller_fakes import DAG, ENDS, Server, run


def test_others_on_the_loop_have_their_turn_while_many_waits_are_begun() -> None:
    """A hundred thousand waits took the triggerer's loop for seconds."""
    count = 8 * SLICE
    seen: set[int] = set()

    async def main() -> None:
        server = Server()
        runs = await in_slices((number, f"run_{number}") for number in range(count))
        server.states |= {(DAG, run_id): "success" for run_id in runs.values()}
        wake = Wake(0, is_more_to_send=False, enough=count, patience_seconds=60.0)
        watch = Watch(DAG, runs, {"failed"}, wake, lambda ended, failed: None)
        waiting = asyncio.ensure_future(watch.run(server, ENDS, 60.0))
        for _ in range(2 * count // SLICE):
            seen.add(len(watch._waits))
            await asyncio.sleep(0)
        await waiting
        # The poller notices, in its next turn, that nobody waits.
        await asyncio.sleep(1000)

    run(main())
    assert len(seen) > 8


def test_pairs_are_made_in_slices() -> None:
    async def main() -> int:
        turns = 0

        async def others() -> None:
            nonlocal turns
            for _ in range(100):
                turns += 1
                await asyncio.sleep(0)

        neighbour = asyncio.ensure_future(others())
        assert len(await in_slices((number, str(number)) for number in range(4 * SLICE))) == 4 * SLICE
        seen = turns
        await neighbour
        return seen

    assert run(main()) >= 3


def test_runs_that_all_end_at_once_are_noticed_soon() -> None:
    """Ten thousand patient waits are eleven batches or so, each polled every half minute."""
    count = 10_000

    async def main() -> tuple[int, float, int]:
        server = Server()
        runs = {number: f"manual__2026-01-01T00:00:00+00:00_{number:032}" for number in range(count)}
        server.start(runs.values())
        wake = Wake(count, is_more_to_send=False, enough=count, patience_seconds=60.0)
        waiting = asyncio.ensure_future(Watch(DAG, runs, {"failed"}, wake, lambda *_: None).run(server, ENDS, 60.0))
        loop = asyncio.get_running_loop()
        await asyncio.sleep(600)
        server.states |= {(DAG, run_id): "success" for run_id in runs.values()}
        asked, began = len(server.asked), loop.time()
        await waiting
        seconds = loop.time() - began
        await asyncio.sleep(1000)
        return asked, seconds, len(server.asked) - asked

    before, seconds, asked = run(main())
    assert before <= 300  # 30 a minute
    assert seconds <= 10
    assert asked <= 60
