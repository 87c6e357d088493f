"""The order of calls: what exists at the server after each way through it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from airflow_durable.core import protocol
from airflow_durable.core.errors import (
    ChildRunFailedError,
    ChildRunForeignError,
    ChildRunMissingError,
    FixedRunFailedError,
    ForeignRunSkipError,
    JournalReadError,
    JournalWriteError,
    LogicalDateClashError,
    LogicalDateTakenError,
    LookUpFailedError,
    RecordDamagedError,
    SubmissionRefusedError,
    SubmissionUnknownError,
)
from airflow_durable.core.model import Decision, Mode, Request

from .fakes import EPOCH, FIXED_DATE, Crash, FakePort, Fault, Run, Server, ask, attempt, run_attempt

if TYPE_CHECKING:
    from airflow_durable.core.model import Attempt
    from airflow_durable.core.record import Record

FIRST = attempt(1)
SECOND = attempt(2)
THIRD = attempt(3)
CLEARED = attempt(2, max_tries=4, clear_number=1)
AWAY = LookUpFailedError("child", "x", "away", is_transient=True)
FORBIDDEN = LookUpFailedError("child", "x", "forbidden", is_transient=False)
UNKNOWN = SubmissionUnknownError("child", "x", "no answer")


def crash_while_waiting(server: Server, request: Request) -> None:
    """Run a first attempt that dies in its first sleep, with the child active."""
    server.on_sleep = lambda _: None
    with pytest.raises(Crash):
        run_attempt(FakePort(server, FIRST, faults={"sleep": [Fault(Crash())]}), request)
    server.on_sleep = lambda server: server.end_all("success")
    server.calls.clear()


def decisions(server: Server) -> list[Decision]:
    return [decision for decision, _, _ in server.told]


# The path without a crash, and its cost.


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        (Mode.WAIT, ["write", "submit", "look_up", "sleep", "look_up", "write"]),
        (Mode.DEFER, ["write", "submit", "write"]),
        (Mode.FIRE_AND_FORGET, ["write", "submit", "write"]),
    ],
)
def test_a_first_attempt_writes_ahead_and_consumes(mode: Mode, expected: list[str]) -> None:
    server = Server()
    run_attempt(FakePort(server, FIRST), ask(mode=mode))
    assert server.calls == expected
    record = server.record()
    assert record is not None
    assert list(server.runs) == [("child", record.run_id)]
    assert record.is_consumed
    assert [(entry.try_number, entry.decision) for entry in record.attempts] == [(1, Decision.FRESH_SUBMIT)]


@pytest.mark.parametrize("mode", Mode)
def test_a_fixed_identity_costs_one_look_up_more(mode: Mode) -> None:
    generated, fixed = Server(), Server()
    run_attempt(FakePort(generated, FIRST), ask(mode=mode))
    run_attempt(FakePort(fixed, FIRST), ask(mode=mode, run_id="fixed"))
    assert fixed.calls == ["look_up", *generated.calls]
    assert list(fixed.runs) == [("child", "fixed")]


def test_the_sleeps_grow_from_a_second_to_the_poke_interval() -> None:
    server = Server()
    server.on_sleep = lambda server: server.end_all("success") if server.seconds > 300 else None
    port = FakePort(server, FIRST)
    run_attempt(port, ask(), poke_interval=20)
    assert port.sleeps[:10] == [1.0] * 10
    assert port.sleeps == sorted(port.sleeps)
    assert all(pause <= 20 for pause in port.sleeps)
    waited = 0.0
    for pause in port.sleeps:
        assert pause == min(max(1.0, waited / 10), 20)
        waited += pause
    assert port.sleeps[-1] == 20


def test_a_poke_interval_under_a_second_is_kept() -> None:
    server = Server()
    port = FakePort(server, FIRST)
    run_attempt(port, ask(), poke_interval=0.25)
    assert port.sleeps == [0.25]


def test_the_wait_survives_a_server_that_is_away() -> None:
    server = Server()
    port = FakePort(server, FIRST, faults={"look_up": [Fault(AWAY)] * 30})
    run_attempt(port, ask())
    assert len(port.troubles) == 30
    assert server.states() == ["success"]


def test_the_wait_ends_where_waiting_cannot_help() -> None:
    server = Server()
    with pytest.raises(LookUpFailedError, match="forbidden"):
        run_attempt(FakePort(server, FIRST, faults={"look_up": [Fault(FORBIDDEN)]}), ask())
    record = server.record()
    assert record is not None
    assert not record.is_consumed


def test_a_child_that_is_cleared_and_runs_again_is_waited_for() -> None:
    server = Server()
    states = iter(["running", "queued", "running", "success"])

    def go_on(server: Server) -> None:
        for run in server.runs.values():
            run.state = next(states)

    server.on_sleep = go_on
    run_attempt(FakePort(server, FIRST), ask())
    assert server.states() == ["success"]


# The table of the design: the recorded run on the next attempt.


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("again", [SECOND, CLEARED], ids=["retry", "clear"])
def test_an_active_run_is_adopted(mode: Mode, again: Attempt) -> None:
    server = Server()
    request = ask(mode=Mode.WAIT)
    crash_while_waiting(server, request)
    run_attempt(FakePort(server, again), replace(request, mode=mode))
    assert server.states() == (["queued"] if mode is Mode.FIRE_AND_FORGET else ["success"])
    assert "submit" not in server.calls
    record = server.record()
    assert record is not None
    assert (record.is_consumed, record.max_tries) == (True, again.max_tries)


@pytest.mark.parametrize("again", [SECOND, CLEARED], ids=["retry", "clear"])
def test_a_run_that_has_succeeded_ends_the_task_at_once(again: Attempt) -> None:
    server = Server()
    crash_while_waiting(server, ask())
    server.end_all("success")
    port = FakePort(server, again)
    run_attempt(port, ask())
    assert port.calls == ["read", "look_up", "write"]
    assert server.states() == ["success"]


def test_a_run_that_was_deleted_is_submitted_again_under_its_id() -> None:
    server = Server()
    crash_while_waiting(server, ask())
    (key,) = server.runs
    server.runs.clear()
    run_attempt(FakePort(server, SECOND), ask())
    assert list(server.runs) == [key]
    assert decisions(server) == [Decision.FRESH_SUBMIT, Decision.RESUBMIT]


def test_what_is_submitted_again_is_the_present_request() -> None:
    """Its digest is recorded: a person's clear of it must find the run that it made."""
    server = Server()
    with pytest.raises(Crash):
        run_attempt(FakePort(server, FIRST, faults={"submit": [Fault(Crash())]}), ask(digest="sha256:one"))
    edited = ask(digest="sha256:two", mode=Mode.DEFER)
    with pytest.raises(Crash):
        run_attempt(FakePort(server, SECOND, faults={"submit": [Fault(Crash(), is_after=True)]}), edited)
    record = server.record()
    assert record is not None
    assert (record.digest, record.mode) == ("sha256:two", Mode.DEFER)
    run_attempt(FakePort(server, attempt(3, max_tries=5, clear_number=1)), edited)
    assert server.states() == ["success"]


