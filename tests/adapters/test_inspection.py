"""One parent, looked at in a metadata database that is filled by hand."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from airflow_durable.audit import waiting
from airflow_durable.audit.database import DatabaseSource
from airflow_durable.audit.inspection import Inspection, build_json, build_lines, inspect
from airflow_durable.audit.source import SourceError
from airflow_durable.core.items import Items
from airflow_durable.core.ledger import Ledger
from airflow_durable.core.ledger import dump as dump_ledger
from airflow_durable.core.model import Decision, Mode, Parent, Proof
from airflow_durable.core.record import TryEntry
from airflow_durable.core.stored import dump, load
from airflow_durable.metadata.connections import Database
from airflow_durable.metadata.model import InstanceKey
from airflow_durable.wording import HeartbeatLimits

from .audit_database import PARENT, TASK, Filler, load_schema
from .audit_fakes import CHILD, at

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY = InstanceKey(PARENT, "run", TASK, -1)
RECORD: dict[str, Any] = {
    "version": 1,
    "child": {"dag_id": CHILD, "run_id": "child-1", "logical_date": None},
    "is_fixed": False,
    "is_date_ours": True,
    "digest": "sha256:x",
    "mode": "wait",
    "max_tries": 3,
    "clear_number": 0,
    "generation": 0,
    "reset": None,
    "consumed": True,
    "attempts": [
        {"try_number": 1, "decision": "fresh_submit", "run_id": "child-1", "at": at(1).isoformat()},
        {"try_number": 2, "decision": "reconnect", "run_id": "child-1", "at": at(111).isoformat()},
    ],
}


@pytest.fixture(scope="module")
def engine() -> Iterator[sa.Engine]:
    made = sa.create_engine("sqlite://", future=True)
    load_schema()["dag_run"].metadata.create_all(made)
    yield made
    made.dispose()


@pytest.fixture
def connection(engine: sa.Engine) -> Iterator[sa.Connection]:
    with engine.connect() as opened:
        yield opened
        opened.rollback()


@pytest.fixture
def filler(connection: sa.Connection) -> Filler:
    made = Filler(connection, load_schema())
    made.run("run", -10, dag_id=PARENT, triggered_by="UI")
    made.attempt(1, 0, 100)
    made.attempt(2, 110, 900, state="success", is_latest=True)
    made.run("child-1", 2, end=800)
    return made


def look(connection: sa.Connection) -> Inspection:
    return inspect(DatabaseSource(Database(connection), "3"), KEY, now=at(1000))


def render(inspection: Inspection, now: float = 1000) -> str:
    return "\n".join(build_lines(inspection, at(now)))


def needs_store() -> None:
    if "task_state_store" not in load_schema():
        pytest.skip("This Airflow has no task state store (3.3 has).")


def test_a_recovered_wait_reads_as_it_happened(connection: sa.Connection, filler: Filler) -> None:
    needs_store()
    filler.record(RECORD)
    text = render(look(connection))
    told = (
        "try 1 began",
        "try 1: Started a new child run (fresh_submit): child-1",
        "child run child-1 was queued",
        "try 1 ended as failed",
        "try 2 began",
        "(reconnect): child-1",
        "child run child-1 ended as success",
        "try 2 ended as success",
    )
    places = [text.index(line) for line in told]
    assert places == sorted(places)
    assert "The child run by its record: child-1 of Dag child, success. Its outcome is used." in text


def test_the_json_has_the_record_as_it_is_stored(connection: sa.Connection, filler: Filler) -> None:
    needs_store()
    filler.record(RECORD)
    built = build_json(look(connection))
    assert json.loads(json.dumps(built)) == built
    assert (built["version"], built["record"], built["damage"]) == (1, dump(load(RECORD)), None)
    assert [(one["try_number"], one["state"]) for one in built["attempts"]] == [(1, "failed"), (2, "success")]
    assert [(one["run_id"], one["state"]) for one in built["runs"]] == [("child-1", "success")]


def test_a_damaged_record_is_told(connection: sa.Connection, filler: Filler) -> None:
    """And which key to delete."""
    needs_store()
    filler.record({"version": 99})
    found = look(connection)
    assert found.record is None
    assert "durable_child_run" in render(found)


def test_a_run_that_has_gone_is_told(connection: sa.Connection, filler: Filler) -> None:
    needs_store()
    filler.record({**RECORD, "child": {**RECORD["child"], "run_id": "gone"}, "consumed": False})
    assert "gone of Dag child, which does not exist. Its outcome is not used yet." in " ".join(
        render(look(connection)).split()
    )


def test_without_a_record_the_xcom_tells_the_child(connection: sa.Connection, filler: Filler) -> None:
    filler.xcom("trigger_run_id", "child-1")
    filler.xcom("_link_TriggerDagRunLink", f"http://a/dags/{CHILD}/runs/child-1")
    text = render(look(connection))
    assert "There is no record" in text
    assert "The child run by its XCom: child-1 of Dag child, success." in text


def test_no_such_parent_is_told(connection: sa.Connection) -> None:
    with pytest.raises(SourceError, match="--map-index"):
        look(connection)


def test_a_crash_is_one_whether_or_not_the_child_still_ran(connection: sa.Connection, filler: Filler) -> None:
    """Airflow ended the try for a lost heartbeat: the audit log says so."""
    filler.loss(1, 310)
    text = render(look(connection))
    assert "try 1 was last heard of" in text
    assert "try 1 crashed: no heartbeat after 12:00:10; Airflow ended it at 12:05:10" in text


def test_a_crash_of_an_earlier_life_is_not_the_present_trys(connection: sa.Connection, filler: Filler) -> None:
    """The Dag run was deleted and created again under the same id: the audit log keeps the old names."""
    filler.loss(1, -500)
    assert "crashed" not in render(look(connection))
    filler.loss(1, 310)
    assert "Airflow ended it at 12:05:10" in " ".join(render(look(connection)).split())


def test_a_dead_parent_is_not_shown_as_alive(connection: sa.Connection, filler: Filler) -> None:
    filler.run("silent", -20, dag_id=PARENT, triggered_by="UI")
    filler.attempt(1, 0, None, state="running", run_id="silent", is_latest=True, last_heartbeat=900)
    found = inspect(DatabaseSource(Database(connection), "3"), KEY._replace(run_id="silent"), now=at(1000))
    assert "no heartbeat since 12:15:00; Airflow will retry it by about 12:20:10" in " ".join(render(found).split())
    assert "The parent: try 1, running for 15 min 5 s." in render(found, 905)


def test_a_stock_parent_shows_the_run_that_it_lost(connection: sa.Connection) -> None:
    """The one that the audit finds."""
    Filler(connection, load_schema()).crashed_parent()
    found = look(connection)
    assert [finding.run.key.run_id for finding in found.lost] == ["parent-first"]
    text = render(found)
    assert "lost run parent-first began" in text
    assert "Try 1 lost the child run parent-first, and try 2 started parent-second." in " ".join(text.split())
    assert [one["run_id"] for one in build_json(found)["lost"]] == ["parent-first"]


def make_many(filler: Filler, generation: int = 0) -> tuple[Ledger, list[str]]:
    """Make a ledger of five items: two succeeded, one failed, one runs; return it, and the run ids."""
    parent, items = Parent(PARENT, "run", TASK, -1, at(-9.99)), Items.of_keys(list("abcde"))
    run_ids = [items.run_id(parent, index, epoch=0, generation=0) for index in range(5)]
    entry = TryEntry(1, Decision.FRESH_SUBMIT, run_ids[0], at(1))
    ledger = Ledger(
        CHILD, run_ids[0], Proof.RUN_ID, Mode.WAIT, 3, 0, generation=generation, tries=(entry,), count=5,
        digest=items.digest,
    )  # fmt: skip
    filler.record(dump_ledger(ledger), key="durable_child_runs")
    for number, state in enumerate(("success", "success", "failed", "running")):
        filler.run(run_ids[number], 3 + number, state=state, end=None if state == "running" else 800)
    return ledger, run_ids


def test_a_task_with_many_children_shows_how_they_stand(connection: sa.Connection, filler: Filler) -> None:
    needs_store()
    _, run_ids = make_many(filler)
    found = look(connection)
    text = " ".join(render(found).split())
    assert (
        "The child runs of Dag child: 2 of 5 done, 1 failed, 1 running, 1 not started. Their outcome is not used"
        in text
    )
    assert f"c {run_ids[2]}" in text
    items = build_json(found)["items"]
    assert (items["count"], items["done"], items["failed"], items["running"], items["to_start"]) == (5, 2, 1, 1, 1)
    assert items["failed_items"] == [{"item": "c", "dag_id": CHILD, "run_id": run_ids[2]}]


def test_the_list_of_waiting_tasks_has_those_with_many_children(connection: sa.Connection, filler: Filler) -> None:
    needs_store()
    filler.dag(PARENT)
    filler.run("later", -5, dag_id=PARENT, triggered_by="UI")
    filler.attempt(1, 0, None, state="running", run_id="later", is_latest=True)
    make_many(filler)
    connection.execute(sa.update(load_schema()["task_instance"]).values(state="deferred", end_date=None))
    found = waiting.find_waiting(DatabaseSource(Database(connection), "3"), now=at(1000))
    (many,) = [one for one in found if one.latest.run_id == "run"]
    assert many.is_durable
    assert many.items is not None
    text = "\n".join(waiting.build_lines([many], at(1000), HeartbeatLimits()))
    assert "2 of 5 done, 1 failed, 1 running, 1 to start" in text
    (shown,) = waiting.build_json([many], at(1000), source="database", airflow_version="3")["waiting"]
    assert shown["items"]["done"] == 2
