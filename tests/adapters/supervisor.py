"""
A scripted supervisor at the other end of the task runner's channel.

The task side is all real: the task runner of the installed Airflow, its ``CommsDecoder`` over a real socket, its
message models. This side decodes each request with Airflow's own models, lets the scripted server answer
(:mod:`tests.adapters.server`), and does to requests and answers what a test asks for: loses, delays, repeats them.
"""

from __future__ import annotations

import contextlib
import select
import signal
import socket
import threading
import time
import uuid
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from airflow.sdk.api.datamodels import _generated as api
from airflow.sdk.execution_time import comms, task_runner
from msgspec import msgpack
from pydantic import TypeAdapter

from airflow_durable.core.stored import position_of
from airflow_durable.operators.trigger_dagruns import TriggerDagRunsOperator
from airflow_durable.task import calls

from . import versions
from .fake_server import NOW, OUTCOMES, Run, Server, ServerError, no_such_key, not_found

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from airflow.sdk import DAG
    from airflow.sdk.bases.operator import BaseOperator

__all__ = [
    "LOOKS",
    "NOW",
    "OUTCOMES",
    "Fault",
    "Outcome",
    "Run",
    "ServerError",
    "Supervisor",
    "SupervisorGone",
    "no_such_key",
    "not_found",
]

TO_SUPERVISOR: TypeAdapter[Any] = TypeAdapter(comms.ToSupervisor)
LOOKS = ("GetDagRunState", "GetDagRun")
HEADER_BYTES = 4


class SupervisorGone(Exception):  # noqa: N818 - what happened, not an error of the server
    """The supervisor's process dies before it answers."""


@dataclass(frozen=True)
class Fault:
    """
    What befalls one request.

    :param error: the answer; None: ``answer`` is.
    :param is_after: the request took effect before.
    :param is_late: it, or another copy of it, arrives when the test says :meth:`Supervisor.deliver_late`.
    :param answer: what is answered to a request that has no effect and gets no error.
    """

    error: Exception | None = None
    is_after: bool = False
    is_late: bool = False
    answer: Any = None


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


