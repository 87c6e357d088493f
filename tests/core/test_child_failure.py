"""What becomes of a failed child: a fresh one, the same one resumed, or the end."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from airflow_durable.core import protocol
from airflow_durable.core.asks import is_run_of
from airflow_durable.core.errors import (
    ChildRunFailedError,
    ChildRunMissingError,
    FixedRunFailedError,
    LookUpFailedError,
    ReconcilerMissingError,
    SubmissionUnknownError,
)
from airflow_durable.core.model import (
    ChildRun,
    Decision,
    Mode,
    OnChildFailure,
    OnClear,
    OnParentEnd,
    Outcome,
    Phase,
    Proof,
    Request,
)
from airflow_durable.core.record import Record
from airflow_durable.core.resuming import resume
from airflow_durable.core.stored import dump, key_of

from .fakes import (
    AWAY,
    EPOCH,
    FORBIDDEN,
    PARENT,
    RETRIES,
    Crash,
    FakePort,
    Fault,
    Run,
    Server,
    _die,
    ask,
    ask_fixed_id,
    attempt,
    child_failed,
    cleared,
    crash_while_waiting,
    reconcile,
    run_try,
)

if TYPE_CHECKING:
    from collections.abc import Callable

FAIL = replace(ask(), on_child_failure=OnChildFailure.FAIL)
RESUME = replace(ask(), on_child_failure=OnChildFailure.RESUME, reconciler_timeout_seconds=5.0)


def failed(request: Request = FAIL, *, server: Server | None = None) -> Server:
    """Return a server whose parent's first try died while it waited; then its child failed."""
    return child_failed(request, server=server)


def decided(server: Server) -> list[Decision]:
    return [decision for decision, *_ in server.told]


# A child that had failed before the try began costs it nothing, also if that is not known at once.


@pytest.mark.parametrize("mode", [Mode.WAIT, Mode.DEFER])
@pytest.mark.parametrize(
    ("request_", "decisions", "states"),
    [
        (ask(), [Decision.RESUBMIT, Decision.TERMINAL_RESUBMIT], ["failed", "success"]),
        (RESUME, [Decision.RESUBMIT, Decision.RESUME], ["success"]),
        (replace(ask_fixed_id(), is_reset=True), [Decision.RESUBMIT, Decision.RESET], ["success"]),
    ],
    ids=["fresh", "resume", "reset"],
)
def test_a_look_up_that_fails_does_not_cost_the_last_try(
    request_: Request, decisions: list[Decision], states: list[str], mode: Mode
) -> None:
    """The run was sent again, and what the 409 found was waited for, whatever its state was."""
    request = replace(request_, mode=mode)
    server = failed(request)
    server.on_sleep = reconcile if request_ is RESUME else lambda server: server.end_all("success")
    run_try(FakePort(server, attempt(4), faults={"look_up": [AWAY]}), request)
    assert decided(server) == decisions
    assert server.states() == states


@pytest.mark.parametrize(
    ("request_", "error"),
    [(FAIL, ChildRunFailedError), (ask_fixed_id(), FixedRunFailedError)],
    ids=["fail", "no reset"],
)
def test_where_a_failure_is_the_end_it_is_so_if_a_look_up_fails(request_: Request, error: type[Exception]) -> None:
    server = failed(request_)
    with pytest.raises(error) as caught:
        run_try(FakePort(server, attempt(4), faults={"look_up": [AWAY]}), request_)
    assert server.states() == ["failed"]
    assert repr(server.only_run().run_id) in str(caught.value)
    assert "'child'" in str(caught.value)


@pytest.mark.parametrize("version", [(3, 1), (3, 2), (3, 3)])
def test_a_first_try_that_is_executed_again_is_not_lost_by_the_child_of_the_first_execution(
    version: tuple[int, int],
) -> None:
    server = failed(ask(), server=Server(version))
    run_try(FakePort(server, attempt(1)), ask())
    assert server.states() == ["failed", "success"]


def test_a_child_that_this_try_started_and_that_failed_at_once_is_its_failure() -> None:
    """The reply was lost, and the child had failed when it was looked up."""
    server = Server(on_sleep=lambda server: server.end_all("failed"))
    lost = Fault(SubmissionUnknownError("child", "x", "no answer"), is_after=True)
    with pytest.raises(ChildRunFailedError):
        run_try(FakePort(server, attempt(1), faults={"submit": [lost]}), ask())
    assert server.states() == ["failed"]


