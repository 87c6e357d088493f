"""``airflow-durable list``."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import Annotated

import typer

from airflow_durable.cli.frame import CommandError, ExitCode, examples, print_lines
from airflow_durable.cli.options import (
    DEFAULT_RATE,
    Dags,
    Json,
    RequestsPerSecond,
    Tsv,
    Url,
    check_dags,
    reading,
    refuse_both,
)

EXAMPLES = examples(
    """
    airflow-durable list --longer-than 2h
    airflow-durable list --silent --tsv
    """
)
_UNITS = {"s": "seconds", "m": "minutes", "min": "minutes", "h": "hours", "d": "days"}


def list_waiting(  # noqa: PLR0913 - a command's options
    *,
    url: Url = None,
    dag_ids: Dags = None,
    longer_than: Annotated[
        str | None,
        typer.Option("--longer-than", metavar="TIME", help="Only those that have waited longer: 90s, 30min, 2h, 1d."),
    ] = None,
    is_silent_only: Annotated[
        bool,
        typer.Option("--silent", help="Only those without heartbeat: the worker is probably dead. With the database."),
    ] = False,
    is_json: Json = False,
    is_tsv: Tsv = False,
    requests_per_second: RequestsPerSecond = DEFAULT_RATE,
) -> None:
    """
    List the parent tasks that wait, the one that has waited longest first.

    All tasks that trigger Dag runs and have not ended, durable or not, with the child run of each. A running task
    without heartbeat for 30 seconds is marked: Airflow itself takes five minutes to notice. REST does not show
    heartbeats.
    """
    from airflow_durable.audit import waiting

    refuse_both(is_json=is_json, is_tsv=is_tsv)
    if is_silent_only and url is not None:
        message = "--silent needs the database: Airflow's REST API does not show heartbeats."
        raise CommandError(message, ExitCode.WRONG_CALL)
    least, now = _read_time(longer_than), datetime.now(tz=timezone.utc)
    with reading(url, requests_per_second) as source:
        check_dags(source, dag_ids or ())
        found = waiting.find_waiting(
            source, now=now, dag_ids=dag_ids or (), longer_than=least, is_silent_only=is_silent_only
        )
        limits = source.heartbeat_limits()
    if is_json:
        built = waiting.build_json(found, now, source=source.kind, airflow_version=source.airflow_version)
        print_lines([json.dumps(built, indent=2)])
    else:
        print_lines(waiting.build_tsv(found, now) if is_tsv else waiting.build_lines(found, now, limits))


def _read_time(text: str | None) -> timedelta | None:
    """
    Return a length of time.

    :raises CommandError: it is none.
    """
    if text is None:
        return None
    number = text.strip().rstrip("abcdefghijklmnopqrstuvwxyz ")
    unit = _UNITS.get(text.strip()[len(number) :].strip() or "s")
    try:
        return timedelta(**{unit: float(number)}) if unit else _refuse(text)
    except (ValueError, OverflowError):
        return _refuse(text)


def _refuse(text: str) -> timedelta:
    message = f"--longer-than takes a number with a unit, such as 90s, 30min, 2h or 1d, not {text!r}."
    raise CommandError(message, ExitCode.WRONG_CALL)
