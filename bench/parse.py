"""What it costs to have the package: the time to import the operator, and to parse a file with 200 of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

OPERATORS = 200
MODULES = {
    "stock": "airflow.providers.standard.operators.trigger_dagrun",
    "durable": "airflow_durable.operators.trigger_dagrun",
}

_DAG_FILE = """
from airflow.sdk import DAG
from {module} import TriggerDagRunOperator

with DAG("bench_parse", schedule=None):
    for number in range({operators}):
        TriggerDagRunOperator(
            task_id=f"task_{{number}}",
            trigger_dag_id="child",
            conf={{"number": number}},
            wait_for_completion=True,
            retries=2,
            {more}
        )
"""
_IMPORT = """
import time
begun = time.process_time()
import {module}
print(time.process_time() - begun)
"""
# As Airflow's Dag processor does it: the process that loads the plugins (with its Job) and imports the airflow.*
# modules that a file names forks another one for each parse.
TOOLS = """
import json, os, runpy, sys, time, traceback
from pathlib import Path
import structlog
from airflow.cli.commands import dag_processor_command
from airflow.dag_processing import processor
from airflow.listeners.listener import get_listener_manager

def parse(path):
    request = processor.DagFileParseRequest(
        file=str(path), bundle_path=path.parent, bundle_name="bench", callback_requests=[]
    )
    result = processor._parse_file(request, log)
    assert len(result.serialized_dags) == 1 and not result.import_errors, result.import_errors

def measure(function, path, prepare=None):
    processor._pre_import_airflow_modules(str(path), log)
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.dup2(2, 1)
        try:
            if prepare:
                prepare()
            begun = time.process_time()
            function(path)
            os.write(writing, str(time.process_time() - begun).encode())
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        seconds = pipe.read()
    _, status = os.waitpid(child, 0)
    assert not status, f"The measurement of {path} failed."
    return float(seconds)

log = structlog.get_logger()
get_listener_manager()
"""
# The pairs take turns in who is first.
_PARSE = """
paths = {{kind: Path(path) for kind, path in {paths!r}.items()}}
functions = {{"parse": parse, "execute": runpy.run_path}}
for number in range({pairs}):
    for name, function in functions.items():
        kinds = sorted(paths, reverse=number % 2 == 1)
        print(json.dumps({{"figure": name, **{{kind: measure(function, paths[kind]) for kind in kinds}}}}))
"""


def import_seconds(kind: str) -> float:
    """Return the processor time in which a new interpreter imports the operator, and with it Airflow."""
    return float(run(_IMPORT.format(module=MODULES[kind])).split()[-1])


def measure_parse(pairs: int) -> Iterator[dict[str, Any]]:
    """
    Yield figures of the processor time that the Dag processor's fork takes for a Dag file, as often as there are pairs.

    "parse" is all that it does with the file, by Airflow's own function: it executes the file, checks its Dags and
    serializes them; "execute" is the first of the three alone.
    """
    with tempfile.TemporaryDirectory() as folder:
        paths = {}
        for kind, module in MODULES.items():
            path = paths[kind] = Path(folder) / kind / "dag.py"
            path.parent.mkdir()
            more = "durable=True," if kind == "durable" else ""
            path.write_text(write_dag_file(module, more))
        code = TOOLS + _PARSE.format(paths={kind: str(path) for kind, path in paths.items()}, pairs=pairs)
        yield from read_figures(run(code))


def write_dag_file(module: str, more: str = "") -> str:
    """Return a Dag file with many operators of a module."""
    return _DAG_FILE.format(module=module, operators=OPERATORS, more=more)


def read_figures(output: str) -> Iterator[dict[str, Any]]:
    """Yield the figures among the lines that a measurement printed."""
    for line in output.splitlines():
        if line.startswith('{"figure"'):
            yield json.loads(line)


def prepare() -> None:
    """Have the bytecode of all that is measured written, as it is where packages are installed."""
    for kind in MODULES:
        import_seconds(kind)
    list(measure_parse(1))


def run(code: str) -> str:
    """Return what an interpreter of its own prints."""
    environment = {**os.environ, "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    return subprocess.run(  # noqa: S603 - our own code
        [sys.executable, "-W", "ignore", "-c", code],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
