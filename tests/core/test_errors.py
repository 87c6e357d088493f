"""Each error says what happened, to which run, and what to do; and what it says is true of the last try, too."""

from __future__ import annotations

import re
from typing import Any

import pytest

from airflow_durable.core import errors

RUN = ("child", "run-1")
NAMED = [
    errors.ChildRunFailedError(*RUN, "failed", is_awaited=True, is_fixed=False, is_reset=False),
    errors.ChildRunFailedError(*RUN, "success", is_awaited=False, is_fixed=False, is_reset=False),
    errors.ChildRunFailedError(*RUN, "failed", is_awaited=True, is_fixed=True, is_reset=False),
    errors.ChildRunFailedError(*RUN, "failed", is_awaited=True, is_fixed=True, is_reset=True),
    errors.ChildRunMissingError(*RUN),
    errors.ChildRunForeignError(*RUN, state="running"),
    errors.ChildRunForeignError(*RUN),
    errors.RunUsedUpError(*RUN, "success"),
    errors.LogicalDateTakenError(*RUN, "2026-01-01"),
    errors.ForeignRunSkipError(*RUN),
    errors.FixedRunFailedError(*RUN, "failed"),
    errors.CallsDifferError(*RUN, 2),
    errors.SubmissionRefusedError(*RUN, "why", status=404),
    errors.SubmissionUnknownError(*RUN, "why"),
    errors.LogicalDateClashError(*RUN, 5),
    errors.RunIdsTakenError(*RUN),
    errors.LookUpFailedError(*RUN, "why", is_transient=True),
    errors.JournalWriteError(*RUN, "why"),
    errors.RunIdInvalidError(*RUN, "why"),
    errors.EventInvalidError(*RUN, "why"),
    errors.ChildRunFailedError(
        *RUN, "failed", is_awaited=True, is_fixed=False, is_reset=False, on_child_failure="resume"
    ),
    errors.ChildRunFailedError(*RUN, "failed", is_awaited=True, is_fixed=True, is_reset=False, on_child_failure="fail"),
    errors.StartTimeoutError(*RUN, 60, "it is queued"),
    errors.RunTimeoutError(*RUN, 60, "it is running"),
    errors.ReconcilerMissingError(*RUN, 120),
    errors.ResultMissingError(*RUN, "task", "it has returned none"),
    errors.ResultUnreadableError(*RUN, "task", "why"),
    errors.ChildStateUnknownError(*RUN, "suspended"),
    errors.SubmissionUnknownError(*RUN, "why", is_reset=True),
    errors.SubmissionRefusedError(*RUN, "why", status=400, is_reset=True),
    errors.ChildRunForeignError(*RUN, state="running", is_left=True),
]
UNNAMED = [
    errors.JournalReadError("why"),
    errors.RecordDamagedError("durable_child_run", "why"),
    errors.ConfInvalidError("child", "why"),
    errors.DateInvalidError("child", "logical_date", "why"),
    errors.DagIdInvalidError("why"),
    errors.RequestInvalidError("Some parameter cannot be used."),
]


def name_of(error: object) -> str:
    return type(error).__name__


@pytest.mark.parametrize("error", NAMED, ids=name_of)
def test_an_error_names_the_run(error: errors.DurableError) -> None:
    for has_next_try in (False, True):
        text = error.explain(has_next_try=has_next_try)
        assert "'child'" in text
        assert "'run-1'" in text


@pytest.mark.parametrize("error", NAMED + UNNAMED, ids=name_of)
def test_a_text_is_made_of_whole_sentences(error: errors.DurableError) -> None:
    for has_next_try in (False, True):
        text = error.explain(has_next_try=has_next_try)
        assert text.endswith(".")
        assert text[0].isupper() or text.startswith("trigger_")
        assert "  " not in text
        assert ".." not in text
        assert text.startswith(str(error))


@pytest.mark.parametrize("error", NAMED + UNNAMED, ids=name_of)
def test_a_next_try_is_promised_only_where_there_is_one(error: errors.DurableError) -> None:
    assert "next try" not in str(error)
    assert "next try" not in error.explain(has_next_try=False)
    if error.is_terminal:
        assert error.explain(has_next_try=True) == error.explain(has_next_try=False) == str(error)


@pytest.mark.parametrize(
    "error", [error for error in NAMED + UNNAMED if not isinstance(error, errors.ForeignRunSkipError)], ids=name_of
)
def test_a_person_is_told_what_to_do(error: errors.DurableError) -> None:
    to_do = r"\b(Clear|clear|Choose|Delete|delete|Open|Correct|Pass|Make|set)\b"
    assert re.search(to_do, error.explain(has_next_try=False))


