"""A ledger asks for its runs to be ended or resumed: in batches, each once, and no run that is another's."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from airflow_durable.core.asks import Asks
from airflow_durable.core.items import Items
from airflow_durable.core.ledger import KEY, Ledger, dump, load
from airflow_durable.core.model import Mode, OnParentEnd, Phase, Proof
from airflow_durable.core.verdicts import Act
from airflow_durable.metadata import families
from airflow_durable.server import due, reconciler
from airflow_durable.server.reconciler import Reconciler
from tests.support.asking_parents import CANCEL, CHILD_DAG, OTHER_DAG, Asking, World, asking

from .withdrawals import act_while

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_durable.core.model import Parent

ITEMS = Items.of_keys(["north", "south", "east coast", "west"])


def write_ledger(world: World, one: Asking, key: str = KEY, **changes: Any) -> Ledger:  # noqa: ANN401 - fields
    """Write the ledger of a parent."""
    task_instance_id = world.task_instance_id(one.parent.dag_id, one.parent.run_id, "trigger")
    made = Ledger(
        CHILD_DAG,
        ITEMS.run_id(one.parent, 0, epoch=0, generation=0),
        Proof.RUN_ID,
        Mode.WAIT,
        3,
        0,
        task_instance_id=task_instance_id,
        asks=CANCEL,
        count=ITEMS.count,
        digest=ITEMS.digest,
        is_clean=True,
    )
    made = replace(made, **changes)
    world.write_key(one, key, json.dumps({**dump(made), "root": "root"}))
    return made


def make(world: World, *, state: str = "failed", **changes: Any) -> Asking:  # noqa: ANN401 - the ledger's fields
    """Make a parent in this state, with a ledger and no record, and an active run of each item."""
    one = world.parent(None, state=state, child_state=None)
    with world.open() as session:
        session.execute(sa.text("DELETE FROM task_state_store WHERE dag_run_id = :id"), {"id": one.dag_run_id})
    write_ledger(world, one, **changes)
    start(world, one.parent)
    return one


def start(world: World, parent: Parent, *, epoch: int = 0, generation: int = 0, state: str = "running") -> list[str]:
    """Make a run of each item."""
    found = [ITEMS.run_id(parent, index, epoch=epoch, generation=generation) for index in range(ITEMS.count)]
    for run_id in found:
        world.run(CHILD_DAG, run_id, state)
    return found


def states(world: World, dag_id: str = CHILD_DAG) -> list[str]:
    """Return the states of the runs of a Dag, in the order in which they were made."""
    with world.open() as session:
        rows = session.execute(sa.text("SELECT state FROM dag_run WHERE dag_id = :dag ORDER BY id"), {"dag": dag_id})
        return [row[0] for row in rows]


def open_reconciler(world: World) -> Reconciler:
    """Return one that works on this database."""
    return Reconciler(world.open)


def test_all_active_runs_are_ended_once(world: World) -> None:
    make(world)
    first, second = open_reconciler(world), open_reconciler(world)
    assert [done.act for done in first.turn().done] == [Act.CANCEL] * 4
    assert states(world) == ["failed"] * 4
    assert not second.turn().done
    assert not first.turn().done


def break_first_item(monkeypatch: pytest.MonkeyPatch, act: Act) -> None:
    """Let this act fail for the runs of the item "north"."""
    right = reconciler._DO[act]

    def do(session: Any, dag_id: str, run_id: str) -> Any:  # noqa: ANN401 - Airflow's
        if run_id.endswith("_inorth"):
            message = "it cannot be done"
            raise RuntimeError(message)
        return right(session, dag_id, run_id)

    monkeypatch.setitem(reconciler._DO, act, do)


def test_it_takes_some_in_each_turn(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (families, due):
        monkeypatch.setattr(module, "ITEMS_AT_ONCE", 3)
    make(world)
    one = open_reconciler(world)
    assert [len(one.turn().done) for _ in range(3)] == [3, 1, 0]
    assert states(world) == ["failed"] * 4


def test_a_run_that_cannot_be_ended_holds_up_no_other(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (families, due):
        monkeypatch.setattr(module, "ITEMS_AT_ONCE", 1)
    break_first_item(monkeypatch, Act.CANCEL)
    make(world)
    one = open_reconciler(world)
    for _ in range(4):
        one.turn()
    assert states(world) == ["running", "failed", "failed", "failed"]


@pytest.mark.parametrize("state", ["running", "deferred", "up_for_retry", "queued"])
def test_nothing_is_ended_while_the_parent_may_continue(world: World, state: str) -> None:
    make(world, state=state)
    assert not open_reconciler(world).turn().done
    assert states(world) == ["running"] * 4


@pytest.mark.parametrize("changes", [{"phase": Phase.CONSUMED}, {"asks": None}])
def test_nothing_is_ended_that_is_not_asked_for(world: World, changes: dict[str, Any]) -> None:
    make(world, **changes)
    assert not open_reconciler(world).turn().done


def test_the_newest_entry_counts(world: World) -> None:
    one = make(world)
    write_ledger(world, one, key=f"{KEY}.1", phase=Phase.CONSUMED)
    assert not open_reconciler(world).turn().done


def test_runs_of_all_generations_are_ended_and_of_no_other_epoch(world: World) -> None:
    one = make(world, epoch=2, generation=1)
    start(world, one.parent, epoch=2, generation=1)
    start(world, one.parent, epoch=2)
    assert len(open_reconciler(world).turn().done) == 8
    assert states(world) == ["running"] * 4 + ["failed"] * 8


def test_no_run_of_another_is_ended(world: World) -> None:
    """A task can write any ledger: it names another Dag, other counts, another first run. What it hits are its own."""
    victim = make(world, state="running")
    forged = world.parent(None, state="failed", child_state=None)
    write_ledger(world, forged, run_id=ITEMS.run_id(victim.parent, 0, epoch=0, generation=0), digest="x", count=10**6)
    single = world.parent(None, state="running")
    one = open_reconciler(world)
    assert not one.turn().done
    assert states(world) == ["running"] * 5
    assert single.record.dag_id == CHILD_DAG


def test_a_run_that_no_task_made_stays_and_the_others_are_ended(world: World) -> None:
    from airflow.utils.types import DagRunTriggeredByType

    one = make(world)
    run_id = ITEMS.run_id(one.parent, 0, epoch=0, generation=7)
    world.run(CHILD_DAG, run_id, "running", triggered_by=DagRunTriggeredByType.UI)
    reconciling = open_reconciler(world)
    assert len(reconciling.turn().done) == 4
    assert not reconciling.turn().done
    assert states(world) == ["failed"] * 4 + ["running"]


def test_a_run_of_another_dag_under_such_a_run_id_stays(world: World) -> None:
    one = make(world)
    world.run(OTHER_DAG, ITEMS.run_id(one.parent, 0, epoch=0, generation=0), "running")
    assert len(open_reconciler(world).turn().done) == 4
    assert states(world, OTHER_DAG) == ["running"]


def test_a_run_that_a_person_has_cleared_since_is_left_alone(world: World) -> None:
    from datetime import datetime, timezone

    one = make(world)
    run_id = ITEMS.run_id(one.parent, 0, epoch=0, generation=1)
    later = datetime.now(tz=timezone.utc) + timedelta(hours=1)
    world.run(CHILD_DAG, run_id, "queued", clear_number=1, queued_at=later)
    assert len(open_reconciler(world).turn().done) == 4
    assert states(world)[-1] == "queued"


def test_the_runs_of_a_deleted_parent_are_ended(world: World) -> None:
    """The parent's Dag run is deleted while it is watched: what was read before is enough for a proof."""
    one = make(world, state="running")
    reconciling = open_reconciler(world)
    assert not reconciling.turn().done
    with world.open() as session:
        for table in ("task_state_store", "task_instance", "dag_run"):
            column = "dag_run_id" if table == "task_state_store" else "run_id"
            value: Any = one.dag_run_id if table == "task_state_store" else one.parent.run_id
            session.execute(sa.text(f"DELETE FROM {table} WHERE {column} = :value"), {"value": value})  # noqa: S608
    assert len(reconciling.turn().done) == 4
    assert states(world) == ["failed"] * 4


