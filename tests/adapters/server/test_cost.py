"""
What a page costs, in steps of SQLite's virtual machine: they are the same on every run and every machine.

``python -m bench.waits_page`` measures times, on SQLite and PostgreSQL.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from uuid import uuid4

from airflow_durable.core.stored import KEY, dump
from airflow_durable.metadata.record_rows import FEW_DAGS
from airflow_durable.server.model import Filters
from airflow_durable.server.paging import Cursor
from airflow_durable.server.queries import Waits
from tests.adapters.versions import needs_store
from tests.support.waits_rows import NOON, make_record

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.waits_rows import Rows

pytestmark = needs_store

FEW, MANY = 500, 4000
DAGS = [f"dag_{number}" for number in range(FEW_DAGS + 2)]


def fill(rows: Rows, count: int) -> int:
    """Make so many records, spread over the Dags; return the id of the newest."""
    for dag_id in DAGS:
        rows.dag(dag_id)
    runs, tasks, records = [], [], []
    for number in range(count):
        dag_id, child = DAGS[number % len(DAGS)], (DAGS[number % 7], f"child_{number}")
        for dag_run_id, key in ((2 * number + 1, (dag_id, f"run_{number}")), (2 * number + 2, child)):
            runs.append(
                {"id": dag_run_id, "dag_id": key[0], "run_id": key[1], "state": "running", "run_type": "manual"}
            )
        names = {"dag_id": dag_id, "run_id": f"run_{number}", "task_id": "trigger", "map_index": -1}
        tasks.append(
            {**names, "id": uuid4().hex, "state": "running", "try_number": 1, "pool": "default_pool", "pool_slots": 1}
        )
        value = json.dumps(dump(make_record(child, ("fresh_submit",))))
        records.append({**names, "dag_run_id": 2 * number + 1, "key": KEY, "value": value, "updated_at": NOON})
    rows.insert_many("dag_run", runs)
    rows.insert_many("task_instance", tasks)
    rows.insert_many("task_state_store", records)
    return Waits(rows.session, DAGS).page(Filters(), Cursor()).waits[0].id


def steps_of(rows: Rows, ask: Callable[[], object]) -> int:
    """Return how many steps the database takes for what is asked."""
    connection = rows.session.connection().connection.driver_connection
    assert connection is not None
    ask()  # What is prepared once is prepared now.
    steps = [0]

    def step() -> int:
        steps[0] += 1
        return 0

    connection.set_progress_handler(step, 10)
    try:
        ask()
    finally:
        connection.set_progress_handler(None, 0)
    return 10 * steps[0]


def test_page_costs_the_same_wherever_it_is_and_however_many_there_are(rows: Rows) -> None:
    costs = {}
    for count in (FEW, MANY):
        rows.clear()
        newest = fill(rows, count)
        waits = Waits(rows.session, DAGS)
        for name, cursor in {
            "first": Cursor(),
            "middle": Cursor(before=newest - count // 2),
            "last": Cursor(before=newest - count + 60),
            "upward": Cursor(after=newest - count // 2),
        }.items():
            page = waits.page(Filters(), cursor)
            assert len(page.waits) == 50
            assert all(wait.child and wait.child.state and wait.try_number for wait in page.waits)
            costs[count, name] = steps_of(rows, lambda cursor=cursor, waits=waits: waits.page(Filters(), cursor))  # type: ignore[misc] # bound now
    cheapest = min(costs.values())
    assert cheapest > 0
    assert max(costs.values()) < 1.25 * cheapest, costs


def test_measure_sees_what_grows(rows: Rows) -> None:
    # A filter that fits nothing has to look at everything: if this did not grow, the test above would prove nothing.
    costs = []
    for count in (FEW, MANY):
        rows.clear()
        fill(rows, count)
        waits = Waits(rows.session, DAGS)
        costs.append(steps_of(rows, lambda waits=waits: waits.page(Filters(is_recovered_only=True), Cursor())))  # type: ignore[misc] # bound now
    assert costs[1] > 4 * costs[0]
