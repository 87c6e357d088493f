"""``dag.test()``, which has no supervisor: all three modes, on a migrated scratch database."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from .versions import needs_in_process_api

if TYPE_CHECKING:
    from pathlib import Path

GENERATED = re.compile(r"manual__\d{4}-\d\d-\d\dT[\d:.]+\+00:00_[a-z2-7]{12}")

pytestmark = pytest.mark.timeout(600)

DAGS = """
from airflow.sdk import DAG
from airflow_durable.operators.trigger_dagrun import TriggerDagRunOperator
from airflow_durable.operators.trigger_dagruns import TriggerDagRunsOperator

with DAG("child", schedule=None):
    pass
MODES = {
    "wait": {"wait_for_completion": True},
    "defer": {"wait_for_completion": True, "deferrable": True},
    "forget": {},
    "fixed": {"wait_for_completion": True, "trigger_run_id": "fixed"},
}
for name, mode in MODES.items():
    with DAG(f"parent_{name}", schedule=None) as parent:
        TriggerDagRunOperator(
            task_id="trigger", trigger_dag_id="child", durable=True, retries=1, poke_interval=1, **mode
        )
    globals()[name] = parent
MANY = {
    "many_wait": {},
    "many_defer": {"deferrable": True, "max_active": 1},
    "many_forget": {"wait_for_completion": False},
}
for name, mode in MANY.items():
    with DAG(f"parent_{name}", schedule=None) as parent:
        TriggerDagRunsOperator(
            task_id="trigger", trigger_dag_id="child", items=[{}, {}], retries=1, poke_interval=1, **mode
        )
    globals()[name] = parent
"""

# Nothing runs the child: its state is set, as soon as it is there.
SCRIPT = """
import json, sqlite3, sys, threading
from airflow.__main__ import main

# In this process: importing Airflow takes longer than all the rest.
for command in (["db", "migrate"], ["dags", "reserialize"]):
    arguments, sys.argv = sys.argv, ["airflow", *command]
    main()
    sys.argv = arguments

sys.path.insert(0, sys.argv[1])
import dags

done = threading.Event()

def end_children():
    while not done.wait(0.1):
        with sqlite3.connect(sys.argv[2], timeout=30) as connection:
            connection.execute("UPDATE dag_run SET state = 'success' WHERE dag_id = 'child' AND state = 'queued'")
        connection.close()

thread = threading.Thread(target=end_children)
thread.start()
states = {}
try:
    for name in (*dags.MODES, *dags.MANY):
        states[name] = str(getattr(dags, name).test().state)
finally:
    done.set()
    thread.join()
from airflow_durable.metadata.scratch import ScratchDatabase

database = ScratchDatabase(f"sqlite:///{sys.argv[2]}")
runs = [run.run_id for run in database.runs("child")]
links = sum(len(database.xcoms("trigger_run_id", f"parent_{name}", "trigger")) for name in dags.MODES)
print(json.dumps({"states": states, "runs": runs, "links": links}))
"""


@needs_in_process_api
def test_all_modes(tmp_path: Path) -> None:
    (tmp_path / "dags").mkdir()
    (tmp_path / "dags" / "dags.py").write_text(DAGS, encoding="utf-8")
    database = tmp_path / "airflow.db"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW__")} | {
        "AIRFLOW_HOME": str(tmp_path),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(tmp_path / "dags"),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{database}",
    }

    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT, str(tmp_path / "dags"), str(database)],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    # Not always the last line: 3.4.0b2 logs what goes wrong when it closes its asynchronous connections at exit.
    (line,) = [line for line in done.stdout.splitlines() if line.startswith('{"states"')]
    result = json.loads(line)
    expected = dict.fromkeys(["wait", "defer", "forget", "fixed", "many_wait", "many_defer", "many_forget"], "success")
    assert result["states"] == expected, done.stdout[-6000:] + done.stderr[-6000:]
    single, many = result["runs"][:4], result["runs"][4:]
    assert single[-1] == "fixed"
    assert all(GENERATED.fullmatch(run_id) for run_id in single[:-1])
    assert [run_id.rpartition("_")[2] for run_id in many] == ["n0", "n1"] * 3
    assert result["links"] == 4
