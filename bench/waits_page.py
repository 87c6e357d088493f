"""
How long the waits page's queries take over many records: ``python -m bench.waits_page --records 100000 sqlite``.

It fills a database of its own (an SQLite file, or a PostgreSQL server from a wheel) with parents, children and records
as Airflow would have stored them, beside other keys of the task state store, and prints for each kind of request the
median time and its ratio to that of the first page, as a Markdown table.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import statistics
import sys
import tempfile
import time
import warnings
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO
from uuid import UUID

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Engine
    from sqlalchemy.orm import Session

PARENT_DAGS = 200
CHILD_DAGS = 50
ROWS_A_STATEMENT = 2000
RECOVERED_SHARE = 0.1
WAITING = 500
FAILED_SHARE = 0.01
OTHER_KEYS_SHARE = 0.5
REPETITIONS = 7
BEGIN = datetime(2026, 1, 1, tzinfo=timezone.utc)


def main() -> int:
    """Fill, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("database", choices=("sqlite", "postgresql"))
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--plans", action="store_true", help="print each query's plan, too")
    arguments = parser.parse_args()
    from sqlalchemy.orm import Session

    with open_filled(arguments.database, arguments.records) as engine, Session(engine) as session:
        print_line(measure(session, arguments.records))
        if arguments.plans:
            print_line(explain(session, arguments.database))
    return 0


_TABLES = ("dag_run", "task_instance", "task_instance_history", "task_state_store")


def print_line(text: str, stream: TextIO = sys.stdout) -> None:
    """Write a line."""
    stream.write(f"{text}\n")
    stream.flush()


@contextlib.contextmanager
def open_filled(kind: str, records: int) -> Iterator[Engine]:
    """Yield Airflow's engine on a database of this kind, with Airflow's tables and this many records in it."""
    with (
        tempfile.TemporaryDirectory(prefix="airflow-durable-bench-") as home,
        _open_database(kind, Path(home)) as url,
    ):
        os.environ.update(
            AIRFLOW_HOME=home,
            AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=url,
            AIRFLOW__CORE__LOAD_EXAMPLES="False",
            AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_ASYNC="",
            AIRFLOW__API_AUTH__JWT_SECRET="0" * 64,
        )
        warnings.simplefilter("ignore")
        from airflow import settings
        from airflow.models import import_all_models
        from airflow.models.base import Base
        from sqlalchemy.orm import Session

        import_all_models()  # type: ignore[no-untyped-call] # Airflow's
        Base.metadata.create_all(settings.engine)
        begun = time.perf_counter()
        with Session(settings.engine) as session:
            fill(session, records)
            analyze(session, kind)
        print_line(f"Filled in {time.perf_counter() - begun:.0f} s.", sys.stderr)
        assert settings.engine is not None  # noqa: S101 - Airflow has connected
        yield settings.engine
        settings.dispose_orm(do_log=False)


@contextlib.contextmanager
def _open_database(kind: str, home: Path) -> Iterator[str]:
    """Yield the URL of an empty database of this kind."""
    if kind == "sqlite":
        yield f"sqlite:///{home}/airflow.db"
        return
    from tests.support.servers import PostgresServer

    with PostgresServer(home) as server:
        yield server.url


def fill(session: Session, records: int) -> None:
    """Fill the database. The newest records are the waiting ones; each tenth parent or so has recovered."""
    from airflow.models.base import Base

    from tests.support.schema import place

    tables = {table.name: table for table in Base.metadata.tables.values()}
    chance = random.Random(1)  # noqa: S311 - reproducible
    for first in range(0, records, ROWS_A_STATEMENT):
        # By the names of to 3.3, in the order in which one refers to another.
        rows: dict[str, list[dict[str, Any]]] = {name: [] for name in _TABLES}
        for number in range(first, min(first + ROWS_A_STATEMENT, records)):
            for name, row in _rows_of(number, records, chance):
                rows[name].append(row)
        for name, made in rows.items():
            if made:
                placed = [place(tables, name, row) for row in made]
                session.execute(placed[0][0].insert(), [row for _, row in placed])
        session.commit()


def parent_dag(number: int) -> str:
    """Return the Dag of a parent."""
    return f"parent_{number % PARENT_DAGS:03}"


def child_dag(number: int) -> str:
    """Return the Dag of a child."""
    return f"child_{number % CHILD_DAGS:02}"


def child_run(number: int) -> str:
    """Return the run id of a child."""
    return f"manual__durable_{_id(number, 1).hex}_0"


