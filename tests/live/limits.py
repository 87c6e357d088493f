"""
What older Airflows cannot do, in one place: since when it can be done, why not before, and what happens instead.

On an Airflow before ``since`` the scenario's test runs ``body`` in its place and is an expected failure with that
reason. What happens instead is asserted, not skipped: if an older Airflow does better than it is said to here, or
worse, its test fails.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from packaging.version import Version

from tests.support.fault_proxy import Action

if TYPE_CHECKING:
    from collections.abc import Callable

    from .lab import Stage

FIXED_RUN_ID = "fixed"


@dataclass(frozen=True)
class Limit:
    """
    What an Airflow before ``since`` does in a scenario.

    :param instead: what happens there, in a few words.
    :param reason: why, for people who have to choose a version.
    :param body: the scenario, as it goes there.
    :param is_applicable: False: the scenario has no meaning there, and nothing is lost.
    """

    since: str
    instead: str
    reason: str
    body: Callable[[Stage], None]
    is_applicable: bool = True

    def holds_on(self, version: str) -> bool:
        """Return whether this Airflow is one of those."""
        return Version(version) < Version(self.since)


def _keep_no_record(stage: Stage) -> None:
    stage.start()
    stage.finish(1)
    assert len(stage.children()) == 1
    assert stage.sent("PUT", stage.record_path) == 0


def _keep_no_record_deferred(stage: Stage) -> None:
    stage.start()
    stage.wait_for_parent("deferred", 1)
    stage.mark_child()
    stage.wait_for_parent("success", 1)
    assert len(stage.children()) == 1
    assert stage.sent("PUT", stage.record_path) == 0


def _finish_items(stage: Stage) -> None:
    stage.start()
    stage.wait_for_children(3)
    for run in stage.children():
        stage.mark_child("success", run)
    stage.wait_for_parent("success")
    assert len(stage.children()) == 3


def _wait_out(stage: Stage) -> None:
    """Let the cleared parent wait for its old child's end, and start a fresh one only then."""
    if stage.is_deferrable:
        stage.wait_for_parent("deferred", 2)
    else:
        stage.wait_until_waiting(2)
    assert len(stage.children()) == 1
    stage.mark_child()
    stage.wait_for_children(2)
    stage.mark_child()
    stage.wait_for_parent("success", 2)
    assert [run.state for run in stage.children()] == ["success", "success"]


def _wait_out_after_crash(stage: Stage) -> None:
    _crash(stage)
    stage.wait_for_parent("failed", 1)
    stage.clear_parent()
    _wait_out(stage)


def _wait_out_of_running(stage: Stage) -> None:
    stage.start()
    stage.wait_until_waiting(1)
    first_pid = stage.parent().pid
    stage.clear_parent()
    stage.wait_until_gone(first_pid)
    _wait_out(stage)


def _restart_for_ever(stage: Stage) -> None:
    stage.start()
    stage.wait_until_waiting(1)
    first_pid = stage.parent().pid
    stage.clear_parent()
    stage.wait_until_gone(first_pid)
    log = next(one.log_path for one in stage.lab.airflow.components if one.kind == "scheduler")
    finished = f"TaskInstance Finished: dag_id={stage.parent_dag},"
    # Of the worker that ended, and once more for want of a heartbeat.
    stage.wait_for(lambda: log.read_text().count(finished) > 1, "the scheduler to go over it twice")
    assert (stage.parent().state, len(stage.children())) == ("restarting", 1)


def _wait_out_after_mark(state: str) -> Callable[[Stage], None]:
    def body(stage: Stage) -> None:
        stage.start()
        stage.wait_until_waiting(1)
        first_pid = stage.parent().pid
        stage.mark_parent(state)
        stage.wait_until_gone(first_pid)
        stage.clear_parent()
        _wait_out(stage)

    return body


def _wait_out_of_deferred(stage: Stage) -> None:
    stage.start()
    stage.wait_for_parent("deferred", 1)
    stage.mark_parent("success")
    stage.wait_for_parent("success", 1)
    stage.clear_parent()
    _wait_out(stage)


def _wait_out_of_cleared_child(stage: Stage) -> None:
    stage.start()
    stage.wait_until_waiting(1)
    stage.mark_child("failed")
    stage.wait_for_parent("failed", 1)
    stage.clear_child()
    stage.clear_parent()
    _wait_out(stage)


def _fail_as_stock_after_clear(stage: Stage) -> None:
    stage.start()
    stage.finish(1)
    stage.clear_parent()
    stage.wait_for_parent("failed", 2)
    assert [(run.state, run.clear_number) for run in stage.children()] == [("success", 0)]


