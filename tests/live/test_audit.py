"""
The audit of a real Airflow in which the stock operator has made duplicates, and things that only look like them.

Both ways to read it are asked, and have to say the same.
"""

from __future__ import annotations

import contextlib
import json
import operator
import os
import subprocess
import sys
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, cast

import httpx
import pytest
import sqlalchemy as sa

from airflow_durable.audit import inspection
from airflow_durable.audit.client import ApiClient
from airflow_durable.audit.database import DatabaseSource
from airflow_durable.audit.model import Dismissal
from airflow_durable.audit.report import build_json
from airflow_durable.audit.rest import RestSource
from airflow_durable.audit.search import audit
from airflow_durable.audit.waiting import find_waiting
from airflow_durable.demo import settings
from airflow_durable.demo.engine import AirflowNotReadyError
from airflow_durable.doctor import facts, report
from airflow_durable.doctor.model import Standing
from airflow_durable.metadata.connections import open_engine
from airflow_durable.metadata.model import InstanceKey
from tests.support.fault_proxy import Action

from .lab import RUN_ID, Lab, Stage, scenario

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future

    from airflow_durable.audit.model import Report
    from airflow_durable.audit.source import DetailedSource, Source
    from airflow_durable.doctor.model import Facts

SECRET = "audited-secret"
COMMAND_LIMIT_SECONDS = 300.0
WAYS = ("database", "api")
NOW = datetime.now(tz=timezone.utc)
ALL_PARENTS = (
    "audited_shared_parent",
    "audited_shared_rival",
    "audited_shared_durable",
    "audited_subclass_parent",
    "audited_mapped_parent",
    "audited_forgotten_parent",
    "audited_crashed_cleared_parent",
    "audited_child_failed_parent",
    "audited_rerun_parent",
)


@pytest.mark.matrix
@scenario
def test_audited_shared(stage: Stage) -> None:
    """Two retried stock parents, a durable one and a person start runs of the same child Dag."""
    rival, durable = Stage(stage.lab, "audited_shared"), Stage(stage.lab, "audited_shared")
    rival.parent_dag, durable.parent_dag = "audited_shared_rival", "audited_shared_durable"
    for parent in (stage, rival, durable):
        parent.start()
    for parent in (stage, rival, durable):
        parent.wait_until_waiting(1)
    stage.kill_worker()
    durable.kill_worker()
    stage.start_foreign_child("by-hand")
    for parent in (stage, durable):
        parent.wait_until_waiting(2)
    for run in stage.children():
        stage.mark_child(run=run)
    for parent, tries in ((stage, 2), (rival, 1), (durable, 2)):
        parent.wait_for_parent("success", tries)
    assert len(stage.children()) == 5


@pytest.mark.matrix
@scenario
def test_audited_subclass(stage: Stage) -> None:
    """A subclass of the stock operator makes duplicates, too: here two."""
    stage.start()
    for tries in (1, 2):
        stage.wait_until_waiting(tries)
        stage.kill_worker()
    stage.wait_until_waiting(3)
    for run in stage.children():
        stage.mark_child(run=run)
    stage.wait_for_parent("success", 3)
    assert len(stage.children()) == 3


@pytest.mark.matrix
@scenario
def test_audited_mapped(stage: Stage) -> None:
    """Two mapped parents lose their workers at the same time: the conf shows which run belongs to which."""
    stage.start()
    for tries in (1, 2):
        for map_index in range(2):
            stage.wait_until_waiting(tries, map_index)
        if tries == 1:
            for map_index in range(2):
                stage.kill_worker(map_index)
    for run in stage.children():
        stage.mark_child(run=run)
    for map_index in range(2):
        stage.wait_for_parent("success", 2, map_index)
    assert len(stage.children()) == 4


@pytest.mark.matrix
@scenario
def test_audited_forgotten(stage: Stage) -> None:
    """A stock parent that does not wait starts its child twice."""
    stage.inject(Action.KILL_AFTER, "POST", stage.submit_path)
    stage.start()
    stage.wait_for_parent("success", 2)
    for run in stage.children():
        stage.mark_child(run=run)
    assert len(stage.children()) == 2


