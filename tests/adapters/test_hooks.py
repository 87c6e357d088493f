"""What a subclass does in execute_complete, or after super().execute(), is done before success, or done again."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator as StockTriggerDagRunOperator

from airflow_durable.operators.trigger_dagrun import TriggerDagRunOperator

from .dags import DEFER, FORGET, WAIT, event_of, finish, killed_while_waiting, make_dag
from .supervisor import ServerError, Supervisor
from .versions import HAS_STORE

CALLED: list[str] = []


@pytest.fixture(autouse=True)
def _no_calls() -> None:
    CALLED.clear()


class Completing(TriggerDagRunOperator):
    """Raises once in ``execute_complete``, after ``super()``; then returns a value."""

    def execute_complete(self, context: Any, event: Any) -> str:  # noqa: ANN401 - Airflow's
        """Complete."""
        super().execute_complete(context, event)
        CALLED.append("complete")
        if len(CALLED) == 1:
            message = "the first call"
            raise ValueError(message)
        return "the value"


class Returning(TriggerDagRunOperator):
    """Returns a value from ``execute_complete``."""

    def execute_complete(self, context: Any, event: Any) -> str:  # noqa: ANN401 - Airflow's
        """Complete."""
        super().execute_complete(context, event)
        return "the value"


class Executing(TriggerDagRunOperator):
    """Raises once after ``super().execute()``."""

    def execute(self, context: Any) -> str:  # noqa: ANN401 - Airflow's
        """Execute."""
        super().execute(context)
        CALLED.append("execute")
        if len(CALLED) == 1:
            message = "the first call"
            raise ValueError(message)
        return "the value"


def test_an_execute_complete_that_raises_runs_again(supervisor: Supervisor) -> None:
    dag = make_dag(Completing, durable=True, **DEFER)
    assert finish(supervisor, dag).state == "up_for_retry"
    assert finish(supervisor, dag, try_number=2).state == "success"
    assert CALLED == ["complete", "complete"]
    assert supervisor.states() == ["success"]
    assert supervisor.xcoms["return_value"] == "the value"


def test_an_execute_complete_that_raises_at_the_last_try_fails_the_task(supervisor: Supervisor) -> None:
    dag = make_dag(Completing, durable=True, retries=1, **DEFER)
    assert finish(supervisor, dag, try_number=2, max_tries=1).state == "failed"


@pytest.mark.parametrize("is_ended", [False, True], ids=["active", "ended"])
def test_the_value_of_execute_complete_is_there_after_a_crash_before_the_deferral(
    supervisor: Supervisor,
    is_ended: bool,  # noqa: FBT001 - a parameter
) -> None:
    dag = make_dag(Returning, durable=True, **DEFER)
    killed_while_waiting(supervisor, dag)
    if is_ended:
        supervisor.end_all("success")
    assert finish(supervisor, dag, try_number=2).state == "success"
    assert supervisor.xcoms["return_value"] == "the value"
    assert supervisor.states() == ["success"]


def test_the_value_of_execute_complete_is_there_after_a_crash_behind_the_mark(supervisor: Supervisor) -> None:
    dag = make_dag(Returning, durable=True, **DEFER)
    first = supervisor.run(dag)
    supervisor.end_all("success")
    # The attempt dies when it pushes the value.
    supervisor.fail("SetXCom", ServerError(500, "x"))
    assert supervisor.run(dag, event=event_of(supervisor, first)).state == "up_for_retry"
    assert finish(supervisor, dag, try_number=2).state == "success"
    assert supervisor.xcoms["return_value"] == "the value"
    assert supervisor.states() == ["success"]


@pytest.mark.parametrize("mode", [WAIT, FORGET], ids=["wait", "forget"])
def test_what_follows_super_execute_runs_again(supervisor: Supervisor, mode: dict[str, Any]) -> None:
    dag = make_dag(Executing, durable=True, **mode)
    assert finish(supervisor, dag).state == "up_for_retry"
    assert finish(supervisor, dag, try_number=2).state == "success"
    assert CALLED == ["execute", "execute"]
    assert len(supervisor.runs) == 1
    assert supervisor.xcoms["return_value"] == "the value"


def _end_in_a_unit_test(operator: Any) -> tuple[str, str]:  # noqa: ANN401 - an operator
    try:
        operator.execute(context={})
    except Exception as error:  # noqa: BLE001 - whatever it is, it is compared
        return type(error).__name__, str(error)
    return "", ""


def test_a_context_without_a_task_instance_goes_to_the_stock_operator() -> None:
    """A unit test of a Dag author calls ``execute(context={})``."""
    ends = [
        _end_in_a_unit_test(make_dag(kind, trigger_run_id="fixed", **WAIT).tasks[0])
        for kind in (StockTriggerDagRunOperator, TriggerDagRunOperator)
    ]
    assert ends[0] == ends[1]
    assert ends[0][0]


@pytest.mark.parametrize("mode", [WAIT, DEFER], ids=["wait", "defer"])
@pytest.mark.parametrize(
    ("allowed", "end"), [(["success"], "failed"), (["failed"], "success")], ids=["failed", "success"]
)
def test_an_end_that_is_not_awaited_fails_the_task(
    supervisor: Supervisor, mode: dict[str, Any], allowed: list[str], end: str
) -> None:
    """With no failed states the stock operator waits for ever."""
    supervisor.on_sleep = lambda: supervisor.end_all(end)
    outcome = finish(supervisor, make_dag(allowed_states=allowed, failed_states=[], **mode))
    assert outcome.state == "up_for_retry"
    run_id = next(iter(supervisor.runs.values())).run_id
    assert (
        f"Child run {run_id!r} of Dag 'child' has ended in state {end!r}, which is neither in allowed_states nor in "
        f"failed_states. Open that run to find the cause. The next try of this task starts a new run."
    ) == str(outcome.error)
    if HAS_STORE:
        assert supervisor.record()["phase"] != "consumed"
