"""Every way in which an attempt can end without success. Each says what happened, to which run, and what to do."""

from __future__ import annotations


class DurableError(Exception):
    """
    The base of all errors of the protocol.

    :cvar is_terminal: True: another try can change nothing, so the task fails without one.
    """

    is_terminal = False


class ChildRunFailedError(DurableError):
    """The child reached one of the failed states. The next attempt starts a fresh child."""

    def __init__(self, dag_id: str, run_id: str, state: str) -> None:
        super().__init__(
            f"Child run {run_id!r} of Dag {dag_id!r} ended in the failed state {state!r}. Look at that run for the "
            f"cause; the next try of this task starts a new one."
        )


class ChildRunMissingError(DurableError):
    """The child does not exist any more. The next attempt submits it again, under the same run id."""

    def __init__(self, dag_id: str, run_id: str) -> None:
        super().__init__(
            f"Child run {run_id!r} of Dag {dag_id!r} does not exist any more: it was deleted while this task waited "
            f"for it. The next try of this task starts it again under the same run id; if it should not run at all, "
            f"mark this task as you want it to end."
        )


class ChildRunForeignError(DurableError):
    """A run that this parent did not start has the fixed identity."""

    is_terminal = True

    def __init__(self, dag_id: str, run_id: str, *, state: str | None = None) -> None:
        seen = f" It is {state}." if state else ""
        super().__init__(
            f"Dag {dag_id!r} already has a run {run_id!r}, and this task did not start it.{seen} Nothing was "
            f"triggered. Choose another trigger_run_id or logical_date, delete that run, or set "
            f"skip_when_already_exists or reset_dag_run."
        )


class LogicalDateTakenError(DurableError):
    """Another run of the child Dag has the fixed logical date, under another run id."""

    is_terminal = True

    def __init__(self, dag_id: str, run_id: str, logical_date: str) -> None:
        super().__init__(
            f"Dag {dag_id!r} already has a run with the logical date {logical_date}, under another run id than "
            f"{run_id!r}, and this task did not start it. Nothing was triggered. Choose another logical_date, delete "
            f"that run, or set skip_when_already_exists."
        )


class ForeignRunSkipError(DurableError):
    """Not a failure: with ``skip_when_already_exists`` the task is skipped, as the stock operator would."""

    is_terminal = True

    def __init__(self, dag_id: str, run_id: str) -> None:
        super().__init__(
            f"Dag {dag_id!r} already has the run {run_id!r} or one with its logical date, and this task did not start "
            f"it: skipped, as skip_when_already_exists asks."
        )


class FixedRunFailedError(DurableError):
    """The child under a fixed identity failed, and that identity cannot have a second run."""

    is_terminal = True

    def __init__(self, dag_id: str, run_id: str, state: str) -> None:
        super().__init__(
            f"Child run {run_id!r} of Dag {dag_id!r} is {state}, and its trigger_run_id or logical_date is fixed, so "
            f"there can be no fresh run. Nothing was triggered. Clear that run and then this task (it waits for the "
            f"run again), or set reset_dag_run=True to have it reset by the next try."
        )


class SubmissionRefusedError(DurableError):
    """The API server refused the request for good: nothing was started."""

    def __init__(self, dag_id: str, run_id: str, reason: str) -> None:
        super().__init__(
            f"The API server refused to start run {run_id!r} of Dag {dag_id!r}: {reason}. Nothing was triggered."
        )


class SubmissionUnknownError(DurableError):
    """The request may or may not have arrived. The run id is in the journal, so the next attempt finds out."""

    def __init__(self, dag_id: str, run_id: str, reason: str) -> None:
        super().__init__(
            f"It is not known whether run {run_id!r} of Dag {dag_id!r} was started: {reason}. Its run id is recorded: "
            f"the next try of this task adopts it if it exists, and starts it under the same id if not."
        )


class LogicalDateClashError(DurableError):
    """Every logical date that we chose was taken, which takes a very busy child Dag."""

    def __init__(self, dag_id: str, run_id: str, times: int) -> None:
        super().__init__(
            f"Run {run_id!r} of Dag {dag_id!r} could not be started: its logical date was taken by another run "
            f"{times} times in a row. The next try of this task goes on with the same run id."
        )


class LookUpFailedError(DurableError):
    """
    The child's state could not be read.

    :param is_transient: the same look-up may succeed later (the API server is away, overloaded or restarting).
    """

    def __init__(self, dag_id: str, run_id: str, reason: str, *, is_transient: bool) -> None:
        super().__init__(
            f"The state of run {run_id!r} of Dag {dag_id!r} could not be read: {reason}. The run goes on; the next "
            f"try of this task finds it by its run id."
        )
        self.dag_id = dag_id
        self.run_id = run_id
        self.reason = reason
        self.is_transient = is_transient


class JournalReadError(DurableError):
    """The journal could not be read, so nothing was triggered."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"The journal of this task (its task state store) could not be read: {reason}. Nothing was triggered, as "
            f"a run of an earlier attempt might be overlooked. The next try of this task reads it again."
        )


class JournalWriteError(DurableError):
    """The journal could not be written, so nothing was triggered."""

    def __init__(self, dag_id: str, run_id: str, reason: str) -> None:
        super().__init__(
            f"The journal of this task (its task state store) could not be written for run {run_id!r} of Dag "
            f"{dag_id!r}: {reason}. Nothing was triggered since. If a newer attempt of this task runs elsewhere, it "
            f"has taken over; else the next try goes on from what was last recorded."
        )


class RecordDamagedError(DurableError):
    """The record is there but cannot be understood. Starting over could be a duplicate."""

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(
            f"The record under the task state store key {key!r} cannot be understood: {reason}. Nothing was "
            f"triggered, as that could start a second child run. Look for a run that this task has already started; "
            f"then delete that key from this task's state store and clear the task."
        )


class RunIdInvalidError(DurableError):
    """The rendered run id is one that Airflow would refuse, or take for another."""

    is_terminal = True

    def __init__(self, dag_id: str, run_id: str, reason: str) -> None:
        super().__init__(
            f"trigger_run_id {run_id!r} for Dag {dag_id!r} cannot be used: {reason}. Nothing was triggered. Change "
            f"trigger_run_id (or its template)."
        )


class ConfInvalidError(DurableError):
    """The conf is not JSON. The message never shows it: it may hold secrets."""

    is_terminal = True

    def __init__(self, dag_id: str, reason: str) -> None:
        super().__init__(
            f"The conf for Dag {dag_id!r} is not JSON: {reason}. Nothing was triggered. Pass a dict (or its JSON "
            f"text) of strings, numbers, booleans, None, lists and dicts."
        )


class DateInvalidError(DurableError):
    """The logical date or the run-after date is none that Airflow can use."""

    is_terminal = True

    def __init__(self, dag_id: str, name: str, reason: str) -> None:
        super().__init__(
            f"The {name} for Dag {dag_id!r} cannot be used: {reason}. Nothing was triggered. Pass a date with a time "
            f"zone, or its ISO 8601 text."
        )


class EventInvalidError(DurableError):
    """The event that ended the deferred wait cannot be understood. The child goes on."""

    def __init__(self, dag_id: object, run_id: object, reason: str) -> None:
        super().__init__(
            f"The event that ended the wait for run {run_id!r} of Dag {dag_id!r} cannot be understood: {reason}. The "
            f"run goes on; the next try of this task finds it by its record."
        )
