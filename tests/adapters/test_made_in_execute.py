"""
A subclass that makes its request in ``execute``.

After a deferral Airflow calls ``execute_complete`` in another process, where the request is as the Dag file says. What
begins again there has to ask for what the subclass asks for.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator as StockTriggerDagRunOperator

from airflow_durable.operators.trigger_dagrun import TriggerDagRunOperator
from airflow_durable.switch.classes import durable_class
from airflow_durable.switch.subclasses import why_class_unsafe

from .dags import DEFER, WAIT, event_of, finish, killed_while_waiting, make_dag

if TYPE_CHECKING:
    from collections.abc import Callable

    from .supervisor import Supervisor

CLEARED: dict[str, Any] = {"try_number": 2, "max_tries": 4, "clear_number": 1}


class Source:
    """Where the subclasses look up what to ask for."""

    customer = "old"


@pytest.fixture(autouse=True)
def old_customer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each test begin alike."""
    monkeypatch.setattr(Source, "customer", "old")


class RunForCustomer(TriggerDagRunOperator):
    """As in the guide about subclasses."""

    def execute(self, context: Any) -> Any:  # noqa: ANN401 - Airflow's
        """Look the conf up."""
        self.conf = {"customer": Source.customer}
        return super().execute(context)


class StockRunForCustomer(StockTriggerDagRunOperator):
    """The same of the stock operator: the switch makes it durable."""

    def execute(self, context: Any) -> Any:  # noqa: ANN401 - Airflow's
        """Look the conf up."""
        self.conf = {"customer": Source.customer}
        return super().execute(context)


class RunDagOfCustomer(TriggerDagRunOperator):
    """Looks up which Dag to run."""

    def execute(self, context: Any) -> Any:  # noqa: ANN401 - Airflow's
        """Look the Dag up."""
        self.trigger_dag_id = f"child_of_{Source.customer}"
        return super().execute(context)


class RunAndTell(RunForCustomer):
    """Also says what it does, and what became of it."""

    told: list[str]

    def execute(self, context: Any) -> Any:  # noqa: ANN401 - Airflow's
        """Say that it begins, and that it waited in the worker."""
        type(self).told.append("begin")
        super().execute(context)
        type(self).told.append("waited")

    def execute_complete(self, context: Any, event: Any) -> None:  # noqa: ANN401 - Airflow's
        """Say that it has ended."""
        super().execute_complete(context, event)
        type(self).told.append("end")


class PrepareAndRun(RunForCustomer):
    """Lets another Dag prepare what the child needs."""

    def execute(self, context: Any) -> Any:  # noqa: ANN401 - Airflow's
        """Prepare first."""
        prepare = TriggerDagRunOperator(
            task_id="prepare", trigger_dag_id="prepare", wait_for_completion=True, durable=True
        )
        prepare.execute(context)
        return super().execute(context)


class RunChain(TriggerDagRunOperator):
    """Runs three Dags, each when the one before has ended."""

    def execute_complete(self, context: Any, event: Any) -> None:  # noqa: ANN401 - Airflow's
        """Run the next one."""
        super().execute_complete(context, event)
        following = {"a": "b", "b": "c"}.get(self.trigger_dag_id)
        if following is not None:
            self.trigger_dag_id = following
            super().execute(context)


def confs(supervisor: Supervisor) -> list[Any]:
    """Return the conf of each child run, in the order in which they were made."""
    return [run.conf for run in supervisor.runs.values()]


def switched() -> type[Any]:
    """Return the durable class of a subclass that nobody has edited."""
    assert why_class_unsafe(StockRunForCustomer) is None
    made: type[Any] = durable_class(StockRunForCustomer)
    return made


@pytest.mark.parametrize("mode", [WAIT, DEFER], ids=["wait", "defer"])
@pytest.mark.parametrize("make", [lambda: RunForCustomer, switched], ids=["import", "switch"])
def test_a_clear_with_another_request_beside_an_active_child(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch, mode: dict[str, Any], make: Callable[[], type[Any]]
) -> None:
    """The old run is waited for, and then a run with the new conf is started: not one with that of the Dag file."""
    options = {} if make is switched else {"durable": True}
    killed_while_waiting(supervisor, make_dag(make(), **options, **mode))
    monkeypatch.setattr(Source, "customer", "new")
    outcome = finish(supervisor, make_dag(make(), **options, **mode), **CLEARED)
    assert outcome.state == "success"
    assert confs(supervisor) == [{"customer": "old"}, {"customer": "new"}]