def _id(number: int, try_number: int) -> UUID:
    return UUID(int=(number << 16) + try_number)


def _rows_of(number: int, records: int, chance: random.Random) -> Iterator[tuple[str, dict[str, Any]]]:
    from airflow_durable.core.stored import KEY

    at = BEGIN + timedelta(minutes=number)
    is_waiting = number >= records - WAITING
    is_recovered = chance.random() < RECOVERED_SHARE
    is_failed = not is_waiting and chance.random() < FAILED_SHARE
    state = "running" if is_waiting else "failed" if is_failed else "success"
    names = {"dag_id": parent_dag(number), "run_id": f"run_{number}", "task_id": "trigger", "map_index": -1}
    end = None if is_waiting else at + timedelta(hours=1)
    for run_id, dag_id, run in (
        (number * 2 + 1, parent_dag(number), f"run_{number}"),
        (number * 2 + 2, child_dag(number), child_run(number)),
    ):
        yield (
            "dag_run",
            {
                "id": run_id,
                "dag_id": dag_id,
                "run_id": run,
                "state": "running" if is_waiting else "success",
                "run_type": "manual",
                "queued_at": at,
                "start_date": at,
                "end_date": end,
                "run_after": at,
                "log_template_id": None,
            },
        )
    tries = 2 if is_recovered else 1
    common = {"pool": "default_pool", "pool_slots": 1, "queue": "default", "max_tries": 3}
    yield (
        "task_instance",
        {
            **names,
            **common,
            "id": _id(number, tries),
            "state": state,
            "try_number": tries,
            "start_date": at,
            "end_date": end,
            "priority_weight": 1,
        },
    )
    if is_recovered:
        yield (
            "task_instance_history",
            {
                **names,
                **common,
                "task_instance_id": _id(number, 1),
                "state": "failed",
                "try_number": 1,
                "start_date": at,
                "end_date": at + timedelta(minutes=20),
                "priority_weight": 1,
            },
        )
    stored = {"dag_run_id": number * 2 + 1, **names, "updated_at": at, "expires_at": None}
    yield (
        "task_state_store",
        {**stored, "key": KEY, "value": json.dumps(_record(number, at, is_consumed=not is_waiting, tries=tries))},
    )
    if chance.random() < OTHER_KEYS_SHARE:
        yield "task_state_store", {**stored, "key": "remote_job_id", "value": '"job-1234"'}


def _record(number: int, at: datetime, *, is_consumed: bool, tries: int) -> dict[str, Any]:
    from airflow_durable.core.model import Decision, Mode, Phase, Proof
    from airflow_durable.core.record import Record, TryEntry
    from airflow_durable.core.stored import dump

    decisions = (Decision.FRESH_SUBMIT, Decision.RECONNECT)[:tries]
    record = Record(
        dag_id=child_dag(number),
        run_id=child_run(number),
        proof=Proof.RUN_ID,
        logical_date=at,
        dates=(at,),
        mode=Mode.WAIT,
        max_tries=3,
        clear_number=0,
        phase=Phase.CONSUMED if is_consumed else Phase.SENT,
        tries=tuple(
            TryEntry(index + 1, decision, child_run(number), at + timedelta(minutes=30 * index))
            for index, decision in enumerate(decisions)
        ),
    )
    return dump(record)


def analyze(session: Session, kind: str) -> None:
    """Do what PostgreSQL's autovacuum does by itself. Nobody does it on SQLite, so it is not done there."""
    import sqlalchemy as sa

    if kind == "postgresql":
        session.execute(sa.text("ANALYZE"))
        session.commit()


