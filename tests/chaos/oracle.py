"""
What must not become of a parent that asks for something of its child's life, and of the child.

It judges by the run's own book, by the rows of Airflow's tables, and by what the child runs have noted themselves. It
asks nothing of the package: neither a record nor a decision, nor the package's entries in the audit log.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum
from typing import TYPE_CHECKING, Any

from tests.chaos.ledger import only_ended
from tests.chaos.life import LIFE_MODES, PREFIX, Fate
from tests.chaos.modes import TASK_ID

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from airflow_durable.metadata.model import TaskTry
    from airflow_durable.metadata.scratch import ScratchDatabase
    from tests.chaos.ledger import Book, Deed
    from tests.chaos.life import Subject

_ACTIVE = frozenset({"queued", "running"})


class Wrong(str, Enum):
    """What can be wrong. The values stand in the report."""

    DUPLICATE = "a child run was started beside a healthy one"
    LOST_WORK = "a parent succeeded without a successful child run of its own"
    ENDED_THOUGH_WANTED = "a child run was ended although its parent still wanted it"
    LEFT_RUNNING = "the child run of a parent that had ended for good was not ended"
    RESUMED_TOO_OFTEN = "a child run was cleared more often than it had failed"
    FINISHED_TASK_REPEATED = "a finished task of a child run was cleared"
    NOT_RESUMED = "a failed child run was replaced instead of resumed"
    WRONG_RESULT = "the parent did not return what its child returned"
    WRONG_END = "the parent ended in another state than it should"
    NEVER_ENDED = "the parent did not end"


@dataclass(frozen=True)
class LifeChild:
    """
    A child run.

    :param mark: what the run has asked it to be marked as; None: nothing.
    :param tries: of its tasks.
    :param noted: what its tasks have noted: (task, what) to how often.
    """

    id: int
    run_id: str
    state: str
    created_at: datetime
    end_date: datetime | None = None
    clear_number: int = 0
    part: int = 0
    mark: str | None = None
    tries: tuple[TaskTry, ...] = ()
    noted: Counter[tuple[str, str]] = field(default_factory=Counter)

    def is_failed_at(self, moment: datetime) -> bool:
        """Return whether it had failed by then, for good as far as is known now."""
        return self.state == "failed" and self.end_date is not None and self.end_date <= moment

    def is_ended_at(self, moment: datetime) -> bool:
        """Return whether it had ended by then."""
        return self.end_date is not None and self.end_date <= moment


@dataclass(frozen=True)
class Life:
    """
    A parent, what was done to it, and its children in the order of their making.

    :param tries: in their order; empty: it was deleted.
    :param returned: its ``return_value``.
    """

    subject: Subject
    deeds: tuple[Deed, ...]
    tries: tuple[TaskTry, ...]
    children: tuple[LifeChild, ...]
    returned: object = None

    @property
    def latest(self) -> TaskTry | None:
        """Its latest try."""
        return self.tries[-1] if self.tries else None

    @property
    def is_over(self) -> bool:
        """Whether it has ended for good, by its state now."""
        return self.latest is not None and only_ended([self.latest.state])

    @property
    def is_left_scheduled(self) -> bool:
        """
        Whether no try has begun, and none will: a person has ended its Dag run.

        Airflow requeues a task that was queued for long, and starts no task of a Dag run that has ended (3.3,
        ``scheduler_job_runner.py``, ``_maybe_requeue_stuck_ti``). Nothing of the parent has run then.
        """
        is_run_ended = any(deed.fate in {Fate.MARK_RUN, Fate.DELETE} and deed.answered_at for deed in self.deeds)
        has_begun = bool(self.children) or any(one.start_date for one in self.tries)
        return is_run_ended and not has_begun and self.latest is not None and self.latest.state == "scheduled"

    @property
    def clears(self) -> int:
        """How often a person has asked for it anew."""
        return sum(deed.is_clear for deed in self.deeds)

    def is_wanted_at(self, moment: datetime) -> bool:
        """
        Return whether the parent wanted its child at that moment, for certain.

        From its start on, until a person has asked for its end, and again from when a clear was answered; at the
        latest until its last try has ended. So a retry, a clear and a dead worker leave it wanted.
        """
        if self.is_over and self.latest and self.latest.end_date and self.latest.end_date <= moment:
            return False
        ends = [deed.sent_at for deed in self.deeds if not deed.is_clear and deed.sent_at <= moment]
        if not ends:
            return True
        return any(
            deed.is_clear and deed.answered_at and max(ends) < deed.sent_at and deed.answered_at <= moment
            for deed in self.deeds
        )

    @property
    def name(self) -> str:
        """For people."""
        state = f"{self.latest.state} in try {self.latest.try_number}" if self.latest else "deleted"
        runs = ", ".join(f"{child.state}/{child.clear_number}" for child in self.children) or "no child run"
        return f"{self.subject.dag_id} {self.subject.run_id} ({self.subject.fate.value}): {state}; {runs}"


def judge(life: Life) -> Iterator[Wrong]:
    """Yield what is wrong with it."""
    for number, child in enumerate(life.children):
        if any(_is_healthy(life, earlier, child) for earlier in life.children[:number] if earlier.part == child.part):
            yield Wrong.DUPLICATE
        yield from _judge_child(life, child)
    if life.latest is None or life.is_left_scheduled:
        return
    if not life.is_over:
        yield Wrong.NEVER_ENDED
        return
    mode = life.subject.mode
    if mode.is_ending and any(child.state in _ACTIVE for child in life.children):
        yield Wrong.LEFT_RUNNING
    if mode.is_resuming and len(life.children) > 1 + life.clears:
        yield Wrong.NOT_RESUMED
    if not _is_right_end(life):
        yield Wrong.WRONG_END
    if life.latest.state == "success" and not _is_marked(life):
        yield from _judge_success(life)


def _is_healthy(life: Life, earlier: LifeChild, started: LifeChild) -> bool:
    """Tell whether the earlier run was healthy when the other one was started."""
    if life.clears:
        # A person has asked for the work anew, and what had ended may be repeated. What is active is found.
        return not earlier.is_ended_at(started.created_at)
    return not earlier.is_failed_at(started.created_at)


def _judge_child(life: Life, child: LifeChild) -> Iterator[Wrong]:
    is_ended_by_others = child.state == "failed" and child.mark != "failed" and not child.noted["load", "failed"]
    if is_ended_by_others and child.end_date and life.is_wanted_at(child.end_date):
        yield Wrong.ENDED_THOUGH_WANTED
    if child.clear_number > child.noted["load", "failed"]:
        yield Wrong.RESUMED_TOO_OFTEN
    done = {(one.task_id, one.try_number) for one in child.tries if one.state == "success"}
    last = {one.task_id: one.try_number for one in child.tries}
    if any(try_number < last[task_id] for task_id, try_number in done):
        yield Wrong.FINISHED_TASK_REPEATED


def _judge_success(life: Life) -> Iterator[Wrong]:
    done = [child for child in life.children if child.state == "success"]
    if {child.part for child in done} != set(range(life.subject.mode.parts)):
        yield Wrong.LOST_WORK
        return
    if "result" in life.subject.mode.arguments:
        expected = [{"parent": life.subject.run_id, "run_id": child.run_id} for child in done]
        if life.returned not in expected:
            yield Wrong.WRONG_RESULT
        if not all(child.noted["load", "finished"] for child in done):
            yield Wrong.LOST_WORK


def _is_marked(life: Life) -> bool:
    """Tell whether a person's mark is the last thing that was done to it."""
    return bool(life.deeds) and not life.deeds[-1].is_clear


