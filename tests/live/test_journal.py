"""A record that cannot be written or understood: nothing is triggered."""

from __future__ import annotations

from tests.support.fault_proxy import Action

from .lab import Stage, scenario


@scenario
def test_journal_away(stage: Stage) -> None:
    """The first try cannot write its record, so it starts nothing; the second try can, and starts the child."""
    stage.inject(Action.UNAVAILABLE, "PUT", stage.record_path, try_number=1, times=None)
    stage.start()
    stage.finish(2)
    assert len(stage.children()) == 1
    assert stage.sent("POST", stage.submit_path, try_number=1) == 0
    assert "could not be written for run" in stage.log(1)


@scenario
def test_record_damaged(stage: Stage) -> None:
    """The record cannot be understood: the task fails, and names the key."""
    stage.start()
    stage.wait_until_waiting(1)
    stage.kill_worker()
    assert stage.lab.airflow.database.overwrite_stored(stage.parent_dag, {"version": 1}) == 1
    stage.wait_for_parent("failed")
    assert len(stage.children()) == 1
    assert stage.sent("POST", stage.submit_path) == 1
    log = stage.log(2)
    assert "The record under the task state store key 'durable_child_run' cannot be understood" in log
