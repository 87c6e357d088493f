"""The configuration of a scratch Airflow, as environment variables."""

from __future__ import annotations

import json
import os
import secrets
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_durable.demo.processes import LOCALHOST

if TYPE_CHECKING:
    from collections.abc import Mapping

_PACKAGE_ROOT = Path(__file__).parents[2]

_OPTIONS = {
    "core.load_examples": "False",
    "core.dags_are_paused_at_creation": "False",
    "core.max_active_tasks_per_dag": "64",
    "core.max_active_runs_per_dag": "64",
    "core.simple_auth_manager_all_admins": "True",
    "database.load_default_connections": "False",
    "usage_data_collection.enabled": "False",
    "logging.colored_console_log": "False",
    "api.workers": "1",
    # A crashed worker is noticed after the time-out, at the next detection. Supervisors beat more often than that.
    "scheduler.task_instance_heartbeat_sec": "2",
    "scheduler.task_instance_heartbeat_timeout": "10",
    "scheduler.task_instance_heartbeat_timeout_detection_interval": "2",
    "workers.min_heartbeat_interval": "2",
    "scheduler.scheduler_heartbeat_sec": "1",
    "scheduler.job_heartbeat_sec": "2",
    "scheduler.scheduler_idle_sleep_time": "0.5",
    "triggerer.job_heartbeat_sec": "2",
    "triggerer.triggerer_health_check_threshold": "10",
    # One parse of each file is enough: the Dags do not change.
    "dag_processor.parsing_processes": "1",
    "dag_processor.min_file_process_interval": "3600",
    "dag_processor.refresh_interval": "3600",
    # A callback counts as if its file had been parsed again (3.0, ``dag_processing/manager.py``), and Dags that were
    # parsed long before the file are taken for gone: their tasks would never be scheduled again.
    "dag_processor.stale_dag_threshold": "86400",
    "dag_processor.print_stats_interval": "0",
}


def build_options(
    home: Path, *, dag_folders: Mapping[str, Path], api_port: int, given: Mapping[str, str]
) -> dict[str, str]:
    """
    Return the options of a scratch Airflow, ``section.key`` to value.

    :param dag_folders: a folder of Dag files for each name.
    :param given: options that win over these.
    """
    return {
        **_OPTIONS,
        "core.dags_folder": str(home / "dags"),
        "core.execution_api_server_url": f"http://{LOCALHOST}:{api_port}/execution/",
        # The time-out is that of SQLite's lock, in seconds.
        "database.sql_alchemy_conn": f"sqlite:///{home / 'airflow.db'}?timeout=20",
        "logging.base_log_folder": str(home / "logs"),
        "api.port": str(api_port),
        "api.base_url": f"http://{LOCALHOST}:{api_port}",
        "api.secret_key": secrets.token_hex(32),
        "api_auth.jwt_secret": secrets.token_hex(32),
        "dag_processor.dag_bundle_storage_path": str(home / "bundles"),
        "dag_processor.dag_bundle_config_list": _describe_bundles(dag_folders),
        **given,
    }


def build_environment(home: Path, options: Mapping[str, str]) -> dict[str, str]:
    """Return this process's environment with another Airflow in it: nothing of the caller's Airflow is left."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    environment |= {_name_variable(option): value for option, value in options.items()}
    return environment | {
        "AIRFLOW_HOME": str(home),
        "PYTHONPATH": _join(*_paths_to_package(), environment.get("PYTHONPATH")),
        "PYTHONUNBUFFERED": "1",
        "SCARF_ANALYTICS": "False",
        "DO_NOT_TRACK": "1",
        # The workers' HTTP client would ask a proxy of the machine's for the loopback interface.
        "NO_PROXY": "*",
        "no_proxy": "*",
    }


def _name_variable(option: str) -> str:
    section, _, key = option.partition(".")
    return f"AIRFLOW__{section.upper()}__{key.upper()}"


def _describe_bundles(dag_folders: Mapping[str, Path]) -> str:
    classpath = "airflow.dag_processing.bundles.local.LocalDagBundle"
    return json.dumps(
        [{"name": name, "classpath": classpath, "kwargs": {"path": str(path)}} for name, path in dag_folders.items()]
    )


def _paths_to_package() -> list[str]:
    """Return the folder to import this package from, if it is not installed but runs from its source."""
    installed = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    return [] if str(_PACKAGE_ROOT) in installed else [str(_PACKAGE_ROOT)]


def _join(*paths: str | None) -> str:
    return os.pathsep.join(path for path in paths if path)
