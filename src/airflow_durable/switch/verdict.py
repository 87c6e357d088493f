"""What the switch makes of a task, as a value: for the log, ``report`` and ``airflow-durable doctor``. Pure."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

    from airflow_durable.switch.settings import Switch

STOCK_MODULE = "airflow.providers.standard.operators.trigger_dagrun"
OWN_MODULE = "airflow_durable.operators.trigger_dagrun"
NAME = "TriggerDagRunOperator"
MANY_MODULE = "airflow_durable.operators.trigger_dagruns"
MANY_NAME = "TriggerDagRunsOperator"
SWITCHED = "durable_by_switch"
"""The attribute of the classes that the switch makes."""
THEIRS = "_durable_theirs"
"""The attribute by which such a class names the one that it stands for."""


class Kind(enum.Enum):
    """What a task is to the switch."""

    NOT_STOCK = "not_stock"
    """Another operator."""
    DURABLE = "durable"
    """Written with airflow-durable's operator, and durable."""
    NOT_DURABLE = "not_durable"
    """Written with airflow-durable's operator, with ``durable=False``. The switch leaves it alone."""
    OWN = "own"
    """Written with airflow-durable's operator; a serialized Dag does not say whether it is durable."""
    SWITCHED = "switched"
    """A stock operator, or a subclass of it, that the switch has made durable in this process."""
    STOCK = "stock"
    """Exactly the stock operator: the switch makes it durable."""
    SUBCLASS = "subclass"
    """A subclass of the stock operator: the switch makes it durable."""
    MAYBE_SUBCLASS = "maybe_subclass"
    """It triggers a Dag run; only its code says whether it is a subclass that can be made durable."""
    EXCLUDED = "excluded"
    """The options of the switch leave it alone. The reason says which."""
    NOT_POSSIBLE = "not_possible"
    """It cannot be made durable safely. The reason says why."""


CHANGED = frozenset({Kind.STOCK, Kind.SUBCLASS})
"""What the switch makes durable where it is on."""


@dataclass(frozen=True)
class Verdict:
    """
    What the switch makes of one task, whether it is on or not.

    :param reason: for ``EXCLUDED`` and ``NOT_POSSIBLE``: why, in words that follow "because"; else empty.
    """

    kind: Kind
    reason: str = ""

    @property
    def is_changed(self) -> bool:
        """Whether the switch makes this task durable where it is on."""
        return self.kind in CHANGED


NOT_STOCK = Verdict(Kind.NOT_STOCK)


def classify_serialized(  # noqa: PLR0913 - what a serialized Dag says of a task
    switch: Switch,
    *,
    dag_id: str,
    task_id: str,
    task_type: str,
    task_module: str,
    tags: Collection[str],
    is_trigger: bool = False,
) -> Verdict:
    """
    Return what can be known of a task from its serialized Dag.

    The switch leaves these names as they are, so a task that it has made durable reads like one that it will.

    :param switch: the options, of the deployment.
    :param task_type: ``task_type``, or ``_task_type``, of the serialized task.
    :param task_module: its ``_task_module``.
    :param tags: of its Dag.
    :param is_trigger: the task triggers a Dag: it is the ``dependency_id`` of a Dag dependency of the type
        ``trigger``, or ``trigger_dag_id`` is one of its template fields. Airflow finds subclasses by it, too.
    """
    if (task_module, task_type) == (OWN_MODULE, NAME):
        return Verdict(Kind.OWN)
    if (task_module, task_type) == (MANY_MODULE, MANY_NAME):
        return Verdict(Kind.DURABLE)
    is_stock = (task_module, task_type) == (STOCK_MODULE, NAME)
    if not is_stock and not is_trigger:
        return NOT_STOCK
    excluded = switch.why_excluded(dag_id, task_id, tags) or (None if is_stock else why_no_subclass(switch))
    if excluded:
        return Verdict(Kind.EXCLUDED, excluded)
    return Verdict(Kind.STOCK if is_stock else Kind.MAYBE_SUBCLASS)


def why_no_subclass(switch: Switch) -> str | None:
    """Return why the options leave subclasses alone; None: they do not."""
    return None if switch.is_for_subclasses else "[durable] stock_subclasses = as_is"
