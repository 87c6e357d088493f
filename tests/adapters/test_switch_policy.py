"""The policy, as Airflow calls it when it parses a Dag file: what it makes durable, what it leaves, what it logs."""

from __future__ import annotations

import copy
import json
import logging
import pickle
import re
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator as StockTriggerDagRunOperator
from airflow.sdk import DAG

from airflow_durable import policy
from airflow_durable.operators import parameters
from airflow_durable.operators.trigger_dagrun import TriggerDagRunOperator
from airflow_durable.switch import apply
from airflow_durable.switch.classes import make_durable
from airflow_durable.switch.classify import classify
from airflow_durable.switch.settings import Mode, Switch
from airflow_durable.switch.verdict import Kind

from .bags import local_settings, options, options_file, parse, parse_all
from .versions import dag_serialization, policy_manager

EVERY_FORM = """
class Mine(TriggerDagRunOperator):
    template_fields = (*TriggerDagRunOperator.template_fields, "customer")
    ui_color = "#123456"

    def __init__(self, *, customer, **kwargs):
        super().__init__(conf={"customer": customer}, **kwargs)
        self.customer = customer

    def execute(self, context):
        return super().execute(context)

    def execute_complete(self, context, event):
        return super().execute_complete(context, event)

with DAG("etl", schedule=None, default_args={"retries": 1}):
    plain = TriggerDagRunOperator(task_id="plain", trigger_dag_id="child", wait_for_completion=True)
    TriggerDagRunOperator.partial(task_id="mapped", trigger_dag_id="child").expand(conf=[{"a": 1}, {"a": 2}])
    with TaskGroup("group"):
        TriggerDagRunOperator(task_id="deferred", trigger_dag_id="child", deferrable=True) >> plain
    Mine(task_id="mine", customer="a", trigger_dag_id="{{ ds }}")
    Mine.partial(task_id="mine_mapped", trigger_dag_id="child").expand(customer=["a", "b"])
    EmptyOperator(task_id="other")
"""
TRIGGERS = ["group.deferred", "mapped", "mine", "mine_mapped", "plain"]
ONE_TASK = """
with DAG("etl", schedule=None, tags={tags}):
    TriggerDagRunOperator(task_id="trigger", trigger_dag_id="child", wait_for_completion=True)
"""


def durable_tasks(dag: Any) -> list[str]:  # noqa: ANN401 - Airflow's Dag
    """Return the ids of the tasks that run durably, as they would run."""
    tasks = [as_run(task) for task in dag.tasks]
    return sorted(task.task_id for task in tasks if isinstance(task, TriggerDagRunOperator) and task.durable)


def as_run(task: Any) -> Any:  # noqa: ANN401 - an operator
    """Return a task as a worker has it: of a mapped one, the first instance."""
    if not task.is_mapped:
        return task
    return task.unmap({name: value[0] for name, value in task.expand_input.value.items()})


def one_task(*tags: str) -> str:
    """Return the code of a Dag with one stock task."""
    return ONE_TASK.format(tags=list(tags))


def test_airflow_finds_it() -> None:
    assert policy_manager().get_plugin("durable_switch") is policy


def test_it_is_off_by_default(tmp_path: Path) -> None:
    with options():
        dag = parse(tmp_path, EVERY_FORM)
    assert durable_tasks(dag) == []
    assert type(dag.get_task("plain")) is StockTriggerDagRunOperator


def test_every_form_of_a_stock_task_becomes_durable(tmp_path: Path) -> None:
    with options(stock_operators="durable"):
        dag = parse(tmp_path, EVERY_FORM)
    assert durable_tasks(dag) == TRIGGERS
    plain: Any = dag.get_task("plain")
    assert (plain.on_clear, plain.wait_for_completion, plain.retries) == ("auto", True, 1)
    mine = dag.get_task("mine_mapped").unmap({"customer": "a"})
    assert (mine.customer, mine.conf, type(mine).__name__) == ("a", {"customer": "a"}, "Mine")  # type: ignore[attr-defined]


