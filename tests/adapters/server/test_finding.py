"""Finding a wait: filters, orders, counts, exports, and what needs attention."""

from __future__ import annotations

import csv
import io
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

import pytest

from airflow_durable.core.model import Decision
from airflow_durable.server.model import Concern
from airflow_durable.server.paging import Sort
from tests.adapters.versions import needs_store
from tests.support.waits_rows import minutes

from .test_page import BASE, get, ids_in

if TYPE_CHECKING:
    from tests.support.waits_rows import Rows

    from .conftest import Client

pytestmark = needs_store


def ago(**length: float) -> datetime:
    return datetime.now(tz=timezone.utc) - timedelta(**length)


@pytest.mark.parametrize("decision", list(Decision))
def test_every_decision_has_words(application: Client, rows: Rows, decision: Decision) -> None:
    wait_id = rows.wait(decisions=("fresh_submit", decision.value))
    for path in ("/rows", f"/wait/{wait_id}", f"/api/waits/{wait_id}"):
        get(application, path)
    assert ids_in(get(application, f"/rows?decision={decision.value}")) == [wait_id]


def test_filters_by_part_of_a_name(application: Client, rows: Rows) -> None:
    first = rows.wait("alpha", "scheduled__1", child=("Children_of_A", "manual__A1"), task_id="load")
    second = rows.wait("beta", "scheduled__2", child=("other", "manual__B2"), task_id="trigger_Load")
    for query, expected in {
        "task_id=LOAD": [second, first],
        "task_id=trigger": [second],
        "run_id=ED__1": [first],
        "run_id=b2": [second],
        "run_id=manual": [second, first],
        "child_dag_id=children": [first],
        "child_dag_id=": [second, first],
        "task_id=_": [second],
        "task_id=%25": [],
        "mode=wait": [second, first],
        "mode=defer": [],
        "mode=nonsense": [second, first],
    }.items():
        assert ids_in(get(application, f"/rows?{query}")) == expected, query


def test_child_is_found_among_many_dags_of_the_same_name(application: Client, rows: Rows) -> None:
    for number in range(30):
        rows.dag(f"child_{number}")
    wait_id = rows.wait(child=("child_7", "c"))
    rows.wait("alpha", "r2", child=("another", "c2"))
    assert ids_in(get(application, "/rows?child_dag_id=CHILD_")) == [wait_id]


def test_filter_by_time(application: Client, rows: Rows) -> None:
    wait_id = rows.wait()  # last changed at noon, UTC
    for query, expected in {
        "from=2026-03-01T12:00:00Z": [wait_id],
        "from=2026-03-01T12:00:01Z": [],
        "to=2026-03-01T12:00:01Z": [wait_id],
        "to=2026-03-01T12:00:00": [],
        "from=2026-03-01T13:00:00%2B01:00": [wait_id],
    }.items():
        assert ids_in(get(application, f"/rows?{query}")) == expected, query


def test_orders(application: Client, rows: Rows) -> None:
    long = rows.wait("b", "r1", child=("y", "c1"), decisions=("fresh_submit",))
    short = rows.wait("a", "r2", child=("z", "c2"), state="success", is_consumed=True, child_state="success")
    many = rows.wait(
        "c", "r3", child=("x", "c3"), decisions=("fresh_submit",) * 3, state="failed", child_state="failed"
    )
    for order, expected in {
        "-duration": [long, many, short],
        "duration": [short, many, long],
        "parent": [short, long, many],
        "-parent": [many, long, short],
        "child": [many, long, short],
        "tries": [long, short, many],
        "-tries": [many, long, short],
        "state": [many, long, short],
        "changed": [long, short, many],
        "-changed": [many, short, long],
    }.items():
        html = get(application, f"/rows?sort={order}")
        assert sorted(ids_in(html)) == sorted(expected)
        if order in {"tries", "-tries"}:
            assert ids_in(html)[0 if order == "-tries" else -1] == many
        else:
            assert ids_in(html) == expected, order
        direction = "descending" if order.startswith("-") else "ascending"
        if order not in {"changed", "-changed"}:
            assert html.count(f'aria-sort="{direction}"') == 1


@pytest.mark.parametrize("order", [one.value for one in Sort])
def test_pages_in_every_order_lead_through_all_and_back(application: Client, rows: Rows, order: str) -> None:
    made = [rows.wait("alpha", f"r{number:03}", child=("alpha_child", f"c{number:03}")) for number in range(70)]
    for sign in ("", "-"):
        html = get(application, f"/rows?sort={sign}{order}")
        first = ids_in(html)
        following = (
            html.split('rel="next"')[0].rsplit('href="/durable-waits/', 1)[1].split('"')[0].replace("&amp;", "&")
        )
        html = get(application, f"/rows{following}")
        second = ids_in(html)
        assert sorted(first + second) == made
        assert len(second) == 20
        back = html.split('rel="prev"')[0].rsplit('href="/durable-waits/', 1)[1].split('"')[0].replace("&amp;", "&")
        assert ids_in(get(application, f"/rows{back}")) == first


