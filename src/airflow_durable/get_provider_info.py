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
        "operators": [
            {
                "integration-name": "Durable",
                "python-modules": [
                    "airflow_durable.operators.trigger_dagrun",
                    "airflow_durable.operators.trigger_dagruns",
                ],
            }
        ],
        "triggers": [
            {
                "integration-name": "Durable",
                "python-modules": ["airflow_durable.triggers.dag_run", "airflow_durable.triggers.dag_runs"],
            }
        ],
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
                    **_child_options(),
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
                    **_switch_options(),
                    "reconciler": {
                        "description": (
                            "Whether the API server (Airflow 3.3 and later) does what durable parents ask for and a "
                            "task cannot do: end the child of a parent that has ended for good, let a failed child "
                            "resume, reset a run under a condition. Turn it off if airflow-durable reconcile "
                            "runs as a separate process."
                        ),
                        "version_added": "0.2.0",
                        "type": "boolean",
                        "example": None,
                        "default": "True",
                    },
                    "reconciler_interval": {
                        "description": "The seconds between two checks of the reconciler.",
                        "version_added": "0.2.0",
                        "type": "float",
                        "example": None,
                        "default": "5.0",
                    },
                },
            },
        },
    }


def _child_options() -> dict[str, Any]:
    """Return the options for the child's life: the defaults of the operator's parameters, and the reconciler's."""
    return {
        "on_child_failure": {
            "description": (
                "What the next try of a durable task does about a failed child run, unless the task says so "
                "itself: fresh (start a new run), resume (the same run continues from where it failed; Airflow 3.3, "
                "and a reconciler has to run) or fail (there is no next try)."
            ),
            "version_added": "0.2.0",
            "type": "string",
            "example": "fail",
            "default": "fresh",
        },
        "on_parent_end": {
            "description": (
                "What happens to an active child run when its durable task has ended for good without having taken "
                "its outcome, unless the task says so itself: abandon (it stays as it is) or cancel (the "
                "reconciler ends it; Airflow 3.3)."
            ),
            "version_added": "0.2.0",
            "type": "string",
            "example": "cancel",
            "default": "abandon",
        },
        "start_timeout": {
            "description": (
                "How many seconds a child run may take from the request for it to the start of its first task, unless "
                "the durable task says so itself. Empty: no limit."
            ),
            "version_added": "0.2.0",
            "type": "float",
            "example": "3600",
            "default": "",
        },
        "run_timeout": {
            "description": (
                "How many seconds a child run may take from the moment when it leaves the queue to its end, unless the "
                "durable task says so itself. Empty: no limit."
            ),
            "version_added": "0.2.0",
            "type": "float",
            "example": "86400",
            "default": "",
        },
        "reconciler_timeout": {
            "description": (
                "How many seconds a durable task waits for the reconciler to do what it asked for (to resume its "
                "child run) before the try fails."
            ),
            "version_added": "0.2.0",
            "type": "float",
            "example": None,
            "default": "120",
        },
        "reset_timeout": {
            "description": (
                "How many seconds a durable task with reset_dag_run waits for the reconciler to reset a run that the "
                "task itself had started. After that the task resets the run itself, like the stock operator. 0: at "
                "once. Set it to 0 if no reconciler runs."
            ),
            "version_added": "0.2.0",
            "type": "float",
            "example": None,
            "default": "30",
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
            "What happens to the stock TriggerDagRunOperators of all Dags, without a change to any Dag file: as_is,",
            "report (nothing changes; the logs of the Dag processor show what durable would do), or durable (they",
            "behave as if they had been written with durable=True). A Dag with the tag not-durable is left alone. The",
            "value must be the same for Dag processors and workers.",
        ),
        "stock_operators_only": option(
            "",
            "etl_*, reporting.run_child",
            "Patterns (*, ?, [abc]), separated by commas: stock_operators applies only to tasks whose dag_id or",
            "dag_id.task_id matches one of them. Empty: to all tasks.",
        ),
        "stock_operators_except": option(
            "",
            "legacy_*, reporting.run_child",
            "Patterns like those of stock_operators_only: stock_operators leaves tasks alone that match one of them.",
        ),
        "stock_subclasses": option(
            "durable",
            "as_is",
            "What happens to tasks of a subclass of the stock operator if stock_operators is durable: durable or",
            "as_is. A subclass that cannot be made durable safely is always left alone, and the logs say why.",
        ),
        "stock_operators_min_retries": option(
            "0",
            "2",
            "The least number of retries of a task that stock_operators makes durable: a task without retries has",
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
