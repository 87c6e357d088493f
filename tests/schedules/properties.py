"""
The six properties of the proof, as counts over the simulated database.

None of them asks what the protocol decided, only what there is: which runs, in which state, made for whom.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_durable.core.errors import (
    ChildRunForeignError,
    DurableError,
    FixedRunFailedError,
    ForeignRunSkipError,
    LogicalDateTakenError,
)
from airflow_durable.core.model import ChildRun, Mode
from tests.schedules.world import FAILED, HEALTHY

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.schedules.configurations import Configuration
    from tests.schedules.world import Run, World

_FAILED_RUN = ChildRun(FAILED)
_AS_STOCK = (ChildRunForeignError, ForeignRunSkipError, LogicalDateTakenError)

REVIVED = "a person revived a failed child while its successor was on its way"
LATE_RESET = "a reset arrived after its attempt was superseded"
LATE_OWN = (
    "a request of an attempt that was over came after the look-up of the next one, which took its run for foreign"
)
CLEARED_TWICE = "a person cleared the run between our look-up and our reset"
REMADE = "a person deleted the run between our look-up and our reset, and what that created looks like the old one"
CLIENT_RESET = "Airflow's client repeated a reset whose reply was lost"
RECREATED = "a request of a superseded attempt arrived after a person had deleted the failed run that it asks for"
LATE_WRITE = "a write of a try's first execution arrived after its second one had marked the outcome"
LOWERED = "without a store: a clear after the retries were lowered by as much as tries were made is taken for a retry"
LATE_REQUEST = "a fixed date: a superseded attempt's request of before the clear came after the look-up of the next one"
UNPROVEN = "somebody took the fixed identity between our look-up and our request, with our own logical date"


class Violation(Exception):  # noqa: N818 - it is no error of the tests: it is what they look for
    """
    A property does not hold.

    :param name: its letter in the issue: a to f.
    """

    def __init__(self, name: str, what: str) -> None:
        super().__init__(f"({name}) {what}")
        self.name = name


def check_creation(world: World, created: Run, seen: Mapping[str, ChildRun | None]) -> str:
    """
    Check (a): never two healthy children of one parent for one request.

    Checked when a run is created: nothing else that the parent does makes a second one. Excused, and counted, are:

    - The other child had failed, which is why this one was recorded, and a person cleared it after that; nor was the
      attempt that now sends the request told so by its look-ups. The person made the second one healthy.
    - A superseded attempt's request arrives when its run has failed, has a successor, and was deleted by a person. The
      unique key that would have refused it is gone.

    :param seen: what the sender of the request knows of runs.
    :returns: the excuse; empty: none is needed.
    """
    others = [
        run
        for run in world.runs
        if run.owner == created.owner and run.state in HEALTHY and run.run_id != created.run_id
    ]
    excuse = ""
    for other in others:
        last = seen.get(other.run_id, _FAILED_RUN)
        if other.is_revived and last is not None and last.state == FAILED:
            excuse = REVIVED
        elif (created.is_late or other.is_late) and {created.run_id, other.run_id} & world.deleted:
            excuse = RECREATED
        else:
            raise Violation("a", f"{created.run_id} was created while {other.run_id} is healthy")
    return excuse


def check_reset(  # noqa: PLR0913 - what there is to know of a reset
    world: World, run: Run, epoch: int, *, is_late: bool, is_repeated: bool, seen: Mapping[str, ChildRun | None]
) -> str:
    """
    Check (c): no healthy child is ever cleared by a retry.

    Excused, and counted: a reset that arrives after its attempt was superseded (contract, point 6), be it before or
    after that of the next attempt; one that the client sends twice; one of a run that a person cleared between the
    look-up and the request; and one of a run that a reset created, as a person had just deleted what it was to clear:
    with a date that the user fixed, the new run is like the old one.
    """
    if run.owner is None or run.owner < epoch or run.state not in HEALTHY:
        return ""
    if is_late or run.is_late:
        return LATE_RESET
    if is_repeated:
        return CLIENT_RESET
    last = seen.get(run.run_id)
    if run.is_revived and run.run_id in world.deleted:
        return REMADE
    if run.is_revived and last is not None and last.clear_number != run.clear_number:
        return CLEARED_TWICE
    raise Violation("c", f"{run.run_id} is {run.state}, and a retry reset it")


def check_success(world: World, configuration: Configuration) -> str:
    """
    Check (b): the task succeeds only if its own child reached an allowed state after it was started (or reset).

    With (f), the first half: after a clear of a consumed success that is another child, or another life of it. And
    with (d): a run that is not the parent's own is none that could have.

    Excused, and counted: a superseded attempt's reset that is taken for ours; and, where the user fixed the logical
    date too, so that nothing tells two runs under the identity apart, a run that came between our look-up and our
    request, from a superseded attempt of before the clear or from somebody else, and is taken for ours.
    """
    wanted = world.started if configuration.mode is Mode.FIRE_AND_FORGET else world.achieved
    if wanted >> world.epoch & 1:
        return ""
    late = [run for run in world.runs if run.is_late]
    if late and configuration.is_reset:
        return LATE_RESET
    if configuration.is_fixed and not configuration.is_date_ours:
        if any(run.owner is not None and run.owner < world.epoch for run in late):
            return LATE_REQUEST
        if configuration.is_racing and any(run.owner is None for run in world.runs):
            return UNPROVEN
    if world.epoch and (world.started | world.achieved) >> (world.epoch - 1) & 1 and not world.started >> world.epoch:
        raise Violation("f", "the task was cleared after its success, and succeeded again without a fresh child")
    if not world.started >> world.epoch & 1 and any(run.owner is None for run in world.runs):
        raise Violation("d", "the task succeeded by a foreign run")
    raise Violation("b", "the task succeeded, and no child of its own has reached an allowed state")


def check_failure(world: World, configuration: Configuration, error: DurableError) -> str:
    """
    Check (d): a foreign run is never skipped or refused but as stock would; and none of our own is taken for one.

    Excused, and counted: our own was created by a request of an attempt that was over, after the look-up.
    """
    if isinstance(error, ForeignRunSkipError) and not configuration.is_skip:
        raise Violation("d", "the task was skipped, and skip_when_already_exists is not set")
    if isinstance(error, FixedRunFailedError) and configuration.budget.failures == world.budget.failures:
        raise Violation("e", "the task gave up because its child failed, and none has failed")
    own = [run for run in world.runs if run.owner == world.epoch]
    if not own or not isinstance(error, _AS_STOCK):
        return ""
    if all(run.is_late for run in own):
        return LATE_OWN
    raise Violation("d", f"the task's own child was taken for a foreign run: {type(error).__name__}")


def check_attempt(world: World, configuration: Configuration) -> None:
    """Check (e): each attempt but the first has a cause: a fault, a failed child, a person. Else it might never end."""
    causes = configuration.budget.total - world.budget.total
    if world.task.try_number - 1 > causes:
        raise Violation("e", f"try {world.task.try_number} starts, and only {causes} things have happened")


def check_rest(world: World) -> None:
    """Check (e): when faults stop and tries are left, the parent ends: nothing can happen any more, so it has."""
    if world.task.state not in {"success", "failed", "skipped"}:
        raise Violation("e", f"nothing can happen any more, and the task is {world.task.state}")
