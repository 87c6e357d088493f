"""Which rows of the store the reconciler has read, whatever fails or commits late. The store is a list of rows here."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, cast

import pytest

from airflow_durable.core.asks import Asks
from airflow_durable.core.model import Mode, OnParentEnd, Proof
from airflow_durable.core.observed import Entry
from airflow_durable.core.record import Record
from airflow_durable.metadata.calls import CallKey, Journal, RowMark
from airflow_durable.server.watch_list import FULL_SEARCH_SECONDS, LATE_COMMIT_SECONDS, WatchList

if TYPE_CHECKING:
    from collections.abc import Collection

    from airflow_durable.metadata.asked import Asked

AT = datetime(2026, 1, 1, tzinfo=timezone.utc)
ENTRY = Entry(Record("child", "run", Proof.RUN_ID, Mode.WAIT, 1, 0, asks=Asks(OnParentEnd.CANCEL)), 0, "root", AT)
TURN_SECONDS = 5.0


def key_of(row_id: int) -> CallKey:
    """Return the call whose entry is in that row."""
    return CallKey(row_id, "task", -1, "", 1)


class Store:
    """Rows by their ids, each the entry of another call."""

    def __init__(self) -> None:
        self.committed: set[int] = set()
        self.is_failing = False
        self.searches = 0

    def newest(self) -> RowMark:
        """Return the last row."""
        return RowMark(max(self.committed), AT) if self.committed else RowMark(0, None)

    def chunk_end(self, low: int) -> int | None:
        """Return where a search of the whole store goes to in one query."""
        return max((row_id for row_id in self.committed if row_id > low), default=None)

    def scan(self, low: int, high: int) -> set[CallKey]:
        """Return the calls of all rows between two."""
        self.searches += 1
        return {key_of(row_id) for row_id in self.committed if low < row_id <= high}

    def new(self, low: int) -> list[tuple[RowMark, CallKey]]:
        """Return the rows above an id."""
        return [(RowMark(row_id, AT), key_of(row_id)) for row_id in sorted(self.committed) if row_id > low]

    def journals(self, keys: Collection[CallKey]) -> dict[CallKey, Journal]:
        """Return the journals of calls."""
        if self.is_failing:
            message = "the connection is lost"
            raise ConnectionError(message)
        return {key: Journal((ENTRY,), (key.dag_run_id,), 1) for key in keys}


class Watching:
    """A watch list whose turns come every five seconds."""

    def __init__(self) -> None:
        self.store = Store()
        self.now = 0.0
        self._list = WatchList(lambda: self.now)

    def turn(self) -> set[int]:
        """Run a turn; return the rows whose calls are watched."""
        self.now += TURN_SECONDS
        self._list.update(cast("Asked", self.store))
        return {key.dag_run_id for key in self._list.calls}

    def turns(self, seconds: float) -> None:
        """Run turns for so long."""
        for _ in range(int(seconds / TURN_SECONDS)):
            self.turn()


@pytest.fixture(params=["first", "hourly", "between"])
def watching(request: Any) -> Watching:  # noqa: ANN401 - pytest's
    """Return one whose next turn searches the whole store for the first time, or anew; or reads what is new."""
    made = Watching()
    if request.param == "hourly":
        made.store.committed = {1}
        made.turns(FULL_SEARCH_SECONDS)
        searches = made.store.searches
        made.turn()
        assert made.store.searches > searches
        made.turns(FULL_SEARCH_SECONDS - TURN_SECONDS)
    elif request.param == "between":
        made.store.committed = {1}
        made.turns(2 * LATE_COMMIT_SECONDS)
    return made


def test_what_could_not_be_read_is_read_in_the_next_turn(watching: Watching) -> None:
    watching.store.committed |= {11}
    watching.store.is_failing = True
    for _ in range(3):
        with pytest.raises(ConnectionError):
            watching.turn()
    watching.store.is_failing = False
    assert watching.turn() == watching.store.committed


def test_a_row_that_is_committed_after_a_later_one_is_read(watching: Watching) -> None:
    watching.store.committed |= {11}
    watching.turn()
    watching.store.committed |= {10}
    assert watching.turn() == watching.store.committed
    watching.turns(LATE_COMMIT_SECONDS - 3 * TURN_SECONDS)
    watching.store.committed |= {9}
    assert watching.turn() == watching.store.committed


def test_what_is_known_is_not_read_again(watching: Watching) -> None:
    watching.store.committed |= {11}
    watching.turn()
    watching.store.is_failing = True
    watching.turn()
