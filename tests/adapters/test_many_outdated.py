"""After a clear an item may get a new run though its run of before succeeded: then that one counts no more."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG

from airflow_durable.operators.trigger_dagruns import TriggerDagRunsOperator

from . import test_many
from .supervisor import NOW, ServerError
from .test_many import finish, make_dag
from .versions import HAS_STORE

if TYPE_CHECKING:
    from collections.abc import Callable

    from .supervisor import Supervisor

supervisor = test_many.supervisor

pytestmark = pytest.mark.skipif(not HAS_STORE, reason="without a ledger nothing says what a clear has replaced")

CLEARED: dict[str, Any] = {"try_number": 2, "max_tries": 4, "clear_number": 1}
RETRY = CLEARED | {"try_number": 3}


def conf_of(key: str, value: int = 1) -> dict[str, Any]:
    """Return the conf of an item."""
    return {"k": key, "v": value}


def ending(supervisor: Supervisor, failing: str, *, deleted: dict[str, Any] | None = None) -> Callable[[], None]:
    """
    Return what lets all active runs end.

    :param failing: the items whose runs fail.
    :param deleted: the run with this conf is deleted.
    """

    def end() -> None:
        for run in list(supervisor.runs.values()):
            if run.state == "queued" and run.conf == deleted:
                del supervisor.runs[run.dag_id, run.run_id]
            elif run.state == "queued":
                run.state = "failed" if run.conf["k"] in failing else "success"

    return end


def done(supervisor: Supervisor) -> list[dict[str, Any]]:
    """Return the confs of the runs that have succeeded."""
    return [run.conf for run in supervisor.runs.values() if run.state == "success"]


@pytest.mark.parametrize("mode", [{}, {"deferrable": True}], ids=["wait", "defer"])
def test_the_new_run_is_deleted(supervisor: Supervisor, mode: dict[str, Any]) -> None:
    """The next try starts it again, under the same run id. It took the run of before the clear for the item's."""
    options = {"key": "k", **mode}
    supervisor.on_sleep = ending(supervisor, "x")
    assert finish(supervisor, make_dag(items=[conf_of("x"), conf_of("y")], **options), max_tries=0).state == "failed"
    corrected = make_dag(items=[conf_of("x"), conf_of("y", 2)], **options)
    supervisor.on_sleep = ending(supervisor, "", deleted=conf_of("y", 2))
    assert finish(supervisor, corrected, **CLEARED).state == "up_for_retry"
    supervisor.on_sleep = ending(supervisor, "")
    assert finish(supervisor, corrected, **RETRY).state == "success"
    assert conf_of("y", 2) in done(supervisor)
    assert len(supervisor.runs) == 4


def test_the_new_run_was_refused_and_that_is_tolerated(supervisor: Supervisor) -> None:
    """With the item that fails after it, one more has failed than is tolerated."""
    options: dict[str, Any] = {"key": "k", "tolerated_failures": 1}
    supervisor.on_sleep = ending(supervisor, "xz")
    assert finish(supervisor, make_dag(items=[conf_of(key) for key in "xyz"], **options), max_tries=0).state == "failed"
    corrected = make_dag(items=[conf_of("x"), conf_of("y", 2), conf_of("z")], **options)
    refused = ServerError(422, {"reason": "invalid_conf"})
    supervisor.pass_by("TriggerDagRun")
    supervisor.fail("TriggerDagRun", refused)
    supervisor.on_sleep = ending(supervisor, "x")
    assert finish(supervisor, corrected, **CLEARED).state == "up_for_retry"
    supervisor.pass_by("TriggerDagRun")
    supervisor.fail("TriggerDagRun", refused)
    assert finish(supervisor, corrected, **RETRY).state == "up_for_retry"
    assert conf_of("y", 2) not in done(supervisor)


