"""The record's stored form: a versioned contract."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_durable.core.errors import FixedRunFailedError, RecordDamagedError
from airflow_durable.core.model import Decision, Mode, Outcome, Phase, Proof
from airflow_durable.core.record import Baseline, Record, TryEntry
from airflow_durable.core.run_ids import child_run_id
from airflow_durable.core.stored import KEY, VERSION, dump, key_of, load, position_of

from .fakes import (
    EPOCH,
    FIXED_DATE,
    PARENT,
    FakePort,
    Run,
    Server,
    ask,
    ask_fixed_date,
    ask_fixed_id,
    attempt,
    cleared,
    crash_while_waiting,
    run_try,
)

GOLDEN = Path(__file__).parent / "golden"
STARTED = datetime(2026, 1, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
DAY_BEFORE = datetime(2025, 12, 31, tzinfo=timezone.utc)

FULL = Record(
    dag_id="child",
    run_id="nightly-2026-01-01",
    proof=Proof.RUN_AFTER,
    mode=Mode.DEFER,
    max_tries=3,
    clear_number=1,
    logical_date=DAY_BEFORE,
    run_after=STARTED,
    call=2,
    epoch=1,
    generation=4,
    phase=Phase.CONSUMED,
    outcome=Outcome("child", "nightly-2026-01-01", "success", STARTED + timedelta(hours=1)),
    dates=(STARTED - timedelta(seconds=1), STARTED),
    reset=Baseline(4, DAY_BEFORE, STARTED - timedelta(days=1)),
    task_instance_id="0193e1b0-f5a8-7c3e-9d2b-4a6c8e0f1234",
    tries=(
        TryEntry(1, Decision.FRESH_SUBMIT, "nightly-2026-01-01", STARTED),
        TryEntry(2, Decision.RESET, "nightly-2026-01-01", STARTED + timedelta(minutes=2)),
    ),
)
MINIMAL = Record(
    dag_id="child",
    run_id="manual__2026-11-26T03:00:00+00:00_jrhsghfop22y",
    proof=Proof.RUN_ID,
    mode=Mode.WAIT,
    max_tries=0,
    clear_number=0,
)
FIRST_FULL = Record(
    dag_id="child",
    run_id="nightly-2026-01-01",
    proof=Proof.LOGICAL_DATE,
    mode=Mode.DEFER,
    max_tries=3,
    clear_number=1,
    logical_date=STARTED,
    generation=2,
    phase=Phase.CONSUMED,
    dates=(STARTED,),
    reset=Baseline(4, DAY_BEFORE),
    tries=(
        TryEntry(1, Decision.FRESH_SUBMIT, "nightly-2026-01-01", STARTED),
        TryEntry(2, Decision.RESET, "nightly-2026-01-01", datetime(2026, 1, 1, 2, 5, tzinfo=timezone.utc)),
    ),
)
FIRST_MINIMAL = replace(MINIMAL, run_id="manual__durable_0193e1b0f5a87c3e9d2b4a6c8e0f1234_0")
SECOND = [("record_v2_full.json", FULL), ("record_v2_minimal.json", MINIMAL)]
FIRST = [("record_v1_full.json", FIRST_FULL), ("record_v1_minimal.json", FIRST_MINIMAL)]


def read_golden(name: str) -> Any:  # noqa: ANN401 - JSON
    return json.loads((GOLDEN / name).read_text(encoding="utf-8"))


@pytest.mark.parametrize(("name", "record"), SECOND + FIRST)
def test_every_released_form_still_loads(name: str, record: Record) -> None:
    assert load(read_golden(name)) == record


@pytest.mark.parametrize(("name", "record"), SECOND)
def test_the_stored_form_is_still_the_released_one(name: str, record: Record) -> None:
    # The same text too: people read it in Airflow's own view.
    assert json.dumps(dump(record), indent=2) + "\n" == (GOLDEN / name).read_text(encoding="utf-8")


def test_the_full_golden_file_has_something_in_every_field() -> None:
    nothing = Record("", "", Proof.RUN_ID, Mode.WAIT, 0, 0)
    for field in (*dump(FULL), "logical_date", "run_after", "task_instance_id", "tries"):
        if field in {"version", "child", "parent", "attempts", "is_recovered"}:
            continue
        assert getattr(FULL, field) != getattr(nothing, field), field


def test_the_date_of_an_adopted_run_is_stored_only_where_there_is_one() -> None:
    adopted = replace(MINIMAL, adopted=STARTED)
    golden = read_golden("record_v2_adopted.json")
    assert dump(adopted) == golden == {**dump(MINIMAL), "adopted": STARTED.isoformat()}
    assert load(golden) == adopted


# Keys.


def test_the_keys_are_a_contract() -> None:
    assert KEY == "durable_child_run"
    assert VERSION == 2
    assert [key_of(1, 0), key_of(1, 1), key_of(1, 12)] == [KEY, f"{KEY}.1", f"{KEY}.12"]
    assert [key_of(2, 0), key_of(2, 1), key_of(12, 3)] == [
        f"{KEY}.call_00002",
        f"{KEY}.call_00002.1",
        f"{KEY}.call_00012.3",
    ]


@given(st.integers(1, 10**6), st.integers(0, 10**6))
def test_a_key_says_its_position(call: int, sequence: int) -> None:
    assert position_of(key_of(call, sequence)) == (call, sequence)


@pytest.mark.parametrize(
    "key",
    [
        "durable_child_runs",
        "x",
        "",
        "x.1",
        f"{KEY}.",
        f"{KEY}.x",
        f"{KEY}.call_",
        f"{KEY}.call_x",
        f"{KEY}.call_2.x",
        f"{KEY}.call_2.1.1",
        f"{KEY}.1.1",
        f"{KEY}.1.call_2",
        f"{KEY}.-1",
        pytest.param(f"{KEY}.{'9' * 5_000}", id="long number"),
        pytest.param(f"{KEY}.call_{'9' * 5_000}", id="long number of a call"),
    ],
)
def test_other_keys_have_none(key: str) -> None:
    assert position_of(key) is None


# Every record.

dates = st.datetimes(timezones=st.just(timezone.utc))
optional_dates = st.none() | dates
texts = st.text(min_size=1, max_size=5)
numbers = st.integers(-5, 10**6)
records = st.builds(
    Record,
    dag_id=texts,
    run_id=texts,
    proof=st.sampled_from(Proof),
    mode=st.sampled_from(Mode),
    max_tries=numbers,
    clear_number=numbers,
    logical_date=optional_dates,
    run_after=optional_dates,
    call=numbers,
    epoch=numbers,
    generation=numbers,
    phase=st.sampled_from(Phase),
    outcome=st.none() | st.builds(Outcome, texts, texts, st.none() | st.text(), dates),
    dates=st.lists(dates, max_size=3).map(tuple),
    reset=st.none() | st.builds(Baseline, numbers, optional_dates, optional_dates),
    task_instance_id=st.text(max_size=5),
    tries=st.lists(st.builds(TryEntry, numbers, st.sampled_from(Decision), texts, dates), max_size=3).map(tuple),
)


@given(records)
def test_what_is_stored_is_what_is_loaded(record: Record) -> None:
    assert load(json.loads(json.dumps(dump(record)))) == record


def test_that_a_record_was_rebuilt_is_not_stored() -> None:
    assert load(dump(replace(MINIMAL, is_recovered=True))) == MINIMAL


def test_a_date_keeps_its_moment_and_its_microseconds() -> None:
    east = timezone(timedelta(hours=5, minutes=30))
    record = replace(MINIMAL, logical_date=datetime(2026, 1, 1, 5, 30, 0, 1, tzinfo=east))
    assert load(json.loads(json.dumps(dump(record)))).logical_date == datetime(2026, 1, 1, 0, 0, 0, 1, timezone.utc)


def test_a_field_that_is_not_known_is_ignored() -> None:
    """A later release of the same version may add one, and the journal itself does."""
    assert load({**dump(FULL), "further": "field"}) == FULL


# Damage.

leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
json_values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
)
GOLDENS = [read_golden(name) for name, _ in SECOND + FIRST]


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:  # noqa: ANN401 - JSON
    """Return the places in a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, part in inner for place in paths(part, (*path, key)))]


