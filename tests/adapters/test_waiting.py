"""The parents that wait, in a metadata database that is filled by hand; and over the REST API."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import sqlalchemy as sa

from airflow_durable.audit.client import ApiClient
from airflow_durable.audit.database import DatabaseSource
from airflow_durable.audit.inspection import build_lines as build_inspection
from airflow_durable.audit.inspection import inspect
from airflow_durable.audit.rest import RestSource
from airflow_durable.audit.waiting import build_json, build_lines, build_tsv, find_waiting
from airflow_durable.metadata.connections import Database
from airflow_durable.metadata.model import InstanceKey
from airflow_durable.wording import HeartbeatLimits

from .audit_database import PARENT, TASK, Filler, load_schema
from .audit_fakes import CHILD, at
from .test_inspection import RECORD, needs_store

if TYPE_CHECKING:
    from collections.abc import Iterator

NOW = at(7200)
LIMITS = HeartbeatLimits()


@pytest.fixture(scope="module")
def engine() -> Iterator[sa.Engine]:
    made = sa.create_engine("sqlite://", future=True)
    load_schema()["dag_run"].metadata.create_all(made)
    yield made
    made.dispose()


@pytest.fixture
def filler(engine: sa.Engine) -> Iterator[Filler]:
    """Return one of a database with a parent that waits, one that is dead, one that has ended, and one to come."""
    with engine.connect() as connection:
        made = Filler(connection, load_schema())
        made.dag(PARENT)
        for number, (name, state, start, end, heartbeat) in enumerate(
            (
                ("waits", "running", 3600, None, 7195),
                ("dead", "running", 0, None, 6900),
                ("ended", "success", 0, 100, 90),
                ("to-come", "queued", None, None, None),
            )
        ):
            made.run(name, -100 - number, dag_id=PARENT, triggered_by="UI")
            made.attempt(1, start, end, state=state, run_id=name, is_latest=True, last_heartbeat=heartbeat)
            made.rendered(run_id=name, trigger_dag_id=CHILD) if start is not None else None
        made.xcom("trigger_run_id", "child-1", run_id="waits")
        made.run("child-1", 3610, state="running", end=None)
        yield made
        connection.rollback()


@pytest.fixture
def source(filler: Filler) -> DatabaseSource:
    return DatabaseSource(Database(filler._connection), "3.3.2")


def names(source: DatabaseSource, **chosen: Any) -> list[str]:  # noqa: ANN401 - the function's own
    return [one.latest.run_id for one in find_waiting(source, now=NOW, **chosen)]


def test_those_that_have_not_ended_longest_first(source: DatabaseSource) -> None:
    assert names(source) == ["dead", "waits"]
    assert names(source, longer_than=timedelta(minutes=90)) == ["dead"]
    assert names(source, is_silent_only=True) == ["dead"]
    assert names(source, dag_ids=["other"]) == []


def test_what_a_person_reads(source: DatabaseSource) -> None:
    text = "\n".join(build_lines(find_waiting(source, now=NOW), NOW, LIMITS))
    assert "59 min 50 s" in text
    assert "child, child-1" in text
    assert "no heartbeat since 13:55:00; Airflow will retry it by about 14:00:10" in " ".join(text.split())
    assert "\n".join(build_lines([], NOW, LIMITS)) == "No parent task is waiting."


def test_what_a_machine_reads(source: DatabaseSource) -> None:
    found = find_waiting(source, now=NOW)
    built = build_json(found, NOW, source="database", airflow_version="3.3.2")
    assert json.loads(json.dumps(built)) == built
    dead, waits = built["waiting"]
    assert (dead["is_silent"], dead["child"]) == (True, None)
    assert waits["child"] == {"dag_id": CHILD, "run_id": "child-1", "state": "running"}
    lines = list(build_tsv(found, NOW))
    assert {line.count("\t") for line in lines} == {11}
    assert lines[2].split("\t")[-3:] == [CHILD, "child-1", "running"]


def test_a_durable_one_waits_since_its_child_was_requested(filler: Filler, source: DatabaseSource) -> None:
    needs_store()
    filler.record({**RECORD, "consumed": False}, run_id="waits")
    (waits,) = (one for one in find_waiting(source, now=NOW) if one.latest.run_id == "waits")
    assert (waits.is_durable, waits.since) == (True, at(1))


# The same over the REST API.


def instance(run_id: str, state: str, try_number: int = 1) -> dict[str, Any]:
    return {
        "dag_id": PARENT,
        "dag_run_id": run_id,
        "task_id": TASK,
        "map_index": -1,
        "try_number": try_number,
        "max_tries": 3,
        "state": state,
        "start_date": at(0).isoformat(),
        "end_date": at(100).isoformat() if state == "failed" else None,
        "run_after": at(0).isoformat(),
        "rendered_fields": {"trigger_dag_id": CHILD, "conf": "a-secret"},
    }


@pytest.fixture
def api() -> RestSource:
    """Return one whose parent was retried after a crash and waits."""
    own = f"dags/{PARENT}/dagRuns/run/taskInstances"
    answers: dict[str, Any] = {
        "version": {"version": "3.3.2"},
        "dags": {"dags": [{"dag_id": PARENT, "tags": []}], "total_entries": 1},
        f"dags/{PARENT}/tasks": {"tasks": [{"task_id": TASK, "template_fields": ["trigger_dag_id"]}]},
        "dags/~/dagRuns/~/taskInstances": {"task_instances": [instance("run", "running", 2)], "total_entries": 1},
        own: {"task_instances": [instance("run", "running", 2)], "total_entries": 1},
        f"{own}/{TASK}/tries": {
            "task_instances": [
                instance("run", "failed"),
                {**instance("run", "running", 2), "start_date": at(110).isoformat()},
            ]
        },
        f"{own}/{TASK}/xcomEntries/trigger_run_id": {"value": "child-1"},
        f"{own}/{TASK}/state-store": {
            "task_state_store": [{"key": "durable_child_run", "value": {**RECORD, "consumed": False}}],
            "total_entries": 1,
        },
        f"dags/{CHILD}/dagRuns/child-1": {
            "dag_run_id": "child-1",
            "state": "running",
            "queued_at": at(1).isoformat(),
            "start_date": at(2).isoformat(),
            "end_date": None,
        },
        "eventLogs": {
            "event_logs": [
                {"when": at(100).isoformat(), "event": "heartbeat timeout", "try_number": 1, "map_index": -1}
            ],
            "total_entries": 1,
        },
    }

    def answer(request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/api/v2/")
        if "awaiting_input" in request.url.params.get_list("state"):
            return httpx.Response(422, json={"detail": "Invalid value for state."})  # as 3.0 to 3.2 do
        return httpx.Response(200, json=answers[path]) if path in answers else httpx.Response(404, json={})

    transport = httpx.MockTransport(answer)
    return RestSource(ApiClient("http://there", "token", requests_per_second=1e6, transport=transport))


def test_the_list_works_over_rest(api: RestSource) -> None:
    (one,) = find_waiting(api, now=NOW)
    assert (one.latest.run_id, one.is_durable, one.run and one.run.state) == ("run", True, "running")
    assert not one.is_silent


def test_inspect_works_over_rest(api: RestSource) -> None:
    found = inspect(api, InstanceKey(PARENT, "run", TASK, -1), now=NOW)
    text = "\n".join(build_inspection(found, NOW))
    assert "The child run by its record: child-1 of Dag child, running" in " ".join(text.split())
    assert "try 1 crashed: its heartbeats stopped; Airflow ended it at 12:01:40" in text
    assert "a-secret" not in text
