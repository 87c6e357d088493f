"""Several calls in one try: each has its own record, and a later try makes the same calls or fails."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from airflow_durable.core.errors import CallsDifferError, ChildRunFailedError, LookUpFailedError
from airflow_durable.core.model import Mode, OnClear, Proof

from .fakes import FIXED_DATE, Crash, FakePort, Fault, Run, Server, ask, ask_unprovable, attempt, cleared, run_calls

if TYPE_CHECKING:
    from datetime import datetime

    from airflow_durable.core.model import Attempt, Request
    from airflow_durable.core.record import Record

CONFS = ("a", "b", "c")
AWAY = Fault(LookUpFailedError("child", "x", "away", is_transient=True))


def loop(server: Server, at: Attempt, confs: tuple[str, ...] = CONFS, **options: object) -> FakePort:
    """Run a loop of calls in one try."""
    port = FakePort(server, at, **options)  # type: ignore[arg-type]
    run_calls(port, [ask()] * len(confs), confs)
    return port


def crash_in_call(server: Server, at: Attempt, call: int, requests: list[Request] | None = None) -> None:
    """Run a loop that dies in the wait of this call."""
    on_sleep = server.on_sleep
    slept = itertools.count(1)

    def end_or_die(server: Server) -> None:
        if next(slept) == call:
            raise Crash
        server.end_all("success")

    server.on_sleep = end_or_die
    with pytest.raises(Crash):
        run_calls(FakePort(server, at), requests or [ask()] * len(CONFS), CONFS)
    server.on_sleep = on_sleep
    server.calls.clear()


def outcome_at(record: Record) -> datetime:
    assert record.outcome is not None
    return record.outcome.at


def count_confs(server: Server) -> list[str]:
    return [run.conf for run in server.runs.values()]


def test_each_call_has_its_own_child_and_record() -> None:
    server = Server()
    loop(server, attempt(1))
    assert server.confs() == ["a", "b", "c"]
    assert [server.record(call).is_consumed for call in (1, 2, 3)] == [True] * 3
    assert "read" not in server.calls


@pytest.mark.parametrize("version", [(3, 2), (3, 3)], ids=["3.2", "3.3"])
@pytest.mark.parametrize("is_after", [False, True], ids=["before", "after"])
def test_a_crash_anywhere_in_a_loop_makes_no_second_run(
    is_after: bool,  # noqa: FBT001 - a parameter
    version: tuple[int, int],
) -> None:
    for crash_at in itertools.count():
        server = Server(version)
        try:
            loop(server, attempt(1), crash_at=crash_at, is_crash_after=is_after)
        except Crash:
            loop(server, attempt(2))
        else:
            break
        assert server.confs() == ["a", "b", "c"], f"crash at {crash_at}"
    assert crash_at > 15


def test_a_second_child_of_which_the_first_failed_once_is_triggered() -> None:
    server = Server()
    server.on_sleep = lambda server: server.end_all("failed")
    with pytest.raises(ChildRunFailedError):
        loop(server, attempt(1))
    server.on_sleep = lambda server: server.end_all("success")
    loop(server, attempt(2))
    assert count_confs(server) == ["a", "a", "b", "c"]
    assert server.confs() == ["a", "b", "c"]


def test_a_call_that_was_never_made_is_believed_without_a_search() -> None:
    server = Server()
    crash_in_call(server, attempt(1), 1)
    loop(server, attempt(2))
    assert "count" not in server.calls


@pytest.mark.parametrize("number", [1, 2])
def test_other_calls_in_a_retry_are_refused(number: int) -> None:
    server = Server()
    crash_in_call(server, attempt(1), 3)
    before = count_confs(server)
    changed = tuple("other" if call == number else conf for call, conf in enumerate(CONFS, start=1))
    with pytest.raises(CallsDifferError, match=f"Call {number} of this try"):
        loop(server, attempt(2), changed)
    assert count_confs(server) == before


def test_another_order_in_a_retry_is_refused() -> None:
    server = Server()
    crash_in_call(server, attempt(1), 3)
    with pytest.raises(CallsDifferError, match="Call 1"):
        loop(server, attempt(2), ("b", "a", "c"))


def test_another_dag_in_a_later_call_of_a_retry_is_refused() -> None:
    server = Server()
    crash_in_call(server, attempt(1), 2)
    port = FakePort(server, attempt(2))
    with pytest.raises(CallsDifferError, match=r"Call 2 of .* started run '.*_c2' of Dag 'child'"):
        run_calls(port, [ask(), ask(dag_id="other")], ("a", "b"))


def test_another_date_in_a_call_of_a_retry_is_refused() -> None:
    server = Server()
    requests = [ask(run_id=f"fixed {conf}") for conf in CONFS]
    crash_in_call(server, attempt(1), 2, requests)
    requests[0] = replace(requests[0], is_date_ours=False, logical_date=FIXED_DATE)
    with pytest.raises(CallsDifferError, match="Call 1"):
        run_calls(FakePort(server, attempt(2)), requests, CONFS)


def test_the_last_call_may_differ_if_there_is_only_one() -> None:
    server = Server()
    crash_in_call(server, attempt(1), 1)
    loop(server, attempt(2), ("other",))
    assert server.confs() == ["a"]


def test_after_a_clear_of_a_crashed_loop_what_was_done_is_not_done_again() -> None:
    server = Server()
    crash_in_call(server, attempt(1), 3)
    loop(server, cleared(2))
    assert server.confs() == ["a", "b", "c"]


def test_after_a_clear_of_a_loop_that_succeeded_all_of_it_is_done_again() -> None:
    server = Server()
    loop(server, attempt(1))
    loop(server, cleared(2))
    assert server.confs() == [*CONFS, *CONFS]
    loop(server, attempt(3, max_tries=5, clear_number=2))
    assert server.confs() == [*CONFS, *CONFS, *CONFS]


def test_after_a_clear_of_a_loop_of_fixed_ids_all_of_them_are_reset_once() -> None:
    server = Server()
    requests = [ask(run_id=f"fixed {conf}", is_reset=True) for conf in CONFS]
    run_calls(FakePort(server, attempt(1)), requests, CONFS)
    assert [run.clear_number for run in server.runs.values()] == [0, 0, 0]
    crash_in_call(server, cleared(2), 3, requests)
    run_calls(FakePort(server, attempt(3, max_tries=4, clear_number=1)), requests, CONFS)
    assert [run.clear_number for run in server.runs.values()] == [1, 1, 1]


def test_a_later_child_that_was_adopted_after_a_clear_stays_adopted() -> None:
    """Upstream ran again, so call 1 is done anew; call 2 was active, and is adopted."""
    server = Server()
    crash_in_call(server, attempt(1), 2)
    server.upstream_ran_at = server.now()
    second = list(server.runs.values())[1]
    slept = itertools.count(1)

    def end_or_die(server: Server) -> None:
        if next(slept) == 2:
            raise Crash
        server.end_all("success")
        second.state = "running"

    server.on_sleep = end_or_die
    with pytest.raises(Crash):
        loop(server, cleared(2))
    server.end_all("success")
    server.on_sleep = lambda server: server.end_all("success")
    loop(server, attempt(3, max_tries=4, clear_number=1))
    assert count_confs(server) == ["a", "b", "a", "c"]


def test_a_call_that_was_consumed_and_cannot_be_read_is_met_after_a_clear() -> None:
    server = Server()
    requests = [replace(ask_unprovable(), run_id=f"fixed {conf}") for conf in CONFS]
    crash_in_call(server, attempt(1), 2, requests)
    port = FakePort(server, cleared(2), faults={"look_up": [AWAY]})
    run_calls(port, requests, CONFS)
    assert count_confs(server) == ["a", "b", "c"]
    assert server.record().proof is Proof.REPLY


def test_on_clear_fresh_starts_all_calls_again() -> None:
    server = Server()
    crash_in_call(server, attempt(1), 2)
    port = FakePort(server, cleared(2))
    run_calls(port, [ask(on_clear=OnClear.FRESH)] * 3, CONFS)
    assert count_confs(server) == ["a", "b", "a", "b", "c"]


def test_calls_without_a_wait() -> None:
    server = Server()
    requests = [ask(mode=Mode.FIRE_AND_FORGET)] * 3
    run_calls(FakePort(server, attempt(1)), requests, CONFS)
    run_calls(FakePort(server, attempt(2)), requests, CONFS)
    assert count_confs(server) == ["a", "b", "c"]


def test_a_record_of_one_call_that_is_lost_is_found_by_its_run() -> None:
    server = Server()
    crash_in_call(server, attempt(1), 2)
    server.lose_record()
    loop(server, attempt(2))
    assert server.confs() == ["a", "b", "c"]


def test_a_foreign_run_is_no_call() -> None:
    server = Server()
    server.create("child", Run("x"))
    loop(server, attempt(1))
    assert count_confs(server) == ["conf", "a", "b", "c"]


@pytest.mark.parametrize("mode", [Mode.WAIT, Mode.DEFER])
@pytest.mark.parametrize("is_unreadable", [False, True], ids=["missing", "unreadable"])
def test_a_call_that_is_made_again_after_a_clear_is_waited_for_again(
    is_unreadable: bool,  # noqa: FBT001 - a parameter
    mode: Mode,
) -> None:
    """Its run was deleted; that its success was marked says nothing of the new one."""
    server = Server()
    crash_in_call(server, attempt(1), 2)
    del server.runs["child", server.record().run_id]
    server.on_sleep = lambda server: server.end_all("failed")
    faults: dict[str, list[Fault | None]] = {"look_up": [AWAY]} if is_unreadable else {}
    with pytest.raises(ChildRunFailedError):
        run_calls(FakePort(server, cleared(2), faults=faults), [ask(mode=mode)] * 3, CONFS)
    assert not server.record().is_consumed


def test_a_call_that_was_taken_after_a_clear_is_marked_anew() -> None:
    server = Server()
    crash_in_call(server, attempt(1), 2)
    marked = server.record()
    loop(server, cleared(2))
    assert outcome_at(server.record()) > outcome_at(marked)
    assert server.record().max_tries == 4


def test_the_outcome_of_a_call_that_is_made_again_is_the_new_one() -> None:
    server = Server()
    crash_in_call(server, attempt(1), 2)
    marked = server.record()
    del server.runs["child", marked.run_id]
    loop(server, cleared(2))
    assert outcome_at(server.record()) > outcome_at(marked)


def test_calls_that_the_task_makes_no_more_say_nothing_of_its_success() -> None:
    server = Server()
    crash_in_call(server, attempt(1), 2)
    loop(server, cleared(2), ("new",))
    loop(server, attempt(3, max_tries=5, clear_number=2), ("new",))
    assert count_confs(server) == ["a", "b", "new", "new"]
