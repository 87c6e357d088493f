"""
What was done to child runs by the reconciler, and by people through this package: its rows in Airflow's audit log.

They are written by :mod:`airflow_durable.server.changes`. No task can write one: the Execution API has no route for it.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from airflow_durable.metadata.model import DagRunKey
from airflow_durable.metadata.reads import KEYS_AT_ONCE, by_dag, chunks
from airflow_durable.metadata.values import as_utc

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator
    from datetime import datetime

    from airflow_durable.metadata.reads import Execute
    from airflow_durable.metadata.tables import Condition, Tables

BY_RECONCILER = ("durable.cancel", "durable.resume", "durable.reset")
BY_PEOPLE = ("durable.end-child", "durable.end-both", "durable.resume-child")
ENDINGS = ("durable.cancel", "durable.end-child", "durable.end-both")
MOST_OF_A_WAIT = 50


@dataclass(frozen=True)
class LoggedAction:
    """
    One action on a child run.

    :param event: one of :data:`BY_RECONCILER` or :data:`BY_PEOPLE`.
    :param owner: the person; of the reconciler, this package's name.
    :param reason: why; empty: the row does not say.
    """

    at: datetime
    event: str
    dag_id: str
    run_id: str
    owner: str
    reason: str = ""

    @property
    def is_by_person(self) -> bool:
        """Whether a person asked for it."""
        return self.event in BY_PEOPLE


def latest(tables: Tables, execute: Execute, most: int) -> list[LoggedAction]:
    """Return what the reconciler did last, the latest first."""
    statement = _select(tables, tables.log.c.event.in_(BY_RECONCILER))
    return list(_read(execute(statement.order_by(tables.log.c.id.desc()).limit(most))))


def of_runs(tables: Tables, execute: Execute, dag_id: str, run_ids: Collection[str]) -> list[LoggedAction]:
    """Return what was done to these runs of a Dag, the first first: the latest :data:`MOST_OF_A_WAIT`."""
    log = tables.log.c
    # Of no task: that is the order of the columns in the table's index (3.0 to 3.4, ``idx_log_task_instance``).
    wanted = (log.dag_id == dag_id, log.task_id.is_(None), log.run_id.in_(sorted(run_ids)[:KEYS_AT_ONCE]))
    statement = _select(tables, *wanted, log.event.in_((*BY_RECONCILER, *BY_PEOPLE)))
    return list(reversed(list(_read(execute(statement.order_by(log.id.desc()).limit(MOST_OF_A_WAIT))))))


def endings(tables: Tables, execute: Execute, keys: Iterable[DagRunKey]) -> dict[DagRunKey, datetime]:
    """Return when each of these runs was last ended. One whose teardowns still run is active after that."""
    log, found = tables.log.c, {}
    for dag_id, wanted in by_dag(sorted(set(keys))).items():
        for chunk in chunks(wanted):
            statement = sa.select(log.run_id, sa.func.max(log.dttm)).where(
                log.dag_id == dag_id, log.task_id.is_(None), log.run_id.in_(chunk), log.event.in_(ENDINGS)
            )
            for run_id, dttm in execute(statement.group_by(log.run_id)):
                if at := as_utc(dttm):
                    found[DagRunKey(dag_id, run_id)] = at
    return found


def _select(tables: Tables, *conditions: Condition) -> Any:  # noqa: ANN401 - a select
    log = tables.log.c
    return sa.select(log.dttm, log.event, log.dag_id, log.run_id, log.owner, log.extra).where(*conditions)


def _read(rows: Any) -> Iterator[LoggedAction]:  # noqa: ANN401 - an iterable of rows
    for dttm, event, dag_id, run_id, owner, extra in rows:
        at = as_utc(dttm)
        if at is not None and dag_id and run_id:
            yield LoggedAction(at, event, dag_id, run_id, owner or "", _reason_in(extra))


def _reason_in(extra: str | None) -> str:
    with contextlib.suppress(ValueError, AttributeError):
        reason = json.loads(extra or "").get("reason")
        return reason if isinstance(reason, str) else ""
    return ""
