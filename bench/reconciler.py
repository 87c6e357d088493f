"""
What the reconciler costs over many records: ``python -m bench.reconciler --records 100000 sqlite``.

It fills a database of its own as :mod:`bench.waits_page` does, and prints how long a search of all the store takes
(at the start, and every hour) and a turn (every five seconds): with nothing asked for, and where all records have
``on_parent_end="cancel"`` and some hundred of their parents still wait.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from typing import TYPE_CHECKING

from bench.waits_page import REPETITIONS, WAITING, analyze, open_filled, print_line

if TYPE_CHECKING:
    from collections.abc import Callable

    import sqlalchemy as sa


def main() -> int:
    """Fill, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("database", choices=("sqlite", "postgresql"))
    parser.add_argument("--records", type=int, default=100_000)
    arguments = parser.parse_args()
    from sqlalchemy.orm import Session

    with open_filled(arguments.database, arguments.records) as engine:
        print_line("| asked for | search of all | a turn | queries a turn |\n|---|---:|---:|---:|")
        print_line(_row("nothing", engine))
        with Session(engine) as session:
            _ask(session)
            analyze(session, arguments.database)
        print_line(_row(f"in all records, {WAITING} parents wait", engine))
    return 0


def _ask(session: sa.orm.Session) -> None:
    """Let all records ask for the end of their children."""
    import sqlalchemy as sa

    from airflow_durable.metadata.tables import load_tables

    store = load_tables().store
    assert store is not None  # noqa: S101 - this Airflow has one
    value = store.table.c.value
    asking = sa.func.substr(value, 1, sa.func.length(value) - 1).concat(', "asks": {"on_parent_end": "cancel"}}')
    session.execute(sa.update(store.table).where(value.like('{"version"%')).values(value=asking))
    session.commit()


def _row(name: str, engine: sa.Engine | None) -> str:
    import sqlalchemy as sa

    from airflow_durable.server.reconciler import Reconciler

    sent: list[str] = []
    sa.event.listen(engine, "before_cursor_execute", lambda *given: sent.append(given[2]))
    search = _median(lambda: Reconciler().turn())
    reconciler = Reconciler()
    reconciler.turn()
    sent.clear()
    turn = _median(reconciler.turn)
    return f"| {name} | {search:,.0f} ms | {turn:.1f} ms | {len(sent) / REPETITIONS:.0f} |"


def _median(do: Callable[[], object]) -> float:
    """Return how long it takes, in milliseconds."""
    times = []
    for _ in range(REPETITIONS):
        begun = time.perf_counter()
        do()
        times.append(time.perf_counter() - begun)
    return 1000 * statistics.median(times)


if __name__ == "__main__":
    sys.exit(main())
