"""
The record: what survives between attempts, one readable JSON value.

Version 1, as stored (dates ISO 8601 with their zone)::

    {
      "version": 1,
      "child": {"dag_id": str, "run_id": str, "logical_date": str | null},
      "is_fixed": bool,         the user fixed the run id or the logical date
      "is_date_ours": bool,     the logical date was chosen by us, so it proves who made the run
      "digest": str,            of the request (child Dag, conf, fixed identity); never the conf itself
      "mode": "wait" | "defer" | "fire_and_forget",
      "max_tries": int,         the parent's, when it was written
      "clear_number": int,      the parent's Dag run's, when it was written
      "generation": int,        how many fresh run ids came before this one
      "reset": {"clear_number": int, "logical_date": str | null} | null,    the run as it was before its reset
      "consumed": bool,         success was about to be reported
      "attempts": [{"try_number": int, "decision": str, "run_id": str, "at": str}, ...]    the latest 50
    }
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow_durable.core.errors import RecordDamagedError
from airflow_durable.core.model import Attempt, ChildRun, Decision, Mode

if TYPE_CHECKING:
    from collections.abc import Mapping

KEY = "durable_child_run"
"""The record's key in the parent's task state store."""

VERSION = 1
MAX_ATTEMPTS = 50
"""How many attempts a record remembers: its size must stay bounded over any number of clears."""


@dataclass(frozen=True)
class Entry:
    """What one attempt decided, about which run, and when (with its time zone)."""

    try_number: int
    decision: Decision
    run_id: str
    at: datetime


@dataclass(frozen=True)
class Baseline:
    """A run as it was before its reset. It has been reset once either value has moved."""

    clear_number: int
    logical_date: datetime | None


@dataclass(frozen=True)
class Record:
    """The journal's one entry. See the module's docstring for its stored form."""

    dag_id: str
    run_id: str
    logical_date: datetime | None
    is_fixed: bool
    is_date_ours: bool
    digest: str
    mode: Mode
    max_tries: int
    clear_number: int
    generation: int = 0
    reset: Baseline | None = None
    is_consumed: bool = False
    attempts: tuple[Entry, ...] = ()

    def with_entry(self, attempt: Attempt, decision: Decision, at: datetime) -> Record:
        """Return the record as this attempt leaves it: what tells of a later clear, and its decision as last entry."""
        entry = Entry(attempt.try_number, decision, self.run_id, at)
        return replace(
            self,
            max_tries=attempt.max_tries,
            clear_number=attempt.clear_number,
            attempts=(*self.attempts, entry)[-MAX_ATTEMPTS:],
        )

    def is_cleared_before(self, attempt: Attempt) -> bool:
        """
        Tell whether a person cleared the task between the latest entry and this attempt.

        A clear sets ``max_tries`` to the try it cleared plus the retries that the Dag has by then. The sum is as before
        only where the retries were edited meanwhile: there, and only there, the Dag run's ``clear_number`` decides,
        which a clear of any other task of the Dag run raises too.
        """
        if self.max_tries != attempt.max_tries:
            return True
        written_by = self.attempts[-1].try_number if self.attempts else 1
        is_sum_of_a_clear = written_by <= attempt.max_tries - attempt.retries < attempt.try_number
        return is_sum_of_a_clear and self.clear_number != attempt.clear_number

    def is_author_of(self, run: ChildRun) -> bool:
        """
        Tell whether the run under the recorded id is the one that the record speaks of.

        A generated run id is this parent's alone. A fixed one may be somebody else's run: where the logical date was
        ours to choose, it tells; where the user fixed it too, the record itself is the proof, since it is written
        only when no run was there.
        """
        if not self.is_fixed or not self.is_date_ours:
            return True
        dates = {self.logical_date} if self.reset is None else {self.logical_date, self.reset.logical_date}
        return run.logical_date in dates

    def is_reset_pending(self, run: ChildRun) -> bool:
        """Tell whether the recorded reset has not reached the run yet."""
        return self.reset is not None and self.reset == Baseline(run.clear_number or 0, run.logical_date)

    def dump(self) -> dict[str, Any]:
        """Return the stored form, JSON-serializable."""
        return {
            "version": VERSION,
            "child": {
                "dag_id": self.dag_id,
                "run_id": self.run_id,
                "logical_date": _dump_date(self.logical_date),
            },
            "is_fixed": self.is_fixed,
            "is_date_ours": self.is_date_ours,
            "digest": self.digest,
            "mode": self.mode.value,
            "max_tries": self.max_tries,
            "clear_number": self.clear_number,
            "generation": self.generation,
            "reset": self.reset
            and {
                "clear_number": self.reset.clear_number,
                "logical_date": _dump_date(self.reset.logical_date),
            },
            "consumed": self.is_consumed,
            "attempts": [
                {
                    "try_number": entry.try_number,
                    "decision": entry.decision.value,
                    "run_id": entry.run_id,
                    "at": entry.at.isoformat(),
                }
                for entry in self.attempts
            ],
        }


def load(stored: object) -> Record:
    """
    Return the record that was stored.

    :raises RecordDamagedError: it is not a record of a version that this release knows. It is never guessed at:
        a wrong guess would start a second child.
    """
    fields = _Fields(stored, "the record")
    version = fields.get("version", int)
    if version != VERSION:
        raise RecordDamagedError(
            KEY, f"it is of version {version}, and this release of airflow-durable knows version {VERSION}"
        )
    child = _Fields(fields.get("child", dict), "its child")
    reset = fields.get("reset", dict, type(None))
    return Record(
        dag_id=child.text("dag_id"),
        run_id=child.text("run_id"),
        logical_date=child.date("logical_date"),
        is_fixed=fields.get("is_fixed", bool),
        is_date_ours=fields.get("is_date_ours", bool),
        digest=fields.text("digest"),
        mode=fields.choice("mode", Mode),
        max_tries=fields.get("max_tries", int),
        clear_number=fields.get("clear_number", int),
        generation=fields.get("generation", int),
        reset=None if reset is None else _load_baseline(_Fields(reset, "its reset")),
        is_consumed=fields.get("consumed", bool),
        attempts=tuple(_load_entry(_Fields(entry, "one of its attempts")) for entry in fields.get("attempts", list)),
    )


def _load_baseline(fields: _Fields) -> Baseline:
    return Baseline(fields.get("clear_number", int), fields.date("logical_date"))


def _load_entry(fields: _Fields) -> Entry:
    at = fields.date("at")
    if at is None:
        raise RecordDamagedError(KEY, "one of its attempts has no time")
    return Entry(fields.get("try_number", int), fields.choice("decision", Decision), fields.text("run_id"), at)


def _dump_date(date: datetime | None) -> str | None:
    return date.isoformat() if date else None


class _Fields:
    """The fields of one stored object, each checked as it is read. Values are not shown: they are not ours to show."""

    def __init__(self, stored: object, name: str) -> None:
        if not isinstance(stored, dict):
            raise RecordDamagedError(KEY, f"{name} is {type(stored).__name__}, not an object")
        self._stored: Mapping[str, Any] = stored
        self._name = name

    def get(self, key: str, *types: type) -> Any:  # noqa: ANN401 - as many types as there are fields
        if key not in self._stored:
            raise RecordDamagedError(KEY, f"{self._name} has no {key!r}")
        value = self._stored[key]
        if type(value) not in types:
            raise RecordDamagedError(KEY, f"{key!r} of {self._name} is {type(value).__name__}")
        return value

    def text(self, key: str) -> str:
        value: str = self.get(key, str)
        if not value:
            raise RecordDamagedError(KEY, f"{key!r} of {self._name} is empty")
        return value

    def date(self, key: str) -> datetime | None:
        value = self.get(key, str, type(None))
        if value is None:
            return None
        try:
            date = datetime.fromisoformat(value)
        except ValueError:
            date = None
        if date is None or date.tzinfo is None:
            raise RecordDamagedError(KEY, f"{key!r} of {self._name} is not a date with a time zone")
        return date

    def choice(self, key: str, choices: type[Any]) -> Any:  # noqa: ANN401 - an enum, whichever it is
        value = self.get(key, str)
        try:
            return choices(value)
        except ValueError:
            raise RecordDamagedError(KEY, f"{key!r} of {self._name} is none that this release knows") from None
