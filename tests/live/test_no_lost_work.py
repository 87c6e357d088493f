"""No lost work: a task succeeds only by a run that carries its own request, and asks again for what was refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .lab import Stage, scenario

if TYPE_CHECKING:
    from collections.abc import Collection

PARTS = range(3)
CONTENDERS = range(6)


def _ended(stage: Stage, states: Collection[str]) -> list[int]:
    return [index for index in CONTENDERS if stage.parent(index).state in states]


def _contend(stage: Stage, loser: str) -> None:
    """Let six parents ask for one identity; the child ends well for the one whose conf it has."""
    stage.start()
    stage.wait_for_children(1)
    stage.wait_for(lambda: len(_ended(stage, {loser})) == len(CONTENDERS) - 1, f"five parents to be {loser}")
    stage.mark_child()
    stage.wait_for(lambda: len(_ended(stage, {"success"})) == 1, "the one parent whose child it is")
    (winner,) = _ended(stage, {"success"})
    (child,) = stage.children()
    assert stage.conf_of(child) == {"part": winner}
    assert child.clear_number == 0


@scenario
def test_contended_date(stage: Stage) -> None:
    """Of six parents with one logical date and six confs one succeeds: that whose conf the run has."""
    _contend(stage, "failed")


@scenario
def test_contended_date_deferred(stage: Stage) -> None:
    """The same with deferrable parents."""
    _contend(stage, "failed")


@scenario
def test_contended_date_skip(stage: Stage) -> None:
    """With `skip_when_already_exists` the five others are skipped, like stock's."""
    _contend(stage, "skipped")


@scenario
def test_contended_id(stage: Stage) -> None:
    """The same with one fixed run id."""
    _contend(stage, "failed")


def _finish_calls(stage: Stage, *, killed_at: int | None = None) -> None:
    stage.start()
    try_number = 1
    for part in PARTS:
        stage.wait_for_children(part + 1)
        if part == killed_at:
            stage.wait_until_waiting(try_number, run=stage.children()[-1])
            stage.kill_worker()
            try_number += 1
        stage.wait_until_waiting(try_number, run=stage.children()[-1])
        stage.mark_child()
    stage.wait_for_parent("success", try_number)
    assert [stage.conf_of(run) for run in stage.children()] == [{"part": part} for part in PARTS]
    assert [run.state for run in stage.children()] == ["success"] * len(PARTS)


@scenario
def test_calls_in_a_task(stage: Stage) -> None:
    """A loop over `.execute(context)` in a `@task` starts a child for each."""
    _finish_calls(stage)


@scenario
def test_calls_killed_between(stage: Stage) -> None:
    """Killed in its second call, it goes on there: the first is not repeated, the second is adopted."""
    _finish_calls(stage, killed_at=1)


@scenario
def test_calls_in_a_subclass(stage: Stage) -> None:
    """A subclass that calls `super().execute()` in a loop, killed in its last call."""
    _finish_calls(stage, killed_at=2)


@scenario
def test_refusal_corrected(stage: Stage) -> None:
    """A Dag that does not exist is asked for in the first try; the next one asks for what the template says then."""
    stage.start()
    stage.finish(2)
    assert len(stage.children()) == 1


@scenario
def test_hook_fails(stage: Stage) -> None:
    """What a subclass does after the deferral fails once: the next try does it again, on the same child."""
    stage.start()
    stage.wait_for_parent("deferred", 1)
    stage.mark_child()
    stage.wait_for_parent("success", 2)
    assert len(stage.children()) == 1
    assert stage.xcom("return_value") == "done"


@scenario
def test_record_discarded(stage: Stage) -> None:
    """A crashed parent is cleared and its record is discarded, as Airflow 3.4 does: its active child is found."""
    stage.start()
    stage.wait_until_waiting(1)
    stage.kill_worker()
    stage.wait_for_parent("failed", 1)
    stage.clear_parent(is_record_kept=False)
    stage.finish(2)
    assert [(run.state, run.clear_number) for run in stage.children()] == [("success", 0)]


@scenario
def test_record_discarded_child_done(stage: Stage) -> None:
    """The same, and its child has ended since: nobody knows whether its outcome was taken: a fresh run."""
    stage.start()
    stage.wait_until_waiting(1)
    stage.kill_worker()
    stage.mark_child()
    stage.wait_for_parent("failed", 1)
    stage.clear_parent(is_record_kept=False)
    stage.wait_for_children(2)
    stage.finish(2)
    assert [run.state for run in stage.children()] == ["success", "success"]


@scenario
def test_clear_adopts_anyway(stage: Stage) -> None:
    """With `on_clear="adopt"` the child counts although the conf was rendered otherwise since."""
    stage.start()
    stage.wait_until_waiting(1)
    stage.kill_worker()
    stage.wait_for_parent("failed", 1)
    stage.clear_parent()
    stage.finish(2)
    assert [run.state for run in stage.children()] == ["success"]


@scenario
def test_clear_starts_fresh(stage: Stage) -> None:
    """With `on_clear="fresh"` another child is started at once, and the log names the one that is active."""
    stage.start()
    stage.wait_until_waiting(1)
    stage.kill_worker()
    stage.wait_for_parent("failed", 1)
    stage.clear_parent()
    stage.wait_for_children(2)
    stage.finish(2)
    first, second = stage.children()
    assert (first.state, second.state) == ("queued", "success")
    assert first.run_id in stage.log(2)


@scenario
def test_fixed_id_used_up(stage: Stage) -> None:
    """A fixed id admits no second run: a clear after success fails, and says that this task started the run."""
    stage.start()
    stage.finish(1)
    stage.clear_parent()
    stage.wait_for_parent("failed", 2)
    assert [(run.state, run.clear_number) for run in stage.children()] == [("success", 0)]
    assert "This task started it before it was cleared" in stage.log(2)


@scenario
def test_upstream_ran_again(stage: Stage) -> None:
    """Clear Run of a crashed parent: its child of before ended well, but on what was upstream of it then."""
    stage.start()
    stage.wait_until_waiting(1)
    stage.kill_worker()
    stage.mark_child()
    stage.wait_for_parent("failed", 1)
    stage.clear_parent_run()
    stage.wait_for_children(2)
    stage.finish(2)
    assert [run.state for run in stage.children()] == ["success", "success"]
