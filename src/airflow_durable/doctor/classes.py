"""
Subclasses of the stock operator, imported to see whether they can be made durable.

The only module of the doctor that runs code of the deployment, and only where it is asked to.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from airflow_durable.switch.verdict import MANY_MODULE, MANY_NAME, NAME, OWN_MODULE, STOCK_MODULE

if TYPE_CHECKING:
    from airflow_durable.doctor.model import Facts

_DAG_FILE = "unusual_prefix_"
"""Airflow imports a Dag file under a name that begins with it: there is no module of this name to be imported."""


def with_classes(facts: Facts) -> Facts:
    """Return the facts, with what the code of the tasks' classes and of the standard provider says."""
    from airflow_durable.stock import MISSING
    from airflow_durable.switch.subclasses import why_class_unsafe

    names = {(task.module, task.type_name) for task in facts.tasks}
    unsafe: dict[tuple[str, str], str | None] = {}
    own = set()
    for module, name in sorted(names - {(OWN_MODULE, NAME), (MANY_MODULE, MANY_NAME), (STOCK_MODULE, NAME)}):
        if module and not module.startswith(_DAG_FILE):
            with contextlib.suppress(LookupError):
                found = _import_class(module, name)
                if any((one.__module__, one.__name__) == (OWN_MODULE, NAME) for one in found.__mro__):
                    own.add((module, name))
                else:
                    unsafe[module, name] = why_class_unsafe(found)
    return replace(facts, unsafe_classes=unsafe, own_classes=frozenset(own), missing_parts=tuple(MISSING))


def _import_class(module: str, name: str) -> type:
    """
    Return a subclass of the stock operator.

    :raises LookupError: it cannot be imported here, or is none.
    """
    from airflow_durable.stock import StockTriggerDagRunOperator

    try:
        with contextlib.redirect_stdout(sys.stderr):
            found = getattr(importlib.import_module(module), name)
    # The module is the deployment's own: it may raise anything.
    except (Exception, SystemExit) as error:
        raise LookupError(name) from error
    if not isinstance(found, type) or not issubclass(found, StockTriggerDagRunOperator):
        raise LookupError(name)  # noqa: TRY004 - there is no such class
    return found
