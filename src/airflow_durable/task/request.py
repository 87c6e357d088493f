"""From the operator's rendered parameters, and the task's context, to the protocol's words."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from airflow_durable import stock, task_sdk
from airflow_durable.compat import conf as airflow_conf
from airflow_durable.core.errors import DagIdInvalidError, DateInvalidError, RequestInvalidError
from airflow_durable.core.model import Attempt, Mode, OnChildFailure, OnClear, OnParentEnd, Parent, Request
from airflow_durable.core.run_ids import check_run_id
from airflow_durable.durations import read_interval, read_timeout
from airflow_durable.task.conf import parse_conf

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow.providers.common.compat.sdk import Context

    from airflow_durable.core.record import Record
    from airflow_durable.operators.trigger_dagrun import TriggerDagRunOperator
    from airflow_durable.operators.trigger_dagruns import TriggerDagRunsOperator
    from airflow_durable.task.calls import Call

_RECONCILER_TIMEOUT_SECONDS = 120.0
_RESET_TIMEOUT_SECONDS = 30.0
_RESET_SHARE = 0.25

INJECTED_KEY = "openlineage"
"""What the stock operator adds to the conf where OpenLineage runs: the parent's ids, which differ between tries
(standard provider 1.10 and later, ``utils/openlineage.py``)."""


@dataclass(frozen=True, repr=False)
class Payload:
    """What the child is given. It may hold secrets, so it never shows itself, and nothing of it is kept."""

    dag_id: str
    conf: Any
    partition_key: str | None = None

    def is_of(self, dag_id: str, conf: Any, partition_key: str | None = None) -> bool:  # noqa: ANN401 - JSON
        """Return whether a run of that Dag with that conf and partition key carries the same request."""
        is_same_run = (dag_id, partition_key) == (self.dag_id, self.partition_key)
        return is_same_run and _without_injected(conf) == _without_injected(self.conf)


def build_payload(operator: TriggerDagRunOperator, context: Context) -> Payload:
    """
    Return what the child is given, checked before anything is sent or recorded.

    :raises DagIdInvalidError: ``trigger_dag_id`` was rendered to nothing.
    :raises ConfInvalidError: the conf has something that Airflow cannot send.
    :raises RequestInvalidError: a partition key that is no text, or that this Airflow cannot send.
    """
    given: Any = operator.trigger_dag_id
    if given is None or not str(given).strip():
        raise DagIdInvalidError("it is None" if given is None else "it is empty")
    return Payload(str(given), parse_conf(str(given), operator.conf), _partition_key(operator, context))


def build_request(operator: TriggerDagRunOperator, call: Call) -> Request:
    """
    Return what the user asks for, checked before anything is sent or recorded.

    :raises DagIdInvalidError: ``trigger_dag_id`` was rendered to nothing.
    :raises DateInvalidError: a date that Airflow cannot use.
    :raises RunIdInvalidError: Airflow would refuse the rendered run id, or take it for another.
    :raises RequestInvalidError: a state or an interval that Airflow does not know.
    """
    dag_id = str(operator.trigger_dag_id)
    given_run_after = stock.run_after_of(operator)
    logical_date = _parse(dag_id, "logical_date", operator.logical_date)
    run_after = _parse(dag_id, "run_after", given_run_after, is_sent=task_sdk.can_send_run_after())
    run_id = _fixed_run_id(operator, logical_date, run_after)
    if run_id is not None:
        pattern = airflow_conf.get("scheduler", "allowed_run_id_pattern", fallback="").strip()
        check_run_id(dag_id, run_id, allowed_pattern=pattern)
    has_run_after = stock.is_set(given_run_after) and given_run_after is not None
    return Request(
        dag_id=dag_id,
        run_id=run_id,
        logical_date=_utc(logical_date),
        is_date_ours=not stock.is_set(operator.logical_date) and not stock.is_set(given_run_after),
        is_run_after_ours=not has_run_after and task_sdk.can_send_run_after(),
        mode=_mode(operator),
        allowed_states=read_states("allowed_states", operator.allowed_states),
        failed_states=read_states("failed_states", operator.failed_states),
        is_reset=bool(operator.reset_dag_run),
        is_skip=bool(operator.skip_when_already_exists),
        on_clear=OnClear(operator.on_clear),
        **_limits(operator, has_store=call.journal.has_store),
        call=call.number,
        epoch=call.epoch,
        is_journal_proven=call.is_journal_proven,
    )


def rebuild_request(operator: TriggerDagRunOperator, record: Record) -> Request:
    """Return what a resumed try still has to know: the rest was asked for before the deferral."""
    return Request(
        dag_id=record.dag_id,
        run_id=record.run_id if record.is_fixed else None,
        logical_date=record.logical_date,
        is_date_ours=False,
        is_run_after_ours=False,
        mode=Mode.DEFER,
        allowed_states=read_states("allowed_states", operator.allowed_states),
        failed_states=read_states("failed_states", operator.failed_states),
        is_reset=bool(operator.reset_dag_run),
        **_limits(operator, has_store=True),
        call=record.call,
    )


def build_attempt(context: Context) -> Attempt:
    """Return which try of the parent this is."""
    ti = context["ti"]
    return Attempt(
        parent=build_parent(context),
        task_instance_id=str(ti.id),
        try_number=ti.try_number,
        max_tries=ti.max_tries,
        retries=context["task"].retries or 0,
        clear_number=context["dag_run"].clear_number or 0,
    )


def build_parent(context: Context) -> Parent:
    """Return what distinguishes this parent from every other."""
    ti, dag_run = context["ti"], context["dag_run"]
    loop_index = task_sdk.loop_index_of(context)
    return Parent(
        dag_id=ti.dag_id,
        run_id=ti.run_id,
        task_id=ti.task_id,
        map_index=-1 if ti.map_index is None else ti.map_index,
        run_after=_utc(dag_run.run_after) or datetime.min.replace(tzinfo=timezone.utc),
        loop_index=loop_index,
        # Outside a loop it says nothing that the map index does not, and an upgrade to 3.4 moves it.
        region="" if loop_index is None else str(getattr(ti, "region_id", None) or ""),
        started_at=_utc(dag_run.start_date),
    )


def seconds_of(operator: TriggerDagRunOperator | TriggerDagRunsOperator, name: str) -> float | None:
    """
    Return a timeout of the task in seconds; None: it has none.

    :raises RequestInvalidError: it is no number of seconds and no timedelta.
    """
    given: Any = getattr(operator, name)
    if given is None:
        return None
    seconds = read_timeout(given, is_zero_allowed=name == "defer_after")
    if seconds is None:
        raise RequestInvalidError(f"{name} must be a number of seconds, a timedelta or None, not {given!r}.")
    return seconds


def has_next_try(context: Context) -> bool:
    """Return whether Airflow will try the task again if this try fails (3.0 to 3.4, ``is_eligible_to_retry``)."""
    ti = context["ti"]
    return bool(ti.max_tries) and ti.try_number <= ti.max_tries


def poke_interval_of(operator: TriggerDagRunOperator) -> float:
    """
    Return the task's ``poke_interval``, in seconds.

    :raises RequestInvalidError: it is no number of seconds and no timedelta, or negative.
    """
    given: Any = operator.poke_interval
    seconds = read_interval(given)
    if seconds is None:
        raise RequestInvalidError(
            f"poke_interval must be a number of seconds, 0 or more, or a timedelta, not {given!r}."
        )
    return seconds


def _limits(operator: TriggerDagRunOperator, *, has_store: bool) -> dict[str, Any]:
    """Return what bounds the child's life."""
    return {
        **policies_of(operator, _mode(operator), has_store=has_store),
        "start_timeout_seconds": seconds_of(operator, "start_timeout"),
        "run_timeout_seconds": seconds_of(operator, "run_timeout"),
        "reset_timeout_seconds": _reset_timeout_of(operator) if has_store else 0.0,
    }


