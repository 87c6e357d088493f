"""Ends that the wait is not for, and states that nobody here knows."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from airflow_durable.core.errors import LookUpFailedError
from airflow_durable.triggers import unknown
from airflow_durable.triggers.pacing import LEAST_RATE

from .poller_fakes import DAG, ENDS, Asked, Server, Waits, names, run

if TYPE_CHECKING:
    from collections.abc import Callable


def unreadable(server: Server, states: tuple[str, ...] = ("cancelled",)) -> Callable[[Asked], None]:
    """Refuse look-ups of runs in these states, as a supervisor does whose models do not know them."""

    def refuse(asked: Asked) -> None:
        if asked.kind == "look-up" and server.states.get((asked.dag_id, asked.run_ids[0])) in states:
            reason = "1 validation error for DagRunStateResponse (ValidationError)"
            raise LookUpFailedError(asked.dag_id, asked.run_ids[0], reason, is_transient=True)

    return refuse


@pytest.mark.parametrize("among", [1, 50])
@pytest.mark.parametrize("end", ["success", "failed"])
def test_a_wait_ends_when_its_run_ends_in_a_state_that_it_is_not_for(end: str, among: int) -> None:
    async def scenario() -> Waits:
        server = Server()
        server.start(names(among))
        waits = Waits(server)
        waits.begin(names(among), states=ENDS - {end})
        await asyncio.sleep(10)
        server.states[DAG, names(among)[-1]] = end
        await asyncio.sleep(5)
        await waits.stop()
        return waits

    assert run(scenario()).outcomes == {names(among)[-1]: end}


@pytest.mark.parametrize("is_readable", [True, False], ids=["readable", "unreadable"])
@pytest.mark.parametrize("among", [1, 50])
def test_a_wait_ends_when_its_run_has_ended_in_a_state_that_nobody_knows(among: int, is_readable: bool) -> None:  # noqa: FBT001 - a case
    async def scenario() -> tuple[Waits, int]:
        server = Server()
        if not is_readable:
            server.refuse = unreadable(server)
        run_ids = names(among)
        server.start(run_ids)
        waits = Waits(server)
        waits.begin(run_ids)
        await asyncio.sleep(10)
        server.states[DAG, run_ids[0]] = "cancelled"
        server.tasks[DAG, run_ids[0]] = {"work": "success", "last": "skipped"}
        await asyncio.sleep(unknown.QUIET_SECONDS - 60)
        assert not waits.outcomes
        already = len(server.asked)
        await asyncio.sleep(120)
        asked = len(server.asked) - already
        await waits.stop()
        return waits, asked

    waits, asked = run(scenario())
    assert waits.outcomes == {names(among)[0]: "cancelled" if is_readable else unknown.UNREADABLE}
    # Two polls a second at most, as always, and a few for the run in question.
    assert asked < 120 * LEAST_RATE * 1.1 + 20


@pytest.mark.parametrize("is_readable", [True, False], ids=["readable", "unreadable"])
def test_a_wait_goes_on_while_a_task_is_left_to_be_done_whatever_the_state_of_its_run(is_readable: bool) -> None:  # noqa: FBT001 - a case
    async def scenario() -> Waits:
        server = Server()
        if not is_readable:
            server.refuse = unreadable(server)
        server.start(names(20))
        waits = Waits(server)
        waits.begin(names(20))
        server.states[DAG, names(20)[3]] = "cancelled"
        server.tasks[DAG, names(20)[3]] = {"done": "success", "left": "a new one"}
        await asyncio.sleep(2 * 3600)
        assert not waits.outcomes
        server.states[DAG, names(20)[3]] = "failed"
        await asyncio.sleep(45)
        await waits.stop()
        return waits

    assert run(scenario()).outcomes == {names(20)[3]: "failed"}


@pytest.mark.parametrize("kind", ["none", "refused"])
def test_a_run_without_tasks_is_watched_for_longer(kind: str) -> None:
    async def scenario() -> Waits:
        def refuse(asked: Asked) -> None:
            if kind == "refused" and asked.kind.startswith("tasks"):
                raise LookUpFailedError(DAG, "?", "HTTP 403", is_transient=False)

        server = Server(refuse=refuse)
        server.start(names(20))
        server.tasks[DAG, names(20)[3]] = {}
        waits = Waits(server)
        waits.begin(names(20))
        server.states[DAG, names(20)[3]] = "cancelled"
        await asyncio.sleep(unknown.QUIET_WITHOUT_TASKS_SECONDS - 60)
        assert not waits.outcomes
        await asyncio.sleep(120)
        await waits.stop()
        return waits

    assert run(scenario()).outcomes == {names(20)[3]: "cancelled"}


def test_what_is_learnt_of_a_state_holds_for_all_runs_in_it() -> None:
    """Also for those of another Dag, and those that reach the state while it is being learnt."""

    async def scenario() -> tuple[Waits, int]:
        server = Server()
        server.start(names(500))
        server.start(["other"], "other")
        waits = Waits(server)
        waits.begin(names(500))
        waits.begin(["other"], "other")
        await asyncio.sleep(10)
        already = len(server.asked)
        for name in names(500)[:200]:
            server.states[DAG, name] = "cancelled"
            server.tasks[DAG, name] = {"work": "success"}
        await asyncio.sleep(unknown.QUIET_SECONDS + 90)
        asked = len(server.asked) - already
        assert len(waits.outcomes) == 200
        server.states["other", "other"] = "cancelled"
        await asyncio.sleep(5)
        await waits.stop()
        return waits, asked

    waits, asked = run(scenario())
    assert waits.outcomes == dict.fromkeys([*names(500)[:200], "other"], "cancelled")
    assert asked < 390 * LEAST_RATE * 1.3 + 200


def test_a_state_that_no_witness_is_in_any_more_is_learnt_anew() -> None:
    async def scenario() -> Waits:
        server = Server()
        server.start(names(50))
        waits = Waits(server)
        waits.begin(names(50))
        await asyncio.sleep(10)
        for name in names(50)[:2]:
            server.states[DAG, name] = "cancelled"
        await asyncio.sleep(60)
        # Whichever of them is the witness: it leaves.
        for name in names(50)[:2]:
            server.states[DAG, name] = "running"
        await asyncio.sleep(10)
        server.states[DAG, names(50)[1]] = "cancelled"
        server.tasks[DAG, names(50)[1]] = {"work": "success"}
        await asyncio.sleep(unknown.QUIET_SECONDS + 90)
        await waits.stop()
        return waits

    waits = run(scenario())
    assert waits.outcomes == {names(50)[1]: "cancelled"}