@pytest.mark.parametrize("error", [AWAY, FORBIDDEN], ids=["away", "forbidden"])
@pytest.mark.parametrize("mode", Mode)
def test_a_run_that_cannot_be_read_is_found_by_its_409(mode: Mode, error: LookUpFailedError) -> None:
    server = Server()
    request = ask(mode=mode)
    with pytest.raises(Crash):
        run_attempt(FakePort(server, FIRST, faults={"submit": [Fault(Crash(), is_after=True)]}), request)
    port = FakePort(server, SECOND, faults={"look_up": [Fault(error)]})
    run_attempt(port, request)
    assert len(server.runs) == 1
    assert port.troubles == [error]
    assert decisions(server) == [Decision.FRESH_SUBMIT, Decision.RESUBMIT, Decision.RECONNECT]


def test_a_failed_run_is_followed_by_a_fresh_one() -> None:
    server = Server()
    server.on_sleep = lambda server: server.end_all("failed")
    with pytest.raises(ChildRunFailedError):
        run_attempt(FakePort(server, FIRST), ask())
    server.on_sleep = lambda server: server.end_all("success")
    run_attempt(FakePort(server, SECOND), ask())
    assert server.states() == ["failed", "success"]
    record = server.record()
    assert record is not None
    assert record.generation == 1
    assert [entry.decision for entry in record.attempts] == [Decision.FRESH_SUBMIT, Decision.TERMINAL_RESUBMIT]
    assert len({entry.run_id for entry in record.attempts}) == 2


