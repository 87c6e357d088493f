"""
What records ask of the reconciler and nobody has done yet: the queue, how long it has waited, and what was done last.

It is read from the database as the reconciler reads it, whichever process that runs in, and only while somebody asks:
for the page, for the JSON API or for the gauges. Nothing is done here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

from airflow_durable.core.ledger import Ledger
from airflow_durable.core.reconcile import decide, is_resuming_items
from airflow_durable.core.verdicts import Act, Reason
from airflow_durable.metadata import logged_actions
from airflow_durable.metadata.asked import Asked
from airflow_durable.metadata.model import DagRunKey
from airflow_durable.metadata.tables import load_tables
from airflow_durable.server import hosting
from airflow_durable.server.proof import Claim, find_rivals, find_unproven
from airflow_durable.server.watch_list import WatchList

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from sqlalchemy.orm import Session

    from airflow_durable.core.observed import ChildNow
    from airflow_durable.metadata.calls import CallKey
    from airflow_durable.metadata.families import ParentRow
    from airflow_durable.metadata.logged_actions import LoggedAction
    from airflow_durable.server.watch_list import Watched

FRESH_SECONDS = 10.0
"""For how long what was read is given again."""

OVERDUE = timedelta(minutes=1)
"""Beside the reconciler's interval: a request that has waited for longer is one that nobody acts on."""

MOST_LOGGED = 100
MOST_PROVEN = 100
"""The most requests that one read checks for whether they may be done; the others count as waiting."""


@dataclass(frozen=True)
class Request:
    """
    Something that a record asks for, and that is not done.

    :param wait_id: of the newest row of the call.
    :param since: when it began to wait; None: not known.
    :param left_alone: why the reconciler does not do it; None: it would.
    """

    wait_id: int
    act: Act
    parent: ParentRow
    child_dag_id: str
    child_run_id: str
    since: datetime | None
    left_alone: Reason | None = None


@dataclass(frozen=True)
class Pending:
    """
    How things stand.

    :param requests: that wait, the oldest first, and those that are left alone.
    :param done: what the reconciler did last, the latest first.
    """

    requests: tuple[Request, ...] = ()
    done: tuple[LoggedAction, ...] = ()

    def visible_to(self, readable: Collection[str], may_read_audit_log: Callable[[str], bool]) -> Pending:
        """
        Return what a user may see.

        That is: requests of parents whose Dag they may read, with the child's names if they may read its Dag, too; and
        what was done to runs of Dags whose audit log they may read.
        """
        requests = tuple(
            one if one.child_dag_id in readable else replace(one, child_dag_id="", child_run_id="")
            for one in self.requests
            if one.parent.dag_id in readable
        )
        may_read = {dag_id: may_read_audit_log(dag_id) for dag_id in {one.dag_id for one in self.done} & set(readable)}
        return Pending(requests, tuple(one for one in self.done if may_read.get(one.dag_id)))

    @property
    def waiting(self) -> tuple[Request, ...]:
        """The queue, the oldest first."""
        return tuple(one for one in self.requests if one.left_alone is None)

    @property
    def left_alone(self) -> tuple[Request, ...]:
        """What the reconciler will not do."""
        return tuple(one for one in self.requests if one.left_alone is not None)

    def oldest_seconds(self, now: datetime) -> float:
        """Return for how long the oldest of the queue has waited; 0: nothing waits."""
        return max((max(0.0, (now - one.since).total_seconds()) for one in self.waiting if one.since), default=0.0)

    def of_wait(self, wait_id: int) -> Request | None:
        """Return what a wait asks for."""
        return next((one for one in self.requests if one.wait_id == wait_id), None)


@dataclass(frozen=True)
class View:
    """
    What a person is shown of the reconciler.

    :param status: of the reconciler in the process that answers.
    """

    pending: Pending
    status: hosting.Status
    is_enabled: bool
    now: datetime
    interval: timedelta

    @property
    def is_looking(self) -> bool:
        """Whether the reconciler in the process that answers looked lately."""
        at = self.status.looked_at
        return self.is_enabled and at is not None and self.now - at <= self._limit

    @property
    def is_overdue(self) -> bool:
        """Whether something waits and nobody acts."""
        return self.pending.oldest_seconds(self.now) > self._limit.total_seconds()

    @property
    def oldest_at(self) -> datetime | None:
        """Since when the oldest of the queue has waited."""
        return min((one.since for one in self.pending.waiting if one.since), default=None)

    @property
    def _limit(self) -> timedelta:
        return OVERDUE + 2 * self.interval


