"""What Airflow's provider manager reads about this package."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, metadata
from typing import Any


def get_provider_info() -> dict[str, Any]:
    """Return the provider's metadata, as ``airflow/provider_info.schema.json`` describes it (3.0 to 3.3)."""
    return {
        "package-name": "airflow-durable",
        "name": "Durable",
        "description": "Crash-safe TriggerDagRunOperator: one healthy child run per parent task, whatever dies.",
        "integrations": [
            {
                "integration-name": "Durable",
                **_documentation_link(),
                "tags": ["software"],
            }
        ],
        "operators": [{"integration-name": "Durable", "python-modules": ["airflow_durable.operators.trigger_dagrun"]}],
        "triggers": [{"integration-name": "Durable", "python-modules": ["airflow_durable.triggers.dag_run"]}],
        "config": {
            "durable": {
                "description": "Crash-safe trigger-and-wait (airflow-durable).",
                "options": {
                    "default_durable": {
                        "description": (
                            "The default of `durable` for tasks that use airflow_durable's TriggerDagRunOperator. With "
                            "True, the retry after a crash finds the child run that was started, instead of starting "
                            "a second one."
                        ),
                        "version_added": "0.1.0",
                        "type": "boolean",
                        "example": None,
                        "default": "False",
                    },
                    "waits_page": {
                        "description": (
                            "Whether Airflow's UI (3.1 and later) has the page *Durable waits*: parents and the "
                            "child runs they wait for, for people who may read their Dags."
                        ),
                        "version_added": "0.1.0",
                        "type": "boolean",
                        "example": None,
                        "default": "True",
                    },
                },
            },
        },
    }


def _documentation_link() -> dict[str, str]:
    """Return the address of our documentation, as pyproject.toml has it; none where the package is not installed."""
    try:
        urls = metadata("airflow-durable").get_all("Project-URL") or []
    except PackageNotFoundError:
        return {}
    links = dict(url.split(", ", 1) for url in urls)
    return {"external-doc-url": links["Documentation"]} if "Documentation" in links else {}
