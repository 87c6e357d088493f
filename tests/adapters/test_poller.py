"""The poller of the deferred waits: what each wait is told, and what that costs."""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
from typing import TYPE_CHECKING

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_durable.triggers import health, tasks, turns

from .poller_fakes import DAG, ENDS, Asked, Server, Waits, lasting, names, now, passing, run

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from airflow_durable.core.errors import LookUpFailedError

SEED = 4


def test_a_wait_ends_with_the_state_of_its_run() -> None:
    async def scenario() -> tuple[Waits, float]:
        server = Server()
        server.start(["a", "b"])
        waits = Waits(server)
        waits.begin(["a", "b"])
        await asyncio.sleep(30)
        server.states[DAG, "a"] = "failed"
        ended_at = now()
        await asyncio.sleep(3)
        assert set(waits.outcomes) == {"a"}
        server.states[DAG, "b"] = "success"
        await asyncio.sleep(3)
        return waits, waits.ended_at["a"] - ended_at

    waits, latency = run(scenario())
    assert waits.outcomes == {"a": "failed", "b": "success"}
    assert latency < 2


def test_a_wait_for_a_run_that_is_deleted_ends() -> None:
    async def scenario() -> Waits:
        server = Server()
        server.start(names(500))
        waits = Waits(server)
        waits.begin(names(500))
        await asyncio.sleep(10)
        del server.states[DAG, names(500)[123]]
        await asyncio.sleep(3)
        await waits.stop()
        return waits

    assert run(scenario()).outcomes == {names(500)[123]: None}


def test_ten_thousand_waits_cost_a_hundredth_of_what_each_by_itself_would() -> None:
    async def scenario() -> tuple[float, list[float]]:
        server, chance = Server(), random.Random(SEED)  # noqa: S311 - no secret
        run_ids = names(10_000)
        server.start(run_ids)
        waits = Waits(server)
        waits.begin(run_ids)
        await asyncio.sleep(30)
        already = len(server.asked)
        ended_at = {}
        for run_id in chance.sample(run_ids, 100):
            await asyncio.sleep(chance.expovariate(100 / 60))
            server.states[DAG, run_id] = "success"
            ended_at[run_id] = now()
        rate = (len(server.asked) - already) / (now() - min(ended_at.values()))
        await asyncio.sleep(5)
        assert set(waits.outcomes) == set(ended_at)
        await waits.stop()
        return rate, sorted(waits.ended_at[run_id] - at for run_id, at in ended_at.items())

    rate, latencies = run(scenario())
    nominal = 10_000 / 5
    assert rate < 0.02 * nominal
    assert latencies[49] < 2
    assert latencies[98] < 4


def test_runs_that_end_together_cost_little() -> None:
    async def scenario() -> int:
        server = Server()
        server.start(names(3000))
        waits = Waits(server)
        waits.begin(names(3000))
        await asyncio.sleep(10)
        already = len(server.asked)
        server.states = dict.fromkeys(server.states, "success")
        await asyncio.sleep(5)
        assert list(waits.outcomes.values()) == ["success"] * 3000
        return len(server.asked) - already

    assert run(scenario()) < 30


def test_what_the_tasks_help_to_find_waits_for_no_other_batch() -> None:
    """Where requests are slow many batches are due at once. The first end that is counted is searched for at once."""

    async def scenario() -> list[list[Asked]]:
        server, chance = Server(seconds=0.1), random.Random(SEED)  # noqa: S311 - no secret
        server.start(names(10_000))
        waits = Waits(server)
        waits.begin(names(10_000))
        await asyncio.sleep(60)
        before_search = []
        for run_id in chance.sample(names(10_000), 10):
            already = len(server.asked)
            server.states[DAG, run_id] = "success"
            await waits.tasks[run_id]
            asked = server.asked[already:]
            first = next(at for at, one in enumerate(asked) if one.kind.startswith("tasks") and run_id in one.run_ids)
            counted = max(at for at, one in enumerate(asked[:first]) if one.kind == "count" and run_id in one.run_ids)
            before_search.append(asked[counted + 1 : first])
        await waits.stop()
        return before_search

    assert [[one.kind for one in asked if one.kind == "count"] for asked in run(scenario())] == [[]] * 10


