"""The record is gone, has just appeared, or its writes come twice or late: one healthy child, and no lost work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import pytest

from airflow_durable.core.stored import KEY, position_of
from airflow_durable.task import calls
from airflow_durable.task.journal import NoJournal

from .dags import DEFER, FORGET, WAIT, each_mode, finish, killed_while_waiting, make_dag
from .supervisor import ServerError, Supervisor, no_such_key
from .versions import needs_store

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

pytestmark = needs_store

CLEARED: dict[str, Any] = {"try_number": 2, "max_tries": 4, "clear_number": 1}
waiting_modes = pytest.mark.parametrize("mode", [WAIT, DEFER], ids=["wait", "defer"])


def without_store() -> AbstractContextManager[object]:
    """Let a try run as on Airflow before 3.3."""
    return patch.object(calls, "_open_journal", lambda *_: NoJournal())


@each_mode
def test_a_retry_without_its_record(supervisor: Supervisor, mode: dict[str, Any]) -> None:
    """Deleted, expired, or restored away."""
    dag = make_dag(**mode)
    killed_while_waiting(supervisor, dag)
    supervisor.store.clear()
    assert finish(supervisor, dag, try_number=2).state == "success"
    assert len(supervisor.runs) == 1


@waiting_modes
def test_a_clear_that_discards_the_record_adopts_the_active_child(supervisor: Supervisor, mode: dict[str, Any]) -> None:
    """3.4 discards the state of a task that a person clears, by default."""
    dag = make_dag(**mode)
    killed_while_waiting(supervisor, dag)
    supervisor.store.clear()
    assert finish(supervisor, dag, **CLEARED).state == "success"
    assert supervisor.states() == ["success"]


@waiting_modes
def test_a_clear_that_discards_the_record_does_not_take_an_ended_child(
    supervisor: Supervisor, mode: dict[str, Any]
) -> None:
    """Nobody can know whether its outcome was used."""
    dag = make_dag(**mode)
    finish(supervisor, dag)
    supervisor.store.clear()
    assert finish(supervisor, dag, **CLEARED).state == "success"
    assert supervisor.states() == ["success", "success"]


def test_a_clear_that_discards_the_record_of_a_started_child_says_so(supervisor: Supervisor) -> None:
    dag = make_dag(**FORGET)
    killed_while_waiting(supervisor, dag)
    supervisor.store.clear()
    outcome = finish(supervisor, dag, **CLEARED)
    assert outcome.state == "success"
    assert outcome.said("Starting a fresh run beside an active one") is (len(supervisor.runs) == 2)


@each_mode
@pytest.mark.parametrize("is_forward", [True, False], ids=["upgrade", "downgrade"])
def test_the_store_appears_or_vanishes_in_mid_wait(
    supervisor: Supervisor,
    mode: dict[str, Any],
    is_forward: bool,  # noqa: FBT001 - a parameter
) -> None:
    """Airflow 3.2 to 3.3, and back: the run ids are the same."""
    dag = make_dag(**mode)
    if is_forward:
        with without_store():
            killed_while_waiting(supervisor, dag)
        assert finish(supervisor, dag, try_number=2).state == "success"
    else:
        killed_while_waiting(supervisor, dag)
        with without_store():
            assert finish(supervisor, dag, try_number=2).state == "success"
    assert len(supervisor.runs) == 1


@each_mode
def test_a_task_instance_that_was_made_anew(supervisor: Supervisor, mode: dict[str, Any]) -> None:
    """``airflow db clean`` of triggers takes deferred task instances along: try 1 runs while there is a record."""
    dag = make_dag(**mode)
    killed_while_waiting(supervisor, dag)
    assert finish(supervisor, dag).state == "success"
    assert len(supervisor.runs) == 1


def test_a_task_instance_that_was_made_anew_after_a_failed_child(supervisor: Supervisor) -> None:
    dag = make_dag(**WAIT)
    supervisor.on_sleep = lambda: supervisor.end_all("failed")
    finish(supervisor, dag)
    killed_while_waiting(supervisor, dag, try_number=2)
    supervisor.on_sleep = lambda: supervisor.end_all("success")
    assert finish(supervisor, dag).state == "success"
    assert supervisor.states() == ["failed", "success"]


def tries_until_success(supervisor: Supervisor, mode: dict[str, Any], first: int = 2) -> None:
    for try_number in range(first, first + 3):
        if finish(supervisor, make_dag(**mode), try_number=try_number).state == "success":
            return
    pytest.fail("no try succeeded")


@each_mode
@pytest.mark.parametrize("times", [1, 2, 3])
def test_a_404_that_does_not_mean_that_there_is_no_key(
    supervisor: Supervisor, mode: dict[str, Any], times: int
) -> None:
    """A gateway, or a server without the route: Airflow's client takes any 404 for a missing key."""
    killed_while_waiting(supervisor, make_dag(**mode))
    supervisor.say("GetTaskStateStore", no_such_key(KEY), times=times)
    tries_until_success(supervisor, mode)
    assert len(supervisor.runs) == 1


