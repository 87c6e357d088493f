"""How each planned fault is done. A fault is a generator: it yields while there is something to wait for."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from airflow_durable.core.stored import KEY
from tests.chaos.engine import WORKERS
from tests.chaos.host import kill_host
from tests.chaos.modes import KINDS, TASK_ID
from tests.chaos.plan import TARGETED, FaultKind, Place, PlannedFault
from tests.support.fault_proxy import Action, Fault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow_durable.demo.processes import Component
    from airflow_durable.metadata.model import TaskTry
    from tests.chaos.engine import DistributedAirflow
    from tests.chaos.host import FindDue

STRIKE_LIMIT_SECONDS = 60.0
"""For a targeted fault to meet an attempt of either kind."""

SUPERSEDED_LIMIT_SECONDS = 90.0
"""For an attempt to be retried elsewhere."""

COMPONENTS = {
    FaultKind.WORKER_KILLED: "celery-worker",
    FaultKind.TRIGGERER_KILLED: "triggerer",
    FaultKind.SCHEDULER_KILLED: "scheduler",
    FaultKind.API_SERVER_RESTARTED: "api-server",
    FaultKind.RECONCILER_KILLED: "api-server",
}
"""What the faults that kill a component kill, in the engine's words."""

COUNTED = TARGETED | {
    FaultKind.WORKER_KILLED,
    FaultKind.TRIGGERER_KILLED,
    FaultKind.PARTITION,
    FaultKind.RECONCILER_KILLED,
}
"""The faults whose victims can be told; the others strike whoever is there."""

HEALED_TICKS = 15
_POLL_TICKS = 3
_ENDED = frozenset({"success", "failed", "skipped", "removed"})
_NOT_STARTED = frozenset({None, "scheduled", "queued", "up_for_retry"})
_SAVE = {
    "durable": ("PUT", rf"/execution/store/ti/[^/]+/{KEY}"),
    # The stock operator has no journal; the extra link's XCom is where its run id is to be seen.
    "stock": ("POST", r"/execution/xcoms/[^/]+/[^/]+/[^/]+/trigger_run_id"),
}
_PATHS = {
    Place.START: ("PATCH", r"/execution/task-instances/[^/]+/run"),
    Place.SUBMIT: ("POST", r"/execution/dag-runs/[^/]+/[^/]+(/clear)?"),
    Place.LOOK_UP: ("GET", r"/execution/dag-runs/[^/]+/[^/]+(/state)?"),
    Place.END: ("PATCH", r"/execution/task-instances/[^/]+/state"),
}


@dataclass
class Outcome:
    """
    What a fault did.

    :param struck_resets: the parents (Dag, run, map index) whose request to reset the child itself met the fault.
    :param victims: how many attempts of each kind it struck, for certain.
    :param overlaps: how many attempts still ran at the fault's end though a newer attempt had started by then.
    :param is_in_the_middle: it killed the reconciler's host in the middle of a transaction.
    """

    fault: PlannedFault
    is_done: bool = False
    is_in_the_middle: bool = False
    struck_resets: set[tuple[str, str, int]] = field(default_factory=set)
    victims: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    overlaps: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))


