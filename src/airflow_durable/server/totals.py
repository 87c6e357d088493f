"""
The numbers above the table, each defined in :mod:`airflow_durable.server.model`.

They are over all records, so they are counted once a while for all users, by pairs of Dags, and then summed up for each
user over the pairs that they may read.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from airflow_durable.metadata import records
from airflow_durable.metadata.reads import Reads
from airflow_durable.metadata.tables import load_tables
from airflow_durable.server.model import is_recovered, takeovers, worked_until
from airflow_durable.server.queries import open_records
from airflow_durable.server.selection import is_taken_over

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from datetime import datetime

    from sqlalchemy.orm import Session

    from airflow_durable.core.record import Record

FRESH_SECONDS = 30.0
"""For how long the numbers are given again before they are counted anew."""


@dataclass(frozen=True)
class Totals:
    """The numbers for one user."""

    records: int
    waiting: int
    recovered: int
    duplicates_avoided: int
    seconds_not_repeated: float
    dag_ids: tuple[str, ...] = ()


@dataclass
class Counts:
    """
    The numbers for all users.

    :param records: by parent's Dag.
    :param waiting: by parent's Dag.
    :param recovered: by parent's Dag.
    :param duplicates_avoided: by parent's Dag.
    :param seconds: of child runs' work that was not repeated, by the Dags of parent and child.
    """

    records: Counter[str] = field(default_factory=Counter)
    waiting: Counter[str] = field(default_factory=Counter)
    recovered: Counter[str] = field(default_factory=Counter)
    duplicates_avoided: Counter[str] = field(default_factory=Counter)
    seconds: defaultdict[tuple[str, str], float] = field(default_factory=lambda: defaultdict(float))

    def visible_to(self, readable: Collection[str]) -> Totals:
        """
        Sum up what a user may see.

        That is, parents whose Dag they may read; of hours, those of child runs whose Dag they may read too.
        """

        def total(counter: Counter[str]) -> int:
            return sum(count for dag_id, count in counter.items() if dag_id in readable)

        seconds = sum(
            seconds for (parent, child), seconds in self.seconds.items() if parent in readable and child in readable
        )
        return Totals(
            records=total(self.records),
            waiting=total(self.waiting),
            recovered=total(self.recovered),
            duplicates_avoided=total(self.duplicates_avoided),
            seconds_not_repeated=seconds,
            dag_ids=tuple(sorted(dag_id for dag_id in self.records if dag_id in readable)),
        )


def count(session: Session) -> Counts:
    """Count over all records."""
    counts = Counts()
    rows = open_records(session)
    counts.records.update(rows.count_by_dag())
    for dag_id, record in _read(rows.values(rows.is_unconsumed(), is_unfinished=True)):
        counts.waiting[dag_id] += not record.is_consumed
    taken_over: dict[tuple[str, str], tuple[str, datetime]] = {}
    for dag_id, record in _read(rows.values(is_taken_over(rows))):
        counts.recovered[dag_id] += is_recovered(record)
        if record.is_fixed:
            continue
        for entry in takeovers(record):
            counts.duplicates_avoided[dag_id] += 1
            taken_over[record.dag_id, entry.run_id] = (dag_id, entry.at)
    for key, run in Reads(load_tables(), session.execute).runs_of(taken_over).items():
        dag_id, at = taken_over[key]
        counts.seconds[dag_id, key.dag_id] += worked_until(run, at)
    return counts


def _read(stored: Iterator[tuple[str, str]]) -> Iterator[tuple[str, Record]]:
    """Yield the records that can be understood."""
    for dag_id, value in stored:
        record = records.read(value)
        if record is not None:
            yield dag_id, record
