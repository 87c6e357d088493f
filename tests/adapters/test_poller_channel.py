"""Requests that are given up, on the installed Airflow's own channel between a triggerer's two processes."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from airflow.jobs.triggerer_job_runner import TriggerCommsDecoder
from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.comms import _RequestFrame, _ResponseFrame

from airflow_durable.task_sdk import AsyncLookUps

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class Supervisor:
    """The other end of the channel. Each count is answered by the number of its run ids."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer
        self.may_answer = asyncio.Event()
        self.received = 0

    async def serve(self) -> None:
        """Answer one request after the other, as soon as it may."""
        while True:
            size = int.from_bytes(await self._reader.readexactly(4), "big")
            frame = msgspec.msgpack.decode(await self._reader.readexactly(size), type=_RequestFrame)
            self.received += 1
            await self.may_answer.wait()
            assert frame.body is not None
            body = {"count": len(frame.body["run_ids"]), "type": "DRCount"}
            self.writer.write(_ResponseFrame(frame.id, body, None).as_bytes())


def run(scenario: Callable[[Supervisor], Awaitable[None]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a scenario with a channel of the installed Airflow."""

    async def connected() -> None:
        ours, theirs = socket.socketpair()
        reader, writer = await asyncio.open_connection(sock=ours)
        supervisor = Supervisor(*(await asyncio.open_connection(sock=theirs)))
        channel: Any = TriggerCommsDecoder(async_writer=writer, async_reader=reader, socket=ours)
        monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", channel, raising=False)
        serving = asyncio.create_task(supervisor.serve())
        assert not serving.done()
        if hasattr(channel, "start_reader"):
            await channel.start_reader()
        try:
            await scenario(supervisor)
        finally:
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)
            for end in (writer, supervisor.writer):
                end.close()
                with contextlib.suppress(ConnectionError):
                    await end.wait_closed()

    asyncio.run(connected())


async def give_up(look_ups: AsyncLookUps, supervisor: Supervisor) -> None:
    """Begin a request, and cancel it when the supervisor has it or it waits for an earlier one."""
    task = asyncio.create_task(look_ups.count("child", ["a"], ["running"]))
    received = supervisor.received
    for _ in range(50):
        await asyncio.sleep(0)
        if supervisor.received > received:
            break
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_an_answer_that_comes_late_is_not_taken_for_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(supervisor: Supervisor) -> None:
        look_ups = AsyncLookUps()
        await give_up(look_ups, supervisor)
        supervisor.may_answer.set()
        assert await look_ups.count("child", ["a", "b"], ["running"]) == 2
        assert await look_ups.count("child", ["a", "b", "c"], ["running"]) == 3

    run(scenario, monkeypatch)


def test_requests_do_not_pile_up_behind_one_that_is_not_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(supervisor: Supervisor) -> None:
        look_ups = AsyncLookUps()
        for _ in range(5):
            await give_up(look_ups, supervisor)
        tasks = len(asyncio.all_tasks())
        for _ in range(20):
            await give_up(look_ups, supervisor)
        # Neither as messages that the supervisor has not read yet, where it reads one after the other, nor as tasks.
        assert len(asyncio.all_tasks()) == tasks
        supervisor.may_answer.set()
        assert await look_ups.count("child", ["a", "b"], ["running"]) == 2

    run(scenario, monkeypatch)


def test_others_on_the_channel_get_their_own_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(supervisor: Supervisor) -> None:
        await give_up(AsyncLookUps(), supervisor)
        supervisor.may_answer.set()
        # Another trigger of the same process, with nothing in common but the channel.
        assert await AsyncLookUps().count("child", ["a", "b"], ["running"]) == 2

    run(scenario, monkeypatch)
