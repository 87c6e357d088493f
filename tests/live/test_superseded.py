"""A worker is cut off from the API server and lives on while its task is retried elsewhere: two tries at once."""

from __future__ import annotations

from tests.support.fault_proxy import Action

from .lab import Stage, scenario


@scenario
def test_partition(stage: Stage) -> None:
    """The second try adopts the child; the first one ends when the network is back, and starts nothing."""
    stage.start()
    stage.wait_until_waiting(1)
    first_pid = stage.parent().pid
    fault = stage.inject(Action.REFUSE, "*", stage.anything, try_number=1, times=None)
    stage.wait_until_waiting(2)
    fault.lift()
    stage.wait_until_gone(first_pid)
    stage.mark_child()
    stage.wait_for_parent("success", 2)
    assert len(stage.children()) == 1
    assert stage.sent("POST", stage.submit_path) == 1


@scenario
def test_superseded_before_record(stage: Stage) -> None:
    """The first try's record arrives too late: it is refused, so that try starts nothing."""
    fault = stage.inject(Action.HOLD, "PUT", stage.record_path, try_number=1)
    stage.start()
    fault.wait_until_hit()
    first_pid = stage.parent().pid
    stage.wait_until_waiting(2)
    fault.lift()
    stage.wait_until_gone(first_pid)
    stage.mark_child()
    stage.wait_for_parent("success", 2)
    assert len(stage.children()) == 1
    assert stage.sent("POST", stage.submit_path, try_number=1) == 0
    assert stage.sent("POST", stage.submit_path, try_number=2) == 1


@scenario
def test_superseded_before_request(stage: Stage) -> None:
    """The first try's request arrives after the second one's: both ask for the same run, so there is one."""
    # Every one of them: the client of 3.0 gives up after 5 s, and repeats it.
    fault = stage.inject(Action.HOLD, "POST", stage.submit_path, try_number=1, times=None)
    stage.start()
    fault.wait_until_hit()
    first_pid = stage.parent().pid
    stage.wait_until_waiting(2)
    fault.lift()
    stage.wait_until_gone(first_pid)
    stage.mark_child()
    stage.wait_for_parent("success", 2)
    assert len(stage.children()) == 1
    assert stage.sent("POST", stage.submit_path, try_number=1) >= 1
    assert stage.sent("POST", stage.submit_path, try_number=2) == 1
