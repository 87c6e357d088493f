"""What differs between the Airflow versions that these tests run on, each with its reason."""

from __future__ import annotations

import warnings
from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, cast

import pytest
from packaging.version import Version

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path
    from types import ModuleType

AIRFLOW = Version(version("apache-airflow"))
PROVIDER = Version(version("apache-airflow-providers-standard"))

SINCE_PROVIDER = {
    "openlineage_inject_parent_info": Version("1.10.0"),
    "note": Version("1.12.0"),
    "run_after": Version("1.13.0"),
}
"""The parameters that the stock operator of 1.6.0 lacks, which Airflow 3.0.6 comes with. Goes with Airflow 3.2."""

HAS_TEXT_CONF = Version("1.9.2") <= PROVIDER
"""The stock operator reads a conf that is JSON text. Goes with Airflow 3.0."""

HAS_EARLY_LINK = Version("1.15.0") <= PROVIDER
"""The stock operator pushes its extra link before it asks for the run. Goes with Airflow 3.2."""

IS_REVIEWED = Version("1.21.0") <= PROVIDER
"""The list of differences was reviewed against this stock operator; older ones differ from it themselves."""

IS_RETRIED_AFTER_EXIT = Version("3.1") <= AIRFLOW
"""A task whose runner failed is tried again; 3.0 fails it (``supervisor.py``, ``final_state``). Goes with 3.0."""

HAS_STORE = Version("3.3") <= AIRFLOW
"""The task state store. The branch goes with 3.2."""

HAS_DETAILS = Version("3.2") <= AIRFLOW
"""``GetDagRun``, ``GetDag`` (so ``fail_when_dag_is_paused``), ``GetTaskBreadcrumbs`` and ``note``. Goes with 3.1."""

HAS_RUN_AFTER = Version("3.3") <= AIRFLOW
"""``run_after`` in the request of a Dag run. Goes with 3.2."""

HAS_RETRY_POLICY = Version("3.3") <= AIRFLOW
"""``retry_policy``. Goes with 3.2."""

HAS_REGIONS = Version("3.4.0a0") <= AIRFLOW
"""Every try in ``task_instance``, which says in which region of a loop or a mapped task it is. Goes with 3.3."""

IS_DEFERRABLE_WAITING = Version("3.1") > AIRFLOW
"""``deferrable=True`` waits although ``wait_for_completion`` is False. Goes with 3.0."""

needs_pages = pytest.mark.skipif(
    Version("3.1") > AIRFLOW, reason=f"Airflow {AIRFLOW} has no external views, so there is no page (3.1 has)"
)
HAS_PAUSE_CHECK = HAS_DETAILS and Version("1.14.0") <= PROVIDER
"""``fail_when_dag_is_paused``. Goes with 3.2: it needs that Airflow and a later standard provider."""

needs_pause_check = pytest.mark.skipif(
    not HAS_PAUSE_CHECK,
    reason=f"no fail_when_dag_is_paused with Airflow {AIRFLOW} and standard provider {PROVIDER} (3.2 and 1.14.0 have)",
)
needs_review = pytest.mark.skipif(
    not IS_REVIEWED,
    reason=f"the differences are reviewed against standard provider 1.21.0; this is {PROVIDER}",
)
needs_store = pytest.mark.skipif(not HAS_STORE, reason=f"Airflow {AIRFLOW} has no task state store (3.3 has)")
needs_details = pytest.mark.skipif(
    not HAS_DETAILS, reason=f"Airflow {AIRFLOW} has no GetDagRun and no GetDag message (3.2 has)"
)
needs_run_after = pytest.mark.skipif(not HAS_RUN_AFTER, reason=f"Airflow {AIRFLOW} sends no run_after (3.3 does)")
needs_regions = pytest.mark.skipif(not HAS_REGIONS, reason=f"Airflow {AIRFLOW} has no loops and no regions (3.4 has)")
needs_retry_policy = pytest.mark.skipif(not HAS_RETRY_POLICY, reason=f"Airflow {AIRFLOW} has no retry_policy (3.3 has)")
needs_in_process_api = pytest.mark.skipif(
    HAS_DETAILS and not HAS_STORE,
    reason=f"dag.test() of Airflow {AIRFLOW} fails with these pins for the stock operator too: its in-process API has "
    "no svcs_registry",
)
without_store = pytest.mark.skipif(HAS_STORE, reason=f"Airflow {AIRFLOW} has a task state store")


def task_timeout() -> type[BaseException]:
    """Return what the alarm of ``execution_timeout`` raises. It moved into the SDK in 3.2. Goes with 3.1."""
    kind: type[BaseException] = vars(import_module("airflow.sdk.exceptions" if HAS_DETAILS else "airflow.exceptions"))[
        "AirflowTaskTimeout"
    ]
    return kind


