"""The options that several commands have, and what they open."""

from __future__ import annotations

import contextlib
import difflib
import os
import sys
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Annotated

import typer

from airflow_durable.cli.frame import CommandError, ExitCode, say

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from airflow_durable.audit.source import DetailedSource, Source

TOKEN_VARIABLE = "AIRFLOW_DURABLE_TOKEN"  # noqa: S105 - its name, not the token
_DATE_FORMATS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S%z"]
_CLOSE_MATCHES = 3

Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        metavar="URL",
        help=f"Read this Airflow's REST API in place of the database: https://airflow.example.com. The token is taken "
        f"from {TOKEN_VARIABLE}.",
    ),
]
RequestsPerSecond = Annotated[
    float,
    typer.Option("--requests-per-second", metavar="N", min=0.1, help="With --url: send at most that many requests."),
]
Dags = Annotated[
    list[str] | None,
    typer.Option("--dag", metavar="DAG_ID", help="Only parent tasks of this Dag. May be repeated."),
]
Since = Annotated[
    datetime | None,
    typer.Option(
        "--since",
        metavar="DATE",
        formats=_DATE_FORMATS,
        help="Only child runs that began since then: 2026-01-31 or 2026-01-31T12:00:00, in UTC unless it has an "
        "offset (+0200).",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Tsv = Annotated[bool, typer.Option("--tsv", help="Print tab-separated values.")]
DEFAULT_RATE = 20.0


def in_utc(date: datetime | None) -> datetime | None:
    """Return a date of the command line in UTC."""
    return date.replace(tzinfo=date.tzinfo or timezone.utc).astimezone(timezone.utc) if date else None


def refuse_both(*, is_json: bool, is_tsv: bool) -> None:
    """
    Refuse two forms at once.

    :raises CommandError: both are asked for.
    """
    if is_json and is_tsv:
        message = "Choose one of --json and --tsv."
        raise CommandError(message, ExitCode.WRONG_CALL)


def check_dags(source: Source, dag_ids: Collection[str]) -> None:
    """
    Refuse the name of a Dag that there is not.

    :raises CommandError: it names those that are spelt alike.
    """
    known = source.dag_ids() if dag_ids else set()
    for dag_id in dag_ids:
        if dag_id not in known:
            lower = {name.lower(): name for name in known}
            close = difflib.get_close_matches(dag_id.lower(), lower, _CLOSE_MATCHES)
            hint = f" Did you mean {' or '.join(repr(lower[name]) for name in close)}?" if close else ""
            seen = "that this token may read" if source.kind == "api" else "in this database"
            message = f"There is no Dag {dag_id!r} among the {len(known)} {seen}.{hint}"
            raise CommandError(message, ExitCode.WRONG_CALL)


@contextlib.contextmanager
def reading(url: str | None, requests_per_second: float, *, is_quiet: bool = False) -> Iterator[DetailedSource]:
    """
    Open the deployment, and say which one it is.

    What Airflow logs to the standard output while it is read goes to the standard error: on 3.2 it would be in front of
    the JSON.

    :param is_quiet: do not say it.
    :raises CommandError: it cannot be read.
    """
    from airflow_durable.audit.source import SourceError

    try:
        with contextlib.redirect_stdout(sys.stderr), open_source(url, requests_per_second) as source:
            if not is_quiet:
                say(f"Reading {source.address} (Airflow {source.airflow_version}).")
            yield source
    except SourceError as error:
        raise CommandError(str(error)) from error


@contextlib.contextmanager
def open_source(url: str | None, requests_per_second: float) -> Iterator[DetailedSource]:
    """
    Open the deployment: its REST API, or the database that Airflow is configured for here.

    :raises airflow_durable.audit.source.SourceError: it cannot be read.
    """
    if url is None:
        from airflow_durable.audit.database import open_database

        with open_database() as database:
            yield database
        return
    from airflow_durable.audit.client import ApiClient
    from airflow_durable.audit.rest import RestSource

    check_url(url)
    token = read_token(url)
    with contextlib.closing(ApiClient(url, token, requests_per_second=requests_per_second)) as client:
        yield RestSource(client)


def check_url(url: str) -> None:
    """
    Refuse what is no address of an Airflow.

    :raises CommandError: it is none.
    """
    if "@" in url:
        # Not shown: there may be a password before it.
        message = f"--url takes no user and no password: the token in {TOKEN_VARIABLE} says who asks."
        raise CommandError(message, ExitCode.WRONG_CALL)
    if "://" not in url:
        message = f"--url takes a whole address, with https:// or http://, not {url!r}."
        raise CommandError(message, ExitCode.WRONG_CALL)


def read_token(url: str) -> str:
    """
    Return the token for the REST API.

    :raises CommandError: there is none, or what there is cannot be one. The message does not show it.
    """
    # As it comes from a file, with a line break at its end.
    token = os.environ.get(TOKEN_VARIABLE, "").strip()
    if not token:
        message = (
            f"The environment variable {TOKEN_VARIABLE} is not set. It holds a token for the REST API; Airflow returns "
            f"one for a user name and a password: POST {url.rstrip('/')}/auth/token."
        )
        raise CommandError(message)
    if not token.isascii() or not token.isprintable() or " " in token:
        message = (
            f"The environment variable {TOKEN_VARIABLE} does not hold a token: there is a line break, a space or "
            f"another character in it that no token has."
        )
        raise CommandError(message, ExitCode.WRONG_CALL)
    return token
