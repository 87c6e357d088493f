"""
Where the reconciler runs: in the API server, as long as that serves; or in a process of its own.

In the API server it is a thread of its own, so that a slow database holds no request. It is a daemon: the server never
waits for it, neither at its start nor at its end; what it is doing then is rolled back by the database.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from airflow_durable.compat import conf

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_durable.server.reconciler import Turn

log = logging.getLogger("airflow_durable.reconciler")

DEFAULT_INTERVAL_SECONDS = 5.0
LEAST_INTERVAL_SECONDS = 0.1
MAX_SHARE = 10
"""
To look for what is due takes at most a tenth of the time: where that took long, the pause is so many times as long,
up to a minute.
"""

LONGEST_PAUSE_SECONDS = 60.0


@dataclass
class Status:
    """
    How this process's reconciler stands.

    :param looked_at: when it last looked, with its time zone; None: it has not, or there is none.
    :param watched: how many calls have asked for something.
    :param done: how much it has done since the process began.
    """

    looked_at: datetime | None = None
    watched: int = 0
    done: int = 0

    def note(self, turn: Turn) -> None:
        """Note what a turn did."""
        self.looked_at, self.watched = datetime.now(tz=timezone.utc), turn.watched
        self.done += len(turn.done)


status = Status()


def is_enabled() -> bool:
    """Return whether there is to be a reconciler: ``[durable] reconciler``, and Airflow 3.3, which keeps records."""
    from airflow_durable.metadata.tables import load_tables

    return bool(conf.getboolean("durable", "reconciler", fallback=True)) and load_tables().store is not None


def interval_seconds() -> float:
    """Return the pause between two turns, in seconds: ``[durable] reconciler_interval``."""
    found = float(conf.getfloat("durable", "reconciler_interval", fallback=DEFAULT_INTERVAL_SECONDS))
    return max(found, LEAST_INTERVAL_SECONDS)


def run(
    stop: threading.Event, report: Callable[[Turn], object] = lambda _: None, interval: float | None = None
) -> None:
    """
    Take turns until it is to stop. No error ends it; each is logged.

    :param interval: in seconds; None: as configured.
    """
    from airflow_durable.server.reconciler import Reconciler

    reconciler = Reconciler()
    pause = interval or interval_seconds()
    failures = 0
    while not stop.is_set():
        began = time.monotonic()
        looked_seconds = None
        try:
            turn = reconciler.turn()
            report(turn)
            failures, looked_seconds = 0, turn.looked_seconds
        except Exception:
            failures += 1
            log.exception("The reconciler could not look at what records ask for. It tries again.")
        # What was done does not count: while there is something to do, others wait for it.
        took = time.monotonic() - began if looked_seconds is None else looked_seconds
        stop.wait(min(max(pause * min(2**failures, 64), took * MAX_SHARE), max(pause, LONGEST_PAUSE_SECONDS)))


def start() -> threading.Event:
    """Start it in a thread of its own; return what stops it."""
    stop = threading.Event()
    threading.Thread(target=_run_in_server, args=(stop,), name="durable-reconciler", daemon=True).start()
    return stop


def _run_in_server(stop: threading.Event) -> None:
    try:
        if is_enabled():
            log.info("The reconciler runs in this server. [durable] reconciler = False turns it off.")
            run(stop, status.note)
    except Exception:
        # An Airflow of another version than we know, for instance. The server serves without it.
        log.exception("The reconciler has ended: nothing that records ask for is done by this server.")
