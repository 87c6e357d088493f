"""What goes wrong follows from the seed alone."""

from __future__ import annotations

from tests.chaos.modes import MODES
from tests.chaos.plan import FaultKind, make_plan
from tests.chaos.population import make_pair


def test_plan_follows_from_seed() -> None:
    assert make_plan(7, 300, pause_seconds=4.0) == make_plan(7, 300, pause_seconds=4.0)
    assert make_plan(7, 300, pause_seconds=4.0) != make_plan(8, 300, pause_seconds=4.0)


def test_short_plan_has_every_kind() -> None:
    assert {fault.kind for fault in make_plan(1, 13, pause_seconds=4.0)} == set(FaultKind)


def test_longer_plan_begins_like_shorter_one() -> None:
    short = [fault.kind for fault in make_plan(1, 13, pause_seconds=4.0)]
    assert [fault.kind for fault in make_plan(1, 300, pause_seconds=4.0)[:13]] == short


def test_a_third_of_the_durable_parents_are_switched() -> None:
    shares = dict.fromkeys((True, False), 0)
    for mode in MODES.values():
        shares[mode.is_switched] += mode.share
    assert 0.3 < shares[True] / sum(shares.values()) < 0.37


def test_pair_follows_from_seed_and_number() -> None:
    pairs = [make_pair(3, number) for number in range(200)]
    assert pairs == [make_pair(3, number) for number in range(200)]
    assert any(pair.fails_once for pair in pairs)
    assert any(pair.has_foreign for pair in pairs)
    assert all(pair.mode.is_reset for pair in pairs if pair.has_foreign)


def test_some_items_of_many_fail_once() -> None:
    pairs = [pair for pair in (make_pair(3, number) for number in range(200)) if pair.mode.is_many]
    assert {pair.mode_name for pair in pairs} == {"many", "many_defer"}
    for pair in pairs:
        assert 0 < sum(pair.is_to_fail(item, 0) for item in range(pair.mode.parts)) < pair.mode.parts
        assert not any(pair.is_to_fail(item, 1) for item in range(pair.mode.parts))
