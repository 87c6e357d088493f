"""This machine's Airflow: loaded for the sake of its database connection, without anything being created."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    import sqlalchemy as sa

_CONNECTION_VARIABLES = tuple(
    f"AIRFLOW__{section}__SQL_ALCHEMY_CONN{suffix}"
    for section in ("DATABASE", "CORE")
    for suffix in ("", "_CMD", "_SECRET")
)
_ELSEWHERE = (
    "Run this where the deployment's Airflow is configured (on its scheduler, say, or in a container of it), set "
    "AIRFLOW_HOME or AIRFLOW__DATABASE__SQL_ALCHEMY_CONN to those of the deployment, or read its REST API with --url."
)


class DatabaseUnreadableError(Exception):
    """The metadata database could not be read. The message says why, and what to do."""


def load_engine() -> tuple[sa.Engine, str]:
    """
    Return Airflow's own engine for its metadata database, and Airflow's version.

    :raises DatabaseUnreadableError: Airflow is not configured here, or cannot be loaded.
    """
    require_configuration(os.environ)
    keep_from_writing(os.environ)
    try:
        with warnings.catch_warnings():
            # Of Airflow's own modules and of its settings: nothing that concerns what is read.
            warnings.simplefilter("ignore")
            from airflow import __version__, settings
    except ModuleNotFoundError as error:
        raise DatabaseUnreadableError(_describe_missing_module(error)) from error
    # What a broken configuration raises: many kinds, of Airflow, of SQLAlchemy, of the deployment's own settings.
    except Exception as error:  # noqa: BLE001 - as it says
        message = f"Airflow cannot be loaded with the configuration of this machine: {_describe(error)}"
        raise DatabaseUnreadableError(message) from None
    if settings.engine is None:
        message = "Airflow has no database connection here: [database] sql_alchemy_conn must not be used by it."
        raise DatabaseUnreadableError(message)
    return settings.engine, __version__


def _describe(error: Exception) -> str:
    from sqlalchemy.exc import ArgumentError

    # Of an address that it cannot read, SQLAlchemy 1.4 (Airflow 3.0) quotes all, the password too. Python quotes what
    # should be a port: of a password with an @ in it, that may be a part.
    is_no_port = isinstance(error, ValueError) and "invalid literal for int" in str(error)
    if isinstance(error, ArgumentError) or is_no_port:
        return f"{type(error).__name__}. [database] sql_alchemy_conn is not the address of a database."
    return f"{type(error).__name__}: {error}"


def require_configuration(environment: Mapping[str, str]) -> None:
    """
    Refuse where nothing says which database is meant, and the one that Airflow would use is not there.

    :raises DatabaseUnreadableError: it would be created.
    """
    home, config = find_home(environment)
    default = home / "airflow.db"
    if config.exists() or default.exists() or any(environment.get(name) for name in _CONNECTION_VARIABLES):
        return
    message = (
        f"Airflow is not configured here. There is neither a file {config} nor an environment variable "
        f"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN, and the database that Airflow would use then, sqlite:///{default}, does "
        f"not exist. Nothing was created. {_ELSEWHERE}"
    )
    raise DatabaseUnreadableError(message)


def require_file(url: sa.engine.URL) -> None:
    """
    Refuse an SQLite database whose file does not exist: to connect would create it.

    :raises DatabaseUnreadableError: it does not.
    """
    if url.get_backend_name() != "sqlite" or not url.database or url.database == ":memory:":
        return
    if not Path(url.database).exists():
        message = (
            f"The database that Airflow is configured for here, sqlite:///{url.database}, does not exist. Nothing was "
            f"created. {_ELSEWHERE}"
        )
        raise DatabaseUnreadableError(message)


def keep_from_writing(environment: dict[str, str] | os._Environ[str]) -> None:
    """Let Airflow, once it is imported, make neither a configuration file (3.0 and 3.1) nor a folder for logs."""
    home, config = find_home(environment)
    if not config.exists():
        environment["AIRFLOW_CONFIG"] = os.devnull
    if not (home / "logs").exists() and not _names_log_folder(environment, config):
        folder = tempfile.mkdtemp(prefix="airflow-durable-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        environment["AIRFLOW__LOGGING__BASE_LOG_FOLDER"] = folder


def find_home(environment: Mapping[str, str]) -> tuple[Path, Path]:
    """Return Airflow's home and its configuration file, as Airflow finds them (3.0 to 3.4, ``configuration.py``)."""

    def expand(path: str) -> Path:
        return Path(os.path.expandvars(path)).expanduser()

    home = expand(environment.get("AIRFLOW_HOME") or "~/airflow")
    config = environment.get("AIRFLOW_CONFIG")
    return home, expand(config) if config else home / "airflow.cfg"


def _names_log_folder(environment: Mapping[str, str], config: Path) -> bool:
    if environment.get("AIRFLOW__LOGGING__BASE_LOG_FOLDER"):
        return True
    return config.is_file() and "base_log_folder" in config.read_text(errors="replace")


def _describe_missing_module(error: ModuleNotFoundError) -> str:
    """Return one line: of a driver that is not installed, or of Airflow itself."""
    if error.name == "airflow":
        return "Airflow is not installed in this Python environment. Install airflow-durable beside it, or use --url."
    return (
        f"The Python package {error.name!r} is not installed here, and this machine's Airflow needs it: if it is the "
        f"driver that [database] sql_alchemy_conn names, install it beside Airflow."
    )
