"""The journal on the task state store: entries that are never changed, and no journal at all."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from airflow_durable.core.asks import Action, ActionKind, Asks
from airflow_durable.core.errors import JournalReadError, JournalWriteError, RecordDamagedError
from airflow_durable.core.model import Mode, OnParentEnd, Phase, Proof
from airflow_durable.core.record import Record
from airflow_durable.core.stored import KEY, dump, key_of, load
from airflow_durable.task.journal import NoJournal, StoreJournal

from .dags import WAIT, finish, killed_while_waiting, make_dag
from .supervisor import NOW, Supervisor
from .test_trigger_contract import read_golden
from .versions import needs_store, without_store

TI_ID = "0193e1b0-f5a8-7c3e-9d2b-4a6c8e0f1234"
OTHER_ID = "0193e1b0-f5a8-7c3e-9d2b-4a6c8e0f9999"
RECORD = Record(
    dag_id="child",
    run_id="manual__2026-01-01T00:00:00+00:00_k3v9xq2m4wfa",
    proof=Proof.RUN_ID,
    logical_date=NOW,
    mode=Mode.WAIT,
    max_tries=3,
    clear_number=0,
    task_instance_id=TI_ID,
)
SENT = replace(RECORD, phase=Phase.SENT)
CONSUMED = replace(RECORD, phase=Phase.CONSUMED)


class Store:
    """A task state store."""

    def __init__(self, error: Exception | None = None) -> None:
        self.values: dict[str, Any] = {}
        self.retentions: list[Any] = []
        self.error = error
        self.is_blind = False
        self.reads = 0

    def get(self, key: str) -> Any:  # noqa: ANN401 - JSON
        """Return the value."""
        self.reads += 1
        if self.error:
            raise self.error
        return None if self.is_blind else self.values.get(key)

    def set(self, key: str, value: Any, *, retention: Any) -> None:  # noqa: ANN401 - JSON
        """Store the value."""
        if self.error:
            raise self.error
        self.values[key] = json.loads(json.dumps(value))
        self.retentions.append(retention)


def journal(store: Store, task_instance_id: str = TI_ID) -> StoreJournal:
    """Return the journal of a try."""
    return StoreJournal(store, task_instance_id)


def test_a_store_without_a_record() -> None:
    assert journal(Store()).read(1) is None


@needs_store
def test_a_record_is_stored_and_comes_back() -> None:
    from airflow.sdk.execution_time.context import NEVER_EXPIRE

    store = Store()
    journal(store).write(RECORD)
    assert store.values == {KEY: {**dump(RECORD), "root": TI_ID}}
    assert store.retentions == [NEVER_EXPIRE]
    assert journal(store, OTHER_ID).read(1) == RECORD


@needs_store
def test_an_entry_is_never_changed() -> None:
    store = Store()
    of_first_try = journal(store)
    for record in (RECORD, SENT):
        of_first_try.write(record)
    before = dict(store.values)
    of_next_try = journal(store, OTHER_ID)
    assert of_next_try.read(1) == SENT
    of_next_try.write(CONSUMED)
    assert list(store.values) == [key_of(1, number) for number in range(3)]
    assert before.items() <= store.values.items()
    assert journal(store).read(1) == CONSUMED


@needs_store
def test_the_same_entry_again_is_the_same_write() -> None:
    """A write whose reply was lost is repeated."""
    store = Store()
    mine = journal(store)
    mine.write(RECORD)
    mine.write(SENT)
    mine.write(SENT)
    assert mine.read(1) == SENT
    assert {key: value["phase"] for key, value in store.values.items()}[KEY] == "intended"
    assert {value["phase"] for key, value in store.values.items() if key != KEY} == {"sent"}


@needs_store
def test_each_call_has_entries_of_its_own() -> None:
    store = Store()
    mine = journal(store)
    second = replace(RECORD, call=2, run_id="another")
    for record in (RECORD, second, replace(second, phase=Phase.CONSUMED), CONSUMED):
        mine.write(record)
    assert set(store.values) == {KEY, f"{KEY}.1", f"{KEY}.call_00002", f"{KEY}.call_00002.1"}
    again = journal(store)
    assert (again.read(1), again.read(2), again.read(3)) == (CONSUMED, replace(second, phase=Phase.CONSUMED), None)


@needs_store
def test_a_try_that_wrote_before_it_read_is_told_of_an_earlier_task_instance() -> None:
    """A task instance that was deleted and made anew: its first try writes without a look."""
    store = Store()
    earlier = journal(store)
    earlier.write(RECORD)
    earlier.write(SENT)
    anew = journal(store, OTHER_ID)
    mine = replace(RECORD, task_instance_id=OTHER_ID, run_id="of the new one")
    anew.write(mine)
    assert anew.read(1) == SENT
    # What is written from here on comes after all of it.
    anew.write(replace(mine, phase=Phase.SENT))
    assert list(store.values) == [key_of(1, number) for number in range(3)]
    assert journal(store).read(1) == replace(mine, phase=Phase.SENT)


@needs_store
def test_a_read_that_is_wrongly_said_to_find_nothing() -> None:
    """A gateway, or a server without the route, answers 404; Airflow's client takes that for a missing key."""
    store = Store()
    store.is_blind = True
    mine = journal(store)
    assert mine.read(1) is None
    with pytest.raises(JournalReadError, match="reading what was written shows that it is wrong"):
        mine.write(RECORD)