@pytest.mark.matrix
@scenario
def test_audited_crashed_cleared(stage: Stage) -> None:
    """No retries were left, and a person cleared the parent: they may have wanted a second run."""
    stage.start()
    stage.wait_until_waiting(1)
    stage.kill_worker()
    stage.wait_for_parent("failed", 1)
    stage.clear_parent()
    stage.wait_until_waiting(2)
    for run in stage.children():
        stage.mark_child(run=run)
    stage.wait_for_parent("success", 2)


@pytest.mark.matrix
@scenario
def test_audited_child_failed(stage: Stage) -> None:
    """The child failed, so the retry rightly starts another one: no duplicate."""
    stage.start()
    stage.wait_until_waiting(1)
    stage.mark_child("failed")
    if not stage.lab.has_store:
        # Before 3.3 the stock operator fails for good with its child (sdk/execution_time/task_runner.py).
        stage.wait_for_parent("failed", 1)
        stage.clear_parent()
    stage.finish(2)


@pytest.mark.matrix
@scenario
def test_audited_rerun(stage: Stage) -> None:
    """A person clears a parent that had succeeded, to have the work done again: no duplicate."""
    stage.start()
    stage.finish(1)
    stage.clear_parent()
    stage.finish(2)


@pytest.fixture(scope="module")
def audited(lab: Lab, outcomes: dict[str, Future[None]]) -> Iterator[dict[str, DetailedSource]]:
    """Return both ways to read the Airflow in which all of these scenarios have ended."""
    for name, outcome in outcomes.items():
        if name.startswith("test_audited_"):
            outcome.result()
    engine = sa.create_engine(lab.airflow.options["database.sql_alchemy_conn"], future=True)
    client = ApiClient(lab.airflow.url, _get_token(lab), requests_per_second=200)
    version = lab.api.version()
    with contextlib.closing(client), open_engine(engine, version) as database:
        yield {"database": DatabaseSource(database, version), "api": RestSource(client)}
    engine.dispose()


@pytest.mark.matrix
@pytest.mark.parametrize("way", WAYS)
def test_duplicates_are_found(lab: Lab, audited: dict[str, DetailedSource], way: str) -> None:
    """The audit finds each duplicate once, names it correctly, and says how sure that is."""

    def find() -> list[tuple[str, str, int, int, tuple[str, ...]]]:
        return sorted(
            (
                one.sureness.value,
                one.parent.dag_id,
                one.parent.map_index,
                one.attempt.try_number,
                tuple(f"{other.dag_id} {other.run_id}" for other in one.could_also_be),
            )
            for one in _audit(audited[way], *ALL_PARENTS).findings
        )

    expected = [
        ("certain", "audited_forgotten_parent", -1, 1, ()),
        ("certain", "audited_mapped_parent", 0, 1, ()),
        ("certain", "audited_mapped_parent", 1, 1, ()),
        ("certain", "audited_shared_parent", -1, 1, ()),
        ("certain", "audited_subclass_parent", -1, 1, ()),
        ("certain", "audited_subclass_parent", -1, 2, ()),
        ("possible", "audited_crashed_cleared_parent", -1, 1, ()),
    ]
    _wait_for_others(lab, lambda: find() == expected)
    assert find() == expected


@pytest.mark.matrix
def test_the_lost_run_is_the_one_that_the_parent_does_not_name(lab: Lab, audited: dict[str, DetailedSource]) -> None:
    """Of two runs the audit reports the one that the parent does not name, which was started first."""
    for name in ("audited_shared", "audited_forgotten"):
        (finding,) = _audit(audited["database"], f"{name}_parent").findings
        (named,) = lab.airflow.database.xcoms("trigger_run_id", f"{name}_parent", finding.parent.task_id).values()
        assert finding.later.run_id in named
        runs = [run.run_id for run in lab.airflow.database.runs(f"{name}_child")]
        assert runs.index(finding.run.key.run_id) < runs.index(finding.later.run_id)


