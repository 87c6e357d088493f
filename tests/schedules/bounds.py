"""Which configurations are explored, and up to which bounds: short ones in CI, full ones by ``make schedules``."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from airflow_durable.core.model import Mode, OnChildFailure, OnClear, OnParentEnd
from tests.schedules.configurations import AFTER, BESIDE, DATE, REPLY, RUN_ID, UNDATED, Configuration
from tests.schedules.world import ACTIVE, FAILED, SUCCESS, Budget

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FAULT = Budget(faults=1)
FAULTS = Budget(faults=2)
CLEAR = Budget(clears=1)
CLEARS = Budget(clears=2)
CRASH_AND_CLEAR = Budget(faults=1, clears=1)
CRASH_AND_FAILURE = Budget(faults=1, failures=1)
FAILURE_AND_CLEAR = Budget(clears=1, failures=1)
CRASH_AND_EDIT = Budget(faults=1, edits=1)
CRASH_AND_PERSON = Budget(faults=1, people=1)
MARK_AND_PERSON = Budget(marks=1, people=1)
CRASH_AND_REMAKE = Budget(faults=1, remakes=1)
REMAKE = Budget(remakes=1)
LOSS = Budget(faults=1, losses=1)
CLEAR_AND_LOSS = Budget(clears=1, losses=1)

FIXED = (RUN_ID, DATE, REPLY)
EDITS = ("conf", "dag", "run id", "date", "mode", "states", "fire and forget")


class Kind(NamedTuple):
    """
    A configuration, and up to which bounds it is explored.

    :param short: in CI.
    :param full: by ``make schedules``, beside the short ones.
    """

    configuration: Configuration
    short: tuple[Budget, ...]
    full: tuple[Budget, ...]


def kinds() -> list[Kind]:
    """Return everything that the protocol tells apart."""
    found = [kind for mode in Mode for kind in (*_generated(mode), *_fixed(mode))]
    for mode in (Mode.WAIT, Mode.FIRE_AND_FORGET):
        found += _calls(mode)
    return found


def _generated(mode: Mode) -> Iterator[Kind]:
    plain = Configuration(mode)
    yield Kind(
        plain,
        (CRASH_AND_CLEAR, CRASH_AND_FAILURE, FAILURE_AND_CLEAR, REMAKE),
        (
            FAULTS,
            CLEARS,
            CRASH_AND_PERSON,
            CRASH_AND_REMAKE,
            Budget(faults=2, clears=1),
            Budget(faults=1, clears=1, failures=1),
        ),
    )
    for edit in EDITS:
        yield Kind(plain._replace(edits=(edit,)), (CLEAR, CRASH_AND_EDIT), (CRASH_AND_CLEAR,))
    for has_details in (True, False):
        bare = plain._replace(has_store=False, has_details=has_details)
        yield Kind(bare, (CRASH_AND_FAILURE, CLEAR), (FAULTS, CRASH_AND_CLEAR, CRASH_AND_REMAKE))
        yield Kind(bare._replace(edits=("conf", "dag")), (CLEAR, CRASH_AND_EDIT), (CRASH_AND_CLEAR,))
    yield Kind(
        plain._replace(upgrade="appear", has_store=False),
        (LOSS, CLEAR_AND_LOSS),
        (Budget(faults=1, clears=1, losses=1),),
    )
    yield Kind(plain._replace(upgrade="vanish"), (LOSS, CLEAR_AND_LOSS), (Budget(faults=1, clears=1, losses=1),))
    yield Kind(plain._replace(is_discarding=True), (LOSS, CLEAR_AND_LOSS), (Budget(faults=1, clears=1, losses=1),))
    yield Kind(plain._replace(is_misread=True), (LOSS, CLEAR_AND_LOSS), (Budget(faults=1, clears=1, losses=1),))
    yield Kind(plain._replace(is_volatile=True), (CLEAR,), (CRASH_AND_CLEAR, FAULTS))
    yield Kind(plain._replace(has_upstream=True), (CLEAR,), (CRASH_AND_CLEAR,))
    yield Kind(plain._replace(has_both_failed=True), (CRASH_AND_FAILURE,), (FAILURE_AND_CLEAR,))
    yield Kind(plain._replace(is_refused=True, edits=("dag",)), (CRASH_AND_EDIT, CLEAR), (CRASH_AND_CLEAR,))
    yield Kind(plain._replace(identity=UNDATED), (CLEAR, CRASH_AND_REMAKE), (CRASH_AND_CLEAR, CRASH_AND_FAILURE))
    for on_clear in (OnClear.ADOPT, OnClear.FRESH):
        yield Kind(plain._replace(on_clear=on_clear, edits=("conf",)), (CLEAR,), (CRASH_AND_CLEAR,))
    yield from _earlier_lives(plain)
    if mode is not Mode.FIRE_AND_FORGET:
        yield from _lives(plain)
    for twofold in (AFTER, BESIDE):
        yield Kind(plain._replace(twofold=twofold), (FAULT,), (CRASH_AND_FAILURE, CRASH_AND_CLEAR))


def _earlier_lives(plain: Configuration) -> Iterator[Kind]:
    """Yield what becomes of a parent whose Dag run has run twice before, under the same name."""
    ended = plain._replace(earlier=(SUCCESS, SUCCESS))
    lost = Budget(faults=1, clears=1, losses=1)
    is_short = plain.mode is Mode.DEFER
    yield Kind(ended._replace(is_discarding=True), (CLEAR_AND_LOSS,) if is_short else (), (CLEAR_AND_LOSS, lost))
    yield Kind(ended._replace(has_store=False), (FAULT, CLEAR), (CRASH_AND_CLEAR,))
    bare = plain._replace(has_store=False, has_details=False)
    yield Kind(bare._replace(earlier=(SUCCESS, SUCCESS)), (FAULT, CLEAR), (CRASH_AND_CLEAR,))
    yield Kind(bare._replace(earlier=(SUCCESS, ACTIVE)), (FAULT,), (CLEAR, CRASH_AND_CLEAR))
    yield Kind(bare._replace(earlier=(ACTIVE, FAILED)), (), (FAULT, CLEAR))


def _lives(plain: Configuration) -> Iterator[Kind]:
    """Yield what becomes of a child that fails, or that takes too long."""
    failing = plain._replace(on_child_failure=OnChildFailure.FAIL)
    yield Kind(failing, (CRASH_AND_FAILURE, FAILURE_AND_CLEAR), (Budget(faults=1, clears=1, failures=1),))
    yield Kind(failing._replace(has_store=False), (CRASH_AND_FAILURE,), (FAILURE_AND_CLEAR,))
    timed = plain._replace(run_timeout=timedelta(hours=6))
    yield Kind(timed, (FAULT, CLEAR), (CRASH_AND_CLEAR, CRASH_AND_FAILURE, FAULTS, CRASH_AND_PERSON))
    yield from _starts(plain)
    returning = plain._replace(has_result=True)
    yield Kind(returning, (FAULT, CLEAR), (CRASH_AND_CLEAR, FAULTS, CRASH_AND_FAILURE))
    if plain.mode is Mode.DEFER:
        patient = plain._replace(is_waiting_first=True)
        yield Kind(
            patient,
            (FAULT, CLEAR, Budget(failures=1)),
            (CRASH_AND_CLEAR, CRASH_AND_FAILURE, FAULTS, CRASH_AND_PERSON),
        )
        yield Kind(patient._replace(run_timeout=timedelta(hours=6)), (FAULT,), (CRASH_AND_CLEAR,))
        yield Kind(patient._replace(on_parent_end=OnParentEnd.CANCEL), (Budget(marks=1),), (MARK_AND_PERSON,))
    resuming = plain._replace(on_child_failure=OnChildFailure.RESUME)
    yield Kind(
        resuming,
        (CRASH_AND_FAILURE, FAILURE_AND_CLEAR, Budget(failures=2)),
        (
            Budget(faults=2, failures=1),
            Budget(faults=1, failures=2),
            Budget(faults=1, clears=1, failures=1),
            Budget(failures=1, people=1),
        ),
    )
    yield Kind(resuming._replace(identity=RUN_ID), (CRASH_AND_FAILURE,), (FAILURE_AND_CLEAR, Budget(failures=2)))
    yield Kind(resuming._replace(identity=RUN_ID, is_reset=True, foreign="run"), (CRASH_AND_FAILURE,), ())
    cancelling = plain._replace(on_parent_end=OnParentEnd.CANCEL)
    yield Kind(
        cancelling,
        (CRASH_AND_CLEAR, MARK_AND_PERSON, Budget(marks=1, clears=1), Budget(removals=1, people=1)),
        (
            Budget(faults=1, marks=1),
            Budget(faults=1, removals=1),
            Budget(clears=1, removals=1),
            Budget(failures=1, marks=1),
            Budget(faults=1, marks=1, clears=1),
            Budget(faults=1, removals=1, people=1),
        ),
    )
    yield Kind(cancelling._replace(retries=0), (FAULT,), (Budget(faults=1, people=1), CRASH_AND_CLEAR))
    yield Kind(
        cancelling._replace(on_child_failure=OnChildFailure.RESUME),
        (Budget(failures=1, marks=1),),
        (Budget(failures=1, removals=1), Budget(faults=1, failures=1, marks=1)),
    )
    yield Kind(resuming._replace(edits=("conf",)), (Budget(failures=1, edits=1),), (FAILURE_AND_CLEAR,))


def _starts(plain: Configuration) -> Iterator[Kind]:
    """Yield what becomes of a child that takes too long to begin."""
    late = plain._replace(start_timeout=timedelta(days=50))
    is_deferred = plain.mode is Mode.DEFER
    crash = Budget(faults=1, leaps=1)
    yield Kind(
        late,
        (Budget(failures=1, leaps=1), Budget(people=1, leaps=1), *((crash,) if is_deferred else ())),
        (crash, Budget(leaps=2), Budget(clears=1, leaps=1), Budget(faults=1, failures=1, leaps=1)),
    )
    yield Kind(late._replace(on_parent_end=OnParentEnd.CANCEL), (Budget(leaps=1),), (crash,))
    yield Kind(late._replace(has_store=False), (Budget(leaps=1),), (crash,))
    yield Kind(late._replace(on_child_failure=OnChildFailure.RESUME), (), (Budget(failures=1, leaps=2),))
    reset = late._replace(identity=RUN_ID, is_reset=True)
    yield Kind(reset, (Budget(failures=1, leaps=1),), (Budget(faults=1, failures=1, leaps=1),))
    asked = Budget(failures=1, leaps=1)
    yield Kind(
        reset._replace(is_reset_asked=True), (asked,) if is_deferred else (), (asked, Budget(failures=1, leaps=2))
    )
    if is_deferred:
        yield Kind(late._replace(is_waiting_first=True), (Budget(leaps=1),), (crash,))


def _fixed(mode: Mode) -> Iterator[Kind]:
    for identity in FIXED:
        fixed = Configuration(mode, identity)
        for plain in (fixed, fixed._replace(is_skip=True), fixed._replace(is_reset=True)):
            yield Kind(plain, (FAULT, CLEAR), (CRASH_AND_CLEAR, CRASH_AND_FAILURE, FAILURE_AND_CLEAR, CRASH_AND_PERSON))
            yield Kind(plain._replace(foreign="run"), (CLEAR,), (CRASH_AND_CLEAR,))
            for edit in ("dag", "run id", "generated", *(("no reset",) if plain.is_reset else ())):
                yield Kind(plain._replace(foreign="run", edits=(edit,)), (CLEAR,), (CRASH_AND_EDIT, CRASH_AND_CLEAR))
            for is_conf_shared in (False, True):
                yield Kind(plain._replace(parents=2, is_conf_shared=is_conf_shared), (Budget(),), (FAULT,))
            yield Kind(plain._replace(is_racing=True), (Budget(people=1),), (CRASH_AND_PERSON,))
        asked = fixed._replace(is_reset=True, is_reset_asked=True)
        yield Kind(
            asked,
            (FAULT, CLEAR, CRASH_AND_FAILURE, Budget(failures=1, people=1)),
            (
                CRASH_AND_CLEAR,
                FAILURE_AND_CLEAR,
                CRASH_AND_PERSON,
                Budget(faults=2, failures=1),
                Budget(faults=1, failures=2),
                Budget(faults=1, failures=1, people=1),
            ),
        )
        yield Kind(asked._replace(foreign="run"), (CLEAR,), (CRASH_AND_FAILURE,))
        fresh = fixed._replace(is_reset=True, on_clear=OnClear.FRESH)
        yield Kind(fresh, (CLEAR,), (CRASH_AND_CLEAR, Budget(clears=1, people=1)))
        yield Kind(fresh._replace(is_reset_asked=True), (CLEAR,), (CRASH_AND_CLEAR,))
        yield Kind(fixed, (REMAKE,), (CRASH_AND_REMAKE,))
        no_reset = fixed._replace(is_reset=True, edits=("no reset",))
        yield Kind(no_reset, (CLEAR,), (CRASH_AND_EDIT, CRASH_AND_CLEAR, Budget(faults=1, clears=1, edits=1)))
        for edit in ("conf", "dag", "run id", "date", "generated", "reset"):
            yield Kind(fixed._replace(edits=(edit,)), (CLEAR,), (CRASH_AND_EDIT, CRASH_AND_CLEAR))
        yield Kind(fixed._replace(is_discarding=True), (CLEAR_AND_LOSS,), (LOSS, Budget(faults=1, clears=1, losses=1)))
        yield Kind(fixed._replace(is_misread=True), (LOSS,), (Budget(faults=1, clears=1, losses=1),))
        yield Kind(fixed._replace(twofold=AFTER), (FAULT,), (CRASH_AND_FAILURE,))
        yield Kind(fixed._replace(twofold=BESIDE), (), (FAULT,))
        yield Kind(fixed._replace(is_volatile=True), (CLEAR,), (CRASH_AND_CLEAR,))
    dated = Configuration(mode, DATE, foreign="date")
    yield Kind(dated, (FAULT,), (CRASH_AND_CLEAR,))
    yield Kind(dated._replace(is_skip=True), (FAULT,), (CRASH_AND_CLEAR,))
    yield Kind(dated._replace(is_reset=True), (FAULT,), (CRASH_AND_CLEAR,))
    if mode is Mode.WAIT:
        yield Kind(Configuration(mode, RUN_ID, parents=3), (Budget(),), ())


def _calls(mode: Mode) -> Iterator[Kind]:
    two = Configuration(mode, calls=2)
    yield Kind(two, (FAULT, CLEAR), (CRASH_AND_CLEAR, FAULTS, FAILURE_AND_CLEAR))
    yield Kind(two._replace(has_store=False), (FAULT, CLEAR), (CRASH_AND_CLEAR,))
    yield Kind(two._replace(is_discarding=True), (CLEAR_AND_LOSS,) if mode is Mode.WAIT else (), (CLEAR_AND_LOSS, LOSS))
    for edit in ("fewer calls", "more calls", "calls in another order", "conf"):
        yield Kind(two._replace(edits=(edit,)), (CLEAR, CRASH_AND_EDIT), (CRASH_AND_CLEAR,))


def short() -> list[Configuration]:
    """Return what CI explores."""
    return _with(lambda kind: kind.short)


def full() -> list[Configuration]:
    """Return what ``make schedules`` explores."""
    return _with(lambda kind: (*kind.short, *kind.full))


def _with(budgets: Callable[[Kind], tuple[Budget, ...]]) -> list[Configuration]:
    """Return each configuration with each of its bounds, once, those with small ones first."""
    found = [kind.configuration._replace(budget=budget) for kind in kinds() for budget in budgets(kind)]
    return sorted(dict.fromkeys(found), key=lambda configuration: configuration.budget.total)


def describe(configuration: Configuration) -> str:
    """Name a configuration and its bound."""
    bound = ", ".join(f"{number} {name}" for name, number in configuration.budget._asdict().items() if number)
    return f"{configuration.name} ({bound or 'nothing goes wrong'})"
