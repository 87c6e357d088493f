"""
The oracle of the chaos runs sees what a wrong reconciler does to real rows, and nothing wrong in what ours does.

See ``tests/chaos/oracle.py``.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from airflow_durable.core import reconcile
from airflow_durable.core.verdicts import Act, Reason, Verdict
from airflow_durable.metadata.reads import Reads
from airflow_durable.metadata.tables import load_tables
from airflow_durable.server import changes, reconciler
from airflow_durable.server.reconciler import Reconciler
from tests.chaos.life import Fate, Subject
from tests.chaos.oracle import Life, LifeChild, Wrong, judge
from tests.support.asking_parents import CHILD_DAG, PARENT_DAG, asking

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_durable.core.asks import Action
    from airflow_durable.core.observed import ChildNow
    from tests.support.asking_parents import Asking, World

    Plant = Callable[[pytest.MonkeyPatch], None]


@dataclass
class Course:
    """A parent in one world: Airflow's part is done here, and the reconciler's by the reconciler."""

    world: World
    parent: Asking
    mode_name: str
    noted: Counter[tuple[str, str]]

    def turn(self) -> None:
        """Let a new reconciler look once."""
        Reconciler(self.world.open).turn()

    def set_parent(self, state: str) -> None:
        """Let Airflow continue with the parent, in another try."""
        more = {"id": uuid4()} if state in {"running", "deferred"} else {}
        self.world.set_task(PARENT_DAG, self.parent.parent.run_id, "trigger", state, **more)

    def end_child(self) -> None:
        """Let the child succeed, if it is active."""
        run_id = self.parent.record.run_id
        row = self.world.run_row(CHILD_DAG, run_id)
        if row["state"] in {"queued", "running"}:
            self.world.set_run(CHILD_DAG, run_id, state="success", end_date=datetime.now(tz=timezone.utc))
            self.noted["load", "finished"] += 1

    def judge(self) -> set[Wrong]:
        """Judge what is in the database."""
        run_id = self.parent.record.run_id
        tables = load_tables()
        with self.world.open() as session:
            reads = Reads(tables, session.execute)
            tries = {
                dag_id: [
                    one
                    for where in (tables.earlier, tables.latest)
                    for one in reads.tries(where, where.key.dag_id == dag_id, where.key.run_id == of)
                ]
                for dag_id, of in ((PARENT_DAG, self.parent.parent.run_id), (CHILD_DAG, run_id))
            }
            (run,) = reads.runs(tables.dag_run.c.dag_id == CHILD_DAG, tables.dag_run.c.run_id == run_id)
        created_at = run.created_at or run.queued_at or run.start_date
        assert created_at is not None
        assert run.state is not None
        child = LifeChild(
            run.id,
            run_id,
            run.state,
            created_at,
            run.end_date,
            run.clear_number,
            tries=tuple(tries[CHILD_DAG]),
            noted=self.noted,
        )
        subject = Subject(1, self.mode_name, Fate.FINISH)
        own = tuple(one for one in tries[PARENT_DAG] if one.task_id == "trigger")
        returned = {"parent": subject.run_id, "run_id": run_id}
        return set(judge(Life(subject, (), own, (child,), returned)))


def _retry(world: World) -> set[Wrong]:
    """Let a parent wait for its retry, and then be retried; its child succeeds if nobody has ended it."""
    course = Course(world, world.parent(state="up_for_retry", tasks={"first": "running"}), "cancel", Counter())
    course.turn()
    course.set_parent("running")
    course.turn()
    course.end_child()
    course.set_parent("success")
    return course.judge()


def _end(world: World) -> set[Wrong]:
    """Let a parent fail in its last try."""
    course = Course(world, world.parent(state="failed", tasks={"first": "running"}), "cancel_last", Counter())
    course.turn()
    return course.judge()


def _resume(world: World) -> set[Wrong]:
    """Let a parent ask for a resume, and the reconciler look twice; the child succeeds."""
    tasks = {"first": "success", "second": "failed", "apart": "success"}
    parent = world.parent(asking("resume"), state="running", child_state="failed", tasks=tasks)
    course = Course(world, parent, "resume", Counter({("load", "failed"): 1}))
    course.turn()
    course.turn()
    for task_id, state in world.tasks(CHILD_DAG, parent.record.run_id).items():
        if state is None:
            world.set_task(CHILD_DAG, parent.record.run_id, task_id, "success", try_number=2)
    course.end_child()
    world.set_task(PARENT_DAG, parent.parent.run_id, "trigger", "success")
    return course.judge()


@pytest.mark.parametrize("go", [_retry, _end, _resume])
def test_nothing_is_wrong(world: World, go: Callable[[World], set[Wrong]]) -> None:
    assert go(world) == set()


def _cancel_on_retry(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(reconcile, "_PARENT_ENDED", frozenset({"failed", "success", "skipped", "up_for_retry"}))


def _cancel_never(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(reconcile, "_PARENT_ENDED", frozenset({"success"}))


def _resume_all(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(reconciler._DO, Act.RESUME, changes.reset_run)


def _resume_again(patch: pytest.MonkeyPatch) -> None:
    """Whatever the run is like by then, and without a note that it was done."""

    def decide_action(_: Action, child: ChildNow | None) -> Verdict:
        return Verdict(Act.NOTHING, Reason.CHILD_MISSING) if child is None else Verdict(Act.RESUME, Reason.ASKED)

    patch.setattr(reconcile, "_decide_action", decide_action)
    patch.setattr(reconciler, "_withdraw", lambda *_: True)


@pytest.mark.parametrize(
    ("plant", "go", "wrong"),
    [
        (_cancel_on_retry, _retry, Wrong.ENDED_THOUGH_WANTED),
        (_cancel_never, _end, Wrong.LEFT_RUNNING),
        (_resume_all, _resume, Wrong.FINISHED_TASK_REPEATED),
        (_resume_again, _resume, Wrong.RESUMED_TOO_OFTEN),
    ],
)
def test_what_is_planted_is_found(
    world: World, monkeypatch: pytest.MonkeyPatch, plant: Plant, go: Callable[[World], set[Wrong]], wrong: Wrong
) -> None:
    plant(monkeypatch)
    assert wrong in go(world)
