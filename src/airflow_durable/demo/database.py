"""What the metadata database of a scratch Airflow says: plain reads, so that every figure is Airflow's own."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

if TYPE_CHECKING:
    from collections.abc import Mapping

_BUSY_PAUSES_SECONDS = (0.1, 0.5, 1.0, 2.0, 5.0)
_MAX_PARENTS = 32_000

_RUN_COLUMNS = "dag_id, run_id, state, logical_date, queued_at, start_date, end_date, clear_number"
_ATTEMPT_COLUMNS = (
    "dag_id, run_id, task_id, map_index, try_number, max_tries, state, pid, start_date, end_date, hostname"
)


@dataclass(frozen=True)
class RunRow:
    """A row of ``dag_run``; dates in UTC."""

    dag_id: str
    run_id: str
    state: str
    logical_date: datetime | None
    queued_at: datetime | None
    start_date: datetime | None
    end_date: datetime | None
    clear_number: int


@dataclass(frozen=True)
class AttemptRow:
    """A row of ``task_instance`` (the latest attempt) or ``task_instance_history`` (an earlier one); dates in UTC."""

    id: UUID
    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    try_number: int
    max_tries: int
    state: str | None
    pid: int | None
    start_date: datetime | None
    end_date: datetime | None
    hostname: str | None


class MetadataDatabase:
    """
    Reads of a metadata database. Each repeats itself while SQLite is locked or a server is away for a moment.

    :param url: SQLAlchemy's, as in ``[database] sql_alchemy_conn``.
    """

    def __init__(self, url: str) -> None:
        self._engine = sa.create_engine(url, poolclass=sa.pool.NullPool)

    def close(self) -> None:
        """Let go of what was opened."""
        self._engine.dispose()

    def runs(self, dag_id: str) -> list[RunRow]:
        """Return the runs of a Dag, in the order of their making."""
        statement = f"SELECT {_RUN_COLUMNS} FROM dag_run WHERE dag_id = :dag_id ORDER BY id"  # noqa: S608 - a constant
        rows = self.select(statement, dag_id=dag_id)
        return [
            RunRow(
                dag_id=row["dag_id"],
                run_id=row["run_id"],
                state=row["state"],
                logical_date=as_utc(row["logical_date"]),
                queued_at=as_utc(row["queued_at"]),
                start_date=as_utc(row["start_date"]),
                end_date=as_utc(row["end_date"]),
                clear_number=row["clear_number"] or 0,
            )
            for row in rows
        ]

    def latest_attempts(self, dag_id: str, run_id: str | None = None) -> list[AttemptRow]:
        """Return the latest attempt of each task instance of a Dag, or of one of its runs."""
        return self._attempts("task_instance", "id", dag_id, run_id)

    def attempts(self, dag_id: str, run_id: str | None = None) -> list[AttemptRow]:
        """
        Return all attempts of the task instances of a Dag, or of one of its runs, in their order.

        An attempt that ran is in the history, too, from its end on (3.0 to 3.3, ``models/taskinstance.py``): each
        task instance id is returned once.
        """
        earlier = self._attempts("task_instance_history", "task_instance_id", dag_id, run_id)
        latest = self.latest_attempts(dag_id, run_id)
        unique = {row.id: row for row in (*earlier, *latest)}
        return sorted(unique.values(), key=lambda row: (row.run_id, row.task_id, row.map_index, row.try_number))

    def attempt_of_id(self, task_instance_id: UUID) -> AttemptRow | None:
        """Return the attempt of this task instance id, None if there is none."""
        for table, column in (("task_instance", "id"), ("task_instance_history", "task_instance_id")):
            rows = self._select_attempts(
                table,
                column,
                f"CAST({column} AS VARCHAR(36)) IN (:hex, :dashed)",
                hex=task_instance_id.hex,
                dashed=str(task_instance_id),
            )
            if rows:
                return rows[0]
        return None

    def records(self, dag_id: str, run_id: str | None = None) -> dict[tuple[str, int, str], Any]:
        """Return the task state store of a Dag or of one of its runs: (task_id, map_index, key) to value."""
        if not self.has_table("task_state_store"):
            return {}
        rows = self.select(
            "SELECT task_id, map_index, key, value FROM task_state_store "
            "WHERE dag_id = :dag_id AND (:run_id IS NULL OR run_id = :run_id)",
            dag_id=dag_id,
            run_id=run_id,
        )
        return {(row["task_id"], row["map_index"], row["key"]): json.loads(row["value"]) for row in rows}

    def known_dags(self) -> set[str]:
        """Return the Dags that have been parsed and can be triggered."""
        return {row["dag_id"] for row in self.select("SELECT DISTINCT dag_id FROM serialized_dag")}

    def import_errors(self) -> list[str]:
        """Return what went wrong in Dag files."""
        rows = self.select("SELECT filename, stacktrace FROM import_error")
        return [f"{row['filename']}: {row['stacktrace']}" for row in rows]

    def beats(self, job_type: str, since: datetime) -> int:
        """Return how many jobs of this type have started since then and have not ended."""
        rows = self.select(
            "SELECT start_date, latest_heartbeat FROM job WHERE job_type = :job_type AND state = 'running'",
            job_type=job_type,
        )
        return sum(1 for row in rows if (as_utc(row["start_date"]) or since) >= since)

    def has_table(self, name: str) -> bool:
        """Tell whether this Airflow has such a table."""
        with self._engine.connect() as connection:
            return bool(sa.inspect(connection).has_table(name))

    def select(self, statement: str, **parameters: Any) -> list[Mapping[str, Any]]:  # noqa: ANN401 - as SQL takes them
        """Return the rows of a query."""
        for pause_seconds in _BUSY_PAUSES_SECONDS:
            try:
                return self._select(statement, parameters)
            except OperationalError:  # noqa: PERF203 - a pause follows
                time.sleep(pause_seconds)
        return self._select(statement, parameters)

    def execute(self, statement: str, **parameters: Any) -> int:  # noqa: ANN401 - as SQL takes them
        """Change the database, which no test of a running Airflow should do without need; return the rows changed."""
        with self._engine.begin() as connection:
            return connection.execute(sa.text(statement), parameters).rowcount

    def _select(self, statement: str, parameters: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        with self._engine.connect() as connection:
            return [dict(row) for row in connection.execute(sa.text(statement), dict(parameters)).mappings()]

    def _attempts(self, table: str, id_column: str, dag_id: str, run_id: str | None) -> list[AttemptRow]:
        if run_id is None:
            return self._select_attempts(table, id_column, "dag_id = :dag_id", dag_id=dag_id)
        condition = "dag_id = :dag_id AND run_id = :run_id"
        return self._select_attempts(table, id_column, condition, dag_id=dag_id, run_id=run_id)

    def _select_attempts(self, table: str, id_column: str, condition: str, **parameters: str) -> list[AttemptRow]:
        rows = self.select(
            f"SELECT {id_column} AS id, {_ATTEMPT_COLUMNS} FROM {table} "  # noqa: S608 - our own names
            f"WHERE {condition} ORDER BY run_id, task_id, map_index, try_number",
            **parameters,
        )
        return [
            AttemptRow(
                **{
                    **row,
                    "id": row["id"] if isinstance(row["id"], UUID) else UUID(row["id"]),
                    "start_date": as_utc(row["start_date"]),
                    "end_date": as_utc(row["end_date"]),
                }
            )
            for row in rows
        ]


def as_utc(stored: object) -> datetime | None:
    """Return a stored date with its time zone: SQLite has texts without one, in UTC."""
    if stored is None:
        return None
    date = stored if isinstance(stored, datetime) else datetime.fromisoformat(str(stored))
    return date.astimezone(timezone.utc) if date.tzinfo else date.replace(tzinfo=timezone.utc)
