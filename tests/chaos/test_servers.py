"""The servers keep what they answered for, whatever ends them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import redis
import sqlalchemy as sa

from tests.support.servers import PostgresServer, ValkeyServer

if TYPE_CHECKING:
    from pathlib import Path


def test_postgres_keeps_commits_over_kill(tmp_path: Path) -> None:
    with PostgresServer(tmp_path) as server:
        engine = sa.create_engine(server.url, poolclass=sa.pool.NullPool)
        with engine.begin() as connection:
            connection.execute(sa.text("CREATE TABLE numbers AS SELECT 7 AS number"))
        server.kill()
        assert not server.is_alive
        server.start()
        with engine.connect() as connection:
            assert connection.scalar(sa.text("SELECT number FROM numbers")) == 7


@pytest.mark.parametrize("is_persistent", [True, False])
def test_valkey_keeps_queue_over_kill(tmp_path: Path, *, is_persistent: bool) -> None:
    with ValkeyServer(tmp_path, is_persistent=is_persistent) as server, redis.Redis.from_url(server.url) as client:
        client.lpush("queue", "message")
        server.kill()
        server.start()
        assert client.llen("queue") == int(is_persistent)


def test_servers_ask_for_password(tmp_path: Path) -> None:
    with PostgresServer(tmp_path) as postgres, ValkeyServer(tmp_path) as valkey:
        stranger = sa.create_engine(sa.make_url(postgres.url).set(password="guess"), poolclass=sa.pool.NullPool)
        with pytest.raises(sa.exc.OperationalError, match="password authentication failed"):
            stranger.connect()
        with redis.Redis(port=valkey.port) as client, pytest.raises(redis.exceptions.AuthenticationError):
            client.ping()
