"""``airflow-durable demo``."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from airflow_durable.cli.frame import CommandError, ExitCode, print_lines, say
from airflow_durable.cli.options import Json  # noqa: TC001 - Typer reads the annotations


def demo(
    *,
    is_json: Json = False,
    is_kept: Annotated[
        bool, typer.Option("--keep", help="Keep the scratch folder: the database and all logs.")
    ] = False,
) -> None:
    """
    Crash a real Airflow, and show what its retries do.

    Starts an Airflow of this Python environment in a scratch folder, on free ports of this machine. Two parent tasks,
    one with durable=False and one with durable=True, each wait for a child run. Their workers are killed, and the
    scheduler retries them. The figures in the table come from Airflow's database. It takes one to three minutes, and
    leaves no process behind.
    """
    from airflow_durable.demo.comparison import compare
    from airflow_durable.demo.engine import AirflowNotReadyError
    from airflow_durable.demo.report import build_json, build_lines

    home = Path(tempfile.mkdtemp(prefix="airflow-durable-demo-"))
    try:
        comparison = compare(home, say)
    except KeyboardInterrupt:
        say("Interrupted. Everything that was started has been ended.")
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    except AirflowNotReadyError as error:
        message = f"The demonstration failed: {error}"
        raise CommandError(message) from None
    finally:
        if is_kept:
            say(f"The scratch folder is {home}")
        else:
            shutil.rmtree(home, ignore_errors=True)
    print_lines([json.dumps(build_json(comparison), indent=2)] if is_json else build_lines(comparison))
    for fault in comparison.faults:
        say(fault)
    if comparison.faults:
        raise typer.Exit(ExitCode.FOUND)
