"""
How each process of Airflow starts with the package installed: the policy's module is imported before almost all else.

An operator that is imported there pulls in Airflow's Sentry module, which reads ``[sentry] before_send`` while the
folder of the Dags is not importable yet, and the process ends (astronomer-cosmos issue 2620).
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.interpreter import LIMIT_SECONDS, run_python

if TYPE_CHECKING:
    from pathlib import Path

ADDED = """
import sys
import airflow.settings
for name in [name for name in sys.modules if name.startswith("airflow_durable")]:
    del sys.modules[name]
before = set(sys.modules)
import airflow_durable.policy
print(sorted(set(sys.modules) - before))
"""
STARTED = """
import sys
import airflow.settings
airflow.settings.initialize()
own = ("airflow_durable.policy", "airflow_durable.operators", "airflow_durable.switch", "airflow_durable.stock")
names = (*own, "airflow.providers.standard.operators.trigger", "our_sentry")
print(sorted(name for name in sys.modules if name.startswith(names)))
"""
OPERATOR = "import airflow.providers.standard.operators.trigger_dagrun"
SENTRY = """
def init(**options):
    pass
"""
DAG_FILE = """
from airflow.sdk import DAG
from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator

with DAG("etl", schedule=None):
    TriggerDagRunOperator(task_id="trigger", trigger_dag_id="child")
"""


def test_it_imports_nothing_else() -> None:
    assert run_python(ADDED) == "['airflow_durable', 'airflow_durable.policy']"


@pytest.fixture
def deployment(tmp_path: Path) -> dict[str, str]:
    """Return the environment of a deployment whose ``before_send`` is in the folder of its Dags."""
    dags, packages = tmp_path / "dags", tmp_path / "packages"
    (packages / "sentry_sdk" / "integrations").mkdir(parents=True)
    (packages / "sentry_sdk" / "__init__.py").write_text(SENTRY, encoding="utf-8")
    (packages / "sentry_sdk" / "integrations" / "__init__.py").write_text("", encoding="utf-8")
    for name in ("logging", "flask"):
        code = "def ignore_logger(name):\n    pass\n\n\nclass FlaskIntegration:\n    pass\n"
        (packages / "sentry_sdk" / "integrations" / f"{name}.py").write_text(code, encoding="utf-8")
    dags.mkdir()
    (dags / "our_sentry.py").write_text("def before_send(event, hint):\n    return event\n", encoding="utf-8")
    (dags / "dag_file.py").write_text(DAG_FILE, encoding="utf-8")
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW__")},
        "AIRFLOW_HOME": str(tmp_path),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{tmp_path}/airflow.db",
        "AIRFLOW__SENTRY__SENTRY_ON": "True",
        "AIRFLOW__SENTRY__BEFORE_SEND": "our_sentry.before_send",
        "AIRFLOW__DURABLE__STOCK_OPERATORS": "durable",
        "PYTHONPATH": os.pathsep.join([str(packages), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep),
    }


def start(deployment: dict[str, str], *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-W", "ignore", *command],
        env=deployment,
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_SECONDS,
    )


def test_airflow_starts_where_before_send_is_in_the_folder_of_the_dags(deployment: dict[str, str]) -> None:
    done = start(deployment, "-m", "airflow", "version")
    assert done.returncode == 0, done.stderr


def test_the_start_loads_the_policy_and_neither_operators_nor_sentry(deployment: dict[str, str]) -> None:
    done = start(deployment, "-c", STARTED)
    assert done.stdout.splitlines()[-1:] == ["['airflow_durable.policy']"], done.stderr


def test_the_start_would_show_an_operator(deployment: dict[str, str], tmp_path: Path) -> None:
    """So the test before this one can fail: the same start, with an operator imported where policies are loaded."""
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "airflow_local_settings.py").write_text(OPERATOR, encoding="utf-8")
    done = start(deployment, "-c", STARTED)
    assert "airflow.providers.standard.operators.trigger_dagrun" in done.stdout.splitlines()[-1], done.stderr