def test_the_serialized_dag_is_the_same_to_the_letter(tmp_path: Path) -> None:
    """So turning the switch on makes no new version of a Dag, and its dependencies and links are what they were."""
    serialize, _ = dag_serialization()
    forms = []
    for mode in ("as_is", "report", "durable"):
        with options(stock_operators=mode):
            forms.append(json.dumps(serialize(parse(tmp_path, EVERY_FORM)), sort_keys=True))
    assert forms[0] == forms[1] == forms[2]
    assert "TriggerDagRunLink" in forms[0]
    assert '"dependency_type": "trigger"' in forms[0]


def test_classes_keep_what_others_know_them_by(tmp_path: Path) -> None:
    for mode in ("as_is", "durable"):
        with options(stock_operators=mode):
            dag = parse(tmp_path, EVERY_FORM)
        for task_id, name in (("plain", "TriggerDagRunOperator"), ("mine", "Mine")):
            task: Any = dag.get_task(task_id)
            assert isinstance(task, StockTriggerDagRunOperator)
            assert task.task_type == type(task).__qualname__ == name
            assert type(task).__module__ in {
                StockTriggerDagRunOperator.__module__,
                type(dag.get_task("mine")).__module__,
            }
    assert (task.ui_color, task.template_fields[-1]) == ("#123456", "customer")
    assert type(task).__doc__ is None
    assert dag.get_task("plain").operator_extra_links == StockTriggerDagRunOperator.operator_extra_links


def test_two_tasks_of_a_class_are_of_one_class(tmp_path: Path) -> None:
    with options(stock_operators="durable"):
        dag = parse(tmp_path, EVERY_FORM)
    assert dag.get_task("plain").operator_class is dag.get_task("mapped").operator_class
    assert dag.get_task("mine").operator_class is dag.get_task("mine_mapped").operator_class


def test_copies_of_a_task_are_durable(tmp_path: Path) -> None:
    with options(stock_operators="durable"):
        dag = parse(tmp_path, EVERY_FORM)
    plain: Any = dag.get_task("plain")
    part: Any = dag.partial_subset("plain")
    constructor, arguments, state = plain.__reduce_ex__(4)
    assert pickle.loads(pickle.dumps((constructor, arguments)))[1] == (StockTriggerDagRunOperator,)  # noqa: S301 - ours
    rebuilt = constructor(*arguments)
    rebuilt.__setstate__(state)
    for task in (copy.copy(plain), copy.deepcopy(plain), part.get_task("plain"), rebuilt):
        assert type(task) is type(plain)
        assert task.durable


def test_a_dag_with_a_mapped_task_can_be_pickled() -> None:
    """Other tasks of it may do that: a ``PythonVirtualenvOperator`` whose function takes ``dag`` or ``**kwargs``."""
    with DAG("etl", schedule=None) as dag:
        StockTriggerDagRunOperator.partial(task_id="mapped", trigger_dag_id="child").expand(conf=[{}])
        EmptyOperator(task_id="other")
    apply.apply_switch(dag, Switch(mode=Mode.DURABLE))
    pickled: Any = pickle.loads(pickle.dumps(dag))  # noqa: S301 - ours
    assert durable_tasks(pickled) == ["mapped"]
    assert pickled.get_task("mapped").operator_class is dag.get_task("mapped").operator_class
    for operator_class in (StockTriggerDagRunOperator, TriggerDagRunOperator, EmptyOperator):
        assert pickle.loads(pickle.dumps(operator_class)) is operator_class  # noqa: S301 - ours


def test_our_own_operator_is_left_alone(tmp_path: Path) -> None:
    code = """
    from airflow_durable import TriggerDagRunOperator as Ours
    with DAG("etl", schedule=None):
        for durable in (True, False):
            Ours(task_id=f"ours_{durable}", trigger_dag_id="child", durable=durable, retries=1)
    """
    with options(stock_operators="durable"):
        dag = parse(tmp_path, code)
    assert durable_tasks(dag) == ["ours_True"]
    assert {task.operator_class for task in dag.tasks} == {TriggerDagRunOperator}
    kinds = [classify(dag.get_task(f"ours_{durable}"), Switch()).kind for durable in (True, False)]
    assert kinds == [Kind.DURABLE, Kind.NOT_DURABLE]


