"""``airflow-durable doctor``."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Annotated, cast

import typer

from airflow_durable.cli.frame import ExitCode, examples, print_lines
from airflow_durable.cli.options import DEFAULT_RATE, Json, RequestsPerSecond, Url, reading

if TYPE_CHECKING:
    from airflow_durable.audit.database import DatabaseSource
    from airflow_durable.audit.rest import RestSource

EXAMPLES = examples(
    """
    airflow-durable doctor
    airflow-durable doctor --details
    AIRFLOW_DURABLE_TOKEN=... airflow-durable doctor \\
        --url https://airflow.example.com --json
    """
)


def doctor(
    *,
    url: Url = None,
    is_detailed: Annotated[
        bool, typer.Option("--details", help="Show all notes, and all tasks of each finding.")
    ] = False,
    is_importing: Annotated[
        bool,
        typer.Option(
            "--import-classes",
            help="Import the classes of subclasses, which runs the code of their modules, to say whether each can be "
            "made durable.",
        ),
    ] = False,
    is_json: Json = False,
    requests_per_second: RequestsPerSecond = DEFAULT_RATE,
) -> None:
    """
    Say what keeps tasks from surviving crashes, the worst first, with what to do.

    Reads the tasks that trigger Dag runs, the configuration of this machine, and which components run. It says which
    tasks are durable, which the switch [durable] stock_operators makes or would make durable, and which settings work
    against it.

    With --url it reads only the REST API. That shows no fixed run ids, and the configuration only where [api]
    expose_config is set.
    """
    from airflow_durable.doctor import facts, report

    now = datetime.now(tz=timezone.utc)
    with reading(url, requests_per_second) as source:
        if source.kind == "api":
            found = facts.read_api(cast("RestSource", source))
        else:
            found = facts.read_database(cast("DatabaseSource", source), now)
    if is_importing:
        from airflow_durable.doctor.classes import with_classes

        found = with_classes(found)
    diagnosis = report.diagnose(found)
    if is_json:
        print_lines([json.dumps(report.build_json(diagnosis, now), indent=2)])
    else:
        print_lines(report.build_lines(diagnosis, now, is_detailed=is_detailed))
    if diagnosis.has_problem:
        raise typer.Exit(ExitCode.FOUND)
