"""Records that somebody has made up: against runs of other Dags, and against the reconciler itself."""

from __future__ import annotations

import itertools
import json
import logging
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest

from airflow_durable.core.model import Parent, Proof
from airflow_durable.core.run_ids import child_run_id, tag_of_parent
from airflow_durable.core.stored import dump
from airflow_durable.metadata.asked import Asked
from airflow_durable.metadata.calls import MAX_VALUE, CallKey
from airflow_durable.metadata.tables import load_tables
from airflow_durable.server import changes, proof, reconciler
from airflow_durable.server.reconciler import Reconciler
from tests.support.asking_parents import CANCEL, OTHER_DAG, PARENT_DAG, asking

if TYPE_CHECKING:
    from tests.support.asking_parents import Asking, World

on_one_database = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
"""For what the core decides: there the databases do not differ."""

NOW = datetime.now(tz=timezone.utc).replace(microsecond=0)


def attack(world: World, victim: tuple[str, str], caplog: pytest.LogCaptureFixture, **changes: Any) -> Asking:  # noqa: ANN401 - the record's fields
    """Ask for the end of a run that is another's; return who asked. Nothing may come of it, and it is logged once."""
    forged = {"dag_id": victim[0], "run_id": victim[1], **changes}
    forger = world.parent(state="failed", child_state=None, **forged)
    expect_nothing(world, victim, caplog)
    return forger


def expect_nothing(world: World, victim: tuple[str, str], caplog: pytest.LogCaptureFixture) -> None:
    reconciler = Reconciler(world.open)
    with caplog.at_level(logging.WARNING, logger="airflow_durable.reconciler"):
        done = [reconciler.turn().done for _ in range(3)]
    assert done == [[], [], []]
    assert (world.run_row(*victim)["state"], world.audit_log()) == ("running", [])
    assert len(caplog.records) == 1
    assert victim[1] not in caplog.text


