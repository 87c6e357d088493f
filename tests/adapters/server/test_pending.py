"""What waits for the reconciler, and what it did: on the page, as JSON and as gauges."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from tests.adapters.versions import needs_store
from tests.support.asking_parents import CHILD_DAG, PARENT_DAG, World, asking

if TYPE_CHECKING:
    from .conftest import Client

pytestmark = [needs_store, pytest.mark.usefixtures("uncached")]
LONG_AGO = datetime.now(tz=timezone.utc) - timedelta(hours=2)


@pytest.fixture(autouse=True)
def status(application: Client, monkeypatch: pytest.MonkeyPatch) -> Any:  # noqa: ANN401 - a status
    """Return the status of a reconciler that has not looked."""
    from airflow_durable.server import hosting

    fresh = hosting.Status()
    monkeypatch.setattr(hosting, "status", fresh)
    return fresh


def said(application: Client, user: str = "admin") -> dict[str, Any]:
    response = application(user).get("/durable-waits/reconciler")
    assert response.status_code == 200
    answer: dict[str, Any] = response.json()
    return answer


def shown(application: Client, user: str = "admin") -> str:
    """Return the text of the reconciler's part of the page."""
    html = application(user).get("/durable-waits/totals").text
    part = html[html.index('<div class="reconciler') :]
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", part[: part.index("<template>")]))


def gauge(application: Client, name: str) -> int:
    text = application("admin").get("/durable-waits/api/metrics").text
    (value,) = re.findall(rf"^airflow_durable_reconciler_{name} (\d+)$", text, re.MULTILINE)
    return int(value)


def turn(world: World) -> None:
    """Let a reconciler look once."""
    from airflow_durable.server.reconciler import Reconciler

    Reconciler(world.open).turn()


def test_nothing_waits(application: Client, world: World, status: Any) -> None:  # noqa: ANN401 - a status
    world.parent(state="running")
    world.parent(asks=None)
    assert said(application)["waiting"] == 0
    assert "Has not checked yet in this API server. Nothing waits for it." in shown(application)
    status.looked_at = datetime.now(tz=timezone.utc)
    assert "Runs in this API server; it last checked at" in shown(application)
    status.looked_at = LONG_AGO
    assert "Has not checked since" in shown(application)
    assert (gauge(application, "queue"), gauge(application, "lag_seconds")) == (0, 0)


def test_request_waits_until_it_is_done(application: Client, world: World) -> None:
    made = world.parent(state="failed", tasks={"first": "running"})
    found = said(application)
    assert (found["waiting"], found["is_overdue"]) == (1, False)
    (request,) = found["requests"]
    assert (request["act"], request["child_run_id"], request["left_alone"]) == ("cancel", made.record.run_id, None)
    assert request["parent"]["run_id"] == made.parent.run_id
    assert "1 request waits for it" in shown(application)
    assert gauge(application, "queue") == 1
    wait = application("admin").get(f"/durable-waits/wait/{request['wait_id']}").text
    assert "Waits for the reconciler to end the child run" in wait
    turn(world)
    found = said(application)
    assert found["waiting"] == 0
    (latest,) = found["latest"]
    assert (latest["event"], latest["run_id"]) == ("durable.cancel", made.record.run_id)
    assert f"Ended {made.record.run_id} of {CHILD_DAG}" in shown(application)
    wait = application("admin").get(f"/durable-waits/wait/{request['wait_id']}").text
    assert "The reconciler ended" in wait
    assert "the parent task has ended without having taken the outcome" in wait
    assert f"/dags/{CHILD_DAG}/runs/{made.record.run_id.replace(':', '%3A').replace('+', '%2B')}/events" in wait


