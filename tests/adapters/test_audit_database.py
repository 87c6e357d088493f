"""The audit of a metadata database with the installed Airflow's schema, filled by hand."""

from __future__ import annotations

import contextlib
import json
import zlib
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_durable.audit.database import DatabaseSource
from airflow_durable.audit.model import Dismissal, Report, Sureness
from airflow_durable.audit.search import audit
from airflow_durable.core.ledger import KEY as LEDGER_KEY
from airflow_durable.metadata.connections import Database, open_engine
from airflow_durable.metadata.installation import DatabaseUnreadableError
from airflow_durable.metadata.model import DagRunKey, TaskKey
from airflow_durable.metadata.trigger_tasks import tasks_in
from tests.support.servers import PostgresServer

from .audit_database import PARENT, TASK, Filler, Schema, load_schema
from .audit_fakes import CHILD, at

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def tables() -> Schema:
    return load_schema()


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def engine(
    request: pytest.FixtureRequest, tables: Schema, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[sa.Engine]:
    folder = tmp_path_factory.mktemp("audit")
    with contextlib.ExitStack() as scope:
        url = f"sqlite:///{folder / 'airflow.db'}"
        if request.param == "postgresql":
            url = scope.enter_context(PostgresServer(folder)).url
        made = sa.create_engine(url, future=True)
        tables["dag_run"].metadata.create_all(made)
        yield made
        made.dispose()


@pytest.fixture
def connection(engine: sa.Engine) -> Iterator[sa.Connection]:
    """Return a connection whose changes are undone."""
    with engine.connect() as opened:
        if engine.dialect.name == "postgresql":
            # Rows without all of those that they refer to.
            opened.exec_driver_sql("SET LOCAL session_replication_role = replica")
        yield opened
        opened.rollback()


@pytest.fixture
def filler(connection: sa.Connection, tables: Schema) -> Filler:
    return Filler(connection, tables)


def look(connection: sa.Connection, **options: Any) -> Report:  # noqa: ANN401 - audit's own
    return audit(DatabaseSource(Database(connection), "3"), now=at(10_000), **options)


def test_a_duplicate_is_found(connection: sa.Connection, filler: Filler) -> None:
    filler.crashed_parent()
    (finding,) = look(connection).findings
    assert (finding.run.key, finding.sureness) == (DagRunKey(CHILD, "parent-first"), Sureness.CERTAIN)


def test_an_xcom_may_be_json_in_json(connection: sa.Connection, filler: Filler) -> None:
    """As the Task SDK's client has stored it."""
    filler.run("run", -10, dag_id=PARENT)
    filler.attempt(1, 0, 100)
    filler.attempt(2, 110, 900, state="success", is_latest=True)
    filler.xcom("trigger_run_id", '"second"')
    filler.rendered(trigger_dag_id=CHILD, wait_for_completion=True, conf={"secret": "x"})
    filler.run("first", 2)
    filler.run("second", 112)
    (finding,) = look(connection).findings
    assert (finding.run.key.run_id, finding.sureness) == ("first", Sureness.CERTAIN)


@pytest.mark.parametrize("triggered_by", ["UI", "REST_API", "CLI", "TIMETABLE", "ASSET", "BACKFILL", "TEST"])
def test_only_an_operators_run_is_a_duplicate(connection: sa.Connection, filler: Filler, triggered_by: str) -> None:
    """However well it fits."""
    filler.run("run", -10, dag_id=PARENT)
    filler.attempt(1, 0, 100)
    filler.attempt(2, 110, 900, state="success", is_latest=True)
    filler.xcom("trigger_run_id", "second")
    filler.rendered(trigger_dag_id=CHILD)
    filler.run("by-hand", 2, triggered_by=triggered_by)
    filler.run("second", 112)
    assert look(connection).findings == ()


@given(
    at_milliseconds=st.integers(-500_000, 1_500_000).filter(
        lambda one: not (0 <= one <= 100_000 or 110_000 <= one <= 900_000)
    ),
    triggered_by=st.sampled_from(["OPERATOR", "UI", "REST_API", "CLI"]),
)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_a_run_outside_the_attempts_times_is_never_reported(
    connection: sa.Connection, tables: Schema, at_milliseconds: int, triggered_by: str
) -> None:
    """Whoever made it, and whenever: before, between or after the attempts."""
    with connection.begin_nested() as undone:
        filler = Filler(connection, tables)
        filler.crashed_parent()
        filler.run("stray", at_milliseconds / 1000, triggered_by=triggered_by, state="running", end=None)
        assert [finding.run.key.run_id for finding in look(connection).findings] == ["parent-first"]
        undone.rollback()


def test_an_attempt_that_is_queued_is_none(connection: sa.Connection, filler: Filler) -> None:
    """It still has the times of the one before."""
    filler.run("run", -10, dag_id=PARENT)
    filler.attempt(1, 0, 100)
    filler.attempt(2, 0, 100, state="queued", is_latest=True)
    filler.rendered(trigger_dag_id=CHILD)
    filler.run("first", 2)
    assert look(connection).parents == 0


def test_fire_and_forget_is_read_from_the_rendered_fields(connection: sa.Connection, filler: Filler) -> None:
    filler.run("run", -10, dag_id=PARENT)
    filler.attempt(1, 0, 10)
    filler.attempt(2, 110, 900, state="success", is_latest=True)
    filler.xcom("trigger_run_id", "second")
    filler.rendered(trigger_dag_id=CHILD, wait_for_completion=False)
    filler.run("first", 2, state="failed", end=50)
    filler.run("second", 112, end=800)
    (finding,) = look(connection).findings
    assert finding.sureness is Sureness.CERTAIN


def test_a_run_that_was_cleared_since_is_seen(connection: sa.Connection, filler: Filler) -> None:
    filler.run("run", -10, dag_id=PARENT)
    filler.attempt(1, 0, 100)
    filler.attempt(2, 110, 900, state="success", is_latest=True)
    filler.xcom("trigger_run_id", "second")
    filler.rendered(trigger_dag_id=CHILD, wait_for_completion=True)
    filler.run("first", 2, end=5000, queued=4000)
    filler.run("second", 112, end=800)
    (finding,) = look(connection).findings
    assert (finding.run.is_cleared, finding.sureness) == (True, Sureness.POSSIBLE)


def test_a_journal_makes_a_parent_durable(connection: sa.Connection, filler: Filler, tables: Schema) -> None:
    """Also a damaged one."""
    if "task_state_store" not in tables:
        pytest.skip("This Airflow has no task state store (3.3 has).")
    filler.crashed_parent()
    filler.record({"version": 99})
    report = look(connection)
    assert (report.findings, report.durable_parents) == ((), 1)


def test_a_ledger_makes_a_parent_durable(connection: sa.Connection, filler: Filler, tables: Schema) -> None:
    """A task with many children that was retried beside a stock one hides no duplicate of it."""
    if "task_state_store" not in tables:
        pytest.skip("This Airflow has no task state store (3.3 has).")
    filler.crashed_parent()
    filler.dag("many")
    filler.run("run", -10, dag_id="many", triggered_by="UI")
    filler.attempt(1, 1, 100, dag_id="many")
    filler.attempt(2, 110, 900, state="success", dag_id="many", is_latest=True)
    filler.rendered(dag_id="many", trigger_dag_id=CHILD)
    filler.record({"kind": "ledger", "version": 99}, dag_id="many", key=LEDGER_KEY)
    report = look(connection)
    assert [(one.parent.dag_id, one.sureness) for one in report.findings] == [(PARENT, Sureness.CERTAIN)]
    assert (report.parents, report.durable_parents) == (2, 1)


def test_a_parent_without_a_trace_of_its_child_is_counted(connection: sa.Connection, filler: Filler) -> None:
    filler.dag(PARENT)
    filler.run("run", -10, dag_id=PARENT)
    filler.attempt(1, 0, 100)
    filler.attempt(2, 110, 900, is_latest=True)
    report = look(connection)
    assert (report.findings, report.parents, report.unresolved) == ((), 1, 1)


def test_single_attempts_claim_and_rival(connection: sa.Connection, filler: Filler) -> None:
    """A parent that was never retried may have started the run too, unless it names another as its own."""
    filler.crashed_parent()
    filler.dag("other")
    filler.run("run", -10, dag_id="other")
    filler.attempt(1, 1, 50, dag_id="other", is_latest=True)
    filler.rendered(dag_id="other", trigger_dag_id=CHILD)
    (finding,) = look(connection, dag_ids=[PARENT]).findings
    assert (finding.sureness, finding.could_also_be[0].dag_id) == (Sureness.POSSIBLE, "other")
    filler.xcom("trigger_run_id", "its-own", dag_id="other")
    (finding,) = look(connection, dag_ids=[PARENT]).findings
    assert finding.sureness is Sureness.CERTAIN


def test_a_rivals_earlier_attempt_is_asked_too(connection: sa.Connection, filler: Filler) -> None:
    filler.crashed_parent()
    filler.crashed_parent("other", first=500, second=600)
    (finding,) = look(connection, dag_ids=[PARENT]).findings
    assert (finding.sureness, [one.dag_id for one in finding.could_also_be]) == (Sureness.LIKELY, ["other"])


def test_since_and_dag_narrow_the_search(connection: sa.Connection, filler: Filler) -> None:
    filler.crashed_parent()
    assert len(look(connection, since=at(1)).findings) == 1
    assert look(connection, since=at(3)).findings == ()
    assert look(connection, since=at(120)).parents == 0
    assert look(connection, dag_ids=["another"]).tasks == 0


def test_tasks_are_found_by_their_fields_and_by_what_they_left(
    connection: sa.Connection, filler: Filler, tables: Schema
) -> None:
    filler.dag("by-field")
    filler.dag("no-trigger", template_fields=("bash_command",))
    filler.run("run", 0, dag_id="gone")
    filler.attempt(1, 0, 100, dag_id="gone", is_latest=True)
    filler.xcom("trigger_run_id", "x", dag_id="gone")
    assert DatabaseSource(Database(connection), "3").tasks() == [TaskKey("by-field", TASK), TaskKey("gone", TASK)]
    stored = connection.execute(sa.select(tables["serialized_dag"].c.data)).scalars().first()
    compressed = zlib.compress(json.dumps(stored).encode())
    connection.execute(tables["serialized_dag"].update().values(data=None, data_compressed=compressed))
    assert TaskKey("by-field", TASK) in DatabaseSource(Database(connection), "3").tasks()


def test_what_is_no_serialized_dag_has_no_tasks() -> None:
    assert list(tasks_in("x", None)) == []
    assert list(tasks_in("x", {"dag": {}})) == []


def test_the_session_cannot_write(engine: sa.Engine, tables: Schema) -> None:
    """And the next user of the same connection can."""
    with pytest.raises(DatabaseUnreadableError, match=r"readonly|read-only"), open_engine(engine, "3") as database:
        database._connection.execute(tables["dag_run"].delete())
    with engine.begin() as connection:
        connection.execute(tables["dag_run"].delete())


def test_a_database_that_is_none_of_airflows_is_told(tmp_path: Path) -> None:
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'empty.db'}", future=True)
    sa.inspect(engine).get_table_names()
    with pytest.raises(DatabaseUnreadableError, match="Not migrated"), open_engine(engine, "3") as database:
        DatabaseSource(database, "3").tasks()
    engine.dispose()


def test_dismissals_are_counted(connection: sa.Connection, filler: Filler) -> None:
    filler.run("run", -10, dag_id=PARENT)
    filler.attempt(1, 0, 100, state="success")
    filler.attempt(2, 110, 900, state="success", max_tries=4, is_latest=True)
    filler.xcom("trigger_run_id", "second")
    filler.rendered(trigger_dag_id=CHILD)
    filler.run("first", 2)
    filler.run("second", 112)
    assert look(connection).dismissed == {Dismissal.RERUN: 1}
