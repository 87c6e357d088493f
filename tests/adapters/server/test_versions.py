"""What the operator of an Airflow is told that is newer than any that was tested."""

from __future__ import annotations

from pathlib import Path

import pytest
from packaging.version import Version

from airflow_durable.server.versions import NEWEST_AIRFLOW, NEWEST_PROVIDER, describe_untested
from tests.support.interpreter import run_python

CONSTRAINTS = Path(__file__).parents[3] / "constraints"

_LOADED = (
    "import logging, sys\n"
    "{first}\n"
    "logging.getLogger('airflow_durable').addHandler(logging.StreamHandler(sys.stdout))\n"
    "from airflow_durable.server import plugin, versions\n"
    "versions.NEWEST_AIRFLOW = '3.0.0'\n"
    "print('quiet')\n"
    "plugin.DurableWaitsPlugin.on_load()\n"
)


@pytest.mark.parametrize(
    ("airflow", "provider", "is_told"),
    [
        (NEWEST_AIRFLOW, NEWEST_PROVIDER, False),
        ("3.0.6", "1.9.0", False),
        ("99.0.0", NEWEST_PROVIDER, True),
        (NEWEST_AIRFLOW, "99.0.0", True),
        ("not a version", "", False),
    ],
)
def test_only_what_is_newer_is_told(airflow: str, provider: str, is_told: bool) -> None:  # noqa: FBT001 - a case
    message = describe_untested(airflow, provider)
    assert (message is not None) is is_told
    if message:
        assert f"Installed are Airflow {airflow} and the standard provider {provider}." in message


def test_the_newest_are_those_of_the_pins() -> None:
    airflows, providers = [], []
    for path in CONSTRAINTS.glob("*.txt"):
        for line in path.read_text().splitlines():
            name, _, pinned = line.partition("==")
            if name == "apache-airflow":
                airflows.append(Version(pinned.partition(" ")[0]))
            elif name == "apache-airflow-providers-standard":
                providers.append(Version(pinned.partition(" ")[0]))
    assert (str(max(airflows)), str(max(providers))) == (NEWEST_AIRFLOW, NEWEST_PROVIDER)


def test_api_server_logs_it_and_is_not_kept_from_anything() -> None:
    assert "was tested with Airflow up to 3.0.0" in run_python(
        _LOADED.format(first="sys.modules['airflow.api_fastapi.main'] = sys")
    )


def test_no_other_process_logs_it() -> None:
    assert run_python(_LOADED.format(first="import airflow.sdk.execution_time.task_runner")) == "quiet"
