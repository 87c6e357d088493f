"""Run ids: which of them Airflow would mangle, and that a generated one is its parent's alone, for ever."""

from __future__ import annotations

import itertools
import re
import time
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest

from airflow_durable.core.errors import RunIdInvalidError
from airflow_durable.core.model import Parent
from airflow_durable.core.run_ids import (
    MAX_LENGTH,
    check_run_id,
    child_run_id,
    date_in,
    epoch_in,
    is_generated,
    legacy_run_id,
    tag_of_life,
    tag_of_parent,
)

AIRFLOWS_PATTERN = r"^[A-Za-z0-9_.~:+-]+$"
SITES_PATTERN = r"^(manual|scheduled|asset_triggered|backfill)__\d{4}-\d{2}-\d{2}T.*"
RUN_AFTER = datetime(2026, 11, 26, 3, tzinfo=timezone.utc)
STARTED = datetime(2026, 11, 26, 3, 0, 5, 250000, tzinfo=timezone.utc)
PLAIN = Parent("parent", "scheduled__2026-11-26T03:00:00+00:00", "trigger", -1, RUN_AFTER, started_at=STARTED)
PARENTS = {
    "plain": PLAIN,
    "mapped": replace(PLAIN, map_index=3),
    "loop": replace(PLAIN, loop_index=2, region="r1"),
    "not ASCII": replace(PLAIN, task_id="größe"),
}


def repr_short(value: str) -> str:
    # Without backslashes: pytest would double them, and the tools that run a test by its name would not find it.
    return ascii(value)[:20].strip("'\"").replace("\\", "^")


@pytest.mark.parametrize(
    "run_id",
    ["a", "manual__2026-01-01T00:00:00+00:00", "a.b", "...", "x" * MAX_LENGTH, "~:+-_", "grün", "a b", "50%", "a\\b"],
    ids=repr_short,
)
def test_usable_run_ids(run_id: str) -> None:
    check_run_id("child", run_id)


@pytest.mark.parametrize(
    ("run_id", "reason"),
    [
        ("a#b", "'#', which Airflow's client does not quote in the request's path"),
        ("a?b", "'?'"),
        ("a/b", "'/'"),
        ("a%41b", "'%41'"),
        ("a%zz%c3%bc", "'%c3'"),
        ("a\n", r"'\n'"),
        ("a\x00b", r"'\x00'"),
        ("a\x7f", r"'\x7f'"),
        (".", "it is a relative path in the request's address"),
        ("..", "it is a relative path in the request's address"),
        ("x" * (MAX_LENGTH + 1), "it has more than 248 bytes, with which the run's log folder cannot be made."),
        ("ü" * 125, "more than 248 bytes"),
        ("\ud800" * 83, "more than 248 bytes"),
    ],
    ids=repr_short,
)
def test_run_ids_that_airflow_would_mangle(run_id: str, reason: str) -> None:
    with pytest.raises(RunIdInvalidError) as caught:
        check_run_id("child", run_id)
    assert f"trigger_run_id {run_id!r} for Dag 'child' cannot be used: it " in str(caught.value)
    assert reason in str(caught.value)
    assert str(caught.value).endswith(". Nothing was triggered.")


def test_the_allowed_pattern_matches_from_the_start() -> None:
    check_run_id("child", "abc-1", allowed_pattern=AIRFLOWS_PATTERN)
    check_run_id("child", "abc-1", allowed_pattern="abc")
    for pattern in ("bc", "^x"):
        reason = f"it does not match [scheduler] allowed_run_id_pattern ({pattern})"
        with pytest.raises(RunIdInvalidError, match=re.escape(reason)):
            check_run_id("child", "abc-1", allowed_pattern=pattern)


# Stable for ever: a later release has to find the children of this one. Never change these values.


@pytest.mark.parametrize(
    ("parent", "epoch", "call", "generation", "expected"),
    [
        ("plain", 0, 1, 0, "jrhsghfop22y"),
        ("plain", 0, 1, 2, "k4uh6uftcnbx_r2"),
        ("plain", 3, 1, 0, "2m3kiq4tjkk2_e3"),
        ("plain", 0, 2, 0, "jlkbnvgsqtgs_c2"),
        ("plain", 4, 12, 1, "6y2ux2ajfthv_e4_c12_r1"),
        ("mapped", 0, 1, 0, "qt6rmnmaul3e"),
        ("loop", 0, 1, 0, "rgst56ckowqg"),
        ("loop", 4, 12, 1, "2ao22fvevyjn_e4_c12_r1"),
        ("not ASCII", 0, 1, 0, "6cwpf66koa7h"),
    ],
)
def test_a_run_id_never_changes(parent: str, epoch: int, call: int, generation: int, expected: str) -> None:
    run_id = child_run_id(PARENTS[parent], epoch=epoch, call=call, generation=generation)
    assert run_id == f"manual__2026-11-26T03:00:00+00:00_{expected}"


