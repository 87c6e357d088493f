"""The order of calls and their number, and what exists at the server after each way through."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from airflow_durable.core import protocol
from airflow_durable.core.asks import asks_of
from airflow_durable.core.errors import (
    ChildRunFailedError,
    JournalReadError,
    JournalWriteError,
    RecordDamagedError,
    SubmissionRefusedError,
    SubmissionUnknownError,
)
from airflow_durable.core.model import Decision, Mode, OnParentEnd, Phase, Proof
from airflow_durable.core.run_ids import child_run_id, tag_of_life, tag_of_parent
from airflow_durable.core.stored import KEY

from .fakes import (
    FIXED_DATE,
    PARENT,
    FakePort,
    Fault,
    Run,
    Server,
    ask,
    ask_fixed_date,
    ask_fixed_id,
    ask_generated,
    ask_unprovable,
    attempt,
    cleared,
    crash_while_waiting,
    run_try,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_durable.core.model import Request

ASKS = {"generated": ask_generated, "id": ask_fixed_id, "date": ask_fixed_date, "id and run_after": ask_unprovable}
UNKNOWN = SubmissionUnknownError("child", "x", "no answer")
REFUSED = SubmissionRefusedError("child", "x", "no such Dag", status=404)
WAITED = ["look_up", "sleep", "look_up"]


def first_id() -> str:
    return child_run_id(PARENT, epoch=0, call=1, generation=0)


# The path without a crash, and its cost.


@pytest.mark.parametrize("ask_it", [ask_generated, ask_fixed_id, ask_fixed_date])
def test_a_first_try_writes_ahead_and_marks_and_reads_nothing(ask_it: Callable[[Mode], Request]) -> None:
    for mode, expected in [
        (Mode.WAIT, ["write", "submit", *WAITED, "write"]),
        (Mode.DEFER, ["write", "submit", "write"]),
        (Mode.FIRE_AND_FORGET, ["write", "submit", "write"]),
    ]:
        server = Server()
        run_try(FakePort(server, attempt(1)), ask_it(mode))
        assert server.calls == expected
        assert [record.phase for record in server.records()] == [Phase.INTENDED, Phase.CONSUMED]


def test_a_run_that_nothing_proves_costs_one_write_more() -> None:
    server = Server()
    run_try(FakePort(server, attempt(1)), ask_unprovable())
    assert server.calls == ["write", "submit", "write", *WAITED, "write"]
    assert [record.phase for record in server.records()] == [Phase.INTENDED, Phase.SENT, Phase.CONSUMED]


@pytest.mark.parametrize(
    ("version", "expected"),
    [((3, 1), ["count", "count", "write", "submit"]), ((3, 2), ["write", "submit"])],
    ids=["3.1", "3.2"],
)
def test_a_first_try_without_a_store(version: tuple[int, int], expected: list[str]) -> None:
    """The writes are to no journal: they cost nothing. On 3.1 a first try looks before it sends."""
    server = Server(version)
    run_try(FakePort(server, attempt(1)), ask())
    assert server.calls == [*expected, *WAITED, "write"]
    assert server.store == {}


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("queued", ["read", "look_up", "write", "sleep", "look_up", "write"]),
        ("success", ["read", "look_up", "write"]),
        ("failed", ["read", "look_up", "write", "submit", *WAITED, "write"]),
        ("", ["read", "look_up", "write", "submit", *WAITED, "write"]),
    ],
    ids=["active", "success", "failed", "missing"],
)
def test_what_a_retry_costs(state: str, expected: list[str]) -> None:
    server = Server()
    crash_while_waiting(server, ask())
    server.end_all(state)
    if not state:
        server.runs.clear()
    run_try(FakePort(server, attempt(2)), ask())
    assert server.calls == expected


@pytest.mark.parametrize("ask_it", ASKS.values(), ids=ASKS)
def test_what_is_recorded_before_it_is_sent(ask_it: Callable[[], Request]) -> None:
    server, request = Server(), ask_it()
    port = FakePort(server, attempt(1, clear_number=5), faults={"submit": [Fault(REFUSED)]})
    with pytest.raises(SubmissionRefusedError):
        run_try(port, request)
    record = server.record()
    assert (record.dag_id, record.run_id) == ("child", request.run_id or first_id())
    assert (record.proof, record.mode, record.phase) == (request.proof, Mode.WAIT, Phase.INTENDED)
    assert (record.max_tries, record.clear_number, record.task_instance_id) == (3, 5, "ti-1")
    assert (record.call, record.epoch, record.generation) == (1, 0, 0)
    assert record.outcome is None
    assert record.reset is None
    (entry,) = record.tries
    assert (entry.try_number, entry.decision, entry.run_id) == (1, Decision.FRESH_SUBMIT, record.run_id)
    assert server.told == [(Decision.FRESH_SUBMIT, record.run_id, None)]


@pytest.mark.parametrize(
    ("ask_it", "proof", "is_date_sent", "is_run_after_sent"),
    [
        (ask_generated, Proof.RUN_ID, True, False),
        (ask_fixed_id, Proof.LOGICAL_DATE, True, False),
        (ask_fixed_date, Proof.RUN_AFTER, True, True),
        (ask_unprovable, Proof.REPLY, False, False),
    ],
)
def test_by_what_a_run_is_known_is_sent(
    ask_it: Callable[[], Request],
    proof: Proof,
    is_date_sent: bool,  # noqa: FBT001 - a parameter
    is_run_after_sent: bool,  # noqa: FBT001 - a parameter
) -> None:
    server = Server()
    run_try(FakePort(server, attempt(1)), ask_it())
    record = server.record()
    assert record.proof is proof
    assert (record.logical_date is not None, record.run_after is not None) == (is_date_sent, is_run_after_sent)
    if proof is Proof.RUN_ID:
        assert [date.microsecond for date in record.dates] == [tag_of_life(PARENT, 1)]
    elif proof is not Proof.REPLY:
        assert [date.microsecond for date in record.dates] == [tag_of_parent(PARENT, 1)]
    else:
        assert record.dates == ()
    if proof is Proof.RUN_AFTER:
        assert record.logical_date == FIXED_DATE
        assert record.dates == (record.run_after,)


def test_on_an_airflow_that_takes_no_run_after_only_the_reply_proves_a_fixed_date() -> None:
    assert replace(ask_fixed_date(), is_run_after_ours=False).proof is Proof.REPLY


# An automatic retry.


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("ask_it", ASKS.values(), ids=ASKS)
@pytest.mark.parametrize("state", ["queued", "running", "unheard_of", "success"])
def test_a_retry_goes_on_with_the_run_whatever_the_conf(
    ask_it: Callable[[Mode], Request], mode: Mode, state: str
) -> None:
    server = Server()
    crash_while_waiting(server, ask_it(Mode.WAIT))
    server.only_run().state = state
    server.on_sleep = lambda server: setattr(server.only_run(), "state", "success")
    run_try(FakePort(server, attempt(2), conf="edited"), ask_it(mode))
    assert server.only_run().conf == "conf"
    assert "submit" not in server.calls
    assert server.record().is_consumed


def test_a_retry_goes_on_with_the_run_of_the_dag_that_was_asked_for_first() -> None:
    server = Server()
    crash_while_waiting(server, ask(dag_id="first"))
    run_try(FakePort(server, attempt(2), dag_id="second"), ask(dag_id="second"))
    assert list(server.runs) == [("first", first_id())]


def test_each_failed_child_is_followed_by_a_fresh_one() -> None:
    server = Server()
    server.on_sleep = lambda server: server.end_all("failed")
    for number in (1, 2, 3):
        with pytest.raises(ChildRunFailedError):
            run_try(FakePort(server, attempt(number)), ask())
    assert [run_id for _, run_id in server.runs] == [
        child_run_id(PARENT, epoch=0, call=1, generation=generation) for generation in range(3)
    ]
    # What is told is the run that was decided about.
    assert server.told[1:] == [
        (Decision.TERMINAL_RESUBMIT, child_run_id(PARENT, epoch=0, call=1, generation=0), "failed"),
        (Decision.TERMINAL_RESUBMIT, child_run_id(PARENT, epoch=0, call=1, generation=1), "failed"),
    ]


def test_the_record_of_a_retry_says_all_tries() -> None:
    server = Server()
    crash_while_waiting(server, ask())
    run_try(FakePort(server, attempt(2)), ask(mode=Mode.DEFER))
    entry = server.records()[1]
    assert (entry.phase, entry.mode, entry.task_instance_id) == (Phase.SENT, Mode.DEFER, "ti-2")
    assert [(one.try_number, one.decision) for one in server.record().tries] == [
        (1, Decision.FRESH_SUBMIT),
        (2, Decision.RECONNECT),
    ]


# A refusal is not an unknown.


def test_after_a_refusal_the_next_try_asks_for_what_the_dag_says_by_then() -> None:
    server = Server()
    with pytest.raises(SubmissionRefusedError):
        run_try(FakePort(server, attempt(1), faults={"submit": [Fault(REFUSED)]}), ask(dag_id="wrong"))
    run_try(FakePort(server, attempt(2), conf="new"), ask())
    assert list(server.runs) == [("child", child_run_id(PARENT, epoch=0, call=1, generation=1))]
    assert server.confs() == ["new"]


def test_after_a_refusal_the_present_date_is_sent() -> None:
    server = Server()
    with pytest.raises(SubmissionRefusedError):
        run_try(FakePort(server, attempt(1), faults={"submit": [Fault(REFUSED)]}), ask())
    run_try(FakePort(server, attempt(2)), ask())
    dates = [record.logical_date for record in server.records()]
    assert dates[0] != dates[1] == server.only_run().logical_date


@pytest.mark.parametrize("again", [attempt(2), cleared(2)], ids=["retry", "clear"])
def test_after_a_refusal_another_run_id_is_used(again: object) -> None:
    server = Server()
    with pytest.raises(SubmissionRefusedError):
        run_try(FakePort(server, attempt(1), faults={"submit": [Fault(REFUSED)]}), ask(run_id="wrong"))
    run_try(FakePort(server, again), ask(run_id="right"))  # type: ignore[arg-type]
    assert list(server.runs) == [("child", "right")]


def test_after_a_refusal_of_what_was_never_created_a_clear_takes_the_present_conf() -> None:
    server = Server()
    with pytest.raises(SubmissionRefusedError):
        run_try(FakePort(server, attempt(1), conf="old", faults={"submit": [Fault(REFUSED)]}), ask())
    run_try(FakePort(server, cleared(2), conf="new"), ask())
    assert server.confs() == ["new"]


# A request that is late.


def test_a_late_request_of_an_earlier_try_is_met() -> None:
    """It arrives between the look-up and the request of the next try."""
    server = Server()
    with pytest.raises(SubmissionUnknownError):
        run_try(FakePort(server, attempt(1), conf="old", faults={"submit": [Fault(UNKNOWN)] * 4}), ask())
    late = server.record()
    port = FakePort(server, attempt(2), conf="new")
    real = port.submit

    def arrive_first(record: object) -> bool:
        server.create("child", Run(late.run_id, late.logical_date, conf="old"))
        return real(record)  # type: ignore[arg-type]

    port.submit = arrive_first  # type: ignore[method-assign]
    run_try(port, ask())
    assert server.confs() == ["old"]


# The journal fails closed.


@pytest.mark.parametrize("ask_it", ASKS.values(), ids=ASKS)
def test_nothing_is_sent_that_could_not_be_recorded(ask_it: Callable[[], Request]) -> None:
    server = Server()
    broken = JournalWriteError("child", "x", "disk full")
    with pytest.raises(JournalWriteError):
        run_try(FakePort(server, attempt(1), faults={"write": [Fault(broken)]}), ask_it())
    assert server.calls == ["write"]


@pytest.mark.parametrize("error", [JournalReadError("forbidden"), RecordDamagedError(KEY, "why")])
def test_nothing_is_sent_if_the_journal_cannot_be_read(error: Exception) -> None:
    server = Server()
    with pytest.raises(type(error)):
        run_try(FakePort(server, attempt(2), faults={"read": [Fault(error)]}), ask())
    assert server.calls == ["read"]


def test_a_damaged_record_stops_the_try() -> None:
    server = Server()
    crash_while_waiting(server, ask())
    server.store[KEY] = json.dumps({"version": 99})
    with pytest.raises(RecordDamagedError):
        run_try(FakePort(server, attempt(2)), ask())
    assert len(server.runs) == 1


def test_a_read_that_wrongly_said_none_is_found_out_by_the_write() -> None:
    """A gateway answers 404 for a while; the journal looks again once it has written."""
    server = Server()
    run_try(FakePort(server, attempt(1)), ask())
    port = FakePort(server, attempt(2))
    port._journal.get = lambda key: None  # type: ignore[method-assign]
    real = port._journal._set

    def be_back(*args: object) -> None:
        real(*args)  # type: ignore[arg-type]
        del port._journal.get

    port._journal._set = be_back  # type: ignore[assignment,method-assign]
    server.runs.clear()
    with pytest.raises(JournalReadError, match="shows that it is wrong"):
        run_try(port, ask())
    assert not server.runs


# Reset, once.


@pytest.mark.parametrize("mode", Mode)
def test_a_reset_is_recorded_before_it_is_asked_for(mode: Mode) -> None:
    server = Server()
    server.create("child", Run("fixed", FIXED_DATE, "success"))
    port = FakePort(server, attempt(1))
    run_try(port, replace(ask_fixed_id(mode), is_reset=True))
    reset_at = server.calls.index("reset")
    assert server.calls[reset_at - 1] == "write"
    assert server.only_run().clear_number == 1
    baseline = next(record.reset for record in server.records() if record.reset)
    assert (baseline.clear_number, baseline.logical_date) == (0, FIXED_DATE)


def test_a_reset_that_did_not_arrive_is_asked_for_again() -> None:
    server = Server()
    request = replace(ask_fixed_id(), is_reset=True)
    server.create("child", Run("fixed", FIXED_DATE, "success"))
    with pytest.raises(SubmissionUnknownError):
        run_try(FakePort(server, attempt(1), faults={"reset": [Fault(UNKNOWN)]}), request)
    assert server.only_run().clear_number == 0
    run_try(FakePort(server, attempt(2)), request)
    assert server.only_run().clear_number == 1


def test_a_reset_whose_reply_was_lost_is_not_asked_for_again() -> None:
    server = Server()
    request = replace(ask_fixed_id(), is_reset=True)
    server.create("child", Run("fixed", FIXED_DATE, "success"))
    with pytest.raises(SubmissionUnknownError):
        run_try(FakePort(server, attempt(1), faults={"reset": [Fault(UNKNOWN, is_after=True)]}), request)
    run_try(FakePort(server, attempt(2)), request)
    assert server.only_run().clear_number == 1


# What the caller is told.


def test_a_run_that_was_only_just_created_was_not_seen() -> None:
    port = FakePort(Server(), attempt(1))
    started = protocol.trigger(port, ask(), port.attempt)
    assert (started.run, started.is_settled, started.is_waiting_out) == (None, False, False)
    again = FakePort(port.server, attempt(2))
    started = protocol.trigger(again, ask(), again.attempt)
    assert started.run is not None
    assert started.run.state == "queued"


def test_a_run_that_is_waited_out_is_not_recorded_so() -> None:
    server = Server()
    crash_while_waiting(server, ask(), conf="old")
    port = FakePort(server, cleared(2), conf="new")
    started = protocol.trigger(port, ask(), port.attempt)
    assert (started.is_waiting_out, started.is_settled, started.record.phase) == (True, False, Phase.WAITED_OUT)
    assert len(server.records()) == 1
    assert server.told == [(Decision.WAIT_OUT, first_id(), "queued")]


@pytest.mark.parametrize("ask_it", [ask, ask_fixed_id])
@pytest.mark.parametrize("now", OnParentEnd)
@pytest.mark.parametrize("before", OnParentEnd)
def test_a_retry_records_what_is_to_become_of_the_child_by_now(
    ask_it: Callable[[], Request], before: OnParentEnd, now: OnParentEnd
) -> None:
    """The parent's end is what the Dag file says at the latest try."""
    server = Server()
    crash_while_waiting(server, replace(ask_it(), on_parent_end=before))
    server.on_sleep = lambda server: server.end_all("success")
    run_try(FakePort(server, attempt(2)), replace(ask_it(), on_parent_end=now))
    assert {entry.asks for entry in server.records()[1:]} == {asks_of(now)}
