"""A request cannot be built, was refused, or may not have arrived."""

from __future__ import annotations

from airflow_durable.core.errors.base import DurableError


class RequestInvalidError(DurableError):
    """
    A parameter has a value that Airflow cannot use. Nothing was recorded or sent.

    Another try may render it differently, so the task is retried, as with the stock operator.
    """

    def __init__(self, text: str) -> None:
        super().__init__(
            f"{text} Nothing was triggered.",
            if_retried="The next try renders the parameter again.",
            if_final="Correct it, and clear this task.",
        )


class DagIdInvalidError(RequestInvalidError):
    """The rendered ``trigger_dag_id`` names no Dag."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"trigger_dag_id cannot be used: {reason}.")


class RunIdInvalidError(RequestInvalidError):
    """Airflow would refuse the rendered run id, or take it for another one."""

    def __init__(self, dag_id: str, run_id: str, reason: str) -> None:
        super().__init__(f"trigger_run_id {run_id!r} for Dag {dag_id!r} cannot be used: {reason}.")


class ConfInvalidError(RequestInvalidError):
    """The conf is not JSON. The message never shows its values: they may be secrets."""

    def __init__(self, dag_id: str, reason: str) -> None:
        super().__init__(
            f"The conf for Dag {dag_id!r} is not JSON: {reason}. Pass a dict (or a JSON string of one) of strings, "
            f"numbers, booleans, None, lists and dicts."
        )


class DateInvalidError(RequestInvalidError):
    """
    Airflow cannot use the logical date or the run-after date.

    :ivar is_of_wrong_type: it is neither a date nor a string.
    """

    is_of_wrong_type = False

    def __init__(self, dag_id: str, name: str, reason: str, *, is_of_wrong_type: bool = False) -> None:
        super().__init__(
            f"The {name} for Dag {dag_id!r} cannot be used: {reason}. Pass a date with a time zone, or an ISO 8601 "
            f"string."
        )
        self.is_of_wrong_type = is_of_wrong_type


class SubmissionRefusedError(DurableError):
    """
    The API server refused the request: nothing was started, and the next try builds its request again.

    :param status: the status of the HTTP answer; None: the request could not even be built.
    :param is_of_dag: the Dag itself cannot be run, whatever is asked for: it does not exist, has import errors, or
        admits no run that a task starts.
    :param is_reset: the request was to reset the run.
    """

    def __init__(  # noqa: PLR0913 - what the message is about
        self,
        dag_id: str,
        run_id: str,
        reason: str,
        *,
        status: int | None = None,
        is_of_dag: bool = False,
        is_reset: bool = False,
    ) -> None:
        act = "reset" if is_reset else "start"
        super().__init__(
            f"The API server refused to {act} run {run_id!r} of Dag {dag_id!r}: {reason}. Nothing was triggered.",
            if_retried="The next try sends the request that the Dag file describes then.",
            if_final="Correct the cause, and clear this task.",
        )
        self.status = status
        self.is_of_dag = is_of_dag


class SubmissionUnknownError(DurableError):
    """
    The request may or may not have arrived. The run id is known, so the next try finds out.

    :param is_reset: the request was to reset the run.
    """

    def __init__(self, dag_id: str, run_id: str, reason: str, *, is_reset: bool = False) -> None:
        if is_reset:
            super().__init__(
                f"It is not known whether run {run_id!r} of Dag {dag_id!r} was reset: {reason}.",
                if_retried="The next try of this task finds out, and resets that run if this has not been done.",
                if_final="Clear this task: it finds out, and resets that run if this has not been done.",
            )
            return
        super().__init__(
            f"It is not known whether run {run_id!r} of Dag {dag_id!r} was started: {reason}.",
            if_retried="The next try of this task adopts it if it exists, and starts it under the same run id if not.",
            if_final="Clear this task: it finds the run if it exists, and starts it if not.",
        )
