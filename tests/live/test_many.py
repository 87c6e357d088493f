"""Many children from one task: whatever dies, there is one healthy child for each item."""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING

from tests.support.fault_proxy import Action

from .lab import scenario

if TYPE_CHECKING:
    from airflow_durable.metadata.model import DagRun

    from .lab import Stage

NUMBER = int(os.environ.get("MANY_CHILDREN", "60"))


@scenario
def test_many_deferred(stage: Stage) -> None:
    """The worker dies three times while the task starts the runs, and the triggerer once while it waits for them."""
    _kill_while_starting(stage)
    stage.start()
    stage.wait_for_parent("deferred")
    with stage.lab.without_triggerer():
        pass
    _expect_one_each(stage)


@scenario
def test_many_waiting(stage: Stage) -> None:
    """The worker dies three times while the task starts the runs; the task waits for them on its worker."""
    _kill_while_starting(stage)
    stage.start()
    _expect_one_each(stage)


@scenario
def test_many_overdue(stage: Stage) -> None:
    """A run that stays queued for too long fails the task at once, without a retry; after a clear the task takes it."""
    overdue = _mark_all_but_one(stage)
    stage.wait_for_parent("failed", 1)
    stage.clear_parent()
    stage.wait_for_parent("running", 2)
    stage.mark_child(run=overdue)
    stage.wait_for_parent("success", 2)
    assert Counter(run.state for run in stage.children()) == {"success": 3}


@scenario
def test_many_overdue_deferred(stage: Stage) -> None:
    """A run that stays queued for too long is tolerated, as one that failed; nothing is done to it."""
    overdue = _mark_all_but_one(stage)
    stage.wait_for_parent("success")
    assert Counter(run.state for run in stage.children()) == {"success": 2, "queued": 1}
    found = stage.xcom("return_value")
    item = overdue.run_id.rpartition("_i")[2]
    assert (found["items"], found["succeeded"], found["failed"]) == (3, 2, 1)
    assert found["failed_items"] == [{"item": item, "run_id": overdue.run_id, "reason": "start_timeout"}]


def _mark_all_but_one(stage: Stage) -> DagRun:
    """Start the parent, and let all of its runs but one succeed; return that one, which stays queued."""
    stage.start()
    stage.wait_for_children(3)
    overdue, *others = stage.children()
    for run in others:
        stage.mark_child(run=run)
    return overdue


def _kill_while_starting(stage: Stage) -> None:
    """Let the first try die before a request, the second and third ones after theirs took effect."""
    stage.inject(Action.KILL_BEFORE, "POST", stage.submit_path, after=NUMBER // 10)
    stage.inject(Action.KILL_AFTER, "POST", stage.submit_path, after=NUMBER // 6)
    stage.inject(Action.KILL_AFTER, "POST", stage.submit_path, after=NUMBER // 4)


def _expect_one_each(stage: Stage) -> None:
    stage.wait_for_parent("success")
    # A deferral that ends before the scheduler knows of its worker's end costs a try more (lab.py says why).
    assert stage.parent().try_number >= 4
    assert Counter(run.state for run in stage.children()) == {"success": NUMBER}
    confs = [stage.conf_of(run)["name"] for run in stage.children()]
    assert sorted(confs) == sorted(f"item-{number}" for number in range(NUMBER))
    found = stage.xcom("return_value")
    assert (found["items"], found["succeeded"], found["failed"]) == (NUMBER, NUMBER, 0)
