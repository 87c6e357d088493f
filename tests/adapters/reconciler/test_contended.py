"""Several reconcilers at once, and one that is killed between any two of its steps."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from airflow_durable.server.reconciler import Reconciler
from tests.support.asking_parents import World, asking

if TYPE_CHECKING:
    from tests.support.asking_parents import Asking

RECONCILERS = 6
PARENTS = 8
TURNS = 40


def make_parents(world: World) -> list[Asking]:
    tasks = {"first": "success", "second": "failed", "apart": "success"}
    resuming = [
        world.parent(asking("resume"), state="running", child_state="failed", tasks=tasks) for _ in range(PARENTS)
    ]
    return [*resuming, *(world.parent(state="failed", tasks={"first": "running"}) for _ in range(PARENTS))]


def test_each_thing_is_done_once_by_many_reconcilers(world: World) -> None:
    parents = make_parents(world)
    barrier = threading.Barrier(RECONCILERS)
    done: list[str] = []

    def reconcile() -> None:
        reconciler = Reconciler(World(world.engine).open)
        for _ in range(TURNS):
            barrier.wait()
            done.extend(one.run_id for one in reconciler.turn().done)
            # Nobody begins another turn before all have ended this one.
            barrier.wait()
            if len(done) >= len(parents):
                break

    threads = [threading.Thread(target=reconcile) for _ in range(RECONCILERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done) == sorted(parent.record.run_id for parent in parents)
    assert sorted(row[2] for row in world.audit_log()) == sorted(done)
    assert [world.child(parent) for parent in parents] == [*[("queued", 1)] * PARENTS, *[("failed", 0)] * PARENTS]


KILLED = """
import os, signal, sys
import sqlalchemy as sa
from airflow_durable.server import changes, reconciler
from tests.support.asking_parents import World

def die(*arguments, **named):
    print("dies", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

name, url = sys.argv[1:]
if name == "locked":
    lock = changes.lock_run
    changes.lock_run = lambda *arguments: lock(*arguments) and die()
else:
    changes.write_audit_log = die
reconciler.Reconciler(World(sa.create_engine(url)).open).turn()
"""


@pytest.mark.parametrize(("kind", "point"), [("cancel", "locked"), ("resume", "acted")])
def test_killed_reconciler_has_done_nothing_and_the_next_one_does_it(world: World, kind: str, point: str) -> None:
    if kind == "cancel":
        parent = world.parent(state="failed", tasks={"first": "running"})
        before, after = ("running", 0), ("failed", 0)
    else:
        parent = world.parent(asking("resume"), state="running", child_state="failed", tasks={"first": "failed"})
        before, after = ("failed", 0), ("queued", 1)
    url = world.engine.url.render_as_string(hide_password=False)
    killed = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", KILLED, point, url],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ,
    )
    assert (killed.returncode, "dies" in killed.stdout) == (-signal.SIGKILL, True), killed.stderr
    assert (world.child(parent), world.audit_log()) == (before, [])
    assert len(Reconciler(world.open).turn().done) == 1
    assert (world.child(parent), len(world.audit_log())) == (after, 1)


def test_lock_that_is_not_had_is_tried_again(world: World, caplog: pytest.LogCaptureFixture) -> None:
    if world.engine.dialect.name != "postgresql":
        pytest.skip("SQLite has one writer at a time")
    parent = world.parent(state="failed")
    reconciler = Reconciler(world.open)
    with world.engine.connect() as other:
        other.execute(sa.text("SELECT 1 FROM dag_run FOR UPDATE"))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("airflow_durable.server.reconciler.LOCK_TIMEOUT_SECONDS", 0.05)
            assert not reconciler.turn().done
        other.rollback()
    assert len(reconciler.turn().done) == 1
    assert world.child(parent)[0] == "failed"
