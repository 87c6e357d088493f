"""A synchronous wait with a generated run id: whatever its worker is doing when it dies, there is one child run."""

from __future__ import annotations

from tests.support.fault_proxy import Action

from .lab import Stage, scenario


@scenario
def test_killed_while_waiting(stage: Stage) -> None:
    """The retry goes on waiting for the child run that is there."""
    stage.start()
    stage.wait_until_waiting(1)
    stage.kill_worker()
    stage.finish(2)
    (child,) = stage.children()
    assert child.clear_number == 0
    assert stage.sent("POST", stage.submit_path) == 1
    if stage.lab.has_store:
        assert stage.decisions() == ["fresh_submit", "reconnect"]
        record = stage.record()
        assert record is not None
        assert (record["phase"], record["child"]["run_id"]) == ("consumed", child.run_id)
        assert "Reconnecting to the run that an earlier try triggered." in stage.log(2)


@scenario
def test_supervisor_killed(stage: Stage) -> None:
    """A task process without its supervisor can tell nobody anything: it ends, it does not wait on beside its retry."""
    stage.start()
    stage.wait_until_waiting(1)
    first_pid = stage.parent().pid
    stage.kill_supervisor()
    stage.wait_until_waiting(2)
    stage.wait_until_gone(first_pid)
    stage.mark_child()
    stage.wait_for_parent("success", 2)
    assert len(stage.children()) == 1


@scenario
def test_killed_before_reply(stage: Stage) -> None:
    """The run was created, its creator never knew."""
    stage.inject(Action.KILL_AFTER, "POST", stage.submit_path)
    stage.start()
    stage.wait_until_waiting(2)
    assert len(stage.children()) == 1
    stage.mark_child()
    stage.wait_for_parent("success", 2)
    assert len(stage.children()) == 1


@scenario
def test_killed_before_request(stage: Stage) -> None:
    """The run was recorded and not yet requested: the retry requests it under the recorded run id."""
    fault = stage.inject(Action.KILL_BEFORE, "POST", stage.submit_path)
    stage.start()
    fault.wait_until_hit()
    assert stage.children() == []
    record = stage.record()
    stage.finish(2)
    (child,) = stage.children()
    if stage.lab.has_store:
        assert record is not None
        assert child.run_id == record["child"]["run_id"]
        assert stage.decisions() == ["fresh_submit", "resubmit"]


@scenario
def test_killed_twice(stage: Stage) -> None:
    """Also the retry may die."""
    stage.inject(Action.KILL_AFTER, "POST", stage.submit_path)
    stage.start()
    stage.wait_until_waiting(2)
    if stage.lab.has_store:
        # It looks at its child before it records that it reconnected.
        stage.wait_for(lambda: len(stage.decisions()) > 1, "the record of the second try")
    stage.kill_worker()
    stage.finish(3)
    assert len(stage.children()) == 1
    if stage.lab.has_store:
        assert stage.decisions() == ["fresh_submit", "reconnect", "reconnect"]


@scenario
def test_killed_after_consumption(stage: Stage) -> None:
    """The outcome was recorded as consumed, the success not yet reported: the retry only reports it."""
    stage.inject(Action.KILL_AFTER, "PUT", stage.record_path, after=1)
    stage.start()
    stage.wait_until_waiting(1)
    stage.mark_child()
    stage.wait_for_parent("success", 2)
    assert len(stage.children()) == 1
    assert stage.sent("GET", stage.look_up_path, try_number=2) == 0


@scenario
def test_killed_before_success(stage: Stage) -> None:
    """The child has ended and the parent has seen it, but nobody heard of it: the retry finds the same."""
    stage.inject(Action.KILL_BEFORE, "PATCH", stage.state_path)
    stage.start()
    stage.wait_until_waiting(1)
    stage.mark_child()
    stage.wait_for_parent("success", 2)
    assert len(stage.children()) == 1