class FaultBox:
    """
    Does the faults to a running Airflow.

    :param find_due: returns the parents for which the reconciler has something to do.
    """

    def __init__(self, engine: DistributedAirflow, find_due: FindDue) -> None:
        self._engine = engine
        self._find_due = find_due

    def strike(self, outcome: Outcome) -> Iterator[None]:
        """Do it; the outcome is complete when the generator ends."""
        kind = outcome.fault.kind
        if kind in {FaultKind.TASK_KILLED, FaultKind.SUPERVISOR_KILLED}:
            yield from self._kill_attempts(outcome)
        elif kind is FaultKind.REPLY_DROPPED:
            yield from self._strike_requests(outcome, Action.DROP_REPLY, times=outcome.fault.times)
        elif kind is FaultKind.REQUEST_REPEATED:
            yield from self._strike_requests(outcome, Action.REPEAT)
        elif kind is FaultKind.REQUEST_DELAYED:
            yield from self._delay_requests(outcome)
        elif kind is FaultKind.PARTITION:
            yield from self._partition(outcome)
        elif kind is FaultKind.RECONCILER_KILLED:
            yield from kill_host(self._engine, self._find_due, outcome)
        else:
            yield from self._strike_component(outcome)

    def running_attempts(self) -> list[TaskTry]:
        """Return the attempts of parents that run, by the database, and whose process is there."""
        attempts = self._engine.database.latest_in_state("running", TASK_ID)
        return [attempt for attempt in attempts if self._engine.worker_of(attempt.pid) is not None]

    def _kill_attempts(self, outcome: Outcome) -> Iterator[None]:
        fault = outcome.fault
        engine = self._engine
        kill = engine.kill_task if fault.kind is FaultKind.TASK_KILLED else engine.kill_supervisor
        if fault.place is not Place.ANYWHERE:
            action = Action.KILL_AFTER if fault.is_after else Action.KILL_BEFORE
            yield from self._strike_requests(outcome, action, kill=kill)
            return
        missing = set(KINDS)
        deadline = time.monotonic() + STRIKE_LIMIT_SECONDS
        while missing and time.monotonic() < deadline:
            attempts = self.running_attempts()
            for kind in sorted(missing):
                candidates = [attempt for attempt in attempts if attempt.dag_id.startswith(kind)]
                if candidates:
                    victim = candidates[int(fault.pick * len(candidates))]
                    if victim.pid is not None and kill(victim.pid):
                        outcome.victims[kind] += 1
                        missing.discard(kind)
            yield

    def _strike_requests(
        self, outcome: Outcome, action: Action, *, times: int = 1, kill: Callable[[int], object] | None = None
    ) -> Iterator[None]:
        armed = {kind: self._arm(outcome.fault, kind, action, times=times, kill=kill) for kind in KINDS}
        deadline = time.monotonic() + STRIKE_LIMIT_SECONDS
        while not all(fault.is_hit for fault in armed.values()) and time.monotonic() < deadline:
            yield
        if times > 1:
            # The client's repetitions come within seconds.
            deadline = time.monotonic() + 15
            while any(0 < fault.hits < times for fault in armed.values()) and time.monotonic() < deadline:
                yield
        self._disarm(outcome, armed)

    def _delay_requests(self, outcome: Outcome) -> Iterator[None]:
        armed = {kind: self._arm(outcome.fault, kind, Action.HOLD, times=1, is_following=True) for kind in KINDS}
        deadline = time.monotonic() + STRIKE_LIMIT_SECONDS
        while not all(fault.is_hit for fault in armed.values()) and time.monotonic() < deadline:
            yield
        victims = [fault.victim for fault in armed.values() if fault.victim]
        yield from self._wait_until_superseded(victims)
        self._count_overlaps(outcome, victims)
        self._disarm(outcome, armed)

    def _partition(self, outcome: Outcome) -> Iterator[None]:
        worker = WORKERS[int(outcome.fault.pick * len(WORKERS))]
        deadline = time.monotonic() + STRIKE_LIMIT_SECONDS
        victims: list[TaskTry] = []
        while time.monotonic() < deadline:
            victims = [attempt for attempt in self.running_attempts() if self._engine.worker_of(attempt.pid) == worker]
            if {_kind_of(victim) for victim in victims} == set(KINDS):
                break
            yield
        self._engine.cut_off(worker)
        for victim in victims:
            outcome.victims[_kind_of(victim)] += 1
        yield from self._wait_until_superseded(victims)
        self._count_overlaps(outcome, victims)
        healed_at = time.time()
        self._engine.heal(worker)
        # What a superseded worker had to send it sends now, a reset among it.
        for _ in range(HEALED_TICKS):
            yield
        for passage in tuple(self._engine.proxies[worker].passages):
            is_reset = passage.path.endswith("/clear") and passage.status is not None and passage.at >= healed_at
            sender = passage.sender
            if is_reset and sender is not None and any(victim.id == sender.id for victim in victims):
                outcome.struck_resets.add((sender.dag_id, sender.run_id, sender.map_index))

    def _strike_component(self, outcome: Outcome) -> Iterator[None]:
        engine, fault = self._engine, outcome.fault
        if fault.kind is FaultKind.POSTGRES_RESTARTED:
            engine.postgres.kill()
            engine.postgres.start()
            return
        if fault.kind is FaultKind.BROKER_RESTARTED:
            engine.broker.kill()
            engine.broker.start()
            return
        components = engine.components_of(COMPONENTS[fault.kind])
        component = components[int(fault.pick * len(components))]
        deadline = time.monotonic() + STRIKE_LIMIT_SECONDS
        victims: list[TaskTry] = []
        # Without work the death of a worker or a triggerer would prove nothing.
        while fault.kind in COUNTED and time.monotonic() < deadline and component in engine.airflow.components:
            victims = self._work_of(component)
            if {_kind_of(victim) for victim in victims} == set(KINDS):
                break
            yield
        for victim in victims:
            outcome.victims[_kind_of(victim)] += 1
        if component in engine.airflow.components:
            engine.restart(component)

    def _work_of(self, component: Component) -> list[TaskTry]:
        """Return the attempts that a worker runs, or that the triggerer waits for."""
        if component.kind == "triggerer":
            return self._engine.database.latest_in_state("deferred", TASK_ID)
        worker = self._engine.worker_of(component.process.pid)
        return [attempt for attempt in self.running_attempts() if self._engine.worker_of(attempt.pid) == worker]

    def _arm(  # noqa: PLR0913 - a fault has many sides
        self,
        fault: PlannedFault,
        kind: str,
        action: Action,
        *,
        times: int,
        is_following: bool = False,
        kill: Callable[[int], object] | None = None,
    ) -> Fault:
        place = Place.SUBMIT if fault.place is Place.ANYWHERE else fault.place
        method, path = _SAVE[kind] if place is Place.SAVE else _PATHS[place]
        armed = Fault(
            action,
            f"{kind}_.*",
            None,
            method,
            path,
            map_index=None,
            times=times,
            is_following=is_following,
            kill=kill,
        )
        for proxy in self._engine.proxies.values():
            proxy.inject(armed)
        return armed

    def _disarm(self, outcome: Outcome, armed: dict[str, Fault]) -> None:
        for kind, fault in armed.items():
            fault.lift()
            outcome.victims[kind] += int(fault.is_hit)
            if fault.victim and any(path.endswith("/clear") for path in fault.paths_hit):
                outcome.struck_resets.add((fault.victim.dag_id, fault.victim.run_id, fault.victim.map_index))
            for proxy in self._engine.proxies.values():
                proxy.remove(fault)

    def _wait_until_superseded(self, victims: list[TaskTry]) -> Iterator[None]:
        """Wait until each has a newer attempt that runs, or its parent has ended."""
        deadline = time.monotonic() + SUPERSEDED_LIMIT_SECONDS
        while time.monotonic() < deadline:
            if all(self._is_superseded(victim) for victim in victims):
                return
            for _ in range(_POLL_TICKS):
                yield

    def _is_superseded(self, victim: TaskTry) -> bool:
        latest = self._latest(victim)
        if latest is None or latest.state in _ENDED:
            return True
        return latest.id != victim.id and latest.state in {"running", "deferred"}

    def _count_overlaps(self, outcome: Outcome, victims: list[TaskTry]) -> None:
        for victim in victims:
            latest = self._latest(victim)
            pids = {proxy.pid_of(victim.id) for proxy in self._engine.proxies.values()} - {None}
            is_alive = any(self._engine.worker_of(pid) is not None for pid in pids)
            has_newer = latest is not None and latest.id != victim.id and latest.state not in _NOT_STARTED
            if is_alive and has_newer:
                outcome.overlaps[_kind_of(victim)] += 1

    def _latest(self, victim: TaskTry) -> TaskTry | None:
        rows = self._engine.database.latest_tries(victim.dag_id, victim.run_id)
        return next((row for row in rows if row.map_index == victim.map_index), None)


def _kind_of(attempt: TaskTry) -> str:
    return attempt.dag_id.partition("_")[0]
