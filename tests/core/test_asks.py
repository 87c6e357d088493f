"""What a record asks of the reconciler: its stored form, and when an action is wanted."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from airflow_durable.core.asks import Action, ActionKind, Asks, asks_of, is_run_of, withdrawn, without_action
from airflow_durable.core.errors import RecordDamagedError
from airflow_durable.core.model import ChildRun, Mode, OnParentEnd, Proof
from airflow_durable.core.record import Clock, Record
from airflow_durable.core.run_ids import child_run_id, legacy_run_id
from airflow_durable.core.stored import dump, load

from .fakes import EPOCH, OTHER_PARENT, PARENT

RECORD = Record("child", "ours", Proof.RUN_ID, Mode.WAIT, 3, 0)
RESUME = Action(ActionKind.RESUME, 2, "failed")


@pytest.mark.parametrize(
    ("asks", "stored"),
    [
        (Asks(OnParentEnd.CANCEL), {"on_parent_end": "cancel"}),
        (Asks(action=RESUME), {"action": {"kind": "resume", "clear_number": 2, "state": "failed"}}),
        (
            Asks(OnParentEnd.CANCEL, Action(ActionKind.RESET, 0, "success")),
            {"on_parent_end": "cancel", "action": {"kind": "reset", "clear_number": 0, "state": "success"}},
        ),
    ],
)
def test_only_what_is_asked_is_stored(asks: Asks, stored: dict[str, Any]) -> None:
    record = replace(RECORD, asks=asks)
    assert dump(record)["asks"] == stored
    assert load(dump(record)) == record


@pytest.mark.parametrize("on_parent_end", OnParentEnd)
@pytest.mark.parametrize("action", [None, RESUME])
def test_the_withdrawal_has_one_form_whoever_writes_it(on_parent_end: OnParentEnd, action: Action | None) -> None:
    record = replace(RECORD, asks=asks_of(on_parent_end, action))
    assert withdrawn(dump(record)) == dump(replace(record, asks=without_action(record.asks)))


def test_a_record_that_asks_nothing_has_the_form_that_it_always_had() -> None:
    assert not {"asks", "clock"} & dump(RECORD).keys()
    assert load(dump(RECORD)).asks is None
    assert load({**dump(RECORD), "asks": {}}).asks is None


def test_the_golden_file_is_understood() -> None:
    """Of what is there only where it is used. All else is in the other golden files."""
    stored = json.loads((Path(__file__).parent / "golden" / "record_v2_childs_life.json").read_text(encoding="utf-8"))
    record = load(stored)
    assert record.clock == Clock(datetime(2026, 1, 1, 0, 0, 4, 200310, tzinfo=timezone.utc), 1)
    assert record.asks == Asks(OnParentEnd.CANCEL, Action(ActionKind.RESUME, 1, "failed"))
    assert dump(record) == stored


def test_the_clock_is_stored_where_there_is_one() -> None:
    record = replace(RECORD, clock=Clock(EPOCH, 3))
    assert dump(record)["clock"] == {"since": EPOCH.isoformat(), "clear_number": 3}
    assert load(dump(record)) == record


@pytest.mark.parametrize(
    "asks",
    [
        {"on_parent_end": "end the world"},
        {"on_parent_end": None},
        {"action": {"kind": "explode", "clear_number": 1, "state": "failed"}},
        {"action": {"kind": "resume", "clear_number": "1", "state": "failed"}},
        {"action": {"kind": "resume", "clear_number": 1}},
        {"action": None},
        [],
    ],
    ids=repr,
)
def test_what_is_not_understood_is_not_guessed_at(asks: Any) -> None:  # noqa: ANN401 - JSON
    with pytest.raises(RecordDamagedError):
        load({**dump(RECORD), "asks": asks})


def test_nothing_is_asked_where_the_child_is_left_alone() -> None:
    assert asks_of(OnParentEnd.ABANDON) is None
    assert without_action(None) is None
    assert without_action(Asks(action=RESUME)) is None
    assert without_action(Asks(OnParentEnd.CANCEL, RESUME)) == Asks(OnParentEnd.CANCEL)


@pytest.mark.parametrize(
    ("run", "is_wanted"),
    [
        (ChildRun("failed", 2), True),
        (ChildRun("failed", 3), False),
        (ChildRun("running", 2), False),
        (ChildRun("failed"), False),
    ],
)
def test_an_action_is_of_the_run_as_it_was(run: ChildRun, is_wanted: bool) -> None:  # noqa: FBT001 - expected
    assert RESUME.is_of(run) is is_wanted


def test_a_generated_run_id_follows_from_its_parent_alone() -> None:
    run_id = child_run_id(PARENT, epoch=1, call=2, generation=3)
    record = replace(RECORD, run_id=run_id, epoch=1, call=2, generation=3)
    assert is_run_of(record, PARENT)
    assert not is_run_of(record, OTHER_PARENT)
    assert not is_run_of(replace(record, generation=2), PARENT)
    assert not is_run_of(replace(record, run_id="forged"), PARENT)
    assert not is_run_of(replace(record, proof=Proof.LOGICAL_DATE), PARENT)
    assert not is_run_of(replace(record, call=0, run_id=child_run_id(PARENT, epoch=1, call=0, generation=3)), PARENT)
    assert not is_run_of(replace(RECORD, run_id=legacy_run_id(PARENT, 3, 0), generation=-1), PARENT)


def test_a_run_that_is_adopted_after_a_clear_still_follows_from_its_parent() -> None:
    # The epoch moves with the clear, and the run id stays: it was computed from the epoch of before.
    record = replace(RECORD, run_id=child_run_id(PARENT, epoch=1, call=1, generation=2), epoch=5, generation=2)
    assert is_run_of(record, PARENT)
    assert not is_run_of(record, OTHER_PARENT)
