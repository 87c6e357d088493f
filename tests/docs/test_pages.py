"""What the pages say is what the code does."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from durable_docs import diagram, directives, messages, scenarios, stage, tables

from airflow_durable import stock
from airflow_durable.cli.frame import MEANINGS, ExitCode
from airflow_durable.core.model import Decision, OnClear
from airflow_durable.core.stored import KEY
from airflow_durable.metadata.tables import load_tables
from airflow_durable.task import observability
from bench import charts

from .blocks import DOCS, ROOT, pages
from .executors import COUNTERS, gauge_names

if TYPE_CHECKING:
    from collections.abc import Callable

_HEADING = re.compile(r"^#{2,4} (.*)$", re.MULTILINE)


def _read(page: str) -> str:
    return (DOCS / page).read_text(encoding="utf-8")


TABLES = (
    tables.record_table,
    tables.retry_table,
    tables.failure_table,
    tables.clear_table,
    tables.clear_fixed_table,
)


def _decisions(*made: Callable[[], tables.Table]) -> set[Decision | None]:
    return {decision for table in made for answer in table().answers for decision in answer.decisions}


def test_decision_tables_cover_every_decision() -> None:
    """Each decision is in a table, is said in words, and has its own section."""
    assert _decisions(*TABLES) == {*Decision, None}
    assert set(tables.PHRASES) == set(Decision)
    headings = _HEADING.findall(_read("contract.md"))
    assert [heading for heading in headings if heading.startswith("`")] == [f"`{item.value}`" for item in Decision]
    for name in ("record", "retry", "failure", "clear", "clear-fixed"):
        assert f"```{{decision-table}} {name}\n" in _read("contract.md")


def test_decision_tables_follow_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another answer of the code is another table, and one that depends on what no row says is an error."""
    monkeypatch.setattr(tables, "decide", lambda *_, **__: Decision.REFUSE)
    assert _decisions(*TABLES[1:]) == {Decision.REFUSE}
    monkeypatch.setattr(
        tables,
        "decide",
        lambda record, *_, **__: Decision.RESUBMIT if record.reset is None else Decision.REFUSE,
    )
    for made in (tables.retry_table, tables.clear_fixed_table):
        with pytest.raises(tables.TableError):
            made()


def test_every_choice_on_clear_is_shown() -> None:
    """The page about what people do names each value of `on_clear` and shows what it does."""
    text = _read("people.md")
    for choice in OnClear:
        assert f'`"{choice.value}"`' in text
        assert f"```{{sequence}} clear-{choice.value}\n" in text


@pytest.mark.parametrize("name", scenarios.SCENARIOS)
def test_scenario(name: str) -> None:
    """A crash point ends with as many child runs as it says, and the parent as it should; some page shows it."""
    scenario = scenarios.SCENARIOS[name]
    world = scenarios.perform(scenario)
    assert len(world.runs) == scenario.runs
    last = [event for event in world.events if isinstance(event, stage.Note)][-1]
    assert last.kind == ("failure" if name in {"foreign", "used-up"} else "success")
    assert any(f"```{{sequence}} {name}\n" in page.read_text(encoding="utf-8") for page in pages())


@pytest.mark.parametrize("name", scenarios.SCENARIOS)
def test_diagram_holds_its_notes(name: str) -> None:
    """No note leaves the picture, and no label leaves its place between two lifelines."""
    drawn = diagram.draw(name, scenarios.events_of(name))
    notes = re.findall(r'<rect x="([-0-9.]+)" y="[0-9.]+" width="([0-9.]+)"', drawn)
    assert notes
    for left, width in notes:
        assert 0 <= float(left) <= diagram.WIDTH - float(width)
    room = diagram._X[stage.Who.AIRFLOW] - diagram._X[stage.Who.WORKER]
    for event in scenarios.events_of(name):
        if isinstance(event, stage.Message):
            assert max(len(event.request), len(event.reply or "")) * diagram._CHARACTER_WIDTH < room