def make_dag_behind_a_task(**options: Any) -> DAG:  # noqa: ANN401 - the operator's own
    """Return a Dag in which another task is upstream of the operator."""
    with DAG("parent", schedule=None) as dag:
        EmptyOperator(task_id="up") >> TriggerDagRunsOperator(
            task_id="trigger",
            trigger_dag_id="child",
            items=[conf_of("x"), conf_of("y")],
            key="k",
            retries=3,
            retry_delay=timedelta(0),
            **options,
        )
    return dag


@pytest.mark.parametrize("policy", ["fresh", "fail"])
def test_the_new_run_behind_an_upstream_task_that_ran_again_is_deleted(supervisor: Supervisor, policy: str) -> None:
    """The confs are as they were. All items get a new run after the clear."""
    dag = make_dag_behind_a_task(on_child_failure=policy)
    supervisor.on_sleep = ending(supervisor, "x")
    assert finish(supervisor, dag, max_tries=0).state == "failed"
    since = supervisor.upstream["up"] = datetime.now(tz=timezone.utc)
    supervisor.on_sleep = ending(supervisor, "", deleted=conf_of("y"))
    assert finish(supervisor, dag, **CLEARED).state == "up_for_retry"
    supervisor.on_sleep = ending(supervisor, "")
    assert finish(supervisor, dag, **RETRY).state == "success"
    again = [run for run in supervisor.runs.values() if run.logical_date and run.logical_date > since]
    assert sorted(run.conf["k"] for run in again if run.state == "success") == ["x", "y"]


@pytest.mark.parametrize("mode", [{}, {"deferrable": True}], ids=["wait", "defer"])
def test_a_parent_without_a_logical_date(supervisor: Supervisor, mode: dict[str, Any]) -> None:
    """Whether something upstream ran again cannot be known: so the clear starts all again, and a retry what failed."""
    dag = make_dag_behind_a_task(**mode)
    parent = {"logical_date": None, "data_interval_start": None, "data_interval_end": None}
    supervisor.upstream["up"] = NOW
    supervisor.on_sleep = ending(supervisor, "x")
    assert finish(supervisor, dag, max_tries=0, parent=parent).state == "failed"
    assert finish(supervisor, dag, **CLEARED, parent=parent).state == "up_for_retry"
    for number in (3, 4):
        again = finish(supervisor, dag, **{**CLEARED, "try_number": number}, parent=parent)
        assert again.state == "up_for_retry"
    assert sorted(run.conf["k"] for run in supervisor.runs.values()) == ["x"] * 4 + ["y"] * 2


def test_what_is_not_outdated_is_taken_by_the_next_try(supervisor: Supervisor) -> None:
    """It compares, and starts no other run of an item that has succeeded."""
    options = {"key": "k"}
    supervisor.on_sleep = ending(supervisor, "x")
    assert finish(supervisor, make_dag(items=[conf_of("x"), conf_of("y")], **options), max_tries=0).state == "failed"
    corrected = make_dag(items=[conf_of("x"), conf_of("y", 2)], **options)
    assert finish(supervisor, corrected, **CLEARED).state == "up_for_retry"
    supervisor.on_sleep = ending(supervisor, "")
    assert finish(supervisor, corrected, **RETRY).state == "success"
    assert sorted(map(str, done(supervisor))) == sorted(map(str, [conf_of("y"), conf_of("y", 2), conf_of("x")]))


def test_a_conf_that_differs_at_each_rendering(supervisor: Supervisor) -> None:
    """As in any retry, what was started since the clear is known by its key: no run of it is started twice."""
    options = {"key": "k"}

    def items_of(value: int) -> list[dict[str, Any]]:
        return [conf_of("x", value), conf_of("y", value)]

    supervisor.on_sleep = ending(supervisor, "x")
    assert finish(supervisor, make_dag(items=items_of(1), **options), max_tries=0).state == "failed"
    assert finish(supervisor, make_dag(items=items_of(2), **options), **CLEARED).state == "up_for_retry"
    supervisor.on_sleep = ending(supervisor, "")
    assert finish(supervisor, make_dag(items=items_of(3), **options), **RETRY).state == "success"
    assert done(supervisor) == [conf_of("y", 1), conf_of("y", 2), conf_of("x", 3)]
