"""What the reconciler sees in Airflow's database: a call's entries, its parent as it is now, and its run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from airflow_durable.core.record import Record


@dataclass(frozen=True)
class Entry:
    """
    One entry of a call's journal, as its row has it.

    :param record: None: it cannot be understood.
    :param sequence: its number, by the row's key.
    :param root: which entries belong together; empty where release 0.1.0 wrote it.
    :param written_at: the server's time of its latest write.
    """

    record: Record | None
    sequence: int
    root: str
    written_at: datetime


@dataclass(frozen=True)
class ParentNow:
    """
    The parent's current task instance.

    :param task_instance_id: None: there is none.
    :param ended_at: when it ended; of one that has not, any date; None: not known.
    :param run_state: of its Dag run; None: that was deleted.
    """

    task_instance_id: str | None
    state: str | None
    ended_at: datetime | None
    run_state: str | None


@dataclass(frozen=True)
class ChildNow:
    """
    The run.

    :param queued_at: moves when it is cleared.
    :param created_at: when the server made its row; None: not known.
    :param is_from_task: a task triggered it (``triggered_by``).
    """

    dag_id: str
    run_id: str
    state: str
    clear_number: int
    queued_at: datetime | None
    created_at: datetime | None
    logical_date: datetime | None
    run_after: datetime | None
    is_from_task: bool