_ERROR_SECTION = re.compile(
    r"^\((?P<target>\w+error)\)=\n### (?P<heading>.+)\n\n```\{error-message\} (?P<name>\w+)\n", re.MULTILINE
)


def _error_sections() -> dict[str, tuple[str, str]]:
    """Return the target and the heading of each error's section, by the error's name."""
    found = _ERROR_SECTION.findall(_read("troubleshooting.md"))
    return {name: (target, heading) for target, heading, name in found}


@pytest.mark.parametrize("error", list(messages.classes()), ids=lambda error: error.__name__)
def test_troubleshooting_has_every_error(error: type[Exception]) -> None:
    """Its section has a link target with its name, shows its message, and is headed by the beginning of that."""
    sections = _error_sections()
    name = error.__name__
    assert name in sections, (
        f"docs/troubleshooting.md has no section for {name}: a line ({name.lower()})=, a heading that begins like its "
        f"message, and the directive error-message"
    )
    target, heading = sections[name]
    assert target == name.lower()
    pattern = r"[\s\S]*?".join(re.escape(part.strip()) for part in heading.split("…"))
    said = messages.message_of(error)
    assert re.match(pattern, said), f"{name} says {said!r}, which does not begin like {heading!r}"


def test_troubleshooting_has_no_error_of_the_past() -> None:
    """No section is about an error that is no more, and no two have the same heading."""
    sections = _error_sections()
    assert sections.keys() == {error.__name__ for error in messages.classes()}
    assert len(set(_HEADING.findall(_read("troubleshooting.md")))) == len(_HEADING.findall(_read("troubleshooting.md")))


_AIRFLOWS_MESSAGES = {
    "Server indicated the task shouldn't be running anymore": "sdk/execution_time/supervisor.py",
    "DagRunAlreadyExists": "exceptions.py",
    "Dag not found during start up": "sdk/execution_time/task_runner.py",
    "Trigger failed to load code": "jobs/triggerer_job_runner.py",
}
"""Those among the headings, and where they are."""


def test_headings_are_messages() -> None:
    """Each heading about the parsing of a Dag, the task's log and the triggerer's is a message of the code."""
    text = _read("troubleshooting.md")
    sections = ("When the Dag is parsed", "In the task's log", "In the triggerer's log")
    headings = [
        heading
        for section in sections
        for heading in _HEADING.findall(text.partition(f"\n## {section}\n")[2].partition("\n## ")[0])
    ]
    assert len(headings) > 15
    code = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "src" / "airflow_durable").rglob("*.py"))
    ours = re.sub(r'"\s*\n\s*f?"', "", code)
    ours = ours.replace("{_PROVIDER}", stock._PROVIDER)
    for heading in headings:
        if heading in _AIRFLOWS_MESSAGES:
            where = (_airflow() / _AIRFLOWS_MESSAGES[heading]).read_text(encoding="utf-8")
            assert heading in re.sub(r'"\s*\n\s*f?"', "", where)
            continue
        for part in heading.split("…"):
            assert part.strip() in ours, f"nothing in the code says {part.strip()!r}"


