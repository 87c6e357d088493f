"""
The reconciler: it looks at what records ask for, and does it. What is done, and when, is decided in the core.

It is level-triggered: all it remembers is a list of what to watch (:mod:`.watch_list`), which it can make anew at any
time. So it may be ended at any moment, and there may be several: see :mod:`airflow_durable.core.reconcile`.

Only where something is to be done, a transaction begins. It locks the child's row, reads all anew, decides again, asks
for the proof, acts with Airflow's own functions, and writes to Airflow's audit log. Then it is committed, whole.
"""

from __future__ import annotations

import logging
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
from airflow_durable.core.reconcile import Act, ParentNow, Reason, decide, is_resuming_items, prove
from airflow_durable.metadata.asked import ITEMS_AT_ONCE, Asked
from airflow_durable.metadata.tables import load_tables
from airflow_durable.server import changes
from airflow_durable.server.proof import Claim, find_rivals, find_unproven, is_same_team
from airflow_durable.server.watch_list import WatchList

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy.orm import Session

    from airflow_durable.core.reconcile import ChildNow, Verdict
    from airflow_durable.core.record import Record
    from airflow_durable.metadata.asked import CallKey, Journal, ParentRow
    from airflow_durable.server.watch_list import Watched

log = logging.getLogger("airflow_durable.reconciler")

MAX_REPORTED = 10_000
"""What was logged once is remembered, up to so many."""

_DO = {Act.CANCEL: changes.end_run, Act.RESUME: changes.resume_run, Act.RESET: changes.reset_run}
_DONE = {Act.CANCEL: "Ended", Act.RESUME: "Resumed", Act.RESET: "Reset"}


@dataclass(frozen=True)
class Done:
    """What was done to which run, for which parent."""

    act: Act
    dag_id: str
    run_id: str
    parent: str


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


