"""The audit's client of the public REST API: what it sends, how it repeats, and what it tells people."""

from __future__ import annotations

import itertools
import socket
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from airflow_durable.audit.client import OVERLAP, PAGE, ApiClient, ApiMissingError
from airflow_durable.audit.model import Instance, Trace
from airflow_durable.audit.rest import RestSource
from airflow_durable.audit.source import Moments, SourceError, Spans
from airflow_durable.core.items import Items
from airflow_durable.core.ledger import KEY as LEDGER_KEY
from airflow_durable.core.ledger import Ledger, dump
from airflow_durable.core.model import Mode, Parent, Proof
from airflow_durable.core.run_ids import items_prefix
from airflow_durable.metadata.model import DagRunKey, InstanceKey, Loss, TaskKey

from .audit_fakes import CHILD, at, tried

if TYPE_CHECKING:
    from collections.abc import Callable

    Answer = Callable[[httpx.Request], httpx.Response]

URL = "https://airflow.example.com/base"
KEY = InstanceKey("parent", "run/1", "trigger", 3)


class Clock:
    """Counts what was slept, and does not sleep."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def __call__(self, seconds: float) -> None:
        """Sleep."""
        self.slept.append(seconds)


def open_client(answer: Answer, clock: Clock | None = None, rate: float = 1e6) -> ApiClient:
    transport = httpx.MockTransport(answer)
    return ApiClient(URL, "token", requests_per_second=rate, transport=transport, sleep=clock or Clock())


def server(**answers: Any) -> Answer:  # noqa: ANN401 - JSON
    """Answer by the end of the path, 404 to anything else."""

    def answer(request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/base/api/v2/")
        for end, body in answers.items():
            if path.endswith(end.replace("__", "/")):
                return httpx.Response(200, json=body(request) if callable(body) else body)
        return httpx.Response(404, json={"detail": "not found"})

    return answer


def test_only_gets_are_sent_with_the_token_and_quoted() -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={})

    open_client(answer).get("dags", "a/b?c", "dagRuns", "~", map_index="0", nothing=None)
    (request,) = seen
    assert request.method == "GET"
    assert str(request.url) == f"{URL}/api/v2/dags/a%2Fb%3Fc/dagRuns/~?map_index=0"
    assert request.headers["Authorization"] == "Bearer token"


def test_an_address_with_the_apis_path_is_understood() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json=request.url.path)

    transport = httpx.MockTransport(answer)
    client = ApiClient(f"{URL}/api/v2/", "token", requests_per_second=1e6, transport=transport)
    assert client.get("version") == "/base/api/v2/version"


def test_pages_are_turned() -> None:
    total = 2 * PAGE + 1
    offsets = []

    def answer(request: httpx.Request) -> httpx.Response:
        offset = int(request.url.params.get("offset", 0))
        offsets.append(offset)
        items = [{"number": number} for number in range(offset, min(offset + PAGE, total))]
        return httpx.Response(200, json={"dags": items, "total_entries": total})

    numbers = [item["number"] for item in open_client(answer).pages("dags", key="dags")]
    assert numbers == list(range(total))
    assert offsets == [0, PAGE - OVERLAP, 2 * (PAGE - OVERLAP)]


@pytest.mark.parametrize("limit", [2, 3, 10, PAGE])
@pytest.mark.parametrize("gone", [1, OVERLAP, 40, 250])
def test_rows_that_go_away_hide_no_others(gone: int, limit: int) -> None:
    """Between two pages the first ones go, and a new one comes at the end: as when tasks end, and one is retried."""
    rows = list(range(300))
    asked = itertools.count(1)

    def answer(request: httpx.Request) -> httpx.Response:
        if next(asked) == 4:
            del rows[: min(gone, 3 * limit)]
            rows.append(300)
        offset = int(request.url.params.get("offset", 0))
        items = [{"id": number} for number in rows[offset : offset + limit]]
        return httpx.Response(200, json={"items": items, "total_entries": len(rows)})

    found = [item["id"] for item in open_client(answer).pages("there", key="items")]
    assert set(rows) <= set(found)
    assert len(found) == len(set(found))


@pytest.mark.parametrize("token", ["to\rken", "to\nken", "t\x00ken"])
def test_a_token_that_cannot_be_sent_is_not_shown(token: str) -> None:
    """Over a real connection: httpx's mock transports look at no header."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        client = ApiClient(url, token, requests_per_second=1e6, sleep=lambda _: None)
        with pytest.raises(SourceError) as raised:
            client.get("version")
    assert "ken" not in str(raised.value).replace("token", "")
    assert raised.value.__cause__ is None


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_what_passes_is_repeated(status: int) -> None:
    clock = Clock()
    answers = iter([httpx.Response(status), httpx.Response(status), httpx.Response(200, json="there")])
    assert open_client(lambda _: next(answers), clock).get("version") == "there"
    assert len(clock.slept) == 2


