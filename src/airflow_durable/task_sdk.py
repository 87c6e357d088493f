"""
The one module that speaks the Task SDK's internal language: messages to the supervisor, and what comes back.

Each item says why the internal is needed, the versions it was read in, and when it can go.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow_durable.core.errors import LookUpFailedError, SubmissionRefusedError, SubmissionUnknownError
from airflow_durable.core.model import ChildRun

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from airflow.sdk.exceptions import DagRunTriggerException

_OWN_FIELDS = frozenset({"dag_id", "run_id", "logical_date", "conf", "reset_dag_run", "type"})
"""Of the message TriggerDagRun: those that are set by name. Any other that the request has is passed on as it is."""

_CLIENT_ERRORS = range(400, 500)
_INVALID_STATUS = 422
_TIMEOUT_STATUS = 408
_CONFLICT_STATUS = 409
_TOO_MANY_STATUS = 429
_NOTHING = object()
_PASSING_STATUSES = frozenset({_TIMEOUT_STATUS, _TOO_MANY_STATUS})


def look_up(dag_id: str, run_id: str, *, is_detailed: bool) -> ChildRun | None:
    """
    Return the Dag run, None if there is none.

    There is no public call for it: ``RuntimeTaskInstance.get_dagrun_state`` gives the state without ``clear_number``
    and ``logical_date``. ``GetDagRun`` exists from 3.2, in a task only (``sdk/execution_time/comms.py``).

    :raises LookUpFailedError: with ``is_transient`` where the same look-up may succeed later.
    """
    from airflow.sdk.execution_time import comms

    message_type = comms.GetDagRun if is_detailed else comms.GetDagRunState
    try:
        answer = _send(message_type(dag_id=dag_id, run_id=run_id))
    except Exception as error:
        if is_missing(error):
            return None
        raise _look_up_failed(dag_id, run_id, error) from error
    return _read_run(dag_id, run_id, answer, is_detailed=is_detailed)


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
    try:
        message = TriggerDagRun(
            dag_id=dag_id,
            run_id=run_id,
            logical_date=request.logical_date,
            conf=request.conf,
            reset_dag_run=is_reset,
            **optional,
        )
    except ValueError as error:
        # Pydantic's message quotes the values, the conf among them: name the fields only.
        raise SubmissionRefusedError(dag_id, run_id, _name_invalid_fields(error)) from None
    try:
        answer = _send(message)
    except Exception as error:
        status, _ = _read_error(error)
        if status == _CONFLICT_STATUS:
            return False
        if status == _INVALID_STATUS:
            # What the server finds invalid it quotes, the conf among it: the cause's text would show it.
            raise as_submission_error(dag_id, run_id, error) from None
        raise as_submission_error(dag_id, run_id, error) from error
    if isinstance(answer, ErrorResponse):
        if answer.error is ErrorType.DAGRUN_ALREADY_EXISTS:
            return False
        raise SubmissionUnknownError(dag_id, run_id, f"the supervisor answered {answer.error.value}")
    if not isinstance(answer, OKResponse) or not answer.ok:
        raise SubmissionUnknownError(dag_id, run_id, f"the supervisor answered {type(answer).__name__}")
    return True


def as_submission_error(dag_id: str, run_id: str, error: Exception) -> SubmissionRefusedError | SubmissionUnknownError:
    """Return what the error means to a submission: that it was refused for good, or that its fate is not known."""
    status, reason = _read_error(error)
    is_refused = status in _CLIENT_ERRORS and status not in _PASSING_STATUSES
    return (SubmissionRefusedError if is_refused else SubmissionUnknownError)(dag_id, run_id, reason)


def is_deferrable_waiting() -> bool:
    """
    Tell whether ``deferrable`` waits although ``wait_for_completion`` is False.

    The task runner of 3.0 does so (``sdk/execution_time/task_runner.py``, ``_handle_trigger_dag_run``); that of 3.1 and
    later ignores ``deferrable`` then. Goes with 3.0.
    """
    from airflow.providers.standard.version_compat import AIRFLOW_V_3_1_PLUS

    return not AIRFLOW_V_3_1_PLUS


def can_defer() -> bool:
    """
    Tell whether a deferred task gets its trigger run.

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
    Tell whether the event that resumes a task is one that an earlier try has already ended with.

    A retry of 3.0 keeps the resumption of the try before it (``execution_api/routes/task_instances.py``,
    ``ti_update_state``, leaves ``next_method`` as it was; 3.1 clears it), so each try would fail with the first one's
    event. Goes with 3.0.
    """
    return deferred_in_try != try_number


def is_missing(error: Exception) -> bool:
    """
    Tell whether the error says that the Dag run does not exist, and not that the route or the server does not.

    The body is ``{"detail": {"reason": "not_found", ...}}`` (``execution_api/routes/dag_runs.py``, 3.0 to 3.3); an
    unknown route has a text in its place.
    """
    status, _ = _read_error(error)
    detail = _detail_of(error)
    return status == 404 and isinstance(detail, dict) and detail.get("reason") == "not_found"  # noqa: PLR2004


def describe(error: Exception) -> str:
    """Return what the server said, in a line, without the values that were sent to it."""
    return _read_error(error)[1]


def is_transient(error: Exception) -> bool:
    """
    Tell whether the same request may succeed later.

    Not so where the channel to the supervisor is closed: that process is gone for good.
    """
    status, _ = _read_error(error)
    if status is None:
        return is_from_server(error)
    return status in _PASSING_STATUSES or status not in _CLIENT_ERRORS


def is_from_server(error: Exception) -> bool:
    """
    Tell whether the error came by way of the server, or from the network to it, and not from this process.

    In a task it is the supervisor's ``AirflowRuntimeError``, also where the server did not answer (3.2 and 3.3); in
    ``dag.test()`` the client's own error.
    """
    import httpx
    from airflow.sdk.exceptions import AirflowRuntimeError

    return isinstance(error, (AirflowRuntimeError, httpx.HTTPError))


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
    clear_number, logical_date = (getattr(answer, name, _NOTHING) for name in ("clear_number", "logical_date"))
    if not isinstance(clear_number, int | None) or not isinstance(logical_date, datetime | None):
        reason = f"the answer {type(answer).__name__} has no clear_number or logical_date"
        raise LookUpFailedError(dag_id, run_id, reason, is_transient=False)
    return ChildRun(state, clear_number or 0, logical_date)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """
    Let ``execution_timeout`` wait until a request has its answer.

    It raises from a SIGALRM handler (``sdk/execution_time/timeout.py``, 3.0 to 3.3). Raised while the answer is being
    read, it would leave that answer in the channel, to be taken for the answer to the next message: the one that
    reports the failure. Dag.test() and other threads have no alarm.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _send(message: Any) -> Any:  # noqa: ANN401 - as many types as there are messages
    """Send a message to the supervisor, undisturbed."""
    from airflow.sdk.execution_time import task_runner

    with undisturbed():
        return task_runner.SUPERVISOR_COMMS.send(message)


