"""What the reconciler does to real Dag runs, on SQLite and PostgreSQL."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from airflow_durable.core.model import Phase
from airflow_durable.server import changes
from airflow_durable.server.pending import Reader
from airflow_durable.server.reconciler import Reconciler
from tests.support.asking_parents import CANCEL, PARENT_DAG, SKIPPING_DAG, TEARDOWN_DAG, asking

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.asking_parents import World


@dataclass
class Pause:
    """What happens after the reconciler has looked, and before it locks."""

    then: Callable[[], object] = lambda: None


@contextmanager
def pause_before_lock() -> Iterator[Pause]:
    """Let something happen between the look and the lock."""
    pause = Pause()
    lock = changes.lock_run

    def paused(*arguments: Any) -> bool:  # noqa: ANN401 - as the real one's
        pause.then()
        return lock(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(changes, "lock_run", paused)
        yield pause


def mark_as_failed(world: World, dag_id: str, run_id: str) -> None:
    """Do what a person does on the run's page."""
    with world.open() as session:
        changes.end_run(session, dag_id, run_id)


def turn(world: World) -> int:
    """Run one turn of a new reconciler; return how much it did."""
    return len(Reconciler(world.open).turn().done)


def test_child_of_a_failed_parent_is_ended_once(world: World) -> None:
    parent = world.parent(state="failed", tasks={"first": "running"})
    assert turn(world) == 1
    assert world.child(parent) == ("failed", 0)
    assert world.tasks(parent.record.dag_id, parent.record.run_id) == {
        "first": "failed",
        "second": "skipped",
        "apart": "skipped",
    }
    assert turn(world) == 0
    ((event, dag_id, run_id, details),) = world.audit_log()
    assert (event, dag_id, run_id) == ("durable.cancel", parent.record.dag_id, parent.record.run_id)
    assert details["parent"]["run_id"] == parent.parent.run_id
    assert details["reason"]


def test_failed_child_is_resumed_once(world: World) -> None:
    tasks = {"first": "success", "second": "failed", "apart": "success"}
    parent = world.parent(asking("resume"), state="running", child_state="failed", tasks=tasks)
    assert turn(world) == 1
    assert world.child(parent) == ("queued", 1)
    assert world.tasks(parent.record.dag_id, parent.record.run_id) == {
        "first": "success",
        "second": None,
        "apart": "success",
    }
    assert turn(world) == 0
    assert [row[0] for row in world.audit_log()] == ["durable.resume"]


def test_child_is_reset_once(world: World) -> None:
    tasks = {"first": "success", "second": "success", "apart": "success"}
    parent = world.parent(asking("reset", state="success"), state="deferred", child_state="success", tasks=tasks)
    assert turn(world) == 1
    assert world.child(parent) == ("queued", 1)
    assert set(world.tasks(parent.record.dag_id, parent.record.run_id).values()) == {None}
    assert turn(world) == 0


def test_run_that_was_marked_as_failed_is_resumed_with_all_that_had_not_begun(world: World) -> None:
    parent = world.parent(asking("resume"), state="running", tasks={"first": "running"})
    child = (parent.record.dag_id, parent.record.run_id)
    mark_as_failed(world, *child)
    assert world.tasks(*child) == {"first": "failed", "second": "skipped", "apart": "skipped"}
    assert turn(world) == 1
    assert world.tasks(*child) == {"first": None, "second": None, "apart": None}
    assert world.child(parent) == ("queued", 1)


def test_resume_leaves_what_has_skipped_itself(world: World) -> None:
    tasks = {"first": "skipped", "second": "failed", "apart": "success"}
    parent = world.parent(asking("resume"), state="running", child_state="failed", tasks=tasks)
    turn(world)
    child = (parent.record.dag_id, parent.record.run_id)
    assert world.tasks(*child) == {"first": "skipped", "second": None, "apart": "success"}


@pytest.mark.parametrize(
    ("decision", "is_further_left"),
    [
        ({"skipped": ["second", "last"]}, True),
        ({"skipped": ("second", "last")}, True),
        # A branch decides about what is next to it. What comes after that follows its own trigger rule.
        ({"followed": ["apart"]}, False),
    ],
)
def test_resume_leaves_what_a_task_has_decided_to_skip(world: World, decision: Any, *, is_further_left: bool) -> None:  # noqa: ANN401 - JSON
    parent = world.parent(
        asking("resume"),
        state="running",
        child_state="failed",
        child_dag=SKIPPING_DAG,
        tasks={"first": "success", "apart": "failed"},
    )
    child = (parent.record.dag_id, parent.record.run_id)
    now = datetime.now(tz=timezone.utc)
    for task_id in ("second", "last"):
        world.set_task(*child, task_id, "skipped", start_date=now, end_date=now)
    world.set_decision(*child, "first", decision)
    assert turn(world) == 1
    assert world.tasks(*child) == {"first": "success", "second": "skipped", "apart": None}
    assert world.state_of(*child, "last") == ("skipped" if is_further_left else None)


