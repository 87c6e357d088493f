"""The words for what a server refuses. They are always ours: the server's own may quote what was sent to it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

NOT_FOUND = "not_found"
_REFUSED_VALUE = "value_error"
OF_DAG = frozenset({NOT_FOUND, "import_errors", "denied_run_type"})
"""Reasons that are of the Dag, whatever is asked for."""

_REASONS = {
    NOT_FOUND: "Not Found",
    _REFUSED_VALUE: "the Dag refuses a value of the request",
    "already_exists": "such a run already exists",
    "import_errors": "the Dag has import errors",
    "denied_run_type": "the Dag does not allow runs that an operator starts",
    "not_partitioned": "the Dag is not partitioned, so it takes no partition_key",
    "invalid_partition_key": "the Dag does not take this partition_key",
    "Unique constraint violation": "the database already has such a row",
    "Value rejected by database": "the database refuses a value of the request",
    "Database error": "the server's database has failed",
}
"""
The reasons that the Execution API gives (3.0 to 3.4.0b2: ``execution_api/routes/dag_runs.py`` and ``dags.py``,
``task_state_store.py``, ``api_fastapi/common/exceptions.py``), and what is said of each.
"""

_FIELDS = frozenset(
    {
        *("dag_id", "run_id", "conf", "logical_date", "run_after", "reset_dag_run", "note", "partition_key"),
        *("run_ids", "states", "task_ids", "key", "value", "expires_at"),
    }
)
"""The fields of our requests: the only names in a validation error that are Airflow's and not the user's data."""

_PARAMETER = re.compile(r"Invalid input for param ([A-Za-z_]\w{0,63}): ", re.ASCII)
_HAS_DOTS = "' must not contain '..' to prevent path traversal"
_IS_PARAMETER = "Invalid input for param "
_RULE = re.compile(r"\n\nFailed validating '([A-Za-z]{1,32})' in schema")
_RULES = frozenset(
    {
        *("type", "enum", "const", "format", "pattern", "minLength", "maxLength", "required", "additionalProperties"),
        *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minItems", "maxItems"),
        *("uniqueItems", "contains", "prefixItems", "items", "minProperties", "maxProperties", "propertyNames"),
        *("dependentRequired", "allOf", "anyOf", "oneOf", "not"),
    }
)
"""The keywords of JSON schema that may refuse a value."""


def read_reason(detail: object) -> str | None:
    """Return the reason in the body's ``detail``, if it is a known one."""
    reason = detail.get("reason") if isinstance(detail, dict) else None
    return reason if isinstance(reason, str) and reason in _REASONS else None


def describe_detail(detail: object, *, conf: object) -> str | None:
    """
    Return what is said of an error's ``detail``, None if nothing of it is known.

    :param conf: the one that was sent.
    """
    reason = read_reason(detail)
    if isinstance(detail, list):
        locs = (item.get("loc") if isinstance(item, dict) else getattr(item, "loc", None) for item in detail)
        fields = _fields_in(locs)
        return f"the server does not accept {_join(fields)}" if fields else None
    if reason == _REFUSED_VALUE and isinstance(detail, dict):
        return _describe_refused_value(detail.get("message"), conf)
    return _REASONS[reason] if reason else None


def name_invalid_fields(error: Exception) -> str:
    """Return which fields a message's model refuses. Pydantic's own text quotes the values."""
    errors = getattr(error, "errors", None)
    fields = _fields_in(item.get("loc") for item in errors(include_input=False)) if callable(errors) else []
    return f"Airflow's client does not accept its {_join(fields)}" if fields else "Airflow's client does not accept it"


def _describe_refused_value(message: object, conf: object) -> str:
    """
    Return which value the Dag refuses, and by which rule (``api/common/trigger_dag.py``, 3.3).

    The message of a refused Param names the Param, which the child Dag declares, then quotes the value. Its name is
    shown if it is a key of our conf as well; the rule, if it is one of JSON schema's.
    """
    if not isinstance(message, str):
        return _REASONS[_REFUSED_VALUE]
    if message.startswith("Logical date ["):
        return "the logical date lies before the start_date in the Dag's default_args"
    if message.startswith("The run_id provided '"):
        return "the run id does not match [scheduler] allowed_run_id_pattern"
    if message.startswith("The run_id '") and message.endswith(_HAS_DOTS):
        return "the run id contains '..' ([core] allow_double_dot_in_ids)"
    if not message.startswith(_IS_PARAMETER):
        return _REASONS[_REFUSED_VALUE]
    match = _PARAMETER.match(message)
    is_ours = match is not None and isinstance(conf, dict) and match[1] in conf
    parameter = f"the parameter {match[1]!r}" if match and is_ours else "a parameter"
    rule = _RULE.search(message)
    broken = f": it breaks the rule {rule[1]!r} of its schema" if rule and rule[1] in _RULES else ""
    return f"the Dag's params refuse {parameter}{broken}"


def _fields_in(locs: Iterable[object]) -> list[str]:
    """Return the first part of each place that is a field of ours, once each."""
    named: dict[str, None] = {}
    for loc in locs:
        parts: Collection[object] = loc if isinstance(loc, (list, tuple)) else ()
        field = next((part for part in parts if isinstance(part, str) and part in _FIELDS), None)
        if field is not None:
            named[field] = None
    return list(named)


def _join(names: list[str]) -> str:
    return ", ".join(names)
