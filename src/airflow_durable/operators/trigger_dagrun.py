"""The durable TriggerDagRunOperator."""

from __future__ import annotations

import warnings
from types import EllipsisType
from typing import TYPE_CHECKING, Any, NoReturn

from airflow_durable.compat import DagRunTriggerException, conf
from airflow_durable.durations import SHORTEST_PAUSE_SECONDS
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
from airflow_durable.stock import XCOM_RUN_ID, DagIsPaused, StockTriggerDagRunOperator, check, is_deferrable

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime, timedelta

    from airflow.providers.common.compat.sdk import Context

    from airflow_durable.core.model import Attempt, Request
    from airflow_durable.core.protocol import Started
    from airflow_durable.core.record import Record
    from airflow_durable.task.journal import Journal
    from airflow_durable.task.port import AirflowPort
    from airflow_durable.task.request import Payload

# What only a running task needs is imported by the methods that run: a Dag file with this operator is parsed again and
# again.

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
    """

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

        return guarded(context, lambda: self._execute_durably(context, is_resumed=False))

    def execute_complete(self, context: Context, event: Any) -> Any:  # noqa: ANN401 - it comes from the database
        """
        Continue after a deferral. One that the stock operator began ends as that would end it.

        :raises DurableTriggerError: as :meth:`execute`.
        """
        data = _data_of_our_event(event)
        if data is None and (not self.durable or _lacks(context) or self._is_of_stock(event)):
            return super().execute_complete(context, event)
        from airflow_durable.task.failures import guarded

        return guarded(context, lambda: self._complete_durably(context, data))

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

    def _execute_durably(self, context: Context, *, is_resumed: bool) -> Any:  # noqa: ANN401 - see execute
        from airflow_durable.core.model import Mode
        from airflow_durable.task.calls import next_call
        from airflow_durable.task.deferral import event_of
        from airflow_durable.task.request import build_attempt, build_payload, build_request, poke_interval_of

        self._restore_given()
        if getattr(self, "durable_by_switch", False) and not is_resumed:
            self.log.info("This task is durable by [durable] stock_operators; its Dag file does not say so.")
        call = next_call(context)
        payload = build_payload(self, context)
        request, attempt = build_request(self, call), build_attempt(context)
        is_waiting = request.mode is not Mode.FIRE_AND_FORGET
        poke_interval = poke_interval_of(self) if is_waiting else SHORTEST_PAUSE_SECONDS
        if request.run_id is not None and not call.journal.has_store:
            self.log.warning(
                "This Airflow has no task state store (3.3 has), so a run under a fixed trigger_run_id or "
                "logical_date cannot be distinguished from somebody else's: continuing without durable. dag_id=%s "
                "run_id=%s",
                request.dag_id,
                request.run_id,
            )
            return super().execute(context)
        is_deferred = request.mode is Mode.DEFER and self._can_defer(context)
        with self._open_port(context, call.journal, payload) as port:
            started = self._wait_in_worker(context, port, request, attempt, poke_interval, is_deferred=is_deferred)
            if not started.is_settled:
                self._defer_durably(request, started.record, call.journal)
            call.started(started.record, has_record=port.has_record)
            if (
                is_deferred
                and not is_resumed
                and type(self).execute_complete is not TriggerDagRunOperator.execute_complete
            ):
                # The outcome was known at once: what a subclass does after a deferral is done all the same.
                call.known_at_once()
                state = started.run.state if started.run else None
                return self.execute_complete(context, event_of(self, request, started.record, call.journal, state))
            return self._finish(port, started)

    def _wait_in_worker(  # noqa: PLR0913 - what a try knows when it triggers
        self,
        context: Context,
        port: AirflowPort,
        request: Request,
        attempt: Attempt,
        poke_interval: float,
        *,
        is_deferred: bool,
    ) -> Started:
        """Trigger, and wait; return when the outcome is known, or when it is to be waited for in the triggerer."""
        from airflow_durable.core import protocol, waiting
        from airflow_durable.task.request import seconds_of

        defer_after = seconds_of(self, "defer_after")
        if defer_after is not None and not is_deferred:
            self.log.info("This call cannot be deferred, so defer_after is ignored.")
        while True:
            started = self._trigger(context, port, lambda: protocol.trigger(port, request, attempt), request)
            self._leave_traces(context, port, started.record)
            if started.is_settled or (is_deferred and not defer_after):
                return started
            ended = waiting.wait(
                port,
                request,
                started,
                poke_interval=poke_interval,
                at_most_seconds=defer_after if is_deferred else None,
            )
            if ended is None:
                return started
            if ended.is_settled:
                return ended

    def _finish(self, port: AirflowPort, started: Started) -> Any:  # noqa: ANN401 - what the child's tasks returned
        """Take the outcome. The result is read before: a try that dies in between reads it again."""
        from airflow_durable.core import waiting
        from airflow_durable.task.results import read_result

        result = read_result(self.result, started.record)
        port.report_end(waiting.consume(port, started))
        return result

    def _trigger(
        self, context: Context, port: AirflowPort, trigger: Callable[[], Started], request: Request
    ) -> Started:
        """Trigger. Where a run with our fixed identity is not ours, the link leads to it all the same."""
        from airflow_durable.core.errors import ChildRunForeignError, ForeignRunSkipError, RunUsedUpError

        try:
            return trigger()
        except (ChildRunForeignError, ForeignRunSkipError, RunUsedUpError) as error:
            if request.run_id is not None and getattr(error, "is_run_known", True):
                self._link(context, port, request.dag_id, request.run_id, request.logical_date)
            raise

    def _leave_traces(self, context: Context, port: AirflowPort, record: Record) -> None:
        """Leave what the stock operator leaves behind: the link, the attributes that listeners read, the XCom."""
        self._link(context, port, record.dag_id, record.run_id, record.logical_date)
        port.report_start(record)

    def _link(
        self, context: Context, port: AirflowPort, dag_id: str, run_id: str, logical_date: datetime | None
    ) -> None:
        """Let the link lead to this run. It is made of the XCom when the task has ended (3.0 to 3.4)."""
        from airflow_durable import task_sdk

        if not port.has_asked_stock or self.trigger_run_id != run_id:
            self._ask_stock(context, dag_id, run_id, logical_date, is_pause_checked=False)
        with task_sdk.undisturbed():
            context["ti"].xcom_push(key=XCOM_RUN_ID, value=run_id)

    def _complete_durably(self, context: Context, data: dict[str, Any] | None) -> Any:  # noqa: ANN401 - see execute
        from airflow_durable import task_sdk
        from airflow_durable.core import timeouts, waiting
        from airflow_durable.task.calls import is_known_at_once, next_call, resume_at
        from airflow_durable.task.deferral import read_event
        from airflow_durable.task.request import rebuild_request

        event = read_event(self, data)
        record, seen = event.record, event.outcome
        is_left_over = task_sdk.is_event_left_over(deferred_in_try=record.last_try, try_number=context["ti"].try_number)
        if record.tries and is_left_over and not is_known_at_once(context):
            return self._execute_durably(context, is_resumed=True)
        self._assign(trigger_dag_id=record.dag_id, trigger_run_id=record.run_id)
        request, journal = rebuild_request(self, record), resume_at(context, record.call)
        journal.restore(record.call, data["record"] if data else {})
        if event.is_due:
            with self._open_port(context, journal, None) as port:
                checked = timeouts.check(port, request, record)
            record, outcome = checked.record, timeouts.outcome_of(checked, seen.at)
            if outcome is None:
                self._defer_durably(request, record, journal, due=checked.due)
            seen = outcome
        started = waiting.resume(request, record, seen)
        if started is None:
            self._defer_durably(request, record, journal)
        if started.is_waiting_out:
            return self._execute_durably(context, is_resumed=True)
        # What a subclass calls after this is the next call, not this one again.
        next_call(context).started(record, has_record=False)
        with self._open_port(context, journal, None) as port:
            return self._finish(port, started)

    def _can_defer(self, context: Context) -> bool:
        """
        Return whether a deferral comes back to this operator.

        One that is called by another task's code would come back to that task, which knows nothing of it.
        """
        from airflow_durable import task_sdk

        task = context.get("task")
        is_own_task = isinstance(task, StockTriggerDagRunOperator) and task.task_id == self.task_id
        return is_own_task and task_sdk.can_defer()

    def _open_port(self, context: Context, journal: Journal, payload: Payload | None) -> AirflowPort:
        from airflow_durable.task.observability import Reporter
        from airflow_durable.task.port import AirflowPort

        ti = context["ti"]
        tags = {}
        if team_name := getattr(ti, "stats_tags", {}).get("team_name"):
            tags["team_name"] = team_name
        return AirflowPort(
            context,
            journal,
            Reporter(self.log, type(self).__name__, ti.try_number, tags),
            payload,
            lambda record: self._ask_stock(
                context, record.dag_id, record.run_id, record.logical_date, is_pause_checked=True
            ),
        )

    def _ask_stock(
        self, context: Context, dag_id: str, run_id: str, logical_date: datetime | None, *, is_pause_checked: bool
    ) -> DagRunTriggerException:
        """
        Let the stock operator build its request for this run, and return it.

        It hands the request to the task runner as an exception; on the way it checks the parameters, injects the
        OpenLineage parent, sets the extra link and what listeners read. Nothing of that is repeated here.

        :raises ChildDagPausedError: with ``fail_when_dag_is_paused``.
        :raises SubmissionRefusedError: with ``fail_when_dag_is_paused``, if there is no such Dag.
        :raises SubmissionUnknownError: the server cannot be asked just now.
        """
        from airflow_durable import task_sdk

        self._assign(trigger_dag_id=dag_id, trigger_run_id=run_id, logical_date=logical_date)
        is_failing = self.fail_when_dag_is_paused
        self.fail_when_dag_is_paused = is_failing and is_pause_checked
        failure: Exception | None = None
        try:
            with task_sdk.undisturbed():
                super().execute(context)
        except DagRunTriggerException as request:
            return request
        except DagIsPaused:
            failure = _paused(dag_id, run_id)
        except Exception as error:
            if not is_pause_checked or not task_sdk.is_from_server(error):
                raise
            failure = task_sdk.as_submission_error(dag_id, run_id, error)
        finally:
            self.fail_when_dag_is_paused = is_failing
            # The stock operator replaced some by what it made of them.
            self._assign(trigger_dag_id=dag_id, trigger_run_id=run_id, logical_date=logical_date)
        if failure is not None:
            raise failure
        message = "The stock TriggerDagRunOperator did not raise its request: this provider version is not supported."
        raise RuntimeError(message)

    def _assign(self, **values: Any) -> None:  # noqa: ANN401 - as many types as there are parameters
        """Set attributes to the values of this call's run, as the stock operator and its listeners expect."""
        given: dict[str, tuple[Any, Any]] = vars(self).setdefault("_durable_given", {})
        for name, value in values.items():
            before, assigned = given.get(name, (getattr(self, name), None))
            given[name] = (before if name in given and getattr(self, name) == assigned else getattr(self, name), value)
            setattr(self, name, value)

    def _restore_given(self) -> None:
        """Set the attributes back to what the user gave, unless the user has changed them since: a call may follow."""
        for name, (before, assigned) in vars(self).pop("_durable_given", {}).items():
            if getattr(self, name) == assigned:
                setattr(self, name, before)

    def _defer_durably(
        self, request: Request, record: Record, journal: Journal, *, due: datetime | EllipsisType | None = ...
    ) -> NoReturn:
        """
        Wait in the triggerer.

        :param due: when a timeout can be over; None: never. Not given: as the record says.
        """
        from airflow_durable.task.deferral import first_due, trigger_of

        next_due = first_due(request, record) if isinstance(due, EllipsisType) else due
        self.defer(trigger=trigger_of(self, request, record, journal, next_due), method_name="execute_complete")


def _lacks(context: Context) -> list[str]:
    """Return what a try's context has and this one has not: it is that of a unit test, and no try can be continued."""
    return [name for name in _NEEDED_IN_CONTEXT if name not in context]


def _paused(dag_id: str, run_id: str) -> Exception:
    from airflow_durable.exceptions import ChildDagPausedError

    return ChildDagPausedError(dag_id, run_id)


def _data_of_our_event(event: Any) -> dict[str, Any] | None:  # noqa: ANN401 - it comes from the database
    """Return the payload of an event of our trigger; None: it is of another."""
    if not isinstance(event, (list, tuple)) or len(event) != _EVENT_LENGTH:
        return None
    class_path, data = event
    is_ours = class_path == "airflow_durable.triggers.dag_run.DurableDagRunTrigger"
    return data if is_ours and isinstance(data, dict) and "record" in data else None
