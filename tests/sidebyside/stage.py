"""Plays a situation with one of the operators, and notes all that can be seen of it."""

from __future__ import annotations

import contextlib
import copy
import json
import warnings
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.trigger_dagrun import (
    TriggerDagRunOperator as StockTriggerDagRunOperator,
)
from airflow.sdk import DAG

from airflow_durable.operators.trigger_dagrun import TriggerDagRunOperator
from tests.adapters.server import ACTIVE
from tests.adapters.supervisor import LOOKS, OUTCOMES, Supervisor, SupervisorGone
from tests.adapters.triggerer import run_trigger
from tests.adapters.versions import listener_manager

from .situations.model import DELETED

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.adapters.supervisor import Outcome

    from .situations.model import Situation, Try

MAX_PAUSES = 40
TRIGGER = "the trigger"
FIRED = "fired"
KILLED = "killed"
ENDLESS = "waits for ever"
RETRY = "up_for_retry"
FAILED = "failed"
EXITED = "exited"
"""The task runner itself failed, as before Airflow 3.3 it does where the stock operator's request is refused. Nobody is
told, no callback is called, and the supervisor reports a failure (``sdk/execution_time/supervisor.py``,
``final_state``)."""

HOOKS = (
    "on_execute_callback",
    "on_success_callback",
    "on_failure_callback",
    "on_retry_callback",
    "on_skipped_callback",
)


class Kind(Enum):
    """An operator."""

    STOCK = "stock"
    OFF = "durable=False"
    ON = "durable=True"


class StillWaitingError(BaseException):
    """The task waits and waits: here its worker gives up, to say so. Not an Exception: nothing may catch it."""


@dataclass
class Part:
    """
    A part of a play: a try until it ends or defers, a trigger, a resumption, a user's own call.

    :ivar error: what it ended with.
    :ivar is_retry_left: a failure is followed by another try.
    :ivar hooks: which of Airflow's hooks were called, and what they could see.
    """

    name: str
    state: str = ""
    requests: list[Any] = field(default_factory=list)
    error: BaseException | None = None
    is_retry_left: bool = False
    hooks: list[tuple[str, Any]] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    sleeps: list[float] = field(default_factory=list)


@dataclass
class Play:
    """
    All that can be seen of a play.

    :ivar parsing: the warnings and errors of the Dag file.
    :ivar now: the part that is being played.
    """

    situation: Situation
    parts: list[Part] = field(default_factory=list)
    parsing: list[str] = field(default_factory=list)
    now: Part = field(default_factory=lambda: Part("nothing yet"))
    child: _Child | None = None
    supervisor: Supervisor = field(default_factory=Supervisor)


def play(situation: Situation, kind: Kind) -> Play:
    """Play the situation."""
    played = Play(situation)
    if situation.server:
        situation.server(played.supervisor)
    foreign = set(played.supervisor.runs)
    with situation.around():
        for attempt in situation.tries:
            if not _follows(played, attempt):
                break
            if attempt.before:
                attempt.before(played.supervisor)
            part = Part("call" if situation.direct else f"try {attempt.number}")
            dag = _parse(played, kind, attempt)
            if dag is None:
                break
            if situation.direct:
                _call(situation, dag, part)
                played.parts.append(part)
            else:
                _run(played, dag, attempt, part, foreign)
    return played


def state_of(part: Part) -> str:
    """Return the state that the task instance is in after the part."""
    if part.state == EXITED:
        return RETRY if part.is_retry_left else FAILED
    return part.state


def _follows(played: Play, attempt: Try) -> bool:
    """Tell whether Airflow comes to this try: the one before is to be retried, or died, or a person cleared it."""
    return not played.parts or bool(attempt.clear_number) or state_of(played.parts[-1]) in {RETRY, KILLED}


