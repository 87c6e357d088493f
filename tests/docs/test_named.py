"""What the pages name is there: options, parameters, commands, words of Airflow's UI, figures of other pages."""

from __future__ import annotations

import functools
import inspect
import json
import re
from typing import TYPE_CHECKING, Any

import airflow
import pytest
import typer
from airflow.configuration import retrieve_configuration_description
from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunLink

from airflow_durable import cli
from airflow_durable.get_provider_info import get_provider_info
from airflow_durable.operators.signature import parameters
from airflow_durable.server import plugin

from .blocks import DOCS, ROOT, blocks, pages

if TYPE_CHECKING:
    from pathlib import Path


def _read(page: str) -> str:
    return (DOCS / page).read_text(encoding="utf-8")


@functools.cache
def _known_options() -> dict[str, Any]:
    return dict(retrieve_configuration_description(include_providers=True))


def _own_options() -> dict[str, Any]:
    return dict(get_provider_info()["config"]["durable"]["options"])


def test_every_option_has_its_section() -> None:
    """Each option of `[durable]` has a heading, and under it what its metadata says; no other has."""
    section = _read("configuration.md").partition("\n## `[durable]`\n")[2].partition("\n## ")[0]
    headings = re.findall(r"^### `(\w+)`$", section, re.MULTILINE)
    shown = re.findall(r"^```\{config-option\} (\w+)$", section, re.MULTILINE)
    missing = _own_options().keys() - set(headings)
    assert not missing, f"docs/configuration.md has no section for {sorted(missing)}"
    assert headings == shown
    assert set(headings) == _own_options().keys()


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_options_exist(page: Path) -> None:
    """`[section] option`, on any page, is an option of Airflow, of a provider or of this package."""
    known = _known_options()
    for section, option in re.findall(r"`\[([a-z_]+)\] ([a-z_]+)`", page.read_text(encoding="utf-8")):
        assert section in known, f"there is no section [{section}]"
        assert option in known[section]["options"], f"there is no option [{section}] {option}"


def test_defaults_of_airflow() -> None:
    """The defaults that the configuration page gives for Airflow's options are Airflow's."""
    known = _known_options()
    rows = re.findall(r"^\| `\[([a-z_]+)\] ([a-z_]+)` \| (.*?) \|", _read("configuration.md"), re.MULTILINE)
    assert len(rows) > 5
    for section, option, shown in rows:
        default = str(known[section]["options"][option]["default"] or "empty")
        assert shown.strip("`").removesuffix(" s").lower() == default.lower(), f"[{section}] {option}"


def _own_parameters() -> set[str]:
    return set(inspect.signature(parameters).parameters) - {"self", "kwargs"}


def test_every_parameter_is_described_and_shown() -> None:
    """Each parameter of the operator has one row on its page, and is used in one of the examples there."""
    text = _read("operator.md")
    rows = re.findall(r"^\| \*?`(\w+)`\*? \|", text, re.MULTILINE)
    described = [name for name in rows if name in _own_parameters()]
    assert sorted(described) == sorted(set(described)), "a parameter is described twice"
    missing = _own_parameters() - set(described)
    assert not missing, f"docs/operator.md has no row for {sorted(missing)}"
    examples = "".join(block.text for block in blocks() if block.page.name == "operator.md")
    unused = {name for name in _own_parameters() if not re.search(rf"\b{name}=|expand\({name}=", examples)}
    assert not unused, f"no example in docs/operator.md uses {sorted(unused)}"


def test_templates_are_marked() -> None:
    """The operator's page has in italics what Airflow renders, and nothing else."""
    from airflow_durable import TriggerDagRunOperator

    italic = set(re.findall(r"^\| \*`(\w+)`\* \|", _read("operator.md"), re.MULTILINE))
    # It is a template only where Airflow passes it on to the run.
    sometimes = {"partition_key"}
    assert italic - sometimes == set(TriggerDagRunOperator.template_fields) - sometimes


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_commands_exist(page: Path) -> None:
    """`airflow-durable …`, in a sentence, is one of the commands, with options that it has."""
    root = typer.main.get_command(cli.app)
    commands: dict[str, Any] = getattr(root, "commands", {})
    of_all = {option for parameter in root.params for option in parameter.opts} | {"--help", "-h"}
    for called in re.findall(r"`airflow-durable ([^`\n]+)`", page.read_text(encoding="utf-8")):
        name, *words = called.split()
        if name in of_all:
            continue
        assert name in commands, f"there is no command airflow-durable {name}"
        options = {option for parameter in commands[name].params for option in parameter.opts} | {"--help"}
        asked = {word.partition("=")[0] for word in words if word.startswith("--")}
        assert asked <= options, f"airflow-durable {name} has no {sorted(asked - options)}"


