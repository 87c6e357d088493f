"""
Which records a user's filters select, as conditions of a query.

They are as narrow as the tables and the text of a record allow; :meth:`~airflow_durable.server.model.Filters.matches`
has the last word.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from airflow_durable.server.model import TAKEOVERS, Concern, Filters, is_part

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from datetime import datetime

    from airflow_durable.metadata.record_rows import RecordRows
    from airflow_durable.metadata.tables import Condition
    from airflow_durable.wording import HeartbeatLimits

MAX_NAMES = 20
"""So many child Dags are searched for by name; of more, only by the part of their names that was given."""


class Everything(frozenset[str]):
    """All Dags: what is read with these is for the server itself, and is narrowed before anybody sees it."""

    def __contains__(self, dag_id: object) -> bool:
        """Return true."""
        return True


def select(
    of: RecordRows, filters: Filters, readable: Collection[str], now: datetime, limits: HeartbeatLimits
) -> list[Condition]:
    """Return the conditions."""
    conditions = [] if isinstance(readable, Everything) else [_is_of_parent(of, filters.dag_id, readable)]
    conditions += _by_name(of, filters, readable)
    if filters.is_of_unfinished:
        conditions += [_is_unfinished(of, filters.state, now, limits), of.is_unconsumed()]
    elif filters.state:
        conditions.append(of.has_parent_in(filters.state))
    fields = {"decision": filters.decision, "mode": filters.mode}
    conditions += [of.has_field(name, value) for name, value in fields.items() if value]
    if filters.changed_from:
        conditions.append(of.changed_at >= filters.changed_from)
    if filters.changed_to:
        conditions.append(of.changed_at < filters.changed_to)
    if filters.is_recovered_only:
        conditions.append(is_taken_over(of))
    return conditions


def _by_name(of: RecordRows, filters: Filters, readable: Collection[str]) -> Iterator[Condition]:
    if filters.child_dag_id:
        yield _is_for_child(of, filters.child_dag_id, readable)
    if filters.task_id:
        yield of.is_of_task_like(filters.task_id)
    if filters.run_id:
        yield sa.or_(of.is_of_run_like(filters.run_id), of.mentions(filters.run_id))


def is_countable(filters: Filters, readable: Collection[str]) -> bool:
    """
    Return whether a query may count what passes the filters.

    A text that is searched for in whole records may be part of the name of a run that the user may not read. What a
    child's state tells is not in the query.
    """
    is_exact = filters.state not in {Concern.QUEUED.value, Concern.PAUSED.value}
    return is_exact and not filters.run_id and len(_children_like(filters.child_dag_id, readable)) <= MAX_NAMES


def is_taken_over(of: RecordRows) -> Condition:
    """Return the condition that a record has a try that took over the run of an earlier one."""
    return sa.or_(*(of.has_field("decision", decision.value) for decision in sorted(TAKEOVERS)))


def _is_unfinished(of: RecordRows, state: str, now: datetime, limits: HeartbeatLimits) -> Condition:
    return of.has_silent_parent(now - limits.quiet_after) if state == Concern.SILENT else of.has_unfinished_parent()


def _is_of_parent(of: RecordRows, text: str, readable: Collection[str]) -> Condition:
    dag_ids = [dag_id for dag_id in readable if is_part(text, dag_id)] if text else readable
    return of.is_of_dags(dag_ids) if dag_ids else sa.false()


def _children_like(text: str, readable: Collection[str]) -> list[str]:
    return sorted(dag_id for dag_id in readable if is_part(text, dag_id)) if text else []


def _is_for_child(of: RecordRows, text: str, readable: Collection[str]) -> Condition:
    dag_ids = _children_like(text, readable)
    if len(dag_ids) > MAX_NAMES:
        return of.mentions(text)
    return sa.or_(*(of.has_field("dag_id", dag_id) for dag_id in dag_ids)) if dag_ids else sa.false()
