"""Do to the tasks of a Dag what the switch says, and log it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from airflow_durable.stock import StockTriggerDagRunOperator
from airflow_durable.switch.classes import durable_class, make_durable
from airflow_durable.switch.classify import classify
from airflow_durable.switch.settings import SECTION, Mode
from airflow_durable.switch.verdict import CHANGED, Kind, Verdict

if TYPE_CHECKING:
    from airflow_durable.switch.settings import Switch

_log = logging.getLogger(__name__)
_SHOWN = 10


def apply_switch(dag: Any, switch: Switch) -> None:  # noqa: ANN401 - Airflow's Dag, of any version
    """
    Make the tasks durable that the switch is for; with ``report``, only log which they are.

    :param dag: a Dag that was parsed just now.
    """
    verdicts: dict[str, Verdict] = {}
    for task in dag.tasks:
        if StockTriggerDagRunOperator not in getattr(task.operator_class, "__mro__", ()):
            continue
        verdict = verdicts[task.task_id] = classify(task, switch)
        if verdict.is_changed and switch.mode is Mode.DURABLE:
            try:
                _switch(task, switch)
            except Exception as error:  # noqa: BLE001 - this task stays as it is, and the others are no worse for it
                reason = f"{type(error).__name__} when its class was exchanged: {error}"
                verdicts[task.task_id] = Verdict(Kind.NOT_POSSIBLE, reason)
    if verdicts:
        _report(dag.dag_id, verdicts, switch)


def _switch(task: Any, switch: Switch) -> None:  # noqa: ANN401 - an operator, a mapped one among them
    made = durable_class(task.operator_class)
    # Of a mapped task they may be None. Before anything is changed: what fails here leaves the task as it is.
    has_too_few = (task.retries or 0) < switch.min_retries
    if hasattr(task, "partial_kwargs"):
        task.operator_class = made
    else:
        # The class comes last: until then, the task is what it was.
        make_durable(task)
        object.__setattr__(task, "__class__", made)
    if has_too_few:
        task.retries = switch.min_retries


def _report(dag_id: str, verdicts: dict[str, Verdict], switch: Switch) -> None:
    is_report = switch.mode is Mode.REPORT
    changed = [task_id for task_id, verdict in verdicts.items() if verdict.kind in CHANGED]
    left = [
        f"{task_id} ({verdict.reason})"
        for task_id, verdict in verdicts.items()
        if verdict.kind is Kind.NOT_POSSIBLE or (is_report and verdict.kind is Kind.EXCLUDED)
    ]
    parts = []
    if changed:
        parts.append(f"{'would make' if is_report else 'made'} durable: {_listed(changed)}")
    if left:
        parts.append(f"{'would leave' if is_report else 'left'} as they are: {_listed(left)}")
    if parts:
        # With durable, what was done is no news; what was not done is.
        level = logging.INFO if is_report or left else logging.DEBUG
        name = f"[{SECTION}] stock_operators = {Mode.DURABLE.value}"
        _log.log(level, "Dag %r: %s %s.", dag_id, name, "; ".join(parts))


def _listed(names: list[str]) -> str:
    rest = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")