# Fail.


@pytest.mark.parametrize("version", [(3, 1), (3, 2), (3, 3)])
@pytest.mark.parametrize("request_", [FAIL, replace(FAIL, run_id="fixed"), replace(FAIL, run_id="f", is_reset=True)])
def test_fail_is_the_end_also_if_the_try_that_saw_it_died(version: tuple[int, int], request_: Request) -> None:
    if request_.run_id and version < (3, 3):
        pytest.skip("without a store a fixed identity is left to the stock operator")
    server = failed(request_, server=Server(version))
    for number in (2, 3):
        with pytest.raises(ChildRunFailedError, match="failed state 'failed'") as caught:
            run_try(FakePort(server, attempt(number)), request_)
        assert caught.value.is_terminal
        assert "next try" not in caught.value.explain(has_next_try=True)
    assert server.states() == ["failed"]


def test_fail_is_the_end_for_the_try_that_waits() -> None:
    server = Server(on_sleep=lambda server: server.end_all("failed"))
    with pytest.raises(ChildRunFailedError) as caught:
        run_try(FakePort(server, attempt(1)), FAIL)
    assert caught.value.is_terminal


def test_after_a_clear_a_fresh_one_is_started() -> None:
    server = failed()
    run_try(FakePort(server, cleared(2)), FAIL)
    assert server.states() == ["failed", "success"]


def test_fire_and_forget_has_no_use_for_it() -> None:
    request = replace(FAIL, mode=Mode.FIRE_AND_FORGET)
    server = Server()
    run_try(FakePort(server, attempt(1)), request)
    server.end_all("failed")
    run_try(FakePort(server, attempt(2)), request)
    assert server.states() == ["failed"]


# Resume.


@pytest.mark.parametrize("is_used", [False, True], ids=["the record is discarded", "a person started both again"])
def test_a_run_that_was_adopted_after_a_clear_is_resumed(is_used: bool) -> None:  # noqa: FBT001 - of a parameter
    # The record's epoch moves with the clear. The reconciler computed the run id from that, and refused the run.
    server = Server()
    if is_used:
        run_try(FakePort(server, attempt(1)), RESUME)
        server.only_run().state = "running"
    else:
        crash_while_waiting(server, RESUME)
        server.lose_record()
    crash_while_waiting(server, RESUME, at=cleared(2))
    assert (server.record().epoch, is_run_of(server.record(), PARENT)) == (1, True)
    server.end_all("failed")
    server.on_sleep = reconcile
    run_try(FakePort(server, attempt(3, max_tries=4, clear_number=1)), RESUME)
    assert server.states() == ["success"]
    assert server.only_run().clear_number == 1


def test_a_run_of_release_0_1_0_is_not_resumed_as_nothing_proves_it() -> None:
    server = Server()
    record = Record("child", f"manual__durable_{'a' * 24}_0", Proof.RUN_ID, Mode.WAIT, RETRIES, 0)
    server.create("child", Run(record.run_id, EPOCH, "failed"))
    server.store[key_of(1, 0)] = json.dumps({**dump(record), "root": "ti-1"})
    run_try(FakePort(server, attempt(2)), RESUME)
    assert server.states() == ["failed", "success"]


@pytest.mark.parametrize("mode", [Mode.WAIT, Mode.DEFER])
@pytest.mark.parametrize("run_id", [None, "fixed"])
def test_the_same_run_is_resumed(mode: Mode, run_id: str | None) -> None:
    request = replace(RESUME, mode=mode, run_id=run_id, on_parent_end=OnParentEnd.CANCEL)
    server = failed(request)
    server.on_sleep = reconcile
    record = run_try(FakePort(server, attempt(2)), request)
    assert server.states() == ["success"]
    assert server.only_run().clear_number == 1
    assert record.is_consumed
    assert decided(server) == [Decision.RESUME]
    actions = [entry.asks.action for entry in server.records() if entry.asks]
    assert [action is not None for action in actions] == [False, True, False, False]
    assert server.records()[1].phase is Phase.SENT