@pytest.mark.parametrize("decision", ["no decision", {"skipped": "second"}, {"followed": 1}, {}, [], None])
def test_what_is_no_decision_skips_nothing(world: World, decision: Any) -> None:  # noqa: ANN401 - JSON
    parent = world.parent(
        asking("resume"), state="running", child_state="running", child_dag=SKIPPING_DAG, tasks={"first": "success"}
    )
    child = (parent.record.dag_id, parent.record.run_id)
    world.set_decision(*child, "first", decision)
    mark_as_failed(world, *child)
    assert turn(world) == 1
    assert world.tasks(*child) == {"first": "success", "second": None, "apart": None}


def test_resume_sets_up_again_and_tears_down_again(world: World) -> None:
    tasks = {"first": "success", "second": "failed", "apart": "success"}
    parent = world.parent(asking("resume"), state="running", child_state="failed", child_dag=TEARDOWN_DAG, tasks=tasks)
    turn(world)
    assert world.tasks(TEARDOWN_DAG, parent.record.run_id) == {"first": None, "second": None, "apart": None}


def test_run_with_nothing_to_resume_is_queued_again(world: World) -> None:
    tasks = {"first": "success", "second": "success", "apart": "success"}
    parent = world.parent(asking("resume"), state="running", child_state="failed", tasks=tasks)
    assert turn(world) == 1
    assert world.child(parent) == ("queued", 1)
    assert set(world.tasks(parent.record.dag_id, parent.record.run_id).values()) == {"success"}


@pytest.mark.parametrize("state", ["up_for_retry", None, "queued", "scheduled", "restarting", "running", "deferred"])
def test_child_of_a_parent_that_comes_back_is_left_alone(world: World, state: str | None) -> None:
    parent = world.parent(state=state)
    reconciler = Reconciler(world.open)
    assert not reconciler.turn().done
    assert world.child(parent) == ("running", 0)
    # It is watched on, and ended when the parent has ended.
    world.set_task(parent.parent.dag_id, parent.parent.run_id, "trigger", "failed")
    assert len(reconciler.turn().done) == 1


def test_resume_that_was_asked_for_by_an_earlier_try_is_not_done(world: World) -> None:
    parent = world.parent(asking("resume"), state="running", child_state="failed", task_instance_id=str(uuid4()))
    assert turn(world) == 0
    assert world.child(parent) == ("failed", 0)


def test_action_that_a_later_entry_withdraws_is_not_done(world: World) -> None:
    parent = world.parent(asking("resume"), state="running", child_state="failed")
    reconciler = Reconciler(world.open)
    with pause_before_lock() as paused:
        paused.then = lambda: world.write(replace(parent, record=replace(parent.record, asks=None)), 1)
        assert not reconciler.turn().done
    assert world.child(parent) == ("failed", 0)
    assert reconciler.turn().watched == 0


@pytest.mark.parametrize("overtaken", [{"state": "running"}, {"clear_number": 1}])
def test_child_that_has_changed_before_the_lock_is_left_alone(world: World, overtaken: dict[str, object]) -> None:
    parent = world.parent(asking("resume"), state="running", child_state="failed")
    with pause_before_lock() as paused:
        paused.then = lambda: world.set_run(parent.record.dag_id, parent.record.run_id, **overtaken)
        assert turn(world) == 0
    assert not world.audit_log()


@pytest.mark.parametrize("to", [None, "up_for_retry", "running"])
def test_parent_that_was_cleared_before_the_lock_keeps_its_child(world: World, to: str | None) -> None:
    parent = world.parent(state="failed")
    with pause_before_lock() as paused:
        paused.then = lambda: world.set_task(parent.parent.dag_id, parent.parent.run_id, "trigger", to)
        assert turn(world) == 0
    assert world.child(parent) == ("running", 0)


def test_child_of_a_deleted_dag_run_is_ended_by_a_reconciler_that_had_seen_it(world: World) -> None:
    parent = world.parent(state="running")
    reconciler = Reconciler(world.open)
    reconciler.turn()
    world.delete_run(parent.parent.dag_id, parent.parent.run_id)
    assert len(reconciler.turn().done) == 1
    assert world.child(parent) == ("failed", 0)
    assert reconciler.turn().watched == 0


