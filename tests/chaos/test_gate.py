"""The gate breaks what passes when it is closed, and lets in again what comes after it was opened."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.support.servers import ValkeyServer
from tests.support.tcp_gate import TcpGate

if TYPE_CHECKING:
    from pathlib import Path


def test_gate(tmp_path: Path) -> None:
    never = Retry(NoBackoff(), 0)
    with (
        ValkeyServer(tmp_path) as server,
        TcpGate(server.port) as gate,
        redis.Redis.from_url(server.url_at(gate.port), retry=never) as client,
    ):
        assert client.ping()
        gate.close()
        for _ in range(2):
            with pytest.raises(redis.exceptions.ConnectionError):
                client.ping()
        gate.open()
        assert client.ping()
