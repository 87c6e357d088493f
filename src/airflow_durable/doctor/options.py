"""Options of Airflow that work against durable tasks. Pure."""

from __future__ import annotations

import re
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from airflow_durable.core.model import Parent
from airflow_durable.core.run_ids import child_run_id
from airflow_durable.defaults import OPTIONS
from airflow_durable.doctor.model import Finding, Severity
from airflow_durable.durations import format_duration

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_durable.doctor.model import Facts

TIMEOUT = "scheduler.task_instance_heartbeat_timeout"
INTERVAL = "workers.min_heartbeat_interval"
PATTERN = "scheduler.allowed_run_id_pattern"
CLEAR = "state_store.clear_on_success"
RETENTION = "state_store.default_retention_days"
BACKEND = "state_store.backend"
WORKER_BACKEND = "workers.state_store_backend"
EXECUTOR = "core.executor"
DEFAULT_DURABLE = "durable.default_durable"
DEFAULT_DEFERRABLE = "operators.default_deferrable"
DEFAULT_RETRIES = "core.default_task_retries"

READ = (
    TIMEOUT,
    INTERVAL,
    PATTERN,
    CLEAR,
    RETENTION,
    BACKEND,
    WORKER_BACKEND,
    EXECUTOR,
    DEFAULT_DURABLE,
    DEFAULT_DEFERRABLE,
    DEFAULT_RETRIES,
    *(f"durable.{name}" for name in OPTIONS),
)
"""All that are read, beside those of the switch."""

_LONG_SECONDS = 900
_FEWEST_HEARTBEATS = 3
_DEFAULT_RETENTION_DAYS = 30
_OWN_BACKEND = "airflow."


def check(facts: Facts) -> Iterator[Finding]:
    """Yield what there is to know of the configuration."""
    for problem in facts.switch.problems:
        yield Finding(Severity.PROBLEM, "switch_option", problem, "Correct it.")
    for name, needed in facts.unusable_defaults.items():
        yield Finding(
            Severity.PROBLEM,
            "unusable_default",
            f"[durable] {name} = {facts.options[f'durable.{name}']} cannot be used: it must be {needed}. Dag files "
            f"with durable tasks of airflow_durable's operators have an import error, and stock_operators makes no "
            f"task durable.",
            "Correct it, or remove it.",
        )
    yield from _check_heartbeats(facts)
    yield from _check_pattern(facts)
    yield from _check_store(facts)
    if facts.dialect == "sqlite":
        executor = facts.options.get(EXECUTOR, "")
        yield Finding(
            Severity.WARNING,
            "sqlite",
            f"The database is SQLite{f', with {executor}' if executor else ''}: it has one writer, and tasks fail "
            f"with 'database is locked'.",
            "Use PostgreSQL or MySQL for anything but trials.",
        )


def _check_heartbeats(facts: Facts) -> Iterator[Finding]:
    timeout, interval = facts.number(TIMEOUT), facts.number(INTERVAL) or 5.0
    if timeout is None:
        return
    if timeout > _LONG_SECONDS:
        yield Finding(
            Severity.WARNING,
            "heartbeat_timeout",
            f"[scheduler] task_instance_heartbeat_timeout = {timeout:g}: a crash is noticed, and retried, only after "
            f"{format_duration(timeout)}.",
            "Set it to 300 (Airflow's default) or less.",
        )
    if timeout < _FEWEST_HEARTBEATS * interval:
        yield Finding(
            Severity.PROBLEM,
            "heartbeat_timeout",
            f"[scheduler] task_instance_heartbeat_timeout = {timeout:g} with a heartbeat every {interval:g} s: healthy "
            f"tasks are taken for dead.",
            f"Set it to {10 * interval:g} or more.",
        )


def _check_pattern(facts: Facts) -> Iterator[Finding]:
    pattern = facts.options.get(PATTERN)
    if not pattern:
        return
    moment = datetime(2026, 1, 31, 2, tzinfo=timezone.utc)
    parent = Parent(dag_id="dag", run_id="run", task_id="task", map_index=-1, run_after=moment, started_at=moment)
    example = child_run_id(parent, epoch=3, call=2, generation=1)
    try:
        fits = re.match(pattern, example) is not None
    except re.error:
        fits = False
    if not fits:
        yield Finding(
            Severity.PROBLEM,
            "allowed_run_id_pattern",
            f"[scheduler] allowed_run_id_pattern = {pattern} refuses the run ids of durable tasks, such as {example}.",
            "Let it match manual__, a date, and letters, digits and _ after it.",
        )


def _check_store(facts: Facts) -> Iterator[Finding]:
    if facts.flag(CLEAR, default=False):
        yield Finding(
            Severity.WARNING,
            "clear_on_success",
            "[state_store] clear_on_success = True: the record is gone once the parent has succeeded. What it did "
            "cannot be seen any more, and after a clear nothing says whether the outcome was used.",
            "Set it to False.",
        )
    for name in (BACKEND, WORKER_BACKEND):
        backend = facts.options.get(name, "")
        if backend and not backend.startswith(_OWN_BACKEND):
            section, _, option = name.partition(".")
            yield Finding(
                Severity.WARNING,
                "state_backend",
                f"[{section}] {option} = {backend}: a custom store is not tested, and the page and these "
                f"commands do not see records in it.",
                "Test a crash with it, or leave it empty.",
            )
    days = facts.number(RETENTION)
    if days is not None and days != _DEFAULT_RETENTION_DAYS:
        yield Finding(
            Severity.NOTE,
            "retention",
            f"[state_store] default_retention_days = {days:g} does not apply to the records of durable tasks: they "
            f"stay until their Dag run is deleted.",
            "Delete old Dag runs with `airflow db clean` if they take too much room.",
        )
