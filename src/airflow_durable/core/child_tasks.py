"""What the states of a child's tasks say about it: whether it has begun, what has failed, what it waits for."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    States = Mapping[str, "str | None"]

_YET_TO_RUN = frozenset({None, "scheduled", "queued", "removed"})
"""Of a task that no worker has had yet (``utils/state.py``, ``TaskInstanceState``, 3.0 to 3.4)."""

MAX_NAMED = 5
"""How many tasks a message names."""


def has_begun(states: States) -> bool:
    """Return whether a first task has run, or was skipped."""
    return any(state not in _YET_TO_RUN for state in states.values())


def failed(states: States) -> list[str]:
    """Return the names of the tasks that failed themselves."""
    return sorted(name for name, state in states.items() if state == "failed")


def describe_unfinished(states: States) -> str:
    """Return what the run's unfinished tasks are doing; empty: none is known to do anything."""
    parts = []
    for state in ("running", "deferred", "up_for_retry", "up_for_reschedule", "queued", "scheduled"):
        names = sorted(name for name, of_task in states.items() if of_task == state)
        if names:
            parts.append(f"{state}: {list_names(names)}")
    return "; ".join(parts)


def list_names(names: list[str]) -> str:
    """Return the first few of them, and how many more there are."""
    more = len(names) - MAX_NAMED
    return ", ".join(names[:MAX_NAMED]) + (f" and {more} more" if more > 0 else "")
