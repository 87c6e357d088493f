"""
``python -m tests.matrix.canary``: the command behind ``make canary``.

Installs the newest Airflow and the newest standard provider that PyPI has, pre-releases among them, without our pins,
and runs the tests of the core and of the adapters and the main live scenarios there. What broke is what the next
release of Airflow will break.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from .environments import FOLDERS, ROOT, Environment, EnvironmentBrokenError, Part
from .results import Verdict, load

if TYPE_CHECKING:
    from collections.abc import Sequence

_GROUPS = ("test", "distributed", "docs")
_PARTS = (Part.UNIT, Part.MAIN_LIVE)

_WATCHED = ("apache-airflow", "apache-airflow-providers-standard")

console = Console()


@dataclass(frozen=True)
class Canary(Environment):
    """An environment with the newest of everything."""

    @property
    def name(self) -> str:
        """What its folders are called."""
        return "canary"

    @property
    def results(self) -> Path:
        """Where its results are: not among those of the matrix."""
        return ROOT / "build" / "canary"

    def make(self) -> None:
        """Install it anew, as far as there is anything newer."""
        self.results.mkdir(parents=True, exist_ok=True)
        if not Path(self.interpreter).exists():
            self.run([sys.executable, "-m", "venv", str(self.folder)], "venv.log", {0})
        groups = [option for group in _GROUPS for option in ("--group", group)]
        uv = [str(Path(sys.executable).with_name("uv")), "pip", "install", "--upgrade", "--python", self.interpreter]
        self.run([*uv, "--editable", ".", *groups, *self._find_newest()], "install.log", {0})

    def _find_newest(self) -> list[str]:
        """Return the newest versions, as requirements: of a range, an installer takes a pre-release only if it must."""
        pip = [self.interpreter, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--pre", "--no-deps"]
        self.run([*pip, "--quiet", "--report", str(self.results / "newest.json"), *_WATCHED], "newest.log", {0})
        found = json.loads((self.results / "newest.json").read_text())["install"]
        return [f"{one['metadata']['name']}=={one['metadata']['version']}" for one in found]

    def tests_of(self, part: Part) -> Sequence[str]:
        """Return what pytest is given; a module that cannot be imported is no reason to run none of the others."""
        return ("--continue-on-collection-errors", *FOLDERS[part])


def main() -> int:
    """Run it, and print what broke. Returns 1 if something did."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    canary = Canary("newest")
    try:
        canary.make()
        versions = canary.describe()
        console.print(
            f"Airflow {versions['airflow']}, standard provider {versions['provider']}, Python {versions['python']}"
        )
        for part in _PARTS:
            began = time.monotonic()
            outcome = "passed" if canary.test(part) else "FAILED"
            console.print(f"{part.value} tests: {outcome} after {time.monotonic() - began:.0f} s", markup=False)
    except EnvironmentBrokenError as error:
        console.print(str(error), markup=False, style="red")
        return 1
    return show_broken(canary.results)


def show_broken(results: Path) -> int:
    """Print the tests that failed, and why. Returns 1 if there are any."""
    result = load(results, _PARTS)
    broken = [test for test in result.tests if test.verdict is Verdict.FAIL]
    for test in broken:
        console.print(f"BROKE {test.folder}: {test.name}: {test.reason}", markup=False, style="red", soft_wrap=True)
    console.print(f"{len(result.tests) - len(broken)} of {len(result.tests)} tests passed or do not apply.")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
