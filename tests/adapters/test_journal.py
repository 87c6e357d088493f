"""Both journals: the task state store, and run ids that need no memory."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from airflow_durable import task_sdk
from airflow_durable.core.errors import JournalReadError, JournalWriteError, LookUpFailedError, RecordDamagedError
from airflow_durable.core.model import Attempt, ChildRun, Mode, Request
from airflow_durable.core.record import KEY, load
from airflow_durable.journal import DerivedJournal, StoreJournal

from .dags import WAIT, finish, killed_while_waiting, make_dag
from .test_trigger_contract import read_golden
from .versions import needs_store, without_store

if TYPE_CHECKING:
    from .supervisor import Supervisor

RECORD = load(read_golden("event_v1_success.json")[1]["record"])
TI_ID = "0193e1b0-f5a8-7c3e-9d2b-4a6c8e0f1234"
PARENT = ("parent", "run", "trigger", "-1", "2026")
REQUEST = Request(
    dag_id="child",
    run_id=None,
    logical_date=None,
    is_date_ours=True,
    digest="sha256:x",
    mode=Mode.WAIT,
    allowed_states=frozenset({"success"}),
    failed_states=frozenset({"failed"}),
)


class Store:
    """A task state store."""

    def __init__(self, error: Exception | None = None) -> None:
        self.values: dict[str, Any] = {}
        self.retentions: list[Any] = []
        self.error = error

    def get(self, key: str) -> Any:  # noqa: ANN401 - JSON
        """Return the value."""
        if self.error:
            raise self.error
        return self.values.get(key)

    def set(self, key: str, value: Any, *, retention: Any) -> None:  # noqa: ANN401 - JSON
        """Store the value."""
        if self.error:
            raise self.error
        self.values[key] = value
        self.retentions.append(retention)


def test_a_store_without_a_record() -> None:
    assert StoreJournal(Store(), TI_ID).read() is None


@needs_store
def test_a_record_is_stored_and_comes_back() -> None:
    from airflow.sdk.execution_time.context import NEVER_EXPIRE

    store = Store()
    StoreJournal(store, TI_ID).write(RECORD)
    assert store.values == {KEY: RECORD.dump()}
    assert store.retentions == [NEVER_EXPIRE]
    assert StoreJournal(store, TI_ID).read() == RECORD


@needs_store
def test_a_record_never_expires(supervisor: Supervisor) -> None:
    finish(supervisor, make_dag(**WAIT))
    assert supervisor.expiries == {KEY: None}


def test_a_store_that_cannot_be_read() -> None:
    with pytest.raises(JournalReadError, match="OSError"):
        StoreJournal(Store(OSError("away")), TI_ID).read()


@needs_store
def test_a_store_that_cannot_be_written() -> None:
    with pytest.raises(JournalWriteError, match="OSError"):
        StoreJournal(Store(OSError("away")), TI_ID).write(RECORD)


def test_a_store_with_something_else_in_it() -> None:
    store = Store()
    store.values[KEY] = ["x"]
    with pytest.raises(RecordDamagedError):
        StoreJournal(store, TI_ID).read()


def test_a_generated_run_id_is_that_of_the_try() -> None:
    journal = StoreJournal(Store(), TI_ID)
    assert journal.fresh_run_id(0) == journal.fresh_run_id(0) == "manual__durable_0193e1b0f5a87c3e9d2b4a6c8e0f1234_0"
    assert journal.fresh_run_id(1) != journal.fresh_run_id(0)


# Derived run ids.


def derived(try_number: int, *, max_tries: int = 3, parent: tuple[str, ...] = PARENT) -> DerivedJournal:
    """Return the journal of an attempt."""
    return DerivedJournal(parent, REQUEST, Attempt(try_number, max_tries, retries=3, clear_number=0))


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Return the child runs that exist, with their states."""
    runs: dict[str, str] = {}

    def look_up(dag_id: str, run_id: str, *, is_detailed: bool) -> ChildRun | None:
        assert (dag_id, is_detailed) == ("child", False)
        if runs.get("away"):
            raise LookUpFailedError(dag_id, run_id, "away", is_transient=True)
        return ChildRun(runs[run_id]) if run_id in runs else None

    monkeypatch.setattr(task_sdk, "look_up", look_up)
    return runs


def test_no_child_is_no_record(runs: dict[str, str]) -> None:
    assert [derived(try_number).read() for try_number in (1, 2, 3, 9)] == [None] * 4


def test_the_newest_child_is_the_record(runs: dict[str, str]) -> None:
    for generation in (0, 1):
        runs[derived(1).fresh_run_id(generation)] = "failed"
    record = derived(4).read()
    assert record is not None
    assert (record.run_id, record.generation) == (derived(1).fresh_run_id(1), 1)
    assert (record.dag_id, record.is_fixed, record.is_consumed, record.reset) == ("child", False, False, None)
    # One that was deleted in between hides none.
    del runs[derived(1).fresh_run_id(1)]
    record = derived(4).read()
    assert record is not None
    assert record.generation == 0


def test_a_record_has_a_date_of_its_own_to_submit_with(runs: dict[str, str]) -> None:
    """The run may vanish between two looks; what is started then has a logical date, as any other."""
    runs[derived(1).fresh_run_id(0)] = "running"
    record = derived(2).read()
    assert record is not None
    assert record.logical_date is not None
    assert record.logical_date.tzinfo is not None
    no_date = replace(derived(2), request=replace(REQUEST, is_date_ours=False)).read()
    assert no_date is not None
    assert no_date.logical_date is None


def test_a_look_up_that_fails_is_a_journal_that_cannot_be_read(runs: dict[str, str]) -> None:
    runs["away"] = "yes"
    with pytest.raises(JournalReadError, match="Nothing was triggered"):
        derived(2).read()


def test_writing_does_nothing(runs: dict[str, str]) -> None:
    derived(1).write(RECORD)
    assert derived(1).read() is None


def test_a_clear_and_another_life_begin_a_new_series() -> None:
    ids = {
        derived(1).fresh_run_id(0),
        derived(1).fresh_run_id(1),
        derived(2, max_tries=5).fresh_run_id(0),
        derived(1, parent=(*PARENT[:-1], "2027")).fresh_run_id(0),
    }
    assert len(ids) == 4
    assert derived(3).fresh_run_id(0) in ids


@without_store
def test_the_run_id_is_the_same_in_every_try(supervisor: Supervisor) -> None:
    dag = make_dag(**WAIT)
    killed_while_waiting(supervisor, dag)
    assert finish(supervisor, dag, try_number=2).state == "success"
    assert supervisor.only_run().run_id.endswith("_0")