@pytest.mark.parametrize("state", ["queued", "running", "success", "failed"])
def test_fire_and_forget_is_content_with_any_run(state: str) -> None:
    server = Server()
    request = ask(mode=Mode.FIRE_AND_FORGET)
    with pytest.raises(Crash):
        run_attempt(FakePort(server, FIRST, faults={"submit": [Fault(Crash(), is_after=True)]}), request)
    server.end_all(state)
    run_attempt(FakePort(server, SECOND), request)
    assert server.states() == [state]
    record = server.record()
    assert record is not None
    assert record.is_consumed


# A 409 on our own id.


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("run_id", [None, "fixed"])
def test_a_lost_reply_is_no_second_run(mode: Mode, run_id: str | None) -> None:
    server = Server()
    port = FakePort(server, FIRST, faults={"submit": [Fault(UNKNOWN, is_after=True)]})
    run_attempt(port, ask(mode=mode, run_id=run_id))
    assert len(server.runs) == 1
    assert port.troubles == [UNKNOWN]
    assert port.sleeps[0] == protocol.RESEND_PAUSES_SECONDS[0]


def test_an_answer_that_never_comes_leaves_the_run_id_recorded() -> None:
    server = Server()
    port = FakePort(server, FIRST, faults={"submit": [Fault(UNKNOWN)] * 4})
    with pytest.raises(SubmissionUnknownError):
        run_attempt(port, ask())
    assert port.sleeps == list(protocol.RESEND_PAUSES_SECONDS)
    assert not server.runs
    record = server.record()
    assert record is not None
    run_attempt(FakePort(server, SECOND), ask())
    assert list(server.runs) == [("child", record.run_id)]


def test_the_look_after_a_409_is_repeated() -> None:
    server = Server()
    port = FakePort(server, FIRST, faults={"submit": [Fault(UNKNOWN, is_after=True)], "look_up": [Fault(AWAY)] * 3})
    run_attempt(port, ask())
    assert server.states() == ["success"]
    assert port.troubles == [UNKNOWN, AWAY, AWAY, AWAY]


@pytest.mark.parametrize(("error", "times"), [(AWAY, 4), (FORBIDDEN, 1)])
def test_a_409_that_cannot_be_understood_fails_the_attempt(error: LookUpFailedError, times: int) -> None:
    server = Server()
    faults: dict[str, list[Fault | None]] = {
        "submit": [Fault(UNKNOWN, is_after=True)],
        "look_up": [Fault(error)] * times,
    }
    with pytest.raises(LookUpFailedError):
        run_attempt(FakePort(server, FIRST, faults=faults), ask())
    run_attempt(FakePort(server, SECOND), ask())
    assert server.states() == ["success"]


def test_a_409_on_a_failed_child_fails_the_attempt() -> None:
    server = Server()
    with pytest.raises(Crash):
        run_attempt(FakePort(server, FIRST, faults={"submit": [Fault(Crash(), is_after=True)]}), ask())
    server.end_all("failed")
    with pytest.raises(ChildRunFailedError):
        run_attempt(FakePort(server, SECOND, faults={"look_up": [Fault(AWAY)]}), ask())
    assert server.states() == ["failed"]


class BusyServer(Server):
    """Other runs of the child take every logical date that is asked for, up to a number of times."""

    clashes: int

    def create(self, dag_id: str, run: Run) -> bool:
        """Answer 409 while there are clashes left."""
        if self.clashes:
            self.clashes -= 1
            return False
        return super().create(dag_id, run)


@pytest.mark.parametrize("run_id", [None, "fixed"])
def test_a_logical_date_of_ours_that_is_taken_is_chosen_again(run_id: str | None) -> None:
    server = BusyServer()
    server.clashes = protocol.MAX_DATE_CLASHES - 1
    run_attempt(FakePort(server, FIRST), ask(run_id=run_id))
    assert server.states() == ["success"]
    record = server.record()
    assert record is not None
    assert record.logical_date == next(iter(server.runs.values())).logical_date


def test_a_child_dag_whose_dates_are_always_taken() -> None:
    server = BusyServer()
    server.clashes = protocol.MAX_DATE_CLASHES
    with pytest.raises(LogicalDateClashError, match=f"{protocol.MAX_DATE_CLASHES} times in a row"):
        run_attempt(FakePort(server, FIRST), ask())
    assert not server.runs


