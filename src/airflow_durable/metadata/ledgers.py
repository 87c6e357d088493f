"""
How many of the items of a task with many children are done, failed, running: counted in the Dag run table.

A ledger (:mod:`airflow_durable.core.ledger`) names no item. All its children's run ids begin alike, as the parent and
the epoch say (:func:`airflow_durable.core.run_ids.items_prefix`), and show the item and how many runs of it came
before. So one count, grouped by state, has them all: at a cost that grows with the runs of the child's Dag that are
newer than the parent's Dag run, and with nothing else.

Nothing that a ledger says is believed further: it names a Dag, an epoch and a number. Which runs are counted follows
from the row that it lies in.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from airflow_durable.core.model import ENDED_STATES, Parent
from airflow_durable.metadata.identities import identities_of, is_item, item_prefixes
from airflow_durable.metadata.model import DagRun
from airflow_durable.metadata.record_keys import escape
from airflow_durable.metadata.values import as_text, as_utc

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from airflow_durable.core.ledger import Ledger
    from airflow_durable.metadata.model import InstanceKey
    from airflow_durable.metadata.reads import Execute
    from airflow_durable.metadata.tables import Condition, Tables

MOST_FAILED = 100
"""The most failed items that are named."""

MOST_LATER = 5_000
"""The most runs, of those that are not the first of their item, that are read to find the present run of each."""

_ITEM = re.compile(r"(?:i(?P<key>[A-Za-z0-9.-]{1,60})|n(?P<position>\d+))(?:_r(?P<generation>[1-9]\d*))?")


@dataclass(frozen=True)
class FailedItem:
    """
    An item whose present run failed.

    :param name: the item's key or position, as the run id shows it.
    """

    name: str
    run: DagRun


@dataclass(frozen=True)
class ItemCounts:
    """
    How a whole stands.

    :param total: how many items there are, by the ledger.
    :param active: runs that are queued or running.
    :param to_start: items without a run.
    :param is_estimate: which failed runs were replaced by later ones is not known: at most so many items failed.
    :param is_over: the parent has ended, so an item without a run gets none any more.
    """

    total: int
    done: int = 0
    failed: int = 0
    active: int = 0
    to_start: int = 0
    first_at: datetime | None = None
    last_at: datetime | None = None
    is_estimate: bool = False
    failed_items: tuple[FailedItem, ...] = ()
    is_over: bool = False

    @property
    def state(self) -> str:
        """The state of the whole, as of a Dag run."""
        if self.active or (self.to_start and not self.is_over):
            return "running"
        return "failed" if self.failed else "success"

    def to_json(self) -> dict[str, Any]:
        """Return the numbers, and names and run ids of failed items."""
        return {
            "count": self.total,
            "done": self.done,
            "failed": self.failed,
            "running": self.active,
            "to_start": self.to_start,
            "is_estimate": self.is_estimate,
            "failed_items": [{"item": one.name, **one.run.key._asdict()} for one in self.failed_items],
        }

    def describe(self) -> str:
        """
        Return the counts in words: ``6,412 of 10,000 done, 31 failed, 200 running, 3,357 to start``.

        If the parent has ended, the last part is ``3,357 not started``.
        """
        failed = f"{'at most ' if self.is_estimate else ''}{self.failed:,} failed"
        parts = [
            f"{self.done:,} of {self.total:,} done",
            failed if self.failed else "",
            f"{self.active:,} running" if self.active else "",
            f"{self.to_start:,} {'not started' if self.is_over else 'to start'}" if self.to_start else "",
        ]
        return ", ".join(filter(None, parts))

    def as_run(self, ledger: Ledger) -> DagRun:
        """
        Return the whole as one Dag run, from its first start to its last end.

        It has succeeded if the task has taken its outcome, failures that it tolerates included.
        """
        state = "success" if self.state == "failed" and ledger.is_consumed else self.state
        end = None if state == "running" else self.last_at
        return DagRun(ledger.dag_id, ledger.run_id, state if self.first_at else None, self.first_at, self.first_at, end)


@dataclass
class _Tally:
    """Counts of runs by state, of first runs and of later ones."""

    by_state: Counter[str] = field(default_factory=Counter)
    later: int = 0
    first_at: datetime | None = None
    last_at: datetime | None = None

    def add(self, state: str, number: int, *, is_later: bool, first: datetime | None, last: datetime | None) -> None:
        self.by_state[state] += number
        self.later += number if is_later else 0
        self.first_at = min(filter(None, (self.first_at, first)), default=None)
        self.last_at = max(filter(None, (self.last_at, last)), default=None)

    def counts(self, total: int) -> ItemCounts:
        """
        Return the counts of items.

        Each run that is not the first of its item stands in the place of one that had ended, most often as failed.
        """
        done, failed = self.by_state["success"], self.by_state["failed"]
        active = sum(number for state, number in self.by_state.items() if state not in ENDED_STATES)
        replaced = min(self.later, failed)
        failed -= replaced
        done = max(0, done - (self.later - replaced))
        to_start = max(0, total - done - failed - active)
        return ItemCounts(total, min(done, total), failed, active, to_start, self.first_at, self.last_at)


class LedgerCounts:
    """Counts for the ledgers of one database."""

    def __init__(self, tables: Tables, execute: Execute) -> None:
        self._tables = tables
        self._execute = execute

    def of(self, key: InstanceKey, ledger: Ledger, *, has_names: bool = False) -> ItemCounts | None:
        """
        Count for one parent, by the row that its ledger lies in; None: its Dag run is not there any more.

        :param has_names: with the failed items.
        """
        parent_run = self._parent_run(key)
        if parent_run is None:
            return None
        region = Region(key, ledger, *parent_run)
        counts = self._count(region).counts(ledger.count)
        if not has_names or not counts.failed:
            return counts
        return replace(counts, failed_items=tuple(self._failed(region)))

    def _parent_run(self, key: InstanceKey) -> tuple[int, datetime] | None:
        run = self._tables.dag_run.c
        statement = sa.select(run.id, run.run_after).where(run.dag_id == key.dag_id, run.run_id == key.run_id)
        for row_id, run_after in self._execute(statement):
            after = as_utc(run_after)
            return None if after is None else (row_id, after)
        return None

    def _count(self, region: Region) -> _Tally:
        run = self._tables.dag_run.c
        is_later = sa.case((region.is_later(run.run_id), 1), else_=0).label("is_later")
        begun = sa.func.min(sa.func.coalesce(run.queued_at, run.start_date))
        statement = (
            sa.select(run.state, is_later, sa.func.count(), begun, sa.func.max(run.end_date))
            .where(*region.conditions(run))
            .group_by(run.state, is_later)
        )
        tally = _Tally()
        for state, later, number, first, last in self._execute(statement):
            tally.add(as_text(state) or "none", number, is_later=bool(later), first=as_utc(first), last=as_utc(last))
        return tally

    def _failed(self, region: Region) -> Iterator[FailedItem]:
        """Yield failed items, the latest first: those of which no later run exists."""
        run = self._tables.dag_run.c
        later = sa.select(run.run_id).where(*region.conditions(run), region.is_later(run.run_id)).limit(MOST_LATER)
        newest: defaultdict[str, int] = defaultdict(int)
        for (run_id,) in self._execute(later):
            if found := region.split(run_id):
                newest[found[0]] = max(newest[found[0]], found[1])
        columns = (run.run_id, run.state, run.queued_at, run.start_date, run.end_date)
        statement = sa.select(*columns).where(*region.conditions(run), run.state == "failed").order_by(run.id.desc())
        left = MOST_FAILED
        for run_id, state, *dates in self._execute(statement.limit(MOST_FAILED + MOST_LATER)):
            queued, start, end = map(as_utc, dates)
            found = region.split(run_id)
            if found is None or found[1] < newest[found[0]]:
                continue
            yield FailedItem(found[0], DagRun(region.dag_id, run_id, as_text(state), queued, start, end))
            left -= 1
            if not left:
                return


def estimate(total: int, *, done: int, failed_runs: int, active: int) -> ItemCounts:
    """Return the counts where it is not known which failed runs were replaced by later ones."""
    failed = max(0, min(failed_runs, total - done - active))
    to_start = max(0, total - done - failed - active)
    return ItemCounts(total, min(done, total), failed, active, to_start, is_estimate=failed_runs > 0)


class Region:
    """
    Where in the Dag run table the children of a ledger are.

    :param key: of the row that the ledger lies in.
    :param row_id: of the parent's Dag run: its children are newer. So children of an earlier Dag run of the same name
        do not count.
    :param run_after: of the parent's Dag run.
    """

    def __init__(self, key: InstanceKey, ledger: Ledger, row_id: int, run_after: datetime) -> None:
        self.dag_id = ledger.dag_id
        self._row_id = row_id
        parent = Parent(*key[:4], run_after)
        self.prefixes = item_prefixes(identities_of(parent, key.region_id), ledger.epoch)
        """How their run ids begin; more than one where the row leaves open how the task sees itself (3.4)."""

    def conditions(self, run: Any) -> tuple[Condition, ...]:  # noqa: ANN401 - columns
        """Return the conditions that a run is one of them."""
        return run.dag_id == self.dag_id, run.id > self._row_id, is_item(run.run_id, self.prefixes)

    def is_later(self, run_id: Any) -> Condition:  # noqa: ANN401 - a column
        """Return the condition that it is not the first run of its item."""
        return is_item(run_id, self.prefixes, f"%{escape('_r')}")

    def split(self, run_id: str) -> tuple[str, int] | None:
        """Return which item a run is of, as its run id shows it, and how many came before it."""
        begin = next((prefix for prefix in self.prefixes if run_id.startswith(prefix)), None)
        found = None if begin is None else _ITEM.fullmatch(run_id.removeprefix(begin))
        return (found["key"] or found["position"], int(found["generation"] or 0)) if found else None
