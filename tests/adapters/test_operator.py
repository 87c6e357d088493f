"""The operator as a Dag author sees it: its default, its warning, mapped, serialized."""

from __future__ import annotations

import json
import sys
import warnings
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator as StockTriggerDagRunOperator
from airflow.sdk import DAG

from airflow_durable.operators.trigger_dagrun import DurableRetriesWarning, TriggerDagRunOperator
from tests.support.interpreter import run_python

from .versions import dag_serialization


def make(*, default_args: dict[str, Any] | None = None, **kwargs: Any) -> TriggerDagRunOperator:  # noqa: ANN401
    """Return an operator in a Dag; warnings are errors."""
    with DAG("parent", schedule=None, default_args=default_args or {}), warnings.catch_warnings():
        warnings.simplefilter("error")
        return TriggerDagRunOperator(**{"task_id": "trigger", "trigger_dag_id": "child", **kwargs})


def test_durable_is_opt_in() -> None:
    assert make().durable is False
    assert make(durable=True, retries=1).durable is True


@pytest.mark.parametrize("durable", ["False", "true", None, "{{ params.x }}", [], 2], ids=repr)
def test_durable_is_true_or_false(durable: Any) -> None:  # noqa: ANN401 - a mistake
    """A text is true, whatever it says; and ``durable`` is no template field."""
    with pytest.raises(TypeError, match="durable of task 'trigger' must be True or False, not"):
        make(durable=durable, retries=1)


def test_default_args() -> None:
    operator = make(
        default_args={
            "durable": True,
            "retries": 2,
            "poke_interval": 5,
            "wait_for_completion": True,
            "trigger_dag_id": "by default",
        }
    )
    assert (operator.durable, operator.retries) == (True, 2)
    assert (operator.poke_interval, operator.wait_for_completion) == (5, True)
    assert operator.trigger_dag_id == "child"
    assert make(default_args={"durable": True, "retries": 0}, durable=False).durable is False


def test_a_required_argument_may_come_by_default() -> None:
    with DAG("parent", schedule=None, default_args={"trigger_dag_id": "by default"}):
        operator = TriggerDagRunOperator(task_id="trigger")  # type: ignore[call-arg] # Airflow adds it
    assert operator.trigger_dag_id == "by default"


def test_a_required_argument_is_missed_as_by_the_stock_operator() -> None:
    messages = []
    for operator in (StockTriggerDagRunOperator, TriggerDagRunOperator):
        with DAG("parent", schedule=None), pytest.raises(TypeError) as caught:
            operator(task_id="trigger")  # type: ignore[call-arg] # on purpose
        messages.append(str(caught.value))
    assert "trigger_dag_id" in messages[1]
    assert messages[0] == messages[1]


def test_an_unknown_argument_is_refused_as_by_the_stock_operator() -> None:
    for operator in (StockTriggerDagRunOperator, TriggerDagRunOperator):
        with DAG("parent", schedule=None), pytest.raises(TypeError, match="durble"):
            operator(task_id="trigger", trigger_dag_id="child", durble=True)


@pytest.mark.parametrize("further", [{}, {"default_args": {"retries": 0}}], ids=["default", "default_args"])
def test_no_retries_are_warned_of(further: dict[str, Any]) -> None:
    with (
        DAG("parent", schedule=None, **further),
        pytest.warns(DurableRetriesWarning, match="Task 'trigger' is durable but has retries=0") as warned,
    ):
        TriggerDagRunOperator(task_id="trigger", trigger_dag_id="child", durable=True)
    # People find the line in their Dag file.
    assert [warning.filename for warning in warned] == [__file__]


@pytest.mark.parametrize(
    ("default_args", "kwargs"),
    [
        (None, {"durable": True, "retries": 1}),
        ({"retries": 2}, {"durable": True}),
        (None, {"durable": False}),
        (None, {}),
        ({"durable": True, "retries": 0}, {"retries": 1}),
        ({"durable": True}, {"durable": False, "retries": 0}),
    ],
)
def test_no_warning_without_a_reason(default_args: dict[str, Any] | None, kwargs: dict[str, Any]) -> None:
    make(default_args=default_args, **kwargs)


def test_a_mapped_task_is_not_warned_of_before_it_is_expanded() -> None:
    """Nothing of ours runs when ``expand`` is parsed; the warning comes with each expanded task."""
    with DAG("parent", schedule=None) as dag, warnings.catch_warnings():
        warnings.simplefilter("error")
        TriggerDagRunOperator.partial(task_id="trigger", durable=True, retries=0).expand(trigger_dag_id=["a", "b"])
    assert dag.task_dict["trigger"].is_mapped


def test_a_mapped_operator_becomes_a_durable_one() -> None:
    with DAG("parent", schedule=None, default_args={"durable": True, "retries": 3}):
        mapped = TriggerDagRunOperator.partial(task_id="trigger", poke_interval=7).expand(trigger_dag_id=["a", "b"])
    unmapped = mapped.unmap({"trigger_dag_id": "a"})
    assert isinstance(unmapped, TriggerDagRunOperator)
    assert (unmapped.durable, unmapped.retries, unmapped.poke_interval) == (True, 3, 7)
    assert unmapped.trigger_dag_id == "a"