@pytest.mark.parametrize(
    ("page", "line", "source"),
    [
        ("quickstart.md", observability._MESSAGES[Decision.RECONNECT], None),
        ("metrics.md", observability._MESSAGES[Decision.RECONNECT], None),
        ("troubleshooting.md", "Trying again.", "task/observability.py"),
        (
            "troubleshooting.md",
            "find its child run again, until a person clears the task. Set retries.",
            "operators/trigger_dagrun.py",
        ),
        ("troubleshooting.md", "This Airflow has no task state store (3.3 has), so", "task/execution.py"),
        ("troubleshooting.md", "Dag runs cannot be looked up: ", "triggers/outcomes.py"),
        (
            "troubleshooting.md",
            "Trying again; this line is not repeated until that succeeds.",
            "triggers/outcomes.py",
        ),
        ("troubleshooting.md", " could not be counted: ", "triggers/outcomes.py"),
        ("troubleshooting.md", "The poller of the deferred waits has failed; so do the waits.", "triggers/poller.py"),
        ("troubleshooting.md", " must be True or False, not ", "operators/parameters.py"),
        ("metrics.md", observability._LOST_REPLY, None),
        (
            "troubleshooting.md",
            "did not raise its request: this provider version is not supported",
            "task/stock_request.py",
        ),
    ],
)
def test_shown_message(page: str, line: str, source: str | None) -> None:
    """A message that a page shows is one that the code says."""
    assert line in _read(page)
    if source:
        code = (ROOT / "src" / "airflow_durable" / source).read_text(encoding="utf-8")
        assert line in re.sub(r'"\s*\n\s*f?"', "", code)


def test_record_fields() -> None:
    """The table has each field of the golden record and what the journal adds, and no other."""
    golden = json.loads((ROOT / "tests" / "core" / "golden" / "record_v2_full.json").read_text(encoding="utf-8"))
    section = _read("record.md").partition("## Field by field")[2].partition("\n## ")[0].partition("\n(")[0]
    section, _, optional = section.partition("\n### ")
    others = set().union(
        *(
            json.loads((ROOT / "tests" / "core" / "golden" / f"record_v2_{name}.json").read_text(encoding="utf-8"))
            for name in ("childs_life", "adopted")
        )
    )
    assert set(re.findall(r"^\| `([a-z_]+)` \|", optional, re.MULTILINE)) == others - set(golden)
    rows = re.findall(r"^\| ((?:`[a-z_.]+`(?:, )?)+) \| \S", section, re.MULTILINE)
    shown = {name for row in rows for name in re.findall(r"`([a-z_.]+)`", row)}
    parts = {f"{part}.{name}" for part in ("child", "parent") for name in golden[part]}
    assert shown == (set(golden) - {"child", "parent"}) | parts | {"root"}


def test_metrics() -> None:
    """The page and the dashboard have the counters that the code raises, and no others."""
    raised = {
        name.removeprefix("resumable_job.")
        for name in (*observability._COUNTERS.values(), observability._ATTEMPT, observability._FRESH)
    }
    assert raised == COUNTERS
    page = _read("metrics.md")
    rows = re.findall(r"^\| `resumable_job\.([a-z_]+)` \|.*\| (.*) \|$", page, re.MULTILINE)
    assert {name for name, _ in rows} == COUNTERS
    for name, decisions in rows:
        shown = set(re.findall(r"\[`([a-z_]+)`\]", decisions))
        if name == "fresh_submit":
            assert shown == {"fresh_submit"}
        elif name != "reconnect_attempt":
            assert shown == {
                d.value for d, counter in observability._COUNTERS.items() if counter == f"resumable_job.{name}"
            }
    for attribute in ("resumable.decision", "resumable.external_id", "resumable.prior_status", KEY):
        assert attribute in page


def test_dashboard() -> None:
    """The dashboard is one that Grafana can load, asks for counters that exist, and uses variables that it defines."""
    dashboard = json.loads(_read("dashboards/airflow-durable.json"))
    variables = {variable["name"] for variable in dashboard["templating"]["list"]}
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    asked, gauges = set(), set()
    for panel in panels:
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
        for target in panel["targets"]:
            expression = target["expr"]
            assert expression.count("(") == expression.count(")")
            asked |= set(re.findall(r"airflow_resumable_job_([a-z_]+)\$total", expression))
            gauges |= set(re.findall(r"airflow_durable_[a-z_]+", expression))
            used = set(re.findall(r"\$\{?([a-z]+)", expression))
            assert used <= variables
    assert asked == COUNTERS
    assert gauges == gauge_names()


