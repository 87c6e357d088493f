"""
What a stored record says. The one place that reads the values of the task state store; the core knows their form.

:mod:`.record_keys` has the keys under which they lie.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from airflow_durable.core import ledger
from airflow_durable.core.errors import RecordDamagedError
from airflow_durable.core.proof import is_plain, is_plain_text
from airflow_durable.core.stored import KEY, load
from airflow_durable.metadata.model import DagRunKey

if TYPE_CHECKING:
    from airflow_durable.core.record import Record


def parse(stored: Any) -> Record:  # noqa: ANN401 - a record may be damaged
    """
    Return a stored record; of a task with many children, a :class:`~airflow_durable.core.ledger.Ledger`.

    :param stored: JSON text, as the database has it, or what it stands for, as the REST API has it.
    :raises RecordDamagedError: it cannot be understood.
    """
    try:
        value = json.loads(stored) if isinstance(stored, str) else stored
    except (ValueError, RecursionError) as error:
        raise RecordDamagedError(KEY, "it is not JSON") from error
    is_ledger = isinstance(value, dict) and value.get("kind") == ledger.KIND
    record = ledger.load(value) if is_ledger else load(value)
    # One record must not fail a query that is about all of them.
    if not is_plain(record, record.call) or not all(is_plain_text(entry.run_id) for entry in record.tries):
        raise RecordDamagedError(KEY, "it has a value for which the database cannot be asked")
    return record


def read(stored: Any) -> Record | None:  # noqa: ANN401 - a record may be damaged
    """Return a stored record; None if it cannot be understood."""
    try:
        return parse(stored)
    except RecordDamagedError:
        return None


def runs_in(record: Record) -> tuple[DagRunKey, ...]:
    """Return all child runs that a record names, each once: the present one last."""
    run_ids = dict.fromkeys([*(entry.run_id for entry in record.tries), record.run_id])
    return tuple(DagRunKey(record.dag_id, run_id) for run_id in run_ids)
