"""What is being done at the moment, on a terminal alone."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Say = Callable[[str], None]


@contextlib.contextmanager
def showing() -> Iterator[Callable[[str], None]]:
    """Show a line that changes, on the standard error; yield what changes it."""
    with Console(stderr=True, highlight=False).status("Opening.") as status:
        yield status.update


@contextlib.contextmanager
def counting(
    total: int, say: Callable[[str], None]
) -> Iterator[tuple[Callable[[str], None], Callable[[int, int], None]]]:
    """
    Show two bars on the standard error: child runs that there are, and those that succeeded.

    Without a terminal a line is said for each quarter in their place.

    :returns: what says a line above the bars, and what moves them.
    """
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield say, _quarters(total, say)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        started = progress.add_task("child runs", total=total)
        succeeded = progress.add_task("succeeded", total=total)

        def count(runs: int, successes: int) -> None:
            progress.update(started, completed=runs)
            progress.update(succeeded, completed=successes)

        yield (lambda line: console.print(line, markup=False)), count


def _quarters(total: int, say: Say) -> Callable[[int, int], None]:
    said = 0

    def count(runs: int, successes: int) -> None:
        nonlocal said
        quarter = (runs + successes) * 2 // total
        if quarter > said:
            said = quarter
            say(f"{runs} of {total} child runs, {successes} succeeded")

    return count
