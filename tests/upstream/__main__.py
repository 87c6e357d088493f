"""
Fetches the sdist of the installed standard provider, and runs its tests of the operator on switched operators.

Nothing that is fetched is kept. The sdist has the tests, but not the package of helpers that they import
(``tests_common``): the few of it that these tests need are in :mod:`tests.upstream.plugin`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PROVIDER = "apache-airflow-providers-standard"
TESTS = "tests/unit/standard/operators/test_trigger_dagrun.py"
LIMIT_SECONDS = 600.0


def main() -> int:
    """Run them, and return pytest's exit code."""
    with tempfile.TemporaryDirectory(prefix="upstream-") as folder:
        home = Path(folder)
        path = fetch_tests(home)
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW__")},
            "AIRFLOW_HOME": folder,
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__UNIT_TEST_MODE": "True",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{folder}/airflow.db",
            "PYTHONPATH": str(ROOT),
        }
        run = [sys.executable, "-W", "ignore", "-m"]
        subprocess.run([*run, "airflow", "db", "migrate"], env=environment, check=True, capture_output=True, cwd=home)
        pytest = [*run, "pytest", "-p", "tests.upstream.plugin", "-c", os.devnull, f"--rootdir={folder}", "-q", "-rs"]
        return subprocess.run([*pytest, str(path)], env=environment, check=False, cwd=home).returncode


def fetch_tests(folder: Path) -> Path:
    """Return the tests of the installed version, from the index that pip is set up with."""
    wanted = f"{PROVIDER}=={metadata.version(PROVIDER)}"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", PROVIDER, wanted]
    subprocess.run([*command, "--dest", str(folder)], check=True, timeout=LIMIT_SECONDS)
    (sdist,) = folder.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        (member,) = [name for name in archive.getnames() if name.endswith(TESTS)]
        content = archive.extractfile(member)
        assert content is not None
        path = folder / "test_trigger_dagrun.py"
        path.write_bytes(content.read())
    return path


if __name__ == "__main__":
    raise SystemExit(main())
