"""The actions for people over HTTP: what they show, what they do, and to whom they refuse it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from airflow_durable.metadata.asked import Asked
from tests.adapters.versions import needs_store
from tests.support.asking_parents import CHILD_DAG, PARENT_DAG, TEARDOWN_DAG, World

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastapi.testclient import TestClient

    from tests.support.asking_parents import Asking

    from .conftest import Client

pytestmark = needs_store
HEADER = "X-Durable-Action"
TASKS = {"first": "success", "second": "failed", "apart": "success"}


def plans_of(client: TestClient, asking: Asking) -> tuple[int, dict[str, Any]]:
    """Return the wait's id and what each action would do."""
    parent = asking.parent
    query = {"dag_id": parent.dag_id, "run_id": parent.run_id, "task_id": parent.task_id}
    answer = client.get("/durable-waits/actions", params=query)
    assert answer.status_code == 200, answer.text
    shown = answer.json()
    return shown["wait_id"], {plan["action"]: plan for plan in shown["actions"]}


def do(client: TestClient, wait_id: int, action: str, seal: str, **headers: str) -> Any:  # noqa: ANN401 - a response
    given = {HEADER: action, **headers}
    return client.post(f"/durable-waits/wait/{wait_id}/actions/{action}", json={"seal": seal}, headers=given)


def run(client: TestClient, asking: Asking, action: str) -> Any:  # noqa: ANN401 - a response
    wait_id, plans = plans_of(client, asking)
    return do(client, wait_id, action, plans[action]["seal"])


def test_looking_changes_nothing(application: Client, world: World) -> None:
    asking = world.parent(state="running", tasks={"first": "running"})
    _, plans = plans_of(application("admin"), asking)
    assert {name: plan["is_possible"] for name, plan in plans.items()} == {
        "end-child": True,
        "end-both": True,
        "resume-child": False,
        "forget": False,
    }
    assert all(plan["effects"] for plan in plans.values() if plan["is_possible"])
    assert all(plan["refusal"] for plan in plans.values() if not plan["is_possible"])
    assert (world.child(asking), world.audit_log()) == (("running", 0), [])


def test_child_is_ended(application: Client, world: World) -> None:
    asking = world.parent(state="running", tasks={"first": "running"})
    assert run(application("admin"), asking, "end-child").status_code == 200
    assert world.child(asking) == ("failed", 0)
    ((event, dag_id, run_id, _),) = world.audit_log()
    assert (event, dag_id, run_id) == ("durable.end-child", CHILD_DAG, asking.record.run_id)


def test_child_whose_teardown_still_runs_is_ended_once(application: Client, world: World) -> None:
    tasks = {"first": "success", "second": "running"}
    asking = world.parent(state="running", child_dag=TEARDOWN_DAG, tasks=tasks)
    assert run(application("admin"), asking, "end-child").status_code == 200
    assert world.child(asking)[0] == "running"
    answer = run(application("admin"), asking, "end-child")
    assert (answer.status_code, "only its teardowns still run" in answer.text) == (409, True)
    assert len(world.audit_log()) == 1


def test_parent_and_child_are_ended(application: Client, world: World) -> None:
    asking = world.parent(state="running", tasks={"first": "running"})
    assert run(application("admin"), asking, "end-both").status_code == 200
    assert world.child(asking) == ("failed", 0)
    assert world.state_of(PARENT_DAG, asking.parent.run_id, "trigger") == "failed"


def test_failed_child_resumes(application: Client, world: World) -> None:
    asking = world.parent(state="failed", child_state="failed", tasks=TASKS)
    assert run(application("admin"), asking, "resume-child").status_code == 200
    assert world.child(asking) == ("queued", 1)
    assert world.tasks(CHILD_DAG, asking.record.run_id) == {**TASKS, "second": None}


