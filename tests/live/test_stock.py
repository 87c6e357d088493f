"""Without `durable` the operator behaves like the stock one. So these tests would notice a second run."""

from __future__ import annotations

from .lab import Stage, scenario


@scenario
def test_stock(stage: Stage) -> None:
    """A crash while waiting: the retry starts a second child run."""
    stage.start()
    stage.wait_until_waiting(1)
    stage.kill_worker()
    stage.wait_for_children(2)
    for run in stage.children():
        stage.mark_child(run=run)
    stage.wait_for_parent("success", 2)
    assert len(stage.children()) == 2
    assert stage.record() is None


@scenario
def test_stock_fixed_id(stage: Stage) -> None:
    """A crash while waiting, with a fixed run id: the retry fails."""
    stage.start()
    stage.wait_until_waiting(1)
    stage.kill_worker()
    stage.wait_for_parent("failed")
    assert [run.state for run in stage.children()] == ["queued"]
    assert stage.record() is None
