"""The demonstration's command. The demonstration itself is run by ``make demo``."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from airflow_durable import cli
from airflow_durable.cli import demo_command, progress
from airflow_durable.cli.frame import ExitCode
from airflow_durable.demo.comparison import Comparison, ParentResult
from airflow_durable.demo.engine import AirflowNotReadyError, ScratchAirflow
from airflow_durable.demo.many import ManyResult
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


def test_a_signal_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def compare(*_: object) -> None:
        raise SystemExit(143)

    monkeypatch.setattr("airflow_durable.demo.comparison.compare", compare)
    ended = CliRunner().invoke(cli.app, ["demo"])
    assert ended.exit_code == 143
    assert "Ended by a signal. Everything that was started has been ended." in ended.stderr


def test_a_difference_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_durable.demo.comparison.compare", lambda *_: result(2))
    assert CliRunner().invoke(cli.app, ["demo"]).exit_code == ExitCode.FOUND


def many_result(**changes: Any) -> ManyResult:  # noqa: ANN401 - its fields
    """Return the result of a demonstration with many children, as it should be."""
    values: dict[str, Any] = {
        "airflow_version": "3.3.2",
        "items": 200,
        "state": "success",
        "tries": 2,
        "child_runs": 200,
        "succeeded": 200,
        "runs_at_kill": 104,
        "runs_twice": 0,
        "recovery_seconds": 12.0,
        "took_seconds": 60.0,
    }
    return ManyResult(**{**values, **changes})


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_many_children(monkeypatch: pytest.MonkeyPatch, options: list[str]) -> None:
    """Without a terminal each quarter is a line; the counts are those of the database."""

    def run_many(home: Path, items: int, report: Callable[[str], None], progress: Callable[[int, int], None]) -> Any:  # noqa: ANN401
        report("Starting.")
        for count in range(items + 1):
            progress(count, 0)
        for count in range(items + 1):
            progress(items, count)
        return many_result()

    monkeypatch.setattr("airflow_durable.demo.many.run_many", run_many)
    ended = CliRunner().invoke(cli.app, ["demo", "--many", "200", *options])
    assert ended.exit_code == 0
    assert [line for line in ended.stderr.splitlines() if "child runs" in line] == [
        "100 of 200 child runs, 0 succeeded",
        "200 of 200 child runs, 0 succeeded",
        "200 of 200 child runs, 100 succeeded",
        "200 of 200 child runs, 200 succeeded",
    ]
    if options:
        assert json.loads(ended.stdout)["child_runs"] == 200
    else:
        assert "items with a second child run" in ended.stdout


@pytest.mark.parametrize(
    "changes", [{"tries": 1}, {"runs_at_kill": 200}, {"child_runs": 201}, {"runs_twice": 1}, {"state": "failed"}]
)
def test_what_many_children_should_not_show_is_a_finding(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    monkeypatch.setattr("airflow_durable.demo.many.run_many", lambda *_: many_result(**changes))
    assert CliRunner().invoke(cli.app, ["demo", "--many", "200"]).exit_code == ExitCode.FOUND


def test_the_bars_move_on_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(progress, "Console", lambda **kwargs: Console(force_terminal=True, **kwargs))
    with progress.counting(4, print) as (write, count):
        write("Starting [it].")
        count(4, 2)
    shown = capsys.readouterr().err
    assert "Starting [it]." in shown
    assert "4/4" in shown
    assert "2/4" in shown


@pytest.mark.parametrize(
    "numbers", [(signal.SIGTERM, signal.SIGHUP), (signal.SIGINT, signal.SIGTERM), (signal.SIGINT,)], ids=str
)
def test_signals_that_arrive_together_leave_nothing_running(tmp_path: Path, numbers: tuple[int, ...]) -> None:
    """Whichever Python handles first: the one after it comes when what was started is about to be ended."""
    stopped: list[bool] = []
    airflow = ScratchAirflow(tmp_path, dag_folders={})
    airflow.stop = lambda: stopped.append(True)  # type: ignore[method-assign] # nothing runs

    def end_within() -> None:
        with airflow:
            signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
            for number in numbers:
                os.kill(os.getpid(), number)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)

    with pytest.raises((SystemExit, KeyboardInterrupt)):
        end_within()
    assert stopped == [True]