def test_what_is_resumed_is_of_the_mode_that_is_asked_for_now_and_has_no_outcome() -> None:
    server = failed(RESUME)
    server.on_sleep = reconcile
    request = replace(RESUME, mode=Mode.DEFER)
    before = replace(server.record(), outcome=Outcome("child", "earlier", "failed", EPOCH))
    record, seen = resume(FakePort(server, attempt(2)), request, before, ChildRun("failed", 0))
    assert (record.mode, record.outcome, record.phase) == (Mode.DEFER, None, Phase.SENT)
    assert seen.clear_number == 1


def test_the_try_that_saw_the_failure_fails_and_says_what_comes() -> None:
    server = Server(on_sleep=lambda server: server.end_all("failed"))
    with pytest.raises(ChildRunFailedError) as caught:
        run_try(FakePort(server, attempt(1)), RESUME)
    assert not caught.value.is_terminal
    assert "resumes that run" in caught.value.explain(has_next_try=True)
    assert "Clear this task to resume" in caught.value.explain(has_next_try=False)


@pytest.mark.parametrize(
    ("request_", "state", "comes"),
    [
        (
            replace(RESUME, allowed_states=frozenset({"failed"}), failed_states=frozenset({"success"})),
            "success",
            "starts a new run",
        ),
        (replace(RESUME, run_id="fixed", is_date_ours=False, is_run_after_ours=False), "failed", "fails, too"),
    ],
)
def test_the_words_promise_no_resume_where_there_is_none(request_: Request, state: str, comes: str) -> None:
    server = Server(on_sleep=lambda server: server.end_all(state))
    with pytest.raises(ChildRunFailedError) as caught:
        run_try(FakePort(server, attempt(1)), request_)
    assert comes in caught.value.explain(has_next_try=True)


def test_where_nobody_acts_the_try_fails_and_takes_its_ask_back() -> None:
    server = failed(RESUME)
    server.on_sleep = lambda server: None
    port = FakePort(server, attempt(2))
    with pytest.raises(ReconcilerMissingError, match="no reconciler acted") as caught:
        run_try(port, RESUME)
    assert not caught.value.is_terminal
    for name in (server.only_run().run_id, "Dag 'child'"):
        assert name in str(caught.value)
    assert sum(port.sleeps) == pytest.approx(5)
    waited = [seconds for _, state, seconds in port.waits if state == "failed"]
    assert waited == sorted(set(waited))
    assert len(waited) > 1
    assert server.record().asks is None
    server.on_sleep = reconcile
    run_try(FakePort(server, attempt(3)), RESUME)
    assert server.states() == ["success"]


def test_what_an_earlier_try_asked_for_and_got_is_not_asked_for_again() -> None:
    server = failed(RESUME)
    server.on_sleep = _die
    with pytest.raises(Crash):
        run_try(FakePort(server, attempt(2)), RESUME)
    reconcile(server)
    run_try(FakePort(server, attempt(3)), RESUME)
    assert server.only_run().clear_number == 1
    assert server.states() == ["success"]


def test_a_run_that_fails_again_is_resumed_again_by_the_next_try() -> None:
    server = failed(RESUME)

    def fail_again(server: Server) -> None:
        if server.record().asks is None:
            server.end_all("failed")
        else:
            reconcile(server)
            server.on_sleep = fail_again

    server.on_sleep = fail_again
    with pytest.raises(ChildRunFailedError):
        run_try(FakePort(server, attempt(2)), RESUME)
    server.on_sleep = reconcile
    run_try(FakePort(server, attempt(3)), RESUME)
    assert server.only_run().clear_number == 2


def _delete(server: Server) -> None:
    server.runs.clear()


def _succeed(server: Server) -> None:
    server.only_run().state = "success"


def test_a_run_that_is_deleted_meanwhile_is_submitted_again_by_the_next_try() -> None:
    server = failed(RESUME)
    server.on_sleep = _delete
    run_id = server.only_run().run_id
    with pytest.raises(ChildRunMissingError, match=f"Child run '{re.escape(run_id)}' of Dag 'child'"):
        run_try(FakePort(server, attempt(2)), RESUME)
    server.on_sleep = lambda server: server.end_all("success")
    run_try(FakePort(server, attempt(3)), RESUME)
    assert server.states() == ["success"]


def test_a_run_that_a_person_marks_meanwhile_is_taken() -> None:
    server = failed(RESUME)
    server.on_sleep = _succeed
    assert run_try(FakePort(server, attempt(2)), RESUME).is_consumed


