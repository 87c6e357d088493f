"""What happens to a child that fails or takes too long, and what its tasks return."""

from __future__ import annotations

from .lab import Stage, scenario


@scenario
def test_child_failure_is_the_end(stage: Stage) -> None:
    """With `on_child_failure="fail"` a failed child is not replaced, even if the worker has died before."""
    stage.start()
    stage.wait_until_waiting(1)
    stage.kill_worker()
    stage.mark_child("failed")
    stage.wait_for_parent("failed", 2)
    assert [run.state for run in stage.children()] == ["failed"]


@scenario
def test_start_timeout_is_over(stage: Stage) -> None:
    """With `start_timeout`, the child stays queued because its Dag is paused: the task fails, without another try."""
    stage.start()
    stage.wait_for_parent("failed", 1)
    assert [run.state for run in stage.children()] == ["queued"]
    assert "has not begun within start_timeout (4 s): the run is queued" in stage.log(1)


@scenario
def test_start_timeout_is_over_deferred(stage: Stage) -> None:
    """The same for a deferred task."""
    stage.start()
    stage.wait_for_parent("failed", 1)
    assert [run.state for run in stage.children()] == ["queued"]
    assert "has not begun within start_timeout (4 s): the run is queued" in stage.log(1)


@scenario
def test_run_timeout_is_over(stage: Stage) -> None:
    """With `run_timeout`, the child does not end: the task fails, without another try."""
    stage.start()
    stage.wait_for_parent("failed", 1)
    assert [run.state for run in stage.children()] == ["running"]
    assert "has not ended within run_timeout (4 s): the run is running" in stage.log(1)


@scenario
def test_causes_are_named(stage: Stage) -> None:
    """The error of a task whose child has failed names the child's failed task."""
    stage.start()
    stage.wait_until_waiting(1)
    stage.lab.api.mark_task(stage.child_dag, stage.children()[-1].run_id, "work", "failed")
    stage.mark_child("failed")
    stage.wait_for_parent("failed", 1)
    _, _, causes = stage.log(1).partition("Its failed tasks:")
    assert "work" in causes[:10]


@scenario
def test_deferred_after_a_while(stage: Stage) -> None:
    """With `defer_after` the task waits on its worker first, and then in the triggerer."""
    stage.start()
    stage.wait_until_waiting(1)
    stage.wait_for_parent("deferred", 1)
    stage.mark_child()
    stage.wait_for_parent("success", 1)
    assert len(stage.children()) == 1


@scenario
def test_result_is_returned(stage: Stage) -> None:
    """With `result` the task returns what the child's tasks return: a list for a mapped one, a dict for several."""
    stage.start()
    stage.wait_for_parent("success", 1)
    assert stage.xcom("return_value") == {"work": {"rows": 7}, "parts": [10, 20]}
    assert len(stage.children()) == 1
