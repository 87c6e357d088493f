"""Keeps parents in flight that ask for something of the child's life, and does to each what its fate says."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import httpx

from tests.chaos.ledger import Book, only_ended
from tests.chaos.life import Fate, Subject, Work, make_subject
from tests.chaos.modes import TASK_ID

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from airflow_durable.demo.api import PublicApi
    from airflow_durable.metadata.model import TaskTry
    from airflow_durable.metadata.scratch import ScratchDatabase

ACT_SECONDS = (0.5, 20.0)
"""After its first child was started; for one parent of :data:`BLIND_ONE_IN`, after it was itself."""

BLIND_ONE_IN = 5

SECOND_ACT_SECONDS = (0.5, 8.0)
"""Between a person's mark and the clear or the deletion that follows."""

CHILD_SECONDS = (5.0, 30.0)
LEFT_SECONDS = 45.0
"""A child whose parent was deleted may be left: it is ended by us after this time, so that the run comes to its end."""

_CONFLICT = 409
_IN_FLIGHT = r"""
SELECT run_id FROM dag_run WHERE state IN ('queued', 'running')
AND dag_id LIKE 'durable\_life\_%' AND dag_id NOT LIKE '%\_child'
"""
_ACTIVE_CHILDREN = r"""
SELECT dag_id, run_id, clear_number, conf FROM dag_run WHERE state IN ('queued', 'running')
AND dag_id LIKE 'durable\_life\_%\_child' ORDER BY id
"""
_WITH_CHILD = r"""
SELECT DISTINCT conf ->> 'parent' AS parent FROM dag_run WHERE dag_id LIKE 'durable\_life\_%\_child'
"""
_DUE = r"""
SELECT ti.id FROM dag_run AS child
JOIN dag_run AS parent ON child.dag_id = parent.dag_id || '_child' AND child.conf ->> 'parent' = parent.run_id
JOIN task_instance AS ti ON ti.dag_id = parent.dag_id AND ti.run_id = parent.run_id
WHERE child.dag_id LIKE 'durable\_life\_%' AND (
  (child.state IN ('queued', 'running') AND ti.state IN ('failed', 'success', 'skipped')
   AND parent.dag_id NOT LIKE '%\_fail')
  OR (child.state = 'failed' AND parent.dag_id LIKE '%\_resume%' AND ti.state IN ('running', 'deferred')
      AND ti.try_number > 1)
)
"""


