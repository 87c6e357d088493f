"""The wheel: what is in it, and that it installs beside Airflow and is found there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from email.parser import Parser
from importlib.metadata import version
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(900)

ROOT = Path(__file__).parents[2]
CONSTRAINTS = ROOT / "constraints" / f"airflow-{version('apache-airflow')}.txt"


def run(*arguments: object, **environment: str) -> str:
    """Run a command; return what it printed."""
    done = subprocess.run(
        [str(argument) for argument in arguments],
        env={**os.environ, "PYTHONWARNINGS": "ignore", **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{arguments}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def uv() -> str:
    """Return uv: the machine's own, else that of the environment, as in the Makefile."""
    return shutil.which("uv") or str(Path(sys.executable).parent / "uv")


@pytest.fixture(scope="module")
def wheel(uv: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the wheel that was built."""
    folder = tmp_path_factory.mktemp("wheel")
    run(uv, "build", "--quiet", "--wheel", "--python", sys.executable, "--out-dir", folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(uv: str, wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the scripts of a fresh environment with the wheel in it, and nothing that it does not ask for."""
    environment = tmp_path_factory.mktemp("installed") / "env"
    run(uv, "venv", "--quiet", "--python", sys.executable, environment)
    run(uv, "pip", "install", "--quiet", "--python", environment / "bin/python", "--constraint", CONSTRAINTS, wheel)
    return environment / "bin"


def test_what_is_in_it(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (metadata_name,) = [name for name in names if name.endswith("/METADATA")]
        metadata = Parser().parsestr(archive.read(metadata_name).decode())
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


def test_airflow_finds_it(installed: Path, tmp_path: Path) -> None:
    home = {"AIRFLOW_HOME": str(tmp_path)}
    assert "airflow-durable" in run(installed / "airflow", "providers", "list", "--output", "plain", **home)
    config = run(installed / "airflow", "config", "list", "--section", "durable", "--include-descriptions", **home)
    assert "[durable]" in config
    assert "default_durable = " in config
    assert "after a crash the retry finds the child run that was started" in " ".join(config.replace("#", "").split())


def test_its_option_has_its_default(installed: Path, tmp_path: Path) -> None:
    value = run(installed / "airflow", "config", "get-value", "durable", "default_durable", AIRFLOW_HOME=str(tmp_path))
    assert value.split()[-1] == "False"


def test_its_own_command_runs_with_what_airflow_brings(installed: Path, tmp_path: Path) -> None:
    assert "demo" in run(installed / "airflow-durable", "--help", AIRFLOW_HOME=str(tmp_path))
