"""
The fault that strikes the reconcilers: between what is asked for and its being done, and in the middle.

There are two at once, one in the API server and one that is a process of its own. Either may be the one that acts.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from tests.chaos.engine import DistributedAirflow
    from tests.chaos.faults import Outcome

    FindDue = Callable[[], list[Mapping[str, Any]]]

DUE_LIMIT_SECONDS = 90.0
"""For something to become due."""

CAUGHT_LIMIT_SECONDS = 15.0
"""For the reconciler to be caught in its transaction."""

_HOSTS = ("api-server", "reconciler")

_HOLD = "SELECT id FROM task_instance WHERE id IN :ids FOR UPDATE"
_CAUGHT = "SELECT count(*) FROM pg_stat_activity WHERE pg_backend_pid() = ANY (pg_blocking_pids(pid))"


def kill_host(engine: DistributedAirflow, find_due: FindDue, outcome: Outcome) -> Iterator[None]:
    """
    Kill a reconciler when there is something to do: the API server or the other. If ``is_after``, both, while one acts.

    For that the parents' task instances are locked: the reconciler locks the child's row first, then the parent's task
    instance, and there it is caught in the middle of its transaction.
    """
    deadline = time.monotonic() + DUE_LIMIT_SECONDS
    while not (due := find_due()) and time.monotonic() < deadline:
        yield
    outcome.victims["durable"] += len(due)
    if due and outcome.fault.is_after:
        yield from _kill_in_the_middle(engine, [row["id"] for row in due], outcome)
    else:
        _kill(engine, _HOSTS[outcome.fault.number % len(_HOSTS)])


def _kill_in_the_middle(engine: DistributedAirflow, ids: list[Any], outcome: Outcome) -> Iterator[None]:
    database = sa.create_engine(engine.postgres.url, poolclass=sa.pool.NullPool)
    # Another fault may end the database meanwhile.
    with contextlib.suppress(SQLAlchemyError), database.begin() as connection:
        connection.execute(sa.text(_HOLD).bindparams(sa.bindparam("ids", ids, expanding=True)))
        deadline = time.monotonic() + CAUGHT_LIMIT_SECONDS
        while time.monotonic() < deadline and not outcome.is_in_the_middle:
            outcome.is_in_the_middle = bool(connection.scalar(sa.text(_CAUGHT)))
            if not outcome.is_in_the_middle:
                yield
        _kill(engine, *_HOSTS)
        return
    _kill(engine, *_HOSTS)


def _kill(engine: DistributedAirflow, *kinds: str) -> None:
    for component in [component for kind in kinds for component in engine.components_of(kind)]:
        engine.restart(component)
