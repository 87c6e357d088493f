"""Where the reconciler runs: in the API server for its lifespan, or by a command; and that it harms neither."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

from airflow_durable.server import hosting, plugin
from tests.adapters.versions import needs_store
from tests.support.asking_parents import World
from tests.support.interpreter import run_python

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .conftest import Client


class Host:
    """An application behind the middleware."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.events: list[str] = []
        self.stop = threading.Event()
        monkeypatch.setattr(hosting, "start", self._start)

    def _start(self) -> threading.Event:
        self.events.append("started")
        return self.stop

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401 - ASGI's
        self.events.append(f"{scope['type']}, stopped: {self.stop.is_set()}")
        if scope.get("fails"):
            raise RuntimeError

    def serve(self, **scope: object) -> None:
        """Serve one scope."""
        asyncio.run(plugin.ReconcilerMiddleware(self._app)(scope, None, None))


def test_reconciler_runs_for_the_lifespan_of_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host(monkeypatch)
    host.serve(type="lifespan")
    assert host.events == ["started", "lifespan, stopped: False"]
    assert host.stop.is_set()


def test_reconciler_ends_with_a_server_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host(monkeypatch)
    with pytest.raises(RuntimeError):
        host.serve(type="lifespan", fails=True)
    assert host.stop.is_set()


@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_requests_pass_through_untouched(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    host = Host(monkeypatch)
    host.serve(type=kind)
    assert host.events == [f"{kind}, stopped: False"]


def test_server_starts_although_the_reconciler_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host(monkeypatch)
    monkeypatch.setattr(hosting, "start", lambda: 1 / 0)
    host.serve(type="lifespan")
    assert host.events == ["lifespan, stopped: False"]


def test_server_does_not_wait_for_the_reconciler(monkeypatch: pytest.MonkeyPatch) -> None:
    began, may_end = threading.Event(), threading.Event()

    def run(*_: object) -> None:
        began.set()
        may_end.wait()

    monkeypatch.setattr(hosting, "is_enabled", lambda: True)
    monkeypatch.setattr(hosting, "run", run)

    async def app(scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401 - ASGI's
        began.wait()

    # It ends while a turn goes on: else this does not come back.
    asyncio.run(plugin.ReconcilerMiddleware(app)({"type": "lifespan"}, None, None))
    (thread,) = [one for one in threading.enumerate() if one.name == "durable-reconciler"]
    assert thread.daemon
    may_end.set()
    thread.join()


@needs_store
def test_turn_that_fails_is_followed_by_another(monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow_durable.server import reconciler

    stop, turns = threading.Event(), []

    def turn(_: object) -> reconciler.Turn:
        turns.append(1)
        if len(turns) < 3:
            raise OSError
        stop.set()
        return reconciler.Turn()

    monkeypatch.setattr(reconciler.Reconciler, "turn", turn)
    hosting.run(stop, interval=0.001)
    assert len(turns) == 3


@pytest.mark.parametrize(("value", "count"), [("True", 1), ("False", 0)])
def test_option_takes_it_away(value: str, count: int) -> None:
    code = "from airflow_durable.server.plugin import DurableWaitsPlugin as P; print(len(P.fastapi_root_middlewares))"
    assert run_python(code, AIRFLOW__DURABLE__RECONCILER=value) == str(count)


@pytest.fixture
def world(application: Client) -> Iterator[World]:
    from airflow import settings

    assert settings.engine is not None
    world = World(settings.engine)
    world.make_dags()
    world.clear()
    yield world
    world.clear()


@needs_store
def test_command_looks_once(world: World) -> None:
    from airflow_durable.server.standalone import run_here

    asking = world.parent(state="failed")
    world.parent(state="running")
    lines: list[str] = []
    run_here(lines.append, is_once=True)
    assert world.child(asking) == ("failed", 0)
    assert lines[0].startswith(f"Ended {asking.record.dag_id} {asking.record.run_id}")
    assert lines[1:] == ["Watching 2 records."]


@needs_store
def test_page_can_say_how_the_reconciler_stands(application: Client) -> None:
    from airflow_durable.server.reconciler import Turn

    status = hosting.Status()
    status.note(Turn(watched=3))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hosting, "status", status)
        shown = application("admin").get("/durable-waits/reconciler").json()
    assert status.looked_at is not None
    expected = {"is_enabled": True, "looked_at": status.looked_at.isoformat(), "watched": 3, "done": 0}
    assert {name: shown[name] for name in expected} == expected
    assert application(None).get("/durable-waits/reconciler").status_code == 401
