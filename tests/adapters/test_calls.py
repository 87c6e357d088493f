"""Several calls in one task: a loop in a @task, and a subclass that calls super().execute() several times."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, cast

import pytest
from airflow.sdk import DAG, task

from airflow_durable.operators.trigger_dagrun import TriggerDagRunOperator

from .dags import DEFER, FORGET, WAIT, finish, make_dag
from .supervisor import ServerError, Supervisor, SupervisorGone
from .versions import needs_store

CONFS = [{"n": 0}, {"n": 1}, {"n": 2}]


def loop(confs: list[dict[str, Any]], *, is_one_object: bool = False, **kwargs: Any) -> DAG:  # noqa: ANN401
    """Return a Dag whose @task triggers a child for each conf, as the list is when it runs."""
    kwargs = {"trigger_dag_id": "child", "durable": True, "retries": 3, **kwargs}
    with DAG("parent", schedule=None) as dag:

        @task(task_id="trigger", retries=3, retry_delay=timedelta(0))
        def trigger(**context: Any) -> None:  # noqa: ANN401 - Airflow's
            operator = TriggerDagRunOperator(task_id="nested", **kwargs)
            for conf in confs:
                if not is_one_object:
                    operator = TriggerDagRunOperator(task_id="nested", **kwargs)
                operator.conf = conf
                operator.execute(cast("Any", context))

        trigger()
    return dag


class Looping(TriggerDagRunOperator):
    """Calls ``super().execute()`` for each conf."""

    def execute(self, context: Any) -> None:  # noqa: ANN401 - Airflow's
        """Execute."""
        for conf in CONFS:
            self.conf = conf
            super().execute(context)


def confs_of(supervisor: Supervisor, state: str = "success") -> list[Any]:
    return [run.conf for run in supervisor.runs.values() if run.state == state]


class Dying(Supervisor):
    """
    One whose attempt dies at a request.

    :ivar dies_at: the number of the request, from 0.
    :ivar is_after: it took effect.
    """

    dies_at = -1
    is_after = False

    def answer(self, request: Any) -> Any:  # noqa: ANN401 - see Supervisor
        """Answer, or die."""
        if len(self.requests) != self.dies_at:
            return super().answer(request)
        if self.is_after:
            super().answer(request)
        else:
            self.requests.append(request)
        raise SupervisorGone


@pytest.mark.parametrize("mode", [WAIT, FORGET], ids=["wait", "forget"])
@pytest.mark.parametrize("is_one_object", [False, True], ids=["new objects", "one object"])
def test_each_call_has_a_child_of_its_own(
    supervisor: Supervisor,
    mode: dict[str, Any],
    is_one_object: bool,  # noqa: FBT001 - a parameter
) -> None:
    outcome = finish(supervisor, loop(CONFS, is_one_object=is_one_object, **mode))
    assert outcome.state == "success"
    assert [run.conf for run in supervisor.runs.values()] == CONFS
    assert set(supervisor.states()) == ({"success"} if mode is WAIT else {"queued"})


def test_a_subclass_that_loops(supervisor: Supervisor) -> None:
    assert finish(supervisor, make_dag(Looping, durable=True, **WAIT)).state == "success"
    assert confs_of(supervisor) == CONFS


def test_calls_for_several_dags(supervisor: Supervisor) -> None:
    supervisor.dags |= {"a": False, "b": False}
    with DAG("parent", schedule=None) as dag:

        @task(task_id="trigger", retries=3)
        def trigger(**context: Any) -> None:  # noqa: ANN401 - Airflow's
            for dag_id in ("a", "b"):
                TriggerDagRunOperator(task_id="nested", trigger_dag_id=dag_id, durable=True, retries=1, **WAIT).execute(
                    cast("Any", context)
                )

        trigger()
    # The first one fails once.
    supervisor.on_sleep = lambda: supervisor.end_all("failed")
    assert finish(supervisor, dag).state == "up_for_retry"
    assert (supervisor.states("a"), supervisor.states("b")) == (["failed"], [])
    supervisor.on_sleep = lambda: supervisor.end_all("success")
    assert finish(supervisor, dag, try_number=2).state == "success"
    assert (supervisor.states("a"), supervisor.states("b")) == (["failed", "success"], ["success"])


@pytest.mark.parametrize("failing", range(3))
def test_a_child_that_fails_once(supervisor: Supervisor, failing: int) -> None:
    def end() -> None:
        for run in supervisor.runs.values():
            if run.state == "queued":
                run.state = "failed" if run.conf == CONFS[failing] and not confs_of(supervisor, "failed") else "success"

    supervisor.on_sleep = end
    dag = loop(CONFS, **WAIT)
    assert finish(supervisor, dag).state == "up_for_retry"
    assert finish(supervisor, dag, try_number=2).state == "success"
    assert confs_of(supervisor, "failed") == [CONFS[failing]]
    assert sorted(conf["n"] for conf in confs_of(supervisor)) == [0, 1, 2]


def _requests_of_a_loop(mode: dict[str, Any]) -> int:
    supervisor = Supervisor()
    finish(supervisor, loop(CONFS[:2], **mode))
    return len(supervisor.requests)


@pytest.mark.parametrize("mode", [WAIT, FORGET], ids=["wait", "forget"])
@pytest.mark.parametrize("is_after", [False, True], ids=["lost", "arrived"])
def test_a_crash_at_any_request_starts_no_child_twice_and_leaves_none_out(
    mode: dict[str, Any],
    is_after: bool,  # noqa: FBT001 - a parameter
) -> None:
    crashes = 0
    for dies_at in range(_requests_of_a_loop(mode)):
        supervisor = Dying()
        supervisor.dies_at, supervisor.is_after = dies_at, is_after
        dag = loop(CONFS[:2], **mode)
        if finish(supervisor, dag).state == "success":
            continue
        crashes += 1
        supervisor.dies_at = -1
        assert finish(supervisor, dag, try_number=2).state == "success"
        assert [run.conf for run in supervisor.runs.values()] == CONFS[:2], f"it died at request {dies_at}"
    assert crashes >= 2 * len(CONFS[:2]), "each run has its request and its XCom, at the least"


@needs_store
@pytest.mark.parametrize("died_at", [1, 2])
def test_calls_in_another_order_are_refused(supervisor: Supervisor, died_at: int) -> None:
    confs = list(CONFS)
    dag = loop(confs, **WAIT)
    supervisor.on_sleep = lambda: supervisor.end_all("success" if len(supervisor.runs) <= died_at else "failed")
    assert finish(supervisor, dag).state == "up_for_retry"
    started = len(supervisor.runs)
    confs.reverse()
    outcome = finish(supervisor, dag, try_number=2)
    assert outcome.state == "up_for_retry"
    first = next(iter(supervisor.runs.values())).run_id
    assert "Call 1 of this try differs from call 1 of an earlier try" in str(outcome.error)
    assert f"run {first!r} of Dag 'child'" in str(outcome.error)
    assert len(supervisor.runs) == started
    # With the calls of before it continues.
    confs.reverse()
    supervisor.on_sleep = lambda: supervisor.end_all("success")
    assert finish(supervisor, dag, try_number=3).state == "success"
    assert sorted(conf["n"] for conf in confs_of(supervisor)) == [0, 1, 2]


def test_a_nested_operator_waits_in_the_worker(supervisor: Supervisor) -> None:
    """A deferral would come back to the task that calls it, which knows nothing of it."""
    outcome = finish(supervisor, loop(CONFS, **DEFER))
    assert (outcome.state, confs_of(supervisor)) == ("success", CONFS)
    assert "DeferTask" not in outcome.names()


@needs_store
def test_a_clear_after_success_does_all_of_them_anew(supervisor: Supervisor) -> None:
    dag = loop(CONFS, **WAIT)
    finish(supervisor, dag)
    assert finish(supervisor, dag, try_number=2, max_tries=4, clear_number=1).state == "success"
    assert confs_of(supervisor) == [*CONFS, *CONFS]


@needs_store
def test_a_clear_in_mid_loop_continues_it(supervisor: Supervisor) -> None:
    dag = loop(CONFS, **WAIT)
    supervisor.pass_by("GetDagRunState", times=2)
    supervisor.fail("GetDagRunState", ServerError(403, "no"))
    assert finish(supervisor, dag).state == "up_for_retry"
    assert finish(supervisor, dag, try_number=2, max_tries=4, clear_number=1).state == "success"
    assert confs_of(supervisor) == CONFS


class Following(TriggerDagRunOperator):
    """Makes a second call when the deferred wait of the first one has ended."""

    def execute_complete(self, context: Any, event: Any) -> None:  # noqa: ANN401 - Airflow's
        """Complete."""
        super().execute_complete(context, event)
        TriggerDagRunOperator(
            task_id="nested", trigger_dag_id="child", durable=True, retries=3, conf={"n": 0}, **WAIT
        ).execute(context)


def test_a_call_after_a_deferral_is_the_second_one(supervisor: Supervisor) -> None:
    outcome = finish(supervisor, make_dag(Following, durable=True, conf={"n": 0}, **DEFER))
    assert outcome.state == "success"
    assert confs_of(supervisor) == [{"n": 0}, {"n": 0}]
