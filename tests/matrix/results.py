"""What pytest left behind in each environment."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from .environments import AGAIN, RESULTS, WHOLE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from .environments import Part


class Verdict(str, Enum):
    """What came of a test."""

    PASS = "pass"
    FAIL = "fail"
    CANNOT = "cannot"
    NOT_APPLICABLE = "not applicable"
    SKIPPED = "skipped"
    NOT_RUN = "not run"
    PASS_AGAIN = "pass at the second run"
    """It failed beside all the others, and passed when those that failed were run once more."""


@dataclass(frozen=True)
class TestResult:
    """
    What came of one test.

    :param folder: of the tests: ``core``, ``adapters``, ``live``.
    :param story: what its module is about, if it is a live one.
    :param promise: what it shows, if it is a live one.
    :param instead: what happens if this Airflow cannot do it.
    :param reason: why it failed, is skipped, or cannot be done.
    """

    __test__ = False

    folder: str
    name: str
    verdict: Verdict
    seconds: float
    story: str = ""
    promise: str = ""
    instead: str = ""
    reason: str = ""


@dataclass(frozen=True)
class EnvironmentResult:
    """What came of an environment's tests."""

    airflow: str
    python: str
    provider: str
    tests: tuple[TestResult, ...]

    @property
    def label(self) -> str:
        """What its column is called: the Airflow and the standard provider."""
        return f"{self.airflow} ({self.provider})"

    @property
    def has_failed(self) -> bool:
        """Whether there is a test that failed."""
        return any(test.verdict is Verdict.FAIL for test in self.tests)

    def count(self, folder: str) -> Mapping[Verdict, int]:
        """Return how many tests of a folder came to what."""
        return Counter(test.verdict for test in self.tests if test.folder == folder)

    def find(self, name: str) -> TestResult | None:
        """Return what came of a live test."""
        return next((test for test in self.tests if (test.folder, test.name) == ("live", name)), None)


def load_all(folder: Path = RESULTS) -> list[EnvironmentResult]:
    """Return the results of all environments that have any."""
    return [load(path.parent) for path in sorted(folder.glob("*/environment.json"))]


def load(folder: Path, parts: Sequence[Part] = WHOLE) -> EnvironmentResult:
    """
    Return the results of one environment; a part that was not run has none.

    :param parts: the main live scenarios are among all, so not both.
    """
    tests: list[TestResult] = []
    for part in parts:
        again = {(test.folder, test.name): test for test in _read_all(folder / f"{part.value}{AGAIN}.xml")}
        tests += [_after(test, again) for test in _read_all(folder / f"{part.value}.xml")]
    return EnvironmentResult(**json.loads((folder / "environment.json").read_text()), tests=tuple(tests))


def _read_all(path: Path) -> list[TestResult]:
    if not path.exists():
        return []
    root = ET.parse(path).getroot()  # noqa: S314 - our own pytest wrote it
    return [_read(case) for case in root.iter("testcase")]


def _after(test: TestResult, again: Mapping[tuple[str, str], TestResult]) -> TestResult:
    """Return what came of a test that was run once more if it had failed."""
    second = again.get((test.folder, test.name))
    if test.verdict is not Verdict.FAIL or second is None:
        return test
    return replace(second, verdict=Verdict.PASS_AGAIN) if second.verdict is Verdict.PASS else second


def _read(case: ET.Element) -> TestResult:
    properties = {item.get("name"): item.get("value", "") for item in case.iter("property")}
    skipped = case.find("skipped")
    verdict = Verdict.PASS
    if case.find("failure") is not None or case.find("error") is not None:
        verdict = Verdict.FAIL
    elif skipped is not None:
        # A test that is expected to fail says which it is; any other is not expected here.
        verdict = Verdict(properties.get("verdict", Verdict.SKIPPED.value))
    # A module that could not be imported has no class.
    _, folder, *_ = (case.get("classname") or case.get("name") or "").split(".")
    return TestResult(
        folder=folder,
        name=case.get("name", "").removeprefix("test_"),
        verdict=verdict,
        seconds=float(case.get("time", "0")),
        story=properties.get("story", ""),
        promise=properties.get("promise", ""),
        instead=properties.get("instead", ""),
        reason=next((_first_line(case.find(kind)) for kind in ("failure", "error", "skipped") if _has(case, kind)), ""),
    )


def _has(case: ET.Element, kind: str) -> bool:
    return case.find(kind) is not None


def _first_line(element: ET.Element | None) -> str:
    lines = ("" if element is None else element.get("message", "")).splitlines()
    return lines[0] if lines else ""
