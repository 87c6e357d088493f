"""Rows of Airflow's metadata database, as a parent, its child and its record leave them."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import sqlalchemy as sa

from airflow_durable.core.model import Decision, Mode, Phase, Proof
from airflow_durable.core.record import Record, TryEntry
from airflow_durable.core.stored import KEY, dump
from tests.support.schema import place

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

NOON = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
# Of these, "task_state_store" exists from 3.3.
TABLES = (
    "task_state_store",
    "task_instance_history",
    "task_instance",
    "log",
    "dag_run",
    "dag",
    "dag_bundle",
    "import_error",
)
BUNDLE = "tests"


def minutes(count: float) -> datetime:
    """Return the moment so many minutes after noon."""
    return NOON + timedelta(minutes=count)


class Rows:
    """Writes rows, with Core statements: no listener or default of the models' is wanted."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self._tables = sa.MetaData()
        self._tables.reflect(session.get_bind(), only=lambda name, _: name in TABLES)

    def clear(self) -> None:
        """Delete all."""
        for name in TABLES:
            if name in self._tables.tables:
                self.session.execute(self._tables.tables[name].delete())
        self.session.commit()

    def insert_many(self, table_name: str, rows: list[dict[str, Any]]) -> None:
        """Insert many rows, which all have the same columns."""
        placed = [place(self._tables.tables, table_name, row) for row in rows]
        table, first = placed[0]
        made_up = self._make_up(table, first)
        self.session.execute(table.insert(), [{**made_up, **row} for _, row in placed])
        self.session.commit()

    def insert(self, table_name: str, /, **values: Any) -> int:  # noqa: ANN401 - a table's own
        """Insert one row; what the table demands besides is made up."""
        table, row = place(self._tables.tables, table_name, values)
        result: Any = self.session.execute(table.insert().values(**row, **self._make_up(table, row)))
        self.session.commit()
        (key, *_) = result.inserted_primary_key
        return key if isinstance(key, int) else 0

    @staticmethod
    def _make_up(table: sa.Table, given: dict[str, Any]) -> dict[str, Any]:
        """Return a value for each column that the table demands and that is not given."""
        return {
            column.name: _make_up(column.type)
            for column in table.columns
            if column.name not in given
            and not column.nullable
            and column.server_default is None
            and not (column.primary_key and isinstance(column.type, sa.Integer))
        }

    def dag(self, dag_id: str) -> None:
        """Make a Dag, if there is none."""
        bundle = self.session.scalar(sa.select(self._tables.tables["dag_bundle"].c.name))
        if bundle is None:
            bundle = BUNDLE
            self.insert("dag_bundle", name=bundle, active=True)
        dag = self._tables.tables["dag"]
        if not self.session.scalar(sa.select(dag.c.dag_id).where(dag.c.dag_id == dag_id)):
            self.insert("dag", dag_id=dag_id, bundle_name=bundle, is_paused=False)

    def pause(self, dag_id: str) -> None:
        """Pause a Dag."""
        dag = self._tables.tables["dag"]
        self.session.execute(dag.update().where(dag.c.dag_id == dag_id).values(is_paused=True))
        self.session.commit()

    def run(
        self,
        dag_id: str,
        run_id: str,
        state: str = "running",
        start: datetime | None = NOON,
        end: datetime | None = None,
        **more: Any,  # noqa: ANN401 - as above
    ) -> int:
        """Make a Dag run, and its Dag; return its id."""
        self.dag(dag_id)
        return self.insert(
            "dag_run",
            dag_id=dag_id,
            run_id=run_id,
            state=state,
            queued_at=start,
            start_date=start,
            end_date=end,
            run_type="manual",
            **more,
        )

    def dag_run_id(self, dag_id: str, run_id: str) -> int | None:
        """Return the id of a Dag run's row; None if there is none."""
        run = sa.select(self._tables.tables["dag_run"].c.id).filter_by(dag_id=dag_id, run_id=run_id)
        return self.session.scalar(run)

    def wait(  # noqa: PLR0913 - as much as there is to say
        self,
        dag_id: str = "alpha",
        run_id: str = "run",
        *,
        child: tuple[str, str] = ("alpha_child", "child"),
        decisions: tuple[str, ...] = ("fresh_submit",),
        state: str | None = "running",
        is_consumed: bool = False,
        is_fixed: bool = False,
        task_id: str = "trigger",
        map_index: int = -1,
        task_instance_id: UUID | None = None,
        child_state: str | None = "running",
        child_start: datetime | None = NOON,
        child_end: datetime | None = None,
        value: str | None = None,
        key: str = KEY,
        operator: str | None = None,
        last_heartbeat_at: datetime | None = None,
    ) -> int:
        """
        Make a parent whose tries are ten minutes apart, from noon; return the id of its record.

        :param decisions: of each try. All but the last have failed after five minutes.
        :param child_state: None: there is no such run.
        :param value: what is stored, in place of the record.
        """
        dag_run_id = self.dag_run_id(dag_id, run_id) or self.run(dag_id, run_id)
        self.dag(child[0])
        if child_state is not None:
            self.run(*child, child_state, child_start, child_end)
        names = {"dag_id": dag_id, "run_id": run_id, "task_id": task_id, "map_index": map_index}
        begin = 10 * (len(decisions) - 1)
        is_done = state in {"success", "failed", "skipped"}
        self.insert(
            "task_instance",
            **names,
            id=task_instance_id or uuid4(),
            try_number=len(decisions),
            state=state,
            start_date=minutes(begin),
            end_date=minutes(begin + 5) if is_done else None,
            max_tries=3,
            last_heartbeat_at=last_heartbeat_at,
            operator=operator,
        )
        for number in range(1, len(decisions)):
            begin = 10 * (number - 1)
            self.insert(
                "task_instance_history",
                **names,
                task_instance_id=uuid4(),
                try_number=number,
                state="failed",
                start_date=minutes(begin),
                end_date=minutes(begin + 5),
            )
        record = make_record(child, decisions, is_consumed=is_consumed, is_fixed=is_fixed)
        return self.insert(
            "task_state_store",
            **names,
            dag_run_id=dag_run_id,
            key=key,
            value=json.dumps(dump(record)) if value is None else value,
            updated_at=NOON,
        )

    def set_value(self, row_id: int, value: str) -> None:
        """Write over what an entry says."""
        store = self._tables.tables["task_state_store"]
        self.session.execute(store.update().where(store.c.id == row_id).values(value=value))
        self.session.commit()

    def value(self, row_id: int) -> str:
        """Return what an entry says."""
        store = self._tables.tables["task_state_store"]
        return str(self.session.scalar(sa.select(store.c.value).where(store.c.id == row_id)))

    def entry(self, row_id: int, key: str, value: str) -> int:
        """Write one more entry of the same parent; return its id."""
        store = self._tables.tables["task_state_store"]
        (row,) = self.session.execute(sa.select(store).where(store.c.id == row_id))
        result: Any = self.session.execute(
            store.insert().values(**{**row._mapping, "key": key, "value": value, "id": None})
        )
        self.session.commit()
        return int(result.inserted_primary_key[0])


def make_record(
    child: tuple[str, str], decisions: tuple[str, ...], *, is_consumed: bool = False, is_fixed: bool = False
) -> Record:
    """Return a record whose attempts began ten minutes apart, from noon."""
    return Record(
        dag_id=child[0],
        run_id=child[1],
        proof=Proof.LOGICAL_DATE if is_fixed else Proof.RUN_ID,
        logical_date=NOON,
        mode=Mode.WAIT,
        max_tries=3,
        clear_number=0,
        phase=Phase.CONSUMED if is_consumed else Phase.INTENDED,
        tries=tuple(
            TryEntry(number, Decision(decision), child[1], minutes(10 * (number - 1)))
            for number, decision in enumerate(decisions, 1)
        ),
    )


def _make_up(type_: Any) -> Any:  # noqa: ANN401 - of any type
    if isinstance(type_, sa.DateTime):
        return NOON
    if isinstance(type_, sa.Uuid):
        return uuid4()
    if isinstance(type_, (sa.Integer, sa.Float, sa.Boolean)):
        return 0
    return "default"[: getattr(type_, "length", None) or 7]
