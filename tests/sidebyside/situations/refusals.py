"""The server refuses, or does not answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.adapters.dags import DEFER, WAIT
from tests.adapters.supervisor import ServerError

from .model import Situation, Try

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.adapters.supervisor import Supervisor

AWAY = ServerError(None)
TWO_TRIES = (Try(), Try(2))
INVALID = [{"loc": ["body", "conf"], "msg": "Input should be a valid dictionary", "type": "dict_type"}]


def refused(status: int, detail: Any = None, *, times: int = 99) -> Callable[[Supervisor], object]:  # noqa: ANN401 - JSON
    """Let the request for a run be refused."""
    return lambda supervisor: supervisor.fail("TriggerDagRun", ServerError(status, detail), times=times)


def look_up_fails(status: int | None, *, times: int = 1) -> Callable[[Supervisor], object]:
    """Let the look-up of the run's state fail."""
    return lambda supervisor: supervisor.fail("GetDagRunState", ServerError(status, "no"), times=times)


def reply_lost(supervisor: Supervisor) -> None:
    supervisor.fail("TriggerDagRun", AWAY, is_after=True)


def corrected(supervisor: Supervisor) -> None:
    supervisor.faults.clear()


SITUATIONS = (
    Situation("there is no such Dag", {**WAIT, "trigger_dag_id": "unknown"}),
    Situation("there is no such Dag, deferred", {**DEFER, "trigger_dag_id": "unknown"}),
    Situation("there is no such Dag, fire and forget", {"trigger_dag_id": "unknown"}),
    Situation("there is no such Dag, without retries", {"trigger_dag_id": "unknown", "retries": 0}),
    Situation(
        "there is no such Dag until the next try",
        {**WAIT, "trigger_dag_id": "late"},
        (
            Try(),
            Try(2, before=lambda supervisor: supervisor.dags.update(late=False)),
        ),
    ),
    Situation(
        "a wrong Dag is corrected before the next try",
        {**WAIT, "trigger_dag_id": "unknown"},
        (
            Try(),
            Try(2, edits={"trigger_dag_id": "child"}),
        ),
    ),
    Situation("the Dag's name renders to nothing", {**WAIT, "trigger_dag_id": "{{ '' }}"}),
    Situation(
        "the Dag's name renders to nothing until the next try",
        {
            **WAIT,
            "trigger_dag_id": "{{ 'child' if ti.try_number > 1 else '' }}",
        },
        TWO_TRIES,
    ),
    Situation("the conf breaks the Dag's params", WAIT, server=refused(400, {"reason": "value_error", "message": "x"})),
    Situation(
        "the conf breaks the Dag's params until the next try",
        {**WAIT, "conf": {"x": "{{ ti.try_number }}"}},
        (
            Try(),
            Try(2, before=corrected),
        ),
        server=refused(400, {"reason": "value_error", "message": "x is too small"}),
    ),
    Situation("the Dag has import errors", WAIT, server=refused(400, {"reason": "import_errors", "message": "broken"})),
    Situation("the server forbids it", WAIT, server=refused(403, "Forbidden")),
    Situation("the server finds a conflict and says so itself", WAIT, server=refused(409, {"reason": "conflict"})),
    Situation("the server finds the request invalid", {**WAIT, "conf": {"x": 1}}, server=refused(422, INVALID)),
    Situation("the server has too much to do", WAIT, TWO_TRIES, server=refused(429, "later", times=1)),
    Situation("the server fails once", WAIT, TWO_TRIES, server=refused(500, "Internal Server Error", times=1)),
    Situation("the server fails once, deferred", DEFER, TWO_TRIES, server=refused(500, "no", times=1)),
    Situation("the server fails once, fire and forget", {}, TWO_TRIES, server=refused(500, "no", times=1)),
    Situation("the server fails all the time", WAIT, server=refused(503, "Service Unavailable")),
    Situation("the server fails for the whole of a try", WAIT, (Try(), Try(2, before=corrected)), server=refused(503)),
    Situation("the reply is lost", WAIT, TWO_TRIES, server=reply_lost),
    Situation("the reply is lost, deferred", DEFER, TWO_TRIES, server=reply_lost),
    Situation("the reply is lost, fire and forget", {}, TWO_TRIES, server=reply_lost),
    Situation("the reply is lost, with a fixed run id", {**WAIT, "trigger_run_id": "f"}, TWO_TRIES, server=reply_lost),
    Situation("a look-up fails once", WAIT, TWO_TRIES, server=look_up_fails(500)),
    Situation("a look-up fails all the time", WAIT, server=look_up_fails(503, times=99)),
    Situation("a look-up is forbidden", WAIT, TWO_TRIES, server=look_up_fails(403)),
    Situation("a look-up gets no answer", WAIT, TWO_TRIES, server=look_up_fails(None)),
)
