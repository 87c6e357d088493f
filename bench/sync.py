"""
The synchronous wait on a simulated clock: how long after its child the parent ends, and after how many requests.

Both run their own code: the durable one the protocol, the stock one the task runner's handler with the sleep and the
channel replaced. A request takes no time here; what is measured is how often each looks, and when.
"""

from __future__ import annotations

import types
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from airflow_durable.core import protocol, waiting
from airflow_durable.core.model import Attempt, ChildRun, Decision, Look, Mode, Parent, Request

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_durable.core.record import Record

POKE_INTERVAL = 60.0
"""The operator's default ``poke_interval``, in seconds."""

_EPOCH = datetime(2026, 1, 1, tzinfo=timezone.utc)


@dataclass(frozen=True)
class Waited:
    """
    How one wait went.

    :param seconds: from the child's end to the parent's.
    :param requests: of the parent: the submission, the looks, what is recorded.
    """

    seconds: float
    requests: int


@dataclass
class World:
    """
    A child that runs for so long, and what its parent does meanwhile.

    :param child_seconds: None: it has succeeded before.
    """

    child_seconds: float | None
    seconds: float = 0.0
    requests: int = 0
    sleeps: int = 0
    record: Record | None = None

    @property
    def state(self) -> str:
        """The child's state."""
        return "success" if self.child_seconds is None or self.seconds >= self.child_seconds else "running"

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.seconds += seconds
        self.sleeps += 1

    def waited(self) -> Waited:
        """Return how it went, if it is over."""
        return Waited(self.seconds - (self.child_seconds or 0.0), self.requests)


@dataclass
class _Port:
    world: World
    is_first: bool = field(default=True)

    has_store = True
    has_details = True

    def read(self, call: int) -> Record | None:  # noqa: ARG002 - the port's
        self.world.requests += 1
        return self.world.record

    def write(self, record: Record) -> None:
        self.world.requests += 1
        self.world.record = record

    def look_up(self, dag_id: str, run_id: str, *, is_detailed: bool) -> ChildRun | None:  # noqa: ARG002 - the port's
        self.world.requests += 1
        return ChildRun(self.world.state, 0, self.record_date, is_same_request=True)

    @property
    def record_date(self) -> datetime | None:
        return self.world.record.logical_date if self.world.record else None

    def check(self, record: Record) -> None:
        """Find nothing wrong."""

    def submit(self, record: Record) -> bool:  # noqa: ARG002 - the port's
        self.world.requests += 1
        return True

    def reset(self, record: Record) -> None:
        raise NotImplementedError

    def count(self, dag_id: str, run_ids: Sequence[str], states: Sequence[str] | None) -> int:
        raise NotImplementedError

    def is_upstream_newer(self, than: datetime | None) -> bool | None:
        raise NotImplementedError

    def task_states(self, dag_id: str, run_id: str) -> None:
        raise NotImplementedError

    def why_queued(self, dag_id: str) -> None:
        raise NotImplementedError

    def now(self) -> datetime:
        return _EPOCH + timedelta(seconds=self.world.seconds)

    def sleep(self, seconds: float) -> None:
        self.world.sleep(seconds)

    def report(self, decision: Decision, record: Record, seen: ChildRun | Look | None) -> None:
        pass

    def report_wait(self, record: Record, state: str | None, waited_seconds: float) -> None:
        pass

    def report_trouble(self, error: Exception) -> None:
        raise NotImplementedError


_REQUEST = Request(
    dag_id="child",
    run_id=None,
    logical_date=None,
    is_date_ours=True,
    is_run_after_ours=True,
    mode=Mode.WAIT,
    allowed_states=frozenset({"success"}),
    failed_states=frozenset({"failed"}),
)
_PARENT = Parent("parent", "run", "trigger", -1, run_after=_EPOCH, started_at=_EPOCH)


def wait_durably(child_seconds: float) -> Waited:
    """Trigger and wait as the durable operator does."""
    world = World(child_seconds)
    _attempt(world, try_number=1)
    return world.waited()


def recover_finished() -> tuple[int, int]:
    """Return how many requests a retry makes that finds its child finished, and how often it sleeps."""
    world = World(child_seconds=600.0)
    port = _Port(world)
    protocol.trigger(port, _REQUEST, _make_attempt(1))
    world.child_seconds, world.requests = None, 0
    _attempt(world, try_number=2)
    return world.requests, world.sleeps


def wait_as_stock(child_seconds: float) -> Waited:
    """Trigger and wait as the stock operator does: by the task runner (3.3)."""
    from airflow.sdk.exceptions import DagRunTriggerException
    from airflow.sdk.execution_time import task_runner
    from airflow.sdk.execution_time.comms import GetDagRunState, OKResponse, TriggerDagRun

    world = World(child_seconds)

    def send(message: Any) -> Any:  # noqa: ANN401 - as many types as there are messages
        if isinstance(message, (GetDagRunState, TriggerDagRun)):
            world.requests += 1
        return types.SimpleNamespace(state=world.state) if isinstance(message, GetDagRunState) else OKResponse(ok=True)

    request = DagRunTriggerException(
        trigger_dag_id="child",
        dag_run_id="run",
        conf=None,
        logical_date=None,
        reset_dag_run=False,
        skip_when_already_exists=False,
        wait_for_completion=True,
        allowed_states=["success"],
        failed_states=["failed"],
        poke_interval=POKE_INTERVAL,  # type: ignore[arg-type] # it is a float everywhere else
        deferrable=False,
    )
    parent = types.SimpleNamespace(xcom_push=lambda **_: None, rendered_map_index=None, id="ti")
    silent = types.SimpleNamespace(info=_ignore, debug=_ignore)
    replaced: dict[str, Any] = {
        "time": types.SimpleNamespace(sleep=world.sleep),
        "SUPERVISOR_COMMS": types.SimpleNamespace(send=send),
        "_handle_current_task_success": lambda *_: None,
    }
    before = {name: getattr(task_runner, name, None) for name in replaced}
    try:
        vars(task_runner).update(replaced)
        handle: Any = task_runner._handle_trigger_dag_run  # noqa: SLF001 - that is what is measured
        handle(request, {}, parent, silent)
    finally:
        vars(task_runner).update(before)
    return world.waited()


def _attempt(world: World, *, try_number: int) -> None:
    port = _Port(world)
    started = protocol.trigger(port, _REQUEST, _make_attempt(try_number))
    if not started.is_settled:
        ended = waiting.wait(port, _REQUEST, started, poke_interval=POKE_INTERVAL)
        if ended is None:
            raise AssertionError("it waits until the end")
        started = ended
    waiting.consume(port, started)


def _make_attempt(try_number: int) -> Attempt:
    return Attempt(_PARENT, f"ti-{try_number}", try_number, max_tries=1, retries=1, clear_number=0)


def _ignore(*_: object, **__: object) -> None:
    pass
