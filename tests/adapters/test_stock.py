"""What we know of the stock operator is what the installed one does."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pendulum
import pytest
from airflow.providers.standard.operators import trigger_dagrun
from airflow.sdk import DAG

from airflow_durable import compat, stock
from airflow_durable.operators.trigger_dagrun import TriggerDagRunOperator
from tests.support.interpreter import run_python

from .versions import HAS_DETAILS, HAS_RUN_AFTER, SINCE_PROVIDER, lacks_a_parameter, needs_parameter

if TYPE_CHECKING:
    from airflow.sdk.exceptions import DagRunTriggerException

DATE = datetime(2025, 6, 1, 12, tzinfo=timezone.utc)
EAST = timezone(timedelta(hours=2))


def requested(**kwargs: Any) -> DagRunTriggerException:  # noqa: ANN401
    """Return the request of the installed stock operator."""
    with DAG("parent", schedule=None):
        operator = stock.StockTriggerDagRunOperator(task_id="trigger", trigger_dag_id="child", **kwargs)
    with pytest.raises(compat.DagRunTriggerException) as caught:
        operator.execute({})
    return caught.value


@pytest.mark.parametrize(
    "given",
    [
        DATE,
        DATE.astimezone(EAST),
        pendulum.datetime(2025, 6, 1, 12, tz="Europe/Berlin"),
        datetime(2025, 6, 1),  # noqa: DTZ001 - on purpose
        "2025-06-01",
        "2025-06-01T14:00:00+02:00",
        "2025-06-01 14:00:00.000001",
        None,
    ],
    ids=str,
)
def test_a_date_is_read_as_the_stock_operator_reads_it(given: Any) -> None:  # noqa: ANN401
    sent = requested(logical_date=given).logical_date
    read = stock.parse_date("logical_date", given)
    assert read == sent
    assert str(read) == str(sent)


def test_a_text_that_is_no_date_is_refused_by_both() -> None:
    with DAG("parent", schedule=None):
        operator = stock.StockTriggerDagRunOperator(task_id="trigger", trigger_dag_id="child", logical_date="soon")
    with pytest.raises(ValueError, match="soon"):
        operator.execute({})
    with pytest.raises(ValueError, match="soon"):
        stock.parse_date("logical_date", "soon")


def test_what_is_no_date_at_all_is_refused() -> None:
    with pytest.raises(
        TypeError, match=r"Expected str, datetime\.datetime, or None for parameter 'run_after'\. Got int"
    ):
        stock.parse_date("run_after", 3)


def test_a_date_that_was_not_given_is_not_set() -> None:
    with DAG("parent", schedule=None):
        operator = stock.StockTriggerDagRunOperator(task_id="trigger", trigger_dag_id="child")
    assert not stock.is_set(operator.logical_date)
    assert not stock.is_set(stock.run_after_of(operator))
    assert stock.parse_date("logical_date", operator.logical_date) is None
    assert all(stock.is_set(given) for given in (None, "", DATE))


@needs_parameter("run_after")
def test_a_run_after_that_was_given_is_read() -> None:
    with DAG("parent", schedule=None):
        operator = stock.StockTriggerDagRunOperator(task_id="trigger", trigger_dag_id="child", run_after=DATE)
    assert stock.run_after_of(operator) == DATE


@pytest.mark.parametrize(
    "given",
    [
        {"logical_date": DATE},
        {"logical_date": DATE.astimezone(EAST)},
        {"logical_date": DATE, "run_after": DATE + timedelta(days=1)},
    ],
    ids=["date", "date in the east", "date and run after"],
)
def test_a_fixed_date_makes_the_stock_operators_run_id(given: dict[str, datetime]) -> None:
    if lacks_a_parameter(given):
        pytest.skip("this stock operator has no run_after")
    date = given["logical_date"]
    expected = requested(**given).dag_run_id
    assert stock.generate_run_id(logical_date=date, run_after=given.get("run_after", date)) == expected


def test_without_a_date_each_run_id_is_another() -> None:
    assert requested(logical_date=None).dag_run_id.startswith("manual__")
    made = {stock.generate_run_id(logical_date=None, run_after=None) for _ in range(3)}
    assert len(made) == 3
    assert all(run_id.startswith("manual__") for run_id in made)


@pytest.mark.parametrize("is_deferrable", [True, False])
def test_deferrable_is_read(*, is_deferrable: bool) -> None:
    request = requested(deferrable=is_deferrable, wait_for_completion=True)
    with DAG("parent", schedule=None):
        operator = TriggerDagRunOperator(task_id="trigger", trigger_dag_id="child", deferrable=is_deferrable)
    assert stock.is_deferrable(operator) is request.deferrable is is_deferrable


def test_the_parameters_are_those_of_this_provider() -> None:
    assert {name for name in SINCE_PROVIDER if name in stock.PARAMETERS} == {
        name for name in SINCE_PROVIDER if not lacks_a_parameter({name: None})
    }
    assert {"trigger_dag_id", "deferrable"} <= stock.PARAMETERS
    assert not {"self", "kwargs", "task_id"} & stock.PARAMETERS


def test_what_a_request_takes_is_what_this_airflow_sends() -> None:
    assert stock.request_takes("note") is HAS_DETAILS
    assert stock.request_takes("run_after") is HAS_RUN_AFTER
    assert not stock.request_takes("partition")


def test_nothing_is_missing_here() -> None:
    assert stock.MISSING == ()
    stock.check()
    assert issubclass(stock.DagIsPaused, compat.AirflowException)
    assert trigger_dagrun.XCOM_RUN_ID == stock.XCOM_RUN_ID


_LACKING = """
from airflow.providers.standard.operators import trigger_dagrun as installed

class TriggerDagRunOperator(installed.BaseOperator):
    def __init__(self, *, trigger_dag_id, conf=None, **kwargs):
        super().__init__(**kwargs)
        self.trigger_dag_id = trigger_dag_id

installed.TriggerDagRunOperator = TriggerDagRunOperator
del installed.XCOM_RUN_ID

from airflow_durable.operators.trigger_dagrun import TriggerDagRunOperator
TriggerDagRunOperator(task_id="stock", trigger_dag_id="child")
try:
    TriggerDagRunOperator(task_id="durable", trigger_dag_id="child", durable=True)
except ImportError as error:
    print(error)
"""


def test_an_unknown_stock_operator_is_an_error_for_durable_tasks_alone() -> None:
    """It says all that is missing, when the Dag file is parsed."""
    said = run_python(_LACKING)
    for name in ("'trigger_run_id'", "'logical_date'", "'deferrable'", "'XCOM_RUN_ID'", "'execute_complete'"):
        assert name in said
    assert "'conf'" not in said
    assert "apache-airflow-providers-standard" in said


@pytest.mark.parametrize("name", compat.__all__)
def test_a_name_that_moved_is_found(name: str) -> None:
    assert getattr(compat, name) is not None


def test_other_names_are_not_found() -> None:
    with pytest.raises(AttributeError, match="Unknown"):
        compat.Unknown  # type: ignore[attr-defined] # noqa: B018 - on purpose
