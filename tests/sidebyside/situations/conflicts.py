"""Somebody else's run is there, or the child Dag is paused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.adapters.dags import DEFER, FORGET, WAIT

from .identities import DATE
from .model import DETAILS, Situation, Try

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.adapters.supervisor import Supervisor

FIXED: dict[str, Any] = {"trigger_run_id": "fixed"}
DATED: dict[str, Any] = {"logical_date": DATE}
SKIP: dict[str, Any] = {"skip_when_already_exists": True}
RESET: dict[str, Any] = {"reset_dag_run": True}
FAIL_IF_PAUSED: dict[str, Any] = {"fail_when_dag_is_paused": True}


def id_taken(state: str) -> Callable[[Supervisor], object]:
    """Let there be a run under our run id."""
    return lambda supervisor: supervisor.add("fixed", state, conf={"by": "somebody else"})


def date_taken(state: str) -> Callable[[Supervisor], object]:
    """Let there be a run of our logical date, under another run id."""
    return lambda supervisor: supervisor.add("scheduled", state, logical_date=DATE)


def paused(supervisor: Supervisor) -> None:
    supervisor.dags["child"] = True


SITUATIONS = (
    Situation("the run id is taken by an active run", {**FIXED, **WAIT}, server=id_taken("running")),
    Situation("the run id is taken by an active run, deferred", {**FIXED, **DEFER}, server=id_taken("running")),
    Situation("the run id is taken by an active run, fire and forget", FIXED, server=id_taken("running")),
    Situation("the run id is taken by a run that succeeded", {**FIXED, **WAIT}, server=id_taken("success")),
    Situation("the run id is taken by a run that failed", {**FIXED, **WAIT}, server=id_taken("failed")),
    Situation("the run id is taken, at the last try", {**FIXED, **WAIT, "retries": 0}, server=id_taken("running")),
    Situation("the run id is taken, skip", {**FIXED, **SKIP, **WAIT}, server=id_taken("running")),
    Situation("the run id is taken, skip, deferred", {**FIXED, **SKIP, **DEFER}, server=id_taken("success")),
    Situation("the run id is taken, skip, fire and forget", {**FIXED, **SKIP, **FORGET}, server=id_taken("failed")),
    Situation("the run id is taken by an active run, reset", {**FIXED, **RESET, **WAIT}, server=id_taken("running")),
    Situation(
        "the run id is taken by a run that succeeded, reset", {**FIXED, **RESET, **WAIT}, server=id_taken("success")
    ),
    Situation("the run id is taken by a run that failed, reset", {**FIXED, **RESET, **WAIT}, server=id_taken("failed")),
    Situation("the run id is taken, reset, deferred", {**FIXED, **RESET, **DEFER}, server=id_taken("success")),
    Situation("the run id is taken, reset, fire and forget", {**FIXED, **RESET}, server=id_taken("success")),
    Situation("the run id is taken, reset and skip", {**FIXED, **RESET, **SKIP, **WAIT}, server=id_taken("success")),
    Situation(
        "the run id is taken, and the run fails after its reset",
        {**FIXED, **RESET, **WAIT},
        (Try(child=["failed"]),),
        server=id_taken("success"),
    ),
    Situation("a reset where there is nothing to reset", {**FIXED, **RESET, **WAIT}),
    Situation("a reset with a generated run id", {**RESET, **WAIT}),
    Situation("skip where there is nothing to skip for", {**FIXED, **SKIP, **WAIT}),
    Situation("skip with a generated run id", {**SKIP, **WAIT}),
    Situation("the logical date is taken by an active run", {**DATED, **WAIT}, server=date_taken("running")),
    Situation("the logical date is taken by a run that failed", {**DATED, **DEFER}, server=date_taken("failed")),
    Situation("the logical date is taken, fire and forget", DATED, server=date_taken("success")),
    Situation("the logical date is taken, skip", {**DATED, **SKIP, **WAIT}, server=date_taken("success")),
    Situation("the logical date is taken, reset", {**DATED, **RESET, **WAIT}, server=date_taken("success")),
    Situation(
        "the run id is free, and the logical date is taken", {**FIXED, **DATED, **WAIT}, server=date_taken("success")
    ),
    Situation("the child Dag is paused", WAIT, server=paused),
    Situation("the child Dag is paused, and that fails the task", {**FAIL_IF_PAUSED, **WAIT}, server=paused),
    Situation("the child Dag is paused, and that fails the task, deferred", {**FAIL_IF_PAUSED, **DEFER}, server=paused),
    Situation("the child Dag might be paused, and is not", {**FAIL_IF_PAUSED, **WAIT}, need=DETAILS),
    Situation(
        "the child Dag might be paused, and does not exist",
        {**FAIL_IF_PAUSED, "trigger_dag_id": "unknown"},
        need=DETAILS,
    ),
)
