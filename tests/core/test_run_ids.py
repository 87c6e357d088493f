"""Run ids and digests."""

from __future__ import annotations

import re

import pytest

from airflow_durable.core.errors import RunIdInvalidError
from airflow_durable.core.run_ids import MAX_LENGTH, check_run_id, derive_run_id, digest_request, generate_run_id

AIRFLOWS_PATTERN = r"^[A-Za-z0-9_.~:+-]+$"
PARENT = ("dag", "run", "task", "-1")


@pytest.mark.parametrize(
    "run_id", ["a", "manual__2026-01-01T00:00:00+00:00", "a.b", "...", "x" * MAX_LENGTH, "~:+-_", "grün"]
)
def test_usable_run_ids(run_id: str) -> None:
    check_run_id("child", run_id)


@pytest.mark.parametrize(
    ("run_id", "reason"),
    [
        ("a#b", "'#'"),
        ("a?b", "'?'"),
        ("a/b", "'/'"),
        ("a\\b", r"'\\\\'"),
        ("a%b", "'%'"),
        ("a b", "' '"),
        (" ", "' '"),
        ("a\n", r"'\\n'"),
        ("a\x00b", r"'\\x00'"),
        ("a\x7f", r"'\\x7f'"),
        (".", "relative path"),
        ("..", "relative path"),
        ("x" * (MAX_LENGTH + 1), f"{MAX_LENGTH + 1} bytes"),
        ("ü" * 125, "250 bytes"),
    ],
)
def test_run_ids_that_airflow_would_mangle(run_id: str, reason: str) -> None:
    with pytest.raises(RunIdInvalidError, match=reason) as caught:
        check_run_id("child", run_id)
    assert repr(run_id) in str(caught.value)
    assert "'child'" in str(caught.value)
    assert "Nothing was triggered. Change trigger_run_id" in str(caught.value)


def test_the_allowed_pattern_matches_from_the_start() -> None:
    check_run_id("child", "abc-1", allowed_pattern=AIRFLOWS_PATTERN)
    check_run_id("child", "abc-1", allowed_pattern="abc")
    for pattern in ("bc", "^x"):
        with pytest.raises(RunIdInvalidError, match=re.escape(f"allowed_run_id_pattern ({pattern})")):
            check_run_id("child", "abc-1", allowed_pattern=pattern)


def test_generated_run_ids_follow_from_the_try() -> None:
    one, other = "0193e1b0-f5a8-7c3e-9d2b-4a6c8e0f1234", "0193e1b0-f5a8-7c3e-9d2b-4a6c8e0f1235"
    assert generate_run_id(one, 0) == "manual__durable_0193e1b0f5a87c3e9d2b4a6c8e0f1234_0"
    assert len({generate_run_id(ti_id, n) for ti_id in (one, other) for n in (0, 1)}) == 4
    check_run_id("child", generate_run_id(one, 99), allowed_pattern=AIRFLOWS_PATTERN)


def test_derived_run_ids_are_a_contract() -> None:
    """A run that an earlier release started is found only under the very same id."""
    assert derive_run_id(PARENT, 3, 0) == "manual__durable_e9ce25522b2468e0cd90c577_0"
    assert derive_run_id(PARENT, 3, 12) == "manual__durable_e9ce25522b2468e0cd90c577_12"


def test_derived_run_ids_differ_with_whatever_makes_another_child() -> None:
    parents = [PARENT, ("dag", "run", "task", "0"), ("dag", "run", "tas", "k-1"), ("dagrun", "", "task", "-1")]
    derived = {derive_run_id(parent, tries, n) for parent in parents for tries in (1, 2) for n in (0, 1, 2)}
    assert len(derived) == 4 * 2 * 3
    for run_id in derived:
        check_run_id("child", run_id, allowed_pattern=AIRFLOWS_PATTERN)


def test_a_digest_is_of_the_request_and_of_its_parent() -> None:
    digests = {
        digest_request(PARENT, {"conf": {"a": 1}}),
        digest_request(PARENT, {"conf": {"a": "1"}}),
        digest_request(PARENT, {"conf": None}),
        digest_request(("dag", "run", "task", "0"), {"conf": {"a": 1}}),
    }
    assert len(digests) == 4
    assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", digest) for digest in digests)


def test_a_digest_does_not_depend_on_the_order_of_keys() -> None:
    assert digest_request(PARENT, {"a": 1, "b": {"c": 2, "d": 3}}) == digest_request(
        PARENT, {"b": {"d": 3, "c": 2}, "a": 1}
    )


def test_digests_are_a_contract() -> None:
    """A clear after an upgrade has to find that the request is the recorded one."""
    assert (
        digest_request(PARENT, {"dag_id": "child", "run_id": None, "conf": {"a": 1}})
        == "sha256:dc41db2ab48fb7daf51391783581e597777c2356496ec51c53ee4137baf491e3"
    )
