"""What the audit prints, and how the command ends."""

from __future__ import annotations

import contextlib
import io
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from airflow_durable import cli
from airflow_durable.audit.report import build_json, build_text, build_tsv, costs, hours
from airflow_durable.audit.search import audit
from airflow_durable.audit.source import SourceError

from .audit_fakes import Deployment, at, tried

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_durable.audit.model import Report

HOUR = 3600


@pytest.fixture
def deployment() -> Deployment:
    """Return one with a duplicate of two hours, one of half an hour, one that runs still, and one that never ran."""
    made = Deployment()
    for number, end in enumerate((2 * HOUR + 2, HOUR / 2 + 2, None)):
        attempts = (tried(1, 0, 100), tried(2, 110, 9 * HOUR, "success"))
        name = "[bold]dear" if number == 0 else "cheap"
        made.parent(name, *attempts, map_index=number, claimed=f"second-{number}", child_dag_id=f"child-{number}")
        made.run(f"first-{number}", 2, end=end, state="success" if end else "running", dag_id=f"child-{number}")
        made.run(f"second-{number}", 112, end=8 * HOUR, dag_id=f"child-{number}")
    made.parent("durable", tried(1, 0, 1), tried(2, 2, 3), recorded=frozenset())
    made.parent("unresolved", tried(1, 0, 1), tried(2, 2, 3), child_dag_id=None)
    return made


@pytest.fixture
def report(deployment: Deployment) -> Report:
    return audit(deployment, now=at(HOUR + 2))


def render(report: Report) -> str:
    printed = io.StringIO()
    Console(width=200, file=printed).print(build_text(report))
    return printed.getvalue()


def test_hours_are_those_of_the_lost_runs(report: Report) -> None:
    """One that has not ended counts until the audit was made; one that has not started costs nothing."""
    assert sorted(hours(finding, report.made_at) for finding in report.findings) == [0.5, 1.0, 2.0]
    (finding, *_) = report.findings
    never = replace(finding.run, run=replace(finding.run.run, start_date=None))
    assert hours(replace(finding, run=never), report.made_at) == 0


def test_the_dearest_task_is_first(report: Report) -> None:
    assert [(cost.task.dag_id, cost.hours, cost.counts.total()) for cost in costs(report)] == [
        ("[bold]dear", 2.0, 1),
        ("cheap", 1.5, 2),
    ]


def test_the_tables_tell_all(report: Report) -> None:
    """Names are shown as they are: none is taken for markup."""
    text = render(report)
    for words in ("[bold]dear", "first-2", "certain", "because", "3 duplicates, 3.50 hours", "no second run: 1."):
        assert words in text
    assert "rendered fields are gone): 1." in text


def test_no_finding_is_told_in_a_sentence() -> None:
    text = render(audit(Deployment(), now=at(0)))
    assert text.strip() == "0 duplicates, 0.00 hours. Looked at 0 retried parents of 0 tasks that trigger Dag runs."


def test_what_was_dismissed_is_told() -> None:
    deployment = Deployment()
    deployment.parent("parent", tried(1, 0, 100, "success"), tried(2, 110, 900, max_tries=4), claimed="second")
    deployment.run("first", 1)
    deployment.run("stray", 200)
    deployment.run("second", 111)
    text = render(audit(deployment, now=at(0)))
    assert "attempts that had succeeded and were cleared, so the work was wanted twice: 1." in text
    assert "No duplicates, unclaimed runs that no retried parent can have started: 1." in text