def test_record_is_forgotten(application: Client, world: World) -> None:
    asking = world.parent(state="failed")
    world.write(asking, 1)
    world.write(asking, 0, call=2)
    other = world.parent(state="failed")
    assert run(application("admin"), asking, "forget").status_code == 200
    assert world.entries(asking) == 0
    assert world.entries(other) == 1
    assert world.child(asking) == ("running", 0)


@pytest.mark.parametrize(("state", "takes_ended"), [("up_for_retry", True), ("failed", False)])
def test_forget_says_what_the_next_try_takes(
    application: Client,
    world: World,
    state: str,
    takes_ended: bool,  # noqa: FBT001 - expected
) -> None:
    asking = world.parent(state=state)
    _, plans = plans_of(application("admin"), asking)
    assert any("takes an ended one" in effect for effect in plans["forget"]["effects"]) is takes_ended


def test_same_seal_does_it_once(application: Client, world: World) -> None:
    asking = world.parent(state="running")
    client = application("admin")
    wait_id, plans = plans_of(client, asking)
    seal = plans["end-child"]["seal"]
    assert [do(client, wait_id, "end-child", seal).status_code for _ in range(2)] == [200, 409]
    assert len(world.audit_log()) == 1


@pytest.mark.parametrize("changed", ["child", "parent", "record"])
def test_nothing_is_done_if_something_has_changed_since(application: Client, world: World, changed: str) -> None:
    asking = world.parent(state="failed")
    client = application("admin")
    wait_id, plans = plans_of(client, asking)
    if changed == "child":
        world.set_run(CHILD_DAG, asking.record.run_id, clear_number=1)
    elif changed == "parent":
        world.set_task(PARENT_DAG, asking.parent.run_id, "trigger", None)
    else:
        world.write(asking, 1)
    assert do(client, wait_id, "end-child", plans["end-child"]["seal"]).status_code == 409
    assert (world.child(asking)[0], world.audit_log()) == ("running", [])


def test_seal_is_of_the_person_and_of_the_action(application: Client, world: World) -> None:
    asking = world.parent(state="failed")
    client = application("admin")
    wait_id, plans = plans_of(client, asking)
    seal = plans["forget"]["seal"]
    assert do(client, wait_id, "end-child", seal).status_code == 409
    assert do(client, wait_id, "end-child", "").status_code == 409
    assert do(client, wait_id, "end-child", "é").status_code == 409
    assert world.child(asking) == ("running", 0)


