"""What goes wrong, in which order, when and where: all of it follows from the seed, before anything is started."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from random import Random


class FaultKind(str, Enum):
    """What goes wrong. The values stand in the report."""

    TASK_KILLED = "SIGKILL of a task process"
    SUPERVISOR_KILLED = "SIGKILL of a task process and its supervisor"
    WORKER_KILLED = "SIGKILL of a whole Celery worker"
    TRIGGERER_KILLED = "SIGKILL of the triggerer"
    SCHEDULER_KILLED = "SIGKILL of a scheduler"
    API_SERVER_RESTARTED = "SIGKILL and restart of the API server"
    POSTGRES_RESTARTED = "SIGKILL and restart of PostgreSQL"
    BROKER_RESTARTED = "SIGKILL and restart of the broker, its queue lost"
    REPLY_DROPPED = "reply dropped: the request arrived, the sender does not learn it"
    REQUEST_DELAYED = "requests of one try held, and delivered after the task was retried elsewhere"
    REQUEST_REPEATED = "request delivered twice"
    PARTITION = "worker cut off until its tasks were retried elsewhere, then healed"
    RECONCILER_KILLED = "SIGKILL of one of two reconcilers when there is something to do, or of both while one does it"


TARGETED = frozenset(
    {
        FaultKind.TASK_KILLED,
        FaultKind.SUPERVISOR_KILLED,
        FaultKind.REPLY_DROPPED,
        FaultKind.REQUEST_DELAYED,
        FaultKind.REQUEST_REPEATED,
    }
)
"""These strike one durable and one stock attempt each; the others strike whoever is there."""

WEIGHTS = {
    FaultKind.TASK_KILLED: 17,
    FaultKind.SUPERVISOR_KILLED: 18,
    FaultKind.WORKER_KILLED: 4,
    FaultKind.TRIGGERER_KILLED: 3,
    FaultKind.SCHEDULER_KILLED: 2,
    FaultKind.API_SERVER_RESTARTED: 2,
    FaultKind.POSTGRES_RESTARTED: 2,
    FaultKind.BROKER_RESTARTED: 2,
    FaultKind.REPLY_DROPPED: 16,
    FaultKind.REQUEST_DELAYED: 14,
    FaultKind.REQUEST_REPEATED: 13,
    FaultKind.PARTITION: 4,
    FaultKind.RECONCILER_KILLED: 3,
}
"""Of a hundred. A component that was killed takes most of a minute to come back where two cores are shared with much
else, and while the API server or the broker is away nothing can be struck."""


class Place(str, Enum):
    """The request that a targeted fault strikes. Each of them is a step of the protocol."""

    ANYWHERE = "at any moment of the wait"
    START = "the request that starts the attempt"
    SAVE = "the request that saves the run id"
    SUBMIT = "the request that creates the child run"
    LOOK_UP = "a look-up of the child run"
    END = "the request that reports the attempt's end"


_KILL_PLACES = {Place.ANYWHERE: 5, Place.SAVE: 2, Place.SUBMIT: 5, Place.LOOK_UP: 2, Place.END: 1}
_REQUEST_PLACES = {Place.START: 1, Place.SAVE: 2, Place.SUBMIT: 6, Place.LOOK_UP: 2, Place.END: 1}
_TIMES = (1, 1, 5)
"""How many replies in a row are dropped. Airflow's client sends a request 5 times before it gives up."""


@dataclass(frozen=True)
class PlannedFault:
    """
    One thing that goes wrong.

    :param pause_seconds: between the fault before and this one.
    :param place: of a targeted fault.
    :param is_after: the request has arrived when the fault strikes, and only its reply has not.
    :param times: how many replies are dropped.
    :param pick: from 0 to 1: chooses the victim among those that there are.
    """

    number: int
    kind: FaultKind
    pause_seconds: float
    place: Place
    is_after: bool
    times: int
    pick: float


def make_plan(seed: int, count: int, *, pause_seconds: float) -> list[PlannedFault]:
    """
    Return the faults of a run. Each kind is among the first ones, once.

    :param pause_seconds: the mean pause between two faults.
    """
    random = Random(f"{seed}/faults")  # noqa: S311 - a schedule, no secret
    kinds = list(FaultKind)
    random.shuffle(kinds)
    kinds += random.choices(list(WEIGHTS), list(WEIGHTS.values()), k=max(0, count - len(kinds)))
    return [_make_fault(random, number, kind, pause_seconds) for number, kind in enumerate(kinds[:count], 1)]


def _make_fault(random: Random, number: int, kind: FaultKind, pause_seconds: float) -> PlannedFault:
    places = _KILL_PLACES if kind in {FaultKind.TASK_KILLED, FaultKind.SUPERVISOR_KILLED} else _REQUEST_PLACES
    return PlannedFault(
        number=number,
        kind=kind,
        pause_seconds=random.uniform(0.2, 1.8) * pause_seconds,
        place=random.choices(list(places), list(places.values()))[0],
        is_after=random.random() < 0.5,
        times=random.choice(_TIMES),
        pick=random.random(),
    )
