"""What is repeated, how often, and what is not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from airflow_durable.core import port as calls
from airflow_durable.core.errors import (
    JournalReadError,
    JournalWriteError,
    LookUpFailedError,
    SubmissionRefusedError,
    SubmissionUnknownError,
)
from airflow_durable.core.model import Mode, Proof
from airflow_durable.core.port import PAUSES_SECONDS
from airflow_durable.core.record import Record

from .fakes import FakePort, Fault, Server, attempt

if TYPE_CHECKING:
    from collections.abc import Callable

RECORD = Record("child", "ours", Proof.RUN_ID, Mode.WAIT, 3, 0)
CALLS: dict[str, tuple[Callable[[FakePort], object], Exception]] = {
    "read": (lambda port: calls.read(port, 1), JournalReadError("away", is_transient=True)),
    "write": (lambda port: calls.write(port, RECORD), JournalWriteError("child", "x", "away", is_transient=True)),
    "look_up": (
        lambda port: calls.look_up(port, "child", "ours"),
        LookUpFailedError("child", "x", "away", is_transient=True),
    ),
    "count": (
        lambda port: calls.count(port, "child", ["ours"], None),
        LookUpFailedError("child", "x", "away", is_transient=True),
    ),
    "submit": (lambda port: calls.submit(port, RECORD), SubmissionUnknownError("child", "x", "no answer")),
}
FINAL: dict[str, Exception] = {
    "read": JournalReadError("forbidden"),
    "write": JournalWriteError("child", "x", "superseded"),
    "look_up": LookUpFailedError("child", "x", "forbidden", is_transient=False),
    "count": LookUpFailedError("child", "x", "forbidden", is_transient=False),
    "submit": SubmissionRefusedError("child", "x", "no such Dag", status=404),
}


@pytest.mark.parametrize("name", CALLS)
def test_what_may_pass_is_repeated_after_longer_and_longer_pauses(name: str) -> None:
    call, error = CALLS[name]
    port = FakePort(Server(), attempt(1), faults={name: [Fault(error)] * 3})
    call(port)
    assert port.calls == [name, "sleep"] * 3 + [name]
    assert port.sleeps == list(PAUSES_SECONDS) == [1.0, 5.0, 15.0]
    assert port.troubles == [error] * 3


@pytest.mark.parametrize("name", CALLS)
def test_what_does_not_pass_ends_the_try(name: str) -> None:
    call, error = CALLS[name]
    port = FakePort(Server(), attempt(1), faults={name: [Fault(error)] * 4})
    with pytest.raises(type(error)):
        call(port)
    assert port.calls.count(name) == 4
    assert port.sleeps == list(PAUSES_SECONDS)


@pytest.mark.parametrize("name", CALLS)
def test_what_cannot_pass_is_not_repeated(name: str) -> None:
    port = FakePort(Server(), attempt(1), faults={name: [Fault(FINAL[name])]})
    with pytest.raises(type(FINAL[name])):
        CALLS[name][0](port)
    assert port.calls == [name]
    assert port.troubles == []


@pytest.mark.parametrize("name", CALLS)
def test_an_answer_comes_back(name: str) -> None:
    call, error = CALLS[name]
    server = Server()
    port = FakePort(server, attempt(1))
    server.create("child", port._new_run(RECORD))
    expected = {"count": 1, "submit": False, "read": None, "write": None}.get(
        name, port.look_up("child", "ours", is_detailed=True)
    )
    assert call(port) == expected
    server.on_sleep = lambda server: None
    port.faults = {name: [Fault(error)]}
    assert call(port) == (RECORD if name == "read" and server.store else expected)


def test_a_look_up_asks_for_all_there_is() -> None:
    server = Server()
    port = FakePort(server, attempt(1))
    server.create("child", port._new_run(RECORD))
    run = calls.look_up(port, "child", "ours")
    assert run is not None
    assert run.clear_number == 0
