"""
The real operator and the real trigger under random schedules: what `tests/schedules` does to the protocol alone.

The installed task runner executes each try over a real socket; the deferred part runs in the real trigger on the shared
poller. What is drawn: at which request a process dies, a reply is lost, or a request arrives late or twice; how each
child ends; and when a person clears the parent, or edits its conf. Two parents may ask for one identity.

The oracle keeps its own account, of what the server created and of what the parents reported. It reads no record.
What this leaves out: two tries that run at the same time (a superseded one is heard of only by its late requests), an
API server that is away for longer than the repetitions of a request, and the store being lost.
"""

from __future__ import annotations

import contextlib
import os
import uuid
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from airflow.sdk import DAG
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from airflow_durable.operators.trigger_dagrun import TriggerDagRunOperator
from airflow_durable.task.port import AirflowPort
from tests.adapters.fake_server import ACTIVE
from tests.adapters.supervisor import ServerError, Supervisor, SupervisorGone
from tests.adapters.triggerer import run_trigger

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.adapters.supervisor import Outcome

RETRIES = 4
MAX_PAUSES = 60
DATE = datetime(2025, 6, 1, tzinfo=timezone.utc)
MODES: dict[str, dict[str, Any]] = {
    "wait": {"wait_for_completion": True},
    "defer": {"wait_for_completion": True, "deferrable": True},
    "fire and forget": {"wait_for_completion": False},
}
IDENTITIES: dict[str, dict[str, Any]] = {
    "generated": {},
    "run id": {"trigger_run_id": "fixed"},
    "date": {"logical_date": DATE},
    "reset": {"trigger_run_id": "fixed", "reset_dag_run": True},
    "skip": {"trigger_run_id": "fixed", "skip_when_already_exists": True},
}
FAULTS = ("die before", "die after", "lose reply", "refuse", "delay", "repeat")
UNFAULTED = {"SetRenderedFields", "MaskSecret", "SetXCom", "GetXCom", "DeleteXCom", "SetRenderedMapIndex"}
"""Not ours, or without consequences: a fault in one of these would only shorten the schedule."""


@dataclass(frozen=True)
class Asked:
    """Who sent a request, with which conf, and for which demand: it rises when a person wants the work done again."""

    parent: int
    conf: int
    demand: int


@dataclass
class Account:
    """What was created by whom, by run id; a run that was reset belongs to who reset it, too. And all that happened."""

    owners: dict[str, list[Asked]] = field(default_factory=dict)
    story: list[str] = field(default_factory=list)


@dataclass
class Parent:
    """A parent task, as Airflow and a person see it."""

    number: int
    server: Watched
    state: str = "none"
    try_number: int = 0
    max_tries: int = RETRIES
    clear_number: int = 0
    clears: int = 0
    conf: int = 0
    demand: int = 0
    wanted: set[Asked] = field(default_factory=set)


