"""Tasks with many children on the page: one row with a bar for the whole, its failed items, and what it costs."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from airflow_durable.core.items import Items
from tests.adapters.versions import needs_store
from tests.support.ledger_rows import Many

from .test_cost import steps_of
from .test_page import BASE, get, ids_in

if TYPE_CHECKING:
    from tests.support.waits_rows import Rows

    from .conftest import Client

pytestmark = needs_store
TEN = Items(10)
KEYS = Items.of_keys(["north", "south", "east/west", "a key of Mr. Ö", "r1"])
SECRET = "hunter2"


def counts_of(application: Client, many: Many, user: str = "admin") -> dict[str, Any]:
    shown = application(user).get(f"{BASE}/api/waits/{many.wait_id}").json()["items"]
    return {name: shown[name] for name in ("count", "done", "failed", "running", "to_start")}


def test_one_row_with_a_bar_for_the_whole(application: Client, rows: Rows) -> None:
    many = Many.make(rows, TEN)
    many.start(range(5), "success")
    many.start([5], "failed")
    many.start([6, 7], "running")
    many.start([8], "queued")
    html = get(application, "/")
    assert ids_in(html) == [many.wait_id]
    text = " ".join(re.sub(r"<[^>]+>", " ", html).split())
    assert "5 of 10 done, 1 failed , 3 running, 1 to start" in text
    assert counts_of(application, many) == {"count": 10, "done": 5, "failed": 1, "running": 3, "to_start": 1}
    detail = get(application, f"/wait/{many.wait_id}")
    assert "10 items" in detail
    assert many.run_id(5).replace("+", "&#43;") in detail or many.run_id(5) in detail
    assert "data-actions" not in detail, "the actions know one child run"
    for path in ("/task/alpha/load/-1/run", "/run/alpha/run", "/rows", f"/wait/{many.wait_id}?part=true"):
        assert "5 of 10 done" in get(application, path), path


def text_of(html: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


@pytest.mark.parametrize("state", ["failed", "skipped", "upstream_failed", "removed", "success"])
def test_no_item_is_to_start_once_the_parent_has_ended(application: Client, rows: Rows, state: str) -> None:
    many = Many.make(rows, TEN, state=state)
    many.start(range(5), "success")
    many.start([5], "failed")
    for path in ("/", f"/wait/{many.wait_id}"):
        text = text_of(get(application, path))
        assert "5 of 10 done, 1 failed , 4 not started" in text, path
        assert "to start" not in text, path
    assert "All child runs, failed. " in get(application, f"/wait/{many.wait_id}")


@pytest.mark.parametrize("state", ["deferred", "running", "up_for_retry", "queued"])
def test_the_whole_goes_on_while_items_are_to_start(application: Client, rows: Rows, state: str) -> None:
    """Also in the moment in which no run is active."""
    many = Many.make(rows, TEN, state=state)
    many.start(range(4), "success")
    detail = get(application, f"/wait/{many.wait_id}")
    assert "4 of 10 done, 6 to start" in text_of(detail)
    assert re.search(r"All child runs, running\. \{[^}]*\} to now", detail)


def test_tolerated_failures_are_no_failure_of_the_whole(application: Client, rows: Rows) -> None:
    taken, open_one = (
        Many.make(rows, TEN, state=state, task_id=state, is_consumed=state == "success")
        for state in ("success", "deferred")
    )
    for many in (taken, open_one):
        many.start(range(9), "success")
        many.start([9], "failed")
    assert "All child runs, success. " in get(application, f"/wait/{taken.wait_id}")
    assert "9 of 10 done, 1 failed" in text_of(get(application, f"/wait/{taken.wait_id}"))
    assert "All child runs, failed. " in get(application, f"/wait/{open_one.wait_id}")


def test_a_failed_try_leads_to_its_failed_items_and_to_no_run_that_may_be_fine(application: Client, rows: Rows) -> None:
    many = Many.make(rows, TEN, state="failed")
    many.start(range(9), "success")
    many.start([9], "failed")
    detail = get(application, f"/wait/{many.wait_id}")
    assert "Failed child run<" not in detail
    assert 'class="item"' in detail


def test_a_failed_item_that_was_started_again_counts_once(application: Client, rows: Rows) -> None:
    many = Many.make(rows, TEN, generation=2)
    many.start(range(10), "failed")
    many.start(range(6), "failed", 1)
    many.start(range(4), "success", 2)
    many.start([4], "running", 2)
    assert counts_of(application, many) == {"count": 10, "done": 4, "failed": 5, "running": 1, "to_start": 0}
    shown = application("admin").get(f"{BASE}/api/waits/{many.wait_id}").json()["items"]["failed_items"]
    assert {one["item"] for one in shown} == {"5", "6", "7", "8", "9"}
    assert {one["run_id"] for one in shown} == {many.run_id(5, 1), *map(many.run_id, range(6, 10))}


def test_keys_are_shown_as_the_run_id_shows_them(application: Client, rows: Rows) -> None:
    many = Many.make(rows, KEYS)
    many.start(range(5), "failed")
    shown = application("admin").get(f"{BASE}/api/waits/{many.wait_id}").json()["items"]
    assert (shown["failed"], shown["done"]) == (5, 0)
    names = {one["item"] for one in shown["failed_items"]}
    assert {re.sub(r"-[a-z2-7]{12}$", "", name) for name in names} == {
        "north", "south", "east-west", "a-key-of-Mr.--", "r1",
    }  # fmt: skip


@pytest.mark.parametrize("items", [TEN, KEYS])
def test_another_parents_children_are_not_counted(application: Client, rows: Rows, items: Items) -> None:
    # The same date, the same child Dag: another task of the Dag run, another instance of it, another Dag.
    own = Many.make(rows, items)
    others = [
        Many.make(rows, items, task_id="other"),
        Many.make(rows, items, map_index=0),
        Many.make(rows, items, dag_id="beta"),
    ]
    own.start(range(2), "success")
    own.start([2], "failed")
    for other in others:
        other.start(range(3), "failed")
        other.start([3], "running")
    rest = items.count - 3
    assert counts_of(application, own) == {
        "count": items.count, "done": 2, "failed": 1, "running": 0, "to_start": rest,
    }  # fmt: skip
    shown = application("admin").get(f"{BASE}/api/waits/{own.wait_id}").json()["items"]["failed_items"]
    assert [one["run_id"] for one in shown] == [own.run_id(2)]
    assert counts_of(application, others[1])["failed"] == 3


def test_only_the_present_epoch_counts_and_runs_of_people_do_not(application: Client, rows: Rows) -> None:
    many = Many.make(rows, TEN)
    many.start(range(10), "success")
    rows.run("alpha_child", "manual__2026-03-01T12:00:00+00:00", "failed")
    rows.run("alpha_child", "manual__2026-03-01T12:00:00+00:00_ilike_it", "failed")
    assert counts_of(application, many)["done"] == 10
    value = json.loads(rows.value(many.wait_id))
    many.write_again(1, json.dumps({**value, "epoch": 2}))
    (newest,) = ids_in(get(application, "/"))
    assert newest > many.wait_id
    shown = application("admin").get(f"{BASE}/api/waits/{newest}").json()["items"]
    assert (shown["done"], shown["to_start"]) == (0, 10)


def test_nothing_of_an_unreadable_child_is_shown(application: Client, rows: Rows) -> None:
    many = Many.make(rows, TEN, child_dag_id="secret_child")
    many.start(range(10), "failed")
    for path in ("/", f"/wait/{many.wait_id}", "/api/waits", f"/api/waits/{many.wait_id}", "/export.json"):
        text = get(application, path, "limited")
        assert "secret" not in text, path
        assert "10 failed" not in text, path
    assert application("limited").get(f"{BASE}/api/waits/{many.wait_id}").json()["items"] is None
    other = Many.make(rows, TEN, dag_id="secret", run_id="r2")
    assert application("limited").get(f"{BASE}/wait/{other.wait_id}").status_code == 404


def test_a_forged_ledger_shows_no_run_of_others(application: Client, rows: Rows) -> None:
    rows.run("beta", "run_of_beta")
    victim = Many.make(rows, TEN, dag_id="beta", run_id="later", child_dag_id="alpha_child")
    victim.start(range(10), "failed")
    forger = Many.make(rows, TEN, run_id="forged")
    value = json.loads(rows.value(victim.wait_id))
    rows.set_value(forger.wait_id, json.dumps({**value, "items": {**value["items"], "count": 10**9}, "conf": SECRET}))
    shown = application("admin").get(f"{BASE}/api/waits/{forger.wait_id}").json()["items"]
    assert (shown["failed"], shown["failed_items"]) == (0, [])
    for damage in ("{}", '{"kind": "ledger"}', json.dumps({**value, "items": {"count": "many"}})):
        rows.set_value(forger.wait_id, damage)
        assert "cannot be read" in get(application, "/"), damage
    assert SECRET not in get(application, f"/wait/{forger.wait_id}")


def test_no_conf_of_an_item_is_shown(application: Client, rows: Rows) -> None:
    many = Many.make(rows, TEN)
    rows.run("alpha_child", many.run_id(0), "failed", conf={"password": SECRET})
    for path in ("/", f"/wait/{many.wait_id}", f"/api/waits/{many.wait_id}", "/export.csv"):
        assert SECRET not in get(application, path), path


def test_a_list_of_failed_items_is_bounded(application: Client, rows: Rows) -> None:
    many = Many.make(rows, Items(300))
    many.start(range(300), "failed")
    assert get(application, f"/wait/{many.wait_id}").count('class="item"') == 20
    assert "and 280 more" in get(application, f"/wait/{many.wait_id}")
    shown = application("admin").get(f"{BASE}/api/waits/{many.wait_id}").json()["items"]
    assert (shown["failed"], len(shown["failed_items"])) == (300, 100)


def test_cost_is_of_the_newer_runs_of_one_dag(rows: Rows) -> None:
    from airflow_durable.metadata.ledgers import LedgerCounts
    from airflow_durable.metadata.model import InstanceKey
    from airflow_durable.metadata.records import parse
    from airflow_durable.metadata.tables import load_tables

    def cost(others: int) -> int:
        rows.clear()
        older = Many.make(rows, Items(others), run_id="older", child_dag_id="alpha_child")
        older.start(range(others), "success")
        elsewhere = Many.make(rows, Items(others), run_id="elsewhere", child_dag_id="beta_child")
        many = Many.make(rows, Items(1000), run_id="new", state="running")
        many.start(range(1000), "success")
        elsewhere.start(range(others), "success")
        counts = LedgerCounts(load_tables(), rows.session.execute)
        ledger: Any = parse(rows.value(many.wait_id))
        key = InstanceKey("alpha", "new", "load", -1)
        found = counts.of(key, ledger)
        assert found is not None
        assert found.done == 1000
        return steps_of(rows, lambda: counts.of(key, ledger))

    assert cost(3000) < 1.3 * cost(10)
