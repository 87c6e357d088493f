"""Which dates a request carries, and which epoch its run is of."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest

from airflow_durable.core.errors import ForeignRunSkipError, LogicalDateTakenError, RunIdsTakenError
from airflow_durable.core.model import Decision, Mode, Proof
from airflow_durable.core.record import Record, TryEntry
from airflow_durable.core.run_ids import child_run_id, tag_of_life, tag_of_parent
from airflow_durable.core.sending import epoch_of, most_generations, new_record, send, tagged, with_new_dates

from .fakes import (
    FIXED_DATE,
    PARENT,
    FakePort,
    Run,
    Server,
    ask,
    ask_fixed_date,
    ask_fixed_id,
    ask_unprovable,
    attempt,
    cleared,
)

NOW = datetime(2026, 1, 1, 12, 0, 0, 500, tzinfo=timezone.utc)
SECOND = timedelta(seconds=1)
RECORD = Record("child", "ours", Proof.RUN_ID, Mode.WAIT, 3, 0)


class FrozenPort(FakePort):
    """A port whose clock stands still: requests follow one another that fast."""

    def now(self) -> datetime:
        """Return always the same moment."""
        return NOW


@pytest.mark.parametrize(
    ("tag", "taken", "expected"),
    [
        (500, (), NOW),
        (499, (), NOW.replace(microsecond=499)),
        (501, (), NOW.replace(microsecond=501) - SECOND),
        (500, (NOW,), NOW - SECOND),
        (500, (NOW, NOW - 2 * SECOND), NOW - SECOND),
        (500, (NOW, NOW - SECOND), NOW - 2 * SECOND),
    ],
)
def test_a_date_of_ours_is_the_latest_with_the_tag_that_is_free(
    tag: int, taken: tuple[datetime, ...], expected: datetime
) -> None:
    assert tagged(NOW, tag, taken) == expected


def test_no_date_is_sent_twice_however_fast_requests_follow() -> None:
    at = attempt(1)
    for request, tag in (
        (ask(), tag_of_life(PARENT, 1)),
        (ask_fixed_id(), tag_of_parent(PARENT, 1)),
        (ask_fixed_date(), tag_of_parent(PARENT, 1)),
    ):
        port = FrozenPort(Server(), at)
        record = replace(RECORD, proof=request.proof)
        elsewhere = tagged(NOW, tag)
        sent = []
        for _ in range(3):
            record = with_new_dates(port, request, at, record, taken=(elsewhere,))
            date = record.run_after if request.proof is Proof.RUN_AFTER else record.logical_date
            assert date is not None
            sent.append(date)
        assert sent == [elsewhere - number * SECOND for number in (1, 2, 3)]


@pytest.mark.parametrize(
    ("recorded", "at", "is_anew", "expected"),
    [
        (0, cleared(3), True, 2),
        (2, cleared(3), True, 3),
        (4, cleared(3), True, 5),
        (1, cleared(3), False, 1),
    ],
)
def test_work_that_is_wanted_anew_is_of_another_epoch(recorded: int, at: object, is_anew: bool, expected: int) -> None:  # noqa: FBT001 - a case
    found = epoch_of(ask(), at, replace(RECORD, epoch=recorded), is_anew=is_anew)  # type: ignore[arg-type] # an attempt
    assert found == expected


def test_who_has_the_fixed_date_under_another_id_is_not_known() -> None:
    request = ask_fixed_date()
    record = replace(RECORD, run_id=request.run_id or "", proof=request.proof, logical_date=FIXED_DATE)
    for is_skip, error in ((True, ForeignRunSkipError), (False, LogicalDateTakenError)):
        server = Server()
        server.create("child", Run("somebody's", FIXED_DATE))
        at = attempt(1)
        with pytest.raises(error) as raised:
            send(FakePort(server, at), replace(request, is_skip=is_skip), at, record)
        assert getattr(raised.value, "is_run_known", False) is False


def test_the_record_of_a_new_run_says_of_which_try_and_life_it_is() -> None:
    at = attempt(5, max_tries=7, clear_number=2)
    before = replace(RECORD, tries=(TryEntry(1, Decision.FRESH_SUBMIT, "ours", NOW),))
    made = new_record(ask(), at, before, is_anew=False)
    assert (made.max_tries, made.clear_number, made.tries) == (7, 2, before.tries)
    assert new_record(ask(), at, None, is_anew=False).tries == ()


def test_the_first_run_of_a_later_call_has_the_epoch_of_the_first_call() -> None:
    request = replace(ask(), call=2, epoch=1)
    assert new_record(request, cleared(4), None, is_anew=False).epoch == 1
    assert new_record(replace(request, epoch=None), cleared(4), None, is_anew=False).epoch == 3


def test_a_fixed_date_is_sent_as_it_is_also_if_nothing_of_the_run_is_ours() -> None:
    request = replace(ask_unprovable(), logical_date=FIXED_DATE)
    sent = with_new_dates(FrozenPort(Server(), attempt(1)), request, attempt(1), replace(RECORD, proof=request.proof))
    assert (request.proof, sent.logical_date, sent.run_after) == (Proof.REPLY, FIXED_DATE, None)


def test_the_error_of_run_ids_that_are_taken_names_the_last_one() -> None:
    at = attempt(1)
    last = most_generations(at, 0) - 1
    with pytest.raises(RunIdsTakenError) as raised:
        new_record(ask(), at, replace(RECORD, generation=last), is_anew=False)
    run_id = child_run_id(PARENT, epoch=0, call=1, generation=last + 1)
    assert run_id in str(raised.value)
    assert "Dag 'child'" in str(raised.value)
