"""A fixed run id or logical date: the task finds its own run again, and treats another's like the stock operator."""

from __future__ import annotations

from tests.support.fault_proxy import Action

from .lab import Stage, scenario
from .limits import FIXED_RUN_ID


def _crash_and_finish(stage: Stage) -> None:
    """Lose the worker while it waits, and let the retry continue."""
    stage.start()
    stage.wait_until_waiting(1)
    stage.kill_worker()
    stage.finish(2)


@scenario
def test_fixed_id(stage: Stage) -> None:
    """A crash while waiting: the retry adopts the run, and does not fail with DagRunAlreadyExists."""
    _crash_and_finish(stage)
    assert [(run.run_id, run.clear_number) for run in stage.children()] == [(FIXED_RUN_ID, 0)]


@scenario
def test_fixed_id_before_reply(stage: Stage) -> None:
    """A crash between the request and its reply: the retry knows that the run is its own, and adopts it."""
    stage.inject(Action.KILL_AFTER, "POST", stage.submit_path)
    stage.start()
    stage.finish(2)
    assert [(run.run_id, run.clear_number) for run in stage.children()] == [(FIXED_RUN_ID, 0)]


@scenario
def test_fixed_date(stage: Stage) -> None:
    """A crash while waiting, with a fixed logical date: the retry adopts the run."""
    _crash_and_finish(stage)
    (child,) = stage.children()
    assert child.logical_date is not None
    assert child.logical_date.isoformat() == "2026-01-02T03:04:05+00:00"


@scenario
def test_fixed_id_skip(stage: Stage) -> None:
    """A crash while waiting, with skip_when_already_exists: the retry adopts its own run, and is not skipped."""
    _crash_and_finish(stage)
    assert len(stage.children()) == 1


@scenario
def test_fixed_id_reset(stage: Stage) -> None:
    """With reset_dag_run an old run is reset once, and not again by the retry."""
    stage.start_foreign_child(FIXED_RUN_ID)
    _crash_and_finish(stage)
    assert [(run.run_id, run.clear_number) for run in stage.children()] == [(FIXED_RUN_ID, 1)]


@scenario
def test_fixed_id_reset_before_reply(stage: Stage) -> None:
    """A crash between a reset and its reply: the retry does not reset the run again."""
    stage.start_foreign_child(FIXED_RUN_ID)
    stage.inject(Action.KILL_AFTER, "POST", stage.reset_path)
    stage.start()
    stage.finish(2)
    assert [(run.run_id, run.clear_number) for run in stage.children()] == [(FIXED_RUN_ID, 1)]


@scenario
def test_foreign(stage: Stage) -> None:
    """Somebody else's run has the run id: the task fails, and that run stays as it is."""
    stage.start_foreign_child(FIXED_RUN_ID)
    stage.start()
    stage.wait_for_parent("failed")
    assert [(run.state, run.clear_number) for run in stage.children()] == [("success", 0)]
    if stage.lab.has_store:
        assert stage.sent("POST", stage.submit_path) == 1
    assert FIXED_RUN_ID in stage.log(1)


@scenario
def test_foreign_skip(stage: Stage) -> None:
    """Somebody else's run has the run id, with skip_when_already_exists: the task is skipped."""
    stage.start_foreign_child(FIXED_RUN_ID)
    stage.start()
    stage.wait_for_parent("skipped", 1)
    assert [(run.state, run.clear_number) for run in stage.children()] == [("success", 0)]
