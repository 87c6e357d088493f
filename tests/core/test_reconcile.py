"""What the reconciler does about a call, row by row, and what proves that it may."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest

from airflow_durable.core.asks import Action, ActionKind, Asks
from airflow_durable.core.model import Mode, OnParentEnd, Parent, Phase, Proof
from airflow_durable.core.observed import ChildNow, Entry, ParentNow
from airflow_durable.core.proof import (
    MAX_CALLS,
    MAX_NUMBER,
    MAX_TEXT,
    WORKER_CLOCK_AHEAD,
    WRITTEN_WITHIN,
    is_plain,
    prove,
    proving_window,
)
from airflow_durable.core.reconcile import LATE_AFTER, decide, newest_of
from airflow_durable.core.record import Record
from airflow_durable.core.run_ids import child_run_id, tag_of_parent
from airflow_durable.core.verdicts import Act, Reason

NOW = datetime(2026, 5, 1, 12, tzinfo=timezone.utc)
SECOND = timedelta(seconds=1)
PARENT = Parent("parent", "scheduled", "trigger", -1, NOW - timedelta(hours=1))
OTHER = replace(PARENT, task_id="other")
RUN_ID = child_run_id(PARENT, epoch=0, call=1, generation=0)
CANCEL = Asks(OnParentEnd.CANCEL)
RESUME = Asks(OnParentEnd.ABANDON, Action(ActionKind.RESUME, 2, "failed"))
RECORD = Record("child", RUN_ID, Proof.RUN_ID, Mode.WAIT, 3, 0, task_instance_id="ti-1", asks=CANCEL)
ENTRY = Entry(RECORD, 0, "ti-1", NOW)
CHILD = ChildNow("child", RUN_ID, "running", 0, NOW, NOW, NOW, NOW, is_from_task=True)
FAILED_CHILD = replace(CHILD, state="failed", clear_number=2)
RUNNING = ParentNow("ti-1", "running", None, "running")
FAILED = ParentNow("ti-1", "failed", NOW, "failed")


def asking(asks: Asks | None, **changes: object) -> Entry:
    return replace(ENTRY, record=replace(RECORD, asks=asks, **changes))  # type: ignore[arg-type] # any field


@pytest.mark.parametrize("state", ["failed", "success", "skipped", "upstream_failed", "removed"])
@pytest.mark.parametrize("child", ["running", "queued"])
def test_child_of_a_parent_that_ended_for_good_is_ended(state: str, child: str) -> None:
    verdict = decide(ENTRY, replace(FAILED, state=state), replace(CHILD, state=child), NOW)
    assert (verdict.act, verdict.reason) == (Act.CANCEL, Reason.PARENT_ENDED)


@pytest.mark.parametrize(
    "state",
    [
        "up_for_retry",
        None,
        "queued",
        "scheduled",
        "restarting",
        "running",
        "deferred",
        "up_for_reschedule",
        "new_state",
    ],
)
@pytest.mark.parametrize("run_state", ["running", "failed", "success"])
def test_child_of_a_parent_that_comes_back_is_not_ended(state: str | None, run_state: str) -> None:
    verdict = decide(ENTRY, ParentNow("ti-2", state, NOW, run_state), CHILD, NOW)
    assert (verdict.act, verdict.reason, verdict.is_settled) == (Act.NOTHING, Reason.NOT_ENDED, False)


@pytest.mark.parametrize(
    ("run_state", "act"),
    [
        ("queued", Act.NOTHING),
        ("running", Act.NOTHING),
        ("failed", Act.CANCEL),
        ("success", Act.CANCEL),
        (None, Act.CANCEL),
    ],
)
def test_removed_parent_may_be_restored_until_its_dag_run_has_ended(run_state: str | None, act: Act) -> None:
    verdict = decide(ENTRY, ParentNow("ti-1", "removed", NOW, run_state), CHILD, NOW)
    assert verdict.act is act
    assert not verdict.is_settled


@pytest.mark.parametrize(
    ("run_state", "act"),
    [("running", Act.NOTHING), ("failed", Act.CANCEL), ("success", Act.CANCEL), (None, Act.CANCEL)],
)
def test_parent_that_is_not_there_has_ended_with_its_dag_run(run_state: str | None, act: Act) -> None:
    verdict = decide(ENTRY, ParentNow(None, None, None, run_state), CHILD, NOW)
    assert (verdict.act, verdict.reason is Reason.PARENT_GONE) == (act, act is Act.CANCEL)


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (None, Reason.NOT_ASKED),
        (replace(ENTRY, record=None), Reason.UNPROVEN_DAMAGED),
        (asking(None), Reason.NOT_ASKED),
        (asking(CANCEL, phase=Phase.CONSUMED), Reason.CONSUMED),
        (asking(RESUME), Reason.SUPERSEDED),
    ],
)
def test_nothing_is_done_for_an_entry_that_does_not_ask(entry: Entry | None, reason: Reason) -> None:
    verdict = decide(entry, FAILED, CHILD, NOW)
    assert (verdict.act, verdict.reason, verdict.is_settled) == (Act.NOTHING, reason, True)


@pytest.mark.parametrize("state", ["failed", "success"])
def test_child_that_has_ended_is_left_alone(state: str) -> None:
    verdict = decide(ENTRY, FAILED, replace(CHILD, state=state), NOW)
    assert (verdict.act, verdict.reason, verdict.is_settled) == (Act.NOTHING, Reason.CHILD_ENDED, True)


@pytest.mark.parametrize(
    ("queued_at", "clear_number", "act"),
    [
        (NOW + SECOND, 1, Act.NOTHING),
        (NOW + SECOND, 0, Act.CANCEL),
        (NOW, 1, Act.CANCEL),
        (NOW - SECOND, 1, Act.CANCEL),
        (None, 1, Act.CANCEL),
    ],
)
def test_child_that_a_person_started_again_after_the_parents_end_is_theirs(
    queued_at: datetime | None, clear_number: int, act: Act
) -> None:
    child = replace(CHILD, queued_at=queued_at, clear_number=clear_number)
    verdict = decide(ENTRY, FAILED, child, NOW)
    is_theirs = act is Act.NOTHING
    reason = Reason.CHILD_RESTARTED if is_theirs else Reason.PARENT_ENDED
    assert (verdict.act, verdict.reason, verdict.is_settled) == (act, reason, is_theirs)


def test_run_that_a_late_request_may_still_make_is_waited_for_a_while() -> None:
    verdict = decide(ENTRY, FAILED, None, NOW + LATE_AFTER)
    assert (verdict.act, verdict.reason, verdict.is_settled) == (Act.NOTHING, Reason.CHILD_MISSING, False)
    assert decide(ENTRY, FAILED, None, NOW + LATE_AFTER + SECOND).is_settled
    assert decide(ENTRY, replace(FAILED, ended_at=None), None, NOW).is_settled


@pytest.mark.parametrize("state", ["running", "deferred"])
@pytest.mark.parametrize("kind", list(ActionKind))
def test_present_try_has_done_what_it_asks_for(state: str, kind: ActionKind) -> None:
    entry = asking(Asks(OnParentEnd.CANCEL, Action(kind, 2, "failed")))
    verdict = decide(entry, replace(RUNNING, state=state), FAILED_CHILD, NOW)
    assert (verdict.act.value, verdict.reason) == (kind.value, Reason.ASKED)


@pytest.mark.parametrize("kind", list(ActionKind))
@pytest.mark.parametrize(
    ("parent", "is_settled"),
    [
        (replace(RUNNING, task_instance_id="ti-2"), True),
        (replace(RUNNING, state="up_for_retry"), False),
        (replace(RUNNING, state="queued"), False),
        (replace(FAILED, state="failed"), True),
        (ParentNow(None, None, None, None), True),
    ],
)
def test_nothing_is_done_for_a_try_that_is_not_the_present_one(
    kind: ActionKind, parent: ParentNow, *, is_settled: bool
) -> None:
    entry = asking(Asks(OnParentEnd.ABANDON, Action(kind, 2, "failed")))
    verdict = decide(entry, parent, FAILED_CHILD, NOW)
    assert (verdict.act, verdict.reason, verdict.is_settled) == (Act.NOTHING, Reason.SUPERSEDED, is_settled)


def test_entry_that_names_no_task_instance_asks_for_no_action() -> None:
    entry = asking(RESUME, task_instance_id="")
    assert decide(entry, replace(RUNNING, task_instance_id=""), FAILED_CHILD, NOW).act is Act.NOTHING


@pytest.mark.parametrize(
    ("kind", "asked", "child", "is_done"),
    [
        ("resume", "failed", ("failed", 2), True),
        ("resume", "failed", ("failed", 3), False),
        ("resume", "failed", ("queued", 2), False),
        ("resume", "success", ("success", 2), False),
        ("reset", "success", ("success", 2), True),
        ("reset", "success", ("success", 3), False),
        ("reset", "success", ("failed", 2), False),
        ("reset", "success", ("running", 2), False),
        ("reset", "queued", ("running", 2), True),
        ("reset", "running", ("success", 2), False),
    ],
)
def test_run_has_to_be_as_it_was_when_it_was_asked_for(
    kind: str, asked: str, child: tuple[str, int], *, is_done: bool
) -> None:
    entry = asking(Asks(OnParentEnd.ABANDON, Action(ActionKind(kind), 2, asked)))
    verdict = decide(entry, RUNNING, replace(CHILD, state=child[0], clear_number=child[1]), NOW)
    assert (verdict.act is not Act.NOTHING) is is_done
    assert not verdict.is_settled


def test_run_that_is_not_there_cannot_be_resumed() -> None:
    verdict = decide(asking(RESUME), RUNNING, None, NOW)
    assert (verdict.act, verdict.reason) == (Act.NOTHING, Reason.CHILD_MISSING)


def test_newest_entry_is_the_last_of_the_first_ones_root() -> None:
    entries = [replace(ENTRY, sequence=number, root=root) for number, root in enumerate(["b", "a", "b", "a"])]
    assert newest_of(entries[::-1]) == entries[2]
    assert newest_of([replace(ENTRY, root=""), replace(ENTRY, sequence=1, root="b")]) == replace(
        ENTRY, sequence=1, root="b"
    )
    first = replace(ENTRY, root="b")
    of_first_release = replace(ENTRY, sequence=1, root="")
    assert newest_of([first, of_first_release]) == of_first_release
    assert newest_of([]) is None


# The proof.


def test_generated_run_id_proves_itself() -> None:
    assert prove([PARENT], [ENTRY], RECORD, CHILD, calls=1) is None
    assert prove([OTHER, PARENT], [ENTRY], RECORD, CHILD, calls=1) is None


@pytest.mark.parametrize(
    ("record", "child", "reason"),
    [
        (RECORD, replace(CHILD, is_from_task=False), Reason.UNPROVEN_ORIGIN),
        (RECORD, replace(CHILD, run_id="other"), Reason.UNPROVEN_NAME),
        (RECORD, replace(CHILD, dag_id="other"), Reason.UNPROVEN_NAME),
        (replace(RECORD, generation=1), CHILD, Reason.UNPROVEN_NAME),
        (replace(RECORD, call=2), CHILD, Reason.UNPROVEN_NAME),
        (replace(RECORD, generation=-1), CHILD, Reason.UNPROVEN_NAME),
        (replace(RECORD, proof=Proof.REPLY, phase=Phase.SENT), CHILD, Reason.UNPROVEN_REPLY),
    ],
)
def test_forged_record_proves_nothing(record: Record, child: ChildNow, reason: Reason) -> None:
    assert prove([PARENT], [replace(ENTRY, record=record)], record, child, calls=1) is reason


def test_child_that_was_adopted_after_a_clear_is_proven() -> None:
    # The record's epoch has moved, and the run id has not.
    assert prove([PARENT], [ENTRY], replace(RECORD, epoch=4), CHILD, calls=1) is None


def test_another_parents_child_is_not_proven() -> None:
    assert prove([OTHER], [ENTRY], RECORD, CHILD, calls=1) is Reason.UNPROVEN_NAME


def dated(proof: Proof = Proof.LOGICAL_DATE) -> tuple[Record, Entry, ChildNow, datetime]:
    """Return a record, its entry and its run under a fixed identity, and our date in it."""
    date = NOW.replace(microsecond=tag_of_parent(PARENT, 1))
    record = Record("child", "fixed", proof, Mode.WAIT, 3, 0, dates=(date,), asks=CANCEL)
    entry = Entry(record, 0, "ti-1", date + SECOND)
    child = replace(CHILD, run_id="fixed", created_at=date + 2 * SECOND)
    field = "run_after" if proof is Proof.RUN_AFTER else "logical_date"
    return record, entry, replace(child, **{field: date}), date  # type: ignore[arg-type] # a date


@pytest.mark.parametrize("proof", [Proof.LOGICAL_DATE, Proof.RUN_AFTER])
def test_date_that_was_written_ahead_proves_a_fixed_identity(proof: Proof) -> None:
    record, entry, child, _ = dated(proof)
    assert prove([PARENT], [entry], record, child, calls=1) is None


def test_later_entries_that_name_the_date_again_change_nothing() -> None:
    record, entry, child, date = dated()
    later = replace(entry, sequence=1, written_at=date + timedelta(hours=1))
    assert prove([PARENT], [later, entry], record, child, calls=1) is None


def test_who_names_the_date_after_the_run_was_made_proves_nothing() -> None:
    record, entry, child, date = dated()
    for written_at in (date + 2 * SECOND, date + 3 * SECOND):
        forged = replace(entry, written_at=written_at)
        assert prove([PARENT], [forged], record, child, calls=1) is Reason.UNPROVEN_DATE


@pytest.mark.parametrize("off", [-WORKER_CLOCK_AHEAD - SECOND, WRITTEN_WITHIN + SECOND])
def test_date_has_to_be_of_when_it_was_written(off: timedelta) -> None:
    record, entry, child, date = dated()
    child = replace(child, created_at=date + timedelta(hours=1))
    assert prove([PARENT], [replace(entry, written_at=date + off)], record, child, calls=1) is Reason.UNPROVEN_DATE


@pytest.mark.parametrize("off", [-WORKER_CLOCK_AHEAD, WRITTEN_WITHIN])
def test_date_may_have_been_written_at_the_edges_of_its_time(off: timedelta) -> None:
    record, entry, child, date = dated()
    child = replace(child, created_at=date + timedelta(hours=1))
    assert prove([PARENT], [replace(entry, written_at=date + off)], record, child, calls=1) is None


def test_entry_about_another_run_or_of_no_sense_names_no_date() -> None:
    record, entry, child, _ = dated()
    about_another = replace(entry, record=replace(record, run_id="another"))
    damaged = replace(entry, record=None)
    assert prove([PARENT], [about_another, damaged], record, child, calls=1) is Reason.UNPROVEN_DATE
    # The newest entry has to name it as well.
    bare = replace(record, dates=())
    assert prove([PARENT], [entry], bare, child, calls=1) is Reason.UNPROVEN_DATE


def test_date_of_a_run_has_to_have_the_parents_tag() -> None:
    record, entry, child, _ = dated()
    assert prove([OTHER], [entry], record, child, calls=1) is Reason.UNPROVEN_DATE


def test_call_has_to_be_one_of_the_tasks() -> None:
    record, entry, child, date = dated()
    date = date.replace(microsecond=tag_of_parent(PARENT, 7))
    record = replace(record, call=7, dates=(date,))
    child = replace(child, logical_date=date)
    entry = replace(entry, record=record, written_at=date)
    assert prove([PARENT], [entry], record, child, calls=1) is Reason.UNPROVEN_DATE
    assert prove([PARENT], [entry], record, child, calls=7) is None


@pytest.mark.parametrize("date", [None, NOW])
def test_date_without_microseconds_or_none_proves_nothing(date: datetime | None) -> None:
    record, entry, child, _ = dated()
    record = replace(record, dates=(date,) if date else ())
    child = replace(child, logical_date=date)
    assert prove([PARENT], [replace(entry, record=record)], record, child, calls=1) is Reason.UNPROVEN_DATE


@pytest.mark.parametrize("proof", [Proof.LOGICAL_DATE, Proof.RUN_AFTER])
@pytest.mark.parametrize(
    "edge", [datetime(1, 1, 1, tzinfo=timezone.utc), datetime(9999, 12, 31, 23, 59, 59, tzinfo=timezone.utc)]
)
def test_first_and_last_of_all_dates_prove_nothing(edge: datetime, proof: Proof) -> None:
    record, entry, child, _ = dated(proof)
    date = edge.replace(microsecond=tag_of_parent(PARENT, 1))
    record = replace(record, dates=(date,))
    child = replace(child, logical_date=date, run_after=date)
    assert prove([PARENT], [replace(entry, record=record)], record, child, calls=1) is Reason.UNPROVEN_DATE
    assert proving_window(record, child) is None


def test_run_whose_making_has_no_time_is_not_proven() -> None:
    record, entry, child, _ = dated()
    assert prove([PARENT], [entry], record, replace(child, created_at=None), calls=1) is Reason.UNPROVEN_DATE


@pytest.mark.parametrize(
    ("record", "call", "expected"),
    [
        (RECORD, 1, True),
        (replace(RECORD, asks=None), 1, True),
        (replace(RECORD, call=MAX_CALLS), MAX_CALLS, True),
        (replace(RECORD, epoch=MAX_NUMBER), 1, True),
        (replace(RECORD, run_id="a" * MAX_TEXT), 1, True),
        (RECORD, 2, False),
        (replace(RECORD, call=0), 0, False),
        (replace(RECORD, call=MAX_CALLS + 1), MAX_CALLS + 1, False),
        (replace(RECORD, epoch=MAX_NUMBER + 1), 1, False),
        (replace(RECORD, generation=-MAX_NUMBER - 1), 1, False),
        (replace(RECORD, run_id="a" * (MAX_TEXT + 1)), 1, False),
        (replace(RECORD, dag_id="a\x00b"), 1, False),
        (replace(RECORD, run_id="\ud800"), 1, False),
    ],
)
def test_record_with_values_that_no_database_takes_is_not_read(record: Record, call: int, *, expected: bool) -> None:
    assert is_plain(record, call) is expected


@pytest.mark.parametrize(
    ("proof", "child", "window"),
    [
        (Proof.RUN_ID, CHILD, None),
        (Proof.REPLY, CHILD, None),
        (Proof.LOGICAL_DATE, replace(CHILD, logical_date=None), None),
        (Proof.RUN_AFTER, replace(CHILD, created_at=None), None),
        (Proof.LOGICAL_DATE, CHILD, (NOW - WORKER_CLOCK_AHEAD, NOW)),
        (
            Proof.RUN_AFTER,
            replace(CHILD, logical_date=None, created_at=NOW + WRITTEN_WITHIN * 2),
            (NOW - WORKER_CLOCK_AHEAD, NOW + WRITTEN_WITHIN),
        ),
    ],
)
def test_what_proves_a_fixed_identity_was_written_in_a_short_time(
    proof: Proof, child: ChildNow, window: tuple[object, object] | None
) -> None:
    assert proving_window(replace(RECORD, proof=proof), child) == window
