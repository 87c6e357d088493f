"""The errors that a task ends with: Airflow's own kinds, so that retries, policies and callbacks treat them alike."""

from __future__ import annotations

from airflow_durable.compat import AirflowException, AirflowFailException, AirflowSkipException
from airflow_durable.core.errors import DurableError, ForeignRunSkipError
from airflow_durable.stock import DagIsPaused


class DurableTriggerError(AirflowException):
    """The attempt failed; the task may be tried again. ``__cause__`` is the error of the protocol."""


class DurableTriggerFailError(AirflowFailException):
    """The task failed, and another try could change nothing. ``__cause__`` is the error of the protocol."""


class ChildDagPausedError(DagIsPaused):
    """The child Dag is paused, and ``fail_when_dag_is_paused`` is set. Nothing was triggered by this attempt."""

    def __init__(self, dag_id: str, run_id: str) -> None:
        super().__init__(dag_id)
        self.run_id = run_id

    def __str__(self) -> str:
        """Say what happened, to which run, and what to do."""
        return (
            f"Dag {self.dag_id!r} is paused, so its run {self.run_id!r} was not triggered, as fail_when_dag_is_paused "
            f"asks. Unpause the Dag; the next try of this task triggers the run under the same run id."
        )


def as_airflow(error: DurableError) -> AirflowException:
    """Return the exception by which Airflow does what the error means: retry, fail or skip."""
    if isinstance(error, ForeignRunSkipError):
        return AirflowSkipException(str(error))
    return (DurableTriggerFailError if error.is_terminal else DurableTriggerError)(str(error))
