"""
The reconciler, as a small model: it reads what records ask for, and resumes runs.

Between reading and acting it may lag for as long as there is: what it has read is kept, and it may act on it at any
moment, and again. What it does is one transaction of the database: :func:`is_wanted` and the change (compare-and-set).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from airflow_durable.core.model import OnChildFailure
from airflow_durable.core.stored import load, position_of
from tests.schedules import properties
from tests.schedules.calls import short
from tests.schedules.requests import checked
from tests.schedules.world import ACTIVE, Wish

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.schedules.configurations import Configuration
    from tests.schedules.requests import Action
    from tests.schedules.world import Task, World


def act(world: World, configuration: Configuration) -> Iterator[Action]:
    """Let the reconciler read, and act on what it has read at any time."""
    if configuration.on_child_failure is not OnChildFailure.RESUME:
        return
    for parent, task in enumerate(world.tasks):
        wish = _read(parent, task)
        if wish is not None and wish not in world.wishes:
            after = world._replace(wishes=world.wishes | {wish})
            yield checked(f"the reconciler reads what try {task.try_number} asks for", "reconciler", after, str)
    for wish in sorted(world.wishes):
        run = world.run(wish.dag_id, wish.run_id)
        if run is None or not is_wanted(world, wish):
            continue
        resumed = run._replace(state=ACTIVE, clear_number=run.clear_number + 1)
        done = world.with_run(resumed)._replace(resumed=world.resumed | {(wish.parent, wish.task_number)})
        check = partial(properties.check_resume, world, wish, run)
        yield checked(f"the reconciler resumes {short(run.run_id)}", "reconciler", done, check)


def is_wanted(world: World, wish: Wish) -> bool:
    """Return whether what was read holds still, in the transaction that acts on it."""
    run = world.run(wish.dag_id, wish.run_id)
    task = world.tasks[wish.parent]
    is_current = task.number == wish.task_number and task.state in {"running", "deferred"}
    return is_current and run is not None and (run.clear_number, run.state) == (wish.clear_number, wish.state)


def _read(parent: int, task: Task) -> Wish | None:
    """Return what the newest entry of the record asks for."""
    places = [(place[1], kept) for key, kept in task.store if (place := position_of(key)) is not None]
    if not places:
        return None
    record = load(max(places, key=lambda place: place[0])[1].value)
    if record.asks is None or record.asks.action is None:
        return None
    number = int(record.task_instance_id.partition("-")[2])
    action = record.asks.action
    return Wish(parent, number, record.dag_id, record.run_id, action.clear_number, action.state)
