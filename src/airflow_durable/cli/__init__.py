"""The command ``airflow-durable``. :mod:`.frame` has what all commands share, and each other module one command."""

from __future__ import annotations

from typing import Annotated

import typer

from airflow_durable.cli import (
    audit_command,
    child_commands,
    demo_command,
    doctor_command,
    inspect_command,
    list_command,
)
from airflow_durable.cli.frame import EXIT_CODES, Application, Command, Group, print_lines, versions

app = Application(
    cls=Group,
    no_args_is_help=True,
    # Rich would wrap the help twice at 80 columns, and show types such as <bool>.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
    epilog=EXIT_CODES,
)


def _print_versions(is_asked: bool) -> None:  # noqa: FBT001 - Typer calls it so
    if is_asked:
        print_lines(versions())
        raise typer.Exit


@app.callback()
def main(
    *,
    is_version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_versions, is_eager=True, help="Print the versions that are installed here."
        ),
    ] = False,
) -> None:
    """
    See and check how TriggerDagRunOperators survive crashes.

    Without --url, the commands read the metadata database that Airflow is configured for on this machine. Only
    reconcile, end, resume and forget change something in a deployment. None shows the conf of a Dag run.
    """


app.command(
    "doctor", cls=Command, short_help="Say what keeps tasks from surviving crashes.", epilog=doctor_command.EXAMPLES
)(doctor_command.doctor)
app.command(
    "audit", cls=Command, short_help="Report what crashes of stock operators have cost.", epilog=audit_command.EXAMPLES
)(audit_command.audit)
app.command(
    "inspect", cls=Command, short_help="Show what happened to one parent task.", epilog=inspect_command.EXAMPLES
)(inspect_command.inspect)
app.command("list", cls=Command, short_help="List the parent tasks that wait.", epilog=list_command.EXAMPLES)(
    list_command.list_waiting
)
app.command("demo", cls=Command, short_help="Crash a real Airflow, and show what its retries do.")(demo_command.demo)
app.command("reconcile", cls=Command, short_help="Do what durable parents ask for, as the API server does.")(
    child_commands.reconcile
)
app.command("end", cls=Command, short_help="End a parent task and its child run.")(child_commands.end)
app.command("resume", cls=Command, short_help="Let a failed child run continue from where it failed.")(
    child_commands.resume
)
app.command("forget", cls=Command, short_help="Delete the record of a parent task.")(child_commands.forget)
