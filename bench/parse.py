"""What it costs to have the package: the time to import the operator, and to parse a file with 200 of them."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

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
# The Dag processor has Airflow itself imported before it parses a file in a fork of its own.
_EXECUTE = """
import runpy, time
import airflow.sdk
import airflow.serialization.serialized_objects
begun = time.process_time()
runpy.run_path({path!r})
print(time.process_time() - begun)
"""
# What that fork does for a file: executes it, checks its Dags and serializes them.
_PARSE = """
import time
from pathlib import Path
import structlog
from airflow.dag_processing import processor
path = Path({path!r})
request = processor.DagFileParseRequest(file=str(path), bundle_path=path.parent, bundle_name="b", callback_requests=[])
begun = time.process_time()
result = processor._parse_file(request, structlog.get_logger())
seconds = time.process_time() - begun
assert len(result.serialized_dags) == 1 and not result.import_errors, result.import_errors
print(seconds)
"""


def import_seconds(kind: str) -> float:
    """Return the processor time in which a new interpreter imports the operator, and with it Airflow."""
    return _measure(_IMPORT.format(module=MODULES[kind]))


def execute_seconds(kind: str) -> float:
    """Return the processor time in which a Dag file is executed, where Airflow itself is imported already."""
    return _measure_file(_EXECUTE, kind)


def parse_seconds(kind: str) -> float:
    """Return the processor time of all that the Dag processor does for a Dag file: Airflow's own function for it."""
    return _measure_file(_PARSE, kind)


def prepare() -> None:
    """Have the bytecode of all that is measured written, as it is where packages are installed."""
    for kind in MODULES:
        import_seconds(kind)
        parse_seconds(kind)


def _measure_file(code: str, kind: str) -> float:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "dag.py"
        more = "durable=True," if kind == "durable" else ""
        path.write_text(_DAG_FILE.format(module=MODULES[kind], operators=OPERATORS, more=more))
        return _measure(code.format(path=str(path)))


def _measure(code: str) -> float:
    environment = {**os.environ, "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    result = subprocess.run(  # noqa: S603 - our own code
        [sys.executable, "-W", "ignore", "-c", code],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    return float(result.stdout.split()[-1])
