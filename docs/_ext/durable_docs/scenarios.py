"""The crash points, each as a play for :mod:`.stage`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from airflow_durable.core.model import ChildRun, Mode, OnClear, Request
from durable_docs.stage import CHILD_DAG, Fault, Play, Who, World, play

if TYPE_CHECKING:
    from collections.abc import Callable

    from durable_docs.stage import Event


@dataclass(frozen=True)
class Scenario:
    """
    A crash and what comes of it.

    :param runs: how many child runs there are at the end: what the test counts.
    :param starts_with: run ids that somebody else has started before.
    :param has_store: False: Airflow before 3.3.
    """

    title: str
    steps: tuple[Play | Callable[[World], None], ...]
    runs: int = 1
    mode: Mode = Mode.WAIT
    fixed_run_id: str | None = None
    is_reset: bool = False
    on_clear: OnClear = OnClear.AUTO
    has_store: bool = True
    starts_with: tuple[str, ...] = field(default=())


def _state(run_id: str, state: str) -> Callable[[World], None]:
    return lambda world: world.mark(run_id, state)


def _delete(run_id: str) -> Callable[[World], None]:
    return lambda world: world.delete(run_id)


def _say(who: Who, text: str) -> Callable[[World], None]:
    return lambda world: world.note(who, text)


_RETRY = _say(Who.AIRFLOW, "the scheduler retries the task")
_CLEAR = _say(Who.AIRFLOW, "a person clears the task")
_A_SUCCEEDS = ("success run A",)
_NO_HEARTBEAT = _say(Who.AIRFLOW, "no heartbeat for too long: the scheduler retries the task")
_EDIT = _say(Who.AIRFLOW, "a person edits the conf in the Dag file and clears the task")


def _edited(on_clear: OnClear, *meanwhile: str) -> Scenario:
    """Return what a clear comes to that brings another conf, while the child of before is active."""
    return Scenario(
        f'A crashed parent is cleared with another conf: on_clear="{on_clear.value}"',
        (
            Play(1, conf="old", meanwhile=("die",)),
            _EDIT,
            Play(2, max_tries=4, conf="new", meanwhile=meanwhile),
        ),
        runs=1 if on_clear is OnClear.ADOPT else 2,
        on_clear=on_clear,
    )


SCENARIOS: dict[str, Scenario] = {
    "no-crash": Scenario("Nothing crashes", (Play(1, meanwhile=_A_SUCCEEDS),)),
    "before-record": Scenario(
        "Killed before the record is written",
        (Play(1, faults={("write", 0): Fault.DIE_BEFORE}), _RETRY, Play(2, meanwhile=_A_SUCCEEDS)),
    ),
    "before-request": Scenario(
        "Killed between the record and the request",
        (Play(1, faults={("submit", 0): Fault.DIE_BEFORE}), _RETRY, Play(2, meanwhile=_A_SUCCEEDS)),
    ),
    "before-reply": Scenario(
        "Killed between the request and its reply",
        (Play(1, faults={("submit", 0): Fault.DIE_AFTER}), _RETRY, Play(2, meanwhile=_A_SUCCEEDS)),
    ),
    "reply-lost": Scenario(
        "The reply is lost, and nothing dies",
        (Play(1, faults={("submit", 0): Fault.LOSE_REPLY}, meanwhile=_A_SUCCEEDS),),
    ),
    "waiting": Scenario("Killed while it waits", (Play(1, meanwhile=("die",)), _RETRY, Play(2, meanwhile=_A_SUCCEEDS))),
    "finished-meanwhile": Scenario(
        "The child finishes while the worker is dead",
        (Play(1, meanwhile=("die",)), _state("run A", "success"), _RETRY, Play(2)),
    ),
    "failed-meanwhile": Scenario(
        "The child fails while the worker is dead",
        (
            Play(1, meanwhile=("die",)),
            _state("run A", "failed"),
            _RETRY,
            Play(2, meanwhile=("success run B",)),
        ),
        runs=2,
    ),
    "deleted-meanwhile": Scenario(
        "The child is deleted while the worker is dead",
        (Play(1, meanwhile=("die",)), _delete("run A"), _RETRY, Play(2, meanwhile=_A_SUCCEEDS)),
    ),
    "before-success": Scenario(
        "Killed between the consumed mark and the end of the task",
        (Play(1, meanwhile=_A_SUCCEEDS, faults={("report", 0): Fault.DIE_BEFORE}), _RETRY, Play(2)),
    ),
    "superseded": Scenario(
        "A worker that was cut off after it had recorded its run",
        (
            Play(1, faults={("submit", 0): Fault.HOLD}),
            _NO_HEARTBEAT,
            Play(2, meanwhile=("late", "success run A")),
        ),
    ),
    "superseded-record": Scenario(
        "A worker that was cut off before it had recorded anything",
        (
            Play(1, faults={("write", 0): Fault.HOLD}),
            _NO_HEARTBEAT,
            Play(2, meanwhile=("late", "success run A")),
        ),
    ),
    "clear-crashed": Scenario(
        "A person clears a parent that crashed",
        (Play(1, meanwhile=("die",)), _CLEAR, Play(2, max_tries=4, meanwhile=_A_SUCCEEDS)),
    ),
    "clear-succeeded": Scenario(
        "A person clears a parent that had succeeded",
        (Play(1, meanwhile=_A_SUCCEEDS), _CLEAR, Play(2, max_tries=4, meanwhile=("success run B",))),
        runs=2,
    ),
    "clear-auto": _edited(OnClear.AUTO, "success run A", "success run B"),
    "clear-adopt": _edited(OnClear.ADOPT, "success run A"),
    "clear-fresh": _edited(OnClear.FRESH, "success run B", "success run A"),
    "record-discarded": Scenario(
        "Airflow 3.4: the clear of a crashed parent discards its record",
        (
            Play(1, meanwhile=("die",)),
            _CLEAR,
            World.discard_record,
            Play(2, max_tries=4, meanwhile=_A_SUCCEEDS),
        ),
    ),
    "no-store": Scenario(
        "Airflow 3.2, which keeps no record: killed while it waits",
        (Play(1, meanwhile=("die",)), _RETRY, Play(2, meanwhile=_A_SUCCEEDS)),
        has_store=False,
    ),
    "several-runs": Scenario(
        "A task that starts three runs, killed in its second call",
        (
            Play(1, calls=3, meanwhile=("success run A", "die")),
            _RETRY,
            Play(2, calls=3, meanwhile=("success run B", "success run C")),
        ),
        runs=3,
    ),
    "deferred": Scenario(
        "Deferred; the worker that resumes is killed",
        (
            Play(1),
            _say(Who.AIRFLOW, "the triggerer looks run A up, again and again"),
            _state("run A", "success"),
            Play(1, is_resumed=True, faults={("write", 0): Fault.DIE_BEFORE}),
            _RETRY,
            Play(2),
        ),
        mode=Mode.DEFER,
    ),
    "fire-and-forget": Scenario(
        "Fire-and-forget, killed before the reply",
        (Play(1, faults={("submit", 0): Fault.DIE_AFTER}), _RETRY, Play(2)),
        mode=Mode.FIRE_AND_FORGET,
    ),
    "fixed": Scenario(
        "A fixed run id, killed while it waits",
        (Play(1, meanwhile=("die",)), _RETRY, Play(2, meanwhile=("success nightly",))),
        fixed_run_id="nightly",
    ),
    "foreign": Scenario(
        "A fixed run id that somebody else's run has",
        (Play(1),),
        fixed_run_id="nightly",
        starts_with=("nightly",),
    ),
    "used-up": Scenario(
        "A fixed run id, cleared after success",
        (Play(1, meanwhile=("success nightly",)), _CLEAR, Play(2, max_tries=4)),
        fixed_run_id="nightly",
    ),
    "reset": Scenario(
        "A reset whose reply is lost with the worker",
        (
            Play(1, faults={("reset", 0): Fault.DIE_AFTER}),
            _RETRY,
            Play(2, meanwhile=("success nightly",)),
        ),
        fixed_run_id="nightly",
        is_reset=True,
        starts_with=("nightly",),
    ),
}


def perform(scenario: Scenario) -> World:
    """Play the scenario; return the world as it is at the end."""
    world = World(has_store=scenario.has_store)
    for run_id in scenario.starts_with:
        world.runs[run_id] = ChildRun("success", 0, world.now())
        world.confs[run_id] = "somebody else's"
        world.note(Who.CHILD, f"{world.name(run_id)} is there, not ours", "plain")
    request = Request(
        dag_id=CHILD_DAG,
        run_id=scenario.fixed_run_id,
        logical_date=None,
        is_date_ours=True,
        is_run_after_ours=True,
        mode=scenario.mode,
        allowed_states=frozenset({"success"}),
        failed_states=frozenset({"failed"}),
        is_reset=scenario.is_reset,
        on_clear=scenario.on_clear,
    )
    for step in scenario.steps:
        if isinstance(step, Play):
            play(world, request, step)
        else:
            step(world)
    return world


def events_of(name: str) -> list[Event]:
    """Return what happens in the scenario of that name."""
    return perform(SCENARIOS[name]).events
