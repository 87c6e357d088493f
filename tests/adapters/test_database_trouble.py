"""What a person reads when the metadata database cannot be read: one paragraph for each cause, and what to do."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from airflow_durable.demo import processes, settings
from airflow_durable.metadata.connections import open_engine
from airflow_durable.metadata.failures import Cause, find_cause, grant_lines
from airflow_durable.metadata.installation import (
    DatabaseUnreadableError,
    keep_from_writing,
    require_configuration,
    require_file,
)
from airflow_durable.metadata.tables import load_tables
from tests.support.servers import PostgresServer

from .audit_database import load_schema

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COMMAND_LIMIT_SECONDS = 120


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    with PostgresServer(tmp_path_factory.mktemp("postgres")) as server:
        yield server


@pytest.fixture(scope="module")
def airflow_tables(postgres: PostgresServer) -> None:
    """Let the database be an Airflow's, with a reader who may read nothing."""
    engine = sa.create_engine(postgres.url, future=True)
    with engine.begin() as connection:
        load_schema()["dag_run"].metadata.create_all(connection)
        connection.execute(sa.text("CREATE USER reader PASSWORD 'a-secret'"))
    engine.dispose()


def fail(url: sa.engine.URL | str) -> str:
    """Read all Dags; return why it is not possible."""
    engine = sa.create_engine(url, future=True)
    try:
        with pytest.raises(DatabaseUnreadableError) as raised, open_engine(engine, "3.3.2") as database:
            database.deployment.dag_ids()
    finally:
        engine.dispose()
    return str(raised.value)


def test_no_table_there(postgres: PostgresServer) -> None:
    url = sa.engine.make_url(postgres.url).set(database="postgres")
    said = fail(url)
    assert said.startswith("Not migrated:")
    assert "airflow db migrate" in said


def test_no_such_database(postgres: PostgresServer) -> None:
    said = fail(sa.engine.make_url(postgres.url).set(database="airflaw"))
    assert said.startswith("No such database:")
    assert "'airflaw'" in said


def test_wrong_password(postgres: PostgresServer) -> None:
    said = fail(sa.engine.make_url(postgres.url).set(password="wrong-secret"))
    assert said.startswith("Login refused:")
    assert "secret" not in said


def test_no_such_user(postgres: PostgresServer) -> None:
    assert fail(sa.engine.make_url(postgres.url).set(username="nobody")).startswith("Login refused:")


def test_no_server() -> None:
    port = processes.free_port()
    said = fail(f"postgresql+psycopg2://airflow:a-secret@127.0.0.1:{port}/airflow")
    assert said.startswith("No server:")
    assert f"127.0.0.1:{port}/airflow" in said
    assert "a-secret" not in said


def test_password_with_an_at_sign_is_not_repeated() -> None:
    port = processes.free_port()
    said = fail(f"postgresql+psycopg2://airflow:pass@s3cret@127.0.0.1:{port}/airflow")
    assert "Write %40 for it" in said
    assert f"127.0.0.1:{port}/airflow" in said
    assert "s3cret" not in said


def test_password_that_is_taken_for_a_port_is_not_repeated(tmp_path: Path) -> None:
    address = "postgresql+psycopg2://airflow:pass@a:s3cret@127.0.0.1:5432/airflow"
    ended = subprocess.run(
        [sys.executable, "-m", "airflow_durable", "doctor"],
        env={**os.environ, "AIRFLOW_HOME": str(tmp_path), "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": address},
        capture_output=True,
        text=True,
        timeout=COMMAND_LIMIT_SECONDS,
        check=False,
    )
    assert ended.returncode != 0
    assert "is not the address of a database" in ended.stderr
    assert "s3cret" not in ended.stdout + ended.stderr


@pytest.mark.usefixtures("airflow_tables")
def test_the_grants_that_are_listed_are_the_ones_that_are_needed(postgres: PostgresServer) -> None:
    """They are run as they are printed, and then all can be read."""
    url = sa.engine.make_url(postgres.url).set(username="reader", password="a-secret")
    said = fail(url)
    assert said.startswith("Permission denied: reader may not read")
    assert "a-secret" not in said
    statements = re.findall(r"^  (GRANT SELECT ON .*;)$", said, re.MULTILINE)
    owner, reader = (sa.create_engine(one, future=True) for one in (postgres.url, url))
    with owner.begin() as connection:
        for statement in statements:
            connection.execute(sa.text(statement))
    with open_engine(reader, "3.3.2") as database:
        assert database.deployment.dag_ids() == set()
        tables = load_tables()
        for table in {name: load_schema()[name] for name in tables.names}.values():
            database._connection.execute(sa.select(sa.func.count()).select_from(table)).one()
    owner.dispose()
    reader.dispose()


