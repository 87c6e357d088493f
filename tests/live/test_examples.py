"""The example Dags of the package."""

from __future__ import annotations

from .lab import RUN_ID, Stage, scenario

CHILDREN = {
    "example_durable_wait": 1,
    "example_durable_deferrable": 1,
    "example_durable_fire_and_forget": 1,
    "example_durable_mapped": 3,
    "example_durable_fixed_run_id": 1,
    "example_durable_many": 3,
}


@scenario
def test_examples(stage: Stage) -> None:
    """Each parent succeeds with one child run for each of its tasks, and the child runs succeed, too."""
    airflow, api = stage.lab.airflow, stage.lab.api
    airflow.wait_for_dags({*CHILDREN, "example_durable_child"})
    for parent in CHILDREN:
        api.trigger(parent, RUN_ID)

    def have_ended() -> bool:
        runs = [run for dag in (*CHILDREN, "example_durable_child") for run in airflow.database.runs(dag)]
        return all(run.state in {"success", "failed"} for run in runs)

    stage.wait_for(have_ended, "the examples to end")
    assert {airflow.database.runs(parent)[0].state for parent in CHILDREN} == {"success"}
    states = [run.state for run in airflow.database.runs("example_durable_child")]
    assert states == ["success"] * sum(CHILDREN.values())