class Watched(Supervisor):
    """The supervisor of one parent. It does what the plan says, and keeps the account."""

    def __init__(self, account: Account) -> None:
        super().__init__()
        self.account = account
        self.asked = Asked(0, 0, 0)
        self.plan: dict[int, str] = {}
        self.count = 0
        self.has_died = False
        self.under_way: list[tuple[Any, Asked]] = []
        self.is_beside_allowed = False
        self.demand = 0

    def answer(self, request: Any) -> Any:  # noqa: ANN401 - as many types as there are messages
        """Answer as the plan has it."""
        self.requests.append(request)
        if self.has_died:
            raise SupervisorGone
        if type(request).__name__ in UNFAULTED:
            return self.answer_truly(request)
        fault = self.plan.pop(self.count, "")
        self.count += 1
        if fault:
            self.account.story.append(f"parent {self.asked.parent}: {fault}: {type(request).__name__}")
        if fault == "die before":
            self._die()
        if fault == "refuse":
            raise ServerError(503)
        if fault == "delay":
            self.under_way.append((request, self.asked))
            raise ServerError(None)
        answered = self.answer_truly(request)
        if fault == "repeat":
            self.under_way.append((request, self.asked))
        if fault == "die after":
            self._die()
        if fault == "lose reply":
            raise ServerError(None)
        return answered

    def _die(self) -> None:
        self.has_died = True
        raise SupervisorGone

    def arrive(self) -> None:
        """Let arrive what is under way. Nobody waits for the answers."""
        under_way, self.under_way = self.under_way, []
        now = self.asked
        for request, self.asked in under_way:
            with contextlib.suppress(ServerError):
                self.answer_truly(request)
        self.asked = now

    def _on_TriggerDagRun(self, request: Any) -> Any:  # noqa: ANN401, N802 - a message, by its name
        before = {run_id: (run.state, run.clear_number) for (_, run_id), run in self.runs.items()}
        answered = super()._on_TriggerDagRun(request)
        run = self.runs.get(("child", request.run_id))
        if run is None or before.get(request.run_id) == (run.state, run.clear_number):
            return answered
        is_late = self.asked.demand != self.demand
        asked = Asked(self.asked.parent, (request.conf or {}).get("part", -1), self.asked.demand)
        if request.run_id not in before:
            self.account.owners[request.run_id] = [asked]
            self.account.story.append(f"parent {asked.parent}: {request.run_id} is created for {asked}")
            if not is_late:
                self._check_alone(asked, request.run_id)
            return answered
        self.account.story.append(f"parent {asked.parent}: {request.run_id} is reset for {asked}")
        mine = [owner for owner in self.account.owners.get(request.run_id, []) if owner.parent == asked.parent]
        state = before[request.run_id][0]
        if not is_late:
            self._check_not_healthy(asked, mine, state, f"{request.run_id} was {state}, and is reset")
        self.account.owners.setdefault(request.run_id, []).append(asked)
        return answered

    def _check_alone(self, asked: Asked, created: str) -> None:
        for (_, run_id), run in self.runs.items():
            mine = [owner for owner in self.account.owners.get(run_id, []) if owner.parent == asked.parent]
            if run_id != created:
                self._check_not_healthy(asked, mine, run.state, f"{created} is started, and {run_id} is {run.state}")

    def _check_not_healthy(self, asked: Asked, mine: list[Asked], state: str, what: str) -> None:
        """Fail if this is a healthy child. One that fire-and-forget started for something else does not count."""
        is_asked_for = asked in mine
        is_active = bool(mine) and state in ACTIVE and (is_asked_for or not self.is_beside_allowed)
        is_done = is_asked_for and (state == "success" or self.is_beside_allowed)
        assert not is_active, f"duplicate: {what}"
        assert not is_done, f"done twice: {what}"


class Plan:
    """Draws what happens."""

    def __init__(self, data: st.DataObject) -> None:
        self._data = data
        self.mode = MODES[data.draw(st.sampled_from(sorted(MODES)), label="mode")]
        self.identity = IDENTITIES[data.draw(st.sampled_from(sorted(IDENTITIES)), label="identity")]
        self.parents = data.draw(st.integers(1, 2), label="parents")
        self.faults_left = 4

    def faults(self) -> dict[int, str]:
        """Return what befalls the requests of the next process, by their number."""
        drawn: dict[int, str] = self._data.draw(
            st.dictionaries(st.integers(0, 11), st.sampled_from(FAULTS), max_size=min(2, self.faults_left)),
            label="faults",
        )
        self.faults_left -= len(drawn)
        return drawn

    def choose(self, label: str, *choices: Any) -> Any:  # noqa: ANN401 - what is chosen from
        """Return one of these; the first is the simplest."""
        return self._data.draw(st.sampled_from(choices), label=label)


def _dag(plan: Plan, parent: Parent) -> DAG:
    with DAG(f"parent_{parent.number}", schedule=None) as dag:
        TriggerDagRunOperator(
            task_id="trigger",
            trigger_dag_id="child",
            conf={"part": parent.conf},
            durable=True,
            retries=RETRIES,
            retry_delay=timedelta(0),
            poke_interval=1,
            **plan.mode,
            **plan.identity,
        )
    return dag


def _play(plan: Plan, parents: list[Parent]) -> None:
    lives = [_live(plan, parent) for parent in parents]
    while lives:
        life = plan.choose("whose turn", *lives) if len(lives) > 1 else lives[0]
        if next(life, None) is None:
            lives.remove(life)


def _live(plan: Plan, parent: Parent) -> Iterator[bool]:
    """Let the parent live: try, retry, be deferred, be cleared. Others may do something wherever this yields."""
    while True:
        _begin_try(plan, parent)
        outcome = _run(plan, parent)
        while outcome is not None and outcome.state == "deferred":
            yield True
            outcome = _run(plan, parent, deferred=outcome)
        _settle(parent, outcome)
        yield True
        if parent.state == "up_for_retry":
            if plan.choose("clear before the retry", False, False, True) and parent.clears < 2:
                _clear(plan, parent)
        elif parent.clears == 2 or not plan.choose("clear", False, True):
            return
        else:
            _clear(plan, parent)


