"""What the type checkers of those who write Dags make of the installed operator."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(900)

CALLS = Path(__file__).parent / "calls.py"
WRONG = {number for number, line in enumerate(CALLS.read_text().splitlines(), 1) if line.endswith("# wrong")}


def check(*arguments: object, cwd: Path) -> str:
    """Return what a type checker printed; it is expected to have found something."""
    done = subprocess.run(
        [sys.executable, "-m", *(str(argument) for argument in arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """Return the calls in a folder without our settings."""
    copy = tmp_path / CALLS.name
    copy.write_text(CALLS.read_text())
    return copy


def test_mypy_rejects_the_wrong_calls_alone(installed: Path, copied: Path) -> None:
    said = check(
        *("mypy", "--strict", "--config-file=", "--no-incremental"),
        *("--python-executable", installed / "python", copied.name),
        cwd=copied.parent,
    )
    assert {int(line) for line in re.findall(rf"^{copied.name}:(\d+): error", said, re.MULTILINE)} == WRONG, said


def test_pyright_rejects_the_wrong_calls_alone(installed: Path, copied: Path) -> None:
    (copied.parent / "pyrightconfig.json").write_text(json.dumps({"typeCheckingMode": "standard"}))
    said = json.loads(
        check("basedpyright", "--outputjson", "--pythonpath", installed / "python", copied.name, cwd=copied.parent)
    )
    errors = [found for found in said["generalDiagnostics"] if found["severity"] == "error"]
    assert {found["range"]["start"]["line"] + 1 for found in errors} == WRONG, errors
