"""Connections to the database of this machine's Airflow on which nothing can be written."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from airflow_durable.metadata.reads import Reads
from airflow_durable.metadata.record_rows import NoStoreError, RecordRows
from airflow_durable.metadata.tables import load_tables

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_durable.metadata.tables import Tables

_ROWS_AT_ONCE = 2_000

_READ_ONLY = {"sqlite": "PRAGMA query_only = ON", "mysql": "SET SESSION TRANSACTION READ ONLY"}
_READ_WRITE = {"sqlite": "PRAGMA query_only = OFF", "mysql": "SET SESSION TRANSACTION READ WRITE"}


class DatabaseUnreadableError(Exception):
    """The metadata database could not be read. The message says why, and what to do."""


class Database:
    """
    One database, read in streams.

    :param connection: which the caller closes.
    """

    def __init__(self, connection: sa.Connection, tables: Tables | None = None) -> None:
        self._connection = connection
        self.tables = tables or load_tables()
        self.reads = Reads(self.tables, self._stream)

    def records(self) -> RecordRows | None:
        """Return the records; None if this Airflow has no place for them (it has from 3.3)."""
        with contextlib.suppress(NoStoreError):
            return RecordRows(self.tables, self._stream)
        return None

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

    :raises DatabaseUnreadableError: there is none, or it is not an Airflow 3's.
    """
    from airflow import __version__, settings

    if settings.engine is None:
        message = "Airflow has no database connection here: [database] sql_alchemy_conn is not to be used by it."
        raise DatabaseUnreadableError(message)
    with open_engine(settings.engine, __version__) as database:
        yield database, __version__


@contextlib.contextmanager
def open_engine(engine: sa.Engine, airflow_version: str) -> Iterator[Database]:
    """Open a metadata database, read-only."""
    dialect = engine.dialect.name
    try:
        with contextlib.closing(_connect(engine)) as connection:
            try:
                yield Database(connection)
            finally:
                connection.rollback()
                # The connection goes back to Airflow's pool.
                if dialect in _READ_WRITE:
                    connection.exec_driver_sql(_READ_WRITE[dialect])
    except sa.exc.SQLAlchemyError as error:
        cause = error.orig if isinstance(error, sa.exc.DBAPIError) else error
        message = (
            f"The metadata database ({dialect}) could not be read: {cause}. What is read is the database that Airflow "
            f"is configured for ([database] sql_alchemy_conn); it has to be an Airflow 3 that is migrated to the "
            f"installed version ({airflow_version})."
        )
        raise DatabaseUnreadableError(message) from error


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
