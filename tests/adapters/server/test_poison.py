"""What one task can write, or the child that it can ask for, hides nothing from those who look at the page."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING

import pytest

from airflow_durable.core.model import Proof
from tests.adapters.versions import needs_store
from tests.support.asking_parents import CHILD_DAG, PARENT_DAG, World

if TYPE_CHECKING:
    from .conftest import Client

pytestmark = [needs_store, pytest.mark.usefixtures("uncached")]
EDGES = [
    datetime(1, 1, 1, 0, 0, 1, 5, tzinfo=timezone.utc),
    datetime(9999, 12, 31, 23, 59, 59, 5, tzinfo=timezone.utc),
]


def failing(application: Client, *paths: str) -> dict[str, str]:
    """Return what is not answered as it should be."""
    client = application("admin")
    found = {}
    for path in paths:
        try:
            code = client.get(f"/durable-waits/{path}").status_code
        except Exception as error:  # noqa: BLE001, PERF203 - a server would answer with 500
            found[path] = repr(error)
        else:
            found |= {} if code == 200 else {path: str(code)}
    return found


@pytest.mark.parametrize("date", EDGES, ids=["first", "last"])
@pytest.mark.parametrize("proof", [Proof.LOGICAL_DATE, Proof.RUN_AFTER])
def test_child_of_the_first_or_the_last_date(application: Client, world: World, date: datetime, proof: Proof) -> None:
    other = world.parent(state="running")
    field = "logical_date" if proof is Proof.LOGICAL_DATE else "run_after"
    world.run(CHILD_DAG, "edge", "queued", **{field: date})
    world.parent(state="failed", child_state=None, run_id="edge", proof=proof, dates=(date,))
    run = f"run/{CHILD_DAG}/{other.record.run_id}"
    task = f"task/{PARENT_DAG}/trigger/-1/{other.parent.run_id}"
    assert not failing(application, "reconciler", "totals", "api/metrics", "api/waits", run, task)


@pytest.mark.parametrize("count", ["-1" + 400 * "0", "1" + 400 * "0", "-1"])
def test_ledger_of_as_many_items_as_there_are_none(application: Client, world: World, count: str) -> None:
    import json

    from airflow_durable.core import ledger
    from airflow_durable.core.model import Mode

    made = world.parent(None, state="running", child_state=None)
    stored = ledger.dump(
        ledger.Ledger(CHILD_DAG, "x", Proof.RUN_ID, Mode.WAIT, 3, 0, count=77, digest="d", is_clean=True)
    )
    text = json.dumps({**stored, "root": "root"}).replace("77", count)
    world.write_key(made, ledger.KEY, text)
    assert not failing(application, "", "rows", "api/waits", "export.csv", "export.json", "totals")


def test_record_that_is_nested_deeper_than_python_reads(application: Client, world: World) -> None:
    made = world.parent(None, state="running")
    world.write(made, 1, value='{"a":' * 3_000 + "1" + "}" * 3_000)
    assert not failing(application, "", "rows", "api/waits", "export.csv", "totals", "api/metrics")
