"""What all commands have in common: how they end, what they say when they fail, and versions."""

from __future__ import annotations

import contextlib
import os
import sys
import textwrap
import traceback
from enum import IntEnum
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperCommand, TyperGroup

from airflow_durable.layout import wrap

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class ExitCode(IntEnum):
    """How a command ended. Each means one thing; :data:`MEANINGS` says it."""

    FINE = 0
    FOUND = 1
    WRONG_CALL = 2
    UNREADABLE = 3
    FAULT = 70
    INTERRUPTED = 130
    PIPE_CLOSED = 141


MEANINGS: dict[ExitCode, str] = {
    ExitCode.FINE: "fine",
    ExitCode.FOUND: (
        "it found something: a problem (doctor), a difference (demo), a reason not to act (end, resume, forget) or a "
        "duplicate (audit, only with --fail-on-findings)"
    ),
    ExitCode.WRONG_CALL: "wrong call: an unknown option, Dag or task instance",
    ExitCode.UNREADABLE: "the deployment could not be read or reached",
    ExitCode.FAULT: "a fault in airflow-durable itself, with a traceback",
    ExitCode.INTERRUPTED: "Ctrl-C",
    ExitCode.PIPE_CLOSED: "the reader closed the pipe, as `| head` does",
}

EXIT_CODES = "\n".join(
    [
        "\b",
        "Exit codes:",
        *(line for code in ExitCode for line in wrap(MEANINGS[code], first=f"{code:5d}  ", rest=" " * 7, width=76)),
    ]
)
"""The table of them, as the help shows it."""


class CommandError(Exception):
    """A command failed in a way that was to be expected. The message says why, and what to do."""

    def __init__(self, message: str, exit_code: ExitCode = ExitCode.UNREADABLE) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def examples(text: str) -> str:
    """Return examples as an epilog, which is shown as it is."""
    return "\b\nExamples:\n" + textwrap.indent(textwrap.dedent(text).strip("\n"), "  ")


class Command(TyperCommand):
    """One command."""

    def get_help(self, ctx: Any) -> str:  # noqa: ANN401 - Typer's own types, which differ by version
        """Return the help, without the types of arguments: all are texts (Typer 0.29)."""
        return super().get_help(ctx).replace(" <str>", " " * len(" <str>"))


class Group(TyperGroup):
    """The commands. Typer itself ends with 1 for a closed pipe, and with a traceback for an error of ours."""

    def make_context(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - Typer's own types
        """Read the command line. The help is printed here."""
        try:
            return super().make_context(*args, **kwargs)
        except BrokenPipeError:
            silence()
            raise typer.Exit(ExitCode.PIPE_CLOSED) from None

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - Typer's own types, which differ by version
        """Run the command."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except CommandError as error:
            say(f"Error: {error}")
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt:
            say("Interrupted.")
            raise typer.Exit(ExitCode.INTERRUPTED) from None
        except BrokenPipeError:
            silence()
            raise typer.Exit(ExitCode.PIPE_CLOSED) from None
        return result


class Application(typer.Typer):
    """The command line as a whole."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - Typer's own
        """Run it, and end the process."""
        try:
            super().__call__(*args, **kwargs)
        except SystemExit:
            # The help is printed before any command runs.
            try:
                sys.stdout.flush()
            except BrokenPipeError:
                silence()
                sys.exit(ExitCode.PIPE_CLOSED)
            raise
        except Exception:  # noqa: BLE001 - what nobody has foreseen: 1, Python's own code for it, means findings
            traceback.print_exc()
            say("This is a fault in airflow-durable. Please report it, with these lines and the output of --version.")
            sys.exit(ExitCode.FAULT)


def silence() -> None:
    """Let nothing more be written to a standard output that nobody reads, at the interpreter's end neither."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def say(text: str) -> None:
    """Print paragraphs to the standard error; lines that are indented stay as they are."""
    for line in text.splitlines():
        for part in [line] if line.startswith("  ") else wrap(line):
            typer.echo(part, err=True)


def print_lines(lines: Iterable[str]) -> None:
    """Print lines to the standard output."""
    for line in lines:
        typer.echo(line)


def versions() -> Iterator[str]:
    """Yield what is installed here, without an import of it."""
    for name, package in (
        ("airflow-durable", "airflow-durable"),
        ("Airflow", "apache-airflow-core"),
        ("standard provider", "apache-airflow-providers-standard"),
    ):
        with contextlib.suppress(PackageNotFoundError):
            yield f"{name} {version(package)}"
    yield f"Python {sys.version.split()[0]}"
