"""The signature that type checkers, IDEs and the documentation read is what the operator takes."""

from __future__ import annotations

import inspect
import re
from typing import Any

import pytest
from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator as StockTriggerDagRunOperator

from airflow_durable.operators.signature import parameters
from airflow_durable.operators.trigger_dagrun import TriggerDagRunOperator
from tests.support.interpreter import run_python

from .versions import lacks_a_parameter

DECLARED = inspect.signature(parameters).parameters
STOCK = inspect.signature(StockTriggerDagRunOperator.__init__).parameters
OURS = [name for name in inspect.signature(TriggerDagRunOperator.__init__).parameters if name not in {"self", "kwargs"}]

_SPELLINGS = {"dict": "dict[str, Any]", "datetime.datetime": "datetime"}


WIDER = {"poke_interval": {"float", "timedelta"}}
"""Where ours takes more than the stock operator."""


def types_of(parameter: inspect.Parameter) -> set[str]:
    """Return the members of the parameter's type, each spelled one way."""
    members = re.split(r" \| (?![^\[]*\])", str(parameter.annotation))
    return {_SPELLINGS.get(member, member) for member in members}


def test_it_has_the_stock_parameters_and_ours_in_their_order() -> None:
    """
    On each provider, but for those that an older one lacks (``versions.SINCE_PROVIDER``).

    Fails where a newer stock operator takes more: then ``signature.py`` is to have that too.
    """
    of_stock = [name for name in STOCK if name not in {"self", "kwargs"}]
    known = [name for name in DECLARED if not lacks_a_parameter({name: None})]
    assert known == ["self", *of_stock, *OURS, "kwargs"]


@pytest.mark.parametrize("name", [name for name in STOCK if name not in {"self", "kwargs"}])
def test_a_stock_parameter_has_its_type_and_its_default(name: str) -> None:
    declared, stock = DECLARED[name], STOCK[name]
    assert declared.kind is stock.kind
    assert types_of(declared) == WIDER.get(name, types_of(stock))
    assert (declared.default is declared.empty) == (stock.default is stock.empty)
    if declared.default is not ...:
        assert declared.default == stock.default


@pytest.mark.parametrize("name", OURS)
def test_a_parameter_of_ours_has_its_type(name: str) -> None:
    ours: Any = inspect.signature(TriggerDagRunOperator.__init__).parameters[name]
    assert types_of(DECLARED[name]) == types_of(ours)
    assert DECLARED[name].kind is ours.kind


def test_the_package_itself_has_the_operator() -> None:
    import airflow_durable

    assert airflow_durable.TriggerDagRunOperator is TriggerDagRunOperator
    assert airflow_durable.TriggerDagRunsOperator.__name__ == "TriggerDagRunsOperator"
    assert set(airflow_durable.__all__) == {"TriggerDagRunOperator", "TriggerDagRunsOperator", "__version__"}
    with pytest.raises(AttributeError, match="'airflow_durable' has no attribute 'Unknown'"):
        airflow_durable.Unknown  # type: ignore[attr-defined] # noqa: B018 - on purpose


def test_the_package_itself_imports_no_airflow() -> None:
    code = "import sys, airflow_durable; print(airflow_durable.__version__, [m for m in sys.modules if {} in m])"
    assert run_python(code.format("'airflow.'")).endswith(" []")
    assert run_python(code.format("'airflow_durable.'")).endswith(" []")
