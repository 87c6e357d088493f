"""Rows of a task with many children: its ledger, and its child runs as the operator starts them."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from airflow_durable.core.ledger import KEY, Ledger, dump, key_of
from airflow_durable.core.model import Decision, Mode, Parent, Phase, Proof
from airflow_durable.core.record import TryEntry
from airflow_durable.core.run_ids import tag_of_life
from tests.support.waits_rows import NOON, minutes

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow_durable.core.items import Items
    from tests.support.waits_rows import Rows

__all__ = ["KEY", "Many"]


@dataclass
class Many:
    """
    One task with many children.

    :param wait_id: of its ledger's row.
    """

    rows: Rows
    parent: Parent
    items: Items
    child_dag_id: str
    epoch: int = 0
    wait_id: int = 0

    @classmethod
    def make(  # noqa: PLR0913 - as much as there is to say
        cls,
        rows: Rows,
        items: Items,
        *,
        dag_id: str = "alpha",
        run_id: str = "run",
        task_id: str = "load",
        map_index: int = -1,
        child_dag_id: str = "alpha_child",
        state: str = "deferred",
        epoch: int = 0,
        generation: int = 0,
        is_consumed: bool = False,
    ) -> Many:
        """Make the parent, its Dag run if there is none, and its ledger."""
        wait_id = rows.wait(
            dag_id, run_id, child=(child_dag_id, "none"), child_state=None, state=state, task_id=task_id,
            map_index=map_index, key=KEY, value="{}",
        )  # fmt: skip
        made = cls(rows, Parent(dag_id, run_id, task_id, map_index, NOON, started_at=NOON), items, child_dag_id, epoch)
        first = made.run_id(0)
        ledger = Ledger(
            child_dag_id,
            first,
            Proof.RUN_ID,
            Mode.DEFER,
            3,
            0,
            epoch=epoch,
            generation=generation,
            phase=Phase.CONSUMED if is_consumed else Phase.INTENDED,
            tries=(TryEntry(1, Decision.FRESH_SUBMIT, first, NOON),),
            count=items.count,
            digest=items.digest,
        )
        rows.set_value(wait_id, json.dumps(dump(ledger)))
        return replace(made, wait_id=wait_id)

    def write_again(self, sequence: int, value: str) -> None:
        """Write one more entry."""
        self.rows.entry(self.wait_id, key_of(sequence), value)

    def run_id(self, index: int, generation: int = 0) -> str:
        """Return the run id of an item's run."""
        return self.items.run_id(self.parent, index, epoch=self.epoch, generation=generation)

    def start(self, indices: Iterable[int], state: str, generation: int = 0) -> None:
        """Make the runs of some items."""
        self.rows.dag(self.child_dag_id)
        tag = timedelta(microseconds=tag_of_life(self.parent, 1))
        made = [
            {
                "dag_id": self.child_dag_id,
                "run_id": self.run_id(index, generation),
                "state": state,
                "run_type": "manual",
                "queued_at": NOON,
                "start_date": NOON,
                "end_date": minutes(3) if state in {"success", "failed"} else None,
                "run_after": NOON + tag,
            }
            for index in indices
        ]
        if made:
            self.rows.insert_many("dag_run", made)