def _do_work_again(stage: Stage) -> None:
    stage.start()
    stage.wait_until_waiting(1)
    stage.kill_worker()
    stage.mark_child()
    stage.wait_for_parent("failed", 1)
    stage.clear_parent()
    stage.finish(2)
    first, second = stage.children()
    assert (first.state, second.state) == ("success", "success")


def _crash(stage: Stage) -> None:
    stage.start()
    stage.wait_until_waiting(1)
    stage.kill_worker()


def _fail_as_stock(stage: Stage) -> None:
    _crash(stage)
    stage.wait_for_parent("failed", 2)
    assert [(run.state, run.clear_number) for run in stage.children()] == [("queued", 0)]


def _fail_as_stock_before_reply(stage: Stage) -> None:
    stage.inject(Action.KILL_AFTER, "POST", stage.submit_path)
    stage.start()
    stage.wait_for_parent("failed", 2)
    assert [(run.state, run.clear_number) for run in stage.children()] == [("queued", 0)]


def _skip_as_stock(stage: Stage) -> None:
    _crash(stage)
    stage.wait_for_parent("skipped", 2)
    assert [(run.state, run.clear_number) for run in stage.children()] == [("queued", 0)]


def _reset_again_as_stock(stage: Stage) -> None:
    stage.start_foreign_child(FIXED_RUN_ID)
    _crash(stage)
    stage.finish(2)
    assert [run.run_id for run in stage.children()] == [FIXED_RUN_ID]
    # Not by the run's clear_number: before 3.2 it counts the clears of finished runs only.
    assert stage.sent("POST", stage.reset_path) == 2


def _reset_again_as_stock_before_reply(stage: Stage) -> None:
    stage.start_foreign_child(FIXED_RUN_ID)
    stage.inject(Action.KILL_AFTER, "POST", stage.reset_path)
    stage.start()
    stage.finish(2)
    assert [run.run_id for run in stage.children()] == [FIXED_RUN_ID]
    # Not by the run's clear_number: before 3.2 it counts the clears of finished runs only.
    assert stage.sent("POST", stage.reset_path) == 2


def _lose_attempt_to_lost_reply(stage: Stage) -> None:
    stage.inject(Action.DROP_REPLY, "POST", stage.submit_path)
    stage.start()
    stage.finish(2)
    assert len(stage.children()) == 1
    statuses = [p.status for p in stage.lab.proxy.passages_of(stage.parent_dag, "POST", stage.submit_path)]
    assert statuses == [204]


def _lose_attempt_to_absent_server(stage: Stage) -> None:
    stage.start()
    stage.wait_until_waiting(1)
    stage.inject(Action.REFUSE, "GET", stage.look_up_path, try_number=1, times=None)
    stage.finish(2)
    assert len(stage.children()) == 1
    assert stage.sent("POST", stage.submit_path) == 1


def _leave_process_of_partition(stage: Stage) -> None:
    stage.start()
    stage.wait_until_waiting(1)
    fault = stage.inject(Action.REFUSE, "*", stage.anything, try_number=1, times=None)
    stage.wait_until_waiting(2)
    fault.lift()
    stage.mark_child()
    stage.wait_for_parent("success", 2)
    assert len(stage.children()) == 1
    assert stage.sent("POST", stage.submit_path) == 1


_NO_STORE = "There is no task state store before 3.3"
_NO_RECORD = f"{_NO_STORE}: run ids are computed and nothing is recorded, so this cannot happen."
_NO_CONSUMPTION = (
    f"{_NO_STORE}, so it is not known whether a child's outcome was already used: after a clear the outcome of a child "
    f"that has ended is not used, and a fresh run is started."
)
_NO_CONF = (
    "A task of 3.0 and 3.1 cannot read a run's conf, so it is not known whether the child carries the same request: "
    "after a clear the task waits for its end, and then starts a fresh run."
)
_NO_AUTHOR = (
    f"{_NO_STORE}, so a run with a fixed run id or date cannot be distinguished from somebody else's: the operator "
    f"does what the stock one does, and logs a warning."
)
_FRAGILE_SUPERVISOR = (
    "In 3.0 and 3.1 a connection that stays broken ends the supervisor (sdk/execution_time/supervisor.py, "
    "handle_requests), and with it the try."
)

_FAILS = "the retry fails, as with the stock operator; the child stays active"
_WAITED_OUT = "the task waits for the end of the child, then starts a fresh run"
_RESETS = "the retry resets the child once more"
_COSTS_ATTEMPT = "it costs a try; the next one adopts the child"
_NOTHING = "no record is written or read"

