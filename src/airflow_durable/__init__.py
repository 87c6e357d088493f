"""Crash-safe TriggerDagRunOperator for Apache Airflow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_durable.operators.trigger_dagrun import TriggerDagRunOperator
    from airflow_durable.operators.trigger_dagruns import TriggerDagRunsOperator

__all__ = ["TriggerDagRunOperator", "TriggerDagRunsOperator", "__version__"]

__version__ = "0.2.0"

if not TYPE_CHECKING:  # With a __getattr__, a type checker would accept every name.

    def __getattr__(name: str) -> Any:  # noqa: ANN401 - a module has attributes of all types
        """Import the operator when it is asked for: Airflow is imported with it, and most processes do not need it."""
        if name == "TriggerDagRunOperator":
            from airflow_durable.operators.trigger_dagrun import TriggerDagRunOperator

            return TriggerDagRunOperator
        if name == "TriggerDagRunsOperator":
            from airflow_durable.operators.trigger_dagruns import TriggerDagRunsOperator

            return TriggerDagRunsOperator
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
