"""What the how-to pages give to copy does what it says."""

from __future__ import annotations

import inspect
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_durable import TriggerDagRunOperator
from airflow_durable.core.errors import ChildRunFailedError, JournalReadError
from airflow_durable.exceptions import as_airflow

from .blocks import blocks


def _namespace(page: str, *, is_whole: bool = True) -> dict[str, Any]:
    """Return what the page's Python defines."""
    namespace: dict[str, Any] = {}
    for block in blocks():
        is_taken = block.page.name == page and block.language == "python" and block.reason is None
        if is_taken and (is_whole or "DAG(" not in block.text):
            exec(compile(block.text, page, "exec"), namespace)  # noqa: S102 - our own pages
    return namespace


def test_the_check_of_a_dag_file() -> None:
    """It passes where all is well, and finds a task that is not durable or has no retries, mapped or not."""
    check = _namespace("test.md")["check_triggers"]
    given: dict[str, Any] = {"task_id": "run", "trigger_dag_id": "child"}
    with DAG("good", schedule=None) as good:
        TriggerDagRunOperator(**given, durable=True, retries=1)
        TriggerDagRunOperator.partial(task_id="each", trigger_dag_id="child", durable=True, retries=1).expand(conf=[{}])
    check(good)
    with DAG("not_durable", schedule=None) as not_durable:
        TriggerDagRunOperator(**given, retries=1)
    with DAG("no_retries", schedule=None) as no_retries:
        TriggerDagRunOperator.partial(**given, durable=True).expand(conf=[{}])
    for dag in (not_durable, no_retries):
        with pytest.raises(AssertionError):
            check(dag)


def test_the_check_of_a_request() -> None:
    """The test that the page shows passes, and the log line that it speaks of is logged."""
    _namespace("test.md")["test_the_conf"]()


def test_the_warning_and_the_parameter_exist() -> None:
    """Pytest's filter names our class; `dag.test()` has the parameter."""
    from airflow_durable.operators.trigger_dagrun import DurableRetriesWarning

    assert issubclass(DurableRetriesWarning, Warning)
    assert "mark_success_pattern" in inspect.signature(DAG.test).parameters


def test_the_alert_goes_to_the_right_people() -> None:
    """A child that failed is the data team's, anything else the platform's."""
    namespace = _namespace("alert.md")
    sent: list[str] = []
    namespace["send"] = lambda team, _: sent.append(team)
    failed = ChildRunFailedError("child", "run", "failed", is_awaited=True, is_fixed=False, is_reset=False)
    for error in (failed, JournalReadError("away")):
        raised = as_airflow(error, has_next_try=False)
        namespace["alert"]({"exception": raised, "ti": SimpleNamespace(dag_id="parent", task_id="run")})
    assert sent == ["data", "platform"]


def test_the_subclasses_can_be_made() -> None:
    """They take what they say, and the operator's own parameters."""
    namespace = _namespace("subclass.md")
    task = namespace["TriggerAndPublish"](task_id="run", trigger_dag_id="child", channel="#data", durable=True)
    assert "channel" in task.template_fields
    namespace["DeferAndPublish"](task_id="run", trigger_dag_id="child", deferrable=True, durable=True)
