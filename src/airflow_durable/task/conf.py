"""
The conf of a Dag run, as the server will see it.

What Airflow cannot carry is refused here, before anything is recorded or sent. The error names the place and the type,
never a value: a conf may hold secrets. The stock operator's own message shows the whole conf (standard provider
1.21.0).
"""

from __future__ import annotations

import json
import math
import re
from enum import Enum
from typing import Any

from airflow_durable.core.errors import ConfInvalidError

_INTEGERS = range(-(2**63), 2**64)
"""Those that the channel to the supervisor carries: msgpack's (``comms.py``, ``as_bytes``, 3.0 to 3.4.0b2)."""

_MAX_DEPTH = 250
"""Airflow's client serializes 255 levels (pydantic's limit); beyond that the supervisor fails, each time."""

_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,49}", re.ASCII)


class _UnfitError(Exception):
    """Something in the conf cannot be sent. The message has no value of it."""


def parse_conf(dag_id: str, given: Any) -> Any:  # noqa: ANN401 - it is for the user to get wrong
    """
    Return the conf as the server will see it.

    :param given: a dict, the JSON text of one, or None.
    :raises ConfInvalidError: it names the place of the first thing that cannot be sent. Keys are shown where they are
        plain names, as they are words of the Dag's code nearly always; another key is given by its number.
    """
    try:
        return _read(given)
    except _UnfitError as error:
        reason = str(error)
    # Out of the except block: no link to a cause remains, which could hold a value (a JSONDecodeError has the text).
    raise ConfInvalidError(dag_id, reason)


def _read(given: Any) -> Any:  # noqa: ANN401 - see parse_conf
    conf = _read_text(given) if given and isinstance(given, str) else given
    if conf is None:
        return None
    if not isinstance(conf, dict):
        message = f"it is of type {type(conf).__name__}, not an object"
        raise _UnfitError(message)
    for number, key in enumerate(conf, start=1):
        if not isinstance(key, str):
            message = f"key {number} of conf is of type {type(key).__name__}, not a string"
            raise _UnfitError(message)
    return _normalize(conf, "conf", 1)


def _read_text(text: str) -> Any:  # noqa: ANN401 - JSON
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        # Behind a colon Python's own decoder quotes a character.
        message = f"{error.msg.partition(':')[0]} at line {error.lineno} column {error.colno}"
    except RecursionError:
        message = f"it is nested deeper than {_MAX_DEPTH} levels"
    except ValueError:
        message = "a number in it has too many digits"
    raise _UnfitError(message)


def _normalize(value: Any, place: str, depth: int) -> Any:  # noqa: ANN401 - see parse_conf
    """
    Return it as it comes back from the server.

    Airflow's client sends ``null`` for a number that JSON does not have (pydantic's ``ser_json_inf_nan``).
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Enum) and isinstance(value, (str, int, float)):
        return _normalize(value.value, place, depth)
    if type(value) is str:
        return _check_text(value, place)
    if type(value) is int:
        if value not in _INTEGERS:
            message = f"{place} is an integer of more than 64 bits"
            raise _UnfitError(message)
        return value
    if type(value) is float:
        return value if math.isfinite(value) else None
    if isinstance(value, (dict, list, tuple)):
        if depth > _MAX_DEPTH:
            message = f"it is nested deeper than {_MAX_DEPTH} levels, or holds itself"
            raise _UnfitError(message)
        return _normalize_items(value, place, depth)
    # A subclass of a number or a string is refused by the channel's encoder (msgspec).
    message = f"{place} is of type {type(value).__name__}"
    raise _UnfitError(message)


def _normalize_items(value: dict[Any, Any] | list[Any] | tuple[Any, ...], place: str, depth: int) -> Any:  # noqa: ANN401
    if not isinstance(value, dict):
        return [_normalize(item, f"{place}[{number}]", depth + 1) for number, item in enumerate(value)]
    normalized: dict[str, Any] = {}
    for number, (key, item) in enumerate(value.items(), start=1):
        text = _key_as_text(key, f"key {number} of {place}")
        shown = repr(text) if _PLAIN_KEY.fullmatch(text) else f"key {number}"
        normalized[text] = _normalize(item, f"{place}[{shown}]", depth + 1)
    return normalized


def _key_as_text(key: Any, place: str) -> str:  # noqa: ANN401 - it is for the user to get wrong
    """Return the key as Airflow's client writes it (pydantic: None and what is no JSON number become ``None``)."""
    if isinstance(key, Enum) and isinstance(key, (str, int, float)):
        return _key_as_text(key.value, place)
    if isinstance(key, str):
        return _check_text(str(key), place)
    normalized = key if key is None else _normalize(key, place, 1)
    if isinstance(normalized, (list, dict)):
        message = f"{place} is of type {type(key).__name__}"
        raise _UnfitError(message)
    return str(normalized).lower() if isinstance(normalized, bool) else str(normalized)


def _check_text(text: str, place: str) -> str:
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        message = f"{place} has a lone surrogate, which UTF-8 does not have"
        raise _UnfitError(message)
    return text
