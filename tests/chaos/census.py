"""What became of the parents and their children, counted in Airflow's database. No figure comes from anywhere else."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from tests.chaos.modes import KINDS, MODES, TASK_ID, name_child, name_parent

if TYPE_CHECKING:
    from datetime import datetime

    from airflow_durable.metadata.model import TaskTry
    from airflow_durable.metadata.scratch import ScratchDatabase
    from tests.chaos.population import Pair

_ENDED = frozenset({"success", "failed", "skipped", "upstream_failed", "removed"})
_EXAMPLES = 20


@dataclass(frozen=True)
class Child:
    """A child run as the database has it at the end."""

    id: int
    run_id: str
    state: str
    created_at: datetime
    end_date: datetime | None
    clear_number: int
    part: int = 0

    def has_ended_by(self, moment: datetime) -> bool:
        """Tell whether it had ended by then."""
        return self.end_date is not None and self.end_date <= moment

    def has_failed_by(self, moment: datetime | None) -> bool:
        """Tell whether it had failed by then."""
        return self.state == "failed" and self.end_date is not None and (moment is None or self.end_date <= moment)


@dataclass(frozen=True)
class Parent:
    """
    A parent and its children, in the order of their making.

    :param named_run_id: the child that it names in its XCom.
    :param is_reset_struck: a fault has delayed or repeated its request to reset the child, or dropped the reply.
    :param is_taken: another parent of its Dag run has a child.
    """

    attempt: TaskTry
    pair: Pair
    named_run_id: str | None
    children: tuple[Child, ...]
    is_reset_struck: bool = False
    is_taken: bool = False

    @property
    def name(self) -> str:
        """For people."""
        index = f"[{self.attempt.map_index}]" if self.attempt.map_index >= 0 else ""
        return f"{self.attempt.dag_id} {self.attempt.run_id}{index}"

    @property
    def has_ended(self) -> bool:
        """Whether its task instance is in a final state."""
        return self.attempt.state in _ENDED

    @property
    def duplicates(self) -> int:
        """How many children were started while an earlier one was active or had succeeded."""
        return sum(bool(self._healthy_before(number)) for number in range(1, len(self.children)))

    @property
    def resets(self) -> int:
        """How many times a healthy child was cleared: more often than it was foreign, or had failed."""
        allowed = int(self.pair.has_foreign) + int(self.pair.fails_once and self.pair.mode.is_reset)
        return sum(max(0, child.clear_number - allowed) for child in self.children)

    @property
    def abandoned(self) -> int:
        """How many healthy children it let go of: for another one, or by ending without success."""
        left = {child.id for number in range(1, len(self.children)) for child in self._healthy_before(number)}
        if self.has_ended and self.attempt.state != "success" and self.children:
            last = self.children[-1]
            if not last.has_failed_by(self.attempt.end_date):
                left.add(last.id)
        return len(left)

    @property
    def wrong_end(self) -> str | None:
        """Why its end is wrong, None if it is right (or there is none)."""
        state = self.attempt.state
        if not self.has_ended:
            return None
        if state != "success":
            is_right = state == "failed" and self._is_to_fail()
            return None if is_right else f"{state}, and its child is {self._describe_last()}"
        return self.lost_work

    @property
    def lost_work(self) -> str | None:
        """Why its success is not backed by a successful child of its own, for each of its parts; None if it is."""
        mode = self.pair.mode
        if self.attempt.state != "success":
            return None
        for part in range(mode.parts_of(self.attempt.map_index)):
            own = [child for child in self.children if child.part == part]
            if not own:
                return f"success without a child{f' for part {part}' if part else ''}"
            if mode.is_many and not any(child.state == "success" for child in own):
                return f"success, and no child of item {part} has succeeded"
            if mode.is_awaited and not mode.is_many:
                named = next((child for child in own if child.run_id == self.named_run_id), own[-1])
                if named.state != "success":
                    return f"success, and its child is {named.state}"
        return None

    def _is_to_fail(self) -> bool:
        """
        Tell whether the task has to fail.

        A fixed identity whose child failed admits no other child, and one that another parent has admits none.
        """
        mode = self.pair.mode
        if mode.is_contended and not self.children:
            return self.is_taken
        is_final = mode.is_fixed and mode.is_awaited and not mode.is_reset
        return is_final and bool(self.children) and self.children[-1].has_failed_by(self.attempt.end_date)

    def _healthy_before(self, number: int) -> list[Child]:
        started = self.children[number]
        earlier = [child for child in self.children[:number] if child.part == started.part]
        if self.pair.mode.is_cleared:
            # Its record was discarded: what of an ended child was consumed nobody can know. An active one is found.
            return [child for child in earlier if not child.has_ended_by(started.created_at)]
        return [child for child in earlier if not child.has_failed_by(started.created_at)]

    def _describe_last(self) -> str:
        return self.children[-1].state if self.children else "not there"


@dataclass
class Count:
    """The figures of one kind."""

    parents: int = 0
    attempts: int = 0
    children: int = 0
    duplicates: int = 0
    healthy_resets: int = 0
    late_resets: int = 0
    abandoned: int = 0
    wrong_ends: int = 0
    lost_work: int = 0
    never_ended: int = 0
    retried_parents: int = 0
    ends: dict[str, int] = field(default_factory=dict)
    examples: list[str] = field(default_factory=list)
    scatter: dict[str, int] = field(default_factory=dict)
    """``attempts,healthy children`` to the number of parents."""

    @property
    def wrongs(self) -> list[str]:
        """Examples of what is wrong, and not only unfinished."""
        return [example for example in self.examples if "never ended" not in example]

    @property
    def violations(self) -> int:
        """How often the promise was broken. Late resets are not part of it: no client can fence its request."""
        return self.duplicates + self.healthy_resets + self.abandoned + self.wrong_ends + self.never_ended


@dataclass
class Census:
    """All figures."""

    totals: dict[str, Count]
    by_mode: dict[str, dict[str, Count]]

    def to_json(self) -> dict[str, Any]:
        """Return the figures as plain data."""
        return {
            "totals": {kind: asdict(count) for kind, count in self.totals.items()},
            "by_mode": {
                mode: {kind: asdict(count) for kind, count in counts.items()} for mode, counts in self.by_mode.items()
            },
        }


def take(database: ScratchDatabase, pairs: list[Pair], struck_resets: set[tuple[str, str, int]]) -> Census:
    """
    Count.

    :param struck_resets: the parents (Dag, run, map index) whose request to reset the child itself met a fault.
    """
    by_number = {pair.run_id: pair for pair in pairs}
    by_mode = {
        mode: {kind: count_parents(_read_parents(database, kind, mode, by_number, struck_resets)) for kind in KINDS}
        for mode in MODES
    }
    totals = {kind: _add([counts[kind] for counts in by_mode.values()]) for kind in KINDS}
    return Census(totals, by_mode)


def count_parents(parents: list[Parent]) -> Count:
    """Return the figures of these parents."""
    count = Count()
    scatter: Counter[str] = Counter()
    for parent in parents:
        count.parents += 1
        count.attempts += max(1, parent.attempt.try_number)
        count.retried_parents += parent.attempt.try_number > 1
        count.children += len(parent.children)
        count.duplicates += parent.duplicates
        count.healthy_resets += 0 if parent.is_reset_struck else parent.resets
        count.late_resets += parent.resets if parent.is_reset_struck else 0
        count.abandoned += parent.abandoned
        count.wrong_ends += parent.wrong_end is not None
        count.lost_work += parent.lost_work is not None
        count.never_ended += not parent.has_ended
        state = parent.attempt.state or "none"
        count.ends[state] = count.ends.get(state, 0) + 1
        healthy = parent.duplicates + 1 if parent.children else 0
        scatter[f"{max(1, parent.attempt.try_number)},{healthy}"] += 1
        count.examples += _tell(parent)
    count.scatter = dict(scatter)
    count.examples = _shorten(count.examples)
    return count


def _tell(parent: Parent) -> list[str]:
    found = []
    if parent.duplicates:
        found.append(f"{parent.duplicates} duplicates among {len(parent.children)} children")
    if parent.resets:
        found.append(f"a healthy child was reset {parent.resets} times")
    if parent.abandoned:
        found.append(f"{parent.abandoned} healthy children abandoned")
    if parent.wrong_end:
        found.append(f"ended as {parent.wrong_end}")
    if not parent.has_ended:
        found.append(f"never ended: {parent.attempt.state}")
    return [f"{parent.name} (try {parent.attempt.try_number}): {'; '.join(found)}"] if found else []


def _shorten(examples: list[str]) -> list[str]:
    """Return so many that a person can read them; those that are only unfinished last."""
    return sorted(examples, key=lambda example: "never ended" in example)[:_EXAMPLES]


def _add(counts: list[Count]) -> Count:
    total = Count()
    for count in counts:
        for name, value in vars(count).items():
            if isinstance(value, int):
                setattr(total, name, getattr(total, name) + value)
        total.examples += count.examples
        for own, other in ((total.ends, count.ends), (total.scatter, count.scatter)):
            for key, number in other.items():
                own[key] = own.get(key, 0) + number
    total.examples = _shorten(total.examples)
    return total


def _read_parents(
    database: ScratchDatabase, kind: str, mode: str, pairs: dict[str, Pair], struck_resets: set[tuple[str, str, int]]
) -> list[Parent]:
    children: dict[tuple[str, int], list[Child]] = defaultdict(list)
    runs = database.runs(name_child(kind, mode))
    confs = database.confs(name_child(kind, mode), [run.run_id for run in runs])
    for run in runs:
        created_at = run.created_at or run.queued_at
        if created_at is None:
            message = f"Child run {run.run_id} has no date of its making."
            raise ValueError(message)
        conf = confs[run.run_id]
        child = Child(
            run.id,
            run.run_id,
            run.state or "none",
            created_at,
            run.end_date,
            run.clear_number,
            conf.get("part", 0),
        )
        children[conf["parent"], conf["map_index"]].append(child)
    named = _read_named_runs(database, name_parent(kind, mode))
    owners = {run_id for run_id, _ in children}
    return [
        Parent(
            attempt,
            pairs[attempt.run_id],
            named.get((attempt.run_id, attempt.map_index)),
            tuple(children[attempt.run_id, attempt.map_index]),
            (attempt.dag_id, attempt.run_id, attempt.map_index) in struck_resets,
            attempt.run_id in owners,
        )
        for attempt in database.latest_tries(name_parent(kind, mode))
    ]


def _read_named_runs(database: ScratchDatabase, dag_id: str) -> dict[tuple[str, int], str]:
    """Return the run ids that the parents name as their child's."""
    xcoms = database.xcoms("trigger_run_id", dag_id, TASK_ID)
    return {
        (key.run_id, key.map_index): json.loads(value) if _is_json(value) else value for key, value in xcoms.items()
    }


def _is_json(value: object) -> bool:
    return isinstance(value, str) and value.startswith('"')
