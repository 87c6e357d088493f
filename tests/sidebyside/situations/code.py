"""Code of users: subclasses, hooks, retry policies, unit tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from unittest import mock

from airflow.providers.standard.operators.trigger_dagrun import DagIsPaused
from airflow.sdk.exceptions import AirflowRuntimeError

from airflow_durable.compat import AirflowException
from tests.adapters.dags import DEFER, WAIT

from .conflicts import FAIL_IF_PAUSED, FIXED, id_taken, paused
from .model import RETRY_POLICY, Situation, Try
from .subclasses import (
    AfterExecute,
    AroundExecute,
    BeforeExecute,
    CatchingEverything,
    CatchingTheRequest,
    CompleteFails,
    CompleteReturns,
    ExecuteReturns,
    TwoCalls,
    WithHooks,
    complete,
    derived,
    with_plain_states,
)
from .waits import FAILS

if TYPE_CHECKING:
    from collections.abc import Mapping

STOCK_EVENT = ("airflow.providers.standard.triggers.external_task.DagStateTrigger", {"run_ids": ["a"], "a": "success"})


def policy(name: str, exception: type[BaseException], arguments: Mapping[str, Any], **more: Any) -> Situation:  # noqa: ANN401
    """Return the situation in which a rule on a class of errors forbids a retry."""
    if not RETRY_POLICY.is_there:
        return Situation(name, arguments, need=RETRY_POLICY)
    from airflow.sdk.definitions.retry_policy import ExceptionRetryPolicy, RetryAction, RetryRule

    rule = RetryRule(exception=exception, action=RetryAction.FAIL, reason="a rule")
    return Situation(name, {**arguments, "retry_policy": ExceptionRetryPolicy(rules=[rule])}, **more)


def fails(context: Any) -> None:  # noqa: ANN401 - Airflow's
    message = "a hook fails"
    raise ValueError(message)


SITUATIONS = (
    policy("a policy for AirflowException, the child fails", AirflowException, WAIT, tries=FAILS),
    policy("a policy for AirflowException, the child fails, deferred", AirflowException, DEFER, tries=FAILS),
    policy("a policy for AirflowException, there is no such Dag", AirflowException, {"trigger_dag_id": "unknown"}),
    policy(
        "a policy for AirflowRuntimeError, there is no such Dag", AirflowRuntimeError, {"trigger_dag_id": "unknown"}
    ),
    policy("a policy for ValueError, the conf is not JSON", ValueError, {"conf": "{a"}),
    policy("a policy for ValueError, the logical date is no date", ValueError, {"logical_date": "soon"}),
    policy("a policy for TypeError, the logical date is of a wrong type", TypeError, {"logical_date": 5}),
    policy("a policy for DagIsPaused", DagIsPaused, {**FAIL_IF_PAUSED, **WAIT}, server=paused),
    policy("a policy for another class", KeyError, WAIT, tries=FAILS),
    policy("a policy, and the run id is taken", AirflowException, {**FIXED, **WAIT}, server=id_taken("running")),
    Situation("pre_execute fails", {**WAIT, "pre_execute": fails}),
    Situation("post_execute fails", {**WAIT, "post_execute": lambda context, result: fails(context)}),
    Situation("the callback of success fails", {**WAIT, "on_success_callback": fails}),
    Situation("a subclass with hooks", WAIT, derive=derived(WithHooks)),
    Situation("a subclass with hooks, deferred", DEFER, derive=derived(WithHooks)),
    Situation("a subclass that changes the conf before it executes", WAIT, derive=derived(BeforeExecute)),
    Situation("a subclass that works after it has executed", WAIT, derive=derived(AfterExecute)),
    Situation("a subclass that works after it has executed, fire and forget", {}, derive=derived(AfterExecute)),
    Situation("a subclass that cleans up after it has executed", WAIT, derive=derived(AroundExecute)),
    Situation("a subclass that catches every error", WAIT, derive=derived(CatchingEverything)),
    Situation(
        "a subclass that catches every error, and the child fails", WAIT, FAILS, derive=derived(CatchingEverything)
    ),
    Situation("a subclass that catches the request itself", WAIT, derive=derived(CatchingTheRequest)),
    Situation("a subclass that returns a value", WAIT, derive=derived(ExecuteReturns)),
    Situation("a subclass that triggers twice", {}, derive=derived(TwoCalls)),
    Situation("a subclass whose execute_complete returns a value", DEFER, derive=derived(CompleteReturns)),
    Situation("a subclass whose execute_complete fails", DEFER, derive=derived(CompleteFails)),
    Situation(
        "a subclass whose execute_complete fails, over two tries", DEFER, (Try(), Try(2)), derive=derived(CompleteFails)
    ),
    Situation("a subclass that sets states as text", WAIT, derive=with_plain_states),
    Situation("a subclass that sets states as text, deferred", DEFER, derive=with_plain_states),
    Situation(
        "a subclass that sets states as text, and the child fails",
        WAIT,
        (Try(child=["failed"]),),
        derive=with_plain_states,
    ),
    Situation("a unit test with an empty context", {}, direct=lambda operator: operator.execute(context={})),
    Situation("a unit test with an empty context, waiting", WAIT, direct=lambda operator: operator.execute(context={})),
    Situation(
        "a unit test with an empty context, deferred", DEFER, direct=lambda operator: operator.execute(context={})
    ),
    Situation(
        "a unit test with a mock of the task instance",
        WAIT,
        direct=lambda operator: operator.execute({"ti": mock.MagicMock(), "task_instance": mock.MagicMock()}),
    ),
    Situation(
        "a unit test of a conf that is not JSON", {"conf": {"a": {1}}}, direct=lambda operator: operator.execute({})
    ),
    Situation("a unit test of a resumption", DEFER, direct=lambda operator: complete(operator, STOCK_EVENT)),
    Situation(
        "a unit test of a resumption of a failed child",
        DEFER,
        direct=lambda operator: complete(operator, (STOCK_EVENT[0], {"run_ids": ["a"], "a": "failed"})),
    ),
)