@dataclass(frozen=True)
class _Due:
    """A call for which something seems to be due, and its child as it was seen."""

    key: CallKey
    child_id: int
    child: ChildNow


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
        self._reported: set[tuple[CallKey, Reason]] = set()
        self._failed: set[tuple[CallKey, type[Exception]]] = set()
        self._ledgers_from = 0

    def turn(self) -> Turn:
        """Look once, and do what there is to do."""
        began = time.monotonic()
        with self._open_session() as session:
            asked = Asked(load_tables(), session.execute)
            self.watching.update(asked)
            due = self._find_due(asked) if self.watching.calls else []
        looked_seconds = time.monotonic() - began
        while self.watching.unreadable:
            self._report(self.watching.unreadable.pop(), Reason.UNPROVEN_DAMAGED)
        turn = Turn(looked_seconds=looked_seconds)
        for one in due:
            try:
                done = self._act(one)
            except changes.DagUnknownError:  # noqa: PERF203 - one that fails must not stop the others
                self._report(one.key, Reason.DAG_UNKNOWN)
            except changes.DagBrokenError:
                self._report(one.key, Reason.DAG_BROKEN)
            except Exception as error:  # noqa: BLE001 - one that fails must not stop the others
                self._report_failure(one.key, error)
            else:
                turn.done += [done] if done else []
        turn.watched = len(self.watching.calls)
        Stats.gauge("durable.reconciler.watched", turn.watched)
        Stats.gauge("durable.reconciler.turn_seconds", time.monotonic() - began)
        return turn

    def _find_due(self, asked: Asked) -> list[_Due]:
        """Return what seems to be due, and take off the list what is settled."""
        now = datetime.now(tz=timezone.utc)
        calls = self.watching.calls
        parents = asked.parents(calls)
        due: list[_Due] = []
        ends: list[_Due] = []
        open_calls: list[tuple[CallKey, Watched, ParentNow]] = []
        open_ledgers: list[tuple[CallKey, Watched, Verdict]] = []
        for key, watched in list(calls.items()):
            watched.parent = parents.get(key, watched.parent)
            parent = _now_of(key, parents)
            verdict = decide(watched.entry, parent, None, now)
            if verdict.reason is Reason.CHILD_MISSING and isinstance(watched.record, Ledger):
                open_ledgers.append((key, watched, verdict))
            elif verdict.reason is Reason.CHILD_MISSING:
                open_calls.append((key, watched, parent))
            elif verdict.is_settled:
                self.watching.drop(key)
        children = asked.children({(watched.record.dag_id, watched.record.run_id) for _, watched, _ in open_calls})
        for key, watched, parent in open_calls:
            found = children.get((watched.record.dag_id, watched.record.run_id))
            verdict = decide(watched.entry, parent, found and found[1], now)
            if verdict.act is not Act.NOTHING and found:
                (ends if verdict.act is Act.CANCEL else due).append(_Due(key, *found))
            elif verdict.is_settled:
                self.watching.drop(key)
        resumed, ended = self._find_due_items(asked, open_ledgers, parents, now)
        # Running tasks wait for a resume and a reset; what is to be ended can wait.
        return due + resumed + ends + ended

    def _find_due_items(
        self,
        asked: Asked,
        open_ledgers: list[tuple[CallKey, Watched, Verdict]],
        parents: dict[CallKey, ParentRow],
        now: datetime,
    ) -> tuple[list[_Due], list[_Due]]:
        """
        Return what seems to be due for ledgers: no more than a turn's worth for all of them, each in its turn.

        Those whose tasks wait for failed runs to be resumed come first, and each of these gets a share of every turn.

        :returns: the runs to be resumed, and those to be ended.
        """
        resumed: list[_Due] = []
        ended: list[_Due] = []
        start = self._ledgers_from % max(1, len(open_ledgers))
        in_turn = open_ledgers[start:] + open_ledgers[:start]
        waiting = [one for one in in_turn if is_resuming_items(one[1].record, _now_of(one[0], parents))]
        share = max(1, ITEMS_AT_ONCE // max(1, len(waiting)))
        keys = {key for key, _, _ in waiting}
        for key, watched, verdict in waiting + [one for one in in_turn if one[0] not in keys]:
            if len(resumed) + len(ended) >= ITEMS_AT_ONCE:
                break
            self._ledgers_from += 1
            if key in keys:
                resumed += self._find_resumed(asked, key, watched, _now_of(key, parents), now)[:share]
                continue
            items_due = self._find_items(asked, key, watched, _now_of(key, parents), now)
            ended += items_due
            if not items_due and not watched.after and verdict.is_settled:
                self.watching.drop(key)
        return resumed, ended

    def _find_resumed(
        self, asked: Asked, key: CallKey, watched: Watched, parent: ParentNow, now: datetime
    ) -> list[_Due]:
        """Return which runs a ledger asks to be resumed. If there is none, the task may have withdrawn that."""
        if not isinstance(watched.record, Ledger) or watched.parent is None:
            return []
        found = asked.items_to_resume(watched.record, watched.parent)
        due = [_Due(key, *child) for child in found if decide(watched.entry, parent, child[1], now).act is Act.RESUME]
        if not due:
            self.watching.take({key}, asked.journals({key}))
        return due

    @staticmethod
    def _find_items(asked: Asked, key: CallKey, watched: Watched, parent: ParentNow, now: datetime) -> list[_Due]:
        """
        Return what seems to be due for a ledger: some of its active runs, and others in the next turn.

        So a thousand of them neither make a turn long, nor do some that cannot be ended stand before the others.
        """
        if not isinstance(watched.record, Ledger) or watched.parent is None:
            return []
        found = asked.active_items(watched.record, watched.parent, watched.after)
        is_more = len(found) >= ITEMS_AT_ONCE
        watched.after = found[-1][0] if is_more else 0
        return [
            _Due(key, *child) for child in found if decide(watched.entry, parent, child[1], now).act is not Act.NOTHING
        ]

    def _act(self, due: _Due) -> Done | None:
        """Do what is due, in one transaction; None: it was not wanted any more, or may not be wanted."""
        rivals = self._find_rivals(due)
        with self._open_session() as session:
            if not changes.lock_run(session, due.child_id, due.child.state, due.child.clear_number):
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
            self._say(done, verdict, changed)
        return done

    def _find_rivals(self, due: _Due) -> list[ParentRow]:
        """Return the other parents whose records prove the same. A search, so no lock is held."""
        watched = self.watching.calls.get(due.key)
        if watched is None or not watched.record.is_fixed:
            return []
        record = watched.record
        with self._open_session() as session:
            return find_rivals(Asked(load_tables(), session.execute), due.key, record, due.child)

    def _decide_locked(self, session: Session, due: _Due, rivals: Sequence[ParentRow]) -> _Found | None:
        """Decide again, on what is there while the child's row is locked; None: nothing is to be done."""
        asked = Asked(load_tables(), session.execute)
        parents = asked.parents({due.key}, is_locked=True)
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
        found = asked.children({run}).get(run)
        verdict = decide(journal.newest, row.now, found and found[1], now)
        if verdict.act is Act.NOTHING or not found:
            return None
        unproven = find_unproven(session, Claim(due.key, row, journal, record), found[1], rivals)
        if unproven is not None:
            self._report(due.key, unproven, rivals if unproven is Reason.UNPROVEN_TWICE else ())
            if not isinstance(record, Ledger) or unproven is Reason.UNPROVEN_TEAM:
                # Of a ledger the other runs are still to be ended.
                self.watching.drop(due.key)
            return None
        is_kept = verdict.act is Act.CANCEL or isinstance(record, Ledger)
        return _Found(verdict, record, row, None if is_kept else journal)

    def _decide_deleted(self, session: Session, due: _Due) -> _Found | None:
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
        verdict = decide(watched.entry, _DELETED, due.child, datetime.now(tz=timezone.utc))
        unproven = prove(parent.identities, (), watched.record, due.child, calls=0)
        if not is_same_team(session, parent.dag_id, due.child.dag_id):
            unproven = Reason.UNPROVEN_TEAM
        if unproven or verdict.act is not Act.CANCEL:
            return None
        return _Found(verdict, watched.record, parent, None)

    def _say(self, done: Done, verdict: Verdict, changed: changes.Changed) -> None:
        log.info(
            "%s the Dag run %s of %s for %s: %s.",
            _DONE[done.act],
            done.run_id,
            done.dag_id,
            done.parent,
            verdict.reason.value,
        )
        Stats.incr("durable.reconciler.done", tags={"act": done.act.value})
        if done.act is Act.CANCEL:
            try:
                changes.call_listeners(changed, f"airflow-durable: {verdict.reason.value}.")
            except Exception:
                log.exception("Airflow's listeners could not be called.")

    def _report_failure(self, key: CallKey, error: Exception) -> None:
        """Log an error, such as a lock that was not had or a connection that was lost; once for each kind."""
        is_known = (key, type(error)) in self._failed
        if len(self._failed) >= MAX_REPORTED:
            self._failed.clear()
        self._failed.add((key, type(error)))
        log.log(
            logging.DEBUG if is_known else logging.ERROR,
            "What a record asks for could not be done. The next turn tries again.",
            exc_info=error,
        )

    def _report(self, key: CallKey, reason: Reason, rivals: Sequence[ParentRow] = ()) -> None:
        """
        Log once why something is left alone. Nothing of the record is quoted: anybody may have written it.

        :param rivals: by their rows.
        """
        if (key, reason) in self._reported:
            return
        if len(self._reported) >= MAX_REPORTED:
            self._reported.clear()
        self._reported.add((key, reason))
        watched = self.watching.calls.get(key)
        parent = text_of(watched.parent) if watched and watched.parent else f"task {key.task_id!r}"
        others = f" ({'; '.join(map(text_of, rivals))})" if rivals else ""
        log.warning("What the record of %s asks for is left alone: %s%s.", parent, reason.value, others)
        Stats.incr("durable.reconciler.left_alone", tags={"reason": reason.name.lower()})


_DELETED = ParentNow(None, None, None, None)


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


def _now_of(key: CallKey, parents: dict[CallKey, ParentRow]) -> ParentNow:
    return parents[key].now if key in parents else _DELETED


def text_of(parent: ParentRow) -> str:
    """Return a parent's name, for people."""
    index = f"[{parent.map_index}]" if parent.map_index >= 0 else ""
    return f"{parent.dag_id}.{parent.task_id}{index} in {parent.run_id}"
