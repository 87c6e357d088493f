"""What Airflow's provider manager makes of the package."""

from __future__ import annotations

import importlib
import json
from importlib.metadata import entry_points
from importlib.resources import files
from pathlib import Path
from typing import Any

import airflow
import jsonschema  # type: ignore[import-untyped] # it has no types of its own
from airflow.providers_manager import ProvidersManager

import airflow_durable
from airflow_durable.get_provider_info import get_provider_info


def manager() -> Any:  # noqa: ANN401 - Airflow's is untyped
    """Return Airflow's provider manager."""
    return ProvidersManager()  # type: ignore[no-untyped-call] # Airflow's


def test_it_follows_airflows_schema() -> None:
    schema = json.loads((Path(airflow.__path__[0]) / "provider_info.schema.json").read_text(encoding="utf-8"))
    jsonschema.validate(get_provider_info(), schema)


def test_airflow_lists_it() -> None:
    provider = manager().providers["airflow-durable"]
    assert provider.version == airflow_durable.__version__
    assert provider.data["name"] == "Durable"


def test_airflow_knows_its_configuration() -> None:
    options = dict(manager().provider_configs)["airflow-durable"]["durable"]["options"]
    assert "default_durable" in options
    for name, option in options.items():
        assert option["description"], name
        assert option["type"], name
        assert option["version_added"], name


def test_the_entry_point() -> None:
    ours = [each for each in entry_points(group="apache_airflow_provider") if each.module.startswith("airflow_durable")]
    (point,) = ours
    loaded: Any = point.load()
    assert loaded() == get_provider_info()


def test_the_modules_that_it_names_are_there() -> None:
    info = get_provider_info()
    for kind in ("operators", "triggers"):
        for entry in info[kind]:
            for module in entry["python-modules"]:
                importlib.import_module(module)


def test_the_package_is_typed() -> None:
    assert files("airflow_durable").joinpath("py.typed").is_file()
