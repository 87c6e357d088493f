"""
Dag run states that this package does not know: one that is new in a later Airflow.

Nothing says whether a run in such a state is active or has ended. So one run of each such state and Dag is a *witness*:
it is watched alone, and meanwhile runs in that state count as active. The run has ended if for some time it stayed in
the state and none of its tasks was left to be done. Then all runs in that state have.

The supervisor's models may refuse to read such a state (``DagRunStateResponse``, ``sdk/api/datamodels/_generated.py``,
3.0 to 3.3): the look-up then always fails, although counts work. Then the state has no name here, and each such run is
watched by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow_durable.triggers.batches import Group

UNREADABLE = "unknown"
"""The name of a state that the supervisor cannot read."""

QUIET_SECONDS = 300.0
"""A run that has been in an unknown state for so long, with all of its tasks finished, has ended..."""

QUIET_WITHOUT_TASKS_SECONDS = 3600.0
"""... and so has one that has no tasks, or whose tasks cannot be counted."""

_INTERVAL_SECONDS = 30.0
"""Between two counts of the tasks of such a run..."""

_SECONDS_EACH = 7.0
"""... and longer where there are many, which cost about seven requests each."""


@dataclass(slots=True)
class UnknownState:
    """
    A run in an unknown state.

    :param state: its name.
    :param quiet_since: since when it is known that none of its tasks is left to be done.
    :param next_at: when its tasks are counted next.
    :param has_tasks: whether it has any that could be counted.
    """

    state: str
    quiet_since: float
    next_at: float = float("-inf")
    has_tasks: bool = False

    def note_tasks(self, total: int | None, finished: int | None, now: float) -> bool:
        """
        Take note of how many tasks the run has; None: they could not be counted.

        :returns: whether the run has ended.
        """
        if total != finished:
            self.quiet_since = now
        self.has_tasks = bool(total)
        return now - self.quiet_since >= (QUIET_SECONDS if self.has_tasks else QUIET_WITHOUT_TASKS_SECONDS)

    def end(self, group: Group) -> None:
        """Take note that runs in this state have ended."""
        if self.state != UNREADABLE:
            group.others_ended.add(self.state)

    def learn(self, group: Group) -> None:
        """Count the runs in this state as active."""
        if self.state != UNREADABLE:
            group.active.add(self.state)

    def forget(self, group: Group) -> None:
        """Count them as changed: the next one that is found is the witness."""
        group.active.discard(self.state)


def interval_seconds(runs: int) -> float:
    """Return how long to wait until the tasks of one of these runs in unknown states are counted again."""
    return max(_INTERVAL_SECONDS, runs * _SECONDS_EACH)
