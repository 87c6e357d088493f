"""
The reconciler: it does what records ask for, at any moment from then on, or never.

It is :mod:`airflow_durable.core.reconcile` itself that decides, on what the simulated database holds. What is modelled
is the rest of the real one: one transaction, in which all of this is read anew and locked, so that what was read before
plays no part; and the entry that it writes in it, which withdraws the action. That a run is the parent's is taken from
the oracle: how it is proven is tested in ``tests/adapters/reconciler``. But every entry with a generated run id has to
be one that it could prove (:func:`find_unproven`).
"""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from airflow_durable.core import reconcile
from airflow_durable.core.asks import withdrawn
from airflow_durable.core.model import Mode, OnParentEnd
from airflow_durable.core.observed import ChildNow, Entry, ParentNow
from airflow_durable.core.proof import prove
from airflow_durable.core.stored import key_of, load, position_of
from airflow_durable.core.verdicts import Act
from tests.schedules import ledger, properties
from tests.schedules.attempts import Payload, keep
from tests.schedules.calls import short
from tests.schedules.properties import Violation
from tests.schedules.requests import Request, checked
from tests.schedules.world import ACTIVE, FAILED, RESUMED, Sender, moment_of, parent_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow_durable.core.verdicts import Reason
    from tests.schedules.configurations import Configuration
    from tests.schedules.requests import Action
    from tests.schedules.world import Kept, Run, Task, World

_DONE = {Act.RESUME: "resumes", Act.RESET: "resets", Act.CANCEL: "ends"}


def act(world: World, configuration: Configuration) -> Iterator[Action]:
    """Let the reconciler do what it would do now."""
    for parent, call, run, decided in due(world, configuration):
        after, check = _EFFECTS[decided](world, configuration, parent, call, run)
        yield checked(f"the reconciler {_DONE[decided]} {short(run.run_id)}", "reconciler", after, check)


def due(world: World, configuration: Configuration) -> Iterator[tuple[int, int, Run, Act]]:
    """Return for which call of which parent something is to be done, to which run, and what."""
    if not configuration.is_asking:
        return
    for parent, task in enumerate(world.tasks):
        for call, entries in _journals(task).items():
            entry = reconcile.newest_of(entries)
            record = entry.record if entry else None
            run = world.run(record.dag_id, record.run_id) if record else None
            if record is None or run is None or not run.owners_of(parent):
                continue
            now = _parent_now(parent, task)
            verdict = reconcile.decide(entry, now, _child_now(run), (now.ended_at or moment_of(0)) + _SOON)
            if verdict.act is not Act.NOTHING:
                yield parent, call, run, verdict.act


def find_orphan(world: World, configuration: Configuration) -> Violation | None:
    """Return that there is a child which nobody would end, although its parent has ended without having taken it."""
    if configuration.on_parent_end is OnParentEnd.ABANDON or configuration.mode is Mode.FIRE_AND_FORGET:
        return None
    if not any(task.is_over for task in world.tasks):
        return None
    ended = {run.key for _, _, run, _ in due(world, configuration)}
    for parent, task in enumerate(world.tasks):
        is_under_way = any(process.parent == parent for process in world.processes)
        is_under_way = is_under_way or any(sent.sender.parent == parent for sent in world.messages)
        # A try may have taken the outcome, and not have come to report it.
        is_taken = (task.state == "success" and not task.is_marked) or world.ledgers[parent].is_known_done
        if not task.is_over or is_under_way or is_taken:
            continue
        for run in world.runs:
            is_own = any(it.life == task.life for it in run.owners_of(parent))
            if run.state == ACTIVE and is_own and not properties.is_restarted(task, run) and run.key not in ended:
                return Violation("orphan", f"{run.run_id} is active, its parent is {task.state}, and nobody ends it")
    return None


def find_unproven(world: World, why: Callable[[Kept, int], Reason | None]) -> Violation | None:
    """
    Return that there is an entry for which the reconciler would do nothing: it could not prove whose the run is.

    :param why: :func:`why_unproven`, asked once for each entry.
    """
    for parent, task in enumerate(world.tasks):
        for _, kept in task.store:
            reason = why(kept, parent)
            if reason is not None:
                return Violation("unproven", f"a record names {kept.value['child']['run_id']}: {reason.value}")
    return None


