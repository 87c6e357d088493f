"""Which versions run where, as far as it can be known. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_durable.doctor.model import Finding, Severity, version_of
from airflow_durable.layout import count

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_durable.doctor.model import Facts

PACKAGE = "airflow-durable"
PROVIDER = "apache-airflow-providers-standard"

_FIRST_AIRFLOW = (3, 0, 6)
_LAST_MINOR = (3, 4)
_STORE_SINCE = (3, 3)
_FIRST_PROVIDER = (1, 6, 0)
_NEEDED_JOBS = {"SchedulerJob": "scheduler", "DagProcessorJob": "Dag processor"}


def check(facts: Facts) -> Iterator[Finding]:
    """Yield what there is to know of versions and components."""
    airflow = version_of(facts.airflow_version)
    if airflow < _FIRST_AIRFLOW:
        yield Finding(
            Severity.PROBLEM,
            "airflow_version",
            f"Airflow {facts.airflow_version} is not supported.",
            "Upgrade to 3.0.6 or later.",
        )
    elif airflow[:2] > _LAST_MINOR:
        yield Finding(
            Severity.WARNING,
            "airflow_version",
            f"Airflow {facts.airflow_version} is newer than this release of airflow-durable.",
            "Upgrade airflow-durable.",
        )
    elif airflow[:2] < _STORE_SINCE:
        yield Finding(
            Severity.NOTE,
            "airflow_version",
            f"Airflow {facts.airflow_version} has no task state store: less is recovered than from 3.3 on.",
            "See 'Airflow 3.0 to 3.2' in the known limits.",
        )
    yield from _check_packages(facts)
    yield from _check_imports(facts)
    for kind, name in _NEEDED_JOBS.items():
        if facts.jobs is not None and facts.jobs and not any(job.kind == kind for job in facts.jobs):
            yield Finding(
                Severity.WARNING,
                "no_component",
                f"No {name} has sent a heartbeat in the last minute.",
                f"Start one: without a {name} no crash is {'noticed' if kind == 'SchedulerJob' else 'recovered'}.",
            )


def _check_imports(facts: Facts) -> Iterator[Finding]:
    if lacking := facts.import_errors.lacking:
        yield Finding(
            Severity.PROBLEM,
            "import_errors",
            f"{count(len(lacking), 'Dag file')} cannot import airflow_durable: the Dag processor lacks it, or has "
            f"another version.",
            f"Install airflow-durable {facts.here.get(PACKAGE, '')} with the Dag processor.",
            lacking,
        )
    if refused := facts.import_errors.refused:
        yield Finding(
            Severity.PROBLEM,
            "refused_arguments",
            f"{count(len(refused), 'Dag file')} cannot be imported: airflow_durable's operator refuses an argument.",
            "Correct it: Airflow shows each error in its list of Dag import errors.",
            refused,
        )


def _check_packages(facts: Facts) -> Iterator[Finding]:
    provider = facts.api_server.get(PROVIDER) or facts.here.get(PROVIDER, "")
    if provider and version_of(provider) < _FIRST_PROVIDER:
        yield Finding(
            Severity.PROBLEM,
            "provider_version",
            f"The standard provider {provider} is older than 1.6.0.",
            "Upgrade apache-airflow-providers-standard.",
        )
    own, theirs = facts.here.get(PACKAGE), facts.api_server.get(PACKAGE)
    if facts.api_server and theirs is None:
        yield Finding(
            Severity.WARNING,
            "not_in_api_server",
            "The API server does not have airflow-durable: there is no page of waits.",
            "Install it in every component: API server, scheduler, Dag processor, workers, triggerer.",
        )
    elif theirs is not None and own is not None and own != theirs:
        yield Finding(
            Severity.WARNING,
            "other_version",
            f"The API server has airflow-durable {theirs}, and here is {own}.",
            "Install one version in every component.",
        )
    if facts.missing_parts:
        yield Finding(
            Severity.PROBLEM,
            "provider_lacks",
            f"The standard provider {provider} lacks what the durable operator needs: "
            f"{', '.join(facts.missing_parts)}.",
            "Upgrade airflow-durable, or use an older standard provider.",
        )
