"""One chaos run: parents in flight, faults one after another, then peace until all have ended, then the count."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from tests.chaos import census, oracle
from tests.chaos.engine import DistributedAirflow
from tests.chaos.faults import COMPONENTS, FaultBox, Outcome
from tests.chaos.life import LIFE_MODES, PREFIX
from tests.chaos.modes import KINDS, MODES, name_parent
from tests.chaos.people import People
from tests.chaos.plan import TARGETED, FaultKind, PlannedFault, make_plan
from tests.chaos.population import Population

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.chaos.census import Census
    from tests.chaos.oracle import Sentence

    Tell = Callable[[str], None]

_TICK_SECONDS = 1.0
_READY_LIMIT_SECONDS = 120.0
_CONCURRENT_FAULTS = 5
_MAY_PASS = 12
_TELL_SECONDS = 30.0
_COUNT_SECONDS = 150.0
_OF_WORKERS = frozenset({FaultKind.WORKER_KILLED, FaultKind.PARTITION})


@dataclass(frozen=True)
class Settings:
    """
    What a run is asked to do.

    :param size: Dag runs of parents in flight, of both kinds together. Beside them are half as many, at least six, of
        parents that ask for something of the child's life.
    :param pause_seconds: the mean pause between two faults.
    :param limit_minutes: no fault begins after this time.
    :param drain_seconds: how long the parents may take to end, after the last fault, before they count as hanging.
    """

    faults: int
    seed: int
    size: int
    pause_seconds: float
    limit_minutes: float
    drain_seconds: float


@dataclass
class Result:
    """What a run has found."""

    settings: Settings
    airflow_version: str
    outcomes: list[Outcome]
    census: Census
    sentence: Sentence
    restarts: dict[str, int]
    took_seconds: float

    @property
    def faults(self) -> Counter[FaultKind]:
        """How many faults of each kind were done."""
        return Counter(outcome.fault.kind for outcome in self.outcomes if outcome.is_done)

    @property
    def troubles(self) -> list[str]:
        """Why the run does not show what it should. Empty if it does."""
        found = []
        durable = self.census.totals["durable"]
        if durable.violations:
            found.append(f"The durable parents broke the promise {durable.violations} times.")
        found += [
            f"Of the child's life, {number} times: {wrong.value}." for wrong, number in self.sentence.wrongs.items()
        ]
        missing = self.settings.faults - sum(self.faults.values())
        if missing:
            found.append(f"{missing} of the planned faults were not done.")
        if not durable.retried_parents:
            found.append("No durable parent was retried, so no fault has hurt one.")
        if not self.sentence.ended + self.sentence.resumed:
            found.append("No child run was ended or resumed, so the reconciler has done nothing.")
        return found

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "settings": asdict(self.settings),
            "airflow_version": self.airflow_version,
            "took_seconds": round(self.took_seconds),
            "faults": {kind.name.lower(): self.faults[kind] for kind in FaultKind},
            "victims": self.sum_of("victims"),
            "overlaps": self.sum_of("overlaps"),
            "restarts_of_what_ended_by_itself": self.restarts,
            "troubles": self.troubles,
            **self.census.to_json(),
            "life": self.sentence.to_json(),
        }

    def sum_of(self, name: str) -> dict[str, dict[str, int]]:
        """Return the outcomes' victims or overlaps, by fault kind and by kind of parent."""
        return {
            kind.name.lower(): {
                who: sum(getattr(outcome, name)[who] for outcome in self.outcomes if outcome.fault.kind is kind)
                for who in KINDS
            }
            for kind in FaultKind
        }


@dataclass
class _Course:
    """The run as it goes."""

    engine: DistributedAirflow
    population: Population
    people: People
    box: FaultBox
    tell: Tell
    began: float
    outcomes: list[Outcome] = field(default_factory=list)
    under_way: list[tuple[Outcome, Iterator[None]]] = field(default_factory=list)
    told_at: float = 0.0
    counted_at: float = field(default_factory=time.monotonic)

    def count(self) -> Census:
        """Count what is there just now."""
        struck = {parent for outcome in self.outcomes for parent in outcome.struck_resets}
        return census.take(self.engine.database, self.population.pairs, struck)

    def judge(self) -> Sentence:
        """Judge the parents that ask for something of the child's life, as they are just now."""
        return oracle.pass_sentence(oracle.read(self.engine.database, self.people.book))

    def say(self, line: str) -> None:
        self.tell(f"{time.monotonic() - self.began:6.0f} s  {line}")

    def tick(self) -> None:
        """Let everything go on by one step."""
        for name in self.engine.restart_what_ended():
            self.say(f"{name} had ended by itself and was started again.")
        self.population.end_due_children()
        self.population.clear_due_parents()
        self.people.tick()
        for item in tuple(self.under_way):
            outcome, steps = item
            if next(steps, self) is self:
                outcome.is_done = True
                self.under_way.remove(item)
                self.say(f"fault {outcome.fault.number} done: {_describe(outcome)}")
        if time.monotonic() - self.told_at > _TELL_SECONDS:
            self.told_at = time.monotonic()
            in_flight = self.population.count_in_flight()
            self.say(f"{len(self.population.pairs)} pairs started, {in_flight} Dag runs of parents in flight.")
        if time.monotonic() - self.counted_at > _COUNT_SECONDS:
            self.counted_at = time.monotonic()
            self.say(f"so far: {_describe_census(self.count())}; {describe_sentence(self.judge())}")
        time.sleep(_TICK_SECONDS)

    def begin(self, fault: PlannedFault) -> None:
        outcome = Outcome(fault)
        self.outcomes.append(outcome)
        where = f", {fault.place.value}" if fault.kind in TARGETED else ""
        self.say(f"fault {fault.number}: {fault.kind.value}{where}")
        self.under_way.append((outcome, self.box.strike(outcome)))