@pytest.mark.parametrize(
    ("parent", "of_life", "of_parent"),
    [
        ("plain", (358886, 882605), (880092, 957990)),
        ("mapped", (747235, 546386), (249847, 666851)),
        ("loop", (495056, 94173), (740536, 288460)),
        ("not ASCII", (760555, 677716), (794238, 769602)),
    ],
)
def test_a_tag_never_changes(parent: str, of_life: tuple[int, int], of_parent: tuple[int, int]) -> None:
    assert (tag_of_life(PARENTS[parent], 1), tag_of_life(PARENTS[parent], 2)) == of_life
    assert (tag_of_parent(PARENTS[parent], 1), tag_of_parent(PARENTS[parent], 2)) == of_parent


def test_the_tag_of_a_parent_whose_start_is_not_known_never_changes() -> None:
    unknown = replace(PARENTS["plain"], started_at=None)
    assert (tag_of_life(unknown, 1), tag_of_life(unknown, 2)) == (853352, 277864)


def test_a_run_id_is_the_same_whatever_the_time_zone_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    parent = PARENTS["plain"]
    expected = child_run_id(parent, epoch=0, call=1, generation=0), tag_of_life(parent, 1)
    try:
        monkeypatch.setenv("TZ", "America/New_York")
        time.tzset()
        assert (child_run_id(parent, epoch=0, call=1, generation=0), tag_of_life(parent, 1)) == expected
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    ("parent", "max_tries", "generation", "expected"),
    [
        (
            Parent(
                "parent",
                "scheduled__2026-01-01",
                "trigger",
                -1,
                RUN_AFTER,
                started_at=datetime(2026, 1, 1, 2, 3, 4, 5, timezone.utc),
            ),
            3,
            2,
            "manual__durable_ae7cbfc374b9eb340c95d92a_2",
        ),
        (
            Parent(
                "parent",
                "scheduled__2026-01-01",
                "trigger",
                -1,
                RUN_AFTER,
                started_at=datetime(2026, 1, 1, 2, 3, 4, 5, timezone.utc),
            ),
            7,
            0,
            "manual__durable_13ddbbb59a7adb0a7f68a308_0",
        ),
        (Parent("dag", "run", "task", 3, RUN_AFTER), 3, 0, "manual__durable_a5ece53c4f5e9b673e48eebc_0"),
        (
            Parent("größe", "run", "t", 0, RUN_AFTER, started_at=datetime(2026, 1, 1, tzinfo=timezone.utc)),
            3,
            0,
            "manual__durable_0bc815e5f76786164be4bc8e_0",
        ),
    ],
)
def test_a_run_id_of_release_0_1_0_is_found(parent: Parent, max_tries: int, generation: int, expected: str) -> None:
    """The expected ones were made by that release's ``derive_run_id``."""
    assert legacy_run_id(parent, max_tries, generation) == expected


# Readable, and this parent's alone.


def test_a_run_id_starts_like_stocks_and_says_which_child_it_is() -> None:
    run_id = child_run_id(PLAIN, epoch=3, call=2, generation=1)
    assert re.fullmatch(r"manual__2026-11-26T03:00:00\+00:00_[a-z2-7]{12}_e3_c2_r1", run_id)


def test_what_was_not_moved_is_not_said() -> None:
    assert child_run_id(PLAIN, epoch=0, call=1, generation=0).count("_") == 3


@pytest.mark.parametrize("parent", PARENTS.values(), ids=PARENTS)
def test_a_run_id_passes_every_check(parent: Parent) -> None:
    for epoch, call, generation in itertools.product((0, 9999), (1, 9999), (0, 9999)):
        run_id = child_run_id(parent, epoch=epoch, call=call, generation=generation)
        check_run_id("child", run_id, allowed_pattern=AIRFLOWS_PATTERN)
        check_run_id("child", run_id, allowed_pattern=SITES_PATTERN)


def test_a_run_id_is_short_whatever_the_parent_is_called() -> None:
    long = Parent("d" * 250, "r" * 250, "t" * 250, 999_999, RUN_AFTER.replace(microsecond=1), 10**9, "x" * 250)
    run_id = child_run_id(long, epoch=10**9, call=10**9, generation=10**9)
    assert len(run_id.encode()) < 100
    check_run_id("child", run_id, allowed_pattern=AIRFLOWS_PATTERN)


def test_run_ids_differ_in_everything_that_tells_children_apart() -> None:
    parents = [
        PLAIN,
        replace(PLAIN, dag_id="other"),
        replace(PLAIN, run_id="other"),
        replace(PLAIN, task_id="other"),
        replace(PLAIN, map_index=0),
        replace(PLAIN, map_index=1),
        replace(PLAIN, map_index=-1, loop_index=0),
        replace(PLAIN, map_index=-1, loop_index=1),
        replace(PLAIN, map_index=1, loop_index=0),
        replace(PLAIN, dag_id="parent2", task_id="rigger"),
    ]
    places = list(itertools.product(range(6), range(1, 6), range(6)))
    found = {
        child_run_id(parent, epoch=epoch, call=call, generation=generation)
        for parent in parents
        for epoch, call, generation in places
    }
    assert len(found) == len(parents) * len(places)