def test_nobody_acts(application: Client, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    made = world.parent(state="failed")
    world.set_task(PARENT_DAG, made.parent.run_id, "trigger", "failed", updated_at=LONG_AGO)
    assert said(application)["is_overdue"]
    assert "Nobody acts on what waits. The API server's log says why." in shown(application)
    assert gauge(application, "lag_seconds") >= 7_000
    monkeypatch.setenv("AIRFLOW__DURABLE__RECONCILER", "False")
    assert "Off in this API server. 1 request waits for it" in shown(application)
    assert "airflow-durable reconcile" in shown(application)


def test_resume_waits_since_it_was_asked_for(application: Client, world: World) -> None:
    made = world.parent(asks=asking("resume"), state="running", child_state="failed", tasks={"first": "failed"})
    world.write(made, 1, at=LONG_AGO)
    found = said(application)
    assert [(one["act"], one["since"]) for one in found["requests"]] == [("resume", LONG_AGO.isoformat())]
    world.set_task(PARENT_DAG, made.parent.run_id, "trigger", "up_for_retry")
    assert said(application)["waiting"] == 0, "its try has ended"


def test_ledger_waits_as_long_as_any_of_its_runs_is_active(application: Client, world: World) -> None:
    """Not only the first item's."""
    from tests.adapters.reconciler.test_ledger import ITEMS, make

    one = make(world, state="failed")
    world.set_run(CHILD_DAG, ITEMS.run_id(one.parent, 0, epoch=0, generation=0), state="success")
    assert said(application)["waiting"] == 1
    for index in range(1, ITEMS.count):
        world.set_run(CHILD_DAG, ITEMS.run_id(one.parent, index, epoch=0, generation=0), state="success")
    assert said(application)["waiting"] == 0


def test_ledger_waits_for_its_failed_runs_to_be_resumed(application: Client, world: World) -> None:
    from tests.adapters.reconciler.test_ledger import make_failed, to_resume

    one, (run_id, *_) = make_failed(world, to_resume("inorth"))
    assert [(found["act"], found["child_run_id"]) for found in said(application)["requests"]] == [("resume", run_id)]
    world.set_run(CHILD_DAG, run_id, clear_number=1)
    assert said(application)["waiting"] == 0
    world.set_run(CHILD_DAG, run_id, clear_number=0)
    world.set_task(PARENT_DAG, one.parent.run_id, "trigger", "up_for_retry")
    assert said(application)["waiting"] == 0, "its try has ended"


def test_nothing_can_be_done_for_a_person_about_a_ledger(application: Client, world: World) -> None:
    """What is decided there is about one child run: a second one of an item could come of it."""
    from airflow_durable.server import actions
    from tests.adapters.reconciler.test_ledger import make

    make(world, state="running")
    with world.open() as session:
        row_id = session.scalar(sa.text("SELECT max(id) FROM task_state_store WHERE key LIKE 'durable_child_runs%'"))
        assert actions.read_situation(session, row_id) is None
    assert application("admin").get(f"/durable-waits/wait/{row_id}/actions").status_code == 404


def test_what_is_not_proven_is_left_alone_and_is_no_queue(application: Client, world: World) -> None:
    world.run("others_dag", "by_hand")
    made = world.parent(state="failed", child_state=None, dag_id="others_dag", run_id="by_hand")
    world.set_task(PARENT_DAG, made.parent.run_id, "trigger", "failed", end_date=LONG_AGO)
    for _ in range(2):
        found = said(application)
        assert (found["waiting"], found["left_alone"], found["is_overdue"]) == (0, 1, False)
    assert "It does not, because the run id does not follow from the parent." in shown(application)
    assert gauge(application, "left_alone") == 1


def test_others_dags_are_not_named(application: Client, world: World) -> None:
    made = world.parent(state="failed", tasks={"first": "running"})
    for text in (shown(application, "limited"), str(said(application, "limited"))):
        assert made.record.run_id not in text
        assert PARENT_DAG not in text
    turn(world)
    for text in (shown(application, "limited"), str(said(application, "limited"))):
        assert made.record.run_id not in text


def test_child_of_an_unreadable_dag_is_not_named(application: Client, world: World) -> None:
    from airflow_durable.server import app

    made = world.parent(state="failed")
    with world.open() as session:
        found = app.requests.get(session).visible_to({PARENT_DAG}, lambda _: True)
    ((request,), done) = found.requests, found.done
    assert (request.child_dag_id, request.child_run_id, done) == ("", "", ())
    assert request.parent.run_id == made.parent.run_id


def test_what_a_person_did_is_in_the_timeline(application: Client, world: World) -> None:
    made = world.parent(state="running", tasks={"first": "running"})
    client = application("admin")
    query = {"dag_id": PARENT_DAG, "run_id": made.parent.run_id, "task_id": "trigger"}
    plans = client.get("/durable-waits/actions", params=query).json()
    seal = next(plan["seal"] for plan in plans["actions"] if plan["action"] == "end-child")
    address = f"/durable-waits/wait/{plans['wait_id']}"
    client.post(f"{address}/actions/end-child", json={"seal": seal}, headers={"X-Durable-Action": "end-child"})
    (action,) = client.get(f"/durable-waits/api/waits/{plans['wait_id']}").json()["timeline"]["actions"]
    assert (action["event"], action["owner"]) == ("durable.end-child", "admin")
    assert "admin ended" in client.get(address).text


def test_serialized_dags_are_read_by_name(world: World) -> None:
    from airflow_durable.metadata.reads import Reads
    from airflow_durable.metadata.tables import load_tables

    with world.open() as session:
        reads = Reads(load_tables(), session.execute)
        assert [dag_id for dag_id, _ in reads.serialized_dags([CHILD_DAG])] == [CHILD_DAG]
        assert {PARENT_DAG, CHILD_DAG} <= {dag_id for dag_id, _ in reads.serialized_dags()}