@pytest.mark.matrix
@pytest.mark.parametrize("way", WAYS)
def test_what_is_no_duplicate_is_not_found(audited: dict[str, DetailedSource], way: str) -> None:
    """The audit does not report a retry after the child failed, a rerun by a person, or a durable parent."""
    parents = ("audited_child_failed_parent", "audited_rerun_parent", "audited_shared_rival", "audited_shared_durable")
    report = _audit(audited[way], *parents)
    assert report.findings == ()
    assert (report.parents, report.durable_parents, report.unresolved, report.unexplained) == (3, 1, 0, 0)
    assert report.dismissed == {Dismissal.RERUN: 1, Dismissal.CHILD_FAILED: 1}


@pytest.mark.matrix
def test_both_ways_agree(lab: Lab, audited: dict[str, DetailedSource]) -> None:
    """The audit of the database and that over the REST API agree in every field."""

    def read_both() -> list[dict[str, Any]]:
        return [
            build_json(_audit(source, *ALL_PARENTS), source="", airflow_version=source.airflow_version, filters={})
            for source in audited.values()
        ]

    _wait_for_others(lab, lambda: operator.eq(*read_both()))
    one, other = read_both()
    assert one == other
    assert one["totals"]["duplicates"] == 7


@pytest.mark.matrix
def test_no_durable_parent_is_ever_reported(audited: dict[str, DetailedSource]) -> None:
    """The audit never reports a durable parent, whatever other tests do to their parents meanwhile."""
    report = audit(audited["database"], now=NOW)
    reported = {finding.parent.dag_id for finding in report.findings}
    assert all(dag_id.startswith(("audited_", "stock")) for dag_id in reported)
    assert "audited_shared_durable" not in reported
    assert len(report.findings) >= 7


@pytest.mark.matrix
@pytest.mark.parametrize("way", WAYS)
def test_the_command_tells_the_same(lab: Lab, audited: dict[str, DetailedSource], way: str) -> None:
    """The command `airflow-durable audit` fails on findings if asked to, and shows no conf."""
    filters = ("--dag", "audited_shared_parent", "--dag", "audited_mapped_parent")
    printed = _run(lab, way, "--json", "--fail-on-findings", *filters, exit_code=1)
    assert SECRET not in printed
    report = json.loads(printed)
    assert (report["version"], report["source"]["kind"]) == (1, way)
    expected = _audit(audited[way], "audited_shared_parent", "audited_mapped_parent").findings
    assert [one["duplicate"]["run_id"] for one in report["findings"]] == [one.run.key.run_id for one in expected]


@pytest.mark.matrix
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["parent", "durable"])
def test_one_parent_is_told(lab: Lab, audited: dict[str, DetailedSource], name: str, way: str) -> None:
    """The command `inspect` shows a parent's tries, crash and child, and its decisions (3.3) or its lost run."""
    key = InstanceKey(f"audited_shared_{name}", RUN_ID, "run_child", -1)
    found = inspection.inspect(audited[way], key, now=NOW)
    told = inspection.build_json(found)
    assert [one["state"] for one in told["attempts"]] == ["failed", "success"]
    assert {one["state"] for one in told["runs"]} == {"success"}
    assert set(found.losses) == {1}
    assert len(told["lost"]) == (1 if name == "parent" else 0)
    if name == "durable" and lab.has_store:
        decisions = [one["decision"] for one in told["record"]["attempts"]]
        assert decisions == ["fresh_submit", "reconnect"]
    else:
        assert told["record"] is None
    text = "\n".join(inspection.build_lines(found, NOW))
    assert "try 1 crashed" in text
    assert SECRET not in text


@pytest.mark.matrix
@pytest.mark.parametrize("way", WAYS)
def test_no_parent_that_has_ended_is_listed(audited: dict[str, DetailedSource], way: str) -> None:
    """The command `list` shows no parent that has ended."""
    assert find_waiting(audited[way], now=NOW, dag_ids=ALL_PARENTS) == []


