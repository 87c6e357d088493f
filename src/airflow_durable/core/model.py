"""The words of the protocol: who asks, for what, and what was seen."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

ENDED_STATES = frozenset({"success", "failed"})
"""Dag run states after which nothing happens any more, unless a person clears the run (Airflow 3.0 to 3.4,
``utils/state.py``, ``State.finished_dr_states``)."""

UNFINISHED_STATES = ("queued", "running")
"""Dag run states of a run that will still end (3.0 to 3.4, ``utils/state.py``, ``State.unfinished_dr_states``)."""


class Mode(str, Enum):
    """How the parent waits for its child."""

    WAIT = "wait"
    DEFER = "defer"
    FIRE_AND_FORGET = "fire_and_forget"


class OnClear(str, Enum):
    """What a try does about the child that was started before a person cleared the parent task."""

    AUTO = "auto"
    """Adopt it if it carries the current request and nothing upstream ran again; never start another beside it."""

    ADOPT = "adopt"
    """Adopt it, or take its success, whatever changed since."""

    FRESH = "fresh"
    """Start a fresh child at once, even beside an active one."""


class OnParentEnd(str, Enum):
    """What becomes of an active child when its parent has ended for good without having taken its outcome."""

    ABANDON = "abandon"
    """It stays as it is."""

    CANCEL = "cancel"
    """The reconciler ends it: it is marked as failed."""


class OnChildFailure(str, Enum):
    """What a try does about a child that has failed, if no person asked for the task again since."""

    FRESH = "fresh"
    """Start a fresh one."""

    RESUME = "resume"
    """Let the same run continue from where it failed."""

    FAIL = "fail"
    """Fail, without another try."""


class Proof(str, Enum):
    """What in the child run proves that this parent started it."""

    RUN_ID = "run_id"
    """The run id is computed from the parent: no other parent asks for it."""

    LOGICAL_DATE = "logical_date"
    """The run id is the user's; the logical date is ours, to the microsecond."""

    RUN_AFTER = "run_after"
    """Run id and logical date are the user's; ``run_after`` is ours, to the microsecond (Airflow 3.3)."""

    REPLY = "reply"
    """Nothing in the run was chosen by us: only the reply that created it, once recorded, proves it."""


class Phase(str, Enum):
    """How far the recorded child has come, as far as this parent has written down."""

    INTENDED = "intended"
    """Recorded before its request was sent. The run may or may not exist."""

    SENT = "sent"
    """The server said that it created the run, or the run was seen and is ours."""

    CONSUMED = "consumed"
    """Its outcome is known, and success is about to be reported."""

    WAITED_OUT = "waited_out"
    """Only in the trigger's arguments, never in the journal: the run is not adopted; its end is waited for, and
    then the task decides again."""


class Decision(str, Enum):
    """What one try does about the child run. The values are in the record and in the logs."""

    FRESH_SUBMIT = "fresh_submit"
    """Start a run under an id that was never used."""

    RESUBMIT = "resubmit"
    """Send the request again, under the recorded run id."""

    RECONNECT = "reconnect"
    """Adopt the recorded run, which is active, and wait for it."""

    ALREADY_SUCCEEDED = "already_succeeded"
    """The recorded run is in an allowed state: succeed at once."""

    SUCCEED_AGAIN = "succeed_again"
    """The outcome was consumed by a try that died before it could report success."""

    TERMINAL_RESUBMIT = "terminal_resubmit"
    """The recorded run failed: start a fresh one."""

    RESUME = "resume"
    """The recorded run failed: ask the reconciler to let it continue from there, then wait for it."""

    GIVE_UP = "give_up"
    """The recorded run failed, and that is the end of the task."""

    WAIT_OUT = "wait_out"
    """The recorded run is active and is not known to carry the current request: wait for its end, then start a
    fresh one."""

    RESET = "reset"
    """Clear the existing run under a fixed identity, once."""

    FOREIGN = "foreign"
    """The run under our id is not ours: do what the stock operator does."""

    USED_UP = "used_up"
    """The run under a fixed identity is ours, and its outcome was used: do what the stock operator does."""

    REFUSE = "refuse"
    """The run under a fixed identity failed, and nothing allows the task to start over."""


class Look(str, Enum):
    """What a look-up returns when it does not return a run."""

    MISSING = "missing"
    UNREADABLE = "unreadable"


@dataclass(frozen=True)
class Parent:
    """
    The task instance that triggers.

    :param map_index: -1 for a task that is not mapped.
    :param loop_index: which pass of a task loop this is, from 0 (Airflow 3.4); None outside a loop.
    :param region: Airflow 3.4's region of the task instance, as a string; empty elsewhere. It changes when a clear
        creates the later passes of a loop again, and otherwise stays the same.
    :param run_after: the parent's Dag run's. It stays the same over retries and clears.
    :param started_at: the parent's Dag run's. It changes when a finished Dag run is cleared, and when a Dag run is
        deleted and created again under the same name.
    """

    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    run_after: datetime
    loop_index: int | None = None
    region: str = ""
    started_at: datetime | None = None