def requests(session: Session, records: int) -> dict[str, Callable[[], object]]:
    """Return the requests that are measured: their names, and what serves them."""
    from airflow_durable.server import attention, totals
    from airflow_durable.server.model import Filters
    from airflow_durable.server.paging import Cursor, Order, Sort
    from airflow_durable.server.queries import Waits

    every = {parent_dag(number) for number in range(PARENT_DAGS)} | {child_dag(number) for number in range(CHILD_DAGS)}
    all_of = Waits(session, every)
    few = Waits(session, {parent_dag(number) for number in range(3)} | {child_dag(0)})
    newest = all_of.page(Filters(), Cursor()).waits[0].id
    top, deep, last = Cursor(), Cursor(before=newest // 2), Cursor(before=newest // 1000)

    def page(
        waits: Waits,
        cursor: Cursor,
        order: Order | None = None,
        **filters: Any,  # noqa: ANN401 - the filters' own
    ) -> Callable[[], object]:
        return lambda: waits.page(Filters(**filters), cursor, order=order)

    longest = Order(Sort.DURATION, is_descending=True)

    return {
        "first page": page(all_of, top),
        "page in the middle": page(all_of, deep),
        "page near the end": page(all_of, last),
        "page before that one": page(all_of, Cursor(after=newest // 1000)),
        "first page, user of three Dags": page(few, top),
        "middle page, user of three Dags": page(few, deep),
        "one parent Dag": page(all_of, top, dag_id=parent_dag(7)),
        "one parent Dag, middle": page(all_of, deep, dag_id=parent_dag(7)),
        "one child Dag": page(all_of, top, child_dag_id=child_dag(7)),
        "parent Dags by a part of the name (half of them)": page(all_of, top, dag_id="PARENT_0"),
        "child Dags by a part of the name (ten)": page(all_of, top, child_dag_id="CHILD_1"),
        "task by a part of its id (all)": page(all_of, top, task_id="RIG"),
        "run id by a part of it (one)": page(all_of, top, run_id=f"RUN_{records // 2}"),
        "run id that there is not": page(all_of, top, run_id="nothing"),
        "changed in one hour, long ago": page(
            all_of, top, changed_from=BEGIN + timedelta(hours=1), changed_to=BEGIN + timedelta(hours=2)
        ),
        "mode that there is not": page(all_of, top, mode="defer"),
        "longest waiting first": page(all_of, top, longest, state="waiting"),
        "parents without heartbeat (none)": page(all_of, top, state="no_heartbeat"),
        "all, by duration": page(all_of, top, longest),
        "one parent Dag, by duration": page(all_of, top, longest, dag_id=parent_dag(7)),
        "count of all": lambda: all_of.count(Filters()),
        "count of one parent Dag": lambda: all_of.count(Filters(dag_id=parent_dag(7))),
        "what needs attention, read again": lambda: attention.take_snapshot(session),
        "export of 10,000": lambda: list(all_of.iterate(Filters(), 10_000)),
        "a child Dag that may not be read": page(all_of, top, child_dag_id="none"),
        "waiting now": page(all_of, top, state="waiting"),
        "failed parents (1 %)": page(all_of, top, state="failed"),
        "deferred parents (none)": page(all_of, top, state="deferred"),
        "recovered only (10 %)": page(all_of, top, is_recovered_only=True),
        "a child run's tab": lambda: all_of.of_child_run(child_dag(records // 2), child_run(records // 2)),
        "the same, of a fixed run id": lambda: all_of.of_child_run(child_dag(1), "fixed"),
        "a parent run's tab": lambda: all_of.of_parent_run(parent_dag(records // 2), f"run_{records // 2}"),
        "totals, counted again": lambda: totals.count(session),
    }


def measure(session: Session, records: int) -> str:
    """Return the table of times."""
    lines = ["| request | median | of the first page |", "|---|---:|---:|"]
    first = 0.0
    for name, serve in requests(session, records).items():
        serve()
        times = []
        for _ in range(REPETITIONS):
            begun = time.perf_counter()
            serve()
            times.append(time.perf_counter() - begun)
        median = statistics.median(times)
        first = first or median
        lines.append(f"| {name} | {1000 * median:.1f} ms | {median / first:.1f} |")
    return "\n".join(lines)


def explain(session: Session, kind: str) -> str:
    """Return the plan of each statement that the requests send."""
    import sqlalchemy as sa

    prefix = "EXPLAIN QUERY PLAN" if kind == "sqlite" else "EXPLAIN"
    told: list[str] = []

    def note(_: Any, cursor: Any, statement: str, parameters: Any, *__: object) -> None:  # noqa: ANN401 - a hook
        if statement.startswith("SELECT"):
            plan = f"{prefix} {statement}"
            # PostgreSQL's cursors on the server are for one statement, which is not this one.
            cursor = cursor.connection.cursor()
            cursor.execute(plan, parameters)
            told.extend("    " + str(row[-1]) for row in cursor.fetchall())

    engine = session.get_bind()
    for name, serve in requests(session, 0).items():
        told.append(name)
        sa.event.listen(engine, "before_cursor_execute", note)
        serve()
        sa.event.remove(engine, "before_cursor_execute", note)
    return "\n".join(told)


if __name__ == "__main__":
    sys.exit(main())
