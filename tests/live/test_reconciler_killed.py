"""The API server with the reconciler is killed at each moment that matters: what is asked for is done once."""

from __future__ import annotations

from .lab import Stage, scenario


def _is_asking(stage: Stage) -> bool:
    record = stage.record()
    return record is not None and "action" in record.get("asks", {})


def _kill_where_held(held: dict[str, Stage]) -> str:
    """Start the host, let it come to one of these steps for that parent, kill it there; return which step it was."""
    any_stage = next(iter(held.values()))
    host = any_stage.lab.host
    host.start()

    def reached() -> list[str]:
        return [step for step, stage in held.items() if host.is_held(step, stage.child_dag)]

    any_stage.wait_for(lambda: bool(reached()), f"the reconciler to come to one of {list(held)}")
    (step,) = reached()
    host.kill()
    host.release(step, held[step].child_dag)
    return step


def _children(stage: Stage) -> list[tuple[str | None, int]]:
    return [(run.state, run.clear_number) for run in stage.children()]


@scenario
def test_reconciler_killed(stage: Stage) -> None:
    """The API server is killed before the reconciler ends or resumes a child, while it does, and afterwards."""
    host, ended, resumed = stage.lab.host, stage, Stage(stage.lab, "reconciler_killed_resumed")
    for parent in (ended, resumed):
        parent.start()
    for parent in (ended, resumed):
        parent.wait_until_waiting(1)
    # Between what they ask for and its being done.
    host.kill()
    ended.kill_worker()
    resumed.lab.api.mark_task(resumed.child_dag, resumed.children()[-1].run_id, "work", "failed")
    resumed.mark_child("failed")
    ended.wait_for_parent("failed", 1)
    resumed.wait_for(lambda: _is_asking(resumed), "try 2 to ask for it")
    assert (_children(ended), _children(resumed)) == ([("queued", 0)], [("failed", 0)])
    # In the middle, where all is done but the commit; and after the commit, before anything else. Which one comes first
    # is the reconciler's choice.
    held = {"before_commit": ended, "after_commit": resumed}
    for step, parent in held.items():
        host.hold(step, parent.child_dag)
    while held:
        step = _kill_where_held(held)
        if step == "before_commit":
            assert (_children(ended), ended.audit_log()) == ([("queued", 0)], [])
        del held[step]
    host.start()
    ended.wait_for(lambda: _children(ended) == [("failed", 0)], "the child to be ended")
    resumed.wait_for_parent("running", 2)
    resumed.mark_child()
    resumed.wait_for_parent("success", 2)
    assert _children(resumed) == [("success", 1)]
    assert (ended.audit_log(), resumed.audit_log()) == (["durable.cancel"], ["durable.resume"])
