"""
The documentation's pictures, of Airflow's default settings: ``make screenshots``.

A crash is noticed after five minutes there, so this takes about ten; it runs only if ``SCREENSHOTS`` names a folder.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from .visits import open_page, open_timeline, row_of, signing_in

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from .lab import Lab

FOLDER = os.environ.get("SCREENSHOTS", "")

pytestmark = pytest.mark.skipif(not FOLDER, reason="SCREENSHOTS does not name a folder: make screenshots does")


def keep(page: Page, name: str) -> None:
    """Keep a picture."""
    page.mouse.move(5, 400)
    page.screenshot(path=Path(FOLDER) / f"{name}.png", animations="disabled")


@pytest.mark.timeout(1800)
def test_pictures(default_lab: Lab, browser: object) -> None:
    from playwright.sync_api import Browser

    assert isinstance(browser, Browser)
    with signing_in(browser, default_lab) as sign_in:
        for mode in ("light", "dark"):
            page = sign_in(mode=mode)
            frame = open_page(page, default_lab)
            row_of(frame, "no heartbeat since").first.wait_for()
            keep(page, f"waits-table-{mode}")
            open_timeline(frame, "weekly_close")
            row_of(frame, "weekly_close").evaluate("row => row.scrollIntoView({block: 'start'})")
            keep(page, f"waits-timeline-{mode}")
        page = sign_in()
        frame = open_page(page, default_lab)
        picture = open_timeline(frame, "hourly_ingest")
        picture.evaluate("one => one.closest('tr').previousElementSibling.scrollIntoView({block: 'start'})")
        keep(page, "waits-dead-parent")
        (child,) = default_lab.runs("close_books")
        page.goto(f"{default_lab.airflow.url}/dags/close_books/runs/{child.run_id}")
        page.get_by_role("link", name="Durable waits").click()
        row_of(page.frame_locator("iframe"), "weekly_close").wait_for()
        keep(page, "waits-run")
