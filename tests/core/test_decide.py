"""The decision table, row by row."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from airflow_durable.core.decide import decide, plan
from airflow_durable.core.model import ChildRun, Decision, Look, Mode
from airflow_durable.core.record import Baseline, Record

from .fakes import EPOCH, FIXED_DATE, ask, attempt

if TYPE_CHECKING:
    from airflow_durable.core.model import Request

GENERATED = Record(
    dag_id="child",
    run_id="generated-0",
    logical_date=EPOCH,
    is_fixed=False,
    is_date_ours=True,
    digest="sha256:one",
    mode=Mode.WAIT,
    max_tries=3,
    clear_number=0,
)
FIXED = replace(GENERATED, run_id="fixed", is_fixed=True)
RESET = replace(FIXED, reset=Baseline(2, FIXED_DATE))
OURS = ChildRun("running", 0, EPOCH)
THEIRS = ChildRun("running", 0, FIXED_DATE)
ASKED = ask()
ASKED_FIXED = ask(run_id="fixed")


@pytest.mark.parametrize(
    ("record", "request_", "max_tries", "expected"),
    [
        pytest.param(None, ASKED, 3, Decision.FRESH_SUBMIT, id="no record"),
        pytest.param(replace(GENERATED, is_consumed=True), ASKED, 3, Decision.SUCCEED_AGAIN, id="consumed, retry"),
        pytest.param(replace(GENERATED, is_consumed=True), ASKED, 5, Decision.FRESH_SUBMIT, id="consumed, clear"),
        pytest.param(
            replace(GENERATED, is_consumed=True),
            ask(digest="sha256:two"),
            3,
            Decision.SUCCEED_AGAIN,
            id="consumed, retry, another request",
        ),
        pytest.param(GENERATED, ask(digest="sha256:two"), 5, Decision.FRESH_SUBMIT, id="clear, another request"),
        pytest.param(GENERATED, ask(digest="sha256:two"), 3, None, id="retry, another request"),
        pytest.param(GENERATED, ASKED, 5, None, id="clear, same request"),
        pytest.param(GENERATED, ASKED, 3, None, id="retry, same request"),
    ],
)
def test_plan(record: Record | None, request_: Request, max_tries: int, expected: Decision | None) -> None:
    assert plan(record, request_, attempt(2, max_tries=max_tries)) is expected


@pytest.mark.parametrize(
    ("record", "request_", "seen", "expected"),
    [
        pytest.param(GENERATED, ASKED, Look.MISSING, Decision.RESUBMIT, id="missing"),
        pytest.param(GENERATED, ASKED, Look.UNREADABLE, Decision.RESUBMIT, id="unreadable"),
        pytest.param(FIXED, ASKED_FIXED, THEIRS, Decision.FOREIGN, id="not ours"),
        pytest.param(FIXED, ASKED_FIXED, OURS, Decision.RECONNECT, id="fixed, ours by its date"),
        pytest.param(
            replace(FIXED, is_date_ours=False, logical_date=None),
            ASKED_FIXED,
            THEIRS,
            Decision.RECONNECT,
            id="fixed with its date: the record is the proof",
        ),
        pytest.param(RESET, ASKED_FIXED, ChildRun("failed", 2, FIXED_DATE), Decision.RESET, id="reset is pending"),
        pytest.param(
            RESET, ASKED_FIXED, ChildRun("running", 3, FIXED_DATE), Decision.RECONNECT, id="reset has arrived"
        ),
        pytest.param(RESET, ASKED_FIXED, ChildRun("running", 2, EPOCH), Decision.RECONNECT, id="reset made it anew"),
        pytest.param(
            replace(RESET, reset=Baseline(0, EPOCH)),
            ASKED_FIXED,
            ChildRun("running", None, EPOCH),
            Decision.RESET,
            id="a run without a clear number was never cleared",
        ),
        *(
            pytest.param(
                GENERATED,
                ask(mode=Mode.FIRE_AND_FORGET),
                ChildRun(state),
                Decision.ALREADY_SUCCEEDED,
                id=f"fire-and-forget, {state}",
            )
            for state in ("queued", "running", "success", "failed")
        ),
        pytest.param(GENERATED, ASKED, ChildRun("failed"), Decision.TERMINAL_RESUBMIT, id="failed"),
        pytest.param(FIXED, ASKED_FIXED, replace(OURS, state="failed"), Decision.REFUSE, id="fixed, failed"),
        pytest.param(
            FIXED,
            ask(run_id="fixed", is_reset=True),
            replace(OURS, state="failed"),
            Decision.RESET,
            id="fixed, failed, reset_dag_run",
        ),
        pytest.param(
            FIXED,
            ask(run_id="another"),
            replace(OURS, state="failed"),
            Decision.TERMINAL_RESUBMIT,
            id="fixed, failed, and another id is asked for now",
        ),
        pytest.param(
            FIXED,
            ask(run_id="fixed", dag_id="another"),
            replace(OURS, state="failed"),
            Decision.TERMINAL_RESUBMIT,
            id="fixed, failed, and another Dag is asked for now",
        ),
        pytest.param(GENERATED, ASKED, ChildRun("success"), Decision.ALREADY_SUCCEEDED, id="allowed"),
        pytest.param(GENERATED, ASKED, ChildRun("queued"), Decision.RECONNECT, id="queued"),
        pytest.param(GENERATED, ASKED, ChildRun("running"), Decision.RECONNECT, id="running"),
        pytest.param(
            GENERATED,
            ask(allowed_states=frozenset({"success", "failed"})),
            ChildRun("failed"),
            Decision.TERMINAL_RESUBMIT,
            id="in both lists: failed wins",
        ),
        pytest.param(
            GENERATED, ask(failed_states=frozenset()), ChildRun("failed"), Decision.RECONNECT, id="no failed states"
        ),
        pytest.param(
            GENERATED,
            ask(allowed_states=frozenset({"failed"}), failed_states=frozenset({"success"})),
            ChildRun("failed"),
            Decision.ALREADY_SUCCEEDED,
            id="states the other way round",
        ),
    ],
)
def test_decide(record: Record, request_: Request, seen: ChildRun | Look, expected: Decision) -> None:
    assert decide(record, request_, seen) is expected
