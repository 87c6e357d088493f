"""Refusals, faults and silence: trouble stays with what has it, and passes."""

from __future__ import annotations

import asyncio
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from airflow_durable.core.errors import LookUpFailedError
from airflow_durable.core.many import Wake
from airflow_durable.triggers import channel
from airflow_durable.triggers.outcomes import REFUSED_SECONDS
from airflow_durable.triggers.watch import Watch

from .poller_fakes import DAG, ENDS, Asked, Server, Waits, lasting, names, now, passing, run

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from airflow_durable.core.model import ChildRun

FAULTS = pytest.mark.parametrize("error", [passing, lasting], ids=["fault", "refusal"])


def between(start: float, stop: float, error: Callable[[], LookUpFailedError]) -> Callable[[Asked], None]:
    """Refuse everything from one time to another."""

    def refuse(asked: Asked) -> None:
        if start <= asked.at < stop:
            raise error()

    return refuse


@pytest.mark.parametrize("seconds", [0.5, 3, 60, 1200])
def test_a_refusal_that_passes_fails_no_wait(seconds: float) -> None:
    async def scenario() -> Waits:
        server = Server(refuse=between(10, 10 + seconds, lasting))
        server.start(names(1000))
        server.start(["other"], "other")
        waits = Waits(server)
        waits.begin(names(1000))
        waits.begin(["other"], "other")
        await asyncio.sleep(10 + seconds)
        server.states = dict.fromkeys(server.states, "success")
        await asyncio.sleep(60)
        return waits

    assert set(run(scenario()).outcomes.values()) == {"success"}


@FAULTS
def test_a_few_failures_leave_nothing_behind(error: Callable[[], LookUpFailedError]) -> None:
    async def scenario() -> tuple[float, float, float]:
        left = [0]

        def refuse(asked: Asked) -> None:
            if left[0] > 0 and asked.is_count and len(asked.run_ids) > 1:
                left[0] -= 1
                raise error()

        server = Server(refuse=refuse)
        run_ids = names(2000)
        server.start(run_ids)
        waits = Waits(server)
        waits.begin(run_ids, poll_interval=60)
        rates = []
        for failures in (0, 7):
            left[0] = failures
            await asyncio.sleep(1200)
            already, begun = len(server.asked), now()
            await asyncio.sleep(300)
            rates.append((len(server.asked) - already) / (now() - begun))
            assert not left[0]
        latencies = []
        for run_id in run_ids[::100]:
            ended_at = now()
            server.states[DAG, run_id] = "success"
            await waits.tasks[run_id]
            latencies.append(now() - ended_at)
            await asyncio.sleep(5)
        await waits.stop()
        return rates[0], rates[1], max(latencies)

    before, after, latency = run(scenario())
    assert after < 1.5 * before
    assert latency < 8


@FAULTS
@pytest.mark.parametrize("most", [1, 60, 500])
def test_a_size_that_always_fails_is_given_up(most: int, error: Callable[[], LookUpFailedError]) -> None:
    async def scenario() -> tuple[float, int]:
        def refuse(asked: Asked) -> None:
            if asked.is_count and len(asked.run_ids) > most:
                raise error()

        server = Server(refuse=refuse)
        server.start(names(900))
        others = [f"other_{number}" for number in range(100)]
        server.start(others, "other")
        waits = Waits(server)
        waits.begin(names(900))
        waits.begin(others, "other")
        await asyncio.sleep(300)
        server.states = dict.fromkeys(server.states, "success")
        begun, already = now(), len(server.asked)
        await asyncio.sleep(600)
        assert set(waits.outcomes.values()) == {"success"}
        assert len(waits.outcomes) == 1000
        return max(waits.ended_at.values()) - begun, len(server.asked) - already

    latency, asked = run(scenario())
    # Where no count at all succeeds, larger ones are tried again now and then.
    assert asked <= (1200 if most > 1 else 2500)
    assert latency < 60


@FAULTS
def test_a_limit_that_was_lowered_recovers(error: Callable[[], LookUpFailedError]) -> None:
    async def scenario() -> tuple[int, int]:
        most = [30]

        def refuse(asked: Asked) -> None:
            if asked.is_count and len(asked.run_ids) > most[0]:
                raise error()

        server = Server(refuse=refuse)
        server.start(names(700))
        waits = Waits(server)
        waits.begin(names(700), poll_interval=60)
        await asyncio.sleep(600)
        at_first = max(len(asked.run_ids) for asked in server.asked if asked.at > now() - 60)
        most[0] = 10_000
        await asyncio.sleep(3 * 3600)
        later = max(len(asked.run_ids) for asked in server.asked if asked.at > now() - 60)
        await waits.stop()
        return at_first, later

    at_first, later = run(scenario())
    assert at_first <= 60
    assert later > 500


