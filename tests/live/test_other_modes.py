"""Deferrable waits, and fire-and-forget."""

from __future__ import annotations

from tests.support.fault_proxy import Action

from .lab import Stage, scenario


@scenario
def test_fire_and_forget(stage: Stage) -> None:
    """Fire-and-forget, a crash after the run was started: it is not started again."""
    stage.inject(Action.KILL_AFTER, "POST", stage.submit_path)
    stage.start()
    stage.wait_for_parent("success", 2)
    assert [run.state for run in stage.children()] == ["queued"]


@scenario
def test_deferred(stage: Stage) -> None:
    """The worker that resumes the task dies before it has recorded the outcome: the retry uses that outcome."""
    # Where nothing is recorded: before it reports success. Its deferral was the first state that it reported.
    method, path = ("PUT", stage.record_path) if stage.lab.has_store else ("PATCH", stage.state_path)
    stage.inject(Action.KILL_BEFORE, method, path, after=1)
    stage.start()
    stage.wait_for_parent("deferred", 1)
    stage.mark_child()
    stage.wait_for_parent("success", 2)
    assert len(stage.children()) == 1
    if stage.lab.has_store:
        assert stage.decisions() == ["fresh_submit", "already_succeeded"]


@scenario
def test_killed_before_deferral(stage: Stage) -> None:
    """A crash after the run was started and before the task was deferred: the retry finds the run, and defers."""
    stage.inject(Action.KILL_BEFORE, "PATCH", stage.state_path)
    stage.start()
    stage.wait_for_parent("deferred", 2)
    stage.mark_child()
    stage.wait_for_parent("success", 2)
    assert len(stage.children()) == 1


@scenario
def test_deferred_child_deleted(stage: Stage) -> None:
    """The child is deleted during the deferral: the try fails and names the run, and the retry starts it again."""
    stage.start()
    stage.wait_for_parent("deferred", 1)
    (deleted,) = stage.children()
    stage.delete_child()
    stage.wait_for_parent("deferred", 2)
    stage.mark_child()
    stage.wait_for_parent("success", 2)
    assert [run.run_id for run in stage.children()] == [deleted.run_id]
    assert deleted.run_id in stage.log(1)


@scenario
def test_deferred_child_failed(stage: Stage) -> None:
    """The child fails during the deferral: the try fails, and the retry starts a fresh run."""
    stage.start()
    stage.wait_for_parent("deferred", 1)
    stage.mark_child("failed")
    stage.wait_for_children(2)
    stage.wait_for_parent("deferred", 2)
    stage.mark_child()
    stage.wait_for_parent("success", 2)
    first, second = stage.children()
    assert (first.state, second.state) == ("failed", "success")


@scenario
def test_deferred_triggerer_killed(stage: Stage) -> None:
    """The triggerer dies: another one takes over the wait, and the parent does not notice."""
    stage.start()
    stage.wait_for_parent("deferred", 1)
    with stage.lab.without_triggerer():
        stage.mark_child()
    stage.wait_for_parent("success", 1)
    assert len(stage.children()) == 1
