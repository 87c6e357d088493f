"""How a parent may see itself, by its row alone, and which runs are therefore children of its items."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any
from uuid import UUID

import sqlalchemy as sa

from airflow_durable.core.run_ids import items_prefix
from airflow_durable.metadata.record_keys import escape

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow_durable.core.model import Parent
    from airflow_durable.metadata.tables import Condition


def identities_of(parent: Parent, region_id: str) -> tuple[Parent, ...]:
    """
    Return how a task may see itself; more than one where its row leaves it open.

    In a loop (3.4) a task sees its pass in the place of the map index, and a mapped one in a loop both.

    :param parent: as the row has it.
    :param region_id: the row's, as 32 hexadecimal digits; empty: none.
    """
    if not region_id or parent.map_index < 0:
        return (parent,)
    region, loop_index = str(UUID(region_id)), parent.map_index
    return (
        parent,
        *(replace(parent, map_index=index, loop_index=loop_index, region=region) for index in (-1, loop_index)),
    )


def item_prefixes(identities: Iterable[Parent], epoch: int) -> tuple[str, ...]:
    """Return how the run ids of the children of a task with many begin, one for each way in which it may see itself."""
    return tuple(items_prefix(identity, epoch) for identity in identities)


def is_item(run_id: Any, prefixes: Iterable[str], then: str = "") -> Condition:  # noqa: ANN401 - a column
    """
    Return the condition that a run id begins in one of these ways.

    :param then: what has to follow, as a pattern of ``LIKE`` with the escape sign ``!``.
    """
    return sa.or_(*(run_id.like(f"{escape(prefix)}{then}%", escape="!") for prefix in prefixes))