def test_look_ups_that_fail_for_a_time_are_repeated() -> None:
    server = failed(RESUME)
    server.on_sleep = reconcile
    port = FakePort(server, attempt(2), faults={"look_up": [None, AWAY]})
    run_try(port, RESUME)
    assert port.troubles == [AWAY.error]


def test_a_look_up_that_is_refused_ends_the_try() -> None:
    server = failed(RESUME)
    with pytest.raises(LookUpFailedError):
        run_try(FakePort(server, attempt(2), faults={"look_up": [None, FORBIDDEN]}), RESUME)


def test_what_the_server_cannot_prove_to_be_ours_is_not_resumed() -> None:
    request = replace(RESUME, run_id="fixed", is_date_ours=False, is_run_after_ours=False)
    server = failed(request)
    with pytest.raises(FixedRunFailedError):
        run_try(FakePort(server, attempt(2)), request)


def test_a_run_that_was_somebody_elses_before_its_reset_is_not_resumed() -> None:
    request = replace(RESUME, run_id="fixed", is_reset=True)
    server = Server()
    server.create("child", Run("fixed", conf="theirs"))
    crash_while_waiting(server, request)
    server.end_all("failed")
    server.on_sleep = lambda server: server.end_all("success")
    run_try(FakePort(server, attempt(2)), request)
    assert decided(server) == [Decision.RESET]
    assert server.only_run().clear_number == 2


def test_a_run_that_was_merely_reset_and_adopted_is_reset_again_and_not_resumed() -> None:
    """Its date was remembered as if it had been sent: each try asked the reconciler, which refused, and failed."""
    request = replace(RESUME, run_id="fixed", is_reset=True)
    server = Server()
    server.create("child", Run("fixed", EPOCH.replace(microsecond=7), "success", conf="theirs"))
    crash_while_waiting(server, request)
    server.on_sleep = lambda server: server.end_all("failed")
    with pytest.raises(ChildRunFailedError) as caught:
        run_try(FakePort(server, attempt(2)), request)
    assert "The next try of this task resets that run." in caught.value.explain(has_next_try=True)
    server.on_sleep = lambda server: server.end_all("success")
    run_try(FakePort(server, attempt(3)), request)
    assert decided(server) == [Decision.RECONNECT, Decision.RESET]
    assert server.only_run().clear_number == 2


def test_a_fixed_run_whose_record_was_lost_is_not_resumed() -> None:
    """What would prove it to the reconciler is gone, whatever is recorded after that."""
    request = replace(RESUME, run_id="fixed")
    server = Server()
    crash_while_waiting(server, request)
    server.lose_record()
    crash_while_waiting(server, request, at=attempt(2))
    server.end_all("failed")
    with pytest.raises(FixedRunFailedError):
        run_try(FakePort(server, attempt(3)), request)


def test_a_fixed_run_that_was_started_again_after_an_adoption_is_resumed() -> None:
    request = replace(RESUME, run_id="fixed")
    server = Server()
    crash_while_waiting(server, request)
    server.lose_record()
    crash_while_waiting(server, request, at=attempt(2))
    server.runs.clear()
    server.on_sleep = lambda server: server.end_all("failed")
    with pytest.raises(ChildRunFailedError) as caught:
        run_try(FakePort(server, attempt(3)), request)
    assert "resumes that run" in caught.value.explain(has_next_try=True)
    server.on_sleep = reconcile
    run_try(FakePort(server, attempt(4)), request)
    assert decided(server) == [Decision.RESUBMIT, Decision.RESUME]


@pytest.mark.parametrize("run_id", [None, "fixed"])
def test_an_edited_conf_gets_a_fresh_run_where_there_can_be_one(run_id: str | None) -> None:
    request = replace(RESUME, run_id=run_id)
    server = failed(request)
    server.on_sleep = reconcile if run_id else lambda server: server.end_all("success")
    run_try(FakePort(server, attempt(2), conf="edited"), request)
    assert server.states() == (["success"] if run_id else ["failed", "success"])


