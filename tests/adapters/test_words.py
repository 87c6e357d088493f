"""What people read: nothing untrue is promised, each line names its run, and errors are of the classes of stock's."""

from __future__ import annotations

import itertools
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk.exceptions import AirflowRuntimeError
from pendulum.parsing.exceptions import ParserError

from airflow_durable.core.errors import DurableError
from airflow_durable.core.stored import KEY
from airflow_durable.exceptions import as_airflow

from .dags import DEFER, FORGET, WAIT, each_mode, event_of, finish, killed_while_waiting, make_dag
from .supervisor import NOW, Run, ServerError, Supervisor, not_found
from .versions import needs_details, needs_retry_policy, needs_store, refuses_dates_early

if TYPE_CHECKING:
    from .supervisor import Outcome

FIXED: dict[str, Any] = {"trigger_run_id": "fixed"}
LAST: dict[str, Any] = {"try_number": 2, "max_tries": 1}
CLEARED: dict[str, Any] = {"try_number": 2, "max_tries": 4, "clear_number": 1}


def _fail_child(supervisor: Supervisor) -> dict[str, Any]:
    supervisor.on_sleep = lambda: supervisor.end_all("failed")
    return WAIT


def _delete_child(supervisor: Supervisor) -> dict[str, Any]:
    supervisor.on_sleep = supervisor.runs.clear
    return WAIT


def _refuse(supervisor: Supervisor) -> dict[str, Any]:
    supervisor.fail("TriggerDagRun", not_found("Dag"))
    return WAIT


def _lose_request(supervisor: Supervisor) -> dict[str, Any]:
    supervisor.fail("TriggerDagRun", ServerError(None), times=4)
    return WAIT


def _forbid_look(supervisor: Supervisor) -> dict[str, Any]:
    supervisor.fail("GetDagRunState", ServerError(403, "no"))
    return WAIT


def _refuse_conf(supervisor: Supervisor) -> dict[str, Any]:
    return {"conf": "{", **WAIT}


def _refuse_date(supervisor: Supervisor) -> dict[str, Any]:
    return {"logical_date": "soon", **WAIT}


def _refuse_run_id(supervisor: Supervisor) -> dict[str, Any]:
    return {"trigger_run_id": "a/b", **WAIT}


TROUBLES = {
    "the child failed": _fail_child,
    "the child was deleted": _delete_child,
    "refused": _refuse,
    "fate unknown": _lose_request,
    "look-up forbidden": _forbid_look,
    "conf": _refuse_conf,
    "date": _refuse_date,
    "run id": _refuse_run_id,
}


@pytest.mark.parametrize("trouble", TROUBLES.values(), ids=TROUBLES)
def test_no_next_try_is_promised_at_the_last_one(trouble: Any) -> None:  # noqa: ANN401 - a function
    first, last = Supervisor(), Supervisor()
    promised = finish(first, make_dag(retries=1, **trouble(first)))
    assert (promised.state, "next try" in str(promised.error)) == ("up_for_retry", True)
    final = finish(last, make_dag(retries=1, **trouble(last)), **LAST)
    assert (final.state, "next try" in str(final.error)) == ("failed", False)
    assert "lear" in str(final.error) or "orrect" in str(final.error), "it says what a person can do"


def _all_errors() -> list[type[DurableError]]:
    found: list[type[DurableError]] = []
    todo = [DurableError]
    while todo:
        found += (subclasses := todo.pop().__subclasses__())
        todo += subclasses
    return found


@pytest.mark.parametrize("error", _all_errors(), ids=lambda error: error.__name__)
def test_every_error_can_be_raised_by_airflow(error: type[DurableError]) -> None:
    """Whatever it is made of: each becomes one of Airflow's kinds, and terminal ones are not tried again."""
    made = error.__new__(error)
    DurableError.__init__(made, "What happened.", if_retried="The next try.", if_final="A person.")
    for has_next_try in (True, False):
        raised = as_airflow(made, has_next_try=has_next_try)
        is_promised = has_next_try and not error.is_terminal
        assert str(raised) == f"What happened. {'The next try.' if is_promised else 'A person.'}"


def test_a_fixed_identity_promises_no_run_that_there_cannot_be(supervisor: Supervisor) -> None:
    supervisor.on_sleep = lambda: supervisor.end_all("failed")
    outcome = finish(supervisor, make_dag(**FIXED, **WAIT))
    assert "starts a new run" not in str(outcome.error)


@needs_store
@each_mode
def test_a_fixed_run_whose_outcome_was_used(supervisor: Supervisor, mode: dict[str, Any]) -> None:
    """Success, then a clear: this task did start that run."""
    dag = make_dag(**FIXED, **mode)
    finish(supervisor, dag)
    outcome = finish(supervisor, dag, **CLEARED)
    state = supervisor.only_run().state
    assert outcome.state == "failed"
    assert str(outcome.error) == (
        f"Dag 'child' already has the run 'fixed'. This task started it before it was cleared; it is {state}, and "
        f"there can be no second run with a fixed trigger_run_id or logical_date. Nothing was triggered. If that run "
        f"has what this task asks for now, clear it and, while it is active, this task: it waits for that run. If the "
        f"conf or the date was edited, delete that run and clear this task: it starts the run again. Or set "
        f"reset_dag_run=True and clear this task: it resets that run, which keeps its conf."
    )


