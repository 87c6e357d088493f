"""The stock operator builds its request for the run that the core has chosen: it is asked for it, and not copied."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_durable import task_sdk
from airflow_durable.compat import DagRunTriggerException
from airflow_durable.exceptions import ChildDagPausedError
from airflow_durable.stock import DagIsPaused

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from airflow_durable.operators.trigger_dagrun import TriggerDagRunOperator


def ask_stock(  # noqa: PLR0913 - the identity of a run, and whom to ask
    operator: TriggerDagRunOperator,
    run_stock: Callable[[], Any],
    dag_id: str,
    run_id: str,
    logical_date: datetime | None,
    *,
    is_pause_checked: bool,
) -> DagRunTriggerException:
    """
    Let the stock operator build its request for this run, and return it.

    It hands the request to the task runner as an exception; on the way it checks the parameters, injects the
    OpenLineage parent, sets the extra link and what listeners read. Nothing of that is repeated here.

    :param run_stock: ``execute`` of the stock operator, with the context of this try.
    :raises ChildDagPausedError: with ``fail_when_dag_is_paused``.
    :raises SubmissionRefusedError: with ``fail_when_dag_is_paused``, if there is no such Dag.
    :raises SubmissionUnknownError: the server cannot be asked just now.
    """
    assign(operator, trigger_dag_id=dag_id, trigger_run_id=run_id, logical_date=logical_date)
    is_failing = operator.fail_when_dag_is_paused
    operator.fail_when_dag_is_paused = is_failing and is_pause_checked
    try:
        return take_request(run_stock, dag_id, run_id, is_server_asked=is_pause_checked)
    finally:
        operator.fail_when_dag_is_paused = is_failing
        # The stock operator replaced some by what it made of them.
        assign(operator, trigger_dag_id=dag_id, trigger_run_id=run_id, logical_date=logical_date)


def take_request(
    run_stock: Callable[[], Any], dag_id: str, run_id: str, *, is_server_asked: bool = True
) -> DagRunTriggerException:
    """
    Run the stock operator, and return the request that it raises.

    :param is_server_asked: it may ask the server on the way, and be refused.
    :raises ChildDagPausedError: as :func:`ask_stock`.
    :raises SubmissionRefusedError: as :func:`ask_stock`.
    :raises SubmissionUnknownError: as :func:`ask_stock`.
    """
    failure: Exception
    try:
        with task_sdk.undisturbed():
            run_stock()
    except DagRunTriggerException as request:
        return request
    except DagIsPaused:
        failure = ChildDagPausedError(dag_id, run_id)
    except Exception as error:
        if not is_server_asked or not task_sdk.is_from_server(error):
            raise
        failure = task_sdk.as_submission_error(dag_id, run_id, error)
    else:
        failure = RuntimeError(
            "The stock TriggerDagRunOperator did not raise its request: this provider version is not supported."
        )
    # Out of the except block: what is raised in it has the error, and its text, as its context.
    raise failure


def assign(operator: TriggerDagRunOperator, **values: Any) -> None:  # noqa: ANN401 - as many types as parameters
    """Set attributes to the values of this call's run, as the stock operator and its listeners expect."""
    given: dict[str, tuple[Any, Any]] = vars(operator).setdefault("_durable_given", {})
    for name, value in values.items():
        present = getattr(operator, name)
        before, assigned = given.get(name, (present, None))
        given[name] = (before if name in given and present == assigned else present, value)
        setattr(operator, name, value)


def restore_given(operator: TriggerDagRunOperator) -> None:
    """Set the attributes back to what the user gave, unless the user has changed them since: a call may follow."""
    for name, (before, assigned) in vars(operator).pop("_durable_given", {}).items():
        if getattr(operator, name) == assigned:
            setattr(operator, name, before)
