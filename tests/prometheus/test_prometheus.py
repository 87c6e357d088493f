"""What docs/metrics.md and the dashboard say of Prometheus, on a real one that scrapes a real Airflow."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import sqlalchemy as sa
import yaml
from sqlalchemy.orm import Session

from airflow_durable.demo.engine import ScratchAirflow
from tests.docs.blocks import DOCS, blocks
from tests.support import asking_parents
from tests.support.waits_rows import Rows

from .exporter import StatsdStandIn
from .server import LIMIT_SECONDS, Prometheus

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_JOB = "airflow-durable"
_COUNTERS_JOB = "statsd"
_USER = {"username": "prometheus", "password": "secret-of-prometheus"}
_NAMINGS = ("", "_total")
_FIRES_AT_ONCE = {"ParentsLoseTheirWorkers", "ChildRunsFail", "WaitsForVeryLong"}
_SENDER = """
import logging, sys
from datetime import datetime, timezone
from airflow_durable.core.model import ChildRun, Decision, Mode, Proof
from airflow_durable.core.record import Record, TryEntry
from airflow_durable.task.observability import Reporter

first = TryEntry(1, Decision.FRESH_SUBMIT, "run", datetime(2026, 1, 1, tzinfo=timezone.utc))
fresh = Record("child", "run", Proof.RUN_ID, Mode.WAIT, max_tries=3, clear_number=0)
prior = Record("child", "run", Proof.RUN_ID, Mode.WAIT, max_tries=3, clear_number=0, tries=(first,))
for _ in range(int(sys.argv[1])):
    Reporter(logging.getLogger(), "TriggerDagRunOperator", 1, {}).decided(Decision.FRESH_SUBMIT, fresh, None)
    for decision, state in (
        (Decision.RECONNECT, "running"),
        (Decision.ALREADY_SUCCEEDED, "success"),
        (Decision.TERMINAL_RESUBMIT, "failed"),
    ):
        Reporter(logging.getLogger(), "TriggerDagRunOperator", 2, {}).decided(decision, prior, ChildRun(state))
"""


@dataclass(frozen=True)
class _World:
    airflow: ScratchAirflow
    exporter: StatsdStandIn
    prometheus: Prometheus
    token: str

    def send_counters(self, times: int) -> None:
        """Let the package count, with Airflow's own StatsD client."""
        environment = os.environ | {
            "AIRFLOW__METRICS__STATSD_ON": "True",
            "AIRFLOW__METRICS__STATSD_HOST": "127.0.0.1",
            "AIRFLOW__METRICS__STATSD_PORT": str(self.exporter.udp_port),
            "AIRFLOW__METRICS__STATSD_INFLUXDB_ENABLED": "True",
        }
        command = [sys.executable, "-c", _SENDER, str(times)]
        subprocess.run(command, env=environment, check=True, capture_output=True, timeout=LIMIT_SECONDS)

    def wait_for_value(self, expression: str, value: float) -> None:
        """Wait until a query has that one value."""
        self.prometheus.wait_for(lambda: self.prometheus.values(expression) == [value], f"{expression} to be {value:g}")

    def insert_waits(self) -> None:
        """Make four waits: without heartbeat, with a queued child, with a paused child, and one that has ended."""
        engine = sa.create_engine(self.airflow.options["database.sql_alchemy_conn"])
        with Session(engine) as session:
            rows = Rows(session)
            long_ago = datetime.now(timezone.utc) - timedelta(hours=1)
            rows.wait("silent", child=("silent_child", "child"), state="running", last_heartbeat_at=long_ago)
            rows.wait("held", child=("held_child", "child"), state="deferred", child_state="queued")
            rows.wait("halted", child=("halted_child", "child"), state="deferred")
            rows.pause("halted_child")
            rows.wait("over", child=("over_child", "child"), state="success", is_consumed=True, child_state="success")
        engine.dispose()

    def insert_requests(self) -> None:
        """Make two parents that have ended and ask to end their children: one an hour ago, and one without proof."""
        engine = sa.create_engine(self.airflow.options["database.sql_alchemy_conn"])
        asking = asking_parents.World(engine)
        asking.make_dags()
        due = asking.parent(state="failed")
        long_ago = datetime.now(timezone.utc) - timedelta(hours=1)
        asking.set_task(asking_parents.PARENT_DAG, due.parent.run_id, "trigger", "failed", end_date=long_ago)
        asking.run(asking_parents.OTHER_DAG, "by_hand")
        asking.parent(state="failed", child_state=None, dag_id=asking_parents.OTHER_DAG, run_id="by_hand")
        engine.dispose()


