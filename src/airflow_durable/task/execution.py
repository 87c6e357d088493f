"""One call of the durable operator, in the process that runs its task: it triggers, waits or defers, and ends."""

from __future__ import annotations

from dataclasses import dataclass
from types import EllipsisType
from typing import TYPE_CHECKING, Any, NoReturn

from airflow_durable import task_sdk
from airflow_durable.core import protocol, timeouts, waiting
from airflow_durable.core.errors import ChildRunForeignError, ForeignRunSkipError, RunUsedUpError
from airflow_durable.core.model import Mode
from airflow_durable.durations import SHORTEST_PAUSE_SECONDS
from airflow_durable.stock import XCOM_RUN_ID, StockTriggerDagRunOperator
from airflow_durable.task.calls import ResumedEnd, begin_again, is_known_at_once, next_call, resume_at, run_resumed
from airflow_durable.task.deferral import event_of, first_due, read_event, trigger_of
from airflow_durable.task.observability import Reporter, tags_of
from airflow_durable.task.port import AirflowPort
from airflow_durable.task.request import (
    build_attempt,
    build_payload,
    build_request,
    poke_interval_of,
    rebuild_request,
    seconds_of,
)
from airflow_durable.task.results import read_result
from airflow_durable.task.stock_request import ask_stock, assign, restore_given

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from airflow.providers.common.compat.sdk import Context

    from airflow_durable.compat import DagRunTriggerException
    from airflow_durable.core.model import Attempt, Request
    from airflow_durable.core.protocol import Started
    from airflow_durable.core.record import Record
    from airflow_durable.operators.trigger_dagrun import TriggerDagRunOperator
    from airflow_durable.task.journal import Journal
    from airflow_durable.task.request import Payload


