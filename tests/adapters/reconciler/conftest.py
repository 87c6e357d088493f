"""The two databases, each with Airflow's tables and real Dags."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from tests.adapters.versions import HAS_STORE
from tests.support.asking_parents import World, make_tables

if TYPE_CHECKING:
    from collections.abc import Iterator

collect_ignore_glob = [] if HAS_STORE else ["test_*.py"]
"""Without a task state store (3.3) there is nothing to reconcile, and what is imported for it is not all there."""


@pytest.fixture(scope="package", params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Return a database with Airflow's tables and the Dags."""
    home = tmp_path_factory.mktemp("reconciler")
    if request.param == "sqlite":
        yield from make_tables(sa.create_engine(f"sqlite:///{home}/airflow.db"))
        return
    from tests.support.servers import PostgresServer

    with PostgresServer(home) as server:
        yield from make_tables(sa.create_engine(server.url))


@pytest.fixture
def world(database: World) -> World:
    """Return it without any Dag run."""
    database.clear()
    return database
