"""A Python interpreter of its own, for what is decided when modules are imported."""

from __future__ import annotations

import os
import subprocess
import sys

LIMIT_SECONDS = 300.0


def run_python(code: str, **environment: str) -> str:
    """Return what a fresh interpreter prints last for this code, run with these variables besides; it must not fail."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()[-1]
