"""Connections to the database of this machine's Airflow on which nothing can be written."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from airflow_durable.metadata.deployment_reads import DeploymentReads
from airflow_durable.metadata.failures import address_of, explain
from airflow_durable.metadata.installation import DatabaseUnreadableError, load_engine, require_file
from airflow_durable.metadata.reads import Reads
from airflow_durable.metadata.record_rows import NoStoreError, RecordRows
from airflow_durable.metadata.tables import load_tables

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_durable.metadata.tables import Tables

_ROWS_AT_ONCE = 2_000

_READ_ONLY = {"sqlite": "PRAGMA query_only = ON", "mysql": "SET SESSION TRANSACTION READ ONLY"}
_READ_WRITE = {"sqlite": "PRAGMA query_only = OFF", "mysql": "SET SESSION TRANSACTION READ WRITE"}


class Database:
    """
    One database, read in streams.

    :param connection: which the caller closes.
    :param address: for people, without the password.
    """

    def __init__(self, connection: sa.Connection, tables: Tables | None = None, *, address: str = "") -> None:
        self._connection = connection
        self.address = address
        self.tables = tables or load_tables()
        self.reads = Reads(self.tables, self._stream)
        self.deployment = DeploymentReads(self.tables, self._stream)
        self.dialect = connection.dialect.name

    def records(self, *, has_ledgers: bool = False) -> RecordRows | None:
        """
        Return the records; None if this Airflow has no place for them (it has from 3.3).

        :param has_ledgers: those of tasks with many children are meant, too.
        """
        with contextlib.suppress(NoStoreError):
            return RecordRows(self.tables, self._stream, has_ledgers=has_ledgers)
        return None

    def execute(self, statement: sa.Select[Any]) -> Iterator[Any]:
        """Yield the rows of a statement."""
        return self._stream(statement)

    def _stream(self, statement: sa.Select[Any]) -> Iterator[Any]:
        options = {"yield_per": _ROWS_AT_ONCE, **statement.get_execution_options()}
        # SQLAlchemy 1.4, of Airflow 3.0, has no results that are context managers.
        result = self._connection.execute(statement, execution_options=options)
        with contextlib.closing(result):
            yield from result


@contextlib.contextmanager
def open_airflow() -> Iterator[tuple[Database, str]]:
    """
    Open the metadata database that this machine's Airflow is configured for; yield it and Airflow's version.

    The engine is Airflow's own, so that what the installation does to connect (``airflow_local_settings``) is done.
    Nothing is created where there is none.

    :raises DatabaseUnreadableError: there is none, or it is not an Airflow 3's.
    """
    engine, version = load_engine()
    with open_engine(engine, version) as database:
        yield database, version


@contextlib.contextmanager
def open_engine(engine: sa.Engine, airflow_version: str) -> Iterator[Database]:
    """
    Open a metadata database, read-only.

    :raises DatabaseUnreadableError: it cannot be opened, or, within the block, cannot be read.
    """
    dialect = engine.dialect.name
    require_file(engine.url)
    try:
        with contextlib.closing(_connect(engine)) as connection:
            database = Database(connection, address=address_of(engine.url))
            try:
                yield database
            finally:
                connection.rollback()
                # The connection goes back to Airflow's pool.
                if dialect in _READ_WRITE:
                    connection.exec_driver_sql(_READ_WRITE[dialect])
    except sa.exc.SQLAlchemyError as error:
        raise DatabaseUnreadableError(explain(error, engine.url, airflow_version, load_tables().names)) from error


def _connect(engine: sa.Engine) -> sa.Connection:
    """Return a connection on which the database refuses to write."""
    dialect = engine.dialect.name
    connection = engine.connect()
    if dialect == "postgresql":
        return connection.execution_options(postgresql_readonly=True)
    if dialect not in _READ_ONLY:
        connection.close()
        message = f"The metadata database is of a kind ({dialect}) that cannot be opened read-only from here."
        raise DatabaseUnreadableError(message)
    connection.exec_driver_sql(_READ_ONLY[dialect])
    return connection
