"""The operator for many children, with Airflow's task runner, on the scripted supervisor."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import re
import warnings
from collections import Counter
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import pytest
from airflow.models.trigger import Trigger
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, task

from airflow_durable.core.ledger import position_of
from airflow_durable.core.run_ids import item_part
from airflow_durable.operators.trigger_dagruns import TriggerDagRunsOperator
from airflow_durable.task import many_report, many_wait
from airflow_durable.task.many_port import AirflowManyPort
from airflow_durable.triggers import watch
from airflow_durable.triggers.watch import Watch

from . import triggerer
from .supervisor import NOW, Outcome, Run, ServerError, Supervisor
from .versions import HAS_RUN_AFTER, HAS_STORE, load_trigger_kwargs, needs_details, needs_store

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

REGIONS = [{"region": name} for name in ("north", "south", "east", "west")]
WAIT: dict[str, Any] = {}
DEFER: dict[str, Any] = {"deferrable": True}
SECRET = "hunter2"

each_wait = pytest.mark.parametrize("mode", [WAIT, DEFER], ids=["wait", "defer"])


def make_dag(**kwargs: Any) -> DAG:  # noqa: ANN401 - the operator's own
    """Return a Dag with the one task."""
    kwargs = {"trigger_dag_id": "child", "items": REGIONS, "retries": 3, "retry_delay": timedelta(0), **kwargs}
    with DAG("parent", schedule=None) as dag:
        TriggerDagRunsOperator(task_id="trigger", **kwargs)
    return dag


@pytest.fixture(autouse=True)
def supervisor() -> Iterator[Supervisor]:
    """Return a server whose children succeed while the task waits. A wait in the worker passes no time either."""
    made = Supervisor()

    def run(coroutine: Coroutine[Any, Any, Any]) -> Any:  # noqa: ANN401 - what it returns
        loop = triggerer._Loop(lambda: made.on_sleep())  # noqa: PLW0108 - it may be another one by then
        try:
            return loop.run_until_complete(coroutine)
        finally:
            triggerer._end(loop)

    with patch.object(asyncio, "run", run):
        yield made


def finish(supervisor: Supervisor, dag: DAG, **attempt: Any) -> Outcome:  # noqa: ANN401 - see Supervisor.run
    """Run one try to its end, over its deferrals."""
    outcome = supervisor.run(dag, **attempt)
    requests, log = outcome.requests, outcome.log
    while outcome.state == "deferred":
        seen = len(supervisor.requests)
        event = json.loads(json.dumps(triggerer.run_trigger(supervisor, outcome)))
        outcome = supervisor.run(dag, **attempt, event=event)
        requests, log = requests + supervisor.requests[seen:], log + outcome.log
    outcome.requests, outcome.log = requests, log
    return outcome


def end_one(supervisor: Supervisor, state: str = "success") -> Callable[[], None]:
    """Return what lets the oldest active child end."""

    def end() -> None:
        active = [run for run in supervisor.runs.values() if run.state in {"queued", "running"}]
        for run in active[:1]:
            run.state = state

    return end


def end_first_badly(supervisor: Supervisor) -> Callable[[], None]:
    """Return what lets one child fail, and later the others succeed."""

    def end() -> None:
        if "failed" in supervisor.states():
            supervisor.end_all("success")
        else:
            end_one(supervisor, "failed")()

    return end


def confs(supervisor: Supervisor, *states: str) -> list[Any]:
    """Return the confs of the children in one of these states."""
    return [run.conf for run in supervisor.runs.values() if run.state in states]


def returned(supervisor: Supervisor) -> Any:  # noqa: ANN401 - JSON
    """Return the task's return value."""
    return supervisor.xcoms["return_value"]


@each_wait
def test_each_item_has_a_run(supervisor: Supervisor, mode: dict[str, Any]) -> None:
    outcome = finish(supervisor, make_dag(key="region", **mode))
    assert outcome.state == "success"
    assert confs(supervisor, "success") == REGIONS
    assert returned(supervisor) == {"items": 4, "succeeded": 4, "failed": 0, "failed_items": []}
    for (_, run_id), region in zip(supervisor.runs, REGIONS, strict=True):
        assert run_id.endswith(f"_i{region['region']}")
    dates = [run.logical_date for run in supervisor.runs.values()]
    assert len(set(dates)) == 4
    if HAS_RUN_AFTER:
        tags = {run.run_after.microsecond for run in supervisor.runs.values() if run.run_after}
        assert len(tags) == 1


@each_wait
def test_the_window_is_kept(supervisor: Supervisor, mode: dict[str, Any]) -> None:
    most = 0

    def end() -> None:
        nonlocal most
        most = max(most, supervisor.states().count("queued"))
        end_one(supervisor)()

    supervisor.on_sleep = end
    outcome = finish(supervisor, make_dag(max_active=2, **mode))
    assert outcome.state == "success"
    assert (most, len(supervisor.runs)) == (2, 4)


