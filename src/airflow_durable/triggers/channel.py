"""The poller's requests: one at a time, each with a timeout, each answer checked."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from airflow_durable.core.errors import LookUpFailedError
from airflow_durable.core.model import ChildRun
from airflow_durable.triggers.limits import divide
from airflow_durable.triggers.requests import Count, CountTasks, ListTasks, LookUp

if TYPE_CHECKING:
    from airflow_durable.triggers.batches import Group
    from airflow_durable.triggers.requests import LookUps

REQUEST_TIMEOUT_SECONDS = 60.0
"""
The client repeats a request that got a 5xx, up to five times in about half a minute (``sdk/api/client.py``,
``API_RETRIES``, 3.0 to 3.3). The supervisor does nothing else meanwhile: what is sent then would wait behind it.
"""

_WEIGHT_OF_LATEST = 0.1
"""Of the latest request in the mean of how long requests take."""


class Channel:
    """
    Sends requests.

    :ivar request_seconds: how long a request takes, on average.
    :ivar latest_seconds: how long the latest one took.
    """

    def __init__(self, look_ups: LookUps) -> None:
        self._look_ups = look_ups
        self.request_seconds = 0.0
        self.latest_seconds = 0.0

    async def ask(self, group: Group, request: Count | LookUp | CountTasks | ListTasks, known_size: int = 0) -> Any:  # noqa: ANN401 - as many types as there are requests
        """
        Send a request, and return its answer.

        :param known_size: counts of this many bytes of run ids are not divided, whatever the limit is.
        :raises LookUpFailedError: if that is not an answer to this request.
        """
        try:
            if not isinstance(request, Count):
                return await self._send(group, request)
            if not request.run_ids:
                return 0
            parts = list(divide(request.run_ids, max(group.limit.current, known_size)))
            return sum([await self._send(group, Count(part, request.states)) for part in parts])
        except LookUpFailedError as error:
            if request.is_error_answer:
                return error
            raise

    async def _send(self, group: Group, request: Count | LookUp | CountTasks | ListTasks) -> Any:  # noqa: ANN401 - see ask
        begun = _now()
        run_id = request.run_id if isinstance(request, LookUp) else request.run_ids[0]
        try:
            answer = await asyncio.wait_for(request.send(self._look_ups, group.dag_id), REQUEST_TIMEOUT_SECONDS)
        except LookUpFailedError:
            raise
        except asyncio.TimeoutError as error:
            reason = f"no answer within {REQUEST_TIMEOUT_SECONDS:.0f} s"
            raise LookUpFailedError(group.dag_id, run_id, reason, is_transient=True) from error
        except Exception as error:
            # A fault in this package, or an Airflow that answers otherwise than those it was tested with.
            reason = f"{type(error).__name__} in {type(request).__name__}"
            raise LookUpFailedError(group.dag_id, run_id, reason, is_transient=False) from error
        finally:
            self.latest_seconds = _now() - begun
            self.request_seconds += _WEIGHT_OF_LATEST * (self.latest_seconds - self.request_seconds)
        if not _is_answer(request, answer):
            reason = f"{type(answer).__name__} is no answer to {type(request).__name__}"
            raise LookUpFailedError(group.dag_id, run_id, reason, is_transient=False)
        return answer


def _is_answer(request: Count | LookUp | CountTasks | ListTasks, answer: object) -> bool:
    if isinstance(request, Count):
        return type(answer) is int and 0 <= answer <= len(request.run_ids)
    if isinstance(request, CountTasks):
        return type(answer) is int and answer >= 0
    if isinstance(request, LookUp):
        return answer is None or (isinstance(answer, ChildRun) and isinstance(answer.state, str))
    return isinstance(answer, dict)


def _now() -> float:
    return asyncio.get_running_loop().time()
