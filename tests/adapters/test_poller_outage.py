"""After an outage: how many requests, and how late, to tell many waits of ends of both kinds."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass

import pytest

from .poller_fakes import DAG, Asked, Server, Waits, lasting, names, now, passing, run

OUTAGE_SECONDS = 300
TASKS = [f"step_{number}" for number in range(8)]
PARTS = [f"mapped_{number}" for number in range(6)]


@dataclass(frozen=True)
class Outage:
    """
    What happens during an outage.

    :param tasks: of each child: none at all, a few, or many with a mapped one among them.
    :param gone: the share of the children that is deleted.
    :param ended: the share of the children that has ended or gone.
    :param is_silent: a request gets no answer until the outage is over, as where a table is locked.
    """

    waits: int = 1000
    tasks: str = "many"
    are_tasks_refused: bool = False
    gone: float = 0.0
    ended: float = 1.0
    is_silent: bool = False


class HangingServer(Server):
    """Answers while it may."""

    may_answer: asyncio.Event

    async def _ask(self, kind: str, dag_id: str, run_ids: tuple[str, ...], **more: object) -> None:
        await self.may_answer.wait()
        await super()._ask(kind, dag_id, run_ids, **more)


def tasks_of(kind: str, end: str) -> dict[str, str | None]:
    """Return the states of a child's tasks."""
    if kind == "none":
        return {}
    if kind == "one":
        return {"work": end}
    before = "success" if end != "running" else "running"
    last = {"success": "success", "failed": "upstream_failed", "running": None}[end]
    failed = "failed" if end == "failed" else before
    return {**dict.fromkeys(TASKS, before), **dict.fromkeys(PARTS, failed), "last": last}


async def ride_out(outage: Outage) -> tuple[int, list[float]]:
    """Return the number of requests after an outage, and how late each wait ended after it."""
    is_away = [False]

    def refuse(asked: Asked) -> None:
        if is_away[0] and not outage.is_silent:
            raise passing()
        if outage.are_tasks_refused and asked.kind.startswith("tasks"):
            raise lasting()

    chance = random.Random(3)  # noqa: S311 - no secret
    server = HangingServer(refuse=refuse, seconds=0.05)
    server.may_answer = asyncio.Event()
    server.may_answer.set()
    run_ids = names(outage.waits)
    server.start(run_ids)
    server.tasks = {(DAG, run_id): tasks_of(outage.tasks, "running") for run_id in run_ids}
    waits = Waits(server)
    waits.begin(run_ids, poll_interval=60.0)
    await asyncio.sleep(60)
    is_away[0] = True
    if outage.is_silent:
        server.may_answer.clear()
    await asyncio.sleep(OUTAGE_SECONDS)
    expected: dict[str, str | None] = {}
    for run_id in chance.sample(run_ids, max(1, round(outage.waits * outage.ended))):
        end = chance.choices([None, "success", "failed"], [outage.gone, 0.6, 0.4])[0]
        expected[run_id] = end
        if end is None:
            del server.states[DAG, run_id], server.tasks[DAG, run_id]
        else:
            server.states[DAG, run_id] = end
            server.tasks[DAG, run_id] = tasks_of(outage.tasks, end)
    is_away[0] = False
    server.may_answer.set()
    back, already = now(), len(server.asked)
    await asyncio.wait([waits.tasks[run_id] for run_id in expected], timeout=600)
    asked = len(server.asked) - already
    assert waits.outcomes == expected
    await waits.stop()
    return asked, sorted(waits.ended_at[run_id] - back for run_id in expected)


@pytest.mark.parametrize(
    ("outage", "most"),
    [
        pytest.param(Outage(), 60, id="children with fifteen tasks, a mapped one among them"),
        pytest.param(Outage(tasks="one"), 30, id="children with one task"),
        pytest.param(Outage(tasks="none"), 400, id="children without tasks"),
        pytest.param(Outage(are_tasks_refused=True), 400, id="tasks that may not be asked for"),
        pytest.param(Outage(gone=0.02), 150, id="a few children deleted"),
        pytest.param(Outage(gone=1.0), 500, id="half of the children deleted"),
        pytest.param(Outage(ended=0.5), 700, id="half of the children still active"),
        pytest.param(Outage(ended=0.05), 150, id="a few ends"),
        pytest.param(Outage(waits=3000), 160, id="three batches"),
        pytest.param(Outage(is_silent=True), 60, id="no answers, two batches"),
        pytest.param(Outage(waits=3000, is_silent=True), 160, id="no answers, seven batches"),
        pytest.param(Outage(waits=3, is_silent=True), 5, id="no answers, three waits"),
        pytest.param(Outage(waits=12), 14, id="a dozen waits"),
        pytest.param(Outage(waits=3), 5, id="three waits"),
    ],
)
def test_ends_of_both_kinds_after_an_outage_cost_little(outage: Outage, most: int) -> None:
    asked, latencies = run(ride_out(outage))
    assert asked <= most
    # The longest pause of an outage, and then the requests one after the other, with a tenth for the rests between.
    assert latencies[-1] <= 34 + most * 0.05 * 1.1


@pytest.mark.parametrize("waits", [2, 5, 20, 100, 700])
@pytest.mark.parametrize("tasks", ["none", "many"])
@pytest.mark.parametrize("ended", [0.2, 0.5, 0.8, 1.0])
def test_no_outage_costs_more_than_a_request_for_each_wait(waits: int, tasks: str, ended: float) -> None:
    asked, _ = run(ride_out(Outage(waits, tasks, gone=0.1, ended=ended)))
    # And a few for what comes first: a trial, the count of all, how many tasks there are, and the polls meanwhile.
    assert asked <= waits + 10