def test_durable_itself_can_be_expanded() -> None:
    with DAG("parent", schedule=None):
        mapped = TriggerDagRunOperator.partial(task_id="trigger", trigger_dag_id="child", retries=1).expand(
            durable=[True, False]
        )
    assert [vars(mapped.unmap({"durable": each}))["durable"] for each in (True, False)] == [True, False]


def test_a_mistake_in_partial_is_found_when_it_is_parsed() -> None:
    with DAG("parent", schedule=None), pytest.raises(TypeError, match="durble"):
        TriggerDagRunOperator.partial(task_id="trigger", durble=True).expand(trigger_dag_id=["a"])


def serialize(operator: type[StockTriggerDagRunOperator], **further: Any) -> dict[str, Any]:  # noqa: ANN401
    with DAG("parent", schedule=None) as dag:
        operator(
            task_id="one",
            trigger_dag_id="child",
            conf={"a": "{{ ds }}"},
            wait_for_completion=True,
            deferrable=True,
            retries=2,
            retry_delay=timedelta(seconds=5),
            **further,
        )
        operator.partial(task_id="many", trigger_dag_id="child", retries=1, **further).expand(conf=[{"n": 1}, {"n": 2}])
    to_dict, _ = dag_serialization()
    written: dict[str, Any] = json.loads(json.dumps(to_dict(dag)))
    return written


def test_a_serialized_dag_comes_back() -> None:
    _, from_dict = dag_serialization()
    dag = from_dict(serialize(TriggerDagRunOperator, durable=True))
    one, many = dag.task_dict["one"], dag.task_dict["many"]
    assert one.task_type == "TriggerDagRunOperator"
    assert one.retries == 2
    assert list(one.template_fields) == list(StockTriggerDagRunOperator.template_fields)
    assert [link.name for link in one.operator_extra_links] == ["Triggered DAG"]
    assert many.is_mapped


def test_a_serialized_dag_is_the_stock_one_but_for_the_module_and_durable() -> None:
    """So the scheduler, the dependency graph and the UI treat it as the stock operator's."""
    stock = json.dumps(serialize(StockTriggerDagRunOperator), sort_keys=True)
    ours = json.dumps(serialize(TriggerDagRunOperator, durable=True), sort_keys=True)
    assert '"dependency_type": "trigger"' in ours
    theirs = json.dumps("airflow.providers.standard.operators.trigger_dagrun")
    mine = json.dumps("airflow_durable.operators.trigger_dagrun")
    without_durable = ours.replace(mine, theirs).replace('"durable": true, ', "")
    assert without_durable == stock


DEFAULT = """
import warnings
warnings.simplefilter("error", UserWarning)
from airflow_durable.operators.trigger_dagrun import TriggerDagRunOperator as Operator
print(Operator(task_id="t", trigger_dag_id="c").durable, end=" ")
print(Operator(task_id="u", trigger_dag_id="c", durable=False).durable)
"""


def test_the_configuration_changes_the_default(tmp_path: Path) -> None:
    """From the file; with the configured retries there is no warning."""
    (tmp_path / "airflow.cfg").write_text(
        "[durable]\ndefault_durable = True\n[core]\ndefault_task_retries = 1\n", encoding="utf-8"
    )
    assert run_python(DEFAULT, AIRFLOW_HOME=str(tmp_path)) == "True False"


def test_the_environment_changes_the_default() -> None:
    configured = {"AIRFLOW__DURABLE__DEFAULT_DURABLE": "True", "AIRFLOW__CORE__DEFAULT_TASK_RETRIES": "1"}
    assert run_python(DEFAULT, **configured) == "True False"


UNUSABLE = """
from airflow_durable.operators.trigger_dagrun import TriggerDagRunOperator as Operator
assert Operator(task_id="t", trigger_dag_id="c", retries=1, durable=False).start_timeout == "1h"
Operator(task_id="u", trigger_dag_id="c", retries=1, durable=True, start_timeout=60, on_parent_end="abandon")
for given in ({"durable": True, "on_parent_end": "abandon"}, {"durable": False, "start_timeout": "2h"}):
    try:
        Operator(task_id="v", trigger_dag_id="c", retries=1, **given)
    except ValueError as error:
        print(error, end=" | ")
print("end")
"""


def test_a_default_that_cannot_be_used_is_refused_only_where_it_is_used() -> None:
    configured = {"AIRFLOW__DURABLE__START_TIMEOUT": "1h", "AIRFLOW__DURABLE__ON_PARENT_END": "kill"}
    is_durable, is_not, _ = run_python(UNUSABLE, **configured).split(" | ")
    says = "start_timeout of task 'v' must be a number of seconds, more than 0, a timedelta or None, not"
    assert is_durable == f"{says} '1h'. It is the default in [durable]."
    assert is_not == f"{says} '2h'."


def test_the_class_is_the_stock_one_otherwise() -> None:
    assert issubclass(TriggerDagRunOperator, StockTriggerDagRunOperator)
    for name in ("template_fields", "template_fields_renderers", "ui_color", "operator_extra_links"):
        assert getattr(TriggerDagRunOperator, name) == getattr(StockTriggerDagRunOperator, name)
    assert Path(sys.modules[TriggerDagRunOperator.__module__].__file__ or "").name == "trigger_dagrun.py"
