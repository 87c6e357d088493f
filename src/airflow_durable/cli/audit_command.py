"""``airflow-durable audit``."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import Annotated

import typer

from airflow_durable.audit.model import Sureness
from airflow_durable.cli.frame import ExitCode, examples, print_lines
from airflow_durable.cli.options import (
    DEFAULT_RATE,
    Dags,
    Json,
    RequestsPerSecond,
    Since,
    Tsv,
    Url,
    check_dags,
    in_utc,
    reading,
    refuse_both,
)
from airflow_durable.cli.progress import showing

EXAMPLES = examples(
    """
    airflow-durable audit
    airflow-durable audit --dag billing --since 2026-01-01 --details
    AIRFLOW_DURABLE_TOKEN=... airflow-durable audit \\
        --url https://airflow.example.com --json
    """
)


def audit(  # noqa: PLR0913 - a command's options
    *,
    url: Url = None,
    dag_ids: Dags = None,
    since: Since = None,
    min_sureness: Annotated[
        Sureness,
        typer.Option(
            "--min-sureness", metavar="SURE", help="Leave out findings that are less sure: certain, likely or possible."
        ),
    ] = Sureness.POSSIBLE,
    is_detailed: Annotated[
        bool, typer.Option("--details", help="Show each finding, with what it is based on, after the summary.")
    ] = False,
    is_json: Json = False,
    is_tsv: Tsv = False,
    is_failing: Annotated[
        bool, typer.Option("--fail-on-findings", help="Exit with 1 if there is a finding, for CI.")
    ] = False,
    requests_per_second: RequestsPerSecond = DEFAULT_RATE,
) -> None:
    """
    Report the duplicates that stock TriggerDagRunOperators have caused so far.

    A retry of the stock operator does not know of the child run that the crashed try started, and starts another one.
    This finds such runs: an operator triggered them during an earlier try, no task instance names them as
    its own, and a later try started a second one although they had not failed. Each finding says what it is based on,
    and is certain, likely or possible.
    """
    from airflow_durable.audit.report import build_json, build_tsv
    from airflow_durable.audit.search import audit as search
    from airflow_durable.audit.summary import build_lines

    refuse_both(is_json=is_json, is_tsv=is_tsv)
    since_utc = in_utc(since)
    with reading(url, requests_per_second) as source, showing() as report_progress:
        check_dags(source, dag_ids or ())
        report = search(
            source,
            now=datetime.now(tz=timezone.utc),
            dag_ids=dag_ids or (),
            since=since_utc,
            report_progress=report_progress,
        ).at_least(min_sureness)
    if is_json:
        filters = {
            "dags": dag_ids or [],
            "since": since_utc.isoformat() if since_utc else None,
            "min_sureness": min_sureness.value,
        }
        built = build_json(report, source=source.kind, airflow_version=source.airflow_version, filters=filters)
        print_lines([json.dumps(built, indent=2)])
    else:
        print_lines(build_tsv(report) if is_tsv else build_lines(report, is_detailed=is_detailed))
    if is_failing and report.findings:
        raise typer.Exit(ExitCode.FOUND)
