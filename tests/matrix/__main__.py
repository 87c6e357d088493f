"""``python -m tests.matrix``: the command behind ``make matrix``."""

from __future__ import annotations

import signal
import time
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from .environments import AIRFLOWS, WHOLE, Environment, EnvironmentBrokenError, Part, Provider
from .report import build_markdown, build_tables
from .results import EnvironmentResult, load, load_all

if TYPE_CHECKING:
    from collections.abc import Sequence

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
console = Console()


@app.callback()
def main() -> None:
    """Run the tests on every supported Airflow."""


@app.command()
def run(
    *,
    airflow: Annotated[list[str] | None, typer.Option(help="A version; may be repeated. Default: all.")] = None,
    provider: Annotated[list[Provider] | None, typer.Option(help="May be repeated. Default: all.")] = None,
    python: Annotated[
        list[str] | None, typer.Option(help="An interpreter; may be repeated. Default: as make env.")
    ] = None,
    part: Annotated[list[Part] | None, typer.Option(help="May be repeated. Default: unit and live.")] = None,
) -> None:
    """
    Make the environments, run the tests in each, and print the table.

    Exits with 1 if a test failed or could not be run.
    """
    # What is started in a shell's background ignores it, and so would the test sessions, which are ended by it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    interpreters: list[str | None] = list(python) if python else [None]
    environments = [
        environment
        for version in airflow or AIRFLOWS
        for kind in provider or Provider
        for path in interpreters
        if (environment := Environment(version, path, kind)).constraints.exists()
    ]
    if not environments:
        raise typer.BadParameter("There are no pins for these.")
    results = [_run_in(environment, part or WHOLE) for environment in environments]
    _show([result for result in results if result])
    if any(result is None or result.has_failed for result in results):
        raise typer.Exit(1)


@app.command()
def report(
    *, output: Annotated[Path | None, typer.Option(help="A Markdown file to write. Default: print only.")] = None
) -> None:
    """Print the table of all results that there are, and write it to a file."""
    results = load_all()
    _show(results)
    if output:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(build_markdown(results))
        console.print(f"Written: {output}", markup=False)


def _run_in(environment: Environment, parts: Sequence[Part]) -> EnvironmentResult | None:
    """Return what came of the tests; None if they could not be run. The other environments are to have their turn."""
    try:
        console.print(f"{environment.name}: environment", markup=False)
        environment.make()
        for part in parts:
            began = time.monotonic()
            console.print(f"{environment.name}: {part.value} tests", markup=False)
            outcome = "passed" if environment.test(part) else "FAILED"
            console.print(f"{environment.name}: {outcome} after {time.monotonic() - began:.0f} s", markup=False)
    except EnvironmentBrokenError as error:
        console.print(f"{environment.name}: {error}", markup=False, style="red")
        return None
    return load(environment.results, parts)


def _show(results: list[EnvironmentResult]) -> None:
    for table in build_tables(results):
        console.print(table)
    for result in results:
        for test in result.tests:
            if test.verdict.value == "fail":
                console.print(f"FAIL on Airflow {result.label}: {test.folder}: {test.name}", markup=False, style="red")


if __name__ == "__main__":
    app()
