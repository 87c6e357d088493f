"""
Which keys of the task state store are those of records, as conditions of a query.

:func:`airflow_durable.core.stored.position_of` says the same of a single key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from airflow_durable.core import ledger
from airflow_durable.core.stored import CALL_DIGITS, KEY

if TYPE_CHECKING:
    from airflow_durable.metadata.tables import Condition


def is_entry(key: Any) -> Condition:  # noqa: ANN401 - a column
    """
    Return the condition that a key is that of an entry of a record.

    Not the ledger of a task with many children, whose keys begin alike (:mod:`airflow_durable.core.ledger`).
    """
    return sa.or_(key == KEY, key.like(f"{escape(KEY)}.%", escape="!"))


def is_asking(key: Any) -> Condition:  # noqa: ANN401 - a column
    """Return the condition that a key is that of an entry of a record, or of a ledger: both may ask for something."""
    return sa.or_(is_entry(key), is_ledger_entry(key))


def is_ledger_entry(key: Any) -> Condition:  # noqa: ANN401 - a column
    """Return the condition that a key is that of an entry of the ledger of a task with many children."""
    return sa.or_(key == ledger.KEY, key.like(f"{escape(ledger.KEY)}.%", escape="!"))


def call_of(key: Any) -> Any:  # noqa: ANN401 - a column, an expression
    """Return what is the same for all entries of one call, or of the ledger (:func:`.core.stored.key_of`)."""
    prefix = f"{KEY}.call_"
    is_numbered = key.like(f"{escape(prefix)}%", escape="!")
    of_call = sa.func.substr(key, len(prefix) + 1, CALL_DIGITS)
    return sa.case((is_numbered, of_call), (is_ledger_entry(key), ledger.KIND), else_="")


def escape(text: str) -> str:
    """Return a text as LIKE takes it, with ``!`` before what would be a wildcard."""
    for special in "!%_":
        text = text.replace(special, f"!{special}")
    return text
