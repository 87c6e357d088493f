"""The ledger of a task with many children: its stored form, and whose a run is."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from airflow_durable.core.errors import RecordDamagedError
from airflow_durable.core.items import Items
from airflow_durable.core.ledger import MAX_COUNT, Ledger, dump, key_of, load, position_of
from airflow_durable.core.model import Attempt, ChildRun, Mode, Proof, Request
from airflow_durable.core.observed import ChildNow
from airflow_durable.core.proof import prove
from airflow_durable.core.run_ids import child_run_id, tag_of_life
from airflow_durable.core.verdicts import Reason
from tests.schedules.many_world import EPOCH, PARENT

ATTEMPT = Attempt(PARENT, "ti-1", 1, 3, 3, 0)
REQUEST = Request("child", None, None, False, True, Mode.WAIT, frozenset({"success"}), frozenset({"failed"}))
KEYS = Items.of_keys(["north", "south", "a b/ü"])
LEDGER = Ledger("child", "first", Proof.RUN_ID, Mode.WAIT, 3, 0, count=3, digest="d", is_clean=True)


def test_the_ledger_survives_its_stored_form() -> None:
    for ledger in (LEDGER, replace(LEDGER, tag=7), replace(LEDGER, first=2), replace(LEDGER, outdated_before=EPOCH)):
        assert load(json.loads(json.dumps(dump(ledger)))) == ledger
    assert dump(LEDGER)["items"].keys() == {"count", "digest", "is_clean"}
    assert [key_of(0), key_of(2)] == ["durable_child_runs", "durable_child_runs.2"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"kind": "record"}, "it is no ledger of many children"),
        ({"items": None}, "it is no ledger of many children"),
        ({"items": {}}, "its items have no count, digest or is_clean"),
        ({"items": {"count": "3", "digest": "", "is_clean": True}}, "its items have no count, digest or is_clean"),
        ({"items": {"count": 3, "digest": 3, "is_clean": True}}, "its items have no count, digest or is_clean"),
        ({"items": {"count": 3, "digest": "", "is_clean": 1}}, "its items have no count, digest or is_clean"),
        ({"items": {"count": -1, "digest": "", "is_clean": True}}, "it is for less than no items, or for more than"),
        (
            {"items": {"count": MAX_COUNT + 1, "digest": "", "is_clean": True}},
            "it is for less than no items, or for more than 1000000000",
        ),
        (
            {"items": {"count": 3, "digest": "", "is_clean": True, "outdated_before": "2026-01-01"}},
            "'outdated_before' of its items is not a date with a time zone",
        ),
        (
            {"items": {"count": 3, "digest": "", "is_clean": True, "tag": "7"}},
            "the tag of its runs is no number of microseconds",
        ),
        (
            {"items": {"count": 3, "digest": "", "is_clean": True, "tag": -1}},
            "the tag of its runs is no number of microseconds",
        ),
        (
            {"items": {"count": 3, "digest": "", "is_clean": True, "tag": 1_000_000}},
            "the tag of its runs is no number of microseconds",
        ),
        *(
            (
                {"items": {"count": 3, "digest": "", "is_clean": True, "first": first}},
                "the first generation of its runs is none",
            )
            for first in ("1", -1, MAX_COUNT + 1, None)
        ),
    ],
    ids=repr,
)
def test_what_is_no_ledger(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(RecordDamagedError) as caught:
        load({**dump(LEDGER), **change})
    assert f"key 'durable_child_runs' cannot be understood: {reason}" in str(caught.value)


@pytest.mark.parametrize("count", [0, MAX_COUNT])
@pytest.mark.parametrize("tag", [0, 999_999])
def test_the_least_and_the_most_that_a_ledger_says(count: int, tag: int) -> None:
    ledger = replace(LEDGER, count=count, tag=tag, first=count)
    assert load(dump(ledger)) == ledger


def test_the_record_of_an_item_is_of_the_ledgers_try_and_of_what_is_asked_for_now() -> None:
    ledger = replace(LEDGER, max_tries=7, clear_number=2, epoch=4, tag=9, mode=Mode.WAIT)
    record = ledger.record_of(replace(REQUEST, mode=Mode.DEFER), "id", 5, is_recovered=True)
    assert (record.dag_id, record.run_id, record.mode) == ("child", "id", Mode.DEFER)
    assert (record.max_tries, record.clear_number, record.epoch) == (7, 2, 4)
    assert (record.generation, record.is_recovered, record.tag) == (5, True, 9)


@pytest.mark.parametrize(
    ("tag", "run", "is_ours"),
    [
        (7, ChildRun("running", 0, None, EPOCH.replace(microsecond=7)), True),
        (7, ChildRun("running", 0, None, EPOCH.replace(microsecond=1)), False),
        (None, ChildRun("running", 0, EPOCH, EPOCH, EPOCH), True),
        (None, ChildRun("running", 0, EPOCH, EPOCH, EPOCH.replace(year=2025)), False),
        (7, ChildRun("running"), True),
    ],
)
def test_whose_a_run_is(tag: int | None, run: ChildRun, is_ours: bool) -> None:  # noqa: FBT001 - the cases
    """Where the tag is known, the start of the parent's Dag run says nothing any more: a clear may have moved it."""
    moved = replace(ATTEMPT, parent=replace(PARENT, started_at=EPOCH.replace(microsecond=500)))
    for attempt in (ATTEMPT, moved) if tag is not None else (ATTEMPT,):
        record = replace(LEDGER, tag=tag).record_of(REQUEST, "id", 0, is_recovered=False)
        assert record.is_author_of(run, attempt) is is_ours


