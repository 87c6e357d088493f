"""What is being done at the moment, on a terminal alone."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from rich.console import Console

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextlib.contextmanager
def showing() -> Iterator[Callable[[str], None]]:
    """Show a line that changes, on the standard error; yield what changes it."""
    with Console(stderr=True, highlight=False).status("Opening.") as status:
        yield status.update
