"""An Airflow in which nothing runs but the API server: its Dag runs and records are written by the test."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from airflow_durable.demo.engine import ScratchAirflow

from .lab import ROLES, USERS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.asking_parents import World


@dataclass(frozen=True)
class Still:
    """The Airflow, and what writes and reads its database."""

    airflow: ScratchAirflow
    world: World


@contextlib.contextmanager
def open_still(home: Path, **options: str) -> Iterator[Still]:
    """
    Start the API server on a database with the Dags of :mod:`tests.support.asking_parents`; end it.

    :param options: of ``[durable]``.
    """
    # Airflow may be imported only after its home is set.
    from tests.support.asking_parents import World

    passwords = home / "passwords.json"
    passwords.write_text(json.dumps(USERS))
    given = {
        "core.simple_auth_manager_all_admins": "False",
        "core.simple_auth_manager_users": ",".join(f"{name}:{role}" for name, role in ROLES.items()),
        "core.simple_auth_manager_passwords_file": str(passwords),
        # What is dead stays as it is.
        "scheduler.task_instance_heartbeat_timeout": "3600",
        **{f"durable.{name}": value for name, value in options.items()},
    }
    with ScratchAirflow(home, dag_folders={"none": home / "none"}, options=given) as airflow:
        (home / "none").mkdir()
        airflow.migrate()
        engine = sa.create_engine(airflow.options["database.sql_alchemy_conn"])
        world = World(engine)
        world.make_dags()
        airflow.start_component("api-server")
        airflow.wait_until_ready()
        yield Still(airflow, world)
        engine.dispose()
