"""What rows of Airflow's metadata database are to us: the same types for each Airflow. Pure; dates are in UTC."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime, timedelta
    from uuid import UUID


class TaskKey(NamedTuple):
    """A task of a Dag."""

    dag_id: str
    task_id: str


class InstanceKey(NamedTuple):
    """
    A task instance, in all its tries.

    :param map_index: of a mapped task; in a loop (3.4), the iteration; else -1.
    :param region_id: the region that the instance is in (3.4), as 32 hexadecimal digits. A mapped task and a loop have
        one, and a loop whose gate was cleared has another for the iterations that followed. Empty: there is none.
    """

    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    region_id: str = ""

    @property
    def task(self) -> TaskKey:
        """Its task."""
        return TaskKey(self.dag_id, self.task_id)

    def to_json(self) -> dict[str, str | int]:
        """Return it as JSON has it: with the region only if there is one."""
        fields = self._asdict()
        return fields if self.region_id else {name: fields[name] for name in self._fields if name != "region_id"}


class DagRunKey(NamedTuple):
    """A Dag run."""

    dag_id: str
    run_id: str


@dataclass(frozen=True)
class TaskTry:
    """
    One try of a task instance.

    :param id: of the task instance in this try: each try has its own.
    :param max_tries: grows by a person's clear, and by nothing else.
    :param start_date: None: it has not begun. See :func:`without_copied_dates`.
    :param end_date: None: it has not ended.
    :param last_heartbeat_at: None: not known. To 3.3 Airflow keeps it for the latest try only.
    """

    key: InstanceKey
    try_number: int
    max_tries: int
    state: str | None
    start_date: datetime | None
    end_date: datetime | None
    id: UUID | None = None
    pid: int | None = None
    last_heartbeat_at: datetime | None = None

    @property
    def dag_id(self) -> str:
        """The task's Dag."""
        return self.key.dag_id

    @property
    def run_id(self) -> str:
        """The task's Dag run."""
        return self.key.run_id

    @property
    def task_id(self) -> str:
        """The task."""
        return self.key.task_id

    @property
    def map_index(self) -> int:
        """See :class:`InstanceKey`."""
        return self.key.map_index

    @property
    def began_at(self) -> datetime:
        """
        When it began.

        :raises ValueError: it has not.
        """
        if self.start_date is None:
            message = f"Try {self.try_number} of {self.key} has not begun."
            raise ValueError(message)
        return self.start_date

    def contains(self, moment: datetime) -> bool:
        """Return whether the try ran at that moment."""
        return self.began_at <= moment and (self.end_date is None or moment <= self.end_date)


@dataclass(frozen=True)
class Loss:
    """
    What the audit log says of a lost worker.

    :param at: when the scheduler noticed.
    :param timeout: for how long it had heard nothing by then; None: it does not say. 0: the executor reported the loss.
    """

    at: datetime
    timeout: timedelta | None = None


def losses_of(tries: Iterable[TaskTry], entries: Iterable[tuple[int, Loss]]) -> dict[int, Loss]:
    """
    Return the loss of each try that has one: the first since the try began.

    One of before is of an earlier life: of a Dag run that was deleted and created again under the same id. The audit
    log keeps its entries under the same names and try numbers (3.0 to 3.3; in 3.4 with the task instance's id).

    :param entries: try numbers, and what the audit log says, the first first.
    """
    began = {one.try_number: one.start_date for one in tries}
    found: dict[int, Loss] = {}
    for number, loss in entries:
        start = began.get(number)
        if start is not None and loss.at >= start:
            found.setdefault(number, loss)
    return found


@dataclass(frozen=True)
class DagRun:
    """
    A Dag run.

    :param state: None: there is no such run (any more).
    :param id: of its row; grows with each new run.
    :param created_at: from Airflow 3.2 on; None for runs of before.
    """

    dag_id: str
    run_id: str
    state: str | None = None
    queued_at: datetime | None = None
    start_date: datetime | None = None
    end_date: datetime | None = None
    logical_date: datetime | None = None
    run_after: datetime | None = None
    created_at: datetime | None = None
    clear_number: int = 0
    id: int = 0

    @property
    def key(self) -> DagRunKey:
        """What tells it from every other."""
        return DagRunKey(self.dag_id, self.run_id)


UNFINISHED_STATES = (
    "scheduled",
    "queued",
    "running",
    "restarting",
    "up_for_retry",
    "up_for_reschedule",
    "deferred",
    "awaiting_input",
)
"""A task instance's states before its end (3.1 to 3.4, ``utils/state.py``). Without a state it has not ended either."""

ENDED_STATES = frozenset({"success", "failed", "skipped", "upstream_failed", "removed"})
"""All other states of a task instance (3.1 to 3.4)."""