def test_run_ids_of_one_moment_differ_early() -> None:
    """Lists show the first part of a run id only: right after the date."""
    after_date = len("manual__2026-11-26T03:00:00+00:00_")
    found = {
        child_run_id(replace(PLAIN, map_index=index), epoch=0, call=1, generation=0)[after_date : after_date + 6]
        for index in range(1000)
    }
    assert len(found) >= 999


def test_a_run_id_stays_over_clears_and_zones() -> None:
    """The start of the parent's Dag run moves with a clear; a moment may be written in another zone."""
    moved = replace(PLAIN, started_at=STARTED + timedelta(days=1), region="another")
    elsewhere = replace(PLAIN, run_after=RUN_AFTER.astimezone(timezone(timedelta(hours=5, minutes=30))))
    expected = child_run_id(PLAIN, epoch=0, call=1, generation=0)
    assert child_run_id(moved, epoch=0, call=1, generation=0) == expected
    assert child_run_id(elsewhere, epoch=0, call=1, generation=0) == expected


def test_the_tag_of_a_life_differs_between_lives_and_calls() -> None:
    lives = [
        PLAIN,
        replace(PLAIN, started_at=STARTED + timedelta(microseconds=1)),
        replace(PLAIN, started_at=None),
        replace(PLAIN, region="r1"),
        replace(PLAIN, loop_index=0),
        replace(PLAIN, map_index=0),
    ]
    tags = {tag_of_life(life, call) for life in lives for call in (1, 2, 3)}
    assert len(tags) == len(lives) * 3
    assert all(0 <= tag < 1_000_000 for tag in tags)


def test_the_tag_of_a_life_is_that_of_its_moment() -> None:
    elsewhere = replace(PLAIN, started_at=STARTED.astimezone(timezone(timedelta(hours=-3))))
    assert tag_of_life(elsewhere, 1) == tag_of_life(PLAIN, 1)


def test_the_tag_of_a_parent_stays_over_lives_and_differs_between_parents() -> None:
    later = replace(PLAIN, started_at=None, region="r1", run_after=STARTED)
    assert tag_of_parent(later, 1) == tag_of_parent(PLAIN, 1)
    tags = {tag_of_parent(replace(PLAIN, map_index=index), call) for index in range(-1, 5) for call in (1, 2)}
    assert len(tags) == 12


# What a run id says by itself.


@pytest.mark.parametrize("parent", PARENTS.values(), ids=PARENTS)
def test_a_generated_run_id_is_known_by_its_form_and_holds_the_date(parent: Parent) -> None:
    for epoch, call, generation in itertools.product((0, 3), (1, 12), (0, 2)):
        run_id = child_run_id(parent, epoch=epoch, call=call, generation=generation)
        assert is_generated(run_id)
        assert date_in(run_id) == RUN_AFTER


def test_a_run_id_of_release_0_1_0_is_known_by_its_form_and_holds_no_date() -> None:
    for run_id in (legacy_run_id(PLAIN, 3, 0), f"manual__durable_{'0f' * 16}_12"):
        assert is_generated(run_id)
        assert date_in(run_id) is None


@pytest.mark.parametrize(
    "run_id",
    [
        "manual__2026-11-26T03:00:00+00:00",
        "manual__2026-11-26T03:00:00+00:00_AbCdEfGh",
        "manual__2026-11-26T03:00:00+00:00_jrhsghfop22y_x2",
        "manual__2026-11-26T03:00:00+00:00_jrhsghfop22y_r0",
        "scheduled__2026-11-26T03:00:00+00:00_jrhsghfop22y",
        "manual__durable_0f_0",
        "fixed",
        "",
    ],
)
def test_another_run_id_is_not_taken_for_a_generated_one(run_id: str) -> None:
    assert not is_generated(run_id)
    assert date_in(run_id) is None


def test_a_run_id_of_that_form_without_a_date_holds_none() -> None:
    assert is_generated("manual__2026-99-99T00:00:00+00:00_jrhsghfop22y")
    assert date_in("manual__2026-99-99T00:00:00+00:00_jrhsghfop22y") is None


@pytest.mark.parametrize("parent", PARENTS)
def test_a_run_id_shows_its_epoch(parent: str) -> None:
    for epoch, call, generation in itertools.product((0, 3, 12), (1, 2), (0, 7)):
        assert epoch_in(child_run_id(PARENTS[parent], epoch=epoch, call=call, generation=generation)) == epoch


@pytest.mark.parametrize(
    "run_id",
    [
        "manual__e3",
        "manual__2026-11-26T03:00:00+00:00_jrhsghfop22y_e3_",
        "manual__2026-11-26T03:00:00+00:00_jrhsghfop22y_n3",
        "manual__2026-11-26T03:00:00+00:00_h4t6mc2v5xka_iabcdefghijk_e3",
        legacy_run_id(PLAIN, 3, 0),
    ],
)
def test_a_run_id_of_another_form_shows_none(run_id: str) -> None:
    assert epoch_in(run_id) is None
