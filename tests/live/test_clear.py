"""A person clears the parent: its work is done again if it was done, and its child is found again if it crashed."""

from __future__ import annotations

from .lab import Stage, scenario


@scenario
def test_clear_after_success(stage: Stage) -> None:
    """The parent had succeeded: its work is done again, by a fresh run."""
    stage.start()
    stage.finish(1)
    stage.clear_parent()
    stage.finish(2)
    first, second = stage.children()
    assert first.run_id != second.run_id


@scenario
def test_clear_child_running(stage: Stage) -> None:
    """The parent crashed and had no retries left, and its child still runs: the child is adopted."""
    stage.start()
    stage.wait_until_waiting(1)
    stage.kill_worker()
    stage.wait_for_parent("failed", 1)
    stage.clear_parent()
    stage.finish(2)
    assert len(stage.children()) == 1
    stage.expect_decisions("fresh_submit", "reconnect")


@scenario
def test_clear_child_done(stage: Stage) -> None:
    """The parent crashed and had no retries left, and its child has succeeded since: that outcome is used."""
    stage.start()
    stage.wait_until_waiting(1)
    stage.kill_worker()
    stage.mark_child()
    stage.wait_for_parent("failed", 1)
    stage.clear_parent()
    stage.wait_for_parent("success", 2)
    assert len(stage.children()) == 1
    stage.expect_decisions("fresh_submit", "already_succeeded")
