"""What child runs do by themselves, and what people do to them and to the parents."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from tests.schedules import ledger
from tests.schedules.calls import short
from tests.schedules.configurations import CHILD, FIXED_RUN_ID, foreign_run
from tests.schedules.requests import Action
from tests.schedules.world import (
    ACTIVE,
    FAILED,
    QUEUED,
    REMOVED,
    RESTARTING,
    STARTED,
    SUCCESS,
    Ledger,
    given_up,
    moment_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from tests.schedules.configurations import Configuration
    from tests.schedules.world import Process, World

_UNWATCHED = frozenset({"get", "set", "newer"})


def develop(world: World) -> Iterator[Action]:
    """
    Let child runs end.

    Not while nobody could tell: a run that ends before a try starts, reads or writes might as well end after that,
    since neither depends on the other. So all that is left out is the other order of the same actions.
    """
    is_watched = world.messages or any(task.state == "deferred" for task in world.tasks)
    if not is_watched and all(process.step.call.kind in _UNWATCHED for process in world.processes):
        return
    for run in world.runs:
        if run.state != ACTIVE:
            continue
        if run.stage:
            following = STARTED if run.stage == QUEUED else ""
            what = "leaves the queue" if following else "begins"
            yield Action(f"{short(run.run_id)} {what}", "child", world.with_run(run._replace(stage=following)))
            continue
        after = ledger.end(world.with_run(run._replace(state=SUCCESS)), run, SUCCESS)
        yield Action(f"{short(run.run_id)} succeeds", "child", after)
        if world.budget.failures:
            failed = ledger.end(world.with_run(run._replace(state=FAILED)), run, FAILED).spend(failures=1)
            yield Action(f"{short(run.run_id)} fails", "child", failed)


def move_clock(world: World) -> Iterator[Action]:
    """Let so much time pass that each ``start_timeout`` is over that had begun before."""
    is_noticed = not any(_is_unnoticed(world, process) for process in world.processes)
    if world.budget.leaps and is_noticed and any(task.try_number for task in world.tasks):
        yield Action("the clock moves", "clock", world.spend(leaps=1)._replace(clock=world.clock + 1))


def _is_unnoticed(world: World, process: Process) -> bool:
    """Tell whether the reconciler has acted for a try that has not seen it: it looks each second."""
    call = process.step.call
    is_acted = (process.parent, process.task_number, process.try_number) in world.acted
    return is_acted and call.kind == "look" and call.is_detailed


def act(world: World, configuration: Configuration) -> Iterator[Action]:
    """Let people act."""
    yield from _meddle(world, configuration)
    for parent, task in enumerate(world.tasks):
        if task.try_number:
            yield from _clear(world, configuration, parent)
            yield from _edit(world, configuration.edits, parent)
            yield from _remake(world, parent)
            yield from _mark(world, parent)
            yield from _remove(world, parent)
    yield from _lose(world, configuration)


def _meddle(world: World, configuration: Configuration) -> Iterator[Action]:
    if not world.budget.people or not any(task.try_number for task in world.tasks):
        return
    spent = world.spend(people=1)
    for run in world.runs:
        yield Action(f"a person deletes {short(run.run_id)}", "people", spent.without_run(run))
        cleared = run._replace(
            state=ACTIVE,
            clear_number=run.clear_number + 1,
            queued_at=_present(world),
            is_revived=True,
            stage=configuration.first_stage,
            asked_clock=world.clock,
            queued_clock=world.clock,
        )
        yield Action(f"a person clears {short(run.run_id)}", "people", spent.with_run(cleared))
    if configuration.is_racing and world.run(CHILD, FIXED_RUN_ID) is None:
        yield Action(f"somebody else starts {FIXED_RUN_ID}", "people", spent.with_run(foreign_run(FIXED_RUN_ID)))


def _present(world: World) -> datetime:
    """Return a moment after the end of all parents that have ended, and after what their tries did."""
    return max(moment_of(task.number) + timedelta(hours=22 if task.is_over else 13) for task in world.tasks)


def _clear(world: World, configuration: Configuration, parent: int) -> Iterator[Action]:
    task = world.tasks[parent]
    if not world.budget.clears or task.state == RESTARTING:
        return
    spent = world.spend(clears=1)
    raised = task.try_number + task.retries
    name = f"a person clears {f'the task of parent {parent + 1}' if parent else 'the task'}"
    if task.state == "running":
        # Its process is told to stop at its next heartbeat: until then it runs on. Whether max_tries is raised
        # depends on what the executor reports of it.
        cleared = _cleared(spent, parent, raised)
        yield Action(name, "people", cleared)
        yield from _edited(cleared, configuration, parent, name)
        if raised != task.max_tries:
            after = _cleared(spent, parent, task.max_tries)
            hidden = after.with_ledger(parent, after.ledgers[parent]._replace(is_hidden=True))
            yield Action(f"{name}, reported failed", "people", hidden)
        if configuration.is_discarding and world.budget.losses:
            # What its process still writes is kept.
            bare = _without_record(cleared, parent).spend(losses=1)
            restarting = bare.tasks[parent]._replace(state=RESTARTING, number=task.number)
            yield Action(f"{name}, and its record is discarded", "people", bare.with_task(parent, restarting))
        return
    cleared = _cleared(spent, parent, raised)
    yield Action(name, "people", cleared)
    yield from _edited(cleared, configuration, parent, name)
    if configuration.has_upstream:
        anew = cleared.with_task(parent, cleared.tasks[parent]._replace(upstream=task.number + 1))
        account = ledger.clear(world.ledgers[parent], task, is_upstream=True)
        yield Action(f"{name} with what is upstream of it", "people", anew.with_ledger(parent, account))
    if configuration.is_discarding and world.budget.losses:
        yield Action(f"{name}, and its record is discarded", "people", _without_record(cleared, parent).spend(losses=1))
    lowered = task.max_tries - task.try_number
    if task.is_over and 0 <= lowered < task.retries:
        edited = spent.with_task(parent, task._replace(retries=lowered))
        label = f"{name}, with its retries lowered to {lowered}"
        yield Action(label, "people", _cleared(edited, parent, task.try_number + lowered))


def _edited(cleared: World, configuration: Configuration, parent: int, name: str) -> Iterator[Action]:
    task = cleared.tasks[parent]
    for edit in configuration.edits:
        if edit != task.version:
            edited = cleared.with_task(parent, task._replace(version=edit))
            yield Action(f"{name}, with its {edit} edited", "people", edited)


def _cleared(world: World, parent: int, max_tries: int) -> World:
    task = world.tasks[parent]
    number = task.number + 1
    after = task._replace(
        state="scheduled",
        max_tries=max_tries,
        number=number,
        clear_number=task.clear_number + 1,
        started=number if task.is_over else task.started,
        is_marked=False,
        is_run_over=False,
        trigger=None,
    )
    account = ledger.clear(world.ledgers[parent], task, is_upstream=False)
    return world.with_task(parent, after).with_ledger(parent, account)


def _edit(world: World, edits: tuple[str, ...], parent: int) -> Iterator[Action]:
    """Edit the Dag file between two tries, or while the task is deferred. At other times no try would see it."""
    task = world.tasks[parent]
    if not world.budget.edits or task.state not in {"scheduled", "deferred"}:
        return
    for edit in edits:
        if edit != task.version:
            after = world.spend(edits=1).with_task(parent, task._replace(version=edit))
            yield Action(f"the {edit} of {f'parent {parent + 1}' if parent else 'the task'} is edited", "people", after)


def _remake(world: World, parent: int) -> Iterator[Action]:
    task = world.tasks[parent]
    if not world.budget.remakes:
        return
    spent = world.spend(remakes=1)
    number = task.number + 1
    fresh = task._replace(
        state="scheduled",
        try_number=0,
        max_tries=task.retries,
        number=number,
        trigger=None,
        execution=0,
        is_marked=False,
        is_run_over=False,
    )
    account = ledger.clear(world.ledgers[parent], task, is_upstream=False)._replace(remade="remade")
    name = f"parent {parent + 1}" if parent else "the task"
    remade = spent.with_task(parent, fresh).with_ledger(parent, account)
    yield Action(f"the task instance of {name} is deleted and made anew", "people", remade)
    reborn = fresh._replace(clear_number=0, started=number, life=task.life + 1, upstream=0, store=())
    label = f"the Dag run of {name} is deleted and created again"
    yield Action(label, "people", spent.with_task(parent, reborn).with_ledger(parent, Ledger()))


def _mark(world: World, parent: int) -> Iterator[Action]:
    """Mark a task that has not ended. A process of it runs on until its next heartbeat, and its writes are accepted."""
    task = world.tasks[parent]
    if not world.budget.marks or task.state not in {"scheduled", "running", "deferred"}:
        return
    name = f"the task of parent {parent + 1}" if parent else "the task"
    for state in ("failed", "success"):
        marked = task._replace(state=state, is_marked=True, trigger=None)
        yield Action(f"a person marks {name} as {state}", "people", world.spend(marks=1).with_task(parent, marked))


def _remove(world: World, parent: int) -> Iterator[Action]:
    """
    Remove a task instance, restore it under its id, or end its Dag run without it (``models/dagrun.py``).

    Of one that runs, the process is told to stop. That it runs on beside the restored one is left out.
    """
    task = world.tasks[parent]
    name = f"the task of parent {parent + 1}" if parent else "the task"
    if task.state == REMOVED and not task.is_run_over:
        restored = world.with_task(parent, task._replace(state="scheduled"))
        yield Action(f"{name} is restored", "scheduler", restored)
        over = world.with_task(parent, task._replace(is_run_over=True))
        yield Action(f"{name} is still removed, and its Dag run ends", "scheduler", over)
    elif world.budget.removals and task.state not in {REMOVED, "success", "skipped"}:
        after = world.spend(removals=1).with_task(parent, task._replace(state=REMOVED, is_marked=False, trigger=None))
        left = tuple(it for it in after.processes if it.parent != parent or it.task_number != task.number)
        yield Action(f"{name} is removed", "people", after._replace(processes=left))


def _lose(world: World, configuration: Configuration) -> Iterator[Action]:
    if not world.budget.losses:
        return
    spent = world.spend(losses=1)
    if configuration.is_discarding:
        for parent, task in enumerate(world.tasks):
            if task.store and task.state in {"scheduled", "deferred"}:
                name = f"parent {parent + 1}" if parent else "the task"
                yield Action(f"the record of {name} is lost", "fault", _without_record(spent, parent))
    if configuration.upgrade and any(task.try_number for task in world.tasks):
        appears = not world.has_store
        after = spent._replace(has_store=appears, processes=())
        for parent, task in enumerate(world.tasks):
            after = _without_record(after, parent)
            if task.state == "running":
                after = given_up(after, parent)
        label = "Airflow is upgraded: a store appears" if appears else "Airflow is downgraded: the store vanishes"
        yield Action(f"{label}, and its workers are restarted", "fault", after)


def _without_record(world: World, parent: int) -> World:
    account = world.ledgers[parent]._replace(lost="lost")
    return world.with_task(parent, world.tasks[parent]._replace(store=())).with_ledger(parent, account)
