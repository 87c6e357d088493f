"""``execution_timeout`` while a request is under way: with Airflow's own timer, and threads that take its signal."""

from __future__ import annotations

import array
import fcntl
import itertools
import random
import signal
import socket
import termios
import threading
import time
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import pytest
from airflow.sdk.execution_time import comms, task_runner
from msgspec import msgpack

from airflow_durable import task_sdk
from airflow_durable.alarm import HeldAlarm, undisturbed
from airflow_durable.compat import AirflowTaskTimeout
from airflow_durable.server_errors import read_failure

from .versions import import_quietly, timeout_of_airflow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# The guard's own alarm would be the one that is tested.
pytestmark = pytest.mark.timeout(300, method="thread")

ROUNDS = 3000
MAX_LOOK_UPS = 1000  # in a round that its alarm ends after a few
TICK_SECONDS = 0.1
SILENT_TICKS = 600  # On a busy machine the thread that answers may rest for seconds.
STATES = ("queued", "running", "success", "failed")
HEADER_BYTES = 4


class Alarm(BaseException):
    """What the handler of a test raises."""


@pytest.fixture
def raised() -> Iterator[list[int]]:
    """Let an alarm raise; return how often it did."""
    seen: list[int] = []

    def handler(number: int, _frame: object) -> None:
        seen.append(number)
        raise Alarm

    before = signal.signal(signal.SIGALRM, handler)
    try:
        yield seen
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture
def other_threads() -> Iterator[None]:
    """Run threads that do not block the alarm, as an exporter of OpenTelemetry or of Sentry does."""
    stop = threading.Event()
    threads = [threading.Thread(target=stop.wait) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def read(channel: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count and (part := channel.recv(count - len(data))):
        data += part
    return data


class Supervisor(threading.Thread):
    """Answers each look-up by the number in its run id, in parts, so that a reader is interrupted in mid-frame."""

    def __init__(self, channel: socket.socket) -> None:
        super().__init__()
        self.channel = channel
        self.random = random.Random(1)  # noqa: S311 - where to cut a frame
        self.requests = 0

    def run(self) -> None:
        """Answer until the channel is closed."""
        while header := read(self.channel, HEADER_BYTES):
            number, body, *_ = msgpack.decode(read(self.channel, int.from_bytes(header, "big")))
            self.requests += 1
            state = STATES[int(body["run_id"]) % len(STATES)]
            data = msgpack.encode([number, {"type": "DagRunStateResult", "state": state}, None])
            frame = len(data).to_bytes(HEADER_BYTES, "big") + data
            # Behind the length: up to 3.2 Airflow takes what there is of it for the whole.
            cut = self.random.randrange(HEADER_BYTES, len(frame))
            for part in (frame[:cut], frame[cut:]):
                self.channel.sendall(part)
                time.sleep(0)


class Listener(threading.Thread):
    """
    Ends the channel once nothing has been asked for long: a reader that waits for more than will come must not hang.

    It counts its own ticks, not seconds: while the whole machine stands still, it stands still, too.

    :ivar found: what was in the channel then; empty: there was no such silence.
    """

    def __init__(self, supervisor: Supervisor, ours: socket.socket) -> None:
        super().__init__()
        self.supervisor = supervisor
        self.ours = ours
        self.has_ended = threading.Event()
        self.found = ""

    def run(self) -> None:
        """Listen until the test has ended."""
        silent, before = 0, -1
        while not self.has_ended.wait(TICK_SECONDS):
            silent, before = (silent + 1 if self.supervisor.requests == before else 0), self.supervisor.requests
            if silent == SILENT_TICKS:
                self.found = (
                    f"silence after {before} requests; unread by the task: {unread(self.ours)} bytes, by the "
                    f"supervisor: {unread(self.supervisor.channel)} bytes"
                )
                self.ours.shutdown(socket.SHUT_RDWR)


def unread(channel: socket.socket) -> int:
    """Return the number of bytes that lie in a channel."""
    count = array.array("i", [0])
    fcntl.ioctl(channel, termios.FIONREAD, count)
    return count[0]


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    """Put a supervisor at the end of a real channel."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        thread = Supervisor(theirs)
        listener = Listener(thread, ours)
        thread.start()
        listener.start()
        decoder: Any = comms.CommsDecoder(socket=ours)
        try:
            with patch.object(task_runner, "SUPERVISOR_COMMS", decoder, create=True):
                yield thread
        finally:
            listener.has_ended.set()
            listener.join()
            ours.shutdown(socket.SHUT_RDWR)
            thread.join()
        assert not listener.found


def look_up(number: int) -> None:
    """Ask for the run of a number; see that the answer is that of this request and of no other."""
    run = task_sdk.look_up("child", str(number), is_detailed=False)
    assert run is not None
    assert run.state == STATES[number % len(STATES)]


@pytest.mark.usefixtures("other_threads")
def test_alarms_at_random_moments_leave_the_channel_in_step(supervisor: Supervisor) -> None:
    """A state that is another request's, a length that is none, or an alarm that never comes: each would fail here."""
    moments = random.Random(2)  # noqa: S311 - not a secret
    numbers = itertools.count()
    struck_a_request = 0
    failures: list[Exception] = []

    def look_up_until_the_alarm(seconds: float) -> None:
        with timeout_of_airflow(seconds):
            for _ in range(MAX_LOOK_UPS):
                look_up(next(numbers))

    def read_failure_seen(error: Exception, **options: Any) -> Any:  # noqa: ANN401 - a patch
        # The alarm of the same request takes the place of the error; the next request would then get this one's answer.
        failures.append(error)
        return read_failure(error, **options)

    def noted(held: HeldAlarm, *_: object) -> None:
        nonlocal struck_a_request
        struck_a_request += 1
        held._is_noted = True

    handler_before = signal.getsignal(signal.SIGALRM)
    try:
        with (
            patch("airflow_durable.alarm.HeldAlarm._note", noted),
            patch("airflow_durable.task_sdk.channel.read_failure", read_failure_seen),
        ):
            for _ in range(ROUNDS):
                with pytest.raises(AirflowTaskTimeout):
                    look_up_until_the_alarm(moments.uniform(20e-6, 1e-3))
                assert not failures
                assert not isinstance(getattr(signal.getsignal(signal.SIGALRM), "__self__", None), HeldAlarm)
                look_up(next(numbers))
    finally:
        signal.signal(signal.SIGALRM, handler_before)
    assert supervisor.requests >= ROUNDS
    assert struck_a_request > ROUNDS / 10, "the alarms fell between the requests: this test has shown nothing"


@pytest.mark.usefixtures("other_threads")
def test_an_alarm_that_another_thread_receives_is_raised_after_the_request(raised: list[int]) -> None:
    steps = []

    def request() -> None:
        with undisturbed() as held:
            signal.setitimer(signal.ITIMER_REAL, 0.001)
            # The timer has run out before the thread that receives the signal has had its turn.
            while not held._is_noted:
                time.sleep(0.001)
            steps.append("request done")

    # Blocked here, the signal goes to another thread for certain; CPython runs the handler here all the same.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
    try:
        with pytest.raises(Alarm):
            request()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    assert steps == ["request done"]
    assert len(raised) == 1


def at_a_change_of_handler(which: int, moment: str) -> Any:  # noqa: ANN401 - a patch
    """Let the alarm strike just before or just after the handler is changed for the n-th time."""
    change: Callable[..., Any] = signal.signal
    changes = 0

    def striking(number: int, handler: Any) -> Any:  # noqa: ANN401
        nonlocal changes
        changes += 1
        if changes == which and moment == "before":
            signal.raise_signal(signal.SIGALRM)
        result = change(number, handler)
        if changes == which and moment == "after":
            signal.raise_signal(signal.SIGALRM)
        return result

    return patch("airflow_durable.alarm.signal.signal", striking)


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("which", [1, 2], ids=["put in place", "put back"])
def test_an_alarm_between_two_handlers_is_raised_once(raised: list[int], which: int, moment: str) -> None:
    handler = signal.getsignal(signal.SIGALRM)
    with at_a_change_of_handler(which, moment), pytest.raises(Alarm), undisturbed():
        pass
    assert len(raised) == 1
    assert signal.getsignal(signal.SIGALRM) is handler


def test_an_alarm_in_a_nested_request_is_raised_after_the_outermost(raised: list[int]) -> None:
    steps = []

    def request() -> None:
        with undisturbed():
            with undisturbed():
                signal.raise_signal(signal.SIGALRM)
                steps.append("inner")
            steps.append("outer")

    with pytest.raises(Alarm):
        request()
    assert steps == ["inner", "outer"]
    assert len(raised) == 1


def test_without_an_alarm_nothing_is_raised_and_the_handler_is_back(raised: list[int]) -> None:
    handler = signal.getsignal(signal.SIGALRM)
    with undisturbed(), undisturbed():
        assert signal.getsignal(signal.SIGALRM) is not handler
    assert signal.getsignal(signal.SIGALRM) is handler
    assert raised == []


def test_a_request_that_fails_puts_the_handler_back(raised: list[int]) -> None:
    handler = signal.getsignal(signal.SIGALRM)
    with pytest.raises(KeyError), undisturbed():
        raise KeyError
    assert signal.getsignal(signal.SIGALRM) is handler
    assert raised == []


@pytest.mark.usefixtures("raised")
def test_the_alarm_does_not_carry_the_error_of_the_request_into_the_log() -> None:
    def request() -> None:
        with undisturbed():
            signal.raise_signal(signal.SIGALRM)
            message = "hunter2"
            raise ValueError(message)

    with pytest.raises(Alarm) as caught:
        request()
    assert caught.value.__context__ is None
    assert caught.value.__cause__ is None


@pytest.mark.usefixtures("raised")
def test_another_signals_error_puts_the_handler_back() -> None:
    handler = signal.getsignal(signal.SIGALRM)
    change = signal.signal
    changes = 0

    def interrupted(number: int, new: Any) -> Any:  # noqa: ANN401 - a handler
        nonlocal changes
        changes += 1
        result = change(number, new)
        if changes == 1:
            raise KeyboardInterrupt
        return result

    with (
        patch("airflow_durable.alarm.signal.signal", interrupted),
        pytest.raises(KeyboardInterrupt),
        undisturbed(),
    ):
        pytest.fail("the request must not begin")
    assert signal.getsignal(signal.SIGALRM) is handler


@pytest.mark.parametrize("handler", [signal.SIG_IGN, signal.SIG_DFL], ids=["ignored", "default"])
def test_without_a_handler_of_python_nothing_is_changed(handler: signal.Handlers) -> None:
    before = signal.signal(signal.SIGALRM, handler)
    try:
        with undisturbed():
            assert signal.getsignal(signal.SIGALRM) is handler
        assert signal.getsignal(signal.SIGALRM) is handler
    finally:
        signal.signal(signal.SIGALRM, before)


def test_another_thread_asks_without_touching_the_handler(raised: list[int]) -> None:
    """Handlers run in the main thread alone, and can be set there alone."""
    handler = signal.getsignal(signal.SIGALRM)
    seen: list[object] = []

    def ask() -> None:
        with undisturbed():
            seen.append(signal.getsignal(signal.SIGALRM))

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    assert seen == [handler]
    assert raised == []


@pytest.mark.usefixtures("raised")
def test_dag_test_has_no_answer_left_over() -> None:
    """There the answers lie in a queue of this process, and ``execution_timeout`` sets its alarm as in a worker."""
    import_quietly()
    from airflow.sdk.execution_time.supervisor import InProcessSupervisorComms

    class InProcess:
        def _handle_request(self, *_: object) -> None:
            channel.messages.append(comms.DagRunStateResult(state="queued"))  # type: ignore[arg-type] # its text
            signal.raise_signal(signal.SIGALRM)

    channel = InProcessSupervisorComms(supervisor=InProcess())  # type: ignore[arg-type] # all that is used of it
    with patch.object(task_runner, "SUPERVISOR_COMMS", channel, create=True), pytest.raises(Alarm):
        task_sdk.look_up("child", "run", is_detailed=False)
    assert not channel.messages
