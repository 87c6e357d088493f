"""What two plays of a situation have that is not the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.adapters.supervisor import OUTCOMES

from .normalise import Names, is_generated
from .stage import KILLED, Kind, Part, Play, play, public_classes

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.adapters.server import Run

    from .situations.model import Situation

VISIBLE = frozenset({*OUTCOMES, "TriggerDagRun", "SetXCom", "DeleteXCom", "SetRenderedFields", "SetRenderedMapIndex"})
"""Messages whose order users can see: in the rendered fields, the XComs, the runs, the state."""

NOTHING = "none"

ASPECTS = {
    "parsing": "warnings and errors of the Dag file",
    "outcome": "the state that each try ends in",
    "error": "the class of the error by which callbacks, retry policies and ``except`` tell it",
    "children": "the runs of the child Dag in the end",
    "request": "what was asked for, in order",
    "order": "the messages that users see the effects of, in order",
    "rendered": "the rendered fields",
    "xcoms": "the XComs in the end, the link among them",
    "hooks": "the callbacks, listeners and hooks, in order",
    "post_execute": "whether it is called",
    "seen": "what callbacks, listeners and hooks could see of the task",
    "exception": "the exception that callbacks and listeners get",
    "waiting": "the pauses of the wait on a worker",
    "trigger": "the trigger of a deferral",
    "traffic": "look-ups, and messages to the task state store",
}


def play_both(situation: Situation, kind: Kind) -> tuple[Play, Play]:
    """Play the situation with the stock operator, and with this one."""
    return play(situation, Kind.STOCK), play(situation, kind)


def find_all_differences(situation: Situation, kind: Kind) -> dict[str, tuple[object, object]]:
    """Return all that is not the same, by where it is, as text."""
    stock, other = play_both(situation, kind)
    fixed = _fixed_ids(stock)
    ours, theirs = (_everything(each, _names(each, fixed)) for each in (other, stock))
    return {
        where: (theirs.get(where), ours.get(where))
        for where in {**theirs, **ours}
        if theirs.get(where) != ours.get(where)
    }


def find_differences(situation: Situation, kind: Kind) -> dict[str, tuple[str, str]]:
    """Return what is not the same of what matters to users, by its aspect."""
    stock, other = play_both(situation, kind)
    fixed = _fixed_ids(stock)
    theirs, ours = (_aspects(each, _names(each, fixed)) for each in (stock, other))
    return {aspect: (theirs[aspect], ours[aspect]) for aspect in ASPECTS if theirs[aspect] != ours[aspect]}


def _fixed_ids(stock: Play) -> set[str]:
    """Return the run ids that are the same each time: the user's, and those that others' runs have."""
    return {run_id for run_id in _run_ids(stock) if not is_generated(run_id)}


def _run_ids(played: Play) -> Iterable[str]:
    for part in played.parts:
        yield from (request.run_id for request in part.requests if type(request).__name__ == "TriggerDagRun")
        # A request that was never sent has an id all the same, which hooks see.
        yield from (seen["trigger_run_id"] for _, seen in part.hooks if isinstance(seen["trigger_run_id"], str))
    yield from (run_id for _, run_id in played.supervisor.runs)


def _names(played: Play, fixed: set[str]) -> Names:
    return Names(_run_ids(played), fixed)


def _everything(played: Play, names: Names) -> dict[str, object]:
    told: dict[str, object] = {"parsing": played.parsing, **_left_behind(played, names)}
    for number, part in enumerate(played.parts):
        where = f"{number}. {part.name}"
        told |= {
            f"{where}, state": names.text(part.state),
            f"{where}, messages": [names.text(_tell(request)) for request in part.requests],
            f"{where}, error": _error(part.error, names),
            f"{where}, hooks": [names.text(hook) for hook in part.hooks],
            # Airflow's own line of the finalizers shows the whole task instance, its times among it.
            f"{where}, log": [names.text(line) for line in part.log if not line.startswith("Running finalizers")],
            f"{where}, pauses": part.sleeps,
        }
    return told


def _left_behind(played: Play, names: Names) -> dict[str, object]:
    supervisor = played.supervisor
    return {
        "runs": [_run(run, names) for run in supervisor.runs.values()],
        "xcoms": names.text(supervisor.xcoms),
        "store": names.text(supervisor.store),
    }


def _tell(request: Any) -> dict[str, Any]:  # noqa: ANN401 - as many types as there are messages
    return {"message": type(request).__name__, **request.model_dump(mode="json", warnings=False)}


def _error(error: BaseException | None, names: Names) -> str:
    if error is None:
        return NOTHING
    facts = {} if not hasattr(error, "trigger_dag_id") else vars(error)
    return f"{type(error).__module__}.{type(error).__name__}: {names.text(str(error))} {names.text(facts)}"


def _run(run: Run, names: Names) -> str:
    return names.text(
        f"{run.dag_id} {run.run_id}: {run.state}, logical date {run.logical_date}, run after {run.run_after}, "
        f"conf {run.conf}, note {run.note}, cleared {run.clear_number} times"
    )


def _aspects(played: Play, names: Names) -> dict[str, str]:
    tries = [part for part in played.parts if part.name != "the trigger"]
    triggers = [part for part in played.parts if part.name == "the trigger"]
    hooked = [part.hooks for part in tries if part.state != KILLED]
    visible = [[request for request in part.requests if type(request).__name__ in VISIBLE] for part in tries]
    return {
        "parsing": "; ".join(played.parsing) or NOTHING,
        "outcome": ", ".join(_state(part, names) for part in played.parts if part.state != "fired"),
        "error": ", ".join(_public(part.error) for part in tries),
        "children": "; ".join(_run(run, names) for run in played.supervisor.runs.values()) or NOTHING,
        "request": "; ".join(names.text(_tell(r)) for part in tries for r in part.requests if _is(r, "TriggerDagRun")),
        "order": "; ".join(" ".join(type(request).__name__ for request in requests) for requests in visible),
        "rendered": "; ".join(
            names.text(_tell(r)) for part in tries for r in part.requests if _is(r, "SetRenderedFields")
        ),
        "xcoms": names.text(played.supervisor.xcoms),
        "hooks": "; ".join(" ".join(name for name, _ in hooks if name != "post_execute") for hooks in hooked),
        "post_execute": str(["post_execute" in dict(hooks) for hooks in hooked]),
        "seen": "; ".join(names.text([_task_in(seen) for _, seen in hooks]) for hooks in hooked),
        "exception": "; ".join(names.text([seen["error"] for _, seen in hooks if seen["error"]]) for hooks in hooked),
        "waiting": str([part.sleeps for part in tries]),
        "trigger": names.text([(part.state, part.log) for part in triggers]),
        "traffic": "; ".join(
            " ".join(name for r in part.requests if (name := type(r).__name__) not in VISIBLE) for part in played.parts
        ),
    }


def _task_in(seen: dict[str, Any]) -> list[Any]:
    return [seen["trigger_dag_id"], seen["trigger_run_id"], seen["conf"]]


def _state(part: Part, names: Names) -> str:
    return f"trigger {part.state}" if part.name == "the trigger" else names.text(part.state)


def _is(request: Any, name: str) -> bool:  # noqa: ANN401 - as many types as there are messages
    return type(request).__name__ == name


def _public(error: BaseException | None) -> str:
    """Return the most special class that code can know which knows nothing of this package."""
    return NOTHING if error is None else next(iter(public_classes(error)), "Exception")
