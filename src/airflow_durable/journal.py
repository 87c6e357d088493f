"""
What survives between attempts: Airflow's task state store, or run ids that need no memory.

Both fail closed: a journal that cannot be read or written ends the attempt before anything is triggered.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Protocol

from airflow_durable import task_sdk
from airflow_durable.core.errors import JournalReadError, JournalWriteError, LookUpFailedError
from airflow_durable.core.record import KEY, Record, load
from airflow_durable.core.run_ids import derive_run_id, generate_run_id

if TYPE_CHECKING:
    from airflow_durable.core.model import Attempt, Request


class Journal(Protocol):
    """Where the record is kept."""

    def read(self) -> Record | None:
        """Return the record, None if there is none."""

    def write(self, record: Record) -> None:
        """Store the record."""

    def fresh_run_id(self, generation: int) -> str:
        """Return a run id that this parent alone uses."""


@dataclass(frozen=True)
class StoreJournal:
    """
    The journal on ``context["task_state_store"]`` (Airflow 3.3 and later).

    The store is keyed by (Dag run, task, map index): it outlives retry, clear and success, and goes with the parent's
    Dag run. Every write is refused to a superseded attempt, as its task instance id exists no more
    (``execution_api/routes/task_state_store.py``, 3.3).

    :param task_instance_id: of this try.
    """

    store: Any
    task_instance_id: str

    def read(self) -> Record | None:
        """Return the record, None if there is none. To a superseded attempt the store always says None."""
        try:
            with task_sdk.undisturbed():
                stored = self.store.get(KEY)
        except Exception as error:
            raise JournalReadError(task_sdk.describe(error)) from error
        return None if stored is None else load(stored)

    def write(self, record: Record) -> None:
        """Store the record, without an expiry: the default one could end before the child does."""
        from airflow.sdk.execution_time.context import NEVER_EXPIRE

        try:
            with task_sdk.undisturbed():
                self.store.set(KEY, record.dump(), retention=NEVER_EXPIRE)
        except Exception as error:
            raise JournalWriteError(record.dag_id, record.run_id, task_sdk.describe(error)) from error

    def fresh_run_id(self, generation: int) -> str:
        """Return the run id of this try and generation."""
        return generate_run_id(self.task_instance_id, generation)


@dataclass(frozen=True)
class DerivedJournal:
    """
    No journal at all (Airflow 3.0 to 3.2): the child's run id follows from its parent, so the Dag run table tells.

    What it cannot know: that an outcome was consumed (a clear starts a fresh child, always, since it changes
    ``max_tries``), and what a run was like before a reset. So it serves generated identities only.

    :param parent: what tells this parent from every other.
    """

    parent: tuple[str, ...]
    request: Request
    attempt: Attempt

    def read(self) -> Record | None:
        """
        Return a record of the newest child that exists, None if none does.

        Each attempt starts one child at most, so the tries up to this one bound the search: this one too, since a try
        may be executed twice. From the newest, as an older one may have been deleted.
        """
        for generation in range(self.attempt.try_number - 1, -1, -1):
            run_id = self.fresh_run_id(generation)
            try:
                run = task_sdk.look_up(self.request.dag_id, run_id, is_detailed=False)
            except LookUpFailedError as error:
                raise JournalReadError(str(error)) from error
            if run is not None:
                return self._record(run_id, generation)
        return None

    def write(self, record: Record) -> None:
        """Do nothing: there is nothing that could be forgotten."""

    def fresh_run_id(self, generation: int) -> str:
        """Return the derived run id of this generation."""
        return derive_run_id(self.parent, self.attempt.max_tries, generation)

    def _record(self, run_id: str, generation: int) -> Record:
        return Record(
            dag_id=self.request.dag_id,
            run_id=run_id,
            # Of use only if the run is gone by the time it is looked at, and submitted again: with a date of its own.
            logical_date=datetime.now(tz=timezone.utc) if self.request.is_date_ours else None,
            is_fixed=False,
            is_date_ours=self.request.is_date_ours,
            digest=self.request.digest,
            mode=self.request.mode,
            max_tries=self.attempt.max_tries,
            clear_number=self.attempt.clear_number,
            generation=generation,
        )
