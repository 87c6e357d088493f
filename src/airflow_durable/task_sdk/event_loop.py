"""Look-ups on an event loop: a trigger's, on the triggerer's, and a task's that waits for many runs, on its own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from airflow_durable.core.errors import LookUpFailedError
from airflow_durable.server_errors import describe, is_missing, is_transient
from airflow_durable.task_sdk.answers import are_task_states, read_count, read_run
from airflow_durable.task_sdk.channel import undisturbed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_durable.core.model import ChildRun


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
        return read_count(dag_id, run_ids[0], await self._look_up_together(message))

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
        return read_run(dag_id, run_id, answer, is_detailed=False)

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
        return read_count(dag_id, run_ids[0], await self._look_up_together(message))

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
        if not are_task_states(states):
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