async def _end_runs(server: Server, among: int, *ends: int, pause: float = 3.0) -> list[Asked]:
    """Let some of so many runs end, one after another, and return what was asked for the last until its wait knew."""
    server.start(names(among))
    waits = Waits(server)
    waits.begin(names(among))
    await asyncio.sleep(10)
    asked: list[Asked] = []
    for number in ends:
        await asyncio.sleep(pause)
        already = len(server.asked)
        server.states[DAG, names(among)[number]] = "success"
        await waits.tasks[names(among)[number]]
        asked = server.asked[already:]
    await waits.stop()
    return asked


def _for_tasks(server: Server) -> list[Asked]:
    return [request for request in server.asked if request.kind == "tasks"]


def _give_tasks(server: Server, done: Collection[int], *working: Mapping[str, str | None]) -> None:
    """Give 600 runs their tasks: those given, in turn; in the runs that are said to be done all have succeeded."""
    for number, run_id in enumerate(names(600)):
        tasks = dict(working[number % len(working)])
        server.tasks[DAG, run_id] = dict.fromkeys(tasks, "success") if number in done else tasks


CHAIN: dict[str, str | None] = {
    **dict.fromkeys((f"step_{number}" for number in range(8)), "success"),
    "last": "running",
}


def test_one_end_among_many_is_found_by_the_last_task_of_the_runs() -> None:
    server = Server()
    _give_tasks(server, {0, 200, 400}, CHAIN)
    asked = run(_end_runs(server, 600, 0, 200, 400))
    assert [(request.kind, len(request.run_ids), request.task_id) for request in asked[-3:]] == [
        ("count", 598, None),
        ("tasks", 598, "last"),
        ("look-up", 1, None),
    ]


def test_the_last_task_is_known_when_one_run_is_at_it() -> None:
    """As long as all that is left is unfinished alike, none of it is taken for the last."""
    at_first = {"first": "running", "second": None, "third": None}
    server = Server()
    _give_tasks(server, {0, 200}, at_first)
    run(_end_runs(server, 600, 0, 200))
    assert [request.task_id for request in _for_tasks(server)] == [None, None]
    server = Server()
    _give_tasks(server, {0, 200}, at_first, dict.fromkeys(at_first, "success") | {"third": "running"})
    run(_end_runs(server, 600, 0, 200))
    assert [request.task_id for request in _for_tasks(server)] == [None, "third"]


def test_no_more_tasks_are_asked_for_than_a_server_likes_to_list() -> None:
    """Neither of large Dags, nor where a mapped task grows while the runs go on."""
    server = Server()
    _give_tasks(server, {0, 200}, {f"task_{number}": "running" for number in range(50)})
    run(_end_runs(server, 600, 0, 200, pause=100))
    assert len(_for_tasks(server)) == 2
    assert all(tasks.TASKS_AT_ONCE / 2 < request.rows <= tasks.TASKS_AT_ONCE for request in _for_tasks(server))

    server = Server()
    _give_tasks(server, {0}, {"list": "success", "mapped": None}, {"list": "success", "mapped": "running"})

    async def expand() -> None:
        server.start(names(600))
        waits = Waits(server)
        waits.begin(names(600))
        await asyncio.sleep(10)
        for number in (0, 7, 9, 300):
            server.states[DAG, names(600)[number]] = "success"
            await waits.tasks[names(600)[number]]
            await asyncio.sleep(tasks.COUNT_SECONDS + 1)
            parts: dict[str, str | None] = {f"mapped_{part}": "running" for part in range(200)}
            _give_tasks(server, {7, 9, 300}, {"list": "success", **parts})
        await waits.stop()

    run(expand())
    assert {request.task_id for request in server.asked} == {None, "mapped"}
    assert max(request.rows for request in _for_tasks(server)) <= tasks.TASKS_AT_ONCE


