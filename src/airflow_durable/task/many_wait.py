"""The waits of a task with many children: in the worker, or handed to the triggerer; and what the children returned."""

from __future__ import annotations

import asyncio
import contextvars
import json
import threading
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from airflow_durable import task_sdk
from airflow_durable.core import indices
from airflow_durable.core import ledger as ledgers
from airflow_durable.core.board import Board, Status
from airflow_durable.core.errors import EventInvalidError, RecordDamagedError
from airflow_durable.core.items import numbers_of
from airflow_durable.core.many import wake_of
from airflow_durable.core.packing import pack_keys
from airflow_durable.task.results import read_result

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Mapping

    from airflow_durable.core.items import Items
    from airflow_durable.core.ledger import Ledger
    from airflow_durable.core.many import Many
    from airflow_durable.triggers.dag_runs import DurableDagRunsTrigger

FAILED_NAMED = 100
"""The return value names so many of the failed items."""

MAX_TRIGGER_BYTES = 44_000
"""
Of a trigger's arguments, as JSON. Airflow keeps them encrypted, which takes four thirds of that, in a column of type
TEXT (3.0 to 3.4, ``models/trigger.py``), and that is 65,535 bytes on MySQL.
"""


def wait(many: Many, poll_interval: float, note: Callable[[Many, int, int], None]) -> Iterable[tuple[int, str | None]]:
    """
    Wait in the worker until there is something to do; return what became of runs.

    :param poll_interval: the longest time between two polls of a run, in seconds.
    :param note: is called now and then with how many runs have ended, and how many of them failed.
    """
    from airflow_durable.triggers.watch import Watch

    goal = many.goal
    watch = Watch(
        goal.request.dag_id,
        _watched(many),
        goal.failed_states,
        wake_of(many, poll_interval),
        lambda ended, failed: note(many, ended, failed),
        waited_out=set(many.board.of(Status.WAITED_OUT)),
    )
    ends = _run_alone(lambda: watch.run(task_sdk.TaskLookUps(), _states(many), poll_interval))
    return list(ends.items())