def test_request_of_another_sites_page_does_nothing(application: Client, world: World) -> None:
    asking = world.parent(state="failed")
    client = application("admin")
    wait_id, plans = plans_of(client, asking)
    seal = plans["end-child"]["seal"]
    address = f"/durable-waits/wait/{wait_id}/actions/end-child"
    as_form = client.post(address, data={"seal": seal}, headers={HEADER: "end-child"})
    as_text = client.post(address, content=f'{{"seal": "{seal}"}}', headers={"Content-Type": "text/plain"})
    bare = client.post(address, json={"seal": seal})
    foreign = do(client, wait_id, "end-child", seal, **{"Sec-Fetch-Site": "cross-site"})
    assert [answer.status_code // 100 for answer in (as_form, as_text, bare, foreign)] == [4] * 4
    assert world.child(asking) == ("running", 0)


def test_viewer_may_look_and_do_nothing(application: Client, world: World) -> None:
    asking = world.parent(state="failed")
    viewer = application("viewer")
    wait_id, plans = plans_of(viewer, asking)
    assert not any(plan["is_possible"] or plan["seal"] for plan in plans.values())
    _, admins = plans_of(application("admin"), asking)
    for action, plan in admins.items():
        assert do(viewer, wait_id, action, plan["seal"]).status_code == 409
    assert (world.child(asking), world.entries(asking)) == (("running", 0), 1)


@pytest.mark.parametrize("name", [None, "nobody", "limited"])
def test_who_may_not_read_the_parents_dag_sees_nothing(application: Client, world: World, name: str | None) -> None:
    asking = world.parent(state="failed")
    wait_id, plans = plans_of(application("admin"), asking)
    client = application(name)
    query = {"dag_id": PARENT_DAG, "run_id": asking.parent.run_id, "task_id": "trigger"}
    assert client.get("/durable-waits/actions", params=query).status_code in {401, 403, 404}
    assert client.get(f"/durable-waits/wait/{wait_id}/actions").status_code in {401, 403, 404}
    assert do(client, wait_id, "end-child", plans["end-child"]["seal"]).status_code in {401, 403, 404}
    assert world.child(asking) == ("running", 0)


def test_person_is_told_that_the_author_is_not_proven(application: Client, world: World) -> None:
    world.run("others_dag", "by_hand")
    asking = world.parent(state="failed", child_state=None, dag_id="others_dag", run_id="by_hand")
    _, plans = plans_of(application("admin"), asking)
    assert "not proven" in plans["end-child"]["effects"][0]


def test_pass_of_a_loop_is_not_ended_by_its_number_alone(application: Client, world: World) -> None:
    # From Airflow 3.4: marked by task and number, the pass of that number of another loop would be ended, too.
    from dataclasses import replace

    from airflow_durable.server import actions

    wait_id, _ = plans_of(application("admin"), world.parent(state="running"))
    anybody = actions.Person("admin", *[lambda _: True] * 3)
    with world.open() as session:
        found = actions.read_situation(session, wait_id)
        assert found is not None
        key = found.claim.key._replace(map_index=1, region_id="1" * 32)
        in_loop = replace(found, claim=replace(found.claim, key=key))
        assert not actions.plan(session, found, anybody, actions.Action.END_BOTH).refusal
        assert "loop" in actions.plan(session, in_loop, anybody, actions.Action.END_BOTH).refusal
        assert not actions.plan(session, in_loop, anybody, actions.Action.END_CHILD).refusal


@pytest.fixture
def command(application: Client, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str]]:
    """Return what runs a command against the application, as admin, and returns its exit code and its output."""
    from typer.testing import CliRunner

    from airflow_durable.cli import app

    def run_command(*arguments: str, user: str = "admin", answer: str = "") -> tuple[int, str]:
        client = application(user)
        client.base_url = "http://testserver/durable-waits"
        monkeypatch.setattr("airflow_durable.cli.child_commands.httpx.Client", lambda **_: client)
        monkeypatch.setenv("AIRFLOW_DURABLE_TOKEN", "the-client-has-its-own")
        result = CliRunner().invoke(app, [*arguments, "--url", "http://testserver"], input=answer)
        return result.exit_code, result.output

    return run_command


def names(asking: Asking) -> tuple[str, str, str]:
    return asking.parent.dag_id, asking.parent.run_id, asking.parent.task_id


def test_command_asks_first(command: Callable[..., tuple[int, str]], world: World) -> None:
    asking = world.parent(state="running")
    code, output = command("end", *names(asking), "--preview")
    assert (code, asking.record.run_id in output) == (0, True)
    command("end", *names(asking), answer="n\n")
    assert world.child(asking) == ("running", 0)
    assert command("end", *names(asking), answer="y\n")[0] == 0
    assert world.child(asking) == ("failed", 0)
    assert world.state_of(*names(asking)) == "failed"


def test_commands_do_what_they_say(command: Callable[..., tuple[int, str]], world: World) -> None:
    asking = world.parent(state="up_for_retry", child_state="failed", tasks=TASKS)
    assert command("resume", *names(asking), "--yes")[0] == 0
    assert world.child(asking) == ("queued", 1)
    assert command("end", *names(asking), "--child-only", "--yes")[0] == 0
    assert (world.child(asking)[0], world.state_of(*names(asking))) == ("failed", "up_for_retry")
    assert command("forget", *names(asking), "--yes")[0] == 0
    assert world.entries(asking) == 0


