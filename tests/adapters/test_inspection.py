"""One parent, looked at in a metadata database that is filled by hand."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from rich.console import Console

from airflow_durable.audit.database import DatabaseSource
from airflow_durable.audit.inspection import Inspection, build_json, build_text, inspect
from airflow_durable.audit.source import SourceError
from airflow_durable.core.stored import dump, load
from airflow_durable.metadata.connections import Database
from airflow_durable.metadata.model import InstanceKey

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
    return inspect(DatabaseSource(Database(connection), "3"), KEY)


def render(inspection: Inspection) -> str:
    printed = io.StringIO()
    Console(width=150, file=printed).print(build_text(inspection))
    return printed.getvalue()


def needs_store() -> None:
    if "task_state_store" not in load_schema():
        pytest.skip("This Airflow has no task state store (3.3 has).")


def test_a_recovered_wait_reads_as_it_happened(connection: sa.Connection, filler: Filler) -> None:
    needs_store()
    filler.record(RECORD)
    text = render(look(connection))
    told = (
        "try 1 began",
        "try 1 decided fresh_submit, run child-1",
        "run child-1 was queued",
        "try 1 ended as failed",
        "try 2 began",
        "try 2 decided reconnect, run child-1",
        "run child-1 ended as success",
        "try 2 ended as success",
    )
    places = [text.index(line) for line in told]
    assert places == sorted(places)
    assert "which is success; its outcome is consumed; mode wait" in text


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
    assert "child run gone of Dag child, which is not there; its outcome is not consumed" in render(look(connection))


def test_without_a_record_the_xcom_tells_the_child(connection: sa.Connection, filler: Filler) -> None:
    filler.xcom("trigger_run_id", "child-1")
    filler.xcom("_link_TriggerDagRunLink", f"http://a/dags/{CHILD}/runs/child-1")
    text = render(look(connection))
    assert "There is no record" in text
    assert "By its XCom its child is run child-1 of Dag child: success." in text


def test_no_such_parent_is_told(connection: sa.Connection) -> None:
    with pytest.raises(SourceError, match="--map-index"):
        look(connection)