@pytest.mark.matrix
def test_the_doctor_says_the_same_of_each_task(lab: Lab, audited: dict[str, DetailedSource]) -> None:
    """The command `doctor` says the same from the database and over the REST API, as far as that shows it."""
    kinds = {"SchedulerJob", "TriggererJob", "DagProcessorJob"}

    found: list[Facts] = []

    def have_all_jobs() -> bool:
        # On a busy machine a triggerer's heartbeat is late now and then, and Airflow's API leaves its job out then.
        by_database = facts.read_database(cast("DatabaseSource", audited["database"]), datetime.now(tz=timezone.utc))
        found[:] = [by_database, facts.read_api(cast("RestSource", audited["api"]))]
        return all({job.kind for job in one.jobs or ()} == kinds for one in found)

    lab.airflow.wait_for(have_all_jobs, "heartbeats of all components, both ways", 120)
    by_database, by_api = found
    assert {job.kind for job in by_database.jobs or ()} == {job.kind for job in by_api.jobs or ()} == kinds

    def tell(found: Facts) -> set[tuple[object, ...]]:
        return {(one.key, one.module, one.type_name, one.tags, one.retries) for one in found.tasks if not one.is_mapped}

    assert tell(by_api) == tell(by_database)
    delays = {one.key: one.retry_delay_seconds for one in by_database.tasks if not one.is_mapped}
    # Airflow 3.0 stores no delay that is its default.
    known = {key for key, delay in delays.items() if delay is not None}
    assert len(known) >= len(ALL_PARENTS)
    assert all(delays[one.key] == one.retry_delay_seconds for one in by_api.tasks if one.key in known)
    standings = {one.name: one.standing for one in report.diagnose(by_database).tasks}
    assert standings["audited_shared_durable.run_child"] is (Standing.DURABLE if lab.has_store else Standing.UNKNOWN)
    assert standings["audited_shared_parent.run_child"] is Standing.WOULD_BE


@pytest.mark.matrix
def test_a_wrong_token_is_told(lab: Lab) -> None:
    """With a wrong token, or with none, the command says so."""
    assert "The token is wrong" in _run(lab, "api", exit_code=3, token="wrong")
    assert "AIRFLOW_DURABLE_TOKEN" in _run(lab, "api", exit_code=3, token="")


def _audit(source: Source, *dag_ids: str) -> Report:
    return audit(source, now=NOW, dag_ids=dag_ids)


def _wait_for_others(lab: Lab, is_settled: Callable[[], bool]) -> None:
    """
    Wait until what other tests' parents do meanwhile makes no difference any more.

    Before 3.3 one that runs and has not named its child yet could have started any run.
    """
    with contextlib.suppress(AirflowNotReadyError):
        lab.airflow.wait_for(is_settled, "the parents of other tests", 180.0)


def _run(lab: Lab, way: str, *options: str, exit_code: int = 0, token: str | None = None) -> str:
    """Run the command as a person would; return what it printed."""
    command = [sys.executable, "-m", "airflow_durable.cli", "audit", *options]
    if way == "api":
        environment = {**os.environ, "NO_PROXY": "*", "no_proxy": "*", "AIRFLOW_HOME": str(lab.airflow.home / "none")}
        environment["AIRFLOW_DURABLE_TOKEN"] = _get_token(lab) if token is None else token
        command += ["--url", lab.airflow.url, "--requests-per-second", "200"]
    else:
        environment = settings.build_environment(lab.airflow.home, lab.airflow.options)
    ended = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=COMMAND_LIMIT_SECONDS, check=False
    )
    assert ended.returncode == exit_code, ended.stderr
    return ended.stderr.replace("\n", " ") if exit_code == 3 else ended.stdout


def _get_token(lab: Lab) -> str:
    answer = httpx.get(f"{lab.airflow.url}/auth/token", timeout=60, trust_env=False).raise_for_status()
    return str(answer.json()["access_token"])
