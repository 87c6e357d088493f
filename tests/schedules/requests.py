"""What requests do in the simulated Airflow, and what the oracle says of it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from tests.schedules import ledger, properties
from tests.schedules.configurations import FIXED_DATES, FIXED_RUN_IDS
from tests.schedules.properties import Violation
from tests.schedules.world import ACTIVE, Ask, Run, Token, moment_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.schedules.attempts import Payload, Wanted
    from tests.schedules.configurations import Configuration
    from tests.schedules.properties import Seen
    from tests.schedules.world import Sender, World


class Action(NamedTuple):
    """
    One thing that can happen.

    :param kind: ``step`` (a try goes on), ``fault``, ``child``, ``people`` or ``scheduler``.
    :param excuse: a known limit of the protocol that showed itself.
    """

    label: str
    kind: str
    world: World
    excuse: str = ""
    violation: Violation | None = None


class Effect(NamedTuple):
    """What a request does. ``world`` is None if it is answered with a 404."""

    world: World | None
    excuse: str = ""
    violation: Violation | None = None


class Request(NamedTuple):
    """
    A request for a run.

    :param wanted: what the sender's Dag file asked for.
    :param seen: what the sender knows of runs.
    :param is_late: its try was superseded before it arrived.
    :param is_repeated: Airflow's client sends it a second time.
    """

    payload: Payload
    sender: Sender
    wanted: Wanted
    seen: Seen
    is_late: bool = False
    is_repeated: bool = False

    @property
    def token(self) -> Token:
        """Return who asks, and for what: by what is sent."""
        payload = self.payload
        ask = Ask(
            payload.dag_id,
            payload.conf,
            payload.run_id if payload.run_id in FIXED_RUN_IDS else None,
            payload.date if payload.date in FIXED_DATES else None,
        )
        sender = self.sender
        return Token(sender.parent, sender.life, payload.call, sender.demand, ask)


def create(world: World, configuration: Configuration, request: Request) -> Effect:
    """Create the run. Nothing must be in its way."""
    payload, token = request.payload, request.token
    began = moment_of(request.sender.task_number) + timedelta(hours=12)
    run = Run(
        payload.dag_id,
        payload.run_id,
        payload.date,
        payload.run_after or began,
        payload.conf,
        ACTIVE,
        began,
        began,
        owners=frozenset({token}),
        is_late=request.is_late,
        stage=configuration.first_stage,
        asked_clock=request.sender.step.start.clock,
        queued_clock=world.clock,
    )
    after = world.with_run(run)

    def check() -> str:
        return properties.check_creation(after, configuration, run, request)

    noted = ledger.create(after, token)
    effect = _effect(noted if request.is_late else ledger.settle(noted, token, configuration.calls), check)
    if effect.world is not None and effect.excuse and not request.is_late:
        return effect._replace(world=ledger.supersede(effect.world, token))
    return effect


def reset(world: World, configuration: Configuration, request: Request) -> Effect:
    """Create the run; where there is one, clear it."""
    payload, token = request.payload, request.token
    run = world.run(payload.dag_id, payload.run_id)
    if run is None:
        if world.is_taken(payload):
            return Effect(None)
        return create(world, configuration, request)
    cleared = run._replace(
        state=ACTIVE,
        clear_number=run.clear_number + 1,
        owners=run.owners | {token},
        is_late=request.is_late,
        stage=configuration.first_stage,
        asked_clock=request.sender.step.start.clock,
        queued_clock=world.clock,
    )
    after = world.with_run(cleared)
    after = ledger.create(after, token) if request.is_late else ledger.reset(after, token, run)

    def check() -> str:
        return properties.check_reset(world, configuration, run, request)

    return _effect(after, check)


def checked(label: str, kind: str, after: World, check: Callable[[], str]) -> Action:
    """Return an action that may break a property."""
    try:
        return Action(label, kind, after, check())
    except Violation as violation:
        return Action(label, kind, after, "", violation)


def _effect(after: World, check: Callable[[], str]) -> Effect:
    action = checked("", "", after, check)
    return Effect(after, action.excuse, action.violation)
