"""Pages of a table of waits: how long, in which order, and where each begins."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_durable.server.model import Wait

PAGE_SIZE = 50

MOST_SORTED = 2_000
"""Among so many waits that pass the filters a page is sorted by what no index knows."""

MOST_READ = 5_000
"""So many records are read for one page; then it ends, and says from where the search can continue."""

MOST_COUNTED = 10_000


class Sort(str, Enum):
    """What a table is sorted by. The values are in addresses."""

    CHANGED = "changed"
    PARENT = "parent"
    STATE = "state"
    CHILD = "child"
    CHILD_STATE = "child_state"
    SINCE = "since"
    DURATION = "duration"
    TRIES = "tries"


KEYS: dict[Sort, Callable[[Wait], tuple[object, ...]]] = {
    Sort.PARENT: lambda wait: (wait.parent.dag_id, wait.parent.task_id, wait.parent.run_id, wait.parent.map_index),
    Sort.STATE: lambda wait: (wait.state or "",),
    Sort.CHILD: lambda wait: (wait.child.dag_id, wait.child.run_id) if wait.child else ("", ""),
    Sort.CHILD_STATE: lambda wait: ((wait.child.state or "") if wait.child else "",),
    Sort.SINCE: lambda wait: (wait.since.timestamp() if wait.since else 0.0,),
    Sort.DURATION: lambda wait: (wait.seconds or 0.0,),
    Sort.TRIES: lambda wait: (len(wait.record.tries) if wait.record else 0,),
}
"""By what a wait is sorted; by its change the records are in order."""


@dataclass(frozen=True)
class Order:
    """
    In which order. By the latest change the ids of the records are in order; any other has to be sorted.

    :param is_descending: the largest, the latest or the last of the alphabet first.
    """

    by: Sort = Sort.CHANGED
    is_descending: bool = True

    @property
    def is_by_id(self) -> bool:
        """Whether the records are read in this order."""
        return self.by is Sort.CHANGED


@dataclass(frozen=True)
class Page:
    """
    Some waits.

    :param has_previous: there are others, before the first.
    :param has_next: there are others, after the last.
    :param total: how many pass the filters; None: not counted.
    :param is_total_capped: there are more than that.
    :param searched_to: the search ended here, at :data:`MOST_READ`; 0: it did not.
    """

    waits: tuple[Wait, ...]
    has_previous: bool = False
    has_next: bool = False
    total: int | None = None
    is_total_capped: bool = False
    searched_to: int = 0


@dataclass(frozen=True)
class Cursor:
    """
    Where a page begins: below one id, or above one (then it is the page that ends just above it). 0: at the top.

    :param number: of the page, from 1, where the order is not that of the ids.
    """

    before: int = 0
    after: int = 0
    number: int = 1


@dataclass(frozen=True)
class Count:
    """How many waits pass the filters, as far as the text of the records tells."""

    number: int
    is_capped: bool