def test_a_409_without_a_run_and_without_a_date_of_ours() -> None:
    """With ``run_after`` there is no logical date, so nothing can be chosen again; the run may be a deleted one."""
    server = BusyServer()
    server.clashes = 1
    run_attempt(FakePort(server, FIRST), ask(is_date_ours=False))
    assert server.states() == ["success"]


# The outcome is consumed once.


@pytest.mark.parametrize("mode", Mode)
def test_a_crash_after_the_mark_succeeds_again(mode: Mode) -> None:
    server = Server()
    run_attempt(FakePort(server, FIRST), ask(mode=mode))
    port = FakePort(server, SECOND)
    run_attempt(port, ask(mode=mode))
    assert port.calls == ["read"]
    assert len(server.runs) == 1
    assert decisions(server)[-1] is Decision.SUCCEED_AGAIN


@pytest.mark.parametrize("mode", Mode)
def test_a_clear_after_success_starts_a_fresh_child(mode: Mode) -> None:
    server = Server()
    run_attempt(FakePort(server, FIRST), ask(mode=mode))
    run_attempt(FakePort(server, CLEARED), ask(mode=mode))
    assert len(server.runs) == 2


def test_a_clear_with_another_request_starts_a_fresh_child() -> None:
    server = Server()
    crash_while_waiting(server, ask())
    run_attempt(FakePort(server, CLEARED), ask(digest="sha256:two", dag_id="another"))
    assert [dag_id for dag_id, _ in server.runs] == ["child", "another"]


def test_a_retry_with_another_request_adopts_what_runs() -> None:
    """A template that renders otherwise on each try must not start a second child."""
    server = Server()
    crash_while_waiting(server, ask())
    run_attempt(FakePort(server, SECOND), ask(digest="sha256:two"))
    assert server.states() == ["success"]


def test_the_mark_is_not_written_twice_where_it_stands() -> None:
    server = Server()
    run_attempt(FakePort(server, FIRST), ask())
    before = server.journal
    run_attempt(FakePort(server, SECOND), ask())
    assert server.journal == before


# Fixed identities.


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("state", ["queued", "running", "success", "failed"])
def test_a_foreign_run_under_a_fixed_id_fails_the_task(mode: Mode, state: str) -> None:
    server = Server()
    server.create("child", Run("fixed", FIXED_DATE, state))
    with pytest.raises(ChildRunForeignError, match=f"It is {state}"):
        run_attempt(FakePort(server, FIRST), ask(mode=mode, run_id="fixed"))
    assert server.states() == [state]
    assert server.journal is None


def test_a_foreign_run_is_skipped_if_asked() -> None:
    server = Server()
    server.create("child", Run("fixed", FIXED_DATE, "running"))
    with pytest.raises(ForeignRunSkipError):
        run_attempt(FakePort(server, FIRST), ask(run_id="fixed", is_skip=True))
    assert (server.states(), server.journal) == (["running"], None)


@pytest.mark.parametrize("mode", Mode)
def test_a_foreign_run_is_reset_if_asked(mode: Mode) -> None:
    server = Server()
    server.create("child", Run("fixed", FIXED_DATE, "success"))
    run_attempt(FakePort(server, FIRST), ask(mode=mode, run_id="fixed", is_reset=True, is_skip=True))
    (run,) = server.runs.values()
    assert run.clear_number == 1
    assert server.calls.count("reset") == 1


def test_a_foreign_run_that_comes_between_the_look_and_the_request() -> None:
    server = Server()
    port = FakePort(server, FIRST)
    write = port.write

    def write_late(record: Record) -> None:
        write(record)
        server.create("child", Run("fixed", FIXED_DATE, "running"))

    port.write = write_late  # type: ignore[method-assign]
    with pytest.raises(ChildRunForeignError):
        run_attempt(port, ask(run_id="fixed"))
    # The record stands, and the next attempt can tell by the date that the run is not its own.
    with pytest.raises(ChildRunForeignError):
        run_attempt(FakePort(server, SECOND), ask(run_id="fixed"))
    assert server.states() == ["running"]
    assert decisions(server)[-1] is Decision.FOREIGN


