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
from datetime import datetime, timedelta, timezone
from enum import Enum
from typing import TYPE_CHECKING

from airflow_durable.core.ledger import Ledger
from airflow_durable.core.model import Decision
from airflow_durable.metadata.model import ENDED_STATES
from airflow_durable.wording import HeartbeatLimits, describe_silence, is_quiet

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_durable.core.record import Record, TryEntry
    from airflow_durable.metadata.ledgers import ItemCounts
    from airflow_durable.metadata.model import DagRun, InstanceKey

TAKEOVERS = frozenset({Decision.RECONNECT, Decision.ALREADY_SUCCEEDED})
"""The decisions by which a try continues with the run of an earlier one."""

QUEUED_LONG = timedelta(minutes=5)
"""A child run that has been queued for longer needs a person's attention."""

_UNFINISHED_RUNS = frozenset({"queued", "running"})
_LIMITS = HeartbeatLimits()
_UNKNOWN = datetime.min.replace(tzinfo=timezone.utc)


class Concern(str, Enum):
    """Why a wait needs a person's attention. The values are in addresses and in JSON."""

    SILENT = "no_heartbeat"
    """The parent counts as running and sends no heartbeat: its worker is most likely dead."""

    QUEUED = "child_queued"
    """The child run has been queued for more than :data:`QUEUED_LONG`."""

    PAUSED = "child_paused"
    """The child's Dag is paused, so Airflow neither starts nor continues the child run."""


@dataclass(frozen=True)
class Wait:
    """
    One row: a parent and its child.

    :param id: of the row in the task state store.
    :param seen_at: when it was read.
    :param is_mapped: the parent is of a mapped task. If not, a map index is the iteration of a loop (3.4).
    :param state: the parent's, in its latest try. No state and no try: the task instance is not there any more.
    :param record: None: what is stored cannot be understood.
    :param child: None: there is no record that would name it, or the user may not read its Dag.
    :param is_child_hidden: the user may not read the child's Dag.
    :param is_child_paused: the child's Dag is paused.
    :param ended_at: when the parent's latest try ended; None: it has not.
    :param last_heartbeat_at: when the parent's latest try was last heard of.
    :param changed_at: when the record was last written.
    :param items: how many items of a task with many children are done; None: not counted, or there is one child.
    """

    id: int
    parent: InstanceKey
    state: str | None
    try_number: int | None
    is_mapped: bool
    record: Record | None
    seen_at: datetime = _UNKNOWN
    child: DagRun | None = None
    is_child_hidden: bool = False
    is_child_paused: bool = False
    max_tries: int | None = None
    ended_at: datetime | None = None
    last_heartbeat_at: datetime | None = None
    changed_at: datetime | None = None
    limits: HeartbeatLimits = _LIMITS
    items: ItemCounts | None = None

    @property
    def ledger(self) -> Ledger | None:
        """The record, if it is that of a task with many children."""
        return self.record if isinstance(self.record, Ledger) else None

    @property
    def items_pattern(self) -> str:
        """What finds the child runs of a task with many in Airflow's list of Dag runs: how their run ids begin."""
        date = self.ledger.run_id.removeprefix("manual__").partition("_")[0] if self.ledger else ""
        return f"manual__{date}_"

    @property
    def is_recovered(self) -> bool:
        """Whether a try took over the run that an earlier one had started."""
        return self.record is not None and is_recovered(self.record)

    @property
    def is_waiting(self) -> bool:
        """Whether it counts as *waiting now*."""
        return self.record is not None and not self.record.is_consumed and self.state not in ENDED_STATES

    @property
    def since(self) -> datetime | None:
        """When the present child was first asked for."""
        if self.record is None:
            return None
        return next((entry.at for entry in self.record.tries if entry.run_id == self.record.run_id), None)

    @property
    def seconds(self) -> float | None:
        """For how long it has waited: to the end of the parent, or to the present. None: not known."""
        if self.since is None or (self.ended_at is None and not self.is_waiting):
            return None
        until = self.ended_at if self.state in ENDED_STATES and self.ended_at else self.seen_at
        return max(0.0, (until - self.since).total_seconds())

    @property
    def has_next_try(self) -> bool:
        """Whether Airflow will retry the parent if it finds its worker dead (3.0 to 3.4, its scheduler's rule)."""
        return bool(self.max_tries) and (self.try_number or 0) <= (self.max_tries or 0)

    @property
    def silence(self) -> str | None:
        """What there is to say of a parent that sends no heartbeat, with times in UTC; None: it does, or need not."""
        if self.last_heartbeat_at is None or Concern.SILENT not in self.concerns:
            return None
        return describe_silence(self.last_heartbeat_at, self.seen_at, self.limits, has_next_try=self.has_next_try)

    @property
    def concerns(self) -> tuple[Concern, ...]:
        """Why it needs a person's attention."""
        found = []
        if is_quiet(self.state, self.last_heartbeat_at, self.seen_at, self.limits):
            found.append(Concern.SILENT)
        child = self.child
        if child is None or not self.is_waiting or child.state not in _UNFINISHED_RUNS:
            return tuple(found)
        if self.is_child_paused:
            found.append(Concern.PAUSED)
        elif child.state == "queued" and child.queued_at and self.seen_at - child.queued_at > QUEUED_LONG:
            found.append(Concern.QUEUED)
        return tuple(found)


WAITING = "waiting"
"""The filter's word for *waiting now*; all others are task instance states, or a :class:`Concern`."""

CONCERNS = frozenset(concern.value for concern in Concern)


@dataclass(frozen=True)
class Filters:
    """
    What of the waits is wanted. Empty: all of them. Texts are parts of names, in capitals or not.

    :param run: of the run id of the parent or of the child.
    :param state: :data:`WAITING`, a :class:`Concern`, or a task instance's state.
    :param decision: that a try made, as it is stored.
    :param changed_from: the record was last written then or later.
    :param changed_to: the record was last written before.
    """

    dag_id: str = ""
    child_dag_id: str = ""
    task_id: str = ""
    run_id: str = ""
    state: str = ""
    decision: str = ""
    mode: str = ""
    changed_from: datetime | None = None
    changed_to: datetime | None = None
    is_recovered_only: bool = False

    @property
    def is_of_unfinished(self) -> bool:
        """Whether only waits are wanted that have not ended: there are few of them."""
        return self.state == WAITING or self.state in CONCERNS

    def matches(self, wait: Wait) -> bool:
        """Return whether a wait is one whose record has to be read to know. The rest is for the query to know."""
        record = wait.record
        if self.is_recovered_only and not wait.is_recovered:
            return False
        if self.is_of_unfinished and not wait.is_waiting:
            return False
        if self.state in CONCERNS and Concern(self.state) not in wait.concerns:
            return False
        if self.mode and (record is None or record.mode.value != self.mode):
            return False
        if self.decision and not (record and any(one.decision.value == self.decision for one in record.tries)):
            return False
        return self._matches_names(wait)

    def _matches_names(self, wait: Wait) -> bool:
        # A hidden child matches nothing: else whoever may not read a Dag could find out what it is called.
        child = wait.child
        if self.child_dag_id and (child is None or not is_part(self.child_dag_id, child.dag_id)):
            return False
        names = [wait.parent.run_id, *([child.run_id] if child else [])]
        return not self.run_id or any(is_part(self.run_id, name) for name in names)


def is_part(text: str, name: str) -> bool:
    """Return whether a name contains a text, in capitals or not."""
    return text.casefold() in name.casefold()


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
