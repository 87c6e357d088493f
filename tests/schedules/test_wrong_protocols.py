"""The check can fail: each wrong protocol is caught, by the property that it breaks, with its shortest schedule."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.schedules.explorer import as_test, explore, replay
from tests.schedules.properties import Violation
from tests.schedules.wrong import WRONG, Wrong

if TYPE_CHECKING:
    from tests.schedules.configurations import Configuration

RIGHT = list(dict.fromkeys(wrong.configuration for wrong in WRONG))


@pytest.mark.parametrize("configuration", RIGHT, ids=[it.name for it in RIGHT])
def test_the_right_protocol_passes_where_a_wrong_one_is_caught(configuration: Configuration) -> None:
    found = explore(configuration)
    assert found.violation is None, as_test(found)


@pytest.mark.parametrize("wrong", WRONG, ids=[wrong.name for wrong in WRONG])
def test_a_wrong_protocol_is_caught(wrong: Wrong) -> None:
    with wrong.applied():
        found = explore(wrong.configuration)
        assert found.violation is not None
        assert found.schedule is not None
        print(f"{wrong.name}:\n{as_test(found)}")  # noqa: T201 - shown with pytest -s or when it fails
        assert found.violation.name == wrong.broken
        with pytest.raises(Violation, match=rf"^{wrong.broken}: "):
            replay(wrong.configuration, found.schedule)