def test_the_json_keeps_its_schema(report: Report) -> None:
    """Its keys are a contract: a change needs another version."""
    built = build_json(report, source="database", airflow_version="3.3.2", filters={"dags": [], "since": None})
    assert json.loads(json.dumps(built)) == built
    assert built["version"] == 1
    assert shape(built) == {
        "version": "int",
        "made_at": "str",
        "source": {"kind": "str", "airflow_version": "str"},
        "filters": {"dags": [], "since": "NoneType"},
        "totals": {"duplicates": "int", "hours": "float", "certain": "int", "likely": "int", "possible": "int"},
        "looked_at": {"tasks": "int", "retried_parents": "int", "durable_parents": "int", "unresolved_parents": "int"},
        "no_duplicates": {
            "rerun_after_success": "int",
            "retry_after_child_failed": "int",
            "no_second_run": "int",
            "unexplained": "int",
        },
        "tasks": [
            {
                "dag_id": "str",
                "task_id": "str",
                "duplicates": "int",
                "hours": "float",
                "certain": "int",
                "likely": "int",
                "possible": "int",
            }
        ],
        "findings": [
            {
                "sureness": "str",
                "parent": {"dag_id": "str", "run_id": "str", "task_id": "str", "map_index": "int"},
                "try": {"try_number": "int", "state": "str", "started_at": "str", "ended_at": "str"},
                "duplicate": {
                    "dag_id": "str",
                    "run_id": "str",
                    "state": "str",
                    "began_at": "str",
                    "started_at": "str",
                    "ended_at": "str",
                    "hours": "float",
                },
                "later": {"dag_id": "str", "run_id": "str", "try_number": "int"},
                "could_also_be": [],
                "evidence": [{"rule": "str", "says": "str"}],
            }
        ],
    }


def shape(value: Any) -> Any:  # noqa: ANN401 - JSON
    """Return the types of a JSON value, of a list those of its first item."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    if isinstance(value, list):
        return [shape(item) for item in value[:1]]
    return type(value).__name__


def test_the_tsv_has_a_line_a_finding(deployment: Deployment) -> None:
    """Whatever a name holds."""
    deployment.parent("a\tb\nc", tried(1, 0, 100), tried(2, 110, 900), claimed="s", child_dag_id="d")
    deployment.run("f", 1, dag_id="d")
    deployment.run("s", 111, dag_id="d")
    lines = list(build_tsv(audit(deployment, now=at(0))))
    assert len(lines) == 5
    assert {line.count("\t") for line in lines} == {11}
    assert not any("\n" in line for line in lines)
    assert "a b c" in "".join(lines)


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch, deployment: Deployment) -> CliRunner:
    """Return a runner of the command on the deployment that is made up."""

    @contextlib.contextmanager
    def open_fake(url: str | None, requests_per_second: float) -> Iterator[Deployment]:
        if url == "http://away":
            message = "it is away"
            raise SourceError(message)
        print("what Airflow logs to the standard output when it is imported (3.2)")  # noqa: T201 - it does so
        yield deployment

    monkeypatch.setattr(cli, "_open_source", open_fake)
    return CliRunner()


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ([], 0),
        (["--fail-on-findings"], 1),
        (["--fail-on-findings", "--dag", "durable"], 0),
        (["--json", "--tsv"], 2),
        (["--since", "yesterday"], 2),
        (["--url", "http://away"], 3),
    ],
)
def test_how_the_command_ends(runner: CliRunner, options: list[str], code: int) -> None:
    assert runner.invoke(cli.app, ["audit", *options]).exit_code == code


def test_the_command_prints_each_form(runner: CliRunner) -> None:
    printed = json.loads(runner.invoke(cli.app, ["audit", "--json", "--since", "2026-01-01T13:00:00+01:00"]).stdout)
    assert printed["filters"] == {"dags": [], "since": "2026-01-01T12:00:00+00:00"}
    assert printed["totals"]["duplicates"] == 3
    assert runner.invoke(cli.app, ["audit", "--tsv"]).stdout.startswith("sureness\tparent_dag_id")
    assert "Where durable=True would pay" in runner.invoke(cli.app, ["audit"]).stdout


def test_without_a_token_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message tells where one comes from."""
    monkeypatch.delenv("AIRFLOW_DURABLE_TOKEN", raising=False)
    ended = CliRunner().invoke(cli.app, ["audit", "--url", "http://127.0.0.1:9"])
    assert ended.exit_code == 3
    assert "/auth/token" in ended.output.replace("\n", "")