def _parse(played: Play, kind: Kind, attempt: Try) -> DAG | None:
    """Make the Dag, as its file does."""
    situation = played.situation
    operator: Any = StockTriggerDagRunOperator if kind is Kind.STOCK else TriggerDagRunOperator
    if situation.derive:
        operator = situation.derive(operator)
    arguments = {
        "task_id": "trigger",
        "trigger_dag_id": "child",
        "retries": 3,
        "retry_delay": timedelta(0),
        **_hooks(played),
        **copy.deepcopy({name: value for name, value in situation.arguments.items() if not callable(value)}),
        **{name: value for name, value in situation.arguments.items() if callable(value)},
        **attempt.edits,
    }
    if kind is not Kind.STOCK:
        arguments["durable"] = kind is Kind.ON
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            with DAG("parent", schedule=None) as dag:
                if situation.expand:
                    for name in situation.expand:
                        arguments.pop(name, None)
                    operator.partial(**arguments).expand(**copy.deepcopy(dict(situation.expand)))
                else:
                    operator(**arguments)
        except Exception as error:  # noqa: BLE001 - as the Dag processor does
            played.parsing.append(f"{type(error).__name__}: {error}")
            return None
        finally:
            played.parsing += sorted({warning.category.__name__ for warning in warned})
    return dag


def _hooks(played: Play) -> dict[str, Any]:
    """Return the callbacks that note that they are called, and with what."""

    def noted(name: str) -> Any:  # noqa: ANN401 - a callback
        return lambda context, *result: played.now.hooks.append((name, _seen_by_hook(context["ti"], context, *result)))

    return {name: noted(name) for name in (*HOOKS, "pre_execute", "post_execute")}


def _seen_by_hook(instance: Any, context: Any, *more: Any) -> dict[str, Any]:  # noqa: ANN401 - Airflow's
    task = instance.task
    error = context.get("exception")
    return {
        "trigger_dag_id": task.trigger_dag_id,
        "trigger_run_id": task.trigger_run_id,
        "conf": task.conf,
        "error": error if error is None or isinstance(error, str) else public_classes(error),
        "more": [str(item) for item in more],
    }


def public_classes(error: BaseException) -> list[str]:
    """Return the classes by which code that knows nothing of this package can tell the error."""
    return [
        cls.__name__
        for cls in type(error).__mro__
        if not cls.__module__.startswith("airflow_durable") and cls not in {object, BaseException, Exception}
    ]


@contextlib.contextmanager
def _listening(part: Part) -> Iterator[None]:
    """Let a listener note what it is told."""
    from airflow.listeners import hookimpl

    def noted(name: str, instance: Any, previous: Any, error: Any = None) -> None:  # noqa: ANN401 - Airflow's
        seen = _seen_by_hook(instance, {"exception": error}, previous)
        part.hooks.append((name, {**seen, "state": str(instance.state)}))

    class Listener:
        @hookimpl
        def on_task_instance_running(self, previous_state: Any, task_instance: Any) -> None:  # noqa: ANN401
            noted("listener: running", task_instance, previous_state)

        @hookimpl
        def on_task_instance_success(self, previous_state: Any, task_instance: Any) -> None:  # noqa: ANN401
            noted("listener: success", task_instance, previous_state)

        @hookimpl
        def on_task_instance_failed(self, previous_state: Any, task_instance: Any, error: Any) -> None:  # noqa: ANN401
            noted("listener: failed", task_instance, previous_state, error)

        if _has_skipped():

            @hookimpl
            def on_task_instance_skipped(self, previous_state: Any, task_instance: Any) -> None:  # noqa: ANN401
                noted("listener: skipped", task_instance, previous_state)

    listener = Listener()
    listener_manager().pm.register(listener)
    try:
        yield
    finally:
        listener_manager().pm.unregister(listener)


def _has_skipped() -> bool:
    """Tell whether listeners are told of skips: from Airflow 3.1."""
    return hasattr(listener_manager().hook, "on_task_instance_skipped")


class _Child:
    """What becomes of the child whenever the parent pauses."""

    def __init__(self, supervisor: Supervisor, steps: Sequence[str], foreign: set[tuple[str, str]]) -> None:
        self._supervisor = supervisor
        self._steps = iter(steps)
        self._foreign = foreign
        self._state = ""
        self._pauses = 0
        self.is_endless = False

    def go_on(self) -> None:
        self._pauses += 1
        if self._pauses > MAX_PAUSES:
            self.is_endless = True
            raise StillWaitingError
        self._state = next(self._steps, self._state)
        for key, run in list(self._supervisor.runs.items()):
            if key in self._foreign and not run.clear_number:
                continue
            if self._state == DELETED:
                del self._supervisor.runs[key]
            elif run.state in ACTIVE:
                run.state = self._state


