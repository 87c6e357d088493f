"""
What a deployment says of a task that triggers Dag runs: its serialized form, or the REST API's. Pure.

Neither says whether a task is ``durable`` or ``deferrable``, unless it is mapped: Airflow serializes the fields of
every operator and the template fields (3.0 to 3.4). :mod:`.dag_sources` reads them in the Dag file's text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_durable.metadata.model import TaskKey

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

TRIGGER_FIELD = "trigger_dag_id"
"""A task with this template field is a TriggerDagRunOperator's, or of a subclass of it."""

_NO_DATE = "NOTSET"
_ABSENT = object()


@dataclass(frozen=True)
class TriggerTask:
    """
    One task that triggers Dag runs. None: it is not known.

    :param type_name: of its operator, as written in the Dag file.
    :param module: of its operator.
    :param tags: of its Dag.
    :param retry_delay_seconds: 0: the next try begins at once.
    :param has_fixed_id: it gives ``trigger_run_id`` or ``logical_date``.
    """

    key: TaskKey
    type_name: str
    module: str
    tags: frozenset[str] = frozenset()
    is_mapped: bool = False
    retries: int | None = None
    retry_delay_seconds: float | None = None
    has_fixed_id: bool | None = None
    durable: bool | None = None
    deferrable: bool | None = None


def tasks_in(dag_id: str, serialized: Any) -> Iterator[TriggerTask]:  # noqa: ANN401 - as Airflow stored it
    """Yield a serialized Dag's tasks that have a trigger operator's template field (3.0 to 3.4)."""
    if not isinstance(serialized, dict):
        return
    dag = serialized.get("dag", {})
    defaults = (serialized.get("client_defaults") or {}).get("tasks") or {}
    tags = _decode(dag.get("tags")) or ()
    for stored in dag.get("tasks", ()):
        fields = stored.get("__var", stored)
        if TRIGGER_FIELD in fields.get("template_fields", ()):
            yield _read(dag_id, frozenset(map(str, tags)), fields, defaults)


def _read(dag_id: str, tags: frozenset[str], fields: Mapping[str, Any], defaults: Mapping[str, Any]) -> TriggerTask:
    is_mapped = bool(fields.get("_is_mapped"))
    partial = _decode(fields.get("partial_kwargs")) or {}
    expanded = _decode(fields.get("expand_input", {}).get("value")) if is_mapped else None
    given = {**partial, **(expanded if isinstance(expanded, dict) else {})} if is_mapped else fields

    def find(name: str) -> Any:  # noqa: ANN401 - JSON
        return _decode(partial.get(name, fields.get(name, defaults.get(name))))

    date = given.get("logical_date")
    is_fixed = given.get("trigger_run_id") is not None or date not in (None, _NO_DATE)
    delay = find("retry_delay")
    return TriggerTask(
        TaskKey(dag_id, str(fields["task_id"])),
        str(fields.get("task_type", fields.get("_task_type", ""))),
        str(fields.get("_task_module", "")),
        tags,
        is_mapped,
        int(find("retries") or 0),
        float(delay) if isinstance(delay, (int, float)) else None,
        # Of what is expanded over a list of arguments, nothing is known.
        has_fixed_id=None if is_mapped and expanded is not None and not isinstance(expanded, dict) else is_fixed,
        durable=_known(given, "durable") if is_mapped else None,
        deferrable=_known(given, "deferrable") if is_mapped else None,
    )


def _known(given: Mapping[str, Any], name: str) -> bool | None:
    value = given.get(name, _ABSENT)
    return value if isinstance(value, bool) else None


def _decode(value: Any) -> Any:  # noqa: ANN401 - JSON
    """Return what an encoded value stands for: ``{"__type": "timedelta", "__var": 300.0}`` is 300.0."""
    return value["__var"] if isinstance(value, dict) and "__var" in value else value