def view(pending: Pending) -> View:
    """Return what is shown, at present, by this process."""
    interval = timedelta(seconds=hosting.interval_seconds())
    return View(pending, hosting.status, hosting.is_enabled(), datetime.now(tz=timezone.utc), interval)


class Reader:
    """Reads it, for one thread at a time; remembers what is watched, and what is left alone."""

    def __init__(self) -> None:
        self._watching = WatchList()
        self._checked: dict[tuple[CallKey, datetime, int], Reason | None] = {}

    def read(self, session: Session) -> Pending:
        """Read how things stand, for all Dags."""
        tables = load_tables()
        asked = Asked(tables, session.execute)
        self._watching.update(asked)
        self._watching.unreadable.clear()
        requests = self._find(session, asked) if self._watching.calls else []
        requests.sort(key=lambda one: one.since or datetime.max.replace(tzinfo=timezone.utc))
        return Pending(tuple(requests), tuple(logged_actions.latest(tables, session.execute, MOST_LOGGED)))

    def _find(self, session: Session, asked: Asked) -> list[Request]:
        now, calls = datetime.now(tz=timezone.utc), self._watching.calls
        parents = asked.families.parents(calls)
        children = asked.families.children({(one.record.dag_id, one.record.run_id) for one in calls.values()})
        due: dict[CallKey, tuple[Watched, ParentRow, ChildNow, Act]] = {}
        for key, watched in list(calls.items()):
            parent = parents.get(key)
            child = children.get((watched.record.dag_id, watched.record.run_id))
            if parent is None:
                # Its Dag run was deleted, and its record with it.
                self._watching.drop(key)
                continue
            if isinstance(watched.record, Ledger):
                child = self._next_item(asked, watched, parent, now)
            verdict = decide(watched.entry, parent.now, child and child[1], now)
            if verdict.act is not Act.NOTHING and child:
                due[key] = (watched, parent, child[1], verdict.act)
            elif verdict.is_settled:
                self._watching.drop(key)
        return self._check(session, asked, due)

    @staticmethod
    def _next_item(asked: Asked, watched: Watched, parent: ParentRow, now: datetime) -> tuple[int, ChildNow] | None:
        """Return the first run of a ledger of which something is asked; None: there is none."""
        if not isinstance(watched.record, Ledger):
            return None
        if is_resuming_items(watched.record, parent.now):
            found = asked.families.items_to_resume(watched.record, parent)
            is_due = (decide(watched.entry, parent.now, child, now).act is Act.RESUME for _, child in found)
            return next((one for one, due in zip(found, is_due, strict=True) if due), None)
        if decide(watched.entry, parent.now, None, now).reason is not Reason.CHILD_MISSING:
            return None
        return next(iter(asked.families.active_items(watched.record, parent, 0)), None)

    def _check(
        self, session: Session, asked: Asked, due: dict[CallKey, tuple[Watched, ParentRow, ChildNow, Act]]
    ) -> list[Request]:
        journals = asked.journals(due)
        before, self._checked = self._checked, {}
        fresh = 0
        found = []
        cancelled = {
            DagRunKey(one.record.dag_id, one.record.run_id) for one, _, _, act in due.values() if act is Act.CANCEL
        }
        ended_at = logged_actions.endings(load_tables(), session.execute, cancelled)
        for key, (watched, parent, child, act) in due.items():
            journal = journals.get(key)
            at = ended_at.get(DagRunKey(watched.record.dag_id, watched.record.run_id))
            is_ending = act is Act.CANCEL and at and parent.now.ended_at and at >= parent.now.ended_at
            if journal is None or is_ending:
                # Where it is ending, its teardowns still run.
                continue
            mark = (key, watched.entry.written_at, child.clear_number)
            if mark in before:
                self._checked[mark] = before[mark]
            elif fresh < MOST_PROVEN:
                fresh += 1
                claim = Claim(key, parent, journal, watched.record)
                rivals = find_rivals(asked, key, watched.record, child) if watched.record.is_fixed else []
                self._checked[mark] = find_unproven(session, claim, child, rivals)
            reason = self._checked.get(mark)
            since = parent.now.ended_at if act is Act.CANCEL else watched.entry.written_at
            record = watched.record
            found.append(Request(journal.ids[-1], act, parent, record.dag_id, record.run_id, since, reason))
        return found
