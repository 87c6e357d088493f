"""What the one room that knows Airflow's tables reads from them, on the schema of the installed Airflow."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from uuid import UUID

import pytest
import sqlalchemy as sa

from airflow_durable.audit.database import DatabaseSource
from airflow_durable.audit.inspection import inspect
from airflow_durable.audit.source import SourceError
from airflow_durable.metadata.connections import Database
from airflow_durable.metadata.model import InstanceKey, TaskTry
from airflow_durable.metadata.reads import without_copied_dates
from airflow_durable.metadata.scratch import ScratchDatabase
from airflow_durable.metadata.tables import Tables, load_tables

from .audit_database import PARENT, TASK, Filler, load_schema
from .audit_fakes import CHILD, at
from .versions import HAS_STORE, needs_regions, needs_store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KEY = InstanceKey(PARENT, "run", TASK, -1)
FIRST_LOOP, SECOND_LOOP = UUID(int=1), UUID(int=2)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'airflow.db'}"


@pytest.fixture
def connection(url: str) -> Iterator[sa.Connection]:
    engine = sa.create_engine(url, future=True)
    load_schema()["dag_run"].metadata.create_all(engine)
    with engine.connect() as opened:
        yield opened
    engine.dispose()


@pytest.fixture
def filler(connection: sa.Connection) -> Filler:
    made = Filler(connection, load_schema())
    made.run("run", -10, dag_id=PARENT, triggered_by="UI")
    return made


def tried(number: int, state: str | None, start: float | None, end: float | None = None) -> TaskTry:
    return TaskTry(KEY, number, 3, state, None if start is None else at(start), None if end is None else at(end))


def test_tries_come_in_their_order_and_each_once(connection: sa.Connection, filler: Filler) -> None:
    filler.attempt(2, 110, 200)
    filler.attempt(1, 0, 100)
    filler.attempt(3, 210, None, state="running", is_latest=True)
    found = Database(connection).reads.tries_of(KEY)
    assert [(one.try_number, one.start_date, one.end_date) for one in found] == [
        (1, at(0), at(100)),
        (2, at(110), at(200)),
        (3, at(210), None),
    ]


@pytest.mark.parametrize(
    ("latest", "has_dates"),
    [
        (tried(2, "running", 110), True),
        (tried(2, "deferred", 110), True),
        (tried(2, "up_for_retry", 0, 100), False),  # from 3.4 the next try is made as soon as one has ended
        (tried(2, "queued", 0, 100), False),
        (tried(2, None, None), False),
    ],
)
def test_a_try_that_has_not_begun_has_no_dates(latest: TaskTry, has_dates: bool) -> None:  # noqa: FBT001 - a case
    """Its row still has those of the try before it."""
    first, second = without_copied_dates([latest, tried(1, "failed", 0, 100)])
    assert (first.start_date, first.end_date) == (at(0), at(100))
    assert (second.start_date is not None) is has_dates


def test_a_try_is_found_by_its_id(connection: sa.Connection, filler: Filler) -> None:
    filler.attempt(1, 0, 100)
    filler.attempt(2, 110, None, state="running", is_latest=True)
    reads = Database(connection).reads
    for one in reads.tries_of(KEY):
        assert one.id is not None
        assert reads.try_of_id(one.id) == one
    assert reads.try_of_id(UUID(int=7)) is None


def test_an_xcom_counts_only_if_no_later_try_has_begun(connection: sa.Connection, filler: Filler) -> None:
    """To 3.3 Airflow deletes it at the start of the next try; from 3.4 each try keeps its own."""
    filler.attempt(1, 0, 100)
    filler.xcom("trigger_run_id", "first")
    filler.attempt(2, 0, 100, state="up_for_retry", is_latest=True)
    reads = Database(connection).reads
    assert [value for _, _, value in reads.xcoms(["trigger_run_id"], PARENT, TASK)] == ["first"]


@needs_regions
def test_what_an_earlier_try_left_is_not_the_latest_tries(connection: sa.Connection, filler: Filler) -> None:
    filler.attempt(1, 0, 100)
    filler.xcom("trigger_run_id", "first")
    filler.attempt(2, 110, None, state="running", is_latest=True)
    reads = Database(connection).reads
    assert list(reads.xcoms(["trigger_run_id"], PARENT, TASK)) == []


@needs_store
def test_the_newest_entry_of_each_call_is_read_and_no_other_key(connection: sa.Connection, filler: Filler) -> None:
    newest = ["durable_child_run.10", "durable_child_run.call_00002.1", "durable_child_run.call_00012"]
    for key in (
        "durable_child_run",
        "durable_child_run.9",
        "durable_child_run.call_00002",
        *newest,
        "durableXchildXrun",
        "job_id",
    ):
        filler.record({"key": key}, key=key)
    records = Database(connection).records()
    assert records is not None
    assert sorted(json.loads(row.value)["key"] for row in records.rows()) == newest
    assert sorted(json.loads(value)["key"] for _, value in records.of_task(PARENT, TASK, ["run"])) == newest
    assert records.count_by_dag() == {PARENT: 3}


@needs_regions
def test_iterations_of_a_loop_are_parents_of_their_own(connection: sa.Connection, filler: Filler) -> None:
    """All of them are live, and a forked loop has an iteration of the same number in another region."""
    for region, index in ((FIRST_LOOP, 0), (FIRST_LOOP, 1), (SECOND_LOOP, 1)):
        filler.attempt(1, index, 100, map_index=index, region_id=region, is_latest=True)
        filler.record({"of": [region.hex, index]}, map_index=index, region_id=region)
    database = Database(connection)
    records = database.records()
    assert records is not None
    for region, index in ((FIRST_LOOP, 0), (FIRST_LOOP, 1), (SECOND_LOOP, 1)):
        key = KEY._replace(map_index=index, region_id=region.hex)
        assert [one.key for one in database.reads.tries_of(key)] == [key]
        (row,) = records.rows(records.is_of_parent(key))
        assert (row.parent, row.is_mapped, row.try_number) == (key, True, 1)


@needs_regions
def test_inspect_asks_which_iteration_is_meant(connection: sa.Connection, filler: Filler) -> None:
    for region in (FIRST_LOOP, SECOND_LOOP):
        filler.attempt(1, 0, 100, map_index=1, region_id=region, is_latest=True)
    source = DatabaseSource(Database(connection), "3.4")
    with pytest.raises(SourceError, match=f"--region: {FIRST_LOOP.hex}, {SECOND_LOOP.hex}"):
        inspect(source, KEY._replace(map_index=1), now=at(1000))
    found = inspect(source, KEY._replace(map_index=1, region_id=SECOND_LOOP.hex), now=at(1000))
    assert found.parent.region_id == SECOND_LOOP.hex
    assert found.parent.to_json()["region_id"] == SECOND_LOOP.hex
    assert "region_id" not in KEY.to_json()


@needs_regions
def test_a_task_in_a_loop_is_not_taken_for_a_mapped_one(connection: sa.Connection, filler: Filler) -> None:
    region = load_schema()["dynamic_region"]
    for number, node_id in ((1, "loop"), (2, TASK)):
        values = {"id": UUID(int=number), "dag_id": PARENT, "run_id": "run", "node_id": node_id, "path": b""}
        connection.execute(region.insert().values(**values, family_root_id=UUID(int=number), created_at=at(0)))
        filler.record({}, map_index=0, region_id=UUID(int=number))
    records = Database(connection).records()
    assert records is not None
    assert {row.parent.region_id: row.is_mapped for row in records.rows()} == {
        FIRST_LOOP.hex: False,
        SECOND_LOOP.hex: True,
    }


def test_reflected_tables_read_the_same(connection: sa.Connection, filler: Filler, url: str) -> None:
    """Those of a scratch Airflow, which the reader's own Airflow need not be."""
    filler.crashed_parent("crashed")
    filler.record({"any": 1}) if HAS_STORE else None
    connection.commit()
    scratch, own = ScratchDatabase(url), Database(connection)
    key = InstanceKey("crashed", "run", TASK, -1)
    tries = scratch.tries("crashed")
    assert tries == own.reads.tries_of(key)
    assert scratch.latest_tries("crashed") == tries[-1:]
    assert tries[0].id is not None
    assert scratch.try_of_id(tries[0].id) == tries[0]
    assert [run.run_id for run in scratch.runs(CHILD)] == ["crashed-first", "crashed-second"]
    assert scratch.xcoms("trigger_run_id", "crashed", TASK) == {key: "crashed-second"}
    assert scratch.stored(PARENT) == ({(TASK, -1, "durable_child_run"): {"any": 1}} if HAS_STORE else {})
    scratch.close()


def test_tables_in_a_schema_are_found() -> None:
    """``[database] sql_alchemy_schema``: SQLAlchemy then knows each under its schema and its name."""
    metadata = sa.MetaData(schema="airflow")
    for table in load_schema()._tables.values():
        table.to_metadata(metadata, schema="airflow")
    tables = Tables({table.name: table for table in metadata.tables.values()})
    assert str(tables.dag_run) == "airflow.dag_run"
    assert str(load_tables().dag_run) == "dag_run"
