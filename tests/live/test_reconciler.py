"""What a task asks for and cannot do itself: the reconciler in the API server does it once, or not at all."""

from __future__ import annotations

import psutil

from .lab import RUN_ID, Stage, scenario


def _fail_child(stage: Stage) -> None:
    """Let the child's task fail, and the run with it."""
    stage.lab.api.mark_task(stage.child_dag, stage.children()[-1].run_id, "work", "failed")
    stage.mark_child("failed")


def _resume(stage: Stage, state: str) -> None:
    stage.start()
    stage.wait_for_parent(state, 1)
    stage.wait_for_children(1)
    _fail_child(stage)
    stage.wait_for(lambda: stage.children()[-1].clear_number == 1, "the child to be resumed")
    stage.wait_for_parent(state, 2)
    stage.mark_child()
    stage.wait_for_parent("success", 2)
    assert [(run.state, run.clear_number) for run in stage.children()] == [("success", 1)]
    assert stage.audit_log() == ["durable.resume"]


@scenario
def test_resumed(stage: Stage) -> None:
    """With `on_child_failure="resume"` the parent's retry lets the same child run continue, once."""
    _resume(stage, "running")


@scenario
def test_resumed_deferred(stage: Stage) -> None:
    """The same for a deferrable task."""
    _resume(stage, "deferred")


def _expect_ended(stage: Stage) -> None:
    stage.wait_for(lambda: [run.state for run in stage.children()] == ["failed"], "the child to be ended")
    assert stage.audit_log() == ["durable.cancel"]


@scenario
def test_ended_with_failed(stage: Stage) -> None:
    """The child of a parent that failed and has no try left is ended."""
    stage.start()
    stage.wait_until_waiting(1)
    stage.kill_worker()
    _expect_ended(stage)
    assert stage.parent().state == "failed"


@scenario
def test_ended_with_marked_failed(stage: Stage) -> None:
    """The child of a parent that a person marked as failed is ended."""
    stage.start()
    stage.wait_until_waiting(1)
    stage.mark_parent("failed")
    _expect_ended(stage)


@scenario
def test_ended_with_marked_success(stage: Stage) -> None:
    """The child of a deferred parent that a person marked as success is ended, because its outcome was not used."""
    stage.start()
    stage.wait_for_parent("deferred", 1)
    stage.mark_parent("success")
    _expect_ended(stage)


@scenario
def test_ended_with_run(stage: Stage) -> None:
    """The child of a parent whose Dag run a person marked as failed is ended."""
    stage.start()
    stage.wait_until_waiting(1)
    stage.lab.api.mark_run(stage.parent_dag, RUN_ID, "failed")
    _expect_ended(stage)


@scenario
def test_items_resumed(stage: Stage) -> None:
    """Failed children of a task with many continue as the same runs, once each, when the parent is retried."""
    stage.start()
    stage.wait_for_children(3)
    failed = stage.children()[:2]
    for run in failed:
        stage.lab.api.mark_task(stage.child_dag, run.run_id, "work", "failed")
        stage.mark_child("failed", run)
    stage.wait_for(lambda: sum(run.clear_number for run in stage.children()) == 2, "two children to be resumed")
    for run in stage.children():
        stage.mark_child("success", run)
    stage.wait_for_parent("success")
    assert sorted((str(run.state), run.clear_number) for run in stage.children()) == [("success", n) for n in (0, 1, 1)]
    assert stage.audit_log() == ["durable.resume"] * 2


@scenario
def test_items_ended(stage: Stage) -> None:
    """All active children of a task with many that a person marked as failed are ended."""
    stage.start()
    stage.wait_for_children(3)
    stage.mark_child("success", stage.children()[0])
    stage.mark_parent("failed")
    stage.wait_for(lambda: [run.state for run in stage.children()].count("failed") == 2, "two children to be ended")
    assert sorted(str(run.state) for run in stage.children()) == ["failed", "failed", "success"]
    assert stage.audit_log() == ["durable.cancel"] * 2


def _expect_kept(stage: Stage) -> None:
    """Expect the second try to adopt the child, which nobody has touched."""
    stage.wait_until_waiting(2)
    assert [(run.state, run.clear_number) for run in stage.children()] == [("queued", 0)]
    stage.finish(2)
    assert stage.audit_log() == []
    stage.expect_decisions("fresh_submit", "reconnect")


@scenario
def test_kept_by_retry(stage: Stage) -> None:
    """A child whose parent's worker is killed is kept for the retry."""
    stage.start()
    stage.wait_until_waiting(1)
    stage.kill_worker()
    _expect_kept(stage)


@scenario
def test_kept_by_clear(stage: Stage) -> None:
    """A child whose parent is cleared while it waits is kept."""
    stage.start()
    stage.wait_until_waiting(1)
    first_pid = stage.parent().pid
    stage.clear_parent()
    stage.wait_until_gone(first_pid)
    _expect_kept(stage)


@scenario
def test_kept_by_termination(stage: Stage) -> None:
    """A child whose parent's worker gets SIGTERM and then SIGKILL, as when a pod is evicted, is kept for the retry."""
    stage.start()
    stage.wait_until_waiting(1)
    # The task runs its on_kill then, and goes on until it is killed (3.3, ``sdk/execution_time/task_runner.py``).
    psutil.Process(stage.parent().pid).terminate()
    stage.kill_worker()
    _expect_kept(stage)
