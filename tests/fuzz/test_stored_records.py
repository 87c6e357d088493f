"""Whatever lies in the store under our key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from airflow_durable.core.errors import RecordDamagedError
from airflow_durable.core.model import Proof
from airflow_durable.core.stored import dump, load
from airflow_durable.exceptions import DurableTriggerError

if TYPE_CHECKING:
    from airflow_durable.core.record import Record

from .stage import Stage
from .strategies import stored_records

ARGUMENTS: list[dict[str, Any]] = [
    {"wait_for_completion": True},
    {"wait_for_completion": True, "deferrable": True},
    {},
    {"wait_for_completion": True, "trigger_run_id": "manual__durable_a_0"},
    {"wait_for_completion": True, "trigger_run_id": "manual__durable_a_0", "reset_dag_run": True},
    {"wait_for_completion": True, "trigger_run_id": "manual__durable_a_0", "skip_when_already_exists": True},
]


@given(stored=stored_records)
def test_a_record_loads_as_it_was_written_or_is_refused(stored: object) -> None:
    try:
        record = load(stored)
    except RecordDamagedError:
        return
    assert load(dump(record)) == record


@pytest.mark.parametrize("arguments", ARGUMENTS, ids=str)
@given(
    stored=stored_records,
    state=st.sampled_from([None, "queued", "running", "success", "failed", "something new"]),
)
def test_a_record_is_followed_or_refused(arguments: dict[str, Any], stored: object, state: str | None) -> None:
    stage = Stage(**arguments)
    stage.attempt()
    stage.stored, stage.runs, stage.submitted = stored, {}, []
    try:
        record: Record | None = None if stored is None else load(stored)
    except RecordDamagedError:
        end = stage.attempt()
        assert isinstance(end, DurableTriggerError), "a damaged record fails the attempt, and it says so"
        assert "durable_child_run" in str(end)
        assert stage.runs == {}
        return
    if record is not None and state is not None:
        stage.runs[record.run_id] = state
        stage.details[record.run_id] = {"logical_date": record.dates[-1] if record.dates else None}
    before = dict(stage.runs)
    stage.attempt()
    created = set(stage.runs) - set(before)
    assert len(created) <= 1
    if record is None:
        return
    # Nothing of somebody else's run proves that it is ours: once the task asks for another identity, it is in nobody's
    # way.
    is_foreign = record.is_fixed and not (record.proof is Proof.LOGICAL_DATE and record.dates)
    if "wait_for_completion" in arguments and not is_foreign:
        assert not stage.beside, "nothing is started beside an active run"
    is_remade = record.last_try == 3 or (record.last_try == 2 and bool(record.task_instance_id))
    is_asked_anew = record.max_tries != 3 or is_remade or state == "failed"
    is_other_identity = "trigger_run_id" in arguments or record.proof is not Proof.RUN_ID
    if not is_asked_anew and not is_other_identity:
        assert created <= {record.run_id}, "nothing else is started while the recorded run may be healthy"


@example(text="")
@given(text=st.text(max_size=50))
def test_a_text_is_no_record(text: str) -> None:
    with pytest.raises(RecordDamagedError):
        load(text)
