"""An Airflow home of their own for the tests of the adapters, before Airflow is imported."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile

import pytest

_HOME = tempfile.mkdtemp(prefix="airflow-durable-tests-")
atexit.register(shutil.rmtree, _HOME, ignore_errors=True)
os.environ["AIRFLOW_HOME"] = _HOME
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] = f"sqlite:///{_HOME}/airflow.db"

from .versions import import_quietly  # noqa: E402 - after the home is set

import_quietly()

from .supervisor import Supervisor  # noqa: E402 - after the home is set


@pytest.fixture
def supervisor() -> Supervisor:
    """Return a scripted supervisor."""
    return Supervisor()
