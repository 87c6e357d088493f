"""
The stored form of a record: one readable JSON value for each entry of the journal.

Version 2 (dates ISO 8601 with their zone)::

    {
      "version": 2,
      "call": int,              which child of the try it is, from 1
      "phase": "intended" | "sent" | "consumed",
      "child": {"dag_id": str, "run_id": str, "logical_date": str | null, "run_after": str | null},
      "proof": "run_id" | "logical_date" | "run_after" | "reply",     by what of the run it is known as ours
      "dates": [str, ...],      the latest 8 that were sent for what is ours of it
      "mode": "wait" | "defer" | "fire_and_forget",
      "epoch": int,             the try whose clear last asked for the work again; 0: none
      "generation": int,        how many run ids of the run id's epoch (which it shows: _e3) came before this one
      "outcome": {"dag_id": str, "run_id": str, "state": str | null, "at": str} | null,
      "reset": {"clear_number": int, "logical_date": str | null, "run_after": str | null} | null,
      "parent": {"task_instance_id": str, "max_tries": int, "clear_number": int},     when it was written
      "attempts": [{"try_number": int, "decision": str, "run_id": str, "at": str}, ...]    the latest 50
      "adopted": str,           only where a run was adopted that has another date than those that were sent
      "clock": {"since": str, "clear_number": int},     only where the task has a timeout for its child
      "asks": {                 only where something is asked of the reconciler; each part only where it is
        "on_parent_end": "cancel",
        "action": {"kind": "resume" | "reset", "clear_number": int, "state": str}    what the run is like, until then
      }
    }

Version 1, of release 0.1.0, is read: one value that each try wrote over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_durable.core import asks
from airflow_durable.core.errors import RecordDamagedError
from airflow_durable.core.fields import Fields, parse_date
from airflow_durable.core.model import Decision, Mode, Outcome, Phase, Proof
from airflow_durable.core.record import Baseline, Clock, Record, TryEntry

if TYPE_CHECKING:
    from datetime import datetime

KEY = "durable_child_run"
"""The key of the first entry of the first call in the parent's task state store; all others start with it."""

CALL_DIGITS = 5
"""The width of a call's number in a key."""

MAX_DIGITS = 9
"""Of a number in a key."""

VERSION = 2
FIRST_VERSION = 1


def key_of(call: int, sequence: int) -> str:
    """
    Return the key of an entry: ``durable_child_run.3``, ``durable_child_run.call_00002.3``.

    The number of the call has a fixed width, so that a database can find the entries of one call by a part of the key.

    :param call: from 1.
    :param sequence: the entry's number, from 0.
    """
    of_call = KEY if call == 1 else f"{KEY}.call_{call:0{CALL_DIGITS}}"
    return of_call if sequence == 0 else f"{of_call}.{sequence}"


def position_of(key: str) -> tuple[int, int] | None:
    """Return call and sequence number of a key; None: it is none of ours."""
    head, *parts = key.split(".")
    if head != KEY:
        return None
    call = 1
    if parts and parts[0].startswith("call_"):
        number = parts.pop(0).removeprefix("call_")
        if not is_number(number):
            return None
        call = int(number)
    if not parts:
        return call, 0
    return (call, int(parts[0])) if len(parts) == 1 and is_number(parts[0]) else None


def is_number(text: str) -> bool:
    """Return whether a part of a key is a number of ours. Python reads none of thousands of digits."""
    return len(text) <= MAX_DIGITS and text.isdecimal()


def dump(record: Record) -> dict[str, Any]:
    """Return the stored form, JSON-serializable."""
    stored: dict[str, Any] = {
        "version": VERSION,
        "call": record.call,
        "phase": record.phase.value,
        "child": {
            "dag_id": record.dag_id,
            "run_id": record.run_id,
            "logical_date": _dump_date(record.logical_date),
            "run_after": _dump_date(record.run_after),
        },
        "proof": record.proof.value,
        "dates": [date.isoformat() for date in record.dates],
        "mode": record.mode.value,
        "epoch": record.epoch,
        "generation": record.generation,
        "outcome": record.outcome
        and {
            "dag_id": record.outcome.dag_id,
            "run_id": record.outcome.run_id,
            "state": record.outcome.state,
            "at": record.outcome.at.isoformat(),
        },
        "reset": record.reset
        and {
            "clear_number": record.reset.clear_number,
            "logical_date": _dump_date(record.reset.logical_date),
            "run_after": _dump_date(record.reset.run_after),
        },
        "parent": {
            "task_instance_id": record.task_instance_id,
            "max_tries": record.max_tries,
            "clear_number": record.clear_number,
        },
        "attempts": [
            {
                "try_number": entry.try_number,
                "decision": entry.decision.value,
                "run_id": entry.run_id,
                "at": entry.at.isoformat(),
            }
            for entry in record.tries
        ],
    }
    if record.adopted is not None:
        stored["adopted"] = record.adopted.isoformat()
    if record.clock is not None:
        stored["clock"] = {"since": record.clock.since.isoformat(), "clear_number": record.clock.clear_number}
    if record.asks is not None:
        stored["asks"] = asks.dump(record.asks)
    return stored


