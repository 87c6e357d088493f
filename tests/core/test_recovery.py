"""Without a record: what is found by the run ids that a child can have, and what that costs."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from airflow_durable.core import sending
from airflow_durable.core.errors import ChildRunFailedError, LookUpFailedError, RunIdsTakenError
from airflow_durable.core.model import Decision, Mode, OnClear, Proof
from airflow_durable.core.record import Record
from airflow_durable.core.recovery import COUNTED_AT_ONCE, candidates, recover
from airflow_durable.core.run_ids import child_run_id, legacy_run_id
from airflow_durable.core.sending import MAX_OTHER_LIVES

from .fakes import (
    PARENT,
    RUN_AFTER,
    Crash,
    FakePort,
    Fault,
    Run,
    Server,
    ask,
    ask_fixed_date,
    ask_fixed_id,
    ask_unprovable,
    attempt,
    cleared,
    crash_while_waiting,
    run_try,
)

if TYPE_CHECKING:
    from airflow_durable.core.model import Attempt, ChildRun

VERSIONS = pytest.mark.parametrize("version", [(3, 1), (3, 2), (3, 3)], ids=["3.1", "3.2", "3.3"])


def name(epoch: int, generation: int, *, call: int = 1) -> str:
    return child_run_id(PARENT, epoch=epoch, call=call, generation=generation)


# Which run ids a child can have.


def test_the_first_try_can_have_one_child_and_those_that_come_after_runs_of_other_lives() -> None:
    ids = [candidate.run_id for candidate in candidates(attempt(1), 1)]
    others = [name(0, generation) for generation in range(MAX_OTHER_LIVES, 0, -1)]
    assert ids == [*others, name(0, 0), legacy_run_id(PARENT, 3, 0)]


def test_candidates_are_newest_first_and_those_since_the_latest_clear_before_all_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sending, "MAX_OTHER_LIVES", 0)
    at = attempt(4, max_tries=4 - 2 + 3)
    assert at.last_cleared_try == 2
    assert [(it.epoch, it.generation) for it in candidates(at, 2)] == [
        (2, 1),
        (2, 0),
        (3, 0),
        (1, 2),
        (1, 1),
        (1, 0),
        (0, 3),
        (0, 2),
        (0, 1),
        (0, 0),
    ]
    assert [it.run_id for it in candidates(at, 2)][:2] == [name(2, 1, call=2), name(2, 0, call=2)]


def test_the_candidates_of_the_first_call_end_with_those_of_release_0_1_0() -> None:
    found = candidates(attempt(3), 1)[-3:]
    assert [it.run_id for it in found] == [legacy_run_id(PARENT, 3, generation) for generation in (2, 1, 0)]
    assert {(it.epoch, it.generation) for it in found} == {(0, -1)}
    assert not any("durable" in it.run_id for it in candidates(attempt(3), 2))


def test_every_run_id_that_tries_can_have_made_is_a_candidate() -> None:
    """Any order of failures and clears: each child of it is among the candidates of the next try."""
    for clears in range(2**4):
        server, max_tries = Server((3, 2)), 3
        for number in range(1, 6):
            if number > 1 and clears >> (number - 2) & 1:
                max_tries = number - 1 + 3
            at = attempt(number, max_tries=max_tries)
            known = {it.run_id for it in candidates(at, 1)}
            assert {run_id for _, run_id in server.runs} <= known
            server.on_sleep = lambda server: server.end_all("failed")
            with pytest.raises(Exception, match="failed state"):
                run_try(FakePort(server, at), ask())
        assert len(server.runs) == 5


@pytest.mark.parametrize(("try_number", "epoch"), [(1, 0), (2, 0), (2, 1), (5, 0), (5, 2), (5, 4)])
def test_the_last_run_id_that_is_sent_is_a_candidate(try_number: int, epoch: int) -> None:
    at = attempt(try_number, max_tries=epoch + 3)
    last = max(it.generation for it in candidates(at, 1) if it.epoch == epoch)
    made = [name(epoch, last - 1), name(epoch, last)]
    before = Record("child", made[0], Proof.RUN_ID, Mode.WAIT, 3, 0, epoch=epoch, generation=last - 1)
    assert sending.new_record(ask(), at, before, is_anew=False).run_id == made[1]
    with pytest.raises(RunIdsTakenError):
        sending.new_record(ask(), at, replace(before, run_id=made[1], generation=last), is_anew=False)


# An automatic retry.


@VERSIONS
@pytest.mark.parametrize("mode", Mode)
def test_an_active_child_is_adopted(version: tuple[int, int], mode: Mode) -> None:
    server = Server(version)
    crash_while_waiting(server, ask())
    server.lose_record()
    run_try(FakePort(server, attempt(2)), ask(mode=mode))
    assert len(server.runs) == 1


@VERSIONS
@pytest.mark.parametrize("conf", ["conf", "changed"])
def test_an_ended_child_is_taken(version: tuple[int, int], conf: str) -> None:
    """An automatic retry goes on with what an earlier try started, whatever the conf says by now."""
    server = Server(version)
    crash_while_waiting(server, ask())
    server.lose_record()
    server.end_all("success")
    run_try(FakePort(server, attempt(2), conf=conf), ask())
    assert server.states() == ["success"]


@VERSIONS
def test_a_failed_child_is_followed_by_the_next_generation(version: tuple[int, int]) -> None:
    server = Server(version)
    crash_while_waiting(server, ask())
    server.lose_record()
    server.end_all("failed")
    run_try(FakePort(server, attempt(2)), ask())
    assert [run_id for _, run_id in server.runs] == [name(0, 0), name(0, 1)]


@VERSIONS
def test_the_newest_child_is_the_one_that_counts(version: tuple[int, int]) -> None:
    server = Server(version)
    for generation in range(4):
        server.create("child", Run(name(0, generation), None, "success" if generation == 3 else "failed"))
    run_try(FakePort(server, attempt(6)), ask())
    assert server.states() == ["failed"] * 3 + ["success"]
    assert server.told[0][1] == name(0, 3)


@VERSIONS
def test_a_child_that_was_never_created_is_created_once(version: tuple[int, int]) -> None:
    server = Server(version)
    with pytest.raises(Crash):
        run_try(FakePort(server, attempt(1), faults={"submit": [Fault(Crash())]}), ask())
    server.lose_record()
    run_try(FakePort(server, attempt(2)), ask())
    assert [run_id for _, run_id in server.runs] == [name(0, 0)]


@pytest.mark.parametrize("ask_it", [ask_fixed_id, ask_fixed_date])
def test_a_fixed_identity_is_looked_up_once(ask_it: object) -> None:
    server = Server()
    request = ask_it()  # type: ignore[operator]
    crash_while_waiting(server, request)
    server.lose_record()
    server.end_all("success")
    run_try(FakePort(server, attempt(2)), request)
    assert server.states() == ["success"]
    assert server.calls == ["read", "look_up", "write"]


def test_the_record_of_what_was_found_is_as_the_one_that_was_lost() -> None:
    """But for what no run tells: which dates were sent, and by which tries."""
    server = Server()
    run_try(FakePort(server, attempt(1)), ask())
    crash_while_waiting(server, ask(), at=cleared(2))
    lost = server.record()
    assert (lost.epoch, lost.generation) == (1, 0)
    server.lose_record()
    at = attempt(3, max_tries=4, clear_number=1)
    found = recover(FakePort(server, at), ask(), at)
    assert found is not None
    expected = replace(lost, is_recovered=True, dates=(), tries=(), run_after=None, logical_date=None)
    assert found.record == replace(expected, task_instance_id=at.task_instance_id)


def test_the_record_of_a_run_of_before_a_clear_has_its_own_epoch() -> None:
    server = Server()
    crash_while_waiting(server, ask())
    server.lose_record()
    at = cleared(3)
    found = recover(FakePort(server, at), ask(), at)
    assert found is not None
    assert (found.record.epoch, found.record.generation, found.clear is not None) == (0, 0, True)


def test_the_record_of_a_fixed_run_has_the_date_that_was_asked_for() -> None:
    server = Server()
    request = replace(ask_unprovable(), logical_date=RUN_AFTER)
    server.create("child", Run(request.run_id or "", RUN_AFTER, "running"))
    at = attempt(2)
    found = recover(FakePort(server, at), request, at)
    assert found is not None
    assert found.record.logical_date == RUN_AFTER


def test_a_fixed_identity_without_a_run_starts_one() -> None:
    server = Server()
    run_try(FakePort(server, attempt(2)), ask_unprovable())
    assert server.states() == ["success"]


def test_a_child_of_release_0_1_0_is_adopted() -> None:
    """It was started on 3.2 by that release; the upgrade of the package killed its parent."""
    for version in [(3, 1), (3, 2), (3, 3)]:
        server = Server(version)
        server.create("child", Run(legacy_run_id(PARENT, 3, 0), PARENT.run_after, "running"))
        server.on_sleep = lambda server: setattr(server.only_run(), "state", "success")
        run_try(FakePort(server, attempt(2)), ask())
        assert server.states() == ["success"]


def test_after_a_failed_child_of_release_0_1_0_comes_the_first_of_the_present_form() -> None:
    server = Server()
    server.create("child", Run(legacy_run_id(PARENT, 3, 0), PARENT.run_after, "failed"))
    run_try(FakePort(server, attempt(2)), ask())
    assert [run_id for _, run_id in server.runs][1:] == [name(0, 0)]


# After a clear.


@VERSIONS
@pytest.mark.parametrize("on_clear", [OnClear.AUTO, OnClear.ADOPT])
def test_an_active_child_of_before_a_clear_is_not_joined(version: tuple[int, int], on_clear: OnClear) -> None:
    server = Server(version)
    crash_while_waiting(server, ask())
    server.lose_record()
    active: list[int] = []

    def end(server: Server) -> None:
        active.append(sum(run.state == "queued" for run in server.runs.values()))
        server.end_all("success")

    server.on_sleep = end
    run_try(FakePort(server, cleared(2)), ask(on_clear=on_clear))
    assert max(active) == 1
    # Before 3.2 nothing says which conf the child has, so it is waited out.
    assert len(server.runs) == (2 if version == (3, 1) and on_clear is OnClear.AUTO else 1)


@VERSIONS
def test_an_ended_child_of_before_a_clear_is_not_taken(version: tuple[int, int]) -> None:
    server = Server(version)
    crash_while_waiting(server, ask())
    server.lose_record()
    server.end_all("success")
    run_try(FakePort(server, cleared(2)), ask())
    assert [run_id for _, run_id in server.runs] == [name(0, 0), name(1, 0)]


@VERSIONS
def test_a_retry_after_a_clear_finds_what_was_started_since(version: tuple[int, int]) -> None:
    server = Server(version)
    run_try(FakePort(server, attempt(1)), ask())
    crash_while_waiting(server, ask(), at=cleared(2))
    server.lose_record()
    server.end_all("success")
    run_try(FakePort(server, attempt(3, max_tries=4, clear_number=1)), ask())
    assert len(server.runs) == 2


def fail(server: Server, at: Attempt) -> None:
    """Run a try whose child fails."""
    before, server.on_sleep = server.on_sleep, lambda server: server.end_all("failed")
    with pytest.raises(ChildRunFailedError):
        run_try(FakePort(server, at), ask())
    server.on_sleep = before


def test_an_active_child_is_found_also_if_the_one_before_it_was_adopted_after_a_clear() -> None:
    # The adopted run took its generation into the epoch of the clear, where no try knows so high a one.
    server = Server()
    fail(server, attempt(1))
    fail(server, attempt(2))
    crash_while_waiting(server, ask(), at=attempt(3))
    server.lose_record()
    fail(server, replace(cleared(4), clear_number=1))
    assert (server.record().epoch, server.record().epoch_of_run) == (3, 0)
    crash_while_waiting(server, ask(), at=attempt(5, max_tries=6, clear_number=1))
    server.lose_record()
    run_try(FakePort(server, replace(cleared(6), clear_number=2)), ask())
    assert server.states() == ["failed"] * 3 + ["success"]
    assert [run_id for _, run_id in server.runs][-1] == name(3, 0)


def test_after_an_adoption_the_same_run_ids_come_with_and_without_a_record() -> None:
    """So that an upgrade to 3.3 finds what was started before it."""
    made = []
    for version in [(3, 2), (3, 3)]:
        server = Server(version)
        fail(server, attempt(1))
        crash_while_waiting(server, ask(), at=attempt(2))
        server.lose_record()
        fail(server, cleared(3))
        fail(server, attempt(4, max_tries=5, clear_number=1))
        made.append([run_id for _, run_id in server.runs])
    assert made[0] == made[1] == [name(0, 0), name(0, 1), name(2, 0)]


@pytest.mark.parametrize("version", [(3, 2), (3, 3)], ids=["3.2", "3.3"])
@pytest.mark.parametrize("is_cleaned", [False, True], ids=["", "old runs are deleted"])
def test_an_active_child_after_runs_of_other_lives_is_found_after_a_clear(
    version: tuple[int, int],
    is_cleaned: bool,  # noqa: FBT001 - of a parameter
) -> None:
    # Only as many generations were looked for as the task had had tries. The next run id after a clear is of another
    # epoch, so no 409 told of it: one more was started beside it.
    server = Server(version)
    lives = [replace(PARENT, started_at=RUN_AFTER + timedelta(hours=hours)) for hours in range(4)]
    for parent in lives[:3]:
        run_try(FakePort(server, attempt(1, parent=parent)), ask())
        server.lose_record()
    crash_while_waiting(server, ask(), at=attempt(1, parent=lives[3]))
    server.lose_record()
    if is_cleaned:
        server.runs = {key: run for key, run in server.runs.items() if run.state == "queued"}
    run_try(FakePort(server, cleared(2, parent=lives[3])), ask())
    assert [run_id for _, run_id in server.runs][-1] == name(0, 3)
    assert server.told[0][:2] == (Decision.RECONNECT, name(0, 3))


@pytest.mark.parametrize("on_clear", [OnClear.AUTO, OnClear.ADOPT])
def test_a_fixed_identity_of_before_a_clear_is_not_taken(on_clear: OnClear) -> None:
    """Nobody can know without a record whether its success was reported already."""
    server = Server()
    crash_while_waiting(server, ask_fixed_id())
    server.lose_record()
    server.end_all("success")
    run_try(FakePort(server, cleared(2)), replace(ask_fixed_id(), is_reset=True, on_clear=on_clear))
    assert server.only_run().clear_number == 1


def test_a_child_that_ends_after_it_was_counted_is_not_active() -> None:
    server = Server()
    crash_while_waiting(server, ask())
    server.lose_record()
    port = FakePort(server, cleared(2))
    real = port.look_up

    def end_first(dag_id: str, run_id: str, *, is_detailed: bool) -> ChildRun | None:
        server.end_all("success")
        return real(dag_id, run_id, is_detailed=is_detailed)

    port.look_up = end_first  # type: ignore[method-assign]
    run_try(port, ask())
    assert [run_id for _, run_id in server.runs] == [name(0, 0), name(1, 0)]


@pytest.mark.parametrize("place", [0, 1])
def test_a_child_that_ends_after_it_was_counted_hides_no_other(place: int) -> None:
    """One of another life of the parent may be active, too."""
    server = Server((3, 2))
    at = attempt(2)
    ended, active = (candidate.run_id for candidate in candidates(at, 1)[place : place + 2])
    for run_id in (ended, active):
        server.create("child", Run(run_id, None, "running"))
    port = FakePort(server, at)
    real = port.look_up

    def end_first(dag_id: str, run_id: str, *, is_detailed: bool) -> ChildRun | None:
        server.runs["child", ended].state = "success"
        return real(dag_id, run_id, is_detailed=is_detailed)

    port.look_up = end_first  # type: ignore[method-assign]
    found = recover(port, ask(), at)
    assert found is not None
    assert (found.record.run_id, found.seen.state) == (active, "running")


def test_a_child_that_is_deleted_after_it_was_counted_is_not_there() -> None:
    server = Server()
    crash_while_waiting(server, ask())
    server.lose_record()
    port = FakePort(server, attempt(2))
    real = port.look_up

    def delete_first(dag_id: str, run_id: str, *, is_detailed: bool) -> ChildRun | None:
        port.look_up = real  # type: ignore[method-assign]
        server.runs.clear()
        return real(dag_id, run_id, is_detailed=is_detailed)

    port.look_up = delete_first  # type: ignore[method-assign]
    run_try(port, ask())
    assert server.states() == ["success"]


# What it costs.


def cost_of(server: Server, at: Attempt) -> tuple[int, int, int]:
    """Return counts, look-ups, and the most run ids in one count."""
    port = FakePort(server, at)
    recover(port, ask(), at)
    return port.calls.count("count"), port.calls.count("look_up"), max(port.counted)


@pytest.mark.parametrize(("number", "counts"), [(2, 2), (3, 2), (4, 2), (10, 4), (50, 26)])
def test_finding_nothing_costs_a_count_for_each_hundred_and_no_look_up(number: int, counts: int) -> None:
    at = attempt(number, max_tries=99)
    assert cost_of(Server(), replace(at, retries=99))[:2] == (counts, 0)


@pytest.mark.parametrize("number", [3, 10, 50, 120])
@pytest.mark.parametrize("state", ["running", "success"])
def test_finding_a_child_costs_one_look_up(number: int, state: str) -> None:
    at = attempt(number, max_tries=200, retries=200)
    every = candidates(at, 1)
    own = [candidate for candidate in every if candidate.epoch == at.last_cleared_try]
    for candidate in [own[0], own[MAX_OTHER_LIVES], own[-number], own[-1]]:
        server = Server()
        server.create("child", Run(candidate.run_id, None, state))
        counts, look_ups, _ = cost_of(server, at)
        assert look_ups == 1
        assert counts <= -(-len(every) // COUNTED_AT_ONCE) + 12


@pytest.mark.parametrize("number", [50, 120])
def test_no_count_has_more_run_ids_than_an_address_holds(number: int) -> None:
    at = attempt(number, max_tries=200, retries=200)
    server = Server()
    assert cost_of(server, at)[2] == COUNTED_AT_ONCE
    server.create("child", Run(name(0, 0), None, "success"))
    assert cost_of(server, at)[2] == COUNTED_AT_ONCE


def test_what_cannot_be_counted_ends_the_try() -> None:
    server = Server()
    crash_while_waiting(server, ask())
    server.lose_record()
    away = Fault(LookUpFailedError("child", "x", "away", is_transient=True))
    run_try(FakePort(server, attempt(2), faults={"count": [away] * 3}), ask())
    assert server.states() == ["success"]
    server.lose_record()
    with pytest.raises(LookUpFailedError):
        run_try(FakePort(server, attempt(3), faults={"count": [away] * 4}), ask())
    assert len(server.runs) == 1


def test_the_record_that_is_rebuilt_is_that_of_a_request() -> None:
    server = Server()
    crash_while_waiting(server, ask())
    at = attempt(2)
    found = recover(FakePort(server, at), ask(mode=Mode.DEFER), at)
    assert found is not None
    assert found.clear is None
    record = found.record
    assert (record.dag_id, record.run_id, record.mode, record.call) == ("child", name(0, 0), Mode.DEFER, 1)
    assert (record.max_tries, record.clear_number, record.task_instance_id) == (3, 0, "ti-2")
    assert (record.epoch, record.generation, record.is_recovered) == (0, 0, True)
    assert server.told == []
    run_try(FakePort(server, at), ask())
    assert server.told[0][0] is Decision.RECONNECT
    assert not server.record().is_recovered
