"""The command ``airflow-durable``."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import tempfile
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from airflow_durable import child_commands

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_durable.audit.source import Source

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

_INTERRUPTED = 130
_UNREADABLE = 3
_TOKEN_VARIABLE = "AIRFLOW_DURABLE_TOKEN"  # noqa: S105 - its name, not the token
_DATE_FORMATS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S%z"]


@app.callback()
def main() -> None:
    """Crash-safe TriggerDagRunOperator for Apache Airflow."""


@app.command()
def demo(
    *,
    is_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
    is_kept: Annotated[
        bool, typer.Option("--keep", help="Keep the scratch folder: the database and all logs.")
    ] = False,
) -> None:
    """
    Crash a real Airflow and show what its retries do, with and without durable.

    Starts an Airflow of this environment in a scratch folder, on free ports of the loopback interface. Two parents, one
    with durable=False and one with durable=True, each wait for a child run. Their workers are killed by SIGKILL, and
    the scheduler retries them. The table's figures come from Airflow's database. Takes one to three minutes, and leaves
    no process behind.

    Exits with 1 if the durable parent has not exactly one child run.
    """
    from airflow_durable.demo.comparison import compare
    from airflow_durable.demo.engine import AirflowNotReadyError
    from airflow_durable.demo.report import build_json, build_table

    progress = Console(stderr=True, highlight=False)
    home = Path(tempfile.mkdtemp(prefix="airflow-durable-demo-"))
    try:
        comparison = compare(home, lambda line: progress.print(line, markup=False))
    except KeyboardInterrupt:
        progress.print("Interrupted. Everything that was started has been ended.")
        raise typer.Exit(_INTERRUPTED) from None
    except AirflowNotReadyError as error:
        progress.print(f"The demonstration failed: {error}", markup=False, style="red")
        raise typer.Exit(1) from None
    finally:
        if is_kept:
            progress.print(f"The scratch folder is {home}", markup=False)
        else:
            shutil.rmtree(home, ignore_errors=True)
    if is_json:
        typer.echo(json.dumps(build_json(comparison), indent=2))
    else:
        Console().print(build_table(comparison))
    for fault in comparison.faults:
        progress.print(fault, markup=False, style="red")
    if comparison.faults:
        raise typer.Exit(1)


@app.command()
def audit(  # noqa: PLR0913 - a command's options
    *,
    url: Annotated[
        str | None,
        typer.Option(help="Read this Airflow's REST API instead of the database, e.g. https://airflow.example.com"),
    ] = None,
    dag_ids: Annotated[
        list[str] | None, typer.Option("--dag", help="Only parents in this Dag. May be given more than once.")
    ] = None,
    since: Annotated[
        datetime | None,
        typer.Option(formats=_DATE_FORMATS, help="Only child runs that began since then; UTC if no zone is given."),
    ] = None,
    is_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    is_tsv: Annotated[bool, typer.Option("--tsv", help="Print the findings as tab-separated values.")] = False,
    is_failing: Annotated[
        bool, typer.Option("--fail-on-findings", help="Exit with 1 if there is a finding, for CI.")
    ] = False,
    requests_per_second: Annotated[
        float, typer.Option(min=0.1, help="With --url: never send more requests than that.")
    ] = 20.0,
) -> None:
    r"""
    Report the duplicates that stock TriggerDagRunOperators have caused so far.

    A retry of the stock operator does not know of the child run that the crashed attempt started, and starts another.
    This finds such runs: an operator triggered them within an earlier attempt's time, no task instance names them as
    its own, and a later attempt started a second one although they had not failed. Each finding says what it is based
    on, and is certain, likely or possible.

    Reads the metadata database that this machine's Airflow is configured for, in a session that cannot write. Or, with
    --url, the public REST API, with the token in the environment variable AIRFLOW_DURABLE_TOKEN. Nothing is changed,
    and no conf is shown.

    \b
    airflow-durable audit
    airflow-durable audit --dag billing --since 2026-01-01 --json
    AIRFLOW_DURABLE_TOKEN=... airflow-durable audit --url https://airflow.example.com

    Exits with 0 whatever it finds (1 with --fail-on-findings), with 2 if it is called wrongly, and with 3 if the
    deployment cannot be read.
    """
    from airflow_durable.audit.report import build_json, build_text, build_tsv
    from airflow_durable.audit.search import audit as search
    from airflow_durable.audit.source import SourceError

    if is_json and is_tsv:
        raise typer.BadParameter("choose one of --json and --tsv")
    since_utc = since.replace(tzinfo=since.tzinfo or timezone.utc).astimezone(timezone.utc) if since else None
    progress = Console(stderr=True, highlight=False)
    try:
        with _stdout_kept(), _open_source(url, requests_per_second) as source, progress.status("Opening.") as status:
            report = search(
                source,
                now=datetime.now(tz=timezone.utc),
                dag_ids=dag_ids or (),
                since=since_utc,
                report_progress=status.update,
            )
    except KeyboardInterrupt:
        raise typer.Exit(_INTERRUPTED) from None
    except SourceError as error:
        progress.print(f"The audit failed: {error}", markup=False, style="red")
        raise typer.Exit(_UNREADABLE) from None
    if is_json:
        filters = {"dags": dag_ids or [], "since": since_utc.isoformat() if since_utc else None}
        built = build_json(report, source=source.kind, airflow_version=source.airflow_version, filters=filters)
        typer.echo(json.dumps(built, indent=2))
    elif is_tsv:
        for line in build_tsv(report):
            typer.echo(line)
    else:
        Console().print(build_text(report))
    if is_failing and report.findings:
        raise typer.Exit(1)


@app.command()
def inspect(  # noqa: PLR0913 - a command's arguments
    dag_id: str,
    run_id: str,
    task_id: str,
    *,
    map_index: Annotated[int, typer.Option(help="Of a mapped task instance; in a loop, the iteration.")] = -1,
    region: Annotated[str, typer.Option(help="Of several instances in a loop (Airflow 3.4), the one to show.")] = "",
    is_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """
    Show one parent: its tries, what each decided, its record and its child runs, as they happened.

    Reads the metadata database that this machine's Airflow is configured for, in a session that cannot write. No conf
    is shown. Exits with 3 if there is no such task instance, or if the database cannot be read.
    """
    from airflow_durable.audit import inspection
    from airflow_durable.audit.database import open_database
    from airflow_durable.audit.source import SourceError
    from airflow_durable.metadata.model import InstanceKey

    try:
        with _stdout_kept(), open_database() as source:
            found = inspection.inspect(source, InstanceKey(dag_id, run_id, task_id, map_index, region.replace("-", "")))
    except SourceError as error:
        Console(stderr=True, highlight=False).print(str(error), markup=False, style="red")
        raise typer.Exit(_UNREADABLE) from None
    if is_json:
        typer.echo(json.dumps(inspection.build_json(found), indent=2))
    else:
        Console().print(inspection.build_text(found))


app.command()(child_commands.reconcile)
app.command()(child_commands.end)
app.command()(child_commands.resume)
app.command()(child_commands.forget)


def _stdout_kept() -> contextlib.AbstractContextManager[object]:
    """Send what Airflow logs while it is read elsewhere: on 3.2 it would stand in front of the JSON."""
    return contextlib.redirect_stdout(sys.stderr)


@contextlib.contextmanager
def _open_source(url: str | None, requests_per_second: float) -> Iterator[Source]:
    if url is None:
        from airflow_durable.audit.database import open_database

        with open_database() as database:
            yield database
        return
    from airflow_durable.audit.client import ApiClient
    from airflow_durable.audit.rest import RestSource
    from airflow_durable.audit.source import SourceError

    token = os.environ.get(_TOKEN_VARIABLE)
    if not token:
        message = (
            f"The environment variable {_TOKEN_VARIABLE} is not set. It holds a token for the REST API; Airflow gives "
            f"one for a user name and a password: POST {url.rstrip('/')}/auth/token."
        )
        raise SourceError(message)
    with contextlib.closing(ApiClient(url, token, requests_per_second=requests_per_second)) as client:
        yield RestSource(client)


if __name__ == "__main__":
    app()
