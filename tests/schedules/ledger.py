"""
The oracle's own account: what was asked for by whom, what was started with which request, what was reported.

It is kept from what people did and from what the server executed. It never reads a record, and never asks the protocol.

**The work is demanded anew** by a clear after the task's success was reported, and by a clear with which something
upstream ran again (unless ``on_clear`` is ``adopt``), or by any clear where it is ``fresh``. A clear with another
request demands what is asked for by then: of what there is, only what carries just that counts any longer. What counts
after a demand is what ends after it: an active child may be adopted, one that has ended may not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_durable.core.model import Mode, OnClear
from tests.schedules.world import ACTIVE, ENDED, Ledger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.schedules.attempts import Wanted
    from tests.schedules.configurations import Configuration
    from tests.schedules.world import Ask, Run, Task, Token, World


def begin_try(ledger: Ledger, configuration: Configuration, wanted: Sequence[Wanted], clock: int) -> Ledger:
    """
    Note what a new try asks for. What a clear before it means is settled by that.

    :param clock: how often the clock has moved.
    """
    if ledger.cleared:
        ledger = ledger._replace(cleared_clock=clock)
    asked = {(call, it.ask) for call, it in enumerate(wanted, 1)}
    lost = "restored" if ledger.lost == "rewritten" else ledger.lost
    if not ledger.cleared:
        return ledger._replace(asked=ledger.asked | asked, lost=lost)
    is_anew = ledger.cleared == "reported" or configuration.on_clear is OnClear.FRESH
    is_anew = is_anew or (ledger.cleared == "upstream" and configuration.on_clear is OnClear.AUTO)
    if is_anew:
        return ledger._replace(
            asked=frozenset(asked),
            reached=frozenset(),
            cleared="",
            demand=ledger.demand + 1,
            is_cleared=True,
            settled=frozenset(),
            lost=lost,
        )
    if configuration.on_clear is OnClear.ADOPT:
        return ledger._replace(asked=ledger.asked | asked, cleared="", is_cleared=True, settled=frozenset(), lost=lost)
    reached = frozenset(entry for entry in ledger.reached if (entry[0], entry[1]) in asked)
    return ledger._replace(
        asked=frozenset(asked), reached=reached, cleared="", is_cleared=True, settled=frozenset(), lost=lost
    )


def clear(ledger: Ledger, task: Task, *, is_upstream: bool) -> Ledger:
    """Note that a person clears the task."""
    ledger = ledger._replace(is_hidden=False)
    if (task.state == "success" and not task.is_marked) or ledger.cleared == "reported":
        return ledger._replace(cleared="reported")
    return ledger._replace(cleared="upstream" if is_upstream or ledger.cleared == "upstream" else "unreported")


def create(world: World, token: Token, state: str = ACTIVE) -> World:
    """Note that a run of this parent is there, and what was sent for it."""
    ledger = world.ledgers[token.parent]
    if world.tasks[token.parent].life != token.life or (state == ACTIVE and ledger.demand != token.demand):
        return world
    reached = ledger.reached | {(token.call, token.ask, state)}
    return world.with_ledger(token.parent, ledger._replace(reached=reached))


def settle(world: World, token: Token, calls: int) -> World:
    """
    Note that there is a run of this call's present demand: what was excused before is so no more.

    :param calls: how many the task makes.
    """
    ledger = world.ledgers[token.parent]
    if ledger.demand != token.demand or ledger.cleared:
        return world
    settled = ledger.settled | {token.call}
    is_all = len(settled) >= calls
    known = ledger.is_known_done and not is_all
    return world.with_ledger(token.parent, ledger._replace(settled=settled, is_known_done=known))


def supersede(world: World, token: Token) -> World:
    """Note that a known limit has shown: what was done before the run that is created now counts no more."""
    ledger = world.ledgers[token.parent]
    left = frozenset(entry for entry in ledger.reached if entry[0] != token.call)
    return create(world.with_ledger(token.parent, ledger._replace(reached=left)), token)


def is_unsettled(ledger: Ledger, call: int) -> bool:
    """Tell whether a person cleared the task, and no run of this call was created since."""
    return ledger.is_cleared and call not in ledger.settled


def reset(world: World, token: Token, run: Run) -> World:
    """Note that the parent had its run start over: how it ended before counts no more."""
    ledger = world.ledgers[token.parent]
    if world.tasks[token.parent].life != token.life:
        return world
    asks = {own.ask for own in run.owners_of(token.parent) if own.call == token.call}
    reached = frozenset(
        entry for entry in ledger.reached if not (entry[0] == token.call and entry[1] in asks and entry[2] in ENDED)
    )
    return create(world.with_ledger(token.parent, ledger._replace(reached=reached)), token)


def end(world: World, run: Run, state: str) -> World:
    """Note how a run ended, for all who started it: also for another life of the parent, which may wait for it."""
    for token in run.owners:
        world = create(world, token._replace(life=world.tasks[token.parent].life), state)
    return world


def is_done(world: World, parent: int, call: int, wanted: Wanted) -> bool:
    """Tell whether what this call asks for is done, so that its success may be reported."""
    return any(_counts(world.ledgers[parent], entry, call, wanted) for entry in world.ledgers[parent].reached)


def is_done_by(world: World, parent: int, run: Run, call: int, wanted: Wanted) -> bool:
    """Tell whether it is done by this run, which still is as it was then."""
    ledger = world.ledgers[parent]
    return any(
        token.call == call
        and token.life == world.tasks[parent].life
        and token.demand == ledger.demand
        and (call, token.ask, run.state) in ledger.reached
        and _counts(ledger, (call, token.ask, run.state), call, wanted)
        for token in run.owners_of(parent)
    )


def _counts(ledger: Ledger, entry: tuple[int, Ask, str], call: int, wanted: Wanted) -> bool:
    of_call, ask, state = entry
    if of_call != call or (call, ask) not in ledger.asked:
        return False
    request = wanted.request
    is_allowed = state in request.allowed_states and state not in request.failed_states
    return request.mode is Mode.FIRE_AND_FORGET or is_allowed
