"""The request for a Dag run, as the task runner sends that of the stock operator."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_durable.core.errors import SubmissionRefusedError, SubmissionUnknownError
from airflow_durable.refusals import name_invalid_fields
from airflow_durable.server_errors import as_submission_error
from airflow_durable.task_sdk.channel import Failure, send

if TYPE_CHECKING:
    from airflow.sdk.exceptions import DagRunTriggerException

_OWN_FIELDS = frozenset({"dag_id", "run_id", "logical_date", "conf", "reset_dag_run", "type"})
"""Of the message TriggerDagRun: those that are set by name. Any other that the request has is passed on as it is."""


def submit(request: DagRunTriggerException, *, is_reset: bool) -> bool:
    """
    Send the stock operator's request for a Dag run: True if the run was created (or reset), False on a 409.

    A 409 to a reset is no answer to count on: two clears of the same run met in the database, and this one was rolled
    back (3.0 to 3.3, ``models/taskinstancehistory.py``, ``record_ti``: each task instance's history is stored under
    a unique key). Then it is not known whether the run was reset.

    This is what the task runner does with the exception (``sdk/execution_time/task_runner.py``,
    ``_handle_trigger_dag_run``, 3.0 to 3.3), and there is no public call for it. ``note`` exists from 3.2,
    ``run_after`` from 3.3; the message forbids fields that it does not know, so only what the request has is sent.

    :param is_reset: clear the run if it exists. Never left to the request: a 409 on our own run id must not clear it.
    :raises SubmissionRefusedError: the server refused for good; nothing was started.
    :raises SubmissionUnknownError: the request may have arrived; or the reset got a 409.
    """
    from airflow.sdk.exceptions import ErrorType
    from airflow.sdk.execution_time.comms import ErrorResponse, OKResponse, TriggerDagRun

    dag_id, run_id = request.trigger_dag_id, request.dag_run_id
    optional = {
        name: value
        for name in set(TriggerDagRun.model_fields) - _OWN_FIELDS
        if (value := getattr(request, name, None)) is not None
    }
    problem = ""
    try:
        message = TriggerDagRun(
            dag_id=dag_id,
            run_id=run_id,
            logical_date=request.logical_date,
            conf=request.conf,
            reset_dag_run=is_reset,
            **optional,
        )
    except Exception as error:  # noqa: BLE001 - Pydantic's, or that of a value's own class
        problem = name_invalid_fields(error)
    if problem:
        # Out of the except block: what is raised in it has the error, and its text, as its context.
        raise SubmissionRefusedError(dag_id, run_id, problem, is_reset=is_reset)
    answer = send(message, conf=request.conf)
    if isinstance(answer, Failure):
        if answer.is_conflict and is_reset:
            raise SubmissionUnknownError(dag_id, run_id, answer.said, is_reset=True)
        if answer.is_conflict:
            return False
        raise as_submission_error(dag_id, run_id, answer, is_reset=is_reset)
    if isinstance(answer, ErrorResponse):
        if answer.error is ErrorType.DAGRUN_ALREADY_EXISTS and not is_reset:
            return False
        raise SubmissionUnknownError(dag_id, run_id, f"the supervisor answered {answer.error.value}", is_reset=is_reset)
    if not isinstance(answer, OKResponse) or not answer.ok:
        raise SubmissionUnknownError(
            dag_id, run_id, f"the supervisor answered {type(answer).__name__}", is_reset=is_reset
        )
    return True
