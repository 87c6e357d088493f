"""Many children from one task: whatever dies, there is one healthy child for each item."""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING

from tests.support.fault_proxy import Action

from .lab import scenario

if TYPE_CHECKING:
    from .lab import Stage

NUMBER = int(os.environ.get("MANY_CHILDREN", "60"))


@scenario
def test_many_deferred(stage: Stage) -> None:
    """The worker dies three times while the task starts the runs, and the triggerer once while it waits for them."""
    _kill_while_starting(stage)
    stage.start()
    stage.wait_for_parent("deferred")
    airflow = stage.lab.airflow
    (triggerer,) = [component for component in airflow.components if component.kind == "triggerer"]
    airflow.kill(triggerer)
    airflow.start_component("triggerer")
    _expect_one_each(stage)


@scenario
def test_many_waiting(stage: Stage) -> None:
    """The worker dies three times while the task starts the runs; the task waits for them on its worker."""
    _kill_while_starting(stage)
    stage.start()
    _expect_one_each(stage)


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
