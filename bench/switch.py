"""What the switch costs: the start of a process of Airflow, and the parse of a file with 200 stock operators."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import parse

if TYPE_CHECKING:
    from collections.abc import Iterator

KINDS = ("absent", "as_is", "report", "durable")
"""Without the policy, and the values of ``[durable] stock_operators``."""

# What each process does at its start, the entry point included (``settings.initialize``); then that part alone, anew.
_START = """
import time
begun = time.process_time()
import airflow.settings
installed = time.process_time() - begun
import sys
assert "airflow_durable.policy" in sys.modules
for name in [name for name in sys.modules if name.startswith("airflow_durable")]:
    del sys.modules[name]
begun = time.process_time()
import airflow_durable.policy
print(installed - (time.process_time() - begun), installed)
"""
# The process that forks has loaded the switch with the plugins, as the Dag processor does where it is on.
_ON = """
import os
os.environ["AIRFLOW__DURABLE__STOCK_OPERATORS"] = "durable"
"""
# One file, one process; before each measurement its fork is told what the deployment has. They take turns in who is
# first. The entry point itself is of the start of a process: a parse without it is one without the hook.
_PARSE = """
from airflow import settings
from airflow_durable import policy

def has(kind):
    def prepare():
        manager = settings.get_policy_plugin_manager()
        if kind == "absent":
            manager.unregister(manager.get_plugin("durable_switch"))
        os.environ["AIRFLOW__DURABLE__STOCK_OPERATORS"] = "as_is" if kind == "absent" else kind
        policy._read_options.cache_clear()
    return prepare

kinds, path = {kinds!r}, Path({path!r})
for number in range({rounds}):
    first = number % len(kinds)
    turn = kinds[first:] + kinds[:first]
    print(json.dumps({{"figure": "switch", **{{kind: measure(parse, path, has(kind)) for kind in turn}}}}))
"""


def start_seconds() -> dict[str, float]:
    """Return the processor time in which a new interpreter imports Airflow's settings, without the policy and with."""
    absent, installed = (float(word) for word in parse.run(_START).split()[-2:])
    return {"absent": absent, "as_is": installed}


def measure_parse(rounds: int) -> Iterator[dict[str, Any]]:
    """Yield the processor time of a parse of the one file, for each kind, as often as there are rounds."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "dag.py"
        path.write_text(parse.write_dag_file(parse.MODULES["stock"]))
        code = _ON + parse.TOOLS + _PARSE.format(kinds=list(KINDS), path=str(path), rounds=rounds)
        yield from parse.read_figures(parse.run(code))
