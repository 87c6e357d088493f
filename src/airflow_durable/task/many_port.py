"""The port of a task with many children onto a running Airflow task."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import datetime, timezone
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from airflow_durable import task_sdk
from airflow_durable.core import ledger as ledgers
from airflow_durable.core.asks import without_action
from airflow_durable.core.many_state import CALL
from airflow_durable.core.run_ids import tag_of_life
from airflow_durable.core.sending import tagged
from airflow_durable.task.journal import NoJournal, StoreJournal
from airflow_durable.task.port import is_any_newer, upstream_ends
from airflow_durable.task.request import Payload, build_parent

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from airflow.providers.common.compat.sdk import Context
    from airflow.sdk.exceptions import DagRunTriggerException

    from airflow_durable.core.ledger import ItemRecord, Ledger
    from airflow_durable.core.many import Many
    from airflow_durable.core.model import ChildRun, Decision
    from airflow_durable.core.port import Port
    from airflow_durable.core.record import Record
    from airflow_durable.task.journal import Journal
    from airflow_durable.task.many_report import ManyReporter
    from airflow_durable.task.many_request import Confs


class LedgerJournal(StoreJournal):
    """The journal of a ledger, under keys of its own. It writes the newest entry again where it is asked to."""

    _key_of = staticmethod(lambda call, sequence: ledgers.key_of(sequence))  # noqa: ARG005 - there is one call
    _dump = staticmethod(lambda record: ledgers.dump(cast("Ledger", record)))
    _load = staticmethod(ledgers.load)

    def write(self, record: Record) -> None:
        """
        Store the entry.

        The newest one again goes under the same key: that changes nothing, also if it arrives late, and a superseded
        try is refused all the same. So does the newest one without what it asks for: the reconciler holds that row
        while it acts. If its request arrives late, it withdraws what is void; an entry that asks has a key of its own.
        """
        entries = self._calls.get(CALL)
        newest = entries.newest() if entries is not None and entries.found else None
        if entries is not None and newest is not None and record in (newest, _without_action(newest)):
            self._set(record, entries.next - 1, entries.root)
            entries.replace_newest(record)
        else:
            super().write(record)

    def restore(self, call: int, position: Mapping[str, Any]) -> None:
        """Continue where the journal stood before the deferral."""
        super().restore(call, position)
        entries = self._calls[call]
        if not entries.found and entries.next:
            entries.reopen(ledgers.load(position))


def _without_action(record: Record) -> Record:
    return replace(record, asks=without_action(record.asks))


def open_ledger_journal(context: Context) -> Journal:
    """Return the journal of this try."""
    store: Any = context.get("task_state_store")
    return NoJournal() if store is None else LedgerJournal(store, str(context["ti"].id))


class AirflowManyPort:
    """
    Implements :class:`airflow_durable.core.many.ManyPort`.

    :param confs: what the children are given.
    :param ask_stock: makes the stock operator build and check its request for one run, once.
    """

    def __init__(
        self,
        context: Context,
        journal: Journal,
        reporter: ManyReporter,
        confs: Confs,
        ask_stock: Callable[[str], Any],
    ) -> None:
        self._context = context
        self._journal = journal
        self._reporter = reporter
        self._confs = confs
        self._ask_stock = ask_stock
        self._request: dict[str, Any] | None = None
        self._upstream_ends: list[datetime | None] | None = None
        self._tag = tag_of_life(build_parent(context), CALL)
        self.has_store = journal.has_store
        self.has_details = task_sdk.has_details()

    def read(self) -> Ledger | None:
        """Return the newest entry of the ledger."""
        return cast("Ledger | None", self._journal.read(CALL))

    def write(self, ledger: Ledger) -> None:
        """Store the newest entry."""
        self._journal.write(ledger)

    def item(self, index: int) -> Port:
        """Return the port for one item."""
        return cast("Port", _ItemPort(self, index))

    def is_upstream_newer(self, than: datetime | None) -> bool | None:
        """Return whether a task upstream ran again after this moment."""
        if self._upstream_ends is None:
            # Once: it is asked for each item.
            self._upstream_ends = upstream_ends(self._context)
        if not self._upstream_ends:
            return False
        return None if than is None else is_any_newer(self._upstream_ends, than)

    def now(self) -> datetime:
        """Return the present, in UTC."""
        return datetime.now(tz=timezone.utc)

    def sleep(self, seconds: float) -> None:
        """Sleep. ``execution_timeout`` ends it by its signal."""
        time.sleep(seconds)

    def report(self, decision: Decision, many: Many) -> None:
        """Say what was decided about the whole."""
        self._reporter.decided(decision, many)

    def report_change(self, before: int, many: Many) -> None:
        """Say that the items are others than those of an earlier try."""
        self._reporter.items_changed(before, many.goal.items.count)

    def report_progress(self, many: Many) -> None:
        """Say how the whole stands, if it is time to."""
        self._reporter.progress(many.board)

    def report_watch(self, many: Many, ended: int, failed: int) -> None:
        """Say how a wait stands that is under way."""
        self._reporter.watching(many.board, ended, failed)

    def report_end(self, many: Many) -> None:
        """Say that the try ends: the task succeeds, or too many items have failed."""
        self._reporter.progress(many.board, is_due=True)
        self._reporter.ended(many.board)

    def position(self) -> dict[str, Any]:
        """Return where the journal stands, as a deferral carries it."""
        return self._journal.position(CALL)

    def restore(self, position: Mapping[str, Any]) -> None:
        """Continue where the journal stood before the deferral."""
        self._journal.restore(CALL, position)

    def report_trouble(self, error: Exception) -> None:
        """Say that a call failed and will be repeated."""
        self._reporter.trouble(error)

    def look_up(self, dag_id: str, run_id: str, index: int, *, is_detailed: bool) -> ChildRun | None:
        """Return an item's run, None if there is none."""
        is_same = Payload(self._confs.dag_id, self._confs.conf(index)).is_of
        return task_sdk.look_up(dag_id, run_id, is_detailed=is_detailed and self.has_details, is_same_request=is_same)

    def submit(self, record: ItemRecord, index: int) -> bool:
        """
        Ask for an item's run, with the present moment as its date, as the stock operator does.

        The stock operator builds its request once: what it adds to the conf (the OpenLineage parent) is of the parent,
        and the same for each child.
        """
        if self._request is None:
            self._request = dict(vars(self._ask_stock(record.run_id)))
        conf, now = self._confs.conf(index), self.now()
        added = self._request.get("conf") or {}
        request = SimpleNamespace(
            **{**self._request, "dag_run_id": record.run_id, "logical_date": now, "conf": _merge(conf, added)}
        )
        if task_sdk.can_send_run_after():
            request.run_after = tagged(now, self._tag if record.tag is None else record.tag)
        return task_sdk.submit(cast("DagRunTriggerException", request), is_reset=False)


