"""``airflow-durable demo``."""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from airflow_durable.cli.frame import CommandError, ExitCode, print_lines, say
from airflow_durable.cli.options import Json  # noqa: TC001 - Typer reads the annotations

if TYPE_CHECKING:
    from airflow_durable.demo.comparison import Comparison

PAGE = "/plugin/durable-waits"
"""The page *Durable waits*: ``url_route`` of the plugin, in Airflow's UI (3.1 to 3.4)."""


def wait_for_ctrl_c() -> None:
    """Wait until a person presses Ctrl-C."""
    with contextlib.suppress(KeyboardInterrupt):
        threading.Event().wait()


def demo(
    *,
    is_json: Json = False,
    is_open: Annotated[
        bool, typer.Option("--ui", help="Leave the Airflow running after the comparison, to look at, until Ctrl-C.")
    ] = False,
    is_kept: Annotated[
        bool, typer.Option("--keep", help="Keep the scratch folder: the database and all logs.")
    ] = False,
) -> None:
    """
    Crash a real Airflow, and show what its retries do.

    Starts an Airflow of this Python environment in a scratch folder, on free ports of this machine. Three parent tasks,
    one with durable=False, one with durable=True, and a stock operator that [durable] stock_operators makes durable,
    each wait for a child run. Their workers are killed, and the scheduler retries them. The figures in the table come
    from Airflow's database. It takes one to three minutes, and leaves no process behind.

    With --ui the address of the page of waits is printed at the end (Airflow 3.1 and later). Anyone on this machine can
    open it, as an administrator and without a password.
    """
    from airflow_durable.demo.comparison import compare
    from airflow_durable.demo.engine import AirflowNotReadyError
    from airflow_durable.demo.report import build_json, build_lines

    def print_result(comparison: Comparison) -> None:
        print_lines([json.dumps(build_json(comparison), indent=2)] if is_json else build_lines(comparison))

    def show(comparison: Comparison, url: str) -> None:
        print_result(comparison)
        sys.stdout.flush()
        say(f"Airflow is running at {url}")
        say(f"The page of waits is {url}{PAGE}. Press Ctrl-C to end everything.")
        wait_for_ctrl_c()
        say("Ending everything.")

    home = Path(tempfile.mkdtemp(prefix="airflow-durable-demo-"))
    try:
        comparison = compare(home, say, show) if is_open else compare(home, say)
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
    if not is_open:
        print_result(comparison)
    for fault in comparison.faults:
        say(fault)
    if comparison.faults:
        raise typer.Exit(ExitCode.FOUND)
