"""The options of the switch, as an administrator set them. Pure: who calls reads the configuration."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

SECTION = "durable"
TAG = "not-durable"
"""A Dag with this tag is left alone."""
OPTIONS = (
    "stock_operators",
    "stock_operators_only",
    "stock_operators_except",
    "stock_subclasses",
    "stock_operators_min_retries",
)


class Mode(enum.Enum):
    """The values of ``[durable] stock_operators``."""

    AS_IS = "as_is"
    REPORT = "report"
    DURABLE = "durable"


@dataclass(frozen=True)
class Switch:
    """
    What the options say.

    :param mode: of ``stock_operators``.
    :param only: the patterns of ``stock_operators_only``; empty: every task.
    :param excepted: the patterns of ``stock_operators_except``.
    :param is_for_subclasses: whether subclasses of the stock operator are made durable, too.
    :param min_retries: the ``retries`` that a task made durable has at least.
    :param problems: what is wrong with the values, a sentence each. A wrong value counts as the one that does least.
    """

    mode: Mode = Mode.AS_IS
    only: tuple[str, ...] = ()
    excepted: tuple[str, ...] = ()
    is_for_subclasses: bool = True
    min_retries: int = 0
    problems: tuple[str, ...] = ()

    def why_excluded(self, dag_id: str, task_id: str, tags: Collection[str]) -> str | None:
        """Return why the options leave this task alone; None: they do not."""
        if TAG in tags:
            return f"its Dag has the tag {TAG!r}"
        for pattern in self.excepted:
            if _fits(pattern, dag_id, task_id):
                return f"[{SECTION}] stock_operators_except has {pattern!r}"
        if self.only and not any(_fits(pattern, dag_id, task_id) for pattern in self.only):
            return f"no pattern of [{SECTION}] stock_operators_only fits it"
        return None


def read_switch(get: Callable[[str], str | None]) -> Switch:
    """
    Read the options. It raises nothing, whatever they are.

    :param get: return the value of an option of the section ``durable``, as text; None: it is not set. It may raise:
        what an option that cannot be read leaves alone is not known, so then the switch is off.
    """
    problems: list[str] = []
    given = {name: _read(get, name, problems) for name in OPTIONS}
    is_unreadable = bool(problems)
    mode = _choice(given, "stock_operators", [one.value for one in Mode], Mode.AS_IS.value, problems)
    subclasses = _choice(given, "stock_subclasses", ["durable", "as_is"], "durable", problems)
    return Switch(
        mode=Mode.AS_IS if is_unreadable else Mode(mode),
        only=_patterns(given["stock_operators_only"]),
        excepted=_patterns(given["stock_operators_except"]),
        is_for_subclasses=subclasses == "durable",
        min_retries=_number(given, "stock_operators_min_retries", problems),
        problems=tuple(problems),
    )


def _read(get: Callable[[str], str | None], name: str, problems: list[str]) -> str:
    try:
        return (get(name) or "").strip()
    except Exception as error:  # noqa: BLE001 - whatever a configuration file can do
        problems.append(f"[{SECTION}] {name} cannot be read ({type(error).__name__}); stock_operators counts as as_is.")
        return ""


def _choice(given: dict[str, str], name: str, choices: list[str], default: str, problems: list[str]) -> str:
    """Return one of the choices; ``as_is`` for anything else."""
    value = given[name] or default
    if value.lower() in choices:
        return value.lower()
    problems.append(f"[{SECTION}] {name} is one of {', '.join(choices)}, not {value!r}; it counts as as_is.")
    return "as_is"


def _number(given: dict[str, str], name: str, problems: list[str]) -> int:
    value = given[name] or "0"
    if value.isascii() and value.isdigit():
        return int(value)
    problems.append(f"[{SECTION}] {name} is a number, 0 or more, not {value!r}; it counts as 0.")
    return 0


def _patterns(given: str) -> tuple[str, ...]:
    """Return the patterns of a list with commas or line ends between them."""
    return tuple(pattern for part in given.replace("\n", ",").split(",") if (pattern := part.strip()))


def _fits(pattern: str, dag_id: str, task_id: str) -> bool:
    return fnmatchcase(dag_id, pattern) or fnmatchcase(f"{dag_id}.{task_id}", pattern)
