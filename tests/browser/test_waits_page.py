"""The page as a person meets it, in an Airflow whose scheduler has died in the end, with the workers that it had."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote

import pytest

from .lab import HIDDEN, LONG_CHILD, LONG_PARENT, RUN_ID, SCRIPT
from .visits import (
    PHONE,
    ROUTE,
    inner_frame,
    open_page,
    open_timeline,
    row_of,
    signing_in,
    too_wide,
    violations,
    wait_for_count,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, FrameLocator

    from .lab import Lab
    from .visits import Mode, SignIn


@pytest.fixture
def sign_in(browser: Browser, lab: Lab) -> Iterator[SignIn]:
    """Return what signs a user in."""
    with signing_in(browser, lab) as go:
        yield go


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
    assert "3 tries of close_books; try 1 crashed; try 2 crashed; try 3 success" in (
        picture.get_attribute("aria-label") or ""
    )
    boxes = [bar.bounding_box() for bar in frame.locator("rect.try, rect.child").all()]
    first, second, third, child = [box for box in boxes if box]
    crash = frame.locator(".crash-line")
    assert crash.count() == frame.locator(".is-dead").count() == 2
    for box in (first, second):
        # A bar ends where the try was last heard of. The first one died so soon that this was before its child began.
        assert box["x"] + box["width"] < child["x"] + child["width"], "the child run outlived the try"
    assert first["x"] < child["x"] < second["x"] + second["width"]
    assert first["y"] < second["y"] < third["y"] < child["y"]
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
    assert frame.locator("#dags option[value=weekly_close]").count() == 1, "names are suggested"
    assert frame.locator("#child-dags option[value=payroll_run]").count() == 1
    frame.get_by_label("Recovered only").check()
    row_of(frame, "bonuses").wait_for(state="detached")
    wait_for_count(row_of(frame, ""), 4)
    frame.get_by_label("State").select_option("waiting now")
    row_of(frame, "weekly_close").wait_for(state="detached")
    wait_for_count(row_of(frame, "hourly_ingest"), 1)
    frame.get_by_role("link", name="Clear").click()
    row_of(frame, "bonuses").wait_for()
    frame.get_by_label("Child Dag contains").fill("ROLL_r")
    frame.get_by_role("button", name="Filter").click()
    row_of(frame, "weekly_close").wait_for(state="detached")
    wait_for_count(row_of(frame, ""), 2)
    frame.get_by_text("2 shown of 2").wait_for()
    frame.get_by_text("More filters").click()
    frame.get_by_label("Last change from").fill("2999-01-01T00:00")
    frame.get_by_role("button", name="Filter").click()
    frame.get_by_text("No waits match these filters.").wait_for()
    assert frame.get_by_label("Last change from").input_value().startswith("2999-01-01T00:00")


def test_numbers_and_columns_lead_to_the_longest_wait(sign_in: SignIn, lab: Lab) -> None:
    page = sign_in()
    frame = open_page(page, lab)
    frame.locator("a.total", has_text="Waiting now").click()
    frame.locator("th[aria-sort=descending]", has_text="Waited").wait_for()
    assert row_of(frame, "weekly_close").count() == 0
    # A group stands where the longest wait of it does: another one may have begun between two of its own.
    groups: dict[str, list[str]] = {}
    for row in frame.locator("tr[data-wait]").all():
        group = row.get_attribute("data-group") or row.get_attribute("data-wait") or ""
        groups.setdefault(group, []).append(row.locator(".since time").inner_text())
    assert sorted(map(len, groups.values())) == [1, 3]
    assert all(begun == sorted(begun) for begun in groups.values()), "the longest wait began first"
    assert [begun[0] for begun in groups.values()] == sorted(begun[0] for begun in groups.values())
    frame.get_by_role("columnheader", name="Waited").get_by_role("link").click()
    frame.locator("th[aria-sort=ascending]").wait_for()
    # Mapped task instances are one group, which folds.
    fold = frame.get_by_role("button", name="3 mapped instances")
    fold.press("Enter")
    assert row_of(frame, "hourly_ingest").filter(visible=True).count() == 0
    fold.press("Enter")
    assert row_of(frame, "hourly_ingest").filter(visible=True).count() == 3


@pytest.mark.parametrize("kind", ["CSV", "JSON"])
def test_export(sign_in: SignIn, lab: Lab, kind: str) -> None:
    page = sign_in()
    frame = open_page(page, lab)
    with page.expect_download() as download:
        frame.get_by_role("link", name=kind).click()
    assert "weekly_close" in download.value.path().read_text()
    assert download.value.suggested_filename == f"durable-waits.{kind.lower()}"


def test_crash_is_a_crash_though_the_child_had_ended(sign_in: SignIn, lab: Lab) -> None:
    lab.insert_late_crash("late_crash")
    page = sign_in()
    frame = open_page(page, lab)
    picture = open_timeline(frame, "late_crash")
    assert "try 1 crashed; try 2 success" in (picture.get_attribute("aria-label") or "")
    bar, dead, child = (frame.locator(name).first.bounding_box() for name in (".is-dead", ".unnoticed", "rect.child"))
    assert bar
    assert dead
    assert child
    assert bar["x"] + bar["width"] <= dead["x"] + 1, "the bar ends where the worker died"
    assert dead["x"] < child["x"] + child["width"] < dead["x"] + dead["width"], "the child ended before it was noticed"
    assert "crashed: no heartbeat after 2026-03-01 12:03:00; Airflow ended it at 2026-03-01 12:05:00" in (
        frame.locator(".story").inner_text()
    )


def test_ways_on_from_a_crash(sign_in: SignIn, lab: Lab) -> None:
    page = sign_in()
    frame = open_page(page, lab)
    open_timeline(frame, LONG_PARENT)
    frame.get_by_role("link", name="Audit log").click()
    page.wait_for_url(f"**/dags/{LONG_PARENT}/runs/{RUN_ID}/tasks/**/events")
    frame = open_page(page, lab)
    open_timeline(frame, LONG_PARENT)
    frame.get_by_role("link", name="Log of try 1").click()
    page.wait_for_url("**try_number=1")


def test_dead_parent_is_seen_before_airflow_notices(sign_in: SignIn, lab: Lab) -> None:
    page = sign_in()
    frame = open_page(page, lab)
    said = re.compile(r"no heartbeat since \d\d:\d\d:\d\d; Airflow will retry it by about ")
    row_of(frame, "hourly_ingest").filter(has_text=said).nth(2).wait_for()
    frame.locator(".attention").get_by_role("link", name="3 no heartbeat").click()
    frame.locator("th[aria-sort=descending]").wait_for()
    assert row_of(frame, "").count() == 3
    picture = open_timeline(frame, "hourly_ingest")
    assert "no heartbeat" in (picture.get_attribute("aria-label") or "")
    assert said.search(frame.locator(".story").inner_text())
    bar, dead = (frame.locator(name).first.bounding_box() for name in (".is-dead", ".unnoticed"))
    assert bar
    assert dead
    assert bar["x"] + bar["width"] <= dead["x"] + 1


def test_page_follows_what_happens_and_leaves_the_reader_alone(sign_in: SignIn, lab: Lab) -> None:
    page = sign_in()
    frame = open_page(page, lab)
    open_timeline(frame, "publish")
    row = row_of(frame, "publish")
    state = row.locator("td").nth(2)
    link = row.get_by_role("link", name="publish")
    row.evaluate("row => { row.isTheSame = true; window.scrollTo(0, 50); }")
    try:
        # As long as text is selected, nothing moves.
        row.locator(".names").first.evaluate("names => getSelection().selectAllChildren(names)")
        lab.airflow.database.set_state("reporting", "skipped")
        frame.get_by_text(re.compile(r"updated ([7-9]|\d\d) s ago, paused while text is selected")).wait_for()
        assert state.get_by_text("success").count() == 1
        inner_frame(page).evaluate("getSelection().removeAllRanges()")
        # Chromium takes the focus away where text is selected, and scrolls to what gets it.
        link.evaluate("link => link.focus({preventScroll: true})")
        state.get_by_text("skipped").wait_for()
        assert frame.get_by_role("img", name="Timeline").count() == 1, "it stays open"
        assert row.evaluate("row => row.isTheSame"), "it was changed in its place"
        assert link.evaluate("link => document.activeElement === link"), "the focus stays"
        assert row.evaluate("() => window.scrollY") == 50
        # A control holds it, and lets it go on.
        frame.get_by_role("button", name="Pause updates").click()
        lab.airflow.database.set_state("reporting", "success")
        frame.get_by_text(re.compile(r"updated ([7-9]|\d\d) s ago, paused$")).wait_for()
    finally:
        lab.airflow.database.set_state("reporting", "success")
    assert state.get_by_text("skipped").count() == 1
    frame.get_by_role("button", name="Resume updates").click()
    state.get_by_text("success").wait_for()


def test_failed_update_says_so_and_recovers(sign_in: SignIn, lab: Lab) -> None:
    page = sign_in()
    frame = open_page(page, lab)
    page.route("**/durable-waits/rows**", lambda route: route.fulfill(status=500, body="broken"))
    frame.get_by_text("Not up to date: the server answers 500").wait_for()
    assert float(frame.locator("#rows").evaluate("rows => getComputedStyle(rows).opacity")) < 1
    page.unroute("**/durable-waits/rows**")
    frame.locator("main:not(.is-stale)").wait_for()
    # A timeline that cannot be loaded says so, too.
    page.route("**/durable-waits/wait/**", lambda route: route.abort())
    row_of(frame, "weekly_close").locator("a.expand").click()
    frame.get_by_role("alert").get_by_text("could not be loaded").wait_for()
    page.unroute("**/durable-waits/wait/**")
    frame.get_by_role("button", name="Try again").click()
    frame.get_by_role("img", name="Timeline").wait_for()


@pytest.mark.parametrize("width", [1280, PHONE])
def test_page_fits_its_frame(sign_in: SignIn, lab: Lab, width: int) -> None:
    page = sign_in(width=width)
    frame = open_page(page, lab)
    picture = open_timeline(frame, LONG_PARENT)
    assert too_wide(inner_frame(page)) == []
    box, outer = picture.bounding_box(), frame.locator("main").bounding_box()
    assert box
    assert outer
    assert box["x"] + box["width"] <= outer["x"] + outer["width"]
    (child,) = lab.runs(LONG_CHILD)
    page.goto(f"{lab.airflow.url}/durable-waits/run/{LONG_CHILD}/{child.run_id}")
    page.get_by_role("img", name="Timeline").wait_for()
    assert too_wide(page.main_frame) == []


def test_runs_of_one_parent_can_be_told_apart(sign_in: SignIn, lab: Lab) -> None:
    days = [f"2026-01-0{day}T02:00:00+00:00" for day in range(1, 5)]
    ends = ["arzn5dpjdge2", "b2kq7h3m5t6v", "c7x4n2w6y3za", "d5r3s7t2u4vb"]
    pairs = [(f"scheduled__{day}", f"manual__{day}_{end}") for day, end in zip(days, ends, strict=True)]
    lab.insert_runs("told_apart_" * 6, "told_apart_child_" * 4, pairs)
    page = sign_in()
    frame = open_page(page, lab)
    for (parent, child), day, end in zip(pairs, days, ends, strict=True):
        row = row_of(frame, child)
        cell = row.locator("td").nth(3).bounding_box()
        tail = row.locator("td").nth(3).locator(".run .name-tail").bounding_box()
        assert cell
        assert tail
        assert cell["x"] <= tail["x"] <= tail["x"] + tail["width"] <= cell["x"] + cell["width"], end
        assert row.locator(".run a").first.get_attribute("title") == parent
        shown = row.locator("td").nth(1).locator(".run .name-middle")
        assert shown.inner_text() == day
        assert shown.evaluate("part => part.scrollWidth <= part.clientWidth"), "all of the date is there"
        row.hover()
        row.get_by_role("button", name=f"Copy the run id {child}").click()
        page.wait_for_function("async copied => (await navigator.clipboard.readText()) === copied", arg=child)


def test_times_are_in_the_zone_that_was_chosen_in_airflow(sign_in: SignIn, lab: Lab) -> None:
    page = sign_in(zone="America/New_York")
    frame = open_page(page, lab)
    assert frame.get_by_text("Times in America/New_York").count() == 1
    page.evaluate("localStorage.setItem('timezone', JSON.stringify('Asia/Tokyo'))")
    frame = open_page(page, lab)
    assert frame.get_by_text("Times in Asia/Tokyo").count() == 1
    time = row_of(frame, "weekly_close").locator(".since time")
    utc, shown = time.get_attribute("datetime") or "", time.inner_text()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", shown)
    assert int(shown[11:13]) == (int(utc[11:13]) + 9) % 24
    assert "Asia/Tokyo" in (time.get_attribute("title") or "")
    assert "Asia/Tokyo" in (row_of(frame, "weekly_close").locator(".decision").first.get_attribute("title") or "")


def test_wrong_address_has_a_way_back(sign_in: SignIn, lab: Lab) -> None:
    page = sign_in()
    open_page(page, lab)
    inner_frame(page).goto(f"{lab.airflow.url}/durable-waits/?sort=nothing")
    frame = page.frame_locator("iframe")
    frame.get_by_role("heading", name="This address is not valid").wait_for()
    frame.get_by_role("link", name="Back to all durable waits").click()
    row_of(frame, "weekly_close").wait_for()


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_axe_finds_nothing(sign_in: SignIn, lab: Lab, mode: Mode) -> None:
    page = sign_in(mode=mode)
    frame = open_page(page, lab)
    frame.get_by_text("More filters").click()
    open_timeline(frame, LONG_PARENT)
    frame.get_by_text("Legend").click()
    assert violations(inner_frame(page)) == []
    for address in ("/durable-waits/", "/durable-waits/?sort=nothing"):
        # Outside of Airflow's frame the colours are our own.
        page.goto(f"{lab.airflow.url}{address}")
        page.locator("main").wait_for()
        if address.endswith("/"):
            page.locator("#totals:not([aria-busy])").wait_for()
            open_timeline(page, LONG_PARENT)
        assert violations(page) == []


def test_everything_is_reached_by_keyboard(sign_in: SignIn, lab: Lab) -> None:
    page = sign_in()
    frame = open_page(page, lab)
    frame.get_by_role("button", name="Pause updates").focus()
    reached = set()
    for _ in range(200):
        page.keyboard.press("Tab")
        reached.add(inner_frame(page).evaluate("document.activeElement.className || document.activeElement.name || ''"))
    for wanted in ("total", "dag_id", "child_dag_id", "state", "expand", "copy", "fold", "shortened"):
        assert wanted in reached, reached


def test_tab_of_a_task_instance(sign_in: SignIn, lab: Lab) -> None:
    page = sign_in()
    page.goto(f"{lab.airflow.url}/dags/weekly_close/runs/{RUN_ID}/tasks/close_books")
    page.get_by_role("link", name="Durable waits").click()
    _expect_timeline(page.frame_locator("iframe"), "weekly_close")
    page.goto(f"{lab.airflow.url}/dags/hourly_ingest/runs/{RUN_ID}/tasks/load_region/mapped/1")
    page.get_by_role("link", name="Durable waits").click()
    _expect_timeline(page.frame_locator("iframe"), "[1]")
    (child,) = lab.runs("close_books")
    page.goto(f"{lab.airflow.url}/dags/close_books/runs/{child.run_id}/tasks/work")
    page.get_by_role("link", name="Durable waits").click()
    page.frame_locator("iframe").get_by_text("This task has not waited durably.").wait_for()


def _expect_timeline(frame: FrameLocator, text: str) -> None:
    row_of(frame, text).wait_for()
    assert row_of(frame, "").count() == frame.get_by_role("img", name="Timeline").count() == 1


def test_words_are_plain(sign_in: SignIn, lab: Lab) -> None:
    page = sign_in()
    frame = open_page(page, lab)
    open_timeline(frame, "weekly_close")
    words = inner_frame(page).locator("body").inner_text().lower()
    for banned in ("attempt", "found done", "restarted", "foreign", "on record", "fits"):
        assert not re.search(rf"\b{banned}\b", words), banned


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
