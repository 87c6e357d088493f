"""What people can do about a wait on the page, to whom it is refused, and what the page says of the reconciler."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

import pytest
from sqlalchemy.orm import Session

from airflow_durable.core.items import Items
from tests.support.asking_parents import CHILD_DAG, PARENT_DAG
from tests.support.ledger_rows import Many
from tests.support.waits_rows import Rows

from .visits import PHONE, inner_frame, open_page, open_timeline, row_of, signing_in, too_wide, violations

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, FrameLocator, Locator, Page

    from tests.support.asking_parents import Asking

    from .still import Still
    from .visits import Mode, SignIn

TASKS = {"first": "success", "second": "failed", "apart": "success"}


@pytest.fixture
def sign_in(browser: Browser, still: Still) -> Iterator[SignIn]:
    """Return what signs a user in, in a database without Dag runs."""
    still.world.clear()
    with signing_in(browser, still) as go:
        yield go


def open_dialog(page: Page, still: Still, asking: Asking) -> tuple[FrameLocator, Locator]:
    """Open the actions of a wait by keyboard; return the frame and the dialog."""
    frame = open_page(page, still)
    open_timeline(frame, asking.record.run_id)
    frame.get_by_role("button", name="Actions").press("Enter")
    dialog = frame.get_by_role("dialog", name="Actions")
    dialog.locator("dl").wait_for()
    return frame, dialog


def do(dialog: Locator, name: str) -> None:
    """Choose an action by keyboard, and do it."""
    dialog.get_by_role("radio", name=name).press("Space")
    dialog.get_by_role("button", name=name).press("Enter")


def test_child_is_ended_by_keyboard(sign_in: SignIn, still: Still) -> None:
    asking = still.world.parent(state="running", tasks={"first": "running"})
    page = sign_in("eve")
    frame, dialog = open_dialog(page, still, asking)
    assert asking.record.run_id in dialog.inner_text()
    assert dialog.get_by_role("radio").count() == 2, "what cannot be done is not offered"
    assert "The child run has not failed." in dialog.inner_text()
    assert dialog.get_by_role("button", name="Choose an action").is_disabled()
    assert still.world.child(asking)[0] == "running", "looking changes nothing"
    do(dialog, "End the child run")
    dialog.get_by_text("Done: End the child run.").wait_for()
    assert still.world.child(asking)[0] == "failed"
    ((event, dag_id, run_id, _),) = still.world.audit_log()
    assert (event, dag_id, run_id) == ("durable.end-child", CHILD_DAG, asking.record.run_id)
    page.keyboard.press("Escape")
    dialog.wait_for(state="detached")
    row_of(frame, asking.record.run_id).locator("td").nth(4).get_by_text("failed").wait_for()
    button = frame.get_by_role("button", name="Actions")
    assert button.evaluate("button => document.activeElement === button"), "the focus comes back"


def test_parent_and_child_are_ended(sign_in: SignIn, still: Still) -> None:
    asking = still.world.parent(state="deferred", tasks={"first": "running"})
    _, dialog = open_dialog(sign_in("eve"), still, asking)
    do(dialog, "End the parent task and the child run")
    dialog.get_by_text("Done:").wait_for()
    assert still.world.child(asking)[0] == "failed"
    assert still.world.state_of(PARENT_DAG, asking.parent.run_id, "trigger") == "failed"


def test_failed_child_resumes_and_record_is_forgotten(sign_in: SignIn, still: Still) -> None:
    asking = still.world.parent(state="failed", child_state="failed", tasks=TASKS)
    page = sign_in("eve")
    frame, dialog = open_dialog(page, still, asking)
    assert "1 task instances are cleared" in dialog.inner_text()
    do(dialog, "Resume the failed child run")
    dialog.get_by_text("Done:").wait_for()
    assert still.world.child(asking) == ("queued", 1)
    dialog.get_by_role("button", name="Close").click()
    row_of(frame, asking.record.run_id).locator("td").nth(4).get_by_text("queued").wait_for()
    frame, dialog = open_dialog(page, still, asking)
    do(dialog, "Forget the record")
    dialog.get_by_text("Done:").wait_for()
    assert still.world.entries(asking) == 0
    dialog.get_by_role("button", name="Close").click()
    row_of(frame, asking.record.run_id).wait_for(state="detached")


def test_nothing_is_done_if_something_has_changed(sign_in: SignIn, still: Still) -> None:
    asking = still.world.parent(state="failed")
    _, dialog = open_dialog(sign_in("eve"), still, asking)
    still.world.set_run(CHILD_DAG, asking.record.run_id, clear_number=1)
    do(dialog, "End the child run")
    dialog.get_by_role("alert").get_by_text("Nothing was done").wait_for()
    assert (still.world.child(asking)[0], still.world.audit_log()) == ("running", [])
    dialog.get_by_role("button", name="Check again").press("Enter")
    dialog.get_by_role("radio").first.wait_for()
    do(dialog, "End the child run")
    dialog.get_by_text("Done:").wait_for()
    assert still.world.child(asking)[0] == "failed"


def test_viewer_is_told_in_plain_words(sign_in: SignIn, still: Still) -> None:
    asking = still.world.parent(state="failed", child_state="failed", tasks=TASKS)
    _, dialog = open_dialog(sign_in("ada"), still, asking)
    assert dialog.get_by_role("radio").count() == 0
    assert f"You may not change runs of {CHILD_DAG}." in dialog.inner_text()
    dialog.get_by_role("button", name="Close").click()
    dialog.wait_for(state="detached")


def test_refresh_leaves_an_open_dialog_alone(sign_in: SignIn, still: Still) -> None:
    asking = still.world.parent(state="running")
    frame, dialog = open_dialog(sign_in("eve"), still, asking)
    radio = dialog.get_by_role("radio", name="End the child run")
    radio.press("Space")
    still.world.set_task(PARENT_DAG, asking.parent.run_id, "trigger", "up_for_retry")
    frame.get_by_text(re.compile(r"updated ([7-9]|\d\d) s ago, paused while a dialog is open")).wait_for()
    assert radio.is_checked()
    dialog.get_by_role("button", name="Cancel").click()
    row_of(frame, asking.record.run_id).get_by_text("up for retry").wait_for()
    assert still.world.child(asking)[0] == "running"


def test_tab_of_a_run_is_loaded_anew(sign_in: SignIn, still: Still) -> None:
    asking = still.world.parent(state="running")
    page = sign_in("eve")
    page.goto(f"{still.airflow.url}/durable-waits/run/{CHILD_DAG}/{asking.record.run_id}")
    page.get_by_role("button", name="Actions").click()
    dialog = page.get_by_role("dialog", name="Actions")
    do(dialog, "End the child run")
    dialog.get_by_text("Done:").wait_for()
    dialog.get_by_role("button", name="Close").click()
    page.locator(".lane", has_text="failed").wait_for()


def test_reconciler_is_at_the_top(sign_in: SignIn, still: Still) -> None:
    from airflow_durable.server.reconciler import Reconciler

    long_ago = datetime.now(tz=timezone.utc) - timedelta(hours=2)
    asking = still.world.parent(state="failed", tasks={"first": "running"})
    still.world.set_task(PARENT_DAG, asking.parent.run_id, "trigger", "failed", end_date=long_ago)
    page = sign_in()
    frame = open_page(page, still)
    shown = frame.get_by_role("group", name="Reconciler")
    shown.get_by_text("Nobody acts on what waits.").wait_for()
    assert "Off in this API server. 1 request waits for it, the oldest since" in shown.inner_text()
    open_timeline(frame, asking.record.run_id)
    frame.locator(".story").get_by_text("Waits for the reconciler to end the child run").wait_for()
    for mode in ("dark", "light"):
        page.evaluate("mode => document.documentElement.className = mode", mode)
        assert violations(inner_frame(page)) == []
    # One that runs elsewhere.
    Reconciler(still.world.open).turn()
    shown.get_by_text("Nothing waits for it.").wait_for()
    shown.get_by_text("What it did last").click()
    assert f"Ended {asking.record.run_id} of {CHILD_DAG}" in shown.inner_text()
    frame.locator(".story").get_by_text("The reconciler ended").wait_for()
    assert violations(inner_frame(page)) == []
    assert too_wide(inner_frame(page)) == []
    frame.locator(".story").get_by_role("link", name="Audit log").click()
    page.wait_for_url(f"**/dags/{CHILD_DAG}/runs/**/events")
    page.get_by_text("durable.cancel").first.wait_for()


@pytest.mark.parametrize("mode", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, PHONE])
def test_dialog_is_accessible_and_fits(sign_in: SignIn, still: Still, mode: Mode, width: int) -> None:
    asking = still.world.parent(state="failed")
    page = sign_in("eve", mode=mode, width=width)
    _, dialog = open_dialog(page, still, asking)
    dialog.get_by_role("radio").first.press("Space")
    inner = inner_frame(page)
    assert violations(inner) == []
    assert too_wide(inner) == []
    assert dialog.evaluate("one => one.scrollWidth <= one.clientWidth")
    do(dialog, "End the child run")
    dialog.get_by_text("Done:").wait_for()
    assert violations(inner) == []


@pytest.mark.parametrize("width", [1280, PHONE])
def test_task_with_many_children_is_one_row(sign_in: SignIn, still: Still, width: int) -> None:
    with Session(still.world.engine) as session:
        items = Items.of_keys([f"region-{number}" for number in range(200)])
        many = Many.make(Rows(session), items, dag_id=PARENT_DAG, child_dag_id=CHILD_DAG)
        many.start(range(120), "success")
        many.start(range(120, 150), "failed")
        many.start(range(150, 180), "running")
    page = sign_in(width=width)
    frame = open_page(page, still)
    row = row_of(frame, "load")
    row.get_by_text("120 of 200 done, 30 failed, 30 running, 20 to start").wait_for()
    assert row_of(frame, "").count() == 1
    row.get_by_role("img", name="120 of 200 done").wait_for()
    open_timeline(frame, "load")
    assert frame.locator(".failed-items li").count() == 20
    frame.get_by_text("and 10 more.").wait_for()
    assert frame.get_by_role("button", name="Actions").count() == 0
    assert violations(inner_frame(page)) == []
    assert too_wide(inner_frame(page)) == []
    with Session(still.world.engine) as session:
        many.rows = Rows(session)
        many.start(range(180, 200), "success")
    row.get_by_text("140 of 200 done, 30 failed, 30 running").wait_for()
    frame.get_by_role("link", name="region-149").click()
    page.wait_for_url(f"**/dags/{CHILD_DAG}/runs/**region-149**")
