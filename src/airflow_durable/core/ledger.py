"""
The ledger: what survives between tries of a task with many children.

It is a :class:`.record.Record` of the whole task, of fixed size: it names no item. The record of one item is computed
(:meth:`Ledger.record_of`), because its run id follows from the parent and the item's key; which of an item's possible
runs is the present one, the Dag run table says. Stored as a record of version 2 with two more fields::

    "kind": "ledger",
    "items": {"count": int, "digest": str, "is_clean": bool, "tag": int, "first": int, "outdated_before": date}

The tag is there only where it is known, ``first`` where it is not 0, ``outdated_before`` where there is one, and
``asks`` where ``on_parent_end`` is ``cancel``: one request for the whole set. Here ``generation`` is the highest that
may have been asked for, of any item, and ``child.run_id`` the first item's first run, for people.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from airflow_durable.core import run_ids, stored
from airflow_durable.core.errors import RecordDamagedError
from airflow_durable.core.fields import Fields
from airflow_durable.core.model import Proof
from airflow_durable.core.record import Record

if TYPE_CHECKING:
    from datetime import datetime

    from airflow_durable.core.items import Items
    from airflow_durable.core.model import Attempt, ChildRun, Parent, Request

KEY = "durable_child_runs"
"""The key of the first entry in the parent's task state store; all others start with it."""

KIND = "ledger"

MAX_COUNT = 1_000_000_000
"""Of items. More is no number of ours."""


@dataclass(frozen=True)
class ItemRecord(Record):
    """
    The record of one item's present run: computed, never stored.

    What is ours of the run are the microseconds of its ``run_after``, where Airflow lets a task choose that (3.3): ten
    thousand children start within seconds, and their logical dates have to differ.

    :param tag: the ledger's.
    """

    tag: int | None = None

    def is_author_of(self, run: ChildRun, attempt: Attempt) -> bool:
        """Return whether the run under the item's run id is one that this parent started."""
        if run.clear_number is None:
            return super().is_author_of(run, attempt)
        if self.tag is not None and run.run_after is not None:
            return run.run_after.microsecond == self.tag
        # 3.2, or the ledger was lost: by when it began alone. Its logical date has no tag.
        return Record.is_author_of(replace(self, is_recovered=False), run, attempt)


@dataclass(frozen=True)
class Ledger(Record):
    """
    One entry of the ledger.

    :param count: how many items there were.
    :param digest: of their keys (:attr:`.items.Items.digest`).
    :param is_clean: before anything of this epoch was sent, none of the items' first run ids existed: those that exist
        by now are this parent's.
    :param tag: the microseconds that each run of this life of the parent's Dag run is sent with. They follow from the
        start of that Dag run when the first entry was written, and stay: a clear of a Dag run that has ended moves the
        start. None: not known, as an earlier ledger was lost, or none is sent (before 3.3).
    :param outdated_before: a run of this epoch that had not failed was replaced by another one of it: after a clear its
        item asked for something else, or something upstream had run again. If the other one is deleted, or was refused,
        the outdated one is the item's newest. So in each later try of the epoch the runs that were asked for before
        this moment are compared with what the task asks for.
    :param first: the first generation of this life of the parent's Dag run: the runs of lower ones are of other lives.
        A first try finds it out where a look-up does not say whose a run is (3.0, 3.1). Nothing is stored there, so it
        goes no further than the deferrals of that try.
    """

    count: int = 0
    digest: str = ""
    is_clean: bool = False
    tag: int | None = None
    outdated_before: datetime | None = None
    first: int = 0

    def record_of(self, request: Request, run_id: str, generation: int, is_recovered: bool) -> ItemRecord:  # noqa: FBT001
        """
        Return the record of one item's run.

        :param is_recovered: whether the run is met, not only just asked for.
        """
        return ItemRecord(
            dag_id=request.dag_id,
            run_id=run_id,
            proof=Proof.RUN_ID,
            mode=request.mode,
            max_tries=self.max_tries,
            clear_number=self.clear_number,
            epoch=self.epoch,
            generation=generation,
            is_recovered=is_recovered,
            tag=self.tag,
        )

    def is_started_by(self, parent: Parent, run_id: str) -> bool:
        """
        Return whether a run id is one of this parent's, in the epoch of this entry: no other parent asks for it.

        But for passes of a task loop with one number in several regions (3.4): see :func:`is_of_pass`.
        """
        return self.epoch >= 0 and run_id.startswith(run_ids.items_prefix(parent, self.epoch))

    def is_of_pass(self, parent: Parent, run_after: datetime | None) -> bool:
        """
        Return whether a run is of this very pass of a task loop, by the date that we chose for it.

        Outside of a loop there is one pass: True.

        :param run_after: of the run.
        """
        if not parent.region:
            return True
        return run_after is not None and run_after.microsecond in {self.tag, run_ids.tag_of_life(parent, self.call)}

    def is_of(self, items: Items) -> bool:
        """Return whether it was written for these items, whatever their order is by now."""
        return (self.count, self.digest) == (items.count, items.digest)


def key_of(sequence: int) -> str:
    """Return the key of an entry: ``durable_child_runs``, ``durable_child_runs.1``, ..."""
    return KEY if sequence == 0 else f"{KEY}.{sequence}"


def position_of(key: str) -> int | None:
    """Return the sequence number of a key; None: it is none of a ledger."""
    head, dot, sequence = key.partition(".")
    if head != KEY or (dot and not stored.is_number(sequence)):
        return None
    return int(sequence) if dot else 0


def dump(ledger: Ledger) -> dict[str, Any]:
    """Return the stored form, JSON-serializable."""
    items: dict[str, Any] = {"count": ledger.count, "digest": ledger.digest, "is_clean": ledger.is_clean}
    if ledger.tag is not None:
        items["tag"] = ledger.tag
    if ledger.outdated_before is not None:
        items["outdated_before"] = ledger.outdated_before.isoformat()
    if ledger.first:
        items["first"] = ledger.first
    return {**stored.dump(ledger), "kind": KIND, "items": items}


def load(value: object) -> Ledger:
    """
    Return the ledger that was stored.

    :raises RecordDamagedError: it is no ledger that this release knows.
    """
    record = stored.load(value)
    items = value.get("items") if isinstance(value, dict) and value.get("kind") == KIND else None
    if not isinstance(items, dict):
        raise RecordDamagedError(KEY, "it is no ledger of many children")
    count, digest, is_clean = (items.get(name) for name in ("count", "digest", "is_clean"))
    if type(count) is not int or not isinstance(digest, str) or not isinstance(is_clean, bool):
        raise RecordDamagedError(KEY, "its items have no count, digest or is_clean")
    if not 0 <= count <= MAX_COUNT:
        raise RecordDamagedError(KEY, f"it is for less than no items, or for more than {MAX_COUNT}")
    tag = items.get("tag")
    if tag is not None and (type(tag) is not int or not 0 <= tag < run_ids.MICROSECONDS):
        raise RecordDamagedError(KEY, "the tag of its runs is no number of microseconds")
    dates = Fields(items, "its items", KEY)
    outdated_before = dates.date("outdated_before") if dates.has("outdated_before") else None
    first = items.get("first", 0)
    if type(first) is not int or not 0 <= first <= MAX_COUNT:
        raise RecordDamagedError(KEY, "the first generation of its runs is none")
    known = {each.name: getattr(record, each.name) for each in fields(Record)}
    return Ledger(
        **known, count=count, digest=digest, is_clean=is_clean, tag=tag, first=first, outdated_before=outdated_before
    )