@pytest.mark.parametrize(
    ("key", "sequence"),
    [
        ("durable_child_runs", 0),
        ("durable_child_runs.3", 3),
        ("durable_child_runs.x", None),
        pytest.param(f"durable_child_runs.{'9' * 5_000}", None, id="long number"),
        ("durable_child_run", None),
    ],
)
def test_the_keys_of_a_ledger(key: str, sequence: int | None) -> None:
    assert position_of(key) == sequence


def test_the_run_ids_of_a_ledger_prove_their_parent() -> None:
    """The reconciler ends what a ledger's runs are, and has the parent and the run ids alone."""
    ledger = Ledger("child", "x", Proof.RUN_ID, Mode.WAIT, 3, 0, epoch=2)
    run_ids = [KEYS.run_id(PARENT, index, epoch=2, generation=1) for index in range(3)]
    assert all(ledger.is_started_by(PARENT, run_id) for run_id in run_ids)
    others = [replace(PARENT, task_id="other"), replace(PARENT, map_index=1), replace(PARENT, run_id="other")]
    assert not any(ledger.is_started_by(other, run_id) for other in others for run_id in run_ids)
    assert not ledger.is_started_by(PARENT, KEYS.run_id(PARENT, 0, epoch=3, generation=0))
    assert not ledger.is_started_by(PARENT, child_run_id(PARENT, epoch=2, call=1, generation=0))
    assert not replace(ledger, epoch=-1).is_started_by(PARENT, run_ids[0])
    child = ChildNow("child", run_ids[0], "running", 0, None, None, None, None, is_from_task=True)
    assert prove([others[0], PARENT], (), ledger, child, calls=0) is None
    for reason, forged in (
        (Reason.UNPROVEN_NAME, replace(child, run_id="by_hand")),
        (Reason.UNPROVEN_NAME, replace(child, dag_id="other")),
        (Reason.UNPROVEN_ORIGIN, replace(child, is_from_task=False)),
    ):
        assert prove([PARENT], (), ledger, forged, calls=0) is reason
    assert prove(others, (), ledger, child, calls=0) is Reason.UNPROVEN_NAME


def test_a_pass_of_a_loop_is_told_from_that_of_another_region_by_our_date() -> None:
    """Their run ids begin alike (3.4)."""
    own = replace(PARENT, map_index=-1, loop_index=0, region="1", started_at=PARENT.run_after)
    other = replace(own, region="2")
    ledger = Ledger("child", "x", Proof.RUN_ID, Mode.WAIT, 3, 0)
    tagged = PARENT.run_after.replace(microsecond=tag_of_life(other, 1))
    run_id = KEYS.run_id(own, 0, epoch=0, generation=1)
    child = ChildNow("child", run_id, "running", 0, None, None, None, tagged, is_from_task=True)
    assert prove([own], (), ledger, child, calls=0) is Reason.UNPROVEN_NAME
    assert prove([own], (), ledger, replace(child, run_after=None), calls=0) is Reason.UNPROVEN_NAME
    # The start of the parent's Dag run has moved since the ledger was written.
    assert prove([own], (), replace(ledger, tag=tagged.microsecond), child, calls=0) is None
    assert prove([other], (), ledger, child, calls=0) is None