def test_the_server_may_ask_for_a_longer_pause() -> None:
    clock = Clock()
    answers = iter(
        [
            httpx.Response(429, headers={"Retry-After": "7"}),
            httpx.Response(429, headers={"Retry-After": "86400"}),
            httpx.Response(429, headers={"Retry-After": "Thu, 01 Jan 2026 00:00:00 GMT"}),
            httpx.Response(429, headers={"Retry-After": "nonsense"}),
            httpx.Response(200, json=1),
        ]
    )
    open_client(lambda _: next(answers), clock).get("version")
    assert clock.slept[:2] == [7.0, 60.0]
    assert len(clock.slept) == 4


def test_a_server_that_stays_away_is_told() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    clock = Clock()
    with pytest.raises(SourceError, match=r"could not be reached: ConnectError.*Is the address right"):
        open_client(refuse, clock).get("version")
    assert len(clock.slept) == 4


@pytest.mark.parametrize(
    ("response", "message"),
    [
        (httpx.Response(401, json={"detail": "Not authenticated"}), r"401 \(Not authenticated\). The token is wrong"),
        (httpx.Response(403, json={"detail": "Forbidden"}), r"403 \(Forbidden\).*may not read.*XCom"),
        (httpx.Response(500, text="oops"), r"HTTP 500\.$"),
        (httpx.Response(503, json=["no object"]), r"HTTP 503\.$"),
        (httpx.Response(200, text="<html>"), "not JSON"),
    ],
)
def test_refusals_are_told(response: httpx.Response, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        open_client(lambda _: response).get("version")


def test_the_token_is_never_told() -> None:
    with pytest.raises(SourceError) as caught:
        open_client(lambda _: httpx.Response(401)).get("version")
    assert "Bearer" not in str(caught.value)


def test_the_pace_is_kept() -> None:
    clock = Clock()
    client = open_client(lambda _: httpx.Response(200, json=1), clock, rate=0.01)
    before = time.monotonic()
    client.get("version")
    client.get("version")
    passed = time.monotonic() - before
    assert len(clock.slept) == 1
    assert 100 - passed <= clock.slept[0] <= 100


def test_what_is_not_there_is_told_apart() -> None:
    with pytest.raises(ApiMissingError, match="404"):
        open_client(server()).get("version")


def test_something_that_is_no_airflow_3_is_told() -> None:
    with pytest.raises(SourceError, match="no Airflow 3"):
        RestSource(open_client(server()))


def test_tasks_are_found_by_their_fields() -> None:
    tasks = {
        "tasks": [
            {"task_id": "trigger", "template_fields": ["trigger_dag_id"]},
            {"task_id": "other", "template_fields": None},
        ]
    }
    dags = {"dags": [{"dag_id": "parent"}, {"dag_id": "never-serialized"}], "total_entries": 2}
    source = RestSource(open_client(server(version={"version": "3.3.2"}, dags=dags, parent__tasks=tasks)))
    assert source.tasks() == [TaskKey("parent", "trigger")]
    assert (source.kind, source.airflow_version) == ("api", "3.3.2")


def _item(**more: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    return {
        "dag_id": KEY.dag_id,
        "dag_run_id": KEY.run_id,
        "task_id": KEY.task_id,
        "map_index": KEY.map_index,
        "try_number": 2,
        "max_tries": 3,
        "state": "success",
        "run_after": at(-10).isoformat(),
        "start_date": at(110).isoformat(),
        "end_date": at(900).isoformat().replace("+00:00", "Z"),
        "rendered_fields": {"trigger_dag_id": CHILD, "wait_for_completion": False, "conf": {"secret": 1}},
        **more,
    }


def _instances() -> dict[str, Any]:
    first = _item(try_number=1, state="failed", start_date=at(0).isoformat(), end_date=at(100).isoformat())
    stranger = _item(task_id="another", dag_run_id="x")
    return {
        "version": {"version": "3.2.2"},
        "dagRuns__~__taskInstances": {"task_instances": [_item(), _item(), stranger], "total_entries": 3},
        "taskInstances__trigger__3__tries": {"task_instances": [first, _item()]},
    }


def test_retried_parents_come_with_their_attempts_and_once() -> None:
    source = RestSource(open_client(server(**_instances())))
    (instance,) = source.retried([TaskKey("parent", "trigger")], since=at(0))
    assert instance.key == KEY
    assert instance.attempts == tuple(
        replace(one, key=KEY) for one in (tried(1, 0, 100), tried(2, 110, 900, "success"))
    )


def test_parents_around_a_moment() -> None:
    source = RestSource(open_client(server(**_instances())))
    task = [TaskKey("parent", "trigger")]
    assert [one.key for one in source.around(task, Moments([at(50)]))] == [KEY]
    assert list(source.around(task, Moments([at(105)]))) == []
    assert list(source.around(task, Moments([at(-11), at(901)]))) == []


def test_a_parent_that_was_deleted_meanwhile_has_one_attempt() -> None:
    answers = _instances()
    del answers["taskInstances__trigger__3__tries"]
    source = RestSource(open_client(server(**answers)))
    assert list(source.retried([TaskKey("parent", "trigger")], None)) == []


def test_a_dag_that_was_deleted_meanwhile_has_no_parents() -> None:
    source = RestSource(open_client(server(version={"version": "3.0.6"})))
    assert list(source.retried([TaskKey("deleted", "trigger")], None)) == []


@pytest.mark.parametrize("version", ["3.2.2", "3.3.2"])
def test_traces_are_read(version: str) -> None:
    """The journal only where there is one (3.3)."""
    asked = []

    def stored(request: httpx.Request) -> dict[str, Any]:
        asked.append(request.url.params["map_index"])
        entries = [{"key": "durable_child_run", "value": {"version": 99}}, {"key": "job_id", "value": 1}]
        return {"task_state_store": entries, "total_entries": 2}

    answers = _instances() | {
        "version": {"version": version},
        "xcomEntries__trigger_run_id": {"value": '"second"'},
        "xcomEntries___link_TriggerDagRunLink": {"value": f"http://a/dags/{CHILD}/runs/second"},
        "trigger__state-store": stored,
    }
    source = RestSource(open_client(server(**answers)))
    list(source.retried([TaskKey("parent", "trigger")], None))
    has_store = version == "3.3.2"
    assert source.traces([KEY])[KEY] == Trace(
        claimed="second",
        linked=DagRunKey(CHILD, "second"),
        child_dag_id=CHILD,
        waits=False,
        recorded=frozenset() if has_store else None,
    )
    assert asked == (["3"] if has_store else [])


def test_a_ledger_makes_a_parent_durable() -> None:
    """And names no run that a stock operator could have started."""
    entries = Items.of_keys(["a"])
    ledger = Ledger(CHILD, "first", Proof.RUN_ID, Mode.WAIT, 3, 0, count=1, digest=entries.digest)
    stored = {"task_state_store": [{"key": LEDGER_KEY, "value": dump(ledger)}], "total_entries": 1}
    source = RestSource(open_client(server(version={"version": "3.3.2"}, **{"trigger__state-store": stored})))
    assert source.traces([KEY])[KEY].recorded == frozenset()


@pytest.mark.parametrize("map_index", [-1, 3])
def test_fields_that_the_list_lacks_are_read_from_the_instance(map_index: int) -> None:
    """With the SQLAlchemy of their own time, 3.0 to 3.2 show them only there."""
    key = KEY._replace(map_index=map_index)
    item = _item(map_index=map_index)
    end = "trigger" if map_index < 0 else "trigger__3"
    answers = {
        "version": {"version": "3.2.2"},
        "dagRuns__~__taskInstances": {"task_instances": [item | {"rendered_fields": {}}], "total_entries": 1},
        f"taskInstances__{end}__tries": {"task_instances": [item | {"try_number": 1}, item]},
        f"taskInstances__{end}": item,
    }
    source = RestSource(open_client(server(**answers)))
    list(source.retried([TaskKey("parent", "trigger")], None))
    trace = source.traces([key])[key]
    assert (trace.child_dag_id, trace.waits) == (CHILD, False)
    assert "secret" not in repr(source._rendered)


def test_a_lost_heartbeat_is_of_the_try_that_had_begun() -> None:
    """The audit log also has those of a Dag run of the same id that was deleted."""
    entry = {"event": "heartbeat timeout", "map_index": KEY.map_index}
    logged = [
        {**entry, "event_log_id": seconds, "try_number": number, "when": at(seconds).isoformat()}
        for number, seconds in ((1, -500), (2, -100), (1, 350), (3, 900))
    ]
    answer = server(version={"version": "3.3.2"}, eventLogs={"event_logs": logged, "total_entries": len(logged)})
    instance = Instance(KEY, (tried(1, 0, 350), tried(2, 400, None, "running")))
    assert RestSource(open_client(answer)).losses(instance) == {1: Loss(at(350))}


def test_nothing_left_is_no_trace() -> None:
    source = RestSource(open_client(server(version={"version": "3.3.2"})))
    assert source.traces([KEY])[KEY] == Trace()


def test_runs_of_operators_within_the_spans() -> None:
    def item(run_id: str, began: float, triggered_by: str = "operator") -> dict[str, Any]:
        return {
            "dag_run_id": run_id,
            "state": "success",
            "triggered_by": triggered_by,
            "logical_date": at(began).isoformat(),
            "run_after": at(began).isoformat(),
            "queued_at": None,
            "start_date": None,
            "end_date": None,
            "conf": {"secret": 1},
        }

    items = [item("in", 1), item("out", 200), item("by-hand", 1, "ui")]
    answers = {"version": {"version": "3.0.6"}, "child__dagRuns": {"dag_runs": items, "total_entries": 3}}
    source = RestSource(open_client(server(**answers)))
    (run,) = source.runs(CHILD, Spans([tried(1, 0, 100)]))
    assert (run.key, run.began) == (DagRunKey(CHILD, "in"), at(1))
    assert "secret" not in repr(run)
    assert source.runs("deleted", Spans([tried(1, 0, 100)])) == []


@pytest.mark.parametrize("generation", [0, 1])
def test_items_of_a_task_with_many_children_are_counted_by_state(generation: int) -> None:
    parent, items = Parent(*KEY[:4], at(0)), Items.of_keys(list("abcdef"))
    run_ids = [items.run_id(parent, index, epoch=0, generation=0) for index in range(6)]
    ledger = Ledger(CHILD, run_ids[0], Proof.RUN_ID, Mode.WAIT, 3, 0, generation=generation, count=6)
    asked = []

    def runs(request: httpx.Request) -> dict[str, Any]:
        asked.append(request.url.params["run_id_pattern"])
        states = request.url.params.get_list("state")
        number = {"success": 2, "failed": 1, "queued": 3}[states[0]]
        dates = dict.fromkeys(("queued_at", "start_date", "end_date"))
        shown = [{"dag_run_id": run_ids[2], "state": "failed", **dates}] if states == ["failed"] else []
        return {"dag_runs": shown, "total_entries": number}

    store = {"task_state_store": [{"key": "durable_child_runs.1", "value": dump(ledger)}], "total_entries": 1}
    answers = {"version": {"version": "3.3.2"}, "dagRuns": runs, "trigger__state-store": store}
    source = RestSource(open_client(server(**answers)))
    assert source.stored_record(KEY) == dump(ledger)
    counts = source.item_counts(KEY, ledger)
    assert counts is not None
    assert (counts.done, counts.failed, counts.active, counts.to_start) == (2, 1, 3, 0)
    assert counts.is_estimate is bool(generation)
    assert [one.run.run_id for one in counts.failed_items] == ([] if generation else [run_ids[2]])
    assert set(asked) == {items_prefix(parent, 0)}
