"""The protocol's port onto a running Airflow task."""

from __future__ import annotations

import time
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from airflow_durable import task_sdk
from airflow_durable.core.errors import LookUpFailedError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from airflow.providers.common.compat.sdk import Context
    from airflow.sdk.exceptions import DagRunTriggerException
    from typing_extensions import Self

    from airflow_durable.core.model import ChildRun, Decision, Look
    from airflow_durable.core.record import Record
    from airflow_durable.task.journal import Journal
    from airflow_durable.task.observability import Reporter
    from airflow_durable.task.request import Payload

    AskStock = Callable[[Record], DagRunTriggerException]


class AirflowPort:
    """
    Implements :class:`airflow_durable.core.port.Port`.

    :param payload: what the present try gives the child; None after a deferral, when nothing is compared any more.
    :param ask_stock: makes the stock operator build and check its request for the recorded run.
    """

    def __init__(
        self, context: Context, journal: Journal, reporter: Reporter, payload: Payload | None, ask_stock: AskStock
    ) -> None:
        self._context = context
        self._journal = journal
        self._reporter = reporter
        self._payload = payload
        self._ask_stock = ask_stock
        self.has_store = journal.has_store
        self.has_details = task_sdk.has_details()
        self.has_asked_stock = False
        self._checked: DagRunTriggerException | None = None
        self.has_record = False

    def __enter__(self) -> Self:
        """Open the port for one call."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close what was opened, also if nothing was decided."""
        self._reporter.close()

    def read(self, call: int) -> Record | None:
        """Return the newest entry of the call."""
        record = self._journal.read(call)
        self.has_record = self.has_record or record is not None
        return record

    def write(self, record: Record) -> None:
        """Store the record."""
        self._journal.write(record)

    def look_up(self, dag_id: str, run_id: str, *, is_detailed: bool) -> ChildRun | None:
        """Return the run, None if there is none."""
        is_same = None if self._payload is None else self._payload.is_of
        return task_sdk.look_up(dag_id, run_id, is_detailed=is_detailed and self.has_details, is_same_request=is_same)

    def count(self, dag_id: str, run_ids: Sequence[str], states: Sequence[str] | None) -> int:
        """Return how many of these runs exist."""
        return task_sdk.count(dag_id, run_ids, states)

    def is_upstream_newer(self, than: datetime | None) -> bool | None:
        """Return whether a task upstream ran again after this moment."""
        return is_upstream_newer(self._context, than)

    def task_states(self, dag_id: str, run_id: str) -> Mapping[str, str | None] | None:
        """Return the states of the run's tasks; None if they cannot be told."""
        try:
            return task_sdk.task_states(dag_id, run_id)
        except LookUpFailedError as error:
            self._reporter.trouble(error)
            return None

    def why_queued(self, dag_id: str) -> str | None:
        """Return why a run of this Dag may still be queued."""
        return task_sdk.why_queued(dag_id)

    def check(self, record: Record) -> None:
        """Have the stock operator build and check its request for the recorded run. It is sent by :meth:`reset`."""
        self._checked = self._ask(record)

    def submit(self, record: Record) -> bool:
        """Ask for the recorded run."""
        return task_sdk.submit(self._ask(record), is_reset=False)

    def reset(self, record: Record) -> None:
        """Clear the recorded run, or create it if it has gone."""
        request, self._checked = self._checked or self._ask(record), None
        task_sdk.submit(request, is_reset=True)

    def now(self) -> datetime:
        """Return the present, in UTC."""
        return datetime.now(tz=timezone.utc)

    def sleep(self, seconds: float) -> None:
        """Sleep. ``execution_timeout`` ends it by its signal."""
        time.sleep(seconds)

    def report(self, decision: Decision, record: Record, seen: ChildRun | Look | None) -> None:
        """Say what was decided."""
        self._reporter.decided(decision, record, seen)

    def report_wait(self, record: Record, state: str | None, waited_seconds: float) -> None:
        """Say how the wait stands."""
        self._reporter.waiting(record, state, waited_seconds)

    def report_start(self, record: Record) -> None:
        """Say where to find the child."""
        self._reporter.started(record)

    def report_end(self, record: Record) -> None:
        """Say that the task succeeds by this run."""
        self._reporter.ended(record, record.outcome.state if record.outcome else None)

    def report_trouble(self, error: Exception) -> None:
        """Say that a call failed and will be repeated."""
        self._reporter.trouble(error)

    def _ask(self, record: Record) -> DagRunTriggerException:
        request = self._ask_stock(record)
        if record.run_after is not None:
            request.run_after = record.run_after
        if self._payload is not None and self._payload.partition_key is not None:
            # The stock operator does not know it; the message has it from 3.2.
            request.partition_key = self._payload.partition_key  # type: ignore[attr-defined]
        self.has_asked_stock = True
        return request


def is_upstream_newer(context: Context, than: datetime | None) -> bool | None:
    """
    Return whether a task upstream of the parent ran again after this moment; None: that cannot be known.

    :param than: None: not known either.
    """
    if not context["task"].upstream_task_ids:
        return False
    return None if than is None else is_any_newer(upstream_ends(context), than)


def upstream_ends(context: Context) -> list[datetime | None]:
    """Return when each task upstream of the parent ended; None: that cannot be known. A request for each."""
    upstream = sorted(context["task"].upstream_task_ids)
    logical_date = context["dag_run"].logical_date
    if logical_date is None:
        return [None for _ in upstream]
    ti = context["ti"]
    return [task_sdk.task_ended_at(ti.dag_id, ti.run_id, task_id, logical_date) for task_id in upstream]


def is_any_newer(ends: list[datetime | None], than: datetime) -> bool | None:
    """Return whether one of these ends was after this moment; None: that cannot be known."""
    if any(end is not None and end > than for end in ends):
        return True
    return None if None in ends else False
