"""The ways in which the population's parents trigger and wait. Known to the Dags and to the run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

KINDS = ("durable", "stock")
TASK_ID = "run_child"
MAPPED_COUNT = 3

_DEFERRABLE = {"deferrable": True}
_FIRE_AND_FORGET = {"wait_for_completion": False}
_FIXED_ID = {"trigger_run_id": "fixed__{{ run_id }}"}
_FIXED_DATE = {"logical_date": "{{ dag_run.conf['logical_date'] }}"}


@dataclass(frozen=True)
class Mode:
    """
    One way to trigger and wait.

    :param share: how many of the population's parents have it, in relation to the others.
    :param arguments: the operator's.
    :param is_working: its children are run by Airflow; else they stay queued until the run marks them.
    :param is_contended: its mapped parents ask for one run id, each with a conf of its own: one gets it.
    :param parts: how many children one parent starts, one after the other, in a ``@task``.
    :param is_many: they are the items of one ``TriggerDagRunsOperator``, some of which fail once. Its stock parents are
        mapped over them, as there is no such stock operator.
    :param is_switched: its durable parents are stock operators, made durable by ``[durable] stock_operators``.
    :param is_cleared: a person clears the parent once while it runs, and its record is discarded.
    """

    share: int
    arguments: dict[str, Any] = field(default_factory=dict)
    is_fixed: bool = False
    is_mapped: bool = False
    is_working: bool = False
    is_contended: bool = False
    parts: int = 1
    is_cleared: bool = False
    is_switched: bool = False
    is_many: bool = False

    def parts_of(self, map_index: int) -> int:
        """Return how many children a parent starts that has this map index."""
        return 1 if self.is_many and map_index >= 0 else self.parts

    @property
    def parents(self) -> int:
        """How many parents one Dag run of it has."""
        return MAPPED_COUNT if self.is_mapped else 1

    @property
    def is_awaited(self) -> bool:
        """Whether the parent waits for its child's end."""
        return bool(self.arguments.get("wait_for_completion", True))

    @property
    def is_reset(self) -> bool:
        """Whether a run that exists is to be reset."""
        return bool(self.arguments.get("reset_dag_run", False))


MODES = {
    "wait": Mode(4),
    "wait_working": Mode(2, is_working=True, is_switched=True),
    "wait_mapped": Mode(1, is_mapped=True, is_switched=True),
    "wait_fixed": Mode(2, _FIXED_ID, is_fixed=True, is_switched=True),
    "wait_dated": Mode(1, _FIXED_DATE, is_fixed=True),
    "wait_reset": Mode(2, {**_FIXED_ID, "reset_dag_run": True}, is_fixed=True),
    "defer": Mode(3, _DEFERRABLE, is_switched=True),
    "defer_mapped": Mode(1, _DEFERRABLE, is_mapped=True),
    "defer_fixed": Mode(2, {**_DEFERRABLE, **_FIXED_ID}, is_fixed=True),
    "fire": Mode(3, _FIRE_AND_FORGET),
    "fire_fixed": Mode(2, {**_FIRE_AND_FORGET, **_FIXED_ID}, is_fixed=True, is_switched=True),
    "contended": Mode(1, _FIXED_ID, is_fixed=True, is_mapped=True, is_contended=True),
    "contended_defer": Mode(1, {**_DEFERRABLE, **_FIXED_ID}, is_fixed=True, is_mapped=True, is_contended=True),
    "calls": Mode(2, parts=3),
    "cleared": Mode(2, is_cleared=True),
    "many": Mode(2, {"child_tries": 2, "max_active": 4}, parts=6, is_many=True),
    "many_defer": Mode(1, {**_DEFERRABLE, "child_tries": 2}, parts=6, is_many=True),
}


def name_parent(kind: str, mode: str) -> str:
    """Return the parents' Dag."""
    return f"{kind}_{mode}"


def name_child(kind: str, mode: str) -> str:
    """Return the children's Dag."""
    return f"{kind}_{mode}_child"
