"""The command ``airflow-durable``."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

_INTERRUPTED = 130


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


if __name__ == "__main__":
    app()
