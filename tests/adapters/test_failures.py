"""Each failure that a user meets: what happened, to which run, what to do; nothing is started, nor started twice."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.standard.operators.trigger_dagrun import DagIsPaused

from airflow_durable.compat import AirflowException, AirflowFailException

from .dags import DEFER, WAIT, each_mode, event_of, finish, killed_while_waiting, make_dag
from .supervisor import Run, ServerError, Supervisor, not_found
from .versions import needs_pause_check, needs_store, without_store

if TYPE_CHECKING:
    from .supervisor import Outcome

SECRET = "hunter2"
FIXED: dict[str, Any] = {"trigger_run_id": "fixed"}


def said(outcome: Outcome, *parts: str, state: str) -> None:
    """See that the attempt ended so, and that its message has all the parts."""
    assert outcome.state == state, outcome.error
    for part in parts:
        assert part in str(outcome.error)
    assert isinstance(outcome.error, AirflowException)
    assert isinstance(outcome.error, AirflowFailException) is (state == "failed")
    # The log has the same words.
    assert outcome.said(str(outcome.error))


@pytest.mark.parametrize("mode", [WAIT, DEFER], ids=["wait", "defer"])
def test_the_child_failed(supervisor: Supervisor, mode: dict[str, Any]) -> None:
    supervisor.on_sleep = lambda: supervisor.end_all("failed")
    outcome = finish(supervisor, make_dag(**mode))
    run_id = supervisor.only_run().run_id
    said(
        outcome,
        f"Child run {run_id!r} of Dag 'child' ended in the failed state 'failed'",
        "Open that run to find the cause. The next try of this task starts a new run.",
        state="up_for_retry",
    )


@pytest.mark.parametrize("mode", [WAIT, DEFER], ids=["wait", "defer"])
def test_the_child_was_deleted(supervisor: Supervisor, mode: dict[str, Any]) -> None:
    supervisor.on_sleep = supervisor.runs.clear
    outcome = finish(supervisor, make_dag(**mode))
    said(outcome, "of Dag 'child' does not exist any more", "starts it again under the same", state="up_for_retry")
    assert supervisor.xcoms["trigger_run_id"] in str(outcome.error)


@needs_store
@each_mode
def test_a_foreign_run_has_the_fixed_id(supervisor: Supervisor, mode: dict[str, Any]) -> None:
    supervisor.runs["child", "fixed"] = Run("child", "fixed", "running")
    outcome = finish(supervisor, make_dag(**FIXED, **mode))
    said(
        outcome,
        "Dag 'child' already has a run 'fixed', and it is not known that this task started it. It is running.",
        "Nothing was triggered.",
        "Choose another trigger_run_id or logical_date, delete that run, or set skip_when_already_exists or",
        state="failed",
    )
    assert (supervisor.states(), supervisor.only_run().clear_number) == (["running"], 0)


@needs_store
def test_a_foreign_run_has_the_fixed_date(supervisor: Supervisor) -> None:
    date = datetime.fromisoformat("2025-06-01T00:00:00+00:00")
    supervisor.runs["child", "scheduled"] = Run("child", "scheduled", "running", logical_date=date)
    outcome = finish(supervisor, make_dag(logical_date=date, **WAIT))
    said(
        outcome,
        "Dag 'child' already has a run with the logical date 2025-06-01",
        "Choose another logical_date, delete that run",
        state="failed",
    )
    assert supervisor.states() == ["running"]


@needs_store
@pytest.mark.parametrize("mode", [WAIT, DEFER], ids=["wait", "defer"])
def test_the_run_under_the_fixed_id_failed(supervisor: Supervisor, mode: dict[str, Any]) -> None:
    supervisor.on_sleep = lambda: supervisor.end_all("failed")
    dag = make_dag(**FIXED, **mode)
    assert finish(supervisor, dag).state == "up_for_retry"
    said(
        finish(supervisor, dag, try_number=2),
        "Child run 'fixed' of Dag 'child' is failed, and its trigger_run_id or logical_date is fixed",
        "If that run has what this task asks for now, clear it and, while it is active, this task",
        state="failed",
    )
    assert (supervisor.states(), supervisor.only_run().clear_number) == (["failed"], 0)


@needs_store
def test_what_that_message_says_to_do_works(supervisor: Supervisor) -> None:
    supervisor.on_sleep = lambda: supervisor.end_all("failed")
    dag = make_dag(**FIXED, **WAIT)
    finish(supervisor, dag)
    finish(supervisor, dag, try_number=2)
    supervisor.only_run().state = "queued"
    supervisor.on_sleep = lambda: supervisor.end_all("success")
    assert finish(supervisor, dag, try_number=3, max_tries=5, clear_number=1).state == "success"


@each_mode
def test_there_is_no_such_dag(supervisor: Supervisor, mode: dict[str, Any]) -> None:
    outcome = finish(supervisor, make_dag(trigger_dag_id="unknown", **mode))
    said(
        outcome,
        "The API server refused to start run",
        "of Dag 'unknown': there is no such Dag (HTTP 404). Nothing was triggered.",
        state="up_for_retry",
    )
    assert outcome.names().count("TriggerDagRun") == 1
    assert not supervisor.runs


@needs_pause_check
@each_mode
def test_there_is_no_such_dag_to_be_paused(supervisor: Supervisor, mode: dict[str, Any]) -> None:
    outcome = finish(supervisor, make_dag(trigger_dag_id="unknown", fail_when_dag_is_paused=True, **mode))
    said(outcome, "of Dag 'unknown': there is no such Dag (HTTP 404).", state="up_for_retry")


@needs_pause_check
@each_mode
def test_the_child_dag_is_paused(supervisor: Supervisor, mode: dict[str, Any]) -> None:
    supervisor.dags["child"] = True
    dag = make_dag(fail_when_dag_is_paused=True, **mode)
    outcome = finish(supervisor, dag)
    said(outcome, "Dag 'child' is paused, so its run", "was not triggered", "Unpause the Dag", state="up_for_retry")
    assert isinstance(outcome.error, DagIsPaused)
    assert not supervisor.runs
    supervisor.dags["child"] = False
    assert finish(supervisor, dag, try_number=2).state == "success"
    assert len(supervisor.runs) == 1


@needs_pause_check
def test_a_paused_child_does_not_end_the_wait_for_a_run_that_is_there(supervisor: Supervisor) -> None:
    dag = make_dag(fail_when_dag_is_paused=True, **WAIT)
    killed_while_waiting(supervisor, dag)
    supervisor.dags["child"] = True
    assert finish(supervisor, dag, try_number=2).state == "success"
    assert supervisor.states() == ["success"]


@needs_pause_check
def test_a_pause_that_cannot_be_asked_for_is_asked_again(supervisor: Supervisor) -> None:
    supervisor.fail("GetDag", ServerError(503, "away"), times=2)
    outcome = finish(supervisor, make_dag(fail_when_dag_is_paused=True, **WAIT))
    assert (outcome.state, supervisor.states()) == ("success", ["success"])


CONFS = {
    "text": "{" + SECRET,
    "no object": json.dumps([SECRET]),
    "a set": {"password": {SECRET}},
    "a key": {("a", "b"): SECRET},
    "an object": {"password": type("Password", (), {"__repr__": lambda _: SECRET})()},
}


@each_mode
@pytest.mark.parametrize("conf", CONFS.values(), ids=CONFS)
def test_the_conf_is_not_json(supervisor: Supervisor, mode: dict[str, Any], conf: Any) -> None:  # noqa: ANN401 - the user's
    outcome = finish(supervisor, make_dag(conf=conf, **mode))
    said(
        outcome, "The conf for Dag 'child' is not JSON: ", "Pass a dict", "Nothing was triggered.", state="up_for_retry"
    )
    assert SECRET not in str(outcome.error)
    assert not supervisor.runs
    assert not supervisor.store


@each_mode
@pytest.mark.parametrize("run_id", ["a/b", "a b", "a#b", "a?b", "..", "x" * 300, "{{ 'a%b' }}", "grün"])
def test_a_run_id_that_airflow_would_mangle(supervisor: Supervisor, mode: dict[str, Any], run_id: str) -> None:
    outcome = finish(supervisor, make_dag(trigger_run_id=run_id, **mode))
    said(outcome, "for Dag 'child' cannot be used: it", "Nothing was triggered.", state="up_for_retry")
    assert not supervisor.runs


@pytest.mark.parametrize(
    ("date", "reason"),
    [
        (datetime(2025, 6, 1), "2025-06-01T00:00:00 has no time zone"),  # noqa: DTZ001 - on purpose
        ("soon", "soon"),
        ("{{ 'later' }}", "later"),
    ],
    ids=str,
)
def test_a_logical_date_that_airflow_cannot_use(supervisor: Supervisor, date: Any, reason: str) -> None:  # noqa: ANN401
    outcome = finish(supervisor, make_dag(logical_date=date, **WAIT))
    said(outcome, "The logical_date for Dag 'child' cannot be used: ", reason, "Pass a date with", state="up_for_retry")
    assert not supervisor.runs


@needs_store
@each_mode
def test_the_journal_cannot_be_read(supervisor: Supervisor, mode: dict[str, Any]) -> None:
    dag = make_dag(**mode)
    killed_while_waiting(supervisor, dag)
    supervisor.fail("GetTaskStateStore", ServerError(503, "away"), times=4)
    outcome = finish(supervisor, dag, try_number=2)
    said(
        outcome,
        "The record of this task (in its task state store) could not be read: Service Unavailable (HTTP 503).",
        "Nothing was triggered",
        "The next try of this task reads it again.",
        state="up_for_retry",
    )
    assert "TriggerDagRun" not in outcome.names()
    assert finish(supervisor, dag, try_number=3).state == "success"
    assert len(supervisor.runs) == 1


@needs_store
@each_mode
@pytest.mark.parametrize("is_after", [False, True], ids=["lost", "stored"])
def test_the_journal_cannot_be_written(
    supervisor: Supervisor,
    mode: dict[str, Any],
    is_after: bool,  # noqa: FBT001 - a parameter
) -> None:
    dag = make_dag(**mode)
    supervisor.fail("SetTaskStateStore", ServerError(503, "away"), times=4, is_after=is_after)
    outcome = finish(supervisor, dag)
    said(
        outcome,
        "could not be written for run 'manual__2026-01-01T00:00:00+00:00_",
        "of Dag 'child': Service Unavailable (HTTP 503). Nothing was triggered after that.",
        state="up_for_retry",
    )
    assert not supervisor.runs
    assert finish(supervisor, dag, try_number=2).state == "success"
    assert len(supervisor.runs) == 1


@needs_store
@each_mode
@pytest.mark.parametrize(
    ("stored", "reason"),
    [
        ("text", "the record is str, not an object"),
        ({"version": 3}, "it is of version 3, and this release of airflow-durable knows versions 1 to 2"),
        ({"version": 2, "password": SECRET}, "the record has no 'child'"),
        ({"version": 1, "password": SECRET}, "the record has no 'child'"),
    ],
)
def test_the_record_is_damaged(
    supervisor: Supervisor,
    mode: dict[str, Any],
    stored: Any,  # noqa: ANN401 - whatever somebody wrote
    reason: str,
) -> None:
    supervisor.store["durable_child_run"] = stored
    outcome = finish(supervisor, make_dag(**mode), try_number=2)
    said(
        outcome,
        f"The record under the task state store key 'durable_child_run' cannot be understood: {reason}.",
        "Nothing was triggered",
        "then delete all keys that begin with 'durable_child_run' from its state store, and clear the task.",
        state="up_for_retry",
    )
    assert not supervisor.runs
    assert supervisor.store == {"durable_child_run": stored}


def test_an_event_that_cannot_be_understood(supervisor: Supervisor) -> None:
    dag = make_dag(**DEFER)
    deferred = supervisor.run(dag)
    class_path, event = event_of(supervisor, deferred)
    run_id = supervisor.only_run().run_id
    for broken in ({**event, "record": {"version": 9}}, {key: event[key] for key in event if key != run_id}):
        outcome = supervisor.run(dag, event=(class_path, broken))
        said(
            outcome,
            "The event that ended the wait for run",
            run_id,
            "Nothing was done to that run.",
            state="up_for_retry",
        )
    supervisor.end_all("success")
    assert finish(supervisor, dag, try_number=2).state == "success"
    assert len(supervisor.runs) == 1


@each_mode
def test_a_request_whose_fate_is_unknown(supervisor: Supervisor, mode: dict[str, Any]) -> None:
    dag = make_dag(**mode)
    supervisor.fail("TriggerDagRun", ServerError(None), times=4)
    outcome = finish(supervisor, dag)
    said(
        outcome,
        "It is not known whether run 'manual__2026-01-01T00:00:00+00:00_",
        "of Dag 'child' was started: no answer from the server (ConnectError).",
        "The next try of this task adopts it if it exists, and starts it under the same run id if not.",
        state="up_for_retry",
    )
    assert outcome.names().count("TriggerDagRun") == 4


def test_the_child_can_no_longer_be_looked_up(supervisor: Supervisor) -> None:
    dag = make_dag(**WAIT)
    supervisor.fail("GetDagRunState", ServerError(403, {"reason": "x", "message": "Forbidden"}))
    outcome = finish(supervisor, dag)
    said(
        outcome,
        "of Dag 'child' could not be read: Forbidden (HTTP 403). Nothing was done to that run.",
        "The next try of this task finds it by its run id, if it exists.",
        state="up_for_retry",
    )
    assert finish(supervisor, dag, try_number=2).state == "success"
    assert supervisor.states() == ["success"]


@without_store
def test_where_nothing_can_be_recorded_a_look_up_that_fails_starts_nothing(supervisor: Supervisor) -> None:
    dag = make_dag(**WAIT)
    killed_while_waiting(supervisor, dag)
    supervisor.fail("GetDRCount", ServerError(503, "away"), times=4)
    outcome = finish(supervisor, dag, try_number=2)
    said(outcome, "could not be read", "Nothing was done to that run.", state="up_for_retry")
    assert "TriggerDagRun" not in outcome.names()


@without_store
def test_where_nothing_can_be_recorded_a_fixed_identity_says_so(supervisor: Supervisor) -> None:
    outcome = finish(supervisor, make_dag(**FIXED, **WAIT))
    assert outcome.said("This Airflow has no task state store (3.3 has)")
    assert outcome.said("dag_id=child run_id=fixed")


@needs_store
def test_no_secret_is_stored_or_logged(supervisor: Supervisor) -> None:
    outcome = finish(supervisor, make_dag(conf={"password": SECRET}, **WAIT))
    assert supervisor.only_run().conf == {"password": SECRET}
    assert SECRET not in json.dumps(supervisor.store)
    assert not any(SECRET in line for line in outcome.log if not line.startswith("Running finalizers"))
    supervisor.fail("TriggerDagRun", not_found("x"))
    outcome = finish(supervisor, make_dag(conf={"password": SECRET}, **WAIT), try_number=2, max_tries=4, clear_number=1)
    assert SECRET not in str(outcome.error)