@scenario
def test_reply_lost(stage: Stage) -> None:
    """Airflow's client repeats a request whose reply it has not seen, and gets 409 for its own run."""
    stage.inject(Action.DROP_REPLY, "POST", stage.submit_path)
    stage.start()
    stage.finish(1)
    assert len(stage.children()) == 1
    statuses = [p.status for p in stage.lab.proxy.passages_of(stage.parent_dag, "POST", stage.submit_path)]
    assert statuses == [204, 409]


@scenario
def test_child_finished(stage: Stage) -> None:
    """The work was done while nobody looked: the retry takes the result."""
    stage.start()
    stage.wait_until_waiting(1)
    stage.kill_worker()
    stage.mark_child()
    stage.wait_for_parent("success", 2)
    assert len(stage.children()) == 1
    if stage.lab.has_store:
        assert stage.decisions() == ["fresh_submit", "already_succeeded"]
        assert stage.sent("GET", stage.look_up_path, try_number=2) == 1


@scenario
def test_child_failed(stage: Stage) -> None:
    """A failed run is replaced, once."""
    stage.start()
    stage.wait_until_waiting(1)
    stage.kill_worker()
    stage.mark_child("failed")
    stage.wait_for_children(2)
    stage.finish(2)
    first, second = stage.children()
    assert (first.state, second.state) == ("failed", "success")
    assert first.run_id != second.run_id
    if stage.lab.has_store:
        assert stage.decisions() == ["fresh_submit", "terminal_resubmit"]


@scenario
def test_child_deleted(stage: Stage) -> None:
    """A run that was deleted meanwhile is started again, under its own run id."""
    stage.start()
    stage.wait_until_waiting(1)
    (deleted,) = stage.children()
    stage.kill_worker()
    stage.delete_child()
    stage.finish(2)
    assert [run.run_id for run in stage.children()] == [deleted.run_id]


@scenario
def test_child_deleted_while_waiting(stage: Stage) -> None:
    """The wait ends with an error that names the run, and the retry starts it again."""
    stage.start()
    stage.wait_until_waiting(1)
    (deleted,) = stage.children()
    stage.delete_child()
    stage.finish(2)
    assert [run.run_id for run in stage.children()] == [deleted.run_id]
    assert "does not exist any more" in stage.log(1)
    assert deleted.run_id in stage.log(1)


@scenario
def test_execution_timeout(stage: Stage) -> None:
    """The time-out ends the wait, not the child."""
    stage.start()
    stage.wait_until_waiting(1)
    stage.wait_for_parent({"up_for_retry", "scheduled", "queued", "running"}, 2)
    stage.mark_child()
    stage.wait_for_parent("success")
    assert len(stage.children()) == 1
    assert "AirflowTaskTimeout" in stage.log(1)


@scenario
def test_server_away(stage: Stage) -> None:
    """An API server that does not answer for a while does not end the wait."""
    stage.start()
    stage.wait_until_waiting(1)
    fault = stage.inject(Action.UNAVAILABLE, "GET", stage.look_up_path, times=None)
    stage.wait_for(lambda: fault.hits > 20, "look-ups to fail")
    fault.lift()
    stage.mark_child()
    stage.wait_for_parent("success", 1)
    assert len(stage.children()) == 1


@scenario
def test_connection_broken(stage: Stage) -> None:
    """Nor does an API server that cannot be reached, for longer than Airflow's client tries."""
    stage.start()
    stage.wait_until_waiting(1)
    fault = stage.inject(Action.REFUSE, "GET", stage.look_up_path, times=None)
    stage.wait_for(lambda: fault.hits > 20, "look-ups to fail")
    fault.lift()
    stage.mark_child()
    stage.wait_for_parent("success", 1)
    assert len(stage.children()) == 1


@scenario
def test_mapped(stage: Stage) -> None:
    """Each mapped task instance has its own child, and finds its own again."""
    stage.start()
    stage.wait_for_children(3)
    stage.wait_until_waiting(1, map_index=1)
    stage.kill_worker(map_index=1)
    stage.wait_until_waiting(2, map_index=1)
    for run in stage.children():
        stage.mark_child(run=run)
    for map_index, tries in enumerate((1, 2, 1)):
        stage.wait_for_parent("success", tries, map_index)
    assert len(stage.children()) == 3
