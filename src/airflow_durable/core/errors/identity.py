"""A run id or a logical date is taken, by another's run or by one that is used up."""

from __future__ import annotations

from airflow_durable.core.errors.base import DurableError


class ChildRunForeignError(DurableError):
    """
    A run that this parent did not start has the fixed identity.

    :param is_left: the task asks for another run by now; and this one may be its own, as the reply to its request was
        lost.
    :ivar is_run_known: the run has the identity that the task asks for now.
    """

    is_terminal = True

    def __init__(self, dag_id: str, run_id: str, *, state: str | None = None, is_left: bool = False) -> None:
        seen = f" It is {state}." if state else ""
        to_do = (
            "Choose another trigger_run_id or logical_date, delete that run, or set skip_when_already_exists or "
            "reset_dag_run."
        )
        if is_left:
            to_do = (
                "An earlier try asked for that run, and this task asks for another one now. If that run is not this "
                "task's, or has ended, clear this task: it starts the run that it asks for now."
            )
        super().__init__(
            f"Dag {dag_id!r} already has a run {run_id!r}, and it is not known that this task started it.{seen} "
            f"Nothing was triggered. {to_do}"
        )
        self.is_run_known = not is_left


_RUN_AGAIN = (
    "If that run has what this task asks for now, clear it and, while it is active, this task: it waits for that run. "
    "If the conf or the date was edited, delete that run and clear this task: it starts the run again."
)


class RunUsedUpError(DurableError):
    """The run under the fixed identity is this task's own, and its outcome was used before the task was cleared."""

    is_terminal = True

    def __init__(self, dag_id: str, run_id: str, state: str) -> None:
        super().__init__(
            f"Dag {dag_id!r} already has the run {run_id!r}. This task started it before it was cleared; it is "
            f"{state}, and there can be no second run with a fixed trigger_run_id or logical_date. Nothing was "
            f"triggered. {_RUN_AGAIN} Or set reset_dag_run=True and clear this task: it resets that run, which keeps "
            f"its conf."
        )


class LogicalDateTakenError(DurableError):
    """Another run of the child Dag has the fixed logical date, under another run id."""

    is_terminal = True

    def __init__(self, dag_id: str, run_id: str, logical_date: str) -> None:
        super().__init__(
            f"Dag {dag_id!r} already has a run with the logical date {logical_date}, under a run id other than "
            f"{run_id!r}, and this task did not start it. Nothing was triggered. Choose another logical_date, delete "
            f"that run, or set skip_when_already_exists."
        )


class ForeignRunSkipError(DurableError):
    """
    Not a failure: with ``skip_when_already_exists`` the task is skipped, as the stock operator would.

    :param is_run_known: False: another run, whose id is not known, has the logical date.
    """

    is_terminal = True

    def __init__(self, dag_id: str, run_id: str, *, is_run_known: bool = True) -> None:
        self.is_run_known = is_run_known
        super().__init__(
            f"Dag {dag_id!r} already has the run {run_id!r} or one with its logical date: skipped, "
            f"because skip_when_already_exists is set."
        )


class FixedRunFailedError(DurableError):
    """The child under a fixed identity failed, and that identity cannot have a second run."""

    is_terminal = True

    def __init__(self, dag_id: str, run_id: str, state: str) -> None:
        super().__init__(
            f"Child run {run_id!r} of Dag {dag_id!r} is {state}, and its trigger_run_id or logical_date is fixed, so "
            f"there can be no fresh run. Nothing was triggered. {_RUN_AGAIN} Or set reset_dag_run=True and clear this "
            f"task: it resets that run, which keeps its conf."
        )


class LogicalDateClashError(DurableError):
    """Every logical date that we chose was taken. This happens only with a very busy child Dag."""

    def __init__(self, dag_id: str, run_id: str, times: int) -> None:
        super().__init__(
            f"Run {run_id!r} of Dag {dag_id!r} could not be started: its logical date was taken by another run "
            f"{times} times in a row. Nothing was triggered.",
            if_retried="The next try of this task uses the same run id, with another date.",
            if_final="Clear this task to try another date.",
        )


class RunIdsTakenError(DurableError):
    """Every run id that was tried belongs to a run that an earlier Dag run of the same name started."""

    def __init__(self, dag_id: str, run_id: str) -> None:
        super().__init__(
            f"Dag {dag_id!r} has runs under all run ids up to {run_id!r}. Earlier Dag runs with the same name as this "
            f"task's Dag run started them. Nothing was triggered. Delete those runs, or run this task's Dag under "
            f"another run id."
        )
