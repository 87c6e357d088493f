"""
What the page shows, and what each of its numbers means. Pure.

=========================  ===========================================================================================
number                     is the count (or the sum) over all records in the task state store
-------------------------  -------------------------------------------------------------------------------------------
waiting now                parents whose task instance has not ended (``UNFINISHED_STATES`` in ``metadata/model.py``)
                           and whose child's outcome has not been consumed
recovered                  parents of which at least one try took over the run that an earlier one had started
                           (:data:`TAKEOVERS`)
duplicates avoided         such tries, of parents with a generated run id: at each, the stock operator would have
                           started a second run
child work not repeated    for each run that was taken over by such a try: the hours from its start to the last
                           take-over, or to its end if it had ended before
=========================  ===========================================================================================

Each is a lower bound. A record remembers its latest 50 tries and goes with its Dag run; a try whose request was
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
    from airflow_durable.metadata.model import DagRun, InstanceKey

TAKEOVERS = frozenset({Decision.RECONNECT, Decision.ALREADY_SUCCEEDED})
"""The decisions by which a try continues with the run of an earlier one."""


@dataclass(frozen=True)
class Wait:
    """
    One row: a parent and its child.

    :param id: of the row in the task state store.
    :param is_mapped: the parent is of a mapped task. If not, a map index is the iteration of a loop (3.4).
    :param state: the parent's, in its latest try. No state and no try: the task instance is not there any more.
    :param record: None: what is stored cannot be understood.
    :param child: None: there is no record that would name it, or the user may not read its Dag.
    :param is_child_hidden: the user may not read the child's Dag.
    """

    id: int
    parent: InstanceKey
    state: str | None
    try_number: int | None
    is_mapped: bool
    record: Record | None
    child: DagRun | None = None
    is_child_hidden: bool = False

    @property
    def is_recovered(self) -> bool:
        """Whether a try took over the run that an earlier one had started."""
        return self.record is not None and is_recovered(self.record)

    @property
    def since(self) -> datetime | None:
        """When the present child was first asked for."""
        if self.record is None:
            return None
        return next((entry.at for entry in self.record.tries if entry.run_id == self.record.run_id), None)


@dataclass(frozen=True)
class Filters:
    """What of the waits is wanted. Empty: all of them."""

    dag_id: str = ""
    child_dag_id: str = ""
    state: str = ""
    is_recovered_only: bool = False

    def matches(self, wait: Wait) -> bool:
        """Return whether a wait is one whose record has to be read to know. The rest is for the query to know."""
        if self.is_recovered_only and not wait.is_recovered:
            return False
        if self.state == WAITING and (wait.record is None or wait.record.is_consumed):
            return False
        # A hidden child matches nothing: else whoever may not read a Dag could find out what it is called.
        return not self.child_dag_id or (wait.child is not None and wait.child.dag_id == self.child_dag_id)


WAITING = "waiting"
"""The filter's word for *waiting now*; all others are task instance states."""


def takeovers(record: Record) -> Iterator[TryEntry]:
    """Yield what was decided by the tries that took over the run of an earlier one."""
    return (entry for entry in record.tries if entry.decision in TAKEOVERS)


def is_recovered(record: Record) -> bool:
    """Return whether a try took over the run of an earlier one."""
    return any(takeovers(record))


def worked_until(run: DagRun, moment: datetime) -> float:
    """Return for how many seconds a run had worked by then."""
    if run.start_date is None:
        return 0.0
    until = moment if run.end_date is None else min(moment, run.end_date)
    return max(0.0, (until - run.start_date).total_seconds())
