"""What Airflow's provider manager is told about this package."""

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
                            "Whether airflow_durable's TriggerDagRunOperator is durable where a task does not say so "
                            "itself: after a crash the retry finds the child run that was started, instead of "
                            "starting a second one."
                        ),
                        "version_added": "0.1.0",
                        "type": "boolean",
                        "example": None,
                        "default": "False",
                    },
                    "waits_page": {
                        "description": (
                            "Whether Airflow's UI (3.1 and later) has the page *Durable waits*: parents and the "
                            "child runs they wait for, to whoever may read their Dags."
                        ),
                        "version_added": "0.1.0",
                        "type": "boolean",
                        "example": None,
                        "default": "True",
                    },
                    **_switch_options(),
                },
            },
        },
    }


def _switch_options() -> dict[str, Any]:
    """Return the options of the switch, which makes the stock operators of a whole deployment durable."""

    def option(default: str, example: str | None, *description: str, kind: str = "string") -> dict[str, Any]:
        text = " ".join(description)
        return {"description": text, "version_added": "0.2.0", "type": kind, "example": example, "default": default}

    return {
        "stock_operators": option(
            "as_is",
            "durable",
            "What becomes of the stock TriggerDagRunOperators of all Dags, which no Dag file has to say: as_is,",
            "report (nothing changes; the logs of the Dag processor show what durable would do), or durable (they are",
            "as if they had been written with durable=True). A Dag with the tag not-durable is left alone. It has to",
            "be the same for Dag processors and workers.",
        ),
        "stock_operators_only": option(
            "",
            "etl_*, reporting.run_child",
            "Patterns (*, ?, [abc]) with commas between them: stock_operators is only for tasks whose dag_id or",
            "dag_id.task_id fits one of them. Empty: for all.",
        ),
        "stock_operators_except": option(
            "",
            "legacy_*, reporting.run_child",
            "Patterns like those of stock_operators_only: stock_operators leaves tasks alone that fit one of them.",
        ),
        "stock_subclasses": option(
            "durable",
            "as_is",
            "What becomes of tasks of a subclass of the stock operator where stock_operators is durable: durable, or",
            "as_is. What cannot be made durable safely is left alone in any case, and the logs say why.",
        ),
        "stock_operators_min_retries": option(
            "0",
            "2",
            "The retries that a task has at least where stock_operators makes it durable: a task without retries has",
            "no next try that could find the child run after a crash. 0 leaves the retries as they are.",
            kind="integer",
        ),
    }


def _documentation_link() -> dict[str, str]:
    """Return the address of our documentation, as pyproject.toml has it; none where the package is not installed."""
    try:
        urls = metadata("airflow-durable").get_all("Project-URL") or []
    except PackageNotFoundError:
        return {}
    links = dict(url.split(", ", 1) for url in urls)
    return {"external-doc-url": links["Documentation"]} if "Documentation" in links else {}
