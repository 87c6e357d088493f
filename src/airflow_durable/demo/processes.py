"""
Processes in sessions of their own: starting one, and finding and ending all that has come of it.

Airflow's components fork; task processes get a process group of their own (3.3,
``sdk/execution_time/supervisor.py``), so a component's group does not hold all of its offspring, and an orphan has no
parent to be found by. What they share is the session, and what every process inherits is ``AIRFLOW_HOME``. Nothing is
ever ended by name.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path
    from types import FrameType

LOCALHOST = "127.0.0.1"
END_LIMIT_SECONDS = 30.0
_CLOCK_SLACK_SECONDS = 2.0
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PORTS = range(15_000, 32_000)
"""Below the ports that systems give to outgoing connections, which could take a free port before its server does."""


class ProcessesRemainError(RuntimeError):
    """Processes could not be ended."""


@dataclass
class Component:
    """
    One long-running process of an Airflow, the leader of its own session.

    :param kind: what it is: ``scheduler``, ``triggerer``, ...
    :param name: the kind and a number.
    :param started_at: in seconds since the epoch.
    """

    kind: str
    name: str
    process: subprocess.Popen[bytes]
    log_path: Path
    started_at: float

    @property
    def is_alive(self) -> bool:
        """Whether the leader runs."""
        return self.process.poll() is None

    def tail(self, lines: int = 30) -> str:
        """Return the end of its log."""
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-lines:])


def start(kind: str, name: str, argv: Sequence[str], *, env: Mapping[str, str], log_path: Path) -> Component:
    """Start a process in a session of its own, its output appended to a file."""
    started_at = time.time()
    with log_path.open("ab") as log:
        process = subprocess.Popen(  # noqa: S603 - our own arguments, no shell
            [sys.executable, "-m", *argv],
            env=dict(env),
            cwd=log_path.parent,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return Component(kind, name, process, log_path, started_at)


def members(components: Sequence[Component], airflow_home: Path | None = None) -> list[psutil.Process]:
    """
    Return the running processes of the components' sessions.

    :param airflow_home: also return any process that was given this ``AIRFLOW_HOME``: one that left the session.
    """
    sessions = {component.process.pid: component.started_at for component in components}
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            started_at = sessions.get(os.getsid(process.pid))
            # A session's number can be given again once all of its processes have gone.
            is_ours = started_at is not None and process.create_time() >= started_at - _CLOCK_SLACK_SECONDS
            is_ours = is_ours or (airflow_home is not None and _home_of(process) == str(airflow_home))
            if is_ours and process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def end(components: Sequence[Component], airflow_home: Path | None = None) -> None:
    """
    Kill all that the components have started, and them, and wait until they have gone.

    :raises ProcessesRemainError: some are still there after :data:`END_LIMIT_SECONDS`.
    """
    deadline = time.monotonic() + END_LIMIT_SECONDS
    while remaining := members(components, airflow_home):
        if time.monotonic() > deadline:
            pids = ", ".join(str(process.pid) for process in remaining)
            message = f"These processes of the scratch Airflow could not be ended: {pids}. End them by hand."
            raise ProcessesRemainError(message)
        for process in remaining:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(remaining, timeout=1)
    for component in components:
        component.process.wait()


def kill_worker(task_pid: int, components: Sequence[Component]) -> tuple[int, ...]:
    """
    Kill a task process and the supervisor that runs it, as the loss of the machine would; return their process ids.

    The supervisor first: it would report its task's death to the API server.

    :param task_pid: as in the column ``task_instance.pid``.
    :raises LookupError: there is no such process of these components.
    """
    leaders = {component.process.pid for component in components}
    try:
        task = psutil.Process(task_pid)
        if os.getsid(task_pid) not in leaders:
            message = f"Process {task_pid} does not belong to this Airflow."
            raise LookupError(message)
        supervisor = task.parent()
    except (psutil.NoSuchProcess, ProcessLookupError) as error:
        message = f"Task process {task_pid} has gone already."
        raise LookupError(message) from error
    victims = [task]
    if supervisor is not None and supervisor.pid not in {*leaders, 1} and os.getsid(supervisor.pid) in leaders:
        victims.insert(0, supervisor)
    for process in victims:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    return tuple(process.pid for process in victims)


def free_port() -> int:
    """Return a TCP port of the loopback interface that nobody listens on."""
    for port in random.SystemRandom().sample(_PORTS, 200):
        with socket.socket() as candidate, contextlib.suppress(OSError):
            candidate.bind((LOCALHOST, port))
            return port
    message = f"No free port was found between {_PORTS.start} and {_PORTS.stop} on {LOCALHOST}."
    raise RuntimeError(message)


@contextlib.contextmanager
def ending_signals_raised() -> Iterator[None]:
    """
    Let SIGTERM and SIGHUP end the block by an exception, as SIGINT does, so that what it opened is closed.

    Only the first signal does: one that comes with it must not cut off the closing.
    """
    with _handled(_raise_once):
        yield


@contextlib.contextmanager
def ending_signals_ignored() -> Iterator[None]:
    """Let no impatient second signal cut off the block."""
    with _handled(_do_nothing):
        yield


@contextlib.contextmanager
def _handled(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in _ENDING}
    try:
        yield
    finally:
        for number, former in before.items():
            signal.signal(number, former)


def _raise_once(number: int, _: FrameType | None) -> None:
    for each in _ENDING:
        signal.signal(each, _do_nothing)
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)


def _do_nothing(_number: int, _frame: FrameType | None) -> None:
    """Not SIG_IGN: of a signal that has arrived already, Python would print that it ignores it."""


def _home_of(process: psutil.Process) -> str | None:
    try:
        home = process.environ().get("AIRFLOW_HOME")
    except (psutil.Error, OSError):
        return None
    return str(home) if home else None
