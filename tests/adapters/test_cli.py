"""The command line's frame: its help, how it ends, and what it says when it fails."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any, get_type_hints

import pytest
import typer
from typer.models import OptionInfo
from typer.testing import CliRunner

import airflow_durable
from airflow_durable import cli
from airflow_durable.cli import audit_command
from airflow_durable.cli import options as cli_options
from airflow_durable.cli.frame import EXIT_CODES, MEANINGS, ExitCode

from .audit_fakes import Deployment, tried

if TYPE_CHECKING:
    from collections.abc import Iterator

COMMANDS: dict[str, Any] = getattr(typer.main.get_command(cli.app), "commands", {})
LIMIT_SECONDS = 60
RUNNER = CliRunner()


def help_of(*names: str, flag: str = "--help") -> str:
    return RUNNER.invoke(cli.app, [*names, flag], env={"COLUMNS": "80"}, prog_name="airflow-durable").stdout


@pytest.mark.parametrize("names", [(), *((name,) for name in COMMANDS)])
def test_the_help_fits_a_terminal(names: tuple[str, ...]) -> None:
    """At 80 columns: no ragged line, no mark of the formatter's, no type in brackets."""
    text = help_of(*names)
    assert text == help_of(*names, flag="-h")
    assert max(map(len, text.splitlines())) <= 80
    assert "\b" not in text
    assert "\\b" not in text
    assert "..." not in text.replace("TOKEN=...", "").replace("[ARGS]...", "")
    assert not re.search(r"<(bool|str|int|float|list)", text)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_parameter_is_documented(name: str) -> None:
    for parameter in COMMANDS[name].params:
        assert getattr(parameter, "help", None) or parameter.name == "help", f"{name}: {parameter.name}"


def test_each_exit_code_means_one_thing() -> None:
    """And the help has the table of them."""
    assert set(MEANINGS) == set(ExitCode)
    assert len(set(MEANINGS.values())) == len(ExitCode)
    for code in ExitCode:
        assert re.search(rf"^ +{code:d}  ", EXIT_CODES, re.MULTILINE)
        assert f" {code:d}  " in help_of()


def test_the_versions() -> None:
    ended = RUNNER.invoke(cli.app, ["--version"])
    assert ended.exit_code == 0
    assert ended.stdout.startswith(f"airflow-durable {airflow_durable.__version__}\nAirflow 3.")


@pytest.mark.parametrize(
    "arguments",
    [
        ("no-such-command",),
        ("audit", "--no-such-option"),
        ("inspect", "one"),
        ("audit", "--json", "--tsv"),
        ("list", "--longer-than", "soon"),
        ("list", "--silent", "--url", "http://there"),
        ("audit", "--url", "airflow.example.com"),
        ("end", "a", "b", "c", "--url", "http://there", "--map-index", "-2"),
        ("end", "a", "b", "c", "--url", "http://there", "--call", "0"),
    ],
)
def test_a_wrong_call(arguments: tuple[str, ...]) -> None:
    ended = RUNNER.invoke(cli.app, arguments, env={"AIRFLOW_DURABLE_TOKEN": "token"})
    assert ended.exit_code == ExitCode.WRONG_CALL
    assert ended.stdout == ""
    assert ended.stderr


@pytest.mark.parametrize("command", ["audit", "end"])
def test_a_password_in_the_address_is_not_shown(command: str) -> None:
    names = ("a", "b", "c") if command == "end" else ()
    ended = RUNNER.invoke(
        cli.app, [command, *names, "--url", "http://me:hunter2@127.0.0.1:1"], env={"AIRFLOW_DURABLE_TOKEN": "token"}
    )
    assert ended.exit_code == ExitCode.WRONG_CALL
    assert "takes no user and no password" in " ".join(ended.stderr.split())
    assert "hunter2" not in ended.output


@pytest.mark.parametrize("command", ["audit", "list", "doctor", "end"])
@pytest.mark.parametrize("token", ["hun\nter2", "hun ter2", "hun\x7fter2", "hun\u00e9ter2"])
def test_what_is_no_token_is_not_shown(command: str, token: str) -> None:
    names = ("a", "b", "c") if command == "end" else ()
    ended = RUNNER.invoke(
        cli.app, [command, *names, "--url", "http://127.0.0.1:1"], env={"AIRFLOW_DURABLE_TOKEN": token}
    )
    assert ended.exit_code == ExitCode.WRONG_CALL
    assert "does not hold a token" in " ".join(ended.stderr.split())
    assert "ter2" not in ended.output


