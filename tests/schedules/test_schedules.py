"""Every schedule up to the short bounds, and the shapes of the simulation that the proof rests on."""

from __future__ import annotations

import pytest

from airflow_durable.core.model import Mode
from tests.schedules.bounds import describe, short
from tests.schedules.configurations import RUN_ID, Configuration
from tests.schedules.explorer import as_test, explore, replay
from tests.schedules.world import Budget

SHORT = short()


@pytest.mark.parametrize("configuration", SHORT, ids=[describe(it) for it in SHORT])
def test_no_schedule_breaks_a_property(configuration: Configuration) -> None:
    found = explore(configuration)
    assert found.violation is None, as_test(found)
    assert found.ends, "some schedule ends"


@pytest.mark.parametrize("mode", Mode)
def test_without_faults_the_parent_succeeds(mode: Mode) -> None:
    found = explore(Configuration(mode))
    assert set(found.ends) == {"success"}
    assert found.schedules < 10


def test_of_parents_that_contend_for_a_run_id_one_succeeds() -> None:
    for is_skip, losing in ((False, "failed"), (True, "skipped")):
        found = explore(Configuration(Mode.WAIT, RUN_ID, parents=2, is_skip=is_skip))
        assert found.violation is None, as_test(found)
        assert set(found.ends) == {f"success, {losing}", f"{losing}, success"}


def test_parents_that_reset_one_run_both_succeed_with_it() -> None:
    """Each resets it once at most, so neither keeps the other from its end."""
    found = explore(Configuration(Mode.WAIT, RUN_ID, parents=2, is_reset=True))
    assert found.violation is None, as_test(found)
    assert set(found.ends) == {"success, success"}


def test_retries_run_out() -> None:
    found = explore(Configuration(Mode.WAIT, retries=1, budget=Budget(faults=2)))
    assert found.violation is None
    assert set(found.ends) == {"success", "failed"}


def test_two_faults_reach_a_third_try() -> None:
    schedule = ["try 1 starts", "try 1: is killed", "try 2 starts", "try 2: is killed", "try 3 starts"]
    world = replay(Configuration(Mode.WAIT, budget=Budget(faults=2)), schedule)
    assert world.tasks[0].try_number == 3


def test_exploring_again_finds_the_same() -> None:
    configuration = Configuration(Mode.DEFER, budget=Budget(faults=1, failures=1))
    assert explore(configuration) == explore(configuration)


def test_a_schedule_that_cannot_happen_is_refused() -> None:
    with pytest.raises(LookupError, match="cannot happen"):
        replay(Configuration(Mode.WAIT), ["try 1 starts", "try 1: succeeds"])


def test_an_exploration_that_is_cut_short_says_so() -> None:
    found = explore(Configuration(Mode.WAIT, budget=Budget(faults=1)), most=10)
    assert found.schedules == 0
