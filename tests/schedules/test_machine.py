"""
Random schedules, for depths that the enumeration does not reach: more of everything that goes wrong, all of it at once.

The rules are the simulation's own actions, by kind, so that a schedule has a mix of them. In CI the schedules are the
same each time; elsewhere they are new, and a failure prints how to draw it again. What they find is kept in
``test_found.py``.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from tests.schedules.bounds import kinds
from tests.schedules.properties import check_rest
from tests.schedules.simulation import Simulation
from tests.schedules.world import Budget

if TYPE_CHECKING:
    from tests.schedules.configurations import Configuration
    from tests.schedules.requests import Action
    from tests.schedules.world import World

DEEP = Budget(faults=5, clears=3, failures=3, edits=2, losses=2, leaps=2)
DEEP_CONFIGURATIONS = [kind.configuration._replace(budget=DEEP) for kind in kinds()]


class Schedules(RuleBasedStateMachine):
    """One or more parents, their children, and what happens to them."""

    simulation: Simulation
    world: World

    @initialize(configuration=st.sampled_from(DEEP_CONFIGURATIONS))
    def begin(self, configuration: Configuration) -> None:
        """Choose the operator and its Airflow."""
        note(repr(configuration))
        self.simulation = Simulation(configuration)
        self.world = self.simulation.initial()

    def _actions(self, *kinds: str) -> list[Action]:
        return [action for action in self.simulation.actions(self.world) if action.kind in kinds]

    def _do(self, action: Action) -> None:
        note(repr(action.label))
        if action.violation is not None:
            raise action.violation
        self.world = action.world

    def _draw(self, data: st.DataObject, *kinds: str) -> None:
        if actions := self._actions(*kinds):
            self._do(data.draw(st.sampled_from(actions), label="action"))

    @rule(data=st.data())
    def go_on(self, data: st.DataObject) -> None:
        """Let tries and the scheduler go on."""
        self._draw(data, "step", "scheduler")

    @rule(data=st.data())
    def go_on_again(self, data: st.DataObject) -> None:
        """Do so more often than anything else."""
        self._draw(data, "step", "scheduler")

    @rule(data=st.data())
    def let_a_child_end(self, data: st.DataObject) -> None:
        """Let a child end."""
        self._draw(data, "child")

    @rule(data=st.data())
    def let_the_reconciler_act(self, data: st.DataObject) -> None:
        """Let the reconciler do what it is asked for."""
        self._draw(data, "reconciler")

    @precondition(lambda self: self.world.budget.faults)
    @rule(data=st.data())
    def break_something(self, data: st.DataObject) -> None:
        """Break something."""
        self._draw(data, "fault")

    @precondition(lambda self: self.world.budget.clears)
    @rule(data=st.data())
    def have_a_person_act(self, data: st.DataObject) -> None:
        """Have a person clear the task, or edit it."""
        self._draw(data, "people")

    @precondition(lambda self: self.world.budget.leaps and self.simulation.configuration.start_timeout)
    @rule(data=st.data())
    def let_time_pass(self, data: st.DataObject) -> None:
        """Let a ``start_timeout`` be over."""
        self._draw(data, "clock")

    def teardown(self) -> None:
        """Stop all faults and people: the parents end."""
        if not hasattr(self, "simulation"):
            return
        self.world = self.world._replace(budget=Budget())
        for _ in range(1000):
            actions = self._actions("reconciler", "step", "scheduler", "child")
            if not actions:
                break
            self._do(actions[0])
        if not self._actions("reconciler", "step", "scheduler", "child"):
            check_rest(self.world)
            return
        message = f"a parent does not end: {[task.state for task in self.world.tasks if not task.is_over]}"
        raise AssertionError(message)


IS_CI = "CI" in os.environ

TestSchedules = Schedules.TestCase
TestSchedules.settings = settings(
    max_examples=int(os.environ.get("SCHEDULES_EXAMPLES", "150")),
    stateful_step_count=80,
    deadline=None,
    derandomize=IS_CI,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
