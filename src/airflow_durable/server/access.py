"""
To whom the page shows what: Airflow's auth manager decides, on each request, as it does for Airflow's own lists.

A wait is shown to whoever may read the parent's Dag. Of a child whose Dag they may not read they see that there is one,
which the parent itself tells them: not its Dag, its run, its state or its times.
"""

from __future__ import annotations

from collections.abc import Iterator  # noqa: TC003 - FastAPI reads the annotation
from typing import Annotated, Any

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.api_fastapi.core_api.security import get_user
from airflow.models.dag import DagModel
from airflow.utils.session import create_session
from fastapi import Depends, HTTPException
from sqlalchemy.orm import Session

SignedInUser = Annotated[Any, Depends(get_user)]
"""The signed-in user. Without one the request ends with 401."""

_ENTITIES = (DagAccessEntity.RUN, DagAccessEntity.TASK_INSTANCE)


def read_dag_ids(user: SignedInUser) -> frozenset[str]:
    """
    Return the Dags that the user may read, and end the request with 403 if they may not read Dag runs and tasks.

    Both questions are those of Airflow's own list of task instances of all Dags (3.1 to 3.3,
    ``core_api/routes/public/task_instances.py``).
    """
    manager = get_auth_manager()
    if not all(manager.is_authorized_dag(method="GET", access_entity=entity, user=user) for entity in _ENTITIES):
        raise HTTPException(403, "Forbidden")
    return frozenset(manager.get_authorized_dag_ids(user=user, method="GET"))


def may_read_audit_log(user: Any, dag_id: str) -> bool:  # noqa: ANN401 - the auth manager's own
    """Return whether the user may read the audit log of a Dag, which says that a worker went silent."""
    details = DagDetails(id=dag_id, team_name=DagModel.get_team_name(dag_id))
    return bool(
        get_auth_manager().is_authorized_dag(
            method="GET", access_entity=DagAccessEntity.AUDIT_LOG, details=details, user=user
        )
    )


def open_session() -> Iterator[Session]:
    """Open a session for one request. Nothing is ever written in it."""
    with create_session(scoped=False) as session:
        yield session


ReadableDags = Annotated[frozenset[str], Depends(read_dag_ids)]
DatabaseSession = Annotated[Session, Depends(open_session)]
