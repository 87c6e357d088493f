"""Crash a try at each of its calls, before and after its effect, twice over: there is one healthy child run."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest

from airflow_durable.core.errors import ChildRunFailedError
from airflow_durable.core.model import Attempt, Mode

from .fakes import (
    FIXED_DATE,
    Crash,
    FakePort,
    Run,
    Server,
    ask_fixed_date,
    ask_fixed_id,
    ask_generated,
    attempt,
    cleared,
    run_try,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow_durable.core.model import Request

MAX_CALLS = 10


@dataclass(frozen=True)
class Identity:
    """One way to name the child."""

    name: str
    ask: Callable[[Mode], Request]
    version: tuple[int, int] = (3, 3)
    is_reset: bool = False
    existing: tuple[str, ...] = field(default=())

    def request(self, mode: Mode) -> Request:
        """Return the request for it."""
        return replace(self.ask(mode), is_reset=self.is_reset)

    def open_server(self) -> Server:
        """Return a server with the run that was there before, if there was one."""
        server = Server(self.version)
        for state in self.existing:
            server.create("child", Run("fixed", FIXED_DATE, state))
        return server


GENERATED = [Identity(f"generated, {minor}", ask_generated, (3, minor)) for minor in (1, 2, 3)]
IDENTITIES = [
    *GENERATED,
    Identity("fixed id", ask_fixed_id),
    Identity("fixed date", ask_fixed_date),
    Identity("fixed id, reset", ask_fixed_id, is_reset=True),
    Identity("fixed id, reset of what is there", ask_fixed_id, is_reset=True, existing=("success",)),
]


def crashes() -> Iterator[tuple[int | None, bool]]:
    """Yield every place at which one try can die, and that it does not."""
    yield from itertools.product(range(MAX_CALLS), (False, True))
    yield None, False


def try_to_run(server: Server, at: Attempt, request: Request, crash_at: int | None, *, is_after: bool) -> bool:
    """Run one try; tell whether it succeeded."""
    port = FakePort(server, at, crash_at=crash_at, is_crash_after=is_after)
    try:
        run_try(port, request)
    except (Crash, ChildRunFailedError):
        return False
    return True


@pytest.mark.parametrize("is_twice", [False, True], ids=["retries", "the same try again"])
@pytest.mark.parametrize("identity", IDENTITIES, ids=lambda identity: identity.name)
@pytest.mark.parametrize("mode", Mode)
def test_two_crashes_anywhere_make_no_second_run(
    mode: Mode,
    identity: Identity,
    is_twice: bool,  # noqa: FBT001 - a parameter
) -> None:
    if is_twice and identity.version == (3, 1):
        return  # a known limit: nothing of a run tells an execution of this try from an earlier life of the parent
    request = identity.request(mode)
    deaths = 0
    for first, second in itertools.product(crashes(), crashes()):
        server = identity.open_server()
        numbers = iter((1, 1, 2) if is_twice else (1, 2, 3))
        for crash_at, is_after in (first, second, (None, False)):
            if try_to_run(server, attempt(next(numbers)), request, crash_at, is_after=is_after):
                break
            deaths += 1
        run = server.only_run()
        assert run.clear_number == len(identity.existing), f"crashes: {first}, {second}"
        if mode is not Mode.FIRE_AND_FORGET:
            assert run.state == "success", f"crashes: {first}, {second}"
        if server.version == (3, 3):
            assert server.record().is_consumed, f"crashes: {first}, {second}"
    assert deaths > 2 * MAX_CALLS  # else nothing was tested


@pytest.mark.parametrize("is_record_lost", [False, True], ids=["", "record lost"])
@pytest.mark.parametrize("identity", GENERATED, ids=lambda identity: identity.name)
@pytest.mark.parametrize("mode", [Mode.WAIT, Mode.DEFER])
def test_a_crash_anywhere_around_a_failure_makes_one_fresh_run(
    mode: Mode,
    identity: Identity,
    is_record_lost: bool,  # noqa: FBT001 - a parameter
) -> None:
    for first, second in itertools.product(crashes(), crashes()):
        server = identity.open_server()
        states = ["failed"]

        def end(server: Server, states: list[str] = states) -> None:
            if any(run.state == "queued" for run in server.runs.values()):
                server.end_all(states.pop() if states else "success")

        server.on_sleep = end
        is_done = False
        for number, (crash_at, is_after) in enumerate((first, second, (None, False), (None, False)), start=1):
            if not is_done:
                is_done = try_to_run(server, attempt(number), identity.request(mode), crash_at, is_after=is_after)
            if is_record_lost:
                server.lose_record()
        assert is_done, f"crashes: {first}, {second}"
        assert server.states() == ["failed", "success"], f"crashes: {first}, {second}"


@pytest.mark.parametrize("mode", Mode)
def test_a_crash_and_then_a_clear_makes_no_second_run(mode: Mode) -> None:
    """The person who clears a crashed parent wants its child; only an outcome that was marked is started anew."""
    for crash_at, is_after in crashes():
        server = Server()
        is_done = try_to_run(server, attempt(1), ask_generated(mode), crash_at, is_after=is_after)
        is_marked = bool(server.store) and server.record().is_consumed
        assert is_marked or not is_done
        run_try(FakePort(server, cleared(2)), ask_generated(mode))
        assert len(server.runs) == 1 + is_marked, f"crash: {crash_at}, {is_after}"


@pytest.mark.parametrize("version", [(3, 1), (3, 2), (3, 3)], ids=["3.1", "3.2", "3.3"])
def test_a_crash_and_then_a_clear_that_discards_the_record_runs_no_two_at_once(version: tuple[int, int]) -> None:
    """Airflow 3.4's clear does, by default; before 3.3 there is none."""
    for crash_at, is_after in crashes():
        server = Server(version)
        server.on_sleep = lambda server: None
        port = FakePort(server, attempt(1), crash_at=crash_at, is_crash_after=is_after)
        server.on_sleep = lambda server: server.end_all("success") if len(server.calls) > MAX_CALLS + 2 else None
        try:
            run_try(port, ask_generated())
        except Crash:
            is_done = False
        else:
            is_done = True
        server.lose_record()
        active: list[int] = []

        def end(server: Server, active: list[int] = active) -> None:
            active.append(sum(run.state == "queued" for run in server.runs.values()))
            server.end_all("success")

        server.on_sleep = end
        run_try(FakePort(server, cleared(2)), ask_generated())
        assert active == [] or max(active) == 1, f"crash: {crash_at}, {is_after}"
        assert server.states()[-1] == "success"
        assert is_done <= (len(server.runs) == 2)


@pytest.mark.parametrize("mode", [Mode.WAIT, Mode.DEFER])
def test_a_crash_anywhere_in_a_try_that_waits_another_request_out_runs_no_two_at_once(mode: Mode) -> None:
    for first, second in itertools.product(crashes(), crashes()):
        server = Server()
        server.on_sleep = lambda server: None
        try_to_run(server, attempt(1), ask_generated(), 3, is_after=False)
        server.only_run().conf = "old"
        active: list[int] = []

        def end(server: Server, active: list[int] = active) -> None:
            active.append(sum(run.state == "queued" for run in server.runs.values()))
            server.end_all("success")

        server.on_sleep = end
        for number, (crash_at, is_after) in enumerate((first, second, (None, False)), start=2):
            at = attempt(number, max_tries=4, clear_number=1)
            if try_to_run(server, at, ask_generated(mode), crash_at, is_after=is_after):
                break
        assert [run.conf for run in server.runs.values()] == ["old", "conf"], f"crashes: {first}, {second}"
        assert max(active) == 1