def _words_of_airflow() -> set[str]:
    """Return every text of Airflow's UI in English."""
    words: set[str] = set()

    def add(item: Any) -> None:  # noqa: ANN401 - what JSON may hold
        for value in item.values():
            if isinstance(value, dict):
                add(value)
            else:
                words.add(value)

    (folder,) = [folder for root in airflow.__path__ for folder in _locales(root)]
    for file in folder.glob("*.json"):
        add(json.loads(file.read_text(encoding="utf-8")))
    return words | {TriggerDagRunLink().name}


def _locales(root: str) -> list[Path]:
    from pathlib import Path

    folder = Path(root) / "ui" / "dist" / "i18n" / "locales" / "en"
    return [folder] if folder.is_dir() else []


@pytest.mark.parametrize(
    ("page", "word"),
    [
        ("record.md", "Storage"),
        ("record.md", "Task State Store"),
        ("people.md", "Storage"),
        ("people.md", "Clear All Task State Store"),
        ("limits.md", "Rendered Templates"),
        ("quickstart.md", "Browse"),
        ("howto/alert.md", "Audit Log"),
        ("operator.md", "Triggered DAG"),
    ],
)
def test_words_of_airflow(page: str, word: str) -> None:
    """A tab, menu or button that a page names is called so in Airflow's UI (as tested: the newest supported one)."""
    assert f"*{word}*" in _read(page)
    assert word in _words_of_airflow()


@pytest.mark.parametrize("page", ["quickstart.md", "install.md", "waits-page.md"])
def test_our_page_is_called_so(page: str) -> None:
    """Our own page has the name that the plugin gives it, in the menu where the plugin puts it."""
    assert plugin._NAVIGATION["category"] == "browse"
    assert re.search(rf"\*{plugin._NAVIGATION['name']}\*", _read(page))


def test_duplicates_avoided_means_one_thing() -> None:
    """The words are defined on the waits page, and nothing else (the dashboard counts more) is called so."""
    assert "| Duplicates avoided |" in _read("waits-page.md")
    others = [page for page in pages() if page.name != "waits-page.md"]
    named = [page.name for page in others if "uplicates avoided" in page.read_text(encoding="utf-8")]
    assert named == []
    assert "uplicates avoided" not in _read("dashboards/airflow-durable.json")


def test_readme_has_the_quickstarts_crash() -> None:
    """The Dag file that crashes is the same on both pages."""
    found = [block.text for block in blocks() if block.language == "python" and "def crash_once" in block.text]
    assert len(found) == 2
    assert found[0] == found[1]


def test_readme_quotes_the_chaos_report() -> None:
    """The README's figures of the chaos report are those of the report, the bad ones among them."""
    report = " ".join(_read("chaos-report.md").split())
    start = re.search(
        r"\*\*(\d+) faults .*?(\d+) durable parents: (\d+) duplicate child runs, (\d+) wrong ends .*?: (\d+) "
        r"duplicates, (\d+) wrong ends",
        report,
    )
    resets = re.search(r"\| resets of a healthy child run \| (\d+) \|", report)
    assert start is not None
    assert resets is not None
    faults, parents, duplicates, wrong, stock_duplicates, stock_wrong = start.groups()
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    assert f"{faults} faults hit an Airflow with {parents} durable parents" in readme
    assert f"{duplicates} duplicate child runs and {wrong} wrong ends" in readme
    assert re.search(rf"\b{resets.group(1)} healthy child runs? w(as|ere) reset", readme)
    assert f"{stock_duplicates} duplicates and {stock_wrong} wrong ends" in readme


_STUMBLES = (
    "for ever",
    "whoever",
    "laid into",
    "comes of it",
    "of so many",
    "nothing is slept",
    "tells the same",
    "goes on waiting",
    "can be mended",
)
"""What made a native reader stop; "forever", "anyone" and the like do not."""


@pytest.mark.parametrize("page", [*pages(), ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md"], ids=lambda one: one.name)
def test_words_that_stop_a_reader(page: Path) -> None:
    """They are not on any page."""
    text = " ".join(page.read_text(encoding="utf-8").split())
    assert [words for words in _STUMBLES if re.search(rf"\b{words}\b", text)] == []