def timeout_of_airflow(seconds: float) -> AbstractContextManager[object]:
    """Return what ``execution_timeout`` sets its alarm with. It moved into the SDK in 3.1. Goes with 3.0."""
    is_in_sdk = Version("3.1") <= AIRFLOW
    module = import_module("airflow.sdk.execution_time.timeout" if is_in_sdk else "airflow.utils.timeout")
    context: AbstractContextManager[object] = module.timeout(seconds)
    return context


def refuses_dates_early() -> bool:
    """Return whether the stock operator's constructor refuses a date of another type, not its execution."""
    from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator

    try:
        TriggerDagRunOperator(task_id="task", trigger_dag_id="child", logical_date=cast("str", 5))
    except TypeError:
        return True
    return False


def needs_parameter(name: str) -> pytest.MarkDecorator:
    """Return the mark of a test for which the stock operator has to have the parameter."""
    since = SINCE_PROVIDER[name]
    return pytest.mark.skipif(
        since > PROVIDER, reason=f"the stock operator of standard provider {PROVIDER} has no {name} ({since} has)"
    )


def lacks_a_parameter(given: dict[str, Any]) -> bool:
    """Return whether the stock operator does not take one of these parameters yet."""
    return any(SINCE_PROVIDER.get(name, PROVIDER) > PROVIDER for name in given)


def import_quietly() -> None:
    """Import what warns of Airflow's own moved modules while it is imported. Goes with 3.1."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import airflow.providers.standard.operators.trigger_dagrun
        import airflow.sdk.execution_time.supervisor
        import airflow.sdk.execution_time.task_runner
        import airflow.serialization.serialized_objects  # noqa: F401 - for its warnings


def listener_manager() -> Any:  # noqa: ANN401 - by version
    """Return the manager that the task runner calls. It moved into the SDK in 3.2."""
    from airflow.sdk.execution_time import task_runner

    return vars(task_runner)["get_listener_manager"]()


def further_instance_fields() -> dict[str, Any]:
    """Return what a RuntimeTaskInstance has besides: ``sentry_integration``, from 3.2."""
    return {"sentry_integration": ""} if HAS_DETAILS else {}


def dump_next_kwargs(kwargs: dict[str, Any]) -> Any:  # noqa: ANN401 - by version
    """Return the kwargs as the server hands them to a resumed task: ``serde`` replaced BaseSerialization in 3.2."""
    if HAS_DETAILS:
        from airflow.sdk.serde import serialize

        return serialize(kwargs)
    from airflow.serialization.serialized_objects import BaseSerialization

    return BaseSerialization.serialize(kwargs)


def load_trigger_kwargs(kwargs: Any) -> dict[str, Any]:  # noqa: ANN401 - by version
    """Return the kwargs of a DeferTask message as the triggerer reads them. See :func:`dump_next_kwargs`."""
    if HAS_DETAILS:
        from airflow.sdk.serde import deserialize

        loaded = deserialize(kwargs)
    else:
        loaded = kwargs
    if not isinstance(loaded, dict):
        raise TypeError(type(loaded).__name__)
    return loaded


def dag_serialization() -> tuple[Any, Any]:
    """Return how a Dag is written and how it is read back. Split in two classes in 3.2."""
    serialized: ModuleType
    from airflow.serialization import serialized_objects as serialized

    name = "DagSerialization" if hasattr(serialized, "DagSerialization") else "SerializedDAG"
    found: Any = getattr(serialized, name)
    # Where something was cleared before in this process (3.3, ``models/taskinstance.py``, ``clear_task_instances``),
    # Dags are read without links from then on.
    found._load_operator_extra_links = True
    return found.to_dict, found.from_dict


def policy_manager() -> Any:  # noqa: ANN401 - by version
    """Return what knows the policies. A name in upper case before 3.2."""
    from airflow import settings

    if hasattr(settings, "get_policy_plugin_manager"):
        return settings.get_policy_plugin_manager()
    return settings.POLICY_PLUGIN_MANAGER


def parse_folder(folder: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the Dags of a folder, and the errors of their import, by way of Airflow's own ``DagBag``. Moved in 3.2."""
    import inspect

    place = "airflow.dag_processing.dagbag" if HAS_DETAILS else "airflow.models.dagbag"
    bag_class: Any = import_module(place).DagBag
    wanted = {"include_examples": False, "bundle_path": folder, "bundle_name": "tests"}
    takes = inspect.signature(bag_class.__init__).parameters
    bag = bag_class(str(folder), **{name: value for name, value in wanted.items() if name in takes})
    return bag.dags, bag.import_errors
