"""
What lets the stock operator's tests run here: the few helpers that they import, and the operator that is tested.

Most of these tests call ``execute`` with an incomplete context. There a durable task does what a stock one does, and
that is what they show: whoever tests a Dag with the stock operator's own expectations finds them met by a task under
the switch. What a durable task does in a real try is shown by ``tests/sidebyside`` and ``tests/live``.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING

import pytest
from airflow.providers.standard import version_compat

if TYPE_CHECKING:
    from collections.abc import Sequence

EXCLUDED = {
    "test_extra_operator_link": "needs upstream's dag_maker: it makes rows of a Dag run; tests/adapters has the link",
    "test_trigger_dagrun_operator_templated_invalid_conf": "needs upstream's dag_maker, which runs the task",
}
"""Tests that are not run, and why. None of them is left out for what it asserts."""


def _provide_helpers() -> None:
    """Stand in for the package ``tests_common``, which no release of the provider has."""
    modules = {
        name: ModuleType(name)
        for name in (
            "tests_common",
            "tests_common.test_utils",
            "tests_common.test_utils.db",
            "tests_common.test_utils.version_compat",
        )
    }
    sys.modules.update(modules)
    vars(modules["tests_common.test_utils.db"])["parse_and_sync_to_db"] = None
    for name in ("AIRFLOW_V_3_0_PLUS", "AIRFLOW_V_3_2_PLUS"):
        vars(modules["tests_common.test_utils.version_compat"])[name] = getattr(version_compat, name)


_provide_helpers()


def pytest_configure(config: pytest.Config) -> None:
    """Know upstream's mark."""
    config.addinivalue_line("markers", "db_test: upstream's")


@pytest.fixture
def dag_maker() -> None:
    """Stand in for upstream's fixture, where a test asks for it and does not use it."""


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    """Put the class into the tests that the switch gives to a stock task."""
    from airflow_durable.stock import StockTriggerDagRunOperator
    from airflow_durable.switch.classes import durable_class

    switched = durable_class(StockTriggerDagRunOperator)
    for item in items:
        assert isinstance(item, pytest.Function)
        vars(item.module)["TriggerDagRunOperator"] = switched
        if reason := EXCLUDED.get(item.originalname):
            item.add_marker(pytest.mark.skip(reason=reason))