@pytest.mark.parametrize(
    ("is_skip", "error"), [(False, LogicalDateTakenError), (True, ForeignRunSkipError)], ids=["fail", "skip"]
)
def test_a_fixed_date_that_another_run_has(is_skip: bool, error: type[Exception]) -> None:  # noqa: FBT001 - a parameter
    server = Server()
    server.create("child", Run("scheduled", FIXED_DATE, "success"))
    request = ask(run_id="manual-date", logical_date=FIXED_DATE, is_date_ours=False, is_skip=is_skip)
    with pytest.raises(error):
        run_attempt(FakePort(server, FIRST), request)
    assert server.states() == ["success"]


@pytest.mark.parametrize("mode", Mode)
def test_a_fixed_date_is_adopted_after_a_crash(mode: Mode) -> None:
    server = Server()
    request = ask(mode=mode, run_id="manual-date", logical_date=FIXED_DATE, is_date_ours=False, is_skip=True)
    with pytest.raises(Crash):
        run_attempt(FakePort(server, FIRST, faults={"submit": [Fault(Crash(), is_after=True)]}), request)
    run_attempt(FakePort(server, SECOND), request)
    assert len(server.runs) == 1


@pytest.mark.parametrize("mode", [Mode.WAIT, Mode.DEFER])
def test_a_failed_run_under_a_fixed_id_is_refused(mode: Mode) -> None:
    server = Server()
    server.on_sleep = lambda server: server.end_all("failed")
    with pytest.raises(ChildRunFailedError):
        run_attempt(FakePort(server, FIRST), ask(mode=mode, run_id="fixed"))
    with pytest.raises(FixedRunFailedError, match="reset_dag_run=True"):
        run_attempt(FakePort(server, SECOND), ask(mode=mode, run_id="fixed"))
    assert server.states() == ["failed"]


@pytest.mark.parametrize("mode", [Mode.WAIT, Mode.DEFER])
def test_a_failed_run_under_a_fixed_id_is_reset_if_asked(mode: Mode) -> None:
    server = Server()
    request = ask(mode=mode, run_id="fixed", is_reset=True)
    server.on_sleep = lambda server: server.end_all("failed")
    with pytest.raises(ChildRunFailedError):
        run_attempt(FakePort(server, FIRST), request)
    server.on_sleep = lambda server: server.end_all("success")
    run_attempt(FakePort(server, SECOND), request)
    (run,) = server.runs.values()
    assert (run.state, run.clear_number) == ("success", 1)


def test_a_run_that_is_reset_and_has_gone_is_made_anew() -> None:
    server = Server()
    server.create("child", Run("fixed", FIXED_DATE, "success"))
    port = FakePort(server, FIRST)
    write = port.write

    def write_late(record: Record) -> None:
        write(record)
        if not record.is_consumed:
            server.runs.clear()

    port.write = write_late  # type: ignore[method-assign]
    run_attempt(port, ask(run_id="fixed", is_reset=True))
    (run,) = server.runs.values()
    assert (run.state, run.clear_number) == ("success", 0)
    run_attempt(FakePort(server, SECOND), ask(run_id="fixed", is_reset=True))
    assert list(server.runs.values()) == [run]


@pytest.mark.parametrize("is_after", [False, True], ids=["before", "after"])
def test_a_reset_happens_once(is_after: bool) -> None:  # noqa: FBT001 - a parameter
    server = Server()
    server.create("child", Run("fixed", FIXED_DATE, "success"))
    request = ask(run_id="fixed", is_reset=True)
    with pytest.raises(Crash):
        run_attempt(FakePort(server, FIRST, faults={"reset": [Fault(Crash(), is_after=is_after)]}), request)
    run_attempt(FakePort(server, SECOND), request)
    run_attempt(FakePort(server, THIRD), request)
    (run,) = server.runs.values()
    assert (run.state, run.clear_number) == ("success", 1)


def test_a_pending_reset_is_looked_at_until_it_can_be_seen() -> None:
    """A request sent blindly would be another reset."""
    server = Server()
    server.create("child", Run("fixed", FIXED_DATE, "success"))
    request = ask(run_id="fixed", is_reset=True)
    with pytest.raises(Crash):
        run_attempt(FakePort(server, FIRST, faults={"reset": [Fault(Crash(), is_after=True)]}), request)
    port = FakePort(server, SECOND, faults={"look_up": [Fault(AWAY)] * 4})
    with pytest.raises(LookUpFailedError):
        run_attempt(port, request)
    assert port.troubles == [AWAY, AWAY, AWAY]
    run_attempt(FakePort(server, THIRD, faults={"look_up": [Fault(AWAY)]}), request)
    (run,) = server.runs.values()
    assert (run.state, run.clear_number) == ("success", 1)


