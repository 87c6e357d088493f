"""How the child is waited for, and how it ends."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.utils.state import DagRunState

from tests.adapters.dags import DEFER, WAIT

from .model import DELETED, TIMES_OUT, Situation, Try

FAILS = (Try(child=["failed"]),)
SLOWLY = (Try(child=["running", "running", "running", "success"]),)
VANISHES = (Try(child=[DELETED]),)
STOCK_TRIGGER = "airflow.providers.standard.triggers.external_task.DagStateTrigger"


def told(change: Any) -> tuple[Try, ...]:  # noqa: ANN401 - a function of an event's data
    """Resume with the stock trigger's event after this change of its data."""
    return (Try(event=lambda event: (event[0], change(event[1]))),)


def event(**data: Any) -> tuple[Try, ...]:  # noqa: ANN401 - JSON
    """Resume with this event of the stock trigger."""
    whole = {"dag_id": "child", "states": ["success", "failed"], "poll_interval": 60, "execution_dates": None, **data}
    return (Try(event=lambda _: (STOCK_TRIGGER, whole)),)


def instead(payload: Any) -> tuple[Try, ...]:  # noqa: ANN401 - JSON
    """Resume with this in the place of an event."""
    return (Try(event=lambda _: payload),)


SITUATIONS = (
    Situation("the child runs for a while", WAIT, SLOWLY),
    Situation("the child runs for a while, deferred", DEFER, SLOWLY),
    Situation("the child fails", WAIT, FAILS),
    Situation("the child fails, deferred", DEFER, FAILS),
    Situation("the child fails after a while", WAIT, (Try(child=["running", "running", "failed"]),)),
    Situation("the child fails, without retries", {**WAIT, "retries": 0}, FAILS),
    Situation("the child fails, deferred, without retries", {**DEFER, "retries": 0}, FAILS),
    Situation("the child fails at the last try", WAIT, (Try(number=4, child=["failed"]),)),
    Situation("the child is deleted", WAIT, VANISHES),
    Situation("the child is deleted, deferred", DEFER, VANISHES),
    Situation(
        "the child takes longer than execution_timeout",
        {**WAIT, "execution_timeout": timedelta(hours=1)},
        (Try(child=[TIMES_OUT, "success"]),),
    ),
    Situation("the child does not end", WAIT, (Try(child=["running"]),)),
    Situation("deferrable, but no wait for completion", {"deferrable": True}),
    # States.
    Situation("allowed states as text", {**WAIT, "allowed_states": ["success", "failed"], "failed_states": []}, FAILS),
    Situation("allowed states as enums", {**WAIT, "allowed_states": [DagRunState.RUNNING]}, SLOWLY),
    Situation("allowed states as enums, deferred", {**DEFER, "allowed_states": [DagRunState.RUNNING]}, SLOWLY),
    Situation("queued is an allowed state", {**WAIT, "allowed_states": ["queued", "success"]}, SLOWLY),
    Situation("no allowed states", {**WAIT, "allowed_states": []}),
    Situation("no failed states, and the child fails", {**WAIT, "failed_states": []}, FAILS),
    Situation("no failed states, and the child fails, deferred", {**DEFER, "failed_states": []}, FAILS),
    Situation("no failed states", {**WAIT, "failed_states": []}),
    Situation("running is a failed state", {**WAIT, "failed_states": ["running"]}, SLOWLY),
    Situation("queued is a failed state", {**WAIT, "failed_states": ["queued"]}, SLOWLY),
    Situation("a state that is allowed and failed", {**WAIT, "failed_states": ["success"]}),
    Situation("a state that is allowed and failed, deferred", {**DEFER, "failed_states": ["success"]}),
    Situation("a state that does not exist", {**WAIT, "allowed_states": ["done"]}),
    Situation("states as one text", {**WAIT, "allowed_states": "success"}),
    # Events.
    Situation("an event of success", DEFER, told(lambda data: data)),
    Situation("an event of failure", DEFER, told(lambda data: {**data, data["run_ids"][0]: "failed"})),
    Situation("an event without a state", DEFER, event(run_ids=["another"])),
    Situation("an event of another run", DEFER, event(run_ids=["another"], another="success")),
    Situation("an event of another run that failed", DEFER, event(run_ids=["another"], another="failed")),
    Situation("an event with a state of neither kind", DEFER, event(run_ids=["another"], another="running")),
    Situation("an event of a run that is called record", DEFER, event(run_ids=["record"], record="success")),
    Situation("an event of a run that is called record and failed", DEFER, event(run_ids=["record"], record="failed")),
    Situation("an event of two runs", DEFER, event(run_ids=["a", "b"], a="success", b="failed")),
    Situation("an event of no run", DEFER, event(run_ids=[])),
    Situation("an event without run ids", DEFER, event()),
    Situation("an event that is nothing", DEFER, instead(None)),
    Situation("an event that is a text", DEFER, instead("done")),
    Situation("an event that is a dict", DEFER, instead({"status": "success"})),
    # Intervals.
    Situation("an interval as a float", {**WAIT, "poke_interval": 0.5}, SLOWLY),
    Situation("an interval as a float, deferred", {**DEFER, "poke_interval": 0.5}, SLOWLY),
    Situation("an interval of zero", {**WAIT, "poke_interval": 0}, SLOWLY),
    Situation("an interval of zero, deferred", {**DEFER, "poke_interval": 0}),
    Situation("a negative interval", {**WAIT, "poke_interval": -1}),
    Situation("a negative interval, deferred", {**DEFER, "poke_interval": -1}),
    Situation("an interval as a timedelta", {**WAIT, "poke_interval": timedelta(seconds=5)}),
    Situation("an interval as a timedelta, deferred", {**DEFER, "poke_interval": timedelta(seconds=5)}),
    Situation("an interval as a timedelta, fire and forget", {"poke_interval": timedelta(seconds=5)}),
    Situation("an interval as text", {**WAIT, "poke_interval": "5"}),
    Situation("an interval as text, fire and forget", {"poke_interval": "5"}),
    Situation("no interval, fire and forget", {"poke_interval": None}),
    Situation("an interval of five minutes", {**WAIT, "poke_interval": 300}, SLOWLY),
)