def test_a_task_that_is_not_the_last_one_is_not_asked_for_alone_again_soon() -> None:
    """Where the last task is another one in each run."""
    server = Server()
    _give_tasks(server, {0, 200, 400}, {"left": "success", "right": "running"})
    run_ids = names(600)
    for number in range(1, 40):
        server.tasks[DAG, run_ids[number]] = {"left": "running", "right": "success"}
    for number in range(40, 45):
        server.tasks[DAG, run_ids[number]] = {"left": "running", "right": "running"}

    async def finish_right() -> None:
        server.start(run_ids)
        waits = Waits(server)
        waits.begin(run_ids)
        await asyncio.sleep(10)
        for number in (0, 200, 400):
            server.states[DAG, run_ids[number]] = "success"
            await waits.tasks[run_ids[number]]
            # From now on "right" is done in all runs, and "left" is not.
            for run_id in run_ids:
                if server.states[DAG, run_id] == "running":
                    server.tasks[DAG, run_id] = {"left": "running", "right": "success"}
            server.tasks[DAG, run_ids[400]] = {"left": "success", "right": "success"}
            await asyncio.sleep(3)
        await waits.stop()

    run(finish_right())
    assert [request.task_id for request in _for_tasks(server)] == [None, "right", None]


def test_runs_that_are_about_to_end_hide_none_that_has() -> None:
    """The scheduler ends a run some time after its last task: so there are always some that look like it."""
    server = Server()
    _give_tasks(server, {*range(0, 200, 5), 300, 301}, CHAIN)
    asked = run(_end_runs(server, 600, 300, 301))
    assert [request.task_id for request in _for_tasks(server)] == [None, "last"]
    assert len(asked) < 15


@pytest.mark.parametrize("told", [{"work": "running"}, {"work": "success"}, {}], ids=["none", "all", "nothing"])
def test_tasks_that_do_not_tell_where_to_look_are_not_asked_for_again_soon(told: dict[str, str | None]) -> None:
    server = Server()
    server.tasks = {(DAG, run_id): told for run_id in names(600)}
    run(_end_runs(server, 600, 0, 200))
    assert len(_for_tasks(server)) == 1
    run(_end_runs(server, 600, 0, 200, pause=tasks.UNHELPFUL_SECONDS))
    assert len(_for_tasks(server)) == 3


