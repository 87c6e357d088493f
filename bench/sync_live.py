"""The synchronous wait on a real Airflow: how long after its child the parent ends, and after how many requests."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_durable.demo.api import PublicApi
from airflow_durable.demo.engine import DEFAULT_COMPONENTS, ScratchAirflow
from bench.sync import Waited
from tests.support.fault_proxy import FaultProxy

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from airflow_durable.metadata.model import DagRun, TaskTry

KINDS = ("stock", "durable")
END_LIMIT_SECONDS = 600.0
_REQUESTS = r"/execution/(dag-runs|store)/.*"
"""Those of the operator: the submission, the looks, what is recorded. Each attempt has others, the same for both."""


@dataclass(frozen=True)
class LiveWait:
    """
    One wait.

    :param kind: ``stock`` or ``durable``.
    :param child_seconds: how long the child's one task works.
    """

    kind: str
    child_seconds: int
    waited: Waited


def measure(home: Path, child_seconds: Collection[int], runs: int) -> Iterator[LiveWait]:
    """
    Let a parent of each kind wait for a child of each duration, all at once, so many times one after another.

    :param home: an empty folder.
    :param child_seconds: of those that there are Dags for: 1, 10 and 60.
    """
    airflow = ScratchAirflow(home, dag_folders={"bench": Path(__file__).parent / "dags"})
    proxy = FaultProxy(airflow.execution_url, airflow.database.try_of_id, airflow.kill_worker)
    with proxy, airflow, contextlib.closing(PublicApi(airflow.url)) as api:
        airflow.options["core.execution_api_server_url"] = f"http://127.0.0.1:{proxy.port}/execution/"
        airflow.start((*DEFAULT_COMPONENTS, "execution-api-server"))
        pairs = [(kind, seconds) for seconds in child_seconds for kind in KINDS]
        dags = {_parent(*pair) for pair in pairs} | {_child(*pair) for pair in pairs}
        airflow.wait_for_dags(dags)
        for number in range(runs):
            for pair in pairs:
                api.trigger(_parent(*pair), f"run_{number}")
            airflow.wait_for(lambda: _have_ended(airflow, dags), "the parents to end", END_LIMIT_SECONDS)
            for kind, seconds in pairs:
                (parent,) = airflow.database.latest_tries(_parent(kind, seconds), f"run_{number}")
                child = airflow.database.runs(_child(kind, seconds))[-1]
                requests = [
                    passage
                    for method in ("GET", "POST", "PUT")
                    for passage in proxy.passages_of(parent.dag_id, method, _REQUESTS)
                    if passage.sender and passage.sender.id == parent.id
                ]
                yield LiveWait(kind, seconds, Waited(_seconds_between(child, parent), len(requests)))


def _seconds_between(child: DagRun, parent: TaskTry) -> float:
    if parent.state != "success" or parent.end_date is None or child.end_date is None:
        message = (
            f"{parent.dag_id} is {parent.state} in run {parent.run_id}, its child {child.run_id} is {child.state}."
        )
        raise RuntimeError(message)
    return (parent.end_date - child.end_date).total_seconds()


def _have_ended(airflow: ScratchAirflow, dags: Collection[str]) -> bool:
    return all(run.state in {"success", "failed"} for dag in dags for run in airflow.database.runs(dag))


def _parent(kind: str, seconds: int) -> str:
    return f"bench_sync_{kind}_{seconds}"


def _child(kind: str, seconds: int) -> str:
    return f"bench_sync_child_{kind}_{seconds}"
