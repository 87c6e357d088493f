"""Typed reads of what is neither a task instance nor a Dag run: Dags, their files, and Airflow's components."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from airflow_durable.metadata.import_errors import PACKAGE, ImportErrors, sort_errors
from airflow_durable.metadata.reads import chunks
from airflow_durable.metadata.values import as_utc

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from airflow_durable.metadata.reads import Execute
    from airflow_durable.metadata.tables import Tables


class DeploymentReads:
    """
    Reads of one database.

    :param execute: runs a statement and returns its rows.
    """

    def __init__(self, tables: Tables, execute: Execute) -> None:
        self._tables = tables
        self._execute = execute

    def dag_ids(self, *, is_active_only: bool = False) -> set[str]:
        """
        Return all Dags.

        :param is_active_only: without those whose files are gone.
        """
        dag = self._tables.dag.c
        statement = sa.select(dag.dag_id)
        if is_active_only:
            statement = statement.where(dag.is_stale.is_(False))
        return {dag_id for (dag_id,) in self._execute(statement)}

    def dag_sources(self, dag_ids: Iterable[str]) -> dict[str, str]:
        """Return the latest text of each of these Dags' files."""
        code = self._tables.dag_code.c
        found: dict[str, str] = {}
        for chunk in chunks(sorted(dag_ids)):
            statement = sa.select(code.dag_id, code.source_code).where(code.dag_id.in_(chunk))
            # Later ones replace earlier ones.
            found |= dict(tuple(row) for row in self._execute(statement.order_by(code.last_updated)))
        return found

    def jobs(self, since: datetime) -> Iterator[tuple[str, str, datetime | None, str]]:
        """Yield the kind, host, latest heartbeat and executor of each component that was heard of since then."""
        job = self._tables.job.c
        statement = sa.select(job.job_type, job.hostname, job.latest_heartbeat, job.executor_class).where(
            job.state == "running", job.latest_heartbeat >= since
        )
        for kind, hostname, heartbeat, executor in self._execute(statement.order_by(job.job_type, job.hostname)):
            yield str(kind), str(hostname), as_utc(heartbeat), str(executor or "")

    def import_errors(self) -> ImportErrors:
        """Return the Dag files that cannot be imported, with an error that is about this package."""
        error = self._tables.import_error.c
        names_it = error.stacktrace.contains(PACKAGE, autoescape=True)
        statement = sa.select(error.filename, error.stacktrace).where(names_it)
        return sort_errors((str(filename), str(text)) for filename, text in self._execute(statement))
