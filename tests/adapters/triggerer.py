"""A triggerer at the scripted supervisor: the real trigger runs until its event, on a clock that moves by itself."""

from __future__ import annotations

import asyncio
import importlib
import selectors
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from airflow.sdk.exceptions import AirflowRuntimeError
from airflow.sdk.execution_time import task_runner

from .fake_server import ServerError
from .versions import load_trigger_kwargs

if TYPE_CHECKING:
    from collections.abc import Callable

    from .supervisor import Outcome, Supervisor

MAX_JUMPS = 200
BUSY = 50


class _Loop(asyncio.SelectorEventLoop):
    """Where it would wait for its clock, the clock jumps to the next thing that is due."""

    def __init__(self, on_jump: Callable[[], object]) -> None:
        self.now = 0.0
        self.jumps = 0
        self.busy = 0
        self.on_jump = on_jump
        super().__init__(_Selector(self))

    def time(self) -> float:
        return self.now


class _Selector(selectors.DefaultSelector):
    def __init__(self, loop: _Loop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        # None: a thread of the stock trigger is at work, and wakes the loop.
        # Zero: something is to be done at once; time and again, if a trigger sleeps for no time.
        self._loop.busy += timeout == 0
        if timeout or self._loop.busy > BUSY:
            self._loop.busy = 0
            self._loop.jumps += 1
            assert self._loop.jumps < MAX_JUMPS, "The trigger waits and waits."
            self._loop.now += timeout or 0
            self._loop.on_jump()
            timeout = 0
        found: list[tuple[selectors.SelectorKey, int]] = super().select(timeout)
        return found


class _Channel:
    """The triggerer's end of the channel, in all versions: ``send`` from a thread, ``asend`` on the loop."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor

    def send(self, msg: Any) -> Any:  # noqa: ANN401 - as many types as there are messages
        try:
            return self._supervisor.answer(msg)
        except ServerError as error:
            raise AirflowRuntimeError(error.response()) from None

    async def asend(self, msg: Any) -> Any:  # noqa: ANN401 - as many types as there are messages
        return self.send(msg)


def run_trigger(supervisor: Supervisor, outcome: Outcome) -> Any:  # noqa: ANN401 - JSON
    """
    Run the trigger that the attempt deferred to.

    Its requests are among the supervisor's; whenever it pauses, ``on_sleep`` is called.

    :returns: the payload of its event.
    """
    module, _, name = outcome.final.classpath.rpartition(".")
    trigger = getattr(importlib.import_module(module), name)(**load_trigger_kwargs(outcome.final.trigger_kwargs))

    async def first_event() -> Any:  # noqa: ANN401 - JSON
        events = trigger.run()
        event = await anext(events)
        await events.aclose()
        return event.payload

    loop = _Loop(supervisor.on_sleep)
    try:
        with patch.object(task_runner, "SUPERVISOR_COMMS", _Channel(supervisor), create=True):
            payload = loop.run_until_complete(first_event())
            # The poller ends by itself when nobody waits for it any more.
            loop.run_until_complete(asyncio.sleep(0))
    finally:
        _end(loop)
    return payload


def _end(loop: _Loop) -> None:
    """End what is left on the loop: a trigger that failed, or that would wait for ever."""
    loop.on_jump = lambda: None
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    if left:
        loop.run_until_complete(asyncio.wait(left))
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
