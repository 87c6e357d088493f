"""``start_timeout`` and ``run_timeout``: measured from the record, whatever crashes."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from airflow_durable.core import child_tasks, timeouts, waiting
from airflow_durable.core.errors import LookUpFailedError, RunTimeoutError, StartTimeoutError
from airflow_durable.core.model import ChildRun, Decision, Look, Mode, OnChildFailure, Outcome, Proof, Request
from airflow_durable.core.protocol import Started
from airflow_durable.core.record import Clock, Record

from .fakes import EPOCH, FakePort, Fault, Run, Server, ask, attempt, cleared, crash_while_waiting, run_try

START = replace(ask(), start_timeout_seconds=100.0)
RUN = replace(ask(), run_timeout_seconds=100.0)
RECORD = Record("child", "ours", Proof.RUN_ID, Mode.WAIT, 3, 0, clock=Clock(EPOCH, 0))
AWAY = Fault(LookUpFailedError("child", "x", "away", is_transient=True))
FORBIDDEN = Fault(LookUpFailedError("child", "x", "forbidden", is_transient=False))


def nothing(server: Server) -> None:
    """Let the time pass."""


def stuck(state: str, tasks: dict[str, str | None] | None = None, **fields: object) -> Server:
    """Return a server on which the recorded run does not end."""
    server = Server(on_sleep=nothing)
    server.runs["child", "ours"] = Run("ours", state=state, tasks={} if tasks is None else tasks)
    for name, value in fields.items():
        setattr(server.only_run(), name, value)
    return server


def at(seconds: float, server: Server) -> Server:
    """Let so much time have passed since the run was asked for."""
    server.seconds = seconds
    return server


@pytest.mark.parametrize("mode", [Mode.WAIT, Mode.DEFER])
def test_without_a_timeout_nothing_is_asked_and_nothing_is_stored(mode: Mode) -> None:
    server = Server()
    run_try(FakePort(server, attempt(1)), ask(mode=mode))
    assert all(entry.clock is None for entry in server.records())
    assert server.calls.count("look_up") <= 2


# How the wait ends.


@pytest.mark.parametrize(
    ("why", "said"),
    [("its Dag is paused", "the run is queued: its Dag is paused"), (None, "the run is queued. ")],
)
def test_a_queued_run_has_not_begun(why: str | None, said: str) -> None:
    server = Server(on_sleep=nothing, why_queued=why)
    port = FakePort(server, attempt(1))
    with pytest.raises(StartTimeoutError, match=said) as caught:
        run_try(port, START)
    assert caught.value.is_terminal
    assert 100 <= server.seconds <= 110
    assert server.states() == ["queued"]


def test_a_running_run_whose_tasks_wait_has_not_begun() -> None:
    tasks: dict[str, str | None] = {"a": "queued", "b": "scheduled", "c": None}
    with pytest.raises(StartTimeoutError, match=r"none of its tasks has begun \(queued: a; scheduled: b\)"):
        timeouts.check(FakePort(at(100, stuck("running", tasks)), attempt(1)), START, RECORD)
    with pytest.raises(StartTimeoutError, match=r"\(none is scheduled\)"):
        timeouts.check(FakePort(at(100, stuck("running", {"c": None})), attempt(1)), START, RECORD)


class FrozenPort(FakePort):
    """A port whose clock stands where the server's stands."""

    def now(self) -> datetime:
        """Return the server's time, which does not pass."""
        return EPOCH + timedelta(seconds=self.server.seconds)

    def why_queued(self, dag_id: str) -> str | None:
        """Return a reason of this Dag's."""
        return f"{dag_id} is paused"


def test_what_is_over_at_this_very_moment_is_over_and_named() -> None:
    for server, request, error, said in (
        (stuck("queued"), START, StartTimeoutError, "the run is queued: child is paused"),
        (stuck("running"), START, StartTimeoutError, "none is scheduled"),
        (stuck("running"), RUN, RunTimeoutError, "the run is running"),
    ):
        with pytest.raises(error, match=said) as raised:
            timeouts.check(FrozenPort(at(100, server), attempt(1)), request, RECORD)
        assert "Child run 'ours' of Dag 'child'" in str(raised.value)
        timeouts.check(FrozenPort(at(99.9, server), attempt(1)), request, RECORD)


def test_what_cannot_be_told_is_asked_for_again_after_a_minute() -> None:
    server = at(100, stuck("running"))
    again = EPOCH + timedelta(seconds=160)
    port = FrozenPort(server, attempt(1), faults={"look_up": [AWAY]})
    assert timeouts.check(port, RUN, RECORD) == timeouts.Checked(RECORD, again, None)
    assert port.troubles == [AWAY.error]
    server.only_run().state = "success"
    checked = timeouts.check(FrozenPort(server, attempt(1)), RUN, RECORD)
    assert (checked.due, checked.seen and checked.seen is not Look.MISSING) == (again, True)
    server.runs.clear()
    assert timeouts.check(FrozenPort(server, attempt(1)), RUN, RECORD) == timeouts.Checked(RECORD, again, Look.MISSING)


