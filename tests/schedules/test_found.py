"""Schedules that broke a property once. Each failed before the change that its comment names."""

from __future__ import annotations

from datetime import timedelta

from airflow_durable.core.model import Mode, OnClear
from tests.schedules.configurations import DATE, RUN_ID, Configuration
from tests.schedules.explorer import finish, replay, steer
from tests.schedules.world import ACTIVE, FAILED, SUCCESS, Budget

FIRST = "qtu2dlefkwnd"
"""The first child of the parent."""


def _finish(configuration: Configuration, *schedule: str) -> tuple[str, list[str]]:
    """Return how the parent ends, and the confs of the children that there are then."""
    world = finish(configuration, replay(configuration, schedule))
    return world.tasks[0].state, sorted(run.conf for run in world.runs)


def test_a_clear_stays_visible_to_a_try_that_sends_again_and_meets_the_run_of_before_it() -> None:
    # What the try wrote ahead hid the clear from it: the child of the old conf was waited out, and then taken.
    configuration = Configuration(Mode.WAIT, edits=("conf",), budget=Budget(faults=1, clears=1))
    ended = _finish(
        configuration,
        "try 1 starts",
        "try 1: set .0",
        "try 1: is cut off and given up, and runs on",
        "a person clears the task, with its conf edited",
        "try 2 starts",
        "try 2: get .0",
        "try 2: get .1",
        f"try 2: look-up of {FIRST}: missing",
        f"try 1: submit {FIRST}: created",
    )
    assert ended == (SUCCESS, ["conf 1.1", "conf 1.1 edited"])


def test_a_used_run_under_a_fixed_run_id_is_not_taken_where_the_look_up_failed() -> None:
    # The 409 of what was to be a fresh run was taken for one of an earlier send: the old success counted again.
    configuration = Configuration(Mode.WAIT, RUN_ID, budget=Budget(faults=1, clears=1))
    ended = _finish(
        configuration,
        "try 1 starts",
        "try 1: set .0",
        "try 1: submit fixed: created",
        "fixed succeeds",
        "try 1: look-up of fixed: success",
        "try 1: set .1",
        "try 1: succeeds",
        "a person clears the task",
        "try 2 starts",
        "try 2: get .0",
        "try 2: get .1",
        "try 2: get .2",
        "try 2: get .call_00002",
        "try 2: get .call_00002.1",
        "try 2: look fails, the server is away",
    )
    assert ended == ("failed", ["conf 1.1"])


def test_a_run_under_a_fixed_run_id_is_not_taken_over_from_an_earlier_life() -> None:
    # Only the parent's name told whose it is, and a Dag run that was deleted and created again has the same.
    configuration = Configuration(Mode.WAIT, RUN_ID, budget=Budget(remakes=1))
    ended = _finish(
        configuration,
        "try 1 starts",
        "try 1: set .0",
        "try 1: submit fixed: created",
        "fixed succeeds",
        "the Dag run of the task is deleted and created again",
    )
    assert ended == ("failed", ["conf 1.1"])


def test_a_child_of_before_an_edit_of_the_run_id_is_not_taken_after_a_clear() -> None:
    # Only Dag and conf were compared.
    configuration = Configuration(Mode.WAIT, edits=("run id",), budget=Budget(clears=1))
    ended = _finish(
        configuration,
        "try 1 starts",
        "try 1: set .0",
        f"try 1: submit {FIRST}: created",
        f"{FIRST} succeeds",
        "a person clears the task, with its run id edited",
    )
    assert ended == (SUCCESS, ["conf 1.1", "conf 1.1"])


def test_a_child_of_another_logical_date_under_the_same_run_id_is_not_taken_after_a_clear() -> None:
    # What was compared with the present date was the one that had just been sent, and refused with a 409.
    configuration = Configuration(Mode.WAIT, DATE, edits=("date",), budget=Budget(clears=1))
    ended = _finish(
        configuration,
        "try 1 starts",
        "try 1: set .0",
        "try 1: submit fixed: created",
        "fixed succeeds",
        "a person clears the task, with its date edited",
    )
    assert ended == ("failed", ["conf 1.1"])


def test_fire_and_forget_does_not_wait_for_the_active_child_of_an_earlier_life() -> None:
    # An adopted child was always waited for.
    configuration = Configuration(Mode.FIRE_AND_FORGET, budget=Budget(remakes=1))
    schedule = [
        "try 1 starts",
        "try 1: set .0",
        f"try 1: submit {FIRST}: created",
        "the Dag run of the task is deleted and created again",
        "try 1 starts",
        "try 1: set .0",
        f"try 1: submit {FIRST}: 409",
        f"try 1: look-up of {FIRST}: running",
        "try 1: get .0",
        "try 1: get .1",
        "try 1: get .1",
        "try 1: set .1",
        "try 1: set .2",
        "try 1: succeeds",
    ]
    assert [run.state for run in replay(configuration, schedule).runs] == [ACTIVE]


