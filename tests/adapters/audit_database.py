"""A metadata database of the installed Airflow's own schema, filled by hand."""

from __future__ import annotations

import json
import warnings
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from tests.support.schema import place

from .audit_fakes import CHILD, at

if TYPE_CHECKING:
    from collections.abc import Mapping

    import sqlalchemy as sa

PARENT = "parent"
TASK = "trigger"


class Schema:
    """
    The tables, without a repr of many pages.

    :param tables: by their names.
    """

    def __init__(self, tables: Mapping[str, sa.Table]) -> None:
        self._tables = tables

    def __getitem__(self, name: str) -> sa.Table:
        """Return a table."""
        return self._tables[name]

    def __contains__(self, name: str) -> bool:
        """Tell whether this Airflow has it."""
        return name in self._tables

    def place(self, name: str, row: Mapping[str, Any]) -> tuple[sa.Table, dict[str, Any]]:
        """See :func:`tests.support.schema.place`."""
        return place(self._tables, name, row)


def load_schema() -> Schema:
    """Return the installed Airflow's tables, all of them."""
    with warnings.catch_warnings():
        # Airflow's own modules use names that it has deprecated.
        warnings.simplefilter("ignore")
        import airflow.models
        from airflow.models.base import Base

        airflow.models.import_all_models()  # type: ignore[no-untyped-call] # Airflow's
    return Schema({table.name: table for table in Base.metadata.tables.values()})