@needs_store
def test_a_failed_run_is_named_with_its_own_state(supervisor: Supervisor) -> None:
    dag = make_dag(**WAIT)
    supervisor.on_sleep = lambda: supervisor.end_all("failed")
    finish(supervisor, dag)
    supervisor.on_sleep = lambda: supervisor.end_all("success")
    outcome = finish(supervisor, dag, try_number=2)
    old, new = (run.run_id for run in supervisor.runs.values())
    (line,) = [line for line in outcome.log if "The run that an earlier try triggered failed" in line]
    assert f"run_id={old} state=failed" in line
    assert new not in line


# The log of a wait.


@pytest.mark.parametrize("mode", [WAIT, DEFER], ids=["wait", "defer"])
def test_the_log_says_where_the_child_is_and_how_it_ended(supervisor: Supervisor, mode: dict[str, Any]) -> None:
    outcome = finish(supervisor, make_dag(**mode))
    run_id = supervisor.only_run().run_id
    keys = f"dag_id=child run_id={run_id}"
    assert outcome.said(f"The child run: {keys}")
    assert outcome.said(f"The child run has done its part. {keys} state=success")


def test_the_log_has_the_url_of_the_child(supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_durable.task_sdk.url_of_run", lambda dag_id, run_id: f"http://ui/{dag_id}/{run_id}")
    outcome = finish(supervisor, make_dag(**WAIT))
    assert outcome.said(f"url=http://ui/child/{supervisor.only_run().run_id}")


def test_a_wait_says_each_change_of_state_and_a_line_now_and_then(supervisor: Supervisor) -> None:
    sleeps = itertools.count(1)

    def on_sleep() -> None:
        number = next(sleeps)
        if number == 40:
            supervisor.end_all("running")
        if number == 70:
            supervisor.end_all("success")

    def begin(state: str) -> None:
        for run in supervisor.runs.values():
            run.state = state

    supervisor.end_all = begin  # type: ignore[method-assign] # queued, then running, then success
    supervisor.on_sleep = on_sleep
    outcome = finish(supervisor, make_dag(**WAIT))
    assert outcome.state == "success"
    lines = [line for line in outcome.log if line.startswith("Waiting for the child run.")]
    states = [line.partition("state=")[2].split()[0] for line in lines]
    assert [state for state, _ in itertools.groupby(states)] == ["queued", "running", "success"]
    assert 5 <= len(lines) < 40, "not each poke is a line, and no wait is silent"
    assert all("waited=" in line for line in lines[1:])


@needs_details
@pytest.mark.parametrize(
    ("is_paused", "reason"), [(True, "its Dag is paused"), (False, "it is behind max_active_runs")], ids=str
)
def test_a_queued_child_says_why(supervisor: Supervisor, is_paused: bool, reason: str) -> None:  # noqa: FBT001
    supervisor.dags["child"] = is_paused
    sleeps = itertools.count()
    supervisor.on_sleep = lambda: supervisor.end_all("success") if next(sleeps) == 50 else None
    outcome = finish(supervisor, make_dag(**WAIT))
    assert outcome.said(f"reason={reason}")


# Small ones.


@pytest.mark.parametrize("is_durable", [True, False], ids=["durable", "stock"])
@pytest.mark.parametrize("word", ["record", "state", "is_missing"])
@pytest.mark.parametrize(("state", "end"), [("success", "success"), ("failed", "up_for_retry")])
def test_an_event_of_stock_whose_run_id_is_a_word_of_ours(
    supervisor: Supervisor,
    is_durable: bool,  # noqa: FBT001 - a parameter
    word: str,
    state: str,
    end: str,
) -> None:
    data = {"run_ids": [word], word: state, "states": ["success", "failed"], "poll_interval": 5}
    event = ("airflow.providers.standard.triggers.external_task.DagStateTrigger", data)
    dag = make_dag(durable=is_durable, trigger_run_id=word, **DEFER)
    assert supervisor.run(dag, event=event).state == end


@pytest.mark.parametrize("mode", [WAIT, DEFER], ids=["wait", "defer"])
def test_states_that_a_subclass_sets_as_texts(supervisor: Supervisor, mode: dict[str, Any]) -> None:
    dag = make_dag(**mode)
    task: Any = dag.task_dict["trigger"]
    task.allowed_states, task.failed_states = ["success"], ["failed"]
    assert finish(supervisor, dag).state == "success"


@pytest.mark.parametrize("mode", [WAIT, DEFER], ids=["wait", "defer"])
def test_a_conf_error_names_the_key_and_the_type(supervisor: Supervisor, mode: dict[str, Any]) -> None:
    dag = make_dag(**mode)
    task: Any = dag.task_dict["trigger"]
    task.conf = {"when": {"from": [1, datetime(2026, 1, 1, tzinfo=timezone.utc)]}}
    outcome = finish(supervisor, dag)
    assert "conf['when']['from'][1] is of type datetime" in str(outcome.error)


@needs_store  # Without it a fixed run id is left to the stock operator, whose link leads nowhere.
@each_mode
def test_a_foreign_run_is_linked(supervisor: Supervisor, mode: dict[str, Any]) -> None:
    """The link leads to the run that the message names, and listeners read its id."""
    supervisor.runs["child", "fixed"] = Run("child", "fixed", "running", NOW)
    outcome = finish(supervisor, make_dag(**FIXED, **mode))
    task: Any = outcome.task
    assert outcome.state == "failed"
    assert task.trigger_run_id == "fixed"
    assert supervisor.xcoms["_link_TriggerDagRunLink"].endswith("/dags/child/runs/fixed")


# Classes of errors.


def _class_of(outcome: Outcome) -> BaseException:
    assert outcome.error is not None
    return outcome.error


@each_mode
@pytest.mark.parametrize(
    ("kwargs", "kind"),
    [
        ({"conf": "{"}, ValueError),
        ({"conf": "[1]"}, ValueError),
        ({"logical_date": "soon"}, ParserError),
        pytest.param(
            {"logical_date": 5},
            TypeError,
            marks=pytest.mark.skipif(refuses_dates_early(), reason="the stock operator's constructor refuses it"),
        ),
        ({"trigger_run_id": "a/b"}, ValueError),
        ({"trigger_dag_id": "unknown"}, AirflowRuntimeError),
    ],
    ids=str,
)
def test_an_error_is_also_of_the_class_of_stock(
    supervisor: Supervisor, mode: dict[str, Any], kwargs: dict[str, Any], kind: type[Exception]
) -> None:
    outcome = finish(supervisor, make_dag(**kwargs, **mode))
    assert isinstance(_class_of(outcome), kind)
    assert outcome.state == "up_for_retry"


@pytest.mark.parametrize("mode", [WAIT, DEFER], ids=["wait", "defer"])
def test_a_child_that_is_gone_is_also_of_the_class_of_stock(supervisor: Supervisor, mode: dict[str, Any]) -> None:
    supervisor.on_sleep = supervisor.runs.clear
    assert isinstance(_class_of(finish(supervisor, make_dag(**mode))), AirflowRuntimeError)


@needs_retry_policy
@pytest.mark.parametrize(
    ("kwargs", "kind"),
    [
        ({"conf": "{"}, ValueError),
        ({"logical_date": "soon"}, ParserError),
        ({"trigger_dag_id": "x"}, AirflowRuntimeError),
    ],
    ids=["conf", "date", "Dag"],
)
def test_a_rule_of_a_retry_policy_matches(
    supervisor: Supervisor, kwargs: dict[str, Any], kind: type[BaseException]
) -> None:
    from airflow.sdk.definitions.retry_policy import ExceptionRetryPolicy, RetryAction, RetryRule

    policy = ExceptionRetryPolicy(rules=[RetryRule(exception=kind, action=RetryAction.FAIL)])
    assert finish(supervisor, make_dag(retry_policy=policy, **kwargs, **WAIT)).state == "failed"


@needs_store
@pytest.mark.parametrize("name", ["GetTaskStateStore", "SetTaskStateStore"])
def test_trouble_with_the_store_is_trouble_with_the_server(supervisor: Supervisor, name: str) -> None:
    dag = make_dag(**WAIT)
    killed_while_waiting(supervisor, dag)
    supervisor.fail(name, ServerError(503, "away"), times=4)
    assert isinstance(_class_of(finish(supervisor, dag, try_number=2)), AirflowRuntimeError)
    assert KEY in supervisor.store


def test_an_event_that_is_of_no_known_form_is_ours_to_refuse(supervisor: Supervisor) -> None:
    dag = make_dag(**DEFER)
    class_path, event = event_of(supervisor, supervisor.run(dag))
    outcome = supervisor.run(dag, event=(class_path, {**event, "record": None}))
    assert "cannot be understood" in str(outcome.error)
    assert finish(supervisor, make_dag(**FORGET), try_number=2).state == "success"
    assert len(supervisor.runs) == 1


@needs_store
@pytest.mark.parametrize("is_skip", [True, False], ids=["skip", "fail"])
def test_a_run_that_only_has_the_date_is_not_linked_under_an_id_that_does_not_exist(
    supervisor: Supervisor,
    is_skip: bool,  # noqa: FBT001 - a parameter
) -> None:
    supervisor.runs["child", "scheduled"] = Run("child", "scheduled", "running", NOW)
    dag = make_dag(trigger_run_id="fixed", logical_date=NOW, skip_when_already_exists=is_skip, **WAIT)
    assert finish(supervisor, dag).state == ("skipped" if is_skip else "failed")
    assert "trigger_run_id" not in supervisor.xcoms