@each_wait
def test_a_retry_redoes_what_failed(supervisor: Supervisor, mode: dict[str, Any]) -> None:
    supervisor.on_sleep = end_one(supervisor, "failed")
    dag = make_dag(key="region", **mode)
    outcome = finish(supervisor, dag)
    assert outcome.state == "up_for_retry"
    assert "1 of 4 items failed" in str(outcome.error)
    assert "north" in str(outcome.error)
    assert "3 child runs are still active" in str(outcome.error)
    supervisor.on_sleep = lambda: supervisor.end_all("success")
    assert finish(supervisor, dag, try_number=2).state == "success"
    assert sorted(supervisor.states()) == ["failed", "success", "success", "success", "success"]
    assert len(confs(supervisor, "success")) == 4


@each_wait
def test_tolerated_failures(supervisor: Supervisor, mode: dict[str, Any]) -> None:
    supervisor.on_sleep = end_first_badly(supervisor)
    outcome = finish(supervisor, make_dag(tolerated_failures="25%", **mode))
    assert outcome.state == "success"
    found = returned(supervisor)
    assert (found["succeeded"], found["failed"]) == (3, 1)
    assert found["failed_items"] == [{"item": "0", "run_id": next(iter(supervisor.runs))[1]}]


@each_wait
def test_several_runs_for_an_item_in_one_try(supervisor: Supervisor, mode: dict[str, Any]) -> None:
    supervisor.on_sleep = end_first_badly(supervisor)
    assert finish(supervisor, make_dag(child_tries=2, **mode)).state == "success"
    assert supervisor.states().count("success") == 4
    assert supervisor.states().count("failed") == 1


@each_wait
def test_killed_while_it_submits(supervisor: Supervisor, mode: dict[str, Any]) -> None:
    """The request took effect, and the try died: the next one starts only what is missing."""
    dag = make_dag(**mode)
    supervisor.pass_by("TriggerDagRun", times=1)
    supervisor.fail("TriggerDagRun", ServerError(500, "the try dies here"), times=4, is_after=True)
    outcome = supervisor.run(dag)
    assert outcome.state in {"up_for_retry", "success", "deferred"}
    supervisor.faults.clear()
    assert finish(supervisor, dag, try_number=2).state == "success"
    assert confs(supervisor, "success") == REGIONS


@needs_store
def test_recovery_takes_a_few_counts(supervisor: Supervisor) -> None:
    """Of a thousand items half was sent when the try died."""
    items = [{"number": number} for number in range(1000)]
    dag = make_dag(items=items)
    supervisor.pass_by("TriggerDagRun", times=500)
    supervisor.fail("TriggerDagRun", ServerError(400, "the try dies here"))
    assert supervisor.run(dag).state == "up_for_retry"
    assert len(supervisor.runs) == 500
    outcome = finish(supervisor, dag, try_number=2)
    assert outcome.state == "success"
    assert len(supervisor.runs) == 1000
    names = outcome.names()
    assert names.index("TriggerDagRun") < 45
    assert names.count("TriggerDagRun") == 500


@needs_store
def test_the_ledger_is_small_and_has_no_conf(supervisor: Supervisor) -> None:
    items = [{"region": f"r{number}", "token": SECRET} for number in range(300)]
    outcome = finish(supervisor, make_dag(items=items, key="region"))
    assert outcome.state == "success"
    stored = json.dumps(supervisor.store)
    assert SECRET not in stored
    assert SECRET not in "\n".join(outcome.log)
    assert len(stored) < 4000
    assert all(key.startswith("durable_child_runs") for key in supervisor.store)
    assert [entry["phase"] for entry in supervisor.store.values()] == ["intended", "consumed"]


@each_wait
def test_nothing_of_a_conf_is_shown(supervisor: Supervisor, mode: dict[str, Any]) -> None:
    outcome = finish(supervisor, make_dag(items=[{"token": SECRET}], **mode))
    rendered = [request for request in outcome.requests if type(request).__name__ == "SetRenderedFields"]
    assert rendered
    shown = rendered[0].rendered_fields["items"]
    assert shown == "1 items (not shown: each child run has its own conf)"
    others = [r for r in outcome.requests if type(r).__name__ != "TriggerDagRun"]
    assert SECRET not in str(others)


@needs_store
@each_wait
def test_a_clear_after_success_asks_for_all_anew(supervisor: Supervisor, mode: dict[str, Any]) -> None:
    dag = make_dag(**mode)
    assert finish(supervisor, dag).state == "success"
    assert finish(supervisor, dag, try_number=2, max_tries=4, clear_number=1).state == "success"
    assert supervisor.states() == ["success"] * 8


@needs_store
def test_a_clear_of_a_failed_task_keeps_what_succeeded(supervisor: Supervisor) -> None:
    def end() -> None:
        end_one(supervisor, "success")()
        end_one(supervisor, "failed")()

    supervisor.on_sleep = end
    dag = make_dag()
    assert finish(supervisor, dag, max_tries=0).state == "failed"
    supervisor.on_sleep = lambda: supervisor.end_all("success")
    assert finish(supervisor, dag, try_number=2, max_tries=4, clear_number=1).state == "success"
    assert len(supervisor.runs) == 5


