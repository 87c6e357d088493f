"""
The parents that ask for something of the child's life, and what becomes of each. Known to the Dags and to the run.

Only durable ones: the stock operator has none of these parameters. Their Dags begin like the other durable parents', so
that every fault strikes them, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from random import Random
from typing import Any

PREFIX = "durable_life_"
TIMEOUT_SECONDS = 25
WORK_URL_VARIABLE = "CHAOS_WORK_URL"
"""The environment variable with the address of the database in which child runs note what they do."""


class Fate(str, Enum):
    """What happens to a parent."""

    FINISH = "nothing: its child ends"
    CLEAR = "a person clears it while it waits"
    MARK_FAILED = "a person marks it as failed"
    MARK_SUCCESS = "a person marks it as success"
    MARK_RUN = "a person marks its Dag run as failed"
    DELETE = "a person marks its Dag run as failed and deletes it"
    MARK_AND_CLEAR = "a person marks it as failed, and clears it"
    CRASH = "its worker dies in its last try"
    TIMEOUT = "its child does not end in time"


class Work(str, Enum):
    """What a child run does."""

    QUEUED = "it stays queued until it is marked"
    RESULT = "it fails so often as its conf says, and returns something"
    HANGING = "it runs for a day"


@dataclass(frozen=True)
class LifeMode:
    """
    One way to ask for something.

    :param arguments: the operator's.
    :param fails_child: the run marks its child as failed.
    :param is_last: the parent has no retries.
    :param parts: how many children one parent starts, one after the other, in a ``@task``.
    """

    arguments: dict[str, Any]
    fates: tuple[Fate, ...]
    work: Work = Work.QUEUED
    fails_child: bool = False
    is_last: bool = False
    parts: int = 1

    @property
    def is_ending(self) -> bool:
        """Whether the child is to be ended with its parent."""
        return self.arguments.get("on_parent_end") == "cancel"

    @property
    def is_resuming(self) -> bool:
        """Whether a failed child is to continue."""
        return self.arguments.get("on_child_failure") == "resume"

    @property
    def timeout_seconds(self) -> float | None:
        """How long the child may take."""
        found = self.arguments.get("start_timeout") or self.arguments.get("run_timeout")
        return None if found is None else float(found)


_CANCEL = {"on_parent_end": "cancel"}
_RESUME = {"on_child_failure": "resume", "on_parent_end": "cancel", "result": "load"}
_DEFER = {"deferrable": True}
_ENDINGS = (Fate.MARK_FAILED, Fate.MARK_SUCCESS, Fate.MARK_RUN, Fate.DELETE, Fate.MARK_AND_CLEAR)
_TIMED = (Fate.TIMEOUT, Fate.FINISH)

LIFE_MODES = {
    "cancel": LifeMode(_CANCEL, (Fate.FINISH, Fate.CLEAR, *_ENDINGS)),
    "cancel_defer": LifeMode({**_CANCEL, **_DEFER}, (Fate.FINISH, Fate.CLEAR, *_ENDINGS)),
    "cancel_after": LifeMode({**_CANCEL, "defer_after": 6}, (Fate.FINISH, Fate.MARK_FAILED, Fate.MARK_RUN)),
    "cancel_calls": LifeMode(_CANCEL, (Fate.FINISH, Fate.MARK_FAILED), parts=2),
    "cancel_last": LifeMode(_CANCEL, (Fate.CRASH, Fate.CRASH), is_last=True),
    "resume": LifeMode(_RESUME, (Fate.FINISH, Fate.FINISH, Fate.CLEAR), work=Work.RESULT),
    "resume_defer": LifeMode({**_RESUME, **_DEFER}, (Fate.FINISH, Fate.FINISH, Fate.CLEAR), work=Work.RESULT),
    "fail": LifeMode({"on_child_failure": "fail"}, (Fate.FINISH,), fails_child=True),
    "start": LifeMode({**_CANCEL, "start_timeout": TIMEOUT_SECONDS}, _TIMED),
    "run": LifeMode({**_CANCEL, **_DEFER, "run_timeout": TIMEOUT_SECONDS}, (Fate.TIMEOUT,), work=Work.HANGING),
}


@dataclass(frozen=True)
class Subject:
    """
    One parent.

    :param failures: how often its child fails, of those that work.
    """

    number: int
    mode_name: str
    fate: Fate
    failures: int = 0
    seed: int = 0

    @property
    def run_id(self) -> str:
        """The run id of its Dag run."""
        return f"l{self.number:05d}"

    @property
    def mode(self) -> LifeMode:
        """What it asks for."""
        return LIFE_MODES[self.mode_name]

    @property
    def dag_id(self) -> str:
        """Its Dag."""
        return f"{PREFIX}{self.mode_name}"

    @property
    def child_dag_id(self) -> str:
        """Its children's Dag."""
        return f"{self.dag_id}_child"

    def seconds(self, what: str, limits: tuple[float, float]) -> float:
        """Return a time between these two, always the same for the same."""
        return Random(f"{self.seed}/life/{self.number}/{what}").uniform(*limits)  # noqa: S311 - a schedule, no secret


def make_subject(seed: int, number: int) -> Subject:
    """Return a parent: all that can happen does so once before anything happens twice."""
    deck = [(name, fate) for name, mode in LIFE_MODES.items() for fate in mode.fates]
    lap, place = divmod(number - 1, len(deck))
    Random(f"{seed}/life/{lap}").shuffle(deck)  # noqa: S311 - a schedule, no secret
    name, fate = deck[place]
    failures = Random(f"{seed}/life/{number}/failures").choice((1, 1, 2))  # noqa: S311
    return Subject(number, name, fate, failures if LIFE_MODES[name].is_resuming else 0, seed)