def test_count(application: Client, rows: Rows) -> None:
    for number in range(3):
        rows.wait("alpha", f"r{number}", child=("alpha_child", f"c{number}"), decisions=("fresh_submit", "reconnect"))
    rows.wait("beta", "r", child=("alpha_child", "c"))
    for query, number in {"": 4, "?dag_id=alp": 3, "?recovered=true": 3, "?child_dag_id=nothing": 0}.items():
        assert application("admin").get(f"{BASE}/count{query}").json()["count"] == number


def test_search_ends_and_says_where_it_can_continue(
    application: Client, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow_durable.server import queries

    found = rows.wait("alpha", "first", child=("alpha_child", "looked_for"), decisions=("fresh_submit",))
    # Each of the others misleads the query: its run's name is not the one that is looked for, its child's Dag is.
    for number in range(3):
        rows.wait("alpha", f"r{number}", child=("looked_for_dag", f"c{number}"))
    monkeypatch.setattr(queries, "MOST_READ", 1)
    monkeypatch.setattr(queries, "KEYS_AT_ONCE", 2)
    html = get(application, "/rows?run_id=looked_for")
    seen = ids_in(html)
    while "Search the older ones" in html:
        following = html.split("The search stopped")[1].split('href="/durable-waits/')[1].split('"')[0]
        html = get(application, f"/rows{following.replace('&amp;', '&')}")
        seen += ids_in(html)
    assert seen == [found]


def test_exports_have_what_the_filters_select(application: Client, rows: Rows) -> None:
    wait_id = rows.wait("alpha", "r1", decisions=("fresh_submit", "reconnect"))
    rows.wait("beta", "r2", child=("beta_child", "c2"))
    response = application("admin").get(f"{BASE}/export.csv?dag_id=alpha")
    (row,) = csv.DictReader(io.StringIO(response.text))
    assert (row["id"], row["dag_id"], row["child_run_id"]) == (str(wait_id), "alpha", "child")
    assert row["decisions"] == "1:fresh_submit 2:reconnect"
    assert 'filename="durable-waits.csv"' in response.headers["content-disposition"]
    waits = application("admin").get(f"{BASE}/export.json").json()["waits"]
    assert [one["dag_id"] for one in waits] == ["beta", "alpha"]


def test_export_reads_on_beyond_one_query(application: Client, rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow_durable.server import api, queries

    made = [rows.wait("alpha", f"r{number}", child=("alpha_child", f"c{number}")) for number in range(7)]
    monkeypatch.setattr(queries, "KEYS_AT_ONCE", 3)
    waits = application("admin").get(f"{BASE}/export.json").json()["waits"]
    assert [one["id"] for one in waits] == list(reversed(made))
    monkeypatch.setattr(api, "MOST_EXPORTED", 5)
    assert len(application("admin").get(f"{BASE}/export.json").json()["waits"]) == 5


def test_api_leads_through_all_waits(application: Client, rows: Rows) -> None:
    made = [rows.wait("alpha", f"r{number}", child=("alpha_child", f"c{number}")) for number in range(60)]
    client, path, seen = application("admin"), f"{BASE}/api/waits?dag_id=alpha", []
    while path:
        answer = client.get(path).json()
        seen += [wait["id"] for wait in answer["waits"]]
        path = answer["next"]
    assert seen == list(reversed(made))
    one = client.get(f"{BASE}/api/waits/{made[0]}").json()
    assert [run["run_id"] for run in one["timeline"]["child_runs"]] == ["c0"]
    assert [tried["decision"] for tried in one["timeline"]["tries"]] == ["fresh_submit"]
    totals = client.get(f"{BASE}/api/totals").json()
    assert (totals["waiting"], totals["records"]) == (60, 60)
    assert totals["oldest_wait_seconds"] > 0


@pytest.mark.parametrize("path", ["/api/waits?sort=nothing", "/api/waits/0", "/api/nothing"])
def test_api_reports_errors_as_json(application: Client, rows: Rows, path: str) -> None:
    response = application("admin").get(f"{BASE}{path}")
    assert response.status_code in {404, 422}
    assert response.json()["detail"]


@pytest.mark.parametrize("path", ["/?sort=nothing", "/?from=yesterday", "/?before=-1", "/wait/999", "/nothing"])
def test_error_has_the_look_of_the_page_and_a_way_back(application: Client, rows: Rows, path: str) -> None:
    html = application("admin").get(f"{BASE}{path}").text
    assert "<h1>" in html
    assert 'href="/durable-waits/"' in html
    assert "detail" not in html


def test_attention(application: Client, rows: Rows) -> None:
    silent = rows.wait("alpha", "r1", child=("alpha_child", "c1"), last_heartbeat_at=ago(seconds=60))
    alive = rows.wait("alpha", "r2", child=("alpha_child", "c2"), last_heartbeat_at=ago(seconds=3))
    queued = rows.wait("alpha", "r3", child=("alpha_child", "c3"), state="deferred", child_state="queued")
    paused = rows.wait("alpha", "r4", child=("paused_child", "c4"), state="deferred")
    rows.pause("paused_child")
    rows.wait("alpha", "r5", child=("paused_child", "c5"), state="success", is_consumed=True)
    html = get(application, "/totals")
    for concern, wait_id in {Concern.SILENT: silent, Concern.QUEUED: queued, Concern.PAUSED: paused}.items():
        assert f"state={concern.value}" in html
        assert ids_in(get(application, f"/rows?state={concern.value}")) == [wait_id]
    assert "no heartbeat since <time" in get(application, "/rows?run_id=r1")
    assert "no heartbeat" not in get(application, "/rows?run_id=r2")
    totals = application("admin").get(f"{BASE}/api/totals").json()
    assert totals["concerns"] == {"no_heartbeat": 1, "child_queued": 1, "child_paused": 1}
    # Of another's children a user learns nothing here either.
    assert application("limited").get(f"{BASE}/api/totals").json()["concerns"] == {"no_heartbeat": 1, "child_queued": 1}
    for user, children in (("admin", "1"), ("limited", "0")):
        gauges = dict(
            line.rsplit(" ", 1)
            for line in application(user).get(f"{BASE}/api/metrics").text.splitlines()
            if not line.startswith("#")
        )
        assert float(gauges.pop("airflow_durable_oldest_wait_seconds")) > 0
        assert gauges == {
            "airflow_durable_waits_left_out": "0",
            "airflow_durable_waiting": "4",
            "airflow_durable_parents_without_heartbeat": "1",
            "airflow_durable_children_queued": "1",
            "airflow_durable_children_paused": children,
            "airflow_durable_reconciler_queue": "0",
            "airflow_durable_reconciler_lag_seconds": "0",
            "airflow_durable_reconciler_left_alone": "0",
        }
    assert alive in ids_in(get(application, "/rows?state=waiting&sort=-duration"))


def test_what_is_left_out_is_said(application: Client, rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_durable.server.attention.MOST_WAITING", 2)
    for number in range(3):
        rows.wait("alpha", f"r{number}", child=("alpha_child", f"c{number}"))
    assert "More than 2 parents wait in all" in get(application, "/totals")
    assert "airflow_durable_waits_left_out 1" in application("admin").get(f"{BASE}/api/metrics").text


def test_silent_parent_says_what_airflow_will_do_in_the_words_of_the_command_line(
    application: Client, rows: Rows
) -> None:
    from airflow_durable.wording import HeartbeatLimits, describe_silence

    heard = ago(seconds=60).replace(microsecond=0)
    wait_id = rows.wait(last_heartbeat_at=heard)
    now = datetime.now(tz=timezone.utc)
    words = describe_silence(heard, now, HeartbeatLimits(), has_next_try=True)
    for html in (get(application, "/rows"), get(application, f"/wait/{wait_id}")):
        assert words in _without_tags(html)


def _without_tags(html: str) -> str:
    import re

    return re.sub("<[^>]*>", "", html)


def test_mapped_instances_are_grouped(application: Client, rows: Rows) -> None:
    first = [rows.wait("alpha", "run", child=("alpha_child", f"c{index}"), map_index=index) for index in range(3)]
    other = rows.wait("beta", "run", child=("alpha_child", "c"))
    html = get(application, "/rows")
    assert ids_in(html) == [other, *reversed(first)]
    assert html.count('class="group"') == 1
    assert "3 mapped instances" in html
    assert html.count("data-group=") == 3


def test_tab_of_a_task_instance(application: Client, rows: Rows) -> None:
    run_id = "scheduled__2026-01-01T00:00:00+00:00"
    plain = rows.wait("alpha", run_id, child=("alpha_child", "c"))
    mapped = rows.wait("alpha", run_id, child=("alpha_child", "c1"), map_index=1, task_id="many")
    # What Airflow leaves of the address's pattern where there is no map index.
    for index in ("{MAP_INDEX}", "%7BMAP_INDEX%7D", "-1"):
        html = get(application, f"/task/alpha/trigger/{index}/{run_id}")
        assert ids_in(html) == [plain]
        assert 'role="img"' in html
    assert ids_in(get(application, f"/task/alpha/many/1/{run_id}")) == [mapped]
    quiet = get(application, f"/task/alpha/other/-1/{run_id}")
    assert ids_in(quiet) == []
    assert "has not waited durably" in quiet
    assert application("limited").get(f"{BASE}/task/secret/trigger/-1/run").status_code == 404


def test_ways_on_from_a_try(application: Client, rows: Rows) -> None:
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
    html = get(application, f"/wait/{wait_id}")
    for number in (1, 2):
        assert f'href="/dags/alpha/runs/run/tasks/trigger?try_number={number}"' in html
    assert 'href="/dags/alpha/runs/run/tasks/trigger/events"' in html
