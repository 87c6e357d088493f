"""A subclass of the operator with many runs that makes its items in ``execute``: it is called after deferrals, too."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk import DAG

from airflow_durable.operators.trigger_dagrun import TriggerDagRunOperator
from airflow_durable.operators.trigger_dagruns import TriggerDagRunsOperator

from . import test_many
from .test_many import finish
from .versions import HAS_DETAILS

if TYPE_CHECKING:
    from .supervisor import Supervisor

supervisor = test_many.supervisor

CUSTOMER = "one"


class RunForEach(TriggerDagRunsOperator):
    """Makes its items in ``execute``."""

    def execute(self, context: Any) -> Any:  # noqa: ANN401 - Airflow's
        """Look the items up."""
        self.items = [{"customer": CUSTOMER}, {"customer": "another"}]
        return super().execute(context)


class RunTwoLists(TriggerDagRunsOperator):
    """Makes two calls."""

    def execute(self, context: Any) -> Any:  # noqa: ANN401 - Airflow's
        """Start the runs of one list, and then those of another."""
        for number in range(2):
            self.items = [{"list": number, "item": item} for item in range(2)]
            super().execute(context)


def make_dag_of_many(operator: type[TriggerDagRunsOperator], **options: Any) -> DAG:  # noqa: ANN401 - the operator's own
    """Return a Dag whose file says that there are no items."""
    with DAG("parent", schedule=None) as dag:
        operator(task_id="trigger", trigger_dag_id="child", items=[], retries=3, retry_delay=timedelta(0), **options)
    return dag


@pytest.mark.parametrize("mode", [{}, {"deferrable": True}], ids=["wait", "defer"])
@pytest.mark.parametrize("end", ["success", "failed"])
def test_items_that_are_made_in_execute(supervisor: Supervisor, mode: dict[str, Any], end: str) -> None:
    """After the deferral there were none, and the task succeeded whatever had become of the runs."""
    supervisor.on_sleep = lambda: supervisor.end_all(end)
    outcome = finish(supervisor, make_dag_of_many(RunForEach, **mode))
    assert outcome.state == ("success" if end == "success" else "up_for_retry")
    assert [run.conf for run in supervisor.runs.values()] == [{"customer": "one"}, {"customer": "another"}]


@pytest.mark.parametrize("mode", [{}, {"deferrable": True}], ids=["wait", "defer"])
def test_a_second_call_in_one_try_is_refused(supervisor: Supervisor, mode: dict[str, Any]) -> None:
    """Its run ids would be those of the first call, so its items would count as done."""
    outcome = finish(supervisor, make_dag_of_many(RunTwoLists, **mode))
    assert outcome.state == "failed", outcome.error
    assert "called a second time in this try" in str(outcome.error)
    assert [run.conf["list"] for run in supervisor.runs.values()] == [0, 0]


class PrepareAndRun(TriggerDagRunsOperator):
    """Starts one run that prepares, and then many."""

    def execute(self, context: Any) -> Any:  # noqa: ANN401 - Airflow's
        """Prepare first."""
        prepare = TriggerDagRunOperator(
            task_id="prepare", trigger_dag_id="child", conf={"is": "first"}, wait_for_completion=True, durable=True
        )
        prepare.execute(context)
        self.items = [{"item": 0}, {"item": 1}]
        return super().execute(context)


class CountInBoth(TriggerDagRunsOperator):
    """Returns how many have succeeded, in either mode."""

    def execute(self, context: Any) -> Any:  # noqa: ANN401 - Airflow's
        """Return it where the task waits in the worker."""
        self.items = [{"item": 0}, {"item": 1}]
        return super().execute(context)["succeeded"]

    def execute_complete(self, context: Any, event: Any) -> Any:  # noqa: ANN401 - Airflow's
        """Return it where the task was deferred."""
        return super().execute_complete(context, event)["succeeded"]


@pytest.mark.parametrize("mode", [{}, {"deferrable": True}], ids=["wait", "defer"])
def test_a_run_that_prepares_is_no_second_call(supervisor: Supervisor, mode: dict[str, Any]) -> None:
    outcome = finish(supervisor, make_dag_of_many(PrepareAndRun, **mode))
    assert outcome.state == "success", outcome.error
    # Before 3.2 a first try that is called again does not know what it has started: a known limit.
    again = [{"is": "first"}] if mode and not HAS_DETAILS else []
    assert [run.conf for run in supervisor.runs.values()] == [{"is": "first"}, {"item": 0}, {"item": 1}, *again]


class CountInOne(TriggerDagRunsOperator):
    """The same with one method: it is called after a deferral, too."""

    def execute(self, context: Any) -> Any:  # noqa: ANN401 - Airflow's
        """Return it."""
        self.items = [{"item": 0}, {"item": 1}]
        return super().execute(context)["succeeded"]


@pytest.mark.parametrize("mode", [{}, {"deferrable": True}], ids=["wait", "defer"])
@pytest.mark.parametrize("operator", [CountInBoth, CountInOne])
def test_what_a_subclass_makes_of_the_result(
    supervisor: Supervisor, operator: type[TriggerDagRunsOperator], mode: dict[str, Any]
) -> None:
    """Each of the two methods gets what the operator returns, and not what the other made of it."""
    outcome = finish(supervisor, make_dag_of_many(operator, **mode))
    assert outcome.state == "success", outcome.error
    assert supervisor.xcoms["return_value"] == 2