def test_a_run_that_was_deleted_while_its_reset_was_pending_is_made_once() -> None:
    server = Server()
    server.create("child", Run("fixed", FIXED_DATE, "success"))
    request = ask(run_id="fixed", is_reset=True)
    with pytest.raises(Crash):
        run_attempt(FakePort(server, FIRST, faults={"reset": [Fault(Crash())]}), request)
    server.runs.clear()
    run_attempt(FakePort(server, SECOND), request)
    (run,) = server.runs.values()
    assert (run.state, run.clear_number) == ("success", 0)


@pytest.mark.parametrize("is_skip", [False, True])
def test_two_parents_that_share_a_fixed_id(is_skip: bool) -> None:  # noqa: FBT001 - a parameter
    """One of them starts the run; to the other it is somebody else's, whichever of its requests is the late one."""
    one, other = Server(), Server()
    other.runs = one.runs
    other.seconds = 0.5
    request = ask(run_id="shared", is_skip=is_skip)
    with pytest.raises(Crash):
        run_attempt(FakePort(one, FIRST, faults={"submit": [Fault(Crash())]}), request)
    run_attempt(FakePort(other, FIRST), request)
    with pytest.raises((ChildRunForeignError, ForeignRunSkipError)):
        run_attempt(FakePort(one, SECOND), request)
    assert one.states() == ["success"]


# A deferred wait.


def test_a_deferred_child_that_was_deleted_ends_the_wait_and_the_next_try_starts_it() -> None:
    server = Server()
    server.on_sleep = lambda server: server.runs.clear()
    with pytest.raises(ChildRunMissingError, match="does not exist any more"):
        run_attempt(FakePort(server, FIRST), ask(mode=Mode.DEFER))
    server.on_sleep = lambda server: server.end_all("success")
    run_attempt(FakePort(server, SECOND), ask(mode=Mode.DEFER))
    assert server.states() == ["success"]


def test_a_deferred_child_that_failed() -> None:
    server = Server()
    server.on_sleep = lambda server: server.end_all("failed")
    with pytest.raises(ChildRunFailedError):
        run_attempt(FakePort(server, FIRST), ask(mode=Mode.DEFER))
    record = server.record()
    assert record is not None
    assert not record.is_consumed


def test_a_state_that_does_not_end_the_wait_defers_again() -> None:
    server = Server()
    states = iter(["running", "queued", "success"])

    def go_on(server: Server) -> None:
        for run in server.runs.values():
            run.state = next(states)

    server.on_sleep = go_on
    port = FakePort(server, FIRST)
    run_attempt(port, ask(mode=Mode.DEFER))
    assert port.calls == ["write", "submit", "write"]


def test_a_synchronous_child_that_was_deleted() -> None:
    server = Server()
    server.on_sleep = lambda server: server.runs.clear()
    with pytest.raises(ChildRunMissingError):
        run_attempt(FakePort(server, FIRST), ask())
    server.on_sleep = lambda server: server.end_all("success")
    run_attempt(FakePort(server, SECOND), ask())
    assert server.states() == ["success"]


# Fail closed, and fencing.


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize(
    "error",
    [JournalReadError("away"), RecordDamagedError("durable_child_run", "it is a text")],
    ids=["away", "damaged"],
)
def test_a_journal_that_cannot_be_read_starts_nothing(mode: Mode, error: Exception) -> None:
    server = Server()
    port = FakePort(server, SECOND, faults={"read": [Fault(error)]})
    with pytest.raises(type(error)):
        run_attempt(port, ask(mode=mode))
    assert port.calls == ["read"]
    assert not server.runs


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("is_after", [False, True], ids=["before", "after"])
def test_a_journal_that_cannot_be_written_starts_nothing(mode: Mode, is_after: bool) -> None:  # noqa: FBT001 - a parameter
    server = Server()
    error = JournalWriteError("child", "x", "away")
    with pytest.raises(JournalWriteError):
        run_attempt(FakePort(server, FIRST, faults={"write": [Fault(error, is_after=is_after)]}), ask(mode=mode))
    assert not server.runs
    run_attempt(FakePort(server, SECOND), ask(mode=mode))
    assert len(server.runs) == 1


