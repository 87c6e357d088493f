"""What every test of the page does: sign in, open it, find a row."""

from __future__ import annotations

import contextlib
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Literal

from .lab import USERS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser, Frame, FrameLocator, Locator, Page

    from .lab import Lab
    from .still import Still

    Mode = Literal["light", "dark"]
    SignIn = Callable[..., Page]

ROUTE = "/plugin/durable-waits"
LIMIT_MS = 120_000
WIDTH, HEIGHT = 1280, 760
PHONE = 390

AXE = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]}
"""Which rules of axe a page has to satisfy. Those of contrast ask for 4.5."""


@contextlib.contextmanager
def signing_in(browser: Browser, lab: Lab | Still) -> Iterator[SignIn]:
    """Yield what signs a user in, in a browser of their own; nothing may complain in it."""
    contexts, complaints = [], []

    def go(
        user: str | None = "ada", *, mode: Mode = "light", base: str = "", width: int = WIDTH, zone: str = "UTC"
    ) -> Page:
        context = browser.new_context(
            viewport={"width": width, "height": HEIGHT}, color_scheme=mode, locale="en-US", timezone_id=zone
        )
        context.set_default_timeout(LIMIT_MS)
        context.grant_permissions(["clipboard-read", "clipboard-write"])
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(f"a dialog: {dialog.message}"))
        page.on(
            "console", lambda message: complaints.append(message.text) if "Content Security" in message.text else None
        )
        if user is not None:
            page.goto(f"{lab.airflow.url}{base}/auth/login")
            page.fill("input[name=username]", user)
            page.fill("input[name=password]", USERS[user])
            page.keyboard.press("Enter")
            page.wait_for_url(lambda url: "/auth/" not in url)
        return page

    yield go
    for context in contexts:
        context.close()
    assert not complaints


def open_page(page: Page, lab: Lab | Still, base: str = "") -> FrameLocator:
    """Open the page in Airflow's UI; return its frame."""
    page.goto(f"{lab.airflow.url}{base}{ROUTE}")
    frame = page.frame_locator("iframe")
    frame.locator("#totals:not([aria-busy])").wait_for()
    return frame


def inner_frame(page: Page) -> Frame:
    """Return the frame that the page is in."""
    return page.frames[-1]


def row_of(frame: FrameLocator | Page, text: str) -> Locator:
    """Return the rows that have this text."""
    return frame.locator("tr[data-wait]").filter(has_text=text)


def wait_for_count(rows: Locator, count: int) -> None:
    """Wait until there are so many: a filter loads the page anew, and for a moment there are none."""
    from playwright.sync_api import expect

    expect(rows).to_have_count(count, timeout=LIMIT_MS)


def open_timeline(frame: FrameLocator | Page, text: str) -> Locator:
    """Open the timeline of the row that has this text; return its picture."""
    row_of(frame, text).first.locator("a.expand").press("Enter")
    picture = frame.get_by_role("img", name="Timeline")
    picture.first.wait_for()
    return picture


def too_wide(frame: Frame) -> list[str]:
    """Return what is wider than its frame: the page, or a part that scrolls sideways."""
    return list(
        frame.evaluate(
            """() => [document.documentElement, ...document.querySelectorAll(".scroll")]
                .filter((one) => one.scrollWidth > one.clientWidth + 1)
                .map((one) => `${one.tagName}.${one.className}: ${one.scrollWidth} in ${one.clientWidth}`)"""
        )
    )


def violations(frame: Frame | Page) -> list[str]:
    """Return what axe has to say against a page."""
    frame.evaluate(files("axe_playwright_python").joinpath("axe.min.js").read_text())
    found: dict[str, Any] = frame.evaluate("(options) => axe.run(document, options)", AXE)
    return [f"{one['id']}: {[node['html'] for node in one['nodes'][:3]]}" for one in found["violations"]]
