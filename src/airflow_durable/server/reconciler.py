"""
The reconciler: it looks at what records ask for, and does it. What is done, and when, is decided in the core.

It is level-triggered: all it remembers is a list of what to watch (:mod:`.watch_list`), which it can make anew at any
time. So it may be ended at any moment, and there may be several: see :mod:`airflow_durable.core.reconcile`.

Only where something is to be done, a transaction begins. It locks the child's row, reads all anew, decides again, asks
for the proof, acts with Airflow's own functions, and writes to Airflow's audit log. Then it is committed, whole.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa
from airflow.utils.session import create_session
from sqlalchemy.exc import IntegrityError

from airflow_durable.compat import Stats
from airflow_durable.core.ledger import Ledger
from airflow_durable.core.model import Proof
from airflow_durable.core.proof import prove
from airflow_durable.core.reconcile import decide
from airflow_durable.core.verdicts import Act, Reason
from airflow_durable.metadata.asked import Asked
from airflow_durable.metadata.tables import load_tables
from airflow_durable.server import changes
from airflow_durable.server.due import DELETED, Search
from airflow_durable.server.proof import Claim, find_rivals, find_unproven, is_same_team
from airflow_durable.server.reporting import Done, Reports, text_of
from airflow_durable.server.watch_list import WatchList

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy.orm import Session

    from airflow_durable.core.record import Record
    from airflow_durable.core.verdicts import Verdict
    from airflow_durable.metadata.calls import CallKey, Journal
    from airflow_durable.metadata.families import ParentRow
    from airflow_durable.server.due import Due

ENDS_SECONDS = 3.0
ACTS_SECONDS = 10.0
"""
How long a turn ends runs, and how long it does what running tasks wait for. The rest is for the next turn: others may
have asked meanwhile, and a row that somebody has locked is waited for in vain.
"""

LOCK_TIMEOUT_SECONDS = 1.0
"""How long the row of a run is waited for (PostgreSQL). The next turn tries again."""

_DO = {Act.CANCEL: changes.end_run, Act.RESUME: changes.resume_run, Act.RESET: changes.reset_run}


@dataclass
class Turn:
    """
    What a turn did.

    :param watched: how many calls are on the list afterwards.
    :param looked_seconds: how long it took to find out what is due.
    """

    watched: int = 0
    done: list[Done] = field(default_factory=list)
    looked_seconds: float = 0.0


class _Found(NamedTuple):
    """
    What is to be done.

    :param journal: with the action that it does; None: it does none.
    """

    verdict: Verdict
    record: Record
    parent: ParentRow
    journal: Journal | None


class Reconciler:
    """
    One reconciler, for one thread.

    :param open_session: opens a session that commits when it is left, and rolls back if it is left by an error.
    :param clock: seconds that only grow.
    """

    def __init__(
        self,
        open_session: Callable[[], Any] = lambda: create_session(scoped=False),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._open_session = open_session
        self.watching = WatchList(clock)
        self._search = Search(self.watching)
        self._reports = Reports()
        self._without_rivals: set[tuple[CallKey, int, int, datetime]] = set()

    def turn(self) -> Turn:
        """Look once, and do what there is to do."""
        began = time.monotonic()
        with self._open_session() as session:
            asked = Asked(load_tables(), session.execute)
            self.watching.update(asked)
            due = self._search.find(asked) if self.watching.calls else []
            unreadable = asked.families.parents(self.watching.unreadable) if self.watching.unreadable else {}
        looked_seconds = time.monotonic() - began
        while self.watching.unreadable:
            key = self.watching.unreadable.pop()
            self._reports.left_alone(key, unreadable.get(key), Reason.UNPROVEN_DAMAGED)
        turn = Turn(looked_seconds=looked_seconds)
        begun: dict[bool, float] = {}
        for one in due:
            since = time.monotonic() - begun.setdefault(one.is_end, time.monotonic())
            if since >= (ENDS_SECONDS if one.is_end else ACTS_SECONDS):
                continue
            self._search.note_tried(one)
            try:
                done = self._act(one)
            except changes.DagUnknownError:
                self._leave_alone(one.key, Reason.DAG_UNKNOWN)
            except changes.DagBrokenError:
                self._leave_alone(one.key, Reason.DAG_BROKEN)
            except Exception as error:  # noqa: BLE001 - one that fails must not stop the others
                self._reports.failure(one.key, error)
            else:
                turn.done += [done] if done else []
        turn.watched = len(self.watching.calls)
        Stats.gauge("durable.reconciler.watched", turn.watched)
        Stats.gauge("durable.reconciler.turn_seconds", time.monotonic() - began)
        return turn

    def _act(self, due: Due) -> Done | None:
        """Do what is due, in one transaction; None: it was not wanted any more, or may not be wanted."""
        rivals = self._find_rivals(due)
        with self._open_session() as session:
            child = due.child
            if not changes.lock_run(session, due.child_id, child.state, child.clear_number, LOCK_TIMEOUT_SECONDS):
                session.rollback()
                return None
            found = self._decide_locked(session, due, rivals)
            if found is None:
                session.rollback()
                return None
            verdict, _, parent, journal = found
            if journal is not None and not _withdraw(session, due.key, journal):
                session.rollback()
                return None
            dag_id, run_id = due.child.dag_id, due.child.run_id
            changed = _DO[verdict.act](session, dag_id, run_id)
            if not changed.count:
                # Its teardowns still run.
                session.rollback()
                return None
            done = Done(verdict.act, dag_id, run_id, text_of(parent))
            changes.write_audit_log(
                session,
                f"durable.{verdict.act.value}",
                {"dag_id": dag_id, "run_id": run_id},
                changes.OWNER,
                {
                    "parent": parent.to_json(),
                    "reason": verdict.reason.value,
                    "clear_number": due.child.clear_number,
                    "task_instances": changed.count,
                },
            )
            session.commit()
            # From here on it is done, whatever fails.
            self._reports.done(done, verdict, changed)
        return done

    def _find_rivals(self, due: Due) -> list[ParentRow]:
        """Return the other parents whose records prove the same. A search, so no lock is held."""
        watched = self.watching.calls.get(due.key)
        if watched is None or not watched.record.is_fixed:
            return []
        # Nobody becomes a rival later, so one search is enough, though a run whose teardowns run is due in each turn.
        mark = due.key, due.child_id, due.child.clear_number, watched.entry.written_at
        self._without_rivals = {known for known in self._without_rivals if known[0] in self.watching.calls}
        if mark in self._without_rivals:
            return []
        with self._open_session() as session:
            rivals = find_rivals(Asked(load_tables(), session.execute), due.key, watched.record, due.child)
        if not rivals:
            self._without_rivals.add(mark)
        return rivals

    def _decide_locked(self, session: Session, due: Due, rivals: Sequence[ParentRow]) -> _Found | None:
        """Decide again, on what is there while the child's row is locked; None: nothing is to be done."""
        asked = Asked(load_tables(), session.execute)
        parents = asked.families.parents({due.key}, is_locked=True)
        row, watched = parents.get(due.key), self.watching.calls.get(due.key)
        if row is None or watched is None:
            # Not watched: another run of the ledger has shown that nothing is asked for any more.
            return None if row else self._decide_deleted(session, due)
        watched_proof = watched.record.proof
        journals = asked.journals({due.key}, is_locked=isinstance(watched.record, Ledger))
        self.watching.take({due.key}, journals)
        journal = journals.get(due.key)
        record = journal.record if journal else None
        run = due.child.dag_id, due.child.run_id
        if not journal or not record or not (isinstance(record, Ledger) or (record.dag_id, record.run_id) == run):
            return None
        if record.proof is not watched_proof:
            # By another thing it may have other rivals: the next turn looks for them.
            return None
        now = datetime.now(tz=timezone.utc)
        found = asked.families.children({run}).get(run)
        verdict = decide(journal.newest, row.now, found and found[1], now)
        if verdict.act is Act.NOTHING or not found:
            return None
        unproven = find_unproven(session, Claim(due.key, row, journal, record), found[1], rivals)
        if unproven is not None:
            self._leave_alone(due.key, unproven, rivals if unproven is Reason.UNPROVEN_TWICE else ())
            if not isinstance(record, Ledger) or unproven is Reason.UNPROVEN_TEAM:
                # Of a ledger the other runs are still to be ended.
                self.watching.drop(due.key)
            return None
        is_kept = verdict.act is Act.CANCEL or isinstance(record, Ledger)
        return _Found(verdict, record, row, None if is_kept else journal)

    def _decide_deleted(self, session: Session, due: Due) -> _Found | None:
        """
        Decide for a parent whose Dag run was deleted while it was watched: of that, only what was read before is left.

        So only a generated run id can be proven. If there is a Dag run of that name again, it has its own record.
        """
        watched = self.watching.calls.get(due.key)
        if watched is not None and not isinstance(watched.record, Ledger):
            self.watching.drop(due.key)
        if watched is None or watched.parent is None or watched.record.proof is not Proof.RUN_ID:
            return None
        parent, run = watched.parent, load_tables().dag_run.c
        if session.scalar(sa.select(run.id).where(run.dag_id == parent.dag_id, run.run_id == parent.run_id)):
            self.watching.drop(due.key)
            return None
        verdict = decide(watched.entry, DELETED, due.child, datetime.now(tz=timezone.utc))
        unproven = prove(parent.identities, (), watched.record, due.child, calls=0)
        if not is_same_team(session, parent.dag_id, due.child.dag_id):
            unproven = Reason.UNPROVEN_TEAM
        if unproven or verdict.act is not Act.CANCEL:
            return None
        return _Found(verdict, watched.record, parent, None)

    def _leave_alone(self, key: CallKey, reason: Reason, rivals: Sequence[ParentRow] = ()) -> None:
        watched = self.watching.calls.get(key)
        self._reports.left_alone(key, watched.parent if watched else None, reason, rivals)


def _withdraw(session: Session, key: CallKey, journal: Journal) -> bool:
    """
    Write the entry that withdraws the action, which is done in the same transaction; False: the task has withdrawn it.

    It is done before anything of the run is changed, and what it would wait for is a single write.
    """
    try:
        written: Any = session.execute(Asked(load_tables(), session.execute).withdraw(key, journal))
    except IntegrityError:
        return False
    # None: the entry that asks was deleted meanwhile.
    return bool(written.rowcount == 1)
