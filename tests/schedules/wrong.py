"""
Wrong protocols: the real one, with one function of it changed. The explorer has to catch each.

Each is a mistake that somebody has made or would make; the first is what Airflow's own ``ResumableJobMixin`` does (3.3,
``sdk/bases/resumablejobmixin.py``: it submits, then persists the external id).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest import mock

from airflow_durable.core import protocol
from airflow_durable.core.decide import decide
from airflow_durable.core.model import Decision, Look, Mode
from airflow_durable.core.record import Record
from tests.schedules.configurations import DATE, GENERATED, RUN_ID, Configuration
from tests.schedules.world import Budget

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_durable.core.model import ChildRun, Request
    from airflow_durable.core.protocol import Port, Started


class Wrong(NamedTuple):
    """
    One wrong protocol.

    :param owner: whose function is changed.
    :param broken: the property that has to catch it.
    :param configuration: where it shows.
    """

    name: str
    owner: Any
    function: str
    change: Callable[..., Any]
    broken: str
    configuration: Configuration

    def applied(self) -> Any:  # noqa: ANN401 - a patcher
        """Return a context in which the protocol is wrong."""
        return mock.patch.object(self.owner, self.function, self.change)


class _LateWriter:
    """A port that records only once the request was sent."""

    def __init__(self, port: Port) -> None:
        self._port = port
        self._pending: Record | None = None

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the port has
        return getattr(self._port, name)

    def write(self, record: Record) -> None:
        self._pending = record

    def submit(self, record: Record) -> bool:
        is_created = self._port.submit(record)
        self._port.write(self._pending or record)
        return is_created


_submit = protocol._submit


def _submit_then_persist(port: Port, request: Request, record: Record) -> Started:
    return _submit(_LateWriter(port), request, record)


def _fresh_when_missing(record: Record, request: Request, seen: ChildRun | Look) -> Decision:
    return Decision.TERMINAL_RESUBMIT if seen is Look.MISSING else decide(record, request, seen)


def _mark_at_once(port: Port, request: Request, record: Record) -> Started:
    return _submit(port, request, replace(record, is_consumed=True))


def _never_mark(port: Port, record: Record) -> Record:
    return record


def _is_always_author(record: Record, run: ChildRun) -> bool:
    return True


def _is_always_pending(record: Record, run: ChildRun) -> bool:
    return record.reset is not None


_BOUND = Budget(faults=1, clears=0, failures=0, people=0)
_CLEAR = Budget(faults=0, clears=1, failures=0, people=0)
_PERSON = Budget(faults=0, clears=0, failures=0, people=1)

WRONG = (
    Wrong(
        "submit before persist",
        protocol,
        "_submit",
        _submit_then_persist,
        "a",
        Configuration(Mode.WAIT, GENERATED, budget=_BOUND),
    ),
    Wrong(
        "adopt any 409",
        Record,
        "is_author_of",
        _is_always_author,
        "d",
        Configuration(Mode.WAIT, RUN_ID, is_racing=True, budget=_PERSON),
    ),
    Wrong(
        "a fresh id when the run is missing",
        protocol,
        "decide",
        _fresh_when_missing,
        "a",
        Configuration(Mode.WAIT, GENERATED, budget=Budget(faults=2, clears=0, failures=0, people=0)),
    ),
    Wrong(
        "reset without a baseline",
        Record,
        "is_reset_pending",
        _is_always_pending,
        "c",
        Configuration(Mode.WAIT, DATE, is_reset=True, foreign="run", budget=_BOUND),
    ),
    Wrong(
        "consumed mark before the outcome is known",
        protocol,
        "_submit",
        _mark_at_once,
        "b",
        Configuration(Mode.WAIT, GENERATED, budget=_BOUND),
    ),
    Wrong(
        "no mark at all",
        protocol,
        "_consume",
        _never_mark,
        "f",
        Configuration(Mode.WAIT, GENERATED, budget=_CLEAR),
    ),
)
