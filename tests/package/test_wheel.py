"""The wheel: what is in it, and that it installs beside Airflow and is found there."""

from __future__ import annotations

import json
import re
import sys
import zipfile
from typing import TYPE_CHECKING

import pytest
from packaging.version import Version

from .conftest import ROOT, run

if TYPE_CHECKING:
    from email.message import Message
    from pathlib import Path

pytestmark = pytest.mark.timeout(900)

OWN = sorted((ROOT / "constraints").glob("airflow-*-own.txt"))
PROVIDER = "apache-airflow-providers-standard"


def urls_of(metadata: Message) -> dict[str, str]:
    """Return the project's links by their names."""
    return dict(url.split(", ", 1) for url in metadata.get_all("Project-URL") or [])


def test_what_is_in_it(wheel: Path, metadata: Message) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (entry_points,) = [archive.read(name).decode() for name in names if name.endswith("/entry_points.txt")]
    sources = {path.relative_to(ROOT / "src").as_posix() for path in (ROOT / "src").rglob("*.py")}
    assert sources <= set(names)
    assert "airflow_durable/py.typed" in names
    assert not any(name.startswith(("tests", "bench", "docs")) for name in names)
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.10"
    required = sorted(requirement.split(">")[0] for requirement in metadata.get_all("Requires-Dist") or [])
    assert required == ["apache-airflow", "apache-airflow-providers-standard"]
    assert "provider_info = airflow_durable.get_provider_info:get_provider_info" in entry_points
    assert "airflow-durable = airflow_durable.cli:app" in entry_points


def test_an_index_shows_it(built: Path) -> None:
    assert run(sys.executable, "-m", "twine", "check", "--strict", *built.glob("*.[wt]*")).count("PASSED") == 2


def test_its_page_has_no_link_that_holds_in_the_repository_only(metadata: Message) -> None:
    """Each link leads somewhere from an index's page, and to a file that is there."""
    source = urls_of(metadata)["Source"]
    targets = re.findall(r"\]\(([^)]+)\)", str(metadata.get_payload()))
    assert len(targets) > 10
    for target in targets:
        assert target.startswith(("https://", "#")), target
        if target.startswith((f"{source}/blob/HEAD/", f"{source}/raw/HEAD/")):
            assert (ROOT / target.split("/HEAD/")[1].split("#")[0]).is_file(), target
    assert f"{source}/raw/HEAD/docs/images/waits-timeline-light.png" in targets


def test_it_says_where_the_project_lives(metadata: Message) -> None:
    urls = urls_of(metadata)
    assert urls.keys() == {"Homepage", "Documentation", "Source", "Changelog", "Issues"}
    assert all("airflow-durable" in url for url in urls.values())
    assert metadata["Maintainer"]
    assert metadata["Description-Content-Type"] == "text/markdown"


def test_only_pyproject_knows_where_the_project_lives(metadata: Message) -> None:
    """Another file that repeats the address would keep the placeholder when there is an address."""
    homes = {"/".join(url.split("/")[:4]) for url in urls_of(metadata).values()}
    folders = (ROOT / name for name in ("src", "docs", "tests", ".github"))
    files = [*(path for folder in folders for path in folder.rglob("*")), *ROOT.glob("*")]
    texts = [path for path in files if path.suffix in {".md", ".py", ".toml", ".yml", ".html", ".in", ".svg"}]
    assert len(texts) > 100
    knowing = [path.name for path in texts if any(home in path.read_text(encoding="utf-8") for home in homes)]
    assert knowing == ["pyproject.toml"]


def test_airflow_shows_our_documentation(installed: Path, metadata: Message, tmp_path: Path) -> None:
    home = {"AIRFLOW_HOME": str(tmp_path)}
    shown = run(installed / "airflow", "providers", "get", "airflow-durable", "--full", "--output", "json", **home)
    (provider,) = json.loads(shown[shown.index("[{") :])
    documentation = urls_of(metadata)["Documentation"]
    assert provider["documentation-url"] == documentation
    assert documentation in str(provider["integrations"])


@pytest.mark.parametrize("pins", OWN, ids=[path.stem for path in OWN])
def test_it_goes_with_an_airflows_own_constraints(uv: str, wheel: Path, pins: Path, tmp_path: Path) -> None:
    """Who installs as Airflow says has the standard provider of that day."""
    resolved = tmp_path / "resolved.txt"
    asked = tmp_path / "asked.in"
    asked.write_text(f"airflow-durable @ {wheel.as_uri()}\n")
    run(
        *(uv, "pip", "compile", "--quiet", "--no-header", "--no-annotate", "--python-version", "3.10"),
        *("--constraint", pins, "--output-file", resolved, asked),
    )
    (pinned,) = [line for line in pins.read_text().splitlines() if line.startswith(PROVIDER)]
    assert pinned in resolved.read_text().splitlines()


def test_the_oldest_provider_that_it_takes_is_the_oldest_that_is_tested(metadata: Message) -> None:
    (required,) = [line for line in metadata.get_all("Requires-Dist") or [] if line.startswith(PROVIDER)]
    pins = [line for path in OWN for line in path.read_text().splitlines()]
    tested = [Version(pin.removeprefix(f"{PROVIDER}==")) for pin in pins if pin.startswith(f"{PROVIDER}==")]
    assert required == f"{PROVIDER}>={min(tested)}"


@pytest.mark.parametrize("pins", sorted((ROOT / "constraints").glob("*.txt")), ids=lambda path: path.stem)
def test_pins_are_names_and_versions_alone(pins: Path) -> None:
    for line in pins.read_text().splitlines():
        assert re.fullmatch(r"[a-z0-9.\[\]-]+==[A-Za-z0-9.!+]+( ; [^/:]+)?", line), line


def test_airflow_finds_it(installed: Path, tmp_path: Path) -> None:
    home = {"AIRFLOW_HOME": str(tmp_path)}
    assert "airflow-durable" in run(installed / "airflow", "providers", "list", "--output", "plain", **home)
    config = run(installed / "airflow", "config", "list", "--section", "durable", "--include-descriptions", **home)
    assert "[durable]" in config
    assert "default_durable = " in config
    assert "the retry after a crash finds the child run that was started" in " ".join(config.replace("#", "").split())


def test_its_option_has_its_default(installed: Path, tmp_path: Path) -> None:
    value = run(installed / "airflow", "config", "get-value", "durable", "default_durable", AIRFLOW_HOME=str(tmp_path))
    assert value.split()[-1] == "False"


def test_its_own_command_runs_with_what_airflow_brings(installed: Path, tmp_path: Path) -> None:
    assert "demo" in run(installed / "airflow-durable", "--help", AIRFLOW_HOME=str(tmp_path))
