"""The current numbers in Prometheus' text format. They are read only when somebody asks for them."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING

from airflow_durable.server.attention import MOST_WAITING
from airflow_durable.server.model import Concern

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_durable.server.attention import Snapshot
    from airflow_durable.server.pending import Pending

PATH = "/api/metrics"
MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_LEFT_OUT = f"1: more than {MOST_WAITING:,} parents wait in all, and those whose record changed last are not counted."
_OF_CONCERNS = {
    Concern.SILENT: (
        "airflow_durable_parents_without_heartbeat",
        "Parents that count as running and send no heartbeat.",
    ),
    Concern.QUEUED: ("airflow_durable_children_queued", "Child runs that have been queued for more than 5 minutes."),
    Concern.PAUSED: ("airflow_durable_children_paused", "Child runs whose Dag is paused."),
}


def write_metrics(snapshot: Snapshot, pending: Pending) -> str:
    """
    Return the gauges of what a user may see.

    They have no labels: the name of a Dag is chosen by whoever writes it.
    """
    return "".join((*_write(snapshot), *_write_pending(pending)))


def _write(snapshot: Snapshot) -> Iterator[str]:
    yield _gauge("airflow_durable_waiting", "Parents that wait for a child run.", len(snapshot.waits))
    yield _gauge(
        "airflow_durable_oldest_wait_seconds", "How long the oldest of them has waited.", snapshot.oldest_seconds
    )
    yield _gauge("airflow_durable_waits_left_out", _LEFT_OUT, snapshot.is_capped)
    for concern, (name, says) in _OF_CONCERNS.items():
        yield _gauge(name, says, snapshot.concerns.get(concern, 0))


def _write_pending(pending: Pending) -> Iterator[str]:
    yield _gauge(
        "airflow_durable_reconciler_queue",
        "Requests of parents that wait for the reconciler.",
        len(pending.waiting),
    )
    yield _gauge(
        "airflow_durable_reconciler_lag_seconds",
        "For how long the oldest of them has waited.",
        pending.oldest_seconds(datetime.now(tz=timezone.utc)),
    )
    yield _gauge(
        "airflow_durable_reconciler_left_alone",
        "Requests that the reconciler does not do, because they are not proven.",
        len(pending.left_alone),
    )


def _gauge(name: str, says: str, value: float) -> str:
    return f"# HELP {name} {says}\n# TYPE {name} gauge\n{name} {value:.0f}\n"