@pytest.mark.parametrize("clear_number", [0, 3])
def test_what_a_check_has_seen_is_told(clear_number: int) -> None:
    server = at(50, stuck("running", clear_number=clear_number))
    checked = timeouts.check(FrozenPort(server, attempt(1)), RUN, RECORD)
    assert isinstance(checked.seen, ChildRun)
    assert (checked.seen.state, checked.seen.clear_number) == ("running", clear_number)
    assert checked.record.clock == (Clock(EPOCH + timedelta(seconds=50), 3) if clear_number else RECORD.clock)


def test_the_clock_of_a_run_that_is_asked_for_is_of_before_any_clear() -> None:
    assert timeouts.new_clock(RUN, EPOCH) == Clock(EPOCH, 0)
    assert timeouts.new_clock(RUN, EPOCH, clear_number=4) == Clock(EPOCH, 4)
    assert timeouts.new_clock(ask(), EPOCH) is None


def test_one_that_has_begun_is_asked_for_no_more() -> None:
    port = FakePort(at(100, stuck("running", {"a": "success", "b": "queued"})), attempt(1))
    assert timeouts.check(port, START, RECORD).due is None


def test_a_run_that_does_not_end() -> None:
    server = stuck("running", {"a": "running", "b": "deferred"}, started_at=EPOCH + timedelta(seconds=50))
    due = timeouts.check(FakePort(at(100, server), attempt(1)), RUN, RECORD).due
    assert due == EPOCH + timedelta(seconds=150)
    with pytest.raises(RunTimeoutError, match=r"has not ended within run_timeout \(100 s\): .*running: a; deferred: b"):
        timeouts.check(FakePort(at(150, server), attempt(1)), RUN, RECORD)
    server.only_run().tasks = None
    with pytest.raises(RunTimeoutError, match=r": the run is running\. "):
        timeouts.check(FakePort(at(150, server), attempt(1)), RUN, RECORD)


def test_where_it_is_not_known_when_it_left_the_queue_the_time_in_it_counts() -> None:
    with pytest.raises(RunTimeoutError):
        timeouts.check(FakePort(at(100, stuck("running")), attempt(1)), RUN, RECORD)


def test_a_queued_run_does_not_use_up_the_run_timeout() -> None:
    server = at(500, stuck("queued"))
    due = timeouts.check(FakePort(server, attempt(1)), RUN, RECORD).due
    assert due is not None
    assert due >= EPOCH + timedelta(seconds=600)


def test_the_sooner_one_is_due() -> None:
    both = replace(START, run_timeout_seconds=30.0)
    assert timeouts.first_due(both, RECORD) == EPOCH + timedelta(seconds=30)
    server = at(40, stuck("running", started_at=EPOCH + timedelta(seconds=35)))
    assert timeouts.check(FakePort(server, attempt(1)), both, RECORD).due == EPOCH + timedelta(seconds=65)
    assert timeouts.first_due(ask(), RECORD) is None
    assert timeouts.first_due(both, replace(RECORD, clock=None)) is None


def test_what_cannot_be_told_is_asked_again_a_minute_later() -> None:
    server = at(100, stuck("running"))
    server.only_run().tasks = None
    found = timeouts.check(FakePort(server, attempt(1)), START, RECORD)
    assert found.due == EPOCH + timedelta(seconds=server.seconds + 60)
    found = timeouts.check(port := FakePort(server, attempt(1), faults={"look_up": [AWAY]}), START, RECORD)
    assert found.due == EPOCH + timedelta(seconds=server.seconds + 60)
    assert found.seen is None
    assert len(port.troubles) == 1
    assert timeouts.outcome_of(found, EPOCH) is None
    with pytest.raises(LookUpFailedError):
        timeouts.check(FakePort(server, attempt(1), faults={"look_up": [FORBIDDEN]}), START, RECORD)


@pytest.mark.parametrize("state", ["success", None])
def test_a_run_that_has_ended_or_gone_is_told(state: str | None) -> None:
    server = at(100, stuck(state or "success"))
    if state is None:
        server.runs.clear()
    found = timeouts.check(FakePort(server, attempt(1)), START, RECORD)
    outcome = timeouts.outcome_of(found, EPOCH)
    assert outcome == Outcome(RECORD.dag_id, RECORD.run_id, state, EPOCH)
    server = stuck("running", {"a": "running"})
    assert timeouts.outcome_of(timeouts.check(FakePort(server, attempt(1)), START, RECORD), EPOCH) is None


def test_a_run_that_a_person_clears_starts_anew() -> None:
    server = at(100, stuck("queued", clear_number=2))
    found = timeouts.check(FakePort(server, attempt(1)), START, RECORD)
    assert found.record.clock == Clock(EPOCH + timedelta(seconds=server.seconds), 2)
    assert found.due == EPOCH + timedelta(seconds=server.seconds + 100)


