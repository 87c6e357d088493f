"""
How many of the items of a task with many children are done, failed, running: counted in the Dag run table.

A ledger (:mod:`airflow_durable.core.ledger`) names no item. Its children's run ids begin with the date of the parent's
Dag run, and show the item and how many runs of it came before. So one count, grouped by state, has them all: at a cost
that grows with the runs of the child's Dag that are newer than the parent's Dag run, and with nothing else. Where the
date does not tell one parent's children from those of another, the digest in each run id does, or the date that is
ours.

Nothing that a ledger says is believed further: it names a Dag, an epoch and a number. Which runs are counted follows
from the row that it lies in.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from datetime import timezone
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from airflow_durable.core import run_ids
from airflow_durable.core.items import BY_POSITION
from airflow_durable.core.model import ENDED_STATES, Parent
from airflow_durable.metadata import records
from airflow_durable.metadata.model import DagRun
from airflow_durable.metadata.reads import as_key
from airflow_durable.metadata.record_keys import escape, is_ledger_entry
from airflow_durable.metadata.values import as_text, as_utc

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from airflow_durable.core.ledger import Ledger
    from airflow_durable.metadata.model import InstanceKey
    from airflow_durable.metadata.reads import Execute
    from airflow_durable.metadata.tables import Condition, Tables

MOST_ROWS = 100_000
"""So many runs are read one by one, where the date alone does not tell whose they are."""

MOST_FAILED = 100
"""So many failed items are named."""

MOST_LATER = 5_000
"""So many runs that are not the first of their item are read to find the present one of each."""

_ANY_DIGEST = "_" * 12
_ITEM = re.compile(r"(?:_e\d+)?_i(?P<name>[A-Za-z0-9.-]{1,60})(?:_r(?P<generation>[1-9]\d*))?")


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
    :param is_capped: more than :data:`MOST_ROWS` runs; the rest is not counted.
    :param is_estimate: which failed runs were replaced by later ones is not known: at most so many items failed.
    """

    total: int
    done: int = 0
    failed: int = 0
    active: int = 0
    to_start: int = 0
    first_at: datetime | None = None
    last_at: datetime | None = None
    is_capped: bool = False
    is_estimate: bool = False
    failed_items: tuple[FailedItem, ...] = ()

    @property
    def state(self) -> str:
        """The state of the whole, as of a Dag run."""
        if self.active or self.to_start:
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
            "is_capped": self.is_capped,
            "is_estimate": self.is_estimate,
            "failed_items": [{"item": one.name, **one.run.key._asdict()} for one in self.failed_items],
        }

    def describe(self) -> str:
        """``6,412 of 10,000 done, 31 failed, 200 running, 3,357 to start``."""
        failed = f"{'at most ' if self.is_estimate else ''}{self.failed:,} failed"
        parts = [
            f"{self.done:,} of {self.total:,} done",
            failed if self.failed else "",
            f"{self.active:,} running" if self.active else "",
            f"{self.to_start:,} to start" if self.to_start else "",
        ]
        return ", ".join(filter(None, parts))

    def as_run(self, ledger: Ledger) -> DagRun:
        """Return the whole as one Dag run, from its first start to its last end."""
        end = None if self.active else self.last_at
        state = self.state if self.first_at else None
        return DagRun(ledger.dag_id, ledger.run_id, state, self.first_at, self.first_at, end)


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
        row_id, run_after, started_at = parent_run
        region = Region(ledger, row_id, run_after)
        parents = _identities(key, run_after, started_at)
        others = self._sharing(key, ledger.dag_id, run_after)
        own = None if others is None else _Own(parents, ledger, frozenset(others))
        tally, is_capped = self._count_each(region, own) if own else (self._count_grouped(region), False)
        counts = replace(tally.counts(ledger.count), is_capped=is_capped)
        if not has_names or not counts.failed:
            return counts
        named = self._failed(region, own)
        return replace(counts, failed_items=tuple(named))

    def _parent_run(self, key: InstanceKey) -> tuple[int, datetime, datetime | None] | None:
        run = self._tables.dag_run.c
        statement = sa.select(run.id, run.run_after, run.start_date).where(
            run.dag_id == key.dag_id, run.run_id == key.run_id
        )
        for row_id, run_after, started_at in self._execute(statement):
            after = as_utc(run_after)
            return None if after is None else (row_id, after, as_utc(started_at))
        return None

    def _sharing(self, key: InstanceKey, child_dag_id: str, run_after: datetime) -> set[int] | None:
        """Return the tags of other parents with a ledger for the same Dag and the same date; None: there is none."""
        store = self._tables.store
        if store is None:
            return None
        run = self._tables.dag_run.c
        joined = store.table.join(
            self._tables.dag_run, sa.and_(run.dag_id == store.key.dag_id, run.run_id == store.key.run_id)
        )
        statement = (
            sa.select(*store.key, store.table.c.value, run.start_date)
            .select_from(joined)
            .where(run.run_after == run_after, is_ledger_entry(store.table.c.key))
        )
        found: set[int] | None = None
        for *names, value, started_at in self._execute(statement):
            other, parent = records.read(value), as_key(names)
            if parent != key and other is not None and other.dag_id == child_dag_id:
                tags = {run_ids.tag_of_life(one, 1) for one in _identities(parent, run_after, as_utc(started_at))}
                found = (found or set()) | tags
        return found

    def _count_grouped(self, region: Region) -> _Tally:
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

    def _count_each(self, region: Region, own: _Own) -> tuple[_Tally, bool]:
        run = self._tables.dag_run.c
        columns = (run.run_id, run.state, run.run_after, sa.func.coalesce(run.queued_at, run.start_date), run.end_date)
        statement = sa.select(*columns).where(*region.conditions(run)).limit(MOST_ROWS)
        tally, read = _Tally(), 0
        for run_id, state, run_after, first, last in self._execute(statement):
            read += 1
            found = region.split(run_id)
            if found is None or not own.has(run_id, found, as_utc(run_after)):
                continue
            is_later = found[1] > 0
            tally.add(as_text(state) or "none", 1, is_later=is_later, first=as_utc(first), last=as_utc(last))
        return tally, read == MOST_ROWS

    def _failed(self, region: Region, own: _Own | None) -> Iterator[FailedItem]:
        """Yield failed items, the latest first: those of which no later run exists."""
        run = self._tables.dag_run.c
        later = sa.select(run.run_id).where(*region.conditions(run), region.is_later(run.run_id)).limit(MOST_LATER)
        newest: defaultdict[str, int] = defaultdict(int)
        for (run_id,) in self._execute(later):
            if found := region.split(run_id):
                newest[found[0]] = max(newest[found[0]], found[1])
        columns = (run.run_id, run.state, run.queued_at, run.start_date, run.end_date, run.run_after)
        statement = sa.select(*columns).where(*region.conditions(run), run.state == "failed").order_by(run.id.desc())
        left = MOST_FAILED
        for run_id, state, *dates in self._execute(statement.limit(MOST_FAILED + MOST_LATER)):
            queued, start, end, after = map(as_utc, dates)
            found = region.split(run_id)
            if found is None or found[1] < newest[found[0]]:
                continue
            if own and not own.has(run_id, found, after):
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

    :param row_id: of the parent's Dag run: its children are newer.
    """

    def __init__(self, ledger: Ledger, row_id: int, run_after: datetime) -> None:
        self.dag_id = ledger.dag_id
        self._epoch = ledger.epoch
        self._row_id = row_id
        self._prefix = f"manual__{run_after.astimezone(timezone.utc).isoformat()}_"
        epoch = f"_e{ledger.epoch}" if ledger.epoch else ""
        self._pattern = f"{escape(self._prefix)}{_ANY_DIGEST}{escape(epoch + '_i')}%"

    @property
    def api_pattern(self) -> str:
        """What finds them by ``run_id_pattern`` in Airflow's REST API, where ``_`` stands for any one sign."""
        return f"{self._prefix}{_ANY_DIGEST}{f'_e{self._epoch}' if self._epoch else ''}_i"

    def conditions(self, run: Any) -> tuple[Condition, ...]:  # noqa: ANN401 - columns
        """Return the conditions that a run is one of them, or has a parent with a date of the same Dag run."""
        return run.dag_id == self.dag_id, run.id > self._row_id, run.run_id.like(self._pattern, escape="!")

    def is_later(self, run_id: Any) -> Condition:  # noqa: ANN401 - a column
        """Return the condition that it is not the first run of its item."""
        return run_id.like(f"{self._pattern}{escape('_r')}%", escape="!")

    def split(self, run_id: str) -> tuple[str, int] | None:
        """Return which item a run is of, as its run id shows it, and how many came before it."""
        found = _ITEM.fullmatch(run_id[len(self._prefix) + len(_ANY_DIGEST) :])
        return (found["name"], int(found["generation"] or 0)) if found else None


