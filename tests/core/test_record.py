"""The record: authorship, a clear told from a retry, and what each try leaves."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from airflow_durable.core.asks import Action, ActionKind, asks_of
from airflow_durable.core.model import Attempt, ChildRun, Decision, Mode, OnParentEnd, Phase, Proof
from airflow_durable.core.record import (
    CLEARED,
    MAX_DATES,
    MAX_TRIES,
    TAG_REACH,
    Baseline,
    Record,
    TryEntry,
    baseline_of,
)
from airflow_durable.core.run_ids import tag_of_life, tag_of_parent
from airflow_durable.core.stored import dump

if TYPE_CHECKING:
    from airflow_durable.core.model import Request

from .fakes import EPOCH, FIXED_DATE, PARENT, ask, ask_fixed_date, ask_fixed_id, attempt

MINIMAL = Record("child", "ours", Proof.RUN_ID, Mode.WAIT, 3, 0)
DATED = replace(MINIMAL, logical_date=EPOCH, dates=(EPOCH,))
FIXED = replace(DATED, run_id="fixed", proof=Proof.LOGICAL_DATE)
BY_RUN_AFTER = replace(MINIMAL, run_id="fixed", proof=Proof.RUN_AFTER, logical_date=FIXED_DATE, dates=(EPOCH,))
BY_REPLY = replace(MINIMAL, run_id="fixed", proof=Proof.REPLY)
LATER = EPOCH + timedelta(seconds=7)
OF_LIFE = EPOCH.replace(microsecond=tag_of_life(PARENT, 1))
OF_PARENT = EPOCH.replace(microsecond=tag_of_parent(PARENT, 1))


def run(
    logical_date: object = None,
    run_after: object = LATER,
    *,
    is_same: bool = True,
    clear_number: int | None = 0,
    started_at: object = None,
) -> ChildRun:
    return ChildRun("running", clear_number, logical_date, run_after, started_at, is_same)  # type: ignore[arg-type]


# What a try leaves.


def test_a_try_leaves_what_shows_a_later_clear() -> None:
    entered = replace(MINIMAL, is_recovered=True).with_try(
        attempt(2, max_tries=7, clear_number=4), Decision.RECONNECT, EPOCH
    )
    assert (entered.max_tries, entered.clear_number, entered.task_instance_id) == (7, 4, "ti-2")
    assert entered.tries == (TryEntry(2, Decision.RECONNECT, "ours", EPOCH),)
    assert entered.last_try == 2
    assert not entered.is_recovered


def test_a_record_stays_small() -> None:
    record = MINIMAL
    for number in range(1, MAX_TRIES + 11):
        date = EPOCH + timedelta(seconds=number)
        record = record.with_try(attempt(number), Decision.RECONNECT, EPOCH)
        record = record.with_dates(logical_date=date, run_after=None)
    assert [entry.try_number for entry in record.tries] == list(range(11, MAX_TRIES + 11))
    assert len(record.dates) == MAX_DATES
    assert record.dates[-1] == record.logical_date == EPOCH + timedelta(seconds=MAX_TRIES + 10)
    # Airflow 3.3 refuses values over 64 KiB ([state_store] max_value_storage_bytes).
    assert len(json.dumps(dump(record))) < 65_536 / 2


@pytest.mark.parametrize(
    ("record", "expected"),
    [(MINIMAL, EPOCH), (FIXED, EPOCH), (BY_RUN_AFTER, LATER)],
    ids=["run id", "logical date", "run_after"],
)
def test_the_date_that_is_ours_is_remembered(record: Record, expected: object) -> None:
    sent = replace(record, dates=()).with_dates(logical_date=EPOCH, run_after=LATER)
    assert (sent.logical_date, sent.run_after, sent.dates) == (EPOCH, LATER, (expected,))
    assert sent.with_dates(logical_date=EPOCH, run_after=LATER).dates == (expected,)
    assert sent.with_dates(logical_date=None, run_after=None).dates == (expected,)
    assert sent.with_dates(logical_date=None, run_after=None).logical_date is None


def test_a_run_that_is_adopted_is_remembered_by_its_date() -> None:
    assert DATED.with_seen(run(LATER)) == replace(DATED, adopted=LATER)
    assert DATED.with_seen(run(EPOCH)) == DATED
    assert DATED.with_seen(run(None)) == DATED
    assert BY_RUN_AFTER.with_seen(run(EPOCH, LATER)) == replace(BY_RUN_AFTER, adopted=LATER)
    adopted = FIXED.with_seen(run(LATER))
    assert adopted.is_author_of(run(LATER), attempt(2))
    assert not adopted.is_author_of(run(LATER + timedelta(seconds=1)), attempt(2))
    # It counts as ours, and nothing that was written ahead proves that.
    assert adopted.is_proven_by_run(run(EPOCH))
    assert not adopted.is_proven_by_run(run(LATER))
    assert replace(MINIMAL, adopted=LATER).is_author_of(run(LATER), attempt(2))


def test_when_the_run_was_asked_for() -> None:
    record = replace(MINIMAL, run_id="second", tries=(TryEntry(1, Decision.FRESH_SUBMIT, "first", EPOCH),))
    assert record.asked_at is None
    entered = record.with_try(attempt(2), Decision.TERMINAL_RESUBMIT, LATER)
    entered = entered.with_try(attempt(3), Decision.RECONNECT, LATER + timedelta(seconds=1))
    assert entered.asked_at == LATER


def test_phases() -> None:
    assert [replace(MINIMAL, phase=phase).is_consumed for phase in Phase] == [False, False, True, False]
    assert [replace(MINIMAL, proof=proof).is_fixed for proof in Proof] == [False, True, True, True]
    assert MINIMAL.last_try == 0


# Authorship.


@pytest.mark.parametrize(
    ("record", "seen", "is_ours"),
    [
        pytest.param(DATED, run(EPOCH), True, id="generated, its date"),
        pytest.param(DATED, run(OF_LIFE + timedelta(days=1)), True, id="generated, its tag"),
        pytest.param(DATED, run(OF_LIFE, is_same=False), True, id="generated, its tag, another conf"),
        pytest.param(DATED, run(OF_PARENT), False, id="generated, the parent's tag"),
        pytest.param(DATED, run(LATER), False, id="generated, another date"),
        pytest.param(DATED, run(None), False, id="generated, no date"),
        pytest.param(MINIMAL, run(None), True, id="generated without a date"),
        pytest.param(MINIMAL, run(LATER), True, id="generated without a date, found with one"),
        pytest.param(replace(MINIMAL, is_recovered=True), run(OF_LIFE), True, id="recovered, its tag"),
        pytest.param(replace(MINIMAL, is_recovered=True), run(LATER), False, id="recovered, another date"),
        pytest.param(replace(MINIMAL, is_recovered=True), run(None), True, id="recovered, no date"),
        pytest.param(replace(DATED, logical_date=None), run(None), True, id="asked for without a date since"),
        pytest.param(DATED, run(None, None, clear_number=None), True, id="no details"),
        pytest.param(replace(DATED, generation=-1), run(LATER), True, id="of release 0.1.0"),
        pytest.param(FIXED, run(EPOCH, is_same=False), True, id="fixed id, its date"),
        pytest.param(FIXED, run(OF_PARENT), True, id="fixed id, the parent's tag and conf"),
        pytest.param(FIXED, run(OF_PARENT, is_same=False), False, id="fixed id, the parent's tag, another conf"),
        pytest.param(FIXED, run(LATER), False, id="fixed id, another date"),
        pytest.param(FIXED, run(None), False, id="fixed id, no date"),
        pytest.param(FIXED, run(LATER, EPOCH), False, id="fixed id, the date in run_after"),
        pytest.param(BY_RUN_AFTER, run(FIXED_DATE, EPOCH), True, id="fixed date, its run_after"),
        pytest.param(BY_RUN_AFTER, run(FIXED_DATE, OF_PARENT), True, id="fixed date, the parent's tag and conf"),
        pytest.param(BY_RUN_AFTER, run(FIXED_DATE, LATER), False, id="fixed date, another run_after"),
        pytest.param(BY_RUN_AFTER, run(EPOCH, LATER), False, id="fixed date, run_after in the date"),
        pytest.param(BY_REPLY, run(), False, id="by reply, intended"),
        pytest.param(replace(BY_REPLY, phase=Phase.SENT), run(), True, id="by reply, sent"),
        pytest.param(replace(BY_REPLY, phase=Phase.CONSUMED), run(), True, id="by reply, consumed"),
        pytest.param(replace(BY_REPLY, reset=Baseline(0, None, LATER)), run(clear_number=1), True, id="reply, reset"),
        pytest.param(replace(BY_REPLY, reset=Baseline(0, None, LATER)), run(), False, id="by reply, to be reset"),
        pytest.param(replace(BY_REPLY, reset=Baseline(0, None, EPOCH)), run(), False, id="by reply, another was reset"),
        pytest.param(replace(FIXED, reset=Baseline(0, LATER, LATER)), run(LATER, clear_number=1), True, id="reset"),
        pytest.param(replace(FIXED, reset=Baseline(0, LATER, LATER)), run(LATER), False, id="to be reset"),
        pytest.param(replace(FIXED, reset=Baseline(0, LATER, EPOCH)), run(LATER), False, id="another was reset"),
        pytest.param(replace(FIXED, reset=Baseline(0, LATER)), run(LATER, clear_number=1), True, id="reset by 0.1.0"),
    ],
)
def test_authorship(record: Record, seen: ChildRun, is_ours: bool) -> None:  # noqa: FBT001 - a parameter
    assert record.is_author_of(seen, attempt(2)) is is_ours


def test_an_undated_run_of_before_the_parents_dag_run_is_of_another_life() -> None:
    parent = replace(PARENT, started_at=EPOCH)
    first, second = attempt(1, parent=parent), attempt(2, parent=parent)
    before, at_once = run(started_at=EPOCH - timedelta(seconds=1)), run(started_at=EPOCH)
    assert not MINIMAL.is_author_of(before, first)
    assert MINIMAL.is_author_of(at_once, first)
    assert not MINIMAL.is_author_of(before, second)
    # A clear of the finished Dag run moves its start.
    assert MINIMAL.is_author_of(before, attempt(2, max_tries=4, parent=parent))
    assert MINIMAL.is_author_of(before, attempt(2, clear_number=1, parent=parent))
    assert MINIMAL.is_author_of(run(started_at=None), first)
    assert MINIMAL.is_author_of(before, attempt(1, parent=replace(PARENT, started_at=None)))


def test_without_details_a_first_try_takes_nothing_that_it_found_for_its_own() -> None:
    found = replace(MINIMAL, is_recovered=True)
    bare = ChildRun("success")
    assert not found.is_author_of(bare, attempt(1))
    assert found.is_author_of(bare, attempt(2))
    assert MINIMAL.is_author_of(bare, attempt(1))
    assert replace(found, generation=-1).is_author_of(bare, attempt(1))


@pytest.mark.parametrize(
    ("date", "is_ours"), [(OF_PARENT, True), (OF_PARENT - TAG_REACH, True), (OF_PARENT - timedelta(seconds=3), False)]
)
def test_a_tag_under_a_fixed_identity_counts_in_this_life_only(date: datetime, is_ours: bool) -> None:  # noqa: FBT001 - a parameter
    at = attempt(2, parent=replace(PARENT, started_at=OF_PARENT))
    assert replace(FIXED, dates=()).is_author_of(run(date), at) is is_ours
    # A clear moves the start of the Dag run: then it says nothing.
    assert replace(FIXED, dates=()).is_author_of(run(date), replace(at, clear_number=1))


def test_a_try_that_settled_a_clear_leaves_what_later_tries_continue_from() -> None:
    entered = MINIMAL.with_try(attempt(2, max_tries=7, clear_number=4), Decision.RESUBMIT, EPOCH)
    settled = FIXED.settled_by(entered)
    assert settled == replace(FIXED, max_tries=7, clear_number=4, task_instance_id="ti-2", tries=entered.tries)


def test_a_run_is_asked_for_again_by_a_reset_or_a_resubmission() -> None:
    record = MINIMAL
    for number, decision in enumerate(Decision):
        record = record.with_try(attempt(number + 1), decision, EPOCH + timedelta(seconds=number))
    asking = [Decision.FRESH_SUBMIT, Decision.RESUBMIT, Decision.TERMINAL_RESUBMIT, Decision.RESET]
    for decision in Decision:
        alone = MINIMAL.with_try(attempt(1), decision, LATER)
        assert alone.asked_at == (LATER if decision in asking else None)
    assert record.asked_at == EPOCH + timedelta(seconds=max(list(Decision).index(decision) for decision in asking))


@pytest.mark.parametrize(
    ("record", "request_", "is_same"),
    [
        (FIXED, ask_fixed_id(), True),
        (FIXED, ask_fixed_date(), False),
        (BY_RUN_AFTER, ask_fixed_date(), True),
        (BY_RUN_AFTER, ask_fixed_id(), False),
        (BY_RUN_AFTER, replace(ask_fixed_date(), logical_date=LATER), False),
        (BY_REPLY, ask_fixed_id(), True),
        (replace(BY_REPLY, logical_date=FIXED_DATE), ask_fixed_date(), True),
        (DATED, ask(), True),
        (MINIMAL, ask(is_date_ours=False), True),
    ],
)
def test_which_dates_a_request_has(record: Record, request_: Request, is_same: bool) -> None:  # noqa: FBT001 - a parameter
    assert record.has_dates_of(request_) is is_same


@pytest.mark.parametrize(
    ("record", "request_", "is_same"),
    [
        (MINIMAL, ask(), True),
        (MINIMAL, ask(is_date_ours=False), True),
        (MINIMAL, ask(dag_id="x"), False),
        (MINIMAL, ask_fixed_id(), False),
        (FIXED, ask_fixed_id(), True),
        (FIXED, ask(), False),
        (FIXED, ask(run_id="x"), False),
        (FIXED, ask(run_id="fixed", dag_id="x"), False),
        (FIXED, replace(ask_fixed_date(), run_id="fixed"), True),
        (BY_RUN_AFTER, ask_fixed_date(), False),
    ],
)
def test_which_run_a_request_is_for(record: Record, request_: Request, is_same: bool) -> None:  # noqa: FBT001 - a parameter
    assert record.is_same_identity(request_) is is_same


def test_a_reset_is_pending_until_the_clear_number_moves() -> None:
    record = replace(FIXED, reset=baseline_of(run(LATER, clear_number=3)))
    assert record.reset == Baseline(3, LATER, LATER)
    assert record.is_reset_pending(run(LATER, clear_number=3))
    assert not record.is_reset_pending(run(LATER, clear_number=4))
    assert not record.is_reset_pending(run(EPOCH, clear_number=3))
    assert not FIXED.is_reset_pending(run(LATER, clear_number=3))
    unknown = replace(FIXED, reset=baseline_of(run(LATER, clear_number=None)))
    assert unknown.is_reset_pending(run(LATER, clear_number=None))


# A clear told from a retry.


@pytest.mark.parametrize(
    ("again", "is_cleared"),
    [
        pytest.param(attempt(2), False, id="retry"),
        pytest.param(attempt(2, clear_number=1), False, id="retry, another task was cleared"),
        pytest.param(attempt(4, retries=1), False, id="retry, and the retries were lowered"),
        pytest.param(attempt(2, max_tries=4, clear_number=1), True, id="clear"),
        pytest.param(attempt(2, max_tries=4), True, id="clear, on an Airflow without the number"),
        pytest.param(
            attempt(2, max_tries=2, retries=1, clear_number=1), True, id="clear, and the retries were lowered"
        ),
        pytest.param(attempt(2, retries=2, clear_number=1), True, id="clear, retries lowered by the try"),
        pytest.param(attempt(2, retries=2), False, id="retry, retries lowered by the try"),
        pytest.param(attempt(3, retries=1, clear_number=1), True, id="clear of try 2"),
        pytest.param(attempt(2, retries=1, clear_number=1), False, id="clear of a try that was not yet"),
        pytest.param(attempt(1), False, id="the same try, executed again"),
        pytest.param(attempt(1, task_instance_id="new"), True, id="task instance made anew"),
    ],
)
def test_a_clear_is_told_from_a_retry(again: Attempt, is_cleared: bool) -> None:  # noqa: FBT001 - a parameter
    record = MINIMAL.with_try(attempt(1), Decision.FRESH_SUBMIT, EPOCH)
    assert record.is_cleared_before(again) is is_cleared


def test_a_task_instance_that_was_made_anew_starts_from_its_first_try() -> None:
    record = MINIMAL.with_try(attempt(3), Decision.RECONNECT, EPOCH)
    assert record.is_remade_before(attempt(1))
    assert record.is_remade_before(attempt(3, task_instance_id="new"))
    assert not record.is_remade_before(attempt(3))
    assert not record.is_remade_before(attempt(4))
    assert not replace(record, task_instance_id="").is_remade_before(attempt(3))


def test_a_record_without_an_entry_was_written_by_a_first_try() -> None:
    assert MINIMAL.is_cleared_before(attempt(2, retries=2, clear_number=1))
    assert not MINIMAL.is_cleared_before(attempt(2, clear_number=1))


@pytest.mark.parametrize(
    ("at", "cleared_try"),
    [
        (attempt(1), 0),
        (attempt(2), 0),
        (attempt(2, max_tries=4), 1),
        (attempt(5, max_tries=6), 3),
        (attempt(2, max_tries=9), 1),
        (attempt(2, max_tries=3, retries=9), 0),
    ],
)
def test_the_try_that_the_latest_clear_ended(at: Attempt, cleared_try: int) -> None:
    assert at.last_cleared_try == cleared_try


def test_a_try_withdraws_what_an_earlier_one_asked_for_and_keeps_what_is_asked_for_the_end() -> None:
    asks = asks_of(OnParentEnd.CANCEL, Action(ActionKind.RESUME, 0, "failed"))
    entered = replace(MINIMAL, asks=asks).with_try(attempt(2), Decision.RECONNECT, EPOCH)
    assert entered.asks == asks_of(OnParentEnd.CANCEL)


def test_where_a_try_ends_for_good_a_clear_stays_visible() -> None:
    read = replace(MINIMAL, phase=Phase.SENT)
    assert read.with_clear_kept() is read
    rebuilt = replace(read, is_recovered=True).with_clear_kept()
    assert (rebuilt.phase, rebuilt.max_tries) == (Phase.CONSUMED, CLEARED)
    assert all(rebuilt.is_cleared_before(attempt(2, max_tries=most)) for most in range(4))


@pytest.mark.parametrize(
    ("previous", "is_of_it"),
    [
        (None, False),
        (replace(FIXED, dates=(LATER,), adopted=EPOCH), True),
        (replace(FIXED, run_id="other", dates=(LATER,), adopted=EPOCH), False),
        (replace(FIXED, dag_id="other", dates=(LATER,), adopted=EPOCH), False),
        (replace(FIXED, proof=Proof.RUN_AFTER, dates=(LATER,), adopted=EPOCH), False),
    ],
)
def test_a_run_that_is_asked_for_again_has_the_dates_of_before(previous: Record | None, is_of_it: bool) -> None:  # noqa: FBT001
    found = FIXED.with_dates_of(previous)
    assert (found.dates, found.adopted) == (((LATER,), EPOCH) if is_of_it else ((EPOCH,), None))


def test_which_request_has_created_a_run() -> None:
    sent = replace(DATED, dates=(LATER, EPOCH))
    assert sent.is_sent_as(run(EPOCH))
    assert not sent.is_sent_as(run(LATER))
    assert not replace(sent, dates=()).is_sent_as(run(None))
    assert not replace(sent, proof=Proof.REPLY).is_sent_as(run(EPOCH))


@pytest.mark.parametrize("is_same", [True, False])
def test_a_tag_in_this_life_is_enough_whatever_the_run_says_of_the_conf(is_same: bool) -> None:  # noqa: FBT001
    """Of a generated run id, which no other parent asks for. Under a fixed one it is not."""
    record = replace(DATED, dates=(LATER,))
    assert record.is_author_of(run(OF_LIFE, is_same=is_same), attempt(2))