def test_a_late_child_of_another_logical_date_under_the_same_run_id_is_not_taken_after_a_clear() -> None:
    # As above; here the record had been compared, which by then was that of the present date.
    configuration = Configuration(Mode.WAIT, DATE, edits=("date",), budget=Budget(clears=1))
    ended = _finish(
        configuration,
        "try 1 starts",
        "try 1: set .0",
        "a person clears the task, with its date edited",
        "try 2 starts",
        "try 2: get .0",
        "try 2: get .1",
        "try 2: look-up of fixed: missing",
        "try 1: submit fixed: created",
        "try 2: get .1",
        "try 2: set .1",
        "try 2: submit fixed: 409",
        "fixed succeeds",
    )
    assert ended == ("failed", ["conf 1.1"])


def test_a_later_call_does_not_leave_a_run_id_whose_request_may_be_on_its_way() -> None:
    # The first call asked for the work anew, and the second one followed to a new run id: two active children.
    configuration = Configuration(Mode.WAIT, calls=2, edits=("conf",), budget=Budget(clears=1))
    schedule = [
        "try 1 starts",
        "try 1: set .0",
        f"try 1: submit {FIRST}: created",
        f"{FIRST} succeeds",
        f"try 1: look-up of {FIRST}: success",
        "try 1: set .1",
        "try 1: set .call_00002",
        "a person clears the task, with its conf edited",
        "try 2 starts",
        "try 2: get .0",
        "try 2: get .1",
        "try 2: get .2",
        "try 2: get .call_00002",
        "try 2: get .call_00002.1",
        f"try 2: look-up of {FIRST}: success",
        "try 2: get .2",
        "try 2: set .2",
        "try 2: submit 6k75wj2smhvl_e1: created",
        "6k75wj2smhvl_e1 succeeds",
        "try 2: look-up of 6k75wj2smhvl_e1: success",
        "try 2: set .3",
        "try 2: get .call_00002",
        "try 2: get .call_00002.1",
        "try 2: look-up of sbgp3b5y6vvs_c2: missing",
        "try 1: submit sbgp3b5y6vvs_c2: created",
    ]
    state, confs = _finish(configuration, *schedule)
    assert state == SUCCESS
    assert confs.count("conf 1.2 edited") == 1


def test_the_end_of_the_record_is_not_believed_at_once() -> None:
    # Only that there was no first entry was looked at again: without the mark, the used child was taken.
    configuration = Configuration(Mode.WAIT, is_misread=True, budget=Budget(clears=1, losses=1))
    ended = _finish(
        configuration,
        "try 1 starts",
        "try 1: set .0",
        f"try 1: submit {FIRST}: created",
        f"{FIRST} succeeds",
        f"try 1: look-up of {FIRST}: success",
        "try 1: set .1",
        "try 1: succeeds",
        "a person clears the task",
        "try 2 starts",
        "try 2: get .0",
        "try 2: get .1: a wrong none",
    )
    assert ended == (SUCCESS, ["conf 1.1", "conf 1.1"])


def test_a_marked_start_is_not_enough_for_a_task_that_waits_by_now() -> None:
    # The mark alone decided, whatever it was the mark of.
    configuration = Configuration(Mode.FIRE_AND_FORGET, edits=("mode",), budget=Budget(faults=1, edits=1, failures=1))
    ended = _finish(
        configuration,
        "try 1 starts",
        "try 1: set .0",
        f"try 1: submit {FIRST}: created",
        "try 1: set .1",
        "try 1: is killed",
        "the mode of the task is edited",
        "try 2 starts",
        "try 2: get .0",
        "try 2: get .1",
        "try 2: get .2",
        f"try 2: look-up of {FIRST}: running",
    )
    assert ended == (SUCCESS, ["conf 1.1"])


def test_a_used_up_run_that_is_written_down_does_not_hide_the_clear() -> None:
    # The record was lost. The entry that says what became of the run had the numbers of the try that wrote it. That try
    # died, so the next one took itself for an automatic retry, and took the outcome of before the clear.
    configuration = Configuration(Mode.DEFER, RUN_ID, is_discarding=True, budget=Budget(faults=1, clears=1, losses=1))
    world = steer(
        configuration,
        "try 1: defers",
        "fixed succeeds",
        "try 1: succeeds",
        "a person clears the task, and its record is discarded",
        "try 2: set .0",
        "try 2: is killed",
    )
    assert finish(configuration, world).tasks[0].state == FAILED