class Filler:
    """
    Writes what Airflow would have written.

    :param connection: of a database with Airflow's tables, in a transaction.
    """

    def __init__(self, connection: sa.Connection, tables: Schema) -> None:
        self._connection = connection
        self._tables = tables
        self._run_ids: dict[tuple[str, str], int] = {}
        self._begun: dict[tuple[str, str, int], tuple[float, UUID]] = {}

    def dag(
        self, dag_id: str, template_fields: tuple[str, ...] = ("trigger_dag_id", "conf"), task_id: str = TASK
    ) -> None:
        """Add a serialized Dag with one task."""
        task = {"task_id": task_id, "template_fields": list(template_fields)}
        data = {"__version": 2, "dag": {"dag_id": dag_id, "tasks": [{"__type": "operator", "__var": task}]}}
        self._insert(
            "serialized_dag",
            id=uuid4(),
            dag_id=dag_id,
            data=data,
            dag_hash=uuid4().hex,
            created_at=at(0),
            last_updated=at(0),
            dag_version_id=uuid4(),
        )

    def run(  # noqa: PLR0913 - a row
        self,
        run_id: str,
        began: float,
        *,
        dag_id: str = CHILD,
        triggered_by: str = "OPERATOR",
        state: str = "success",
        end: float | None = 1000,
        conf: object = None,
        queued: float | None = None,
    ) -> None:
        """Add a Dag run."""
        values = {
            "dag_id": dag_id,
            "run_id": run_id,
            "run_type": "manual",
            "triggered_by": triggered_by,
            "state": state,
            "logical_date": at(began),
            "run_after": at(began + 0.01),
            "queued_at": at(began + 0.01 if queued is None else queued),
            "start_date": at(began),
            "end_date": None if end is None else at(end),
            "conf": conf,
            "log_template_id": None,
        }
        self._run_ids[dag_id, run_id] = self._insert("dag_run", **values)

    def attempt(  # noqa: PLR0913 - a row
        self,
        try_number: int,
        start: float | None,
        end: float | None,
        *,
        state: str | None = "failed",
        max_tries: int = 3,
        dag_id: str = PARENT,
        run_id: str = "run",
        map_index: int = -1,
        is_latest: bool = False,
        region_id: UUID | None = None,
        last_heartbeat: float | None = None,
    ) -> None:
        """
        Add an attempt: the latest one, or an earlier one.

        :param region_id: from Airflow 3.4.
        """
        made = uuid4()
        heartbeat = {} if last_heartbeat is None else {"last_heartbeat_at": at(last_heartbeat)}
        if start is not None:
            self._begun[dag_id, run_id, map_index] = max(
                (start, made), self._begun.get((dag_id, run_id, map_index), (start, made))
            )
        self._insert(
            "task_instance" if is_latest else "task_instance_history",
            **{"id" if is_latest else "task_instance_id": made},
            dag_id=dag_id,
            run_id=run_id,
            task_id=TASK,
            map_index=map_index,
            region_id=region_id or UUID(int=0),
            try_number=try_number,
            max_tries=max_tries,
            state=state,
            start_date=None if start is None else at(start),
            end_date=None if end is None else at(end),
            **heartbeat,
            pool="default_pool",
            operator="TriggerDagRunOperator",
            executor_config={},
        )

    def loss(self, try_number: int, noticed: float, *, dag_id: str = PARENT, run_id: str = "run") -> None:
        """Add what the scheduler writes into the audit log of a try whose heartbeats have stopped."""
        self._insert(
            "log",
            dttm=at(noticed),
            dag_id=dag_id,
            task_id=TASK,
            run_id=run_id,
            map_index=-1,
            try_number=try_number,
            event="heartbeat timeout",
            extra="Task did not emit heartbeat within time limit (300 seconds) and will be terminated.",
        )

    def xcom(self, key: str, value: Any, *, dag_id: str = PARENT, run_id: str = "run", map_index: int = -1) -> None:  # noqa: ANN401 - JSON
        """Add what a task has pushed, in the latest of its tries that have begun so far."""
        row = {"key": key, "value": value, "timestamp": at(0)}
        self._leave(("xcom", "xcom_v2"), row, dag_id, run_id, map_index)

    def rendered(self, *, dag_id: str = PARENT, run_id: str = "run", map_index: int = -1, **fields: object) -> None:
        """Add rendered template fields, of the latest try that has begun so far."""
        row = {"rendered_fields": fields}
        self._leave(("rendered_task_instance_fields", "rtif_v2"), row, dag_id, run_id, map_index)

    def _leave(self, names: tuple[str, str], row: dict[str, Any], dag_id: str, run_id: str, map_index: int) -> None:
        """Add what is a task instance's to 3.3, and a try's from then on."""
        to_3_3, now = names
        if to_3_3 in self._tables:
            key = {"dag_id": dag_id, "run_id": run_id, "task_id": TASK, "map_index": map_index}
            self._insert(to_3_3, **row, **key, dag_run_id=self._run_ids.get((dag_id, run_id)))
        else:
            self._insert(now, **row, id=uuid4(), task_instance_id=self._begun[dag_id, run_id, map_index][1])

    def record(  # noqa: PLR0913 - a row
        self,
        stored: object,
        *,
        dag_id: str = PARENT,
        run_id: str = "run",
        map_index: int = -1,
        key: str = "durable_child_run",
        region_id: UUID | None = None,
    ) -> None:
        """Add a record."""
        self._insert(
            "task_state_store",
            dag_run_id=self._run_ids[dag_id, run_id],
            task_id=TASK,
            map_index=map_index,
            region_id=region_id or UUID(int=0),
            key=key,
            dag_id=dag_id,
            run_id=run_id,
            value=json.dumps(stored),
            updated_at=at(0),
        )

    def crashed_parent(self, dag_id: str = PARENT, *, first: float = 2, second: float = 112) -> None:
        """Add a parent that was retried, what it left behind, and both of its runs."""
        self.run("run", -10, dag_id=dag_id, triggered_by="UI")
        self.attempt(1, 0, 100, dag_id=dag_id)
        self.attempt(2, 110, 900, state="success", dag_id=dag_id, is_latest=True)
        self.xcom("trigger_run_id", f"{dag_id}-second", dag_id=dag_id)
        self.xcom("_link_TriggerDagRunLink", f"http://a/dags/{CHILD}/runs/{dag_id}-second", dag_id=dag_id)
        self.run(f"{dag_id}-first", first)
        self.run(f"{dag_id}-second", second, end=800)

    def deployment(self, dag_id: str, *, source: str = "", is_stale: bool = False) -> None:
        """Add a Dag, and the text of its file."""
        self._insert(
            "dag",
            dag_id=dag_id,
            is_paused=False,
            is_stale=is_stale,
            fileloc="a.py",
            max_active_tasks=1,
            max_consecutive_failed_dag_runs=0,
            has_task_concurrency_limits=False,
            bundle_name="dags",
        )
        self._insert(
            "dag_code",
            id=uuid4(),
            dag_id=dag_id,
            fileloc="a.py",
            created_at=at(0),
            last_updated=at(0),
            source_code=source,
            source_code_hash="x",
            dag_version_id=uuid4(),
        )

    def job(self, kind: str, hostname: str, heartbeat: float, *, state: str = "running") -> None:
        """Add a component of the deployment."""
        self._insert("job", job_type=kind, hostname=hostname, state=state, latest_heartbeat=at(heartbeat))

    def import_error(self, filename: str, stacktrace: str) -> None:
        """Add a Dag file that cannot be imported."""
        self._insert("import_error", filename=filename, stacktrace=stacktrace, timestamp=at(0))

    def bulk(self, name: str, rows: list[dict[str, Any]]) -> None:
        """Add many rows."""
        placed = [self._tables.place(name, row) for row in rows]
        self._connection.execute(placed[0][0].insert(), [row for _, row in placed])

    def _insert(self, name: str, **values: Any) -> int:  # noqa: ANN401 - a column's
        table, row = self._tables.place(name, values)
        result = self._connection.execute(table.insert().values(row))
        made = result.inserted_primary_key
        return int(made[0]) if made and name == "dag_run" else 0
