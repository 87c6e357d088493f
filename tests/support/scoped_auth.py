"""
An auth manager that limits some users to some Dags: the simple one's users, tokens and roles, and one rule more.

A test's Airflow names it in ``[core] auth_manager``.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager

from tests.support.scopes import SCOPES

if TYPE_CHECKING:
    from airflow.api_fastapi.auth.managers.models.resource_details import DagDetails
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser


class ScopedAuthManager(SimpleAuthManager):
    """Limits users by Dag."""

    def is_authorized_dag(
        self,
        *,
        user: SimpleAuthManagerUser,
        details: DagDetails | None = None,
        **more: Any,  # noqa: ANN401 - Airflow's own
    ) -> bool:
        """Ask the simple manager, then the scope."""
        if not super().is_authorized_dag(user=user, details=details, **more):
            return False
        scope = json.loads(os.environ.get(SCOPES, "{}")).get(user.username)
        return scope is None or details is None or details.id is None or details.id in scope
