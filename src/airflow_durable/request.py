"""From the operator's rendered parameters to the protocol's words."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from airflow.models.dagrun import DagRun
from airflow.providers.common.compat.sdk import conf as airflow_conf
from airflow.providers.standard.operators.trigger_dagrun import (
    _parse_datetime_param,
    _validate_datetime_param,
)
from airflow.providers.standard.version_compat import is_arg_set
from airflow.utils.types import DagRunType

from airflow_durable import task_sdk
from airflow_durable.conf import parse_conf
from airflow_durable.core.errors import DateInvalidError
from airflow_durable.core.model import Attempt, Mode, Request
from airflow_durable.core.run_ids import check_run_id, digest_request

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_durable.core.record import Record
    from airflow_durable.operators.trigger_dagrun import TriggerDagRunOperator


def build_request(operator: TriggerDagRunOperator, context: Context) -> Request:
    """
    Return what the user asks for, checked before anything is sent or recorded.

    :raises ConfInvalidError: the conf has something that Airflow cannot send.
    :raises DateInvalidError: a date that Airflow cannot use.
    :raises RunIdInvalidError: Airflow would refuse the rendered run id, or take it for another.
    """
    dag_id = str(operator.trigger_dag_id)
    given_date = _validate_datetime_param("logical_date", operator.logical_date)
    has_run_after = is_arg_set(operator.run_after)
    logical_date = _parse(dag_id, "logical_date", given_date)
    run_after = _parse(dag_id, "run_after", operator.run_after)
    run_id = _fixed_run_id(operator, logical_date, run_after)
    logical_date = _utc(logical_date)
    if run_id is not None:
        pattern = airflow_conf.get("scheduler", "allowed_run_id_pattern", fallback="").strip()
        check_run_id(dag_id, run_id, allowed_pattern=pattern)
    asked = {
        "dag_id": dag_id,
        "run_id": run_id,
        "logical_date": logical_date and logical_date.isoformat(),
        "conf": parse_conf(dag_id, operator.conf),
    }
    return Request(
        dag_id=dag_id,
        run_id=run_id,
        logical_date=logical_date,
        is_date_ours=not is_arg_set(given_date) and not has_run_after,
        digest=digest_request(identify_parent(context), asked),
        mode=_mode(operator),
        allowed_states=frozenset(state.value for state in operator.allowed_states),
        failed_states=frozenset(state.value for state in operator.failed_states),
        is_reset=bool(operator.reset_dag_run),
        is_skip=bool(operator.skip_when_already_exists),
    )


def rebuild_request(operator: TriggerDagRunOperator, record: Record) -> Request:
    """Return what a resumed attempt still has to know: the rest was asked for before the deferral."""
    return Request(
        dag_id=record.dag_id,
        run_id=record.run_id if record.is_fixed else None,
        logical_date=record.logical_date,
        is_date_ours=record.is_date_ours,
        digest=record.digest,
        mode=Mode.DEFER,
        allowed_states=frozenset(state.value for state in operator.allowed_states),
        failed_states=frozenset(state.value for state in operator.failed_states),
    )


def build_attempt(context: Context) -> Attempt:
    """Return which attempt of the parent this is."""
    return Attempt(
        try_number=context["ti"].try_number,
        max_tries=context["ti"].max_tries,
        retries=context["task"].retries or 0,
        clear_number=context["dag_run"].clear_number or 0,
    )


def identify_parent(context: Context) -> tuple[str, ...]:
    """Return what identifies this parent."""
    ti = context["ti"]
    return (ti.dag_id, ti.run_id, ti.task_id, str(ti.map_index))


def identify_life_of_parent(context: Context) -> tuple[str, ...]:
    """
    Return what identifies this parent, also against one of the same names whose Dag run was deleted.

    The start of the parent's Dag run stays through retries; only a clear of the finished run changes it, and that
    changes ``max_tries`` too (3.0 to 3.3, ``models/taskinstance.py``, ``clear_task_instances``).
    """
    started = context["dag_run"].start_date
    return (*identify_parent(context), started.isoformat() if started else "")


def _fixed_run_id(
    operator: TriggerDagRunOperator, logical_date: datetime | None, run_after: datetime | None
) -> str | None:
    """
    Return the run id that the stock operator would use every time; None if it would generate one each time.

    :param logical_date: in the time zone that the user gave: the run id is its text.
    """
    if operator.trigger_run_id:
        return str(operator.trigger_run_id)
    if logical_date is None:
        return None
    return str(
        DagRun.generate_run_id(
            run_type=DagRunType.MANUAL, logical_date=logical_date, run_after=run_after or logical_date
        )
    )


def _mode(operator: TriggerDagRunOperator) -> Mode:
    if not operator.wait_for_completion and not (operator.deferrable and task_sdk.is_deferrable_waiting()):
        return Mode.FIRE_AND_FORGET
    return Mode.DEFER if operator.deferrable else Mode.WAIT


def _parse(dag_id: str, name: str, given: Any) -> datetime | None:  # noqa: ANN401 - it is for the user to get wrong
    """Return the date. Airflow's client refuses one without a time zone, so do we, before anything is sent."""
    if not is_arg_set(given):
        return None
    try:
        date: datetime | None = _parse_datetime_param(given)
    except ValueError as error:
        raise DateInvalidError(dag_id, name, str(error)) from error
    if date is not None and date.tzinfo is None:
        raise DateInvalidError(dag_id, name, f"{date.isoformat()} has no time zone")
    return date


def _utc(date: datetime | None) -> datetime | None:
    """Return the same moment in UTC, as a plain datetime."""
    if date is None:
        return None
    return datetime(*date.utctimetuple()[:6], date.microsecond, tzinfo=timezone.utc)
