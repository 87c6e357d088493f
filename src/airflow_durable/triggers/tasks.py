"""
What the tasks of a Dag's runs say about the runs: if all tasks of a run are finished, it has ended, or soon will.

It is a hint and nothing else: a run may be about to end, have been ended by a person, or have no tasks. What has become
of a run is always asked of the run itself (:mod:`airflow_durable.triggers.ends`). The point of the hint is that the
server lists the tasks of many runs in one answer; this module sees that no such answer gets too long.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from airflow_durable.triggers.requests import States

TASKS_AT_ONCE = 2000
"""How many tasks an answer may list: the server reads a row of its database for each."""

COUNT_SECONDS = 30.0
"""How long the number of tasks of a run is taken as known. Mapped tasks are added to a run while it is active."""

UNHELPFUL_SECONDS = 60.0
"""How long the tasks, or the last one alone, are not asked for after they did not help."""

REFUSED_SECONDS = 3600.0
"""How long they are not asked for after the server has refused them."""

FINISHED = frozenset({"success", "failed", "skipped", "upstream_failed", "removed"})
"""States of a task that has ended (``utils/state.py``, Airflow 3.0 to 3.3)."""

_FAILED = frozenset({"failed", "upstream_failed"})
_NEVER = float("-inf")


@dataclass(frozen=True, slots=True)
class Hint:
    """
    What the tasks say.

    :param over: the runs whose tasks are all finished, or that have none.
    :param failed: those of them in which a task has failed.
    """

    over: list[str]
    failed: set[str]


@dataclass(slots=True)
class Tasks:
    """
    What is known of the tasks of the runs of one Dag. Times are the event loop's.

    :param last_task: the task that finishes last in each run, as it seems: it is asked for alone.
    :param rows_a_run: how many rows a run has in an answer; None: not known.
    :param known_at: since when.
    :param unhelpful_until: until when the tasks are not asked for.
    :param no_last_task_until: until when no task is taken for the last one.
    """

    last_task: str | None = None
    rows_a_run: float | None = None
    known_at: float = _NEVER
    unhelpful_until: float = _NEVER
    no_last_task_until: float = _NEVER

    def may_be_asked_for(self, now: float) -> bool:
        """Return whether they may help."""
        return now >= self.unhelpful_until

    def are_to_be_counted(self, now: float) -> bool:
        """Return whether they have to be counted first."""
        return self.rows_a_run is None or now > self.known_at + COUNT_SECONDS

    def fit_into_answer(self, runs: int) -> bool:
        """Return whether those of this many runs may be asked for at once."""
        return self.rows_a_run is not None and runs * self.rows_a_run <= TASKS_AT_ONCE

    def note_count(self, rows: int, runs: int, now: float) -> None:
        """Take note of how many they are in this many runs."""
        self.rows_a_run = rows / runs
        self.known_at = now

    def note_failure(self, now: float, *, is_refusal: bool) -> None:
        """Take note that they could not be asked for."""
        self.unhelpful_until = now + (REFUSED_SECONDS if is_refusal else UNHELPFUL_SECONDS)

    def note_states(
        self, run_ids: Sequence[str], states: Mapping[str, States], changed: int, now: float
    ) -> Hint | None:
        """
        Take note of an answer, and return what it says; None: nothing that helps to find the runs.

        :param states: of the tasks that were asked for, by run and task.
        :param changed: how many of the runs have ended or gone.
        """
        rows = sum(map(len, states.values()))
        self.note_count(rows, len(run_ids), now)
        over = [run_id for run_id in run_ids if FINISHED.issuperset(states.get(run_id, {}).values())]
        is_helpful = 0 < len(over) <= max(len(run_ids) // 2, changed)
        if self.last_task is None:
            if not is_helpful:
                self.unhelpful_until = now + UNHELPFUL_SECONDS
            elif now >= self.no_last_task_until:
                self._aim_at(_guess_last_task(states.values()))
        elif not is_helpful or rows > len(run_ids):
            # Others finish after it, or it is mapped: it has a row for each of its parts.
            self._aim_at(None)
            self.no_last_task_until = now + UNHELPFUL_SECONDS
        if not is_helpful:
            return None
        failed = {run_id for run_id in over if not _FAILED.isdisjoint(states.get(run_id, {}).values())}
        return Hint(over, failed)

    def _aim_at(self, task_id: str | None) -> None:
        if task_id != self.last_task:
            self.last_task = task_id
            self.rows_a_run = None


def _guess_last_task(runs: Iterable[States]) -> str | None:
    """Return the task that is unfinished in more of the runs than any other, None if there is no such task."""
    unfinished = Counter(task_id for states in runs for task_id, state in states.items() if state not in FINISHED)
    (first, most), (_, second) = (*unfinished.most_common(2), ("", 0), ("", 0))[:2]
    return first if most > second else None
