"""One Airflow and one browser for the whole session, and a home for the Airflow that this process itself imports."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from typing import TYPE_CHECKING

import pytest

if "AIRFLOW_HOME" not in os.environ:
    os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="airflow-durable-browser-")
    atexit.register(shutil.rmtree, os.environ["AIRFLOW_HOME"], ignore_errors=True)

from .lab import open_lab
from .still import open_still

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser

    from .lab import Lab
    from .still import Still

_ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def _find_chromium() -> str:
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        pytest.skip("There is no chromium here: install Debian's package of that name to run the browser's tests.")
    return found


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Return a headless Chromium with a fresh profile, or skip."""
    executable = _find_chromium()
    sync_api = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: make test-browser has it"
    )
    with sync_api.sync_playwright() as playwright:
        # The profile is a folder of Playwright's own making, which goes with the browser.
        browser = playwright.chromium.launch(executable_path=executable, headless=True, args=_ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


@pytest.fixture(scope="session")
def default_lab(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Return an Airflow on default settings, for the pictures of the documentation."""
    with open_lab(tmp_path_factory.mktemp("default"), is_default=True) as opened:
        yield opened


@pytest.fixture(scope="session")
def lab(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Return the running Airflow. It is not started where there is no browser."""
    with open_lab(tmp_path_factory.mktemp("airflow")) as opened:
        yield opened


@pytest.fixture(scope="session")
def still(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Still]:
    """Return an Airflow of which only the API server runs, and no reconciler."""
    with open_still(tmp_path_factory.mktemp("still"), reconciler="False") as opened:
        yield opened
