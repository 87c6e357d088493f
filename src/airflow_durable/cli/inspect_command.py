"""``airflow-durable inspect``."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import Annotated

import typer

from airflow_durable.cli.frame import CommandError, ExitCode, examples, print_lines
from airflow_durable.cli.options import DEFAULT_RATE, Json, RequestsPerSecond, Url, check_dags, reading

EXAMPLES = examples(
    """
    airflow-durable inspect billing manual__2026-01-01 run_invoices
    airflow-durable inspect billing manual__2026-01-01 run_regions --map-index 3
    """
)


def inspect(  # noqa: PLR0913 - a command's arguments
    dag_id: Annotated[str, typer.Argument(metavar="DAG_ID", help="The parent task's Dag.", show_default=False)],
    run_id: Annotated[str, typer.Argument(metavar="RUN_ID", help="The Dag run that it is in.", show_default=False)],
    task_id: Annotated[str, typer.Argument(metavar="TASK_ID", help="The task.", show_default=False)],
    *,
    map_index: Annotated[
        int, typer.Option("--map-index", metavar="N", help="Which instance of a mapped task; in a loop, the iteration.")
    ] = -1,
    region: Annotated[
        str, typer.Option("--region", metavar="ID", help="Airflow 3.4: which of several instances in a loop.")
    ] = "",
    url: Url = None,
    is_json: Json = False,
    requests_per_second: RequestsPerSecond = DEFAULT_RATE,
) -> None:
    """
    Show what happened to one parent task: its tries, its record, its child runs.

    For any task that triggers Dag runs, durable or not: of a stock operator it shows the lost runs that `audit` finds.
    Times are in UTC.
    """
    from airflow_durable.audit import inspection
    from airflow_durable.audit.source import NothingThereError
    from airflow_durable.metadata.model import InstanceKey

    now = datetime.now(tz=timezone.utc)
    with reading(url, requests_per_second) as source:
        check_dags(source, [dag_id])
        key = InstanceKey(dag_id, run_id, task_id, map_index, region.replace("-", ""))
        try:
            found = inspection.inspect(source, key, now=now)
        except NothingThereError as error:
            raise CommandError(str(error), ExitCode.WRONG_CALL) from error
    print_lines([json.dumps(inspection.build_json(found), indent=2)] if is_json else inspection.build_lines(found, now))
