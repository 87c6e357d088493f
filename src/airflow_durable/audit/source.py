"""What the audit asks of a deployment. Two things answer: its database, and its public REST API."""

from __future__ import annotations

import json
import re
from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, Any, Protocol

from airflow_durable.core.ledger import Ledger
from airflow_durable.metadata import records
from airflow_durable.metadata.model import DagRunKey
from airflow_durable.metadata.trigger_tasks import TRIGGER_FIELD

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from airflow_durable.audit.model import Instance, Trace, TriggeredRun
    from airflow_durable.metadata.ledgers import ItemCounts
    from airflow_durable.metadata.model import DagRun, InstanceKey, Loss, TaskKey, TaskTry
    from airflow_durable.metadata.trigger_tasks import TriggerTask
    from airflow_durable.wording import HeartbeatLimits

__all__ = ["TRIGGER_FIELD", "WAITS_FIELD", "XCOM_LINK", "XCOM_RUN_ID"]

XCOM_RUN_ID = "trigger_run_id"
XCOM_LINK = "_link_TriggerDagRunLink"
"""What the stock operator leaves in XCom (standard provider 1.20 and later, Airflow 3.0 to 3.4)."""

WAITS_FIELD = "wait_for_completion"

_LINK = re.compile(r".*/dags/([^/]+)/runs/(.+)")


class SourceError(Exception):
    """The deployment could not be read. The message says why, and what to do."""


class NothingThereError(SourceError):
    """What was asked for is not in the deployment."""


class Source(Protocol):
    """
    A deployment, to be read. Every method may raise :class:`SourceError`.

    :param kind: ``database`` or ``api``.
    :param address: for people, without a password.
    """

    kind: str
    address: str
    airflow_version: str

    def dag_ids(self) -> set[str]:
        """Return all Dags that there are, those included whose files are gone."""

    def trigger_tasks(self) -> Mapping[TaskKey, TriggerTask]:
        """Return the tasks that trigger Dag runs by the latest version of their Dags, with what is known of them."""

    def tasks(self) -> list[TaskKey]:
        """Return the tasks that trigger Dag runs."""

    def retried(self, tasks: Iterable[TaskKey], since: datetime | None) -> Iterator[Instance]:
        """Yield the parents with more than one attempt; with ``since``, those whose last one began since then."""

    def around(self, tasks: Iterable[TaskKey], moments: Moments) -> Iterator[Instance]:
        """Yield the parents that ran at one of these moments, with all their attempts."""

    def traces(self, keys: Sequence[InstanceKey]) -> Mapping[InstanceKey, Trace]:
        """Return what each of these parents has left behind."""

    def runs(self, dag_id: str, spans: Spans) -> list[TriggeredRun]:
        """Return the runs of a Dag that operators have triggered within the spans."""


class DetailedSource(Source, Protocol):
    """A deployment of which single parents can be read."""

    def instances(self, dag_id: str, run_id: str, task_id: str, map_index: int) -> list[Instance]:
        """Return the task instances with these names and what they have tried: one, but in a loop (3.4)."""

    def unfinished(self, tasks: Iterable[TaskKey]) -> Iterator[TaskTry]:
        """Yield the latest try of each of these tasks' instances that has not ended."""

    def stored_record(self, key: InstanceKey) -> Any:  # noqa: ANN401 - JSON, or its text
        """Return a parent's record as it is stored; None if it has none."""

    def item_counts(self, key: InstanceKey, ledger: Ledger) -> ItemCounts | None:
        """Return how the items of a task with many children stand; None: that cannot be known."""

    def times(self, keys: Sequence[DagRunKey]) -> Iterator[DagRun]:
        """Yield what is known of these runs, as far as they are there."""

    def losses(self, instance: Instance) -> Mapping[int, Loss]:
        """Return the tries that Airflow ended for a lost heartbeat. Empty, too, where the audit log may not be read."""

    def heartbeat_limits(self) -> HeartbeatLimits:
        """Return when this deployment gives a silent try up, as far as it can be known."""


class Moments:
    """Some moments, to be looked for in intervals."""

    def __init__(self, moments: Iterable[datetime]) -> None:
        self._sorted = sorted(moments)

    @property
    def first(self) -> datetime:
        """Return the earliest."""
        return self._sorted[0]

    @property
    def last(self) -> datetime:
        """Return the latest."""
        return self._sorted[-1]

    def has_within(self, start: datetime | None, end: datetime | None) -> bool:
        """Return whether there is one from start to end; None: no bound."""
        at = 0 if start is None else bisect_left(self._sorted, start)
        return at < len(self._sorted) and (end is None or self._sorted[at] <= end)


class Spans:
    """Intervals of time, joined where they overlap. The end None has no bound."""

    def __init__(self, attempts: Iterable[TaskTry]) -> None:
        self._starts: list[datetime] = []
        self._ends: list[datetime | None] = []
        for attempt in sorted(attempts, key=lambda attempt: attempt.began_at):
            if self._starts and (self._ends[-1] is None or attempt.began_at <= self._ends[-1]):
                last = self._ends[-1]
                self._ends[-1] = None if last is None or attempt.end_date is None else max(last, attempt.end_date)
            else:
                self._starts.append(attempt.began_at)
                self._ends.append(attempt.end_date)

    @property
    def first(self) -> datetime:
        """Return the earliest moment."""
        return self._starts[0]

    def contains(self, moment: datetime) -> bool:
        """Return whether the moment is in one of the intervals."""
        at = bisect_right(self._starts, moment) - 1
        if at < 0:
            return False
        end = self._ends[at]
        return end is None or moment <= end


def read_link(value: Any) -> DagRunKey | None:  # noqa: ANN401 - XCom may hold anything
    """Return the run that an extra link's address names. Airflow does not quote it (3.0 to 3.4)."""
    text = read_text(value)
    found = _LINK.fullmatch(text) if text else None
    return DagRunKey(found[1], found[2]) if found else None


def read_text(value: Any) -> str | None:  # noqa: ANN401 - XCom may hold anything
    """Return the text that an XCom holds; None if it is none. It is stored as JSON, or as JSON in JSON."""
    if isinstance(value, str) and value.startswith('"'):
        try:
            value = json.loads(value)
        except ValueError:
            return None
    return value if isinstance(value, str) and value else None


def read_recorded_runs(stored: Any) -> frozenset[DagRunKey]:  # noqa: ANN401 - a record may be damaged
    """
    Return all runs that a durable parent's record names.

    Not those of a task with many children: no stock operator chooses such run ids. Its ledger still shows that the
    parent is durable, and so does a record that this release cannot understand.
    """
    record = records.read(stored)
    return frozenset() if record is None or isinstance(record, Ledger) else frozenset(records.runs_in(record))