def _is_right_end(life: Life) -> bool:
    """Tell whether its last state is one that it had to come to."""
    state, subject = life.latest and life.latest.state, life.subject
    if _is_marked(life):
        return True
    if subject.mode.is_last or subject.mode.fails_child:
        return state == "failed" and len(life.children) <= 1
    if subject.mode.timeout_seconds is not None and state == "failed":
        return _is_timed_out(life, timedelta(seconds=subject.mode.timeout_seconds))
    return state == "success" and subject.fate is not Fate.TIMEOUT


def _is_timed_out(life: Life, timeout: timedelta) -> bool:
    """
    Tell whether the timeout can be over. It is measured from what comes after the start of the first try.

    A child that had succeeded before that is not late.
    """
    first, end = life.tries[0].start_date, life.tries[-1].end_date
    if first is None or end is None or end < first + timeout:
        return False
    return not any(child.state == "success" and child.is_ended_at(first + timeout) for child in life.children)


@dataclass
class Sentence:
    """
    What was found.

    :param left_by_deleted: how many child runs outlived the deletion of their parent: no record was left by then, and
        no reconciler up that had read it.
    :param left_scheduled: how many parents never began (:attr:`Life.is_left_scheduled`).
    """

    parents: int = 0
    struck: int = 0
    tries: int = 0
    children: int = 0
    ended: int = 0
    resumed: int = 0
    left_by_deleted: int = 0
    left_scheduled: int = 0
    wrongs: Counter[Wrong] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)
    fates: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add(self, life: Life) -> None:
        """Judge one more."""
        self.parents += 1
        self.struck += life.subject.fate not in {Fate.FINISH, Fate.TIMEOUT}
        self.tries += life.latest.try_number if life.latest else 0
        self.children += len(life.children)
        self.left_scheduled += life.is_left_scheduled
        self.fates[life.subject.mode_name, life.subject.fate.name.lower()] += 1
        for child in life.children:
            is_by_itself = child.mark == "failed" or child.noted["load", "failed"]
            self.ended += child.state == "failed" and not is_by_itself
            self.left_by_deleted += life.latest is None and child.state == "success"
            self.resumed += child.clear_number
        found = list(judge(life))
        self.wrongs.update(found)
        if found:
            self.examples.append(f"{life.name}: {'; '.join(sorted({one.value for one in found}))}")

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            **{name: value for name, value in vars(self).items() if isinstance(value, int)},
            "wrongs": {one.name.lower(): self.wrongs[one] for one in Wrong},
            "examples": self.examples,
            "fates": {" ".join(key): number for key, number in sorted(self.fates.items())},
        }