@dataclass(frozen=True)
class Attempt:
    """
    One execution of the parent.

    :param task_instance_id: new for each try (3.0 to 3.4); two executions of one try share it.
    :param try_number: the task instance's try, from 1.
    :param max_tries: as the server gave it. It stays the same over automatic retries; a person's clear sets it to
        ``try_number + retries`` (Airflow 3.0 to 3.4, ``models/taskinstance.py``, ``clear_task_instances``).
    :param retries: the task's, as this try's Dag file has them.
    :param clear_number: the parent's Dag run's: a person's clear of any of its tasks raises it (3.2 and later; before,
        only the clear of a finished run does).
    """

    parent: Parent
    task_instance_id: str
    try_number: int
    max_tries: int
    retries: int
    clear_number: int

    @property
    def last_cleared_try(self) -> int:
        """The try that a person's latest clear ended; 0: none. Always before this one, even if retries were edited."""
        return max(0, min(self.try_number - 1, self.max_tries - self.retries))


@dataclass(frozen=True)
class Clear:
    """
    A person asked for the task again since the newest entry of its journal.

    :param is_anew: the task's success had been marked, or the record of it is lost: the work is asked for again, unless
        the child is active. False: the task had not finished.
    """

    is_anew: bool


@dataclass(frozen=True)
class Request:
    """
    What the user asks for, rendered. It never holds the conf.

    :param dag_id: the child's Dag.
    :param run_id: the run id that the user fixed, by ``trigger_run_id`` or by ``logical_date`` (from which the stock
        operator makes one). None: the identity is generated, and is this parent's alone.
    :param logical_date: the date that the user fixed; None if there is none, or if the date is ours to choose.
    :param is_date_ours: the user gave neither ``logical_date`` nor ``run_after``. The stock operator then takes the
        current time, and so do we.
    :param is_run_after_ours: the user gave no ``run_after``, and this Airflow lets a task send one (3.3). If none is
        sent, the server takes the current time.
    :param allowed_states: Dag run states that mean success.
    :param failed_states: Dag run states that mean failure. They win over ``allowed_states``, as in the stock operator.
    :param start_timeout_seconds: from the request for the run to the start of its first task; None: no limit.
    :param run_timeout_seconds: from the moment when the run leaves the queue to its end; None: no limit.
    :param reconciler_timeout_seconds: how long a try waits for the reconciler to resume a run.
    :param reset_timeout_seconds: how long it waits for the reconciler to reset one; then it does so itself. 0: at once.
    :param call: which child of the try is asked for, from 1.
    :param epoch: of the first call of this try, for later calls; None: this is the first.
    :param is_journal_proven: this try has read an entry of the first call, so if a later call has none, that is true.
    """

    dag_id: str
    run_id: str | None
    logical_date: datetime | None
    is_date_ours: bool
    is_run_after_ours: bool
    mode: Mode
    allowed_states: frozenset[str]
    failed_states: frozenset[str]
    is_reset: bool = False
    is_skip: bool = False
    on_clear: OnClear = OnClear.AUTO
    on_child_failure: OnChildFailure = OnChildFailure.FRESH
    on_parent_end: OnParentEnd = OnParentEnd.ABANDON
    start_timeout_seconds: float | None = None
    run_timeout_seconds: float | None = None
    reconciler_timeout_seconds: float = 120.0
    reset_timeout_seconds: float = 0.0
    call: int = 1
    epoch: int | None = None
    is_journal_proven: bool = False

    @property
    def proof(self) -> Proof:
        """Return what in the run will prove that it is ours."""
        if self.run_id is None:
            return Proof.RUN_ID
        if self.is_date_ours:
            return Proof.LOGICAL_DATE
        return Proof.RUN_AFTER if self.is_run_after_ours else Proof.REPLY

    def is_failure(self, state: str) -> bool:
        """Return whether a run in this state has failed: in a failed state, or ended in one that is not allowed."""
        return state in self.failed_states or (state in ENDED_STATES and state not in self.allowed_states)

    def is_success(self, state: str) -> bool:
        """Return whether a run in this state has done its part."""
        return state in self.allowed_states and state not in self.failed_states


@dataclass(frozen=True)
class ChildRun:
    """
    A Dag run as a look-up saw it. A field is None if the look-up was for the state only, or if Airflow is before 3.2.

    :param state: its Dag run state.
    :param clear_number: how often it was cleared.
    :param logical_date: with its time zone; None also if it has none.
    :param run_after: with its time zone.
    :param started_at: when its first task could run; None also while it is queued.
    :param is_same_request: whether it is of the child Dag, and has the conf, that the present try asks for.
    """

    state: str
    clear_number: int | None = None
    logical_date: datetime | None = None
    run_after: datetime | None = None
    started_at: datetime | None = None
    is_same_request: bool | None = None

    @property
    def is_active(self) -> bool:
        """Whether the run has not ended. A state that this release does not know counts as active."""
        return self.state not in ENDED_STATES


@dataclass(frozen=True)
class Outcome:
    """
    How a child run ended, as far as the parent needs to know. Later forms may hold more.

    :param state: its Dag run state; None: the run does not exist any more.
    :param at: when it was seen, with its time zone.
    """

    dag_id: str
    run_id: str
    state: str | None
    at: datetime