def policies_of(
    operator: TriggerDagRunOperator | TriggerDagRunsOperator, mode: Mode, *, has_store: bool
) -> dict[str, Any]:
    """
    Return what becomes of a child that failed, and of one whose parent has ended.

    What needs a record is not done where there is none: ``dag.test()``. A task that does not wait asks for the start
    alone, and its child outlives it.
    """
    on_failure, on_end = OnChildFailure(operator.on_child_failure), OnParentEnd(operator.on_parent_end)
    is_waiting = mode is not Mode.FIRE_AND_FORGET
    is_resumed = on_failure is OnChildFailure.RESUME and not has_store
    return {
        "on_child_failure": OnChildFailure.FRESH if is_resumed else on_failure,
        "on_parent_end": on_end if has_store and is_waiting else OnParentEnd.ABANDON,
        "reconciler_timeout_seconds": _timeout_of("reconciler_timeout", _RECONCILER_TIMEOUT_SECONDS),
    }


def _timeout_of(option: str, default: float) -> float:
    return max(0.0, float(airflow_conf.get("durable", option, fallback=default)))


def _reset_timeout_of(operator: TriggerDagRunOperator) -> float:
    """Return how long the reconciler is waited for: so short that ``execution_timeout`` leaves time for the rest."""
    seconds = _timeout_of("reset_timeout", _RESET_TIMEOUT_SECONDS)
    limit = getattr(operator, "execution_timeout", None)
    return min(seconds, limit.total_seconds() * _RESET_SHARE) if isinstance(limit, timedelta) else seconds


