"""The list of limits speaks of scenarios that there are."""

from __future__ import annotations

import re
from pathlib import Path

from .limits import LIMITS, LIMITS_OF_30


def test_limits_are_of_scenarios() -> None:
    sources = [path.read_text() for path in Path(__file__).parent.glob("test_*.py")]
    scenarios = re.findall(r"^def test_(\w+)\(stage: Stage\)", "\n".join(sources), re.MULTILINE)
    assert {*LIMITS, *LIMITS_OF_30} <= set(scenarios)
