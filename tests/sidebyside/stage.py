"""Plays a situation with one of the operators, and notes all that can be seen of it."""

from __future__ import annotations

import contextlib
import copy
import json
import signal
import warnings
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from enum import Enum
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from airflow.providers.standard.operators.trigger_dagrun import (
    TriggerDagRunOperator as StockTriggerDagRunOperator,
)
from airflow.sdk import DAG

from airflow_durable.operators.trigger_dagrun import TriggerDagRunOperator
from airflow_durable.task.port import AirflowPort
from tests.adapters.fake_server import ACTIVE
from tests.adapters.supervisor import LOOKS, OUTCOMES, Supervisor, SupervisorGone
from tests.adapters.triggerer import run_trigger

from .parts import ENDLESS, FIRED, KILLED, RETRY, TRIGGER, Part, callbacks_into, listening_into, state_of
from .situations.model import DELETED, TIMES_OUT

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from tests.adapters.supervisor import Outcome

    from .situations.model import Situation, Try

MAX_PAUSES = 40


class Kind(Enum):
    """An operator."""

    STOCK = "stock"
    OFF = "durable=False"
    ON = "durable=True"


class StillWaitingError(BaseException):
    """The task waits and waits: here its worker gives up, to say so. Not an Exception: nothing may catch it."""


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
        **callbacks_into(lambda: played.now),
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
        if self._state == TIMES_OUT:
            if any(signal.getitimer(signal.ITIMER_REAL)):
                signal.raise_signal(signal.SIGALRM)
            return
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
    with listening_into(part), contextlib.suppress(StillWaitingError), _later(attempt):
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


def _later(attempt: Try) -> AbstractContextManager[object]:
    """
    Let each try begin ten seconds after the one before, for this operator.

    Its logical dates are a second apart at least: two tries within a second would cost a request more.
    """
    passed = timedelta(seconds=10 * attempt.number)
    return patch.object(AirflowPort, "now", lambda _: datetime.now(tz=timezone.utc) + passed)


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
