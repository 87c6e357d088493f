"""
A scripted supervisor at the other end of the task runner's channel.

The task side is all real: the task runner of the installed Airflow, its ``CommsDecoder`` over a real socket, its
message models. This side decodes each request with Airflow's own models, holds the Dag runs, the state store and the
XComs, and answers as Airflow's supervisor would after it asked the API server.
"""

from __future__ import annotations

import contextlib
import json
import select
import signal
import socket
import threading
import time
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from airflow.sdk.api.datamodels import _generated as api
from airflow.sdk.exceptions import ErrorType
from airflow.sdk.execution_time import comms, task_runner
from msgspec import msgpack
from pydantic import TypeAdapter

from . import versions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow.sdk import DAG
    from airflow.sdk.bases.operator import BaseOperator

TO_SUPERVISOR: TypeAdapter[Any] = TypeAdapter(comms.ToSupervisor)
NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)
LOOKS = ("GetDagRunState", "GetDagRun")
OUTCOMES = ("SucceedTask", "TaskState", "RetryTask", "DeferTask")
HEADER_BYTES = 4


class ServerError(Exception):
    """
    The API server's answer was an error.

    :param status: None: there was no answer.
    :param detail: the ``detail`` of the body.
    """

    def __init__(self, status: int | None, detail: Any = None) -> None:  # noqa: ANN401 - JSON
        super().__init__(f"HTTP {status}")
        self.status = status
        self.detail = detail

    def response(self) -> comms.ErrorResponse:
        """Return it as the supervisor hands it to the task (``supervisor.py``, ``handle_requests``)."""
        detail: dict[str, Any]
        if self.status is None:
            detail = {"status_code": None, "message": "All attempts failed", "exception_type": "ConnectError"}
        else:
            detail = {"status_code": self.status, "message": "Server returned error", "detail": {"detail": self.detail}}
        return comms.ErrorResponse(error=ErrorType.API_SERVER_ERROR, detail=detail)


class SupervisorGone(Exception):  # noqa: N818 - what happened, not an error of the server
    """The supervisor's process dies before it answers."""


def not_found(what: str) -> ServerError:
    """Return the error of the Execution API for what does not exist."""
    return ServerError(404, {"reason": "not_found", "message": f"{what} not found"})


@dataclass
class Run:
    """A Dag run at the server."""

    dag_id: str
    run_id: str
    state: str = "queued"
    logical_date: datetime | None = None
    run_after: datetime | None = None
    conf: Any = None
    note: str | None = None
    clear_number: int = 0


@dataclass(frozen=True)
class Fault:
    """
    What befalls one request.

    :param error: the answer.
    :param is_after: the request took effect before.
    """

    error: Exception
    is_after: bool = False


@dataclass
class Outcome:
    """
    What came of one attempt.

    :ivar state: "exited": the task runner itself raised, as that of Airflow before 3.3 does where it handles the stock
        operator's request.
    """

    state: str
    error: BaseException | None
    final: Any
    requests: list[Any]
    task: BaseOperator
    log: list[str]

    def names(self, *without: str) -> list[str]:
        """Return the names of the requests, in their order."""
        return [name for request in self.requests if (name := type(request).__name__) not in without]

    def said(self, text: str) -> bool:
        """Tell whether the task's log has the text."""
        return any(text in line for line in self.log)


