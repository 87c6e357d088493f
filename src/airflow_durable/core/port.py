"""What the protocol needs from the world. Every call may crash, fail, or take effect and lose its answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

from airflow_durable.core.errors import (
    JournalReadError,
    JournalWriteError,
    LookUpFailedError,
    SubmissionUnknownError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from airflow_durable.core.model import ChildRun, Decision, Look
    from airflow_durable.core.record import Record

PAUSES_SECONDS = (1.0, 5.0, 15.0)
"""Pauses before a request with an unknown or unreadable answer is repeated. Airflow's client has by then repeated it
5 times itself (3.1 to 3.3, ``sdk/api/client.py``)."""

T = TypeVar("T")


class Port(Protocol):
    """
    The world, as one try sees it.

    :ivar has_store: this Airflow keeps a record (3.3 and later).
    :ivar has_details: a look-up returns more than the state (3.2 and later).
    """

    has_store: bool
    has_details: bool

    def read(self, call: int) -> Record | None:
        """
        Return the newest entry of the call's journal, None if it has none.

        To a try that has written before it read: the newest one of an earlier task instance, if there is any. Raises
        JournalReadError, RecordDamagedError.
        """

    def write(self, record: Record) -> None:
        """
        Store the record as the newest entry of its call, durably, if this try is still the current one.

        The same entry again is the same write. Raises JournalWriteError if the try is superseded, if the entry may not
        have been stored, or if it shows that a read that found no entry was wrong.
        """

    def look_up(self, dag_id: str, run_id: str, *, is_detailed: bool) -> ChildRun | None:
        """
        Return the run, None if there is none. Raises LookUpFailedError.

        :param is_detailed: all that a look-up can say is wanted, not the state alone.
        """

    def count(self, dag_id: str, run_ids: Sequence[str], states: Sequence[str] | None) -> int:
        """
        Return how many of these runs exist. Raises LookUpFailedError.

        :param states: count only those in one of these states; None: in any.
        """

    def is_upstream_newer(self, than: datetime | None) -> bool | None:
        """
        Return whether a task upstream of the parent ran again after this moment; None: that cannot be known.

        :param than: None: not known either.
        """

    def task_states(self, dag_id: str, run_id: str) -> Mapping[str, str | None] | None:
        """
        Return the states of the run's tasks by their names; None: they cannot be told just now. Must not fail.

        A state is None for one that is yet to be scheduled.
        """

    def check(self, record: Record) -> None:
        """Have the stock operator check its request for the recorded run, as it does before it sends one. It raises."""

    def submit(self, record: Record) -> bool:
        """
        Ask for the recorded run: True if it was created, False on a 409.

        Raises SubmissionRefusedError (nothing was started), SubmissionUnknownError (it may have been).
        """

    def reset(self, record: Record) -> None:
        """
        Clear the recorded run, or create it if it has gone. Raises as :meth:`submit` does.

        A 409 does not say that it was cleared: raises SubmissionUnknownError.
        """

    def now(self) -> datetime:
        """Return the present, in UTC, to the microsecond."""

    def sleep(self, seconds: float) -> None:
        """Sleep."""

    def report(self, decision: Decision, record: Record, seen: ChildRun | Look | None) -> None:
        """
        Say what was decided. Must not fail.

        :param record: of the run that was decided about.
        """

    def report_wait(self, record: Record, state: str | None, waited_seconds: float) -> None:
        """
        Say how the wait stands. Must not fail.

        :param state: None: it could not be read just now.
        """

    def why_queued(self, dag_id: str) -> str | None:
        """Return why a run of this Dag may still be queued; None: it is not known. Must not fail."""

    def report_trouble(self, error: Exception) -> None:
        """Say that a call failed and will be repeated. Must not fail."""


def read(port: Port, call: int) -> Record | None:
    """Read the call's journal; repeat what fails for a reason that may pass."""
    return _repeat(port, lambda: port.read(call), JournalReadError)


def write(port: Port, record: Record) -> None:
    """Store the record; repeat what may not have arrived. The same entry twice is one entry."""
    _repeat(port, lambda: port.write(record), JournalWriteError)


def look_up(port: Port, dag_id: str, run_id: str) -> ChildRun | None:
    """Look the run up in detail; repeat what fails for a reason that may pass."""
    return _repeat(port, lambda: port.look_up(dag_id, run_id, is_detailed=True), LookUpFailedError)


def count(port: Port, dag_id: str, run_ids: Sequence[str], states: Sequence[str] | None) -> int:
    """Count the runs; repeat what fails for a reason that may pass."""
    return _repeat(port, lambda: port.count(dag_id, run_ids, states), LookUpFailedError)


def submit(port: Port, record: Record) -> bool:
    """Submit; repeat what may not have arrived. The repetition cannot make a second run: it has the same run id."""
    return _repeat(port, lambda: port.submit(record), SubmissionUnknownError)


def _repeat(port: Port, call: Callable[[], T], passing: type[Exception]) -> T:
    for pause_seconds in PAUSES_SECONDS:
        try:
            return call()
        except passing as error:
            if not getattr(error, "is_transient", True):
                raise
            port.report_trouble(error)
        port.sleep(pause_seconds)
    return call()