def test_a_404_after_a_failed_child(supervisor: Supervisor) -> None:
    supervisor.on_sleep = lambda: supervisor.end_all("failed")
    finish(supervisor, make_dag(**WAIT))
    killed_while_waiting(supervisor, make_dag(**WAIT), try_number=2)
    supervisor.on_sleep = lambda: supervisor.end_all("success")
    supervisor.say("GetTaskStateStore", no_such_key(KEY))
    tries_until_success(supervisor, WAIT, 3)
    assert supervisor.states() == ["failed", "success"]


# Marks that get lost or come late.


@each_mode
@pytest.mark.parametrize("is_after", [False, True], ids=["lost", "reply lost"])
def test_the_mark_is_repeated_at_the_last_try(
    supervisor: Supervisor,
    mode: dict[str, Any],
    is_after: bool,  # noqa: FBT001 - a parameter
) -> None:
    dag = make_dag(retries=1, **mode)
    killed_while_waiting(supervisor, dag)
    if mode is not FORGET:
        supervisor.pass_by("SetTaskStateStore")
    supervisor.fail("SetTaskStateStore", ServerError(None), is_after=is_after)
    outcome = finish(supervisor, dag, try_number=2, max_tries=1)
    assert outcome.state == "success"
    assert supervisor.record()["phase"] == "consumed"
    assert finish(supervisor, dag, try_number=3, max_tries=3, clear_number=1).state == "success"
    assert len(supervisor.runs) == 2


@each_mode
@pytest.mark.parametrize("which", [0, 1])
def test_a_late_copy_of_a_write_undoes_nothing(supervisor: Supervisor, mode: dict[str, Any], which: int) -> None:
    """Airflow's client repeats a PUT that it has no answer to after 5 s."""
    dag = make_dag(**mode)
    supervisor.pass_by("SetTaskStateStore", times=which)
    supervisor.repeat("SetTaskStateStore")
    assert finish(supervisor, dag).state == "success"
    supervisor.deliver_late()
    assert supervisor.record()["phase"] == "consumed"
    # An automatic retry succeeds again; a clear does the work anew.
    assert finish(supervisor, dag, try_number=2).state == "success"
    assert len(supervisor.runs) == 1
    assert finish(supervisor, dag, try_number=3, max_tries=5, clear_number=1).state == "success"
    assert len(supervisor.runs) == 2


def test_a_late_copy_of_a_write_of_an_earlier_try(supervisor: Supervisor) -> None:
    dag = make_dag(**WAIT)
    supervisor.repeat("SetTaskStateStore")
    killed_while_waiting(supervisor, dag)
    supervisor.on_sleep = supervisor.deliver_late
    late = supervisor.late[0]
    supervisor.before["GetDagRunState"] = lambda: supervisor.end_all("success")
    assert finish(supervisor, dag, try_number=2).state == "success"
    # The server refuses it: its task instance id is of an earlier try.
    supervisor.late = [late]
    supervisor.deliver_late()
    assert supervisor.record()["phase"] == "consumed"
    assert all(position_of(key) for key in supervisor.store)
