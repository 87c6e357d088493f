"""Many children of one task: every schedule up to a bound, random ones beyond it, and wrong protocols."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_durable.core import (
    decide,
    many,
    many_begin,
    many_ends,
    many_errors,
    many_resume,
    many_state,
    many_stock,
    many_timeouts,
    reconcile,
)
from airflow_durable.core.board import Status
from airflow_durable.core.items import Items
from airflow_durable.core.ledger import ItemRecord
from airflow_durable.core.model import Decision, Mode, OnChildFailure, OnClear
from airflow_durable.core.run_ids import tag_of_life
from airflow_durable.core.verdicts import Act, Reason, Verdict
from tests.schedules.many_world import Chooser, PropertyBrokenError, Scenario, explore, play

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_durable.core.observed import ChildNow

RESUME = OnChildFailure.RESUME
A, B, C = ("a", "1"), ("b", "1"), ("c", "1")

SCENARIOS = {
    "a crash": Scenario(faults=1),
    "a crash, one item": Scenario(items=(A,), faults=1, failures=1),
    "a window": Scenario(window=1, faults=1, failures=1),
    "deferred": Scenario(window=1, faults=1, failures=1, child_tries=2, is_deferring=True),
    "three items, one may fail": Scenario(items=(A, B, C), window=2, failures=1, tolerated=1, faults=1),
    "several runs for an item in one try": Scenario(child_tries=2, faults=1, failures=2, window=1),
    "a deleted run": Scenario(deletions=1, faults=1, child_tries=2),
    "fire and forget": Scenario(items=(A, B, C), mode=Mode.FIRE_AND_FORGET, faults=1),
    "cleared": Scenario(failures=1, clears=2, retries=0),
    "cleared while the Dag run goes on": Scenario(failures=1, clears=2, retries=0, is_run_over=False),
    "cleared, a second run for an item, only what failed": Scenario(
        failures=2, clears=1, retries=1, on_clear=OnClear.ADOPT
    ),
    "cleared, then a crash, one item": Scenario(items=(A,), faults=1, failures=1, clears=1, retries=1),
    "cleared, only what failed": Scenario(faults=1, failures=1, clears=1, retries=0, on_clear=OnClear.ADOPT),
    "cleared, all": Scenario(failures=1, clears=1, retries=1, on_clear=OnClear.FRESH),
    "cleared, a crash": Scenario(items=(A, B), faults=1, clears=1, retries=0),
    "cleared, another conf": Scenario(failures=1, clears=1, retries=0, edited=(("a", "2"), B)),
    "cleared, another conf, a crash": Scenario(
        items=(A,), failures=1, faults=1, clears=1, retries=1, edited=(("a", "2"),), is_edited_at_clear=True
    ),
    "cleared with what is upstream, a crash": Scenario(
        window=1, faults=1, failures=2, clears=1, retries=1, is_upstream_cleared=True
    ),
    "cleared with what is upstream, the ledger is lost": Scenario(
        items=(A,), faults=1, failures=1, clears=1, retries=1, is_upstream_cleared=True, is_losing=True
    ),
    "cleared, another conf, and its run is deleted": Scenario(
        failures=2, deletions=1, clears=1, retries=1, edited=(A, ("b", "2")), is_edited_at_clear=True
    ),
    "cleared, another conf, and its run is deleted, deferred, the ledger is lost": Scenario(
        failures=2,
        deletions=1,
        clears=1,
        retries=1,
        edited=(A, ("b", "2")),
        is_edited_at_clear=True,
        is_deferring=True,
        is_losing=True,
    ),
    "cleared with what is upstream, and a new run is deleted": Scenario(
        failures=2, deletions=1, clears=1, retries=1, is_upstream_cleared=True
    ),
    "no keys, a list that moves, only what failed": Scenario(
        items=(A,), edited=(B,), faults=1, is_keyed=False, on_clear=OnClear.ADOPT
    ),
    "an item more": Scenario(items=(A,), edited=(A, B), faults=1, failures=1),
    "an item less": Scenario(edited=(B,), faults=1, failures=1),
    "items in another order": Scenario(edited=(B, A), faults=1),
    "no keys": Scenario(faults=1, failures=1, is_keyed=False),
    "no keys, a list that moves": Scenario(edited=(B, C), failures=1, is_keyed=False),
    "no keys, a list that moves, a crash": Scenario(items=(A,), edited=(B,), faults=1, is_keyed=False),
    "no keys, an item more": Scenario(items=(B,), edited=(A, B), faults=1, failures=1, is_keyed=False),
    "the ledger is lost": Scenario(items=(A,), faults=1, failures=1, clears=1, retries=1, is_losing=True),
    "no store": Scenario(items=(A,), faults=1, failures=1, has_store=False),
    "no store, cleared": Scenario(items=(A,), faults=1, failures=1, clears=1, retries=1, has_store=False),
    "resumed": Scenario(faults=1, failures=1, on_child_failure=RESUME),
    "resumed, one item, failing again": Scenario(
        items=(A,), faults=1, failures=2, child_tries=2, on_child_failure=RESUME
    ),
    "resumed, a window": Scenario(window=1, failures=2, child_tries=2, on_child_failure=RESUME, is_deferring=True),
    "resumed, a window, a crash": Scenario(window=1, faults=1, failures=1, child_tries=2, on_child_failure=RESUME),
    "resumed, a deleted run": Scenario(
        items=(A,), deletions=1, failures=1, faults=1, child_tries=2, on_child_failure=RESUME
    ),
    "resumed, another conf": Scenario(
        items=(A,), failures=2, faults=1, edited=(("a", "2"),), on_child_failure=RESUME, retries=3
    ),
    "resumed, cleared": Scenario(failures=1, clears=1, retries=0, on_child_failure=RESUME),
    "resumed, cleared with what is upstream": Scenario(
        items=(A,), failures=1, clears=1, faults=1, retries=0, on_child_failure=RESUME, is_upstream_cleared=True
    ),
    "resumed, cleared, only what failed": Scenario(
        items=(A,), failures=2, clears=1, faults=1, retries=1, on_child_failure=RESUME, on_clear=OnClear.ADOPT
    ),
    "resumed, the ledger is lost": Scenario(
        items=(A,), failures=1, clears=1, faults=1, retries=1, on_child_failure=RESUME, is_losing=True
    ),
    "resumed, no keys": Scenario(faults=1, failures=1, is_keyed=False, on_child_failure=RESUME),
    "resumed, without a reconciler": Scenario(failures=1, on_child_failure=RESUME, is_reconciled=False),
    "failed is failed": Scenario(faults=1, failures=1, tolerated=1, on_child_failure=OnChildFailure.FAIL),
    "failed is failed, cleared": Scenario(
        items=(A,), faults=1, failures=1, clears=1, retries=1, on_child_failure=OnChildFailure.FAIL
    ),
    "not begun in time": Scenario(delays=1, faults=1, tolerated=1),
    "not begun in time, a window": Scenario(delays=1, window=1, tolerated=1, failures=1, is_deferring=True),
    "not begun in time, cleared": Scenario(items=(A,), delays=2, clears=1, retries=1),
    "not begun in time, cleared, only what failed": Scenario(
        delays=1, tolerated=1, clears=1, retries=0, on_clear=OnClear.ADOPT
    ),
    "not begun in time, resumed": Scenario(
        items=(A,), delays=1, failures=1, faults=1, child_tries=2, on_child_failure=RESUME
    ),
    "deferred, an item more meanwhile": Scenario(
        items=(A,), edited=(A, B), faults=1, failures=1, is_deferring=True, is_edited_while_deferred=True
    ),
    "deferred, another order meanwhile": Scenario(
        edited=(B, A), window=1, tolerated=1, failures=2, faults=1, is_deferring=True, is_edited_while_deferred=True
    ),
    "deferred, another Dag meanwhile": Scenario(
        items=(A,),
        faults=1,
        failures=1,
        child_tries=2,
        is_deferring=True,
        is_edited_while_deferred=True,
        is_dag_edited=True,
    ),
    "no details, deferred, an item more meanwhile": Scenario(
        edited=(A, B, C),
        window=1,
        failures=1,
        is_deferring=True,
        is_edited_while_deferred=True,
        has_store=False,
        has_details=False,
    ),
    "no details": Scenario(items=(A,), faults=1, failures=1, clears=1, has_store=False, has_details=False),
}

LONG = {
    "two crashes, one item": Scenario(items=(A,), faults=2, failures=1),
    "no keys, a list that moves, a crash and a failure": Scenario(edited=(B, C), faults=1, failures=1, is_keyed=False),
    "two crashes": Scenario(faults=2),
    "cleared, another conf, a crash, two items": Scenario(
        failures=2, faults=1, clears=1, retries=1, edited=(("a", "2"), B), is_edited_at_clear=True
    ),
    "cleared, another conf, two crashes": Scenario(
        items=(A,), failures=1, faults=2, clears=1, retries=1, edited=(("a", "2"),), is_edited_at_clear=True
    ),
    "the ledger is lost, two items": Scenario(faults=1, failures=1, clears=1, retries=1, is_losing=True),
    "no store, cleared, two items": Scenario(faults=1, failures=1, clears=1, retries=1, has_store=False),
    "cleared, all, a crash": Scenario(faults=1, failures=1, clears=1, retries=1, on_clear=OnClear.FRESH),
}
if os.environ.get("MANY_SCHEDULES") == "full":
    SCENARIOS |= LONG


@pytest.mark.parametrize("name", SCENARIOS)
def test_no_schedule_breaks_a_promise(name: str) -> None:
    """No second healthy run for an item, no success without the items' own runs, no more active than the window."""
    assert explore(lambda chooser: play(SCENARIOS[name], chooser)) > 1


