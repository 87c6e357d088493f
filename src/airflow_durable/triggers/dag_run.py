"""The deferrable wait for one child run."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent
from asgiref.sync import sync_to_async

from airflow_durable import task_sdk
from airflow_durable.core.errors import LookUpFailedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_MISSING_TO_STOCK = "failed"


class DurableDagRunTrigger(BaseTrigger):
    """
    Waits until one Dag run has reached one of the given states, or is not there any more.

    Its arguments and its event are a versioned contract: they lie in the database while the parent is deferred, over
    upgrades and downgrades. The event has the shape of the stock ``DagStateTrigger``'s, so that a parent whose Dag went
    back to the stock operator meanwhile still ends right.

    :param dag_id: the child's Dag.
    :param run_id: the child's run id.
    :param states: Dag run states that end the wait.
    :param poll_interval: the longest time between two looks, in seconds.
    :param record: the stored form of the parent's record, handed back in the event.
    """

    def __init__(
        self, *, dag_id: str, run_id: str, states: list[str], poll_interval: float, record: dict[str, Any]
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call] # Airflow's
        self.dag_id = dag_id
        self.run_id = run_id
        self.states = states
        self.poll_interval = poll_interval
        self.record = record

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments, all of them JSON."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "dag_id": self.dag_id,
                "run_id": self.run_id,
                "states": self.states,
                "poll_interval": self.poll_interval,
                "record": self.record,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield the one event: the state that the run has reached, or that it is missing."""
        while True:
            try:
                run = await sync_to_async(task_sdk.look_up)(self.dag_id, self.run_id, is_detailed=False)
            except LookUpFailedError as error:
                if not error.is_transient:
                    raise
                self.log.warning("%s It is tried again.", error)
            else:
                if run is None or run.state in self.states:
                    yield TriggerEvent(self._payload(run.state if run else None))  # type: ignore[no-untyped-call] # Airflow's
                    return
            await asyncio.sleep(self.poll_interval)

    def _payload(self, state: str | None) -> tuple[str, dict[str, Any]]:
        """
        Return the event's payload.

        :param state: None: the run is missing. To a stock operator that reads as failed: it must not read as success.
        """
        class_path, _ = self.serialize()
        return class_path, {
            "dag_id": self.dag_id,
            "run_ids": [self.run_id],
            "states": self.states,
            "poll_interval": self.poll_interval,
            self.run_id: _MISSING_TO_STOCK if state is None else state,
            "is_missing": state is None,
            "record": self.record,
        }
