"""Every schedule up to the short bounds, and the shapes of the simulation that the proof rests on."""

from __future__ import annotations

import pytest

from airflow_durable.core.model import Mode
from tests.schedules.configurations import BESIDE, BOUNDS, SHORT_BOUNDS, Configuration, all_configurations
from tests.schedules.explorer import as_test, explore, replay
from tests.schedules.world import Budget

SHORT = [configuration for bound in SHORT_BOUNDS for configuration in all_configurations(bound)]
SHORT += [Configuration(mode, has_store=has_store, budget=BOUNDS[0]) for mode in Mode for has_store in (True, False)]


def _name(configuration: Configuration) -> str:
    bound = ", ".join(f"{number} {name}" for name, number in configuration.budget._asdict().items() if number)
    return f"{configuration.name} ({bound})"


@pytest.mark.parametrize("configuration", SHORT, ids=_name)
def test_no_schedule_breaks_a_property(configuration: Configuration) -> None:
    found = explore(configuration)
    assert found.violation is None, as_test(found)
    assert found.ends, "some schedule ends"


@pytest.mark.parametrize("has_store", [True, False])
@pytest.mark.parametrize("mode", Mode)
def test_a_try_executed_twice_at_once_starts_one_child(mode: Mode, has_store: bool) -> None:  # noqa: FBT001 - a parameter
    # Its two executions are of one task instance, so nothing fences them from each other. That they may undo each
    # other's consumed mark, or delete records under a fixed identity, is a limit that docs and README state.
    budget = Budget(faults=1, clears=0, failures=1, people=0)
    found = explore(Configuration(mode, has_store=has_store, twofold=BESIDE, budget=budget))
    assert found.violation is None, as_test(found)


@pytest.mark.parametrize("mode", Mode)
def test_without_faults_the_parent_succeeds(mode: Mode) -> None:
    found = explore(Configuration(mode, budget=Budget(faults=0, clears=0, failures=0, people=0)))
    assert set(found.ends) == {"success"}
    assert found.schedules < 10


def test_retries_run_out() -> None:
    configuration = Configuration(Mode.WAIT, retries=1, budget=Budget(faults=2, clears=0, failures=0, people=0))
    found = explore(configuration)
    assert found.violation is None
    assert set(found.ends) == {"success", "failed"}


def test_every_bound_reaches_a_third_attempt() -> None:
    schedule = ["try 1 starts", "try 1: is killed", "try 2 starts", "try 2: is killed", "try 3 starts"]
    world = replay(Configuration(Mode.WAIT, budget=Budget(faults=2, clears=1, failures=0, people=0)), schedule)
    assert world.task.try_number == 3


def test_exploring_again_finds_the_same() -> None:
    configuration = Configuration(Mode.DEFER, budget=Budget(faults=1, clears=0, failures=1, people=0))
    assert explore(configuration) == explore(configuration)


def test_a_schedule_that_cannot_happen_is_refused() -> None:
    with pytest.raises(LookupError, match="cannot happen"):
        replay(Configuration(Mode.WAIT), ["try 1 starts", "try 1: succeeds"])
