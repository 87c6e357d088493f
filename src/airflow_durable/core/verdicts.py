"""What the reconciler can do about a run, and why. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Act(str, Enum):
    """What is done to the child."""

    CANCEL = "cancel"
    RESUME = "resume"
    RESET = "reset"
    NOTHING = "nothing"


class Reason(str, Enum):
    """Why. The values are in the audit log and in the server's log."""

    PARENT_ENDED = "the parent task has ended without having taken the outcome"
    PARENT_GONE = "the parent task instance does not exist any more, and its Dag run has ended or was deleted"
    ASKED = "the parent task's present try asks for it"

    NOT_ASKED = "nothing is asked for"
    CONSUMED = "the outcome was taken"
    NOT_ENDED = "the parent task has not ended for good"
    SUPERSEDED = "the try that asked is not the present one, or does not wait"
    OVERTAKEN = "the run is not as it was when this was asked for"
    CHILD_MISSING = "there is no such run"
    CHILD_ENDED = "the run has ended"
    CHILD_RESTARTED = "the run was cleared after the parent's end"

    UNPROVEN_DAMAGED = "the record cannot be understood"
    UNPROVEN_NAME = "the run id does not follow from the parent"
    UNPROVEN_ORIGIN = "the run was not made by a task"
    UNPROVEN_DATE = "the date of the run does not prove that the parent started it"
    UNPROVEN_REPLY = "nothing of the run proves that the parent started it"
    UNPROVEN_TEAM = "the parent and the run are of different teams"
    DAG_UNKNOWN = "Airflow has no serialized form of the run's Dag"
    DAG_BROKEN = "the run's Dag is in no Dag file, or has import errors"
    UNPROVEN_TWICE = "another parent's record proves the same of the same run"


@dataclass(frozen=True)
class Verdict:
    """
    What is to be done now.

    :param is_settled: nothing can come of this entry any more, unless a further one is written.
    """

    act: Act
    reason: Reason
    is_settled: bool = False
