"""
The explorer: every schedule up to the bound, each world visited once.

Pruning by worlds is sound. A world holds all that a later action reads: the database, the requests on their way, what
is left of the budget, the oracle's own counts, and for each process the step that it stands at. Two processes at the
same step have the same history of outcomes, and as the protocol is deterministic but for these, they go on alike. So
equal worlds have equal futures, and walking one walks both. Nothing is abstracted: no field is left out of the
comparison, and no hash stands for a world (Python compares the worlds themselves). One constant of the real code is
smaller here than in life: a record remembers one attempt, not 50 (``core.record.MAX_ATTEMPTS``).

Three things are left out of the schedules, each with its reason where it is done, in
:mod:`tests.schedules.simulation`: a poll that is told what the poll before it was told; the end of a child run at a
moment when nobody could tell it from a later one; and what a superseded attempt does that can do nothing any more.

The graph of worlds is searched breadth first, so the first violation found is one with the shortest schedule. It is
checked to have no cycle, so that no schedule is endless; the schedules are then counted along it, not walked singly.
"""

from __future__ import annotations

from collections import Counter, deque
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from tests.schedules import properties
from tests.schedules.properties import Violation
from tests.schedules.simulation import Simulation
from tests.schedules.world import Budget

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tests.schedules.configurations import Configuration
    from tests.schedules.world import World


TELL_EVERY = 20_000


class Found(NamedTuple):
    """
    What an exploration found.

    :param schedules: how many there are: each ends where nothing can happen any more that concerns the parent.
    :param schedule: the labels of the shortest one that breaks a property; None: none does.
    :param excuses: the known limits, and the number of actions in which each showed itself.
    :param ends: how the parent ended, and in how many worlds.
    """

    configuration: Configuration
    worlds: int
    actions: int
    schedules: int
    longest: int
    violation: Violation | None = None
    schedule: tuple[str, ...] | None = None
    excuses: Mapping[str, int] = MappingProxyType({})
    ends: Mapping[str, int] = MappingProxyType({})


def explore(
    configuration: Configuration, tell: Callable[[int], None] | None = None, *, most: int | None = None
) -> Found:
    """
    Visit every world that can be reached.

    :param tell: is told the number of worlds, from time to time.
    :param most: leave it after so many worlds; what was found by then is no proof.
    """
    return _Exploration(configuration, tell or (lambda _: None), most).run()


class _Exploration:
    def __init__(self, configuration: Configuration, tell: Callable[[int], None], most: int | None) -> None:
        self._most = most
        self._configuration = configuration
        self._simulation = Simulation(configuration)
        self._tell = tell
        first = self._simulation.initial()
        self._numbers: dict[World, int] = {first: 0}
        self._origins: list[tuple[int, str]] = [(0, "")]
        """By which action, in which world, each world was reached first."""
        self._successors: list[list[int]] = []
        self._queue = deque([first])
        self._actions = 0
        self._excuses: Counter[str] = Counter()
        self._ends: Counter[str] = Counter()

    def run(self) -> Found:
        while self._queue and (self._most is None or len(self._successors) < self._most):
            world = self._queue.popleft()
            number = len(self._successors)
            actions = self._simulation.actions(world)
            if not actions:
                try:
                    properties.check_rest(world)
                except Violation as violation:
                    return self._found(violation, self._path(number))
                self._ends[", ".join(task.state for task in world.tasks)] += 1
            following = []
            for action in actions:
                self._actions += 1
                if action.violation is not None:
                    return self._found(action.violation, (*self._path(number), action.label))
                if action.excuse:
                    self._excuses[action.excuse] += 1
                following.append(self._reach(action.world, number, action.label))
            self._successors.append(following)
        return self._found()

    def _reach(self, world: World, origin: int, label: str) -> int:
        number = self._numbers.setdefault(world, len(self._numbers))
        if number == len(self._origins):
            self._origins.append((origin, label))
            self._queue.append(world)
            if number % TELL_EVERY == 0:
                self._tell(number)
        return number

    def _path(self, number: int) -> tuple[str, ...]:
        path = []
        while number:
            number, label = self._origins[number]
            path.append(label)
        return tuple(reversed(path))

    def _found(self, violation: Violation | None = None, schedule: tuple[str, ...] | None = None) -> Found:
        is_whole = violation is None and not self._queue
        schedules, longest = (0, 0) if not is_whole else _count(self._successors)
        return Found(
            self._configuration,
            len(self._numbers),
            self._actions,
            schedules,
            longest,
            violation,
            schedule,
            dict(self._excuses),
            dict(self._ends),
        )