@dataclass
class People:
    """
    Does all of it over the public API. What cannot be done, as the API server is away, is done at the next tick.

    :param size: how many parents are in flight.
    :param kill: kills a task process and its supervisor; returns whether they were there.
    """

    seed: int
    size: int
    api: PublicApi
    database: ScratchDatabase
    kill: Callable[[int], bool]
    book: Book = field(default_factory=Book)
    _unsent: list[Subject] = field(default_factory=list)
    _due: dict[object, float] = field(default_factory=dict)
    _settled: set[int] = field(default_factory=set)
    _with_child: set[str] = field(default_factory=set)

    def refill(self) -> None:
        """Start parents until there are enough again."""
        in_flight = len(self.database.select(_IN_FLIGHT)) + len(self._unsent)
        for _ in range(max(0, self.size - in_flight)):
            subject = make_subject(self.seed, len(self.book.subjects) + 1)
            self.book.subjects.append(subject)
            self._unsent.append(subject)

    def tick(self) -> None:
        """Do what is due."""
        self._with_child = {row["parent"] for row in self.database.select(_WITH_CHILD)}
        # An API server that is away, or hangs, is not asked again in this tick.
        with contextlib.suppress(httpx.HTTPError):
            self._send()
            for subject in self.book.subjects:
                if subject.number not in self._settled and subject not in self._unsent:
                    with contextlib.suppress(httpx.HTTPStatusError):
                        self._act(subject)
            for row in self.database.select(_ACTIVE_CHILDREN):
                with contextlib.suppress(httpx.HTTPStatusError):
                    self._end_child(row)

    @property
    def is_done(self) -> bool:
        """Whether all has been done that is to be done."""
        return not self._unsent and len(self._settled) == len(self.book.subjects)

    def find_due(self) -> list[Mapping[str, Any]]:
        """
        Return the task instances of the parents for which the reconciler has something to do just now.

        If there is none, it is seen to that there soon is one: what a person is going to do is done as soon as there is
        a child, and if nothing is going to be done, one more parent is started and marked.
        """
        if due := self.database.select(_DUE):
            return due
        planned = [
            subject
            for subject in self.book.subjects
            if subject.number not in self._settled and subject.fate not in {Fate.CLEAR, Fate.CRASH}
        ]
        if not [subject for subject in planned if subject.fate not in {Fate.FINISH, Fate.TIMEOUT}]:
            subject = Subject(len(self.book.subjects) + 1, "cancel", Fate.MARK_FAILED, seed=self.seed)
            self.book.subjects.append(subject)
            self._unsent.append(subject)
        waiting = {row["conf"]["parent"] for row in self.database.select(_ACTIVE_CHILDREN)}
        for subject in planned:
            if subject.run_id in waiting:
                self._due["act", subject.number] = 0.0
        return []

    def _send(self) -> None:
        while self._unsent:
            subject = self._unsent[0]
            try:
                self.api.trigger(subject.dag_id, subject.run_id, {"failures": str(subject.failures)})
            except httpx.HTTPStatusError as error:
                # The conflict: it arrived, and only the reply was lost.
                if error.response.status_code != _CONFLICT:
                    raise
            del self._unsent[0]

    def _is_due(self, key: object, seconds: float) -> bool:
        """Return whether so much time has passed since this was asked first."""
        return time.monotonic() >= self._due.setdefault(key, time.monotonic() + seconds)

    def _act(self, subject: Subject) -> None:
        fate, deeds = subject.fate, self.book.deeds.get(subject.number, [])
        if fate in {Fate.FINISH, Fate.TIMEOUT}:
            self._settled.add(subject.number)
            return
        if deeds and deeds[0].answered_at:
            self._act_again(subject)
            return
        latest = self._latest(subject)
        if latest is None:
            return
        if only_ended([latest.state]) and not deeds:
            # It has ended before its time: what its fate is does not come any more.
            self._settled.add(subject.number)
        elif not self._is_time(subject):
            return
        elif fate is Fate.CRASH:
            if latest.state == "running" and latest.pid and self.kill(latest.pid):
                self._settled.add(subject.number)
        else:
            self.book.do(subject, fate, self._first_act(subject), is_clear=fate is Fate.CLEAR)
            if fate not in {Fate.DELETE, Fate.MARK_AND_CLEAR}:
                self._settled.add(subject.number)

    def _is_time(self, subject: Subject) -> bool:
        """Return whether what is done to it is due."""
        is_blind = subject.number % BLIND_ONE_IN == 0
        if not is_blind and subject.run_id not in self._with_child:
            return False
        return self._is_due(("act", subject.number), subject.seconds("act", ACT_SECONDS))

    def _first_act(self, subject: Subject) -> Callable[[], None]:
        dag_id, run_id = subject.dag_id, subject.run_id
        if subject.fate is Fate.CLEAR:
            return partial(self.api.clear_task, dag_id, run_id, TASK_ID)
        if subject.fate in {Fate.MARK_RUN, Fate.DELETE}:
            return partial(self.api.mark_run, dag_id, run_id, "failed")
        state = "success" if subject.fate is Fate.MARK_SUCCESS else "failed"
        return partial(self.api.mark_task, dag_id, run_id, TASK_ID, state)

    def _act_again(self, subject: Subject) -> None:
        """Do the second half of a fate."""
        dag_id, run_id, fate = subject.dag_id, subject.run_id, subject.fate
        if not self._is_due(("again", subject.number), subject.seconds("again", SECOND_ACT_SECONDS)):
            return
        if fate is Fate.MARK_AND_CLEAR:
            self.book.do(subject, fate, partial(self.api.clear_task, dag_id, run_id, TASK_ID), is_clear=True)
        elif self._latest(subject) is not None:
            self.api.delete_run(dag_id, run_id)
        self._settled.add(subject.number)

    def _latest(self, subject: Subject) -> TaskTry | None:
        tries = self.database.latest_tries(subject.dag_id, subject.run_id)
        return next((one for one in tries if one.task_id == TASK_ID), None)

    def _end_child(self, row: Mapping[str, Any]) -> None:
        """Mark a child, if that is its fate."""
        subject = self.book.subjects[int(row["conf"]["parent"][1:]) - 1]
        mode, deeds = subject.mode, self.book.deeds.get(subject.number, [])
        life = (row["dag_id"], row["run_id"], row["clear_number"] or 0)
        is_deleted = subject.fate is Fate.DELETE and subject.number in self._settled
        if is_deleted:
            wait_seconds = LEFT_SECONDS
        elif mode.work is not Work.QUEUED:
            return
        elif subject.fate in {Fate.FINISH, Fate.CLEAR} or (deeds and deeds[-1].is_clear and deeds[-1].answered_at):
            wait_seconds = subject.seconds(f"child {row['conf'].get('part', 0)}", CHILD_SECONDS)
        else:
            return
        if self._is_due((life, is_deleted), wait_seconds):
            state = "failed" if mode.fails_child else "success"
            self.book.marks[life] = state
            self.api.mark_run(row["dag_id"], row["run_id"], state)
