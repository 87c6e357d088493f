"""The demonstration's command. The demonstration itself is run by ``make demo``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from airflow_durable import cli
from airflow_durable.cli import demo_command
from airflow_durable.cli.frame import ExitCode
from airflow_durable.demo.comparison import Comparison, ParentResult
from airflow_durable.demo.engine import AirflowNotReadyError
from airflow_durable.server import plugin

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

URL = "http://127.0.0.1:1"


def result(children: int) -> Comparison:
    parents = (
        ParentResult("stock", "success", 2, 2, "started a second child run", 30.0, 60.0),
        ParentResult("durable", "success", children, 2, "continued with the same child run", 0.0, 40.0),
    )
    return Comparison("3.3.2", parents, 90.0)


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Replace the demonstration; return what happens, in its order."""
    happened: list[str] = []

    def compare(home: Path, report: Callable[[str], None], show: Callable[..., None] | None = None) -> Comparison:
        happened.append("started")
        if show:
            show(result(1), URL)
        happened.append("ended")
        return result(1)

    monkeypatch.setattr("airflow_durable.demo.comparison.compare", compare)
    monkeypatch.setattr(demo_command, "wait_for_ctrl_c", lambda: happened.append("waited"))
    return happened


def test_the_result_is_a_table(steps: list[str]) -> None:
    ended = CliRunner().invoke(cli.app, ["demo"])
    assert (ended.exit_code, steps) == (0, ["started", "ended"])
    assert "child runs" in ended.stdout
    assert "started a second child run" in ended.stdout


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_with_ui_it_runs_until_ctrl_c(steps: list[str], options: list[str]) -> None:
    """The result is printed before, once; the address is printed apart from it."""
    ended = CliRunner().invoke(cli.app, ["demo", "--ui", *options])
    assert (ended.exit_code, steps) == (0, ["started", "waited", "ended"])
    assert f"{URL}/plugin/durable-waits" in ended.stderr
    if options:
        assert json.loads(ended.stdout)["airflow_version"] == "3.3.2"
    else:
        assert ended.stdout.count("child runs") == 1


def test_the_address_is_that_of_the_page() -> None:
    assert demo_command.PAGE.endswith(f"/plugin/{plugin._NAVIGATION['url_route']}")


def test_ctrl_c_ends_the_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted:
        """An event for which nobody waits in vain."""

        def wait(self) -> None:
            raise KeyboardInterrupt

    monkeypatch.setattr("airflow_durable.cli.demo_command.threading.Event", Interrupted)
    demo_command.wait_for_ctrl_c()


@pytest.mark.parametrize(
    ("error", "code"),
    [(AirflowNotReadyError("it did not start"), ExitCode.UNREADABLE), (KeyboardInterrupt(), ExitCode.INTERRUPTED)],
)
def test_how_it_ends(monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int) -> None:
    def fail(*_: Any) -> None:  # noqa: ANN401 - whatever it takes
        raise error

    monkeypatch.setattr("airflow_durable.demo.comparison.compare", fail)
    assert CliRunner().invoke(cli.app, ["demo"]).exit_code == code


def test_a_difference_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_durable.demo.comparison.compare", lambda *_: result(2))
    assert CliRunner().invoke(cli.app, ["demo"]).exit_code == ExitCode.FOUND