def _count(successors: Sequence[Sequence[int]]) -> tuple[int, int]:
    """
    Return how many ways lead from the first world to a last one, and how long the longest is.

    :raises ValueError: the graph has a cycle: an endless schedule.
    """
    entrances = [0] * len(successors)
    for following in successors:
        for successor in following:
            entrances[successor] += 1
    ways = [0] * len(successors)
    lengths = [0] * len(successors)
    ways[0] = 1
    ready = [0]
    done = schedules = 0
    while ready:
        number = ready.pop()
        done += 1
        if not successors[number]:
            schedules += ways[number]
        for successor in successors[number]:
            ways[successor] += ways[number]
            lengths[successor] = max(lengths[successor], lengths[number] + 1)
            entrances[successor] -= 1
            if not entrances[successor]:
                ready.append(successor)
    if done != len(successors):
        message = "There is a schedule without an end."
        raise ValueError(message)
    return schedules, max(lengths)


def replay(configuration: Configuration, schedule: Sequence[str]) -> World:
    """
    Go through one schedule, as the explorer prints it.

    :returns: the last world.
    :raises Violation: a property does not hold.
    :raises LookupError: the schedule cannot happen: there is no such action at that point.
    """
    simulation = Simulation(configuration)
    world = simulation.initial()
    for label in schedule:
        actions = {action.label: action for action in simulation.actions(world)}
        if label not in actions:
            message = f"{label!r} cannot happen; what can: {sorted(actions)}"
            raise LookupError(message)
        if (violation := actions[label].violation) is not None:
            raise violation
        world = actions[label].world
    if not simulation.actions(world):
        properties.check_rest(world)
    return world


def steer(configuration: Configuration, *landmarks: str) -> World:
    """
    Go through the schedule in which these things happen as soon as they can, and else nothing goes wrong.

    Unlike :func:`replay` it does not name what a try asks on its way. So it stays true where that changes.

    :returns: the last world.
    :raises Violation: a property does not hold.
    :raises LookupError: one of them cannot happen.
    """
    simulation = Simulation(configuration)
    world = simulation.initial()
    for landmark in landmarks:
        while True:
            actions = simulation.actions(world)
            wanted = [it for it in actions if it.label == landmark]
            wanted += [it for kind in ("step", "scheduler") for it in actions if it.kind == kind]
            action = next(iter(wanted), None)
            if action is None:
                message = f"{landmark!r} cannot happen; what can: {sorted(it.label for it in actions)}"
                raise LookupError(message)
            if action.violation is not None:
                raise action.violation
            world = action.world
            if action.label == landmark:
                break
    return world


def finish(configuration: Configuration, world: World) -> World:
    """
    Let nothing more go wrong: the parents end.

    :returns: the last world.
    :raises Violation: a property does not hold.
    """
    simulation = Simulation(configuration)
    world = world._replace(budget=Budget())
    while actions := simulation.actions(world):
        if (violation := actions[0].violation) is not None:
            raise violation
        world = actions[0].world
    properties.check_rest(world)
    return world


def as_test(found: Found) -> str:
    """Return the shortest violating schedule as a test that can be kept in ``test_found.py``."""
    lines = "".join(f"        {label!r},\n" for label in found.schedule or ())
    return (
        f"# {found.violation}\n"
        f"def test_found() -> None:\n"
        f"    configuration = {_as_code(found.configuration)}\n"
        f"    schedule = [\n{lines}    ]\n"
        f"    replay(configuration, schedule)\n"
    )


def _as_code(configuration: Configuration) -> str:
    fields = ", ".join(
        f"{name}={f'Mode.{value.name}' if name == 'mode' else repr(value)}"
        for name, value in configuration._asdict().items()
        if name not in configuration._field_defaults or value != configuration._field_defaults[name]
    )
    return f"Configuration({fields})"
