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

    names = {(task.module, task.type_name) for task in facts.tasks}
    unsafe = {}
    for module, name in sorted(names - {(OWN_MODULE, NAME), (MANY_MODULE, MANY_NAME), (STOCK_MODULE, NAME)}):
        if module and not module.startswith(_DAG_FILE):
            with contextlib.suppress(LookupError):
                unsafe[module, name] = why_unsafe(module, name)
    return replace(facts, unsafe_classes=unsafe, missing_parts=tuple(MISSING))


def why_unsafe(module: str, name: str) -> str | None:
    """
    Return why a class cannot be made durable, in words that follow "because"; None: it can be.

    :raises LookupError: it cannot be imported here, or is no subclass of the stock operator.
    """
    from airflow_durable.stock import StockTriggerDagRunOperator
    from airflow_durable.switch.subclasses import why_class_unsafe

    try:
        with contextlib.redirect_stdout(sys.stderr):
            found = getattr(importlib.import_module(module), name)
    # The module is the deployment's own: it may raise anything.
    except (Exception, SystemExit) as error:
        raise LookupError(name) from error
    if not isinstance(found, type) or not issubclass(found, StockTriggerDagRunOperator):
        raise LookupError(name)  # noqa: TRY004 - there is no such class
    return why_class_unsafe(found)
