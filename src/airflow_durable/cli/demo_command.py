"""``airflow-durable demo``."""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from airflow_durable.cli.frame import CommandError, ExitCode, print_lines, say
from airflow_durable.cli.options import Json  # noqa: TC001 - Typer reads the annotations
from airflow_durable.cli.progress import counting

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_durable.demo.comparison import Comparison
    from airflow_durable.demo.many import ManyResult

MOST_CHILDREN = 2_000
"""SQLite takes some twenty of them in a second."""

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
    many: Annotated[
        int | None,
        typer.Option(
            "--many",
            min=2,
            max=MOST_CHILDREN,
            metavar="NUMBER",
            help="Show one task with this many child runs in place of single ones.",
        ),
    ] = None,
) -> None:
    """
    Crash a real Airflow, and show what its retries do.

    Starts an Airflow of this Python environment in a scratch folder, on free ports of this machine. Three parent tasks,
    one with durable=False, one with durable=True, and a stock operator that [durable] stock_operators makes durable,
    each wait for a child run. Their workers are killed, and the scheduler retries them. The figures in the table come
    from Airflow's database. It takes one to three minutes, and leaves no process behind.

    With --many one task starts as many child runs, and its worker is killed when half of them are there.

    With --ui the address of the page of waits is printed at the end (Airflow 3.1 and later). Anyone on this machine can
    open it, as an administrator and without a password.
    """
    from airflow_durable.demo import many as many_children
    from airflow_durable.demo import report
    from airflow_durable.demo.engine import AirflowNotReadyError

    def print_result(result: Any) -> None:  # noqa: ANN401 - of one demonstration or the other
        form = report if many is None else many_children
        print_lines([json.dumps(form.build_json(result), indent=2)] if is_json else form.build_lines(result))

    def show(result: Any, url: str) -> None:  # noqa: ANN401 - as above
        print_result(result)
        sys.stdout.flush()
        say(f"Airflow is running at {url}")
        say(f"The page of waits is {url}{PAGE}. Press Ctrl-C to end everything.")
        wait_for_ctrl_c()
        say("Ending everything.")

    home = Path(tempfile.mkdtemp(prefix="airflow-durable-demo-"))
    try:
        result = _run(home, many, [show] if is_open else [])
    except KeyboardInterrupt:
        say("Interrupted. Everything that was started has been ended.")
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    except SystemExit:
        # SIGTERM or SIGHUP (demo/processes.py).
        say("Ended by a signal. Everything that was started has been ended.")
        raise
    except AirflowNotReadyError as error:
        message = f"The demonstration failed: {error}"
        raise CommandError(message) from None
    finally:
        if is_kept:
            say(f"The scratch folder is {home}")
        else:
            shutil.rmtree(home, ignore_errors=True)
    if not is_open:
        print_result(result)
    for fault in result.faults:
        say(fault)
    if result.faults:
        raise typer.Exit(ExitCode.FOUND)


def _run(home: Path, many: int | None, shown: list[Callable[[Any, str], None]]) -> Comparison | ManyResult:
    """Run the demonstration that is asked for."""
    from airflow_durable.demo import comparison
    from airflow_durable.demo import many as many_children

    if many is None:
        return comparison.compare(home, say, *shown)
    with counting(many, say) as (write, count):
        return many_children.run_many(home, many, write, count, *shown)
