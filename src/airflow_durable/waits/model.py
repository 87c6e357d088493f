"""
What the page shows, and what each of its numbers means. Pure: no Airflow, no database.

=========================  ===========================================================================================
number                     is the count (or the sum) over all records in the task state store
-------------------------  -------------------------------------------------------------------------------------------
waiting now                parents whose task instance has not ended (:data:`UNFINISHED_STATES`) and whose child's
                           outcome has not been consumed
recovered                  parents of which at least one attempt took over the run that an earlier one had started
                           (:data:`TAKEOVERS`)
duplicates avoided         such attempts, of parents with a generated run id: at each, the stock operator would have
                           started a second run
child work not repeated    for each run that was taken over by such an attempt: the hours from its start to the last
                           take-over, or to its end if it had ended before
=========================  ===========================================================================================

Each is a lower bound. A record remembers its latest 50 attempts and goes with its Dag run; an attempt whose request was
answered by an existing run (a lost reply), or that succeeded again after its success had been recorded, leaves no such
decision.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_durable.core.model import Decision

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from airflow_durable.core.record import Record, TryEntry

TAKEOVERS = frozenset({Decision.RECONNECT, Decision.ALREADY_SUCCEEDED})
"""The decisions by which an attempt goes on with the run of an earlier one."""

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
"""A task instance's states before its end (3.1 to 3.3, ``utils/state.py``). Without a state it has not ended either."""


@dataclass(frozen=True)
class Run:
    """A Dag run, as far as the page shows it. No state: it is not there (any more)."""

    dag_id: str
    run_id: str
    state: str | None = None
    queued_at: datetime | None = None
    start_date: datetime | None = None
    end_date: datetime | None = None

    def worked_until(self, moment: datetime) -> float:
        """Return for how many seconds the run had worked by then."""
        if self.start_date is None:
            return 0.0
        until = moment if self.end_date is None else min(moment, self.end_date)
        return max(0.0, (until - self.start_date).total_seconds())


@dataclass(frozen=True)
class Parent:
    """The waiting task instance, in its latest try. No state and no try: the task instance is not there any more."""

    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    state: str | None = None
    try_number: int | None = None


@dataclass(frozen=True)
class Wait:
    """
    One row: a parent and its child.

    :param id: of the row in the task state store.
    :param record: None: what is stored cannot be understood.
    :param child: None: there is no record that would name it, or the user may not read its Dag.
    :param is_child_hidden: the user may not read the child's Dag.
    """

    id: int
    parent: Parent
    record: Record | None
    child: Run | None = None
    is_child_hidden: bool = False

    @property
    def is_recovered(self) -> bool:
        """Whether an attempt took over the run that an earlier one had started."""
        return self.record is not None and is_recovered(self.record)

    @property
    def since(self) -> datetime | None:
        """When the present child was first asked for."""
        if self.record is None:
            return None
        return next((entry.at for entry in self.record.tries if entry.run_id == self.record.run_id), None)


@dataclass(frozen=True)
class Attempt:
    """
    One try of the parent.

    :param is_silent: the scheduler ended it since its worker had gone silent; None: the user may not read that.
    """

    try_number: int
    state: str | None
    start_date: datetime | None
    end_date: datetime | None
    is_silent: bool | None = None


@dataclass(frozen=True)
class Filters:
    """What of the waits is wanted. Empty: all of them."""

    dag_id: str = ""
    child_dag_id: str = ""
    state: str = ""
    is_recovered_only: bool = False

    def matches(self, wait: Wait) -> bool:
        """Tell whether a wait is one of those whose record has to be read to know. The rest is the query's to know."""
        if self.is_recovered_only and not wait.is_recovered:
            return False
        if self.state == WAITING and (wait.record is None or wait.record.is_consumed):
            return False
        # A hidden child matches nothing: else whoever may not read a Dag could find out what it is called.
        return not self.child_dag_id or (wait.child is not None and wait.child.dag_id == self.child_dag_id)


WAITING = "waiting"
"""The filter's word for *waiting now*; all others are task instance states."""


def takeovers(record: Record) -> Iterator[TryEntry]:
    """Yield the attempts that took over the run of an earlier one."""
    return (entry for entry in record.tries if entry.decision in TAKEOVERS)


def is_recovered(record: Record) -> bool:
    """Tell whether an attempt took over the run of an earlier one."""
    return any(takeovers(record))
