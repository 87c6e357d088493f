"""
Which tables and columns an Airflow has. All that differs by version is decided here, once, by what is there.

===============================  ===================================  ==================================================
what                             3.0 to 3.3                           3.4
-------------------------------  -----------------------------------  --------------------------------------------------
the latest try of each task      ``task_instance``                    ``task_instance``, where ``working_set`` is true
earlier tries                    ``task_instance_history``            ``task_instance``, where ``working_set`` is NULL
the index of a mapped task       ``map_index``                        ``region_index``, beside ``region_id``
XComs                            ``xcom``, of a task instance         ``xcom_v2``, of a try; ``xcom_v1`` from before
rendered template fields         ``rendered_task_instance_fields``    ``rtif_v2``, of a try; ``rtif_v1`` from before
when a Dag run was made          from 3.2: ``created_at``             the same
the audit log's task instance    by its names                         by its id; by its names from before
the task state store             ``task_state_store``, from 3.3       the same, with ``region_index`` and ``region_id``
===============================  ===================================  ==================================================

Source for 3.4: ``migrations/versions/0142_3_4_0_unify_task_attempt_ownership.py``, 0143 and 0144.

Airflow's ORM is not used: in 3.4 a hook of its session hides all but the latest tries.
"""

from __future__ import annotations

import contextlib
import importlib
import warnings
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias

import sqlalchemy as sa

if TYPE_CHECKING:
    from collections.abc import Mapping

Condition: TypeAlias = Any
Column: TypeAlias = Any
"""SQLAlchemy's types of them differ by version."""

_MODELS = (
    "dag",
    "dagrun",
    "taskinstance",
    "taskinstancehistory",  # to 3.3
    "xcom",
    "renderedtifields",
    "serialized_dag",
    "task_state_store",  # from 3.3
    "log",
    "dynamic_region",  # from 3.4
    "dagcode",
    "errors",
)
_NAMES = (
    "dag",
    "dag_run",
    "task_instance",
    "task_instance_history",
    "xcom",
    "xcom_v1",
    "xcom_v2",
    "rendered_task_instance_fields",
    "rtif_v1",
    "rtif_v2",
    "legacy_task_data_owner",
    "serialized_dag",
    "task_state_store",
    "log",
    "dynamic_region",
    "dag_tag",
    "dag_code",
    "job",
    "import_error",
)


@dataclass(frozen=True)
class InstanceColumns:
    """The columns that say which task instance a row is of."""

    dag_id: Column
    run_id: Column
    task_id: Column
    map_index: Column
    region_id: Column

    @classmethod
    def of(cls, columns: Any) -> InstanceColumns:  # noqa: ANN401 - a table's columns
        """Return those of a table."""
        has_regions = "region_id" in columns
        return cls(
            columns.dag_id,
            columns.run_id,
            columns.task_id,
            columns.region_index if has_regions else columns.map_index,
            columns.region_id if has_regions else sa.null().label("region_id"),
        )

    @property
    def has_regions(self) -> bool:
        """Whether this Airflow has regions (3.4)."""
        return isinstance(self.region_id, sa.Column)

    def __iter__(self) -> Any:  # noqa: ANN401 - an iterator of columns
        """Yield them in the order of an instance's key."""
        return iter((self.dag_id, self.run_id, self.task_id, self.map_index, self.region_id))

    def match(self, other: InstanceColumns) -> Condition:
        """Return the condition that two rows are of the same task instance."""
        pairs = list(zip(self, other, strict=True))
        return sa.and_(*(own == theirs for own, theirs in pairs[: 5 if self.has_regions else 4]))


@dataclass(frozen=True)
class Tries:
    """
    Where tries are.

    :param columns: of the whole row.
    :param is_included: which rows of the table are meant.
    """

    table: Any
    columns: Any
    key: InstanceColumns
    id: Column
    is_included: Condition

    @property
    def last_heartbeat_at(self) -> Column:
        """When a try was last heard of. The history of tries (to 3.3) does not keep it."""
        return self.columns.last_heartbeat_at if "last_heartbeat_at" in self.columns else sa.null()


@dataclass(frozen=True)
class LeftBehind:
    """
    What tasks have left behind: XComs, or rendered fields.

    :param columns: of the table with the values.
    :param source: what to select from.
    :param is_included: only what the latest try left that has begun. To 3.3 Airflow deletes the rest at each start.
    """

    columns: Any
    source: Any
    key: InstanceColumns
    is_included: Condition


@dataclass(frozen=True)
class Store:
    """The task state store (from 3.3)."""

    table: Any
    key: InstanceColumns

    def aliased(self) -> Store:
        """Return it under another name, for a query that needs it twice."""
        other = self.table.alias()
        return Store(other, InstanceColumns.of(other.c))