@dataclass(frozen=True)
class Execution:
    """
    One call.

    :param run_stock: ``execute`` of the stock operator.
    :param has_own_completion: a subclass has an ``execute_complete`` of its own.
    """

    operator: TriggerDagRunOperator
    context: Context
    run_stock: Callable[[Context], Any]
    has_own_completion: bool

    def trigger(self) -> Any:  # noqa: ANN401 - what execute_complete of a subclass returns
        """Trigger, and wait if asked to."""
        operator = self.operator
        restore_given(operator)
        call = next_call(self.context)
        if getattr(operator, "durable_by_switch", False) and not call.is_resumed:
            operator.log.info("This task is durable by [durable] stock_operators; its Dag file does not say so.")
        payload = build_payload(operator, self.context)
        request, attempt = build_request(operator, call), build_attempt(self.context)
        if request.run_id is not None and not call.journal.has_store:
            operator.log.warning(
                "This Airflow has no task state store (3.3 has), so a run under a fixed trigger_run_id or "
                "logical_date cannot be distinguished from somebody else's: continuing without durable. dag_id=%s "
                "run_id=%s",
                request.dag_id,
                request.run_id,
            )
            return self.run_stock(self.context)
        is_deferred = request.mode is Mode.DEFER and self._can_defer()
        with self._open_port(call.journal, payload) as port:
            started = self._trigger_and_wait(port, request, attempt, is_deferred=is_deferred)
            if not started.is_settled:
                self._defer(request, started.record, call.journal)
            call.started(started.record, has_record=port.has_record)
            if is_deferred and not call.is_resumed and self.has_own_completion:
                # The outcome was known at once: what a subclass does after a deferral is done all the same.
                call.known_at_once()
                state = started.run.state if started.run else None
                event = event_of(operator, request, started.record, call.journal, state)
                return operator.execute_complete(self.context, event)
            result = self._finish(port, started)
        if call.is_resumed:
            raise ResumedEnd(result)
        return result

    def complete(self, data: dict[str, Any] | None) -> Any:  # noqa: ANN401 - see trigger
        """
        Continue after a deferral.

        :param data: the payload of our trigger's event; None: it is of another.
        """
        event = read_event(self.operator, data)
        record, seen = event.record, event.outcome
        is_left_over = task_sdk.is_event_left_over(
            deferred_in_try=record.last_try, try_number=self.context["ti"].try_number
        )
        if record.tries and is_left_over and not is_known_at_once(self.context):
            return self._begin_again(record.call)
        assign(self.operator, trigger_dag_id=record.dag_id, trigger_run_id=record.run_id)
        request, journal = rebuild_request(self.operator, record), resume_at(self.context, record.call)
        journal.restore(record.call, data["record"] if data else {})
        if event.is_due:
            with self._open_port(journal, None) as port:
                checked = timeouts.check(port, request, record)
            record, outcome = checked.record, timeouts.outcome_of(checked, seen.at)
            if outcome is None:
                self._defer(request, record, journal, due=checked.due)
            seen = outcome
        started = waiting.resume(request, record, seen)
        if started is None:
            self._defer(request, record, journal)
        if started.is_waiting_out:
            return self._begin_again(record.call)
        # What a subclass calls after this is the next call, not this one again.
        next_call(self.context).started(record, has_record=False)
        with self._open_port(journal, None) as port:
            return self._finish(port, started)

    def _begin_again(self, number: int) -> Any:  # noqa: ANN401 - see trigger
        """
        Begin this try again, in the process in which it was resumed.

        Through ``execute``: a subclass may make its request there, and has not done so in this process.

        :param number: of the call that was deferred.
        """
        restore_given(self.operator)
        begin_again(self.context, number)
        return run_resumed(lambda: self.operator.execute(self.context))

    def _trigger_and_wait(self, port: AirflowPort, request: Request, attempt: Attempt, *, is_deferred: bool) -> Started:
        """Trigger, and wait; return when the outcome is known, or when it is to be waited for in the triggerer."""
        is_waiting = request.mode is not Mode.FIRE_AND_FORGET
        poke_interval = poke_interval_of(self.operator) if is_waiting else SHORTEST_PAUSE_SECONDS
        defer_after = seconds_of(self.operator, "defer_after")
        if defer_after is not None and not is_deferred:
            self.operator.log.info("This call cannot be deferred, so defer_after is ignored.")
        while True:
            started = self._trigger(port, lambda: protocol.trigger(port, request, attempt), request)
            self._leave_traces(port, started.record)
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
        result = read_result(self.operator.result, started.record)
        port.report_end(waiting.consume(port, started))
        return result

    def _trigger(self, port: AirflowPort, trigger: Callable[[], Started], request: Request) -> Started:
        """Trigger. Where a run with our fixed identity is not ours, the link leads to it all the same."""
        try:
            return trigger()
        except (ChildRunForeignError, ForeignRunSkipError, RunUsedUpError) as error:
            if request.run_id is not None and getattr(error, "is_run_known", True):
                self._link(port, request.dag_id, request.run_id, request.logical_date)
            raise

    def _leave_traces(self, port: AirflowPort, record: Record) -> None:
        """Leave what the stock operator leaves behind: the link, the attributes that listeners read, the XCom."""
        self._link(port, record.dag_id, record.run_id, record.logical_date)
        port.report_start(record)

    def _link(self, port: AirflowPort, dag_id: str, run_id: str, logical_date: datetime | None) -> None:
        """Let the link lead to this run. It is made of the XCom when the task has ended (3.0 to 3.4)."""
        if not port.has_asked_stock or self.operator.trigger_run_id != run_id:
            self._ask_stock(dag_id, run_id, logical_date, is_pause_checked=False)
        with task_sdk.undisturbed():
            self.context["ti"].xcom_push(key=XCOM_RUN_ID, value=run_id)

    def _can_defer(self) -> bool:
        """
        Return whether a deferral comes back to this operator.

        One that is called by another task's code would come back to that task, which knows nothing of it.
        """
        task = self.context.get("task")
        is_own_task = isinstance(task, StockTriggerDagRunOperator) and task.task_id == self.operator.task_id
        return is_own_task and task_sdk.can_defer()

    def _defer(
        self, request: Request, record: Record, journal: Journal, *, due: datetime | EllipsisType | None = ...
    ) -> NoReturn:
        """
        Wait in the triggerer.

        :param due: when a timeout can be over; None: never. Not given: as the record says.
        """
        next_due = first_due(request, record) if isinstance(due, EllipsisType) else due
        trigger = trigger_of(self.operator, request, record, journal, next_due)
        self.operator.defer(trigger=trigger, method_name="execute_complete")

    def _open_port(self, journal: Journal, payload: Payload | None) -> AirflowPort:
        ti = self.context["ti"]
        return AirflowPort(
            self.context,
            journal,
            Reporter(self.operator.log, type(self.operator).__name__, ti.try_number, tags_of(self.context)),
            payload,
            lambda record: self._ask_stock(record.dag_id, record.run_id, record.logical_date, is_pause_checked=True),
        )

    def _ask_stock(
        self, dag_id: str, run_id: str, logical_date: datetime | None, *, is_pause_checked: bool
    ) -> DagRunTriggerException:
        return ask_stock(
            self.operator,
            lambda: self.run_stock(self.context),
            dag_id,
            run_id,
            logical_date,
            is_pause_checked=is_pause_checked,
        )
