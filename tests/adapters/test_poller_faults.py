"""Random faults of a server, by Dag, by size of the request and by time: every wait is told the truth, and not late."""

from __future__ import annotations

import asyncio
import os
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from .poller_fakes import Asked, Server, Waits, lasting, now, passing, run

if TYPE_CHECKING:
    from collections.abc import Sequence

SEEDS = sorted({*range(int(os.environ.get("FAULT_SEEDS", "80"))), 124})
"""``make poller-faults`` has more. 10: batches were joined too late. 124: they were polled in the wrong order."""
FAULTS_END_SECONDS = 900.0
HEALTHY = "healthy"
TIMEOUT_SECONDS = 60.0


@dataclass(frozen=True)
class Fault:
    """
    What goes wrong from one time to another.

    :param kind: ``fault`` (5xx), ``refusal`` (4xx), ``silence`` (no answer) or ``slowness``.
    :param dag_id: only requests for this Dag; None: for all.
    :param least: only requests for so many runs.
    :param chance: how many of these requests it hits.
    """

    kind: str
    start: float
    stop: float
    dag_id: str | None
    least: int
    chance: float

    def hits(self, at: float, dag_id: str, size: int, chance: float) -> bool:
        """Tell whether it hits a request."""
        return (
            self.start <= at < self.stop
            and self.dag_id in {None, dag_id}
            and size >= self.least
            and chance < self.chance
        )


@dataclass
class FaultyServer(Server):
    """A server with faults."""

    faults: Sequence[Fault] = ()
    chance: random.Random = field(default_factory=random.Random)

    async def _ask(self, kind: str, dag_id: str, run_ids: tuple[str, ...], **more: object) -> None:
        hit = [fault for fault in self.faults if fault.hits(now(), dag_id, len(run_ids), self.chance.random())]
        kinds = {fault.kind for fault in hit}
        if "silence" in kinds:
            self.asked.append(Asked(now(), kind, dag_id, run_ids, ""))
            await asyncio.sleep(10**6)
        if "slowness" in kinds:
            await asyncio.sleep(self.chance.uniform(0.5, 20))
        await super()._ask(kind, dag_id, run_ids, **more)
        if "fault" in kinds:
            raise passing(dag_id, run_ids[0])
        if "refusal" in kinds:
            raise lasting(dag_id, run_ids[0])


def draw_fault(chance: random.Random, dags: Sequence[str]) -> Fault:
    """Return a fault. None of them is for the healthy Dag, or for all Dags and longer than the wait of a refusal."""
    start = chance.uniform(5, FAULTS_END_SECONDS - 10)
    dag_id = chance.choice([None, *dags, *dags])
    longest = 200.0 if dag_id is None else 400.0
    return Fault(
        kind=chance.choice(["fault", "fault", "refusal", "silence", "slowness"] if dag_id else ["fault", "refusal"]),
        start=start,
        stop=min(FAULTS_END_SECONDS, start + chance.expovariate(1 / 60), start + longest),
        dag_id=dag_id,
        least=chance.choice([1, 1, 2, 10, 50]),
        chance=chance.choice([1.0, 1.0, 0.5, 0.1]),
    )


def needed_by(fault: Fault, rates: dict[str, tuple[int, float]], seconds: float) -> float:
    """
    Return how many requests it takes to keep to the waits' own intervals while large requests fail.

    :param rates: how many waits each Dag has, and their interval.
    :param seconds: how long a request takes: there cannot be more of them.
    """
    hit = [rates[dag_id] for dag_id in rates if fault.dag_id in {None, dag_id} and rates[dag_id][0] >= fault.least]
    if fault.least == 1 or fault.kind not in {"fault", "refusal"}:
        return 0.0
    # Halving leaves batches of at least half of the size that fails.
    rate = sum(waits / (fault.least // 2) / interval for waits, interval in hit)
    return (fault.stop - fault.start) * min(rate, 1 / seconds)


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_fails_each_wait_is_told_the_truth_in_time_and_at_little_cost(seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - no secret
    dags = [f"dag_{number}" for number in range(chance.randint(1, 4))]
    faults = [draw_fault(chance, dags) for _ in range(chance.randint(1, 6))]

    async def scenario() -> None:
        server = FaultyServer(seconds=chance.choice([0.01, 0.05, 0.2]), faults=faults, chance=chance)
        waits = Waits(server)
        ended: dict[str, tuple[float, str | None]] = {}
        dag_of: dict[str, str] = {}
        rates: dict[str, tuple[int, float]] = {}
        for dag_id in [*dags, HEALTHY]:
            run_ids = [f"{dag_id}_{number}" for number in range(chance.choice([1, 3, 30, 200]))]
            dag_of |= dict.fromkeys(run_ids, dag_id)
            server.start(run_ids, dag_id)
            interval = chance.choice([1.0, 5.0, 60.0])
            rates[dag_id] = len(run_ids), interval
            waits.begin(run_ids, dag_id, poll_interval=interval)
        order = chance.sample(sorted(dag_of), len(dag_of))
        while order and now() < FAULTS_END_SECONDS:
            await asyncio.sleep(chance.expovariate(1 / 15))
            for run_id in [order.pop() for _ in range(min(len(order), chance.choice([1, 1, 2, 20])))]:
                end = chance.choice(["success", "success", "failed", None])
                ended[run_id] = now(), end
                if end is None:
                    del server.states[dag_of[run_id], run_id]
                else:
                    server.states[dag_of[run_id], run_id] = end
        await asyncio.sleep(max(0.0, FAULTS_END_SECONDS - now()))
        asked_by_then = len(server.asked)
        await asyncio.sleep(7 * TIMEOUT_SECONDS)
        # No wait is told anything else, none fails, and none is forgotten.
        assert waits.outcomes == {run_id: end for run_id, (_, end) in ended.items()}
        # A poll a second or one for each batch; a few for each end; and more while something fails.
        most = 2 * FAULTS_END_SECONDS + 8 * len(ended) + 300 * len(faults)
        assert asked_by_then <= most + sum(needed_by(fault, rates, server.seconds) for fault in faults)
        away = [fault for fault in faults if fault.dag_id is None]
        is_slow = any(fault.kind in {"silence", "slowness"} for fault in faults)
        for run_id, (at, _) in ended.items():
            if dag_of[run_id] == HEALTHY:
                free_from = max([at, *(fault.stop for fault in away if fault.stop > at - 60 and fault.start < at + 60)])
                # Others' silence costs a timeout now and then; an outage a pause.
                assert waits.ended_at[run_id] - free_from < 45 + (3 * TIMEOUT_SECONDS if is_slow else 0)
        await waits.stop()

    run(scenario())
