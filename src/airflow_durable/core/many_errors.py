"""The ways in which a task with many children can end without success, beside those of :mod:`.errors`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_durable.core.errors import DurableError, RequestInvalidError
from airflow_durable.core.model import OnChildFailure

if TYPE_CHECKING:
    from collections.abc import Sequence

NAMED_AT_MOST = 10
"""An error names at most this number of failed items."""


class ItemsInvalidError(RequestInvalidError):
    """The rendered ``items`` cannot be used. The message names positions and types, never a value."""


class ItemKeysEqualError(ItemsInvalidError):
    """Two items have the same key, so they would have one run."""

    def __init__(self, first: int, second: int) -> None:
        super().__init__(
            f"The items at positions {first} and {second} (from 0) have the same key. Each item needs a key of its own."
        )


class SecondCallError(DurableError):
    """A try has called the operator twice. Both calls would have the same run ids."""

    is_terminal = True

    def __init__(self) -> None:
        super().__init__(
            "TriggerDagRunsOperator.execute was called a second time in this try. The run ids follow from the task and "
            "its items, so the runs of the first call would count as those of the second. The second call started "
            "nothing.",
            if_retried="",
            if_final="Give all items to one call, or make two tasks of it; then clear this task.",
        )


class ItemsFailedError(DurableError):
    """
    More items failed than are tolerated.

    There is no other try with ``on_child_failure="fail"``, or if it is ``start_timeout`` alone that makes them more.

    :param failed: the name and the run id of each failed item that is named.
    :param overdue: the number of failed items whose run has not left the queue in time.
    :param seconds: that time.
    """

    def __init__(  # noqa: PLR0913 - what the message is about
        self,
        dag_id: str,
        failed: Sequence[tuple[str, str]],
        *,
        failures: int,
        count: int,
        tolerated: int,
        running: int,
        pending: int,
        on_child_failure: OnChildFailure = OnChildFailure.FRESH,
        overdue: int = 0,
        seconds: float = 0.0,
    ) -> None:
        what = _NEXT[on_child_failure]
        is_by_timeout = failures > tolerated >= failures - overdue
        self.is_terminal = on_child_failure is OnChildFailure.FAIL or is_by_timeout
        late = f" {overdue} of them are still queued after start_timeout ({seconds:g} s)." if overdue else ""
        named = ", ".join(f"{name} (run {run_id})" for name, run_id in failed[:NAMED_AT_MOST])
        more = f" and {failures - len(failed[:NAMED_AT_MOST])} more" if failures > len(failed[:NAMED_AT_MOST]) else ""
        left = f" {running} child runs are still active, and are left alone." if running else ""
        unsent = f" {pending} were not started." if pending else ""
        super().__init__(
            f"{failures} of {count} items failed, and {tolerated} are tolerated. Failed runs of Dag {dag_id!r}: "
            f"{named}{more}.{late}{left}{unsent} Open those runs to find the cause.",
            if_retried=f"The next try of this task {what[0]}, and keeps the runs that succeeded or are still active.",
            if_final=f"Clear this task to {what[1]}; the runs that succeeded or are still active are kept.",
        )


_FRESH = ("starts a new run for each failed item", "start a new run for each failed item")
_NEXT = {
    OnChildFailure.FRESH: _FRESH,
    OnChildFailure.FAIL: _FRESH,
    OnChildFailure.RESUME: ("lets each failed run continue from where it failed", "let each failed run continue"),
}