@FAULTS
@pytest.mark.parametrize("bad", [1, 3, 40])
def test_dags_that_always_fail_do_not_delay_another(bad: int, error: Callable[[], LookUpFailedError]) -> None:
    async def scenario() -> tuple[float, float]:
        def refuse(asked: Asked) -> None:
            if asked.dag_id.startswith("bad"):
                raise error()

        server = Server(refuse=refuse)
        waits = Waits(server)
        for number in range(bad):
            run_ids = [f"{number}_{place}" for place in range(25)]
            server.start(run_ids, f"bad_{number}")
            waits.begin(run_ids, f"bad_{number}")
        server.start(names(100))
        waits.begin(names(100))
        await asyncio.sleep(300)
        latencies = []
        already, begun = len(server.asked), now()
        for run_id in names(100)[:30]:
            server.states[DAG, run_id] = "success"
            ended_at = now()
            await waits.tasks[run_id]
            latencies.append(now() - ended_at)
            await asyncio.sleep(7)
        failed = sum(asked.dag_id != DAG for asked in server.asked[already:])
        await waits.stop()
        return max(latencies), failed / (now() - begun)

    latency, rate = run(scenario())
    assert latency < 6
    assert rate <= 0.05 * bad + 0.5


def test_a_dag_that_is_refused_fails_its_own_waits_only_and_not_soon() -> None:
    async def scenario() -> Waits:
        def refuse(asked: Asked) -> None:
            if asked.dag_id == "secret":
                raise lasting("secret", asked.run_ids[0])

        server = Server(refuse=refuse)
        server.start(names(20), "secret")
        server.start(["a"])
        waits = Waits(server)
        waits.begin(names(20), "secret")
        waits.begin(["a"])
        await asyncio.sleep(REFUSED_SECONDS - 30)
        assert not waits.outcomes
        await asyncio.sleep(600)
        await waits.stop()
        return waits

    outcomes = run(scenario()).outcomes
    assert set(outcomes) == set(names(20))
    for name, outcome in outcomes.items():
        # Each by a refusal of its own request.
        assert isinstance(outcome, LookUpFailedError)
        assert outcome.run_id == name


def test_a_server_that_refuses_everything_for_ten_minutes_fails_nobody() -> None:
    async def scenario() -> Waits:
        server = Server(refuse=between(10, 10 + 2 * REFUSED_SECONDS, lasting))
        for number in range(5):
            server.start(["a"], f"dag_{number}")
        waits = Waits(server)
        for number in range(5):
            waits.begin_one(str(number), "a", f"dag_{number}")
        await asyncio.sleep(10 + 2 * REFUSED_SECONDS + 60)
        assert not waits.outcomes
        await waits.stop()
        return waits

    run(scenario())


class SilentServer(Server):
    """It does not answer some requests."""

    silent: Callable[[str, str], bool] = staticmethod(lambda _kind, _dag_id: False)

    async def _ask(self, kind: str, dag_id: str, run_ids: tuple[str, ...], **more: object) -> None:
        if self.silent(kind, dag_id):
            await asyncio.sleep(10**7)
        await super()._ask(kind, dag_id, run_ids, **more)


def test_one_request_without_an_answer_hangs_nobody_for_long() -> None:
    async def scenario() -> Waits:
        left = [1]

        def is_silent(*_: str) -> bool:
            left[0] -= 1
            return left[0] >= 0

        server = SilentServer()
        server.start(names(10))
        server.start(["x"], "other")
        waits = Waits(server)
        waits.begin(names(10))
        waits.begin(["x"], "other")
        await asyncio.sleep(10)
        server.silent = is_silent
        await asyncio.sleep(2)
        server.states = dict.fromkeys(server.states, "success")
        await asyncio.sleep(channel.REQUEST_TIMEOUT_SECONDS + 10)
        assert len(waits.outcomes) == 10 or "x" in waits.outcomes
        await asyncio.sleep(1.5 * channel.REQUEST_TIMEOUT_SECONDS)
        return waits

    assert len(run(scenario()).outcomes) == 11


def test_a_dag_whose_requests_are_never_answered_takes_a_part_of_the_time_only() -> None:
    async def scenario() -> list[float]:
        server = SilentServer()
        server.silent = lambda _, dag_id: dag_id == "silent"
        silent = [f"silent_{number}" for number in range(50)]
        server.start(silent, "silent")
        server.start(names(500))
        waits = Waits(server)
        waits.begin(silent, "silent")
        waits.begin(names(500))
        await asyncio.sleep(600)
        latencies = []
        for run_id in names(500)[:200]:
            ended_at = now()
            server.states[DAG, run_id] = "success"
            await waits.tasks[run_id]
            latencies.append(now() - ended_at)
            await asyncio.sleep(11)
        await waits.stop()
        return latencies

    latencies = run(scenario())
    assert max(latencies) < channel.REQUEST_TIMEOUT_SECONDS + 5
    assert statistics.median(latencies) < 4