@pytest.fixture
def deployment(monkeypatch: pytest.MonkeyPatch) -> Deployment:
    """Let the commands read one that is made up."""
    made = Deployment()
    made.parent("parent", tried(1, 0, 100), tried(2, 110, 900, "success"), claimed="second")

    @contextlib.contextmanager
    def open_fake(url: str | None, requests_per_second: float) -> Iterator[Deployment]:
        yield made

    monkeypatch.setattr(cli_options, "open_source", open_fake)
    return made


@pytest.mark.usefixtures("deployment")
def test_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("airflow_durable.audit.search.audit", interrupt)
    ended = RUNNER.invoke(cli.app, ["audit"])
    assert (ended.exit_code, ended.stdout) == (ExitCode.INTERRUPTED, "")


@pytest.mark.usefixtures("deployment")
def test_a_closed_pipe_is_not_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def close(_: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr(audit_command, "print_lines", close)
    monkeypatch.setattr("airflow_durable.cli.frame.silence", lambda: None)
    assert RUNNER.invoke(cli.app, ["audit"]).exit_code == ExitCode.PIPE_CLOSED


@pytest.mark.usefixtures("deployment")
def test_what_nobody_has_foreseen_is_not_a_finding_either(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python's own code for it is 1."""

    def fail(*_: object, **__: object) -> None:
        message = "a fault"
        raise ZeroDivisionError(message)

    monkeypatch.setattr("airflow_durable.audit.search.audit", fail)
    monkeypatch.setattr(sys, "argv", ["airflow-durable", "audit"])
    with pytest.raises(SystemExit) as raised:
        cli.app()
    assert raised.value.code == ExitCode.FAULT


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        check=False,
    )


def test_it_is_a_module() -> None:
    ended = run("-m", "airflow_durable", "--version")
    assert (ended.returncode, ended.stdout.split()[0]) == (0, "airflow-durable")
    assert run("-m", "airflow_durable", "-h").stdout.startswith("Usage: airflow-durable ")


def test_a_reader_that_goes_away_is_no_trouble() -> None:
    """As ``| head`` does: nothing is written to the standard error, and the shell sees SIGPIPE's code."""
    read, write = os.pipe()
    os.close(read)
    try:
        ended = subprocess.run(
            [sys.executable, "-m", "airflow_durable", "--help"],
            stdout=write,
            stderr=subprocess.PIPE,
            text=True,
            timeout=LIMIT_SECONDS,
            check=False,
        )
    finally:
        os.close(write)
    assert (ended.returncode, ended.stderr) == (128 + signal.SIGPIPE, "")


def test_a_shell_can_complete_it() -> None:
    """Completion knows the commands, and loads no Airflow for it."""
    ended = run(
        "-m",
        "airflow_durable",
        _AIRFLOW_DURABLE_COMPLETE="complete_bash",
        COMP_WORDS="airflow-durable do",
        COMP_CWORD="1",
    )
    assert ended.stdout.split() == ["doctor"]


@pytest.mark.parametrize("arguments", [("--help",), ("audit", "--help"), ("--version",)])
def test_the_help_loads_no_airflow(arguments: tuple[str, ...]) -> None:
    """It is fast, and touches no configuration."""
    code = (
        "import sys\n"
        "from airflow_durable.cli import app\n"
        f"sys.argv = ['airflow-durable', *{arguments!r}]\n"
        "try:\n    app()\nexcept SystemExit:\n    print('loaded', 'airflow' in sys.modules)\n"
    )
    assert run("-c", code).stdout.endswith("loaded False\n")


def test_options_with_a_metavar_say_their_name() -> None:
    """Typer 0.27, which is in the constraints of Airflow 3.3.2, takes the metavar for the name of any other."""
    found = [
        (command.name, name, (info.default, *(info.param_decls or ())))
        for command in cli.app.registered_commands
        if command.callback
        for name, hint in get_type_hints(command.callback, include_extras=True).items()
        for info in getattr(hint, "__metadata__", ())
        if isinstance(info, OptionInfo) and info.metavar
    ]
    assert {"url", "many", "map_index"} <= {name for _, name, _ in found}
    # Within Annotated the first name is where the default would be.
    assert [one for one in found if not any(str(text).startswith("--") for text in one[2])] == []
