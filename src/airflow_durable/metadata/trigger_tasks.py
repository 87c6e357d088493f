"""
What a deployment says of a task that triggers Dag runs: its serialized form, or the REST API's. Pure.

Neither says whether a task is ``durable`` or ``deferrable``, unless it is mapped: Airflow serializes the fields of
every operator and the template fields (3.0 to 3.4). A mapped task's own arguments, and the default arguments of its
Dag, are serialized, and Airflow puts them together when the task runs (3.0 to 3.4, ``MappedOperator.unmap``).
:mod:`.dag_sources` reads the rest in the Dag file's text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_durable.metadata.model import TaskKey

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

TRIGGER_FIELD = "trigger_dag_id"
"""A task with this template field is a TriggerDagRunOperator's, or of a subclass of it."""

FLAGS = ("durable", "deferrable")

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
    :param left_out: those of ``durable`` and ``deferrable`` that it certainly does not give: they have their defaults.
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
    left_out: frozenset[str] = frozenset()


def tasks_in(dag_id: str, serialized: Any) -> Iterator[TriggerTask]:  # noqa: ANN401 - as Airflow stored it
    """Yield a serialized Dag's tasks that have a trigger operator's template field (3.0 to 3.4)."""
    if not isinstance(serialized, dict):
        return
    dag = serialized.get("dag", {})
    defaults = (serialized.get("client_defaults") or {}).get("tasks") or {}
    tags = _decode(dag.get("tags")) or ()
    dag_arguments = _decode(dag.get("default_args"))
    dag_arguments = dag_arguments if isinstance(dag_arguments, dict) else {}
    top = _tasks_in_no_group(dag)
    for stored in dag.get("tasks", ()):
        fields = stored.get("__var", stored)
        if TRIGGER_FIELD in fields.get("template_fields", ()):
            name = str(fields["task_id"])
            is_in_group = "." in name if top is None else name not in top
            yield _read(dag_id, frozenset(map(str, tags)), fields, defaults, dag_arguments, is_in_group=is_in_group)


def _tasks_in_no_group(dag: Mapping[str, Any]) -> set[str] | None:
    """Return the tasks that are in no task group; None: the Dag does not say."""
    children = _decode((_decode(dag.get("task_group")) or {}).get("children"))
    if not isinstance(children, dict):
        return None
    return {str(child[1]) for child in children.values() if isinstance(child, (list, tuple)) and child[0] == "operator"}


def _read(  # noqa: PLR0913 - all that it follows from
    dag_id: str,
    tags: frozenset[str],
    fields: Mapping[str, Any],
    defaults: Mapping[str, Any],
    dag_arguments: Mapping[str, Any],
    *,
    is_in_group: bool,
) -> TriggerTask:
    is_mapped = bool(fields.get("_is_mapped"))
    partial = _decode(fields.get("partial_kwargs")) or {}
    expanded = _decode(fields.get("expand_input", {}).get("value")) if is_mapped else None
    given = {**dag_arguments, **partial, **(expanded if isinstance(expanded, dict) else {})} if is_mapped else fields

    def find(name: str) -> Any:  # noqa: ANN401 - JSON
        return _decode(partial.get(name, fields.get(name, defaults.get(name))))

    date = given.get("logical_date")
    is_fixed = given.get("trigger_run_id") is not None or date not in (None, _NO_DATE)
    delay = find("retry_delay")
    # Of what is expanded over a list of arguments, nothing is known.
    is_readable = is_mapped and (expanded is None or isinstance(expanded, dict))
    sure = given if is_readable and not is_in_group else {**partial, **(expanded or {})} if is_readable else {}
    return TriggerTask(
        TaskKey(dag_id, str(fields["task_id"])),
        str(fields.get("task_type", fields.get("_task_type", ""))),
        str(fields.get("_task_module", "")),
        tags,
        is_mapped,
        int(find("retries") or 0),
        float(delay) if isinstance(delay, (int, float)) else None,
        has_fixed_id=None if is_mapped and not is_readable else is_fixed,
        durable=_known(sure, "durable"),
        deferrable=_known(sure, "deferrable"),
        # The default arguments of a task group are not serialized.
        left_out=frozenset(FLAGS) - given.keys() if is_readable and not is_in_group else frozenset(),
    )


def _known(given: Mapping[str, Any], name: str) -> bool | None:
    value = given.get(name, _ABSENT)
    return value if isinstance(value, bool) else None


def _decode(value: Any) -> Any:  # noqa: ANN401 - JSON
    """Return what an encoded value stands for: ``{"__type": "timedelta", "__var": 300.0}`` is 300.0."""
    return value["__var"] if isinstance(value, dict) and "__var" in value else value
