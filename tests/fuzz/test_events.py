"""Whatever the triggerer hands over: events of every released form, and none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from airflow_durable.compat import AirflowException, TaskDeferred
from airflow_durable.core.errors import RecordDamagedError
from airflow_durable.core.model import Phase
from airflow_durable.core.stored import dump, load
from airflow_durable.exceptions import DurableTriggerError
from airflow_durable.triggers.dag_run import DurableDagRunTrigger

from .stage import Stage
from .strategies import damaged, junk, records

if TYPE_CHECKING:
    from airflow_durable.core.record import Record

states = st.sampled_from(["success", "failed", "running", "queued", "new"]) | junk


@st.composite
def _events(draw: st.DrawFn) -> Any:  # noqa: ANN401 - JSON
    record = draw(records)
    is_missing = draw(st.booleans())
    data = {
        "dag_id": record.dag_id,
        "run_ids": [record.run_id],
        "states": ["failed", "success"],
        "poll_interval": 60.0,
        record.run_id: "failed" if is_missing else draw(states),
        "is_missing": is_missing,
        "record": dump(record),
    }
    return ["airflow_durable.triggers.dag_run.DurableDagRunTrigger", data]


@st.composite
def _stock_events(draw: st.DrawFn) -> Any:  # noqa: ANN401 - JSON
    data = {"run_ids": ["r"], "states": ["failed", "success"], "poll_interval": 60.0, "r": draw(states)}
    return ["airflow.providers.standard.triggers.external_task.DagStateTrigger", data]


@example(event=None)
@example(event=["x", {}])
@example(event=["x", {"run_ids": []}])
@example(event=["x", {"run_ids": ["r"]}])
@given(event=damaged(_events()) | damaged(_stock_events()) | junk)
def test_an_event_ends_in_success_another_deferral_or_our_error(event: Any) -> None:  # noqa: ANN401 - anything
    stage = Stage(wait_for_completion=True, deferrable=True)
    try:
        end = stage.attempt(event=event if event is not None else "null")
    except AirflowException as error:
        # The stock operator's own, for what it began itself.
        assert "failed with failed states" in str(error)  # noqa: PT017 - anything else is a failure
        return
    record = _record_of(event)
    if record is not None and (record.last_try > 1 or record.phase is Phase.WAITED_OUT):
        # It is left over from another try, and this is a retry (Airflow 3.0); or it ends the wait for a run that is not
        # adopted: then it is decided anew.
        assert len(stage.runs) <= 1
        return
    assert stage.submitted == [], "an event starts nothing"
    assert end is None or isinstance(end, (DurableTriggerError, TaskDeferred))
    if end is None:
        assert isinstance(event, (list, tuple))
        data = event[-1]
        listed = data.get("run_ids")
        named = [*(listed if isinstance(listed, list) else []), *([record.run_id] if record else []), "state"]
        is_success = any(data.get(run_id) == "success" for run_id in named if isinstance(run_id, str))
        assert is_success or (record is not None and record.is_consumed)


def _record_of(event: Any) -> Record | None:  # noqa: ANN401 - anything
    """Return the record in the event, None if there is none that can be understood."""
    try:
        return load(event[-1]["record"])
    except (RecordDamagedError, TypeError, KeyError, IndexError):
        return None


@given(record=records, interval=st.floats(1, 3600))
def test_the_triggers_arguments_survive(record: Record, interval: float) -> None:
    trigger = DurableDagRunTrigger(
        dag_id="child", run_id=record.run_id, states=["success"], poll_interval=interval, record=dump(record)
    )
    _, arguments = trigger.serialize()
    assert DurableDagRunTrigger(**arguments).serialize() == trigger.serialize()


@pytest.mark.parametrize("state", ["success", "failed"])
def test_a_deferral_that_stock_began_ends_as_stock_would_end_it(state: str) -> None:
    stage = Stage(wait_for_completion=True, deferrable=True)
    event = ["x.DagStateTrigger", {"run_ids": ["r"], "states": ["success", "failed"], "poll_interval": 5, "r": state}]
    if state == "success":
        assert stage.attempt(event=event) is None
    else:
        with pytest.raises(AirflowException, match="failed with failed states"):
            stage.attempt(event=event)