@given(choices=st.lists(st.integers(0, 11), max_size=120), data=st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_no_random_schedule_of_more_items_breaks_a_promise(choices: list[int], data: st.DataObject) -> None:
    count = data.draw(st.integers(3, 12))
    items = tuple((f"k{number}", "1") for number in range(count))
    edited = data.draw(st.permutations(items)) if data.draw(st.booleans()) else list(items)
    has_store = data.draw(st.booleans())
    scenario = Scenario(
        items,
        tuple(edited[: data.draw(st.integers(1, count))]),
        window=data.draw(st.none() | st.integers(1, count)),
        tolerated=data.draw(st.integers(0, 2)),
        child_tries=data.draw(st.integers(1, 3)),
        faults=3,
        failures=data.draw(st.integers(0, 4)),
        deletions=data.draw(st.integers(0, 1)),
        clears=data.draw(st.integers(0, 2)),
        retries=data.draw(st.integers(0, 3)),
        on_clear=data.draw(st.sampled_from([OnClear.AUTO, OnClear.ADOPT])),
        has_store=has_store,
        # Without a store nothing can be asked of a reconciler (task/request.py).
        on_child_failure=data.draw(st.sampled_from(OnChildFailure)) if has_store else OnChildFailure.FRESH,
        is_losing=data.draw(st.booleans()),
        is_run_over=data.draw(st.booleans()),
        is_keyed=data.draw(st.booleans()),
        is_deferring=data.draw(st.booleans()),
        delays=data.draw(st.integers(0, 2)),
    )
    play(scenario, Wrapping(choices))


class Wrapping(Chooser):
    """Takes any number for an answer; one that is too large counts from the start again."""

    def choose(self, width: int) -> int:
        """Return one of so many answers."""
        return super().choose(width) % width


def _ignore(*_: Any, **__: Any) -> None:  # noqa: ANN401 - in place of anything
    """Do nothing."""


def _random_run_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    def run_id(*_: Any, **__: Any) -> str:  # noqa: ANN401
        made.append(f"manual__{len(made)}")
        return made[-1]

    monkeypatch.setattr(Items, "run_id", run_id)


def _sent_again_when_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a retry take each item for one that was never sent, under a generation of its own."""

    def begin_anew(whole: many.Many) -> None:
        whole.enter(Decision.FRESH_SUBMIT)
        for index in range(whole.goal.items.count):
            for _ in range(whole.attempt.try_number - 1):
                whole.board.start_anew(index)

    monkeypatch.setattr(many, "begin", begin_anew)


def _beside_active_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(many_begin, "_await_quiet", _ignore)


def _conf_never_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    def sort(whole: many.Many, clear: Any) -> None:  # noqa: ANN401
        for generation in range(whole.ledger.generation, -1, -1):
            found = whole.survey(generation).find(list(whole.board.of(Status.PENDING)), None)
            many_stock._sort_by_counts(whole, generation, found, None)

    monkeypatch.setattr(many_begin, "take_stock", sort)


def _failures_unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(many_state.Many, "check_failures", _ignore)


def _missing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    right = many_ends.note_end

    def note(whole: many.Many, index: int, state: str | None) -> None:
        right(whole, index, "success" if state is None else state)

    monkeypatch.setattr("airflow_durable.core.many.note_end", note)


def _no_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(many, "_next_to_send", lambda whole: whole.board.next_pending())


def _existing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    def take(whole: many.Many, generation: int, indices: Any, clear: Any) -> None:  # noqa: ANN401
        for index in indices:
            whole.board.set(index, Status.DONE)

    monkeypatch.setattr(many_stock, "_sort_by_counts", take)


def _any_failed_run_is_resumed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the reconciler compare no ``clear_number``."""

    def decide_item(asks: Any, child: ChildNow | None) -> Verdict:  # noqa: ANN401
        act = Act.RESUME if child and child.state == "failed" else Act.NOTHING
        return Verdict(act, Reason.ASKED)

    monkeypatch.setattr(reconcile, "_decide_item", decide_item)


def _fresh_beside_a_resumed_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a fresh run be started where the reconciler was asked, and not waited for."""

    def is_taken(whole: many.Many, index: int, *_: Any) -> bool:  # noqa: ANN401
        whole.board.start_anew(index)
        return True

    monkeypatch.setattr(many_resume, "_is_taken", is_taken)


def _resumed_beyond_the_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(many_resume, "_next_batch", lambda whole: whole.board.first(Status.TO_RESUME, 100))


def _never_withdrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what nobody has resumed count as failed, while the ledger still asks for it."""
    monkeypatch.setattr(many_resume, "without_action", lambda asks: asks)
    monkeypatch.setattr(many_resume, "ReconcilerMissingError", lambda *_, **__: many_errors.ItemsInvalidError("-"))
    right = many_resume.resume

    def resume(whole: many.Many) -> None:
        asked = list(whole.board.of(Status.TO_RESUME))
        try:
            right(whole)
        except many_errors.ItemsInvalidError:
            for index in asked:
                whole.board.set(index, Status.FAILED)

    monkeypatch.setattr(many, "resume", resume)


def _given_up_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    right = decide.decide

    def never_give_up(*args: Any, **kwargs: Any) -> Decision:  # noqa: ANN401
        found = right(*args, **kwargs)
        return Decision.TERMINAL_RESUBMIT if found is Decision.GIVE_UP else found

    monkeypatch.setattr(many_state, "decide", never_give_up)


def _overdue_is_started_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    def note(whole: many.Many, indices: Any, *_: Any) -> None:  # noqa: ANN401
        for index in indices:
            whole.board.start_anew(index)

    monkeypatch.setattr(many_timeouts, "note_overdue", note)


def _late_is_overdue(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what was asked for long ago count as overdue, without a look whether it is queued."""

    def note(whole: many.Many, indices: Any, *_: Any) -> None:  # noqa: ANN401
        for index in indices:
            whole.board.set(index, Status.OVERDUE)

    monkeypatch.setattr(many_timeouts, "note_overdue", note)


def _known_by_the_start_of_the_dag_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a run be known by the start that the parent's Dag run has by now."""

    def is_author_of(record: ItemRecord, run: Any, attempt: Any) -> bool:  # noqa: ANN401 - as the right one
        return run.run_after is None or run.run_after.microsecond == tag_of_life(attempt.parent, 1)

    monkeypatch.setattr(ItemRecord, "is_author_of", is_author_of)


def _known_by_a_start_that_was_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a try that has lost the ledger take the present start for that of the first try."""

    def is_author_of(record: ItemRecord, run: Any, attempt: Any) -> bool:  # noqa: ANN401 - as the right one
        tag = record.tag or tag_of_life(attempt.parent, 1)
        return run.run_after is None or run.run_after.microsecond == tag

    monkeypatch.setattr(ItemRecord, "is_author_of", is_author_of)


def _known_in_one_order_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a list in another order be another list."""
    monkeypatch.setattr(Items, "digest", property(lambda items: repr(items.keys)))


def _begun_once_more_as_a_first_try(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what begins once more after a deferral know nothing of its ledger."""
    right = many.begin

    def begin(whole: Any, begun: Any = None) -> None:  # noqa: ANN401 - as the right one
        if begun is not None:
            whole.port.next_entry = 0
        right(whole)

    monkeypatch.setattr(many, "begin", begin)


@pytest.mark.parametrize(
    ("plant", "scenario"),
    [
        (_random_run_ids, Scenario(items=(A,), faults=1)),
        (_sent_again_when_lost, Scenario(items=(A,), faults=1)),
        (_beside_active_ones, Scenario(failures=1, clears=1, retries=0, on_clear=OnClear.FRESH)),
        (_conf_never_compared, Scenario(failures=1, clears=1, retries=0, edited=(("a", "2"), B))),
        (_failures_unseen, Scenario(failures=1)),
        (_missing_is_done, Scenario(deletions=1)),
        (_no_window, Scenario(window=1)),
        (_existing_is_done, Scenario(items=(A,), faults=1)),
        (_any_failed_run_is_resumed, Scenario(items=(A,), faults=1, failures=2, on_child_failure=RESUME)),
        (_fresh_beside_a_resumed_one, Scenario(items=(A,), failures=1, on_child_failure=RESUME)),
        (_resumed_beyond_the_window, Scenario(window=1, failures=2, tolerated=1, on_child_failure=RESUME)),
        (_never_withdrawn, Scenario(items=(A, B), tolerated=1, failures=2, faults=2, on_child_failure=RESUME)),
        (_overdue_is_started_anew, Scenario(items=(A,), delays=1)),
        (_late_is_overdue, Scenario(items=(A,), tolerated=1, delays=1)),
        (_known_in_one_order_alone, SCENARIOS["deferred, another order meanwhile"]),
        (_begun_once_more_as_a_first_try, SCENARIOS["deferred, another Dag meanwhile"]),
        (_begun_once_more_as_a_first_try, SCENARIOS["no details, deferred, an item more meanwhile"]),
        (_known_by_the_start_of_the_dag_run, Scenario(failures=1, clears=1, retries=0)),
        (_known_by_the_start_of_the_dag_run, Scenario(failures=2, clears=1, retries=1, on_clear=OnClear.ADOPT)),
        (_known_by_a_start_that_was_lost, Scenario(failures=1, clears=1, retries=0, is_losing=True)),
        (
            _given_up_is_started,
            Scenario(faults=1, failures=1, tolerated=1, on_child_failure=OnChildFailure.FAIL),
        ),
    ],
)
def test_a_wrong_protocol_is_caught(
    monkeypatch: pytest.MonkeyPatch, plant: Callable[[pytest.MonkeyPatch], None], scenario: Scenario
) -> None:
    plant(monkeypatch)
    with pytest.raises(PropertyBrokenError):
        explore(lambda chooser: play(scenario, chooser))
