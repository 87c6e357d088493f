"""
Why a metadata database could not be read, and what to do: one paragraph for each cause.

A driver says it by a code (PostgreSQL's SQLSTATE, MySQL's error number), or by its text alone: psycopg has no code for
a connection that was refused, and SQLite has none for a missing table. No password is ever repeated: addresses are made
by :func:`address_of`.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

if TYPE_CHECKING:
    from collections.abc import Collection


class Cause(Enum):
    """Why it could not be read."""

    FORBIDDEN = "forbidden"
    LOGIN_REFUSED = "login refused"
    NO_DATABASE = "no database"
    NO_SERVER = "no server"
    NOT_MIGRATED = "not migrated"
    OTHER = "other"


_CODES: dict[Cause, frozenset[object]] = {
    # https://www.postgresql.org/docs/current/errcodes-appendix.html
    # https://dev.mysql.com/doc/mysql-errors/8.4/en/server-error-reference.html
    Cause.FORBIDDEN: frozenset({"42501", 1142, 1143, 1227}),
    Cause.LOGIN_REFUSED: frozenset({"28P01", "28000", 1044, 1045, 1698}),
    Cause.NO_DATABASE: frozenset({"3D000", 1049}),
    Cause.NO_SERVER: frozenset({"08001", "08006", "57P03", 2002, 2003, 2005, 2013}),
    Cause.NOT_MIGRATED: frozenset({"42P01", "42703", "3F000", 1054, 1146}),
}
_TEXTS: dict[Cause, tuple[str, ...]] = {
    Cause.FORBIDDEN: ("permission denied", "unable to open database file"),
    Cause.LOGIN_REFUSED: ("password", "authentication", "role ", "pg_hba.conf", "access denied"),
    Cause.NO_DATABASE: ("database ",),
    Cause.NOT_MIGRATED: ("no such table", "no such column", "file is not a database"),
    Cause.NO_SERVER: (
        "connection refused",
        "could not connect",
        "could not translate host name",
        "failed to resolve host",
        "no route to host",
        "timed out",
        "timeout expired",
        "can't connect",
        "server closed the connection",
    ),
}


def address_of(url: sa.engine.URL) -> str:
    """Return a database's address as a person may read it: without the password, and without options."""
    host = (url.host or "").rpartition("@")[2] or None
    return url.set(query={}, host=host).render_as_string(hide_password=True)


def find_cause(error: BaseException) -> Cause:
    """Return why a statement or a connection failed."""
    cause: Any = error.orig if isinstance(error, sa.exc.DBAPIError) and error.orig is not None else error
    code = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)
    if code is None and cause.args and isinstance(cause.args[0], int):
        code = cause.args[0]
    for found, codes in _CODES.items():
        if code in codes:
            return found
    text = str(cause).lower()
    # The server's own words come after the address, which may have any of these in it.
    text = text.rpartition("fatal:")[2]
    order = (Cause.NO_SERVER, Cause.NOT_MIGRATED, Cause.FORBIDDEN, Cause.LOGIN_REFUSED, Cause.NO_DATABASE)
    return next((found for found in order if any(part in text for part in _TEXTS[found])), Cause.OTHER)


def explain(error: BaseException, url: sa.engine.URL, airflow_version: str, tables: Collection[str]) -> str:
    """
    Return what a person needs to know.

    :param tables: the names of all tables that are read.
    """
    where, user = address_of(url), url.username or "this user"
    if "@" in (url.host or ""):
        return (
            f"{where} could not be read: the address has an @ in its user name or its password. Write %40 for it in "
            f"[database] sql_alchemy_conn (in a configuration file, %%40)."
        )
    cause = find_cause(error)
    if cause is Cause.FORBIDDEN and url.get_backend_name() == "sqlite":
        return f"Permission denied: {where} cannot be opened by the user of this process. Run it as Airflow's user."
    if cause is Cause.FORBIDDEN:
        grants = "".join(f"\n  {line}" for line in grant_lines(url, tables))
        return (
            f"Permission denied: {user} may not read all of the tables that are needed in {where}. Nothing but SELECT "
            f"is needed; somebody who may grant it can run:{grants}"
        )
    advice = {
        Cause.LOGIN_REFUSED: (
            f"Login refused: {where} is there, and does not accept {user}. Check the user name and the password in "
            f"[database] sql_alchemy_conn, and from which hosts this user may connect."
        ),
        Cause.NO_DATABASE: (
            f"No such database: the server of {where} has no database {url.database!r}. Check its name in [database] "
            f"sql_alchemy_conn."
        ),
        Cause.NO_SERVER: (
            f"No server: nothing answers at {where}. Check the host and the port in [database] sql_alchemy_conn, "
            f"whether the server runs, and whether this machine can reach it."
        ),
        Cause.NOT_MIGRATED: (
            f"Not migrated: {where} lacks tables or columns that Airflow {airflow_version}, which is installed here, "
            f"should have. Is it the right database? If it is, use the Airflow version of the deployment, or run "
            f"`airflow db migrate` with this one."
        ),
    }
    return advice.get(cause) or f"{where} could not be read: {_first_line(error)}"


def grant_lines(url: sa.engine.URL, tables: Collection[str]) -> list[str]:
    """Return the SQL that lets the user read these tables."""
    names = sorted(tables)
    if url.get_backend_name() == "mysql":
        return [f"GRANT SELECT ON `{url.database}`.`{name}` TO '{url.username}'@'%';" for name in names]
    return [f'GRANT SELECT ON {", ".join(names)} TO "{url.username}";']


def _first_line(error: BaseException) -> str:
    cause = error.orig if isinstance(error, sa.exc.DBAPIError) and error.orig is not None else error
    return (str(cause).strip().splitlines() or [type(cause).__name__])[0]
