"""
Names of Airflow that moved between its versions.

``airflow.providers.common.compat.sdk`` knows their places, but that module came with common.compat 1.8.0, and the
constraints of Airflow 3.0.6 have 1.7.3. The old places below are for that; they can go with Airflow 3.0.

Names are looked up when they are used first: a Dag file with the operator is parsed again and again, and must not
import what it does not need.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import (
        AirflowException,
        AirflowFailException,
        AirflowPlugin,
        AirflowSkipException,
        AirflowTaskTimeout,
        DagRunTriggerException,
        Stats,
        TaskDeferred,
        conf,
    )
    from airflow.sdk import timezone

__all__ = [
    "AirflowException",
    "AirflowFailException",
    "AirflowPlugin",
    "AirflowSkipException",
    "AirflowTaskTimeout",
    "DagRunTriggerException",
    "Stats",
    "TaskDeferred",
    "conf",
    "timezone",
]

_PLACES = {
    "AirflowException": "airflow.exceptions",
    "AirflowFailException": "airflow.exceptions",
    "AirflowPlugin": "airflow.plugins_manager",
    "AirflowSkipException": "airflow.exceptions",
    "AirflowTaskTimeout": "airflow.exceptions",
    "DagRunTriggerException": "airflow.exceptions",
    "Stats": "airflow.stats",
    "TaskDeferred": "airflow.exceptions",
    "conf": "airflow.configuration",
    "timezone": "airflow.utils",
}
"""Where Airflow 3.0.6 has them: a module, and the name in it, or a package and the module in it."""

if not TYPE_CHECKING:  # With a __getattr__, a type checker would accept every name.

    def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever Airflow has under the name
        """Return Airflow's object of that name, and keep it."""
        if name not in _PLACES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = globals()[name] = _find(name)
        return found


def _find(name: str) -> Any:  # noqa: ANN401 - whatever Airflow has under the name
    try:
        return getattr(importlib.import_module("airflow.providers.common.compat.sdk"), name)
    except (ImportError, AttributeError):
        place = importlib.import_module(_PLACES[name])
    try:
        return getattr(place, name)
    except AttributeError:
        return importlib.import_module(f"{_PLACES[name]}.{name}")
