"""What a turn costs in steps of SQLite's virtual machine: they are the same on every run and every machine."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from airflow_durable.core.stored import dump
from airflow_durable.metadata.asked import Asked
from airflow_durable.metadata.tables import load_tables
from airflow_durable.server.watch_list import WatchList

if TYPE_CHECKING:
    from tests.support.asking_parents import World

FEW, MANY = 300, 3_000


def steps_of_turn(world: World, now: list[float], watching: WatchList) -> int:
    """Return how many steps the database takes to find out that there is nothing new."""
    steps = [0]

    def step() -> int:
        steps[0] += 1
        return 0

    with world.engine.connect() as connection:
        asked = Asked(load_tables(), connection.execute)
        watching.update(asked)
        now[0] += 60
        watching.update(asked)
        now[0] += 60
        raw = connection.connection.driver_connection
        assert raw is not None
        raw.set_progress_handler(step, 10)
        watching.update(asked)
        raw.set_progress_handler(None, 0)
    return steps[0]


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_turn_costs_the_same_however_many_records_there_are(world: World) -> None:
    parent = world.parent(None, state="success")
    value = json.dumps({**dump(replace(parent.record, asks=None)), "root": "root"})
    costs = []
    made = 0
    for count in (FEW, MANY):
        world.write_many(parent, range(made, count), value)
        made = count
        now = [0.0]
        costs.append(steps_of_turn(world, now, WatchList(lambda now=now: now[0])))  # type: ignore[misc] # bound now
    assert costs[1] <= costs[0] + 2


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_search_of_all_costs_by_rows_and_not_by_ids(world: World) -> None:
    parent = world.parent(state="failed")
    world.set_value(parent, parent.record, new_id=10_000_000)
    statements = []

    with world.engine.connect() as connection:

        def execute(statement: Any) -> Any:  # noqa: ANN401 - a statement, rows
            statements.append(statement)
            return connection.execute(statement)

        watching = WatchList()
        watching.update(Asked(load_tables(), execute))
    assert len(watching.calls) == 1
    assert len(statements) < 10