def why_unproven(kept: Kept, parent: int) -> Reason | None:
    """Return why an entry would not prove that its run is the parent's; None: it would, or the identity is fixed."""
    record = load(kept.value)
    if record.is_fixed:
        return None
    moment = moment_of(0)
    child = ChildNow(record.dag_id, record.run_id, ACTIVE, 0, moment, moment, moment, moment, is_from_task=True)
    return prove([parent_of(parent)], [], record, child, calls=record.call)


_SOON = timedelta(minutes=5)


def _journals(task: Task) -> dict[int, list[Entry]]:
    found: dict[int, list[Entry]] = {}
    for key, kept in task.store:
        if (place := position_of(key)) is not None:
            entry = Entry(load(kept.value), place[1], kept.value.get("root", ""), moment_of(0))
            found.setdefault(place[0], []).append(entry)
    return found


def _parent_now(parent: int, task: Task) -> ParentNow:
    waiting = "up_for_retry" if task.try_number else None
    state = waiting if task.state == "scheduled" else task.state
    return ParentNow(f"{parent}-{task.number}", state, task.ended_at, task.run_state)


def _child_now(run: Run) -> ChildNow:
    return ChildNow(
        run.dag_id,
        run.run_id,
        run.shown_state,
        run.clear_number,
        run.queued_at,
        created_at=None,
        logical_date=run.date,
        run_after=run.run_after,
        is_from_task=True,
    )


def _withdraw(world: World, parent: int, call: int) -> World:
    """Write what the task would write if it waited no longer."""
    task = world.tasks[parent]
    sequence, kept = max(
        (place[1], kept) for key, kept in task.store if (place := position_of(key)) and place[0] == call
    )
    return world.with_task(parent, task.with_value(key_of(call, sequence + 1), keep(withdrawn(kept.value))))


def _resume(world: World, configuration: Configuration, parent: int, call: int, run: Run) -> tuple[World, _Check]:
    resumed = run._replace(
        state=ACTIVE,
        clear_number=run.clear_number + 1,
        stage=configuration.first_stage and RESUMED,
        asked_clock=_asked_clock(world, parent),
        queued_clock=world.clock,
    )
    after = _acted(_withdraw(world.with_run(resumed), parent, call), parent)
    return after, partial(properties.check_resume, world, parent, run)


def _reset(world: World, configuration: Configuration, parent: int, call: int, run: Run) -> tuple[World, _Check]:
    request = _request(world, configuration, parent, call, run)
    if request is None:
        return world, partial(properties.check_act, world, parent, run, "reset")
    reset = run._replace(
        state=ACTIVE,
        clear_number=run.clear_number + 1,
        owners=run.owners | {request.token},
        stage=configuration.first_stage,
        asked_clock=_asked_clock(world, parent),
        queued_clock=world.clock,
    )
    after = ledger.reset(_withdraw(world.with_run(reset), parent, call), request.token, run)
    return _acted(after, parent), partial(properties.check_act_of_reset, world, configuration, run, request)


def _asked_clock(world: World, parent: int) -> int:
    """Return how often the clock had moved when the try began that asks."""
    number = world.tasks[parent].number
    asking = [it.step.start.clock for it in world.processes if (it.parent, it.task_number) == (parent, number)]
    return min(asking, default=world.clock)


def _request(world: World, configuration: Configuration, parent: int, call: int, run: Run) -> Request | None:
    """Return the reset as the task would have sent it; None: nobody is there who would."""
    task, demand = world.tasks[parent], world.ledgers[parent].demand
    wanted = configuration.wanted(parent, task.version, task.try_number)[call - 1]
    payload = Payload(run.dag_id, run.run_id, run.date, run.run_after, wanted.conf, call)
    steps = [it.step for it in world.processes if (it.parent, it.task_number) == (parent, task.number)]
    if not steps:
        return None
    step = steps[-1]
    sender = Sender(parent, task.number, task.try_number, task.life, demand, step)
    return Request(payload, sender, wanted, step.seen)


def _end(world: World, configuration: Configuration, parent: int, call: int, run: Run) -> tuple[World, _Check]:
    ended = ledger.end(world.with_run(run._replace(state=FAILED)), run, FAILED)
    return ended, partial(properties.check_end, world, parent, run)


def _acted(world: World, parent: int) -> World:
    task = world.tasks[parent]
    return world._replace(acted=world.acted | {(parent, task.number, task.try_number)})


_EFFECTS = {Act.RESUME: _resume, Act.RESET: _reset, Act.CANCEL: _end}

if TYPE_CHECKING:
    _Check = Callable[[], str]
