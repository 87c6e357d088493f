"""The protocol's port onto a running Airflow task."""

from __future__ import annotations

import time
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from airflow_durable import task_sdk

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow.sdk.exceptions import DagRunTriggerException
    from typing_extensions import Self

    from airflow_durable.core.model import ChildRun, Decision, Look
    from airflow_durable.core.record import Record
    from airflow_durable.journal import Journal
    from airflow_durable.telling import Teller

    AskStock = Callable[[Record], DagRunTriggerException]


class AirflowPort:
    """
    Implements :class:`airflow_durable.core.protocol.Port`.

    :param ask_stock: makes the stock operator build and check its request for the recorded run.
    """

    def __init__(self, journal: Journal, teller: Teller, ask_stock: AskStock) -> None:
        self._journal = journal
        self._teller = teller
        self._ask_stock = ask_stock
        self._is_prior = False
        self.has_asked_stock = False

    def __enter__(self) -> Self:
        """Open the port for one attempt."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close what was opened, also if nothing was decided."""
        self._teller.close()

    def read(self) -> Record | None:
        """Return the journal's record."""
        record = self._journal.read()
        self._is_prior = record is not None
        return record

    def write(self, record: Record) -> None:
        """Store the record."""
        self._journal.write(record)

    def look_up(self, dag_id: str, run_id: str, *, is_detailed: bool) -> ChildRun | None:
        """Return the run, None if there is none."""
        return task_sdk.look_up(dag_id, run_id, is_detailed=is_detailed)

    def submit(self, record: Record) -> bool:
        """Ask for the recorded run."""
        return task_sdk.submit(self._ask(record), is_reset=False)

    def reset(self, record: Record) -> None:
        """Clear the recorded run, or create it if it has gone."""
        task_sdk.submit(self._ask(record), is_reset=True)

    def fresh_run_id(self, generation: int) -> str:
        """Return a run id that this parent alone uses."""
        return self._journal.fresh_run_id(generation)

    def now(self) -> datetime:
        """Return the present, in UTC."""
        return datetime.now(tz=timezone.utc)

    def sleep(self, seconds: float) -> None:
        """Sleep. ``execution_timeout`` ends it by its signal."""
        time.sleep(seconds)

    def report(self, decision: Decision, record: Record, seen: ChildRun | Look | None) -> None:
        """Tell people what was decided."""
        self._teller.decided(decision, record, seen, is_prior=self._is_prior)

    def report_trouble(self, error: Exception) -> None:
        """Tell people of a failed call that will be repeated."""
        self._teller.trouble(error)

    def _ask(self, record: Record) -> DagRunTriggerException:
        request = self._ask_stock(record)
        self.has_asked_stock = True
        return request