@needs_details
def test_a_clear_that_loses_the_ledger_keeps_what_succeeded(supervisor: Supervisor) -> None:
    """As on 3.4, or on 3.2, which has none: something is upstream, which did not run again."""

    def end() -> None:
        end_one(supervisor, "success")()
        end_one(supervisor, "failed")()

    with DAG("parent", schedule=None) as dag:
        EmptyOperator(task_id="find") >> TriggerDagRunsOperator(
            task_id="trigger", trigger_dag_id="child", items=REGIONS, retries=3
        )
    supervisor.upstream["find"] = NOW
    supervisor.on_sleep = end
    assert finish(supervisor, dag, max_tries=0).state == "failed"
    supervisor.store.clear()
    supervisor.on_sleep = lambda: supervisor.end_all("success")
    outcome = finish(supervisor, dag, try_number=2, max_tries=4, clear_number=1)
    assert outcome.state == "success"
    assert len(supervisor.runs) == 5
    # Once, not for each item.
    assert outcome.names().count("GetPreviousTI") == 1


@needs_store
def test_a_clear_redoes_an_item_whose_conf_changed(supervisor: Supervisor) -> None:
    def end() -> None:
        end_one(supervisor, "success")()
        end_one(supervisor, "failed")()

    supervisor.on_sleep = end
    assert finish(supervisor, make_dag(key="region"), max_tries=0).state == "failed"
    supervisor.on_sleep = lambda: supervisor.end_all("success")
    changed = [{"region": "north", "year": 2026}, *REGIONS[1:]]
    outcome = finish(supervisor, make_dag(key="region", items=changed), try_number=2, max_tries=4)
    assert outcome.state == "success"
    assert {"region": "north", "year": 2026} in confs(supervisor, "success")
    assert len(supervisor.runs) == 6


@each_wait
def test_results(supervisor: Supervisor, mode: dict[str, Any]) -> None:
    def end() -> None:
        for run in supervisor.runs.values():
            run.state, run.tasks, run.returned = "success", {"load": "success"}, {"load": run.conf["region"]}

    supervisor.on_sleep = end
    outcome = finish(supervisor, make_dag(key="region", result="load", **mode))
    assert outcome.state == "success"
    assert returned(supervisor) == {name: name for name in ("north", "south", "east", "west")}
    assert supervisor.xcoms["summary"]["succeeded"] == 4
    asked = [request for request in outcome.requests if type(request).__name__.startswith("GetXCom")]
    assert {request.run_id for request in asked} == {run_id for _, run_id in supervisor.runs}


def test_a_dict_of_items(supervisor: Supervisor) -> None:
    assert finish(supervisor, make_dag(items={"a": {"x": 1}, "b": {"x": 2}})).state == "success"
    assert [run_id[-3:] for _, run_id in supervisor.runs] == ["_ia", "_ib"]


@pytest.mark.parametrize(
    ("kwargs", "result"),
    [
        ({"items": []}, []),
        ({"items": [], "key": "region"}, {}),
        ({"items": "[]", "key": "region"}, {}),
        ({"items": {}}, {}),
        ({"items": "{}"}, {}),
    ],
)
def test_no_items(supervisor: Supervisor, kwargs: dict[str, Any], result: Any) -> None:  # noqa: ANN401 - JSON
    outcome = finish(supervisor, make_dag(**kwargs))
    assert outcome.state == "success"
    assert outcome.said("There are no items")
    assert returned(supervisor)["items"] == 0
    assert not supervisor.runs
    assert finish(supervisor, make_dag(result="load", **kwargs)).state == "success"
    assert returned(supervisor) == result


@pytest.mark.parametrize(
    ("kwargs", "text"),
    [
        ({"items": 7}, "items is of type int"),
        ({"items": "[1"}, "not JSON"),
        ({"items": [{}, 3]}, "position 1 (from 0) is of type int"),
        ({"items": [{"k": "same"}, {}, {"k": "same"}], "key": "k"}, "position 1 (from 0) has no field 'k'"),
        ({"items": [{"k": "same"}, {"k": "b"}, {"k": "same"}], "key": "k"}, "positions 0 and 2"),
        ({"items": [{"k": None}], "key": "k"}, "of type NoneType"),
        ({"items": [{"k": ""}], "key": "k"}, "an empty text"),
        ({"items": [{"k": object}]}, "position 0 (from 0)"),
        ({"items": {"a": {}}, "key": "k"}, "leave the parameter key out"),
        ({"trigger_dag_id": " "}, "trigger_dag_id"),
        ({"tolerated_failures": "x%"}, "tolerated_failures"),
    ],
)
def test_items_that_cannot_be_used(supervisor: Supervisor, kwargs: dict[str, Any], text: str) -> None:
    outcome = finish(supervisor, make_dag(**kwargs))
    assert outcome.state == "up_for_retry"
    assert text in str(outcome.error)
    assert "same" not in str(outcome.error).replace("the same key", "")
    assert not supervisor.runs
    assert not supervisor.store


@pytest.mark.parametrize(
    "kwargs",
    [
        {"max_active": 0},
        {"max_active": True},
        {"child_tries": 0},
        {"on_clear": "never"},
        {"poke_interval": -1},
        {"tolerated_failures": -1},
        {"tolerated_failures": "2"},
        {"wait_for_completion": False, "max_active": 2},
        {"wait_for_completion": False, "result": "load"},
    ],
)
def test_parameters_that_are_refused_when_the_dag_is_parsed(kwargs: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"of task 'trigger' has to be"):
        make_dag(**kwargs)


