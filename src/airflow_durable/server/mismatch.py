"""
Whether another component lacks this package, or has the switch ``[durable] stock_operators`` set otherwise.

No component reports its configuration. What the database shows are the traces: Dag files that cannot be imported, tries
of the stock operator that run without a record where the switch is on here, and those with one where it is off. It is
read at most every five minutes, from tries that have not ended, of which there are few. ``airflow-durable doctor``
checks more.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

import sqlalchemy as sa

from airflow_durable.compat import conf
from airflow_durable.metadata.deployment_reads import DeploymentReads
from airflow_durable.metadata.model import TaskKey
from airflow_durable.metadata.reads import Reads
from airflow_durable.metadata.record_keys import is_entry
from airflow_durable.metadata.tables import load_tables
from airflow_durable.metadata.trigger_tasks import tasks_in
from airflow_durable.switch.settings import SECTION, Mode, Switch, read_switch
from airflow_durable.switch.verdict import NAME, Kind, classify_serialized

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy.orm import Session

FRESH_SECONDS = 300.0
MOST_TRIES = 500
MOST_DAGS = 50
BEGUN_FOR = timedelta(minutes=1)
"""A try that began later may not have written its record yet."""


@dataclass(frozen=True)
class Mismatch:
    """
    What differs.

    :param mode: of the switch, here.
    :param missing: tasks of the stock operator that run without a record, though the switch is on here.
    :param unexpected: those that run with one, though it is off here.
    :param import_errors: how many Dag files cannot import this package.
    """

    mode: Mode = Mode.AS_IS
    missing: frozenset[TaskKey] = frozenset()
    unexpected: frozenset[TaskKey] = frozenset()
    import_errors: int = 0

    def visible_to(self, readable: Collection[str]) -> Mismatch:
        """Return what a user may see: of the tasks, those of Dags that they may read."""
        kept = (frozenset(one for one in some if one.dag_id in readable) for some in (self.missing, self.unexpected))
        missing, unexpected = kept
        return replace(self, missing=missing, unexpected=unexpected)

    @property
    def sentences(self) -> list[str]:
        """What there is to say; empty: nothing differs."""
        found = []
        if self.import_errors:
            found.append(
                f"{self.import_errors} Dag file{'s' if self.import_errors > 1 else ''} cannot import airflow_durable: "
                f"the Dag processor does not have the package, or has another version."
            )
        if self.missing:
            found.append(
                f"Running without a record, though [durable] stock_operators is durable here: {_names(self.missing)}. "
                f"A worker or a Dag processor does not have the package, or has another setting."
            )
        if self.unexpected:
            found.append(
                f"Running with a record, though [durable] stock_operators is {self.mode.value} here: "
                f"{_names(self.unexpected)}. Another component has another setting, or it was on when they began."
            )
        return found


def find(session: Session) -> Mismatch:
    """Read what differs, of all Dags."""
    switch = read_switch(lambda name: conf.get(SECTION, name, fallback=None))
    errors = len(DeploymentReads(load_tables(), session.execute).import_errors().lacking)
    tries = _running_tries(session)
    stock = _stock_tasks(session, switch, {task.dag_id for task, _ in tries})
    is_on = switch.mode is Mode.DURABLE
    return Mismatch(
        switch.mode,
        missing=frozenset(task for task, has_record in tries if is_on and not has_record and task in stock),
        unexpected=frozenset(task for task, has_record in tries if not is_on and has_record and task in stock),
        import_errors=errors,
    )


def _running_tries(session: Session) -> list[tuple[TaskKey, bool]]:
    """Return the tasks of unfinished tries under the stock operator's name, and whether each has a record."""
    tables = load_tables()
    latest, store = tables.latest, tables.store
    if store is None:
        return []
    has_record = sa.exists().where(store.key.match(latest.key), is_entry(store.table.c.key))
    statement = (
        sa.select(latest.key.dag_id, latest.key.task_id, has_record)
        .where(latest.is_included, latest.columns.state.in_(("running", "deferred")))
        .where(latest.columns.operator == NAME)
        .where(latest.columns.start_date < datetime.now(tz=timezone.utc) - BEGUN_FOR)
        .limit(MOST_TRIES)
    )
    return [(TaskKey(dag_id, task_id), bool(has)) for dag_id, task_id, has in session.execute(statement)]


def _stock_tasks(session: Session, switch: Switch, dag_ids: Collection[str]) -> set[TaskKey]:
    """Return the tasks of these Dags that are exactly the stock operator's, and that the switch leaves in."""
    found = set()
    for dag_id, serialized in Reads(load_tables(), session.execute).serialized_dags(sorted(dag_ids)[:MOST_DAGS]):
        for task in tasks_in(dag_id, serialized):
            verdict = classify_serialized(
                switch,
                dag_id=dag_id,
                task_id=task.key.task_id,
                task_type=task.type_name,
                task_module=task.module,
                tags=task.tags,
            )
            if verdict.kind is Kind.STOCK:
                found.add(task.key)
    return found


def _names(tasks: Collection[TaskKey], most: int = 3) -> str:
    names = sorted(f"{task.dag_id}.{task.task_id}" for task in tasks)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
