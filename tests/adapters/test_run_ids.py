"""The child's run id: readable, allowed by a site's pattern, the same for every version; those of 0.1.0 are adopted."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest

from airflow_durable.core.stored import KEY

from .dags import WAIT, each_mode, finish, killed_while_waiting, make_dag
from .supervisor import NOW, Supervisor
from .test_trigger_contract import read_golden
from .versions import needs_store, without_store

SITES_PATTERN = r"^(manual|scheduled)__\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?\+00:00"
PARENT: dict[str, Any] = {"run_id": "scheduled__2026-03-01T05:00:00+00:00", "run_after": NOW + timedelta(hours=5)}


@each_mode
def test_a_sites_pattern_allows_it(
    supervisor: Supervisor, mode: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__SCHEDULER__ALLOWED_RUN_ID_PATTERN", SITES_PATTERN)
    assert finish(supervisor, make_dag(**mode)).state == "success"
    assert re.match(SITES_PATTERN, supervisor.only_run().run_id)


def test_the_ids_of_one_parent(supervisor: Supervisor) -> None:
    """They are the same in every release and on every Airflow, for ever: an upgrade in mid-wait finds the run by it."""
    dag = make_dag(**WAIT)
    supervisor.on_sleep = lambda: supervisor.end_all("failed")
    finish(supervisor, dag, parent=PARENT)
    supervisor.on_sleep = lambda: supervisor.end_all("success")
    finish(supervisor, dag, parent=PARENT, try_number=2)
    finish(supervisor, dag, parent=PARENT, try_number=3, max_tries=5, clear_number=1)
    assert [run.run_id for run in supervisor.runs.values()] == [
        "manual__2026-01-01T05:00:00+00:00_fyy6kznblbej",
        "manual__2026-01-01T05:00:00+00:00_2raaskvs4q26_r1",
        "manual__2026-01-01T05:00:00+00:00_qhm3wvyhw4as_e2",
    ]


def test_four_of_them_differ_early_after_the_date(supervisor: Supervisor) -> None:
    for index in range(4):
        finish(supervisor.beside(), make_dag(**WAIT), map_index=index)
    ids = [run.run_id for run in supervisor.runs.values()]
    assert len({run_id.removeprefix("manual__2026-01-01T00:00:00+00:00_")[:4] for run_id in ids}) == 4


@needs_store
@each_mode
@pytest.mark.parametrize("state", ["queued", "success"])
def test_the_record_and_the_run_of_0_1_0_are_adopted(supervisor: Supervisor, mode: dict[str, Any], state: str) -> None:
    record = read_golden("event_v1_success.json")[1]["record"]
    run_id = record["child"]["run_id"]
    supervisor.store[KEY] = record
    supervisor.add(run_id, state, logical_date=NOW)
    assert finish(supervisor, make_dag(**mode), try_number=2).state == "success"
    assert supervisor.only_run().run_id == run_id


@without_store
def test_the_derived_id_of_0_1_0_is_adopted(supervisor: Supervisor) -> None:
    from airflow_durable.core.model import Parent
    from airflow_durable.core.run_ids import legacy_run_id

    parent = Parent("parent", "parent-run", "trigger", -1, NOW, started_at=NOW)
    run_id = legacy_run_id(parent, 3, 0)
    assert run_id == "manual__durable_5b2f8647bc7db0b004fae762_0"
    supervisor.add(run_id, "running")
    assert finish(supervisor, make_dag(**WAIT), try_number=2).state == "success"
    assert supervisor.only_run().run_id == run_id


@needs_store
def test_a_try_of_0_1_0_that_still_runs_fails_on_the_new_record(supervisor: Supervisor) -> None:
    """It reads one key and knows version 1 alone: it says so, and starts nothing."""
    record = read_golden("event_v1_success.json")[1]["record"]
    supervisor.store[KEY] = record
    supervisor.add(record["child"]["run_id"], "queued", logical_date=NOW)
    killed_while_waiting(supervisor, make_dag(**WAIT), try_number=2)
    assert supervisor.store[KEY]["version"] == 2
