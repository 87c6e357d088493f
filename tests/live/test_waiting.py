"""Waits on a worker, with a generated run id: whatever the worker is doing when it dies, there is one child run."""

from __future__ import annotations

from tests.support.fault_proxy import Action

from .lab import Stage, scenario


@scenario
def test_killed_while_waiting(stage: Stage) -> None:
    """A crash while waiting: the retry continues to wait for the same child run."""
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
    """The supervisor dies but not the task's process: that process ends, and does not wait beside its retry."""
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
    """A crash between the request and its reply: the retry finds the run."""
    stage.inject(Action.KILL_AFTER, "POST", stage.submit_path)
    stage.start()
    stage.wait_until_waiting(2)
    assert len(stage.children()) == 1
    stage.mark_child()
    stage.wait_for_parent("success", 2)
    assert len(stage.children()) == 1


@scenario
def test_killed_before_request(stage: Stage) -> None:
    """A crash between the record and the request: the retry starts the run under the recorded run id."""
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
    """The worker and then the worker of the retry die: the third try finds the run."""
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
    """A crash after the outcome was marked as consumed: the retry only reports success."""
    stage.inject(Action.KILL_AFTER, "PUT", stage.record_path, after=1)
    stage.start()
    stage.wait_until_waiting(1)
    stage.mark_child()
    stage.wait_for_parent("success", 2)
    assert len(stage.children()) == 1
    assert stage.sent("GET", stage.look_up_path, try_number=2) == 0


@scenario
def test_killed_before_success(stage: Stage) -> None:
    """A crash after the parent has seen its child's success: the retry uses that outcome."""
    stage.inject(Action.KILL_BEFORE, "PATCH", stage.state_path)
    stage.start()
    stage.wait_until_waiting(1)
    stage.mark_child()
    stage.wait_for_parent("success", 2)
    assert len(stage.children()) == 1


@scenario
def test_reply_lost(stage: Stage) -> None:
    """A reply is lost, and Airflow's client repeats the request and gets a 409: the run is adopted."""
    stage.inject(Action.DROP_REPLY, "POST", stage.submit_path)
    stage.start()
    stage.finish(1)
    assert len(stage.children()) == 1
    statuses = [p.status for p in stage.lab.proxy.passages_of(stage.parent_dag, "POST", stage.submit_path)]
    assert statuses == [204, 409]


@scenario
def test_child_finished(stage: Stage) -> None:
    """The child succeeds while the worker is dead: the retry uses the outcome."""
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
    """The child fails while the worker is dead: the retry starts a fresh run, once."""
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
    """The child is deleted while the worker is dead: the retry starts it again, under the same run id."""
    stage.start()
    stage.wait_until_waiting(1)
    (deleted,) = stage.children()
    stage.kill_worker()
    stage.delete_child()
    stage.finish(2)
    assert [run.run_id for run in stage.children()] == [deleted.run_id]


@scenario
def test_child_deleted_while_waiting(stage: Stage) -> None:
    """The child is deleted while the parent waits: the try fails and names the run, and the retry starts it again."""
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
    """execution_timeout ends the try, not the child: the retry adopts it."""
    stage.start()
    stage.wait_until_waiting(1)
    stage.wait_for_parent({"up_for_retry", "scheduled", "queued", "running"}, 2)
    stage.mark_child()
    stage.wait_for_parent("success")
    assert len(stage.children()) == 1
    assert "AirflowTaskTimeout" in stage.log(1)


@scenario
def test_server_away(stage: Stage) -> None:
    """The API server does not answer for a while: the wait continues."""
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
    """The API server is out of reach for longer than Airflow's client repeats a request: the wait continues."""
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
    """A crash of mapped tasks: each mapped task instance finds its own child again."""
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