@pytest.mark.parametrize("kwargs", [{"start_timeout": -1}, {"on_child_failure": "retry"}, {"on_parent_end": "stop"}])
def test_policies_that_are_refused_when_the_dag_is_parsed(kwargs: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"of task 'trigger' must be"):
        make_dag(**kwargs)


@needs_store
def test_the_reconciler_is_asked_to_end_the_whole_set(supervisor: Supervisor) -> None:
    supervisor.on_sleep = end_one(supervisor, "failed")
    assert finish(supervisor, make_dag(on_parent_end="cancel"), max_tries=0).state == "failed"
    assert [entry["asks"] for entry in supervisor.store.values()] == [{"on_parent_end": "cancel"}]


def reconcile(supervisor: Supervisor) -> None:
    """Act as the reconciler does, by the newest entry; if nothing is asked for, let the runs succeed."""
    asked = supervisor.store[max(supervisor.store, key=lambda key: position_of(key) or 0)].get("asks", {})
    due = [
        run
        for (_, run_id), run in supervisor.runs.items()
        if run.state == "failed" and asked.get("resume_items", {}).get(item_part(run_id)) == run.clear_number
    ]
    for run in due:
        run.state, run.clear_number = "queued", run.clear_number + 1
    if not due:
        supervisor.end_all("success")


@needs_store
@each_wait
def test_failed_runs_continue(supervisor: Supervisor, mode: dict[str, Any]) -> None:
    dag = make_dag(key="region", on_child_failure="resume", on_parent_end="cancel", **mode)
    supervisor.on_sleep = end_one(supervisor, "failed")
    outcome = finish(supervisor, dag)
    assert outcome.state == "up_for_retry"
    assert "lets each failed run continue" in str(outcome.error)
    supervisor.on_sleep = lambda: reconcile(supervisor)
    outcome = finish(supervisor, dag, try_number=2)
    assert (outcome.state, confs(supervisor, "success")) == ("success", REGIONS)
    assert sorted(run.clear_number for run in supervisor.runs.values()) == [0, 0, 0, 1]
    assert outcome.said("Asking the reconciler to let failed child runs continue")
    assert outcome.said("1 to be resumed")
    assert [entry["asks"] for entry in supervisor.store.values()] == [{"on_parent_end": "cancel"}] * 4


@needs_store
@each_wait
def test_failed_runs_continue_in_one_try(supervisor: Supervisor, mode: dict[str, Any]) -> None:
    failed: list[bool] = []

    def act() -> None:
        if not failed:
            failed.append(True)
            end_one(supervisor, "failed")()
        else:
            reconcile(supervisor)

    supervisor.on_sleep = act
    dag = make_dag(on_child_failure="resume", child_tries=2, max_active=2, **mode)
    assert finish(supervisor, dag).state == "success"
    assert (supervisor.states(), len(supervisor.runs)) == (["success"] * 4, 4)


@needs_store
@pytest.mark.parametrize("is_waiting", [True, False])
def test_what_a_task_only_starts_is_not_ended_with_it(supervisor: Supervisor, is_waiting: bool) -> None:  # noqa: FBT001 - the cases
    """An item that is refused fails the task for good, and the others have been started."""
    supervisor.fail("TriggerDagRun", ServerError(422, {"message": SECRET}), times=1)
    finish(supervisor, make_dag(wait_for_completion=is_waiting, on_parent_end="cancel"))
    assert any("asks" in entry for entry in supervisor.store.values()) is is_waiting


