"""What the page shows where there is no task state store: Airflow 3.1 and 3.2, and one that is made to have none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from airflow_durable.core.model import Parent
from airflow_durable.core.run_ids import child_run_id
from airflow_durable.metadata.tables import load_tables
from tests.adapters.versions import needs_pages
from tests.support.waits_rows import NOON

if TYPE_CHECKING:
    from tests.support.waits_rows import Rows

    from .conftest import Client

pytestmark = needs_pages


@pytest.fixture(autouse=True)
def no_store(monkeypatch: pytest.MonkeyPatch, application: Client) -> None:
    monkeypatch.setattr(load_tables(), "store", None)


def generated(dag_id: str) -> str:
    """Return the run id of a parent's first child."""
    return child_run_id(Parent(dag_id, "run", "trigger", -1, NOON), epoch=0, call=1, generation=0)


def test_page_says_so_and_shows_the_child_runs(application: Client, rows: Rows) -> None:
    run_id = generated("parent")
    rows.run("alpha_child", run_id, "success")
    rows.run("alpha_child", "manual__x", "success")
    rows.run("alpha_child", "manual__durableXrun", "success")
    rows.run("secret", generated("other"))
    html = application("admin").get("/durable-waits/").text
    assert "no task state store" in html
    assert html.count("<tr>") == 1 + 2
    html = application("limited").get("/durable-waits/").text
    assert run_id in html
    assert "secret" not in html
    assert html.count("<tr>") == 1 + 1


def test_child_runs_come_in_pages(application: Client, rows: Rows) -> None:
    for number in range(60):
        rows.run("alpha_child", generated(str(number)))
    client = application("admin")
    first = client.get("/durable-waits/").text
    assert first.count("<tr>") == 1 + 50
    older = first.split('href="/durable-waits/?before=')[1].split('"')[0]
    assert client.get(f"/durable-waits/?before={older}").text.count("<tr>") == 1 + 10


def test_the_rest_is_not_there(application: Client, rows: Rows) -> None:
    rows.run("alpha_child", "child")
    client = application("admin")
    for path in ("/rows", "/totals", "/wait/1"):
        assert client.get(f"/durable-waits{path}").status_code == 404
    assert "no task state store" in client.get("/durable-waits/run/alpha_child/child").text


def test_nobody_enters_here_either(application: Client) -> None:
    for path in ("/", "/rows", "/totals", "/wait/1", "/run/a/b"):
        assert application(None).get(f"/durable-waits{path}").status_code == 401
