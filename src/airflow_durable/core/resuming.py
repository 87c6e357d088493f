"""Letting a failed child continue from where it failed: the reconciler is asked for it, and waited for."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from airflow_durable.core import port as calls
from airflow_durable.core.asks import Action, ActionKind, asks_of, without_action
from airflow_durable.core.errors import ChildRunMissingError, LookUpFailedError, ReconcilerMissingError
from airflow_durable.core.model import ChildRun, Look, Phase

if TYPE_CHECKING:
    from airflow_durable.core.model import Request
    from airflow_durable.core.port import Port
    from airflow_durable.core.record import Record

PAUSE_SECONDS = 1.0


def resume(port: Port, request: Request, record: Record, seen: ChildRun) -> tuple[Record, ChildRun]:
    """
    Ask for it, and wait until it has been done, or is no longer wanted.

    The state of the run is durable before the reconciler can act, and the reconciler acts only on a run that is still
    in it and for a task instance that is still the parent's. Crash before the write: nothing was asked. After it: the
    action is void, because the next try is another task instance. That try looks the run up. If the reconciler was in
    time, the run is active and is adopted; if the run has failed, again or still, that try asks, from its state then.
    So each try resumes the run at most once. (The reconciler clears what failed, and what was skipped before it began.
    Where there is no such task, as a person has marked the run as failed, it queues the run again nevertheless, and
    the scheduler ends it as its tasks have ended.)

    The next entry withdraws the action. Otherwise a run that a person lets fail again, without a clear, would be
    resumed again because of the same entry. If nothing happened in time, the run is looked up once more after
    that: the reconciler may have acted before the withdrawal, but not after it (:func:`.asks.withdrawn`).

    :param record: as this try leaves it.
    :returns: the record as last written, and the run as it is by then: normally active.
    :raises ReconcilerMissingError: nothing has happened.
    :raises ChildRunMissingError: the run was deleted.
    :raises LookUpFailedError: the run cannot be looked up.
    """
    action = Action(ActionKind.RESUME, seen.clear_number or 0, seen.state)
    record = replace(record, phase=Phase.SENT, mode=request.mode, outcome=None)
    asking = replace(record, asks=asks_of(request.on_parent_end, action))
    calls.write(port, asking)
    changed, _ = wait_for_reconciler(port, asking, action, request.reconciler_timeout_seconds)
    if changed is Look.MISSING:
        raise ChildRunMissingError(record.dag_id, record.run_id)
    settled = replace(asking, asks=without_action(asking.asks))
    calls.write(port, settled)
    if isinstance(changed, ChildRun):
        return settled, changed
    try:
        run = calls.look_up(port, record.dag_id, record.run_id)
    except LookUpFailedError as error:
        raise error.after_asking() from error
    if run is None:
        raise ChildRunMissingError(record.dag_id, record.run_id)
    if action.is_of(run):
        raise ReconcilerMissingError(record.dag_id, record.run_id, request.reconciler_timeout_seconds)
    return settled, run


def wait_for_reconciler(
    port: Port, record: Record, action: Action, limit_seconds: float, waited_seconds: float = 0.0
) -> tuple[ChildRun | Look | None, float]:
    """
    Wait until the run is not as it was when the action was asked for.

    :param waited_seconds: how long was waited before; that counts.
    :returns: the run, or that it is missing; None: it still is as it was. And how long was waited.
    :raises LookUpFailedError: the run cannot be looked up, for a reason that will not pass.
    """
    while True:
        try:
            run = port.look_up(record.dag_id, record.run_id, is_detailed=True)
        except LookUpFailedError as error:
            if not error.is_transient:
                raise error.after_asking() from error
            port.report_trouble(error)
        else:
            if run is None:
                return Look.MISSING, waited_seconds
            if not action.is_of(run):
                return run, waited_seconds
            port.report_wait(record, run.state, waited_seconds)
        if waited_seconds >= limit_seconds:
            return None, waited_seconds
        port.sleep(PAUSE_SECONDS)
        waited_seconds += PAUSE_SECONDS
