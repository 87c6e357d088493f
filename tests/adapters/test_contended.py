"""Several parents with one fixed identity: one wins, the others end as with the stock operator."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import pytest

from .dags import WAIT, each_mode, finish, killed_while_waiting, make_dag
from .supervisor import ServerError
from .versions import HAS_RUN_AFTER, HAS_STORE

if TYPE_CHECKING:
    from .supervisor import Outcome, Supervisor

DATE = datetime(2025, 6, 1, tzinfo=timezone.utc)
LOSERS = range(1, 6)
IDENTITIES: dict[str, dict[str, Any]] = {
    "logical date": {"logical_date": DATE},
    "run id": {"trigger_run_id": "fixed"},
    "run id and date": {"trigger_run_id": "fixed", "logical_date": DATE},
    "no date": {"trigger_run_id": "fixed", "logical_date": None},
}
if HAS_RUN_AFTER:
    IDENTITIES |= {
        "run id and run_after": {"trigger_run_id": "fixed", "run_after": DATE},
        "date and run_after": {"logical_date": DATE, "run_after": DATE},
    }

each_identity = pytest.mark.parametrize("identity", IDENTITIES.values(), ids=IDENTITIES)


def parent(number: int) -> dict[str, Any]:
    return {"run_id": f"parent-run-{number}"}


def lose(winner: Supervisor, number: int, **kwargs: Any) -> Outcome:  # noqa: ANN401 - the operator's own
    """
    Run a parent that contends with the winner.

    All see the identity free; the winner's request arrives just before this one's.
    """
    loser = winner.beside()
    won = dict(winner.runs)
    winner.runs.clear()
    loser.before["TriggerDagRun"] = lambda: winner.runs.update(won)
    outcome = finish(loser, make_dag(conf={"n": number}, **kwargs), parent=parent(number))
    winner.runs.update(won)
    return outcome


@each_mode
@each_identity
@pytest.mark.parametrize("is_skip", [False, True], ids=["fail", "skip"])
def test_nobody_succeeds_on_the_run_of_another(
    supervisor: Supervisor,
    mode: dict[str, Any],
    identity: dict[str, Any],
    is_skip: bool,  # noqa: FBT001 - a parameter
) -> None:
    kwargs = {**identity, **mode, "skip_when_already_exists": is_skip}
    dag = make_dag(conf={"n": 0}, **kwargs)
    if HAS_STORE:
        killed_while_waiting(supervisor, dag, parent=parent(0))
    else:
        finish(supervisor, dag, parent=parent(0))
    outcomes = [lose(supervisor, number, **kwargs) for number in LOSERS]
    assert {outcome.state for outcome in outcomes} <= {"skipped" if is_skip else "failed", "up_for_retry"}
    if HAS_STORE:
        assert {outcome.state for outcome in outcomes} == {"skipped" if is_skip else "failed"}
        assert finish(supervisor, dag, parent=parent(0), try_number=2).state == "success"
    assert not any(outcome.said("an earlier request of this try arrived") for outcome in outcomes)
    assert (supervisor.only_run().conf, supervisor.only_run().clear_number) == ({"n": 0}, 0)


@each_identity
def test_the_winner_is_the_one_whose_reply_was_lost(supervisor: Supervisor, identity: dict[str, Any]) -> None:
    """Its repeated request gets a 409 as the losers' do. What is ours of the run tells that it won."""
    if not HAS_STORE:
        pytest.skip("without a store a fixed identity is the stock operator's")
    supervisor.fail("TriggerDagRun", ServerError(None), is_after=True)
    outcome = finish(supervisor, make_dag(conf={"n": 0}, **identity, **WAIT), parent=parent(0))
    # A user's run_after leaves nothing of ours: then it is not known who created the run.
    is_known = "run_after" not in identity
    assert (outcome.state == "success") is is_known
    assert supervisor.only_run().conf == {"n": 0}
