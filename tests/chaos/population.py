"""The parents that are in flight while things go wrong, and the fate of their children. Both follow from the seed."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from random import Random
from typing import TYPE_CHECKING, Any

import httpx

from tests.chaos.modes import KINDS, MODES, TASK_ID, name_child, name_parent

if TYPE_CHECKING:
    from airflow_durable.demo.api import PublicApi
    from airflow_durable.metadata.scratch import ScratchDatabase
    from tests.chaos.modes import Mode

FAILING_SHARE = 0.15
"""How many children are made to fail once, so that their parents must start another one (or reset it, or fail)."""

CHILD_SECONDS = (5.0, 35.0)
CLEAR_SECONDS = (8.0, 30.0)
"""After it was started: about when it waits."""

_FIRST_DATE = datetime(2026, 1, 1, tzinfo=timezone.utc)
_CONFLICT = 409

_IN_FLIGHT = r"""
SELECT count(*) AS number FROM dag_run WHERE state IN ('queued', 'running') AND dag_id NOT LIKE '%\_child'
AND dag_id NOT LIKE 'durable\_life\_%'
"""
_ANY_ACTIVE = "SELECT 1 AS one FROM dag_run WHERE state IN ('queued', 'running') LIMIT 1"
_ACTIVE_CHILDREN = r"""
SELECT id, dag_id, run_id, clear_number, conf,
  (SELECT count(*) FROM dag_run AS other
   WHERE other.dag_id = dag_run.dag_id AND other.id < dag_run.id
   AND CAST(other.conf AS VARCHAR) = CAST(dag_run.conf AS VARCHAR)) AS siblings