def _read_error(error: Exception) -> tuple[int | None, str]:
    """
    Return the HTTP status, None if there was no answer, and what to tell people.

    In a task the supervisor sends an ``AirflowRuntimeError`` whose ``error.detail`` has ``status_code``, ``message``
    and the body under ``detail`` (``sdk/execution_time/supervisor.py``, ``handle_requests``, 3.0 to 3.3). In
    ``dag.test()`` the client's own ``ServerResponseError`` arrives.
    """
    detail = getattr(getattr(error, "error", None), "detail", None)
    if isinstance(detail, dict):
        status = detail.get("status_code")
        if isinstance(status, int):
            return status, f"{_message_of(error) or detail.get('message')} (HTTP {status})"
        return None, f"{detail.get('message')} ({detail.get('exception_type', 'no answer')})"
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(status, int):
        return status, f"{_message_of(error) or type(error).__name__} (HTTP {status})"
    return None, f"{type(error).__name__}: {error}"


def _message_of(error: Exception) -> str | None:
    """Return the server's own words, without the values that it quotes: ``input`` may be the whole conf."""
    said = _detail_of(error)
    if isinstance(said, dict):
        said = said.get("message")
    elif isinstance(said, list):
        said = "; ".join(_describe_invalid(item) for item in said)
    return said if isinstance(said, str) and said else None


def _describe_invalid(item: Any) -> str:  # noqa: ANN401 - JSON, or the client's model of it
    loc, msg = (
        (item.get("loc"), item.get("msg"))
        if isinstance(item, dict)
        else (getattr(item, "loc", None), getattr(item, "msg", None))
    )
    place = ".".join(str(part) for part in loc) if isinstance(loc, (list, tuple)) else str(loc)
    return f"{place}: {msg}"


def _detail_of(error: Exception) -> Any:  # noqa: ANN401 - whatever the server sent
    """Return the ``detail`` of the body that the server sent: an object, a text, or None."""
    detail = getattr(getattr(error, "error", None), "detail", None)
    if isinstance(detail, dict):
        body = detail.get("detail")
        return body.get("detail") if isinstance(body, dict) else body
    detail = getattr(error, "detail", None)
    if isinstance(detail, dict) and detail.keys() == {"detail"}:
        # The client of 3.0 keeps the whole body if its detail is an object (``sdk/api/client.py``). Goes with 3.0.
        return detail["detail"]
    return detail


def _name_invalid_fields(error: ValueError) -> str:
    errors = getattr(error, "errors", None)
    if errors is None:
        return "the request is not valid"
    said = [f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}" for item in errors(include_input=False)]
    return "; ".join(said)
