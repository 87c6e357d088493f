"""The real operator on a fake supervisor that may answer anything, and a store that may hold anything."""

from __future__ import annotations

import json
import logging
from datetime import datetime, timezone
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest import mock

from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType
from airflow.sdk.execution_time import comms, task_runner

from airflow_durable.compat import (
    AirflowFailException,
    AirflowSkipException,
    TaskDeferred,
)
from airflow_durable.core.model import ENDED_STATES
from airflow_durable.core.stored import KEY
from airflow_durable.exceptions import DurableTriggerError, DurableTriggerFailError
from airflow_durable.operators.trigger_dagrun import TriggerDagRunOperator
from airflow_durable.task import calls

if TYPE_CHECKING:
    from collections.abc import Callable

OUR_ENDS = (DurableTriggerError, DurableTriggerFailError, AirflowSkipException, TaskDeferred)
"""How an attempt may end beside success. All are Airflow's own kinds, so that it retries, fails, skips or defers."""

MAX_MESSAGES = 200
NOW = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)
_SILENT = logging.getLogger("tests.fuzz")
_SILENT.setLevel(logging.CRITICAL + 1)


class TooManyMessagesError(BaseException):
    """The attempt asks and asks. Not an Exception: nothing may catch it."""


class Stage:
    """
    A parent task, its journal and its child Dag's runs.

    :ivar beside: the runs that were active when another one was created.

    :param answer: what the supervisor answers to a message instead of the truth; it is given the truth as a function,
        which also does what was asked.
    """

    def __init__(self, answer: Callable[[Any, Callable[[], Any]], Any] | None = None, **arguments: Any) -> None:  # noqa: ANN401 - the operator's own
        self.runs: dict[str, str] = {}
        self.details: dict[str, Any] = {}
        self.submitted: list[str] = []
        self.beside: list[str] = []
        self.store: dict[str, Any] = {}
        self.messages = 0
        self.paused: bool | Exception = False
        self._answer = answer
        self._arguments = arguments
        self._try_number = 0

    @property
    def stored(self) -> Any:  # noqa: ANN401 - anything may be stored
        """The first entry of the journal; set alone, it is the only one."""
        return self.store.get(KEY)

    @stored.setter
    def stored(self, value: Any) -> None:  # noqa: ANN401 - anything may be stored
        self.store = {} if value is None else {KEY: value}

    def attempt(self, *, max_tries: int = 3, event: Any = None) -> BaseException | None:  # noqa: ANN401 - anything
        """
        Execute the next attempt.

        :param event: resume with this event instead.
        :returns: how it ended; None: in success.
        :raises Exception: it ended in any other way than an attempt may.
        """
        self._try_number += event is None
        # As in Airflow, each execution is a process of its own.
        calls._current = None
        operator = TriggerDagRunOperator(
            task_id="parent", trigger_dag_id="child", durable=True, retries=3, poke_interval=1, **self._arguments
        )
        store = SimpleNamespace(get=self._get, set=self._set)
        context: Any = {
            "ti": SimpleNamespace(
                dag_id="dag",
                run_id="run",
                task_id="parent",
                map_index=-1,
                try_number=max(self._try_number, 1),
                max_tries=max_tries,
                id=f"01990000-0000-7000-8000-{self._try_number:012}",
                xcom_push=lambda key, value: None,
                stats_tags={},
                get_dag=self._get_dag,
            ),
            "task": operator,
            "dag_run": SimpleNamespace(clear_number=0, start_date=NOW, run_after=NOW, logical_date=NOW),
            "task_state_store": store,
        }
        with (
            mock.patch.object(task_runner, "SUPERVISOR_COMMS", SimpleNamespace(send=self._send), create=True),
            mock.patch("airflow_durable.task.port.time.sleep", self._sleep),
            mock.patch.object(TriggerDagRunOperator, "log", _SILENT),
        ):
            try:
                if event is None:
                    operator.execute(context)
                else:
                    operator.execute_complete(context, event)
            except OUR_ENDS as end:
                return end
        return None

    def _get(self, key: str) -> Any:  # noqa: ANN401 - anything may be stored
        return self.store.get(key)

    def _set(self, key: str, value: Any, **_: Any) -> None:  # noqa: ANN401 - as the store's own
        # As the server does: what comes back is what JSON makes of it.
        self.store[key] = json.loads(json.dumps(value))

    def _get_dag(self, dag_id: str) -> Any:  # noqa: ANN401 - as the task instance's own
        if isinstance(self.paused, Exception):
            raise self.paused
        return SimpleNamespace(is_paused=self.paused)

    def _sleep(self, seconds: float) -> None:
        """Let time pass: what runs has ended by then."""
        for run_id, state in self.runs.items():
            if state not in ENDED_STATES:
                self.runs[run_id] = "success"

    def _send(self, message: Any) -> Any:  # noqa: ANN401 - as many types as there are messages
        self.messages += 1
        if self.messages > MAX_MESSAGES:
            raise TooManyMessagesError
        if self._answer is None:
            return self._do(message)
        return self._answer(message, lambda: self._do(message))

    def _do(self, message: Any) -> Any:  # noqa: ANN401 - as many types as there are messages
        if isinstance(message, comms.TriggerDagRun):
            self.submitted.append(message.run_id)
            if message.run_id in self.runs:
                return comms.ErrorResponse(error=ErrorType.DAGRUN_ALREADY_EXISTS)
            self.beside += [run_id for run_id, state in self.runs.items() if state not in ENDED_STATES]
            self.runs[message.run_id] = "running"
            self.details[message.run_id] = {
                "logical_date": message.logical_date,
                "run_after": getattr(message, "run_after", None) or NOW,
                "conf": message.conf,
            }
            return comms.OKResponse(ok=True)
        if isinstance(message, comms.GetDRCount):
            counted = (run_id for run_id in message.run_ids or () if run_id in self.runs)
            wanted = [run_id for run_id in counted if not message.states or self.runs[run_id] in message.states]
            return comms.DRCount(count=len(wanted))
        if type(message).__name__ in {"GetDag", "GetPreviousTI"}:
            return comms.ErrorResponse(error=ErrorType.GENERIC_ERROR)
        state = self.runs.get(message.run_id)
        if state is None:
            raise server_error(404, {"detail": {"reason": "not_found", "message": "DagRun not found"}})
        if type(message).__name__ == "GetDagRun":
            known = {"logical_date": None, "run_after": NOW, "conf": {}, **self.details.get(message.run_id, {})}
            return SimpleNamespace(state=state, clear_number=0, start_date=None, **known)
        return SimpleNamespace(state=state)


def server_error(status: object, body: object) -> AirflowRuntimeError:
    """Return the error by which the supervisor passes a server's answer on."""
    detail: Any = {"status_code": status, "message": "the server said no", "detail": body}
    return AirflowRuntimeError(comms.ErrorResponse(error=ErrorType.API_SERVER_ERROR, detail=detail))


def is_terminal(end: BaseException | None) -> bool:
    """Tell whether no other try follows."""
    return end is None or isinstance(end, (AirflowFailException, AirflowSkipException))
