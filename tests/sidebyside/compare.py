"""What two plays of a situation have that is not the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.adapters.supervisor import OUTCOMES

from .normalise import Names, form_of, is_generated
from .parts import ENDLESS, EXITED, FIRED, KILLED, TRIGGER, Part, special_classes, state_of
from .stage import Kind, Play, play

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.adapters.fake_server import Run

    from .situations.model import Situation

VISIBLE = frozenset({*OUTCOMES, "TriggerDagRun", "SetXCom", "DeleteXCom", "SetRenderedFields", "SetRenderedMapIndex"})
"""Messages whose order users can see: in the rendered fields, the XComs, the runs, the state."""

NOTHING = "none"

SHORT = {
    "parsing": "warnings and errors of the Dag file",
    "outcome": "the state that each try ends in",
    "error": "the class of the error by which callbacks, retry policies and ``except`` tell it",
    "runs": "the states of the runs of the child Dag in the end",
}
"""Aspects whose every difference is reviewed word by word. These are compared over the whole play."""

LONG = {
    "children": "the runs of the child Dag in the end, where there are as many",
    "xcoms": "the XComs in the end, the link among them",
    "request": "what was asked for",
    "order": "the messages that users see the effects of, in order",
    "rendered": "the rendered fields",
    "hooks": "the callbacks, listeners and hooks, in order",
    "post_execute": "whether it is called",
    "seen": "what callbacks, listeners and hooks could see of the task",
    "waiting": "the pauses of the wait on a worker",
    "trigger": "the trigger of a deferral, and its event",
    "form": "the form of generated run ids",
    "traffic": "look-ups, and messages to the task state store",
}
"""Aspects of which only is said where they differ. A try that ends in another state differs in all of them: they are
compared up to it."""

Differences = dict[str, tuple[str, str]]


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


def find_differences(situation: Situation, kind: Kind) -> Differences:
    """Return what is not the same of what matters to users, by its aspect."""
    stock, other = play_both(situation, kind)
    fixed = _fixed_ids(stock)
    alike = _count_alike(stock, other)
    theirs, ours = (_aspects(each, _names(each, fixed), alike) for each in (stock, other))
    left = [aspect for aspect in (*SHORT, *LONG) if theirs[aspect] != ours[aspect]]
    if alike < max(len(stock.parts), len(other.parts)):
        left = [aspect for aspect in left if aspect != "xcoms"]
    if "runs" in left:
        left = [aspect for aspect in left if aspect != "children"]
    return {aspect: (theirs[aspect], ours[aspect]) for aspect in left}


def _count_alike(stock: Play, other: Play) -> int:
    """
    Return how many parts, from the first one on, end in the same state, and by themselves.

    A task runner that failed (:data:`EXITED`) calls no callbacks and leaves no link: it differs in everything.
    """
    count = 0
    for one, another in zip(stock.parts, other.parts, strict=False):
        is_end_alike = (one.name, state_of(one)) == (another.name, state_of(another))
        if not is_end_alike or {one.state, another.state} & {EXITED, ENDLESS}:
            break
        count += 1
    return count


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


def _aspects(played: Play, names: Names, alike: int) -> dict[str, str]:
    """Return all aspects as text; what belongs to a part only for the parts that are alike."""
    tries = [part for part in played.parts if part.name != TRIGGER]
    compared = [part for part in played.parts[:alike] if part.name != TRIGGER]
    visible = [[request for request in part.requests if type(request).__name__ in VISIBLE] for part in compared]
    hooked = [part.hooks for part in compared if part.state != KILLED]
    runs = list(played.supervisor.runs.values())
    return {
        "parsing": "; ".join(played.parsing) or NOTHING,
        "outcome": ", ".join(_state(part, names) for part in played.parts if part.state != FIRED),
        "error": ", ".join(NOTHING if part.state == EXITED else _public(part.error) for part in tries),
        "runs": ", ".join(run.state for run in runs) or NOTHING,
        "children": "; ".join(_run(run, names) for run in runs),
        "xcoms": names.text(played.supervisor.xcoms),
        "request": _told("TriggerDagRun", compared, names),
        "rendered": _told("SetRenderedFields", compared, names),
        "order": "; ".join(" ".join(type(request).__name__ for request in requests) for requests in visible),
        "hooks": "; ".join(" ".join(name for name, _ in hooks if name != "post_execute") for hooks in hooked),
        "post_execute": str(["post_execute" in dict(hooks) for hooks in hooked]),
        "seen": "; ".join(
            names.text([_task_in(seen) for name, seen in hooks if name != "post_execute"]) for hooks in hooked
        ),
        "waiting": str([part.sleeps for part in compared]),
        "trigger": names.text([part.log for part in played.parts[:alike] if part.name == TRIGGER]),
        "form": " ".join(form_of(run_id) for run_id in names.by_id),
        "traffic": "; ".join(
            " ".join(name for request in part.requests if (name := type(request).__name__) not in VISIBLE)
            for part in played.parts[:alike]
        ),
    }


def _told(name: str, parts: Iterable[Part], names: Names) -> str:
    return "; ".join(names.text(_tell(r)) for part in parts for r in part.requests if type(r).__name__ == name)


def _task_in(seen: dict[str, Any]) -> list[Any]:
    return [seen["trigger_dag_id"], seen["trigger_run_id"], seen["conf"]]


def _state(part: Part, names: Names) -> str:
    return f"trigger {part.state}" if part.name == TRIGGER else names.text(state_of(part))


def _public(error: BaseException | None) -> str:
    """Return the most special classes that code can know which knows nothing of this package."""
    return NOTHING if error is None else " and ".join(special_classes(error)) or "Exception"
