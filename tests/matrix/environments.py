"""One environment for each supported Airflow, and pytest in it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from packaging.version import Version

from airflow_durable.demo.processes import ending_signals_raised

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).parents[2]
CONSTRAINTS = ROOT / "constraints"
RESULTS = ROOT / "build" / "matrix"
_OWN = "-own"
AIRFLOWS = tuple(
    sorted(
        {path.stem.removeprefix("airflow-").removesuffix(_OWN) for path in CONSTRAINTS.glob("airflow-*.in")},
        key=Version,
    )
)

END_LIMIT_SECONDS = 120.0
"""How long a test session may take to end its Airflow when it is told to stop."""

AGAIN = "-again"
"""In the name of what a second run of the failed tests leaves behind."""

_TESTS_FAILED = 1
_DESCRIBE = """
import importlib.metadata, json, platform
print(json.dumps({
    "airflow": importlib.metadata.version("apache-airflow"),
    "provider": importlib.metadata.version("apache-airflow-providers-standard"),
    "python": platform.python_version(),
}))
"""


class EnvironmentBrokenError(RuntimeError):
    """An environment could not be made, or pytest could not run in it."""


class Part(str, Enum):
    """A part of the tests."""

    UNIT = "unit"
    MAIN_LIVE = "main-live"
    """The scenarios that matter most: as many as CI and the canary have time for."""
    LIVE = "live"

    @property
    def is_live(self) -> bool:
        """Whether a real Airflow runs in it."""
        return self is not Part.UNIT


WHOLE = (Part.UNIT, Part.LIVE)
"""All tests of an Airflow."""


class Provider(str, Enum):
    """Which standard provider, and which of all else, is beside an Airflow."""

    NEWEST = "newest"
    OWN = "own"
    """What was newest when that Airflow came out, as its own constraints have it."""


SIMULATIONS = ("faults", "limits", "outage", "silent", "trouble")
"""Of the poller, on a simulated clock and server: long, and nothing of Airflow is in them."""

FOLDERS = {
    Part.UNIT: (
        "tests/core",
        "tests/adapters",
        "tests/sidebyside",
        *(f"--ignore=tests/adapters/test_poller_{name}.py" for name in SIMULATIONS),
    ),
    Part.MAIN_LIVE: tuple(f"tests/live/test_{name}.py" for name in ("waiting", "other_modes", "journal", "superseded")),
    Part.LIVE: ("tests/live",),
}


@dataclass(frozen=True)
class Environment:
    """
    An Airflow on a Python.

    :param python: the interpreter to make it with; None: the Makefile's choice.
    """

    airflow: str
    python: str | None = None
    provider: Provider = Provider.NEWEST

    @property
    def name(self) -> str:
        """What its folders are called."""
        python = f"-{Path(self.python).resolve().name}" if self.python else ""
        return f"{self.constraints.stem}{python}"

    @property
    def constraints(self) -> Path:
        """Its pins; not every Airflow has both kinds."""
        own = _OWN if self.provider is Provider.OWN else ""
        return CONSTRAINTS / f"airflow-{self.airflow}{own}.txt"

    @property
    def folder(self) -> Path:
        """Where it is."""
        return ROOT / ".envs" / self.name

    @property
    def results(self) -> Path:
        """Where its results are."""
        return RESULTS / self.name

    def make(self) -> None:
        """Install it, as far as it is not, and note what is in it."""
        python = [f"PYTHON={self.python}"] if self.python else []
        venv = self.folder.relative_to(ROOT)
        self.results.mkdir(parents=True, exist_ok=True)
        which = [f"AIRFLOW={self.airflow}", f"PROVIDER={self.provider.value}", f"VENV={venv}", *python]
        self.run(["make", "-s", "env", *which], "install.log", {0})
        description = self.describe()
        if description["airflow"] != self.airflow:
            message = f"{venv} has Airflow {description['airflow']}, not {self.airflow}."
            raise EnvironmentBrokenError(message)
        # A pin may be of some Pythons only: then a marker follows.
        pins = {line.partition(" ;")[0] for line in self.constraints.read_text().splitlines()}
        if f"apache-airflow-providers-standard=={description['provider']}" not in pins:
            message = f"{venv} has standard provider {description['provider']}, which {self.constraints.name} has not."
            raise EnvironmentBrokenError(message)

    def describe(self) -> dict[str, str]:
        """Note which versions are in it, and return them."""
        self.run([self.interpreter, "-c", _DESCRIBE], "environment.json", {0})
        described: dict[str, str] = json.loads((self.results / "environment.json").read_text())
        return described

    def test(self, part: Part) -> bool:
        """
        Run a part of the tests, and tell whether all went well.

        Live tests that failed are run once more, with all others of their modules, in an Airflow of their own: an older
        scheduler may end by a race of its own (StaleDataError on 3.1), and takes all that run beside it along. Some
        tests look at what others of their module have left. The table names them.
        """
        (self.results / f"{part.value}{AGAIN}.xml").unlink(missing_ok=True)
        if self._pytest(part.value, self.tests_of(part)):
            return True
        failed = self._failed(part) if part.is_live else []
        return bool(failed) and self._pytest(f"{part.value}{AGAIN}", failed)

    def _pytest(self, name: str, tests: Sequence[str]) -> bool:
        junit = self.results / f"{name}.xml"
        junit.unlink(missing_ok=True)
        pytest = [self.interpreter, "-m", "pytest", "-p", "no:cacheprovider", f"--junit-xml={junit}"]
        return self.run([*pytest, *tests], f"{name}.log", {0, _TESTS_FAILED}) == 0

    def _failed(self, part: Part) -> list[str]:
        """Return the modules with tests that failed, as pytest is given them."""
        root = ET.parse(self.results / f"{part.value}.xml").getroot()  # noqa: S314 - our own pytest wrote it
        cases = [case for case in root.iter("testcase") if {child.tag for child in case} & {"failure", "error"}]
        return sorted({f"{(case.get('classname') or '').replace('.', '/')}.py" for case in cases})

    def tests_of(self, part: Part) -> Sequence[str]:
        """Return what pytest is given for a part, and how it is to run it."""
        return FOLDERS[part]

    @property
    def interpreter(self) -> str:
        """Its Python."""
        return str(self.folder / "bin" / "python")

    def run(self, argv: Sequence[str], output: str, expected: set[int]) -> int:
        """Run a command to its end, also if we are told to stop: a test session has an Airflow to end."""
        path = self.results / output
        # Make must not think that it was called by the Make that called us.
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
        with path.open("wb") as file, ending_signals_raised():
            process = subprocess.Popen(
                argv, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT
            )
            try:
                code = process.wait()
            except BaseException as error:
                if not isinstance(error, KeyboardInterrupt):
                    # Ctrl-C is for the whole process group; it has it already. Not SIGTERM: what that raises is
                    # to pytest the failure of one test, and it goes on.
                    process.send_signal(signal.SIGINT)
                process.wait(END_LIMIT_SECONDS)
                raise
        if code not in expected:
            tail = "\n".join(path.read_text(errors="replace").splitlines()[-15:])
            message = f"{' '.join(argv)} ended with {code}. The end of {path.relative_to(ROOT)}:\n{tail}"
            raise EnvironmentBrokenError(message)
        return code
