"""What this Airflow can do for a task, by what its Task SDK has. Each says when it can go."""

from __future__ import annotations

import inspect
from typing import Any


def has_details() -> bool:
    """Return whether a task can look up more of a Dag run than its state: from 3.2. Goes with 3.1."""
    from airflow.sdk.execution_time import comms

    return hasattr(comms, "GetDagRun")


def can_send_run_after() -> bool:
    """Return whether a task can choose the ``run_after`` of the run that it asks for: from 3.3. Goes with 3.2."""
    from airflow.sdk.execution_time import comms

    return "run_after" in comms.TriggerDagRun.model_fields


def can_send_partition_key() -> bool:
    """
    Return whether a partition key reaches the run that a task asks for.

    The message and the API have one from 3.2, but the supervisor between them leaves it out, without an error
    (3.2.2, 3.3.2 and 3.4.0b2, ``sdk/execution_time/supervisor.py``, ``TriggerDagRun``; ``sdk/api/client.py``,
    ``DagRunOperations.trigger``, has no such parameter). Goes when all supported versions pass it on.
    """
    from airflow.sdk.api.client import DagRunOperations
    from airflow.sdk.execution_time import comms

    is_passed_on = "partition_key" in inspect.signature(DagRunOperations.trigger).parameters
    return is_passed_on and "partition_key" in comms.TriggerDagRun.model_fields


def is_deferrable_waiting() -> bool:
    """
    Return whether ``deferrable`` waits although ``wait_for_completion`` is False.

    The task runner of 3.0 does so (``sdk/execution_time/task_runner.py``, ``_handle_trigger_dag_run``); that of 3.1 and
    later ignores ``deferrable`` then. Goes with 3.0.
    """
    from airflow.providers.standard.version_compat import AIRFLOW_V_3_1_PLUS

    return not AIRFLOW_V_3_1_PLUS


def can_defer() -> bool:
    """
    Return whether a deferred task gets its trigger run.

    ``dag.test()`` of 3.0 runs the trigger in line, without the channel on which a trigger asks for states
    (``sdk/definitions/dag.py``, ``_run_inline_trigger``); from 3.1 it has one. Goes with 3.0.
    """
    from airflow.sdk.execution_time import supervisor, task_runner

    if hasattr(supervisor.InProcessTestSupervisor, "run_trigger_in_process"):
        return True
    comms = getattr(task_runner, "SUPERVISOR_COMMS", None)
    return not isinstance(comms, supervisor.InProcessSupervisorComms)


def is_event_left_over(*, deferred_in_try: int, try_number: int) -> bool:
    """
    Return whether the event that resumes a task is one that an earlier try has already ended with.

    A retry of 3.0 keeps the resumption of the try before it (``execution_api/routes/task_instances.py``,
    ``ti_update_state``, leaves ``next_method`` as it was; 3.1 clears it), so each try would fail with the first one's
    event. Goes with 3.0.
    """
    return deferred_in_try != try_number


def dag_run_states() -> frozenset[str]:
    """Return all states that a Dag run of this Airflow can have."""
    from airflow.utils.state import DagRunState

    return frozenset(state.value for state in DagRunState)


def loop_index_of(context: Any) -> int | None:  # noqa: ANN401 - its type differs by version
    """Return which pass of a task loop this is, from 0 (3.4: ``context["loop"]``); None outside a loop."""
    index = getattr(context.get("loop"), "index", None)
    return index if isinstance(index, int) else None
