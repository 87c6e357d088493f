"""What the audit prints, and how the command ends."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from airflow_durable import cli
from airflow_durable.audit.model import Sureness
from airflow_durable.audit.report import build_json, build_tsv, costs, hours
from airflow_durable.audit.search import audit
from airflow_durable.audit.source import SourceError
from airflow_durable.audit.summary import build_lines
from airflow_durable.cli import options as cli_options
from airflow_durable.metadata.model import TaskKey
from airflow_durable.metadata.trigger_tasks import TriggerTask
from airflow_durable.switch.verdict import OWN_MODULE, STOCK_MODULE

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


def render(report: Report, *, is_detailed: bool = True) -> str:
    return "\n".join(build_lines(report, is_detailed=is_detailed))


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


def test_the_details_tell_all(report: Report) -> None:
    """Names are shown as they are, whole: none is taken for markup, cut off or wrapped."""
    text = render(report)
    for words in (
        "[bold]dear",
        "run first-2",
        "certain",
        "3 duplicates (3 certain)",
        "3.50 hours",
        "no second run: 1.",
    ):
        assert words in text
    assert "1 retried parent whose child Dag is not known" in text


def test_without_a_finding_there_is_no_table() -> None:
    text = render(audit(Deployment(), now=at(0)), is_detailed=False)
    assert text == "No duplicates.\nLooked at 0 retried parents of 0 tasks that trigger Dag runs."


def test_what_was_dismissed_is_told() -> None:
    deployment = Deployment()
    deployment.parent("parent", tried(1, 0, 100, "success"), tried(2, 110, 900, max_tries=4), claimed="second")
    deployment.run("first", 1)
    deployment.run("stray", 200)
    deployment.run("second", 111)
    text = " ".join(render(audit(deployment, now=at(0))).split())
    assert "tries that had succeeded and were cleared, so the work was wanted twice: 1." in text
    assert "No duplicates: unclaimed runs that no retried parent can have started: 1." in text


def lose(deployment: Deployment, name: str, module: str, *, tags: tuple[str, ...] = ()) -> None:
    """Add a task with one duplicate, of an operator of this module."""
    deployment.parent(name, tried(1, 0, 100), tried(2, 110, 900, "success"), claimed="2", child_dag_id=f"child-{name}")
    deployment.run("1", 2, end=50, dag_id=f"child-{name}")
    deployment.run("2", 112, dag_id=f"child-{name}")
    key = TaskKey(name, "trigger")
    deployment.described[key] = TriggerTask(key, "TriggerDagRunOperator", module, frozenset(tags))


def test_what_the_switch_covers_is_the_last_word() -> None:
    deployment = Deployment()
    lose(deployment, "stock", STOCK_MODULE)
    lose(deployment, "more_stock", STOCK_MODULE)
    lose(deployment, "opted_out", STOCK_MODULE, tags=("not-durable",))
    lose(deployment, "subclass", "our.operators")
    lose(deployment, "ours", OWN_MODULE)
    lose(deployment, "gone", STOCK_MODULE)
    del deployment.described[TaskKey("gone", "trigger")]
    report = audit(deployment, now=at(HOUR))
    text = " ".join(render(report, is_detailed=False).split())
    assert (
        "These 6 tasks made 6 duplicates; `[durable] stock_operators = durable` covers 2 of them, which made 2, without"
        in text
    )
    for words in (
        "subclass.trigger: subclasses of the stock operator",
        "opted_out.trigger: their Dags have the tag not-durable",
        "ours.trigger: already airflow_durable's operator",
        "gone.trigger: no longer in the latest version",
    ):
        assert words in text
    built = build_json(report, source="database", airflow_version="3", filters={})
    assert {one["dag_id"]: one["switch"] for one in built["tasks"]}["stock"] == "stock"


def test_the_summary_fits_one_screen() -> None:
    """However many tasks there are; with --details all of them are shown, and nothing is cut off."""
    deployment = Deployment()
    for number in range(40):
        lose(deployment, f"a_dag_with_a_name_that_is_longer_than_any_terminal_{number:03d}" * 2, STOCK_MODULE)
    report = audit(deployment, now=at(HOUR))
    lines = render(report, is_detailed=False).splitlines()
    assert len(lines) <= 24
    assert "... and 30 tasks more with 30 duplicates: --details shows all." in lines
    assert sum("a_dag_with_a_name" in line for line in render(report).splitlines()) == 120


def test_what_is_not_sure_enough_is_left_out(report: Report) -> None:
    unsure = replace(report.findings[0], sureness=Sureness.LIKELY)
    mixed = replace(report, findings=(*report.findings[1:], unsure))
    assert [one.sureness for one in mixed.at_least(Sureness.CERTAIN).findings] == [Sureness.CERTAIN] * 2
    assert mixed.at_least(Sureness.LIKELY).findings == mixed.findings
    assert "Left out, as not sure enough: 1." in render(mixed.at_least(Sureness.CERTAIN))


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
                "switch": "str",
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

    monkeypatch.setattr(cli_options, "open_source", open_fake)
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
        (["--fail-on-findings", "--min-sureness", "certain"], 1),
        (["--min-sureness", "sure"], 2),
        (["--dag", "cheep"], 2),
    ],
)
def test_how_the_command_ends(runner: CliRunner, options: list[str], code: int) -> None:
    assert runner.invoke(cli.app, ["audit", *options]).exit_code == code


def test_the_command_prints_each_form(runner: CliRunner) -> None:
    printed = json.loads(runner.invoke(cli.app, ["audit", "--json", "--since", "2026-01-01T13:00:00+01:00"]).stdout)
    assert printed["filters"] == {"dags": [], "since": "2026-01-01T12:00:00+00:00", "min_sureness": "possible"}
    assert printed["totals"]["duplicates"] == 3
    assert runner.invoke(cli.app, ["audit", "--tsv"]).stdout.startswith("sureness\tparent_dag_id")
    assert runner.invoke(cli.app, ["audit"]).stdout.startswith("3 duplicates (3 certain) of 2 tasks")


def test_a_misspelt_dag_is_an_error_that_names_close_ones(runner: CliRunner) -> None:
    """And not "0 duplicates"."""
    ended = runner.invoke(cli.app, ["audit", "--dag", "Cheep"])
    assert (ended.exit_code, ended.stdout) == (2, "")
    assert "Did you mean 'cheap'?" in " ".join(ended.output.split())


def test_the_deployment_that_is_read_is_named(runner: CliRunner) -> None:
    """Apart from the report, which may be piped."""
    ended = runner.invoke(cli.app, ["audit", "--json"])
    assert "Reading made up (Airflow 3)." in ended.stderr
    assert json.loads(ended.stdout)


def test_without_a_token_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message tells where one comes from."""
    monkeypatch.delenv("AIRFLOW_DURABLE_TOKEN", raising=False)
    ended = CliRunner().invoke(cli.app, ["audit", "--url", "http://127.0.0.1:9"])
    assert ended.exit_code == 3
    assert "/auth/token" in ended.output.replace("\n", "")
