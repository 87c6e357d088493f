"""With ``durable=False`` nothing differs from the stock operator: no message, error, callback or log line."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from .compare import find_all_differences
from .situations import SITUATIONS
from .stage import Kind

if TYPE_CHECKING:
    from .situations.model import Situation


def parameters() -> list[object]:
    """Return the situations; what the installed Airflow lacks is skipped, with the reason."""
    return [
        pytest.param(
            situation,
            id=situation.name,
            marks=[pytest.mark.skip(reason=need.reason)] if (need := situation.need) and not need.is_there else [],
        )
        for situation in SITUATIONS
    ]


@pytest.mark.parametrize("situation", parameters())
def test_nothing_differs(situation: Situation) -> None:
    assert not find_all_differences(situation, Kind.OFF)


def test_there_are_many_situations_and_no_name_is_used_twice() -> None:
    names = Counter(situation.name for situation in SITUATIONS)
    assert len(names) >= 60
    assert [name for name, count in names.items() if count > 1] == []
