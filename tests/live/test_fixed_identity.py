"""A fixed run id or logical date: our own run is found again, and somebody else's is treated as stock treats it."""

from __future__ import annotations

from tests.support.fault_proxy import Action

from .lab import Stage, scenario
from .limits import FIXED_RUN_ID


def _crash_and_finish(stage: Stage) -> None:
    """Lose the worker while it waits, and let the retry go on."""
    stage.start()
    stage.wait_until_waiting(1)
    stage.kill_worker()
    stage.finish(2)


@scenario
def test_fixed_id(stage: Stage) -> None:
    """Not DagRunAlreadyExists."""
    _crash_and_finish(stage)
    assert [(run.run_id, run.clear_number) for run in stage.children()] == [(FIXED_RUN_ID, 0)]


@scenario
def test_fixed_id_before_reply(stage: Stage) -> None:
    """The run was seen to be free before it was recorded: the one that is there now is ours."""
    stage.inject(Action.KILL_AFTER, "POST", stage.submit_path)
    stage.start()
    stage.finish(2)
    assert [(run.run_id, run.clear_number) for run in stage.children()] == [(FIXED_RUN_ID, 0)]


@scenario
def test_fixed_date(stage: Stage) -> None:
    """The same with a logical date."""
    _crash_and_finish(stage)
    (child,) = stage.children()
    assert child.logical_date is not None
    assert child.logical_date.isoformat() == "2026-01-02T03:04:05+00:00"


@scenario
def test_fixed_id_skip(stage: Stage) -> None:
    """Our own run is no reason to skip."""
    _crash_and_finish(stage)
    assert len(stage.children()) == 1


@scenario
def test_fixed_id_reset(stage: Stage) -> None:
    """An old run is reset once, and not again by the retry."""
    stage.start_foreign_child(FIXED_RUN_ID)
    _crash_and_finish(stage)
    assert [(run.run_id, run.clear_number) for run in stage.children()] == [(FIXED_RUN_ID, 1)]


@scenario
def test_fixed_id_reset_before_reply(stage: Stage) -> None:
    """The reset was done, and the one who asked for it never knew."""
    stage.start_foreign_child(FIXED_RUN_ID)
    stage.inject(Action.KILL_AFTER, "POST", stage.reset_path)
    stage.start()
    stage.finish(2)
    assert [(run.run_id, run.clear_number) for run in stage.children()] == [(FIXED_RUN_ID, 1)]


@scenario
def test_foreign(stage: Stage) -> None:
    """Somebody else's run fails the task, and stays as it is."""
    stage.start_foreign_child(FIXED_RUN_ID)
    stage.start()
    stage.wait_for_parent("failed")
    assert [(run.state, run.clear_number) for run in stage.children()] == [("success", 0)]
    if stage.lab.has_store:
        assert stage.sent("POST", stage.submit_path) == 1
    assert FIXED_RUN_ID in stage.log(1)


@scenario
def test_foreign_skip(stage: Stage) -> None:
    """Somebody else's run skips the task where the user says so."""
    stage.start_foreign_child(FIXED_RUN_ID)
    stage.start()
    stage.wait_for_parent("skipped", 1)
    assert [(run.state, run.clear_number) for run in stage.children()] == [("success", 0)]