def _yaml_of_page(key: str) -> dict[str, Any]:
    """Return the page's YAML block that has this key."""
    found = [
        loaded
        for block in blocks()
        if block.page == DOCS / "metrics.md" and block.language == "yaml"
        if key in (loaded := yaml.safe_load(block.text))
    ]
    assert len(found) == 1
    return dict(found[0])


def _jobs(airflow_address: str, token_file: Path, exporter_address: str) -> list[dict[str, Any]]:
    """Return the page's scrape configuration with addresses of here, the same without a token, and the counters'."""
    (job,) = _yaml_of_page("scrape_configs")["scrape_configs"]
    assert job["scheme"] == "https"
    job |= {"scheme": "http", "static_configs": [{"targets": [airflow_address]}]}
    job["authorization"]["credentials_file"] = str(token_file)
    nobody = {name: value for name, value in job.items() if name != "authorization"} | {"job_name": "nobody"}
    counters = {"job_name": _COUNTERS_JOB, "static_configs": [{"targets": [exporter_address]}]}
    return [job, nobody, counters]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_World]:
    """Return an API server, what is sent by StatsD, and the Prometheus that scrapes both."""
    if shutil.which("prometheus") is None:
        pytest.skip("There is no prometheus here: install Debian's package of that name.")
    home = tmp_path_factory.mktemp("airflow")
    (home / "dags").mkdir()
    with contextlib.ExitStack() as scopes:
        exporter = scopes.enter_context(StatsdStandIn())
        passwords = home / "passwords.json"
        passwords.write_text(json.dumps({_USER["username"]: _USER["password"]}))
        options = {
            "core.simple_auth_manager_all_admins": "False",
            "core.simple_auth_manager_users": f"{_USER['username']}:viewer",
            "core.simple_auth_manager_passwords_file": str(passwords),
            # What is asked of the reconciler has to wait for it.
            "durable.reconciler": "False",
        }
        airflow = scopes.enter_context(ScratchAirflow(home, dag_folders={"none": home / "dags"}, options=options))
        airflow.start(("api-server",))
        answer = httpx.post(f"{airflow.url}/auth/token", json=_USER, trust_env=False, timeout=60)
        token = answer.raise_for_status().json()["access_token"]
        token_file = home / "token"
        token_file.write_text(token)
        prometheus = Prometheus(
            tmp_path_factory.mktemp("prometheus"),
            jobs=_jobs(airflow.url.removeprefix("http://"), token_file, exporter.http_address),
            rules=_yaml_of_page("groups"),
        )
        yield _World(airflow, exporter, scopes.enter_context(prometheus), token)


@pytest.mark.timeout(900)
def test_scrape_queries_and_alerts(world: _World) -> None:
    """The gauges are those of the page, every query of the dashboard has numbers, every alert is raised when due."""
    prometheus = world.prometheus
    _check_files(prometheus)
    # Nothing waits, and nothing has been counted: no alert.
    world.send_counters(1)
    for name in ("waiting", "reconciler_queue", "reconciler_lag_seconds", "reconciler_left_alone"):
        world.wait_for_value(f"max(airflow_durable_{name})", 0)
    world.wait_for_value("sum(airflow_resumable_job_reconnect_attempt)", 3)
    prometheus.wait_for(lambda: all(rule["health"] != "unknown" for rule in prometheus.rules()), "the alert rules")
    assert prometheus.alerts() == {}
    targets = prometheus.targets()
    prometheus.wait_for(lambda: prometheus.targets()["nobody"]["health"] != "unknown", "the scrape without a token")
    assert targets[_JOB]["health"] == "up", targets[_JOB]["lastError"]
    assert "401" in prometheus.targets()["nobody"]["lastError"]

    world.insert_waits()
    world.insert_requests()
    world.send_counters(25)
    expected = {"waiting": 3, "parents_without_heartbeat": 1, "children_queued": 1, "children_paused": 1}
    for name, value in (expected | {"reconciler_queue": 1, "reconciler_left_alone": 1}).items():
        world.wait_for_value(f"max(airflow_durable_{name})", value)
    totals = httpx.get(
        f"{world.airflow.url}/durable-waits/api/totals",
        headers={"Authorization": f"Bearer {world.token}"},
        trust_env=False,
        timeout=60,
    ).raise_for_status()
    _check_oldest(prometheus, totals.json()["oldest_wait_seconds"])
    (lag_seconds,) = prometheus.values("max(airflow_durable_reconciler_lag_seconds)")
    assert lag_seconds >= timedelta(hours=1).total_seconds()
    _check_dashboard(prometheus)
    due = {rule["name"] for rule in prometheus.rules()}
    prometheus.wait_for(lambda: prometheus.alerts().keys() == due, "all alerts")
    prometheus.wait_for(
        lambda: all(prometheus.alerts()[name] == "firing" for name in _FIRES_AT_ONCE), "those without for"
    )
    assert {name for name, state in prometheus.alerts().items() if state == "pending"} == due - _FIRES_AT_ONCE
    assert all(rule["health"] == "ok" for rule in prometheus.rules())


