"""
A proxy between Airflow's workers and its API server that fails on command, at an exact request of one attempt.

It has to close a connection without an answer, hold a request back until its sender is long dead, and know the
sender's process. Of the libraries looked at, mitmproxy can do that but its pins conflict with Airflow's, and as an
isolated tool it could not share the test's process and database; ASGI servers answer 500 where a connection should
break; proxy.py has not kept up with current Pythons. So: asyncio's streams, with h11 to speak HTTP to the worker and
httpx to speak it to the server, both of which Airflow brings.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import enum
import json
import re
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import UUID

import h11
import httpx

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Self

    from airflow_durable.metadata.model import TaskTry

    Kill = Callable[[int], object]
    FindAttempt = Callable[[UUID], TaskTry | None]

HIT_LIMIT_SECONDS = 240.0
_CHUNK_BYTES = 65_536
_HOLD_POLL_SECONDS = 0.1
_UPSTREAM_TIMEOUT_SECONDS = 60.0
_HOP_HEADERS = frozenset({b"connection", b"keep-alive", b"transfer-encoding", b"content-length", b"date", b"server"})
_RUN_REQUEST = re.compile(r"/execution/task-instances/[^/]+/run")
_UNAVAILABLE = 503
_NO_CONTENT = 204


class Action(enum.Enum):
    """What happens to a request."""

    KILL_BEFORE = "the sender dies before its request arrives"
    KILL_AFTER = "the sender dies before the reply arrives"
    DROP_REPLY = "the request arrives, the connection breaks before the reply"
    REFUSE = "the connection breaks before the request arrives"
    UNAVAILABLE = "it is answered 503"
    SWALLOW = "it is answered 204 and never arrives"
    HOLD = "it waits until the fault is lifted, and arrives then"
    REPEAT = "it arrives twice, and the second reply counts"


@dataclass
class Fault:
    """
    One thing to go wrong.

    :param dag_id: of the attempt whose requests are meant: a regular expression that the whole id must match.
    :param run_id: None: any run.
    :param path: a regular expression that the whole path must match.
    :param map_index: None: any.
    :param try_number: None: any try.
    :param after: so many matching requests pass first.
    :param times: so many are hit then; None: all, until the fault is lifted.
    :param is_following: once one request is hit, every later one of the same attempt is, whatever its path.
    :param kill: ends the sender, where that is the action; None: the proxy's own way.
    """

    action: Action
    dag_id: str
    run_id: str | None
    method: str
    path: str
    map_index: int | None = -1
    try_number: int | None = None
    after: int = 0
    times: int | None = 1
    is_following: bool = False
    kill: Kill | None = None
    seen: int = 0
    hits: int = 0
    is_lifted: bool = False
    victim: TaskTry | None = None
    paths_hit: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _hit: threading.Event = field(default_factory=threading.Event)
    _lifted: threading.Event = field(default_factory=threading.Event)

    @property
    def is_hit(self) -> bool:
        """Whether it has happened at least once, the sender's death included."""
        return self._hit.is_set()

    def wait_until_hit(self, limit_seconds: float = HIT_LIMIT_SECONDS) -> None:
        """Wait until it has happened at least once, the sender's death included."""
        if not self._hit.wait(limit_seconds):
            message = f"No request came that {self} could have hit, in {limit_seconds:g} s."
            raise TimeoutError(message)

    def lift(self) -> None:
        """Let further requests pass, and those that are held go on."""
        self.is_lifted = True
        self._lifted.set()

    def takes(self, sender: TaskTry, method: str, path: str) -> bool:
        """
        Count the request if it is one that is meant, and tell whether it is hit.

        Under a lock: one fault may be injected into several proxies, for whichever of them it comes through first.
        """
        with self._lock:
            is_hit = self._is_hit_by(sender, method, path)
            if is_hit:
                self.hits += 1
                self.victim = sender
                self.paths_hit.append(path)
            return is_hit

    def _is_hit_by(self, sender: TaskTry, method: str, path: str) -> bool:
        if self.is_following and self.victim is not None:
            return not self.is_lifted and sender.id == self.victim.id
        if not self._means(sender, method, path):
            return False
        self.seen += 1
        return self.seen > self.after and (self.times is None or self.hits < self.times)

    def _means(self, sender: TaskTry, method: str, path: str) -> bool:
        return (
            not self.is_lifted
            and re.fullmatch(self.dag_id, sender.dag_id) is not None
            and self.run_id in {None, sender.run_id}
            and self.map_index in {None, sender.map_index}
            and self.try_number in {None, sender.try_number}
            and self.method in {method, "*"}
            and re.fullmatch(self.path, path) is not None
        )

    def mark_hit(self) -> None:
        """Wake those who wait for it."""
        self._hit.set()

    async def until_lifted(self) -> None:
        """Wait until it is lifted."""
        while not self._lifted.is_set():  # noqa: ASYNC110 - lifted from another thread
            await asyncio.sleep(_HOLD_POLL_SECONDS)


