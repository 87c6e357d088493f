"""
``execution_timeout`` and the channel to the supervisor: the alarm waits while a request is under way.

Airflow's ``timeout`` sets a timer (``signal.setitimer``), and the handler of its SIGALRM raises ``AirflowTaskTimeout``
in the main thread (3.0: ``airflow/utils/timeout.py``; 3.1 to 3.4.0b2: ``sdk/execution_time/timeout.py``). Raised while
an answer is being read, it leaves the rest of that answer in the channel, to be read as the answer to the next request.

Blocking the signal would not help. The timer's signal goes to the process: any other thread that does not block it
receives it, and CPython runs the handler in the main thread all the same. So the handler itself is replaced.

Airflow 3.4 also sends the timeout to the supervisor (``SetExecutionTimeout``), which ends a process that is still there
``[core] killed_task_cleanup_time`` seconds after it. The alarm in the task's process is as before, so this holds there
too; a request without an answer is ended by that supervisor. Before 3.4 such a request lasts as long as it lasts.
"""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Self


def undisturbed() -> HeldAlarm:
    """
    Return a context in which an alarm is only noted, and raised by its own handler at the end.

    May be nested. Does nothing where no alarm can strike: in a thread other than the main one, and without a handler.
    """
    return HeldAlarm()


class HeldAlarm:
    """
    A class, not a generator: there is no moment between ``__enter__`` and the body at which the handler could stay.

    No alarm is lost. ``signal.signal`` runs what is pending before it changes the handler (CPython,
    ``Modules/signalmodule.c``), and an alarm after that finds the new one: so each is raised, or noted, once.
    """

    def __init__(self) -> None:
        self._handler: Callable[..., Any] | None = None
        self._is_noted = False

    def __enter__(self) -> Self:
        """Put a handler in place that only notes the alarm."""
        if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGALRM"):
            return self
        handler = signal.getsignal(signal.SIGALRM)
        if not callable(handler):
            return self  # The system's own action, or that of a library in C: nothing of Python is interrupted.
        self._handler = handler
        try:
            signal.signal(signal.SIGALRM, self._note)
        except BaseException:
            # What is raised here is an alarm that came before, or another signal's error.
            self._release()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Put the handler back, and raise the alarm that was noted."""
        self._release()

    def _note(self, *_: object) -> None:
        self._is_noted = True

    def _release(self) -> None:
        if self._handler is None:
            return
        handler, self._handler = self._handler, None
        try:
            signal.signal(signal.SIGALRM, handler)
            if self._is_noted:
                handler(signal.SIGALRM, None)
        except BaseException as alarm:
            # The request may have ended in an error whose text quotes what was sent: it must not be logged with this.
            alarm.__context__ = None
            raise
