"""A line with keys in the log of a task or of a trigger."""

from __future__ import annotations

from typing import Any


def write_line(log: Any, level: str, text: str, **fields: str) -> None:  # noqa: ANN401 - differs by version
    """
    Write a line with keys.

    The task's log takes keys where it is structlog's (3.1 and later); before, they are part of the text.
    """
    if hasattr(log, "bind"):
        getattr(log, level)(text, **fields)
        return
    shown = " ".join([text, *(f"{name}={value}" for name, value in fields.items())])
    getattr(log, level)("%s", shown)
