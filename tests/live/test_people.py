"""What people do to parents and children in Airflow's UI."""

from __future__ import annotations

from .lab import Stage, scenario


@scenario
def test_clear_running(stage: Stage) -> None:
    """A parent is cleared while it waits: it is ended, runs again, and adopts its child."""
    stage.start()
    stage.wait_until_waiting(1)
    first_pid = stage.parent().pid
    stage.clear_parent()
    stage.wait_until_gone(first_pid)
    stage.finish(2)
    assert [run.clear_number for run in stage.children()] == [0]
    stage.expect_decisions("fresh_submit", "reconnect")


@scenario
def test_clear_other_request(stage: Stage) -> None:
    """A crashed parent is cleared, and its conf has changed: it waits for its old child, then starts a fresh one."""
    stage.start()
    stage.wait_until_waiting(1)
    stage.kill_worker()
    stage.wait_for_parent("failed", 1)
    stage.clear_parent()
    (old,) = stage.children()
    stage.wait_until_waiting(2, run=old)
    assert len(stage.children()) == 1
    stage.mark_child()
    stage.wait_for_children(2)
    stage.wait_until_waiting(2, run=stage.children()[-1])
    stage.mark_child()
    stage.wait_for_parent("success", 2)
    assert [run.state for run in stage.children()] == ["success", "success"]


@scenario
def test_clear_parent_run(stage: Stage) -> None:
    """Clear Run of a parent that had succeeded: a fresh child is started."""
    stage.start()
    stage.finish(1)
    stage.clear_parent_run()
    stage.wait_for_children(2)
    stage.finish(2)
    first, second = stage.children()
    assert (first.run_id != second.run_id, first.clear_number) == (True, 0)


@scenario
def test_delete_parent_run(stage: Stage) -> None:
    """The parent's Dag run is deleted: its child stays, and a new Dag run of that name starts its own."""
    stage.start()
    stage.wait_until_waiting(1)
    stage.kill_worker()
    # Airflow deletes no Dag run that is running.
    runs = stage.lab.airflow.database.runs
    stage.wait_for(lambda: runs(stage.parent_dag)[0].state == "failed", "the end of its Dag run")
    stage.delete_parent_run()
    assert stage.record() is None
    assert [run.state for run in stage.children()] == ["queued"]
    stage.start()
    stage.wait_for_children(2)
    stage.mark_child()
    stage.wait_for_parent("success", 1)
    assert [run.state for run in stage.children()] == ["queued", "success"]


def _mark_and_clear(stage: Stage, state: str) -> None:
    """Mark the waiting parent; its worker ends, its child stays active. Clear it then: it adopts the child."""
    stage.start()
    stage.wait_until_waiting(1)
    first_pid = stage.parent().pid
    stage.mark_parent(state)
    stage.wait_until_gone(first_pid)
    assert stage.parent().state == state
    assert [run.state for run in stage.children()] == ["queued"]
    stage.clear_parent()
    stage.finish(2)
    assert len(stage.children()) == 1
    stage.expect_decisions("fresh_submit", "reconnect")


@scenario
def test_marked_success(stage: Stage) -> None:
    """A waiting parent is marked as success, then cleared: it adopts its child."""
    _mark_and_clear(stage, "success")


@scenario
def test_marked_failed(stage: Stage) -> None:
    """A waiting parent is marked as failed, then cleared: it adopts its child."""
    _mark_and_clear(stage, "failed")


@scenario
def test_marked_deferred(stage: Stage) -> None:
    """A deferred parent is marked as success, then cleared: it adopts its child."""
    stage.start()
    stage.wait_for_parent("deferred", 1)
    stage.mark_parent("success")
    stage.wait_for_parent("success", 1)
    assert [run.state for run in stage.children()] == ["queued"]
    stage.clear_parent()
    stage.wait_for_parent("deferred", 2)
    stage.mark_child()
    stage.wait_for_parent("success", 2)
    assert len(stage.children()) == 1
    stage.expect_decisions("fresh_submit", "reconnect")


@scenario
def test_child_cleared(stage: Stage) -> None:
    """The child is cleared while the parent waits: the parent keeps waiting."""
    stage.start()
    stage.wait_until_waiting(1)
    stage.clear_child()
    looks = stage.sent("GET", stage.poll_path)
    stage.wait_for(lambda: stage.sent("GET", stage.poll_path) > looks + 1, "further looks")
    stage.mark_child()
    stage.wait_for_parent("success", 1)
    (child,) = stage.children()
    if stage.lab.has_store:
        # Before 3.2 it counts the clears of finished runs only.
        assert child.clear_number == 1


@scenario
def test_child_failed_and_cleared(stage: Stage) -> None:
    """A failed child is cleared, then its parent: the parent adopts it, and starts no fresh run."""
    stage.start()
    stage.wait_until_waiting(1)
    stage.mark_child("failed")
    stage.wait_for_parent("failed", 1)
    stage.clear_child()
    stage.clear_parent()
    stage.finish(2)
    assert len(stage.children()) == 1
    stage.expect_decisions("fresh_submit", "reconnect")
