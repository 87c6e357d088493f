"""A definite refusal starts nothing, and the next try builds its request from the Dag as it is then."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest

from airflow_durable.task.port import AirflowPort

from .dags import WAIT, each_mode, finish, killed_while_waiting, make_dag
from .supervisor import Run, ServerError, Supervisor
from .versions import needs_store

DATE = datetime(2025, 6, 1, tzinfo=timezone.utc)
LATER = datetime(2025, 7, 1, tzinfo=timezone.utc)
NEXT = {"a retry": {"try_number": 2}, "a clear": {"try_number": 2, "max_tries": 4, "clear_number": 1}}

each_next = pytest.mark.parametrize("following", NEXT.values(), ids=NEXT)


def refused(message: str) -> ServerError:
    return ServerError(400, {"reason": "value_error", "message": message})


@each_mode
@each_next
@pytest.mark.parametrize("dag_id", ["unknown", "{{ '' }}"], ids=["a typo", "empty"])
def test_a_dag_id_is_corrected(
    supervisor: Supervisor, mode: dict[str, Any], following: dict[str, Any], dag_id: str
) -> None:
    assert finish(supervisor, make_dag(trigger_dag_id=dag_id, **mode)).state == "up_for_retry"
    assert not supervisor.runs
    assert finish(supervisor, make_dag(conf={"a": 1}, **mode), **following).state == "success"
    assert (supervisor.only_run().dag_id, supervisor.only_run().conf) == ("child", {"a": 1})


@each_mode
@each_next
def test_a_run_id_that_the_server_refused_is_corrected(
    supervisor: Supervisor, mode: dict[str, Any], following: dict[str, Any]
) -> None:
    supervisor.fail("TriggerDagRun", refused("The run_id provided 'first' does not match regex pattern 'x'"))
    outcome = finish(supervisor, make_dag(trigger_run_id="first", **mode))
    if outcome.state != "exited":  # Without a store a fixed identity is the stock operator's.
        assert outcome.state == "up_for_retry"
    assert finish(supervisor, make_dag(trigger_run_id="second", **mode), **following).state == "success"
    assert supervisor.only_run().run_id == "second"


@needs_store
@each_next
def test_a_date_that_the_server_refused_is_corrected(supervisor: Supervisor, following: dict[str, Any]) -> None:
    supervisor.fail("TriggerDagRun", refused("Logical date [x] should be >= start_date [y] from Dag's default_args"))
    assert finish(supervisor, make_dag(logical_date=DATE, **WAIT)).state == "up_for_retry"
    assert finish(supervisor, make_dag(logical_date=LATER, **WAIT), **following).state == "success"
    assert supervisor.only_run().logical_date == LATER


@each_next
def test_a_child_whose_start_date_lies_ahead_is_asked_with_a_later_date(
    supervisor: Supervisor, following: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    moments = iter([DATE, LATER])  # A second before each, at most: the dates are in the past.
    now = next(moments)
    monkeypatch.setattr(AirflowPort, "now", lambda _: now)
    dag = make_dag(**WAIT)
    supervisor.fail("TriggerDagRun", refused("Logical date [x] should be >= start_date [y] from Dag's default_args"))
    assert finish(supervisor, dag).state == "up_for_retry"
    now = next(moments)
    assert finish(supervisor, dag, **following).state == "success"
    dates = [request.logical_date for request in supervisor.requests if type(request).__name__ == "TriggerDagRun"]
    assert [date.year * 100 + date.month for date in dates] == [202505, 202506]


@needs_store
def test_a_refused_run_is_not_started_under_the_old_dag_with_the_new_conf(supervisor: Supervisor) -> None:
    supervisor.dags["other"] = False
    supervisor.fail("TriggerDagRun", ServerError(None), times=4)
    finish(supervisor, make_dag(conf={"of": "child"}, **WAIT))
    assert not supervisor.runs
    edited = make_dag(trigger_dag_id="other", conf={"of": "other"}, **WAIT)
    assert finish(supervisor, edited, try_number=2).state == "success"
    assert (supervisor.only_run().dag_id, supervisor.only_run().conf) == ("other", {"of": "other"})


@needs_store
@each_mode
@pytest.mark.parametrize("is_skip", [False, True], ids=["fail", "skip"])
@pytest.mark.parametrize("edit", [{"trigger_run_id": "mine"}, {}, {"trigger_run_id": "mine", "reset_dag_run": True}])
def test_a_run_id_that_somebody_else_has_is_corrected(
    supervisor: Supervisor,
    mode: dict[str, Any],
    is_skip: bool,  # noqa: FBT001 - a parameter
    edit: dict[str, Any],
) -> None:
    """The run of the old id was looked up in each try, whatever the Dag asked for."""
    theirs = supervisor.add("fixed", "running", conf={"of": "them"})
    options = {**mode, "skip_when_already_exists": is_skip}
    outcome = finish(supervisor, make_dag(trigger_run_id="fixed", **options))
    assert outcome.state == ("skipped" if is_skip else "failed")
    supervisor.on_sleep = lambda: _end_but(supervisor, theirs)
    edited = make_dag(**edit, conf={"of": "this"}, **options)
    assert finish(supervisor, edited, try_number=2, max_tries=4, clear_number=1).state == "success"
    (own,) = [run for run in supervisor.runs.values() if run is not theirs]
    assert (own.conf, theirs.clear_number) == ({"of": "this"}, 0)
    assert supervisor.xcoms["trigger_run_id"] == own.run_id


@needs_store
@each_mode
@each_next
@pytest.mark.parametrize("edit", [{"trigger_run_id": "fixed"}, {"trigger_run_id": "mine", "reset_dag_run": True}])
def test_a_reset_that_the_server_refused_is_not_made_when_the_dag_no_longer_asks_for_it(
    supervisor: Supervisor, mode: dict[str, Any], following: dict[str, Any], edit: dict[str, Any]
) -> None:
    theirs = supervisor.add("fixed", "running", conf={"of": "them"})
    supervisor.pass_by("TriggerDagRun")
    supervisor.fail("TriggerDagRun", ServerError(400, {"reason": "import_errors", "message": "x"}))
    outcome = finish(supervisor, make_dag(trigger_run_id="fixed", reset_dag_run=True, **mode))
    assert "refused to reset run 'fixed' of Dag 'child': the Dag has import errors" in str(outcome.error)
    supervisor.on_sleep = lambda: _end_but(supervisor, theirs)
    outcome = finish(supervisor, make_dag(**edit, **mode), **following)
    assert outcome.state == ("failed" if edit["trigger_run_id"] == "fixed" else "success")
    assert theirs.clear_number == 0


def _end_but(supervisor: Supervisor, theirs: Run) -> None:
    supervisor.end_all("success")
    theirs.state = "running"


@needs_store
def test_an_edit_and_an_unreadable_look_up(supervisor: Supervisor) -> None:
    """The present conf is sent; a clear finds that the child has it, and starts no second one."""
    supervisor.fail("TriggerDagRun", ServerError(None), times=4)
    finish(supervisor, make_dag(conf={"a": 1}, **WAIT))
    edited = make_dag(conf={"a": 2}, **WAIT)
    supervisor.fail("GetDagRun", ServerError(503, "away"))
    killed_while_waiting(supervisor, edited, try_number=2)
    assert finish(supervisor, edited, try_number=3, max_tries=5, clear_number=1).state == "success"
    assert supervisor.only_run().conf == {"a": 2}


@needs_store
def test_an_edit_and_an_unreadable_look_up_of_a_run_that_is_there(supervisor: Supervisor) -> None:
    """The 409 says that what was sent now was not taken: the run has the conf of before."""
    killed_while_waiting(supervisor, make_dag(conf={"a": 1}, **WAIT))
    edited = make_dag(conf={"a": 2}, **WAIT)
    supervisor.fail("GetDagRun", ServerError(503, "away"))
    supervisor.fail("GetDagRunState", ServerError(403, "no"))
    assert finish(supervisor, edited, try_number=2).state == "up_for_retry"
    assert supervisor.only_run().conf == {"a": 1}
    assert finish(supervisor, edited, try_number=3, max_tries=5, clear_number=1).state == "success"
    assert [run.conf for run in supervisor.runs.values()] == [{"a": 1}, {"a": 2}]
