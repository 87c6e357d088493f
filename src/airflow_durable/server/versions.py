"""Which Airflow this release was tested with, and a word to the operator of one that is newer."""

from __future__ import annotations

import importlib.metadata
import logging

from packaging.version import InvalidVersion, Version

NEWEST_AIRFLOW = "3.4.0b2"
NEWEST_PROVIDER = "1.21.0"
"""The newest that the tests run with: those of ``constraints/``."""

_OURS = "airflow-durable"
_AIRFLOW = "apache-airflow-core"
_PROVIDER = "apache-airflow-providers-standard"

log = logging.getLogger("airflow_durable")


def warn_if_untested() -> None:
    """Log one line if the installed Airflow or its standard provider is newer than any that was tested."""
    message = describe_untested(_find_version(_AIRFLOW), _find_version(_PROVIDER))
    if message:
        log.warning(message)


def describe_untested(airflow: str, provider: str) -> str | None:
    """Return what to tell the operator of this Airflow and this provider; None: nothing, both were tested."""
    if not (_is_newer(airflow, NEWEST_AIRFLOW) or _is_newer(provider, NEWEST_PROVIDER)):
        return None
    return (
        f"airflow-durable {_find_version(_OURS)} was tested with Airflow up to {NEWEST_AIRFLOW} and the standard "
        f"provider up to {NEWEST_PROVIDER}. Installed are Airflow {airflow} and the standard provider {provider}. "
        f"Nothing is switched off. Check whether there is a newer airflow-durable that was tested with them."
    )


def _find_version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _is_newer(version: str, tested: str) -> bool:
    try:
        return Version(version) > Version(tested)
    except InvalidVersion:
        return False
