"""Each error says what happened, to which run, and what to do."""

from __future__ import annotations

import pytest

from airflow_durable.core import errors

RUN = ("child", "run-1")


@pytest.mark.parametrize(
    ("error", "happened", "to_do", "is_terminal"),
    [
        (errors.ChildRunFailedError(*RUN, "failed"), "ended in the failed state 'failed'", "the next try", False),
        (errors.ChildRunMissingError(*RUN), "was deleted while this task waited", "starts it again", False),
        (errors.ChildRunForeignError(*RUN, state="running"), "did not start it. It is running", "Choose another", True),
        (errors.ChildRunForeignError(*RUN), "did not start it. Nothing was triggered", "skip_when_already", True),
        (errors.LogicalDateTakenError(*RUN, "2026"), "with the logical date 2026", "Choose another logical_date", True),
        (errors.ForeignRunSkipError(*RUN), "already has the run", "as skip_when_already_exists asks", True),
        (errors.FixedRunFailedError(*RUN, "failed"), "is failed, and its trigger_run_id", "reset_dag_run=True", True),
        (errors.SubmissionRefusedError(*RUN, "why"), "refused to start run", "Nothing was triggered", False),
        (errors.SubmissionUnknownError(*RUN, "why"), "It is not known whether", "the next try of this task", False),
        (errors.LogicalDateClashError(*RUN, 5), "was taken by another run 5 times", "The next try", False),
        (errors.LookUpFailedError(*RUN, "why", is_transient=True), "could not be read: why", "the next try", False),
        (errors.JournalWriteError(*RUN, "why"), "could not be written", "the next try goes on", False),
        (errors.RunIdInvalidError(*RUN, "why"), "cannot be used: why", "Change trigger_run_id", True),
        (errors.EventInvalidError(*RUN, "why"), "cannot be understood: why", "the next try of this task", False),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_an_error_says_what_where_and_what_to_do(
    error: errors.DurableError,
    happened: str,
    to_do: str,
    is_terminal: bool,  # noqa: FBT001 - a parameter
) -> None:
    assert happened in str(error)
    assert "'child'" in str(error)
    assert "'run-1'" in str(error)
    assert to_do in str(error)
    assert error.is_terminal is is_terminal


def test_errors_without_a_run() -> None:
    read = errors.JournalReadError("away")
    assert "could not be read: away. Nothing was triggered" in str(read)
    assert not read.is_terminal
    conf = errors.ConfInvalidError("child", "TypeError")
    assert "The conf for Dag 'child' is not JSON: TypeError. Nothing was triggered. Pass a dict" in str(conf)
    assert conf.is_terminal
    date = errors.DateInvalidError("child", "logical_date", "it has no time zone")
    assert "The logical_date for Dag 'child' cannot be used: it has no time zone. Nothing was triggered." in str(date)
    assert date.is_terminal


def test_every_error_is_listed_here() -> None:
    listed = {name for name, error in vars(errors).items() if isinstance(error, type) and issubclass(error, Exception)}
    assert len(listed - {"DurableError"}) == 17