@pytest.mark.parametrize("mode", Mode)
def test_success_is_not_reported_where_it_cannot_be_recorded(mode: Mode) -> None:
    server = Server()
    error = JournalWriteError("child", "x", "away")
    with pytest.raises(JournalWriteError):
        run_attempt(FakePort(server, FIRST, faults={"write": [None, Fault(error)]}), ask(mode=mode))
    run_attempt(FakePort(server, SECOND), ask(mode=mode))
    assert len(server.runs) == 1


@pytest.mark.parametrize("mode", Mode)
def test_a_request_that_is_refused_started_nothing(mode: Mode) -> None:
    server = Server()
    refused = SubmissionRefusedError("child", "x", "no such Dag")
    with pytest.raises(SubmissionRefusedError):
        run_attempt(FakePort(server, FIRST, faults={"submit": [Fault(refused)]}), ask(mode=mode))
    assert not server.runs
    run_attempt(FakePort(server, SECOND), ask(mode=mode))
    assert len(server.runs) == 1


@pytest.mark.parametrize("mode", Mode)
def test_a_superseded_attempt_submits_nothing(mode: Mode) -> None:
    """It has read, and decided, when the newer attempt begins and ends; its own write then fails."""
    server = Server()
    old = FakePort(server, FIRST)
    write = old.write

    def write_late(record: Record) -> None:
        run_attempt(FakePort(server, SECOND), ask(mode=mode))
        write(record)

    old.write = write_late  # type: ignore[method-assign]
    with pytest.raises(JournalWriteError, match="a newer attempt"):
        run_attempt(old, ask(mode=mode))
    assert len(server.runs) == 1


def test_a_superseded_attempt_that_adopts_finds_out() -> None:
    server = Server()
    crash_while_waiting(server, ask())
    old = FakePort(server, SECOND)
    server.current = 3
    with pytest.raises(JournalWriteError):
        run_attempt(old, ask())
    assert server.states() == ["queued"]


@pytest.mark.parametrize("mode", Mode)
def test_a_first_try_that_is_executed_twice_starts_one_run(mode: Mode) -> None:
    server = Server()
    with pytest.raises(Crash):
        run_attempt(FakePort(server, FIRST, faults={"submit": [Fault(Crash(), is_after=True)]}), ask(mode=mode))
    run_attempt(FakePort(server, FIRST), ask(mode=mode))
    assert len(server.runs) == 1


@pytest.mark.parametrize("is_reset", [False, True])
def test_a_first_try_that_is_executed_twice_knows_its_fixed_run(is_reset: bool) -> None:  # noqa: FBT001 - a parameter
    server = Server()
    request = ask(run_id="fixed", is_reset=is_reset)
    with pytest.raises(Crash):
        run_attempt(FakePort(server, FIRST, faults={"submit": [Fault(Crash(), is_after=True)]}), request)
    run_attempt(FakePort(server, FIRST), request)
    (run,) = server.runs.values()
    assert (run.state, run.clear_number) == ("success", 0)


# What is recorded of each attempt.


def test_the_record_tells_the_story() -> None:
    server = Server()
    crash_while_waiting(server, ask())
    server.runs.clear()
    with pytest.raises(Crash):
        run_attempt(FakePort(server, SECOND, faults={"sleep": [Fault(Crash())]}), ask())
    run_attempt(FakePort(server, THIRD), ask())
    record = server.record()
    assert record is not None
    assert [(entry.try_number, entry.decision) for entry in record.attempts] == [
        (1, Decision.FRESH_SUBMIT),
        (2, Decision.RESUBMIT),
        (3, Decision.RECONNECT),
    ]
    assert all(entry.at > EPOCH for entry in record.attempts)


def test_what_is_told_of_a_reconnect_names_the_run_and_its_state() -> None:
    server = Server()
    crash_while_waiting(server, ask())
    run_attempt(FakePort(server, SECOND), ask())
    record = server.record()
    assert record is not None
    assert server.told[-1] == (Decision.RECONNECT, record.run_id, "queued")