def with_value(value: Any, path: tuple[Any, ...], other: Any) -> Any:  # noqa: ANN401 - JSON
    """Return the JSON value with another one at a place of it."""
    if not path:
        return other
    changed = dict(value) if isinstance(value, dict) else list(value)
    changed[path[0]] = with_value(value[path[0]], path[1:], other)
    return changed


def is_understood(stored: object) -> bool:
    try:
        return isinstance(load(stored), Record)
    except RecordDamagedError:
        return False


@given(json_values)
def test_any_json_is_a_record_or_damage(stored: object) -> None:
    assert not is_understood(stored)


@given(st.data())
def test_a_record_with_anything_in_any_place_is_a_record_or_damage(data: st.DataObject) -> None:
    golden = data.draw(st.sampled_from(GOLDENS))
    path = data.draw(st.sampled_from(paths(golden)))
    is_understood(with_value(golden, path, data.draw(json_values)))


@pytest.mark.parametrize("golden", GOLDENS, ids=[name for name, _ in SECOND + FIRST])
def test_a_missing_field_is_damage(golden: dict[str, Any]) -> None:
    unread = {"digest"}  # of version 1
    for key in golden.keys() - unread:
        with pytest.raises(RecordDamagedError, match=f"the record has no {key!r}"):
            load({name: value for name, value in golden.items() if name != key})
    for part in ("child", "parent", "reset", "outcome"):
        for key in golden.get(part) or {}:
            holed = {name: value for name, value in golden[part].items() if name != key}
            with pytest.raises(RecordDamagedError, match=f"its {part} has no {key!r}"):
                load({**golden, part: holed})


