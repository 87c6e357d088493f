"""What can happen next in a simulated Airflow: every action that a world allows, and the world after it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from airflow_durable.core.errors import DurableError, ForeignRunSkipError
from airflow_durable.core.model import Attempt
from tests.schedules import properties
from tests.schedules.attempts import ENDS, SUPERSEDED_OUTCOMES, Outcome, Start, Tree
from tests.schedules.configurations import BESIDE, FIXED_DATE, FIXED_RUN_ID
from tests.schedules.properties import Violation
from tests.schedules.world import (
    ACTIVE,
    ENDED,
    FAILED,
    SUCCESS,
    Kept,
    Message,
    Process,
    Run,
    Task,
    World,
    see,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from airflow_durable.core.model import ChildRun
    from airflow_durable.core.record import Record
    from tests.schedules.attempts import Step
    from tests.schedules.configurations import Configuration

BURST = 4
"""How often the protocol sends what may not have arrived: a lasting failure outlasts that."""


class Action(NamedTuple):
    """
    One thing that can happen.

    :param kind: ``step`` (an attempt goes on), ``fault``, ``child``, ``people`` or ``scheduler``.
    :param excuse: a known limit of the protocol that showed itself.
    :param is_followed: False: what comes after it is the limit's consequence, and is not looked at.
    """

    label: str
    kind: str
    world: World
    excuse: str = ""
    violation: Violation | None = None
    is_followed: bool = True


class Simulation:
    """
    A configuration's worlds and the actions between them.

    :param configuration: which operator on which Airflow.
    """

    def __init__(self, configuration: Configuration) -> None:
        self.configuration = configuration
        self._tree = Tree()
        self._kept: dict[Record, Kept] = {}

    def initial(self) -> World:
        """Return the world before the parent's first try."""
        configuration = self.configuration
        return World(
            runs=configuration.foreign_runs(),
            kept=None,
            task=Task("scheduled", 0, configuration.retries, configuration.retries, 0, 0),
            processes=(),
            messages=(),
            trigger=None,
            budget=configuration.budget,
        )

    def actions(self, world: World) -> list[Action]:
        """Return all that can happen next."""
        if self._is_over(world):
            return []
        makers = (self._schedule, self._step, self._disturb, self._deliver, self._develop, self._meddle, self._clear)
        return [action._replace(world=_without_harmless(action.world)) for make in makers for action in make(world)]

    @staticmethod
    def _is_over(world: World) -> bool:
        """Nothing that still happens could touch the parent or be done by it."""
        return world.task.state in ENDED and not world.processes and not world.messages and not world.budget.clears

    # The scheduler and the triggerer.

    def _schedule(self, world: World) -> Iterator[Action]:
        task = world.task
        if task.state == "scheduled":
            task = task._replace(state="running", try_number=task.try_number + 1, execution=0)
            after = world._replace(task=task)
            step = self._begin(after)
            yield self._checked(
                f"try {task.try_number} starts", "scheduler", self._with_process(after, step), self._check_attempt
            )
        if task.state == "deferred" and world.trigger is not None:
            run = world.run(world.trigger.record.run_id)
            if run is None or run.state != ACTIVE:
                after = world._replace(task=task._replace(state="running"), trigger=None)
                state = run.state if run else None
                step = self._begin(after, (world.trigger.record, state))
                label = f"the trigger sees {state or 'no run'}; try {task.try_number} resumes"
                yield Action(label, "scheduler", self._with_process(after, step))

    def _begin(self, world: World, resumed: tuple[Record, str | None] | None = None) -> Step:
        task = world.task
        return self._tree.begin(
            Start(
                request=self.configuration.request(world.request),
                attempt=Attempt(task.try_number, task.max_tries, task.retries, task.clear_number),
                task_instance=task.number,
                execution=task.execution,
                has_store=self.configuration.has_store,
                resumed=resumed,
            )
        )

    @staticmethod
    def _with_process(world: World, step: Step) -> World:
        task = world.task
        process = Process(step, task.number, task.try_number, task.execution, world.epoch)
        return world._replace(processes=(*world.processes, process))

    def _check_attempt(self, world: World) -> str:
        properties.check_attempt(world, self.configuration)
        return ""

    # What attempts do.

    def _step(self, world: World) -> Iterator[Action]:
        for process in world.processes:
            kind = process.step.call.kind
            if kind in ENDS and not self._is_heard(world, process):
                kind = "unheard"
            yield from getattr(self, f"_step_{kind}")(world, process)

    def _go_on(self, world: World, process: Process, outcome: Outcome) -> World:
        after = process._replace(step=process.step.after(outcome))
        return world._replace(processes=tuple(after if other is process else other for other in world.processes))

    @staticmethod
    def _leave(world: World, process: Process) -> World:
        return world._replace(processes=tuple(other for other in world.processes if other is not process))

    def _fault(self, world: World, process: Process, what: str, outcome: Outcome) -> Iterator[Action]:
        """Let the call fail, at the cost of a fault. Not for a superseded attempt: it has had its fault."""
        if world.budget.faults and world.is_current(process.task_number):
            after = self._go_on(world.spend(faults=1), process, outcome)
            yield Action(f"{process.name}: {process.step.call.kind} {what}", "fault", after)

    def _is_still_away(self, world: World, process: Process) -> Iterator[Action]:
        """Let a lasting failure last for the whole burst of repetitions."""
        step = process.step
        if 0 < step.lasting < BURST:
            outcome = step.outcomes[-1]
            yield Action(f"{process.name}: {step.call.kind} fails again", "step", self._go_on(world, process, outcome))

    def _step_read(self, world: World, process: Process) -> Iterator[Action]:
        record = world.kept.record if world.kept else None
        yield Action(f"{process.name}: read", "step", self._go_on(world, process, Outcome(record)))
        yield from self._fault(world, process, "fails", Outcome(error="unreadable"))

    def _step_write(self, world: World, process: Process) -> Iterator[Action]:
        kept = self._keep(process.step.call.record)
        failed = Outcome(error="unwritable")
        yield Action(f"{process.name}: write", "step", self._go_on(world._replace(kept=kept), process, Outcome()))
        yield from self._fault(world, process, "fails", failed)
        yield from self._fault(world._replace(kept=kept), process, "arrives, its reply is lost", failed)
        yield from self._fault(self._sent(world, process, "write", kept), process, "is late", failed)

    def _step_look(self, world: World, process: Process) -> Iterator[Action]:
        if still_away := list(self._is_still_away(world, process)):
            yield from still_away
            return
        step = process.step
        run = world.run(step.call.run_id)
        answer = Outcome(see(run, is_detailed=step.call.is_detailed))
        # A poll that is told what it was told before: it would sleep and poll again, and the world would be the same
        # but for the time waited. So it is left out until there is something new to tell.
        if not (step.is_repetition and step.outcomes[-1] == answer):
            label = f"{process.name}: look-up of {step.call.run_id}: {run.state if run else 'missing'}"
            yield Action(label, "step", self._go_on(world, process, answer))
        yield from self._fault(world, process, "fails, the server is away", Outcome(error="away", is_lasting=True))
        yield from self._fault(world, process, "is forbidden", Outcome(error="forbidden"))

    def _step_submit(self, world: World, process: Process) -> Iterator[Action]:
        if still_away := list(self._is_still_away(world, process)):
            yield from still_away
            return
        kept = self._keep(process.step.call.record)
        record = kept.record
        unknown = Outcome(error="unknown", is_lasting=True)
        name = f"{process.name}: submit {record.run_id}"
        if world.is_taken(record):
            yield Action(f"{name}: 409", "step", self._go_on(world, process, Outcome(value=False)))
        else:
            is_late = not world.is_current(process.task_number)
            created, excuse, violation = self._create(
                world, record, process.epoch, is_late=is_late, seen=process.step.seen
            )
            after = self._go_on(created, process, Outcome(value=True))
            yield Action(f"{name}: created", "step", after, excuse, violation)
            if violation is None:
                lost = "arrives, its reply is lost, the client repeats it and gets 409"
                yield from self._fault(created, process, lost, Outcome(value=False))
                yield from self._fault(created, process, "arrives, its reply is lost", unknown)
            yield from self._fault(self._sent(world, process, "submit", kept), process, "is late", unknown)
            if not self.configuration.is_fixed:
                clash = "gets 409, as a foreign run has its logical date"
                yield from self._fault(world, process, clash, Outcome(value=False))
        yield from self._fault(world, process, "fails, the server is away", unknown)
        yield from self._fault(world, process, "is refused", Outcome(error="refused"))

    def _step_reset(self, world: World, process: Process) -> Iterator[Action]:
        kept = self._keep(process.step.call.record)
        name = f"{process.name}: reset {kept.record.run_id}"
        unknown = Outcome(error="unknown")
        is_late = not world.is_current(process.task_number)
        cleared, excuse, violation = self._reset(
            world, kept.record, process.epoch, is_late=is_late, seen=process.step.seen
        )
        if cleared is None:
            # The logical date is another run's: the client's clear by run id finds none.
            yield Action(f"{name}: 404", "step", self._go_on(world, process, Outcome(error="refused")))
            return
        yield Action(name, "step", self._go_on(cleared, process, Outcome()), excuse, violation)
        if violation is None and not is_late:
            yield from self._fault(cleared, process, "arrives, its reply is lost", unknown)
            twice, excuse, violation = self._reset(cleared, kept.record, process.epoch, is_repeated=True, seen={})
            if twice is not None:
                for action in self._fault(twice, process, "arrives twice", Outcome()):
                    yield action._replace(excuse=excuse, violation=violation)
        yield from self._fault(self._sent(world, process, "reset", kept), process, "is late", unknown)
        yield from self._fault(world, process, "fails, the server is away", unknown)
        yield from self._fault(world, process, "is refused", Outcome(error="refused"))

    def _step_defer(self, world: World, process: Process) -> Iterator[Action]:
        kept = self._keep(process.step.call.record)
        after = self._leave(world, process)._replace(task=world.task._replace(state="deferred"), trigger=kept)
        yield Action(f"{process.name}: defers", "step", after)

    def _step_succeed(self, world: World, process: Process) -> Iterator[Action]:
        yield self._checked(
            f"{process.name}: succeeds",
            "step",
            self._leave(world, process)._replace(task=world.task._replace(state="success")),
            lambda ended: properties.check_success(ended, self.configuration),
        )

    def _step_fail(self, world: World, process: Process) -> Iterator[Action]:
        after = self._leave(world, process)
        error = process.step.call.error
        if not isinstance(error, DurableError):
            raise TypeError(error)
        if isinstance(error, ForeignRunSkipError):
            after = after._replace(task=world.task._replace(state="skipped"))
        elif error.is_terminal:
            after = after._replace(task=world.task._replace(state="failed"))
        else:
            after = self._given_up(after)

        yield self._checked(
            f"{process.name}: fails with {type(error).__name__}",
            "step",
            after,
            lambda _: properties.check_failure(world, self.configuration, error),
        )

    @staticmethod
    def _step_unheard(world: World, process: Process) -> Iterator[Action]:
        """End, though nobody listens: the task has ended or is deferred meanwhile, as it was executed twice."""
        yield Action(f"{process.name}: ends, unheard", "step", Simulation._leave(world, process))

    @staticmethod
    def _is_heard(world: World, process: Process) -> bool:
        return world.is_current(process.task_number) and world.task.state == "running"

    # Faults that are not one call's.

    def _disturb(self, world: World) -> Iterator[Action]:
        if not world.budget.faults:
            return
        spent = world.spend(faults=1)
        if world.task.state == "deferred":
            yield Action("the trigger fails", "fault", self._given_up(spent._replace(trigger=None)))
        for process in world.processes:
            if not self._is_heard(world, process):
                continue
            killed = self._leave(spent, process)
            yield Action(f"{process.name}: is killed", "fault", self._given_up(killed))
            yield Action(f"{process.name}: is cut off and given up, and runs on", "fault", self._given_up(spent))
            if self.configuration.twofold:
                task = world.task._replace(execution=world.task.execution + 1)
                resumed = process.step.start.resumed
                again = self._begin(world._replace(task=task), resumed)
                left, label = killed, "is killed, and the same try is executed again"
                if self.configuration.twofold == BESIDE:
                    left, label = spent, "is executed a second time beside itself"
                yield Action(f"{process.name}: {label}", "fault", self._with_process(left._replace(task=task), again))

    @staticmethod
    def _given_up(world: World) -> World:
        """Fail the attempt, or have the server say so: another try, if any is left."""
        task = world.task
        if task.is_eligible_to_retry:
            return world._replace(task=task._replace(state="scheduled", number=task.number + 1))
        return world._replace(task=task._replace(state="failed"))

    def _sent(self, world: World, process: Process, kind: str, kept: Kept) -> World:
        message = Message(kind, kept, process.task_number, process.try_number, process.execution, process.epoch)
        return world._replace(messages=(*world.messages, message))

    def _deliver(self, world: World) -> Iterator[Action]:
        """Deliver a request that is on its way: at any moment, its sender may be long gone."""
        for message in world.messages:
            rest = world._replace(messages=tuple(other for other in world.messages if other is not message))
            name = f"the late {message.kind} of try {message.try_number} arrives"
            record = message.kept.record
            if message.kind == "write":
                if not world.is_current(message.task_number):
                    yield Action(f"{name} and is refused", "step", rest)
                elif message.execution < world.task.execution:
                    yield Action(name, "step", rest, properties.LATE_WRITE, is_followed=False)
                else:
                    yield Action(name, "step", rest._replace(kept=message.kept))
            elif message.kind == "submit":
                if world.is_taken(record):
                    yield Action(f"{name}: 409", "step", rest)
                else:
                    created, excuse, violation = self._create(rest, record, message.epoch, is_late=True, seen={})
                    yield Action(name, "step", created, excuse, violation)
            else:
                cleared, excuse, violation = self._reset(rest, record, message.epoch, is_late=True, seen={})
                yield Action(name, "step", cleared or rest, excuse, violation)

    # What requests do.

    @staticmethod
    def _create(
        world: World, record: Record, epoch: int, *, is_late: bool, seen: Mapping[str, ChildRun | None]
    ) -> tuple[World, str, Violation | None]:
        run = Run(record.run_id, record.logical_date, ACTIVE, 0, epoch, is_late=is_late)
        after = world.with_run(run)._replace(started=world.started | 1 << epoch)
        try:
            return after, properties.check_creation(after, run, seen), None
        except Violation as violation:
            return after, "", violation

    def _reset(  # noqa: PLR0913 - what the oracle asks
        self,
        world: World,
        record: Record,
        epoch: int,
        *,
        is_late: bool = False,
        is_repeated: bool = False,
        seen: Mapping[str, ChildRun | None],
    ) -> tuple[World | None, str, Violation | None]:
        """Create the run; where there is one, clear it. None: its date is taken and there is no such run."""
        run = world.run(record.run_id)
        if run is None:
            if world.is_taken(record):
                return None, "", None
            created, excuse, violation = self._create(world, record, epoch, is_late=is_late, seen=seen)
            if (made := created.run(record.run_id)) is not None and record.run_id in world.deleted:
                created = created.with_run(made._replace(is_revived=True))
            return created, excuse, violation
        owner = max(epoch, run.owner or 0)
        after = world.with_run(Run(run.run_id, run.date, ACTIVE, run.clear_number + 1, owner, is_late=is_late))
        after = after._replace(started=world.started | 1 << epoch)
        if not is_late:
            after = after._replace(achieved=world.achieved & ~(1 << epoch))
        try:
            excuse = properties.check_reset(world, run, epoch, is_late=is_late, is_repeated=is_repeated, seen=seen)
        except Violation as violation:
            return after, "", violation
        return after, excuse, None

    # What child runs do by themselves, and people to them.

    @staticmethod
    def _develop(world: World) -> Iterator[Action]:
        """
        Let child runs end.

        Not while nobody could tell: a run that ends before an attempt starts, reads or writes might as well end after
        that, since neither depends on the other. So all that is left out is the other order of the same actions.
        """
        is_watched = world.messages or world.task.state == "deferred"
        if not is_watched and all(process.step.call.kind in {"read", "write"} for process in world.processes):
            return
        for run in world.runs:
            if run.state != ACTIVE:
                continue
            after = world.with_run(run._replace(state=SUCCESS))
            if run.owner is not None or run.is_revived:
                epoch = world.epoch if run.owner is None else run.owner
                after = after._replace(achieved=world.achieved | 1 << epoch)
            yield Action(f"{run.run_id} succeeds", "child", after)
            if world.budget.failures:
                failed = world.with_run(run._replace(state=FAILED)).spend(failures=1)
                yield Action(f"{run.run_id} fails", "child", failed)

    def _meddle(self, world: World) -> Iterator[Action]:
        if not world.budget.people or not world.task.try_number:
            return
        spent = world.spend(people=1)
        for run in world.runs:
            yield Action(f"a person deletes {run.run_id}", "people", spent.without_run(run.run_id))
            yield Action(f"a person clears {run.run_id}", "people", self._clear_run(spent, run))
        if self.configuration.is_racing and world.run(FIXED_RUN_ID) is None:
            yield Action(
                f"somebody else starts {FIXED_RUN_ID}",
                "people",
                spent.with_run(Run(FIXED_RUN_ID, FIXED_DATE, ACTIVE, 0, None)),
            )

    def _clear_run(self, world: World, run: Run) -> World:
        """Clear the run. A foreign one that the parent is to reset has had what the reset is for: its end counts."""
        is_wanted = run.owner is None and self.configuration.is_reset
        cleared = run._replace(
            state=ACTIVE,
            clear_number=run.clear_number + 1,
            is_revived=run.is_revived or is_wanted or run.state == FAILED,
        )
        after = world.with_run(cleared)
        return after._replace(started=world.started | 1 << world.epoch) if is_wanted else after

    def _clear(self, world: World) -> Iterator[Action]:
        task = world.task
        if not world.budget.clears or not task.try_number:
            return
        spent = world.spend(clears=1)._replace(trigger=None)
        raised = task.try_number + task.retries
        if task.state == "running":
            # Its process is told to stop at its next heartbeat: until then it runs on. Whether max_tries is raised
            # depends on what the executor reports of it.
            yield Action("a person clears the running task", "people", self._cleared(spent, raised))
            yield Action(
                "a person clears the running task, reported failed", "people", self._cleared(spent, task.max_tries)
            )
            return
        yield Action("a person clears the task", "people", self._cleared(spent, raised))
        other = self._cleared(spent._replace(request=1 - world.request), raised)
        yield Action("a person clears the task, with another conf by now", "people", other)
        lowered = task.max_tries - task.try_number
        if task.state in ENDED and 0 <= lowered < task.retries:
            edited = spent._replace(task=task._replace(retries=lowered))
            label = f"a person clears the task, with its retries lowered to {lowered}"
            cleared = Action(label, "people", self._cleared(edited, task.try_number + lowered))
            if not self.configuration.has_store:
                cleared = cleared._replace(excuse=properties.LOWERED, is_followed=False)
            yield cleared

    def _cleared(self, world: World, max_tries: int) -> World:
        """
        Clear the task.

        What the person wants, for the oracle: the work anew if the task had its success (or had it marked: contract,
        point 5), or with another request. Else the child that there is. Without a store nobody knows of a success, and
        any clear that raises ``max_tries`` is one for work anew.
        """
        task = world.task
        is_raised = max_tries != task.max_tries
        record = world.kept.record if world.kept else None
        is_anew = task.state == "success" or (
            (is_raised or task.state != "running")
            and (
                (record is not None and record.is_consumed)
                or (record is not None and record.digest != self.configuration.request(world.request).digest)
                or (not self.configuration.has_store and is_raised)
            )
        )
        after = task._replace(
            state="scheduled", max_tries=max_tries, number=task.number + 1, clear_number=task.clear_number + 1
        )
        return world._replace(task=after, epoch=world.epoch + is_anew)

    def _keep(self, record: Record | None) -> Kept:
        if record is None:
            raise TypeError(record)
        kept = self._kept.get(record)
        if kept is None:
            kept = self._kept[record] = Kept(record)
        return kept

    @staticmethod
    def _checked(label: str, kind: str, after: World, check: Callable[[World], str | None]) -> Action:
        try:
            return Action(label, kind, after, check(after) or "")
        except Violation as violation:
            return Action(label, kind, after, "", violation)


def _without_harmless(world: World) -> World:
    """
    Take superseded attempts on through what is decided for them, and leave those out that can do nothing any more.

    Sound: a task instance's id never comes back. So their reads, writes and ends touch nothing and have the same
    outcome at any later moment; to let them happen at once loses no schedule that differs for anybody else.
    """
    if all(world.is_current(process.task_number) for process in world.processes):
        return world
    left = []
    for process in world.processes:
        if world.is_current(process.task_number):
            left.append(process)
            continue
        step = process.step
        while step.call.kind in SUPERSEDED_OUTCOMES:
            step = step.after(SUPERSEDED_OUTCOMES[step.call.kind])
        if not step.is_harmless:
            left.append(process._replace(step=step))
    return world._replace(processes=tuple(left))