@needs_store
def test_a_read_that_missed_entries() -> None:
    """The store has entries, and only the first read said that it has none: nothing is overwritten."""
    store = Store()
    earlier = journal(store)
    for record in (RECORD, SENT):
        earlier.write(record)
    store.is_blind = True
    mine = journal(store)
    assert mine.read(1) is None
    store.is_blind = False
    before = dict(store.values)
    with pytest.raises(JournalReadError, match="a second one found it"):
        mine.write(RECORD)
    assert store.values == before


@needs_store
def test_an_entry_that_has_outlived_the_first_one_counts() -> None:
    """A clear of a running task deletes its record (3.4), and its process still writes until it is stopped."""
    store = Store()
    earlier = journal(store)
    earlier.write(RECORD)
    store.values.clear()
    earlier.write(CONSUMED)
    assert list(store.values) == [key_of(1, 1)]
    mine = journal(store, OTHER_ID)
    assert mine.read(1) == CONSUMED
    mine.write(SENT)
    assert list(store.values) == [key_of(1, 1), key_of(1, 2)]
    again = journal(store)
    assert again.read(1) == SENT
    assert again.position(1) == {"root": TI_ID, "next": 3}


@needs_store
def test_the_first_write_after_an_empty_read_is_confirmed_once() -> None:
    store = Store()
    mine = journal(store)
    mine.read(1)
    mine.write(RECORD)
    reads = store.reads
    mine.write(SENT)
    assert store.reads == reads


@needs_store
@pytest.mark.parametrize("is_withdrawal", [True, False])
def test_a_reconciler_that_acts_at_once_is_no_sign_of_an_earlier_try(is_withdrawal: bool) -> None:  # noqa: FBT001
    """It writes the next entry, before the first one is read back."""
    store = Store()
    mine = journal(store)
    mine.read(1)
    asking = replace(SENT, asks=Asks(OnParentEnd.CANCEL, Action(ActionKind.RESUME, 0, "failed")))
    after = replace(asking, asks=Asks(OnParentEnd.CANCEL)) if is_withdrawal else CONSUMED
    store.values[key_of(1, 1)] = {**dump(after), "root": TI_ID}
    if is_withdrawal:
        mine.write(asking)
        return
    with pytest.raises(JournalReadError):
        mine.write(asking)


@needs_store
def test_a_deferral_continues_without_a_request() -> None:
    store = Store()
    before = journal(store)
    before.write(RECORD)
    position = json.loads(json.dumps(before.position(1)))
    reads = store.reads
    resumed = journal(store)
    resumed.restore(1, position)
    resumed.write(CONSUMED)
    assert store.reads == reads
    assert journal(store).read(1) == CONSUMED


@needs_store
@pytest.mark.parametrize("position", [{}, {"root": TI_ID}, {"root": 3, "next": 1}, {"root": "x", "next": -1}], ids=str)
def test_a_deferral_that_says_no_position_reads(position: dict[str, Any]) -> None:
    store = Store()
    journal(store).write(RECORD)
    resumed = journal(store)
    resumed.restore(1, position)
    resumed.write(CONSUMED)
    assert journal(store).read(1) == CONSUMED


@needs_store
def test_the_record_of_release_0_1_0_is_continued() -> None:
    store = Store()
    stored = read_golden("event_v1_success.json")[1]["record"]
    store.values[KEY] = stored
    mine = journal(store)
    found = mine.read(1)
    assert found == load(stored)
    assert found is not None
    mine.write(replace(found, phase=Phase.CONSUMED))
    # A try of 0.1.0 that still runs must not continue from what it wrote: it fails on what it does not know.
    assert store.values[KEY]["version"] == 2
    again = journal(store).read(1)
    assert again is not None
    assert again.is_consumed
    # Its late write does not hide ours.
    store.values[KEY] = stored
    late = journal(store).read(1)
    assert late is not None
    assert late.is_consumed


@needs_store
def test_no_entry_ever_expires(supervisor: Supervisor) -> None:
    finish(supervisor, make_dag(**WAIT))
    assert supervisor.expiries == {KEY: None, f"{KEY}.1": None}


def test_a_store_that_cannot_be_read() -> None:
    with pytest.raises(JournalReadError, match="OSError"):
        journal(Store(OSError("away"))).read(1)


@needs_store
def test_a_store_that_cannot_be_written() -> None:
    with pytest.raises(JournalWriteError, match="OSError"):
        journal(Store(OSError("away"))).write(RECORD)


def test_a_store_with_something_else_in_it() -> None:
    store = Store()
    store.values[KEY] = ["x"]
    with pytest.raises(RecordDamagedError):
        journal(store).read(1)


def test_no_journal_remembers_nothing() -> None:
    none = NoJournal()
    none.write(RECORD)
    none.restore(1, none.position(1))
    assert (none.has_store, none.read(1)) == (False, None)


@without_store
def test_the_run_id_is_the_same_in_every_try(supervisor: Supervisor) -> None:
    dag = make_dag(**WAIT)
    killed_while_waiting(supervisor, dag)
    assert finish(supervisor, dag, try_number=2).state == "success"
    assert supervisor.states() == ["success"]