class _ItemPort:
    """Implements :class:`airflow_durable.core.port.Port`, as far as an item needs it. The ledger is its journal."""

    def __init__(self, whole: AirflowManyPort, index: int) -> None:
        self._whole = whole
        self._index = index
        self.has_store, self.has_details = whole.has_store, whole.has_details
        self.now, self.sleep = whole.now, whole.sleep
        self.report_trouble = whole.report_trouble

    def write(self, record: Record) -> None:
        """Do nothing: the ledger covers it."""

    def look_up(self, dag_id: str, run_id: str, *, is_detailed: bool) -> ChildRun | None:
        """Return the run, None if there is none."""
        return self._whole.look_up(dag_id, run_id, self._index, is_detailed=is_detailed)

    def count(self, dag_id: str, run_ids: Sequence[str], states: Sequence[str] | None) -> int:
        """Return how many of these runs exist."""
        return task_sdk.count(dag_id, run_ids, states)

    def submit(self, record: ItemRecord) -> bool:
        """Ask for the run."""
        return self._whole.submit(record, self._index)


def _merge(conf: dict[str, Any], added: dict[str, Any]) -> dict[str, Any]:
    """Return the conf with what the stock operator adds to one that is empty; what the user gave is not overwritten."""
    merged = {**added, **conf}
    for name in added.keys() & conf.keys():
        if isinstance(added[name], dict) and isinstance(conf[name], dict):
            merged[name] = {**added[name], **conf[name]}
    return merged