def trigger_of(many: Many, poll_interval: float, position: Mapping[str, Any]) -> DurableDagRunsTrigger | None:
    """
    Return the trigger that waits for all runs; or for so many of them as Airflow can keep on any database.

    The task looks after the others when those have ended: which run is waited for decides when something is seen, not
    what is done.

    :param position: where the journal stands.
    :returns: None: not even one fits, beside what is known of all items. Then the wait is for the worker.
    """
    by_number = many.goal.items.by_number()
    numbers = numbers_of(by_number)
    watched = sorted(numbers[index] for index in many.board.of(Status.ACTIVE, Status.WAITED_OUT))
    while watched:
        trigger = _trigger_of(many, {number: by_number[number] for number in watched}, poll_interval, position)
        if len(json.dumps(trigger.serialize()[1])) <= MAX_TRIGGER_BYTES:
            return trigger
        watched = watched[: len(watched) // 2]
    return None


def _trigger_of(
    many: Many, watched: Mapping[int, int], poll_interval: float, position: Mapping[str, Any]
) -> DurableDagRunsTrigger:
    """
    Return the trigger that waits for some of the runs.

    :param watched: the positions of their items, by number, in the order of the numbers.
    """
    from airflow_durable.triggers.dag_runs import VERSION, DurableDagRunsTrigger, dump_parent

    items, board = many.goal.items, many.board
    generations = {
        str(number): board.generations[index] for number, index in watched.items() if index in board.generations
    }
    return DurableDagRunsTrigger(
        version=VERSION,
        dag_id=many.goal.request.dag_id,
        parent=dump_parent(many.attempt.parent),
        epoch=many.ledger.epoch,
        watched=indices.dump(watched),
        keys=None if items.keys is None else pack_keys([items.keys[index] for index in watched.values()]),
        generations=generations,
        states=sorted(_states(many)),
        failed_states=many.goal.failed_states,
        poll_interval=poll_interval,
        wake={name: value for name, value in asdict(wake_of(many, poll_interval)).items() if name != "due_at" or value},
        progress={"count": items.count, "done": board.done, "failed": board.failed},
        ledger={**ledgers.dump(many.ledger), **position},
        board=board.dump(),
        waited_out=indices.dump(
            number for number, index in watched.items() if board.status(index) is Status.WAITED_OUT
        ),
    )


def read_event(
    event: Any,  # noqa: ANN401 - it comes from the database
    items: Items,
    dag_id: str,
) -> tuple[Ledger, Board | None, list[tuple[int, str | None]]]:
    """
    Return what the trigger's event says: the ledger, the board, and what became of runs.

    :returns: no board, and nothing of runs, if the items are others than before the deferral.
    :raises EventInvalidError: it cannot be understood.
    """
    from airflow_durable.triggers.dag_runs import VERSION

    if not isinstance(event, dict) or event.get("version") != VERSION:
        raise EventInvalidError(dag_id, "of many items", "it is of no known form")
    try:
        ledger = ledgers.load(event["ledger"])
        ends: list[tuple[int, str | None]] = [(number, None) for number in indices.load(event["missing"])]
        for state, numbers in event["ended"].items():
            ends += [(number, str(state)) for number in indices.load(numbers)]
        board = Board.load(items, event["board"]) if ledger.is_of(items) else None
    except (RecordDamagedError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise EventInvalidError(dag_id, "of many items", type(error).__name__) from error
    if any(not 0 <= number < ledger.count for number, _ in ends):
        raise EventInvalidError(dag_id, "of many items", "it is about items that there are not")
    if board is None:
        return ledger, None, []
    by_number = items.by_number()
    return ledger, board, [(by_number[number], state) for number, state in ends]


def summary_of(many: Many) -> dict[str, Any]:
    """Return counts, and the failed items with their run ids: the first of them, if there are many."""
    board = many.board
    return {
        "items": board.items.count,
        "succeeded": board.done,
        "failed": board.failed,
        "failed_items": [
            {"item": name, "run_id": run_id, **({"reason": "start_timeout"} if status is Status.OVERDUE else {})}
            for name, run_id, status in many.failed_items(FAILED_NAMED)
        ],
    }


def results_of(many: Many, wanted: str | list[str]) -> Any:  # noqa: ANN401 - whatever the children returned
    """
    Return what tasks of each child returned: a list, or a dict if the items have keys; None for a failed item.

    :raises ResultMissingError: a child that succeeded has no such task, or it returned nothing.
    :raises ResultUnreadableError: it cannot be read just now.
    """
    items = many.goal.items
    found: list[Any] = [None] * items.count
    for index in many.board.of(Status.DONE):
        found[index] = read_result(wanted, many.record(index, is_recovered=True))
    return found if items.keys is None else dict(zip(items.keys, found, strict=True))


def _run_alone(watch: Callable[[], Coroutine[Any, Any, dict[int, str | None]]]) -> dict[int, str | None]:
    """
    Run a wait on an event loop of its own: in a thread, if this one has a loop that runs.

    That is so where a person calls ``dag.test()`` in a notebook. A task's own thread has none.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(watch())
    ends: list[dict[int, str | None]] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            ends.append(asyncio.run(watch()))
        except BaseException as error:  # noqa: BLE001 - it is raised where the wait was asked for
            errors.append(error)

    thread = threading.Thread(target=contextvars.copy_context().run, args=(run,), daemon=True)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return ends[0]


def _watched(many: Many) -> dict[int, str]:
    return {index: many.run_id(index) for index in many.board.of(Status.ACTIVE, Status.WAITED_OUT)}


def _states(many: Many) -> frozenset[str]:
    return frozenset(many.goal.request.allowed_states | many.goal.request.failed_states)
