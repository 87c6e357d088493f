"""The conf as the server will see it, and what an error says of one that cannot be sent: the place, never a value."""

from __future__ import annotations

import enum
import json
from collections import OrderedDict, namedtuple
from datetime import datetime, timezone
from typing import Any

import pytest
from airflow.sdk.api.datamodels._generated import TriggerDAGRunPayload
from airflow.sdk.execution_time import comms
from msgspec import msgpack

from airflow_durable.core.errors import ConfInvalidError
from airflow_durable.task.conf import parse_conf

SECRET = "hunter2"


class Text(str):
    """What the channel's encoder does not take for a string."""

    __slots__ = ()


class Number(int):
    """What the channel's encoder does not take for a number."""


class Colour(str, enum.Enum):
    """A string with a name."""

    RED = "red"


class Level(enum.IntEnum):
    """A number with a name."""

    LOW = 1


Pair = namedtuple("Pair", "left right")  # noqa: PYI024 - what a user may have


def nested(levels: int) -> dict[str, Any]:
    """Return a conf of dicts in dicts."""
    conf: dict[str, Any] = {}
    for _ in range(levels - 1):
        conf = {"a": conf}
    return conf


def circular() -> dict[str, Any]:
    """Return a conf that holds itself."""
    conf: dict[str, Any] = {}
    conf["self"] = conf
    return conf


def send_through_airflow(conf: dict[str, Any]) -> Any:  # noqa: ANN401 - JSON
    """Return what the server reads: Airflow's own message, frame and client, without the network."""
    message = comms.TriggerDagRun(dag_id="child", run_id="run", conf=conf)
    frame = comms._RequestFrame(id=0, body=message.model_dump()).as_bytes()
    received = msgpack.decode(bytes(frame[4:]))[1]
    payload = TriggerDAGRunPayload(conf=comms.TriggerDagRun.model_validate(received).conf)
    return json.loads(payload.model_dump_json())["conf"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [(None, None), ("null", None), ({}, {}), ('{"a": 1}', {"a": 1}), ('{"a": NaN}', {"a": None})],
)
def test_conf(given: Any, expected: Any) -> None:  # noqa: ANN401
    assert parse_conf("child", given) == expected


@pytest.mark.parametrize(
    "conf",
    [
        {"a": [1, None, "x", True, 1.5, -0.0, 1e22]},
        {"a": (2, 3), "b": Pair(1, {"c": (4,)})},
        {"a": {2: 1, True: 2, None: 3, 1.5: 4, "": 5, Colour.RED: 6, Level.LOW: 7}},
        {"a": float("nan"), "b": [float("inf"), float("-inf")]},
        {"a": {float("nan"): 1}, "b": {float("inf"): 1}},
        {"a": Colour.RED, "b": Level.LOW},
        {Text("a"): {Text("b"): 1}},
        OrderedDict(a=OrderedDict(b=1)),
        {"a": 2**64 - 1, "b": -(2**63)},
        {"a": "grün \U0001f600 \x00"},
        nested(250),
    ],
    ids=lambda conf: str(conf)[:40],
)
def test_a_conf_is_read_as_the_server_will_see_it(conf: dict[str, Any]) -> None:
    assert parse_conf("child", conf) == send_through_airflow(conf)


@pytest.mark.parametrize(
    ("conf", "reason"),
    [
        ({"since": datetime(2026, 1, 1, tzinfo=timezone.utc)}, "conf['since'] is of type datetime"),
        ({"a": {"tags": [1, {SECRET}]}}, "conf['a']['tags'][1] is of type set"),
        ({"a": SECRET.encode()}, "conf['a'] is of type bytes"),
        ({"a": Text(SECRET)}, "conf['a'] is of type Text"),
        ({"a": [Number(3)]}, "conf['a'][0] is of type Number"),
        ({"a": 2**64}, "conf['a'] is an integer of more than 64 bits"),
        ({"a": -(2**63) - 1}, "conf['a'] is an integer of more than 64 bits"),
        ('{"a": 18446744073709551616}', "conf['a'] is an integer of more than 64 bits"),
        ({"a": SECRET + "\ud800"}, "conf['a'] has a lone surrogate, which UTF-8 does not have"),
        ({"a": "\ud83d\ude00"}, "conf['a'] has a lone surrogate"),
        (r'{"a": ["\ud800"]}', "conf['a'][0] has a lone surrogate"),
        ({"a": {"\ud800": 1}}, "key 1 of conf['a'] has a lone surrogate"),
        ({"b": 1, 1: 2}, "key 2 of conf is of type int, not a string"),
        ({"a": {"b": 1, (SECRET, 2): 2}}, "key 2 of conf['a'] is of type tuple"),
        ({"a": {2**64: 1}}, "key 1 of conf['a'] is an integer of more than 64 bits"),
        ({"b": 1, f"{SECRET} is data": {"c": {1}}}, "conf[key 2]['c'] is of type set"),
        ({f"{SECRET}@example.org": {1}}, "conf[key 1] is of type set"),
        ({"x" * 51: {1}}, "conf[key 1] is of type set"),
        (nested(251), "it is nested deeper than 250 levels, or holds itself"),
        (circular(), "it is nested deeper than 250 levels, or holds itself"),
        ("[" * 100_000, "it is nested deeper than 250 levels"),
        ("{" + SECRET, "Expecting property name enclosed in double quotes at line 1 column 2"),
        ('{"a": ' + "9" * 5000 + "}", "a number in it has too many digits"),
        ("", "it is of type str, not an object"),
        ("[]", "it is of type list, not an object"),
        ("3", "it is of type int, not an object"),
        ([SECRET], "it is of type list, not an object"),
        (3, "it is of type int, not an object"),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_what_cannot_be_sent_is_named_by_its_place(conf: Any, reason: str) -> None:  # noqa: ANN401
    with pytest.raises(ConfInvalidError) as caught:
        parse_conf("child", conf)
    assert f"The conf for Dag 'child' is not JSON: {reason}" in str(caught.value)
    assert SECRET not in str(caught.value)
    # A JSONDecodeError has the whole text: nothing may lead to it.
    assert caught.value.__context__ is None
    assert caught.value.__cause__ is None
