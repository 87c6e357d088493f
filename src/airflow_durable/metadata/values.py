"""Stored values: dates, and ids of task instances and regions, as each database and each Airflow has them."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any
from uuid import UUID

import sqlalchemy as sa

if TYPE_CHECKING:
    from airflow_durable.metadata.model import InstanceKey
    from airflow_durable.metadata.tables import Column, Condition, InstanceColumns

NO_REGION = UUID(int=0)
"""What stands for no region in the tables (3.4, ``models/dynamic_region.py``)."""


def as_utc(stored: object) -> datetime | None:
    """Return a stored date with its time zone: SQLite has texts without one, in UTC."""
    if stored is None:
        return None
    date = stored if isinstance(stored, datetime) else datetime.fromisoformat(str(stored))
    return date.replace(tzinfo=timezone.utc) if date.tzinfo is None else date.astimezone(timezone.utc)


def as_uuid(stored: Any) -> UUID:  # noqa: ANN401 - a UUID or a text, by version and database
    """Return a stored id."""
    return stored if isinstance(stored, UUID) else UUID(str(stored))


def as_text(state: Any) -> str | None:  # noqa: ANN401 - an enum or a text, by column
    """Return a stored state."""
    return None if state is None else str(getattr(state, "value", state))


def as_region(stored: Any) -> str:  # noqa: ANN401 - as the database has it
    """Return a stored region's id as an instance's key has it."""
    if stored is None:
        return ""
    region = as_uuid(stored)
    return "" if region == NO_REGION else region.hex


def bind_uuid(column: Column, value: UUID) -> Any:  # noqa: ANN401 - as the column takes it
    """
    Return an id as a column takes it.

    To Airflow 3.1 the ids of task instances are texts with dashes. A column of SQLite that was reflected is a text,
    too, without dashes where Airflow 3.2 and later made it.
    """
    uuid_type: Any = getattr(sa, "Uuid", None)  # SQLAlchemy 1.4, of Airflow 3.0, has none.
    stored_as = getattr(column.type, "impl", column.type)
    if uuid_type is not None and isinstance(stored_as, uuid_type):
        return value if getattr(stored_as, "as_uuid", True) else str(value)
    return value.hex if getattr(column.type, "length", None) == len(value.hex) else str(value)


def is_of(columns: InstanceColumns, key: InstanceKey) -> Condition:
    """Return the condition that a row is of this task instance."""
    conditions = [
        columns.dag_id == key.dag_id,
        columns.task_id == key.task_id,
        columns.run_id == key.run_id,
        columns.map_index == key.map_index,
    ]
    if columns.has_regions:
        region = UUID(key.region_id) if key.region_id else NO_REGION
        conditions.append(columns.region_id == bind_uuid(columns.region_id, region))
    return sa.and_(*conditions)
