"""
The known limits: what cannot be fenced or known from inside a task. Each is one condition, counted where it shows.

None of them looks into a record either. README.md says for each why it is there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeVar

from airflow_durable.core.model import ChildRun, Mode
from tests.schedules import ledger
from tests.schedules.configurations import REPLY
from tests.schedules.world import ACTIVE, ENDED, FAILED

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.schedules.configurations import Configuration
    from tests.schedules.requests import Request
    from tests.schedules.world import Ledger, Process, Run, World

_Case = TypeVar("_Case")

_FAILED_RUN = ChildRun(FAILED)


class Creation(NamedTuple):
    """
    A run was created beside a healthy one of the same call.

    :param is_active: what makes the other healthy is that it is active; else it has done what is asked for.
    """

    world: World
    configuration: Configuration
    created: Run
    other: Run
    request: Request
    is_active: bool

    @property
    def account(self) -> Ledger:
        """Return the parent's account."""
        return self.world.ledgers[self.request.sender.parent]

    @property
    def is_late(self) -> bool:
        """Whether one of them was created by a request that came after its try was superseded."""
        return self.created.is_late or self.other.is_late

    @property
    def has_no_record(self) -> bool:
        """Whether the try that decided had no record, or an incomplete one."""
        return not self.world.has_store or self.account.lost in {"lost", "rewritten"}

    @property
    def is_finished_before_a_clear(self) -> bool:
        """Whether the healthy one had ended, and a person cleared the task since it was asked for."""
        return not self.is_active and ledger.is_unsettled(self.account, self.request.token.call)

    @property
    def is_named_before_a_clear(self) -> bool:
        """Whether the healthy one has a run id of before the latest clear, under which it was asked for again since."""
        task = self.world.tasks[self.request.sender.parent]
        cleared_try = task.max_tries - task.retries
        return cleared_try > 0 and f"_e{cleared_try}" not in self.other.run_id

    @property
    def is_elsewhere(self) -> bool:
        """Whether the two differ in Dag, fixed run id or fixed date."""
        ask = self.request.token.ask._replace(conf="")
        return all(it.ask._replace(conf="") != ask for it in self.other.owners_of(self.request.sender.parent))


class Reset(NamedTuple):
    """A healthy run of its own is reset by a parent."""

    world: World
    configuration: Configuration
    run: Run
    request: Request
    is_active: bool

    @property
    def account(self) -> Ledger:
        """Return the parent's account."""
        return self.world.ledgers[self.request.sender.parent]

    @property
    def is_finished_before_a_clear(self) -> bool:
        """Whether the healthy one had ended, and a person cleared the task since it was asked for."""
        return not self.is_active and ledger.is_unsettled(self.account, self.request.token.call)


class Success(NamedTuple):
    """Success is reported, and nothing has done what a call asks for."""

    world: World
    process: Process
    own: list[Run]
    is_reset: bool

    @property
    def account(self) -> Ledger:
        """Return the parent's account."""
        return self.world.ledgers[self.process.parent]


class Refusal(NamedTuple):
    """A task's own healthy run is taken for a foreign one, or for one that is used up."""

    world: World
    configuration: Configuration
    process: Process
    run: Run

    @property
    def account(self) -> Ledger:
        """Return the parent's account."""
        return self.world.ledgers[self.process.parent]


def _is_revived(case: Creation) -> bool:
    last = case.request.seen.get(case.other.key, _FAILED_RUN)
    return case.other.is_revived and last is not None and last.state in ENDED


def _is_recreated(case: Creation) -> bool:
    return case.is_late and bool({case.created.key, case.other.key} & case.world.deleted)


def _is_between_calls(case: Creation) -> bool:
    begun = {call for call, *_ in case.account.reached}
    return case.is_finished_before_a_clear and len(begun) < case.configuration.calls


def _is_unfenced(case: Creation) -> bool:
    has_lost = bool(case.account.lost) or not case.world.has_store
    task = case.world.tasks[case.request.sender.parent]
    is_edited = bool(case.configuration.edits) or case.configuration.is_volatile
    return case.is_late and has_lost and (task.clear_number > 0 or is_edited or not case.configuration.has_details)


def _is_left_unproven(case: Creation) -> bool:
    """Tell whether a person has cleared the task since it said that the run is not known to be its own."""
    is_cleared = case.world.tasks[case.request.sender.parent].clear_number > 0
    return case.configuration.identity == REPLY and case.is_elsewhere and is_cleared


def _is_unsettled(case: Creation | Reset | Refusal) -> bool:
    parent = case.process.parent if isinstance(case, Refusal) else case.request.sender.parent
    is_other_by_now = case.configuration.is_volatile or case.configuration.budget.edits > 0
    is_ended = isinstance(case, Refusal) or not case.is_active
    return is_other_by_now and is_ended and case.world.tasks[parent].clear_number > 0


def _is_remade(case: Creation) -> bool:
    return bool(case.account.remade) and (case.is_late or case.request.sender.try_number == 1)


def _is_cleared_twice(case: Reset) -> bool:
    last = case.request.seen.get(case.run.key)
    return case.run.is_revived and (last is None or last.clear_number != case.run.clear_number)