@pytest.mark.parametrize("value", ["[]", "{", '{"asks": {"on_parent_end": "cancel"}, "kind": "ledger"}'])
def test_a_ledger_that_cannot_be_understood_asks_for_nothing(world: World, value: str) -> None:
    one = world.parent(None, state="failed", child_state=None)
    world.write_key(one, KEY, value + " " * ("asks" not in value))
    start(world, one.parent)
    assert not open_reconciler(world).turn().done


def test_an_action_of_one_child_in_a_ledger_is_none(world: World) -> None:
    """A ledger asks for items: whatever else a task writes, nothing is cleared."""
    make(world, state="running", asks=asking("resume"))
    assert not open_reconciler(world).turn().done


def watch_acts(monkeypatch: pytest.MonkeyPatch, before: Callable[[int], None] = lambda _: None) -> list[Any]:
    """Return what reconcilers try to do, from now on; call something before each, with how many there are."""
    right, calls = Reconciler._act, []

    def act(self: Reconciler, one: Any) -> Any:  # noqa: ANN401 - what is due
        calls.append(one)
        before(len(calls))
        return right(self, one)

    monkeypatch.setattr(Reconciler, "_act", act)
    return calls


def test_what_running_tasks_wait_for_comes_first(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    make(world)
    world.parent(asking("resume"), state="running", child_state="failed", tasks={"first": "failed"})
    order = []
    monkeypatch.setattr(Reconciler, "_act", lambda _self, one: order.append(one.child.state))
    Reconciler(world.open).turn()
    assert order == ["failed", "running", "running", "running", "running"]


def test_ledgers_share_a_turn(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(due, "ITEMS_AT_ONCE", 3)
    monkeypatch.setattr(families, "ITEMS_AT_ONCE", 3)
    parents = [make(world).parent.run_id for _ in range(3)]
    acting = Reconciler(world.open)
    turns = [len(acting.turn().done) for _ in range(8)]
    assert max(turns) <= 6, "one ledger's worth, and what was left of another"
    assert sum(turns) == 4 * len(parents)


def test_a_record_that_goes_in_a_turn_is_no_error(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    one = make(world)
    calls = watch_acts(monkeypatch, lambda number: world.forget(one) if number == 2 else None)
    Reconciler(world.open).turn()
    assert len(calls) == 4
    assert not [record for record in caplog.records if record.exc_info]


def test_a_parent_of_the_same_name_is_not_looked_at_in_each_turn(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    one = make(world, state="running")
    acting = Reconciler(world.open)
    acting.turn()
    row = world.run_row(one.parent.dag_id, one.parent.run_id)
    world.delete_run(one.parent.dag_id, one.parent.run_id)
    world.run(one.parent.dag_id, one.parent.run_id, "running", run_after=row["run_after"])
    calls = watch_acts(monkeypatch)
    acting.turn()
    seen = len(calls)
    acting.turn()
    assert len(calls) == seen
    assert set(states(world)) == {"running"}


# Failed runs that are to continue.


def to_resume(*names: str, clear_number: int = 0, on_end: bool = False) -> Asks:
    """Return what asks for these runs."""
    on_parent_end = OnParentEnd.CANCEL if on_end else OnParentEnd.ABANDON
    return Asks(on_parent_end, resume_items=tuple((name, clear_number) for name in names))


def make_failed(world: World, asks: Asks, *, state: str = "running") -> tuple[Asking, list[str]]:
    """Make a parent whose ledger asks for failed runs, and a failed run of each item."""
    one = world.parent(None, state=state, child_state=None)
    with world.open() as session:
        session.execute(sa.text("DELETE FROM task_state_store WHERE dag_run_id = :id"), {"id": one.dag_run_id})
    write_ledger(world, one, asks=asks)
    run_ids = start(world, one.parent, state="failed")
    for run_id in run_ids:
        world.set_task(CHILD_DAG, run_id, "first", "success")
        world.set_task(CHILD_DAG, run_id, "second", "failed")
    return one, run_ids


def rewrite(world: World, one: Asking, ledger: Ledger) -> None:
    """Write over the first entry, as the task does when it withdraws what it asked for."""
    with world.open() as session:
        session.execute(
            sa.text("UPDATE task_state_store SET value = :value WHERE dag_run_id = :id AND key = :key"),
            {"value": json.dumps({**dump(ledger), "root": "root"}), "id": one.dag_run_id, "key": KEY},
        )


def clear_numbers(world: World, run_ids: list[str]) -> list[int]:
    """Return how often these runs were cleared."""
    return [world.run_row(CHILD_DAG, run_id)["clear_number"] for run_id in run_ids]


def test_the_runs_that_are_named_continue_once(world: World) -> None:
    _, run_ids = make_failed(world, to_resume("inorth", "iwest"))
    first, second = open_reconciler(world), open_reconciler(world)
    assert [done.act for done in first.turn().done] == [Act.RESUME] * 2
    assert states(world) == ["queued", "failed", "failed", "queued"]
    assert clear_numbers(world, run_ids) == [1, 0, 0, 1]
    assert world.tasks(CHILD_DAG, run_ids[0]) == {"first": "success", "second": None, "apart": None}
    assert not first.turn().done
    assert not second.turn().done
    assert [event for event, *_ in world.audit_log()] == ["durable.resume"] * 2
    world.set_run(CHILD_DAG, run_ids[0], state="failed")
    assert not first.turn().done, "it has failed again, and that was not asked for"


@pytest.mark.parametrize("state", ["up_for_retry", "failed", "queued", "success"])
def test_nothing_continues_for_a_try_that_does_not_wait(world: World, state: str) -> None:
    make_failed(world, to_resume("inorth"), state=state)
    assert not open_reconciler(world).turn().done
    assert states(world) == ["failed"] * 4


def test_nothing_continues_that_was_cleared_since(world: World) -> None:
    _, run_ids = make_failed(world, to_resume("inorth"))
    world.set_run(CHILD_DAG, run_ids[0], clear_number=1)
    assert not open_reconciler(world).turn().done


def test_no_run_of_another_continues(world: World) -> None:
    """What a ledger names are parts of run ids: how they begin follows from the parent of its row."""
    _, victims = make_failed(world, to_resume(), state="running")
    forged = world.parent(None, state="running", child_state=None)
    names = [run_id.removeprefix("manual__") for run_id in victims] + ["inorth", "isouth"]
    write_ledger(world, forged, asks=to_resume(*names))
    assert not open_reconciler(world).turn().done
    assert states(world) == ["failed"] * 4


def test_a_run_that_no_task_made_does_not_continue(world: World) -> None:
    from airflow.utils.types import DagRunTriggeredByType

    one, _ = make_failed(world, to_resume("inorth_r7", "inorth"))
    run_id = ITEMS.run_id(one.parent, 0, epoch=0, generation=7)
    world.run(CHILD_DAG, run_id, "failed", triggered_by=DagRunTriggeredByType.UI)
    assert [done.run_id for done in open_reconciler(world).turn().done] == [
        ITEMS.run_id(one.parent, 0, epoch=0, generation=0)
    ]


def test_a_withdrawal_in_the_same_row_is_seen(world: World) -> None:
    one, _ = make_failed(world, to_resume("inorth"), state="queued")
    reconciling = open_reconciler(world)
    assert not reconciling.turn().done
    rewrite(world, one, replace(ledger_of(world, one), asks=None))
    world.set_task(one.parent.dag_id, one.parent.run_id, "trigger", "running")
    assert not reconciling.turn().done
    assert states(world) == ["failed"] * 4


def ledger_of(world: World, one: Asking) -> Ledger:
    """Return the ledger of a parent, as it is stored."""
    with world.open() as session:
        value = session.scalar(
            sa.text("SELECT value FROM task_state_store WHERE dag_run_id = :id"), {"id": one.dag_run_id}
        )
    return load(json.loads(str(value)))


def test_what_is_withdrawn_leaves_the_list(world: World) -> None:
    """The task has withdrawn it in the same row, under which nothing new is found: the reconciler reads it again."""
    one, _ = make_failed(world, to_resume("inorth"))
    reconciling = open_reconciler(world)
    assert len(reconciling.turn().done) == 1
    rewrite(world, one, replace(ledger_of(world, one), asks=None))
    assert reconciling.turn().watched == 0


def test_the_end_of_the_parent_is_still_seen_after_a_resumption(world: World) -> None:
    one, _ = make_failed(world, to_resume("inorth", on_end=True))
    reconciling = open_reconciler(world)
    assert len(reconciling.turn().done) == 1
    rewrite(world, one, replace(ledger_of(world, one), asks=CANCEL))
    assert reconciling.turn().watched == 1
    world.set_task(one.parent.dag_id, one.parent.run_id, "trigger", "failed")
    assert [done.act for done in reconciling.turn().done] == [Act.CANCEL]


def test_each_task_that_waits_has_its_share_of_a_turn(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(due, "ITEMS_AT_ONCE", 2)
    asked_for = to_resume("inorth", "isouth")
    parents = [make_failed(world, asked_for)[0].parent.run_id for _ in range(2)]
    make(world)
    acting = Reconciler(world.open)
    turns = [acting.turn().done for _ in range(4)]
    assert [sorted(done.parent.rpartition(" ")[2] for done in turn) for turn in turns[:2]] == [sorted(parents)] * 2
    assert [len(turn) for turn in turns[2:]] == [4, 0], "what is to be ended comes when nobody waits"


def test_a_run_that_cannot_continue_holds_up_no_other(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of two waiting tasks has one run in a turn, and the first one of each fails."""
    monkeypatch.setattr(due, "ITEMS_AT_ONCE", 2)
    break_first_item(monkeypatch, Act.RESUME)
    for _ in range(2):
        make_failed(world, to_resume("inorth", "isouth"))
    acting = Reconciler(world.open)
    resumed = [done.run_id for _ in range(4) for done in acting.turn().done]
    assert [run_id.rpartition("_")[2] for run_id in resumed] == ["isouth"] * 2


@pytest.mark.parametrize("database", ["postgres"], indirect=True)
def test_a_withdrawal_waits_for_what_is_being_done(world: World) -> None:
    """Once it is written the task looks, and sees what was done."""
    one, run_ids = make_failed(world, to_resume("inorth"))
    withdrawn = replace(ledger_of(world, one), asks=None)
    seen: list[list[int]] = []

    def withdraw_and_look() -> None:
        rewrite(world, one, withdrawn)
        seen.append(clear_numbers(world, run_ids[:1]))

    act_while(world, withdraw_and_look)
    assert seen == [[1]]
