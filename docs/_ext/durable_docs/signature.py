"""All parameters of the operator, for the reference: ours, and those that it hands to the stock one."""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator as StockTriggerDagRunOperator

from airflow_durable.operators.signature import parameters

if TYPE_CHECKING:
    from sphinx.application import Sphinx

OPERATOR = "airflow_durable.operators.trigger_dagrun.TriggerDagRunOperator"
UNDESCRIBED = {"note": "A note for the triggered Dag run (Airflow 3.2 and later)."}
"""What the stock operator's docstring leaves out (standard provider 1.21.0)."""

_FIELD = re.compile(r"^:param (?P<name>\w+):", re.MULTILINE)


def signature() -> str:
    """Return the declared signature; a default that is a setting, or stands for "not given", is shown as ``...``."""
    declared = inspect.signature(parameters)
    shown = [parameter for name, parameter in declared.parameters.items() if name != "self"]
    text = str(declared.replace(parameters=shown, return_annotation=inspect.Signature.empty))
    # The annotations are texts, and shown in quotes.
    return text.replace("'", "")


def stock_fields(described: set[str]) -> list[str]:
    """Return the lines of the stock operator's docstring that describe the parameters which are not described yet."""
    text = inspect.getdoc(StockTriggerDagRunOperator) or ""
    starts = [*_FIELD.finditer(text)]
    ends = [match.start() for match in starts[1:]] + [len(text)]
    fields = [text[match.start() : end].strip() for match, end in zip(starts, ends, strict=True)]
    wanted = [
        field
        for match, field in zip(starts, fields, strict=True)
        if match["name"] in inspect.signature(parameters).parameters and match["name"] not in described
    ]
    said = {match["name"] for match in starts}
    wanted += [f":param {name}: {text}" for name, text in UNDESCRIBED.items() if name not in said | described]
    return "\n".join(wanted).splitlines()


def setup(app: Sphinx) -> None:
    """Show them where the operator is documented."""

    def replace_signature(
        _app: Sphinx, _what: str, name: str, _object: object, _options: object, given: str | None, returned: str | None
    ) -> tuple[str | None, str | None]:
        return (signature(), None) if name == OPERATOR else (given, returned)

    def add_fields(_app: Sphinx, _what: str, name: str, _object: object, _options: object, lines: list[str]) -> None:
        if name == OPERATOR:
            described = {match["name"] for match in _FIELD.finditer("\n".join(lines))}
            while lines and not lines[-1]:
                lines.pop()
            lines += [*stock_fields(described), ""]

    app.connect("autodoc-process-signature", replace_signature)
    app.connect("autodoc-process-docstring", add_fields)