FROM dag_run WHERE state IN ('queued', 'running') AND dag_id LIKE '%\_child' AND dag_id NOT LIKE '%working\_child'
AND dag_id NOT LIKE 'durable\_life\_%'
ORDER BY id
"""


@dataclass(frozen=True)
class Pair:
    """One durable and one stock Dag run that are alike in all but that."""

    number: int
    mode_name: str
    has_foreign: bool
    fails_once: bool

    @property
    def run_id(self) -> str:
        """The run id of both."""
        return f"p{self.number:05d}"

    @property
    def mode(self) -> Mode:
        """How they trigger and wait."""
        return MODES[self.mode_name]

    def is_to_fail(self, item: int, ordinal: int) -> bool:
        """
        Tell whether a child fails.

        :param item: of a parent with many children: which; else it does not matter.
        :param ordinal: how often a child was started for the same before, or this one started over.
        """
        return self.fails_once and ordinal == 0 and (not self.mode.is_many or item % 3 == self.number % 3)


@dataclass
class _Trigger:
    dag_id: str
    run_id: str
    conf: dict[str, Any]
    is_foreign: bool = False


def make_pair(seed: int, number: int) -> Pair:
    """
    Return a pair of parents.

    ``has_foreign``: a finished run of the child Dag under the fixed run id is there already, and is to be reset once.
    """
    random = Random(f"{seed}/pair/{number}")  # noqa: S311 - a schedule, no secret
    mode_name = random.choices(list(MODES), [mode.share for mode in MODES.values()])[0]
    return Pair(
        number=number,
        mode_name=mode_name,
        has_foreign=MODES[mode_name].is_reset and random.random() < 0.5,
        fails_once=not MODES[mode_name].is_working and (random.random() < FAILING_SHARE or MODES[mode_name].is_many),
    )


@dataclass
class Population:
    """
    Keeps so many parents in flight, and ends their children when their time has come.

    :param size: Dag runs of parents in flight, of both kinds together.
    """

    seed: int
    size: int
    api: PublicApi
    database: ScratchDatabase
    pairs: list[Pair] = field(default_factory=list)
    _waiting: list[_Trigger] = field(default_factory=list)
    _due: dict[tuple[int, int], float] = field(default_factory=dict)
    _clears: dict[tuple[str, str], float] = field(default_factory=dict)

    def refill(self) -> None:
        """Start pairs until there are enough again."""
        missing = self.size - self.count_in_flight() - len(self._waiting)
        for _ in range(max(0, missing) // len(KINDS)):
            pair = make_pair(self.seed, len(self.pairs) + 1)
            self.pairs.append(pair)
            self._waiting += self._triggers_of(pair)
        self.send_waiting()

    def send_waiting(self) -> None:
        """Trigger what could not be triggered yet, as the API server was away."""
        with contextlib.suppress(httpx.HTTPError):
            while self._waiting:
                self._send(self._waiting[0])
                del self._waiting[0]

    def count_in_flight(self) -> int:
        """Return how many Dag runs of parents have not ended."""
        (row,) = self.database.select(_IN_FLIGHT)
        return int(row["number"])

    def is_over(self) -> bool:
        """Tell whether all parents and all children have ended."""
        rows = self.database.select(_ANY_ACTIVE)
        return not rows and not self._waiting

    def clear_due_parents(self) -> None:
        """
        Clear the parents of which that is due, once each, and discard their records, as Airflow 3.4 does by default.

        Only while they run: a clear of one whose success was reported would ask for the work anew.
        """
        now = time.monotonic()
        for pair in self.pairs:
            if not pair.mode.is_cleared:
                continue
            for kind in KINDS:
                dag_id = name_parent(kind, pair.mode_name)
                random = Random(f"{self.seed}/clear/{pair.number}")  # noqa: S311
                due = self._clears.setdefault((dag_id, pair.run_id), now + random.uniform(*CLEAR_SECONDS))
                if not 0 < due <= now:
                    continue
                with contextlib.suppress(httpx.HTTPError):
                    self.api.clear_task(dag_id, pair.run_id, TASK_ID, only_running=True)
                    self.api.clear_store(dag_id, pair.run_id, TASK_ID)
                    self._clears[dag_id, pair.run_id] = 0.0

    def end_due_children(self) -> None:
        """Mark the children whose time has come."""
        for row in self.database.select(_ACTIVE_CHILDREN):
            life = (row["id"], row["clear_number"] or 0)
            pair = self.pairs[int(row["conf"]["parent"][1:]) - 1]
            ordinal = row["siblings"] + life[1] - int(pair.has_foreign)
            if life not in self._due:
                place = f"{row['conf']['map_index']}/{row['conf'].get('part', 0)}/{ordinal}"
                random = Random(f"{self.seed}/child/{pair.number}/{place}")  # noqa: S311
                self._due[life] = time.monotonic() + random.uniform(*CHILD_SECONDS)
            if time.monotonic() < self._due[life]:
                continue
            item = max(row["conf"]["map_index"], row["conf"].get("part", 0))
            state = "failed" if pair.is_to_fail(item, ordinal) else "success"
            try:
                self.api.mark_run(row["dag_id"], row["run_id"], state)
            except httpx.HTTPError:
                return

    def _send(self, trigger: _Trigger) -> None:
        try:
            self.api.trigger(trigger.dag_id, trigger.run_id, trigger.conf)
        except httpx.HTTPStatusError as error:
            # The conflict: it arrived, and only the reply was lost.
            if error.response.status_code != _CONFLICT:
                raise
        if trigger.is_foreign:
            self.api.mark_run(trigger.dag_id, trigger.run_id, "success")

    def _triggers_of(self, pair: Pair) -> list[_Trigger]:
        triggers = []
        for kind in KINDS:
            if pair.has_foreign:
                conf = {"parent": pair.run_id, "map_index": -1}
                triggers.append(
                    _Trigger(name_child(kind, pair.mode_name), f"fixed__{pair.run_id}", conf, is_foreign=True)
                )
            date = _FIRST_DATE + timedelta(minutes=pair.number)
            conf = {"logical_date": date.isoformat()}
            triggers.append(_Trigger(name_parent(kind, pair.mode_name), pair.run_id, conf))
        return triggers
