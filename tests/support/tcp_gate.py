"""A gate in front of a server that can be closed: what a client's network does to it when it is cut off."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self

_LOCALHOST = "127.0.0.1"
_CHUNK_BYTES = 65_536


class TcpGate:
    """
    Passes connections on, on a thread of its own, until it is closed; then it breaks them and lets none in.

    :param target_port: the server's, on the loopback interface.
    """

    def __init__(self, target_port: int) -> None:
        self.port = 0
        self._target_port = target_port
        self._is_closed = False
        self._passages: set[asyncio.Task[None]] = set()
        self._is_ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="tcp-gate", daemon=True)

    def __enter__(self) -> Self:
        """Start, and wait until it listens on ``port``."""
        self._thread.start()
        if not self._is_ready.wait(30):
            message = "The gate did not start."
            raise TimeoutError(message)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop, and break what passes."""
        self.close()
        if self._loop and self._stopping:
            self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(30)

    def close(self) -> None:
        """Break every connection, and let none in."""
        self._is_closed = True
        if self._loop:
            self._loop.call_soon_threadsafe(self._break_all)

    def open(self) -> None:
        """Let connections in again."""
        self._is_closed = False

    async def _run(self) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._serve, _LOCALHOST, 0)
        self.port = server.sockets[0].getsockname()[1]
        self._is_ready.set()
        await self._stopping.wait()
        server.close()

    def _break_all(self) -> None:
        for passage in tuple(self._passages):
            passage.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._passages.add(task)
        try:
            # Cancelled when the gate is closed.
            with contextlib.suppress(OSError, asyncio.CancelledError):
                if not self._is_closed:
                    await self._pass(reader, writer)
        finally:
            writer.transport.abort()
            if task is not None:
                self._passages.discard(task)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        target_reader, target_writer = await asyncio.open_connection(_LOCALHOST, self._target_port)
        ways = [
            asyncio.ensure_future(_copy(reader, target_writer)),
            asyncio.ensure_future(_copy(target_reader, writer)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            # At once: this passage may be cancelled a second time while it waits for the two.
            target_writer.transport.abort()
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(_CHUNK_BYTES):
        writer.write(chunk)
        await writer.drain()