def run(home: Path, settings: Settings, tell: Tell) -> Result:
    """
    Do the run in this folder.

    :param tell: is given a line of progress at a time.
    :raises airflow_durable.demo.engine.AirflowNotReadyError: Airflow did not come up.
    """
    began = time.monotonic()
    tell("Starting Airflow: PostgreSQL, broker, API server, schedulers, Dag processor, triggerer, reconciler, workers.")
    with DistributedAirflow(home) as engine:
        parents = {name_parent(kind, mode) for kind in KINDS for mode in MODES}
        engine.airflow.wait_for_dags(parents | {f"{PREFIX}{name}" for name in LIFE_MODES})
        population = Population(settings.seed, settings.size, engine.api, engine.database)
        people = People(settings.seed, max(6, settings.size // 2), engine.api, engine.database, engine.kill_supervisor)
        course = _Course(engine, population, people, FaultBox(engine, people.find_due), tell, began)
        course.say("Airflow is ready.")
        plan = make_plan(settings.seed, settings.faults, pause_seconds=settings.pause_seconds)
        while plan:
            fault = _choose_next(course, plan)
            if time.monotonic() - began > settings.limit_minutes * 60:
                course.say(f"The time is over: {len(plan)} faults are left out.")
                break
            course.begin(fault)
            plan.remove(fault)
        while course.under_way:
            population.refill()
            people.refill()
            course.tick()
        _drain(course, settings.drain_seconds)
        return Result(
            settings,
            engine.api.version(),
            course.outcomes,
            course.count(),
            course.judge(),
            dict(engine.restarts),
            time.monotonic() - began,
        )


def _choose_next(course: _Course, plan: list[PlannedFault]) -> PlannedFault:
    """
    Let the Airflow work for a while, and return the next fault that may begin.

    One that has to wait, for a component to recover or another fault to end, lets some of those after it pass. Where
    none may begin for long, the first one strikes all the same.
    """
    earliest = time.monotonic() + plan[0].pause_seconds
    latest = earliest + _READY_LIMIT_SECONDS
    while time.monotonic() < latest:
        course.population.refill()
        course.people.refill()
        course.tick()
        if time.monotonic() > earliest:
            for fault in plan[:_MAY_PASS]:
                if _may_begin(course, fault.kind):
                    return fault
    return plan[0]


def _may_begin(course: _Course, kind: FaultKind) -> bool:
    """Keep one worker at least; let a component come up before it goes again, and the API server before anything."""
    if len(course.under_way) >= _CONCURRENT_FAULTS:
        return False
    if kind in TARGETED:
        return True
    if kind in _OF_WORKERS and any(outcome.fault.kind is FaultKind.PARTITION for outcome, _ in course.under_way):
        return False
    own = COMPONENTS.get(kind, "celery-worker" if kind is FaultKind.PARTITION else "scheduler")
    return course.engine.is_ready("api-server") and course.engine.is_ready(own)


def _drain(course: _Course, limit_seconds: float) -> None:
    course.say("No more faults. Waiting for all parents and children to end.")
    deadline = time.monotonic() + limit_seconds
    while time.monotonic() < deadline:
        course.population.send_waiting()
        course.tick()
        if course.population.is_over() and course.people.is_done:
            return
    course.say("Some have not ended in time.")


def _describe(outcome: Outcome) -> str:
    victims = ", ".join(f"{number} {kind}" for kind, number in outcome.victims.items() if number)
    overlaps = sum(outcome.overlaps.values())
    more = f"; {overlaps} overlapped a newer attempt" if overlaps else ""
    return f"struck {victims or 'whoever was there'}{more}{' in a transaction' if outcome.is_in_the_middle else ''}"


def _describe_census(found: Census) -> str:
    told = []
    for kind, count in found.totals.items():
        troubles = f"{count.duplicates} duplicates, {count.healthy_resets} resets, {count.wrong_ends} wrong ends"
        told.append(f"{kind}: {count.parents} parents, {count.attempts} attempts, {troubles}")
    return "; ".join([*told, *found.totals["durable"].wrongs])


def describe_sentence(found: Sentence) -> str:
    """Return the figures of the child's life in a line."""
    wrongs = ", ".join(f"{number} times {wrong.name}" for wrong, number in found.wrongs.items() if number)
    done = f"{found.ended} child runs ended, {found.resumed} times resumed"
    return f"the child's life: {found.parents} parents, {done}, {wrongs or 'nothing wrong'}"