def test_an_entry_that_outlives_the_record_costs_no_try() -> None:
    # A clear discards the record, and the process of the cleared try still writes. The next try read that there was no
    # first entry, wrote it, found the next one, and failed, as a read was wrong.
    configuration = Configuration(Mode.WAIT, is_discarding=True, budget=Budget(clears=1, losses=1))
    world = steer(
        configuration,
        f"try 1: submit {FIRST}: created",
        "a person clears the task, and its record is discarded",
        f"{FIRST} succeeds",
        "try 1: set .1",
        "try 1 is stopped",
    )
    ended = finish(configuration, world)
    assert (ended.tasks[0].state, ended.tasks[0].try_number) == (SUCCESS, 2)


def test_what_a_clear_had_started_is_not_reset_for_that_clear() -> None:
    # After a clear, the run that a 409 pointed to was taken for one of before the clear, also if this very request had
    # created it.
    configuration = Configuration(
        Mode.WAIT, RUN_ID, is_reset=True, on_clear=OnClear.FRESH, budget=Budget(faults=1, clears=1)
    )
    ended = _finish(
        configuration,
        "try 1 starts",
        "try 1: set .0",
        "a person clears the task",
        "try 2 starts",
        "try 2: get .0",
        "try 2: get .1",
        "try 2: look-up of fixed: missing",
        "try 2: get .1",
        "try 2: set .1",
        "try 2: submit arrives, its reply is lost, the client repeats it and gets 409",
        "try 2: look-up of fixed: running",
    )
    assert ended == (SUCCESS, ["conf 1.1"])


def test_start_timeout_is_over_once_after_a_reset_of_the_reconcilers() -> None:
    # The reset was taken for a clear by a person, so the timeout began once more when it was over.
    configuration = Configuration(
        Mode.DEFER,
        RUN_ID,
        is_reset=True,
        is_reset_asked=True,
        start_timeout=timedelta(days=50),
        budget=Budget(failures=1, leaps=1),
    )
    schedule = [
        "try 1 starts",
        "try 1: set .0",
        "try 1: submit fixed: created",
        "try 1: defers",
        "fixed leaves the queue",
        "fixed begins",
        "fixed fails",
        "the trigger sees failed; try 1 resumes",
        "try 1: fails with ChildRunFailedError",
        "try 2 starts",
        "try 2: get .0",
        "try 2: get .1",
        "try 2: look-up of fixed: failed",
        "try 2: get .1",
        "try 2: set .1",
        "the reconciler resets fixed",
        "try 2: look-up of fixed: queued",
        "try 2: set .2",
        "try 2: look-up of fixed: queued",
        "try 2: defers",
        "the clock moves",
        "the trigger sees that a timeout can be over; try 2 resumes",
        "try 2: look-up of fixed: queued",
        "try 2: fails with StartTimeoutError",
    ]
    assert replay(configuration, schedule).tasks[0].state == FAILED


def test_an_active_child_is_found_also_if_the_one_before_it_was_adopted_after_a_clear() -> None:
    # The adopted run took its generation into the epoch of the clear, so the next one had a run id that no later try
    # knew: after another clear without a record, one more was started beside it.
    configuration = Configuration(Mode.DEFER, is_discarding=True, budget=Budget(failures=3, clears=2, losses=2))
    clear = "a person clears the task, and its record is discarded"
    world = steer(
        configuration,
        f"{FIRST} fails",
        "l4c7ibi4q2zq_r1 fails",
        "try 3: defers",
        clear,
        "try 4: defers",
        "zv2yzu7tbwxk_r2 fails",
        "try 5: defers",
        clear,
    )
    ended = finish(configuration, world)
    assert ended.tasks[0].state == SUCCESS
    assert [run.state for run in ended.runs].count(SUCCESS) == 1


def test_a_run_that_was_adopted_after_a_clear_is_one_that_the_reconciler_can_prove() -> None:
    # Its run id was computed from the epoch, which had moved.
    configuration = Configuration(Mode.DEFER, is_discarding=True, budget=Budget(clears=1, losses=1))
    world = steer(
        configuration, "try 1: defers", "a person clears the task, and its record is discarded", "try 2: defers"
    )
    assert finish(configuration, world).tasks[0].state == SUCCESS


def test_an_active_child_after_the_runs_of_other_lives_is_found_after_a_clear() -> None:
    # As many generations were looked for as there were tries, and the first two are of other lives.
    configuration = Configuration(
        Mode.DEFER, earlier=(SUCCESS, SUCCESS), is_discarding=True, budget=Budget(clears=1, losses=1)
    )
    world = steer(configuration, "try 1: defers", "a person clears the task, and its record is discarded")
    ended = finish(configuration, world)
    assert [run.run_id.rpartition("_")[2] for run in ended.runs if run.state == SUCCESS].count("r2") == 1
    assert len(ended.runs) == 3
