"""What can be known of a task that only a serialized Dag describes."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator as StockTriggerDagRunOperator

from airflow_durable.operators.trigger_dagrun import TriggerDagRunOperator
from airflow_durable.switch.settings import Switch
from airflow_durable.switch.verdict import NAME, OWN_MODULE, STOCK_MODULE, Kind, classify_serialized


def test_the_names_are_those_of_the_classes() -> None:
    for operator, module in ((StockTriggerDagRunOperator, STOCK_MODULE), (TriggerDagRunOperator, OWN_MODULE)):
        assert (operator.__module__, operator.__qualname__) == (module, NAME)


@pytest.mark.parametrize(
    ("task", "options", "kind"),
    [
        ({"task_type": "BashOperator", "task_module": "airflow.x"}, {}, Kind.NOT_STOCK),
        ({"task_type": NAME, "task_module": "their.own"}, {}, Kind.NOT_STOCK),
        ({"task_type": NAME, "task_module": STOCK_MODULE}, {}, Kind.STOCK),
        ({"task_type": NAME, "task_module": STOCK_MODULE}, {"is_for_subclasses": False}, Kind.STOCK),
        ({"task_type": NAME, "task_module": STOCK_MODULE}, {"excepted": ("etl",)}, Kind.EXCLUDED),
        ({"task_type": NAME, "task_module": STOCK_MODULE, "tags": ["not-durable"]}, {}, Kind.EXCLUDED),
        ({"task_type": NAME, "task_module": OWN_MODULE, "tags": ["not-durable"]}, {}, Kind.OWN),
        ({"task_type": "Mine", "task_module": "m", "is_trigger": True}, {}, Kind.MAYBE_SUBCLASS),
        ({"task_type": "Mine", "task_module": "m", "is_trigger": True}, {"is_for_subclasses": False}, Kind.EXCLUDED),
    ],
)
def test_classify_serialized(task: dict[str, Any], options: dict[str, Any], kind: Kind) -> None:
    verdict = classify_serialized(Switch(**options), **{"dag_id": "etl", "task_id": "t", "tags": (), **task})
    assert verdict.kind is kind
    assert bool(verdict.reason) == (kind is Kind.EXCLUDED)
