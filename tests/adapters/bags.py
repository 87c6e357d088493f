"""Dag files, parsed as the Dag processor and the worker parse them, with the switch as a test wants it."""

from __future__ import annotations

import contextlib
import os
from textwrap import dedent
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from airflow_durable import policy

from .versions import parse_folder, policy_manager

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from airflow.sdk import DAG


@contextlib.contextmanager
def options(**values: str) -> Iterator[None]:
    """Let the configuration say so, to a process that has not read it yet."""
    variables = {f"AIRFLOW__DURABLE__{name.upper()}": value for name, value in values.items()}
    with patch.dict(os.environ, variables):
        policy._read_options.cache_clear()
        try:
            yield
        finally:
            policy._read_options.cache_clear()


@contextlib.contextmanager
def options_file(**values: str) -> Iterator[None]:
    """Let ``airflow.cfg`` say so: there, unlike in a variable of the environment, a value may refer to another one."""
    from airflow.configuration import conf

    if not conf.has_section("durable"):
        conf.add_section("durable")
    for name, value in values.items():
        conf.set("durable", name, value)
    try:
        with options():
            yield
    finally:
        for name in values:
            conf.remove_option("durable", name)


@contextlib.contextmanager
def local_settings(**policies: Any) -> Iterator[None]:  # noqa: ANN401 - functions
    """Let the deployment have an ``airflow_local_settings`` with these policies: registered like that, after ours."""
    from airflow.policies import make_plugin_from_local_settings

    manager = policy_manager()
    before = {id(plugin) for plugin in manager.get_plugins()}
    make_plugin_from_local_settings(manager, type("airflow_local_settings", (), _static(policies)), set(policies))
    try:
        yield
    finally:
        for plugin in manager.get_plugins():
            if id(plugin) not in before:
                manager.unregister(plugin)


def _static(functions: dict[str, Any]) -> dict[str, Any]:
    return {name: staticmethod(function) for name, function in functions.items()}


def parse(folder: Path, code: str) -> DAG:
    """Return the Dag ``etl`` of a file with this code."""
    dags, errors = parse_all(folder, code)
    assert not errors
    return dags["etl"]


def parse_all(folder: Path, code: str) -> tuple[dict[str, DAG], dict[str, str]]:
    """Return the Dags of a file with this code, and the errors of its import."""
    (folder / "file.py").write_text(_HEAD + dedent(code), encoding="utf-8")
    return parse_folder(folder)


_HEAD = """
from airflow.sdk import DAG, TaskGroup
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
"""
