"""What a deferral hands to the trigger, and what comes back: the record, and when a timeout can be over."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from airflow_durable.core import timeouts
from airflow_durable.core.errors import EventInvalidError, RecordDamagedError
from airflow_durable.core.model import ENDED_STATES, Outcome, Phase
from airflow_durable.core.stored import dump, load
from airflow_durable.task.request import poke_interval_of
from airflow_durable.triggers.dag_run import MISSING, DurableDagRunTrigger

if TYPE_CHECKING:
    from airflow_durable.core.model import Request
    from airflow_durable.core.record import Record
    from airflow_durable.operators.trigger_dagrun import TriggerDagRunOperator
    from airflow_durable.task.journal import Journal


@dataclass(frozen=True)
class Resumption:
    """
    What an event of our trigger says.

    :param outcome: of the child, as the trigger saw it.
    :param is_due: the trigger ended the wait because a timeout can be over by now; the outcome says nothing then.
    """

    record: Record
    outcome: Outcome
    is_due: bool


def trigger_of(
    operator: TriggerDagRunOperator, request: Request, record: Record, journal: Journal, due: datetime | None
) -> DurableDagRunTrigger:
    """
    Return the trigger that waits for the recorded run.

    :param due: when a timeout can be over; None: never.
    """
    # A run that has ended in no listed state has failed. One that is waited out only has to end.
    is_waited_out = record.phase is Phase.WAITED_OUT
    states = ENDED_STATES | (frozenset() if is_waited_out else request.allowed_states | request.failed_states)
    return DurableDagRunTrigger(
        dag_id=record.dag_id,
        run_id=record.run_id,
        states=sorted(states),
        poll_interval=poke_interval_of(operator),
        record={**dump(record), **journal.position(record.call)},
        due=None if due is None or is_waited_out else due.isoformat(),
        stock_states=[] if is_waited_out else _states_for_stock(request),
    )


def event_of(
    operator: TriggerDagRunOperator, request: Request, record: Record, journal: Journal, state: str | None
) -> Any:  # noqa: ANN401 - as a trigger's event
    """Return the event that a deferral would have ended with."""
    return trigger_of(operator, request, record, journal, None).payload(state or "success")


def first_due(request: Request, record: Record) -> datetime | None:
    """Return when a timeout can be over for the first time; None: never."""
    return timeouts.first_due(request, record)


def read_event(operator: TriggerDagRunOperator, data: dict[str, Any] | None) -> Resumption:
    """
    Return what the event says.

    :param data: the payload of our trigger's event; None: it is of another.
    :raises EventInvalidError: it cannot be understood.
    """
    if data is None:
        raise EventInvalidError(operator.trigger_dag_id, operator.trigger_run_id, "it is of no known form")
    try:
        record = load(data["record"])
    except RecordDamagedError as error:
        raise EventInvalidError(data.get("dag_id"), data.get("run_ids"), str(error)) from error
    # "state": where the run id is one of the event's own words.
    state = data.get("state", data.get(record.run_id))
    if not isinstance(state, str):
        raise EventInvalidError(record.dag_id, record.run_id, "it has no state of that run")
    seen = None if data.get("is_missing") else state
    outcome = Outcome(record.dag_id, record.run_id, seen, datetime.now(tz=timezone.utc))
    # A fixed run id may be that word: then it has the state.
    return Resumption(record, outcome, is_due=data.get("is_due") is True)


def _states_for_stock(request: Request) -> list[str] | None:
    """Return the states that the stock operator judges as we do, if the Dag goes back to it; None: all that can be."""
    listed = request.allowed_states | request.failed_states
    # A missing run is a failed one to it.
    states = listed | {MISSING} if "failed" in request.failed_states else listed
    return None if states >= ENDED_STATES | {MISSING} else sorted(states)
