"""What the page about metrics says of StatsD is what Airflow sends."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

_SENDER = """
import logging
from datetime import datetime, timezone
from airflow_durable.core.model import ChildRun, Decision, Mode, Proof
from airflow_durable.core.record import Record, TryEntry
from airflow_durable.task.observability import Reporter

first = TryEntry(1, Decision.FRESH_SUBMIT, "run", datetime(2026, 1, 1, tzinfo=timezone.utc))
record = Record("child", "run", Proof.RUN_ID, Mode.WAIT, max_tries=3, clear_number=0, tries=(first,))
reporter = Reporter(logging.getLogger(), "TriggerDagRunOperator", 2, {})
reporter.decided(Decision.RECONNECT, record, ChildRun("running"))
"""
_LIMIT_SECONDS = 120.0


@pytest.mark.parametrize(("is_tagged", "tags"), [("False", ""), ("True", ",operator=TriggerDagRunOperator")])
def test_statsd(is_tagged: str, tags: str) -> None:
    """A reconnect raises two counters, under Airflow's prefix; their tag is sent in InfluxDB's form, or not at all."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.settimeout(_LIMIT_SECONDS)
        environment = os.environ | {
            "AIRFLOW__METRICS__STATSD_ON": "True",
            "AIRFLOW__METRICS__STATSD_HOST": "127.0.0.1",
            "AIRFLOW__METRICS__STATSD_PORT": str(listener.getsockname()[1]),
            "AIRFLOW__METRICS__STATSD_INFLUXDB_ENABLED": is_tagged,
        }
        command = [sys.executable, "-c", _SENDER]
        subprocess.run(command, env=environment, check=True, capture_output=True, timeout=_LIMIT_SECONDS)
        wanted = {
            f"airflow.resumable_job.reconnect_attempt{tags}:1|c",
            f"airflow.resumable_job.reconnect_success{tags}:1|c",
        }
        seen: set[str] = set()
        while not wanted <= seen:
            seen.add(listener.recv(65_536).decode())
        assert {line for line in seen if "resumable_job" in line} == wanted
