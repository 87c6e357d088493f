"""Waiting for the child: how long, until what, and that its outcome is marked."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from airflow_durable.core import protocol, waiting
from airflow_durable.core.errors import (
    ChildRunFailedError,
    ChildRunMissingError,
    ChildStateUnknownError,
    JournalWriteError,
    LookUpFailedError,
    RunTimeoutError,
)
from airflow_durable.core.model import ChildRun, Mode, Outcome, Phase, Proof, Request
from airflow_durable.core.protocol import Started
from airflow_durable.core.record import Clock, Record

from .fakes import EPOCH, FakePort, Fault, Run, Server, ask, attempt, run_try

AWAY = Fault(LookUpFailedError("child", "x", "away", is_transient=True))
FORBIDDEN = Fault(LookUpFailedError("child", "x", "forbidden", is_transient=False))
RECORD = Record("child", "ours", Proof.RUN_ID, Mode.DEFER, 3, 0)
WAITED_OUT = replace(RECORD, phase=Phase.WAITED_OUT)


def outcome(state: str | None) -> Outcome:
    return Outcome("child", "ours", state, EPOCH)


# Wait.


def test_the_sleeps_grow_from_a_second_to_the_poke_interval() -> None:
    server = Server()
    server.on_sleep = lambda server: server.end_all("success") if server.seconds > 300 else None
    port = FakePort(server, attempt(1))
    run_try(port, ask(), poke_interval=20)
    assert port.sleeps[:10] == [1.0] * 10
    waited = 0.0
    for pause, (_, state, told) in zip(port.sleeps, port.waits, strict=False):
        assert state == "queued"
        assert told == pytest.approx(waited)
        assert pause == pytest.approx(min(max(1.0, waited / 10), 20))
        waited += pause
    assert port.sleeps[-1] == 20
    assert port.waits[-1][:2] == (server.record().run_id, "success")
    assert port.waits[-1][2] == pytest.approx(waited)


def test_a_poke_interval_under_a_second_is_kept() -> None:
    port = FakePort(Server(), attempt(1))
    run_try(port, ask(), poke_interval=0.25)
    assert port.sleeps == [0.25]


def test_a_wait_that_is_limited_ends_when_that_is_over() -> None:
    server = Server()
    server.on_sleep = lambda _: None
    port = FakePort(server, attempt(1))
    server.create("child", Run("ours"))
    assert waiting.wait(port, ask(), Started(RECORD), poke_interval=1, at_most_seconds=3) is None
    assert port.sleeps == [1.0] * 3


def test_a_timeout_is_over_at_the_moment_at_which_it_is() -> None:
    at = EPOCH + timedelta(seconds=60)

    class FrozenPort(FakePort):
        def now(self) -> datetime:
            return at

    port = FrozenPort(Server(), attempt(1))
    port.server.create("child", Run("ours", state="running"))
    request = replace(ask(), run_timeout_seconds=60.0)
    with pytest.raises(RunTimeoutError):
        waiting.wait(port, request, Started(replace(RECORD, clock=Clock(EPOCH, 0))), poke_interval=1)
    assert not port.sleeps


def test_what_a_look_at_a_timeout_has_found_is_in_what_the_wait_returns() -> None:
    """The run was cleared, and its clock began again: an outcome that is marked says so."""
    server = Server()
    server.create("child", Run("ours", state="running", clear_number=1))
    port = FakePort(server, attempt(1))
    request = replace(ask(), run_timeout_seconds=60.0)
    server.seconds = 100.0
    started = waiting.wait(port, request, Started(replace(RECORD, clock=Clock(EPOCH, 0))), poke_interval=1)
    assert started is not None
    assert started.record.clock is not None
    assert started.record.clock.clear_number == 1
    assert started.record.clock.since > EPOCH + timedelta(seconds=100)


def test_the_look_ups_of_a_wait_ask_for_no_more_than_the_state() -> None:
    class BriefPort(FakePort):
        def look_up(self, dag_id: str, run_id: str, *, is_detailed: bool) -> ChildRun | None:
            assert is_detailed is False
            return super().look_up(dag_id, run_id, is_detailed=is_detailed)

    port = BriefPort(Server(), attempt(1), faults={"look_up": [AWAY]})
    port.server.create("child", Run("ours"))
    assert waiting.wait(port, ask(), Started(RECORD), poke_interval=1) is not None
    assert port.troubles == [AWAY.error]


def test_a_run_that_was_seen_already_is_not_looked_up_again() -> None:
    port = FakePort(Server(), attempt(1))
    started = waiting.wait(port, ask(), Started(RECORD, ChildRun("success")), poke_interval=1)
    assert started is not None
    assert started.is_settled
    assert port.calls == []


def test_the_wait_survives_a_server_that_is_away() -> None:
    server = Server()
    port = FakePort(server, attempt(1), faults={"look_up": [AWAY] * 30})
    run_try(port, ask())
    assert len(port.troubles) == 30
    assert [state for _, state, _ in port.waits] == [None] * 30 + ["success"]
    assert server.states() == ["success"]


def test_the_wait_ends_where_waiting_cannot_help() -> None:
    server = Server()
    with pytest.raises(LookUpFailedError, match="forbidden"):
        run_try(FakePort(server, attempt(1), faults={"look_up": [FORBIDDEN]}), ask())
    assert not server.record().is_consumed


def test_a_child_that_is_cleared_and_runs_again_is_waited_for() -> None:
    server = Server()
    states = iter(["running", "queued", "restarting", "success"])
    server.on_sleep = lambda server: setattr(server.only_run(), "state", next(states))
    run_try(FakePort(server, attempt(1)), ask())
    assert server.states() == ["success"]


@pytest.mark.parametrize("mode", [Mode.WAIT, Mode.DEFER])
def test_a_child_that_is_deleted_in_the_wait_fails_the_try_and_the_next_one_starts_it_again(mode: Mode) -> None:
    server = Server()
    server.on_sleep = lambda server: server.runs.clear()
    with pytest.raises(ChildRunMissingError) as raised:
        run_try(FakePort(server, attempt(1)), ask(mode=mode))
    run_id = server.record().run_id
    assert run_id in str(raised.value)
    assert "Dag 'child'" in str(raised.value)
    server.on_sleep = lambda server: server.end_all("success")
    run_try(FakePort(server, attempt(2)), ask(mode=mode))
    assert list(server.runs) == [("child", run_id)]


@pytest.mark.parametrize("mode", [Mode.WAIT, Mode.DEFER])
@pytest.mark.parametrize(
    ("allowed", "failed", "state", "text"),
    [
        ({"success"}, {"failed"}, "failed", "ended in the failed state 'failed'"),
        ({"success", "failed"}, {"failed"}, "failed", "ended in the failed state 'failed'"),
        ({"running"}, set(), "success", "neither in allowed_states nor in failed_states"),
        ({"success"}, {"running"}, "running", "ended in the failed state 'running'"),
    ],
)
def test_a_child_that_fails_fails_the_try(
    allowed: set[str], failed: set[str], state: str, text: str, mode: Mode
) -> None:
    server = Server()
    server.on_sleep = lambda server: setattr(server.only_run(), "state", state)
    request = ask(mode=mode, allowed_states=frozenset(allowed), failed_states=frozenset(failed))
    with pytest.raises(ChildRunFailedError, match=text):
        run_try(FakePort(server, attempt(1)), request)
    assert not server.record().is_consumed


@pytest.mark.parametrize("mode", [Mode.WAIT, Mode.DEFER])
@pytest.mark.parametrize("state", ["running", "failed"])
def test_an_allowed_state_is_success(state: str, mode: Mode) -> None:
    server = Server()
    server.on_sleep = lambda server: setattr(server.only_run(), "state", state)
    run_try(
        FakePort(server, attempt(1)),
        ask(mode=mode, allowed_states=frozenset({state}), failed_states=frozenset({"success"})),
    )
    assert server.record().outcome == Outcome("child", server.record().run_id, state, server.record().outcome.at)  # type: ignore[union-attr]


@pytest.mark.parametrize("seen", [None, ChildRun("running")], ids=["not seen", "seen active"])
def test_a_run_that_is_waited_out_needs_only_to_end(seen: ChildRun | None) -> None:
    for state in ("success", "failed", None):
        server = Server()
        port = FakePort(server, attempt(1))
        server.create("child", port._new_run(RECORD))

        def end(server: Server, state: str | None = state) -> None:
            if state is None:
                server.runs.clear()
            else:
                server.end_all(state)

        server.on_sleep = end
        started = Started(WAITED_OUT, seen, is_waiting_out=True)
        over = waiting.wait(port, ask(allowed_states=frozenset({"running"})), started, poke_interval=1)
        assert over is not None
        assert (over.is_waiting_out, over.is_settled) == (True, False)
        assert (over.run and over.run.state) == state
        assert len(port.sleeps) == 1


def test_a_run_that_is_waited_out_is_not_over_while_it_cannot_be_read() -> None:
    server = Server()
    port = FakePort(server, attempt(1), faults={"look_up": [AWAY]})
    server.create("child", port._new_run(RECORD))
    waiting.wait(port, ask(), Started(WAITED_OUT, is_waiting_out=True), poke_interval=1)
    assert server.states() == ["success"]


# Resume.


@pytest.mark.parametrize("record", [RECORD, WAITED_OUT])
def test_a_state_that_nobody_knows_ends_the_wait(record: Record) -> None:
    """The trigger ends only when nothing happens in that run; it would at once if it began anew."""
    with pytest.raises(ChildStateUnknownError, match="run 'ours' of Dag 'child' is in the state 'unheard_of'"):
        waiting.resume(ask(), record, outcome("unheard_of"))


@pytest.mark.parametrize("state", ["queued", "running"])
def test_an_active_child_is_deferred_again(state: str) -> None:
    assert waiting.resume(ask(), RECORD, outcome(state)) is None
    assert waiting.resume(ask(), WAITED_OUT, outcome(state)) is None


def test_a_success_is_settled_with_its_outcome() -> None:
    started = waiting.resume(ask(), RECORD, outcome("success"))
    assert started == Started(replace(RECORD, outcome=outcome("success")), is_settled=True)


def test_a_deleted_child_is_missing_after_a_deferral() -> None:
    with pytest.raises(ChildRunMissingError, match="run 'ours' of Dag 'child'"):
        waiting.resume(ask(), RECORD, outcome(None))


def test_a_failed_child_fails_after_a_deferral() -> None:
    with pytest.raises(ChildRunFailedError):
        waiting.resume(ask(), RECORD, outcome("failed"))


@pytest.mark.parametrize("state", ["success", "failed", None])
def test_a_run_that_was_waited_out_is_over_whatever_became_of_it(state: str | None) -> None:
    assert waiting.resume(ask(), WAITED_OUT, outcome(state)) == Started(WAITED_OUT, is_waiting_out=True)


def test_what_was_consumed_is_settled_whatever_the_event_says() -> None:
    consumed = replace(RECORD, phase=Phase.CONSUMED)
    assert waiting.resume(ask(), consumed, outcome("failed")) == Started(consumed, is_settled=True)


@pytest.mark.parametrize(
    ("request_", "is_fixed", "text"),
    [
        (ask(), False, "starts a new run"),
        (ask(run_id="ours"), True, "fails, too, unless"),
        (ask(run_id="ours", is_reset=True), True, "resets that run"),
    ],
)
def test_a_failure_says_what_the_next_try_does(request_: Request, is_fixed: bool, text: str) -> None:  # noqa: FBT001 - a parameter
    record = replace(RECORD, proof=Proof.LOGICAL_DATE if is_fixed else Proof.RUN_ID)
    with pytest.raises(ChildRunFailedError) as caught:
        waiting.is_success(request_, record, "failed")
    assert text in caught.value.explain(has_next_try=True)


# Consume.


def test_the_outcome_is_marked_once() -> None:
    server = Server()
    port = FakePort(server, attempt(1))
    started = protocol.trigger(port, ask(), port.attempt)
    consumed = waiting.consume(port, replace(started, run=ChildRun("success")))
    assert consumed.phase is Phase.CONSUMED
    assert consumed.outcome == Outcome("child", consumed.run_id, "success", consumed.outcome.at)  # type: ignore[union-attr]
    port.calls.clear()
    assert waiting.consume(port, Started(consumed, is_settled=True)) == consumed
    assert port.calls == []


def test_a_run_that_was_only_just_created_is_queued() -> None:
    server = Server()
    run_try(FakePort(server, attempt(1)), ask(mode=Mode.FIRE_AND_FORGET))
    assert server.record().outcome == Outcome("child", server.record().run_id, "queued", server.record().outcome.at)  # type: ignore[union-attr]


def test_the_outcome_that_the_trigger_saw_is_kept() -> None:
    port = FakePort(Server(), attempt(1))
    started = Started(replace(RECORD, outcome=outcome("success")), is_settled=True)
    assert waiting.consume(port, started).outcome == outcome("success")


def test_a_mark_that_may_not_have_arrived_is_repeated() -> None:
    for is_after in (False, True):
        server = Server()
        lost = Fault(JournalWriteError("child", "x", "no answer", is_transient=True), is_after=is_after)
        run_try(FakePort(server, attempt(1), faults={"write": [None, lost, lost, lost]}), ask())
        assert server.record().is_consumed
        assert len(server.records()) == 2


def test_a_late_copy_of_an_earlier_write_does_not_undo_the_mark() -> None:
    server = Server()
    port = FakePort(server, attempt(1))
    first = protocol.trigger(port, ask(), port.attempt)
    late = dict(server.store)
    waiting.consume(port, first)
    server.store.update(late)
    run_try(FakePort(server, attempt(2)), ask())
    assert len(server.runs) == 1
    assert server.record().is_consumed