def _with(**changes: object) -> dict[str, Any]:
    return {**read_golden("record_v2_full.json"), **changes}


def _with_child(**changes: object) -> dict[str, Any]:
    return _with(child={**read_golden("record_v2_full.json")["child"], **changes})


def _with_entry(**changes: object) -> dict[str, Any]:
    return _with(attempts=[{**read_golden("record_v2_full.json")["attempts"][0], **changes}])


@pytest.mark.parametrize(
    ("stored", "reason"),
    [
        ("text", "the record is str, not an object."),
        ([], "the record is list, not an object."),
        (
            _with(version=3),
            "it is of version 3, and this release of airflow-durable knows versions 1 to 2. Nothing was triggered",
        ),
        (_with(version=0), "it is of version 0"),
        (_with(version="1"), "'version' of the record is str."),
        (_with(version=True), "'version' of the record is bool."),
        (_with(child=None), "'child' of the record is NoneType."),
        (_with_child(dag_id=""), "'dag_id' of its child is empty."),
        (_with_child(run_id=""), "'run_id' of its child is empty."),
        (
            _with_child(logical_date="2026-01-01T00:00:00"),
            "'logical_date' of its child is not a date with a time zone.",
        ),
        (_with_child(run_after="soon"), "'run_after' of its child is not a date with a time zone."),
        (_with(dates=[None]), "'dates' of the record is not a date with a time zone."),
        (_with(dates=None), "'dates' of the record is NoneType."),
        (_with(mode="later"), "'mode' of the record is none that this release knows."),
        (_with(proof="hope"), "'proof' of the record is none that this release knows."),
        (_with(phase="over"), "'phase' of the record is none that this release knows."),
        (_with(epoch=True), "'epoch' of the record is bool."),
        (_with(generation=1.0), "'generation' of the record is float."),
        (
            _with(parent={"task_instance_id": None, "max_tries": 1, "clear_number": 1}),
            "'task_instance_id' of its parent",
        ),
        (_with(reset=[]), "'reset' of the record is list."),
        (_with(outcome=[]), "'outcome' of the record is list."),
        (_with(attempts={}), "'attempts' of the record is dict."),
        (_with(attempts=[3]), "one of its attempts is int, not an object."),
        (_with_entry(decision="guess"), "'decision' of one of its attempts is none that this release knows."),
        (_with_entry(at=None), "'at' of one of its attempts is NoneType."),
        (_with_entry(at="soon"), "'at' of one of its attempts is not a date with a time zone."),
    ],
)
def test_what_cannot_be_understood_is_damage(stored: object, reason: str) -> None:
    with pytest.raises(RecordDamagedError) as caught:
        load(stored)
    assert reason in str(caught.value)
    assert str(caught.value).startswith(f"The record under the task state store key {KEY!r} cannot be understood: ")


def test_damage_does_not_show_what_was_stored() -> None:
    with pytest.raises(RecordDamagedError) as caught:
        load(_with(mode="hunter2"))
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


# A record of release 0.1.0, after the upgrade.


def open_first_version(*, is_fixed: bool, is_date_ours: bool, state: str, run_id: str, **changes: object) -> Server:
    """Return a server whose task began under 0.1.0."""
    server = Server()
    stored = {
        **read_golden("record_v1_minimal.json"),
        "is_fixed": is_fixed,
        "is_date_ours": is_date_ours,
        "max_tries": 3,
        "child": {"dag_id": "child", "run_id": run_id, "logical_date": FIXED_DATE.isoformat()},
        "attempts": [{"try_number": 1, "decision": "fresh_submit", "run_id": run_id, "at": EPOCH.isoformat()}],
        **changes,
    }
    server.store[KEY] = json.dumps(stored)
    server.create("child", Run(run_id, FIXED_DATE, state))
    server.on_sleep = lambda server: setattr(list(server.runs.values())[-1], "state", "success")
    return server