# What is left alone.


@pytest.mark.parametrize(
    ("further", "durable"),
    [
        ({"stock_operators_except": "etl.mapped, *.group.*"}, ["mine", "mine_mapped", "plain"]),
        ({"stock_operators_only": "etl.plain"}, ["plain"]),
        ({"stock_subclasses": "as_is"}, ["group.deferred", "mapped", "plain"]),
        ({"stock_operators_except": "e?l"}, []),
    ],
    ids=["except", "only", "subclasses", "whole Dag"],
)
def test_the_options_leave_tasks_alone(tmp_path: Path, further: dict[str, str], durable: list[str]) -> None:
    with options(stock_operators="durable", **further):
        assert durable_tasks(parse(tmp_path, EVERY_FORM)) == durable


def test_the_tag_leaves_a_dag_alone(tmp_path: Path) -> None:
    with options(stock_operators="durable"):
        assert durable_tasks(parse(tmp_path, one_task("a", "not-durable"))) == []
        assert durable_tasks(parse(tmp_path, one_task("a"))) == ["trigger"]


def test_what_our_operator_would_refuse_is_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A Dag that is imported without the switch is imported with it."""
    code = one_task().replace("wait_for_completion", "poke_interval='soon', wait_for_completion")
    with options(stock_operators="durable"), caplog.at_level(logging.INFO, "airflow_durable"):
        assert durable_tasks(parse(tmp_path, code)) == []
    assert "left as they are: trigger (its poke_interval is 'soon'" in caplog.text


@pytest.mark.parametrize("mode", ["report", "durable"])
def test_defaults_that_cannot_be_used_leave_every_task_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    monkeypatch.setitem(parameters.DEFAULTS, "start_timeout", "soon")
    parameters.why_defaults_unusable.cache_clear()
    try:
        with options(stock_operators=mode), caplog.at_level(logging.INFO, "airflow_durable"):
            assert durable_tasks(parse(tmp_path, one_task())) == []
    finally:
        parameters.why_defaults_unusable.cache_clear()
    assert "as they are: trigger (a default in [durable] cannot be used: start_timeout" in caplog.text


def test_no_retries_are_no_warning(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    """The Dag author has not asked for it."""
    with options(stock_operators="durable"):
        assert durable_tasks(parse(tmp_path, one_task())) == ["trigger"]
    assert [str(warning.message) for warning in recwarn if "durable" in str(warning.message)] == []


@pytest.mark.parametrize(("minimum", "retries"), [("0", [1, 1, 1, 1, 1]), ("3", [3, 3, 3, 3, 3])])
def test_min_retries(tmp_path: Path, minimum: str, retries: list[int]) -> None:
    with options(stock_operators="durable", stock_operators_min_retries=minimum):
        dag = parse(tmp_path, EVERY_FORM)
    assert [dag.get_task(task_id).retries for task_id in TRIGGERS] == retries
    assert dag.get_task("other").retries == 1


@pytest.mark.parametrize(("minimum", "retries"), [("0", None), ("2", 2)])
def test_a_mapped_task_whose_retries_are_none(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, minimum: str, retries: int | None
) -> None:
    """Of a mapped task, Airflow leaves None as it is."""
    code = """
    with DAG("etl", schedule=None):
        TriggerDagRunOperator.partial(task_id="mapped", trigger_dag_id="child", retries=None).expand(conf=[{}])
    """
    with (
        options(stock_operators="durable", stock_operators_min_retries=minimum),
        caplog.at_level(logging.INFO, "airflow_durable"),
    ):
        dag = parse(tmp_path, code)
    assert dag.get_task("mapped").retries == retries
    assert "left as they are" not in caplog.text


# The deployment's own policies.


def test_the_policies_of_the_deployment_have_the_last_word(tmp_path: Path) -> None:
    seen = {}

    def task_policy(task: Any) -> None:  # noqa: ANN401 - Airflow's
        seen[task.task_id] = isinstance(task, StockTriggerDagRunOperator) and task.task_type
        if task.task_id == "plain":
            task.durable = False
        if task.task_id == "mapped":
            task.partial_kwargs["durable"] = False
        if task.task_id == "mine":
            task.retries = 0

    with options(stock_operators="durable", stock_operators_min_retries="2"), local_settings(task_policy=task_policy):
        dag = parse(tmp_path, EVERY_FORM)
    assert seen["plain"] == "TriggerDagRunOperator"
    assert durable_tasks(dag) == ["group.deferred", "mine", "mine_mapped"]
    assert (dag.get_task("mine").retries, dag.get_task("mine_mapped").retries) == (0, 2)


def test_the_policies_of_the_documentation(tmp_path: Path) -> None:
    """They leave out what they say, mapped tasks too."""
    page = (Path(__file__).parents[2] / "docs/whole-deployment.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(def dag_policy.*?)```", page, re.DOTALL)
    policies: dict[str, Any] = {}
    exec(code, policies)  # noqa: S102 - our own page
    given = {name: policies[name] for name in ("dag_policy", "task_policy")}
    with options(stock_operators="durable"), local_settings(**given):
        dag = parse(
            tmp_path,
            """
            with DAG("etl", schedule=None):
                TriggerDagRunOperator(task_id="old", trigger_dag_id="child", pool="legacy")
                partial = TriggerDagRunOperator.partial(task_id="old_mapped", trigger_dag_id="child", pool="legacy")
                partial.expand(conf=[{}])
                TriggerDagRunOperator(task_id="plain", trigger_dag_id="child")
            """,
        )
        assert durable_tasks(dag) == ["plain"]


@pytest.mark.parametrize(
    "given",
    [{"run_timeout": 7200}, {"start_timeout": "30m"}, {"result": "a"}, {"on_clear": "?"}, {"durable": "yes"}],
    ids=str,
)
def test_default_args_that_are_meant_for_other_operators(tmp_path: Path, given: dict[str, Any]) -> None:
    """Airflow gives them to a mapped task on the worker, whatever its class makes of them."""
    code = f"""
    with DAG("etl", schedule=None, default_args={given!r}):
        TriggerDagRunOperator.partial(task_id="mapped", trigger_dag_id="child").expand(conf=[{{}}])
        TriggerDagRunOperator(task_id="plain", trigger_dag_id="child")
    """
    with options(stock_operators="durable"):
        dag = parse(tmp_path, code)
        for task in map(as_run, dag.tasks):
            assert (task.durable, task.run_timeout, task.result, task.on_clear) == (True, None, None, "auto")


def test_a_dag_policy_of_the_deployment_can_opt_out(tmp_path: Path) -> None:
    def dag_policy(dag: Any) -> None:  # noqa: ANN401 - Airflow's
        dag.tags.add("not-durable")

    with options(stock_operators="durable"), local_settings(dag_policy=dag_policy):
        assert durable_tasks(parse(tmp_path, EVERY_FORM)) == []


def test_a_dag_policy_of_the_deployment_can_leave_a_task_out(tmp_path: Path) -> None:
    def dag_policy(dag: Any) -> None:  # noqa: ANN401 - Airflow's
        dag.get_task("plain").durable = False

    with options(stock_operators="durable"), local_settings(dag_policy=dag_policy):
        dag = parse(tmp_path, EVERY_FORM)
    assert durable_tasks(dag) == [task_id for task_id in TRIGGERS if task_id != "plain"]


def test_a_policy_of_the_deployment_can_still_refuse_a_dag(tmp_path: Path) -> None:
    def task_policy(task: Any) -> None:  # noqa: ANN401 - Airflow's
        from airflow.exceptions import AirflowClusterPolicyViolation

        message = f"no {task.task_type} here"
        raise AirflowClusterPolicyViolation(message)

    with options(stock_operators="durable"), local_settings(task_policy=task_policy):
        dags, errors = parse_all(tmp_path, one_task())
    assert dags == {}
    assert "no TriggerDagRunOperator here" in str(errors)


# It never fails the import of a Dag.


@pytest.mark.parametrize(
    "further",
    [
        {"stock_operators": "yes, please"},
        {"stock_operators": "%(nothing)s"},
        {"stock_operators": "durable", "stock_operators_except": "%(nothing)s"},
    ],
    ids=["wrong", "unreadable", "unreadable list"],
)
def test_wrong_options_turn_it_off_and_say_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, further: dict[str, str]
) -> None:
    with options_file(**further):
        parse(tmp_path, one_task())
        assert durable_tasks(parse(tmp_path, one_task())) == []
    # Once in a process, not once a Dag.
    (line,) = [record for record in caplog.records if record.name == "airflow_durable.policy"]
    assert line.levelname == "WARNING"
    assert "counts as as_is" in line.getMessage()


def test_an_error_of_ours_leaves_the_dag_as_it_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:  # noqa: ANN401 - whatever it gets
        message = "a bug"
        raise RuntimeError(message)

    monkeypatch.setattr(apply, "classify", fail)
    with options(stock_operators="durable"):
        assert durable_tasks(parse(tmp_path, one_task())) == []
    assert "Dag 'etl' stays as it is" in caplog.text
    assert "a bug" in caplog.text


def test_an_error_with_one_task_leaves_that_one_as_it_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(task: Any) -> None:  # noqa: ANN401 - an operator
        if task.task_id == "plain":
            message = "a bug"
            raise RuntimeError(message)
        make_durable(task)

    monkeypatch.setattr("airflow_durable.switch.apply.make_durable", fail)
    with options(stock_operators="durable"), caplog.at_level(logging.INFO, "airflow_durable"):
        dag = parse(tmp_path, EVERY_FORM)
    assert durable_tasks(dag) == [task_id for task_id in TRIGGERS if task_id != "plain"]
    assert type(dag.get_task("plain")) is StockTriggerDagRunOperator
    assert "plain (RuntimeError when its class was exchanged: a bug)" in caplog.text


def test_a_dag_that_cannot_be_imported_is_reported_as_ever(tmp_path: Path) -> None:
    with options(stock_operators="durable"):
        dags, errors = parse_all(tmp_path, one_task() + "\n1 / 0\n")
    assert dags == {}
    assert "ZeroDivisionError" in str(errors)


# What is logged.


def test_report_changes_nothing_and_says_what_it_would_do(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with (
        options(stock_operators="report", stock_operators_except="etl.mapped"),
        caplog.at_level(logging.INFO, "airflow_durable"),
    ):
        dag = parse(tmp_path, EVERY_FORM)
    assert durable_tasks(dag) == []
    (line,) = [record.getMessage() for record in caplog.records if record.name.startswith("airflow_durable")]
    assert line == (
        "Dag 'etl': [durable] stock_operators = durable would make durable: plain, group.deferred, mine, mine_mapped; "
        "would leave as they are: mapped ([durable] stock_operators_except has 'etl.mapped')."
    )


def test_many_tasks_are_one_short_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    code = """
    with DAG("etl", schedule=None):
        for number in range(200):
            TriggerDagRunOperator(task_id=f"task_{number}", trigger_dag_id="child")
    """
    with options(stock_operators="report"), caplog.at_level(logging.INFO, "airflow_durable"):
        parse(tmp_path, code)
    (line,) = [record.getMessage() for record in caplog.records if record.name.startswith("airflow_durable")]
    assert line.endswith("task_9 and 190 more.")


@pytest.mark.parametrize("mode", ["report", "durable"])
def test_a_dag_without_such_tasks_is_not_worth_a_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, mode: str
) -> None:
    code = """
    with DAG("etl", schedule=None):
        EmptyOperator(task_id="other")
    """
    with options(stock_operators=mode), caplog.at_level(logging.DEBUG, "airflow_durable"):
        parse(tmp_path, code)
    assert [record for record in caplog.records if record.name.startswith("airflow_durable")] == []
