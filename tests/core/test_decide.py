"""The decision table: row by row, and what holds over all combinations."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from airflow_durable.core.decide import decide, is_upstream_asked, plan
from airflow_durable.core.model import (
    ChildRun,
    Clear,
    Decision,
    Look,
    Mode,
    OnChildFailure,
    OnClear,
    Outcome,
    Phase,
    Proof,
    Request,
)
from airflow_durable.core.record import Baseline, Record

from .fakes import EPOCH, FIXED_DATE, ask, attempt

if TYPE_CHECKING:
    from collections.abc import Iterator

GENERATED = Record("child", "ours", Proof.RUN_ID, Mode.WAIT, 3, 0, logical_date=EPOCH, dates=(EPOCH,))
FIXED = replace(GENERATED, run_id="fixed", proof=Proof.LOGICAL_DATE)
PENDING = replace(FIXED, reset=Baseline(2, EPOCH))
ASKED = ask()
ASKED_FIXED = ask(run_id="fixed")
RESET = replace(ASKED_FIXED, is_reset=True)
FORGET = replace(ASKED, mode=Mode.FIRE_AND_FORGET)
UNMARKED, MARKED = Clear(is_anew=False), Clear(is_anew=True)
MISSING, UNREADABLE = Look.MISSING, Look.UNREADABLE


def seen(state: str, *, is_same: bool | None = True, is_ours: bool = True, clear_number: int = 0) -> ChildRun:
    return ChildRun(state, clear_number, EPOCH if is_ours else FIXED_DATE, EPOCH, EPOCH, is_same)


def on_clear(request: Request, choice: OnClear) -> Request:
    return replace(request, on_clear=choice)


D, P = Decision, pytest.param


def test_plan() -> None:
    consumed = replace(GENERATED, phase=Phase.CONSUMED)
    assert plan(consumed, ASKED, None) is Decision.SUCCEED_AGAIN
    forgotten = replace(consumed, mode=Mode.FIRE_AND_FORGET)
    assert plan(forgotten, ASKED, None) is None
    assert plan(forgotten, replace(ASKED, mode=Mode.FIRE_AND_FORGET), None) is Decision.SUCCEED_AGAIN
    for state, expected in (("success", Decision.SUCCEED_AGAIN), ("queued", None), ("failed", None)):
        assert plan(replace(forgotten, outcome=Outcome("child", "run", state, EPOCH)), ASKED, None) is expected
    for record, clear in [(consumed, UNMARKED), (consumed, MARKED), (GENERATED, None), (GENERATED, UNMARKED)]:
        assert plan(record, ASKED, clear) is None
    assert plan(replace(GENERATED, phase=Phase.SENT), ASKED, None) is None


@pytest.mark.parametrize(
    ("record", "request_", "look", "clear", "is_newer", "expected"),
    [
        P(GENERATED, ASKED, MISSING, None, None, D.RESUBMIT, id="missing, retry"),
        P(GENERATED, ASKED, MISSING, UNMARKED, None, D.RESUBMIT, id="missing, clear"),
        P(GENERATED, ASKED, MISSING, MARKED, None, D.FRESH_SUBMIT, id="missing, asked anew"),
        P(
            GENERATED,
            replace(ASKED, call=2, epoch=3),
            MISSING,
            MARKED,
            None,
            D.RESUBMIT,
            id="missing, a later call anew",
        ),
        P(GENERATED, ask(dag_id="x"), MISSING, None, None, D.FRESH_SUBMIT, id="missing, another Dag"),
        P(FIXED, ask(run_id="x"), MISSING, None, None, D.FRESH_SUBMIT, id="missing, another run id"),
        P(FIXED, ASKED_FIXED, MISSING, None, None, D.RESUBMIT, id="missing, fixed"),
        P(GENERATED, on_clear(ASKED, OnClear.FRESH), MISSING, UNMARKED, None, D.FRESH_SUBMIT, id="missing, fresh"),
        P(GENERATED, on_clear(ASKED, OnClear.FRESH), MISSING, None, None, D.RESUBMIT, id="missing, fresh, retry"),
        P(GENERATED, ASKED, UNREADABLE, None, None, D.RESUBMIT, id="unreadable, retry"),
        P(GENERATED, ASKED, UNREADABLE, UNMARKED, None, D.RESUBMIT, id="unreadable, clear"),
        P(GENERATED, ASKED, UNREADABLE, MARKED, None, D.FRESH_SUBMIT, id="unreadable, asked anew"),
        P(GENERATED, ask(dag_id="x"), UNREADABLE, None, None, D.RESUBMIT, id="unreadable, another Dag"),
        P(FIXED, ASKED_FIXED, seen("running", is_ours=False), None, None, D.FOREIGN, id="foreign, active"),
        P(FIXED, ASKED_FIXED, seen("success", is_ours=False), None, None, D.FOREIGN, id="foreign, ended"),
        P(FIXED, ask(run_id="x"), seen("running", is_ours=False), None, None, D.FRESH_SUBMIT, id="foreign, another id"),
        P(FIXED, ASKED, seen("success", is_ours=False), UNMARKED, None, D.FRESH_SUBMIT, id="foreign, no more fixed"),
        P(
            FIXED,
            ask(run_id="fixed", dag_id="x"),
            seen("running", is_ours=False, is_same=False),
            MARKED,
            None,
            D.FRESH_SUBMIT,
            id="foreign, another Dag",
        ),
        P(GENERATED, ASKED, seen("running", is_ours=False), None, None, D.RECONNECT, id="other life, active"),
        P(
            GENERATED,
            ASKED,
            seen("running", is_ours=False, is_same=False),
            None,
            None,
            D.WAIT_OUT,
            id="other life, active, another request",
        ),
        P(
            GENERATED,
            on_clear(ASKED, OnClear.ADOPT),
            seen("running", is_ours=False, is_same=False),
            None,
            None,
            D.RECONNECT,
            id="other life, active, adopt",
        ),
        P(
            GENERATED,
            on_clear(ASKED, OnClear.FRESH),
            seen("running", is_ours=False, is_same=False),
            None,
            None,
            D.FRESH_SUBMIT,
            id="other life, active, fresh",
        ),
        P(
            GENERATED,
            on_clear(ASKED, OnClear.FRESH),
            seen("running", is_ours=False),
            MARKED,
            None,
            D.FRESH_SUBMIT,
            id="other life, active, same request, fresh after a clear",
        ),
        P(
            GENERATED,
            on_clear(ASKED, OnClear.FRESH),
            seen("running", is_ours=False),
            None,
            None,
            D.RECONNECT,
            id="other life, active, same request, fresh without a clear",
        ),
        P(
            GENERATED,
            FORGET,
            seen("running", is_ours=False, is_same=False),
            None,
            None,
            D.FRESH_SUBMIT,
            id="other life, active, fire and forget",
        ),
        P(GENERATED, ASKED, seen("success", is_ours=False), None, None, D.FRESH_SUBMIT, id="other life, ended"),
        P(PENDING, RESET, seen("success", clear_number=2), None, None, D.RESET, id="reset pending"),
        P(PENDING, RESET, seen("running", clear_number=2), None, None, D.RESET, id="reset pending, active"),
        P(PENDING, RESET, seen("running", clear_number=3), None, None, D.RECONNECT, id="reset arrived"),
        P(PENDING, RESET, seen("success", clear_number=3), None, None, D.ALREADY_SUCCEEDED, id="reset, and ended"),
        P(PENDING, ASKED_FIXED, seen("success", clear_number=2), None, None, D.USED_UP, id="reset no more, success"),
        P(PENDING, ASKED_FIXED, seen("failed", clear_number=2), None, None, D.REFUSE, id="reset no more, failed"),
        P(PENDING, ASKED_FIXED, seen("running", clear_number=2), None, None, D.RECONNECT, id="reset no more, active"),
        P(
            PENDING,
            replace(ASKED_FIXED, on_child_failure=OnChildFailure.FAIL),
            seen("failed", clear_number=2),
            None,
            None,
            D.GIVE_UP,
            id="reset no more, failed for good",
        ),
        P(
            PENDING,
            ASKED_FIXED,
            seen("running", is_same=False, clear_number=2),
            None,
            None,
            D.WAIT_OUT,
            id="reset no more, active, another conf",
        ),
        P(
            PENDING,
            replace(ASKED_FIXED, mode=Mode.FIRE_AND_FORGET),
            seen("failed", clear_number=2),
            None,
            None,
            D.USED_UP,
            id="reset no more, fire and forget",
        ),
        P(
            PENDING,
            replace(RESET, run_id="x"),
            seen("success", clear_number=2),
            None,
            None,
            D.FRESH_SUBMIT,
            id="reset of another run id",
        ),
        P(
            replace(FIXED, reset=Baseline(2, FIXED_DATE, EPOCH)),
            ASKED_FIXED,
            seen("success", is_ours=False, clear_number=2),
            None,
            None,
            D.FOREIGN,
            id="reset no more, foreign",
        ),
        P(GENERATED, ASKED, seen("failed"), None, None, D.TERMINAL_RESUBMIT, id="failed"),
        P(GENERATED, ASKED, seen("failed"), MARKED, None, D.TERMINAL_RESUBMIT, id="failed, clear"),
        P(FIXED, ASKED_FIXED, seen("failed"), None, None, D.REFUSE, id="failed, fixed"),
        P(FIXED, RESET, seen("failed"), None, None, D.RESET, id="failed, fixed, reset"),
        P(FIXED, ask(run_id="x"), seen("failed"), None, None, D.TERMINAL_RESUBMIT, id="failed, another run id"),
        P(FIXED, ASKED, seen("failed"), None, None, D.TERMINAL_RESUBMIT, id="failed, no more fixed"),
        P(GENERATED, ASKED_FIXED, seen("failed"), None, None, D.TERMINAL_RESUBMIT, id="failed, fixed since"),
        P(
            GENERATED,
            ask(allowed_states=frozenset({"running"})),
            seen("success"),
            None,
            None,
            D.TERMINAL_RESUBMIT,
            id="ended in no allowed state",
        ),
        P(
            GENERATED,
            ask(allowed_states=frozenset({"success", "failed"})),
            seen("failed"),
            None,
            None,
            D.TERMINAL_RESUBMIT,
            id="failed wins over allowed",
        ),
        P(
            GENERATED,
            ask(allowed_states=frozenset({"running"}), failed_states=frozenset({"running"})),
            seen("running"),
            None,
            None,
            D.TERMINAL_RESUBMIT,
            id="failed wins over allowed, active",
        ),
        P(
            GENERATED,
            ask(allowed_states=frozenset({"success", "failed"}), failed_states=frozenset()),
            seen("failed"),
            None,
            None,
            D.ALREADY_SUCCEEDED,
            id="failed is allowed",
        ),
        P(GENERATED, ASKED, seen("success"), None, None, D.ALREADY_SUCCEEDED, id="success, retry"),
        P(GENERATED, ASKED, seen("success", is_same=False), None, None, D.ALREADY_SUCCEEDED, id="success, edited"),
        P(GENERATED, ASKED, seen("success"), UNMARKED, False, D.ALREADY_SUCCEEDED, id="success, clear"),
        P(GENERATED, ASKED, seen("success"), UNMARKED, True, D.FRESH_SUBMIT, id="success, clear, upstream ran"),
        P(GENERATED, ASKED, seen("success"), UNMARKED, None, D.FRESH_SUBMIT, id="success, clear, upstream unknown"),
        P(
            GENERATED,
            ASKED,
            seen("success", is_same=False),
            UNMARKED,
            False,
            D.FRESH_SUBMIT,
            id="success, clear, another request",
        ),
        P(
            GENERATED,
            ASKED,
            seen("success", is_same=None),
            UNMARKED,
            False,
            D.FRESH_SUBMIT,
            id="success, clear, request unknown",
        ),
        P(GENERATED, ASKED, seen("success"), MARKED, False, D.FRESH_SUBMIT, id="success, asked anew"),
        P(FIXED, ASKED_FIXED, seen("success"), MARKED, None, D.USED_UP, id="success, asked anew, fixed"),
        P(FIXED, RESET, seen("success"), MARKED, None, D.RESET, id="success, asked anew, fixed, reset"),
        P(FIXED, ask(run_id="x"), seen("success"), MARKED, None, D.FRESH_SUBMIT, id="asked anew, another run id"),
        P(
            GENERATED,
            on_clear(ASKED, OnClear.ADOPT),
            seen("success", is_same=False),
            UNMARKED,
            True,
            D.ALREADY_SUCCEEDED,
            id="success, clear, adopt",
        ),
        P(
            GENERATED,
            on_clear(ASKED, OnClear.ADOPT),
            seen("success"),
            MARKED,
            False,
            D.FRESH_SUBMIT,
            id="success, asked anew, adopt",
        ),
        P(
            GENERATED,
            on_clear(ASKED, OnClear.FRESH),
            seen("success"),
            UNMARKED,
            False,
            D.FRESH_SUBMIT,
            id="success, clear, fresh",
        ),
        P(GENERATED, ASKED, seen("running"), None, None, D.RECONNECT, id="active, retry"),
        P(GENERATED, ASKED, seen("running", is_same=False), None, None, D.RECONNECT, id="active, retry, edited"),
        P(GENERATED, ASKED, seen("unheard_of"), None, None, D.RECONNECT, id="active in an unknown state"),
        P(GENERATED, ASKED, seen("running"), UNMARKED, None, D.RECONNECT, id="active, clear"),
        P(GENERATED, ASKED, seen("running"), MARKED, None, D.RECONNECT, id="active, asked anew"),
        P(GENERATED, ASKED, seen("running", is_same=False), UNMARKED, None, D.WAIT_OUT, id="active, another request"),
        P(GENERATED, ASKED, seen("running", is_same=None), UNMARKED, None, D.WAIT_OUT, id="active, request unknown"),
        P(
            GENERATED,
            on_clear(ASKED, OnClear.ADOPT),
            seen("running", is_same=False),
            MARKED,
            None,
            D.RECONNECT,
            id="active, adopt",
        ),
        P(
            GENERATED,
            on_clear(ASKED, OnClear.FRESH),
            seen("running"),
            UNMARKED,
            None,
            D.FRESH_SUBMIT,
            id="active, fresh",
        ),
        P(
            FIXED,
            on_clear(ASKED_FIXED, OnClear.FRESH),
            seen("running"),
            UNMARKED,
            None,
            D.WAIT_OUT,
            id="active, fresh, fixed",
        ),
        P(
            FIXED,
            on_clear(RESET, OnClear.FRESH),
            seen("running"),
            UNMARKED,
            None,
            D.RESET,
            id="active, fresh, fixed, reset",
        ),
        P(GENERATED, on_clear(ASKED, OnClear.FRESH), seen("running"), None, None, D.RECONNECT, id="retry, fresh"),
        P(GENERATED, FORGET, seen("failed"), None, None, D.ALREADY_SUCCEEDED, id="fire and forget, failed"),
        P(GENERATED, FORGET, seen("running"), None, None, D.ALREADY_SUCCEEDED, id="fire and forget, active"),
        P(GENERATED, FORGET, seen("running"), UNMARKED, False, D.ALREADY_SUCCEEDED, id="fire and forget, clear"),
        P(
            GENERATED,
            FORGET,
            seen("running", is_same=False),
            UNMARKED,
            False,
            D.FRESH_SUBMIT,
            id="fire and forget, clear, another request",
        ),
        P(GENERATED, FORGET, seen("running"), MARKED, None, D.FRESH_SUBMIT, id="fire and forget, asked anew"),
    ],
)
def test_each_row(  # noqa: PLR0913, PLR0917 - what a decision hangs on
    record: Record,
    request_: Request,
    look: ChildRun | Look,
    clear: Clear | None,
    is_newer: bool | None,  # noqa: FBT001 - a parameter
    expected: Decision,
) -> None:
    assert decide(record, request_, attempt(2), look, clear, is_upstream_newer=is_newer) is expected


@pytest.mark.parametrize(
    ("state", "expected"), [("running", Decision.WAIT_OUT), ("success", Decision.USED_UP)], ids=["active", "success"]
)
def test_another_date_under_the_same_run_id_is_another_request(state: str, expected: Decision) -> None:
    dated = replace(ASKED_FIXED, is_date_ours=False, logical_date=FIXED_DATE)
    assert decide(FIXED, dated, attempt(2), seen(state), UNMARKED, is_upstream_newer=False) is expected
    assert not is_upstream_asked(FIXED, dated, seen(state), UNMARKED)


@pytest.mark.parametrize(
    ("state", "expected"),
    [("running", Decision.WAIT_OUT), ("success", Decision.FRESH_SUBMIT)],
    ids=["active", "success"],
)
def test_another_run_id_is_another_request(state: str, expected: Decision) -> None:
    other = ask(run_id="other")
    assert decide(FIXED, other, attempt(2), seen(state), UNMARKED, is_upstream_newer=False) is expected
    assert not is_upstream_asked(FIXED, other, seen(state), UNMARKED)


# Over all combinations.


def every_case() -> Iterator[tuple[Record, Request, ChildRun | Look, Clear | None]]:
    requests = [
        replace(base, mode=mode, is_reset=is_reset, on_clear=choice, dag_id=dag_id)
        for base in (ASKED, ASKED_FIXED)
        for mode in (Mode.WAIT, Mode.FIRE_AND_FORGET)
        for is_reset in (False, True)
        for choice in OnClear
        for dag_id in ("child", "other")
    ]
    requests += [
        replace(base, on_child_failure=on_failure, is_reset=is_reset)
        for base in (ASKED, ASKED_FIXED)
        for on_failure in (OnChildFailure.RESUME, OnChildFailure.FAIL)
        for is_reset in (False, True)
    ]
    runs = [
        seen(state, is_same=is_same, is_ours=is_ours, clear_number=2)
        for state in ("running", "success", "failed", "unheard_of")
        for is_same in (None, False, True)
        for is_ours in (False, True)
    ]
    for record, request, look, clear in itertools.product(
        [GENERATED, FIXED, PENDING, replace(FIXED, proof=Proof.REPLY, phase=Phase.SENT)],
        requests,
        [*Look, *runs],
        [None, UNMARKED, MARKED],
    ):
        # A run of another Dag never carries the same request.
        if record.dag_id == request.dag_id or isinstance(look, Look) or look.is_same_request is False:
            yield record, request, look, clear


def every_decision() -> Iterator[tuple[Decision, Record, Request, ChildRun | Look, Clear | None, bool | None]]:
    for record, request, look, clear in every_case():
        for is_newer in (None, False, True):
            decision = decide(record, request, attempt(2), look, clear, is_upstream_newer=is_newer)
            yield decision, record, request, look, clear, is_newer


def test_every_decision_is_made() -> None:
    assert {decision for decision, *_ in every_decision()} == set(Decision) - {Decision.SUCCEED_AGAIN}


def test_nothing_is_started_beside_an_active_run() -> None:
    """But where nobody waits for it, or a person asked for a fresh one."""
    for decision, record, request, look, *_ in every_decision():
        is_asked = request.mode is Mode.FIRE_AND_FORGET or request.on_clear is OnClear.FRESH
        is_foreign = isinstance(look, ChildRun) and record.is_fixed and not record.is_author_of(look, attempt(2))
        if isinstance(look, ChildRun) and look.is_active and not is_asked and not is_foreign:
            started = {Decision.FRESH_SUBMIT, Decision.TERMINAL_RESUBMIT, Decision.RESUBMIT}
            assert decision not in started, (record, request, look)


def test_no_outcome_is_taken_but_of_a_run_of_ours() -> None:
    for decision, record, request, look, *_ in every_decision():
        if decision is Decision.ALREADY_SUCCEEDED:
            assert isinstance(look, ChildRun)
            assert record.is_author_of(look, attempt(2)), (record, request, look)
            assert request.mode is Mode.FIRE_AND_FORGET or look.state == "success", (record, request, look)


def test_after_a_clear_only_what_carries_the_present_request_counts() -> None:
    for decision, record, request, look, clear, is_newer in every_decision():
        if clear is None or request.on_clear is OnClear.ADOPT:
            continue
        if decision in {Decision.RECONNECT, Decision.ALREADY_SUCCEEDED}:
            assert isinstance(look, ChildRun)
            assert look.is_same_request, (record, request, look, clear)
        if decision is Decision.ALREADY_SUCCEEDED:
            assert (clear.is_anew, is_newer) == (False, False), (record, request, look, clear)


def test_a_reset_was_asked_for() -> None:
    for decision, record, request, look, *_ in every_decision():
        if decision is Decision.RESET:
            assert request.is_reset, (record, request, look)
            assert record.is_same_identity(request), (record, request, look)


def test_a_fixed_identity_that_has_a_run_of_ours_gets_no_fresh_one() -> None:
    for decision, record, request, look, *_ in every_decision():
        if isinstance(look, ChildRun) and record.is_fixed and record.is_same_identity(request):
            assert decision not in {Decision.FRESH_SUBMIT, Decision.TERMINAL_RESUBMIT}, (record, request, look)


def test_an_automatic_retry_does_the_same_whatever_changed_in_the_conf() -> None:
    """But for one that resumes: a failed run keeps its conf, so another conf gets a fresh one."""
    for record, request, look, clear in every_case():
        if request.on_child_failure is OnChildFailure.RESUME and not record.is_fixed:
            continue
        if record.reset and not request.is_reset:
            # What was to start over is no longer to: as after a clear that asks for the work anew.
            continue
        if clear is None and isinstance(look, ChildRun) and record.is_author_of(look, attempt(2)):
            edited = [replace(look, is_same_request=is_same) for is_same in (None, False, True)]
            assert len({decide(record, request, attempt(2), run) for run in edited}) == 1, (record, request, look)


def test_what_ran_upstream_is_asked_just_where_the_decision_hangs_on_it() -> None:
    for record, request, look, clear in every_case():
        found = {
            decide(record, request, attempt(2), look, clear, is_upstream_newer=is_newer)
            for is_newer in (None, False, True)
        }
        if len(found) > 1:
            assert is_upstream_asked(record, request, look, clear), (record, request, look, clear)
    assert not is_upstream_asked(GENERATED, ASKED, MISSING, UNMARKED)
    assert not is_upstream_asked(GENERATED, ASKED, seen("running"), UNMARKED)
    assert not is_upstream_asked(GENERATED, ASKED, seen("success"), MARKED)
    assert not is_upstream_asked(GENERATED, ASKED, seen("success"), None)
    assert not is_upstream_asked(GENERATED, ASKED, seen("success", is_same=False), UNMARKED)
    assert not is_upstream_asked(GENERATED, ASKED, seen("success", is_same=None), UNMARKED)
    assert not is_upstream_asked(GENERATED, on_clear(ASKED, OnClear.ADOPT), seen("success"), UNMARKED)
    resuming = replace(ASKED, on_child_failure=OnChildFailure.RESUME)
    assert not is_upstream_asked(GENERATED, resuming, seen("running"), UNMARKED)
    assert is_upstream_asked(GENERATED, resuming, seen("failed"), UNMARKED)
    assert not is_upstream_asked(GENERATED, ASKED, seen("failed"), UNMARKED)
    assert is_upstream_asked(GENERATED, FORGET, seen("failed"), UNMARKED)
    assert is_upstream_asked(GENERATED, ASKED, seen("success"), UNMARKED)


def test_after_a_clear_nothing_is_started_beside_a_run_that_is_active_in_an_allowed_state() -> None:
    early = replace(ASKED, allowed_states=frozenset({"running", "success"}))
    for clear, is_same in ((MARKED, True), (UNMARKED, False), (UNMARKED, None)):
        active = seen("running", is_same=is_same)
        assert decide(GENERATED, early, attempt(2), active, clear) is Decision.WAIT_OUT
        assert decide(GENERATED, on_clear(early, OnClear.FRESH), attempt(2), active, clear) is Decision.FRESH_SUBMIT
    assert decide(GENERATED, early, attempt(2), seen("running")) is Decision.ALREADY_SUCCEEDED
