"""The page as a person meets it. Set ``SCREENSHOTS`` to a folder to keep the pictures of the documentation there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import unquote

import pytest

from .lab import HIDDEN, RUN_ID, SCRIPT, USERS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser, FrameLocator, Locator, Page

    from .lab import Lab

    Mode = Literal["light", "dark"]
    SignIn = Callable[..., Page]

ROUTE = "/plugin/durable-waits"
LIMIT_MS = 120_000
WIDTH, HEIGHT = 1280, 760


@pytest.fixture
def sign_in(browser: Browser, lab: Lab) -> Iterator[SignIn]:
    """Return what signs a user in, in a browser of their own; nothing may complain in it."""
    contexts, complaints = [], []

    def go(user: str | None = "ada", *, mode: Mode = "light", base: str = "") -> Page:
        context = browser.new_context(
            viewport={"width": WIDTH, "height": HEIGHT}, color_scheme=mode, locale="en-US", timezone_id="UTC"
        )
        context.set_default_timeout(LIMIT_MS)
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


def open_page(page: Page, lab: Lab, query: str = "", base: str = "") -> FrameLocator:
    """Open the page in Airflow's UI; return its frame."""
    page.goto(f"{lab.airflow.url}{base}{ROUTE}{query}")
    frame = page.frame_locator("iframe")
    frame.locator("#totals:not([aria-busy])").wait_for()
    return frame


def row_of(frame: FrameLocator, text: str) -> Locator:
    """Return the rows that have this text."""
    return frame.locator("tr[data-wait]").filter(has_text=text)


def keep(target: Page, name: str) -> None:
    """Keep a picture for the documentation, if that was asked for."""
    if folder := os.environ.get("SCREENSHOTS"):
        target.screenshot(path=Path(folder) / f"{name}.png", animations="disabled")


def test_page_is_in_the_navigation(sign_in: SignIn, lab: Lab) -> None:
    page = sign_in()
    page.get_by_role("button", name="Browse").click()
    page.get_by_role("menuitem", name="Durable waits").click()
    page.wait_for_url(f"**{ROUTE}**")
    row_of(page.frame_locator("iframe"), "weekly_close").wait_for()


def test_nobody_enters_without_signing_in(sign_in: SignIn, lab: Lab) -> None:
    page = sign_in(None)
    response = page.goto(f"{lab.airflow.url}/durable-waits/")
    assert response is not None
    assert response.status == 401
    assert "weekly_close" not in page.content()
    page.goto(f"{lab.airflow.url}{ROUTE}")
    page.wait_for_url("**/auth/login**")


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_timeline_shows_the_child_straight_through_both_crashes(sign_in: SignIn, lab: Lab, mode: Mode) -> None:
    page = sign_in(mode=mode)
    frame = open_page(page, lab)
    keep(page, f"waits-table-{mode}")
    row = row_of(frame, "weekly_close")
    assert row.locator(".decision").all_text_contents() == [
        "1started",
        "2reconnected",
        "3reconnected",
    ]
    assert row.get_by_text("recovered", exact=True).count() == 1
    opener = row.locator("a.expand")
    opener.press("Enter")
    picture = frame.get_by_role("img", name="Timeline")
    picture.wait_for()
    assert opener.get_attribute("aria-expanded") == "true"
    assert "try 1 crashed; try 2 crashed; try 3 success" in (picture.get_attribute("aria-label") or "")
    boxes = [bar.bounding_box() for bar in frame.locator("rect.attempt, rect.child").all()]
    first, second, third, child = [box for box in boxes if box]
    crash = frame.locator(".crash-line")
    assert crash.count() == frame.locator(".is-cut-off").count() == 2
    for box in (first, second):
        end = box["x"] + box["width"]
        assert child["x"] < end < child["x"] + child["width"], "the child run outlived the attempt"
    assert first["y"] < second["y"] < third["y"] < child["y"]
    row.evaluate("row => row.scrollIntoView({block: 'center'})")
    keep(page, f"waits-timeline-{mode}")
    opener.press("Enter")
    picture.wait_for(state="detached")


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_page_wears_airflows_colours(sign_in: SignIn, lab: Lab, mode: Mode) -> None:
    page = sign_in(mode=mode)
    frame = open_page(page, lab)
    colour = "element => getComputedStyle(element).backgroundColor"
    outer = page.locator("html").evaluate(colour)
    assert frame.locator("body").evaluate(colour) == outer
    # The mode is changed while the page is open.
    page.evaluate("mode => document.documentElement.className = mode", "light" if mode == "dark" else "dark")
    frame.locator("html.dark" if mode == "light" else "html:not(.dark)").wait_for(state="attached")


