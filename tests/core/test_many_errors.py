"""What a task with many children says when it fails, word for word."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_durable.core.many_errors import ItemsFailedError, SecondCallError
from airflow_durable.core.model import OnChildFailure

BASE: dict[str, Any] = {"failures": 1, "count": 3, "tolerated": 0, "running": 0, "pending": 0}
NORTH, SOUTH = ("north", "run_n"), ("south", "run_s")
KEPT = "the runs that succeeded or are still active"


def text_of(failed: list[tuple[str, str]], **changed: Any) -> str:  # noqa: ANN401 - the error's own
    """Return the error's message."""
    return str(ItemsFailedError("child", failed, **{**BASE, **changed}))


ONE = "1 of 3 items failed, and 0 are tolerated. Failed runs of Dag 'child': north (run run_n)."
TWO = "2 of 3 items failed, and 1 are tolerated. Failed runs of Dag 'child': north (run run_n), south (run run_s)."
FOUR = (
    "4 of 9 items failed, and 0 are tolerated. Failed runs of Dag 'child': north (run run_n) and 3 more. 2 of them are "
    "still queued after start_timeout (90 s). 5 child runs are still active, and are left alone. 3 were not started."
)


@pytest.mark.parametrize(
    ("failed", "changed", "expected"),
    [
        ([NORTH], {}, ONE),
        ([NORTH, SOUTH], {"failures": 2, "tolerated": 1}, TWO),
        ([NORTH], {"failures": 4, "count": 9, "overdue": 2, "seconds": 90.0, "running": 5, "pending": 3}, FOUR),
    ],
    ids=["one", "two", "four"],
)
def test_the_message(failed: list[tuple[str, str]], changed: dict[str, Any], expected: str) -> None:
    assert text_of(failed, **changed).startswith(f"{expected} Open those runs to find the cause.")


def test_ten_items_are_named() -> None:
    text = text_of([(f"k{number}", f"r{number}") for number in range(12)], failures=12, count=12)
    assert "k9 (run r9) and 2 more." in text
    assert "k10" not in text


@pytest.mark.parametrize(
    ("on_child_failure", "retried", "final"),
    [
        (
            OnChildFailure.FRESH,
            f"The next try of this task starts a new run for each failed item, and keeps {KEPT}.",
            f"Clear this task to start a new run for each failed item; {KEPT} are kept.",
        ),
        (
            OnChildFailure.RESUME,
            f"The next try of this task lets each failed run continue from where it failed, and keeps {KEPT}.",
            f"Clear this task to let each failed run continue; {KEPT} are kept.",
        ),
        (
            OnChildFailure.FAIL,
            f"Clear this task to start a new run for each failed item; {KEPT} are kept.",
            f"Clear this task to start a new run for each failed item; {KEPT} are kept.",
        ),
    ],
)
def test_what_comes_next(on_child_failure: OnChildFailure, retried: str, final: str) -> None:
    error = ItemsFailedError("child", [NORTH], **BASE, on_child_failure=on_child_failure)
    assert error.explain(has_next_try=True).endswith(retried)
    assert error.explain(has_next_try=False).endswith(final)


@pytest.mark.parametrize(
    ("changed", "is_terminal"),
    [
        ({}, False),
        ({"overdue": 1}, True),
        ({"failures": 2, "overdue": 1}, False),
        ({"failures": 2, "overdue": 2}, True),
    ],
)
def test_nothing_is_tried_again_where_it_is_the_timeout_alone(changed: dict[str, Any], is_terminal: bool) -> None:  # noqa: FBT001
    assert ItemsFailedError("child", [NORTH], **{**BASE, **changed}).is_terminal is is_terminal


def test_a_second_call_is_the_end() -> None:
    error = SecondCallError()
    assert error.is_terminal
    assert error.explain(has_next_try=True) == error.explain(has_next_try=False)
    assert "The second call started nothing. Give all items to one call" in error.explain(has_next_try=True)