def load(stored: object) -> Record:
    """
    Return the record that was stored.

    :raises RecordDamagedError: it is not a record of a version that this release knows. It is never guessed at:
        a wrong guess would start a second child.
    """
    fields = Fields(stored, "the record", KEY)
    version = fields.get("version", int)
    if version == VERSION:
        return _load(fields)
    if version == FIRST_VERSION:
        return _load_first(fields)
    raise RecordDamagedError(
        KEY, f"it is of version {version}, and this release of airflow-durable knows versions 1 to {VERSION}"
    )


def _load(fields: Fields) -> Record:
    child, parent = fields.part("child"), fields.part("parent")
    reset, outcome = fields.optional_part("reset"), fields.optional_part("outcome")
    return Record(
        dag_id=child.text("dag_id"),
        run_id=child.text("run_id"),
        proof=fields.choice("proof", Proof),
        mode=fields.choice("mode", Mode),
        max_tries=parent.get("max_tries", int),
        clear_number=parent.get("clear_number", int),
        logical_date=child.optional_date("logical_date"),
        run_after=child.optional_date("run_after"),
        call=fields.get("call", int),
        epoch=fields.get("epoch", int),
        generation=fields.get("generation", int),
        phase=fields.choice("phase", Phase),
        outcome=_load_outcome(outcome) if outcome else None,
        dates=tuple(parse_date(fields, "dates", date) for date in fields.get("dates", list)),
        reset=_load_baseline(reset) if reset else None,
        task_instance_id=parent.get("task_instance_id", str),
        tries=_load_tries(fields),
        clock=_load_clock(fields.part("clock")) if fields.has("clock") else None,
        asks=asks.load(fields.part("asks")) if fields.has("asks") else None,
        adopted=fields.date("adopted") if fields.has("adopted") else None,
    )


def _load_first(fields: Fields) -> Record:
    """
    Return a record of version 1.

    Each try overwrote it, and its generated run ids are random: they are this parent's whatever their date. A record of
    a fixed identity was written only after no run was seen under it. Release 0.1.0 took that for a proof, and so do we
    for the runs that it started.
    """
    child = fields.part("child")
    is_fixed, is_date_ours = fields.get("is_fixed", bool), fields.get("is_date_ours", bool)
    logical_date = child.optional_date("logical_date")
    reset = fields.optional_part("reset")
    is_dated = is_fixed and is_date_ours
    proof = Proof.LOGICAL_DATE if is_dated else Proof.REPLY if is_fixed else Proof.RUN_ID
    phase = Phase.SENT if proof is Proof.REPLY else Phase.INTENDED
    return Record(
        dag_id=child.text("dag_id"),
        run_id=child.text("run_id"),
        proof=proof,
        mode=fields.choice("mode", Mode),
        max_tries=fields.get("max_tries", int),
        clear_number=fields.get("clear_number", int),
        logical_date=logical_date,
        generation=fields.get("generation", int),
        phase=Phase.CONSUMED if fields.get("consumed", bool) else phase,
        dates=(logical_date,) if is_dated and logical_date else (),
        reset=Baseline(reset.get("clear_number", int), reset.optional_date("logical_date")) if reset else None,
        tries=_load_tries(fields),
    )


def _load_outcome(fields: Fields) -> Outcome:
    state = fields.get("state", str, type(None))
    return Outcome(fields.text("dag_id"), fields.text("run_id"), state, fields.date("at"))


def _load_baseline(fields: Fields) -> Baseline:
    dates = fields.optional_date("logical_date"), fields.optional_date("run_after")
    return Baseline(fields.get("clear_number", int), *dates)


def _load_clock(fields: Fields) -> Clock:
    return Clock(fields.date("since"), fields.get("clear_number", int))


def _load_tries(fields: Fields) -> tuple[TryEntry, ...]:
    entries = (Fields(entry, "one of its attempts", KEY) for entry in fields.get("attempts", list))
    return tuple(
        TryEntry(
            entry.get("try_number", int), entry.choice("decision", Decision), entry.text("run_id"), entry.date("at")
        )
        for entry in entries
    )


def _dump_date(date: datetime | None) -> str | None:
    return date.isoformat() if date else None