def pass_sentence(lives: list[Life]) -> Sentence:
    """Judge them all."""
    sentence = Sentence()
    for life in lives:
        sentence.add(life)
    return sentence


def read(database: ScratchDatabase, book: Book) -> list[Life]:
    """Return what is in the database."""
    noted: dict[tuple[str, str], Counter[tuple[str, str]]] = defaultdict(Counter)
    for row in database.select("SELECT dag_id, run_id, task_id, what FROM chaos_work"):
        noted[row["dag_id"], row["run_id"]][row["task_id"], row["what"]] += 1
    return [life for name in LIFE_MODES for life in _read_mode(database, book, f"{PREFIX}{name}", noted)]


def _read_mode(
    database: ScratchDatabase, book: Book, dag_id: str, noted: dict[tuple[str, str], Counter[tuple[str, str]]]
) -> list[Life]:
    child_dag_id = f"{dag_id}_child"
    tries: dict[str, list[TaskTry]] = defaultdict(list)
    for one in [*database.tries(dag_id), *database.tries(child_dag_id)]:
        # A try that has not begun is not one yet, but for the latest.
        tries[one.run_id if one.dag_id == child_dag_id else f"{dag_id} {one.run_id}"].append(one)
    children: dict[str, list[LifeChild]] = defaultdict(list)
    runs = database.runs(child_dag_id)
    confs = database.confs(child_dag_id, [run.run_id for run in runs])
    for run in runs:
        created_at = run.created_at or run.queued_at
        assert created_at is not None
        marks = {book.marks.get((child_dag_id, run.run_id, number)) for number in range(run.clear_number + 1)} - {None}
        child = LifeChild(
            run.id,
            run.run_id,
            run.state or "none",
            created_at,
            run.end_date,
            run.clear_number,
            confs[run.run_id].get("part", 0),
            next(iter(marks), None),
            tuple(tries[run.run_id]),
            noted[child_dag_id, run.run_id],
        )
        children[confs[run.run_id]["parent"]].append(child)
    returned = {key.run_id: value for key, value in database.xcoms("return_value", dag_id, TASK_ID).items()}
    return [
        Life(
            subject,
            tuple(book.deeds.get(subject.number, ())),
            tuple(tries[f"{dag_id} {subject.run_id}"]),
            tuple(children[subject.run_id]),
            _decode(returned.get(subject.run_id)),
        )
        for subject in book.subjects
        if subject.dag_id == dag_id
    ]


def _decode(value: object) -> object:
    """Return an XCom as it was given; Airflow stores it as JSON."""
    return json.loads(value) if isinstance(value, str) else value