@pytest.mark.parametrize(
    ("error", "happened", "if_retried", "if_final"),
    [
        (NAMED[0], "ended in the failed state 'failed'. Open that run", "starts a new run", "to start a new run"),
        (NAMED[1], "has ended in state 'success', which is neither in allowed_states", "starts a new run", "to start"),
        (NAMED[2], "the failed state", "fails, too, unless that run is cleared first", "clear that run, then this"),
        (
            NAMED[3],
            "the failed state",
            "The next try of this task resets that run.",
            "Clear this task to reset that run",
        ),
        (NAMED[4], "was deleted while this task waited", "starts it again under the same run id", "Clear this task"),
        (NAMED[5], "not known that this task started it. It is running. Nothing was", "", ""),
        (NAMED[6], "not known that this task started it. Nothing was triggered. Choose another", "", ""),
        (NAMED[7], "This task started it before it was cleared; it is success", "", "set reset_dag_run=True"),
        (NAMED[8], "a run with the logical date 2026-01-01, under a run id other than", "", ""),
        (NAMED[9], "skipped, because skip_when_already_exists is set", "", ""),
        (NAMED[10], "is failed, and its trigger_run_id or logical_date is fixed", "", "set reset_dag_run=True"),
        (NAMED[11], "Call 2 of this try differs from call 2 of an earlier try", "can continue", "then clear this task"),
        (
            NAMED[12],
            "refused to start run 'run-1' of Dag 'child': why. Nothing was",
            "sends the request that the Dag file describes then",
            "Correct the cause",
        ),
        (NAMED[13], "It is not known whether run 'run-1'", "adopts it if it exists", "finds the run if it exists"),
        (NAMED[14], "was taken by another run 5 times in a row", "uses the same run id", "to try another date"),
        (NAMED[15], "has runs under all run ids up to 'run-1'", "", "Delete those runs"),
        (NAMED[16], "could not be read: why. Nothing was done", "finds it by its run id", "once the run can be read"),
        (NAMED[17], "could not be written for run 'run-1'", "continues from what was last recorded", "Otherwise clear"),
        (
            NAMED[18],
            "trigger_run_id 'run-1' for Dag 'child' cannot be used: why",
            "renders the parameter again",
            "Correct it",
        ),
        (NAMED[19], "cannot be understood: why. Nothing was done", "finds it by its record", "Clear this task"),
        (NAMED[20], "ended in the failed state", "The next try of this task resumes that run", "to resume that run"),
        (NAMED[21], "clear that run, then this task", "", ""),
        (NAMED[22], "has not begun within start_timeout (60 s): it is queued.", "", ""),
        (NAMED[23], "has not ended within run_timeout (60 s): it is running.", "", ""),
        (
            NAMED[24],
            "was not resumed within [durable] reconciler_timeout (120 s)",
            "asks for it again",
            "then this task",
        ),
        (NAMED[25], "result of task 'task' in child run 'run-1'", "", ""),
        (
            NAMED[26],
            "could not be read: why. The run itself has done",
            "reads it again",
            "From Airflow 3.3 on, it starts no other run. Before",
        ),
        (NAMED[27], "is in the state 'suspended'", "waits for that run again", "Mark that run as success or failed"),
        (
            NAMED[28],
            "It is not known whether run 'run-1' of Dag 'child' was reset: why.",
            "resets that run if this has not been done",
            "Clear this task: it finds out, and resets",
        ),
        (
            NAMED[29],
            "refused to reset run 'run-1' of Dag 'child': why. Nothing was",
            "sends the request that the Dag file describes then",
            "Correct the cause",
        ),
        (NAMED[30], "It is running. Nothing was triggered. An earlier try asked for that run", "", "clear this task"),
        (UNNAMED[0], "could not be read: why. Nothing was triggered", "reads it again", "once it can be read"),
        (UNNAMED[1], "under the task state store key 'durable_child_run'", "", "delete all keys"),
        (
            UNNAMED[2],
            "The conf for Dag 'child' is not JSON: why. Pass a dict",
            "renders the parameter again",
            "Correct it",
        ),
        (
            UNNAMED[3],
            "The logical_date for Dag 'child' cannot be used: why. Pass a date",
            "renders the parameter again",
            "Correct",
        ),
        (
            UNNAMED[4],
            "trigger_dag_id cannot be used: why. Nothing was triggered.",
            "renders the parameter again",
            "Correct it",
        ),
    ],
)
def test_what_is_said(error: errors.DurableError, happened: str, if_retried: str, if_final: str) -> None:
    assert happened in str(error)
    assert if_retried in error.explain(has_next_try=True)
    assert if_final in error.explain(has_next_try=False)


def test_what_only_a_person_can_change_is_not_tried_again() -> None:
    assert {name_of(error) for error in NAMED + UNNAMED if error.is_terminal} == {
        "ChildRunForeignError",
        "FixedRunFailedError",
        "ChildRunFailedError",
        "ForeignRunSkipError",
        "ResultMissingError",
        "RunTimeoutError",
        "StartTimeoutError",
        "LogicalDateTakenError",
        "RunUsedUpError",
    }


def test_what_a_caller_can_ask_of_an_error() -> None:
    refused: Any = NAMED[12]
    look_up: Any = NAMED[16]
    assert refused.status == 404
    assert errors.SubmissionRefusedError(*RUN, "why").status is None
    assert (look_up.dag_id, look_up.run_id, look_up.reason, look_up.is_transient) == (*RUN, "why", True)
    assert not errors.JournalReadError("why").is_transient
    assert errors.JournalReadError("why", is_transient=True).is_transient
    assert not errors.JournalWriteError(*RUN, "why").is_transient
    assert errors.JournalWriteError(*RUN, "why", is_transient=True).is_transient


def test_a_call_that_differs_says_how_to_start_all_of_them_again() -> None:
    assert "'durable_child_run'" in NAMED[11].explain(has_next_try=False)


def test_every_error_is_listed_here() -> None:
    listed = {name for name, error in vars(errors).items() if isinstance(error, type) and issubclass(error, Exception)}
    assert {name_of(error) for error in NAMED + UNNAMED} == listed - {"DurableError"}


def test_a_failed_child_is_named_with_its_failed_tasks() -> None:
    error = errors.ChildRunFailedError(*RUN, "failed", is_awaited=True, is_fixed=False, is_reset=False)
    error.failed_tasks = ("load try 2 http://airflow/load", "and 3 more")
    assert error.explain(has_next_try=False).endswith("Its failed tasks:\nload try 2 http://airflow/load\nand 3 more")
