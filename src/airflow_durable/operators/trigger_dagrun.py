"""The durable TriggerDagRunOperator."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from airflow_durable.compat import conf
from airflow_durable.operators.parameters import (
    ON_CHILD_FAILURE,
    ON_PARENT_END,
    OWN,
    RUN_TIMEOUT,
    START_TIMEOUT,
    check_all,
    check_poke_interval,
    check_result_is_awaited,
)
from airflow_durable.operators.signature import parameters, takes
from airflow_durable.stock import StockTriggerDagRunOperator, check, is_deferrable

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta

    from airflow.providers.common.compat.sdk import Context

    from airflow_durable.task.execution import Execution

# What a running task does is in task/, and is imported by the methods that run: a Dag file with this operator is parsed
# again and again.

_EVENT_LENGTH = 2
_NEEDED_IN_CONTEXT = ("ti", "task", "dag_run")


class DurableRetriesWarning(UserWarning):
    """A durable task without retries: after a crash there is no next try that could find the child again."""


class TriggerDagRunOperator(StockTriggerDagRunOperator):
    """
    Triggers a run of another Dag, and after a crash finds it again instead of starting a second one.

    It has every parameter of the stock operator. Without ``durable`` it is the stock operator.

    With ``durable`` the child's run id is computed from the parent task, and recorded in the task state store (Airflow
    3.3) before the run is requested. Whatever dies, the next try looks that run up. If the run is active, it keeps
    waiting; if the run has succeeded, it succeeds at once; if the run does not exist, it submits the run again under
    the same run id. It starts a fresh run only if that run failed. :mod:`airflow_durable.core.decide` has the table.

    The synchronous wait checks before it sleeps. It sleeps a tenth of the time waited so far, at least one second and
    at most ``poke_interval`` seconds. ``execution_timeout`` covers it.

    A task may make several calls: ``.execute(context)`` in a loop of a ``@task``, or ``super().execute(context)`` in a
    loop of a subclass. Each has a child of its own; every try has to make the same calls in the same order.

    :param durable: find the child again after a crash. The default is ``[durable] default_durable`` (False).
    :param on_clear: what happens to the child that was started before a person cleared this task. ``"auto"``: it is
        adopted if it carries the current request and nothing upstream of this task has run again. If an active one
        does not, its end is waited for before a fresh one is started. ``"adopt"``: it is adopted whatever has changed,
        unless its success was already used. ``"fresh"``: a fresh one is started at once.
    :param on_child_failure: what the next try does about a child that has failed. ``"fresh"``: it starts a new run.
        ``"resume"`` (Airflow 3.3): it lets the same run continue from where it failed; a reconciler has to run.
        ``"fail"``: there is no next try. The default is ``[durable] on_child_failure``.
    :param on_parent_end: what happens to an active child when this task has ended for good without having taken its
        outcome. ``"abandon"``: it stays as it is. ``"cancel"`` (Airflow 3.3): the reconciler ends it. Never for a
        retry or a clear. The default is ``[durable] on_parent_end``.
    :param start_timeout: how long the child may take from the request for it to the start of its first task, in
        seconds or as a timedelta; None: no limit. After that the task fails without another try, and says how far the
        child is. Neither a retry nor a deferral restarts the timeout. The default is ``[durable] start_timeout``.
    :param run_timeout: the same, from the moment when the child leaves the queue to its end. The default is
        ``[durable] run_timeout``.
    :param defer_after: how long to wait on the worker, in seconds or as a timedelta, before waiting on the triggerer;
        None: ``deferrable`` decides.
    :param result: the id of a task of the child, or several ids: this task returns what that task returned. A list for
        a mapped task, a dict by task id for several ids.
    :param partition_key: the partition key of the child's run (templated). An error where Airflow does not pass it on:
        no Airflow up to 3.4.0b2 does.
    :cvar is_switched: True for the classes that ``[durable] stock_operators`` makes: it sets these parameters itself.
    """

    is_switched = False

    @takes(parameters)
    def __init__(  # noqa: PLR0913 - ours; see signature.py
        self,
        *,
        durable: bool = conf.getboolean("durable", "default_durable", fallback=False),
        on_clear: str = "auto",
        on_child_failure: str = ON_CHILD_FAILURE,
        on_parent_end: str = ON_PARENT_END,
        start_timeout: float | timedelta | None = START_TIMEOUT,
        run_timeout: float | timedelta | None = RUN_TIMEOUT,
        defer_after: float | timedelta | None = None,
        result: str | list[str] | None = None,
        partition_key: str | None = None,
        **kwargs: Any,  # noqa: ANN401 - the stock operator's own
    ) -> None:
        super().__init__(**kwargs)
        if self.is_switched:
            # Nobody has asked for any of it. What the Dag's default_args hold is meant for other operators.
            return
        self.durable = durable
        self.on_clear = on_clear
        self.on_child_failure = on_child_failure
        self.on_parent_end = on_parent_end
        self.start_timeout = start_timeout
        self.run_timeout = run_timeout
        self.defer_after = defer_after
        self.result = result
        self.partition_key = partition_key
        check_all(self.task_id, {name: getattr(self, name) for name in OWN}, is_durable=durable)
        if partition_key is not None:
            # Not of the class: without it the task has the stock operator's, in the UI too.
            self.template_fields = (*self.template_fields, "partition_key")
        if durable:
            check()
            is_waiting = self.wait_for_completion or is_deferrable(self)
            # A task that does not wait never uses it; wait_for_completion may be a template by now.
            if is_waiting:
                check_poke_interval(self.task_id, self.poke_interval)
            if result is not None:
                check_result_is_awaited(self.task_id, is_waiting=is_waiting)
        # One that is called by another task's code, and so is in no Dag, is tried again with that task.
        if durable and self.retries == 0 and self.has_dag():  # type: ignore[no-untyped-call] # Airflow's
            warnings.warn(
                f"Task {self.task_id!r} is durable but has retries=0: after a crash there is no next try that could "
                f"find its child run again, until a person clears the task. Set retries.",
                DurableRetriesWarning,
                stacklevel=2,
            )

    @classmethod
    def partial(cls, **kwargs: Any) -> Any:  # noqa: ANN401 - Airflow's own signature
        """Check what is known when the Dag is parsed; then do what every operator does."""
        given = {name: kwargs[name] for name in OWN if name in kwargs}
        check_all(str(kwargs.get("task_id")), given, is_durable=None)
        return super().partial(**kwargs)

    def execute(self, context: Context) -> Any:  # noqa: ANN401 - what execute_complete of a subclass returns
        """
        Trigger, and wait if asked to.

        :raises DurableTriggerError: the try failed, and the next one continues from what is recorded.
        :raises DurableTriggerFailError: the task failed, and another try could change nothing.
        """
        missing = _lacks(context) if self.durable else []
        if missing:
            self.log.warning("The context lacks %s: continuing without durable.", ", ".join(missing))
        if not self.durable or missing:
            return super().execute(context)
        from airflow_durable.task.failures import guarded

        return guarded(context, self._execution(context, super().execute).trigger)

    def execute_complete(self, context: Context, event: Any) -> Any:  # noqa: ANN401 - it comes from the database
        """
        Continue after a deferral. One that the stock operator began ends as that would end it.

        :raises DurableTriggerError: as :meth:`execute`.
        """
        data = _data_of_our_event(event)
        if data is None and (not self.durable or _lacks(context) or self._is_of_stock(event)):
            return super().execute_complete(context, event)
        from airflow_durable.task.failures import guarded

        execution = self._execution(context, super().execute)
        return guarded(context, lambda: execution.complete(data))

    def _execution(self, context: Context, run_stock: Callable[[Context], Any]) -> Execution:
        from airflow_durable.task.execution import Execution

        is_overridden = type(self).execute_complete is not TriggerDagRunOperator.execute_complete
        return Execution(self, context, run_stock, has_own_completion=is_overridden)

    def _is_of_stock(self, event: Any) -> bool:  # noqa: ANN401 - it comes from the database
        """Return whether the stock operator can read the event. It would take one without a run's state for success."""
        if not isinstance(event, (list, tuple)) or len(event) != _EVENT_LENGTH or not isinstance(event[1], dict):
            return False
        run_ids = event[1].get("run_ids")
        states = [*self.allowed_states, *self.failed_states]
        return (
            isinstance(run_ids, list)
            and bool(run_ids)
            and all(isinstance(run_id, str) and event[1].get(run_id) in states for run_id in run_ids)
        )


def _lacks(context: Context) -> list[str]:
    """Return what a try's context has and this one has not: it is that of a unit test, and no try can be continued."""
    return [name for name in _NEEDED_IN_CONTEXT if name not in context]


def _data_of_our_event(event: Any) -> dict[str, Any] | None:  # noqa: ANN401 - it comes from the database
    """Return the payload of an event of our trigger; None: it is of another."""
    if not isinstance(event, (list, tuple)) or len(event) != _EVENT_LENGTH:
        return None
    class_path, data = event
    is_ours = class_path == "airflow_durable.triggers.dag_run.DurableDagRunTrigger"
    return data if is_ours and isinstance(data, dict) and "record" in data else None
