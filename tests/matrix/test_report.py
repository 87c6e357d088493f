"""What a real pytest writes down is told right."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from .canary import show_broken
from .environments import AIRFLOWS, Environment, Part, Provider
from .report import build_markdown, build_tables
from .results import EnvironmentResult, Verdict, load, load_all

if TYPE_CHECKING:
    from pathlib import Path

_TESTS = """
import pytest

@pytest.fixture(autouse=True)
def described(record_property):
    record_property("story", "Crashes.")
    record_property("promise", "One child.")

def test_good():
    pass

def test_bad():
    assert False

def test_limited(record_property):
    record_property("verdict", "cannot")
    record_property("instead", "a second child starts")
    pytest.xfail("No store.")

def test_meaningless(record_property):
    record_property("verdict", "not applicable")
    pytest.xfail("No record.")

def test_skipped():
    pytest.skip("No time.")
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the results of two environments: an old one that ran live tests, and a new one that ran none."""
    root = tmp_path_factory.mktemp("matrix")
    tests = root / "tests" / "live" / "test_crash.py"
    tests.parent.mkdir(parents=True)
    tests.write_text(_TESTS)
    (root / "pytest.ini").write_text("[pytest]\n")
    for airflow in ("3.10.0", "3.9.0"):
        folder = root / "results" / airflow
        folder.mkdir(parents=True)
        about = {"airflow": airflow, "python": "3.11.7", "provider": "1.21.0"}
        (folder / "environment.json").write_text(json.dumps(about))
    junit = root / "results" / "3.9.0" / "live.xml"
    argv = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", f"--junit-xml={junit}", "tests/live"]
    subprocess.run(argv, cwd=root, check=False, capture_output=True)
    return root / "results"


def test_verdicts_are_read(results: Path) -> None:
    tests = {test.name: test for test in load(results / "3.9.0").tests}
    assert {name: test.verdict for name, test in tests.items()} == {
        "good": Verdict.PASS,
        "bad": Verdict.FAIL,
        "limited": Verdict.CANNOT,
        "meaningless": Verdict.NOT_APPLICABLE,
        "skipped": Verdict.SKIPPED,
    }
    assert (tests["limited"].instead, tests["limited"].reason) == ("a second child starts", "No store.")
    assert (tests["good"].story, tests["good"].promise) == ("Crashes.", "One child.")


def test_second_run_of_what_failed_is_told(results: Path, tmp_path: Path) -> None:
    """It is no plain pass: the table says so."""
    for name in ("environment.json", "live.xml"):
        (tmp_path / name).write_bytes((results / "3.9.0" / name).read_bytes())
    first = (tmp_path / "live.xml").read_text()
    (tmp_path / "live-again.xml").write_text(first)
    assert load(tmp_path).has_failed
    case = '<testcase classname="tests.live.test_crash" name="test_bad" time="1"/>'
    (tmp_path / "live-again.xml").write_text(f"<testsuites><testsuite>{case}</testsuite></testsuites>")
    result = load(tmp_path)
    assert not result.has_failed
    assert {test.verdict for test in result.tests if test.name == "bad"} == {Verdict.PASS_AGAIN}
    assert "1 pass at the second run" in build_markdown([result])


def test_main_live_scenarios_count_once(results: Path, tmp_path: Path) -> None:
    for name in ("environment.json", "live.xml"):
        (tmp_path / name).write_bytes((results / "3.9.0" / name).read_bytes())
    whole = load(tmp_path)
    (tmp_path / "live.xml").rename(tmp_path / "main-live.xml")
    assert load(tmp_path, (Part.UNIT, Part.MAIN_LIVE)) == whole
    (tmp_path / "live.xml").write_bytes((tmp_path / "main-live.xml").read_bytes())
    assert load(tmp_path) == whole


def test_earlier_run_of_all_hides_no_failure_of_the_main_ones(results: Path, tmp_path: Path) -> None:
    for name in ("environment.json", "live.xml"):
        (tmp_path / name).write_bytes((results / "3.9.0" / name).read_bytes())
    (tmp_path / "live.xml").rename(tmp_path / "main-live.xml")
    case = '<testcase classname="tests.live.test_crash" name="test_good" time="1"/>'
    (tmp_path / "live.xml").write_text(f"<testsuites><testsuite>{case}</testsuite></testsuites>")
    assert not load(tmp_path).has_failed
    assert load(tmp_path, (Part.UNIT, Part.MAIN_LIVE)).has_failed


def test_failure_is_a_failure_of_its_environment(results: Path) -> None:
    assert [(result.airflow, result.has_failed) for result in load_all(results)] == [("3.10.0", False), ("3.9.0", True)]


def test_page_tells_every_verdict(results: Path) -> None:
    page = build_markdown(load_all(results))
    assert (
        "| 3.9.0 | 3.11.7 | 1.21.0 | not run | not run | not run "
        "| 1 pass, 1 fail, 1 cannot, 1 not applicable, 1 skipped |" in page
    )
    assert "| 3.10.0 | 3.11.7 | 1.21.0 | not run | not run | not run | not run |" in page
    assert page.index("| 3.9.0 |") < page.index("| 3.10.0 |")
    assert "### Crashes." in page
    assert "| One child. (`good`) | pass |" in page
    assert "| One child. (`bad`) | **FAIL** |" in page
    assert "| One child. (`limited`) | cannot (1) |" in page
    assert "1. Instead: a second child starts. No store." in page
    assert "| One child. (`skipped`) | skipped (3) |" in page


def test_what_was_not_run_is_told(results: Path) -> None:
    ran = load(results / "3.9.0")
    partly = EnvironmentResult("3.8.0", "3.10.1", "1.20.0", ran.tests[:1])
    page = build_markdown([ran, partly])
    assert "| One child. (`good`) | pass | pass |" in page
    assert "| One child. (`bad`) | not run | **FAIL** |" in page


def test_one_airflow_with_two_providers_has_two_columns(results: Path) -> None:
    newest = load(results / "3.9.0")
    own = EnvironmentResult("3.9.0", "3.11.7", "1.6.0", newest.tests)
    page = build_markdown([newest, own])
    assert "| scenario | 3.9.0 (1.6.0) | 3.9.0 (1.21.0) |" in page


def test_each_airflow_has_its_pins() -> None:
    assert AIRFLOWS
    for airflow in AIRFLOWS:
        environments = [Environment(airflow, provider=provider) for provider in Provider]
        assert any(environment.constraints.exists() for environment in environments)
        assert len({environment.name for environment in environments}) == len(environments)


def test_terminal_shows_the_same(results: Path) -> None:
    overview, scenarios, explained = build_tables(load_all(results))
    assert (overview.row_count, scenarios.row_count, explained.row_count) == (2, 5, 3)
    assert [table.row_count for table in build_tables([load(results / "3.10.0")])] == [1]


def test_canary_prints_what_broke_and_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "environment.json").write_text(json.dumps({"airflow": "9", "provider": "9", "python": "3.14"}))
    (tmp_path / "unit.xml").write_text(
        """<testsuites><testsuite>
        <testcase classname="tests.core.test_a" name="test_good" time="1"/>
        <testcase classname="tests.adapters.test_b" name="test_bad" time="1">
          <failure message="assert 1 == 2&#10;and more">trace</failure></testcase>
        <testcase classname="" name="tests.adapters.test_c" time="0"><error message="collection failure"/></testcase>
        </testsuite></testsuites>"""
    )
    assert show_broken(tmp_path) == 1
    printed = capsys.readouterr().out
    assert "BROKE adapters: bad: assert 1 == 2\n" in printed
    assert "BROKE adapters: tests.adapters.test_c: collection failure" in printed
    assert "1 of 3 tests passed or do not apply." in printed