@pytest.mark.parametrize("arguments", [["end"], ["end", "--child-only"], ["resume"], ["forget"]])
def test_commands_name_one_of_several_regions(
    command: Callable[..., tuple[int, str]], world: World, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    """Regions there are from Airflow 3.4. They may be written with dashes or without."""
    state, child_state = ("up_for_retry", "failed") if arguments != ["end"] else ("running", "running")
    child_state = "running" if "--child-only" in arguments else child_state
    asking = world.parent(state=state, child_state=child_state, tasks=TASKS)
    first, second = UUID(int=1), UUID(int=2)
    monkeypatch.setattr(Asked, "find", lambda *_: {first.hex: world.last_id() + 1, second.hex: world.last_id()})
    code, output = command(*arguments, *names(asking), "--yes")
    assert (code, first.hex in output, second.hex in output) == (1, True, True)
    assert "Done" not in output
    code, output = command(*arguments, *names(asking), "--region", str(UUID(int=3)), "--yes")
    assert (code, "no such wait" in output or "no record" in output) == (1, True)
    for region in (str(second), second.hex):
        code, output = command(*arguments, *names(asking), "--region", region, "--preview")
        assert (code, bool(output)) == (0, True), output
    code, output = command(*arguments, *names(asking), "--region", str(second), "--yes")
    assert (code, "Done" in output) == (0, True), output


def test_command_says_why_it_does_nothing(command: Callable[..., tuple[int, str]], world: World) -> None:
    asking = world.parent(state="running")
    code, output = command("resume", *names(asking), "--yes")
    assert (code, "has not failed" in output) == (1, True)
    code, output = command("end", *names(asking), "--yes", user="viewer")
    assert (code, "may not" in output) == (1, True)
    code, output = command("forget", "no_such_dag", "run", "task", "--yes")
    assert (code, "no record" in output) == (1, True)
    assert world.child(asking) == ("running", 0)


def test_listeners_hear_of_both_that_are_ended(application: Client, world: World) -> None:
    """As of what a person marks in Airflow's UI (3.3, ``core_api/services/public/task_instances.py``)."""
    from airflow.listeners import hookimpl
    from airflow.listeners.listener import get_listener_manager

    heard: list[tuple[str, str]] = []

    class Listener:
        @hookimpl
        def on_task_instance_failed(self, task_instance: Any) -> None:  # noqa: ANN401 - Airflow's
            heard.append((task_instance.dag_id, task_instance.task_id))

        @hookimpl
        def on_dag_run_failed(self, dag_run: Any) -> None:  # noqa: ANN401 - Airflow's
            heard.append((dag_run.dag_id, ""))

    both = world.parent(state="running", tasks={"first": "running"})
    listener = Listener()
    manager: Any = get_listener_manager()
    manager.add_listener(listener)
    try:
        assert run(application("admin"), both, "end-both").status_code == 200
        assert heard == [(PARENT_DAG, "trigger"), (CHILD_DAG, "first"), (CHILD_DAG, "")]
        heard.clear()
        ended = world.parent(state="running", child_state="success")
        assert run(application("admin"), ended, "end-both").status_code == 200
        assert heard == [(PARENT_DAG, "trigger")]
    finally:
        manager.pm.unregister(listener)


@pytest.mark.parametrize(("region", "status"), [("", 409), ("a" * 32, 200), ("c" * 32, 404)])
def test_of_a_pass_that_is_in_several_loops_the_region_has_to_be_said(
    application: Client, world: World, monkeypatch: pytest.MonkeyPatch, region: str, status: int
) -> None:
    """Regions there are from Airflow 3.4."""
    asking = world.parent(state="running")
    found = dict.fromkeys(("a" * 32, "b" * 32), world.last_id())
    monkeypatch.setattr(Asked, "find", lambda *_: found)
    query = {"dag_id": PARENT_DAG, "run_id": asking.parent.run_id, "task_id": "trigger", "region": region}
    answer = application("admin").get("/durable-waits/actions", params=query)
    assert answer.status_code == status
    assert ("b" * 32 in answer.text) is (status == 409)
