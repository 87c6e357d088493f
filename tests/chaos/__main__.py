"""``python -m tests.chaos``, from the repository's root."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Optional

import typer

from airflow_durable.demo.engine import AirflowNotReadyError
from tests.chaos import report
from tests.chaos.run import Settings, describe_sentence, run
from tests.support.servers import ServerNotReadyError

_EXIT_BROKEN = 1
_EXIT_NOT_RUN = 2
_ROOT = Path(__file__).parents[2]

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def chaos(  # noqa: PLR0913, PLR0917 - the command line's options
    faults: Annotated[int, typer.Option(help="How many faults.", min=1)] = 300,
    seed: Annotated[int, typer.Option(help="Fixes faults, modes and the children's fates.")] = 1,
    size: Annotated[int, typer.Option(help="Dag runs of parents in flight, both kinds together.", min=2)] = 40,
    pause_seconds: Annotated[float, typer.Option(help="The mean pause between two faults.")] = 3.0,
    limit_minutes: Annotated[
        float, typer.Option(help="No fault begins after this time; what is missing is told.")
    ] = 90.0,
    drain_seconds: Annotated[float, typer.Option(help="How long parents may take to end afterwards.")] = 600.0,
    report_path: Annotated[Optional[Path], typer.Option("--report", help="Write the report here.")] = None,  # noqa: UP045 - typer on 3.10
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,  # noqa: FBT002 - an option
    is_kept: Annotated[bool, typer.Option("--keep", help="Keep the Airflow's folder, with all logs.")] = False,  # noqa: FBT002
) -> None:
    """
    Kill a distributed Airflow at random while parents wait for their children, and count what became of them.

    Exit code 0: no durable parent broke the promise. 1: one did, or the run does not show what it should. 2: Airflow
    did not come up.
    """
    # The Dags import the modes from this tree.
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH"))))
    home = Path(tempfile.mkdtemp(prefix="airflow-chaos-"))
    is_broken = True
    try:
        result = run(home, Settings(faults, seed, size, pause_seconds, limit_minutes, drain_seconds), _tell)
        is_broken = bool(result.troubles)
    except (AirflowNotReadyError, ServerNotReadyError) as error:
        _tell(str(error))
        raise typer.Exit(_EXIT_NOT_RUN) from error
    finally:
        if is_kept or is_broken:
            _tell(f"The Airflow's folder, with all logs, is kept: {home}")
        else:
            shutil.rmtree(home, ignore_errors=True)
    if report_path:
        report.write(result, report_path, datetime.now(tz=timezone.utc).date())
    _tell(report.summarize(result))
    _tell(describe_sentence(result.sentence))
    for trouble in result.troubles:
        _tell(f"NOT AS PROMISED: {trouble}")
    for example in [*result.census.totals["durable"].examples, *result.sentence.examples]:
        _tell(f"  {example}")
    if as_json:
        sys.stdout.write(json.dumps(result.to_json(), indent=2) + "\n")
    raise typer.Exit(_EXIT_BROKEN if result.troubles else 0)


def _tell(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    app()
