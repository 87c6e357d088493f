"""What the options say, right or wrong."""

from __future__ import annotations

import pytest

from airflow_durable.get_provider_info import get_provider_info
from airflow_durable.switch.settings import OPTIONS, Mode, Switch, read_switch


def read(**options: str) -> Switch:
    """Return the switch of these options."""
    return read_switch(options.get)


def test_it_is_off_by_default() -> None:
    assert read() == Switch(mode=Mode.AS_IS)


def test_each_option_is_described_to_airflow_with_its_default() -> None:
    described = get_provider_info()["config"]["durable"]["options"]
    assert read(**{name: described[name]["default"] for name in OPTIONS}) == Switch()


def test_all_of_it() -> None:
    switch = read(
        stock_operators=" Durable ",
        stock_operators_only="a*, b",
        stock_operators_except="c.d,\n e?,,",
        stock_subclasses="as_is",
        stock_operators_min_retries="2",
    )
    assert switch == Switch(Mode.DURABLE, ("a*", "b"), ("c.d", "e?"), is_for_subclasses=False, min_retries=2)


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("stock_operators", "on", Switch(mode=Mode.AS_IS)),
        ("stock_subclasses", "no", Switch(mode=Mode.DURABLE, is_for_subclasses=False)),
        ("stock_operators_min_retries", "-1", Switch(mode=Mode.DURABLE)),
        ("stock_operators_min_retries", "two", Switch(mode=Mode.DURABLE)),
        ("stock_operators_min_retries", "²", Switch(mode=Mode.DURABLE)),
    ],
)
def test_a_wrong_value_counts_as_the_one_that_does_least(option: str, value: str, expected: Switch) -> None:
    switch = read(**{"stock_operators": "durable", option: value})
    (problem,) = switch.problems
    assert option in problem
    assert repr(value) in problem
    assert switch == Switch(switch.mode, is_for_subclasses=switch.is_for_subclasses, problems=switch.problems)
    assert (switch.mode, switch.is_for_subclasses) == (expected.mode, expected.is_for_subclasses)


@pytest.mark.parametrize("unreadable", OPTIONS)
def test_an_option_that_cannot_be_read_turns_the_switch_off(unreadable: str) -> None:
    """One of them might have left a task alone."""

    def get(name: str) -> str | None:
        if name == unreadable:
            raise ValueError(name)
        return "durable" if name == "stock_operators" else None

    switch = read_switch(get)
    assert switch.mode is Mode.AS_IS
    assert any(unreadable in problem for problem in switch.problems)


@pytest.mark.parametrize(
    ("options", "is_excluded"),
    [
        ({}, False),
        ({"stock_operators_only": "etl"}, False),
        ({"stock_operators_only": "e*"}, False),
        ({"stock_operators_only": "other, etl.group.task"}, False),
        ({"stock_operators_only": "etl.task"}, True),
        ({"stock_operators_only": "ETL"}, True),
        ({"stock_operators_except": "etl"}, True),
        ({"stock_operators_except": "*.task"}, True),
        ({"stock_operators_except": "task"}, False),
        ({"stock_operators_only": "etl", "stock_operators_except": "etl.group.*"}, True),
    ],
)
def test_patterns(options: dict[str, str], is_excluded: bool) -> None:  # noqa: FBT001 - a parameter
    assert (read(**options).why_excluded("etl", "group.task", ()) is not None) == is_excluded


def test_the_tag() -> None:
    assert Switch().why_excluded("etl", "task", {"a", "not-durable"}) == "its Dag has the tag 'not-durable'"
