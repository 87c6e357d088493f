"""The operator for many children, where the parent's Dag run was deleted and created again under its name."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from . import triggerer
from .supervisor import NOW
from .test_many import finish, make_dag
from .versions import needs_details

if TYPE_CHECKING:
    from .supervisor import Supervisor

CLEARED: dict[str, Any] = {"try_number": 2, "max_tries": 4, "clear_number": 1}


def life(number: int) -> dict[str, Any]:
    """Return the parent's Dag run in one of its lives, which are a day apart."""
    return {"start_date": NOW + timedelta(days=number)}


def dag_of(version: int, *keys: str, **kwargs: Any) -> Any:  # noqa: ANN401 - the operator's own
    """Return a Dag whose confs tell what it asks for."""
    return make_dag(items=[{"k": key, "v": version} for key in keys or "x"], key="k", deferrable=True, **kwargs)


def delete_parent(supervisor: Supervisor, number: int) -> None:
    """Delete the parent's Dag run: what is kept of its tasks goes with it, and its children stay."""
    for run in supervisor.runs.values():
        if run.state != "queued":
            run.start_date = run.start_date or NOW + timedelta(days=number, hours=1)
    supervisor.store.clear()
    supervisor.xcoms.clear()


def found(supervisor: Supervisor, *states: str) -> list[tuple[str, int]]:
    """Return key and version of the runs in these states."""
    return [(run.conf["k"], run.conf["v"]) for run in supervisor.runs.values() if run.state in states]


@pytest.mark.parametrize("lives", [1, 2, 3])
def test_a_clear_that_loses_the_record_starts_nothing_beside_a_run_of_a_later_life(
    supervisor: Supervisor, lives: int
) -> None:
    """The run ids of the lives before are passed over. The clear has to find the one that is active behind them."""
    dag = dag_of(1)
    for number in range(lives):
        assert finish(supervisor, dag, parent=life(number)).state == "success"
        delete_parent(supervisor, number)
    assert supervisor.run(dag, parent=life(lives)).state == "deferred"
    active = [run.run_id for run in supervisor.runs.values() if run.state == "queued"]
    assert len(active) == 1
    supervisor.store.clear()
    assert supervisor.run(dag, **CLEARED, parent=life(lives)).state == "deferred"
    assert [run.run_id for run in supervisor.runs.values() if run.state == "queued"] == active


@needs_details
def test_queued_runs_of_an_earlier_life_with_other_confs_are_waited_out(supervisor: Supervisor) -> None:
    """A task recognises its runs on 3.2 by when they have begun. These have not."""
    assert supervisor.run(dag_of(1, "x", "y"), parent=life(0)).state == "deferred"
    delete_parent(supervisor, 0)
    assert finish(supervisor, dag_of(2, "x", "y"), parent=life(1)).state == "success"
    assert found(supervisor, "success") == [("x", 1), ("y", 1), ("x", 2), ("y", 2)]


@needs_details
def test_queued_runs_of_an_earlier_life_with_the_same_confs_are_adopted(supervisor: Supervisor) -> None:
    assert supervisor.run(dag_of(1, "x", "y"), parent=life(0)).state == "deferred"
    delete_parent(supervisor, 0)
    assert finish(supervisor, dag_of(1, "x", "y"), parent=life(1)).state == "success"
    assert found(supervisor, "success") == [("x", 1), ("y", 1)]


@pytest.mark.parametrize("end", ["success", "queued"])
def test_a_first_try_takes_no_retrys_run_of_an_earlier_life(supervisor: Supervisor, end: str) -> None:
    """In the earlier life a run had failed, and the retry's run succeeded. A person may have cleared that one since."""
    supervisor.on_sleep = lambda: supervisor.end_all("failed")
    assert finish(supervisor, dag_of(1), parent=life(0)).state == "up_for_retry"
    supervisor.on_sleep = lambda: supervisor.end_all("success")
    assert finish(supervisor, dag_of(1), try_number=2, parent=life(0)).state == "success"
    list(supervisor.runs.values())[-1].state = end
    for run in supervisor.runs.values():
        run.start_date = NOW + timedelta(hours=1)
    delete_parent(supervisor, 0)
    assert finish(supervisor, dag_of(2), parent=life(1)).state == "success"
    assert found(supervisor, "failed", "success") == [("x", 1), ("x", 1), ("x", 2)]


def test_a_first_try_that_is_deferred_takes_no_run_of_an_earlier_life(supervisor: Supervisor) -> None:
    """A window lets it send one item after the other. An item is added while the first one is waited for."""
    assert finish(supervisor, dag_of(1, "x", "y"), parent=life(0)).state == "success"
    delete_parent(supervisor, 0)
    deferred = supervisor.run(dag_of(2, "x", "y", max_active=1), parent=life(1))
    assert deferred.state == "deferred"
    event = triggerer.run_trigger(supervisor, deferred)
    more = dag_of(2, "x", "y", "z", max_active=1)
    outcome = supervisor.run(more, parent=life(1), event=event)
    while outcome.state == "deferred":
        outcome = supervisor.run(more, parent=life(1), event=triggerer.run_trigger(supervisor, outcome))
    assert outcome.state == "success"
    assert found(supervisor, "success") == [("x", 1), ("y", 1), ("x", 2), ("y", 2), ("z", 2)]
