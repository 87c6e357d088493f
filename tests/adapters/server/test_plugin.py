"""How Airflow learns of the page, and that it costs nothing where it is not shown."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import TYPE_CHECKING

import pytest
from airflow import plugins_manager

from airflow_durable.server import plugin
from airflow_durable.server.plugin import DurableWaitsPlugin
from tests.adapters.versions import needs_pages
from tests.support.interpreter import run_python

if TYPE_CHECKING:
    from .conftest import Client


@needs_pages
def test_airflow_loads_the_plugin(application: Client) -> None:
    (entry,) = entry_points(group="airflow.plugins", name="durable_waits")
    assert entry.load() is DurableWaitsPlugin
    plugins = application("admin").get("/api/v2/plugins").json()["plugins"]
    (ours,) = [found for found in plugins if found["name"] == "durable_waits"]
    assert [view["destination"] for view in ours["external_views"]] == ["nav", "dag_run"]
    assert [app["url_prefix"] for app in ours["fastapi_apps"]] == ["/durable-waits"]
    assert application("admin").get("/api/v2/plugins/importErrors").json()["total_entries"] == 0


@needs_pages
def test_option_takes_the_page_away() -> None:
    code = (
        "from airflow_durable.server.plugin import DurableWaitsPlugin as P\n"
        "print(len(P.external_views), len(P.fastapi_apps))"
    )
    assert run_python(code) == "2 1"
    assert run_python(code, AIRFLOW__DURABLE__WAITS_PAGE="False") == "0 0"


def test_provider_describes_the_option() -> None:
    from airflow_durable.get_provider_info import get_provider_info

    option = get_provider_info()["config"]["durable"]["options"]["waits_page"]
    assert (option["type"], option["default"]) == ("boolean", "True")


def test_plugin_imports_nothing_of_the_page() -> None:
    # Every task process loads the plugins.
    code = (
        "import sys, airflow_durable.server.plugin\n"
        "print(sorted(name for name in sys.modules if name.startswith('airflow_durable.server.')))"
    )
    assert run_python(code) == "['airflow_durable.server.plugin']"


def test_addresses_are_relative_to_airflows_base() -> None:
    for view in DurableWaitsPlugin.external_views:
        assert not view["href"].startswith(("/", "http"))
        assert view["href"].startswith(plugin.URL_PREFIX.removeprefix("/"))


_IMPORTED = (
    "import sys\n"
    "import {module}\n"
    "from airflow.listeners.listener import get_listener_manager\n"
    "get_listener_manager()\n"
    "from airflow import plugins_manager\n"
    "names = ('server.plugin', 'operators.trigger_dagrun')\n"
    "print([f'airflow_durable.{{name}}' in sys.modules for name in names], plugins_manager.{errors})"
)
_DAG_PROCESSOR = "airflow.cli.commands.dag_processor_command"


def _imported(module: str, **environment: str) -> str:
    """Tell of a process with this module that has loaded the plugins: has it the plugin, the operator; the errors."""
    errors = "get_import_errors()" if hasattr(plugins_manager, "get_import_errors") else "import_errors"
    return run_python(_IMPORTED.format(module=module, errors=errors), **environment)


def test_dag_processor_imports_the_operator_before_it_forks() -> None:
    assert _imported(_DAG_PROCESSOR) == "[True, True] {}"


@pytest.mark.parametrize(
    "module",
    [
        "airflow.jobs.scheduler_job_runner",
        "airflow.jobs.triggerer_job_runner",
        "airflow.sdk.execution_time.task_runner",
        "airflow.api_fastapi.app",
        "airflow.cli.commands.standalone_command",
        "airflow.cli.commands.dag_command",
    ],
)
def test_no_other_process_imports_the_operator(module: str) -> None:
    assert _imported(module) == "[True, False] {}"


def test_dag_processor_that_may_not_import_modules_before_it_forks_does_not() -> None:
    environment = {"AIRFLOW__DAG_PROCESSOR__PARSING_PRE_IMPORT_MODULES": "False"}
    assert _imported(_DAG_PROCESSOR, **environment) == "[True, False] {}"


def test_operator_that_cannot_be_imported_takes_nothing_from_the_page() -> None:
    assert _imported(_DAG_PROCESSOR, AIRFLOW__DURABLE__DEFAULT_DURABLE="perhaps") == "[True, False] {}"


@pytest.mark.parametrize(("mode", "loaded"), [("as_is", "True False"), ("durable", "True True")])
def test_the_dag_processor_loads_what_a_parse_needs_before_it_forks(mode: str, loaded: str) -> None:
    code = (
        "import sys, airflow.dag_processing.manager\n"
        "from airflow_durable.server.plugin import DurableWaitsPlugin as P\n"
        "P.on_load()\n"
        "names = ('operators.trigger_dagrun', 'switch.apply')\n"
        "print(*(f'airflow_durable.{name}' in sys.modules for name in names))"
    )
    assert run_python(code, AIRFLOW__DURABLE__STOCK_OPERATORS=mode) == loaded