def _begin_try(plan: Plan, parent: Parent) -> None:
    parent.try_number += 1
    if plan.choose("edit", False, False, True):
        parent.conf += 1
    server = parent.server
    server.arrive()
    server.demand = parent.demand
    server.asked = Asked(parent.number, parent.conf, parent.demand)
    parent.wanted.add(server.asked)
    parent.server.account.story.append(f"parent {parent.number}: try {parent.try_number}, conf {parent.conf}")


def _run(plan: Plan, parent: Parent, deferred: Outcome | None = None) -> Outcome | None:
    """Run the task, after its trigger has fired if it was deferred; return None if the worker died."""
    server = parent.server
    pauses = 0

    def pause() -> None:
        nonlocal pauses
        pauses += 1
        ends = ("success",) if pauses > MAX_PAUSES else ("success", "", "failed")
        state = plan.choose("children", *ends)
        for run in server.runs.values():
            if state and run.state in ACTIVE:
                run.state = state

    server.on_sleep = pause
    event = None
    if deferred is not None:
        server.plan, server.count, server.has_died = {}, 0, False
        event = run_trigger(server, deferred)
        if plan.choose("the child is cleared before the task resumes", False, False, True):
            # What the event says is true of the moment at which the trigger looked.
            server.arrive()
    server.plan, server.count, server.has_died = plan.faults(), 0, False
    passed = timedelta(seconds=10 * parent.try_number + 3 * len(server.requests))
    with patch.object(AirflowPort, "now", lambda _: datetime.now(tz=timezone.utc) + passed):
        outcome = server.run(
            _dag(plan, parent),
            try_number=parent.try_number,
            max_tries=parent.max_tries,
            clear_number=parent.clear_number,
            parent={"run_id": f"run-{parent.number}"},
            event=event,
            is_resumed=deferred is not None,
        )
    return None if server.has_died else outcome


def _settle(parent: Parent, outcome: Outcome | None) -> None:
    """Do as the scheduler does when the worker has ended, and check what it reported."""
    is_retry_left = parent.try_number <= parent.max_tries
    if outcome is None:
        parent.state = "up_for_retry" if is_retry_left else "failed"
    else:
        parent.state = outcome.state
    parent.server.account.story.append(f"parent {parent.number}: {parent.state} {outcome and outcome.error!r}")
    assert parent.state in {"success", "up_for_retry", "failed", "skipped"}
    if parent.state == "success":
        assert _is_backed(parent), f"lost: success was reported, and nothing has done any of {parent.wanted}"


def _is_backed(parent: Parent) -> bool:
    """Tell whether a run that this parent started has done what its tries have asked for."""
    server = parent.server
    return any(
        (run.state == "success" or server.is_beside_allowed)
        and any(owner in parent.wanted for owner in server.account.owners.get(run_id, []))
        for (_, run_id), run in server.runs.items()
    )


def _clear(plan: Plan, parent: Parent) -> None:
    """
    Let a person clear the task.

    After a reported success they want the work done again. Where the work was done and its success not reported, nobody
    can know whether that had been marked: both count then.
    """
    if parent.state == "success":
        parent.demand += 1
        parent.wanted = set()
    elif _is_backed(parent):
        parent.demand += 1
    parent.clears += 1
    parent.clear_number += 1
    parent.max_tries = parent.try_number + RETRIES
    if plan.choose("edit at the clear", False, True):
        # What was asked for before counts no more, but for an active run that is waited out.
        parent.conf += 1
        parent.demand += 1
        parent.wanted = set()
    parent.server.account.story.append(f"parent {parent.number}: cleared, for demand {parent.demand}")


@settings(max_examples=int(os.environ.get("FUZZ_EXAMPLES", "60")), suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_both_promises_hold(data: st.DataObject) -> None:
    """No second child beside a healthy one, and no success that nothing backs."""
    plan = Plan(data)
    account = Account()
    first = Watched(account)
    parents = []
    for number in range(plan.parents):
        server = Watched(account)
        server.dags, server.runs = first.dags, first.runs
        server.current_id = uuid.uuid4()
        server.is_beside_allowed = not plan.mode["wait_for_completion"]
        parents.append(Parent(number, server, conf=1000 * number))
    try:
        _play(plan, parents)
    finally:
        for line in account.story:
            note(line)
