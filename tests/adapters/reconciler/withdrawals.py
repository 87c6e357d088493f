"""A withdrawal in the middle of what the reconciler does."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from airflow_durable.server import changes
from airflow_durable.server.reconciler import Reconciler

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.asking_parents import World

_WAITING = sa.text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")


def act_while(world: World, withdraw: Callable[[], None]) -> None:
    """Let a withdrawal begin after the reconciler has acted and before it commits; on PostgreSQL it has to wait."""
    real = changes.write_audit_log
    with ThreadPoolExecutor(1) as pool, pytest.MonkeyPatch.context() as patch:

        def wait_until_withdrawn(*arguments: Any) -> None:  # noqa: ANN401 - as the real one's
            task = pool.submit(withdraw)
            with world.engine.connect() as watching:
                while not task.done() and not watching.scalar(_WAITING):
                    watching.rollback()
            assert not task.done(), "nothing held the withdrawal up"
            real(*arguments)

        patch.setattr(changes, "write_audit_log", wait_until_withdrawn)
        assert len(Reconciler(world.open).turn().done) == 1
