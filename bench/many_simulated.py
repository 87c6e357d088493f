"""
``python -m bench.many_simulated``: what recovery and waiting cost with many children, in requests.

On a simulated server.

Counts do not depend on the machine. The seconds of a request are given, not measured.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import tracemalloc
from collections import Counter
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from airflow_durable.core import many
from airflow_durable.core.items import Items
from airflow_durable.core.model import Attempt, ChildRun, Mode, Parent, Request
from airflow_durable.core.run_ids import tag_of_life
from airflow_durable.triggers.watch import Watch
from tests.adapters.poller_fakes import FastLoop, Server

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_durable.core.ledger import Ledger

MOMENT = datetime(2026, 1, 1, tzinfo=timezone.utc)
PARENT = Parent("parent", "scheduled__2026-01-01", "trigger", -1, MOMENT, started_at=MOMENT)
STATES = frozenset({"success", "failed"})
REQUEST = Request("child", None, None, False, True, Mode.WAIT, frozenset({"success"}), frozenset({"failed"}))


class Port:
    """A server that answers and counts; also the port of each item."""

    has_store = has_details = True

    def __init__(self) -> None:
        self.runs: dict[str, str] = {}
        self.ledger: Ledger | None = None
        self.asked: Counter[str] = Counter()
        self.before_first: dict[str, int] = {}
        self.limit: int | None = None

    def item(self, index: int) -> Any:  # noqa: ANN401, ARG002 - a port
        """Return the port of an item."""
        return self

    def read(self) -> Ledger | None:
        """Return the ledger."""
        self.asked["read"] += 1
        return self.ledger

    def write(self, record: Any) -> None:  # noqa: ANN401 - a ledger; an item's record is not stored
        """Store a ledger."""
        if hasattr(record, "digest"):
            self.asked["write"] += 1
            self.ledger = record

    def count(self, dag_id: str, run_ids: Sequence[str], states: Sequence[str] | None) -> int:  # noqa: ARG002 - there is one Dag
        """Count runs."""
        self.asked["count"] += 1
        return sum(run_id in self.runs and (states is None or self.runs[run_id] in states) for run_id in run_ids)

    def look_up(self, dag_id: str, run_id: str, *, is_detailed: bool) -> ChildRun | None:  # noqa: ARG002 - all is known
        """Return a run."""
        self.asked["look_up"] += 1
        state = self.runs.get(run_id)
        tagged = MOMENT.replace(microsecond=tag_of_life(PARENT, 1))
        return None if state is None else ChildRun(state, 0, MOMENT, tagged, MOMENT, is_same_request=True)

    def submit(self, record: Any) -> bool:  # noqa: ANN401
        """Create a run; die after this many."""
        if not self.asked["submit"]:
            self.before_first = dict(self.asked)
        if self.asked["submit"] == self.limit:
            raise KeyboardInterrupt
        self.asked["submit"] += 1
        self.runs[record.run_id] = "running"
        return True

    def is_upstream_newer(self, than: datetime | None) -> bool | None:  # noqa: ARG002 - see the core's port
        """Return False: there is nothing upstream."""
        return False

    def now(self) -> datetime:
        """Return a moment."""
        return MOMENT + timedelta(seconds=sum(self.asked.values()))

    def sleep(self, seconds: float) -> None:
        """Pass no time."""

    def report(self, *_: Any) -> None:  # noqa: ANN401
        """Do nothing."""

    report_progress = report_change = report_trouble = report


def recover(count: int, sent: int, *, done: float, failed: int, seed: int = 0) -> dict[str, Any]:
    """Kill a try after this many runs, and count what its retry asks before it starts the next one."""
    port = Port()
    port.limit = sent
    goal = many.Goal(REQUEST, Items(count), tolerated=count)
    first = many.Many(port, goal, Attempt(PARENT, "1", 1, 3, 3, 0))
    many.begin(first)
    with contextlib.suppress(KeyboardInterrupt):
        many.send(first)
    chance = random.Random(seed)  # noqa: S311 - no secret
    for run_id in port.runs:
        port.runs[run_id] = "success" if chance.random() < done else "running"
    for run_id in chance.sample(list(port.runs), failed):
        port.runs[run_id] = "failed"
    port.asked.clear()
    port.limit = None
    second = many.Many(port, goal, Attempt(PARENT, "2", 2, 3, 3, 0))
    many.begin(second)
    many.send(second)
    requests = sum(port.before_first.values())
    return {"items": count, "sent": sent, "done": done, "failed": failed, "requests": requests, **port.before_first}


def run_through(count: int) -> dict[str, Any]:
    """Count what a try without a crash asks beside the runs themselves and the wait."""
    port = Port()
    whole = many.Many(port, many.Goal(REQUEST, Items(count)), Attempt(PARENT, "1", 1, 3, 3, 0))
    many.begin(whole)
    many.send(whole)
    many.note_ends(whole, [(index, "success") for index in range(count)])
    many.finish(whole)
    del port.asked["submit"]
    return {"items": count, "requests": sum(port.asked.values()), **port.asked}


def watch(count: int, *, ended_a_minute: int, minutes: int) -> dict[str, Any]:
    """Wait for this many runs, of which some end each minute; count requests a minute, and how late ends are seen."""
    server = Server()
    runs = {index: Items(count).run_id(PARENT, index, epoch=0, generation=0) for index in range(count)}
    server.start(runs.values())
    ended_at: dict[int, float] = {}
    late: list[float] = []
    loop = FastLoop()

    async def live() -> None:
        order = list(runs)
        random.Random(1).shuffle(order)  # noqa: S311 - no secret
        wake = many.Wake(count, is_more_to_send=False, enough=1, patience_seconds=60.0)
        waiting = Watch("child", runs, {"failed"}, wake, lambda *_: None)
        task = loop.create_task(waiting.run(server, STATES, 60.0))
        begun = loop.time()
        seen: set[int] = set()
        while loop.time() - begun < minutes * 60:
            await asyncio.sleep(1.0)
            for _ in range(round(ended_a_minute / 60)):
                index = order.pop()
                server.states["child", runs[index]] = "success"
                ended_at[index] = loop.time()
            for index in waiting.ends.keys() - seen:
                seen.add(index)
                late.append(loop.time() - ended_at[index])
        task.cancel()

    loop.run_until_complete(live())
    for left in asyncio.all_tasks(loop):
        left.cancel()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    late.sort()
    return {
        "items": count,
        "ended_a_minute": ended_a_minute,
        "requests_a_minute": round(len(server.asked) / minutes, 1),
        "seen_after_seconds_p50": round(late[len(late) // 2], 1) if late else None,
        "seen_after_seconds_p99": round(late[int(len(late) * 0.99)], 1) if late else None,
    }


def drain(count: int, *, ended_a_minute: int | None, times: int) -> dict[str, Any]:
    """
    Let all of these runs end, and see how long after the last of them the wait ends.

    :param ended_a_minute: None: all at once, at some moment.
    :param times: how often; each time the runs end in another order, at other moments.
    """
    late = sorted(_drain_once(count, ended_a_minute, seed) for seed in range(times))
    return {
        "items": count,
        "ended_a_minute": ended_a_minute or "all at once",
        "times": times,
        "seconds_after_the_last_end_p50": round(late[len(late) // 2], 1),
        "seconds_after_the_last_end_max": round(late[-1], 1),
    }


def _drain_once(count: int, ended_a_minute: int | None, seed: int) -> float:
    server, chance, loop = Server(), random.Random(seed), FastLoop()  # noqa: S311 - no secret
    runs = {index: Items(count).run_id(PARENT, index, epoch=0, generation=0) for index in range(count)}
    server.start(runs.values())
    moments = [0.0] * count
    if ended_a_minute is not None:
        moments = sorted(chance.uniform(0.0, count / ended_a_minute * 60) for _ in range(count))
    order = list(runs.values())
    chance.shuffle(order)

    async def live() -> float:
        wake = many.Wake(count, is_more_to_send=False, enough=1, patience_seconds=60.0)
        watch = Watch("child", runs, {"failed"}, wake, lambda *_: None)
        task = loop.create_task(watch.run(server, STATES, 60.0))
        await asyncio.sleep(chance.uniform(60.0, 120.0))
        begun = loop.time()
        for moment, run_id in zip(moments, order, strict=True):
            if moment > loop.time() - begun:
                await asyncio.sleep(begun + moment - loop.time())
            server.states["child", run_id] = "success"
        last = loop.time()
        await task
        return loop.time() - last

    seconds = loop.run_until_complete(live())
    # The poller notices, in its next turn, that nobody waits.
    loop.run_until_complete(asyncio.sleep(1000))
    loop.close()
    return seconds


def measure_waits(count: int) -> dict[str, Any]:
    """Measure what one wait for this many runs takes in memory, beside their run ids."""
    server = Server()
    runs = {index: Items(count).run_id(PARENT, index, epoch=0, generation=0) for index in range(count)}
    server.start(runs.values())
    loop = FastLoop()

    async def live() -> int:
        tracemalloc.start()
        wake = many.Wake(count, is_more_to_send=False, enough=1, patience_seconds=60.0)
        task = loop.create_task(Watch("child", runs, {"failed"}, wake, lambda *_: None).run(server, STATES, 60.0))
        for _ in range(30):
            await asyncio.sleep(1.0)
        server.asked.clear()
        taken = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        task.cancel()
        return taken

    taken = loop.run_until_complete(live())
    for left in asyncio.all_tasks(loop):
        left.cancel()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    return {"items": count, "bytes_an_item": round(taken / count)}


def measure() -> dict[str, Any]:
    """Return all figures."""
    return {
        "without_a_crash": [run_through(count) for count in (100, 1_000, 10_000, 100_000)],
        "recovery": [
            recover(10_000, 5_000, done=0.0, failed=0),
            recover(10_000, 5_000, done=1.0, failed=0),
            recover(10_000, 5_000, done=0.5, failed=0),
            recover(10_000, 5_000, done=0.5, failed=20),
            recover(1_000, 500, done=0.0, failed=0),
            recover(100_000, 50_000, done=0.0, failed=0),
            recover(100, 50, done=0.0, failed=0),
        ],
        "wait": [
            watch(10_000, ended_a_minute=0, minutes=10),
            watch(10_000, ended_a_minute=120, minutes=10),
            watch(1_000, ended_a_minute=0, minutes=10),
            watch(300, ended_a_minute=120, minutes=2),
        ],
        "last_end": [
            drain(10_000, ended_a_minute=100, times=10),
            drain(10_000, ended_a_minute=None, times=10),
            drain(1_000, ended_a_minute=100, times=10),
        ],
        "memory_of_the_wait": [measure_waits(10_000)],
    }


def main() -> None:
    """Print the figures as JSON."""
    print(json.dumps(measure(), indent=1))  # noqa: T201 - the output


if __name__ == "__main__":
    main()