@pytest.mark.parametrize("answer", [None, "7", -1, 10**6, True, 1.5])
def test_an_answer_of_another_type_concerns_nobody_else(answer: object) -> None:
    class OddServer(Server):
        async def count(self, dag_id: str, run_ids: Sequence[str], states: Sequence[str]) -> int:
            return answer if dag_id == "odd" else await super().count(dag_id, run_ids, states)  # type: ignore[return-value] # odd

        async def look_up(self, dag_id: str, run_id: str) -> ChildRun | None:
            return answer or "?" if dag_id == "odd" else await super().look_up(dag_id, run_id)  # type: ignore[return-value] # odd

    async def scenario() -> Waits:
        server = OddServer()
        server.start(names(5))
        server.start(["x", "y", "z"], "odd")
        waits = Waits(server)
        waits.begin(names(5))
        waits.begin(["x", "y", "z"], "odd")
        await asyncio.sleep(30)
        server.states[DAG, names(5)[2]] = "success"
        await asyncio.sleep(10)
        await waits.stop()
        return waits

    assert run(scenario()).outcomes == {names(5)[2]: "success"}


class TimedOut(BaseException):
    """As Airflow's ``AirflowTaskTimeout``: the signal's handler raises it wherever the process is just then."""


def test_a_timeout_in_the_middle_of_a_request_ends_the_wait_for_many() -> None:
    """A task that waits in the worker polls in its own process: what interrupts a poll is for the task."""

    def interrupt(_: Asked) -> None:
        raise TimedOut

    server = Server(refuse=interrupt)
    server.start(["a", "b"])
    wake = Wake(0, is_more_to_send=False, enough=1, patience_seconds=60.0)
    watch = Watch(DAG, {0: "a", 1: "b"}, ["failed"], wake, lambda *_: None)
    with pytest.raises(TimedOut):
        run(asyncio.wait_for(watch.run(server, ENDS, 5.0), 1000.0))


@dataclass
class SlowServer(Server):
    """One Dag's requests are answered late, and its tasks say nothing."""

    slow_seconds: float = 0.0

    async def _ask(self, kind: str, dag_id: str, run_ids: tuple[str, ...], **more: Any) -> None:  # noqa: ANN401 - Asked's
        self.seconds = self.slow_seconds if dag_id == "slow" else 0.02
        await super()._ask(kind, dag_id, run_ids, **more)
        if dag_id == "slow" and kind.startswith("tasks"):
            raise lasting()


@pytest.mark.parametrize("seconds", [0.02, 1.0, 4.0])
def test_a_search_of_slow_requests_does_not_hold_up_another_dag(seconds: float) -> None:
    async def scenario() -> float:
        server = SlowServer(slow_seconds=seconds)
        slow = names(400)
        server.start(slow, "slow")
        server.start(["quick"])
        waits = Waits(server)
        waits.begin(slow, "slow", poll_interval=60.0)
        waits.begin(["quick"], poll_interval=10.0)
        await asyncio.sleep(120)
        for number, run_id in enumerate(slow[::4]):
            server.states["slow", run_id] = "success" if number % 2 else "failed"
        until_searched = len(server.asked)
        while sum(asked.dag_id == "slow" for asked in server.asked[until_searched:]) < 3:  # noqa: ASYNC110 - the clock is simulated
            await asyncio.sleep(0.1)
        server.states[DAG, "quick"] = "success"
        ended_at = now()
        await waits.tasks["quick"]
        late = now() - ended_at
        await waits.stop()
        return late

    assert run(scenario()) < 10 + 3 * seconds + 2


def test_a_wait_that_leaves_while_its_run_is_looked_up_is_no_trouble_to_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Its run is in a state that nobody knows, for which a wait gets a batch of its own."""

    async def scenario() -> Waits:
        server = Server()
        server.start(names(20))
        waits = Waits(server)
        left: list[str] = []

        def refuse(asked: Asked) -> None:
            if asked.is_count:
                raise passing()
            if asked.kind == "look-up" and len(waits.tasks) - len(left) > 2:
                (run_id,) = asked.run_ids
                server.states[DAG, run_id] = "hibernating"
                waits.tasks[run_id].cancel()
                left.append(run_id)

        server.refuse = refuse
        waits.begin(names(20))
        await asyncio.sleep(600)
        assert left
        server.refuse = lambda _: None
        for run_id in names(20):
            server.states[DAG, run_id] = "success"
        await asyncio.sleep(600)
        await waits.stop()
        assert len(waits.outcomes) == 20 - len(set(left))
        return waits

    run(scenario())
    assert "A search for the ends of Dag runs has failed" not in caplog.text
