"""The record's stored form: a versioned contract."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from airflow_durable.core.errors import RecordDamagedError
from airflow_durable.core.model import Attempt, ChildRun, Decision, Mode
from airflow_durable.core.record import KEY, MAX_ATTEMPTS, Baseline, Entry, Record, load

from .fakes import EPOCH, FIXED_DATE, attempt

GOLDEN = Path(__file__).parent / "golden"
DIGEST = "sha256:dc41db2ab48fb7daf51391783581e597777c2356496ec51c53ee4137baf491e3"
STARTED = datetime(2026, 1, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
FULL = Record(
    dag_id="child",
    run_id="nightly-2026-01-01",
    logical_date=STARTED,
    is_fixed=True,
    is_date_ours=True,
    digest=DIGEST,
    mode=Mode.DEFER,
    max_tries=3,
    clear_number=1,
    generation=2,
    reset=Baseline(4, datetime(2025, 12, 31, tzinfo=timezone.utc)),
    is_consumed=True,
    attempts=(
        Entry(1, Decision.FRESH_SUBMIT, "nightly-2026-01-01", STARTED),
        Entry(2, Decision.RESET, "nightly-2026-01-01", datetime(2026, 1, 1, 2, 5, tzinfo=timezone.utc)),
    ),
)
MINIMAL = Record(
    dag_id="child",
    run_id="manual__durable_0193e1b0f5a87c3e9d2b4a6c8e0f1234_0",
    logical_date=None,
    is_fixed=False,
    is_date_ours=False,
    digest=DIGEST,
    mode=Mode.WAIT,
    max_tries=0,
    clear_number=0,
)


def read_golden(name: str) -> Any:  # noqa: ANN401 - JSON
    return json.loads((GOLDEN / name).read_text(encoding="utf-8"))


@pytest.mark.parametrize(("name", "record"), [("record_v1_full.json", FULL), ("record_v1_minimal.json", MINIMAL)])
def test_every_released_form_still_loads(name: str, record: Record) -> None:
    assert load(read_golden(name)) == record


@pytest.mark.parametrize(("name", "record"), [("record_v1_full.json", FULL), ("record_v1_minimal.json", MINIMAL)])
def test_the_stored_form_is_still_the_released_one(name: str, record: Record) -> None:
    assert record.dump() == read_golden(name)
    # The same text too: people read it in Airflow's own view.
    assert json.dumps(record.dump(), indent=2) + "\n" == (GOLDEN / name).read_text(encoding="utf-8")


def test_the_key_is_a_contract() -> None:
    assert KEY == "durable_child_run"


def test_a_date_keeps_its_moment_and_its_microseconds() -> None:
    east = timezone(timedelta(hours=5, minutes=30))
    record = replace(MINIMAL, logical_date=datetime(2026, 1, 1, 5, 30, 0, 1, tzinfo=east))
    assert load(json.loads(json.dumps(record.dump()))).logical_date == datetime(2026, 1, 1, 0, 0, 0, 1, timezone.utc)


@pytest.mark.parametrize("decision", Decision)
@pytest.mark.parametrize("mode", Mode)
def test_each_mode_and_decision_can_be_stored(mode: Mode, decision: Decision) -> None:
    record = replace(MINIMAL, mode=mode, attempts=(Entry(1, decision, "x", EPOCH),))
    assert load(record.dump()) == record


def _with(**changes: object) -> dict[str, Any]:
    return {**read_golden("record_v1_full.json"), **changes}


def _without(key: str) -> dict[str, Any]:
    return {name: value for name, value in read_golden("record_v1_full.json").items() if name != key}


@pytest.mark.parametrize("key", list(read_golden("record_v1_full.json")))
def test_a_missing_field_is_damage(key: str) -> None:
    with pytest.raises(RecordDamagedError, match=f"the record has no {key!r}"):
        load(_without(key))


@pytest.mark.parametrize(
    ("stored", "reason"),
    [
        ("text", "the record is str, not an object"),
        ([], "the record is list, not an object"),
        (_with(version=2), "it is of version 2, and this release of airflow-durable knows version 1"),
        (_with(version=0), "version 0"),
        (_with(version="1"), "'version' of the record is str"),
        (_with(version=True), "'version' of the record is bool"),
        (_with(child=None), "'child' of the record is NoneType"),
        (_with(child={"dag_id": "child", "logical_date": None}), "its child has no 'run_id'"),
        (_with(child={"dag_id": "", "run_id": "x", "logical_date": None}), "'dag_id' of its child is empty"),
        (_with(child={"dag_id": "c", "run_id": "", "logical_date": None}), "'run_id' of its child is empty"),
        (
            _with(child={"dag_id": "c", "run_id": "x", "logical_date": "2026-01-01T00:00:00"}),
            "'logical_date' of its child is not a date with a time zone",
        ),
        (_with(child={"dag_id": "c", "run_id": "x", "logical_date": "soon"}), "is not a date with a time zone"),
        (_with(is_fixed=1), "'is_fixed' of the record is int"),
        (_with(digest=""), "'digest' of the record is empty"),
        (_with(mode="later"), "'mode' of the record is none that this release knows"),
        (_with(max_tries=True), "'max_tries' of the record is bool"),
        (_with(max_tries=1.0), "'max_tries' of the record is float"),
        (_with(reset=[]), "'reset' of the record is list"),
        (_with(reset={"logical_date": None}), "its reset has no 'clear_number'"),
        (_with(consumed="yes"), "'consumed' of the record is str"),
        (_with(attempts={}), "'attempts' of the record is dict"),
        (_with(attempts=[3]), "one of its attempts is int, not an object"),
        (
            _with(attempts=[{"try_number": 1, "decision": "guess", "run_id": "x", "at": "2026-01-01T00:00:00+00:00"}]),
            "'decision' of one of its attempts is none that this release knows",
        ),
        (
            _with(attempts=[{"try_number": 1, "decision": "reset", "run_id": "x", "at": None}]),
            "one of its attempts has no time",
        ),
    ],
)
def test_what_cannot_be_understood_is_damage(stored: object, reason: str) -> None:
    with pytest.raises(RecordDamagedError) as caught:
        load(stored)
    assert reason in str(caught.value)
    assert f"the task state store key {KEY!r}" in str(caught.value)
    assert "Nothing was triggered" in str(caught.value)
    assert "delete that key" in str(caught.value)


def test_damage_does_not_show_what_was_stored() -> None:
    with pytest.raises(RecordDamagedError) as caught:
        load(_with(mode="hunter2"))
    assert "hunter2" not in str(caught.value)


def test_a_field_that_is_not_known_is_ignored() -> None:
    """A later release of the same version may add one, and people downgrade."""
    assert load(_with(further="field")) == FULL


def test_an_entry_takes_what_tells_of_a_later_clear() -> None:
    entered = MINIMAL.with_entry(attempt(2, max_tries=7, clear_number=4), Decision.RECONNECT, EPOCH)
    assert (entered.max_tries, entered.clear_number) == (7, 4)
    assert entered.attempts == (Entry(2, Decision.RECONNECT, MINIMAL.run_id, EPOCH),)


def test_a_record_stays_small() -> None:
    record = MINIMAL
    for number in range(1, MAX_ATTEMPTS + 11):
        record = record.with_entry(attempt(number), Decision.RECONNECT, EPOCH)
    assert [entry.try_number for entry in record.attempts] == list(range(11, MAX_ATTEMPTS + 11))
    # Airflow 3.3 refuses values over 64 KiB ([state_store] max_value_storage_bytes).
    assert len(json.dumps(record.dump())) < 65_536 / 2


def test_authorship() -> None:
    generated = replace(MINIMAL, logical_date=EPOCH, is_date_ours=True)
    assert generated.is_author_of(ChildRun("running", 0, FIXED_DATE))
    fixed = replace(generated, is_fixed=True)
    assert fixed.is_author_of(ChildRun("running", 0, EPOCH))
    assert not fixed.is_author_of(ChildRun("running", 0, FIXED_DATE))
    assert not fixed.is_author_of(ChildRun("running", 0, None))
    assert replace(fixed, reset=Baseline(0, FIXED_DATE)).is_author_of(ChildRun("running", 1, FIXED_DATE))
    assert replace(fixed, reset=Baseline(0, FIXED_DATE)).is_author_of(ChildRun("running", 0, EPOCH))
    assert replace(fixed, is_date_ours=False).is_author_of(ChildRun("running", 0, FIXED_DATE))


@pytest.mark.parametrize(
    ("again", "is_cleared"),
    [
        pytest.param(Attempt(2, 3, retries=3, clear_number=0), False, id="retry"),
        pytest.param(Attempt(2, 3, retries=3, clear_number=1), False, id="retry, another task was cleared"),
        pytest.param(Attempt(4, 3, retries=1, clear_number=0), False, id="retry, and the retries were lowered"),
        pytest.param(Attempt(2, 4, retries=3, clear_number=1), True, id="clear"),
        pytest.param(Attempt(2, 4, retries=3, clear_number=0), True, id="clear, on an Airflow without the number"),
        pytest.param(Attempt(2, 2, retries=1, clear_number=1), True, id="clear, and the retries were lowered"),
        pytest.param(Attempt(2, 3, retries=2, clear_number=1), True, id="clear, retries lowered by the try"),
        pytest.param(Attempt(2, 3, retries=2, clear_number=0), False, id="retry, retries lowered by the try"),
    ],
)
def test_a_clear_is_told_from_a_retry(again: Attempt, is_cleared: bool) -> None:  # noqa: FBT001 - a parameter
    record = MINIMAL.with_entry(attempt(1), Decision.FRESH_SUBMIT, EPOCH)
    assert record.is_cleared_before(again) is is_cleared


def test_a_record_without_an_entry_was_written_by_a_first_attempt() -> None:
    record = replace(MINIMAL, max_tries=3)
    assert record.is_cleared_before(Attempt(2, 3, retries=2, clear_number=1))
    assert not record.is_cleared_before(Attempt(2, 3, retries=3, clear_number=1))
