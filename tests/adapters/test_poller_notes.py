"""What the log of a deferred parent says of its wait, and what that costs."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from typing import TYPE_CHECKING

from airflow_durable.triggers import dag_run, notes
from airflow_durable.triggers.dag_run import DurableDagRunTrigger

from .poller_fakes import DAG, TASK_OF_WAIT, Server, Waits, names, now, run

if TYPE_CHECKING:
    import pytest
    from airflow.triggers.base import TriggerEvent

HOUR = 3600


class Log:
    """A trigger's log: keeps its lines, and in which context each was written."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, str]]] = []
        self.contexts: list[str] = []
        self.at: list[float] = []

    def bind(self) -> Log:
        """Structured logs have it."""
        return self

    def info(self, text: str, **fields: str) -> None:
        """Write a line."""
        self.lines.append((text, fields))
        self.contexts.append(TASK_OF_WAIT.get())
        self.at.append(now())


class BrokenLog(Log):
    """A log that cannot be written to once a wait is under way."""

    def info(self, text: str, **fields: str) -> None:
        """Write a line."""
        if text.startswith("Still"):
            raise OSError(28, "No space left on device")
        super().info(text, **fields)


def begin(
    server: Server, run_id: str, log: object, monkeypatch: pytest.MonkeyPatch
) -> asyncio.Task[list[TriggerEvent]]:
    """Run a trigger, in a context of its own, as the triggerer does."""
    monkeypatch.setattr(dag_run, "AsyncLookUps", lambda: server)
    trigger = DurableDagRunTrigger(
        dag_id=DAG, run_id=run_id, states=["failed", "success"], poll_interval=60.0, record={"version": 1}
    )
    trigger._log = log  # type: ignore[assignment] # ours

    async def fire() -> list[TriggerEvent]:
        TASK_OF_WAIT.set(run_id)
        return [event async for event in trigger.run()]

    return asyncio.create_task(fire())


async def stop_poller() -> None:
    """Let the poller come to its end after the last wait."""
    await asyncio.sleep(90)


def test_the_log_of_a_wait_says_that_it_begins_that_it_lasts_and_how_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    logs = {"a": Log(), "b": Log(), "c": Log()}

    async def scenario() -> None:
        server = Server()
        server.start(logs)
        waits = [begin(server, run_id, log, monkeypatch) for run_id, log in logs.items()]
        await asyncio.sleep(2.5 * HOUR)
        server.states = {(DAG, "a"): "success", (DAG, "b"): "failed"}
        await asyncio.gather(*waits)
        await stop_poller()

    run(scenario())
    ends = {
        "a": ("The child run has ended.", "success"),
        "b": ("The child run has ended.", "failed"),
        "c": ("The child run does not exist any more.", "missing"),
    }
    for run_id, (text, state) in ends.items():
        child = {"dag_id": DAG, "run_id": run_id}
        assert logs[run_id].lines == [
            ("Still waiting for the child run.", {**child, "waited": "10 min"}),
            ("Still waiting for the child run.", {**child, "waited": "1 h 10 min"}),
            ("Still waiting for the child run.", {**child, "waited": "2 h 10 min"}),
            (text, {**child, "state": state, "waited": "2 h 30 min"}),
        ]
        # The triggerer finds the parent's log by what is set in the trigger's context.
        assert set(logs[run_id].contexts) == {run_id}


def test_a_log_without_keys_has_them_in_its_lines(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        server = Server()
        server.start(["a"])
        wait = begin(server, "a", logging.getLogger("a_trigger"), monkeypatch)
        await asyncio.sleep(10)
        server.states[DAG, "a"] = "success"
        await wait
        await stop_poller()

    with caplog.at_level(logging.INFO, logger="a_trigger"):
        run(scenario())
    (line,) = (record.message for record in caplog.records if record.name == "a_trigger")
    assert line.startswith(f"The child run has ended. dag_id={DAG} run_id=a state=success waited=")


def test_lines_cost_no_request_and_those_of_many_waits_are_not_written_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    run_ids = names(300)

    async def without_lines() -> int:
        server = Server()
        server.start(run_ids)
        waits = Waits(server)
        waits.begin(run_ids, poll_interval=60.0)
        await asyncio.sleep(HOUR)
        asked = len(server.asked)
        await waits.stop()
        return asked

    async def with_lines() -> tuple[int, int, list[float]]:
        server = Server()
        server.start(run_ids)
        log = Log()
        waits = [begin(server, run_id, log, monkeypatch) for run_id in run_ids]
        await asyncio.sleep(30)
        timers = len(asyncio.get_running_loop()._scheduled)  # type: ignore[attr-defined] # of asyncio's own loops
        await asyncio.sleep(HOUR - 30)
        asked = len(server.asked)
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
        await stop_poller()
        return asked, timers, [at for at, line in zip(log.at, log.lines, strict=True) if line[0].startswith("Still")]

    asked, timers, written_at = run(with_lines())
    assert asked == run(without_lines())
    assert timers < len(run_ids) / 2
    assert len(written_at) == len(run_ids)
    assert max(Counter(written_at).values()) <= notes.NOTES_A_TURN
    assert max(written_at) - min(written_at) < 60


def test_a_log_that_cannot_be_written_ends_no_wait(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    log = BrokenLog()

    async def scenario() -> None:
        server = Server()
        server.start(["a"])
        wait = begin(server, "a", log, monkeypatch)
        await asyncio.sleep(HOUR)
        server.states[DAG, "a"] = "success"
        await wait
        await stop_poller()

    run(scenario())
    assert [text for text, _ in log.lines] == ["The child run has ended."]
    assert "could not be written" in caplog.text
