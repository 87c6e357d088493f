"""The deferrable wait for one child run."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_durable.task_sdk import AsyncLookUps
from airflow_durable.triggers.notes import WaitLog
from airflow_durable.triggers.poller import get_poller
from airflow_durable.triggers.watch import LEAST_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

MISSING = "missing"
_MISSING_TO_STOCK = "failed"


class DurableDagRunTrigger(BaseTrigger):
    """
    Waits until one Dag run has reached one of the given states, has ended in any other, or does not exist any more.

    All waits of a triggerer process share one poller (:mod:`airflow_durable.triggers.poller`).

    Its arguments and its event are a versioned contract: they lie in the database while the parent is deferred, over
    upgrades and downgrades. The event has the shape of the stock ``DagStateTrigger``'s, so that a parent whose Dag went
    back to the stock operator meanwhile still ends right.

    :param dag_id: the child's Dag.
    :param run_id: the child's run id.
    :param states: Dag run states that end the wait. A final state that is none of these ends it, too: no other would
        come. The event then carries that state, and its receiver decides what it means.
    :param poll_interval: the longest time between two polls, in seconds.
    :param record: the stored form of the parent's record, handed back in the event.
    :param due: when to end the wait in any case, as an ISO 8601 text with its time zone; None: never. The task then
        finds out whether a timeout is over.
    :param stock_states: the states that the stock operator would understand if the parent's Dag went back to it, among
        them :data:`MISSING` for a run that does not exist. The event of another state lacks what the stock operator
        needs, so that its try fails: it takes every state that it has not listed as failed for success. None: all.
    """

    def __init__(  # noqa: PLR0913 - a contract
        self,
        *,
        dag_id: str,
        run_id: str,
        states: list[str],
        poll_interval: float,
        record: dict[str, Any],
        due: str | None = None,
        stock_states: list[str] | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call] # Airflow's
        self.dag_id = dag_id
        self.run_id = run_id
        self.states = states
        self.poll_interval = poll_interval
        self.due = due
        self.stock_states = stock_states
        # As a text it takes a tenth of the memory, and a triggerer has ten thousand of these.
        self._record = json.dumps(record)

    @property
    def record(self) -> dict[str, Any]:
        """The stored form of the parent's record."""
        record: dict[str, Any] = json.loads(self._record)
        return record

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
                # Only where it is used: an older release in the triggerer takes no argument that it does not know.
                **({} if self.due is None else {"due": self.due}),
                **({} if self.stock_states is None else {"stock_states": self.stock_states}),
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield the one event: the state that the run has reached or ended in, or that it is missing."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        wait_log = WaitLog(self.log, self.dag_id, self.run_id)
        wait = get_poller(AsyncLookUps()).wait(
            self.dag_id, self.run_id, frozenset(self.states), self.poll_interval, wait_log
        )
        try:
            state = await asyncio.wait_for(wait, self._seconds_left())
        except asyncio.TimeoutError:
            wait_log.due(loop.time() - begun)
            yield TriggerEvent(self.payload(None, is_due=True))  # type: ignore[no-untyped-call] # Airflow's
            return
        wait_log.end(state, loop.time() - begun)
        yield TriggerEvent(self.payload(state))  # type: ignore[no-untyped-call] # Airflow's

    def _seconds_left(self) -> float | None:
        if self.due is None:
            return None
        seconds = (datetime.fromisoformat(self.due) - datetime.now(tz=timezone.utc)).total_seconds()
        return max(LEAST_SECONDS, seconds)

    def payload(self, state: str | None, *, is_due: bool = False) -> tuple[str, dict[str, Any]]:
        """
        Return the event's payload.

        :param state: None: the run is missing. To a stock operator that reads as failed: it must not read as success.
        :param is_due: the run has not ended, and a timeout can be over. To a stock operator that reads as failed, too.
        """
        class_path, _ = self.serialize()
        payload: dict[str, Any] = {
            "dag_id": self.dag_id,
            "run_ids": [self.run_id],
            "states": self.states,
            "poll_interval": self.poll_interval,
            "is_missing": state is None and not is_due,
            "record": self.record,
        }
        if is_due:
            payload["is_due"] = True
        # A fixed run id may be one of these words.
        payload["state" if self.run_id in payload else self.run_id] = _MISSING_TO_STOCK if state is None else state
        if self.stock_states is not None and (MISSING if state is None else state) not in self.stock_states:
            del payload["run_ids"]
        return class_path, payload
