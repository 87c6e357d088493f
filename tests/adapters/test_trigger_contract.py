"""The trigger's arguments and its event: they lie in the database over upgrades and downgrades."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator as StockTriggerDagRunOperator

from airflow_durable.core.board import Status
from airflow_durable.core.errors import EventInvalidError
from airflow_durable.core.items import Items
from airflow_durable.core.stored import load
from airflow_durable.task.many_wait import read_event
from airflow_durable.triggers.dag_run import DurableDagRunTrigger
from airflow_durable.triggers.dag_runs import DurableDagRunsTrigger

from .dags import DEFER, event_of, make_dag
from .supervisor import Run, Supervisor
from .versions import HAS_STORE, load_trigger_kwargs

GOLDEN = Path(__file__).parent / "golden"
VERSIONS = ("v1", "v2")
"""v1: release 0.1.0. v2: the first whose record has a place in an append-only journal."""

OUTCOMES = {"success": "success", "failed": "failed", "missing": None}
FURTHER = "v2_stock_states"
"""The form of 0.2.0 where the parent's lists of states leave some out, which the stock operator would misread."""

each_version = pytest.mark.parametrize("version", VERSIONS)
each_event = pytest.mark.parametrize(
    "name", [f"event_{version}_{end}.json" for version in VERSIONS for end in OUTCOMES]
)


def read_golden(name: str) -> Any:  # noqa: ANN401 - JSON
    return json.loads((GOLDEN / name).read_text(encoding="utf-8"))


@pytest.mark.parametrize("version", [*VERSIONS, FURTHER])
def test_every_released_form_of_the_arguments_still_loads(version: str) -> None:
    class_path, kwargs = read_golden(f"trigger_{version}.json")
    trigger = DurableDagRunTrigger(**kwargs)
    assert trigger.serialize() == (class_path, kwargs)
    assert load(trigger.record).run_id == trigger.run_id


@each_version
@pytest.mark.parametrize("end", OUTCOMES)
def test_the_event_is_still_the_released_one(version: str, end: str) -> None:
    _, kwargs = read_golden(f"trigger_{version}.json")
    assert list(DurableDagRunTrigger(**kwargs).payload(OUTCOMES[end])) == read_golden(f"event_{version}_{end}.json")


def test_the_event_that_the_stock_operator_would_misread_is_still_the_released_one() -> None:
    _, kwargs = read_golden(f"trigger_{FURTHER}.json")
    payload = DurableDagRunTrigger(**kwargs).payload("failed")
    assert list(payload) == read_golden(f"event_{FURTHER}_failed.json")


def test_what_the_operator_defers_with_is_the_released_form(supervisor: Supervisor) -> None:
    """Through the message and the serialization of the installed Airflow."""
    outcome = supervisor.run(make_dag(**DEFER))
    class_path, golden = read_golden("trigger_v2.json")
    kwargs = load_trigger_kwargs(outcome.final.trigger_kwargs)
    assert (outcome.final.classpath, outcome.final.next_method) == (class_path, "execute_complete")
    assert set(kwargs) == set(golden)
    assert set(kwargs["record"]) == set(golden["record"]) - (set() if HAS_STORE else {"root", "next"})
    assert json.loads(json.dumps(kwargs)) == kwargs
    assert DurableDagRunTrigger(**kwargs).serialize() == (class_path, kwargs)


def resumed_from(supervisor: Supervisor, name: str, *, stock: bool = False) -> tuple[str, str]:
    """Return how a task ends that is resumed with a released event, and its error."""
    class_path, event = read_golden(name)
    record = event["record"]
    child = record["child"]
    supervisor.runs["child", child["run_id"]] = Run("child", child["run_id"], "running")
    # The attempt that deferred has its record in the journal.
    supervisor.run(make_dag(StockTriggerDagRunOperator, **DEFER))
    if HAS_STORE:
        supervisor.store["durable_child_run"] = record
    dag = make_dag(StockTriggerDagRunOperator, **DEFER) if stock else make_dag(**DEFER)
    outcome = supervisor.run(dag, event=(class_path, event))
    return outcome.state, str(outcome.error)


@each_version
def test_a_released_event_of_success(supervisor: Supervisor, version: str) -> None:
    assert resumed_from(supervisor, f"event_{version}_success.json") == ("success", "None")
    if HAS_STORE:
        entries = supervisor.entries()
        assert entries[-1]["phase"] == "consumed"
        # Release 0.1.0 would continue from its own entry, which is not the newest any more: so it is overwritten.
        assert [entry["version"] for entry in entries] == [2, 2]
        assert {entry["child"]["run_id"] for entry in entries} == {read_golden(f"trigger_{version}.json")[1]["run_id"]}


