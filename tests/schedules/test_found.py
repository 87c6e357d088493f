"""Schedules that broke a property once. Each failed before the change that its comment names."""

from __future__ import annotations

from airflow_durable.core.model import Mode
from tests.schedules.configurations import AFTER, DATE, RUN_ID, Configuration
from tests.schedules.explorer import replay
from tests.schedules.world import Budget

BUDGET = Budget(faults=2, clears=1, failures=1, people=1)
DERIVED = "manual__durable_6a7b28a18fa53e489b3e3fe3"


def test_a_clear_after_the_retries_were_lowered_starts_a_fresh_child() -> None:
    # max_tries after the clear is 1 + 1: as before it. Only max_tries was compared.
    schedule = [
        "try 1 starts",
        "try 1: write",
        "try 1: submit manual__durable_ti0_0: created",
        "manual__durable_ti0_0 succeeds",
        "try 1: look-up of manual__durable_ti0_0: success",
        "try 1: write",
        "try 1: succeeds",
        "a person clears the task, with its retries lowered to 1",
        "try 2 starts",
        "try 2: read",
        "try 2: write",
        "try 2: submit manual__durable_ti1_1: created",
    ]
    world = replay(Configuration(Mode.WAIT, budget=BUDGET), schedule)
    assert len(world.runs) == 2


def test_a_first_try_executed_twice_starts_one_child() -> None:
    # The second execution read no record, as it was of a first try, and chose another random run id.
    schedule = [
        "try 1 starts",
        "try 1: write",
        "try 1: submit manual__durable_ti0_0: created",
        "try 1: is killed, and the same try is executed again",
        "try 1 (execution 2): write",
        "try 1 (execution 2): submit manual__durable_ti0_0: 409",
        "try 1 (execution 2): look-up of manual__durable_ti0_0: running",
    ]
    world = replay(Configuration(Mode.WAIT, twofold=AFTER, budget=BUDGET), schedule)
    assert len(world.runs) == 1


def test_a_first_try_executed_twice_finds_its_child_under_a_fixed_identity() -> None:
    # The second execution took the child of the first for a foreign run: it failed, was skipped, or reset it.
    schedule = [
        "try 1 starts",
        "try 1: look-up of fixed: missing",
        "try 1: write",
        "try 1: submit fixed: created",
        "try 1: is killed, and the same try is executed again",
        "try 1 (execution 2): look-up of fixed: running",
        "try 1 (execution 2): read",
        "try 1 (execution 2): look-up of fixed: running",
        "try 1 (execution 2): write",
        "try 1 (execution 2): look-up of fixed: running",
    ]
    for is_reset in (False, True):
        configuration = Configuration(Mode.WAIT, RUN_ID, is_reset=is_reset, twofold=AFTER, budget=BUDGET)
        world = replay(configuration, schedule)
        assert [run.clear_number for run in world.runs] == [0]


def test_a_run_submitted_again_is_not_taken_for_the_one_before_its_reset() -> None:
    # The baseline of the run that a person deleted was kept, and the new run under the fixed date is like it.
    schedule = [
        "try 1 starts",
        "try 1: look-up of fixed: running",
        "try 1: read",
        "try 1: write",
        "try 1: is killed",
        "try 2 starts",
        "try 2: read",
        "a person deletes fixed",
        "try 2: look-up of fixed: missing",
        "try 2: write",
        "try 2: submit fixed: created",
        "try 2: is killed",
        "try 3 starts",
        "try 3: read",
        "try 3: look-up of fixed: running",
        "try 3: write",
        "try 3: look-up of fixed: running",
    ]
    configuration = Configuration(Mode.WAIT, DATE, is_reset=True, foreign="run", budget=BUDGET)
    world = replay(configuration, schedule)
    assert [run.clear_number for run in world.runs] == [0]


def test_without_a_store_a_try_executed_twice_finds_its_own_first_child() -> None:
    # The search ended at the child of the try before: with that one deleted, a second one was started under its run id.
    schedule = [
        "try 1 starts",
        f"try 1: submit {DERIVED}_0: created",
        "try 1: is killed",
        "try 2 starts",
        f"try 2: look-up of {DERIVED}_1: missing",
        f"{DERIVED}_0 fails",
        f"try 2: look-up of {DERIVED}_0: failed",
        f"try 2: look-up of {DERIVED}_0: failed",
        f"try 2: submit {DERIVED}_1: created",
        "try 2: is killed, and the same try is executed again",
        f"a person deletes {DERIVED}_0",
        f"try 2 (execution 2): look-up of {DERIVED}_1: running",
        f"try 2 (execution 2): look-up of {DERIVED}_1: running",
    ]
    world = replay(Configuration(Mode.WAIT, has_store=False, twofold=AFTER, budget=BUDGET), schedule)
    assert [run.run_id for run in world.runs] == [f"{DERIVED}_1"]