@pytest.mark.parametrize("kind", ["tasks", "tasks counted"])
@pytest.mark.parametrize("error", [passing, lasting])
def test_a_run_is_found_where_its_tasks_cannot_be_asked_for(
    kind: str, error: Callable[[], LookUpFailedError], caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(asked: Asked) -> None:
        if asked.kind == kind:
            raise error()

    server = Server(refuse=refuse)
    with caplog.at_level(logging.INFO):
        run(_end_runs(server, 600, 0, 200, 400, pause=tasks.UNHELPFUL_SECONDS))
    # One that refuses for good is not asked again.
    asked = [request for request in server.asked if request.kind == kind]
    assert len(asked) == (1 if error is lasting else 3)
    assert [record.levelname for record in caplog.records] == ["INFO"] * len(asked)


@pytest.mark.parametrize("failed", [300, 600])
@pytest.mark.parametrize("ended", [450, 650, 1000])
def test_many_ends_of_both_kinds_at_once_cost_little(ended: int, failed: int) -> None:
    async def scenario() -> int:
        server, run_ids = Server(), names(1000)
        server.start(run_ids)
        waits = Waits(server)
        waits.begin(run_ids)
        await asyncio.sleep(10)
        already = len(server.asked)
        expected = {
            run_id: "failed" if number * 7 % 1000 < failed else "success" for number, run_id in enumerate(run_ids)
        }
        expected = {run_id: expected[run_id] for run_id in run_ids[::-1][:ended]}
        server.states.update(((DAG, run_id), state) for run_id, state in expected.items())
        await asyncio.sleep(30)
        assert waits.outcomes == expected
        requests = len(server.asked) - already
        await waits.stop()
        return requests

    assert run(scenario()) < 250


def test_a_look_that_finds_much_lets_others_have_their_turn() -> None:
    async def scenario() -> float:
        def refuse(asked: Asked) -> None:
            if asked.kind.startswith("tasks"):
                raise lasting()

        server = Server(refuse=refuse)
        server.start(names(1000))
        server.start(["other"], "other")
        waits = Waits(server)
        waits.begin(names(1000))
        waits.begin(["other"], "other")
        await asyncio.sleep(10)
        for number, run_id in enumerate(names(1000)):
            server.states[DAG, run_id] = "failed" if number % 3 else "success"
        await asyncio.sleep(2)
        server.states["other", "other"] = "success"
        ended_at = now()
        await waits.tasks["other"]
        latency = now() - ended_at
        await asyncio.sleep(300)
        assert len(waits.outcomes) == 1001
        return latency

    assert run(scenario()) < 2 * turns.REQUESTS_A_TURN * Server().seconds + health.SHORTEST_INTERVAL_SECONDS


@settings(max_examples=30, deadline=None)
@given(
    changes=st.dictionaries(st.integers(0, 199), st.sampled_from(["success", "failed", "gone", "queued", "new"])),
    dags=st.integers(1, 5),
    tasks=st.dictionaries(
        st.integers(0, 199),
        st.dictionaries(
            st.sampled_from(["first", "last", "last_0"]), st.sampled_from(["success", "failed", "running", "new", None])
        ),
    ),
)
def test_each_wait_is_told_what_became_of_its_own_run_whatever_its_tasks_say(
    changes: Mapping[int, str], dags: int, tasks: Mapping[int, dict[str, str | None]]
) -> None:
    async def scenario() -> tuple[Waits, dict[str, str | None]]:
        server = Server()
        server.tasks = {(f"dag_{number % dags}", names(200)[number]): states for number, states in tasks.items()}
        waits = Waits(server)
        run_ids = names(200)
        for dag in range(dags):
            server.start(run_ids[dag::dags], f"dag_{dag}")
            waits.begin(run_ids[dag::dags], f"dag_{dag}")
        await asyncio.sleep(3)
        expected: dict[str, str | None] = {}
        for number, change in changes.items():
            key = f"dag_{number % dags}", run_ids[number]
            if change == "gone":
                del server.states[key]
                expected[run_ids[number]] = None
            else:
                server.states[key] = change
                if change in ENDS:
                    expected[run_ids[number]] = change
        await asyncio.sleep(30)
        await waits.stop()
        return waits, expected

    waits, expected = run(scenario())
    assert waits.outcomes == expected


def test_a_state_that_nobody_knows_is_learnt() -> None:
    async def scenario() -> int:
        server = Server()
        server.start(names(500))
        waits = Waits(server)
        waits.begin(names(500))
        server.states[DAG, names(500)[7]] = "suspended"
        await asyncio.sleep(20)
        already = len(server.asked)
        await asyncio.sleep(20)
        cost = len(server.asked) - already
        assert not waits.outcomes
        server.states[DAG, names(500)[7]] = "success"
        await asyncio.sleep(3)
        assert list(waits.outcomes) == [names(500)[7]]
        await waits.stop()
        return cost

    # Two batches, since one has a run of its own to watch: a count of each a second, and no search.
    assert run(scenario()) <= 42


def test_waits_for_any_state_at_all_end() -> None:
    async def scenario() -> Waits:
        server = Server()
        server.start(["a", "b"])
        waits = Waits(server)
        waits.begin(["a", "b"], states=frozenset({"queued", "running", "success", "failed"}))
        await asyncio.sleep(5)
        return waits

    assert run(scenario()).outcomes == {"a": "running", "b": "running"}


def test_two_parents_may_wait_for_one_run() -> None:
    async def scenario() -> Waits:
        server = Server()
        server.start(["a", "b"])
        waits = Waits(server)
        waits.begin(["b"])
        waits.begin_one("one", "a")
        waits.begin_one("two", "a")
        await asyncio.sleep(5)
        server.states[DAG, "a"] = "success"
        await asyncio.sleep(3)
        await waits.stop()
        return waits

    assert run(scenario()).outcomes == {"one": "success", "two": "success"}


def test_a_wait_that_is_cancelled_leaves_the_others_alone() -> None:
    async def scenario() -> tuple[Waits, Server]:
        server = Server()
        server.start(names(10))
        waits = Waits(server)
        waits.begin(names(10))
        await asyncio.sleep(10)
        # At any moment of the poller's: also while a request is under way.
        for name in names(5):
            waits.tasks[name].cancel()
            await asyncio.sleep(0.509)
        server.states = dict.fromkeys(server.states, "success")
        await asyncio.sleep(5)
        return waits, server

    waits, server = run(scenario())
    assert set(waits.outcomes) == set(names(10)[5:])
    assert not set(server.asked[-1].run_ids) & set(names(5))


def test_a_run_that_cannot_be_looked_up_is_counted() -> None:
    def refuse(asked: Asked) -> None:
        if not asked.is_count and asked.run_ids == (names(9)[4],):
            raise lasting()

    async def scenario() -> Waits:
        server = Server(refuse=refuse)
        server.start(names(9))
        waits = Waits(server)
        waits.begin(names(9))
        await asyncio.sleep(10)
        for name in names(9)[3:6]:
            server.states[DAG, name] = "failed" if name == names(9)[5] else "success"
        await asyncio.sleep(5)
        await waits.stop()
        return waits

    assert run(scenario()).outcomes == dict(zip(names(9)[3:6], ["success", "success", "failed"], strict=True))


def test_a_run_that_can_never_be_looked_up_does_not_keep_others_waiting() -> None:
    poisoned = names(300)[100]

    def refuse(asked: Asked) -> None:
        if asked.run_ids == (poisoned,):
            raise passing()

    async def scenario() -> tuple[Waits, float]:
        server = Server(refuse=refuse)
        server.start(names(300))
        server.start(["elsewhere"], "other")
        waits = Waits(server)
        waits.begin(names(300))
        waits.begin(["elsewhere"], "other")
        server.states[DAG, poisoned] = "success"
        await asyncio.sleep(120)
        begun = now()
        server.states["other", "elsewhere"] = "success"
        server.states[DAG, names(300)[200]] = "failed"
        await asyncio.sleep(60)
        await waits.stop()
        return waits, waits.ended_at["elsewhere"] - begun

    waits, latency = run(scenario())
    assert waits.outcomes == {"elsewhere": "success", names(300)[200]: "failed"}
    assert latency < 3


def test_an_absent_server_is_asked_less_and_less_and_not_by_all_at_once_when_it_returns(
    caplog: pytest.LogCaptureFixture,
) -> None:
    away = [False]

    def refuse(_: Asked) -> None:
        if away[0]:
            raise passing()

    async def scenario() -> tuple[int, float, float]:
        server = Server(refuse=refuse)
        waits = Waits(server)
        run_ids = names(300)
        for number, run_id in enumerate(run_ids):
            server.start([run_id], f"dag_{number}")
            waits.begin([run_id], f"dag_{number}")
        await asyncio.sleep(60)
        away[0] = True
        already = len(server.asked)
        await asyncio.sleep(200)
        asked = len(server.asked) - already
        away[0] = False
        server.states = dict.fromkeys(server.states, "success")
        back = now()
        await asyncio.sleep(120)
        assert len(waits.outcomes) == 300
        return asked, min(waits.ended_at.values()) - back, max(waits.ended_at.values()) - back

    with caplog.at_level(logging.INFO, logger="airflow_durable"):
        asked, first, last = run(scenario())
    assert asked < 20
    assert first < 34
    assert last < 34 + 300 * 0.02 * 1.5
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 1
    assert "the database is away" in warnings[0].message
    assert [record.message for record in caplog.records][-1] == "Dag runs can be looked up again."


@pytest.mark.parametrize("most", [0, 60])
def test_a_server_that_takes_smaller_counts_or_none_is_asked_so(most: int, caplog: pytest.LogCaptureFixture) -> None:
    def refuse(asked: Asked) -> None:
        if asked.is_count and len(asked.run_ids) > most:
            raise lasting()

    async def scenario() -> Waits:
        server = Server(refuse=refuse)
        server.start(names(400))
        waits = Waits(server)
        waits.begin(names(400))
        await asyncio.sleep(60)
        already = len(server.asked)
        server.states[DAG, names(400)[-1]] = "success"
        await asyncio.sleep(60)
        assert not most or len(server.asked) - already < 60 * 20
        await waits.stop()
        return waits

    assert run(scenario()).outcomes == {names(400)[-1]: "success"}
    said = [record.message for record in caplog.records]
    assert 0 < len(said) < 12
    assert said[-1].endswith("looked up fewer at a time." if most else "looked up one by one.")


def test_a_wait_that_has_just_begun_is_looked_at_soon_however_many_there_are() -> None:
    async def scenario() -> float:
        server = Server()
        waits = Waits(server)
        for number in range(400):
            server.start(["run"], f"dag_{number}")
            waits.begin_one(str(number), "run", f"dag_{number}", poll_interval=60)
        await asyncio.sleep(300)
        server.start(["run"], "latest")
        server.states["latest", "run"] = "success"
        begun = now()
        waits.begin_one("latest", "run", "latest", poll_interval=60)
        await asyncio.sleep(10)
        assert list(waits.outcomes) == ["latest"]
        await waits.stop()
        return waits.ended_at["latest"] - begun

    assert run(scenario()) < 3


def test_thousands_of_dags_share_what_the_server_can_do() -> None:
    async def scenario() -> tuple[float, float]:
        server = Server(seconds=0.05)
        waits = Waits(server)
        for number in range(400):
            server.start(["run"], f"dag_{number}")
            waits.begin_one(str(number), "run", f"dag_{number}", poll_interval=5)
        await asyncio.sleep(200)
        already = len(server.asked)
        await asyncio.sleep(200)
        counts: dict[str, int] = {}
        for asked in server.asked[already:]:
            counts[asked.dag_id] = counts.get(asked.dag_id, 0) + 1
        await waits.stop()
        assert len(counts) == 400
        return max(counts.values()) / min(counts.values()), (len(server.asked) - already) / 200

    unfairness, rate = run(scenario())
    assert unfairness <= 1.5
    # A request every 50 ms and a rest: the most that can be had, and none of the Dags goes without.
    assert 14 < rate < 19.7


def test_no_wait_is_looked_at_less_often_than_it_asks_for_where_the_server_can_keep_up() -> None:
    async def scenario() -> float:
        server = Server()
        waits = Waits(server)
        for number in range(40):
            server.start(["run"], f"dag_{number}")
            waits.begin_one(str(number), "run", f"dag_{number}", poll_interval=7)
        await asyncio.sleep(300)
        at = [asked.at for asked in server.asked if asked.dag_id == "dag_3"]
        await waits.stop()
        return max(later - earlier for earlier, later in itertools.pairwise(at))

    assert run(scenario()) < 8.5


def test_requests_are_spread_over_the_interval() -> None:
    async def scenario() -> int:
        server = Server()
        server.start(names(10_000))
        waits = Waits(server)
        waits.begin(names(10_000), poll_interval=60)
        await asyncio.sleep(300)
        begun, seconds = now(), [0] * 61
        await asyncio.sleep(60)
        for asked in server.asked:
            if asked.at >= begun:
                seconds[int(asked.at - begun)] += 1
        await waits.stop()
        return max(seconds)

    assert run(scenario()) <= 13


def test_batches_that_have_become_small_are_joined() -> None:
    async def scenario() -> tuple[int, int]:
        server = Server()
        server.start(names(10_000))
        waits = Waits(server)
        waits.begin(names(10_000))
        await asyncio.sleep(10)
        rest = names(10_000)[::100]
        server.states |= {(DAG, run_id): "success" for run_id in names(10_000) if run_id not in set(rest)}
        await asyncio.sleep(90)
        assert len(waits.outcomes) == 9900
        begun = now()
        await asyncio.sleep(30)
        await waits.stop()
        asked = [asked for asked in server.asked if asked.at >= begun]
        return len(asked), len(asked[0].run_ids)

    count, size = run(scenario())
    assert count <= 32
    assert size == 100


def test_a_request_fits_into_the_longest_address_that_the_client_takes() -> None:
    async def scenario() -> list[Asked]:
        server = Server()
        run_ids = [f"{number}:äöü+ {'&' * 200}" for number in range(1000)] + names(3000)
        dag_id = "é" * 250
        server.start(run_ids, dag_id)
        waits = Waits(server)
        waits.begin(run_ids, dag_id)
        await asyncio.sleep(10)
        await waits.stop()
        return server.asked

    asked = run(scenario())
    assert max(len(request.run_ids) for request in asked) > 500
    for request in asked:
        params = {"dag_id": request.dag_id, "run_ids": request.run_ids, "states": request.states}
        assert len(str(httpx.URL("http://in-process.invalid./dag-runs/count", params=params))) < 64_000


def test_a_poller_that_breaks_fails_its_waits_and_the_next_wait_gets_a_new_one(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> Waits:
        server = Server()
        server.start(["a", "b", "c"])
        waits = Waits(server)
        with monkeypatch.context() as context:
            context.setattr(turns.Turns, "take", lambda *_: 1 / 0)
            waits.begin(["a", "b"])
            await asyncio.sleep(5)
        server.states[DAG, "c"] = "success"
        waits.begin(["c"])
        await asyncio.sleep(5)
        return waits

    outcomes = run(scenario()).outcomes
    assert outcomes.pop("c") == "success"
    assert {type(outcome) for outcome in outcomes.values()} == {RuntimeError}
    assert outcomes["a"] is not outcomes["b"]
    assert "ZeroDivisionError" in caplog.text


def test_the_poller_is_not_part_of_the_wait_that_began_first() -> None:
    async def scenario() -> Server:
        server = Server()
        server.start(["a", "b"])
        waits = Waits(server)
        waits.begin(["a", "b"])
        await asyncio.sleep(5)
        await waits.stop()
        return server

    # Else its log lines would be in the log of that wait's task.
    assert {asked.context for asked in run(scenario()).asked} == {""}


def test_a_loop_that_ends_ends_the_waits() -> None:
    async def scenario() -> Waits:
        server = Server()
        server.start(["a"])
        waits = Waits(server)
        waits.begin(["a"])
        await asyncio.sleep(3)
        for task in asyncio.all_tasks() - {asyncio.current_task(), *waits.tasks.values()}:
            task.cancel()
        await asyncio.gather(*waits.tasks.values(), return_exceptions=True)
        return waits

    assert run(scenario()).tasks["a"].cancelled()


def test_where_requests_take_long_the_looks_leave_a_tenth_of_the_time_to_others() -> None:
    async def scenario() -> float:
        server = Server(seconds=0.2)
        server.start(names(10_000))
        waits = Waits(server)
        waits.begin(names(10_000), poll_interval=5)
        await asyncio.sleep(60)
        already = len(server.asked)
        await asyncio.sleep(60)
        share = (len(server.asked) - already) * server.seconds / 60
        await waits.stop()
        return share

    assert 0.75 < run(scenario()) < 0.95
