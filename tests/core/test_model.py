"""The words of the protocol: states, and by what a run will be known."""

from __future__ import annotations

import pytest

from airflow_durable.core.model import ChildRun, Proof, Request

from .fakes import ask, ask_fixed_date, ask_fixed_id, ask_unprovable


@pytest.mark.parametrize(
    ("allowed", "failed", "state", "is_success", "is_failure"),
    [
        ({"success"}, {"failed"}, "success", True, False),
        ({"success"}, {"failed"}, "failed", False, True),
        ({"success"}, {"failed"}, "running", False, False),
        ({"success"}, {"failed"}, "unheard_of", False, False),
        ({"success", "failed"}, {"failed"}, "failed", False, True),
        ({"success", "failed"}, set(), "failed", True, False),
        ({"success"}, set(), "failed", False, True),
        ({"running"}, set(), "running", True, False),
        ({"running"}, {"running"}, "running", False, True),
        ({"running"}, set(), "success", False, True),
        (set(), {"success"}, "success", False, True),
    ],
)
def test_which_states_are_success_and_failure(
    allowed: set[str],
    failed: set[str],
    state: str,
    is_success: bool,  # noqa: FBT001 - a parameter
    is_failure: bool,  # noqa: FBT001 - a parameter
) -> None:
    """Failed states win over allowed ones, as in the stock operator."""
    request = ask(allowed_states=frozenset(allowed), failed_states=frozenset(failed))
    assert (request.is_success(state), request.is_failure(state)) == (is_success, is_failure)


@pytest.mark.parametrize(
    ("state", "is_active"),
    [("queued", True), ("running", True), ("unheard_of", True), ("success", False), ("failed", False)],
)
def test_which_states_are_active(state: str, is_active: bool) -> None:  # noqa: FBT001 - a parameter
    assert ChildRun(state).is_active is is_active


@pytest.mark.parametrize(
    ("request_", "proof"),
    [
        (ask(), Proof.RUN_ID),
        (ask(is_date_ours=False), Proof.RUN_ID),
        (ask_fixed_id(), Proof.LOGICAL_DATE),
        (ask_fixed_date(), Proof.RUN_AFTER),
        (ask_unprovable(), Proof.REPLY),
    ],
)
def test_by_what_a_run_will_be_known(request_: Request, proof: Proof) -> None:
    assert request_.proof is proof
