"""How far each item of a task with many children has come."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from airflow_durable.core import indices
from airflow_durable.core.items import numbers_of
from airflow_durable.core.packing import pack, unpack

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from airflow_durable.core.items import Items

NUMBERS_PLAIN = 50
"""Up to this many exceptions of a board are stored in a form that people can read."""


class Status(IntEnum):
    """How far one item has come in this try."""

    PENDING = 0
    """Its run has to be asked for."""

    ACTIVE = 1
    """Its run exists and is waited for. Perhaps it has ended, and nobody has looked yet."""

    DONE = 2
    """Its run is in an allowed state."""

    FAILED = 3
    """Its run failed, or was refused, and this try starts no other."""

    MISSING = 4
    """Its run was deleted. It counts as failed; the next try sends it again."""

    WAITED_OUT = 5
    """An active run has its place that is not known to carry its request. When it has ended, a fresh one is started."""

    TO_RESUME = 6
    """Its run failed, and the reconciler is to let it continue."""

    OVERDUE = 7
    """Its run has not left the queue in time. It counts as failed; nothing is started beside it."""


@dataclass
class Board:
    """
    The status of each item, as this try knows it. One byte an item, and what is said of exceptions.

    :ivar generations: of items whose run is not the first of its epoch.
    :ivar starts: how many runs this try has started for an item, beside the first one.
    :ivar by_clear: the items that are to be started because a person cleared the task, and are not yet.
    :ivar ended_unseen: so many of the active ones are known to have ended well, but not which.
    :ivar refused: positions of the items whose request was refused.
    :ivar queued_since: of active ones, where the task has a ``start_timeout``: since when each may have been queued, in
        seconds since 1970. Who is not there has left the queue.
    """

    items: Items
    statuses: bytearray = field(default_factory=bytearray)
    generations: dict[int, int] = field(default_factory=dict)
    starts: dict[int, int] = field(default_factory=dict)
    by_clear: set[int] = field(default_factory=set)
    ended_unseen: int = 0
    refused: set[int] = field(default_factory=set)
    queued_since: dict[int, float] = field(default_factory=dict)
    _next: int = 0
    _counts: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Let all items be pending, unless their status is given."""
        self.statuses = self.statuses or bytearray(self.items.count)
        self._counts = [self.statuses.count(status) for status in Status]

    def status(self, index: int) -> Status:
        """Return the status of an item."""
        return Status(self.statuses[index])

    def set(self, index: int, status: Status) -> None:
        """Change the status of an item."""
        before = self.statuses[index]
        self._counts[before] -= 1
        self._counts[status] += 1
        self.statuses[index] = status
        if status is not Status.ACTIVE:
            self.queued_since.pop(index, None)
        if status is Status.PENDING:
            self._next = min(self._next, index)
        else:
            self.by_clear.discard(index)
        if before == Status.ACTIVE and status is Status.DONE:
            self.ended_unseen = max(0, self.ended_unseen - 1)

    def generation(self, index: int) -> int:
        """Return how many runs of this epoch the item had before its present one."""
        return self.generations.get(index, 0)

    def start_anew(self, index: int) -> None:
        """Let the item have a fresh run: the next generation, which is to be asked for."""
        self.generations[index] = self.generation(index) + 1
        self.set(index, Status.PENDING)

    def next_pending(self) -> int | None:
        """Return the first item whose run has to be asked for."""
        found = self.statuses.find(Status.PENDING, self._next)
        self._next = found if found >= 0 else self.items.count
        return found if found >= 0 else None

    def first(self, status: Status, most: int) -> list[int]:
        """Return the first items with this status, at most ``most`` of them."""
        found: list[int] = []
        index = -1
        while len(found) < most and (index := self.statuses.find(status, index + 1)) >= 0:
            found.append(index)
        return found

    def of(self, *wanted: Status) -> Iterator[int]:
        """Iterate over the items with one of these statuses."""
        for index, status in enumerate(self.statuses):
            if status in wanted:
                yield index

    @property
    def pending(self) -> int:
        """How many have to be asked for."""
        return self._counts[Status.PENDING]

    @property
    def to_resume(self) -> int:
        """How many have a failed run that is to continue."""
        return self._counts[Status.TO_RESUME]

    @property
    def watched(self) -> int:
        """How many runs are waited for."""
        return self._counts[Status.ACTIVE] + self._counts[Status.WAITED_OUT]

    @property
    def running(self) -> int:
        """How many runs may still be active."""
        return self.watched - min(self.ended_unseen, self.watched)

    @property
    def done(self) -> int:
        """How many have succeeded, as far as it is known."""
        return self._counts[Status.DONE] + min(self.ended_unseen, self.watched)

    def after(self, ended: int, failed: int) -> tuple[int, int]:
        """
        Return how many have succeeded, and how many runs may still be active, when a wait has seen runs end.

        Those that are known to have ended, but not which, are among the first that it sees.

        :param ended: how many runs the wait has seen end.
        :param failed: how many of these have failed.
        """
        seen = ended - failed
        unseen = max(0, min(self.ended_unseen, self.watched) - seen)
        return self._counts[Status.DONE] + seen + unseen, max(0, self.watched - ended - unseen)

    @property
    def failed(self) -> int:
        """How many have failed for this try: those whose run is missing, or has not begun in time, among them."""
        return self._counts[Status.FAILED] + self._counts[Status.MISSING] + self._counts[Status.OVERDUE]

    @property
    def overdue(self) -> int:
        """How many of them have a run that has not left the queue in time."""
        return self._counts[Status.OVERDUE]

    @property
    def failed_runs(self) -> int:
        """How many of them have a run that failed, or was refused."""
        return self._counts[Status.FAILED]

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to be started or waited for."""
        return not self.pending and not self.watched and not self.to_resume

    def dump(self) -> dict[str, Any]:
        """Return what a deferral carries, by the items' numbers: JSON, a few bytes an item at most."""
        by_number = self.items.by_number()
        numbers = numbers_of(by_number)
        return {
            "statuses": pack(bytes(self.statuses[index] for index in by_number)),
            "generations": _dump_numbers({numbers[index]: each for index, each in self.generations.items()}),
            "starts": _dump_numbers({numbers[index]: each for index, each in self.starts.items()}),
            "by_clear": indices.dump(numbers[index] for index in self.by_clear),
            "ended_unseen": self.ended_unseen,
            "refused": indices.dump(numbers[index] for index in self.refused),
            **({"queued_since": self._dump_queued(numbers)} if self.queued_since else {}),
        }

    def _dump_queued(self, numbers: Sequence[int]) -> dict[str, str]:
        """Return who is queued, by since when: many have the same moment, and are next to each other."""
        by_moment: dict[float, list[int]] = {}
        for index, moment in self.queued_since.items():
            by_moment.setdefault(moment, []).append(numbers[index])
        return {repr(moment): indices.dump(found) for moment, found in by_moment.items()}

    @classmethod
    def load(cls, items: Items, dumped: dict[str, Any]) -> Board:
        """
        Return the board that a deferral carried.

        :raises ValueError: it is not one of these items.
        """
        found = unpack(dumped["statuses"])
        if len(found) != items.count or any(status not in set(Status) for status in set(found)):
            message = "the statuses are of other items"
            raise ValueError(message)
        at = items.by_number()
        numbers = numbers_of(at)
        return cls(
            items,
            bytearray(found[numbers[index]] for index in range(items.count)),
            {at[number]: each for number, each in _load_numbers(dumped["generations"]).items()},
            {at[number]: each for number, each in _load_numbers(dumped["starts"]).items()},
            {at[number] for number in indices.load(dumped["by_clear"])},
            dumped["ended_unseen"],
            {at[number] for number in indices.load(dumped["refused"])},
            {
                at[number]: float(moment)
                for moment, queued in dumped.get("queued_since", {}).items()
                for number in indices.load(queued)
            },
        )


def _dump_numbers(numbers: dict[int, int]) -> dict[str, int] | str:
    """Return numbers by position as JSON; as a packed text, if they are many."""
    dumped = {str(index): number for index, number in sorted(numbers.items())}
    return dumped if len(dumped) <= NUMBERS_PLAIN else pack(json.dumps(dumped).encode())


def _load_numbers(dumped: dict[str, int] | str) -> dict[int, int]:
    numbers: dict[str, int] = json.loads(unpack(dumped)) if isinstance(dumped, str) else dumped
    return {int(index): number for index, number in numbers.items()}