@on_one_database
def test_run_that_a_person_made_is_left_alone(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.run(OTHER_DAG, "manual__by_hand", triggered_by="UI")
    attack(world, (OTHER_DAG, "manual__by_hand"), caplog)


@on_one_database
def test_another_parents_child_is_left_alone(world: World, caplog: pytest.LogCaptureFixture) -> None:
    victim = world.parent(state="running")
    attack(world, (victim.record.dag_id, victim.record.run_id), caplog)


@on_one_database
def test_another_parents_entry_put_in_again_is_left_alone(world: World, caplog: pytest.LogCaptureFixture) -> None:
    victim = world.parent(state="running")
    forger = world.parent(asks=None, state="failed", child_state=None)
    world.write(replace(forger, record=victim.record), 1)
    expect_nothing(world, (victim.record.dag_id, victim.record.run_id), caplog)


@on_one_database
@pytest.mark.parametrize("generation", [-1, -2, -1_000_000])
def test_run_id_of_release_0_1_0_is_not_proven(world: World, caplog: pytest.LogCaptureFixture, generation: int) -> None:
    run_id = f"manual__durable_{'0' * 24}_1"
    world.run(OTHER_DAG, run_id)
    attack(world, (OTHER_DAG, run_id), caplog, generation=generation)


@on_one_database
def test_reply_proves_nothing_here(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.run(OTHER_DAG, "fixed")
    attack(world, (OTHER_DAG, "fixed"), caplog, proof=Proof.REPLY)


def search_tag(microsecond: int) -> Parent:
    """Return a parent whose tag is that: by trying, as anybody can who may name their Dag runs."""
    return next(
        parent
        for number in itertools.count()
        if tag_of_parent(parent := Parent(PARENT_DAG, f"try_{number}", "trigger", -1, NOW), 1) // 1000
        == microsecond // 1000
    )


@on_one_database
def test_date_that_was_read_from_the_run_proves_nothing_whatever_the_tag(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    # The forger looks for a parent with the victim's tag. (The test lets the victim have the forger's: that is faster.)
    forger = search_tag(123_456)
    date = NOW.replace(microsecond=tag_of_parent(forger, 1))
    world.run(OTHER_DAG, "fixed", logical_date=date, created_at=NOW + timedelta(seconds=1))
    attack_dated(world, forger, date, NOW + timedelta(seconds=2))
    expect_nothing(world, (OTHER_DAG, "fixed"), caplog)


def attack_dated(world: World, forger: Parent, date: datetime, at: datetime) -> Asking:
    made = world.parent(None, state="failed", child_state=None, run_id_of_parent=forger.run_id)
    record = replace(
        made.record, dag_id=OTHER_DAG, run_id="fixed", proof=Proof.LOGICAL_DATE, dates=(date,), asks=CANCEL
    )
    asked = replace(made, record=record)
    world.write(asked, 1, at=at)
    return asked


def test_our_own_fixed_run_is_ended(world: World) -> None:
    parent = Parent(PARENT_DAG, "own", "trigger", -1, NOW)
    date = NOW.replace(microsecond=tag_of_parent(parent, 1))
    attack_dated(world, parent, date, date)
    world.run(OTHER_DAG, "fixed", logical_date=date, created_at=date + timedelta(seconds=1))
    assert len(Reconciler(world.open).turn().done) == 1


def test_run_that_two_parents_prove_to_be_theirs_is_left_alone(world: World, caplog: pytest.LogCaptureFixture) -> None:
    victim, forger = Parent(PARENT_DAG, "own", "trigger", -1, NOW), Parent(PARENT_DAG, "forged", "trigger", -1, NOW)
    date = NOW.replace(microsecond=tag_of_parent(victim, 1))
    # A forger with the victim's tag, who writes down each second's date ahead.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("airflow_durable.core.proof.tag_of_parent", lambda *_: date.microsecond)
        attack_dated(world, forger, date, date)
        own = attack_dated(world, victim, date, date)
        world.set_task(own.parent.dag_id, own.parent.run_id, "trigger", "running")
        world.run(OTHER_DAG, "fixed", logical_date=date, created_at=date + timedelta(seconds=1))
        expect_nothing(world, (OTHER_DAG, "fixed"), caplog)
    # Who is denied by it can see who denies it.
    assert f"{PARENT_DAG}.trigger in own" in caplog.text


@on_one_database
def test_rivals_are_searched_for_before_anything_is_locked(world: World) -> None:
    parent = Parent(PARENT_DAG, "own", "trigger", -1, NOW)
    date = NOW.replace(microsecond=tag_of_parent(parent, 1))
    attack_dated(world, parent, date, date)
    world.run(OTHER_DAG, "fixed", logical_date=date, created_at=date + timedelta(seconds=1))
    order: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        for owner, name in ((reconciler, "find_rivals"), (changes, "lock_run")):
            patch.setattr(owner, name, noting(order, getattr(owner, name)))
        assert len(Reconciler(world.open).turn().done) == 1
    assert order == ["find_rivals", "lock_run"]


def noting(order: list[str], real: Any) -> Any:  # noqa: ANN401 - a function
    def called(*arguments: Any) -> Any:  # noqa: ANN401 - as the real one's
        order.append(real.__name__)
        return real(*arguments)

    return called


@on_one_database
def test_of_rows_of_another_time_no_value_is_read(world: World) -> None:
    """Thousands of records name the same run id, one for each day; of the run's own time there are few."""
    parent = Parent(PARENT_DAG, "own", "trigger", -1, NOW)
    date = (NOW - timedelta(hours=1)).replace(microsecond=tag_of_parent(parent, 1))
    asked = attack_dated(world, parent, date, date)
    world.write_many(asked, range(50), json.dumps({"child": {"run_id": "fixed"}}))
    world.run(OTHER_DAG, "fixed", logical_date=date, created_at=date + timedelta(seconds=1))
    with world.open() as session:
        found = Asked(load_tables(), session.execute)
        window = (date - timedelta(seconds=5), date + timedelta(seconds=1))
        assert found.named_elsewhere(asked.record, CallKey(0, "", -1, "", 1), window) == [
            key for key in found.scan(0, found.last_id()) if key.dag_run_id == asked.dag_run_id
        ]


@on_one_database
def test_run_of_another_team_is_left_alone(
    world: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent = world.parent(state="failed")
    monkeypatch.setenv("AIRFLOW__CORE__MULTI_TEAM", "True")
    teams = {PARENT_DAG: "red", parent.record.dag_id: "blue"}
    monkeypatch.setattr(
        proof.DagModel, "get_dag_id_to_team_name_mapping", lambda ids, session: {key: teams[key] for key in ids}
    )
    expect_nothing(world, (parent.record.dag_id, parent.record.run_id), caplog)
    teams[parent.record.dag_id] = "red"
    assert len(Reconciler(world.open).turn().done) == 1


def stored_with(world: World, **parts: Any) -> str:  # noqa: ANN401 - JSON
    record = world.parent(state="failed").record
    return json.dumps({**dump(record), "root": "root", **parts})


@pytest.mark.parametrize(
    "value",
    [
        '{"asks": {"on_parent_end": "cancel"',
        '{"asks": {}}',
        '["asks": {]',
        '{"asks": {"on_parent_end": "cancel"}, "version": 3}',
        '{"asks": {"on_parent_end": "cancel"}, "version": true}',
        '{"asks": {"on_parent_end": ["cancel"]}, "version": 2}',
        '{"asks": {' + '"a": {' * 5_000,
        '{"asks": {"a": ' + "1" * 10_000,
        '{"asks": {"a": "' + "a" * MAX_VALUE + '"}}',
    ],
    ids=lambda value: value[:40],
)
def test_value_of_no_sense_is_left_alone(world: World, caplog: pytest.LogCaptureFixture, value: str) -> None:
    healthy = world.parent(state="running")
    bad = world.parent(asks=None, state="failed")
    world.write(bad, 1, value=value)
    expect_nothing(world, (bad.record.dag_id, bad.record.run_id), caplog)
    # And it stops nothing else.
    world.set_task(healthy.parent.dag_id, healthy.parent.run_id, "trigger", "failed")
    assert len(Reconciler(world.open).turn().done) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"run_id": "a\x00b"},
        {"dag_id": "\ud800"},
        {"run_id": "' OR 1=1 --"},
        {"generation": 10**30},
        {"epoch": 10**19},
        {"call": 2},
        {"call": 0},
        {"task_instance_id": "x" * 300},
    ],
    ids=str,
)
def test_values_that_no_database_takes_are_left_alone(world: World, changes: dict[str, Any]) -> None:
    bystander = world.parent(state="running")
    forger = world.parent(asks=None, state="failed", child_state=None)
    world.write(replace(forger, record=replace(forger.record, asks=CANCEL, **changes)), 1)
    world.write(replace(forger, record=replace(forger.record, asks=asking("resume"), **changes)), 2)
    reconciler = Reconciler(world.open)
    for _ in range(2):
        assert not reconciler.turn().done
    assert world.child(bystander) == ("running", 0)


@on_one_database
def test_keys_that_are_none_of_ours_are_left_alone(world: World) -> None:
    parent = world.parent(asks=None, state="failed")
    value = json.dumps({**dump(replace(parent.record, asks=CANCEL)), "root": "root"})
    for number, key in enumerate(("durable_child_run.x", "durable_child_run.call_x", "durable_child_run.1.1", "other")):
        world.write_key(parent, key, value)
        assert not Reconciler(world.open).turn().done, number


@on_one_database
def test_child_run_id_of_the_parent_proves_it_in_any_dag(world: World) -> None:
    """Who could trigger a run in another Dag may end it: it is theirs."""
    parent = world.parent(state="failed", child_dag=OTHER_DAG)
    assert parent.record.run_id == child_run_id(parent.parent, epoch=0, call=1, generation=0)
    assert len(Reconciler(world.open).turn().done) == 1
