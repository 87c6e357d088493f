"""What can happen next in a simulated Airflow: every action that a world allows, and the world after it."""

from __future__ import annotations

from functools import cache, partial
from typing import TYPE_CHECKING

from airflow_durable.core.errors import DurableError, ForeignRunSkipError
from airflow_durable.core.model import Attempt
from tests.schedules import calls, ledger, people, properties, reconciler
from tests.schedules.attempts import ENDS, SUPERSEDED, Start, Tree
from tests.schedules.configurations import BESIDE
from tests.schedules.properties import Violation
from tests.schedules.requests import Action, checked
from tests.schedules.world import (
    ACTIVE,
    FAILED,
    LEAP,
    RESTARTING,
    Ledger,
    Process,
    Task,
    World,
    given_up,
    moment_of,
    parent_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.schedules.attempts import Step
    from tests.schedules.configurations import Configuration
    from tests.schedules.world import Kept


class Simulation:
    """
    A configuration's worlds and the actions between them.

    :param configuration: which operator on which Airflow.
    """

    def __init__(self, configuration: Configuration) -> None:
        self.configuration = configuration
        self._tree = Tree()
        self._why_unproven = cache(reconciler.why_unproven)

    def initial(self) -> World:
        """Return the world before the parents' first tries."""
        configuration = self.configuration
        task = Task("scheduled", 0, configuration.retries, configuration.retries)
        return World(
            runs=configuration.first_runs(),
            tasks=(task,) * configuration.parents,
            ledgers=(Ledger(),) * configuration.parents,
            budget=configuration.budget,
            has_store=configuration.has_store,
        )

    def actions(self, world: World) -> list[Action]:
        """Return all that can happen next."""
        if (orphan := reconciler.find_orphan(world, self.configuration)) is not None:
            return [Action("nobody ends it", "step", world, violation=orphan)]
        if (unproven := reconciler.find_unproven(world, self._why_unproven)) is not None:
            return [Action("nobody can prove it", "step", world, violation=unproven)]
        if self._is_over(world) and not any(reconciler.due(world, self.configuration)):
            return []
        found = [
            *self._schedule(world),
            *self._step(world),
            *self._disturb(world),
            *calls.deliver(world, self.configuration),
            *reconciler.act(world, self.configuration),
            *people.develop(world),
            *people.move_clock(world),
            *people.act(world, self.configuration),
        ]
        return [action._replace(world=_without_harmless(action.world)) for action in found]

    @staticmethod
    def _is_over(world: World) -> bool:
        """Nothing that still happens could touch a parent or be done by it."""
        is_ended = all(task.is_over for task in world.tasks)
        return (
            is_ended and not world.processes and not world.messages and not world.budget.clears + world.budget.remakes
        )

    # The scheduler and the triggerer.

    def _schedule(self, world: World) -> Iterator[Action]:
        for parent, task in enumerate(world.tasks):
            name = f"parent {parent + 1}, " if parent else ""
            if task.state == "scheduled":
                began = task._replace(state="running", try_number=task.try_number + 1, execution=0)
                after = world.with_task(parent, began)
                wanted = self.configuration.wanted(parent, began.version, began.try_number)
                account = ledger.begin_try(world.ledgers[parent], self.configuration, wanted, world.clock)
                after = self._with_process(after.with_ledger(parent, account), parent, self._begin(after, parent))
                label = f"{name}try {began.try_number} starts"
                yield checked(label, "scheduler", after, partial(self._check, after, parent))
            if task.state == "deferred" and task.trigger is not None:
                yield from self._fire(world, parent, name)
            if task.state == RESTARTING:
                yield Action(f"{name}try {task.try_number} is stopped", "scheduler", _stopped(world, parent))

    def _check(self, after: World, parent: int) -> str:
        properties.check_attempt(after, self.configuration, parent)
        return ""

    def _fire(self, world: World, parent: int, name: str) -> Iterator[Action]:
        task = world.tasks[parent]
        if task.trigger is None:
            return
        kept, states, due = task.trigger
        child = kept.value["child"]
        run = world.run(child["dag_id"], child["run_id"])
        is_active = run is not None and run.state == ACTIVE and ACTIVE not in states
        # Time passes from one task instance to the next, and hardly within one.
        is_due = is_active and due is not None and due <= moment_of(task.number) + world.clock * LEAP
        if is_active and not is_due:
            return
        after = world.with_task(parent, task._replace(state="running", trigger=None))
        wanted = self.configuration.wanted(parent, task.version, task.try_number)
        asked = {(call, it.ask) for call, it in enumerate(wanted, 1)}
        account = world.ledgers[parent]
        after = after.with_ledger(parent, account._replace(asked=account.asked | asked))
        state = run.state if run else None
        seen = "that a timeout can be over" if is_due else state or "no run"
        label = f"{name}the trigger sees {seen}; try {task.try_number} resumes"
        step = self._begin(after, parent, (kept, None if is_due else state, is_due))
        yield Action(label, "scheduler", self._with_process(after, parent, step))

    def _begin(self, world: World, parent: int, resumed: tuple[Kept, str | None, bool] | None = None) -> Step:
        task = world.tasks[parent]
        attempt = Attempt(
            parent=parent_of(parent, task.started),
            task_instance_id=f"{parent}-{task.number}",
            try_number=task.try_number,
            max_tries=task.max_tries,
            retries=task.retries,
            clear_number=task.clear_number,
        )
        return self._tree.begin(
            Start(
                wanted=self.configuration.wanted(parent, task.version, task.try_number),
                attempt=attempt,
                number=task.number,
                execution=task.execution,
                upstream=task.upstream,
                has_store=world.has_store,
                has_details=self.configuration.has_details,
                is_waiting_first=self.configuration.is_waiting_first,
                has_result=self.configuration.has_result,
                clock=world.clock,
                resumed=resumed,
            )
        )

    @staticmethod
    def _with_process(world: World, parent: int, step: Step) -> World:
        task, demand = world.tasks[parent], world.ledgers[parent].demand
        is_resumed = step.start.resumed is not None
        failed = frozenset((run.key, run.clear_number) for run in world.runs if run.state == FAILED and not is_resumed)
        process = Process(step, parent, task.number, task.try_number, task.execution, task.life, demand, failed)
        return world._replace(processes=(*world.processes, process))

    # What tries do.

    def _step(self, world: World) -> Iterator[Action]:
        for process in world.processes:
            try:
                properties.check_call(process)
                properties.check_timeout(world, self.configuration, process)
                properties.check_start(world, self.configuration, process)
            except Violation as violation:
                yield Action(f"{process.name}: polls", "step", world, violation=violation)
                continue
            kind = process.step.call.kind
            if world.tasks[process.parent].is_marked and world.is_current(process.parent, process.task_number):
                yield Action(f"{process.name}: is told to stop", "step", calls.leave(world, process))
            if kind not in ENDS:
                yield from calls.step(world, self.configuration, process)
            elif not self._is_heard(world, process):
                yield Action(f"{process.name}: ends, unheard", "step", calls.leave(world, process))
            else:
                yield from getattr(self, f"_step_{kind}")(world, process)

    def _step_defer(self, world: World, process: Process) -> Iterator[Action]:
        call = process.step.call
        if call.what is None or call.states is None:
            raise TypeError(call)
        task = world.tasks[process.parent]._replace(state="deferred", trigger=(call.what, call.states, call.moment))
        after = calls.leave(world, process).with_task(process.parent, task)
        yield Action(f"{process.name}: defers", "step", after)

    def _step_succeed(self, world: World, process: Process) -> Iterator[Action]:
        task = world.tasks[process.parent]
        after = calls.leave(world, process)
        yield checked(
            f"{process.name}: succeeds",
            "step",
            after.with_task(process.parent, task._replace(state="success")),
            lambda: properties.check_success(world, process),
        )
        if world.budget.faults:
            spent = after.spend(faults=1)
            failed = spent.with_task(process.parent, task._replace(state="failed"))
            yield Action(f"{process.name}: its own code fails for good", "fault", failed)

    def _step_fail(self, world: World, process: Process) -> Iterator[Action]:
        after = calls.leave(world, process)
        error = process.step.call.error
        if not isinstance(error, DurableError):
            raise TypeError(error)
        task = world.tasks[process.parent]
        if isinstance(error, ForeignRunSkipError):
            after = after.with_task(process.parent, task._replace(state="skipped"))
        elif error.is_terminal:
            after = after.with_task(process.parent, task._replace(state="failed"))
        else:
            after = given_up(after, process.parent)
        yield checked(
            f"{process.name}: fails with {type(error).__name__}",
            "step",
            after,
            lambda: properties.check_failure(world, self.configuration, process, error),
        )

    @staticmethod
    def _is_heard(world: World, process: Process) -> bool:
        is_current = world.is_current(process.parent, process.task_number)
        return is_current and world.tasks[process.parent].state == "running"

    # Faults that are not one call's.

    def _disturb(self, world: World) -> Iterator[Action]:
        if not world.budget.faults:
            return
        spent = world.spend(faults=1)
        for parent, task in enumerate(world.tasks):
            if task.state == "deferred":
                after = spent.with_task(parent, task._replace(trigger=None))
                name = f"parent {parent + 1}, " if parent else ""
                yield Action(f"{name}the trigger fails", "fault", given_up(after, parent))
        for process in world.processes:
            if not self._is_heard(world, process):
                continue
            parent = process.parent
            killed = calls.leave(spent, process)
            yield Action(f"{process.name}: is killed", "fault", given_up(killed, parent))
            yield Action(f"{process.name}: is cut off and given up, and runs on", "fault", given_up(spent, parent))
            if self.configuration.twofold:
                task = world.tasks[parent]._replace(execution=world.tasks[parent].execution + 1)
                again = self._begin(world.with_task(parent, task), parent, process.step.start.resumed)
                left, label = killed, "is killed, and the same try is executed again"
                if self.configuration.twofold == BESIDE:
                    left, label = spent, "is executed a second time beside itself"
                left = self._with_process(left.with_task(parent, task), parent, again)
                yield Action(f"{process.name}: {label}", "fault", left)


def _stopped(world: World, parent: int) -> World:
    """Stop the process of a task that was cleared. From then on nothing is written under its id."""
    task = world.tasks[parent]
    left = tuple(it for it in world.processes if it.parent != parent or it.task_number != task.number)
    after = world.with_task(parent, task._replace(state="scheduled", number=task.number + 1))
    # What it has written since is what has outlived the record.
    account = world.ledgers[parent]
    return after.with_ledger(parent, account._replace(lost="lost"))._replace(processes=left)


def _without_harmless(world: World) -> World:
    """
    Take superseded tries on through what is decided for them, and leave those out that can do nothing any more.

    Sound: a task instance's id never comes back. So their reads, writes and ends touch nothing and have the same
    outcome at any later moment; to let them happen at once loses no schedule that differs for anybody else.
    """
    if all(world.is_current(process.parent, process.task_number) for process in world.processes):
        return world
    left = []
    for process in world.processes:
        if world.is_current(process.parent, process.task_number):
            left.append(process)
            continue
        step = process.step
        while step.call.kind in SUPERSEDED:
            step = step.after(SUPERSEDED[step.call.kind]._replace(clock=world.clock))
        if not step.is_harmless:
            left.append(process._replace(step=step))
    return world._replace(processes=tuple(left))
