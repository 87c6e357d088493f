"""No lost work: a task succeeds only because of a run that carries its own request."""

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
    """Let six parents ask for one run id or date; the child succeeds for the parent whose conf it has."""
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
    """Six parents have one logical date and six confs: only the parent whose conf the run has succeeds."""
    _contend(stage, "failed")


@scenario
def test_contended_date_deferred(stage: Stage) -> None:
    """Six deferrable parents have one logical date and six confs: only the parent whose conf the run has succeeds."""
    _contend(stage, "failed")


@scenario
def test_contended_date_skip(stage: Stage) -> None:
    """The same with `skip_when_already_exists`: the five others are skipped, as with the stock operator."""
    _contend(stage, "skipped")


@scenario
def test_contended_id(stage: Stage) -> None:
    """Six parents have one fixed run id and six confs: only the parent whose conf the run has succeeds."""
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
    """A loop over `.execute(context)` in a `@task` starts one child for each call."""
    _finish_calls(stage)


@scenario
def test_calls_killed_between(stage: Stage) -> None:
    """Such a loop is killed in its second call: the first run is not repeated, the second is adopted."""
    _finish_calls(stage, killed_at=1)


@scenario
def test_calls_in_a_subclass(stage: Stage) -> None:
    """A subclass that calls `super().execute()` in a loop is killed in its last call: no finished run is repeated."""
    _finish_calls(stage, killed_at=2)


@scenario
def test_refusal_corrected(stage: Stage) -> None:
    """The first try asks for a Dag that does not exist; the next one asks for the Dag that the template names then."""
    stage.start()
    stage.finish(2)
    assert len(stage.children()) == 1


@scenario
def test_hook_fails(stage: Stage) -> None:
    """The code of a subclass after the deferral fails once: the next try runs it again, with the same child."""
    stage.start()
    stage.wait_for_parent("deferred", 1)
    stage.mark_child()
    stage.wait_for_parent("success", 2)
    assert len(stage.children()) == 1
    assert stage.xcom("return_value") == "done"


@scenario
def test_record_discarded(stage: Stage) -> None:
    """A crashed parent is cleared and its record discarded, as Airflow 3.4 does: its active child is found."""
    stage.start()
    stage.wait_until_waiting(1)
    stage.kill_worker()
    stage.wait_for_parent("failed", 1)
    stage.clear_parent(is_record_kept=False)
    stage.finish(2)
    assert [(run.state, run.clear_number) for run in stage.children()] == [("success", 0)]


@scenario
def test_record_discarded_child_done(stage: Stage) -> None:
    """The same, but its child has ended since: nobody knows whether its outcome was used, so a fresh run is started."""
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
    """With `on_clear="adopt"` the child is adopted although the conf has changed."""
    stage.start()
    stage.wait_until_waiting(1)
    stage.kill_worker()
    stage.wait_for_parent("failed", 1)
    stage.clear_parent()
    stage.finish(2)
    assert [run.state for run in stage.children()] == ["success"]


@scenario
def test_clear_starts_fresh(stage: Stage) -> None:
    """With `on_clear="fresh"` another child is started at once, and the log names the active one."""
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
    """With a fixed run id, a clear after success fails, and says that this task started the run."""
    stage.start()
    stage.finish(1)
    stage.clear_parent()
    stage.wait_for_parent("failed", 2)
    assert [(run.state, run.clear_number) for run in stage.children()] == [("success", 0)]
    assert "This task started it before it was cleared" in stage.log(2)


@scenario
def test_upstream_ran_again(stage: Stage) -> None:
    """Clear Run of a crashed parent whose child has succeeded: upstream runs again, so a fresh run is started."""
    stage.start()
    stage.wait_until_waiting(1)
    stage.kill_worker()
    stage.mark_child()
    stage.wait_for_parent("failed", 1)
    stage.clear_parent_run()
    stage.wait_for_children(2)
    stage.finish(2)
    assert [run.state for run in stage.children()] == ["success", "success"]
