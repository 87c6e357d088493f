"""The bars of tasks with many children: counted for the waits that are shown, and kept for a while for all users."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from airflow_durable.metadata.ledgers import LedgerCounts
from airflow_durable.metadata.model import ENDED_STATES
from airflow_durable.metadata.tables import load_tables

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from sqlalchemy.orm import Session

    from airflow_durable.metadata.ledgers import ItemCounts
    from airflow_durable.server.model import Wait

FRESH_SECONDS = 10.0
FRESH_SECONDS_ENDED = 120.0
"""Of a parent that has ended: its runs change only if a person clears one."""

MOST_KEPT = 2_000


class ItemCache:
    """
    Counts by the id of a wait's row, of one process.

    :param clock: seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: dict[tuple[int, object, bool], tuple[float, ItemCounts | None]] = {}

    def fill(self, session: Session, waits: Iterable[Wait], *, has_names: bool = False) -> Iterator[Wait]:
        """Yield the waits, those with many children with their counts if the user may read the child's Dag."""
        for wait in waits:
            if wait.ledger is None or wait.is_child_hidden:
                yield wait
                continue
            counts = self._get(session, wait, has_names=has_names)
            yield replace(wait, items=counts and replace(counts, is_over=wait.state in ENDED_STATES))

    def _get(self, session: Session, wait: Wait, *, has_names: bool) -> ItemCounts | None:
        # With the parent: SQLite gives the ids of deleted rows out again.
        key, now = (wait.id, wait.parent, has_names), self._clock()
        kept = self._kept.get(key)
        if kept is not None and now < kept[0]:
            return kept[1]
        counted = None
        if wait.ledger is not None:
            counted = LedgerCounts(load_tables(), session.execute).of(wait.parent, wait.ledger, has_names=has_names)
        if len(self._kept) >= MOST_KEPT:
            self._kept.clear()
        self._kept[key] = (now + (FRESH_SECONDS if wait.is_waiting else FRESH_SECONDS_ENDED), counted)
        return counted
