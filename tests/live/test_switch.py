"""Stock operators that `[durable] stock_operators = durable` makes durable: no Dag file mentions it."""

from __future__ import annotations

from tests.support.fault_proxy import Action

from .lab import Stage, scenario


def _crash_while_waiting(stage: Stage, map_index: int = -1) -> None:
    """Start the parent, kill its worker when it waits, and see that the next try waits for the same run."""
    stage.start()
    stage.wait_until_waiting(1, map_index)
    stage.kill_worker(map_index)
    stage.wait_until_waiting(2, map_index)


@scenario
def test_switched(stage: Stage) -> None:
    """A stock task is killed while it waits: its retry waits for the same run."""
    _crash_while_waiting(stage)
    stage.finish(2)
    assert len(stage.children()) == 1
    stage.expect_decisions("fresh_submit", "reconnect")
    assert "[durable] stock_operators" in stage.log(2)


@scenario
def test_switched_mapped(stage: Stage) -> None:
    """A mapped stock task is killed while it waits: its retry waits for the run of its own map index."""
    _crash_while_waiting(stage, map_index=1)
    stage.wait_for_children(2)
    for run in stage.children():
        stage.mark_child(run=run)
    stage.wait_for_parent("success", 1, map_index=0)
    stage.wait_for_parent("success", 2, map_index=1)
    assert len(stage.children()) == 2


@scenario
def test_switched_deferred(stage: Stage) -> None:
    """The worker of a stock task dies after the run was started and before the deferral: the retry finds the run."""
    stage.inject(Action.KILL_BEFORE, "PATCH", stage.state_path)
    stage.start()
    stage.wait_for_parent("deferred", 2)
    stage.mark_child()
    stage.wait_for_parent("success", 2)
    assert len(stage.children()) == 1


@scenario
def test_switched_generated(stage: Stage) -> None:
    """A generated Dag's task does not wait, and is killed before the reply: the retry finds the run."""
    stage.inject(Action.KILL_AFTER, "POST", stage.submit_path)
    stage.start()
    stage.wait_for_parent("success", 2)
    assert len(stage.children()) == 1


@scenario
def test_switched_group(stage: Stage) -> None:
    """A stock task in a task group is killed: its retry waits for the same run."""
    _crash_while_waiting(stage)
    stage.finish(2)
    assert len(stage.children()) == 1


@scenario
def test_switched_executing(stage: Stage) -> None:
    """A subclass that changes its request before `super().execute()`: its retry waits for the same run."""
    _crash_while_waiting(stage)
    stage.finish(2)
    (child,) = stage.children()
    assert stage.conf_of(child) == {"by": "theirs"}


@scenario
def test_switched_completing(stage: Stage) -> None:
    """A subclass whose `execute_complete` returns a value dies before it defers: its retry waits for the same run."""
    stage.inject(Action.KILL_BEFORE, "PATCH", stage.state_path)
    stage.start()
    stage.wait_for_parent("deferred", 2)
    stage.mark_child()
    stage.wait_for_parent("success", 2)
    assert len(stage.children()) == 1
    assert stage.xcom("return_value") == "theirs"


@scenario
def test_switched_mixed(stage: Stage) -> None:
    """A mapped subclass with a mixin and a parameter of its own: its retry waits for the same run."""
    _crash_while_waiting(stage, map_index=0)
    stage.mark_child()
    stage.wait_for_parent("success", 2, map_index=0)
    (child,) = stage.children()
    assert stage.conf_of(child) == {"customer": "a"}


@scenario
def test_switched_without_retries(stage: Stage) -> None:
    """The deployment's own `task_policy` runs after the switch, and here adds the missing retry."""
    _crash_while_waiting(stage)
    stage.finish(2)
    assert len(stage.children()) == 1


# What is left alone is the stock operator: a crash makes a second run.


def _crash_as_stock(stage: Stage) -> None:
    stage.start()
    stage.wait_until_waiting(1)
    stage.kill_worker()
    stage.wait_for_children(2)


@scenario
def test_stock_excepted(stage: Stage) -> None:
    """A task whose Dag matches a pattern of `stock_operators_except` stays a stock one."""
    _crash_as_stock(stage)
    stage.finish(2)
    assert stage.record() is None


@scenario
def test_stock_by_policy(stage: Stage) -> None:
    """A task for which the deployment's own `task_policy` sets `durable = False` stays a stock one."""
    _crash_as_stock(stage)
    stage.finish(2)
    assert stage.record() is None


# Turned in mid-wait.


@scenario
def test_stock_until_switched(stage: Stage) -> None:
    """The switch is turned on while a stock try waits: its retry starts a second run, and is durable from then on."""
    stage.turn_off()
    stage.start()
    stage.wait_until_waiting(1)
    stage.turn_on()
    stage.kill_worker()
    stage.wait_for_children(2)
    stage.wait_until_waiting(2)
    stage.kill_worker()
    stage.finish(3)
    assert [run.state for run in stage.children()] == ["queued", "success"]


@scenario
def test_switched_on_while_deferred(stage: Stage) -> None:
    """The switch is turned on while a stock task is deferred: the stock trigger's event ends the wait."""
    stage.turn_off()
    stage.start()
    stage.wait_for_parent("deferred", 1)
    stage.turn_on()
    stage.mark_child()
    stage.wait_for_parent("success", 1)
    assert len(stage.children()) == 1


@scenario
def test_switched_off_while_deferred(stage: Stage) -> None:
    """The switch is turned off while a durable task is deferred: the stock operator understands its trigger's event."""
    stage.start()
    stage.wait_for_parent("deferred", 1)
    stage.turn_off()
    stage.mark_child()
    stage.wait_for_parent("success", 1)
    assert len(stage.children()) == 1