@dataclass(frozen=True)
class Passage:
    """
    One request that went through the proxy, or did not.

    :param status: the server's answer; None if the request never arrived there, or the server was away.
    :param at: seconds since the epoch, when the request came.
    """

    sender: TaskTry | None
    method: str
    path: str
    status: int | None
    fault: Action | None
    at: float


class FaultProxy:
    """
    The proxy, on a thread of its own.

    :param upstream: the API server's address.
    :param find_attempt: from a task instance id to its attempt: each try has another id, the ``sub`` of its token.
    :param kill: ends the worker of a task process id, by SIGKILL.
    """

    def __init__(self, upstream: str, find_attempt: FindAttempt, kill: Kill) -> None:
        self.port = 0
        self.is_partitioned = False
        """Whether no connection gets through, in either direction."""
        self.passages: list[Passage] = []
        self._upstream = httpx.URL(upstream)
        self._find_attempt = find_attempt
        self._kill = kill
        self._faults: list[Fault] = []
        self._senders: dict[UUID, TaskTry] = {}
        self._pids: dict[UUID | None, int] = {}
        self._is_ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="fault-proxy", daemon=True)

    def __enter__(self) -> Self:
        """Start, and wait until it listens on ``port``."""
        self._thread.start()
        if not self._is_ready.wait(30):
            message = "The fault proxy did not start."
            raise TimeoutError(message)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop, and let go of all that is held."""
        for fault in self._faults:
            fault.lift()
        if self._loop and self._stopping:
            self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(30)

    def inject(self, fault: Fault) -> Fault:
        """Let it happen from now on."""
        self._faults.append(fault)
        return fault

    def remove(self, fault: Fault) -> None:
        """Forget a fault; what it holds goes on when it is lifted."""
        self._faults.remove(fault)

    def pid_of(self, task_instance_id: UUID | None) -> int | None:
        """Return the process of an attempt that has come by."""
        return self._pids.get(task_instance_id)

    def passages_of(self, dag_id: str, method: str, path: str, *, try_number: int | None = None) -> list[Passage]:
        """Return what a parent has sent, in its order."""
        return [
            passage
            for passage in tuple(self.passages)
            if passage.sender is not None
            and passage.sender.dag_id == dag_id
            and passage.method == method
            and re.fullmatch(path, passage.path)
            and try_number in {None, passage.sender.try_number}
        ]

    async def _run(self) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        # No connection is kept: one that the server has closed meanwhile would look like a fault of ours.
        limits = httpx.Limits(max_keepalive_connections=0, max_connections=None)
        async with httpx.AsyncClient(limits=limits, timeout=_UPSTREAM_TIMEOUT_SECONDS, trust_env=False) as self._client:
            server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
            self.port = server.sockets[0].getsockname()[1]
            self._is_ready.set()
            await self._stopping.wait()
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = h11.Connection(h11.SERVER)
        # Cancelled when the loop ends, and nobody waits for it: 3.11's streams would log that as an error.
        with contextlib.suppress(OSError, h11.RemoteProtocolError, asyncio.CancelledError):
            while (received := await _receive(connection, reader)) is not None:
                request, body = received
                response = await self._answer(request, body)
                if response is None:
                    break
                for event in response:
                    writer.write(connection.send(event) or b"")
                await writer.drain()
                if connection.our_state is h11.MUST_CLOSE:
                    break
                connection.start_next_cycle()
        # At once: to the worker it looks as if the server had died.
        writer.transport.abort()

    async def _answer(self, request: h11.Request, body: bytes) -> list[h11.Event] | None:
        """Return the reply; None if there is to be none."""
        method, path = request.method.decode(), request.target.decode().partition("?")[0]
        came_at = time.time()
        sender = await self._identify(request, path, body)
        fault = next((f for f in tuple(self._faults) if sender and f.takes(sender, method, path)), None)
        action = fault.action if fault else None
        status = None
        try:
            if fault and action is Action.HOLD:
                fault.mark_hit()
                await fault.until_lifted()
            if self.is_partitioned:
                return None
            if action is Action.UNAVAILABLE:
                return _short_reply(_UNAVAILABLE)
            if action is Action.SWALLOW:
                return _short_reply(_NO_CONTENT)
            reply = None
            if action not in {Action.KILL_BEFORE, Action.REFUSE}:
                if action is Action.REPEAT:
                    await self._forward(request, body)
                reply = await self._forward(request, body)
                status = _read_status(reply)
            if fault and sender and action in {Action.KILL_BEFORE, Action.KILL_AFTER}:
                await asyncio.to_thread(fault.kill or self._kill, self._pids[sender.id])
            is_answered = action in {None, Action.HOLD, Action.REPEAT} and not self.is_partitioned
            return reply if is_answered else None
        finally:
            self.passages.append(Passage(sender, method, path, status, action, came_at))
            if fault:
                fault.mark_hit()

    async def _forward(self, request: h11.Request, body: bytes) -> list[h11.Event] | None:
        url = self._upstream.copy_with(raw_path=request.target)
        headers = [(name, value) for name, value in request.headers if name not in _HOP_HEADERS | {b"host"}]
        upstream = self._client.build_request(request.method.decode(), url, headers=headers, content=body)
        try:
            response = await self._client.send(upstream, stream=True)
            content = b"".join([chunk async for chunk in response.aiter_raw()])
            await response.aclose()
        except httpx.TransportError:
            return None
        kept = [(name, value) for name, value in response.headers.raw if name.lower() not in _HOP_HEADERS]
        length = [] if response.status_code == _NO_CONTENT else [(b"content-length", str(len(content)).encode())]
        head = h11.Response(status_code=response.status_code, headers=[*kept, *length])
        return [head, h11.Data(data=content), h11.EndOfMessage()]

    async def _identify(self, request: h11.Request, path: str, body: bytes) -> TaskTry | None:
        task_instance_id = _read_subject(dict(request.headers).get(b"authorization", b""))
        if task_instance_id is None:
            return None
        if _RUN_REQUEST.fullmatch(path):
            # The first request of an attempt tells its task process. (From 3.3 the supervisor's sockets are not to
            # be read by others than root, so it cannot be found by its port.)
            self._pids[task_instance_id] = json.loads(body)["pid"]
        if task_instance_id not in self._senders:
            found = await asyncio.to_thread(self._find_attempt, task_instance_id)
            if found is None:
                return None
            self._senders[task_instance_id] = found
        return self._senders[task_instance_id]


async def _receive(connection: h11.Connection, reader: asyncio.StreamReader) -> tuple[h11.Request, bytes] | None:
    """Return the next request and its body; None if there are no more."""
    request, body = None, b""
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(_CHUNK_BYTES))
        elif isinstance(event, h11.Request):
            request = event
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage) and request is not None:
            return request, body
        else:
            return None


def _read_status(reply: list[h11.Event] | None) -> int | None:
    head = reply[0] if reply else None
    return head.status_code if isinstance(head, h11.Response) else None


def _short_reply(status: int) -> list[h11.Event]:
    if status == _NO_CONTENT:
        return [h11.Response(status_code=status, headers=[]), h11.EndOfMessage()]
    # As the API server itself would say it. (An answer that is not JSON ends the supervisor of 3.0 and 3.1, and with
    # the LocalExecutor the scheduler too: it cannot unpickle httpx's error.)
    body = json.dumps({"detail": "by the fault proxy"}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    return [h11.Response(status_code=status, headers=headers), h11.Data(data=body), h11.EndOfMessage()]


def _read_subject(authorization: bytes) -> UUID | None:
    """Return the task instance id in a worker's token, unverified: the server verifies it."""
    _, _, token = authorization.partition(b" ")
    parts = token.split(b".")
    if len(parts) != 3:
        return None
    payload: dict[str, Any] = json.loads(base64.urlsafe_b64decode(parts[1] + b"=" * (-len(parts[1]) % 4)))
    return UUID(payload["sub"])
