"""
Which subclasses of the stock operator can be made durable, and why the others cannot.

A subclass is made durable by a class ``(Theirs, Ours)``: what they call by ``super()`` reaches ours. That is safe where
they build on the stock operator's public behaviour. Where they reach past it, or where nothing of ours would run, the
task is left as it is: a task that only seems durable is worse than one that is known not to be.
"""

from __future__ import annotations

import dis
import inspect
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any

from airflow_durable.operators.parameters import DEFAULTS, OWN
from airflow_durable.operators.trigger_dagrun import TriggerDagRunOperator as Ours
from airflow_durable.stock import PARAMETERS, StockTriggerDagRunOperator

if TYPE_CHECKING:
    from collections.abc import Iterator

_OWN = frozenset(OWN)
_STOCK_NAME = "TriggerDagRunOperator"
_REQUEST_NAME = "DagRunTriggerException"

# A deferral, and how it comes back, are ours; the others decide about attributes, copies and classes made on the fly.
_OF_EVERY_OPERATOR = frozenset(
    {
        "__delattr__",
        "__getattr__",
        "__getattribute__",
        "__init_subclass__",
        "__reduce__",
        "__reduce_ex__",
        "__setattr__",
        "defer",
        "operator_class",
        "prepare_for_execution",
        "resume_execution",
        "unmap",
    }
)


def _is_dunder(name: str) -> bool:
    return name.startswith("__") and name.endswith("__")


_OURS = frozenset(
    {name for name in vars(Ours) if not _is_dunder(name) and name not in vars(StockTriggerDagRunOperator)} - {"partial"}
    | {*OWN, "_durable_given"}
)
_OF_STOCK = frozenset(
    name
    for name, value in vars(StockTriggerDagRunOperator).items()
    if isinstance(value, FunctionType) and name.startswith("_") and not _is_dunder(name)
)


def why_class_unsafe(theirs: type) -> str | None:
    """Return why no class ``(Theirs, Ours)`` would do, in words that follow "because"; None: it would."""
    if type(theirs) is not type(StockTriggerDagRunOperator):
        return f"its class has a metaclass of its own, {type(theirs).__name__}"
    for owner in theirs.__mro__[: theirs.__mro__.index(StockTriggerDagRunOperator)]:
        reason = _why_definitions_unsafe(owner) or _why_code_unsafe(owner)
        if reason:
            return reason
    return None


def why_instance_unsafe(task: Any) -> str | None:  # noqa: ANN401 - an operator, or a mapped one
    """Return why this task cannot be one of such a class; None: it can."""
    if hasattr(task, "partial_kwargs"):
        expanded = getattr(task.expand_input, "value", None)
        given = {*task.partial_kwargs, *(expanded if isinstance(expanded, dict) else ())}
        taken = sorted(given & DEFAULTS.keys())
        return f"it is given {taken[0]!r}, a name that the durable operator uses" if taken else None
    taken = sorted((_OURS | _OF_STOCK | {"execute", "execute_complete", "defer"}) & vars(task).keys())
    return f"it has an attribute {taken[0]!r}, a name that the durable operator uses" if taken else None


def _why_definitions_unsafe(owner: type) -> str | None:
    defined = vars(owner)
    if defined.get("__slots__"):
        return f"{owner.__name__} uses __slots__"
    for names, whose in (
        (_OURS, "a name that the durable operator uses"),
        (_OF_STOCK, "which is internal to the stock operator"),
        (_OF_EVERY_OPERATOR, "which the durable operator relies on"),
    ):
        if taken := sorted(names & defined.keys()):
            return f"{owner.__name__} defines {taken[0]}, {whose}"
    for name in sorted(PARAMETERS & defined.keys()):
        if hasattr(type(defined[name]), "__set__"):
            return f"{owner.__name__} defines the parameter {name} as a property"
    return None


def _why_code_unsafe(owner: type) -> str | None:
    functions = dict(_functions(owner))
    for name, function in functions.items():
        if _names_stock(function):
            return f"{owner.__name__}.{name} names the stock class, where it would have to use super()"
        if taken := sorted(_assigned(function.__code__) & _OWN):
            return f"{owner.__name__}.{name} sets an attribute {taken[0]!r}, a name that the durable operator uses"
        if _REQUEST_NAME in _names(function.__code__):
            return f"{owner.__name__}.{name} uses {_REQUEST_NAME}, which a durable task does not raise"
    for name in ("execute", "execute_complete"):
        if name not in vars(owner):
            continue
        if name not in functions or inspect.iscoroutinefunction(functions[name]):
            return f"{owner.__name__}.{name} is not a plain method"
        if not any({"super", name} <= _names(function.__code__) for function in functions.values()):
            return f"{owner.__name__}.{name} does not call super().{name}()"
    return None


def _functions(owner: type) -> Iterator[tuple[str, FunctionType]]:
    """
    Yield the functions that a class defines, without what decorates them.

    Not those of the stock operator: with a mixin in front, Airflow's metaclass puts its ``__init__`` into the subclass.
    """
    for name, value in vars(owner).items():
        parts = (value.fget, value.fset) if isinstance(value, property) else (getattr(value, "__func__", value),)
        for part in parts:
            function = inspect.unwrap(part) if callable(part) else None
            is_theirs = function is not inspect.unwrap(getattr(StockTriggerDagRunOperator, name, int))
            if isinstance(function, FunctionType) and is_theirs:
                yield name, function


def _names_stock(function: FunctionType) -> bool:
    names = _names(function.__code__)
    if _STOCK_NAME in names and function.__globals__.get(_STOCK_NAME, StockTriggerDagRunOperator) is (
        StockTriggerDagRunOperator
    ):
        return True
    if any(function.__globals__.get(name) is StockTriggerDagRunOperator for name in names):
        return True
    return any(_content(cell) is StockTriggerDagRunOperator for cell in function.__closure__ or ())


def _content(cell: Any) -> Any:  # noqa: ANN401 - whatever a function refers to
    try:
        return cell.cell_contents
    except ValueError:  # not yet set
        return None


def _assigned(code: CodeType) -> set[str]:
    """Return the attributes that a function assigns, of whatever object; empty if none of them could be ours."""
    found: set[str] = set()
    if not _OWN.isdisjoint(code.co_names):
        found = {one.argval for one in dis.get_instructions(code) if one.opname == "STORE_ATTR"}
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            found |= _assigned(constant)
    return found


def _names(code: CodeType) -> set[str]:
    """Return the globals and attributes that a function's code uses, functions in it included."""
    found = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            found |= _names(constant)
    return found
