"""
Which call of the try this is.

A task normally starts one child. A ``@task`` that calls ``.execute(context)`` in a loop, or a subclass that calls
``super().execute()`` several times, starts several: they are numbered in the order in which the try makes them, and
each has its own entries in the journal.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_durable.task.journal import NoJournal, StoreJournal

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow.providers.common.compat.sdk import Context

    from airflow_durable.core.record import Record
    from airflow_durable.task.journal import Journal


class ResumedEnd(BaseException):
    """
    A call that was resumed has ended, and ``execute`` is left, as it was when the task was deferred.

    So what a subclass does behind ``super().execute()`` is not done after a deferral, and what it does in
    ``execute_complete`` gets what the call returns.

    :param result: what the call returns.
    """

    def __init__(self, result: Any) -> None:  # noqa: ANN401 - what the child's tasks returned
        super().__init__()
        self.result = result


def run_resumed(execute: Callable[[], Any]) -> Any:  # noqa: ANN401 - see ResumedEnd
    """Call ``execute`` once more after a deferral, and return what the call that it makes returns."""
    try:
        return execute()
    except ResumedEnd as end:
        return end.result


@dataclass
class Call:
    """
    One call.

    :ivar number: from 1.
    :ivar epoch: of the first call of this try; None: this is the first.
    :ivar is_journal_proven: the first call found an entry in its journal.
    :ivar is_resumed: it was deferred in this try, and begins again.
    """

    number: int
    epoch: int | None
    is_journal_proven: bool
    is_resumed: bool
    journal: Journal
    _calls: Calls = field(repr=False)

    def started(self, record: Record, *, has_record: bool) -> None:
        """
        Note what the first call came to: later ones follow it.

        :param has_record: it had been read from the journal.
        """
        if self.number == 1:
            self._calls.epoch = record.epoch
            self._calls.is_journal_proven = self._calls.is_journal_proven or has_record

    def known_at_once(self) -> None:
        """Note that the event that execute_complete gets next is of this very try."""
        self._calls.is_known_at_once = True


@dataclass
class Calls:
    """
    The calls of one try, in this process.

    :ivar is_known_at_once: the outcome was known before a deferral, and execute_complete is called with it.
    :ivar begun_again: the number of the call that was deferred, and then had to begin again; 0: none.
    :ivar event: holds the event with which the next call of ``execute`` continues; None: it begins.
    :ivar has_many: the operator with many runs was called.
    """

    task_instance_id: str
    journal: Journal
    event: tuple[Any] | None = None
    has_many: bool = False
    is_known_at_once: bool = False
    begun_again: int = 0
    count: int = 0
    epoch: int | None = None
    is_journal_proven: bool = False

    def following(self) -> Call:
        """Return the call that is made now."""
        self.count += 1
        is_resumed = self.count == self.begun_again
        return Call(self.count, self.epoch, self.is_journal_proven, is_resumed, self.journal, self)


_current: Calls | None = None


def next_call(context: Context) -> Call:
    """Return the call that the try of this context makes now."""
    return _of(context).following()


def is_known_at_once(context: Context) -> bool:
    """Return whether the event that execute_complete gets was made by this execution, and by no trigger."""
    return _of(context).is_known_at_once


def begin_again(context: Context, number: int) -> None:
    """
    Start the count anew, after a deferral: ``execute`` is called once more, and makes all its calls.

    :param number: of the call that was deferred. Those before it have ended, and are made as in any try.
    """
    calls = _of(context)
    calls.count, calls.begun_again = 0, number


def continue_with(context: Context, event: Any) -> None:  # noqa: ANN401 - it comes from the database
    """Let the call of the operator with many runs continue with the event of a trigger: ``execute`` is called anew."""
    calls = _of(context)
    calls.count, calls.event, calls.has_many = 0, (event,), False


def take_event(context: Context) -> tuple[Any] | None:
    """Return what holds the event with which the call that is made now continues, once; None: it begins."""
    calls = _of(context)
    event, calls.event = calls.event, None
    return event


def note_many(context: Context) -> bool:
    """Note that the operator with many runs is called, and return whether it was before."""
    calls = _of(context)
    before, calls.has_many = calls.has_many, True
    return before


def resume_at(context: Context, number: int) -> Journal:
    """
    Continue the count after a deferral: the next call is that one again. Return the journal of the try.

    A deferred task is resumed in another process, but for ``dag.test()``: there in the same one.

    :param number: of the call that deferred.
    """
    calls = _of(context)
    calls.count = number - 1
    return calls.journal


def _of(context: Context) -> Calls:
    """Return the calls of this try. A process runs one try, but for ``dag.test()``, which runs one after the other."""
    global _current  # noqa: PLW0603 - what it is: the state of the process
    task_instance_id = str(context["ti"].id)
    if _current is None or _current.task_instance_id != task_instance_id:
        _current = Calls(task_instance_id, _open_journal(context, task_instance_id))
    return _current


def _open_journal(context: Context, task_instance_id: str) -> Journal:
    store: Any = context.get("task_state_store")
    if store is None:
        return NoJournal()
    return StoreJournal(store, task_instance_id)