def testgauge_names() -> None:
    """The page of metrics lists the gauges that there are, and its alerts ask for no others."""
    page = _read("metrics.md")
    assert set(re.findall(r"^\| `(airflow_durable_[a-z_]+)`", page, re.MULTILINE)) == gauge_names()
    assert set(re.findall(r"airflow_durable_[a-z_]+", page)) == gauge_names()


def test_charts_are_of_the_table() -> None:
    """The benchmarks' charts are drawn from the page's own table (``python -m bench.charts docs/benchmarks.md``)."""
    drawn_names: set[str] = set()
    for page in (_read("benchmarks.md"), _read("benchmarks-many.md")):
        drawn = charts.draw_all(page)
        drawn_names |= drawn.keys()
        for name, svg in drawn.items():
            assert _read(f"{name}.svg") == svg, f"docs/{name}.svg is not of this table"
            assert charts.embed(name) in page
    assert drawn_names == {chart.name for chart in charts.CHARTS}
    assert (
        "26.3" in charts.draw_all("| 1 waits: look-ups a second, made | 26.3 (1 to 2) | 1 | 2 |")["benchmarks-look-ups"]
    )


def _airflow() -> Path:
    spec = importlib.util.find_spec("airflow")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def test_state_store_path() -> None:
    """The path by which a person deletes the record is one of Airflow's."""
    routes = _airflow() / "api_fastapi" / "core_api" / "routes" / "public" / "task_state_store.py"
    prefix = re.search(r'prefix="(/dags/.*?)"', routes.read_text(encoding="utf-8"))
    assert prefix is not None
    path = ".*".join(re.escape(part) for part in re.split(r"\{[a-z_]+\}", prefix.group(1)))
    assert re.search(f"/api/v2{path}/{KEY}", _read("people.md"))


def test_sources_exist() -> None:
    """A file of Airflow, or of this package, that a page names is there."""
    folders = (_airflow(), ROOT / "src" / "airflow_durable")
    for page in pages():
        for path in re.findall(
            r"`(?:airflow/)?((?:sdk|models|jobs|api_fastapi|triggers)/[\w/]+\.py)", page.read_text(encoding="utf-8")
        ):
            assert any((folder / path).is_file() for folder in folders), f"{page.name} names {path}"


def test_every_exit_code_is_on_the_page() -> None:
    """In the words of the help, and no other."""
    text = _read("command-line.md").replace("\\|", "|")
    table = re.findall(r"^\| (\d+) \| (.*) \|$", text, re.MULTILINE)
    assert table == [(str(code.value), MEANINGS[code]) for code in ExitCode]


def test_the_tables_to_grant_are_those_that_are_read() -> None:
    """For the Airflow that the page names."""
    (line,) = re.findall(r"^GRANT SELECT ON (.*) TO", _read("command-line.md"), re.MULTILINE)
    assert line.split(", ") == sorted(load_tables().names)


def test_every_command_and_every_check_is_on_its_page() -> None:
    """What `doctor` can find is in its table, and every command in that of the command line."""
    commands = [called.partition(" ")[2] for called, _ in directives.helps()]
    for name in filter(None, commands):
        assert re.search(rf"^\| \[`{name}`\]", _read("command-line.md"), re.MULTILINE)
    sources = (ROOT / "src/airflow_durable/doctor").glob("*.py")
    checks = {name for path in sources for name in re.findall(r'Severity\.\w+(?: if .*)?,\s+"(\w+)"', path.read_text())}
    assert len(checks) > 15
    for name in checks:
        assert f"`{name}`" in _read("doctor.md"), name


def test_what_a_message_begins_with_is_on_the_page() -> None:
    """The page lists the causes for which a database cannot be read."""
    source = (ROOT / "src/airflow_durable/metadata/failures.py").read_text()
    for words in ("No server", "Login refused", "No such database", "Permission denied", "Not migrated"):
        assert f'f"{words}: ' in source
        assert f"| `{words}` |" in _read("command-line.md")