def test_a_clear_with_another_dag_beside_an_active_child(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    supervisor.dags = {"child": False, "child_of_old": False, "child_of_new": False}
    assert supervisor.run(make_dag(RunDagOfCustomer, durable=True, **DEFER)).state == "deferred"
    monkeypatch.setattr(Source, "customer", "new")
    assert finish(supervisor, make_dag(RunDagOfCustomer, durable=True, **DEFER), **CLEARED).state == "success"
    assert [dag_id for dag_id, _ in supervisor.runs] == ["child_of_old", "child_of_new"]


def test_a_clear_with_the_same_request_where_a_conf_cannot_be_read(supervisor: Supervisor) -> None:
    """Airflow 3.0 and 3.1: each clear beside an active child waits for its end. Later versions adopt it."""
    dag = make_dag(RunForCustomer, durable=True, **DEFER)
    killed_while_waiting(supervisor, dag)
    assert finish(supervisor, dag, **CLEARED).state == "success"
    assert {str(conf) for conf in confs(supervisor)} == {"{'customer': 'old'}"}


def test_a_retry_that_is_resumed_with_the_event_of_the_try_before(supervisor: Supervisor) -> None:
    """Airflow 3.0 resumes each retry in ``execute_complete``."""
    dag = make_dag(RunForCustomer, durable=True, **DEFER)
    deferred = supervisor.run(dag)
    supervisor.end_all("failed")
    event = event_of(supervisor, deferred)
    assert supervisor.run(dag, event=event).state == "up_for_retry"
    supervisor.current_id = uuid.uuid4()
    supervisor.run(dag, try_number=2, event=event)
    assert confs(supervisor) == [{"customer": "old"}, {"customer": "old"}]


def test_what_a_subclass_does_around_it(supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    ``execute`` is called again where the try begins again, and ``execute_complete`` continues when all is done.

    What is behind ``super().execute()`` is for tasks that wait in the worker, after a deferral as before.
    """
    monkeypatch.setattr(RunAndTell, "told", [], raising=False)
    killed_while_waiting(supervisor, make_dag(RunAndTell, durable=True, **DEFER))
    monkeypatch.setattr(Source, "customer", "new")
    assert finish(supervisor, make_dag(RunAndTell, durable=True, **DEFER), **CLEARED).state == "success"
    assert confs(supervisor) == [{"customer": "old"}, {"customer": "new"}]
    assert RunAndTell.told == ["begin", "begin", "begin", "end"]


def test_a_call_before_the_one_that_was_deferred_is_not_taken_for_it(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The try begins again with the first call, which has ended long ago. The task succeeded with that."""
    supervisor.dags = {"prepare": False, "child": False}

    def end_prepared() -> None:
        for (dag_id, _), run in supervisor.runs.items():
            if dag_id == "prepare":
                run.state = "success"

    supervisor.on_sleep = end_prepared
    assert supervisor.run(make_dag(PrepareAndRun, durable=True, **DEFER)).state == "deferred"
    monkeypatch.setattr(Source, "customer", "new")
    dag = make_dag(PrepareAndRun, durable=True, **DEFER)
    assert _end_all(supervisor, dag, supervisor.run(dag, **CLEARED), **CLEARED) == "success"
    done = [run.conf for (dag_id, _), run in supervisor.runs.items() if (dag_id, run.state) == ("child", "success")]
    assert {"customer": "new"} in done


def make_chain(**options: Any) -> Any:  # noqa: ANN401 - the operator's own, and a Dag
    """Return a Dag with a chain that is deferred for each of its Dags."""
    return make_dag(RunChain, durable=True, trigger_dag_id="a", **DEFER, **options)


def test_a_chain_that_begins_again_goes_on_to_its_end(supervisor: Supervisor) -> None:
    """Airflow 3.0 resumes the retry with the event of the second step, which has ended by then."""
    supervisor.dags = dict.fromkeys("abc", False)
    dag = make_chain()
    first = supervisor.run(dag)
    supervisor.end_all("success")
    second = supervisor.run(dag, event=event_of(supervisor, first))
    supervisor.end_all("success")
    event = event_of(supervisor, second)
    supervisor.current_id = uuid.uuid4()
    assert _end_all(supervisor, dag, supervisor.run(dag, try_number=2, event=event), try_number=2) == "success"
    assert [dag_id for dag_id, _ in supervisor.runs] == ["a", "b", "c"]


def test_a_chain_that_has_waited_for_a_run_of_before_a_clear_goes_on_to_its_end(supervisor: Supervisor) -> None:
    supervisor.dags = dict.fromkeys("abc", False)
    assert supervisor.run(make_chain(conf={"v": 1})).state == "deferred"
    dag = make_chain(conf={"v": 2}, defer_after=60)
    supervisor.on_sleep = lambda: None
    waiting = supervisor.run(dag, **CLEARED)
    assert waiting.state == "deferred"
    supervisor.on_sleep = lambda: supervisor.end_all("success")
    assert _end_all(supervisor, dag, waiting, **CLEARED) == "success"
    assert [dag_id for dag_id, _ in supervisor.runs] == ["a", "a", "b", "c"]


def _end_all(supervisor: Supervisor, dag: Any, outcome: Any, **attempt: Any) -> str:  # noqa: ANN401 - see Supervisor.run
    """Let all children succeed until the try has ended, and return its state."""
    while outcome.state == "deferred":
        supervisor.end_all("success")
        outcome = supervisor.run(dag, **attempt, event=event_of(supervisor, outcome))
    state: str = outcome.state
    return state
