"""Airflow's whole application on a scratch database, a client for each user, and rows as the scheduler writes them."""

from __future__ import annotations

import json
import warnings
from typing import TYPE_CHECKING

import pytest

from tests.support.scopes import SCOPES
from tests.support.waits_rows import Rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fastapi.testclient import TestClient

    from tests.support.asking_parents import World

    Client = Callable[[str | None], TestClient]

ROLES = {"admin": "ADMIN", "viewer": "VIEWER", "limited": "VIEWER", "nobody": ""}


@pytest.fixture(scope="package")
def application() -> Iterator[Client]:
    """Return a maker of clients, by user name; None is nobody who has signed in."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW__CORE__AUTH_MANAGER", "tests.support.scoped_auth.ScopedAuthManager")
        patch.setenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS", "False")
        patch.setenv(
            "AIRFLOW__API_AUTH__JWT_SECRET", "a-secret-of-the-tests-that-is-long-enough-for-sha-512-0123456789abcdef"
        )
        patch.setenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS", "unused:viewer")
        patch.setenv("AIRFLOW__API__SECRET_KEY", "another-secret-of-the-tests")
        patch.setenv(SCOPES, json.dumps({"limited": ["alpha", "alpha_child"]}))
        with warnings.catch_warnings():
            # Airflow and its libraries warn of one another while they are imported and set up.
            warnings.simplefilter("ignore")
            from airflow import settings
            from airflow.api_fastapi import app as airflow_app
            from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
            from airflow.models import import_all_models
            from airflow.models.base import Base
            from fastapi.testclient import TestClient
            from sqlalchemy.orm import configure_mappers

            # The home that tests/adapters/conftest.py has made: no other one may be written to.
            assert settings.engine is not None
            assert "airflow-durable-tests-" in str(settings.engine.url)
            import_all_models()  # type: ignore[no-untyped-call] # Airflow's
            Base.metadata.create_all(settings.engine)
            configure_mappers()
            airflow_app.purge_cached_app()
            app = airflow_app.create_app()

        def connect(name: str | None) -> TestClient:
            client = TestClient(app)
            if name is not None:
                user = SimpleAuthManagerUser(username=name, role=ROLES[name])
                client.cookies.set("_token", airflow_app.get_auth_manager().generate_jwt(user))
            return client

        yield connect
        airflow_app.purge_cached_app()


@pytest.fixture
def uncached(application: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read anew for each request, and by readers that know nothing."""
    from airflow_durable.server import app, pending
    from airflow_durable.server.cache import Cache
    from airflow_durable.server.items import ItemCache

    monkeypatch.setattr(app, "requests", Cache(pending.Reader().read, 0))
    monkeypatch.setattr(app, "items", ItemCache())


@pytest.fixture
def rows(application: Client) -> Iterator[Rows]:
    """Return a maker of rows, which are gone when the test ends."""
    from airflow import settings
    from sqlalchemy.orm import Session

    from airflow_durable.server import app, attention, mismatch, pending, totals
    from airflow_durable.server.cache import Cache
    from airflow_durable.server.items import ItemCache

    with Session(settings.engine) as session:
        made = Rows(session)
        made.clear()
        app.counts = Cache(totals.count, totals.FRESH_SECONDS)
        app.snapshots = Cache(attention.take_snapshot, attention.FRESH_SECONDS)
        app.items = ItemCache()
        app.mismatches = Cache(mismatch.find, 0)
        app.requests = Cache(pending.Reader().read, pending.FRESH_SECONDS)
        yield made
        session.rollback()
        made.clear()


@pytest.fixture(scope="module")
def asking_parents(application: Client) -> World:
    """Make the Dags of parents that ask for something."""
    from airflow import settings

    from tests.support.asking_parents import World

    assert settings.engine is not None
    world = World(settings.engine)
    world.make_dags()
    return world


@pytest.fixture
def world(asking_parents: World) -> Iterator[World]:
    """Return these parents, none of them there yet."""
    asking_parents.clear()
    yield asking_parents
    asking_parents.clear()