_NO_RECONCILER = f"{_NO_STORE}, so a task cannot ask the reconciler for anything: the parameters are refused."
_RECONCILED = (
    "resumed",
    "ended_with_failed",
    "ended_with_marked_failed",
    "ended_with_run",
    "kept_by_retry",
    "kept_by_clear",
    "kept_by_termination",
    "reconciler_killed",
)
_RECONCILED_DEFERRED = ("resumed_deferred", "ended_with_marked_success")


def _not_applicable(reason: str, body: Callable[[Stage], None] = _keep_no_record) -> Limit:
    return Limit("3.3", _NOTHING, reason, body, is_applicable=False)


LIMITS = {
    **dict.fromkeys(_RECONCILED, _not_applicable(_NO_RECONCILER)),
    **dict.fromkeys(_RECONCILED_DEFERRED, _not_applicable(_NO_RECONCILER, _keep_no_record_deferred)),
    **dict.fromkeys(("items_resumed", "items_ended"), _not_applicable(_NO_RECONCILER, _finish_items)),
    "fixed_id": Limit("3.3", _FAILS, _NO_AUTHOR, _fail_as_stock),
    "fixed_date": Limit("3.3", _FAILS, _NO_AUTHOR, _fail_as_stock),
    "fixed_id_before_reply": Limit("3.3", _FAILS, _NO_AUTHOR, _fail_as_stock_before_reply),
    "fixed_id_skip": Limit("3.3", "the retry is skipped; the child stays active", _NO_AUTHOR, _skip_as_stock),
    "fixed_id_reset": Limit("3.3", _RESETS, _NO_AUTHOR, _reset_again_as_stock),
    "fixed_id_reset_before_reply": Limit("3.3", _RESETS, _NO_AUTHOR, _reset_again_as_stock_before_reply),
    "clear_running": Limit("3.2", _WAITED_OUT, _NO_CONF, _wait_out_of_running),
    "clear_child_running": Limit("3.2", _WAITED_OUT, _NO_CONF, _wait_out_after_crash),
    "marked_success": Limit("3.2", _WAITED_OUT, _NO_CONF, _wait_out_after_mark("success")),
    "marked_failed": Limit("3.2", _WAITED_OUT, _NO_CONF, _wait_out_after_mark("failed")),
    "marked_deferred": Limit("3.2", _WAITED_OUT, _NO_CONF, _wait_out_of_deferred),
    "child_failed_and_cleared": Limit("3.2", _WAITED_OUT, _NO_CONF, _wait_out_of_cleared_child),
    "fixed_id_used_up": Limit("3.3", "it fails, as with the stock operator", _NO_AUTHOR, _fail_as_stock_after_clear),
    "record_discarded": _not_applicable(_NO_RECORD),
    "record_discarded_child_done": _not_applicable(_NO_RECORD),
    "clear_child_done": Limit("3.3", "the finished work is done again", _NO_CONSUMPTION, _do_work_again),
    "killed_after_consumption": _not_applicable(_NO_RECORD),
    "superseded_before_record": _not_applicable(_NO_RECORD),
    "journal_away": _not_applicable(_NO_RECORD),
    "record_damaged": _not_applicable(_NO_RECORD),
    "connection_broken": Limit("3.2", _COSTS_ATTEMPT, _FRAGILE_SUPERVISOR, _lose_attempt_to_absent_server),
    "partition": Limit(
        "3.2",
        "there is one child, too, but the process that was cut off may stay, idle, as long as its executor's worker",
        _FRAGILE_SUPERVISOR,
        _leave_process_of_partition,
    ),
    "reply_lost": Limit(
        "3.1",
        _COSTS_ATTEMPT,
        "The client of 3.0 does not repeat a request whose connection was closed without an answer "
        "(sdk/api/client.py), and its supervisor ends with it.",
        _lose_attempt_to_lost_reply,
    ),
}

LIMITS_OF_30 = {
    "clear_running": Limit(
        "3.1",
        "the task stays 'restarting' forever, as with the stock operator",
        "The scheduler of 3.0 does nothing about a running task that was cleared when its worker has ended "
        "(jobs/scheduler_job_runner.py, process_executor_events, has no case for that state; 3.1 has).",
        _restart_for_ever,
    ),
}
"""They go before the others."""

UNTRIED = {
    "3.4.0b2": (
        ("partition", "superseded_before_record", "superseded_before_request", "supervisor_killed"),
        "Its scheduler ends itself when it gives up a silent try and another one is to follow (docs/limits.md).",
    )
}
"""Scenarios that one version is spared, and why. Any other version of that Airflow goes through them."""
