"""
The one module that speaks the Task SDK's internal language: messages to the supervisor, and what comes back.

Each item says why the internal is needed, the versions it was read in, and when it can go.
"""

from __future__ import annotations

import asyncio
import inspect
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow_durable.alarm import undisturbed
from airflow_durable.core.errors import LookUpFailedError, SubmissionRefusedError, SubmissionUnknownError
from airflow_durable.core.model import ChildRun
from airflow_durable.refusals import name_invalid_fields
from airflow_durable.server_errors import (
    Failure,
    as_submission_error,
    describe,
    is_from_server,
    is_missing,
    is_transient,
    read_failure,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from airflow.sdk.exceptions import DagRunTriggerException

    IsSameRequest = Callable[[str, Any, str | None], bool]

_OWN_FIELDS = frozenset({"dag_id", "run_id", "logical_date", "conf", "reset_dag_run", "type"})
"""Of the message TriggerDagRun: those that are set by name. Any other that the request has is passed on as it is."""

_NOTHING = object()

__all__ = [
    "AsyncLookUps",
    "Failure",
    "TaskLookUps",
    "as_submission_error",
    "ask",
    "can_defer",
    "can_send_partition_key",
    "can_send_run_after",
    "count",
    "dag_run_states",
    "describe",
    "failed_tasks",
    "has_details",
    "is_deferrable_waiting",
    "is_event_left_over",
    "is_from_server",
    "is_missing",
    "is_transient",
    "look_up",
    "loop_index_of",
    "read_failure",
    "return_value",
    "submit",
    "task_ended_at",
    "task_states",
    "try_number_of",
    "undisturbed",
    "url_of_run",
    "url_of_task",
    "why_queued",
]


def look_up(
    dag_id: str,
    run_id: str,
    *,
    is_detailed: bool,
    is_same_request: Callable[[str, Any, str | None], bool] | None = None,
) -> ChildRun | None:
    """
    Return the Dag run, None if there is none.

    There is no public call for it: ``RuntimeTaskInstance.get_dagrun_state`` gives the state alone. ``GetDagRun`` exists
    from 3.2, in a task only (``sdk/execution_time/comms.py``).

    :param is_same_request: says whether a run of this Dag with this conf and partition key carries the request of the
        present try. The conf goes no further.
    :raises LookUpFailedError: with ``is_transient`` where the same look-up may succeed later.
    """
    from airflow.sdk.execution_time import comms

    message_type = comms.GetDagRun if is_detailed else comms.GetDagRunState
    answer = _send(message_type(dag_id=dag_id, run_id=run_id))
    if isinstance(answer, Failure):
        if answer.is_missing:
            return None
        raise LookUpFailedError(dag_id, run_id, answer.said, is_transient=answer.is_transient)
    run = _read_run(dag_id, run_id, answer, is_detailed=is_detailed)
    if not is_detailed or is_same_request is None:
        return run
    conf, partition_key = getattr(answer, "conf", None), getattr(answer, "partition_key", None)
    return replace(run, is_same_request=is_same_request(dag_id, conf, partition_key))


def count(dag_id: str, run_ids: Sequence[str], states: Sequence[str] | None) -> int:
    """
    Return how many of these Dag runs exist.

    ``RuntimeTaskInstance.get_dr_count`` sends the same message (3.0 to 3.4), but does not read an error.

    :param states: count only those in one of these states.
    :raises LookUpFailedError: with ``is_transient`` where the same count may succeed later.
    """
    from airflow.sdk.execution_time.comms import GetDRCount

    wanted = None if states is None else list(states)
    answer = _send(GetDRCount(dag_id=dag_id, run_ids=list(run_ids), states=wanted))
    if isinstance(answer, Failure):
        raise LookUpFailedError(dag_id, run_ids[0], answer.said, is_transient=answer.is_transient)
    return _read_count(dag_id, run_ids[0], answer)


def task_ended_at(dag_id: str, run_id: str, task_id: str, logical_date: datetime) -> datetime | None:
    """
    Return when a task of this very Dag run ended last; None if that cannot be known.

    Nothing says that of a task. ``GetPreviousTI`` (3.2 and later) gives the newest task instance of a Dag run before
    a logical date, so it is asked for what is before the moment after this one
    (``execution_api/routes/task_instances.py``, ``get_previous_task_instance``). Of a mapped task the first part
    counts.

    :param logical_date: of the Dag run.
    """
    from airflow.sdk.execution_time import comms

    if not hasattr(comms, "GetPreviousTI"):
        return None
    just_after = logical_date + timedelta(microseconds=1)
    for map_index in (-1, 0):
        message = comms.GetPreviousTI(dag_id=dag_id, task_id=task_id, logical_date=just_after, map_index=map_index)
        found = getattr(_send(message), "task_instance", None)
        if found is not None and found.run_id == run_id:
            ended: datetime | None = found.end_date or found.start_date
            return ended
    return None


def has_details() -> bool:
    """Return whether a task can look up more of a Dag run than its state: from 3.2. Goes with 3.1."""
    from airflow.sdk.execution_time import comms

    return hasattr(comms, "GetDagRun")


def can_send_run_after() -> bool:
    """Return whether a task can choose the ``run_after`` of the run that it asks for: from 3.3. Goes with 3.2."""
    from airflow.sdk.execution_time import comms

    return "run_after" in comms.TriggerDagRun.model_fields


def dag_run_states() -> frozenset[str]:
    """Return all states that a Dag run of this Airflow can have."""
    from airflow.utils.state import DagRunState

    return frozenset(state.value for state in DagRunState)


def loop_index_of(context: Any) -> int | None:  # noqa: ANN401 - its type differs by version
    """Return which pass of a task loop this is, from 0 (3.4: ``context["loop"]``); None outside a loop."""
    index = getattr(context.get("loop"), "index", None)
    return index if isinstance(index, int) else None


def task_states(dag_id: str, run_id: str, task_ids: Sequence[str] | None = None) -> dict[str, str | None]:
    """
    Return the states of the tasks of a Dag run by their names; None is the state of one yet to be scheduled.

    A part of a mapped task is named by the task's id, an underscore and its map index.

    :param task_ids: these tasks alone.
    :raises LookUpFailedError: with ``is_transient`` where the same request may succeed later.
    """
    from airflow.sdk.execution_time.comms import GetTaskStates

    wanted = None if task_ids is None else list(task_ids)
    answer = _send(GetTaskStates(dag_id=dag_id, run_ids=[run_id], task_ids=wanted))
    if isinstance(answer, Failure):
        raise LookUpFailedError(dag_id, run_id, answer.said, is_transient=answer.is_transient)
    states: Any = getattr(answer, "task_states", None)
    if not _are_task_states(states):
        reason = f"the answer {type(answer).__name__} has no task states"
        raise LookUpFailedError(dag_id, run_id, reason, is_transient=False)
    return dict(states.get(run_id, {}))


def failed_tasks(dag_id: str, run_id: str) -> list[tuple[str, int]]:
    """
    Return the failed tasks of a Dag run, each with its map index (-1: not mapped); empty: it cannot be known.

    ``GetTaskBreadcrumbs`` (3.2 and later). Goes with 3.1.
    """
    from airflow.sdk.execution_time import comms

    if not hasattr(comms, "GetTaskBreadcrumbs"):
        return []
    answer = _send(comms.GetTaskBreadcrumbs(dag_id=dag_id, run_id=run_id))
    crumbs = getattr(answer, "breadcrumbs", None) or []
    return [
        (str(crumb.get("task_id")), int(crumb.get("map_index", -1)))
        for crumb in crumbs
        if str(crumb.get("state")) == "failed"
    ]


def try_number_of(dag_id: str, run_id: str, task_id: str, map_index: int, logical_date: datetime) -> int | None:
    """
    Return how often a task of a Dag run was tried; None if that cannot be known.

    By ``GetPreviousTI``, as in :func:`task_ended_at`.

    :param logical_date: of the Dag run.
    """
    from airflow.sdk.execution_time import comms

    if not hasattr(comms, "GetPreviousTI"):
        return None
    just_after = logical_date + timedelta(microseconds=1)
    message = comms.GetPreviousTI(dag_id=dag_id, task_id=task_id, logical_date=just_after, map_index=map_index)
    found = getattr(_send(message), "task_instance", None)
    return found.try_number if found is not None and found.run_id == run_id else None


def return_value(dag_id: str, run_id: str, task_id: str, *, is_mapped: bool) -> Any:  # noqa: ANN401 - the user's
    """
    Return what a task of another Dag run has returned; a list, in the order of the map indexes, for a mapped one.

    It goes through the deployment's XCom backend. None: it has returned nothing.

    :returns: a :class:`Failure` where it cannot be read.
    """
    from airflow.sdk.execution_time.xcom import XCom

    of_task: dict[str, Any] = {"key": "return_value", "dag_id": dag_id, "run_id": run_id, "task_id": task_id}
    if is_mapped:
        return ask(lambda: XCom.get_all(**of_task))
    return ask(lambda: XCom.get_one(**of_task))


def can_send_partition_key() -> bool:
    """
    Return whether a partition key reaches the run that a task asks for.

    The message and the API have one from 3.2, but the supervisor between them leaves it out, without an error
    (3.2.2, 3.3.2 and 3.4.0b2, ``sdk/execution_time/supervisor.py``, ``TriggerDagRun``; ``sdk/api/client.py``,
    ``DagRunOperations.trigger``, has no such parameter). Goes when all supported versions pass it on.
    """
    from airflow.sdk.api.client import DagRunOperations
    from airflow.sdk.execution_time import comms

    is_passed_on = "partition_key" in inspect.signature(DagRunOperations.trigger).parameters
    return is_passed_on and "partition_key" in comms.TriggerDagRun.model_fields


def url_of_task(dag_id: str, run_id: str, task_id: str, map_index: int) -> str | None:
    """Return the address of a task of the run in Airflow's UI (``sdk/execution_time/task_runner.py``, ``log_url``)."""
    of_run = url_of_run(dag_id, run_id)
    mapped = "" if map_index < 0 else f"/mapped/{map_index}"
    return of_run and f"{of_run}/tasks/{task_id}{mapped}"


def url_of_run(dag_id: str, run_id: str) -> str | None:
    """Return the address of the run in Airflow's UI; None if it is not known (before 3.0.3, no ``[api] base_url``)."""
    from airflow.utils import helpers

    build = getattr(helpers, "build_airflow_dagrun_url", None)
    try:
        url = build and build(dag_id=dag_id, run_id=run_id)
    except Exception:  # noqa: BLE001 - for people only: it must not fail a task
        return None
    return str(url) if url else None


def why_queued(dag_id: str) -> str | None:
    """Return why a run of the Dag may be queued, as far as a task can know (3.2 and later: ``GetDag``)."""
    from airflow.sdk.execution_time import comms

    if not hasattr(comms, "GetDag"):
        return None
    is_paused = getattr(_send(comms.GetDag(dag_id=dag_id)), "is_paused", None)
    if is_paused is None:
        return None
    return "its Dag is paused" if is_paused else "it is behind max_active_runs, or the scheduler has not come to it"


class AsyncLookUps:
    """
    Look-ups from a trigger, on the triggerer's event loop.

    Implements :class:`airflow_durable.triggers.requests.LookUps`. The triggerer's end of the channel has ``asend`` in
    all versions (3.0 to 3.3, ``jobs/triggerer_job_runner.py``, ``TriggerCommsDecoder``), so no thread waits for an
    answer.

    A method may be cancelled at any time, as a timeout does. Up to 3.1 a request that is cancelled while its answer is
    awaited breaks the channel: it gives the lock away, and the next request reads the answer to this one ("Response
    read out of order"). There the request itself is left alone, and the next one is sent after it has been answered.
    """

    def __init__(self) -> None:
        self._unanswered: asyncio.Future[Any] | None = None

    async def count(self, dag_id: str, run_ids: Sequence[str], states: Sequence[str]) -> int:
        """
        Return how many of these runs exist and are in one of these states; no states: in any.

        :raises LookUpFailedError: with ``is_transient`` where the same count may succeed later.
        """
        from airflow.sdk.execution_time.comms import GetDRCount

        message = GetDRCount(dag_id=dag_id, run_ids=list(run_ids), states=list(states) or None)
        return _read_count(dag_id, run_ids[0], await self._look_up_together(message))

    async def look_up(self, dag_id: str, run_id: str) -> ChildRun | None:
        """
        Return the Dag run, None if there is none.

        :raises LookUpFailedError: with ``is_transient`` where the same look-up may succeed later.
        """
        from airflow.sdk.execution_time.comms import GetDagRunState

        try:
            answer = await self._send(GetDagRunState(dag_id=dag_id, run_id=run_id))
        except Exception as error:
            if is_missing(error):
                return None
            raise _look_up_failed(dag_id, run_id, error) from error
        return _read_run(dag_id, run_id, answer, is_detailed=False)

    async def count_tasks(
        self, dag_id: str, run_ids: Sequence[str], task_id: str | None, states: Sequence[str] = ()
    ) -> int:
        """
        Return how many task instances these runs have, in one of these states; no states: in any.

        :param task_id: only of this task: more than one of a run if it is mapped.
        :raises LookUpFailedError: with ``is_transient`` where the same count may succeed later.
        """
        from airflow.sdk.execution_time.comms import GetTICount

        task_ids = None if task_id is None else [task_id]
        message = GetTICount(dag_id=dag_id, run_ids=list(run_ids), task_ids=task_ids, states=list(states) or None)
        return _read_count(dag_id, run_ids[0], await self._look_up_together(message))

    async def task_states(
        self, dag_id: str, run_ids: Sequence[str], task_id: str | None
    ) -> dict[str, dict[str, str | None]]:
        """
        Return the states of the tasks of each of these runs that has any; None is the state of one yet to be scheduled.

        A part of a mapped task is named by the task's id, an underscore and its map index.

        :param task_id: this task alone.
        :raises LookUpFailedError: with ``is_transient`` where the same request may succeed later.
        """
        from airflow.sdk.execution_time.comms import GetTaskStates

        task_ids = None if task_id is None else [task_id]
        message = GetTaskStates(dag_id=dag_id, run_ids=list(run_ids), task_ids=task_ids)
        answer = await self._look_up_together(message)
        states: Any = getattr(answer, "task_states", None)
        if not _are_task_states(states):
            reason = f"the answer {type(answer).__name__} has no task states"
            raise LookUpFailedError(dag_id, run_ids[0], reason, is_transient=False)
        return dict(states)

    async def _look_up_together(self, message: Any) -> Any:  # noqa: ANN401 - as many types as there are messages
        """
        Send a message that asks for several runs of a Dag.

        :raises LookUpFailedError: it names the first of them.
        """
        try:
            return await self._send(message)
        except Exception as error:
            raise _look_up_failed(message.dag_id, message.run_ids[0], error) from error

    async def _send(self, message: Any) -> Any:  # noqa: ANN401 - see _look_up_together
        """Send a message to the supervisor, and return its answer."""
        from airflow.sdk.execution_time import task_runner

        channel = task_runner.SUPERVISOR_COMMS
        # From 3.2 it has a future for each request, and a request that is cancelled leaves without a trace.
        if hasattr(channel, "_pending"):
            return await channel.asend(message)
        if self._unanswered is not None:
            await asyncio.wait([self._unanswered])
        self._unanswered = asyncio.ensure_future(_asend(channel, message))
        # If nobody waits for it any more, nobody has to know how it failed.
        self._unanswered.add_done_callback(lambda answered: answered.cancelled() or answered.exception())
        return await asyncio.shield(self._unanswered)


def submit(request: DagRunTriggerException, *, is_reset: bool) -> bool:
    """
    Send the stock operator's request for a Dag run: True if the run was created (or reset), False on a 409.

    This is what the task runner does with the exception (``sdk/execution_time/task_runner.py``,
    ``_handle_trigger_dag_run``, 3.0 to 3.3), and there is no public call for it. ``note`` exists from 3.2,
    ``run_after`` from 3.3; the message forbids fields that it does not know, so only what the request has is sent.

    :param is_reset: clear the run if it exists. Never left to the request: a 409 on our own run id must not clear it.
    :raises SubmissionRefusedError: the server refused for good; nothing was started.
    :raises SubmissionUnknownError: the request may have arrived.
    """
    from airflow.sdk.exceptions import ErrorType
    from airflow.sdk.execution_time.comms import ErrorResponse, OKResponse, TriggerDagRun

    dag_id, run_id = request.trigger_dag_id, request.dag_run_id
    optional = {
        name: value
        for name in set(TriggerDagRun.model_fields) - _OWN_FIELDS
        if (value := getattr(request, name, None)) is not None
    }
    problem = ""
    try:
        message = TriggerDagRun(
            dag_id=dag_id,
            run_id=run_id,
            logical_date=request.logical_date,
            conf=request.conf,
            reset_dag_run=is_reset,
            **optional,
        )
    except Exception as error:  # noqa: BLE001 - Pydantic's, or that of a value's own class
        problem = name_invalid_fields(error)
    if problem:
        # Out of the except block: what is raised in it has the error, and its text, as its context.
        raise SubmissionRefusedError(dag_id, run_id, problem)
    answer = _send(message, conf=request.conf)
    if isinstance(answer, Failure):
        if answer.is_conflict:
            return False
        raise as_submission_error(dag_id, run_id, answer, is_reset=is_reset)
    if isinstance(answer, ErrorResponse):
        if answer.error is ErrorType.DAGRUN_ALREADY_EXISTS:
            return False
        raise SubmissionUnknownError(dag_id, run_id, f"the supervisor answered {answer.error.value}")
    if not isinstance(answer, OKResponse) or not answer.ok:
        raise SubmissionUnknownError(dag_id, run_id, f"the supervisor answered {type(answer).__name__}")
    return True


def is_deferrable_waiting() -> bool:
    """
    Return whether ``deferrable`` waits although ``wait_for_completion`` is False.

    The task runner of 3.0 does so (``sdk/execution_time/task_runner.py``, ``_handle_trigger_dag_run``); that of 3.1 and
    later ignores ``deferrable`` then. Goes with 3.0.
    """
    from airflow.providers.standard.version_compat import AIRFLOW_V_3_1_PLUS

    return not AIRFLOW_V_3_1_PLUS


def can_defer() -> bool:
    """
    Return whether a deferred task gets its trigger run.

    ``dag.test()`` of 3.0 runs the trigger in line, without the channel on which a trigger asks for states
    (``sdk/definitions/dag.py``, ``_run_inline_trigger``); from 3.1 it has one. Goes with 3.0.
    """
    from airflow.sdk.execution_time import supervisor, task_runner

    if hasattr(supervisor.InProcessTestSupervisor, "run_trigger_in_process"):
        return True
    comms = getattr(task_runner, "SUPERVISOR_COMMS", None)
    return not isinstance(comms, supervisor.InProcessSupervisorComms)


def is_event_left_over(*, deferred_in_try: int, try_number: int) -> bool:
    """
    Return whether the event that resumes a task is one that an earlier try has already ended with.

    A retry of 3.0 keeps the resumption of the try before it (``execution_api/routes/task_instances.py``,
    ``ti_update_state``, leaves ``next_method`` as it was; 3.1 clears it), so each try would fail with the first one's
    event. Goes with 3.0.
    """
    return deferred_in_try != try_number


class TaskLookUps(AsyncLookUps):
    """
    The same look-ups from a task that waits in the worker, on an event loop of its own.

    The task's channel answers one request after another, so each is sent as any other of the task's: ``await`` does not
    give way to anything.
    """

    async def _send(self, message: Any) -> Any:  # noqa: ANN401 - see AsyncLookUps
        from airflow.sdk.execution_time import task_runner

        with undisturbed():
            return task_runner.SUPERVISOR_COMMS.send(message)


async def _asend(channel: Any, message: Any) -> Any:  # noqa: ANN401 - as many types as there are messages
    """
    Send a message by a channel that takes one after the other.

    ``dag.test()`` runs a trigger in the task's process, and its channel cannot do without a thread (3.1 to 3.3,
    ``sdk/execution_time/supervisor.py``, ``InProcessSupervisorComms``).
    """
    if hasattr(channel, "asend"):
        return await channel.asend(message)
    from asgiref.sync import sync_to_async

    return await sync_to_async(channel.send)(message)


def _look_up_failed(dag_id: str, run_id: str, error: Exception) -> LookUpFailedError:
    return LookUpFailedError(dag_id, run_id, describe(error), is_transient=is_transient(error))


def _read_count(dag_id: str, run_id: str, answer: Any) -> int:  # noqa: ANN401 - see _send
    count = getattr(answer, "count", None)
    if not isinstance(count, int):
        raise LookUpFailedError(dag_id, run_id, f"the answer {type(answer).__name__} has no count", is_transient=False)
    return count


def _are_task_states(states: Any) -> bool:  # noqa: ANN401 - see _send
    return isinstance(states, dict) and all(
        isinstance(tasks, dict) and all(isinstance(state, str | None) for state in tasks.values())
        for tasks in states.values()
    )


def _read_run(dag_id: str, run_id: str, answer: Any, *, is_detailed: bool) -> ChildRun:  # noqa: ANN401 - see _send
    state = getattr(answer, "state", None)
    state = getattr(state, "value", state)
    if not isinstance(state, str):
        raise LookUpFailedError(dag_id, run_id, f"the answer {type(answer).__name__} has no state", is_transient=False)
    if not is_detailed:
        return ChildRun(state)
    clear_number = getattr(answer, "clear_number", _NOTHING)
    dates: list[Any] = [getattr(answer, name, _NOTHING) for name in ("logical_date", "run_after", "start_date")]
    if not isinstance(clear_number, int | None) or not all(isinstance(date, datetime | None) for date in dates):
        reason = f"the answer {type(answer).__name__} has no clear_number or dates"
        raise LookUpFailedError(dag_id, run_id, reason, is_transient=False)
    logical_date, run_after, started_at = dates
    return ChildRun(state, clear_number or 0, logical_date, run_after, started_at)


def ask(call: Callable[[], Any], *, conf: object = None) -> Any:  # noqa: ANN401 - as many types as there are answers
    """
    Call what sends a message to the supervisor, undisturbed; return the answer, or the :class:`Failure`.

    An error is read here and dropped, before an alarm that has waited is raised: raised while the error is handled, it
    would have the error's text, and what that quotes, as its context.

    :param conf: the one in the message.
    """
    with undisturbed():
        try:
            return call()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is read
            return read_failure(error, conf=conf)


def _send(message: Any, *, conf: object = None) -> Any:  # noqa: ANN401 - as many types as there are messages
    from airflow.sdk.execution_time import task_runner

    return ask(lambda: task_runner.SUPERVISOR_COMMS.send(message), conf=conf)