@needs_store
def test_nobody_lets_failed_runs_continue(supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__DURABLE__RECONCILER_TIMEOUT", "3")
    dag = make_dag(on_child_failure="resume")
    supervisor.on_sleep = lambda: supervisor.end_all("failed")
    assert finish(supervisor, dag).state == "up_for_retry"
    supervisor.on_sleep = lambda: None
    supervisor.sleeps.clear()
    outcome = finish(supervisor, dag, try_number=2)
    assert outcome.state == "up_for_retry"
    assert "no reconciler acted. The same is true of 3 more child runs" in str(outcome.error)
    assert sum(supervisor.sleeps) == pytest.approx(3)
    assert not any("asks" in entry for entry in supervisor.store.values())


@each_wait
def test_failed_is_failed(supervisor: Supervisor, mode: dict[str, Any]) -> None:
    supervisor.on_sleep = end_one(supervisor, "failed")
    outcome = finish(supervisor, make_dag(on_child_failure="fail", **mode))
    assert outcome.state == "failed"
    assert "1 of 4 items failed" in str(outcome.error)
    supervisor.on_sleep = lambda: supervisor.end_all("success")
    dag = make_dag(on_child_failure="fail", on_clear="failed", **mode)
    assert finish(supervisor, dag, try_number=2, max_tries=4, clear_number=1).state == "success"
    assert sorted(supervisor.states()) == ["failed", *["success"] * 4]


@pytest.fixture
def hours(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return hours to append to: their sum is the time of day. A microsecond passes at each look at the clock."""
    passed: list[int] = []
    looks = itertools.count()

    def now(_: object = None) -> datetime:
        return NOW + timedelta(hours=sum(passed), microseconds=next(looks))

    monkeypatch.setattr(AirflowManyPort, "now", now)
    monkeypatch.setattr(watch, "time", SimpleNamespace(time=lambda: now().timestamp()))
    return passed


@each_wait
def test_an_item_that_does_not_begin_in_time(supervisor: Supervisor, hours: list[int], mode: dict[str, Any]) -> None:
    """The triggerer, or the wait in the worker, ends for it; nothing is started beside the run."""

    def end() -> None:
        hours.append(1)
        for run in list(supervisor.runs.values())[1:]:
            run.state = "success"

    supervisor.on_sleep = end
    outcome = finish(supervisor, make_dag(key="region", start_timeout=10, tolerated_failures=1, **mode))
    assert outcome.state == "success"
    run_id = next(iter(supervisor.runs))[1]
    assert returned(supervisor)["failed_items"] == [{"item": "north", "run_id": run_id, "reason": "start_timeout"}]
    assert supervisor.states() == ["queued", "success", "success", "success"]


@each_wait
def test_too_many_items_do_not_begin_in_time(supervisor: Supervisor, hours: list[int], mode: dict[str, Any]) -> None:
    supervisor.on_sleep = lambda: hours.append(1)
    outcome = finish(supervisor, make_dag(start_timeout=10, **mode))
    assert outcome.state == "failed"
    assert "4 of them are still queued after start_timeout (10 s)" in str(outcome.error)
    assert supervisor.states() == ["queued"] * 4


def test_fire_and_forget(supervisor: Supervisor) -> None:
    outcome = finish(supervisor, make_dag(wait_for_completion=False, start_timeout=1))
    assert outcome.state == "success"
    assert supervisor.states() == ["queued"] * 4


def test_a_lost_reply_starts_nothing_twice(supervisor: Supervisor) -> None:
    supervisor.fail("TriggerDagRun", ServerError(None), is_after=True)
    assert finish(supervisor, make_dag()).state == "success"
    assert confs(supervisor, "success") == REGIONS


@needs_details
def test_a_run_of_an_earlier_life_is_not_taken(supervisor: Supervisor) -> None:
    """The parent's Dag run was deleted and made again under its name; its children are still there."""
    dag = make_dag()
    assert finish(supervisor, dag).state == "success"
    supervisor.store.clear()
    later = {"start_date": Run("child", "x", run_after=None).start_date or _later()}
    assert finish(supervisor, dag, parent=later).state == "success"
    assert len(supervisor.runs) == (8 if HAS_STORE else 4)


LATER = {"start_date": NOW + timedelta(hours=1)}
"""The parent's Dag run, after a clear of it when it had ended."""


def end_two(supervisor: Supervisor) -> Callable[[], None]:
    """Return what lets one child succeed and another one fail."""

    def end() -> None:
        end_one(supervisor, "success")()
        end_one(supervisor, "failed")()

    return end


@needs_details
@pytest.mark.parametrize("is_lost", [False, True], ids=["kept", "lost"])
@pytest.mark.parametrize("on_clear", ["auto", "failed"])
def test_a_clear_of_a_dag_run_that_has_ended_keeps_what_succeeded(
    supervisor: Supervisor,
    on_clear: str,
    is_lost: bool,  # noqa: FBT001 - the cases
) -> None:
    """Such a clear moves the start of the Dag run. On 3.4 it discards the ledger, too."""
    supervisor.on_sleep = end_two(supervisor)
    dag = make_dag(key="region", on_clear=on_clear)
    assert finish(supervisor, dag, max_tries=0).state == "failed"
    if is_lost:
        supervisor.store.clear()
    outcome = finish(supervisor, dag, try_number=2, max_tries=3, clear_number=1, parent=LATER)
    assert outcome.state == "up_for_retry"
    # The automatic retries after it are of the moved start, too.
    supervisor.on_sleep = lambda: supervisor.end_all("success")
    assert finish(supervisor, dag, try_number=3, max_tries=3, clear_number=1, parent=LATER).state == "success"
    assert sorted(run["region"] for run in confs(supervisor, "success")) == ["east", "north", "south", "west"]
    assert len(confs(supervisor, "failed")) == 2


@needs_store
def test_a_clear_of_a_dag_run_that_has_ended_lets_the_failed_run_continue(supervisor: Supervisor) -> None:
    supervisor.on_sleep = end_two(supervisor)
    dag = make_dag(key="region", on_clear="failed", on_child_failure="resume")
    assert finish(supervisor, dag, max_tries=0).state == "failed"

    def resume() -> None:
        reconcile(supervisor)
        supervisor.end_all("success")

    supervisor.on_sleep = resume
    outcome = finish(supervisor, dag, try_number=2, max_tries=4, clear_number=1, parent=LATER)
    assert outcome.state == "success"
    assert supervisor.states() == ["success"] * 4


@needs_store
def test_a_clear_of_a_dag_run_that_has_ended_starts_only_what_was_not_started(supervisor: Supervisor) -> None:
    """With ``wait_for_completion=False``."""
    dag = make_dag(key="region", wait_for_completion=False)
    supervisor.pass_by("TriggerDagRun", times=2)
    supervisor.fail("TriggerDagRun", ServerError(400, "the try dies here"))
    assert finish(supervisor, dag, max_tries=0).state == "failed"
    supervisor.faults.clear()
    supervisor.end_all("success")
    outcome = finish(supervisor, dag, try_number=2, max_tries=4, clear_number=1, parent=LATER)
    assert outcome.state == "success"
    assert len(supervisor.runs) == 4


def _later() -> Any:  # noqa: ANN401 - a date
    return NOW + timedelta(days=1)


@needs_store
def test_a_superseded_try_starts_nothing_more(supervisor: Supervisor) -> None:
    def end() -> None:
        supervisor.supersede()
        end_one(supervisor)()

    supervisor.on_sleep = end
    outcome = finish(supervisor, make_dag(max_active=2))
    assert outcome.state in {"up_for_retry", "failed"}
    assert len(supervisor.runs) == 2


def test_it_has_to_be_a_task_of_its_own(supervisor: Supervisor) -> None:
    """The run ids follow from the task: those of two calls would be the same."""
    with DAG("parent", schedule=None) as dag:

        @task(task_id="trigger", retries=1)
        def call(**kwargs: Any) -> None:  # noqa: ANN401 - Airflow's context
            context: Any = kwargs
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                TriggerDagRunsOperator(task_id="inner", trigger_dag_id="child", items=REGIONS).execute(context)

        call()
    outcome = supervisor.run(dag)
    assert outcome.state == "up_for_retry"
    assert "a task of its own" in str(outcome.error)
    assert not supervisor.runs


def test_a_mapped_one(supervisor: Supervisor) -> None:
    """Each part has its own items, and its own runs."""
    with DAG("parent", schedule=None) as dag:
        TriggerDagRunsOperator.partial(task_id="trigger", trigger_dag_id="child", retries=1).expand(
            items=[[{"number": 1}], [{"number": 2}, {"number": 3}]]
        )
    for map_index in (0, 1):
        outcome = supervisor.run(dag, map_index=map_index)
        assert outcome.state == "success"
        shown = [r.rendered_fields for r in outcome.requests if type(r).__name__ == "SetRenderedFields"]
        assert "number" not in str(shown)
        supervisor.store.clear()
    assert confs(supervisor, "success") == [{"number": 1}, {"number": 2}, {"number": 3}]


@needs_store
def test_a_first_entry_is_written_before_anything_is_sent(supervisor: Supervisor) -> None:
    supervisor.fail("SetTaskStateStore", ServerError(500, "no store"), times=10)
    outcome = finish(supervisor, make_dag())
    assert outcome.state == "up_for_retry"
    assert not supervisor.runs


@needs_details
@pytest.mark.parametrize(("state", "parameters"), [("success", {"max_active": 2}), ("failed", {"child_tries": 2})])
def test_a_list_without_keys_that_moves_while_the_task_is_deferred(
    supervisor: Supervisor, state: str, parameters: dict[str, Any]
) -> None:
    """The task comes back to another list: an item that took the position of another one gets its run all the same."""
    supervisor.on_sleep = end_one(supervisor, state)
    outcome = supervisor.run(make_dag(**parameters, **DEFER))
    event = triggerer.run_trigger(supervisor, outcome)
    supervisor.on_sleep = lambda: supervisor.end_all("success")
    moved = make_dag(items=[*REGIONS[1:], {"region": "new"}], **parameters, **DEFER)
    outcome = supervisor.run(moved, event=json.loads(json.dumps(event)))
    while outcome.state == "deferred":
        event = triggerer.run_trigger(supervisor, outcome)
        outcome = supervisor.run(moved, event=json.loads(json.dumps(event)))
    assert outcome.state == "success"
    assert all(region in confs(supervisor, "success") for region in [*REGIONS[1:], {"region": "new"}])


def come_back(supervisor: Supervisor, outcome: Outcome, dag: DAG, **attempt: Any) -> Outcome:  # noqa: ANN401 - see run
    """Let the wait end, and continue after the deferral with this Dag."""
    event = json.loads(json.dumps(triggerer.run_trigger(supervisor, outcome)))
    return supervisor.run(dag, **attempt, event=event)


@needs_store
def test_another_dag_while_the_task_is_deferred(supervisor: Supervisor) -> None:
    """Nothing is started beside active runs of the Dag of before, and the next try finds those of the new one."""
    supervisor.dags |= {"child_a": False, "child_b": False}
    kwargs = {"child_tries": 2, "key": "region", **DEFER}
    dag_a, dag_b = (make_dag(trigger_dag_id=name, **kwargs) for name in ("child_a", "child_b"))
    outcome = supervisor.run(dag_a)
    supervisor.on_sleep = end_one(supervisor, "failed")
    outcome = come_back(supervisor, outcome, dag_a)
    assert outcome.state == "deferred"
    supervisor.on_sleep = lambda: supervisor.end_all("success")
    outcome = come_back(supervisor, outcome, dag_b)
    assert outcome.state == "deferred"
    assert {(dag_id, run.state) for (dag_id, _), run in supervisor.runs.items()} == {
        ("child_a", "failed"),
        ("child_a", "success"),
        ("child_b", "queued"),
    }
    newest = supervisor.store[max(supervisor.store, key=lambda key: position_of(key) or 0)]
    assert newest["child"]["dag_id"] == "child_b"
    supervisor.on_sleep = lambda: None
    assert supervisor.run(dag_b, try_number=2).state == "deferred"
    assert [dag_id for dag_id, _ in supervisor.runs].count("child_b") == 4


def make_native_dag(more: str = "") -> DAG:
    """Return a Dag whose template makes items that can be read only once."""
    two = "{'is_on': 1, 'region': 'north'}, {'is_on': 1, 'region': 'south'}"
    items = "{{ [" + two + more + "] | selectattr('is_on') }}"
    with DAG("parent", schedule=None, render_template_as_native_obj=True) as dag:
        TriggerDagRunsOperator(
            task_id="trigger", trigger_dag_id="child", retries=3, retry_delay=timedelta(0), items=items, **DEFER
        )
    return dag


def test_items_that_can_be_read_only_once_while_the_task_is_deferred(supervisor: Supervisor) -> None:
    """The task comes back to another list, and succeeds only with a run for each item of it."""
    outcome = supervisor.run(make_native_dag())
    assert supervisor.states() == ["queued"] * 2
    supervisor.on_sleep = lambda: supervisor.end_all("failed")
    more = make_native_dag(", {'is_on': 1, 'region': 'east'}")
    outcome = come_back(supervisor, outcome, more)
    assert outcome.state == "deferred"
    supervisor.on_sleep = lambda: supervisor.end_all("success")
    outcome = come_back(supervisor, outcome, more)
    assert outcome.state == "success"
    assert sorted(conf["region"] for conf in confs(supervisor, "success")) == ["east", "north", "south"]


def test_items_that_can_be_read_only_once_and_an_event_that_is_left_over(supervisor: Supervisor) -> None:
    """3.0 resumes each retry with the event of an earlier try."""
    dag = make_native_dag()
    outcome = supervisor.run(dag)
    supervisor.on_sleep = lambda: supervisor.end_all("failed")
    event = json.loads(json.dumps(triggerer.run_trigger(supervisor, outcome)))
    assert supervisor.run(dag, event=event).state == "up_for_retry"
    assert supervisor.run(dag, event=event, try_number=2).state == "deferred"
    assert supervisor.states() == ["failed"] * 2 + ["queued"] * 2


def test_two_tries_of_one_process_read_the_same_items(supervisor: Supervisor) -> None:
    """The Dag file gives what can be read only once, and ``dag.test()`` parses no file for the second try."""
    dag = make_dag(items=iter(REGIONS))
    supervisor.on_sleep = lambda: supervisor.end_all("failed")
    assert supervisor.run(dag).state == "up_for_retry"
    supervisor.on_sleep = lambda: supervisor.end_all("success")
    assert supervisor.run(dag, try_number=2).state == "success"
    assert len(confs(supervisor, "success")) == 4


def test_a_list_whose_order_differs_at_each_rendering(supervisor: Supervisor) -> None:
    """One item always fails, which is tolerated: it has one run, and all others one each."""
    items = [{"region": f"r{number:02}"} for number in range(12)]

    def end() -> None:
        for run in supervisor.runs.values():
            if run.state == "queued":
                run.state = "failed" if run.conf == items[0] else "success"

    supervisor.on_sleep = end
    kwargs: dict[str, Any] = {"key": "region", "max_active": 2, "tolerated_failures": 1, "start_timeout": 1000, **DEFER}
    outcome, deferrals = supervisor.run(make_dag(items=items, **kwargs)), 0
    while outcome.state == "deferred":
        deferrals += 1
        turned = items[deferrals % 12 :] + items[: deferrals % 12]
        outcome = come_back(supervisor, outcome, make_dag(items=turned, **kwargs))
    assert outcome.state == "success"
    assert Counter(run.conf["region"] for run in supervisor.runs.values()) == {item["region"]: 1 for item in items}
    assert returned(supervisor)["failed_items"][0]["item"] == "r00"


@each_wait
def test_what_a_retry_has_counted_is_not_counted_again_by_its_wait(
    supervisor: Supervisor, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, mode: dict[str, Any]
) -> None:
    monkeypatch.setattr(watch, "NOTE_SECONDS", 1.0)
    items = [{"number": number} for number in range(10)]
    assert supervisor.run(make_dag(items=items, **DEFER)).state == "deferred"
    for run in list(supervisor.runs.values())[:9]:
        run.state = "success"
    pauses = 0

    def end() -> None:
        nonlocal pauses
        pauses += 1
        if pauses > 60:
            supervisor.end_all("success")

    supervisor.on_sleep = end
    capsys.readouterr()
    outcome = finish(supervisor, make_dag(items=items, **mode), try_number=2)
    assert outcome.state == "success"
    said = capsys.readouterr().out + "\n".join(outcome.log)
    counts = [int(found) for found in re.findall(r"(\d+) of 10", said)]
    assert 9 in counts
    assert max(counts) <= 10


def test_an_item_more_while_the_task_is_deferred(supervisor: Supervisor) -> None:
    """A first try that begins again takes its own runs for its own, also where a look-up says no dates."""
    dag = make_dag(key="region", tolerated_failures=1, **DEFER)
    outcome = supervisor.run(dag)
    for run in list(supervisor.runs.values())[:3]:
        run.state = "success"
    supervisor.on_sleep = lambda: supervisor.end_all("success")
    more = make_dag(items=[*REGIONS, {"region": "centre"}], key="region", tolerated_failures=1, **DEFER)
    outcome = come_back(supervisor, outcome, more)
    while outcome.state == "deferred":
        outcome = come_back(supervisor, outcome, more)
    assert outcome.state == "success"
    assert confs(supervisor, "success") == [*REGIONS, {"region": "centre"}]


@pytest.mark.parametrize("reason", ["import_errors", "denied_run_type", "not_found"])
def test_a_child_dag_that_cannot_run_is_one_error(supervisor: Supervisor, reason: str) -> None:
    """Not a thousand refused items, of which all may be tolerated."""
    status = 404 if reason == "not_found" else 400
    supervisor.fail("TriggerDagRun", ServerError(status, {"reason": reason, "message": SECRET}), times=10)
    outcome = finish(supervisor, make_dag(tolerated_failures="100%"))
    assert outcome.state == "up_for_retry"
    assert "refused to start run" in str(outcome.error)
    assert SECRET not in str(outcome.error)
    assert outcome.names().count("TriggerDagRun") == 1


@each_wait
def test_running_is_enough(supervisor: Supervisor, mode: dict[str, Any]) -> None:
    """``allowed_states=["running"]``: an item is done when its run has begun."""

    def begin() -> None:
        for run in supervisor.runs.values():
            run.state = "running"

    supervisor.on_sleep = begin
    outcome = finish(supervisor, make_dag(allowed_states=["running"], **mode))
    assert outcome.state == "success"
    assert supervisor.states() == ["running"] * 4


@needs_store
@each_wait
def test_running_is_not_enough_where_a_run_is_waited_out(
    supervisor: Supervisor, mode: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a clear with another conf the end of the run is waited for: before, this wait ended at once, for ever."""
    kwargs: dict[str, Any] = {"allowed_states": ["running"], "key": "region", **mode}
    supervisor.on_sleep = end_one(supervisor, "failed")
    assert finish(supervisor, make_dag(items=REGIONS[:1], **kwargs), max_tries=0).state == "failed"
    (run,) = supervisor.runs.values()
    run.state = "queued"

    pauses, waits, right = 0, 0, Watch.run

    def go_on() -> None:
        nonlocal pauses
        pauses += 1
        run.state = "running" if pauses < 10 else "success"
        for other in supervisor.runs.values():
            other.state = run.state if other is run else "running"

    def count(watch: Watch, *args: Any) -> Any:  # noqa: ANN401 - as the right one
        nonlocal waits
        waits += 1
        return right(watch, *args)

    monkeypatch.setattr(Watch, "run", count)
    supervisor.on_sleep = go_on
    changed = make_dag(items=[{**REGIONS[0], "year": 2026}], **kwargs)
    assert finish(supervisor, changed, try_number=2, max_tries=4, clear_number=1).state == "success"
    assert supervisor.states() == ["success", "running"]
    assert waits <= 2


def test_what_a_deferral_carries_is_bounded(supervisor: Supervisor) -> None:
    """MySQL takes 64 KiB of a trigger's arguments, encrypted: the waits are then for some of the items at a time."""
    rng = random.Random(1)  # noqa: S311 - keys that cannot be packed
    items: dict[str, Any] = {rng.randbytes(16).hex(): {} for _ in range(3_000)}
    sizes, deferrals = [], 0
    dag = make_dag(items=items, **DEFER)
    outcome = supervisor.run(dag)
    while outcome.state == "deferred":
        deferrals += 1
        sizes.append(len(Trigger.encrypt_kwargs(load_trigger_kwargs(outcome.final.trigger_kwargs))))
        event = json.loads(json.dumps(triggerer.run_trigger(supervisor, outcome)))
        outcome = supervisor.run(dag, event=event)
    assert outcome.state == "success"
    assert returned(supervisor)["succeeded"] == 3_000
    assert max(sizes) < 65_536
    assert 2 <= deferrals <= 10


def test_what_fits_into_no_deferral_is_waited_for_in_the_worker(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(many_wait, "MAX_TRIGGER_BYTES", 100)
    outcome = finish(supervisor, make_dag(**DEFER))
    assert outcome.state == "success"
    assert outcome.said("too large for a deferral")


def test_a_wait_under_an_event_loop_that_runs(supervisor: Supervisor) -> None:
    """A person's ``dag.test()`` in a notebook: there ``asyncio.run`` is refused."""

    async def notebook() -> str:
        return str(finish(supervisor, make_dag()).state)

    loop = asyncio.new_event_loop()
    try:
        assert loop.run_until_complete(notebook()) == "success"
    finally:
        loop.close()


def test_counters(supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: Counter[str] = Counter()

    class Stats:
        @staticmethod
        def incr(name: str, count: int = 1, *, tags: dict[str, str]) -> None:
            assert tags["operator"] == "TriggerDagRunsOperator"
            counted[name] += count

    monkeypatch.setattr(many_report, "Stats", Stats)
    supervisor.on_sleep = end_first_badly(supervisor)
    assert finish(supervisor, make_dag()).state == "up_for_retry"
    supervisor.on_sleep = lambda: supervisor.end_all("success")
    assert finish(supervisor, make_dag(), try_number=2).state == "success"
    assert counted == {
        "resumable_job.fresh_submit": 1,
        "resumable_job.reconnect_attempt": 1,
        "resumable_job.reconnect_success": 1,
        "durable.items.succeeded": 4,
        "durable.items.failed": 1,
    }
