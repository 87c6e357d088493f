"""What the page shows: its rows, filters, pages and timelines."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from airflow_durable.core.stored import KEY, dump
from airflow_durable.metadata.reads import KEYS_AT_ONCE
from tests.adapters.versions import needs_store
from tests.support.waits_rows import make_record, minutes

if TYPE_CHECKING:
    from tests.support.waits_rows import Rows

    from .conftest import Client

pytestmark = needs_store

BASE = "/durable-waits"


def get(application: Client, path: str, user: str = "admin") -> str:
    response = application(user).get(f"{BASE}{path}")
    assert response.status_code == 200, response.text
    return str(response.text)


def ids_in(html: str) -> list[int]:
    return [int(found) for found in re.findall(r'<tr [^>]*data-wait="(\d+)"', html)]


def number_called(html: str, name: str) -> str:
    found = re.search(rf'<span class="number">([^<]*)</span><span class="name"[^>]*>{name}</span>', html)
    assert found is not None
    return found.group(1)


def test_row_tells_all_of_parent_and_child(application: Client, rows: Rows) -> None:
    rows.wait("alpha", "nightly", decisions=("fresh_submit", "reconnect"), task_id="load", map_index=3)
    html = get(application, "/rows")
    for link in (
        "/dags/alpha",
        "/dags/alpha/runs/nightly",
        "/dags/alpha/runs/nightly/tasks/load/mapped/3",
        "/dags/alpha_child",
        "/dags/alpha_child/runs/child",
    ):
        assert f'href="{link}"' in html
    assert html.count("state-running") == 2
    assert "try 2" in html
    assert 'datetime="2026-03-01T12:00:00+00:00"' in html
    assert re.findall(r"<b>(\d)</b>(\w+)", html) == [("1", "started"), ("2", "reconnected")]
    assert '<span class="recovered">' in html


def test_row_of_first_attempt_is_not_recovered(application: Client, rows: Rows) -> None:
    rows.wait()
    assert '<span class="recovered">' not in get(application, "/rows")


def test_child_that_is_not_there_is_named_without_link(application: Client, rows: Rows) -> None:
    rows.wait(child_state=None)
    html = get(application, "/rows")
    assert "not there" in html
    assert "/dags/alpha_child/runs/child" not in html


@pytest.mark.parametrize("value", ["no JSON {", "[]", '{"version": 99}', '"a reference"'])
def test_record_that_cannot_be_read_is_said_so(application: Client, rows: Rows, value: str) -> None:
    wait_id = rows.wait(value=value)
    assert "cannot be read" in get(application, "/rows")
    assert "cannot be read" in get(application, f"/wait/{wait_id}")
    assert number_called(get(application, "/totals"), "Recorded waits") == "1"


@pytest.mark.parametrize("name", ["\ud800", "nul\x00", "x" * 5000])
def test_record_with_a_name_that_no_database_takes_harms_no_others(application: Client, rows: Rows, name: str) -> None:
    rows.wait("alpha", "run")
    wait_id = rows.wait("beta", "run", child=("beta_child", name), child_state=None)
    for user in ("admin", "limited"):
        for path in ("/totals", "/api/totals", "/api/metrics", "/rows", "/api/waits", "/"):
            assert get(application, path, user)
    assert "cannot be read" in get(application, f"/wait/{wait_id}")
    assert number_called(get(application, "/totals"), "Recorded waits") == "2"


@pytest.mark.parametrize("key", ["remote_job", "durable_child_runsx", "durable_child_runs_1"])
def test_other_keys_of_the_store_are_no_waits(application: Client, rows: Rows, key: str) -> None:
    run = rows.run("alpha", "run")
    rows.insert(
        "task_state_store",
        dag_run_id=run,
        dag_id="alpha",
        run_id="run",
        task_id="t",
        map_index=-1,
        key=key,
        value='"x"',
        updated_at=minutes(0),
    )
    assert ids_in(get(application, "/rows")) == []


def test_filters(application: Client, rows: Rows) -> None:
    waiting = rows.wait("alpha", "r1")
    deferred = rows.wait(
        "beta", "r2", child=("beta_child", "c2"), state="deferred", decisions=("fresh_submit", "reconnect")
    )
    done = rows.wait(
        "alpha", "r3", child=("beta_child", "c3"), state="success", is_consumed=True, decisions=("fresh_submit",) * 2
    )
    assert ids_in(get(application, "/rows")) == [done, deferred, waiting]
    assert ids_in(get(application, "/rows?dag_id=alpha")) == [done, waiting]
    assert ids_in(get(application, "/rows?dag_id=LPH")) == [done, waiting], "a part of the name, in capitals or not"
    assert ids_in(get(application, "/rows?child_dag_id=beta_child")) == [done, deferred]
    assert ids_in(get(application, "/rows?state=success")) == [done]
    assert ids_in(get(application, "/rows?state=waiting")) == [deferred, waiting]
    assert ids_in(get(application, "/rows?recovered=true")) == [deferred]
    assert ids_in(get(application, "/rows?recovered=true&dag_id=alpha")) == []
    assert "No waits match" in get(application, "/rows?dag_id=gamma")


def test_filter_is_not_a_pattern(application: Client, rows: Rows) -> None:
    rows.wait(child=("aXb", "c"))
    assert ids_in(get(application, "/rows?child_dag_id=a_b")) == []
    assert ids_in(get(application, "/rows?child_dag_id=%25")) == []
    assert len(ids_in(get(application, "/rows?child_dag_id=aXb"))) == 1


def test_pages_lead_through_all_waits_and_back(application: Client, rows: Rows) -> None:
    made = [rows.wait("alpha", f"r{number}", child=("alpha_child", f"c{number}")) for number in range(120)]
    path, seen, pages = "/", [], []
    while path:
        html = get(application, path)
        pages.append(path)
        seen += ids_in(html)
        found = re.search(r'href="/durable-waits(/[^"]*)" rel="next"', html)
        path = found.group(1) if found else ""
    assert seen == list(reversed(made))
    assert len(pages) == 3
    back = re.search(r'href="/durable-waits(/[^"]*)" rel="prev"', html)
    assert back is not None
    assert ids_in(get(application, back.group(1))) == list(reversed(made))[50:100]
    assert 'rel="prev"' not in get(application, "/")


def test_page_before_the_newest_is_the_first(application: Client, rows: Rows) -> None:
    made = [rows.wait("alpha", f"r{number}", child=("alpha_child", f"c{number}")) for number in range(60)]
    html = get(application, f"/?after={made[40]}")
    assert ids_in(html) == list(reversed(made))[:50]
    assert 'rel="prev"' not in html


def test_totals(application: Client, rows: Rows) -> None:
    # Took over after 10 minutes, and again after 20; its child goes on.
    rows.wait("alpha", "r1", decisions=("fresh_submit", "reconnect", "reconnect"))
    # Took over after 10 minutes a child that had ended after 4.
    rows.wait(
        "alpha",
        "r2",
        child=("alpha_child", "c2"),
        decisions=("fresh_submit", "already_succeeded"),
        state="success",
        is_consumed=True,
        child_state="success",
        child_end=minutes(4),
    )
    # The stock operator would have failed, not started a second run: no duplicate was avoided.
    rows.wait("alpha", "r3", child=("alpha_child", "fixed"), decisions=("fresh_submit", "reconnect"), is_fixed=True)
    # Nothing was taken over: the first child had failed.
    rows.wait("alpha", "r4", child=("alpha_child", "c4"), decisions=("fresh_submit", "terminal_resubmit"))
    html = get(application, "/totals")
    assert number_called(html, "Waiting now") == "3"
    assert number_called(html, "Recovered") == "3"
    assert number_called(html, "Duplicates avoided") == "3"
    assert number_called(html, "Child work not repeated") == "24 min"  # 20 + 4
    assert number_called(html, "Recorded waits") == "4"
    assert len(ids_in(get(application, "/rows?recovered=true"))) == 3
    assert len(ids_in(get(application, "/rows?state=waiting"))) == 3


def test_timeline_shows_the_child_straight_through_the_crash(application: Client, rows: Rows) -> None:
    wait_id = rows.wait(
        decisions=("fresh_submit", "reconnect"), state="success", child_state="success", child_end=minutes(14)
    )
    html = get(application, f"/wait/{wait_id}?part=true")
    assert "<html" not in html
    bars = re.findall(
        r'<rect class="bar (\w+) fill-([\w-]+)( is-cut-off)?" x="([\d.]+)%" y="\d+" width="([\d.]+)%"', html
    )
    assert [bar[0] for bar in bars] == ["try", "try", "child"]
    first, second, child = [(float(left), float(left) + float(width)) for *_, left, width in bars]
    assert bars[0][2], "the first try is marked"
    assert not bars[1][2]
    assert child[0] <= first[0]
    assert child[1] > second[0] > first[1]
    assert "try 1 cut off" in html
    assert "try 1 crashed" not in html


def test_lost_worker_is_called_a_crash(application: Client, rows: Rows) -> None:
    wait_id = rows.wait(decisions=("fresh_submit", "reconnect"))
    rows.insert(
        "log",
        dttm=minutes(5),
        dag_id="alpha",
        run_id="run",
        task_id="trigger",
        map_index=-1,
        try_number=1,
        event="heartbeat timeout",
    )
    assert "try 1 crashed" in get(application, f"/wait/{wait_id}")


def test_crash_of_an_earlier_life_is_not_the_trys(application: Client, rows: Rows) -> None:
    """A Dag run that was deleted and created again has the same names in the audit log."""
    wait_id = rows.wait(decisions=("fresh_submit", "reconnect"))
    names = {"dag_id": "alpha", "run_id": "run", "task_id": "trigger", "map_index": -1, "try_number": 1}
    rows.insert("log", dttm=minutes(-500), event="heartbeat timeout", **names)
    assert "try 1 crashed" not in get(application, f"/wait/{wait_id}")


def test_timeline_leads_to_the_actions(application: Client, rows: Rows) -> None:
    wait_id = rows.wait()
    button = f'data-actions="{BASE}/wait/{wait_id}/actions"'
    for path in (
        f"/wait/{wait_id}",
        f"/wait/{wait_id}?part=true",
        "/run/alpha_child/child",
        "/task/alpha/trigger/-1/run",
    ):
        assert get(application, path).count(button) == 1, path


def test_run_tells_who_waits_for_it_and_for_whom_it_waits(application: Client, rows: Rows) -> None:
    wait_id = rows.wait("alpha", "run")
    inner = rows.wait("alpha_child", "child", child=("grandchild", "g"))
    html = get(application, "/run/alpha_child/child")
    assert ids_in(html) == [wait_id, inner]
    assert "/dags/alpha/runs/run/tasks/trigger" in html
    assert ids_in(get(application, "/run/alpha/run")) == [wait_id]
    assert ids_in(get(application, "/run/grandchild/g")) == [inner]


def test_generated_run_id_leads_to_its_parent(application: Client, rows: Rows) -> None:
    """That of release 0.1.0, which held the id of its try."""
    task_instance_id = uuid4()
    run_id = f"manual__durable_{task_instance_id.hex}_0"
    wait_id = rows.wait(child=("alpha_child", run_id), task_instance_id=task_instance_id)
    rows.wait("alpha", "other", child=("alpha_child", "other"))
    assert ids_in(get(application, f"/run/alpha_child/{run_id}")) == [wait_id]
    assert ids_in(get(application, f"/run/alpha_child/manual__durable_{uuid4().hex}_0")) == []


def test_run_id_with_a_plus_is_found(application: Client, rows: Rows) -> None:
    rows.wait(child=("alpha_child", "manual__2026-01-01T00:00:00+00:00"))
    assert len(ids_in(get(application, "/run/alpha_child/manual__2026-01-01T00:00:00+00:00"))) == 1
    assert len(ids_in(get(application, "/run/alpha_child/manual__2026-01-01T00%3A00%3A00%2B00%3A00"))) == 1


@pytest.mark.parametrize("date", ["2026-01-01", "2026-01-01T00:00:00", "9999-99-99T99:99:99+00:00"])
def test_tab_of_a_run_whose_id_looks_generated(application: Client, rows: Rows, date: str) -> None:
    run_id = f"manual__{date}_backfillplan"
    wait_id = rows.wait(child=("alpha_child", run_id))
    assert ids_in(get(application, f"/run/alpha_child/{run_id}")) == [wait_id]


def test_each_instance_of_a_large_mapped_task_has_its_wait(application: Client, rows: Rows) -> None:
    count = KEYS_AT_ONCE + 1
    rows.wait(map_index=0)
    names = {"dag_id": "alpha", "run_id": "run", "task_id": "trigger"}
    dag_run_id = rows.dag_run_id("alpha", "run")
    record = json.dumps(dump(make_record(("alpha_child", "child"), ("fresh_submit",))))
    stored = {"key": KEY, "value": record, "dag_run_id": dag_run_id, "updated_at": minutes(1)}
    instance = {"try_number": 1, "state": "running", "start_date": minutes(0), "max_tries": 3}
    indexes = range(1, count)
    rows.insert_many("task_instance", [{**names, **instance, "id": uuid4(), "map_index": one} for one in indexes])
    rows.insert_many("task_state_store", [{**names, **stored, "map_index": one} for one in indexes])
    for index in (0, 1, count - 1):
        assert len(ids_in(get(application, f"/task/alpha/trigger/{index}/run"))) == 1
    html = get(application, "/run/alpha/run")
    assert len(ids_in(html)) == KEYS_AT_ONCE
    assert f"The newest {KEYS_AT_ONCE} are shown" in html