class Supervisor(Server):
    """
    Airflow as one task sees it, over all its attempts.

    :ivar faults: by the name of a message, what befalls the next ones; None: nothing.
    :ivar before: by the name of a message, what is called before it is answered.
    :ivar on_sleep: called when the task sleeps; no time passes.
    :ivar late: requests that are still under way.
    """

    def __init__(self) -> None:
        super().__init__()
        self.faults: dict[str, list[Fault | None]] = {}
        self.before: dict[str, Callable[[], object]] = {}
        self.on_sleep: Callable[[], object] = lambda: self.end_all("success")
        self.sleeps: list[float] = []
        self.requests: list[Any] = []
        self.late: list[Any] = []
        self.broken: list[BaseException] = []

    def beside(self) -> Supervisor:
        """Return the supervisor of another parent: the same Dags and Dag runs, a store and XComs of its own."""
        other = Supervisor()
        other.dags, other.runs = self.dags, self.runs
        return other

    # What a test asks.

    def record(self, call: int = 1) -> dict[str, Any]:
        """Return the newest entry of a call's journal as people see it."""
        return self.entries(call)[-1]

    def entries(self, call: int = 1) -> list[dict[str, Any]]:
        """Return the entries of a call's journal, the oldest first."""
        found = {place[1]: self.store[key] for key in self.store if (place := position_of(key)) and place[0] == call}
        assert sorted(found) == list(range(len(found)))
        return [found[sequence] for sequence in range(len(found))]

    # What a test does to requests and answers.

    def fail(self, name: str, error: Exception, *, times: int = 1, is_after: bool = False) -> None:
        """Let the next requests of this name fail."""
        self.faults.setdefault(name, []).extend([Fault(error, is_after=is_after)] * times)

    def pass_by(self, name: str, *, times: int = 1) -> None:
        """Let so many requests of this name alone before what is said next befalls one."""
        self.faults.setdefault(name, []).extend([None] * times)

    def say(self, name: str, answer: Any, *, times: int = 1) -> None:  # noqa: ANN401 - a message
        """Let the next requests of this name get this answer, and no effect: ``no_such_key(...)``, for one."""
        self.faults.setdefault(name, []).extend([Fault(answer=answer)] * times)

    def delay(self, name: str, error: Exception | None = None) -> None:
        """Let the next request of this name be under way until :meth:`deliver_late`; its sender gets the error."""
        self.faults.setdefault(name, []).append(Fault(error or ServerError(None), is_late=True))

    def repeat(self, name: str) -> None:
        """Let the next request of this name take effect, and a copy of it arrive at :meth:`deliver_late`."""
        self.faults.setdefault(name, []).append(Fault(is_after=True, is_late=True))

    def deliver_late(self) -> None:
        """Let arrive what is under way, in its order. Nobody waits for the answers."""
        late, self.late = self.late, []
        for request in late:
            with contextlib.suppress(ServerError):
                self.answer_truly(request)

    def supersede(self) -> None:
        """Let another try of the parent begin elsewhere: this one may not write any more."""
        self.current_id = uuid.uuid4()

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
        is_resumed: bool = False,
        parent_conf: dict[str, Any] | None = None,
        parent: Mapping[str, Any] | None = None,
        instance_id: uuid.UUID | None = None,
    ) -> Outcome:
        """
        Run one attempt with Airflow's task runner.

        :param event: the trigger's, of an attempt that goes on after its deferral.
        :param is_resumed: it goes on, and its event is None.
        :param parent: fields of the parent's Dag run that are to be others (``run_id``, ``run_after``, ...).
        :param instance_id: the current one: the try is executed twice; an earlier one: a superseded try goes on. Else
            a new try gets a new one.
        """
        is_resumed = is_resumed or event is not None
        task = dag.task_dict[task_id]
        retries = getattr(task, "retries", 0) or 0
        max_tries = retries if max_tries is None else max_tries
        parent_run: dict[str, Any] = {
            "dag_id": dag.dag_id,
            "run_id": "parent-run",
            "logical_date": NOW,
            "data_interval_start": NOW,
            "data_interval_end": NOW,
            "run_after": NOW,
            "start_date": NOW,
            "end_date": None,
            "clear_number": clear_number,
            "run_type": api.DagRunType.MANUAL,
            "state": api.DagRunState.RUNNING,
            "conf": parent_conf,
            "consumed_asset_events": [],
            **({"partition_key": None} if versions.HAS_STORE else {}),
            **(parent or {}),
        }
        context_from_server = api.TIRunContext(
            dag_run=api.DagRun(**parent_run),
            max_tries=max_tries,
            should_retry=try_number <= max_tries,
            xcom_keys_to_clear=[] if is_resumed else list(self.xcoms),
            **(
                {}
                if not is_resumed
                else {
                    "next_method": "execute_complete",
                    "next_kwargs": versions.dump_next_kwargs({"event": event}),
                }
            ),
        )
        if not is_resumed and instance_id is None:
            # A new try, a new id; a deferral keeps it.
            self.current_id = uuid.uuid4()
        instance = task_runner.RuntimeTaskInstance.model_construct(
            id=instance_id or self.current_id,
            task_id=task_id,
            dag_id=dag.dag_id,
            run_id=parent_run["run_id"],
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
        # As in Airflow, each execution is a process of its own.
        calls._current = None
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

    # The answer.

    def answer(self, request: Any) -> Any:  # noqa: ANN401 - as many types as there are messages
        """Return the answer to a request; raise ServerError if that is the answer."""
        name = type(request).__name__
        self.requests.append(request)
        if hook := self.before.get(name):
            hook()
        fault = self.faults[name].pop(0) if self.faults.get(name) else None
        if fault is None:
            return self.answer_truly(request)
        answered = self.answer_truly(request) if fault.is_after else fault.answer
        if fault.is_late:
            self.late.append(request)
        if fault.error:
            raise fault.error
        return answered

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

    def _sleep(self, seconds: Any) -> None:  # noqa: ANN401 - a task may pass anything
        """Pass no time, but refuse what the real one refuses."""
        if not isinstance(seconds, (int, float)):
            message = f"{type(seconds).__name__!r} object cannot be interpreted as an integer"
            raise TypeError(message)
        if seconds < 0:
            message = "sleep length must be non-negative"
            raise ValueError(message)
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

        # The stock class: ours inherits it. But for the one that starts many runs.
        with patch.object(TriggerDagRunOperator, "log", self), patch.object(TriggerDagRunsOperator, "log", self):
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