@pytest.mark.parametrize(
    ("number", "cause"),
    [(1142, Cause.FORBIDDEN), (1045, Cause.LOGIN_REFUSED), (1049, Cause.NO_DATABASE), (2003, Cause.NO_SERVER)],
)
def test_mysql_says_it_by_numbers(number: int, cause: Cause) -> None:
    class MySqlError(Exception):
        """As its drivers raise it: a number and a text."""

    error = sa.exc.OperationalError("SELECT 1", {}, MySqlError(number, "whatever it says"))
    assert find_cause(error) is cause


def test_mysql_is_granted_table_by_table() -> None:
    lines = grant_lines(sa.engine.make_url("mysql://reader:x@host/airflow"), {"dag", "dag_run"})
    assert lines[0] == "GRANT SELECT ON `airflow`.`dag` TO 'reader'@'%';"
    assert len(lines) == 2


def test_an_sqlite_file_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    url = sa.engine.make_url(f"sqlite:///{tmp_path / 'airflow.db'}")
    with pytest.raises(DatabaseUnreadableError, match=r"does not exist\. Nothing was created\."):
        require_file(url)
    assert "does not exist" in fail(url)
    assert list(tmp_path.iterdir()) == []


def test_nothing_configured_is_said_before_airflow_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnreadableError) as raised:
        require_configuration({"AIRFLOW_HOME": str(tmp_path)})
    for words in (str(tmp_path / "airflow.cfg"), f"sqlite:///{tmp_path / 'airflow.db'}", "--url"):
        assert words in str(raised.value)


@pytest.mark.parametrize("name", ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_CMD"])
def test_a_variable_is_a_configuration(tmp_path: Path, name: str) -> None:
    require_configuration({"AIRFLOW_HOME": str(tmp_path), name: "x"})


def test_airflow_is_kept_from_making_files(tmp_path: Path) -> None:
    environment = {"AIRFLOW_HOME": str(tmp_path)}
    keep_from_writing(environment)
    assert environment["AIRFLOW_CONFIG"] == os.devnull
    assert not environment["AIRFLOW__LOGGING__BASE_LOG_FOLDER"].startswith(str(tmp_path))
    (tmp_path / "airflow.cfg").write_text("[logging]\nbase_log_folder = /elsewhere\n")
    environment = {"AIRFLOW_HOME": str(tmp_path)}
    keep_from_writing(environment)
    assert environment == {"AIRFLOW_HOME": str(tmp_path)}


def run(home: Path, *arguments: str, **variables: str) -> tuple[int, str]:
    """Run the command in a process of its own; return how it ended, and what it wrote to the standard error."""
    environment = {**settings.build_environment(home, {}), **variables}
    command = [sys.executable, "-m", "airflow_durable", *arguments]
    ended = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=COMMAND_LIMIT_SECONDS, check=False
    )
    assert "Traceback" not in ended.stderr, ended.stderr
    return ended.returncode, " ".join(ended.stderr.split())


@pytest.mark.parametrize(
    "command", [("audit",), ("list",), ("inspect", "a", "b", "c"), ("doctor",), ("reconcile", "--once")]
)
def test_no_command_leaves_anything_behind(tmp_path: Path, command: tuple[str, ...]) -> None:
    """Neither a database, nor a configuration file, nor a folder for logs."""
    code, said = run(tmp_path / "home", *command)
    assert (code, "Nothing was created." in said) == (3, True)
    assert list(tmp_path.iterdir()) == []


def test_a_database_of_its_own_home_that_is_missing(tmp_path: Path) -> None:
    """Airflow itself is loaded here, and makes nothing either."""
    where = f"sqlite:///{tmp_path / 'airflow.db'}"
    code, said = run(tmp_path, "audit", AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=where)
    assert (code, where in said) == (3, True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", [("list",), ("reconcile", "--once")])
def test_a_database_without_tables(tmp_path: Path, command: tuple[str, ...]) -> None:
    path = tmp_path / "airflow.db"
    path.touch()
    code, said = run(tmp_path, *command, AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=f"sqlite:///{path}")
    assert (code, "Not migrated" in said) == (3, True)


def test_a_missing_driver_is_one_line(tmp_path: Path) -> None:
    where = "postgresql+pg8000://airflow:x@127.0.0.1/airflow"
    code, said = run(tmp_path, "audit", AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=where)
    assert code == 3
    assert "is not installed here" in said
    assert len(said) < 300


def test_an_address_that_is_none_is_not_shown(tmp_path: Path) -> None:
    where = "postgresql//airflow:hunter2@127.0.0.1/airflow"
    code, said = run(tmp_path, "audit", AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=where)
    assert (code, "hunter2" in said) == (3, False)
    assert "[database] sql_alchemy_conn is not the address of a database" in said


def test_a_configuration_that_airflow_cannot_use_is_no_traceback(tmp_path: Path) -> None:
    code, said = run(tmp_path, "audit", AIRFLOW__DATABASE__SQL_ALCHEMY_CONN="sqlite:///relative.db")
    assert code == 3
    assert "Airflow cannot be loaded" in said