def test_child_of_a_dag_run_that_was_deleted_and_made_anew_is_left_alone(world: World) -> None:
    parent = world.parent(state="running")
    reconciler = Reconciler(world.open)
    reconciler.turn()
    world.delete_run(parent.parent.dag_id, parent.parent.run_id)
    world.run(parent.parent.dag_id, parent.parent.run_id)
    assert not reconciler.turn().done
    assert world.child(parent) == ("running", 0)


def test_run_that_comes_late_is_ended(world: World) -> None:
    parent = world.parent(state="failed", child_state=None)
    reconciler = Reconciler(world.open)
    assert not reconciler.turn().done
    world.run(parent.record.dag_id, parent.record.run_id)
    assert len(reconciler.turn().done) == 1


def test_entry_that_is_committed_late_is_found(world: World) -> None:
    reconciler = Reconciler(world.open, clock=lambda: 0.0)
    late = world.parent(state="running", asks=None)
    world.parent(state="running")
    reconciler.turn()
    assert reconciler.turn().watched == 1
    # An id between those that were seen.
    world.set_value(late, replace(late.record, asks=CANCEL), new_id=world.last_id() + 10)
    world.parent(state="running")
    assert reconciler.turn().watched == 3


def test_consumed_outcome_takes_the_call_off_the_list(world: World) -> None:
    parent = world.parent(state="running")
    reconciler = Reconciler(world.open)
    assert reconciler.turn().watched == 1
    world.write(replace(parent, record=replace(parent.record, phase=Phase.CONSUMED)), 1)
    assert reconciler.turn().watched == 0


def test_teardown_of_an_ended_child_runs_and_nothing_is_written_twice(world: World) -> None:
    tasks = {"first": "success", "second": "running"}
    parent = world.parent(state="failed", child_dag=TEARDOWN_DAG, tasks=tasks)
    assert turn(world) == 1
    assert world.child(parent)[0] == "running"
    assert turn(world) == 0
    assert len(world.audit_log()) == 1
    # So nothing waits for the reconciler.
    with world.open() as session:
        assert Reader().read(session).waiting == ()


def test_record_that_is_deleted_asks_for_nothing(world: World, caplog: pytest.LogCaptureFixture) -> None:
    parent = world.parent(state="running")
    reconciler = Reconciler(world.open)
    reconciler.turn()
    world.forget(parent)
    world.set_task(parent.parent.dag_id, parent.parent.run_id, "trigger", "failed")
    assert not reconciler.turn().done
    assert reconciler.turn().watched == 0
    assert (world.child(parent), caplog.records) == (("running", 0), [])


def test_run_that_a_person_started_again_after_a_removed_parents_dag_run_had_ended_is_left_alone(world: World) -> None:
    parent = world.parent(state="removed", tasks={"first": "running"})
    ended = datetime.now(tz=timezone.utc) - timedelta(minutes=2)
    world.set_task(PARENT_DAG, parent.parent.run_id, "trigger", "removed", end_date=ended - timedelta(minutes=8))
    world.set_run(PARENT_DAG, parent.parent.run_id, state="failed", end_date=ended)
    later = {"clear_number": 1, "queued_at": ended + timedelta(minutes=1)}
    world.set_run(parent.record.dag_id, parent.record.run_id, **later)
    assert turn(world) == 0
    world.set_run(parent.record.dag_id, parent.record.run_id, queued_at=ended - timedelta(minutes=4))
    assert turn(world) == 1


@pytest.mark.parametrize("number", [1, 3])
def test_a_request_in_the_place_of_a_deleted_one_is_found(world: World, number: int) -> None:
    """SQLite gives the ids of deleted rows out again."""
    acting = Reconciler(world.open)
    for _ in range(number):
        world.parent(state="running")
    acting.turn()
    world.clear()
    one = world.parent(state="failed", tasks={"first": "running"})
    assert [done.run_id for done in acting.turn().done] == [one.record.run_id]


def test_record_that_cannot_be_understood_is_named(world: World, caplog: pytest.LogCaptureFixture) -> None:
    parent = world.parent(state="failed")
    world.write(parent, 1, value='{"version": 99, "asks": {}}')
    assert turn(world) == 0
    (line,) = [record.getMessage() for record in caplog.records if record.name == "airflow_durable.reconciler"]
    assert f"{PARENT_DAG}.trigger in {parent.parent.run_id}" in line
    assert "the record cannot be understood" in line