class _Own:
    """
    Which runs of a region are one parent's, where several parents have the same date.

    :param others: the tags of the other parents' runs.
    """

    def __init__(self, parents: Iterable[Parent], ledger: Ledger, others: frozenset[int]) -> None:
        self._parents = tuple(parents)
        self._tags = {run_ids.tag_of_life(parent, 1) for parent in self._parents}
        self._others = others - self._tags
        self._kind = "#" if ledger.digest == BY_POSITION else "="
        self._epoch = ledger.epoch

    def has(self, run_id: str, item: tuple[str, int], run_after: datetime | None) -> bool:
        """
        Return whether a run is this parent's.

        By the date that is ours. Where that says nothing (the Dag run was cleared since), by the digest in the run id,
        which a key cannot be put to that has signs a run id does not show.
        """
        tag = None if run_after is None else run_after.microsecond
        if tag in self._tags or tag in self._others:
            return tag in self._tags
        name, generation = item
        return any(
            run_id
            == run_ids.child_run_id(
                parent, epoch=self._epoch, call=1, generation=generation, item=f"{self._kind}{name}"
            )
            for parent in self._parents
        )


def _identities(key: InstanceKey, run_after: datetime, started_at: datetime | None) -> tuple[Parent, ...]:
    """Return how the task may see itself; in a loop (3.4) the row leaves it open."""
    plain = Parent(key.dag_id, key.run_id, key.task_id, key.map_index, run_after, started_at=started_at)
    if not key.region_id or key.map_index < 0:
        return (plain,)
    return (plain, *(replace(plain, map_index=index, loop_index=key.map_index) for index in (-1, key.map_index)))