def test_the_wait_looks_when_a_timeout_can_be_over_and_goes_on() -> None:
    server = stuck("running", {"a": "running"})
    server.on_sleep = lambda server: server.end_all("success") if server.seconds > 300 else None
    port = FakePort(server, attempt(1))
    ended = waiting.wait(port, START, Started(RECORD), poke_interval=60)
    assert ended is not None
    assert ended.is_settled
    assert port.calls.count("task_states") == 1


def test_a_wait_may_be_cut_short() -> None:
    port = FakePort(stuck("running"), attempt(1))
    assert waiting.wait(port, ask(), Started(RECORD), poke_interval=60, at_most_seconds=10) is None
    assert 10 <= sum(port.sleeps) <= 11


def test_a_run_that_is_waited_out_has_no_timeout() -> None:
    server = stuck("running")
    server.on_sleep = lambda server: server.end_all("failed") if server.seconds > 300 else None
    ended = waiting.wait(FakePort(server, attempt(1)), RUN, Started(RECORD, is_waiting_out=True), poke_interval=60)
    assert ended is not None
    assert not ended.is_settled


# What starts it anew, and what does not.


def test_a_retry_does_not_start_it_anew() -> None:
    server = Server()
    crash_while_waiting(server, START)
    server.seconds += 90
    server.on_sleep = nothing
    port = FakePort(server, attempt(2))
    with pytest.raises(StartTimeoutError):
        run_try(port, START)
    assert sum(port.sleeps) < 20


@pytest.mark.parametrize("request_", [START, RUN])
def test_a_clear_of_the_task_starts_it_anew(request_: Request) -> None:
    server = Server()
    crash_while_waiting(server, request_)
    server.seconds += 500
    run = server.only_run()
    run.state, run.started_at = ("running", EPOCH) if request_ is RUN else ("queued", None)
    server.on_sleep = nothing
    before = server.seconds
    with pytest.raises((StartTimeoutError, RunTimeoutError)):
        run_try(FakePort(server, cleared(2)), request_)
    assert 100 <= server.seconds - before <= 115


def clock_after(decision: Decision, seen: ChildRun | Look, **fields: object) -> Clock | None:
    record = replace(RECORD, **fields)  # type: ignore[arg-type] # by name
    return timeouts.clock_after(START, record, decision, seen, None, EPOCH + timedelta(seconds=50))


def test_what_starts_the_run_starts_the_clock() -> None:
    later = EPOCH + timedelta(seconds=50)
    assert clock_after(Decision.RECONNECT, ChildRun("running", 0)) == RECORD.clock
    assert clock_after(Decision.RECONNECT, ChildRun("running")) == RECORD.clock
    assert clock_after(Decision.RECONNECT, ChildRun("running", 1)) == Clock(later, 1)
    assert clock_after(Decision.RESUBMIT, Look.UNREADABLE) == RECORD.clock
    assert clock_after(Decision.RESUBMIT, Look.MISSING) == Clock(later, 0)
    assert clock_after(Decision.RESUME, ChildRun("failed", 3)) == Clock(later, 4)
    assert clock_after(Decision.RESET, ChildRun("failed")) == Clock(later, 1)
    assert timeouts.clock_after(ask(), RECORD, Decision.RECONNECT, ChildRun("running"), None, later) is None


def test_without_a_clock_the_run_tells_when_it_was_asked_for() -> None:
    dated = ChildRun("running", 0, logical_date=EPOCH - timedelta(seconds=5))
    found = clock_after(Decision.RECONNECT, dated, clock=None, is_recovered=True)
    assert found == Clock(EPOCH - timedelta(seconds=5), 0)
    assert clock_after(Decision.RECONNECT, dated, clock=None) == Clock(EPOCH + timedelta(seconds=50), 0)
    unread = clock_after(Decision.RESUBMIT, Look.UNREADABLE, clock=None)
    assert unread == Clock(EPOCH + timedelta(seconds=50), 0)


def test_a_resumed_run_is_measured_from_its_resumption() -> None:
    request = replace(START, on_child_failure=OnChildFailure.RESUME)
    server = Server()
    crash_while_waiting(server, request)
    server.end_all("failed")
    server.seconds += 500

    def resume(server: Server) -> None:
        run = server.only_run()
        if run.state == "failed":
            run.state, run.clear_number = "queued", run.clear_number + 1
        elif server.seconds > 580:
            run.state = "success"

    server.on_sleep = resume
    assert run_try(FakePort(server, attempt(2)), request).is_consumed


def test_a_few_names_are_listed() -> None:
    assert child_tasks.list_names(["a", "b"]) == "a, b"
    assert child_tasks.list_names(list("abcde")) == "a, b, c, d, e"
    assert child_tasks.list_names(list("abcdefg")) == "a, b, c, d, e and 2 more"
    assert child_tasks.failed({"b": "failed", "a": "failed", "c": "upstream_failed"}) == ["a", "b"]