def _partition_key(operator: TriggerDagRunOperator, context: Context) -> str | None:
    """Return the partition key. Of a mapped task it is not rendered yet: it is no template field of the class."""
    given: Any = operator.partition_key
    rendered = operator.render_template(given, context) if isinstance(given, str) else given
    if rendered is None:
        return None
    if not isinstance(rendered, str) or not rendered:
        raise RequestInvalidError(f"partition_key must be a string that is not empty, not {rendered!r}.")
    if not task_sdk.can_send_partition_key():
        raise RequestInvalidError("partition_key cannot be used: this Airflow does not pass it on to the run.")
    return rendered


def read_states(name: str, given: Iterable[Any]) -> frozenset[str]:
    """
    Return the states of a parameter.

    :raises RequestInvalidError: one is none that Airflow knows.
    """
    states = frozenset(str(getattr(state, "value", state)) for state in given)
    if unknown := sorted(states - task_sdk.dag_run_states()):
        raise RequestInvalidError(
            f"{name} has {unknown[0]!r}, which is not a Dag run state. The states are: "
            f"{', '.join(sorted(task_sdk.dag_run_states()))}."
        )
    return states


def _without_injected(conf: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    return {key: value for key, value in (conf or {}).items() if key != INJECTED_KEY}


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
    return stock.generate_run_id(logical_date=logical_date, run_after=run_after or logical_date)


def _mode(operator: TriggerDagRunOperator) -> Mode:
    is_deferrable = stock.is_deferrable(operator)
    is_deferrable = is_deferrable or operator.defer_after is not None
    if not operator.wait_for_completion and not (is_deferrable and task_sdk.is_deferrable_waiting()):
        return Mode.FIRE_AND_FORGET
    return Mode.DEFER if is_deferrable else Mode.WAIT


def _parse(dag_id: str, name: str, given: Any, *, is_sent: bool = True) -> datetime | None:  # noqa: ANN401 - it is for the user to get wrong
    """
    Return the date. Airflow's client refuses one without a time zone, so do we, before anything is sent.

    :param is_sent: False: this Airflow does not send it at all, so it may lack its time zone.
    """
    try:
        date = stock.parse_date(name, given)
    except (TypeError, ValueError) as error:
        is_of_wrong_type = isinstance(error, TypeError)
        raise DateInvalidError(dag_id, name, str(error), is_of_wrong_type=is_of_wrong_type) from error
    if date is not None and date.tzinfo is None and is_sent:
        raise DateInvalidError(dag_id, name, f"{date.isoformat()} has no time zone")
    return date


def _utc(date: datetime | None) -> datetime | None:
    """Return the same moment in UTC, as a plain datetime."""
    if date is None:
        return None
    return datetime(*date.utctimetuple()[:6], date.microsecond, tzinfo=timezone.utc)