def _run(played: Play, dag: DAG, attempt: Try, part: Part, foreign: set[tuple[str, str]]) -> None:
    """Run a try to its end, over its deferrals, or to its death."""
    supervisor = played.supervisor
    played.child = _Child(supervisor, attempt.child, foreign)
    supervisor.on_sleep = played.child.go_on
    event = None
    while True:
        outcome = _run_part(played, dag, attempt, part, event)
        played.parts.append(part)
        if outcome is None or outcome.state != "deferred":
            return
        event = _wait(played, outcome, attempt)
        if event is None:
            return
        part = Part(f"resumption of {part.name}")


def _run_part(played: Play, dag: DAG, attempt: Try, part: Part, event: tuple[Any] | None) -> Outcome | None:
    """Run a try, or its resumption by an event; return None if its process is no more."""
    supervisor, played.now = played.supervisor, part
    died = _arrange_death(supervisor, attempt)
    seen, slept = len(supervisor.requests), len(supervisor.sleeps)
    max_tries = attempt.max_tries if attempt.max_tries is not None else _retries(dag)
    part.is_retry_left = attempt.number <= max_tries
    outcome = None
    with _listening(part), contextlib.suppress(StillWaitingError):
        outcome = supervisor.run(
            dag,
            try_number=attempt.number,
            max_tries=max_tries,
            clear_number=attempt.clear_number,
            map_index=1 if played.situation.expand else -1,
            parent_conf=attempt.parent_conf,
            event=event and event[0],
            is_resumed=event is not None,
        )
    part.requests = supervisor.requests[seen:]
    part.sleeps = supervisor.sleeps[slept:]
    if not died and outcome is not None and not (played.child and played.child.is_endless):
        part.state, part.error, part.log = outcome.state, outcome.error, outcome.log
        return outcome
    # What a dead process does not send, nobody sees.
    part.state = KILLED if died else ENDLESS
    part.hooks, part.sleeps = [], []
    part.requests = [request for request in part.requests if type(request).__name__ not in {*OUTCOMES, *LOOKS}]
    return None


def _retries(dag: DAG) -> int:
    task: Any = dag.task_dict["trigger"]
    return int(task.retries)


def _arrange_death(supervisor: Supervisor, attempt: Try) -> list[bool]:
    """Let the process die where the try says so; the list is then no longer empty."""
    died: list[bool] = []
    supervisor.before.clear()
    death = attempt.dies
    if death is not None:

        def die() -> None:
            if death.key in {None, getattr(supervisor.requests[-1], "key", None)}:
                died.append(True)
                supervisor.requests.pop()
                raise SupervisorGone

        supervisor.before[death.message] = die
    return died


def _wait(played: Play, outcome: Outcome, attempt: Try) -> tuple[Any] | None:
    """Let the trigger wait; return the event that resumes the task, which may be None; None if there is no event."""
    part = Part(TRIGGER)
    played.parts.append(part)
    seen = len(played.supervisor.requests)
    event = None
    try:
        event = run_trigger(played.supervisor, outcome)
        part.state = FIRED
    except Exception as error:  # noqa: BLE001 - a triggerer's trigger may fail in any way
        part.state, part.error = "failed", error
    except StillWaitingError as error:
        part.state, part.error = ENDLESS, error
    part.requests = played.supervisor.requests[seen:]
    if event is None:
        return None
    part.log = [json.dumps(event, default=str)]
    return (attempt.event(event) if attempt.event else event,)


def _call(situation: Situation, dag: DAG, part: Part) -> None:
    """Call the operator without Airflow."""
    assert situation.direct is not None
    try:
        returned = situation.direct(dag.task_dict["trigger"])
        part.state = f"returned {returned!r}"
    except Exception as error:  # noqa: BLE001 - what a unit test looks at
        part.state, part.error = "raised", error
