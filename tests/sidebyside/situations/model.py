"""What a situation is made of."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.adapters.versions import HAS_DETAILS, HAS_RETRY_POLICY, lacks_a_parameter

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from tests.adapters.supervisor import Supervisor


@dataclass(frozen=True)
class Need:
    """What a situation needs of Airflow."""

    is_there: bool
    reason: str


RETRY_POLICY = Need(HAS_RETRY_POLICY, "there is no retry_policy before Airflow 3.3")
DETAILS = Need(HAS_DETAILS, "there is no fail_when_dag_is_paused on Airflow 3 before 3.2")
OPENLINEAGE = Need(
    not lacks_a_parameter({"openlineage_inject_parent_info": True}),
    "the stock operator adds nothing for OpenLineage before standard provider 1.10.0",
)

DELETED = "deleted"
TIMES_OUT = "times out"
"""The parent's ``execution_timeout`` passes, if it counts at that moment."""


@dataclass(frozen=True)
class Death:
    """
    The process of the try dies instead of sending this message, or before it is answered.

    :param key: of an XCom.
    """

    message: str
    key: str | None = None


WHILE_WAITING = Death("SetXCom", "trigger_run_id")
"""The run has been started. In all modes it is the last message before the wait, the deferral or the end."""


@dataclass(frozen=True)
class Try:
    """
    One try of the parent.

    :param before: what happens at the server before it.
    :param child: what becomes of the child, each time the task sleeps or the trigger pauses; the last one stays.
    :param edits: arguments that the Dag's author has changed by then.
    :param event: the event that resumes a deferred try, made of the one that the trigger would have sent.
    :param dies: the end of its process.
    """

    number: int = 1
    before: Callable[[Supervisor], object] | None = None
    child: Sequence[str] = ("success",)
    edits: Mapping[str, Any] = field(default_factory=dict)
    event: Callable[[Any], Any] | None = None
    dies: Death | None = None
    max_tries: int | None = None
    clear_number: int = 0
    parent_conf: dict[str, Any] | None = None


@dataclass(frozen=True)
class Situation:
    """
    What a parent and its world are like.

    :param name: in plain words, and unique.
    :param arguments: the operator's.
    :param derive: makes a user's subclass of the operator.
    :param expand: the task is mapped over these arguments; the second one runs.
    :param around: something else that is so meanwhile.
    :param direct: calls the operator as a user's unit test does, without Airflow.
    """

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    tries: tuple[Try, ...] = (Try(),)
    server: Callable[[Supervisor], object] | None = None
    derive: Callable[[Any], Any] | None = None
    expand: Mapping[str, Sequence[Any]] | None = None
    around: Callable[[], AbstractContextManager[object]] = contextlib.nullcontext
    direct: Callable[[Any], object] | None = None
    need: Need | None = None
