"""
The deployment's defaults of the operator's own parameters, as the section ``durable`` has them. Pure.

The operator reads them when a Dag file is parsed, and ``airflow-durable doctor`` those of a deployment.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_durable.durations import read_timeout

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

CHOICES = {
    "on_clear": ("auto", "adopt", "fresh"),
    "on_child_failure": ("fresh", "resume", "fail"),
    "on_parent_end": ("abandon", "cancel"),
}
"""The values of each such parameter; the first is its own default."""

NEEDING_STORE = {"on_child_failure": "resume", "on_parent_end": "cancel"}
"""The values that need a task state store (Airflow 3.3)."""

_CHOSEN = ("on_child_failure", "on_parent_end")
_TIMEOUTS = ("start_timeout", "run_timeout")
OPTIONS = (*_CHOSEN, *_TIMEOUTS)


def read_default_choice(name: str, text: str | None) -> str:
    """Return the option's value, whatever it is; where it is not set, the parameter's own default."""
    return (text or "").strip() or CHOICES[name][0]


def read_default_timeout(text: str | None) -> float | str | None:
    """Return the option in seconds, None if it is not set; what is no number as it is."""
    given = (text or "").strip()
    try:
        return float(given) if given else None
    except ValueError:
        return given


def find_unusable(options: Mapping[str, str], *, has_store: bool) -> Iterator[tuple[str, str]]:
    """
    Yield the name of each default that no durable task can have, and what it has to be.

    :param options: the section's options, as text; what is not in it is not set.
    :param has_store: whether Airflow has a task state store.
    """
    for name in _CHOSEN:
        choice = read_default_choice(name, options.get(name))
        if choice not in CHOICES[name]:
            yield name, f"one of {', '.join(CHOICES[name])}"
        elif choice == NEEDING_STORE[name] and not has_store:
            yield name, f"{' or '.join(one for one in CHOICES[name] if one != choice)} before Airflow 3.3"
    for name in _TIMEOUTS:
        timeout = read_default_timeout(options.get(name))
        if timeout is not None and read_timeout(timeout) is None:
            yield name, "a number of seconds, more than 0"
