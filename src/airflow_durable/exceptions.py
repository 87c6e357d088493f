"""
The errors that a task ends with: Airflow's own kinds, so that retries, policies and callbacks treat them alike.

Each also is of the class that the stock operator raises in that case, so that a rule of a ``retry_policy`` or an
``except`` for that still fits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType
from pendulum.parsing.exceptions import ParserError

from airflow_durable.compat import AirflowException, AirflowFailException, AirflowSkipException
from airflow_durable.core import errors
from airflow_durable.stock import DagIsPaused

if TYPE_CHECKING:
    from airflow_durable.core.errors import DurableError


class DurableTriggerError(AirflowException):
    """
    The try failed; the task may be tried again.

    :ivar reason: the error of the protocol.
    """

    reason: DurableError | None = None


class DurableTriggerFailError(AirflowFailException):
    """
    The task failed, and another try could change nothing.

    :ivar reason: the error of the protocol.
    """

    reason: DurableError | None = None


class DurableTriggerValueError(DurableTriggerError, ValueError):
    """A parameter has a value that cannot be used. The stock operator raises a ``ValueError``."""


class DurableTriggerDateError(DurableTriggerValueError, ParserError):
    """A text that is no date. The stock operator raises pendulum's ``ParserError``."""

    def __init__(self, text: str) -> None:
        Exception.__init__(self, text)


class DurableTriggerTypeError(DurableTriggerError, TypeError):
    """A date that is neither a date nor a text. The stock operator raises a ``TypeError``."""


class DurableTriggerServerError(DurableTriggerError, AirflowRuntimeError):
    """
    The API server refused a request, could not be reached, or does not have the child run any more.

    Airflow raises an ``AirflowRuntimeError``.
    """

    def __init__(self, text: str, status: int | None) -> None:
        from airflow.sdk.execution_time.comms import ErrorResponse

        detail = {"status_code": status, "message": text}
        Exception.__init__(self, text)
        self.error = ErrorResponse(error=ErrorType.API_SERVER_ERROR, detail=detail)


class ChildDagPausedError(DagIsPaused):
    """The child Dag is paused, and ``fail_when_dag_is_paused`` is set. Nothing was triggered by this try."""

    def __init__(self, dag_id: str, run_id: str) -> None:
        super().__init__(dag_id)
        self.run_id = run_id

    def __str__(self) -> str:
        """Say what happened, to which run, and what to do."""
        return (
            f"Dag {self.dag_id!r} is paused, so its run {self.run_id!r} was not triggered, as fail_when_dag_is_paused "
            f"asks. Unpause the Dag; a later try of this task, or one after a clear, triggers the run."
        )


_OF_SERVER = (
    errors.SubmissionRefusedError,
    errors.SubmissionUnknownError,
    errors.LookUpFailedError,
    errors.ChildRunMissingError,
    errors.JournalReadError,
    errors.JournalWriteError,
    errors.ResultUnreadableError,
)


def as_airflow(error: DurableError, *, has_next_try: bool) -> AirflowException:
    """
    Return the exception by which Airflow does what the error means: retry, fail or skip.

    :param has_next_try: the task will be tried again if it fails now.
    """
    text = error.explain(has_next_try=has_next_try)
    raised: DurableTriggerError | DurableTriggerFailError
    if isinstance(error, errors.ForeignRunSkipError):
        return AirflowSkipException(text)
    if error.is_terminal:
        raised = DurableTriggerFailError(text)
    elif isinstance(error, errors.DateInvalidError):
        raised = (DurableTriggerTypeError if error.is_of_wrong_type else DurableTriggerDateError)(text)
    elif isinstance(error, errors.RequestInvalidError):
        raised = DurableTriggerValueError(text)
    elif isinstance(error, _OF_SERVER):
        raised = DurableTriggerServerError(text, getattr(error, "status", None))
    else:
        raised = DurableTriggerError(text)
    raised.reason = error
    return raised
