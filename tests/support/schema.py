"""Rows of Airflow's metadata database, to be written by hand: where they lie in the Airflow that is installed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

import sqlalchemy as sa

if TYPE_CHECKING:
    from collections.abc import Mapping

_UUIDS: Any = getattr(sa, "Uuid", ())


def place(tables: Mapping[str, sa.Table], name: str, row: Mapping[str, Any]) -> tuple[sa.Table, dict[str, Any]]:
    """
    Return the table and the columns that a row has in this Airflow.

    :param name: of its table to 3.3.
    :param row: as it is to 3.3.
    """
    values = dict(row)
    if name == "task_instance_history" and name not in tables:
        # From 3.4 all tries are in one table. The branch goes with 3.3.
        name = "task_instance"
        values |= {"id": values.pop("task_instance_id"), "working_set": None}
    elif name == "task_instance" and "working_set" in tables[name].c:
        values["working_set"] = True
    table = tables[name]
    if "region_index" in table.c:
        values["region_index"] = values.pop("map_index")
        values.setdefault("region_id", UUID(int=0))
    return table, {key: _as_stored(table.c[key], value) for key, value in values.items() if key in table.c}


def _as_stored(column: sa.Column[Any], value: Any) -> Any:  # noqa: ANN401 - any column's
    # Airflow's own type of a UUID is a decorated one for some columns (3.4).
    if not isinstance(value, UUID) or isinstance(getattr(column.type, "impl", column.type), _UUIDS):
        return value
    # Ids are texts with dashes to 3.0 and 3.1; a column that was reflected from SQLite is a text without.
    return value.hex if getattr(column.type, "length", None) == len(value.hex) else str(value)
