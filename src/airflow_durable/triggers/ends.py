"""
Find which runs of a group have ended or gone, and how: by their tasks where they help, else by counts.

Each method is a search: it yields requests (:mod:`airflow_durable.triggers.requests`) and gets their answers. A wait
ends only by an answer about its own run, or about a set that its run belongs to as a whole: what a search concludes is
counted once more.
"""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, TypeVar

from airflow_durable.core.errors import LookUpFailedError
from airflow_durable.triggers import search
from airflow_durable.triggers.requests import Count, CountTasks, ListTasks, LookUp
from airflow_durable.triggers.search import Cell
from airflow_durable.triggers.tasks import TASKS_AT_ONCE
from airflow_durable.triggers.unknown import UNREADABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from airflow_durable.core.model import ChildRun
    from airflow_durable.triggers.batches import Group
    from airflow_durable.triggers.requests import States, Steps
    from airflow_durable.triggers.search import Counts
    from airflow_durable.triggers.tasks import Hint

FEW = 2
"""So many runs are looked up one by one rather than counted."""

_FEW_FOR_TASKS = 24
"""Of so few runs the tasks are not asked for."""

log = logging.getLogger(__name__)

Found = TypeVar("Found")


class EndSearch:
    """
    One search among the runs of a group.

    :param now: the loop's clock.
    :param report: gets each run that was asked about, with its state, None if it is gone, or an error.
    """

    def __init__(
        self, group: Group, now: Callable[[], float], report: Callable[[str, str | LookUpFailedError | None], None]
    ) -> None:
        self._group = group
        self._now = now
        self._report = report
        self._over: set[str] = set()
        self._failed_tasks: set[str] = set()

    def look_up(self, run_id: str, *, is_enough: bool = False) -> Steps[None]:
        """
        Find out what has become of one run: by its look-up, and if that fails by counts.

        :param is_enough: not by counts.
        """
        answer: ChildRun | LookUpFailedError | None = yield LookUp(run_id)
        if not isinstance(answer, LookUpFailedError):
            self._note(run_id, None if answer is None else answer.state)
        elif is_enough:
            self._note(run_id, answer)
        else:
            yield from self.count_one(run_id, answer)

    def count_one(self, run_id: str, error: LookUpFailedError | None = None) -> Steps[None]:
        """
        Find out what has become of one run by counts.

        :param error: with which its look-up has failed.
        """
        kinds = [(self._active, self._active[0])] if self._active else []
        kinds += [((state,), state) for state in self._ends]
        outcome = None
        for states, state in [*kinds, ((), UNREADABLE)]:
            answer: int | LookUpFailedError = yield Count([run_id], states, is_error_answer=True)
            if isinstance(answer, LookUpFailedError):
                # It is a refusal only if nothing but refusals came.
                self._note(run_id, answer if error is None or answer.is_transient else error)
                return
            if answer:
                outcome = state
                break
        self._note(run_id, outcome)

    def run(self, cells: Sequence[Cell]) -> Steps[None]:
        """
        Find the runs that have ended or gone.

        :param cells: their members are the runs that are not active.
        """
        to_search = []
        for cell in cells:
            if cell.is_open and _is_dear(cell, 2 + 0.75 * cell.members):
                for run_id in cell.run_ids:
                    yield from self.look_up(run_id)
            elif cell.members > 0:
                to_search.append(cell)
        yield from self._count_tasks([cell for cell in to_search if cell.is_open])
        found, small = yield from self._follow(search.narrow(to_search, self._fits_into_list), self._inactive)
        left: list[Cell] = []
        for cell in small:
            left += yield from self._follow_tasks(cell)
        found += yield from self._follow(search.find(left), self._inactive)
        yield from self._settle(found)

    def _follow_tasks(self, cell: Cell) -> Steps[list[Cell]]:
        """Look where the tasks say, and return what is left to be searched."""
        hint = yield from self._list_tasks(cell.run_ids, cell.members)
        if hint is None:
            return [cell]
        rest = _without(cell.run_ids, hint.over)
        if len(hint.over) <= max(cell.members, FEW):
            before = len(self._over)
            yield from self._settle(hint.over)
            return [Cell(rest, cell.members - (len(self._over) - before))]
        inactive = yield from self._inactive(hint.over)
        return [Cell(hint.over, inactive), Cell(rest, cell.members - inactive)]

    def _settle(self, run_ids: Sequence[str]) -> Steps[None]:
        """Find out how runs have ended."""
        failed = [run_id for run_id in run_ids if run_id in self._failed_tasks]
        yield from self._divide(_without(run_ids, failed), self._ends)
        yield from self._divide(failed, self._ends[::-1])

    def _divide(self, run_ids: Sequence[str], ends: Sequence[str]) -> Steps[None]:
        """Find out which runs are in which state: many at once, where they are in the same one."""
        for state in ends:
            if len(run_ids) <= FEW:
                break
            cell = Cell(run_ids, (yield Count(run_ids, (state,))))
            if cell.is_open and _is_dear(cell, 3):
                break
            if cell.is_open:
                members = yield from self._find_in(cell, (state,))
                yield from self._confirm(members, state)
                run_ids = _without(run_ids, members)
            elif cell.members:
                self._note_all(run_ids, state)
                return
        if len(run_ids) > FEW and not (yield Count(run_ids)):
            self._note_all(run_ids, None)
            return
        for run_id in run_ids:
            yield from self.look_up(run_id)

    def _find_in(self, cell: Cell, states: Sequence[str]) -> Steps[list[str]]:
        """Find which of the runs are in one of the states."""

        def in_states(run_ids: Sequence[str]) -> Steps[int]:
            members: int = yield Count(run_ids, states)
            return members

        yield from self._count_tasks([cell])
        rows = self._group.tasks.rows_a_run
        found: list[str] = []
        left = [cell]
        if rows is not None and 3 * math.ceil(len(cell.run_ids) * rows / TASKS_AT_ONCE) < search.expected_counts(cell):
            found, small = yield from self._follow(search.narrow([cell], self._fits_into_list), in_states)
            left = []
            for part in small:
                hint = yield from self._list_tasks(part.run_ids, len(part.run_ids))
                if hint is None:
                    left.append(part)
                    continue
                likely = [run_id for run_id in hint.over if run_id not in hint.failed]
                if not likely:
                    # Each run has a failed task: that says nothing about which runs have failed.
                    left.append(part)
                    continue
                members = yield from in_states(likely)
                left += [Cell(likely, members), Cell(_without(part.run_ids, likely), part.members - members)]
        return [*found, *(yield from self._follow(search.find(left), in_states))]

    def _confirm(self, run_ids: Sequence[str], state: str) -> Steps[None]:
        """End waits whose runs should be in this state, if they are."""
        if len(run_ids) <= FEW:
            for run_id in run_ids:
                yield from self.look_up(run_id)
        elif (yield Count(run_ids, (state,))) == len(run_ids):
            self._note_all(run_ids, state)
        else:
            middle = len(run_ids) // 2
            yield from self._confirm(run_ids[:middle], state)
            yield from self._confirm(run_ids[middle:], state)

    def _count_tasks(self, cells: Sequence[Cell]) -> Steps[None]:
        """Find out how many tasks a run has, before all of them are asked for."""
        tasks = self._group.tasks
        cell = max(cells, key=lambda each: len(each.run_ids), default=None)
        if (
            cell is not None
            and len(cell.run_ids) > _FEW_FOR_TASKS
            and tasks.may_be_asked_for(self._now())
            and tasks.are_to_be_counted(self._now())
        ):
            answer: int | LookUpFailedError = yield CountTasks(cell.run_ids, tasks.last_task)
            if isinstance(answer, LookUpFailedError):
                self._note_tasks_failed(answer)
            else:
                tasks.note_count(answer, len(cell.run_ids), self._now())

    def _list_tasks(self, run_ids: Sequence[str], changed: int) -> Steps[Hint | None]:
        """Ask for the tasks of runs: None, if that does not come or does not help."""
        tasks = self._group.tasks
        if not tasks.may_be_asked_for(self._now()) or not tasks.fit_into_answer(len(run_ids)):
            return None
        answer: Mapping[str, States] | LookUpFailedError = yield ListTasks(run_ids, tasks.last_task)
        if isinstance(answer, LookUpFailedError):
            self._note_tasks_failed(answer)
            return None
        hint = tasks.note_states(run_ids, answer, changed, self._now())
        if hint is not None:
            self._failed_tasks |= hint.failed
        return hint

    def _note_tasks_failed(self, error: LookUpFailedError) -> None:
        self._group.tasks.note_failure(self._now(), is_refusal=not error.is_transient)
        log.info(
            "The tasks of Dag %s cannot be looked up: %s. Its runs are found by counts.",
            self._group.dag_id,
            error.reason,
        )

    def _fits_into_list(self, cell: Cell) -> bool:
        tasks = self._group.tasks
        return (
            len(cell.run_ids) > _FEW_FOR_TASKS
            and tasks.may_be_asked_for(self._now())
            and tasks.fit_into_answer(len(cell.run_ids))
        )

    def _inactive(self, run_ids: Sequence[str]) -> Steps[int]:
        """Count the runs that are not active: those that have ended, and those that are gone."""
        active: int = yield Count(run_ids, self._active)
        return len(run_ids) - active

    @staticmethod
    def _follow(counts: Counts[Found], count: Callable[[Sequence[str]], Steps[int]]) -> Steps[Found]:
        """Give a search the counts that it asks for."""
        answer: int | None = None
        while True:
            try:
                run_ids = counts.send(answer)  # type: ignore[arg-type] # a generator begins with None
            except StopIteration as end:
                found: Found = end.value
                return found
            answer = yield from count(run_ids)

    @property
    def _active(self) -> Sequence[str]:
        return sorted(self._group.active)

    @property
    def _ends(self) -> Sequence[str]:
        """The states in which a wait ends, "success" before "failed"."""
        return sorted(self._group.awaited | self._group.others_ended, reverse=True)

    def _note_all(self, run_ids: Sequence[str], state: str | None) -> None:
        for run_id in run_ids:
            self._note(run_id, state)

    def _note(self, run_id: str, outcome: str | LookUpFailedError | None) -> None:
        if outcome is None or (isinstance(outcome, str) and self._group.is_end(outcome)):
            self._over.add(run_id)
        self._report(run_id, outcome)


def _is_dear(cell: Cell, further: float) -> bool:
    """
    Tell whether looking all up one by one takes no more requests than a search.

    :param further: the requests that it takes to settle what the search has found.
    """
    return search.expected_counts(cell) + further >= len(cell.run_ids)


def _without(run_ids: Sequence[str], others: Sequence[str]) -> list[str]:
    excluded = set(others)
    return [run_id for run_id in run_ids if run_id not in excluded]