def test_links_lead_into_airflow_and_back(sign_in: SignIn, lab: Lab) -> None:
    page = sign_in()
    (child,) = lab.runs("close_books")
    frame = open_page(page, lab)
    row_of(frame, "weekly_close").locator("td").nth(3).get_by_role("link", name=child.run_id).click()
    page.wait_for_url(lambda url: f"/dags/close_books/runs/{child.run_id}" in unquote(url))
    page.get_by_role("link", name="Durable waits").click()
    tab = page.frame_locator("iframe")
    row_of(tab, "weekly_close").wait_for()
    assert tab.get_by_role("img", name="Timeline").count() == 1
    keep(page, "waits-run")
    row_of(tab, "weekly_close").get_by_role("link", name="close_books", exact=True).first.click()
    page.wait_for_url(f"**/dags/weekly_close/runs/{RUN_ID}/tasks/close_books**")
    page.go_back()
    row_of(page.frame_locator("iframe"), "weekly_close").wait_for()


def test_link_to_one_of_many_tasks(sign_in: SignIn, lab: Lab) -> None:
    page = sign_in()
    frame = open_page(page, lab)
    row_of(frame, "[1]").get_by_role("link", name="load_region [1]").click()
    page.wait_for_url(f"**/dags/hourly_ingest/runs/{RUN_ID}/tasks/load_region/mapped/1**")


def test_filters(sign_in: SignIn, lab: Lab) -> None:
    page = sign_in()
    frame = open_page(page, lab)
    frame.get_by_label("Recovered only").check()
    row_of(frame, "bonuses").wait_for(state="detached")
    assert row_of(frame, "").count() == 3
    frame.get_by_label("Parent's state").select_option("waiting now")
    row_of(frame, "weekly_close").wait_for(state="detached")
    assert row_of(frame, "hourly_ingest").count() == 1
    frame.get_by_role("link", name="Clear").click()
    row_of(frame, "bonuses").wait_for()
    frame.get_by_label("Child Dag").fill("payroll_run")
    frame.get_by_role("button", name="Filter").click()
    row_of(frame, "weekly_close").wait_for(state="detached")
    assert row_of(frame, "").count() == 2


def test_page_follows_what_happens(sign_in: SignIn, lab: Lab) -> None:
    page = sign_in()
    frame = open_page(page, lab)
    row = row_of(frame, "reporting")
    row.locator("a.expand").click()
    frame.get_by_role("img", name="Timeline").wait_for()
    lab.airflow.database.set_state("reporting", "skipped")
    row.locator("td").nth(2).get_by_text("skipped").wait_for()
    assert frame.get_by_role("img", name="Timeline").count() == 1, "it stays open"
    lab.airflow.database.set_state("reporting", "success")


def test_limited_user_sees_nothing_of_other_dags(sign_in: SignIn, lab: Lab) -> None:
    page = sign_in("lim")
    frame = open_page(page, lab)
    assert row_of(frame, "").count() == 2
    row_of(frame, "nightly_finance").locator("a.expand").click()
    frame.get_by_role("img", name="Timeline").wait_for()
    assert row_of(frame, "bonuses").get_by_text("A Dag that you may not read").count() == 1
    inner = page.frames[-1]
    content = inner.content()
    for dag_id in HIDDEN:
        assert dag_id not in content


def test_names_are_text(sign_in: SignIn, lab: Lab) -> None:
    lab.insert_script()
    page = sign_in()
    frame = open_page(page, lab)
    row = row_of(frame, SCRIPT)
    assert row.get_by_role("link", name=SCRIPT, exact=True).count() >= 3
    row.locator("a.expand").click()
    frame.get_by_role("img", name="Timeline").wait_for()
    assert frame.locator("td script").count() == 0


def test_page_works_under_a_path_prefix(sign_in: SignIn, lab: Lab) -> None:
    with lab.served_under("/deep/airflow") as base:
        page = sign_in(base=base)
        frame = open_page(page, lab, base=base)
        row_of(frame, "weekly_close").locator("a.expand").click()
        frame.get_by_role("img", name="Timeline").wait_for()
        row_of(frame, "weekly_close").get_by_role("link", name="close_books", exact=True).first.click()
        page.wait_for_url(f"**{base}/dags/weekly_close/runs/{RUN_ID}/tasks/close_books**")
