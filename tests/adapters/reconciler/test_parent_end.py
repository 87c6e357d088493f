"""When a parent has ended: Airflow leaves its ``end_date`` empty at times, or that of an earlier try."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

import sqlalchemy as sa

from airflow_durable.server.reconciler import Reconciler
from tests.support.asking_parents import CHILD_DAG, PARENT_DAG

if TYPE_CHECKING:
    from airflow.models.taskinstance import TaskInstance
    from sqlalchemy.orm import Session

    from tests.support.asking_parents import Asking, World


def now() -> datetime:
    return datetime.now(tz=timezone.utc)


def time_out(world: World, made: Asking) -> None:
    """Do what the scheduler does at ``dagrun_timeout`` (3.3, ``_schedule_dag_run``): no ``end_date`` is written."""
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.state import TaskInstanceState

    world.set_run(PARENT_DAG, made.parent.run_id, state="failed", end_date=now())
    with world.open() as session:
        unfinished = sa.select(TaskInstance).where(
            TaskInstance.dag_id == PARENT_DAG,
            TaskInstance.run_id == made.parent.run_id,
            sa.or_(TaskInstance.state.is_(None), TaskInstance.state == "running"),
        )
        for ti in session.scalars(unfinished).all():
            ti.state = TaskInstanceState.SKIPPED
            session.merge(ti)


def clear_child(world: World, made: Asking) -> None:
    """Clear all tasks of the child, as a person does, and let it run."""
    from airflow.models.taskinstance import TaskInstance, clear_task_instances

    with world.open() as session:
        of_child = TaskInstance.dag_id == CHILD_DAG, TaskInstance.run_id == made.record.run_id
        clear_task_instances(list(session.scalars(sa.select(TaskInstance).where(*of_child))), session)
    world.set_run(CHILD_DAG, made.record.run_id, state="running")
    world.set_task(CHILD_DAG, made.record.run_id, "first", "running", try_number=2)


def find_parent(session: Session, made: Asking) -> TaskInstance:
    from airflow.models.taskinstance import TaskInstance

    task = (
        TaskInstance.dag_id == PARENT_DAG,
        TaskInstance.run_id == made.parent.run_id,
        TaskInstance.task_id == "trigger",
    )
    found: TaskInstance | None = session.scalar(sa.select(TaskInstance).where(*task))
    assert found is not None
    return found


def make_waiting_for_retry(world: World) -> Asking:
    """Return a parent whose first try failed half an hour ago, with its child, which a person has cleared since."""
    made = world.parent(state="up_for_retry", child_state="failed", tasks={"first": "failed"})
    half_an_hour_ago = now() - timedelta(minutes=30)
    world.set_task(PARENT_DAG, made.parent.run_id, "trigger", "up_for_retry", end_date=half_an_hour_ago)
    with world.open() as session:
        find_parent(session, made).prepare_db_for_next_try(session)
    clear_child(world, made)
    assert not Reconciler(world.open).turn().done
    return made


def test_child_that_a_person_cleared_after_the_parents_timeout_is_left_alone(world: World) -> None:
    clock = [0.0]
    reconciler = Reconciler(world.open, clock=lambda: clock[0])
    made = world.parent(state="running", tasks={"first": "running"})
    time_out(world, made)
    assert world.state_of(PARENT_DAG, made.parent.run_id, "trigger") == "skipped"
    assert len(reconciler.turn().done) == 1
    assert world.child(made) == ("failed", 0)
    clear_child(world, made)
    assert not reconciler.turn().done
    # By the hourly search, and by a server that has just started.
    clock[0] = 4_000.0
    assert not reconciler.turn().done
    assert not Reconciler(world.open).turn().done
    assert world.child(made) == ("running", 1)


def test_request_that_arrives_after_the_parents_timeout_is_waited_for(world: World) -> None:
    made = world.parent(state="running", child_state=None)
    time_out(world, made)
    reconciler = Reconciler(world.open)
    assert not reconciler.turn().done
    world.run(CHILD_DAG, made.record.run_id, "running")
    assert len(reconciler.turn().done) == 1


def test_parent_that_a_person_gives_up_has_ended_then_and_not_with_its_last_try(world: World) -> None:
    made = make_waiting_for_retry(world)
    with world.open() as session:
        find_parent(session, made).set_state("failed", session=session)
    assert len(Reconciler(world.open).turn().done) == 1
    assert world.child(made)[0] == "failed"


def test_parent_whose_dag_run_is_given_up_has_ended_then(world: World) -> None:
    from airflow.api.common.mark_tasks import set_dag_run_state_to_failed
    from airflow.models.dagbag import DBDagBag
    from airflow.models.dagrun import DagRun

    made = make_waiting_for_retry(world)
    with world.open() as session:
        its_run = DagRun.dag_id == PARENT_DAG, DagRun.run_id == made.parent.run_id
        run = session.scalar(sa.select(DagRun).where(*its_run))
        assert run is not None
        dag = DBDagBag(load_op_links=False).get_dag_for_run(run, session=session)
        assert dag is not None
        set_dag_run_state_to_failed(dag=dag, run_id=run.run_id, commit=True, session=session)
    assert world.state_of(PARENT_DAG, made.parent.run_id, "trigger") == "skipped"
    assert len(Reconciler(world.open).turn().done) == 1


def test_parent_that_fails_with_what_is_upstream_has_ended_then(world: World) -> None:
    from airflow.models.taskinstance import clear_task_instances

    made = world.parent(state="failed", child_state="failed", tasks={"first": "failed"})
    an_hour_ago = now() - timedelta(hours=1)
    dates = {"start_date": an_hour_ago - timedelta(hours=1), "end_date": an_hour_ago}
    world.set_task(PARENT_DAG, made.parent.run_id, "trigger", "failed", **dates)
    with world.open() as session:
        clear_task_instances([find_parent(session, made)], session)
    clear_child(world, made)
    with world.open() as session:
        find_parent(session, made).set_state("upstream_failed", session=session)
    assert len(Reconciler(world.open).turn().done) == 1


def test_triggerer_that_starts_ends_no_child_that_a_person_cleared(world: World) -> None:
    """It writes the rows of all task instances that were deferred and have ended since."""
    from airflow.models.trigger import Trigger

    made = world.parent(state="deferred", tasks={"first": "running"})
    with world.open() as session:
        trigger = Trigger(classpath="tests.Trigger", kwargs={})
        session.add(trigger)
        session.flush()
        parent = find_parent(session, made)
        parent.trigger_id = trigger.id
        parent.set_state("failed", session=session)
    assert len(Reconciler(world.open).turn().done) == 1
    clear_child(world, made)
    with world.open() as session:
        Trigger.clean_unused(session=session)
        assert find_parent(session, made).trigger_id is None
    assert not Reconciler(world.open).turn().done
    assert world.child(made) == ("running", 1)


def test_worker_whose_clock_is_ahead_ends_no_child_that_a_person_cleared(world: World) -> None:
    made = world.parent(state="failed", tasks={"first": "running"})
    ahead = now() + timedelta(seconds=20)
    world.set_task(PARENT_DAG, made.parent.run_id, "trigger", "failed", end_date=ahead)
    assert len(Reconciler(world.open).turn().done) == 1
    clear_child(world, made)
    assert not Reconciler(world.open).turn().done