class Tables:
    """
    The tables of one Airflow.

    :param by_name: all of :data:`_NAMES` that there are.
    """

    def __init__(self, by_name: Mapping[str, Any]) -> None:
        self._by_name = by_name
        self.names = frozenset(by_name) & frozenset(_NAMES)
        """All that are read: what a user of the database needs SELECT on."""
        self.dag = by_name["dag"]
        self.dag_tag = by_name["dag_tag"]
        self.dag_code = by_name["dag_code"]
        self.job = by_name["job"]
        self.import_error = by_name["import_error"]
        self.dag_run = by_name["dag_run"]
        # From 3.2; the branch goes with 3.1.
        self.run_created_at = self.dag_run.c.created_at if "created_at" in self.dag_run.c else sa.null()
        self.serialized_dag = by_name["serialized_dag"]
        self.log = by_name["log"]
        self.latest, self.earlier = self._find_tries()
        self.xcoms = self._find_left_behind("xcom", "xcom_v1", "xcom_v2")
        self.rendered = self._find_left_behind("rendered_task_instance_fields", "rtif_v1", "rtif_v2")
        stored = by_name.get("task_state_store")
        self.store = None if stored is None else Store(stored, InstanceColumns.of(stored.c))

    def is_mapped(self, key: InstanceColumns) -> Condition:
        """Return the condition that a row is of an instance of a mapped task; one in a loop has an index, too (3.4)."""
        region = self._by_name.get("dynamic_region")
        if region is None:
            return key.map_index >= 0
        is_its_own = sa.and_(region.c.id == key.region_id, region.c.node_id == key.task_id)
        has_none = ~sa.exists().where(region.c.id == key.region_id)
        return sa.and_(key.map_index >= 0, sa.or_(sa.exists().where(is_its_own), has_none))

    @property
    def is_end_of_earlier_try(self) -> Condition:
        """
        The condition that the end in the latest try's row is that of an earlier try.

        Airflow keeps it until the latest one begins, and also if that one never does.
        """
        other = self.earlier.table.alias()
        return sa.exists().where(
            InstanceColumns.of(other.c).match(self.latest.key),
            other.c[self.earlier.id.name] != self.latest.id,
            other.c.end_date == self.latest.columns.end_date,
        )

    def _find_tries(self) -> tuple[Tries, Tries]:
        table = self._by_name["task_instance"]
        key = InstanceColumns.of(table.c)
        if "working_set" in table.c:  # from 3.4
            return (
                Tries(table, table.c, key, table.c.id, table.c.working_set.is_(True)),
                Tries(table, table.c, key, table.c.id, table.c.working_set.is_(None)),
            )
        history = self._by_name["task_instance_history"]
        return (
            Tries(table, table.c, key, table.c.id, sa.true()),
            Tries(history, history.c, InstanceColumns.of(history.c), history.c.task_instance_id, sa.true()),
        )

    def _find_left_behind(self, to_3_3: str, before: str, now: str) -> tuple[LeftBehind, ...]:
        """Return where to look; what is found in a later one wins."""
        if to_3_3 in self._by_name:
            table = self._by_name[to_3_3]
            return (LeftBehind(table.c, table, InstanceColumns.of(table.c), sa.true()),)
        tries = self.latest.table
        key, is_latest = self.latest.key, self._is_latest_begun(tries)
        old, new, owner = self._by_name[before], self._by_name[now], self._by_name["legacy_task_data_owner"]
        names = ("dag_id", "task_id", "run_id", "map_index")
        owned = old.join(owner, sa.and_(*(old.c[name] == owner.c[name] for name in names)))
        return (
            LeftBehind(old.c, owned.join(tries, owner.c.task_instance_id == tries.c.id), key, is_latest),
            LeftBehind(new.c, new.join(tries, new.c.task_instance_id == tries.c.id), key, is_latest),
        )

    @staticmethod
    def _is_latest_begun(tries: Any) -> Condition:  # noqa: ANN401 - a table
        """Return the condition that no later try has begun. One that has not has the dates of the try before it."""
        newer = tries.alias()
        return ~sa.exists().where(
            InstanceColumns.of(newer.c).match(InstanceColumns.of(tries.c)),
            newer.c.try_number > tries.c.try_number,
            newer.c.start_date > tries.c.start_date,
        )


@cache
def load_tables() -> Tables:
    """Return the tables of the installed Airflow, with its own columns, types and schema."""
    with warnings.catch_warnings():
        # Airflow's own modules use names that it has deprecated (3.0 and 3.1): nothing that a reader could fix.
        warnings.simplefilter("ignore")
        for name in _MODELS:
            with contextlib.suppress(ModuleNotFoundError):
                importlib.import_module(f"airflow.models.{name}")
        importlib.import_module("airflow.jobs.job")
        from airflow.models.base import Base

    # By the names alone: with [database] sql_alchemy_schema, the metadata's own keys have the schema in them.
    return Tables({table.name: table for table in Base.metadata.tables.values()})


def reflect_tables(engine: sa.Engine) -> Tables:
    """Return the tables that a database has, without an import of Airflow."""
    metadata = sa.MetaData()
    with warnings.catch_warnings():
        # Of indexes and constraints that SQLAlchemy cannot reflect; none is needed.
        warnings.simplefilter("ignore")
        metadata.reflect(engine, only=lambda name, _: name in _NAMES)
    return Tables({table.name: table for table in metadata.tables.values()})
