"""Of an action and its withdrawal one comes first: it is done, or it never will be."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from airflow_durable.core.asks import without_action
from airflow_durable.core.stored import dump
from airflow_durable.server import reconciler
from airflow_durable.server.reconciler import Reconciler
from tests.support.asking_parents import asking

from .withdrawals import act_while

if TYPE_CHECKING:
    from tests.support.asking_parents import Asking, World

ENDED = {"first": "success", "second": "success", "apart": "success"}
KINDS = [("reset", "success"), ("resume", "failed")]


def ask(world: World, kind: str, state: str, *, on_end: bool = False) -> Asking:
    """Make a parent that asks for an action."""
    tasks = {**ENDED, "second": state}
    return world.parent(asking(kind, state=state, on_end=on_end), state="running", child_state=state, tasks=tasks)


def values(world: World) -> list[dict[str, Any]]:
    """Return what is stored, in the order of the entries."""
    store = world._store()
    with world.open() as session:
        return [json.loads(value) for (value,) in session.execute(sa.select(store.c.value).order_by(store.c.key))]


def withdraw(world: World, parent: Asking) -> None:
    """Write the entry that the task writes when it waits no longer; there may be one by then."""
    record = replace(parent.record, asks=without_action(parent.record.asks))
    try:
        world.write(replace(parent, record=record), 1)
    except sa.exc.IntegrityError:
        assert len(values(world)) == 2


@pytest.mark.parametrize("on_end", [False, True])
@pytest.mark.parametrize(("kind", "state"), KINDS)
def test_what_is_done_leaves_the_entry_that_the_task_would_write(
    world: World,
    kind: str,
    state: str,
    on_end: bool,  # noqa: FBT001 - as the parameter
) -> None:
    parent = ask(world, kind, state, on_end=on_end)
    assert len(Reconciler(world.open).turn().done) == 1
    withdrawn = replace(parent.record, asks=without_action(parent.record.asks))
    assert values(world) == [{**dump(parent.record), "root": "root"}, {**dump(withdrawn), "root": "root"}]
    assert world.child(parent) == ("queued", 1)


@pytest.mark.parametrize(("kind", "state"), KINDS)
def test_what_was_withdrawn_is_not_done(world: World, kind: str, state: str) -> None:
    parent = ask(world, kind, state)
    withdraw(world, parent)
    assert not Reconciler(world.open).turn().done
    assert world.child(parent) == (state, 0)


@pytest.mark.parametrize("database", ["postgres"], indirect=True)
@pytest.mark.parametrize(("kind", "state"), KINDS)
def test_what_is_withdrawn_after_all_was_read_is_not_done(world: World, kind: str, state: str) -> None:
    parent = ask(world, kind, state)
    real = reconciler._withdraw

    def withdraw_first(*arguments: Any) -> bool:  # noqa: ANN401 - as the real one's
        withdraw(world, parent)
        return real(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reconciler, "_withdraw", withdraw_first)
        assert not Reconciler(world.open).turn().done
    assert world.child(parent) == (state, 0)
    assert not world.audit_log()


@pytest.mark.parametrize("database", ["postgres"], indirect=True)
@pytest.mark.parametrize(("kind", "state"), KINDS)
def test_withdrawal_waits_for_what_is_being_done(world: World, kind: str, state: str) -> None:
    """Once it is written the task looks, and sees what was done."""
    parent = ask(world, kind, state)
    seen: list[tuple[str, int]] = []

    def withdraw_and_look() -> None:
        withdraw(world, parent)
        seen.append(world.child(parent))

    act_while(world, withdraw_and_look)
    assert seen == [("queued", 1)]


def test_run_whose_dag_has_import_errors_is_not_reset(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Airflow's own request is refused then (``execution_api/routes/dag_runs.py``, ``clear_dag_run``)."""
    from airflow.models.dag import DagModel

    parent = ask(world, "reset", "success")
    table = DagModel.__table__
    with world.open() as session:
        session.execute(sa.update(table).where(table.c.dag_id == parent.record.dag_id).values(has_import_errors=True))
    try:
        assert not Reconciler(world.open).turn().done
    finally:
        with world.open() as session:
            session.execute(sa.update(table).values(has_import_errors=False))
    assert "import errors" in caplog.text
    assert world.child(parent) == ("success", 0)
    assert len(values(world)) == 1