class Supervisor:
    """
    Airflow as one task sees it, over all its attempts.

    :ivar dags: the child Dags that exist, and whether each is paused.
    :ivar faults: by the name of a message, what befalls the next ones; None: nothing.
    :ivar before: by the name of a message, what is called before it is answered.
    :ivar on_sleep: called when the task sleeps; no time passes.
    """

    def __init__(self) -> None:
        self.dags = {"child": False}
        self.runs: dict[tuple[str, str], Run] = {}
        self.store: dict[str, Any] = {}
        self.expiries: dict[str, Any] = {}
        self.xcoms: dict[str, Any] = {}
        self.faults: dict[str, list[Fault | None]] = {}
        self.before: dict[str, Callable[[], object]] = {}
        self.on_sleep: Callable[[], object] = lambda: self.end_all("success")
        self.sleeps: list[float] = []
        self.requests: list[Any] = []
        self.current_id: uuid.UUID | None = None
        self.broken: list[BaseException] = []

    # What a test asks.

    def states(self, dag_id: str = "child") -> list[str]:
        """Return the states of the runs of a Dag, in the order of their creation."""
        return [run.state for run in self.runs.values() if run.dag_id == dag_id]

    def only_run(self) -> Run:
        """Return the run; fail if there is not exactly one."""
        (run,) = self.runs.values()
        return run

    def record(self) -> dict[str, Any]:
        """Return the journal's record as people see it."""
        (record,) = self.store.values()
        assert isinstance(record, dict)
        return record

    def end_all(self, state: str) -> None:
        """Let every active run end."""
        for run in self.runs.values():
            if run.state in {"queued", "running"}:
                run.state = state

    def fail(self, name: str, error: Exception, *, times: int = 1, is_after: bool = False) -> None:
        """Let the next requests of this name fail."""
        self.faults.setdefault(name, []).extend([Fault(error, is_after=is_after)] * times)

    # An attempt.

    def run(  # noqa: PLR0913 - what an attempt has
        self,
        dag: DAG,
        task_id: str = "trigger",
        *,
        try_number: int = 1,
        max_tries: int | None = None,
        clear_number: int = 0,
        map_index: int = -1,
        event: Any = None,  # noqa: ANN401 - JSON
        parent_conf: dict[str, Any] | None = None,
    ) -> Outcome:
        """
        Run one attempt with Airflow's task runner.

        :param event: the trigger's, of an attempt that goes on after its deferral.
        """
        task = dag.task_dict[task_id]
        retries = getattr(task, "retries", 0) or 0
        max_tries = retries if max_tries is None else max_tries
        context_from_server = api.TIRunContext(
            dag_run=api.DagRun(
                dag_id=dag.dag_id,
                run_id="parent-run",
                logical_date=NOW,
                data_interval_start=NOW,
                data_interval_end=NOW,
                run_after=NOW,
                start_date=NOW,
                end_date=None,
                clear_number=clear_number,
                run_type=api.DagRunType.MANUAL,
                state=api.DagRunState.RUNNING,
                conf=parent_conf,
                consumed_asset_events=[],
                **({"partition_key": None} if versions.HAS_STORE else {}),
            ),
            max_tries=max_tries,
            should_retry=try_number <= max_tries,
            xcom_keys_to_clear=[] if event else list(self.xcoms),
            **(
                {}
                if event is None
                else {
                    "next_method": "execute_complete",
                    "next_kwargs": versions.dump_next_kwargs({"event": event}),
                }
            ),
        )
        if event is None:
            # A new try, a new id; a deferral keeps it.
            self.current_id = uuid.uuid4()
        instance = task_runner.RuntimeTaskInstance.model_construct(
            id=self.current_id,
            task_id=task_id,
            dag_id=dag.dag_id,
            run_id="parent-run",
            try_number=try_number,
            map_index=map_index,
            dag_version_id=uuid.uuid4(),
            hostname="",
            task=task,
            bundle_instance=None,
            _ti_context_from_server=context_from_server,
            max_tries=max_tries,
            start_date=NOW + timedelta(minutes=try_number),
            state="running",
            **versions.further_instance_fields(),
        )
        seen = len(self.requests)
        log = Log()
        with self._channel(), _signals_kept(), log.captured():
            outcome = self._run_as_main_does(instance, log)
        assert not self.broken, self.broken
        outcome.requests = self.requests[seen:]
        return outcome

    @staticmethod
    def _run_as_main_does(instance: Any, log: Any) -> Outcome:  # noqa: ANN401 - a model, and one of Airflow's loggers
        context = instance.get_template_context()
        try:
            state, final, error = task_runner.run(instance, context, log)
        except Exception as raised:  # noqa: BLE001 - as ``main`` does: a "top level error", and the process exits with 1
            return Outcome("exited", raised, None, [], instance.task, log.lines)
        context["exception"] = error
        task_runner.finalize(instance, state, context, log, error)
        return Outcome(state.value, error, final, [], instance.task, log.lines)

    # The server.

    def answer(self, request: Any) -> Any:  # noqa: ANN401 - as many types as there are messages
        """Return the answer to a request; raise ServerError if that is the answer."""
        name = type(request).__name__
        self.requests.append(request)
        if hook := self.before.get(name):
            hook()
        fault = self.faults[name].pop(0) if self.faults.get(name) else None
        if fault and not fault.is_after:
            raise fault.error
        handler = getattr(self, f"_on_{name}", None)
        if handler is None and name not in {*OUTCOMES, "SetRenderedFields", "SetRenderedMapIndex", "MaskSecret"}:
            raise AssertionError(f"The supervisor is not scripted to answer {name}.")
        answered = handler(request) if handler else None
        if fault:
            raise fault.error
        return answered

    def _on_TriggerDagRun(self, request: Any) -> Any:  # noqa: ANN401, N802 - a message, by its name
        if request.dag_id not in self.dags:
            raise not_found(f"Dag with dag_id: {request.dag_id!r}")
        run = Run(
            request.dag_id,
            request.run_id,
            logical_date=request.logical_date,
            run_after=getattr(request, "run_after", None),
            conf=request.conf,
            note=getattr(request, "note", None),
        )
        existing = self.runs.get((run.dag_id, run.run_id))
        is_date_taken = run.logical_date is not None and any(
            (other.dag_id, other.logical_date) == (run.dag_id, run.logical_date) for other in self.runs.values()
        )
        if existing is None and not is_date_taken:
            self.runs[run.dag_id, run.run_id] = run
        elif not request.reset_dag_run:
            return comms.ErrorResponse(error=ErrorType.DAGRUN_ALREADY_EXISTS)
        elif existing is None:
            raise not_found("The Dag run to clear")
        else:
            existing.state, existing.clear_number = "queued", existing.clear_number + 1
        return comms.OKResponse(ok=True)

    def _on_GetDagRunState(self, request: Any) -> Any:  # noqa: ANN401, N802
        return comms.DagRunStateResult(state=api.DagRunState(self._find(request).state))

    def _on_GetDagRun(self, request: Any) -> Any:  # noqa: ANN401, N802
        run = self._find(request)
        return comms.DagRunResult(
            dag_id=run.dag_id,
            run_id=run.run_id,
            logical_date=run.logical_date,
            data_interval_start=None,
            data_interval_end=None,
            run_after=NOW,
            start_date=None,
            end_date=None,
            clear_number=run.clear_number,
            run_type=api.DagRunType.MANUAL,
            state=api.DagRunState(run.state),
            consumed_asset_events=[],
            partition_key=None,
        )

    def _find(self, request: Any) -> Run:  # noqa: ANN401
        run = self.runs.get((request.dag_id, request.run_id))
        if run is None:
            raise not_found(f"DagRun with dag_id: {request.dag_id!r} and run_id: {request.run_id!r}")
        return run

    def _on_GetDag(self, request: Any) -> Any:  # noqa: ANN401, N802
        if request.dag_id not in self.dags:
            raise not_found(f"Dag with dag_id: {request.dag_id!r}")
        return comms.DagResult(
            dag_id=request.dag_id,
            is_paused=self.dags[request.dag_id],
            bundle_name=None,
            bundle_version=None,
            relative_fileloc=None,
            owners=None,
            tags=[],
            next_dagrun=None,
        )

    def _on_GetTaskStateStore(self, request: Any) -> Any:  # noqa: ANN401, N802
        # To a superseded attempt it is a 404, which the client takes for a key that is not there.
        if request.ti_id != self.current_id or request.key not in self.store:
            return comms.ErrorResponse(error=ErrorType.TASK_STORE_NOT_FOUND, detail={"key": request.key})
        return comms.TaskStateStoreResult(value=self.store[request.key])

    def _on_SetTaskStateStore(self, request: Any) -> Any:  # noqa: ANN401, N802
        if request.ti_id != self.current_id:
            raise not_found("Task instance")
        self.store[request.key] = json.loads(json.dumps(request.value))
        self.expiries[request.key] = request.expires_at
        return comms.OKResponse(ok=True)

    def _on_SetExecutionTimeout(self, request: Any) -> Any:  # noqa: ANN401, N802 - from 3.4
        return comms.OKResponse(ok=True)

    def _on_SetXCom(self, request: Any) -> None:  # noqa: ANN401, N802
        self.xcoms[request.key] = request.value

    def _on_GetXCom(self, request: Any) -> Any:  # noqa: ANN401, N802
        return comms.XComResult(key=request.key, value=self.xcoms.get(request.key))

    def _on_DeleteXCom(self, request: Any) -> None:  # noqa: ANN401, N802
        self.xcoms.pop(request.key, None)

    # The channel.

    @contextlib.contextmanager
    def _channel(self) -> Iterator[None]:
        """Open the channel; see that nothing unread is left in it."""
        ours, theirs = socket.socketpair()
        thread = threading.Thread(target=self._serve, args=(ours,), daemon=True)
        thread.start()
        decoder: Any = comms.CommsDecoder(socket=theirs)
        try:
            with (
                patch.object(task_runner, "SUPERVISOR_COMMS", decoder, create=True),
                patch.object(time, "sleep", self._sleep),
            ):
                yield
            readable, _, _ = select.select([theirs], [], [], 0)
            is_answer_left = bool(readable and theirs.recv(1, socket.MSG_PEEK))
            assert not is_answer_left, "An answer was left in the channel: the next request would get it."
        finally:
            theirs.close()
            thread.join(10)
            ours.close()

    def _sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.on_sleep()

    def _serve(self, channel: socket.socket) -> None:
        decoder = msgpack.Decoder(comms._RequestFrame)
        while header := _read(channel, HEADER_BYTES):
            frame = decoder.decode(_read(channel, int.from_bytes(header, "big")))
            try:
                answered = self.answer(TO_SUPERVISOR.validate_python(frame.body))
            except ServerError as error:
                response = comms._ResponseFrame(id=frame.id, error=error.response().model_dump())
            except SupervisorGone:
                channel.close()
                return
            except BaseException as error:  # noqa: BLE001 - for the test's thread
                self.broken.append(error)
                channel.close()
                return
            else:
                response = comms._ResponseFrame(id=frame.id, body=answered and answered.model_dump())
            channel.sendall(response.as_bytes())


class Log:
    """The task's log, as text. Airflow's loggers differ by version; what is asserted on is the text alone."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    @contextlib.contextmanager
    def captured(self) -> Iterator[None]:
        """Let the operator log here."""
        from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator

        # The stock class: ours inherits it.
        with patch.object(TriggerDagRunOperator, "log", self):
            yield

    def info(self, event: str, *args: object, **fields: object) -> None:
        """Log a line."""
        text = event % args if args else event
        self.lines.append(" ".join([text, *(f"{name}={value}" for name, value in fields.items())]))

    debug = warning = error = info

    def exception(self, event: str, *args: object, **fields: object) -> None:
        """Log a line and what was raised."""
        import sys

        self.info(event, *args, **fields)
        self.lines.append(str(sys.exc_info()[1]))


@contextlib.contextmanager
def _signals_kept() -> Iterator[None]:
    """Keep the test's own signal handlers: the task runner sets its own."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGALRM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _read(channel: socket.socket, count: int) -> bytes:
    """Return so many bytes, none at all if the channel was closed."""
    data = b""
    while len(data) < count:
        try:
            part = channel.recv(count - len(data))
        except OSError:
            return b""
        if not part:
            return b""
        data += part
    return data