@pytest.mark.parametrize(
    ("change", "is_resumed"),
    [
        (lambda server: None, True),
        (lambda server: setattr(server, "upstream_ran_at", server.now()), False),
        (lambda server: setattr(server, "upstream_ran_at", None), False),
    ],
)
def test_after_a_clear_it_is_resumed_if_nothing_else_has_changed(
    change: Callable[[Server], None],
    is_resumed: bool,  # noqa: FBT001 - expected
) -> None:
    server = failed(RESUME)
    change(server)
    server.on_sleep = reconcile if is_resumed else lambda server: server.end_all("success")
    run_try(FakePort(server, cleared(2)), RESUME)
    assert server.states() == (["success"] if is_resumed else ["failed", "success"])


@pytest.mark.parametrize(("on_clear", "is_resumed"), [(OnClear.ADOPT, True), (OnClear.FRESH, False)])
def test_after_a_clear_on_clear_decides(on_clear: OnClear, is_resumed: bool) -> None:  # noqa: FBT001 - expected
    request = replace(RESUME, on_clear=on_clear)
    server = failed(request)
    server.upstream_ran_at = server.now()
    server.on_sleep = reconcile if is_resumed else lambda server: server.end_all("success")
    run_try(FakePort(server, cleared(2)), request)
    assert server.states() == (["success"] if is_resumed else ["failed", "success"])


def test_without_details_it_cannot_be_resumed() -> None:
    server = failed(RESUME, server=Server((3, 1)))
    run_try(FakePort(server, attempt(2)), RESUME)
    assert server.states() == ["failed", "success"]


def test_a_run_that_is_active_in_a_failed_state_is_not_resumed() -> None:
    request = replace(RESUME, failed_states=frozenset({"running", "failed"}))
    server = Server()
    crash_while_waiting(server, request)
    server.only_run().state = "running"
    run_try(FakePort(server, attempt(2)), request)
    assert decided(server) == [Decision.TERMINAL_RESUBMIT]


def test_a_run_that_ended_in_no_failed_tasks_is_not_resumed() -> None:
    # failed_states may name "success": the reconciler resumes nothing but a failed run.
    request = replace(RESUME, allowed_states=frozenset({"failed"}), failed_states=frozenset({"success"}))
    server = Server()
    crash_while_waiting(server, request)
    server.end_all("success")
    server.on_sleep = lambda server: server.end_all("failed")
    run_try(FakePort(server, attempt(2)), request)
    assert decided(server) == [Decision.TERMINAL_RESUBMIT]


def test_a_resume_that_comes_with_the_end_of_the_patience_is_seen() -> None:
    server = failed(RESUME)
    server.on_sleep = lambda server: None

    class LatePort(FakePort):
        """The reconciler acts after the last look, before the ask is taken back."""

        def write(self, record: Record) -> None:
            if sum(self.sleeps) >= RESUME.reconciler_timeout_seconds and record.asks is None:
                reconcile(server)
            super().write(record)

    run_try(LatePort(server, attempt(2)), RESUME)
    assert server.states() == ["success"]
    assert server.only_run().clear_number == 1


def test_a_run_that_is_deleted_with_the_end_of_the_patience_is_missing() -> None:
    server = failed(RESUME)
    server.on_sleep = lambda server: None

    class LatePort(FakePort):
        def write(self, record: Record) -> None:
            super().write(record)
            if sum(self.sleeps) >= RESUME.reconciler_timeout_seconds:
                server.runs.clear()

    run_id = server.only_run().run_id
    with pytest.raises(ChildRunMissingError, match=f"Child run '{re.escape(run_id)}' of Dag 'child'"):
        run_try(LatePort(server, attempt(2)), RESUME)


# On the parent's end.


@pytest.mark.parametrize("request_", [ask(), ask_fixed_id()])
def test_cancel_is_recorded_from_the_first_entry_on(request_: Request) -> None:
    request = replace(request_, on_parent_end=OnParentEnd.CANCEL)
    server = Server()
    crash_while_waiting(server, request)
    run_try(FakePort(server, attempt(2)), request)
    asks = [entry.asks for entry in server.records()]
    assert all(it is not None and it.on_parent_end is OnParentEnd.CANCEL for it in asks)


def test_nothing_is_asked_for_a_run_that_is_somebody_elses() -> None:
    request = replace(ask_fixed_id(), on_parent_end=OnParentEnd.CANCEL, is_skip=True)
    server = Server()
    server.create("child", Run("fixed", conf="theirs"))
    with pytest.raises(Exception, match="skipped"):
        protocol.trigger(FakePort(server, attempt(1)), request, attempt(1))
    assert server.record().asks is None
