"""What the switch makes of a task of a parsed Dag file. It changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_durable.durations import read_interval
from airflow_durable.operators.parameters import why_defaults_unusable
from airflow_durable.operators.trigger_dagrun import TriggerDagRunOperator as Ours
from airflow_durable.stock import MISSING, StockTriggerDagRunOperator, is_deferrable
from airflow_durable.switch.classes import durable_class
from airflow_durable.switch.subclasses import why_class_unsafe, why_instance_unsafe
from airflow_durable.switch.verdict import NOT_STOCK, SWITCHED, Kind, Verdict, why_no_subclass

if TYPE_CHECKING:
    from collections.abc import Collection

    from airflow_durable.switch.settings import Switch


def classify(task: Any, switch: Switch) -> Verdict:  # noqa: ANN401 - an operator, a mapped one among them
    """
    Return what the switch makes of a task, whether the switch is on or not.

    :param task: an operator of a parsed Dag file, plain or mapped. One that a Dag policy gave ``durable = False`` is
        left alone.
    """
    operator_class = getattr(task, "operator_class", None)
    if not isinstance(operator_class, type) or StockTriggerDagRunOperator not in operator_class.__mro__:
        return NOT_STOCK
    if SWITCHED in vars(operator_class):
        return Verdict(Kind.SWITCHED)
    if Ours in operator_class.__mro__:
        return _verdict_of_ours(task)
    is_stock = operator_class is StockTriggerDagRunOperator
    excluded = (
        switch.why_excluded(task.dag_id, task.task_id, _tags(task))
        or ("a policy set durable = False" if getattr(task, "durable", None) is False else None)
        or (None if is_stock else why_no_subclass(switch))
    )
    if excluded:
        return Verdict(Kind.EXCLUDED, excluded)
    impossible = _why_impossible(task) or (
        None if is_stock else why_class_unsafe(operator_class) or why_instance_unsafe(task) or _why_no_class(task)
    )
    if impossible:
        return Verdict(Kind.NOT_POSSIBLE, impossible)
    return Verdict(Kind.STOCK if is_stock else Kind.SUBCLASS)


def _verdict_of_ours(task: Any) -> Verdict:  # noqa: ANN401 - see classify
    if not _is_mapped(task):
        return Verdict(Kind.DURABLE if task.durable else Kind.NOT_DURABLE)
    durable = task.partial_kwargs.get("durable")
    return Verdict(Kind.OWN if durable is None else Kind.DURABLE if durable else Kind.NOT_DURABLE)


def _tags(task: Any) -> Collection[str]:  # noqa: ANN401 - see classify
    return getattr(task.dag, "tags", None) or ()


def _why_impossible(task: Any) -> str | None:  # noqa: ANN401 - see classify
    """Return what the installed provider, the deployment's defaults or the task's parameters lack; None: nothing."""
    if MISSING:
        return f"the installed standard provider has not {', not '.join(MISSING)}"
    if problem := why_defaults_unusable():
        return problem
    if _is_mapped(task):
        # What an expansion gives is known when the task runs.
        interval, is_waiting = task.partial_kwargs.get("poke_interval", 1), True
    else:
        interval, is_waiting = task.poke_interval, task.wait_for_completion or is_deferrable(task)
    if is_waiting and read_interval(interval) is None:
        return f"its poke_interval is {interval!r}, which is no number of seconds, 0 or more, and no timedelta"
    return None


def _why_no_class(task: Any) -> str | None:  # noqa: ANN401 - see classify
    try:
        durable_class(task.operator_class)
    except Exception as error:  # noqa: BLE001 - a class may forbid, in many ways, that one is made of it
        return f"no class can be made of its class and the durable one ({type(error).__name__})"
    return None


def _is_mapped(task: Any) -> bool:  # noqa: ANN401 - see classify
    return hasattr(task, "partial_kwargs")
