"""
What a person can do about a wait: end the child, end parent and child, resume the failed child, forget the record.

Each is first shown, with what it would do (:func:`plan_all`), and then done on the condition that everything still is
as it was shown (:func:`perform`): the *seal* of a plan covers the states that it rests on, and who saw it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, Any

from airflow.models.dagbag import DBDagBag
from airflow.models.dagrun import DagRun
from airflow.utils.session import create_session
from airflow.utils.state import TaskInstanceState
from sqlalchemy import select

from airflow_durable.compat import Stats, conf
from airflow_durable.core.model import UNFINISHED_STATES
from airflow_durable.metadata.asked import Asked
from airflow_durable.metadata.calls import LEDGER
from airflow_durable.metadata.model import ENDED_STATES
from airflow_durable.metadata.tables import load_tables
from airflow_durable.server import changes
from airflow_durable.server.proof import Claim, find_rivals, find_unproven

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.orm import Session

    from airflow_durable.core.observed import ChildNow
    from airflow_durable.metadata.families import ParentRow

_AT_REST = ENDED_STATES | {"up_for_retry", None}
"""States of a parent in which it writes nothing."""


class Action(str, Enum):
    """What a person can do. The values are in addresses and in the audit log."""

    END_CHILD = "end-child"
    END_BOTH = "end-both"
    RESUME_CHILD = "resume-child"
    FORGET = "forget"


class SituationChangedError(Exception):
    """What was shown is not so any more."""


class NotPossibleError(Exception):
    """This cannot be done now; the message says why."""


@dataclass(frozen=True)
class Situation:
    """
    A wait as it is now.

    :param child: with its row's id; None: there is no such run.
    :param row_ids: of all our rows of the parent.
    :param is_proven: the database shows that the parent started the run.
    :param rivals: other parents whose records prove the same: then none of them is believed.
    """

    claim: Claim
    child: tuple[int, ChildNow] | None
    row_ids: tuple[int, ...]
    is_proven: bool
    rivals: tuple[ParentRow, ...] = ()

    @property
    def facts(self) -> list[object]:
        """What a plan rests on."""
        now, child = self.claim.parent.now, self.child[1] if self.child else None
        of_child = [child.dag_id, child.run_id, child.state, child.clear_number] if child else []
        return [list(self.claim.key), now.task_instance_id, now.state, now.run_state, of_child, list(self.row_ids)]


@dataclass(frozen=True)
class Plan:
    """
    What an action would do.

    :param effects: sentences.
    :param refusal: why it cannot be done; empty: it can.
    :param seal: to be given back when it is done.
    """

    action: Action
    effects: tuple[str, ...]
    refusal: str
    seal: str


@dataclass(frozen=True)
class Person:
    """
    Who asks.

    :param may_change: whether they may change a Dag's runs.
    :param may_change_tasks: whether they may change a Dag's task instances.
    :param may_delete_records: whether they may delete what a Dag's tasks have stored.
    """

    name: str
    may_change: Callable[[str], bool]
    may_change_tasks: Callable[[str], bool]
    may_delete_records: Callable[[str], bool]


def read_situation(session: Session, row_id: int, seen: Situation | None = None) -> Situation | None:
    """
    Return a wait as it is now, by the id of one of its rows; None: there is none, or it cannot be understood.

    :param seen: as it was before its rows were locked. What proves it is not searched for again: it rests on what is
        older than the run.
    """
    asked = Asked(load_tables(), session.execute)
    key = asked.key_of(row_id)
    if key is None or key.call == LEDGER:
        # What is decided here is about one child run.
        return None
    parent, journal = asked.families.parents({key}, is_locked=seen is not None).get(key), asked.journals({key}).get(key)
    if parent is None or journal is None or journal.record is None:
        return None
    record = journal.record
    claim = Claim(key, parent, journal, record)
    child = asked.families.children({(record.dag_id, record.run_id)}).get((record.dag_id, record.run_id))
    rows = tuple(asked.rows_of_parent(key))
    if seen is not None:
        return Situation(claim, child, rows, seen.is_proven, seen.rivals)
    rivals = find_rivals(asked, key, record, child[1]) if child else []
    is_proven = child is not None and find_unproven(session, claim, child[1], rivals) is None
    return Situation(claim, child, rows, is_proven, tuple(rivals))


def plan_all(session: Session, situation: Situation, person: Person) -> list[Plan]:
    """Return what each action would do."""
    return [plan(session, situation, person, action) for action in Action]


def plan(session: Session, situation: Situation, person: Person, action: Action) -> Plan:
    """Return what an action would do."""
    refusal = _refusal(situation, person, action)
    effects = () if refusal else tuple(_effects(session, situation, action))
    return Plan(action, effects, refusal, _seal(situation, person, action))


def perform(row_id: int, person: Person, action: Action, seal: str) -> Plan:
    """
    Do what was shown, in one transaction.

    :raises SituationChangedError: something is not as it was when this was shown.
    :raises NotPossibleError: it cannot be done.
    """
    with create_session(scoped=False) as session:
        seen = read_situation(session, row_id)
    if seen is None:
        raise SituationChangedError
    with create_session(scoped=False) as session:
        if seen.child and not changes.lock_run(session, seen.child[0], seen.child[1].state, seen.child[1].clear_number):
            raise SituationChangedError
        situation = read_situation(session, row_id, seen)
        if situation is None or not hmac.compare_digest(seal.encode(), _seal(situation, person, action).encode()):
            raise SituationChangedError
        done = plan(session, situation, person, action)
        if done.refusal:
            raise NotPossibleError(done.refusal)
        changed = _DO[action](session, situation)
        _write_audit_log(session, situation, person, action)
        session.commit()
        Stats.incr("durable.action", tags={"action": action.value})
        if changed is not None:
            changes.call_listeners(changed, f"airflow-durable: ended by {person.name}.")
    return done


def _refusal(situation: Situation, person: Person, action: Action) -> str:  # noqa: PLR0911 - a reason a return
    parent, record = situation.claim.parent, situation.claim.record
    state = situation.child[1].state if situation.child else None
    if action is Action.FORGET:
        if not person.may_delete_records(parent.dag_id):
            return f"You may not delete what tasks of {parent.dag_id} have stored."
        return "" if parent.now.state in _AT_REST else "The parent task is active, so it may still write its record."
    if not person.may_change(record.dag_id):
        return f"You may not change runs of {record.dag_id}."
    if action is Action.END_CHILD:
        return "" if state in UNFINISHED_STATES else "The child run is not running."
    if action is Action.RESUME_CHILD:
        return "" if state == "failed" else "The child run has not failed."
    if not person.may_change_tasks(parent.dag_id):
        return f"You may not change tasks of {parent.dag_id}."
    if situation.claim.key.region_id:
        # Airflow's function marks by task and number (3.4.0b2, ``TaskInstance.ti_selector_condition``).
        return (
            "The parent task is in a loop, and Airflow would mark the pass of that number in each of its loops. End "
            "the child run alone, and mark the parent task in Airflow's UI."
        )
    return "The parent task has ended." if parent.now.state in ENDED_STATES else ""


def _effects(session: Session, situation: Situation, action: Action) -> list[str]:
    record, parent = situation.claim.record, situation.claim.parent
    run = f"the run {record.run_id} of {record.dag_id}"
    found = []
    if action is not Action.FORGET and situation.rivals:
        count = len(situation.rivals)
        found.append(
            f"The record{'s' if count > 1 else ''} of {count} other parent task{'s' if count > 1 else ''} "
            f"claim{'' if count > 1 else 's'} that run, too, so one of them is forged, and the reconciler does nothing "
            f"for any of them. The API server's log names them. Check that it is the run that you mean."
        )
    elif action is not Action.FORGET and not situation.is_proven:
        found.append("It is not proven that this parent started that run: check that it is the one you mean.")
    if action is Action.FORGET:
        count = len(situation.row_ids)
        found.append(f"The record of the parent task is deleted ({count} entr{'y' if count == 1 else 'ies'}).")
        found.append("Its next try finds an active child run by the run id.")
        found.append(
            "That try is a retry: it takes an ended one, too."
            if parent.now.state == "up_for_retry"
            else "It takes no ended one that was started before the task was cleared."
        )
    elif action is Action.RESUME_CHILD:
        count = _count_resumable(session, record.dag_id, record.run_id)
        found.append(f"Of {run}, {count} task instances are cleared: those that failed or had not begun.")
        if parent.now.state in ENDED_STATES:
            found.append("The parent task has ended, so nobody waits for it. Clear the parent task, and it does.")
    else:
        if action is Action.END_BOTH:
            found.append(f"The parent task {parent.task_id} of {parent.run_id} is marked as failed: it is not retried.")
        if situation.child and situation.child[1].state in UNFINISHED_STATES:
            found.append(
                f"In {run}, running tasks are ended and waiting tasks are skipped. The run is marked as failed."
            )
        if action is Action.END_CHILD and parent.now.state not in ENDED_STATES:
            found.append(
                "The parent task's current try then fails. Its next try, if there is one, starts the work again."
            )
    return found


def _seal(situation: Situation, person: Person, action: Action) -> str:
    secret = conf.get("api", "secret_key", fallback="") or ""
    text = json.dumps([action.value, person.name, situation.facts])
    return hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()


def _end_run(session: Session, situation: Situation) -> changes.Changed:
    record = situation.claim.record
    return changes.end_run(session, record.dag_id, record.run_id)


def _end_child(session: Session, situation: Situation) -> changes.Changed | None:
    changed = _end_run(session, situation)
    if not changed.count:
        raise NotPossibleError("It is ended already: only its teardowns still run.")
    return changed


def _end_both(session: Session, situation: Situation) -> changes.Changed | None:
    parent = situation.claim.parent
    run = session.scalar(select(DagRun).where(DagRun.dag_id == parent.dag_id, DagRun.run_id == parent.run_id))
    dag: Any = run and DBDagBag(load_op_links=False).get_dag_for_run(run, session=session)
    if dag is None or not dag.has_task(parent.task_id):
        raise NotPossibleError("Airflow does not know the parent's Dag any more.")
    indexes = [parent.map_index] if parent.map_index >= 0 else None
    marked = dag.set_task_instance_state(
        task_id=parent.task_id,
        map_indexes=indexes,
        run_id=parent.run_id,
        state=TaskInstanceState.FAILED,
        session=session,
    )
    is_active = situation.child is not None and situation.child[1].state in UNFINISHED_STATES
    ended = _end_run(session, situation) if is_active else None
    if ended is None:
        return changes.Changed(None, dag, len(marked), tuple(marked))
    return replace(ended, killed=(*marked, *ended.killed))


def _resume_child(session: Session, situation: Situation) -> None:
    record = situation.claim.record
    changes.resume_run(session, record.dag_id, record.run_id)


def _forget(session: Session, situation: Situation) -> None:
    session.execute(Asked(load_tables(), session.execute).delete(situation.row_ids))


_DO: dict[Action, Callable[[Session, Situation], changes.Changed | None]] = {
    Action.END_CHILD: _end_child,
    Action.END_BOTH: _end_both,
    Action.RESUME_CHILD: _resume_child,
    Action.FORGET: _forget,
}


def _count_resumable(session: Session, dag_id: str, run_id: str) -> int:
    run = session.scalar(select(DagRun).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id))
    dag = run and DBDagBag(load_op_links=False).get_dag_for_run(run, session=session)
    return len(changes.resumable(session, dag, run)) if dag else 0


def _write_audit_log(session: Session, situation: Situation, person: Person, action: Action) -> None:
    record, parent = situation.claim.record, situation.claim.parent
    of = parent if action is Action.FORGET else record
    details = {
        "parent": {
            "dag_id": parent.dag_id,
            "run_id": parent.run_id,
            "task_id": parent.task_id,
            "map_index": parent.map_index,
        },
        "child": {"dag_id": record.dag_id, "run_id": record.run_id},
        "reason": "a person asked for it",
    }
    run = {"dag_id": of.dag_id, "run_id": of.run_id}
    changes.write_audit_log(session, f"durable.{action.value}", run, person.name, details)
