"""What a try's calls do to the simulated Airflow: each may succeed, fail, or take effect and lose its answer."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from airflow_durable.core.model import Mode
from tests.schedules import properties
from tests.schedules.attempts import Reply, keep
from tests.schedules.configurations import NO_DAG
from tests.schedules.requests import Action, Effect, Request, checked, create, reset
from tests.schedules.world import QUEUED, STARTED, SUCCESS, Sender, Sent, moment_of, see

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.schedules.attempts import Payload
    from tests.schedules.configurations import Configuration
    from tests.schedules.world import Kept, Process, World

BURST = 4
"""How often the protocol sends what may not have arrived: a lasting failure outlasts that."""

AWAY = Reply(error="away", is_lasting=True)
UNKNOWN = Reply(error="unknown", is_lasting=True)
NO_STORE = Reply(error="no store", is_lasting=True)


def step(world: World, configuration: Configuration, process: Process) -> Iterator[Action]:
    """Return what may come of the call at which a try stands."""
    standing = process.step
    if 0 < standing.lasting < BURST:
        after = go_on(world, process, standing.outcomes[-1])
        yield Action(f"{process.name}: {standing.call.kind} fails again", "step", after)
        return
    yield from _STEPS[standing.call.kind](world, configuration, process)


def go_on(world: World, process: Process, outcome: Reply) -> World:
    """Take a try on, past its call."""
    after = process._replace(step=process.step.after(outcome._replace(clock=world.clock)))
    return world._replace(processes=tuple(after if other is process else other for other in world.processes))


def leave(world: World, process: Process) -> World:
    """End a process."""
    return world._replace(processes=tuple(other for other in world.processes if other is not process))


def _fault(world: World, process: Process, what: str, outcome: Reply) -> Iterator[Action]:
    """Let the call fail, at the cost of a fault. Not for a superseded try: it has had its fault."""
    if world.budget.faults and world.is_current(process.parent, process.task_number):
        after = go_on(world.spend(faults=1), process, outcome)
        yield Action(f"{process.name}: {process.step.call.kind} {what}", "fault", after)


def _sent(world: World, process: Process, kind: str, what: object, *, is_copy: bool = False) -> World:
    sender = Sender(process.parent, process.task_number, process.try_number, process.life, process.demand, process.step)
    return world._replace(messages=(*world.messages, Sent(kind, what, sender, is_copy)))  # type: ignore[arg-type] # by kind


# The store.


def _get(world: World, configuration: Configuration, process: Process) -> Iterator[Action]:
    key = process.step.call.key
    is_current = world.is_current(process.parent, process.task_number)
    kept = world.tasks[process.parent].get(key) if is_current else None
    name = f"{process.name}: get {key.removeprefix('durable_child_run') or '.0'}"
    yield Action(name, "step", go_on(world, process, Reply(kept)))
    yield from _fault(world, process, "fails, the server is away", NO_STORE)
    if configuration.is_misread and world.budget.losses and kept is not None:
        after = go_on(world.spend(losses=1), process, Reply(None))
        yield Action(f"{name}: a wrong none", "fault", after)


def _set(world: World, configuration: Configuration, process: Process) -> Iterator[Action]:
    call = process.step.call
    if call.what is None:
        raise TypeError(call)
    name = f"{process.name}: set {call.key.removeprefix('durable_child_run') or '.0'}"
    if not world.is_current(process.parent, process.task_number):
        yield Action(f"{name}: refused", "step", go_on(world, process, Reply(error="superseded")))
        return
    what = (call.key, call.what)
    marked = _marked(world, process, store(world, process.parent, call.key, call.what))
    stored = store(marked, process.parent, call.key, call.what)
    yield Action(name, "step", go_on(stored, process, Reply()))
    yield from _fault(world, process, "fails, the server is away", NO_STORE)
    yield from _fault(stored, process, "arrives, its reply is lost", Reply(error="no store"))
    yield from _fault(stored, process, "arrives, and nothing is heard again", NO_STORE)
    yield from _fault(_sent(marked, process, "set", what), process, "is late", NO_STORE)
    yield from _fault(_sent(stored, process, "set", what, is_copy=True), process, "arrives; a copy is late", Reply())


def _marked(world: World, process: Process, stored: World) -> World:
    """Note for the oracle that this is what the try does last, but for reading, before it reports success."""
    following = process.step.after(Reply(clock=world.clock))
    while following.call.kind == "get":
        kept = stored.tasks[process.parent].get(following.call.key)
        following = following.after(Reply(kept, clock=world.clock))
    if following.call.kind != "succeed":
        return world
    account = world.ledgers[process.parent]
    return world.with_ledger(process.parent, account._replace(is_known_done=True))


def store(world: World, parent: int, key: str, kept: Kept) -> World:
    """Store a value."""
    after = world.with_task(parent, world.tasks[parent].with_value(key, kept))
    account = world.ledgers[parent]
    lost, remade = "rewritten" if account.lost == "lost" else account.lost, account.remade and "written"
    return after.with_ledger(parent, account._replace(lost=lost, remade=remade))


# What is asked of Dag runs.


def _look(world: World, configuration: Configuration, process: Process) -> Iterator[Action]:
    standing = process.step
    call = standing.call
    run = world.run(call.dag_id, call.key)
    wanted = standing.start.wanted[call.call - 1]
    answer = Reply(see(run, wanted.request.dag_id, wanted.conf, is_detailed=call.is_detailed), clock=world.clock)
    # A poll that is told what it was told before: it would sleep and poll again, and the world would be the same
    # but for the time waited. So it is left out until there is something new to tell.
    if not (standing.is_repetition and standing.outcomes[-1] == answer):
        label = f"{process.name}: look-up of {short(call.key)}: {run.shown_state if run else 'missing'}"
        yield Action(label, "step", go_on(world, process, answer))
    is_polling = standing.is_repetition and not call.is_detailed and wanted.request.mode is Mode.DEFER
    if configuration.is_waiting_first and is_polling and standing.outcomes[-1] == answer:
        yield Action(f"{process.name}: has waited as long as it waits here", "step", go_on(world, process, answer))
    is_asking = configuration.is_waiting_for_reconciler and standing.is_repetition and call.is_detailed
    if is_asking and standing.outcomes[-1] == answer:
        if configuration.is_reset_asked:
            # The task goes on by itself then: it takes time, but it is no fault.
            yield Action(f"{process.name}: nobody has acted in time", "step", go_on(world, process, answer))
        else:
            yield from _fault(world, process, "finds that nobody has acted in time", answer)
    yield from _fault(world, process, "fails, the server is away", AWAY)
    yield from _fault(world, process, "is forbidden", Reply(error="forbidden"))


def _count(world: World, configuration: Configuration, process: Process) -> Iterator[Action]:
    call = process.step.call
    found = [run for run in world.runs if run.dag_id == call.dag_id and run.run_id in call.run_ids]
    number = sum(call.states is None or run.state in call.states for run in found)
    what = "any state" if call.states is None else "/".join(sorted(call.states))
    label = f"{process.name}: count of {len(call.run_ids)} run ids in {what}: {number}"
    yield Action(label, "step", go_on(world, process, Reply(number)))
    yield from _fault(world, process, "fails, the server is away", AWAY)


def _result(world: World, configuration: Configuration, process: Process) -> Iterator[Action]:
    call = process.step.call
    run = world.run(call.dag_id, call.key)
    is_there = run is not None and run.state == SUCCESS
    reply = Reply(keep(run.conf)) if run is not None and is_there else Reply(error="no result")
    label = f"{process.name}: result of {short(call.key)}{'' if is_there else ': missing'}"
    yield Action(label, "step", go_on(world, process, reply))
    yield from _fault(world, process, "cannot be read", Reply(error="unreadable"))


def _tasks(world: World, configuration: Configuration, process: Process) -> Iterator[Action]:
    call = process.step.call
    run = world.run(call.dag_id, call.key)
    states = {"task": None if run is not None and run.stage in {QUEUED, STARTED} else "running"}
    told = "begun" if states["task"] else "not begun"
    label = f"{process.name}: the tasks of {short(call.key)} have {told}"
    yield Action(label, "step", go_on(world, process, Reply(keep(states))))
    yield from _fault(world, process, "are not known just now", Reply(None))


def _newer(world: World, configuration: Configuration, process: Process) -> Iterator[Action]:
    than = process.step.call.moment
    if not configuration.has_store:
        is_newer = None if configuration.has_upstream else False
    else:
        upstream = process.step.start.upstream
        is_newer = None if than is None else bool(upstream) and moment_of(upstream) - timedelta(hours=1) > than
    label = f"{process.name}: is anything upstream newer: {is_newer}"
    yield Action(label, "step", go_on(world, process, Reply(is_newer)))


def _request_of(process: Process, *, is_late: bool = False, is_repeated: bool = False) -> Request:
    call = process.step.call
    if call.payload is None:
        raise TypeError(call)
    sender = Sender(process.parent, process.task_number, process.try_number, process.life, process.demand, process.step)
    wanted = process.step.start.wanted[call.call - 1]
    return Request(call.payload, sender, wanted, process.step.seen, is_late, is_repeated)


def _submit(world: World, configuration: Configuration, process: Process) -> Iterator[Action]:
    is_late = not world.is_current(process.parent, process.task_number)
    request = _request_of(process, is_late=is_late)
    payload = request.payload
    name = f"{process.name}: submit {short(payload.run_id)}"
    if payload.dag_id == NO_DAG:
        refused = go_on(world, process, Reply(error="refused"))
        yield checked(f"{name}: 404", "step", refused, lambda: properties.check_refused(request))
        return
    if world.is_taken(payload):
        yield Action(f"{name}: 409", "step", go_on(world, process, Reply(value=False)))
    else:
        effect = create(world, configuration, request)
        created = effect.world
        if created is None:
            raise TypeError(effect)
        yield Action(f"{name}: created", "step", go_on(created, process, Reply(value=True)), *effect[1:])
        if effect.violation is None:
            lost = "arrives, its reply is lost, the client repeats it and gets 409"
            yield from _fault(created, process, lost, Reply(value=False))
            yield from _fault(created, process, "arrives, and nothing is heard again", UNKNOWN)
        late = _sent(world, process, "submit", payload)
        yield from _fault(late, process, "is late", UNKNOWN)
        if not configuration.is_fixed:
            clash = "gets 409, as a foreign run has its logical date"
            yield from _fault(world, process, clash, Reply(value=False))
    yield from _fault(world, process, "fails, the server is away", UNKNOWN)
    yield from _fault(world, process, "is refused", Reply(error="refused"))


def _reset(world: World, configuration: Configuration, process: Process) -> Iterator[Action]:
    is_late = not world.is_current(process.parent, process.task_number)
    request = _request_of(process, is_late=is_late)
    name = f"{process.name}: reset {short(request.payload.run_id)}"
    effect = reset(world, configuration, request)
    cleared = effect.world
    if cleared is None or request.payload.dag_id == NO_DAG:
        # The logical date is another run's: the client's clear by run id finds none.
        yield Action(f"{name}: 404", "step", go_on(world, process, Reply(error="refused")))
        return
    unknown = Reply(error="unknown")
    yield Action(name, "step", go_on(cleared, process, Reply()), *effect[1:])
    if effect.violation is None and not is_late:
        yield from _fault(cleared, process, "arrives, its reply is lost", unknown)
        twice = reset(cleared, configuration, _request_of(process, is_repeated=True))
        if twice.world is not None:
            for action in _fault(twice.world, process, "arrives twice", Reply()):
                yield action._replace(excuse=twice.excuse, violation=twice.violation)
    yield from _fault(_sent(world, process, "reset", request.payload), process, "is late", unknown)
    yield from _fault(world, process, "fails, the server is away", unknown)
    yield from _fault(world, process, "is refused", Reply(error="refused"))


_STEPS = {
    "get": _get,
    "set": _set,
    "look": _look,
    "count": _count,
    "newer": _newer,
    "tasks": _tasks,
    "result": _result,
    "submit": _submit,
    "reset": _reset,
}


def deliver(world: World, configuration: Configuration) -> Iterator[Action]:
    """Deliver a request that is on its way: at any moment, its sender may be long gone."""
    for message in world.messages:
        rest = world._replace(messages=tuple(other for other in world.messages if other is not message))
        sender = message.sender
        of = f"parent {sender.parent + 1}, " if sender.parent else ""
        name = f"{of}the late {message.kind} of try {sender.try_number} arrives"
        is_current = world.is_current(sender.parent, sender.task_number)
        if message.kind == "set":
            key, kept = message.what  # type: ignore[misc] # by kind
            if is_current:
                yield Action(name, "step", store(rest, sender.parent, key, kept))
            else:
                yield Action(f"{name} and is refused", "step", rest)
            continue
        payload: Payload = message.what  # type: ignore[assignment] # by kind
        wanted = sender.step.start.wanted[payload.call - 1]
        request = Request(payload, sender, wanted, {}, is_late=True)
        if message.kind == "submit" and world.is_taken(payload):
            yield Action(f"{name}: 409", "step", rest)
            continue
        effect: Effect = (create if message.kind == "submit" else reset)(rest, configuration, request)
        yield Action(name, "step", effect.world or rest, *effect[1:])


def short(run_id: str) -> str:
    """Return what of a run id tells it from others."""
    return run_id.rpartition("+00:00_")[2]