def _check_files(prometheus: Prometheus) -> None:
    """Let Prometheus' own tool read the page's configuration and rules."""
    for kind, path in (("config", prometheus.config_file), ("rules", prometheus.rule_file)):
        checked = subprocess.run(["promtool", "check", kind, str(path)], capture_output=True, text=True, check=False)  # noqa: S607 - Debian's
        assert checked.returncode == 0, checked.stderr


def _check_oldest(prometheus: Prometheus, seconds_on_page: float) -> None:
    (scraped,) = prometheus.values("max(airflow_durable_oldest_wait_seconds)")
    # Both are read at their own moment, from snapshots that are some seconds old.
    assert abs(scraped - seconds_on_page) < LIMIT_SECONDS


def _check_dashboard(prometheus: Prometheus) -> None:
    """Ask each query as Grafana does, in both namings: it has numbers, and not only zeros."""
    dashboard = json.loads((DOCS / "dashboards" / "airflow-durable.json").read_text(encoding="utf-8"))
    (variable,) = [one for one in dashboard["templating"]["list"] if one["type"] == "query"]
    asked = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]["query"])
    assert asked is not None
    assert prometheus.get(f"/label/{asked[2]}/values", **{"match[]": asked[1]}) == ["TriggerDagRunOperator"]
    targets = [target for panel in dashboard["panels"] for target in panel["targets"]]
    assert len(targets) >= len(dashboard["panels"]) > 0
    for naming in _NAMINGS:
        for target in targets:
            expression = _fill(target["expr"], naming, variable["allValue"])
            ask = prometheus.values if target.get("instant") else prometheus.values_over_time
            prometheus.wait_for(
                lambda ask=ask, expression=expression: any(value > 0 for value in ask(expression)),  # type: ignore[misc] # one query each
                f"numbers of {expression}",
            )


def _fill(expression: str, naming: str, operator: str) -> str:
    """Return a query with the values that Grafana puts in for its variables."""
    filled = {"$total": naming, "$operator": operator, "$__range": "1h", "$__rate_interval": "5m"}
    for name, value in filled.items():
        expression = expression.replace(name, value)
    assert "$" not in expression
    return expression


def test_dashboard_is_of_grafanas_schema() -> None:
    """Grafana's own SDK knows each field of the file: read and written again, none is lost or has another value."""
    plugins, encoder, models = (
        pytest.importorskip(f"grafana_foundation_sdk.{name}", reason="make test-prometheus installs it")
        for name in ("cog.plugins", "cog.encoder", "models.dashboard")
    )
    plugins.register_default_plugins()
    given = json.loads((DOCS / "dashboards" / "airflow-durable.json").read_text(encoding="utf-8"))
    known = json.loads(encoder.JSONEncoder().encode(models.Dashboard.from_json(given)))
    assert _missing(given, known) == []


def _missing(given: Any, known: Any, place: str = "") -> list[str]:  # noqa: ANN401 - JSON
    """Return the places at which the second lacks something of the first, or has something else."""
    if isinstance(given, dict) and isinstance(known, dict):
        return [
            found
            for name, value in given.items()
            for found in (_missing(value, known[name], f"{place}.{name}") if name in known else [f"{place}.{name}"])
        ]
    if isinstance(given, list) and isinstance(known, list) and len(given) == len(known):
        pairs = enumerate(zip(given, known, strict=True))
        return [found for index, (one, other) in pairs for found in _missing(one, other, f"{place}[{index}]")]
    return [] if given == known else [place]
