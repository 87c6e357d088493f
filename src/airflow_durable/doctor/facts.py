"""What is read of a deployment for the doctor: its database and this machine's configuration, or its REST API."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from datetime import timedelta
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from airflow_durable.audit.client import read_options
from airflow_durable.audit.rest_rows import date_of
from airflow_durable.audit.source import SourceError
from airflow_durable.doctor import components, options
from airflow_durable.doctor.model import Facts, Job
from airflow_durable.metadata.dag_sources import read_flag
from airflow_durable.metadata.import_errors import ImportErrors, sort_errors
from airflow_durable.switch import settings
from airflow_durable.switch.settings import read_switch
from airflow_durable.switch.verdict import MANY_MODULE, MANY_NAME, NAME, OWN_MODULE, STOCK_MODULE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime

    from airflow_durable.audit.client import ApiClient
    from airflow_durable.audit.database import DatabaseSource
    from airflow_durable.audit.rest import RestSource
    from airflow_durable.metadata.trigger_tasks import TriggerTask

ALIVE = timedelta(minutes=1)
"""Schedulers, triggerers and Dag processors send a heartbeat every five seconds by default."""


def read_database(source: DatabaseSource, now: datetime) -> Facts:
    """
    Read the database, and the configuration of this machine.

    :raises SourceError: it cannot be read.
    """
    found = _read_configuration()
    reads = source.deployment
    jobs = [Job(*row) for row in reads.jobs(now - ALIVE)]
    return Facts(
        source.kind,
        source.address,
        source.airflow_version,
        tasks=_with_flags(source.active_tasks(), found, reads.dag_sources),
        options=found,
        switch=_read_switch(),
        jobs=tuple(jobs),
        dialect=source.dialect,
        here=_installed(),
        recorded=source.recorded_tasks(),
        import_errors=reads.import_errors(),
    )


def read_api(source: RestSource) -> Facts:
    """
    Read the REST API. Nothing of this machine's Airflow is loaded.

    :raises SourceError: it cannot be read.
    """
    client = source.client
    found = read_options(client)

    def sources(dag_ids: Iterable[str]) -> dict[str, str]:
        return {dag_id: text for dag_id in dag_ids if (text := _dag_source(client, dag_id)) is not None}

    return Facts(
        source.kind,
        source.address,
        source.airflow_version,
        tasks=_with_flags(source.active_tasks(), found, sources),
        options=found,
        is_configuration_known=bool(found),
        switch=read_switch(lambda name: found.get(f"{settings.SECTION}.{name}")),
        jobs=_jobs(client),
        here=_installed(),
        api_server=_providers(client),
        import_errors=_import_errors(client),
    )


def _read_configuration() -> dict[str, str]:
    from airflow.configuration import conf

    found: dict[str, str] = {}
    for name in options.READ:
        section, _, option = name.partition(".")
        # An option of another Airflow version, or a value that cannot be read, is one that is not known.
        with contextlib.suppress(Exception):
            value = conf.get(section, option, fallback=None)
            found |= {} if value is None else {name: str(value)}
    return found


def _read_switch() -> settings.Switch:
    """Return the switch as the policy reads it: an option that cannot be read turns it off."""
    from airflow.configuration import conf

    return read_switch(lambda name: conf.get(settings.SECTION, name, fallback=None))


def _with_flags(
    tasks: Iterable[TriggerTask],
    found: Mapping[str, str],
    read_sources: Callable[[Iterable[str]], Mapping[str, str]],
) -> tuple[TriggerTask, ...]:
    """Return the tasks with what the text of their Dag files says: ``durable`` and ``deferrable`` are in no Dag."""
    known = {(OWN_MODULE, NAME), (MANY_MODULE, MANY_NAME), (STOCK_MODULE, NAME)}
    given = list(tasks)
    wanted = {one.key.dag_id for one in given if (one.module, one.type_name) in known and not one.is_mapped}
    texts = read_sources(sorted(wanted))
    defaults = Facts("", "", "", options=found)
    is_durable = defaults.flag(options.DEFAULT_DURABLE, default=False)
    is_deferrable = defaults.flag(options.DEFAULT_DEFERRABLE, default=False)

    def fill(one: TriggerTask) -> TriggerTask:
        text = texts.get(one.key.dag_id)
        if one.is_mapped:
            durable = is_durable if "durable" in one.left_out and one.module == OWN_MODULE else one.durable
            deferrable = is_deferrable if "deferrable" in one.left_out else one.deferrable
            return replace(one, durable=durable, deferrable=deferrable)
        if text is None:
            return one
        durable = one.durable
        if one.module == OWN_MODULE:
            durable = read_flag(text, one.key.task_id, "durable", is_durable)
        return replace(one, durable=durable, deferrable=read_flag(text, one.key.task_id, "deferrable", is_deferrable))

    return tuple(sorted(map(fill, given), key=lambda one: one.key))


def _installed() -> dict[str, str]:
    found = {}
    for package in ("apache-airflow-core", components.PROVIDER, components.PACKAGE):
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def _jobs(client: ApiClient) -> tuple[Job, ...] | None:
    """Return the components that are alive; None if they may not be read."""
    try:
        items = list(client.pages("jobs", key="jobs", is_alive="true"))
    except SourceError:
        return None
    return tuple(
        Job(
            item["job_type"],
            str(item["hostname"]),
            date_of(item["latest_heartbeat"]),
            str(item["executor_class"] or ""),
        )
        for item in items
    )


def _providers(client: ApiClient) -> dict[str, str]:
    with contextlib.suppress(SourceError):
        return {item["package_name"]: str(item["version"]) for item in client.pages("providers", key="providers")}
    return {}


def _dag_source(client: ApiClient, dag_id: str) -> str | None:
    with contextlib.suppress(SourceError):
        content = client.get("dagSources", dag_id).get("content")
        return content if isinstance(content, str) else None
    return None


def _import_errors(client: ApiClient) -> ImportErrors:
    with contextlib.suppress(SourceError):
        items: Iterable[dict[str, Any]] = client.pages("importErrors", key="import_errors")
        return sort_errors((str(item["filename"]), str(item.get("stack_trace"))) for item in items)
    return ImportErrors()
