"""More than one try: crashes, failures, clears, edits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.adapters.dags import DEFER, FORGET, WAIT

from .conflicts import FIXED, RESET, SKIP
from .model import WHILE_WAITING, Death, Situation, Try

if TYPE_CHECKING:
    from tests.adapters.supervisor import Supervisor

CRASHES = Try(dies=WHILE_WAITING)
BEFORE_THE_POST = Death("TriggerDagRun")


def child_succeeds(supervisor: Supervisor) -> None:
    supervisor.end_all("success")


def child_fails(supervisor: Supervisor) -> None:
    supervisor.end_all("failed")


CLEARED = Try(2, max_tries=4, clear_number=1)

SITUATIONS = (
    Situation("a crash before the request", WAIT, (Try(dies=BEFORE_THE_POST), Try(2))),
    Situation("a crash while waiting", WAIT, (CRASHES, Try(2))),
    Situation("a crash while waiting, deferred", DEFER, (CRASHES, Try(2))),
    Situation("a crash while waiting, fire and forget", FORGET, (CRASHES, Try(2))),
    Situation("a crash while waiting, with a fixed run id", {**FIXED, **WAIT}, (CRASHES, Try(2))),
    Situation("a crash while waiting, with a fixed run id, skip", {**FIXED, **SKIP, **WAIT}, (CRASHES, Try(2))),
    Situation("a crash while waiting, with a fixed run id, reset", {**FIXED, **RESET, **WAIT}, (CRASHES, Try(2))),
    Situation("a crash, and the child succeeds meanwhile", WAIT, (CRASHES, Try(2, before=child_succeeds))),
    Situation("a crash, and the child fails meanwhile", WAIT, (CRASHES, Try(2, before=child_fails))),
    Situation("a crash, and a person clears the task", WAIT, (CRASHES, CLEARED)),
    Situation("a crash at the report of success", WAIT, (Try(dies=Death("SucceedTask")), Try(2))),
    Situation("the child fails, then the next one succeeds", WAIT, (Try(child=["failed"]), Try(2))),
    Situation("the child fails, then the next one succeeds, deferred", DEFER, (Try(child=["failed"]), Try(2))),
    Situation("the child fails at each try", {**WAIT, "retries": 1}, (Try(child=["failed"]), Try(2, child=["failed"]))),
    Situation("the child with the fixed run id fails", {**FIXED, **WAIT}, (Try(child=["failed"]), Try(2))),
    Situation(
        "the child with the fixed run id fails, reset", {**FIXED, **RESET, **WAIT}, (Try(child=["failed"]), Try(2))
    ),
    Situation("success, and a person clears the task", WAIT, (Try(), CLEARED)),
    Situation("success, and a person clears the task, with a fixed run id", {**FIXED, **WAIT}, (Try(), CLEARED)),
    Situation("success, and a person clears the task, reset", {**FIXED, **RESET, **WAIT}, (Try(), CLEARED)),
    Situation(
        "the conf is edited before a clear",
        {**WAIT, "conf": {"a": 1}},
        (
            Try(),
            Try(2, max_tries=4, clear_number=1, edits={"conf": {"a": 2}}),
        ),
    ),
)