def _has_foreign_conf(case: Reset | Refusal) -> bool:
    if isinstance(case, Refusal):
        # Of fire-and-forget any run has done its part.
        is_done = case.run.state != ACTIVE or case.configuration.mode is Mode.FIRE_AND_FORGET
        parent, is_finished = case.process.parent, case.account.is_cleared and is_done
    else:
        parent, is_finished = case.request.sender.parent, case.is_finished_before_a_clear
    return is_finished and all(it.ask.conf != case.run.conf for it in case.run.owners_of(parent))


def _is_earlier_left(case: Success) -> bool:
    parent, life = case.process.parent, case.process.life
    left = [run.owners_of(parent) for run in case.world.runs]
    is_left = any(owners and all(token.life != life for token in owners) for owners in left)
    return is_left and not case.process.step.start.has_details


def _is_unproven(case: Reset | Refusal) -> bool:
    return case.configuration.identity == REPLY or bool(case.account.lost)


MARKED = "a try was about to report success, and ended before it did; a clear is then taken for one after success"
NO_RECORD = "without a record, whether an ended child was used before a clear is not known: it is not taken"
UNPROVEN = "nothing of the run can prove that it is ours, and the reply that created it was not recorded"
UNSETTLED = (
    "a try that sent again after a clear died before it recorded the reply, and the next one asks for another conf"
)
EARLIER = "before 3.2, a second try takes what an earlier life of the parent has left for its own"
LATE_RESET = "a reset arrived after its try was superseded"
FOREIGN_CONF = "a foreign run that was reset keeps its conf, so that after a clear it is taken for another request's"

CREATIONS: dict[str, Callable[[Creation], bool]] = {
    "a person revived a child that had ended while its successor was on its way": _is_revived,
    "a request of a superseded try arrived after a person had deleted the run that it asks for": _is_recreated,
    MARKED: lambda case: case.is_finished_before_a_clear and case.account.is_known_done,
    "a task of several calls was cleared between two of them: it looks like one that has made all": _is_between_calls,
    NO_RECORD: lambda case: (
        case.has_no_record
        and (case.is_finished_before_a_clear or (not case.is_active and case.is_named_before_a_clear))
    ),
    "a superseded try's request arrived after a look-up, for another Dag or identity than is asked for by now": (
        lambda case: case.is_late and case.is_elsewhere
    ),
    "without a record, a superseded try's request arrived beside that of one that could not know of it": _is_unfenced,
    UNSETTLED: _is_unsettled,
    "a task instance was deleted and made anew, and its first try, which reads nothing, started a run": _is_remade,
    "without a record, a child of before an edit of Dag or identity is not found": (
        lambda case: case.has_no_record and case.is_elsewhere
    ),
    UNPROVEN: _is_left_unproven,
}

RESETS: dict[str, Callable[[Reset], bool]] = {
    LATE_RESET: lambda case: case.request.is_late or case.run.is_late,
    "Airflow's client repeated a reset whose reply was lost": lambda case: case.request.is_repeated,
    "a person cleared the run between our look-up and our reset": _is_cleared_twice,
    "our reset created a run that a person had deleted since our look-up, and the next try takes it for that one": (
        lambda case: case.run.key in case.world.deleted
    ),
    MARKED: lambda case: case.is_finished_before_a_clear and case.account.is_known_done,
    NO_RECORD: lambda case: case.is_finished_before_a_clear and (bool(case.account.lost) or not case.world.has_store),
    FOREIGN_CONF: _has_foreign_conf,
    UNSETTLED: _is_unsettled,
    UNPROVEN: _is_unproven,
}

_OF_REQUESTS = ("a reset arrived", "Airflow's client repeated", "a person cleared the run between")

ACTS_OF_RESET = {text: is_of for text, is_of in RESETS.items() if not text.startswith(_OF_REQUESTS)}
"""Of the reconciler's resets: no request of it can be late, or be sent twice."""

SUCCESSES: dict[str, Callable[[Success], bool]] = {
    EARLIER: lambda case: case.process.try_number > 1 and _is_earlier_left(case),
    LATE_RESET: lambda case: case.is_reset and any(run.is_late for run in case.own),
    "a clear of a running task that is reported as a failure is taken for a retry": lambda case: case.account.is_hidden,
    "a task instance was deleted and made anew, and its first try died": (
        lambda case: bool(case.account.remade) and case.process.try_number > 1
    ),
}

REFUSALS: dict[str, Callable[[Refusal], bool]] = {
    "a request of a try that was over came after the next one's look-up, which took its run for foreign": (
        lambda case: case.run.is_late
    ),
    MARKED: lambda case: case.account.is_cleared and case.account.is_known_done,
    NO_RECORD: lambda case: case.account.is_cleared and bool(case.account.lost) and case.run.state != ACTIVE,
    FOREIGN_CONF: _has_foreign_conf,
    UNSETTLED: _is_unsettled,
    UNPROVEN: _is_unproven,
}


def excuse(limits: Mapping[str, Callable[[_Case], bool]], case: _Case) -> str:
    """Return the first limit that the case is of; empty: it is of none."""
    return next((text for text, is_of in limits.items() if is_of(case)), "")
