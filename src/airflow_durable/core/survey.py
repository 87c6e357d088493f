"""
Which of many runs exist, and which have failed: by counts, not by a look-up for each.

A count of some hundred run ids that comes to all or to none of them settles them all. What is between is halved. A set
that follows from the difference of two counts is counted once more, because runs change while they are counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from airflow_durable.core import port as calls
from airflow_durable.core.errors import LookUpFailedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from airflow_durable.core.port import Port

COUNT_BYTES = 50_000
"""Of run ids in one count: they travel in the address of the request, which servers limit (to 64 KiB in h11)."""

_BYTES_BESIDE = len("&run_ids=")


@dataclass
class CountLimit:
    """How large a count may be, in bytes of run ids. What stands before a server may take less than the server."""

    size: int = COUNT_BYTES


class Survey:
    """
    Counts runs of one Dag.

    :param run_id_of: the run id that an item has in the generation that is surveyed.
    :param limit: it is lowered where a count is refused that has more than one run id.
    """

    def __init__(
        self, port: Port, dag_id: str, run_id_of: Callable[[int], str], limit: CountLimit | None = None
    ) -> None:
        self._port = port
        self._dag_id = dag_id
        self._run_id_of = run_id_of
        self._limit = limit or CountLimit()

    def chunks(self, indices: Sequence[int]) -> Iterator[Sequence[int]]:
        """Divide items into parts that one count takes."""
        part: list[int] = []
        size = 0
        for index in indices:
            length = self._size_of(index)
            if part and size + length > self._limit.size:
                yield part
                part, size = [], 0
            part.append(index)
            size += length
        if part:
            yield part

    def count(self, indices: Sequence[int], states: Sequence[str] | None) -> int:
        """Count the runs of these items that exist and are in one of the states; None: in any."""
        if not indices or states == []:
            return 0
        try:
            return calls.count(self._port, self._dag_id, [self._run_id_of(index) for index in indices], states)
        except LookUpFailedError as error:
            if error.is_transient or len(indices) == 1:
                raise
        self._limit.size = min(self._limit.size, sum(self._size_of(index) for index in indices) // 2)
        middle = len(indices) // 2
        return self.count(indices[:middle], states) + self.count(indices[middle:], states)

    def _size_of(self, index: int) -> int:
        return len(quote(self._run_id_of(index), safe="")) + _BYTES_BESIDE

    def find(self, indices: Sequence[int], states: Sequence[str] | None) -> list[int]:
        """
        Return the items whose run exists and is in one of the states; None: in any.

        If a run changes meanwhile, that one or another may be missing; none is wrongly there. So this is for what a
        later count, or the next try, makes good.
        """
        found: list[int] = []
        for chunk in self.chunks(indices):
            members = self.count(chunk, states)
            deduced = [False]
            within = list(self._halve(chunk, members, states, deduced))
            if deduced[0] and within and self.count(within, states) != len(within):
                within = [index for index in within if self.count([index], states)]
            found += within
        return found

    def _halve(
        self, indices: Sequence[int], members: int, states: Sequence[str] | None, deduced: list[bool]
    ) -> Iterator[int]:
        if members <= 0:
            return
        if members >= len(indices):
            yield from indices
            return
        middle = len(indices) // 2
        left = self.count(indices[:middle], states)
        deduced[0] = True
        yield from self._halve(indices[:middle], left, states, deduced)
        yield from self._halve(indices[middle:], members - left, states, deduced)
