"""A real Prometheus on the loopback interface, in a folder of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Any

import httpx
import yaml

from airflow_durable.demo.processes import LOCALHOST, free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from typing_extensions import Self

LIMIT_SECONDS = 300.0
_POLL_SECONDS = 0.25
_END_SECONDS = 30.0
_INTERVAL = "1s"


class Prometheus:
    """
    One server. A context manager, which ends it.

    :param jobs: its ``scrape_configs``.
    :param rules: the ``groups`` of alert rules, as a rule file has them.
    """

    def __init__(self, home: Path, *, jobs: Sequence[Mapping[str, Any]], rules: Mapping[str, Any]) -> None:
        self._home = home
        self._port = free_port()
        self._client = httpx.Client(base_url=f"http://{LOCALHOST}:{self._port}/api/v1", timeout=30, trust_env=False)
        rule_file = home / "alerts.yml"
        rule_file.write_text(yaml.safe_dump(dict(rules)))
        self.rule_file = rule_file
        self.config_file = home / "prometheus.yml"
        config = {
            "global": {"scrape_interval": _INTERVAL, "evaluation_interval": _INTERVAL},
            "rule_files": [str(rule_file)],
            "scrape_configs": list(jobs),
        }
        self.config_file.write_text(yaml.safe_dump(config))
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Start it, and wait until it answers."""
        command = (
            "prometheus",
            f"--config.file={self.config_file}",
            f"--storage.tsdb.path={self._home / 'data'}",
            f"--web.listen-address={LOCALHOST}:{self._port}",
        )
        with (self._home / "prometheus.log").open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        try:
            self.wait_for(self._is_ready, "Prometheus to be ready")
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        self.close()

    def close(self) -> None:
        """End it, and wait until it has gone."""
        self._client.close()
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def get(self, path: str, **parameters: str | list[str]) -> Any:  # noqa: ANN401 - as the API's data is
        """
        Return the data of an answer.

        :raises AssertionError: Prometheus refuses the request; its own words say why.
        """
        answer = self._client.get(path, params=parameters)
        assert answer.status_code == httpx.codes.OK, f"{path} {parameters}: {answer.text}"
        return answer.json()["data"]

    def values(self, expression: str) -> list[float]:
        """Return the values of a query, now."""
        return [float(series["value"][1]) for series in self.get("/query", query=expression)["result"]]

    def values_over_time(self, expression: str) -> list[float]:
        """Return all values of a query over the last minutes, as a graph shows them."""
        now = time.time()
        series = self.get("/query_range", query=expression, start=str(now - 120), end=str(now), step="5")["result"]
        return [float(value) for one in series for _, value in one["values"]]

    def alerts(self) -> dict[str, str]:
        """Return the alerts that there are, with their state: pending or firing."""
        return {alert["labels"]["alertname"]: alert["state"] for alert in self.get("/alerts")["alerts"]}

    def rules(self) -> list[dict[str, Any]]:
        """Return the alert rules, with what came of their latest evaluation."""
        return [rule for group in self.get("/rules")["groups"] for rule in group["rules"]]

    def targets(self) -> dict[str, dict[str, Any]]:
        """Return what is scraped, by job."""
        return {target["labels"]["job"]: target for target in self.get("/targets")["activeTargets"]}

    def wait_for(self, is_done: Callable[[], bool], what: str) -> None:
        """Wait until the condition holds."""
        deadline = time.monotonic() + LIMIT_SECONDS
        while not is_done():
            assert self._process is None or self._process.poll() is None, self._log()
            assert time.monotonic() < deadline, f"waited in vain for {what}. {self._log()}"
            time.sleep(_POLL_SECONDS)

    def _is_ready(self) -> bool:
        try:
            return self._client.get("/status/buildinfo").is_success
        except httpx.HTTPError:
            return False

    def _log(self) -> str:
        return (self._home / "prometheus.log").read_text(encoding="utf-8", errors="replace")[-3000:]