FIRST_ASKS = [
    pytest.param(ask(), False, True, "manual__durable_0193_0", id="generated"),
    pytest.param(ask_fixed_id(), True, True, "fixed", id="fixed id"),
    pytest.param(ask_fixed_date(), True, False, "manual__fixed", id="fixed date"),
]


@pytest.mark.parametrize("state", ["running", "success"])
@pytest.mark.parametrize("again", [attempt(2), cleared(2)], ids=["retry", "clear"])
@pytest.mark.parametrize(("request_", "is_fixed", "is_date_ours", "run_id"), FIRST_ASKS)
def test_a_child_of_the_first_version_is_adopted(  # noqa: PLR0913, PLR0917 - parameters
    request_: Any,  # noqa: ANN401 - a request
    is_fixed: bool,  # noqa: FBT001 - a parameter
    is_date_ours: bool,  # noqa: FBT001 - a parameter
    run_id: str,
    again: Any,  # noqa: ANN401 - an attempt
    state: str,
) -> None:
    server = open_first_version(is_fixed=is_fixed, is_date_ours=is_date_ours, state=state, run_id=run_id)
    run_try(FakePort(server, again), request_)
    assert server.states() == ["success"]
    assert server.record().is_consumed


def test_a_failed_child_of_the_first_version_is_followed_by_one_of_this() -> None:
    server = open_first_version(is_fixed=False, is_date_ours=True, state="failed", run_id="manual__durable_0193_0")
    run_try(FakePort(server, attempt(2)), ask())
    assert [run_id for _, run_id in server.runs][1:] == [child_run_id(PARENT, epoch=0, call=1, generation=1)]


@pytest.mark.parametrize(("request_", "is_fixed", "is_date_ours", "run_id"), FIRST_ASKS[1:])
def test_a_failed_fixed_child_of_the_first_version_is_this_tasks_own(
    request_: Any,  # noqa: ANN401 - a request
    is_fixed: bool,  # noqa: FBT001 - a parameter
    is_date_ours: bool,  # noqa: FBT001 - a parameter
    run_id: str,
) -> None:
    server = open_first_version(is_fixed=is_fixed, is_date_ours=is_date_ours, state="failed", run_id=run_id)
    with pytest.raises(FixedRunFailedError):
        run_try(FakePort(server, attempt(2)), replace(request_, is_skip=True))
    run_try(FakePort(server, attempt(3)), replace(request_, is_reset=True))
    assert server.only_run().clear_number == 1


def test_a_consumed_record_of_the_first_version_is_succeeded_again_or_started_anew() -> None:
    name = "manual__durable_0193_0"
    for again, runs in [(attempt(2), 1), (cleared(2), 2)]:
        server = open_first_version(is_fixed=False, is_date_ours=True, state="success", run_id=name, consumed=True)
        run_try(FakePort(server, again), ask())
        assert len(server.runs) == runs


@pytest.mark.parametrize("state", ["running", "success"])
def test_a_reset_of_the_first_version_is_not_done_again(state: str) -> None:
    baseline = {"clear_number": 0, "logical_date": FIXED_DATE.isoformat()}
    server = open_first_version(is_fixed=True, is_date_ours=True, state=state, run_id="fixed", reset=baseline)
    server.only_run().clear_number = 1
    run_try(FakePort(server, attempt(2)), replace(ask_fixed_id(), is_reset=True))
    assert server.only_run().clear_number == 1


def test_a_run_that_was_deleted_after_a_reset_of_the_first_version_is_not_reset_again() -> None:
    """The run that is created then looks like the one of before the reset: that version recorded no ``run_after``."""
    baseline = {"clear_number": 0, "logical_date": FIXED_DATE.isoformat()}
    server = open_first_version(
        is_fixed=True, is_date_ours=False, state="running", run_id="manual__fixed", reset=baseline
    )
    server.runs.clear()
    request = replace(ask_fixed_date(), is_reset=True)
    crash_while_waiting(server, request, at=attempt(2))
    run_try(FakePort(server, attempt(3)), request)
    assert server.only_run().clear_number == 0


def test_release_0_1_0_fails_on_what_this_release_wrote() -> None:
    """A try of it that runs during a rolling upgrade would go on from its own entry, which is no more the newest."""
    server = open_first_version(is_fixed=False, is_date_ours=True, state="running", run_id="manual__durable_0193_0")
    run_try(FakePort(server, attempt(2)), ask())
    assert json.loads(server.store[KEY])["version"] == 2
