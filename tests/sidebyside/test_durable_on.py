"""With ``durable=True`` what differs from the stock operator is listed, with its reason; and what is listed differs."""

from __future__ import annotations

import functools
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import pytest

from tests.adapters.versions import needs_review

from .compare import LONG, SHORT, Differences, find_differences
from .differences import DIFFERENCES, shown_here
from .situations import SITUATIONS
from .stage import Kind
from .table import PAGE, with_table
from .test_durable_off import parameters

if TYPE_CHECKING:
    from .differences.model import Difference, Shown
    from .situations.model import Situation

pytestmark = needs_review

BY_NAME = {situation.name: situation for situation in SITUATIONS}


@functools.cache
def differences_of(name: str) -> Differences:
    """Return what differs in a situation. It is played once for all tests."""
    return find_differences(BY_NAME[name], Kind.ON)


def is_possible(situation: Situation) -> bool:
    return situation.need is None or situation.need.is_there


@pytest.mark.parametrize("situation", parameters())
def test_each_difference_is_listed(situation: Situation) -> None:
    listed = shown_here()
    unlisted = {
        aspect: pair
        for aspect, pair in differences_of(situation.name).items()
        if not any(shown.covers(situation.name, aspect, pair) for shown in listed)
    }
    assert not unlisted


@pytest.mark.parametrize("difference", DIFFERENCES, ids=lambda difference: difference.what)
def test_each_listed_difference_shows(difference: Difference) -> None:
    here = [shown for shown in difference.shows if shown.is_on_this_airflow()]
    assert [
        (shown.aspect, pattern) for shown in here for pattern in shown.patterns if not does_show(shown, pattern)
    ] == []


def does_show(shown: Shown, pattern: str) -> bool:
    """Tell whether a situation of this name, or any of this pattern, has the difference."""
    possible = [name for name, situation in BY_NAME.items() if fnmatchcase(name, pattern) and is_possible(situation)]
    # What this Airflow cannot do at all cannot differ.
    return (not possible and pattern in BY_NAME) or any(
        shown.covers(name, aspect, pair) for name in possible for aspect, pair in differences_of(name).items()
    )


def test_aspects_are_known() -> None:
    assert {shown.aspect for difference in DIFFERENCES for shown in difference.shows} <= {*SHORT, *LONG}


def test_each_difference_has_its_reason() -> None:
    for difference in DIFFERENCES:
        assert all((difference.what, difference.stock, difference.durable, difference.shows))
        assert difference.why.endswith(".")


def test_the_page_shows_the_list() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == with_table(page), "Run python -m tests.sidebyside."
