"""
The items of a task that starts many children: what identifies each.

Of an item the core knows its position and its key, never its conf.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

from airflow_durable.core import run_ids
from airflow_durable.core.many_errors import ItemKeysEqualError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_durable.core.model import Parent

BY_POSITION = "position"
"""The digest of items that have no keys: their number says all."""


@dataclass(frozen=True)
class Items:
    """
    What identifies each item.

    :param count: how many there are.
    :param keys: their keys, in their order; None: each is identified by its position, from 0.
    """

    count: int
    keys: tuple[str, ...] | None = None

    @classmethod
    def of_keys(cls, keys: Sequence[str]) -> Items:
        """
        Return the items with these keys.

        :raises ItemKeysEqualError: two have the same key. It names their positions, never the key.
        """
        first: dict[str, int] = {}
        for position, key in enumerate(keys):
            if first.setdefault(key, position) != position:
                raise ItemKeysEqualError(first[key], position)
        return cls(len(keys), tuple(keys))

    @cached_property
    def digest(self) -> str:
        """What tells these items from others, whatever their order."""
        return BY_POSITION if self.keys is None else _digest_of(sorted(self.keys))

    def by_number(self) -> Sequence[int]:
        """
        Return the positions in the order of the keys, or as they are without keys.

        A deferral names items by their number in that order. So a list whose order is another one at each rendering is
        the same list.
        """
        return range(self.count) if self.keys is None else sorted(range(self.count), key=self.keys.__getitem__)

    def name_of(self, index: int) -> str:
        """Return the item's key, or its position, as people see it."""
        return str(index) if self.keys is None else self.keys[index]

    def run_id(self, parent: Parent, index: int, *, epoch: int, generation: int) -> str:
        """Return the run id of one child of the item. Where there are no items, the first one has no key."""
        return run_id_of(parent, self.keys[index] if self.keys else None, index, epoch=epoch, generation=generation)


def numbers_of(by_number: Sequence[int]) -> Sequence[int]:
    """Return the number of the item at each position."""
    if isinstance(by_number, range):
        return by_number
    numbers = [0] * len(by_number)
    for number, index in enumerate(by_number):
        numbers[index] = number
    return numbers


def run_id_of(parent: Parent, key: str | None, index: int, *, epoch: int, generation: int) -> str:
    """Return the run id of one child of an item, by its key, or by its position if it has none."""
    return run_ids.item_run_id(_prefix_of(parent, epoch), key, index, generation)


_prefix_of = lru_cache(maxsize=16)(run_ids.items_prefix)
"""It is the same for all items, of which there may be a hundred thousand."""


def _digest_of(keys: Sequence[str]) -> str:
    return hashlib.sha256(json.dumps(keys).encode()).hexdigest()[:32]
