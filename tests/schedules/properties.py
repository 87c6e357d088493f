"""
The properties of the proof, as counts over the simulated database and the oracle's own :mod:`.ledger`.

None of them asks what the protocol decided or recorded, only what there is: which runs, in which state, started by whom
and with which request; and what was demanded and reported.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from airflow_durable.core.errors import (
    CallsDifferError,
    ChildRunFailedError,
    ChildRunForeignError,
    DurableError,
    FixedRunFailedError,
    ForeignRunSkipError,
    JournalReadError,
    LogicalDateTakenError,
    RecordDamagedError,
    RunIdsTakenError,
    RunTimeoutError,
    RunUsedUpError,
    StartTimeoutError,
)
from airflow_durable.core.model import ChildRun, Mode, OnChildFailure, OnClear
from tests.schedules import ledger, limits
from tests.schedules.configurations import FOREIGN_CONF, REPLY
from tests.schedules.world import ACTIVE, FAILED, HEALTHY, LEAP, QUEUED, RESUMED, STARTED, Kept, moment_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.schedules.attempts import Wanted
    from tests.schedules.configurations import Configuration
    from tests.schedules.requests import Request
    from tests.schedules.world import Process, Run, Task, Token, World

    Seen = Mapping[tuple[str, str], ChildRun | None]

_REFUSALS = (ChildRunForeignError, ForeignRunSkipError, LogicalDateTakenError, RunUsedUpError)
_NEVER = (RecordDamagedError, RunIdsTakenError)


class Violation(Exception):  # noqa: N818 - it is no error of the tests: it is what they look for
    """
    A property does not hold.

    :param name: ``duplicate``, ``lost``, ``cleared``, ``stock``, ``stuck``, ``failed``, ``resumed``, ``reset``,
        ``ended``, ``orphan``, ``unproven`` or ``late``.
    """

    def __init__(self, name: str, what: str) -> None:
        super().__init__(f"{name}: {what}")
        self.name = name


def check_creation(world: World, configuration: Configuration, created: Run, request: Request) -> str:
    """
    Check that no second child is started beside a healthy one.

    Healthy: it is active; or it has done what is still asked for. Of fire-and-forget, and with ``on_clear=fresh``, only
    what is still asked for counts, as those start a run beside an active one that is not.

    :returns: the excuse; empty: none is needed.
    """
    token, wanted = request.token, request.wanted
    excuse = ""
    for other in world.runs:
        own = [it for it in other.owners_of(token.parent) if it.life == token.life and it.call == token.call]
        if not own or other.key == created.key:
            continue
        _check_given_up(world, configuration, created, other, own)
        is_done = ledger.is_done_by(world, token.parent, other, token.call, wanted)
        is_joined = other.state == ACTIVE
        is_beside_allowed = wanted.request.mode is Mode.FIRE_AND_FORGET or wanted.request.on_clear is OnClear.FRESH
        if is_beside_allowed:
            account = world.ledgers[token.parent]
            present = [it for it in (token, *own) if it.demand == account.demand and (it.call, it.ask) in account.asked]
            if token not in present:
                continue
            is_joined = is_joined and len(present) > 1
        if not is_done and not is_joined:
            continue
        is_active = is_joined and not is_beside_allowed
        case = limits.Creation(world, configuration, created, other, request, is_active)
        found = limits.excuse(limits.CREATIONS, case)
        if not found:
            what = "is active" if is_joined else "has done what is asked for"
            raise Violation("duplicate", f"{created.run_id} was created, and {other.run_id} {what}")
        excuse = found
    return excuse


def _check_given_up(world: World, configuration: Configuration, created: Run, other: Run, own: list[Token]) -> None:
    """Check that nothing is started after a failed child, if that is to be the end, until a person clears the task."""
    is_end = configuration.on_child_failure is OnChildFailure.FAIL and other.state == FAILED
    if is_end and not world.tasks[own[0].parent].clear_number:
        raise Violation("failed", f"{created.run_id} was created, and the failure of {other.run_id} is to be the end")


def check_resume(world: World, parent: int, run: Run) -> str:
    """
    Check that the reconciler resumes a failed run alone, once for a try, while that try wants it, beside no other.

    :param world: as it was before.
    """
    check_act(world, parent, run, "resumed")
    if run.state != FAILED:
        raise Violation("resumed", f"{run.run_id} was resumed, and it was {run.state}")
    calls = {(own.life, own.call) for own in run.owners_of(parent)}
    for other in world.runs:
        is_own = any((own.life, own.call) in calls for own in other.owners_of(parent))
        if is_own and other.key != run.key and other.state == ACTIVE:
            raise Violation("duplicate", f"{run.run_id} was resumed, and {other.run_id} is active")
    return ""


def check_act_of_reset(world: World, configuration: Configuration, run: Run, request: Request) -> str:
    """
    Check that the reconciler resets no healthy run, and none twice for a try. No lateness excuses it.

    :param world: as it was before.
    :param request: as the task would have sent it.
    """
    check_act(world, request.sender.parent, run, "reset")
    return check_reset(world, configuration, run, request, limits.ACTS_OF_RESET)


def check_act(world: World, parent: int, run: Run, what: str) -> str:
    """Check that a try wants the act, that it has not had it, and that nobody has cleared the run since it asked."""
    task = world.tasks[parent]
    asking = [it for it in world.processes if (it.parent, it.task_number) == (parent, task.number)]
    if task.state not in {"running", "deferred"} or not asking:
        raise Violation(what, f"{run.run_id} was {what} for a try that is over")
    # One that was deleted and created again is another one.
    if (parent, task.number, task.try_number) in world.acted and run.key not in world.deleted:
        raise Violation(what, f"{run.run_id} was {what} twice for one try")
    seen = asking[-1].step.seen.get(run.key)
    if seen is not None and seen.clear_number is not None and seen.clear_number != run.clear_number:
        raise Violation(what, f"{run.run_id} was {what}, and somebody had cleared it since this was asked for")
    # The real one refuses, as often as it is asked: that it proves what it acts on is left out of this simulation.
    if run.conf == FOREIGN_CONF:
        raise Violation(what, f"{run.run_id} was {what}, and somebody else had started it")
    return ""


def check_end(world: World, parent: int, run: Run) -> str:
    """
    Check that the reconciler ends no run that somebody wants: its parent, or a person who started it again.

    :param world: as it was before.
    """
    task = world.tasks[parent]
    what = f"{run.run_id} was ended"
    if not task.is_over:
        raise Violation("ended", f"{what}, and its parent task is {task.state}")
    if task.state == "success" and not task.is_marked:
        raise Violation("ended", f"{what}, and its outcome was taken")
    if is_restarted(task, run):
        raise Violation("ended", f"{what}, and a person had started it again after the end of its parent")
    return ""


def is_restarted(task: Task, run: Run) -> bool:
    """Tell whether a person has started the run again since its parent has ended."""
    return bool(run.clear_number) and task.ended_at is not None and run.queued_at > task.ended_at


def check_timeout(world: World, configuration: Configuration, process: Process) -> None:
    """Check that no try waits for a run that is overdue: neither by polling again, nor in the triggerer."""
    call = process.step.call
    is_polling = call.kind == "look" and process.step.is_repetition and not process.step.outcomes[-1].error
    is_deferring = call.kind == "defer" and (call.moment is None or call.moment > moment_of(process.task_number))
    if not configuration.run_timeout or not (is_polling or is_deferring):
        return
    run = world.run(call.dag_id, call.key)
    is_current = world.is_current(process.parent, process.task_number)
    if is_current and run is not None and run.state == ACTIVE and _is_overdue(world, configuration, process, run):
        raise Violation("late", f"{process.name} waits for {run.run_id}, whose run_timeout is over")


def check_start(world: World, configuration: Configuration, process: Process) -> None:
    """Check that no try waits for a run that should have begun by the time at which the try last learned something."""
    step, call = process.step, process.step.call
    is_waiting = call.kind == "look" and not call.is_detailed and step.is_paused
    if not configuration.start_timeout or not (is_waiting or call.kind == "defer"):
        return
    # In the triggerer the clock is heard: it resumes the try when it may be over.
    if call.moment is not None and call.moment <= moment_of(process.task_number) + step.clock * LEAP:
        return
    # What a fault has kept from it is asked again a minute later.
    last = step.outcomes[-1] if step.outcomes else None
    is_unknown = step.previous is not None and step.previous.kind == "tasks" and last is not None and not last.value
    is_told = last is not None and not last.error and not is_unknown
    run = world.run(call.dag_id, call.key)
    if run is None or run.state != ACTIVE or run.stage not in {QUEUED, RESUMED, STARTED}:
        return
    is_cleared = bool(world.tasks[process.parent].clear_number or run.is_revived or run.is_late)
    is_current = world.is_current(process.parent, process.task_number)
    if is_current and is_told and not is_cleared and step.clock > run.queued_clock:
        raise Violation("late", f"{process.name} waits for {run.run_id}, whose start_timeout is over")


def _check_given_up_start(world: World, process: Process) -> None:
    """
    Check that a try gives up on a run only that it has seen not to have begun, a whole ``start_timeout`` later.

    It counts from the beginning of the try that had the run started, or started over, or that followed a clear.
    """
    key = process.step.looked_at
    run, seen = world.run(*key), process.step.seen.get(key)
    what = f"the task gave up on {key[1]}"
    if seen is None:
        raise Violation("late", f"{what}, and has not seen it")
    last = process.step.outcomes[-1].value
    if isinstance(last, Kept) and any(state is not None for state in last.value.values()):
        raise Violation("late", f"{what}, and had seen that a first task has begun")
    if run is None or run.clear_number != seen.clear_number or world.ledgers[process.parent].is_hidden:
        return
    since = max(run.asked_clock, world.ledgers[process.parent].cleared_clock)
    if process.step.clock <= since:
        raise Violation("late", f"{what}, whose start_timeout is not over")


def _is_overdue(world: World, configuration: Configuration, process: Process, run: Run) -> bool:
    """
    Tell whether the run should have ended before this try. Not if a person has cleared the task or the run.

    When the run of a late request began is not told truly here.
    """
    is_cleared = bool(world.tasks[process.parent].clear_number or run.clear_number)
    limit = configuration.run_timeout or timedelta()
    return not is_cleared and not run.is_late and run.started_at + limit < moment_of(process.task_number)


def check_reset(
    world: World,
    configuration: Configuration,
    run: Run,
    request: Request,
    excuses: Mapping[str, Callable[[limits.Reset], bool]] = limits.RESETS,
) -> str:
    """
    Check that no healthy child of this parent is cleared by a retry.

    :returns: the excuse; empty: none is needed.
    """
    token, wanted = request.token, request.wanted
    asked = wanted.request
    if not asked.is_reset or run.dag_id != asked.dag_id or asked.run_id not in {None, run.run_id}:
        raise Violation("stock", f"{run.run_id} was reset, and the task does not ask for that")
    own = [it for it in run.owners_of(token.parent) if it.life == token.life and it.call == token.call]
    if not own or run.state not in HEALTHY:
        return ""
    is_done = ledger.is_done_by(world, token.parent, run, token.call, wanted)
    is_forgotten = wanted.request.mode is Mode.FIRE_AND_FORGET
    # With on_clear=fresh an active run is reset once for a clear: not if it was started, or started over, since then.
    account = world.ledgers[token.parent]
    is_of_now = any(it.demand == account.demand and (it.call, it.ask) in account.asked for it in own)
    is_joined = run.state == ACTIVE and not is_forgotten and (wanted.request.on_clear is not OnClear.FRESH or is_of_now)
    if not is_done and not is_joined:
        return ""
    case = limits.Reset(world, configuration, run, request, is_joined)
    if found := limits.excuse(excuses, case):
        return found
    raise Violation("cleared", f"{run.run_id} is {run.state}, and a retry reset it")


def check_success(world: World, process: Process) -> str:
    """
    Check that no work is lost: each call is backed by a run of its own that was in an allowed state.

    Its own: this parent started it (or reset it) for this call, with a request that its tries have made since the work
    was last demanded anew; and it was in that state since then.

    :returns: the excuse; empty: none is needed.
    """
    _check_results(world, process)
    for call, wanted in enumerate(process.step.start.wanted, 1):
        if ledger.is_done(world, process.parent, call, wanted):
            continue
        asked = world.ledgers[process.parent].asked
        own = [
            run
            for run in world.runs
            if any(it.call == call and (call, it.ask) in asked for it in run.owners_of(process.parent))
        ]
        if wanted.request.mode is Mode.FIRE_AND_FORGET and any(run.state == ACTIVE for run in own):
            continue
        case = limits.Success(world, process, own, wanted.request.is_reset)
        if found := limits.excuse(limits.SUCCESSES, case):
            return found
        raise Violation("lost", f"success was reported, and nothing has done what call {call} asks for")
    return ""


def _check_results(world: World, process: Process) -> None:
    """Check that the task returns what runs of its own have returned, one for each call."""
    returned = process.step.call.what
    if not process.step.start.has_result or returned is None:
        return
    of_call: dict[int, set[str]] = {}
    for run in world.runs:
        for token in run.owners_of(process.parent):
            of_call.setdefault(token.call, set()).add(run.conf)
    is_own = [value in of_call.get(call, ()) for call, value in enumerate(returned.value, 1)]
    if is_own != [True] * len(process.step.start.wanted):
        raise Violation("lost", "success was reported without the child's result")


def check_failure(world: World, configuration: Configuration, process: Process, error: DurableError) -> str:
    """
    Check that a foreign run is treated as stock would, and that none of our own is taken for one.

    :returns: the excuse; empty: none is needed.
    """
    wanted = process.step.start.wanted
    if isinstance(error, StartTimeoutError):
        _check_given_up_start(world, process)
    if isinstance(error, RunTimeoutError) and not _is_any_overdue(world, configuration, process):
        raise Violation("late", "the task gave up on a child that is not overdue")
    if isinstance(error, _NEVER):
        raise Violation("stuck", f"the task fails with {type(error).__name__}")
    is_sure = not configuration.is_misread and not configuration.twofold and not _is_store_away(process)
    if isinstance(error, JournalReadError) and is_sure:
        raise Violation("stuck", "the task fails as a read was wrong, and none was")
    if isinstance(error, ChildRunFailedError):
        _check_lost_try(world, configuration, process, error)
    if isinstance(error, ForeignRunSkipError) and not any(it.request.is_skip for it in wanted):
        raise Violation("stock", "the task was skipped, and skip_when_already_exists is not set")
    if isinstance(error, FixedRunFailedError) and configuration.budget.failures == world.budget.failures:
        raise Violation("stuck", "the task gave up because its child failed, and none has failed")
    if isinstance(error, CallsDifferError) and not configuration.edits and not configuration.is_volatile:
        raise Violation("stuck", "the task fails as its calls differ, and nobody edited them")
    return _check_refusal(world, configuration, process, error) if isinstance(error, _REFUSALS) else ""


def _check_lost_try(world: World, configuration: Configuration, process: Process, error: ChildRunFailedError) -> None:
    """Check that the child had not failed before the try began, unless its failure is to be the end."""
    run = world.run(error.dag_id, error.run_id)
    is_end = configuration.on_child_failure is OnChildFailure.FAIL
    if run is not None and not is_end and (run.key, run.clear_number) in process.failed:
        raise Violation("stuck", f"the try is lost by {run.run_id}, which had failed before it began")


def _is_store_away(process: Process) -> bool:
    last = process.step.outcomes[-1:]
    return any(outcome.error for outcome in last)


def _is_any_overdue(world: World, configuration: Configuration, process: Process) -> bool:
    """Tell whether the task may give up. A clear that is reported as a failure is taken for a retry."""
    if world.ledgers[process.parent].is_hidden:
        return True
    own = [run for run in world.runs if run.owners_of(process.parent)]
    return any(run.is_late or _is_overdue(world, configuration, process, run) for run in own)


def _is_any_in_the_way(world: World, process: Process) -> bool:
    """Tell whether there is a run with an identity that the try asks for, or was one that a person has deleted."""
    wanted = process.step.start.wanted
    is_deleted = any((it.request.dag_id, it.request.run_id) in world.deleted for it in wanted)
    return is_deleted or any(_is_under(run, it) for run in world.runs for it in wanted)


def _check_refusal(world: World, configuration: Configuration, process: Process, error: DurableError) -> str:
    if not _is_any_in_the_way(world, process):
        if configuration.identity == REPLY and isinstance(error, ChildRunForeignError) and not error.is_run_known:
            return limits.UNPROVEN
        raise Violation("stock", f"nothing is in the way of what the task asks for: {type(error).__name__}")
    asked = world.ledgers[process.parent].asked
    for call, it in enumerate(process.step.start.wanted, 1):
        for run in world.runs:
            if not _is_under(run, it):
                continue
            own = [token for token in run.owners_of(process.parent) if (token.call, token.life) == (call, process.life)]
            is_active = run.state == ACTIVE and any((call, token.ask) in asked for token in own)
            if not own or not (is_active or ledger.is_done_by(world, process.parent, run, call, it)):
                continue
            if found := limits.excuse(limits.REFUSALS, limits.Refusal(world, configuration, process, run)):
                return found
            raise Violation("stock", f"the task's own child was not taken for its own: {type(error).__name__}")
    return ""


def _is_under(run: Run, wanted: Wanted) -> bool:
    request = wanted.request
    return run.dag_id == request.dag_id and (
        run.run_id == request.run_id or (run.date is not None and run.date == request.logical_date)
    )


def check_refused(request: Request) -> str:
    """Check that a request which is refused for ever is what the task still asks for."""
    if request.payload.dag_id != request.wanted.request.dag_id:
        raise Violation("stuck", "a refused request is sent again, although the task asks for something else by now")
    return ""


def check_attempt(world: World, configuration: Configuration, parent: int) -> None:
    """Check that each try but the first has a cause: a fault, a failed child, a person. Else it might never end."""
    causes = configuration.budget.total - world.budget.total
    if configuration.on_child_failure is OnChildFailure.FAIL:
        causes -= configuration.budget.failures - world.budget.failures
    if not configuration.is_waiting_for_reconciler:
        causes -= configuration.budget.leaps - world.budget.leaps
    task = world.tasks[parent]
    if task.try_number - 1 > causes and not configuration.is_refused:
        raise Violation("stuck", f"try {task.try_number} starts, and only {causes} things have happened")


def check_call(process: Process) -> None:
    """Check that fire-and-forget does not wait for the child's end."""
    call = process.step.call
    wanted = process.step.start.wanted[min(call.call, len(process.step.start.wanted)) - 1]
    # It may wait for its reset: those look-ups are detailed.
    is_poll = call.kind == "look" and process.step.is_repetition and not call.is_detailed
    if is_poll and wanted.request.mode is Mode.FIRE_AND_FORGET:
        last = process.step.outcomes[-1]
        if not last.error:
            raise Violation("stuck", "fire-and-forget waits for the child")


def check_rest(world: World) -> None:
    """Check that when faults stop and tries are left, the parent ends: nothing can happen any more, so it has."""
    for task in world.tasks:
        if not task.is_over:
            raise Violation("stuck", f"nothing can happen any more, and the task is {task.state}")
