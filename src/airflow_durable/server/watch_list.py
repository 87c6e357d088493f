"""
Which calls the reconciler watches, and how it finds them at a cost that does not grow with the store.

At the start, and every hour, all of the store is searched, some thousand rows in each query. Each turn reads the rows
above the id that was the highest half a minute ago (at the start, some thousand rows): a transaction may commit its row
after one with a higher id. What it has seen already it knows by the id and the time at which the row was written.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_durable.metadata.asked import ROWS_AT_ONCE

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from airflow_durable.core.observed import Entry
    from airflow_durable.core.record import Record
    from airflow_durable.metadata.asked import Asked
    from airflow_durable.metadata.calls import CallKey, Journal, RowMark
    from airflow_durable.metadata.families import ParentRow

LATE_COMMIT_SECONDS = 30.0
FULL_SEARCH_SECONDS = 3_600.0


@dataclass
class Watched:
    """
    A call on the list.

    :param entry: its newest entry, as last read.
    :param parent: as last read; kept for when its Dag run is deleted, and all its rows with it.
    :param after: of a ledger: the id of the last run that was seen; 0: the search begins anew.
    """

    entry: Entry
    record: Record
    parent: ParentRow | None = None
    after: int = 0


class WatchList:
    """
    The calls that ask for something, or will when their parent ends.

    :ivar unreadable: calls that asked for something which cannot be understood, for who reports it.
    :param clock: seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.calls: dict[CallKey, Watched] = {}
        self.unreadable: list[CallKey] = []
        self._marks: deque[tuple[float, int]] = deque()
        self._seen: set[RowMark] = set()
        self._searched_at: float | None = None
        self._newest: RowMark | None = None

    def update(self, asked: Asked) -> None:
        """
        Read what is new in the store.

        What was read counts as seen only when all of it was: if a query fails, the next turn reads the same again.
        """
        now, newest = self._clock(), asked.newest()
        last, low = newest.row_id, self._low(now, newest)
        found, seen = self._new(asked, low)
        is_full = self._searched_at is None or now - self._searched_at >= FULL_SEARCH_SECONDS
        if is_full:
            found |= self._search(asked, last)
        journals = asked.journals(found) if found else {}
        self._marks.append((now, last if self._marks else low))
        self._newest, self._seen = newest, seen
        self._searched_at = now if is_full else self._searched_at
        self.take(found, journals)

    def take(self, keys: Collection[CallKey], journals: dict[CallKey, Journal]) -> None:
        """Put calls on the list, or off it, by what their journals say now."""
        for key in keys:
            journal = journals.get(key)
            entry = journal.newest if journal else None
            record = entry.record if entry else None
            if entry and record and record.asks and not record.is_consumed:
                old = self.calls.get(key)
                self.calls[key] = Watched(entry, record, old.parent if old else None, old.after if old else 0)
                continue
            self.calls.pop(key, None)
            if journal and record is None:
                self.unreadable.append(key)

    def drop(self, key: CallKey) -> None:
        """Take a call off the list; its next entry puts it on again."""
        self.calls.pop(key, None)

    def _low(self, now: float, newest: RowMark) -> int:
        """Return the id above which rows may be new, or may have been committed late."""
        while len(self._marks) > 1 and now - self._marks[1][0] >= LATE_COMMIT_SECONDS:
            self._marks.popleft()
        recent = max(0, newest.row_id - ROWS_AT_ONCE)
        if not self._marks:
            return recent
        low = min(newest.row_id, *(mark for _, mark in self._marks))
        return min(low, recent) if self._is_rewound(newest) else low

    def _is_rewound(self, newest: RowMark) -> bool:
        """
        Return whether the row with the highest id is another one, but its id is not higher.

        SQLite gives the ids of deleted rows out again. Then what is new has the highest of those that there are.
        """
        before = self._newest
        return before is not None and (
            newest.row_id < before.row_id or (newest.row_id == before.row_id and newest != before)
        )

    @staticmethod
    def _search(asked: Asked, last: int) -> set[CallKey]:
        found: set[CallKey] = set()
        low = 0
        while low < last and (end := asked.chunk_end(low)) is not None:
            high = min(end, last)
            found |= asked.scan(low, high)
            low = high
        return found

    def _new(self, asked: Asked, low: int) -> tuple[set[CallKey], set[RowMark]]:
        """Return the calls of rows above an id that were not seen yet, and all these rows."""
        found: set[CallKey] = set()
        seen: set[RowMark] = set()
        while True:
            rows = asked.new(low)
            found |= {key for mark, key in rows if key is not None and mark not in self._seen}
            seen |= {mark for mark, _ in rows}
            if len(rows) < ROWS_AT_ONCE:
                return found, seen
            low = rows[-1][0].row_id
