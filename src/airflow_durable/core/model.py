"""The words of the protocol: who asks, for what, and what was seen."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime


class Mode(str, Enum):
    """How the parent waits for its child."""

    WAIT = "wait"
    DEFER = "defer"
    FIRE_AND_FORGET = "fire_and_forget"


class Decision(str, Enum):
    """What one attempt does about the child run. The values stand in the record and in the logs."""

    FRESH_SUBMIT = "fresh_submit"
    """Start a run under an id that was never used."""

    RESUBMIT = "resubmit"
    """Send the recorded request again, under the recorded run id."""

    RECONNECT = "reconnect"
    """Adopt the recorded run, which is active, and go on waiting."""

    ALREADY_SUCCEEDED = "already_succeeded"
    """The recorded run is in an allowed state: succeed at once."""

    SUCCEED_AGAIN = "succeed_again"
    """The outcome was consumed by an attempt that died before it could report success."""

    TERMINAL_RESUBMIT = "terminal_resubmit"
    """The recorded run failed: start a fresh one."""

    RESET = "reset"
    """Clear the existing run under a fixed identity, once."""

    FOREIGN = "foreign"
    """The run under our id is not ours: do as the stock operator does."""

    REFUSE = "refuse"
    """The run under a fixed identity failed, and nothing permits to start over."""


class Look(str, Enum):
    """What a look-up says when it does not say a run."""

    MISSING = "missing"
    UNREADABLE = "unreadable"


@dataclass(frozen=True)
class Attempt:
    """
    One execution of the parent.

    :param try_number: the task instance's try, from 1.
    :param max_tries: as the server gave it. Stays the same over automatic retries; a person's clear sets it to
        ``try_number + retries`` (Airflow 3.0 to 3.3, ``models/taskinstance.py``, ``clear_task_instances``).
    :param retries: the task's, as this attempt's Dag file has them.
    :param clear_number: the parent's Dag run's: a person's clear of any of its tasks raises it (3.2 and later; before,
        only the clear of a finished run does).
    """

    try_number: int
    max_tries: int
    retries: int
    clear_number: int


@dataclass(frozen=True)
class Request:
    """
    What the user asks for, rendered.

    :param dag_id: the child's Dag.
    :param run_id: the run id that the user fixed, by ``trigger_run_id`` or by ``logical_date`` (from which the stock
        operator makes one). None: the identity is generated, and is this parent's alone.
    :param logical_date: the date that the user fixed; None if there is none, or if the date is for us to choose.
    :param is_date_ours: the user gave neither ``logical_date`` nor ``run_after``. The stock operator takes the present
        moment then, so do we; and since (dag_id, logical_date) is a unique key, the date proves who made a run.
    :param digest: of the child's Dag, conf and fixed identity: tells one request from another. Never the conf.
    :param allowed_states: Dag run states that mean success.
    :param failed_states: Dag run states that mean failure. They win over ``allowed_states``, as in the stock operator.
    """

    dag_id: str
    run_id: str | None
    logical_date: datetime | None
    is_date_ours: bool
    digest: str
    mode: Mode
    allowed_states: frozenset[str]
    failed_states: frozenset[str]
    is_reset: bool = False
    is_skip: bool = False


@dataclass(frozen=True)
class ChildRun:
    """
    A Dag run as a look-up saw it.

    :param state: its Dag run state.
    :param clear_number: how often it was cleared; None if the look-up was not a detailed one.
    :param logical_date: with its time zone; None if it has none, or the look-up was not a detailed one.
    """

    state: str
    clear_number: int | None = None
    logical_date: datetime | None = None
