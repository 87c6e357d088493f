"""Crash an attempt at each of its calls, before and after its effect, twice over: there is one healthy child run."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from airflow_durable.core.errors import ChildRunFailedError
from airflow_durable.core.model import Mode

from .fakes import FIXED_DATE, Crash, FakePort, Run, Server, ask, attempt, run_attempt

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_durable.core.model import Request

MAX_CALLS = 10


@dataclass(frozen=True)
class Identity:
    """One way to name the child."""

    name: str
    run_id: str | None = None
    is_date_fixed: bool = False
    is_reset: bool = False
    existing: tuple[str, ...] = field(default=())

    def ask(self, mode: Mode) -> Request:
        """Return the request for it."""
        return ask(
            mode=mode,
            run_id=self.run_id,
            logical_date=FIXED_DATE if self.is_date_fixed else None,
            is_date_ours=not self.is_date_fixed,
            is_reset=self.is_reset,
        )

    def open_server(self) -> Server:
        """Return a server with the run that was there before, if there was one."""
        server = Server()
        for state in self.existing:
            server.create("child", Run("fixed", FIXED_DATE, state))
        return server


IDENTITIES = [
    Identity("generated"),
    Identity("fixed id", "fixed"),
    Identity("fixed date", "manual__date", is_date_fixed=True),
    Identity("fixed id, reset", "fixed", is_reset=True),
    Identity("fixed id, reset of what is there", "fixed", is_reset=True, existing=("success",)),
]


def crashes() -> Iterator[tuple[int | None, bool]]:
    """Yield every place at which one attempt can die, and that it does not."""
    yield from itertools.product(range(MAX_CALLS), (False, True))
    yield None, False


def try_to_run(server: Server, number: int, request: Request, crash_at: int | None, *, is_after: bool) -> bool:
    """Run one attempt; tell whether it succeeded."""
    port = FakePort(server, attempt(number), crash_at=crash_at, is_crash_after=is_after)
    try:
        run_attempt(port, request)
    except (Crash, ChildRunFailedError):
        return False
    return True


@pytest.mark.parametrize("identity", IDENTITIES, ids=lambda identity: identity.name)
@pytest.mark.parametrize("mode", Mode)
def test_two_crashes_anywhere_make_no_second_run(mode: Mode, identity: Identity) -> None:
    request = identity.ask(mode)
    deaths = 0
    for first, second in itertools.product(crashes(), crashes()):
        server = identity.open_server()
        numbers = itertools.count(1)
        for crash_at, is_after in (first, second, (None, False)):
            if try_to_run(server, next(numbers), request, crash_at, is_after=is_after):
                break
            deaths += 1
        (run,) = server.runs.values()
        assert run.clear_number == len(identity.existing), f"crashes: {first}, {second}"
        if mode is not Mode.FIRE_AND_FORGET:
            assert run.state == "success", f"crashes: {first}, {second}"
        record = server.record()
        assert record is not None
        assert record.is_consumed, f"crashes: {first}, {second}"
    assert deaths > 2 * MAX_CALLS  # else nothing was tested


@pytest.mark.parametrize("mode", [Mode.WAIT, Mode.DEFER])
def test_a_crash_anywhere_around_a_failure_makes_one_fresh_run(mode: Mode) -> None:
    for first, second in itertools.product(crashes(), crashes()):
        server = Server()
        states = ["failed"]

        def end(server: Server, states: list[str] = states) -> None:
            if any(run.state == "queued" for run in server.runs.values()):
                server.end_all(states.pop() if states else "success")

        server.on_sleep = end
        numbers = itertools.count(1)
        outcomes = [
            try_to_run(server, next(numbers), ask(mode=mode), crash_at, is_after=is_after)
            for crash_at, is_after in (first, second, (None, False), (None, False))
        ]
        assert outcomes[-1], f"crashes: {first}, {second}"
        assert server.states() == ["failed", "success"], f"crashes: {first}, {second}"


@pytest.mark.parametrize("mode", Mode)
def test_a_crash_and_then_a_clear_makes_no_second_run(mode: Mode) -> None:
    """The person who clears a crashed parent wants its child; only an outcome that was consumed is started anew."""
    for crash_at, is_after in crashes():
        server = Server()
        is_done = try_to_run(server, 1, ask(mode=mode), crash_at, is_after=is_after)
        record = server.record()
        is_consumed = record is not None and record.is_consumed
        assert is_consumed or not is_done
        run_attempt(FakePort(server, attempt(2, max_tries=4, clear_number=1)), ask(mode=mode))
        assert len(server.runs) == 1 + is_consumed, f"crash: {crash_at}, {is_after}"