@each_version
def test_a_released_event_of_failure(supervisor: Supervisor, version: str) -> None:
    state, error = resumed_from(supervisor, f"event_{version}_failed.json")
    assert (state, "ended in the failed state 'failed'" in error) == ("up_for_retry", True)


@each_version
def test_a_released_event_of_a_missing_run(supervisor: Supervisor, version: str) -> None:
    state, error = resumed_from(supervisor, f"event_{version}_missing.json")
    assert (state, "does not exist any more" in error) == ("up_for_retry", True)


def test_an_event_that_the_stock_operator_would_misread(supervisor: Supervisor) -> None:
    state, error = resumed_from(supervisor, f"event_{FURTHER}_failed.json")
    assert (state, "ended in the failed state 'failed'" in error) == ("up_for_retry", True)
    assert resumed_from(Supervisor(), f"event_{FURTHER}_failed.json", stock=True)[0] == "up_for_retry"


@each_event
def test_a_dag_that_went_back_to_the_stock_operator_ends_right(supervisor: Supervisor, name: str) -> None:
    state = "success" if name.endswith("success.json") else "up_for_retry"
    assert resumed_from(supervisor, name, stock=True)[0] == state


def test_the_tests_own_events_have_the_released_form(supervisor: Supervisor) -> None:
    """The other tests resume with events that are made by hand."""
    class_path, event = event_of(supervisor, supervisor.run(make_dag(**DEFER)))
    released_path, released = read_golden("event_v2_success.json")
    run_id, released_id = event["run_ids"][0], released["run_ids"][0]
    assert class_path == released_path
    assert {key.replace(run_id, "") for key in event} == {key.replace(released_id, "") for key in released}


@pytest.mark.skipif(not HAS_STORE, reason="a fixed run id is durable only where there is a task state store")
@pytest.mark.parametrize("run_id", ["record", "run_ids", "is_missing", "state", "is_due"])
def test_a_fixed_run_id_may_be_a_word_of_the_event(supervisor: Supervisor, run_id: str) -> None:
    dag = make_dag(trigger_run_id=run_id, **DEFER)
    supervisor.run(dag)
    trigger = DurableDagRunTrigger(
        dag_id="child",
        run_id=run_id,
        states=["failed", "success"],
        poll_interval=60.0,
        record=supervisor.store["durable_child_run"],
    )
    for state, end in (("failed", "up_for_retry"), ("success", "success")):
        assert supervisor.run(dag, event=trigger.payload(state)).state == end


# The trigger of many runs.

MANY = "trigger_many_v1.json"
MANY_EVENT = "event_many_v1.json"


def test_every_released_form_of_the_arguments_for_many_runs_still_loads() -> None:
    class_path, kwargs = read_golden(MANY)
    trigger = DurableDagRunsTrigger(**kwargs)
    assert trigger.serialize() == (class_path, kwargs)
    assert json.loads(json.dumps(trigger.payload({1: "success", 0: None, 3: "failed"}))) == read_golden(MANY_EVENT)
    # The run ids follow from the arguments: another release has to find the same.
    assert trigger.runs() == {
        0: "manual__2026-01-01T00:00:00+00:00_53ks7uj4yuci_ieast",
        1: "manual__2026-01-01T00:00:00+00:00_53ks7uj4yuci_inorth",
        3: "manual__2026-01-01T00:00:00+00:00_53ks7uj4yuci_iwest_r1",
    }


def test_every_released_event_of_many_runs_is_still_understood() -> None:
    items = Items.of_keys(["north", "south", "east", "west"])
    ledger, board, ends = read_event(read_golden(MANY_EVENT), items, "child")
    assert ledger.is_of(items)
    assert board is not None
    assert [board.status(index) for index in range(4)] == [Status.ACTIVE, Status.DONE, Status.ACTIVE, Status.ACTIVE]
    assert sorted(ends, key=str) == [(0, "success"), (2, None), (3, "failed")]
    assert read_event(read_golden(MANY_EVENT), Items(4), "child")[1] is None


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"ledger": {}},
        {"missing": "x"},
        {"missing": "7"},
        {"ended": None},
        {"board": {"statuses": "?"}},
        {"board": None},
    ],
)
def test_an_event_of_many_runs_that_cannot_be_understood(change: dict[str, Any]) -> None:
    items = Items.of_keys(["north", "south", "east", "west"])
    with pytest.raises(EventInvalidError, match="cannot be understood"):
        read_event({**read_golden(MANY_EVENT), **change}, items, "child")
