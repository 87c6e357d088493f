"""One try of the operator with many children, in the process that runs its task: it starts them, waits, and ends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from airflow_durable import task_sdk
from airflow_durable.core import many as core
from airflow_durable.core.errors import RequestInvalidError
from airflow_durable.core.many import Many
from airflow_durable.core.many_errors import ItemsFailedError, SecondCallError
from airflow_durable.durations import read_interval
from airflow_durable.stock import PARAMETERS, StockTriggerDagRunOperator
from airflow_durable.task import many_wait
from airflow_durable.task.calls import ResumedEnd, note_many, take_event
from airflow_durable.task.many_port import AirflowManyPort, open_ledger_journal
from airflow_durable.task.many_report import ManyReporter
from airflow_durable.task.many_request import build_goal, read_items
from airflow_durable.task.observability import tags_of
from airflow_durable.task.request import build_attempt
from airflow_durable.task.stock_request import take_request

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow.providers.common.compat.sdk import Context

    from airflow_durable.compat import DagRunTriggerException
    from airflow_durable.core.ledger import Ledger
    from airflow_durable.operators.trigger_dagruns import TriggerDagRunsOperator


@dataclass(frozen=True)
class ManyExecution:
    """
    One try.

    :param is_own_task: the operator is the task that runs, and is not called by the code of another one.
    :param has_own_completion: a subclass has an ``execute_complete`` of its own: after a deferral that one is for what
        follows, and not what is behind ``super().execute()``.
    """

    operator: TriggerDagRunsOperator
    context: Context
    is_own_task: bool
    has_own_completion: bool

    def run(self) -> Any:  # noqa: ANN401 - what the operator returns
        """
        Start the runs, and wait if asked to; or continue after a deferral.

        :raises SecondCallError: this try has made a call before.
        """
        # Before anything else: the next call of a subclass is another one.
        event = take_event(self.context)
        many = self._open()
        if event is None:
            return self._begin(many)
        result = self._resume(many, *event)
        if self.has_own_completion:
            raise ResumedEnd(result)
        return result

    def _resume(self, many: Many, event: Any) -> Any:  # noqa: ANN401 - it comes from the database
        ledger, board, ends = many_wait.read_event(event, many.goal.items, self.operator.trigger_dag_id)
        try_number = self.context["ti"].try_number
        is_left_over = task_sdk.is_event_left_over(deferred_in_try=ledger.last_try, try_number=try_number)
        if is_left_over:
            # This is another try than the one that was deferred.
            return self._begin(many)
        _port_of(many).restore(event["ledger"])
        if board is not None and ledger.dag_id == many.goal.request.dag_id:
            many.ledger, many.board = ledger, board
            if not core.is_list_changed(many, ends):
                return self._drive(many, ends)
        # Other items than before the deferral, or another Dag: this try begins again, from its ledger.
        return self._begin(Many(many.port, many.goal, many.attempt), ledger)

    def _begin(self, many: Many, begun: Ledger | None = None) -> Any:  # noqa: ANN401 - see run
        core.begin(many, begun)
        if not many.goal.items.count:
            self.operator.log.info("There are no items, so no run is started.")
        return self._drive(many)

    def _drive(self, many: Many, ends: Iterable[tuple[int, str | None]] = ()) -> Any:  # noqa: ANN401 - see run
        """Start what there is room for, and wait, until nothing is left to be done; then take the outcome."""
        port, result = _port_of(many), self.operator.result
        try:
            self._send_and_wait(many, port, ends)
        except ItemsFailedError:
            port.report_end(many)
            raise
        port.report_end(many)
        returned = many_wait.results_of(many, result) if result else many_wait.summary_of(many)
        core.finish(many)
        if result:
            self.context["ti"].xcom_push(key="summary", value=many_wait.summary_of(many))
        return returned

    def _send_and_wait(self, many: Many, port: AirflowManyPort, ends: Iterable[tuple[int, str | None]]) -> None:
        core.note_ends(many, ends)
        patience_seconds = read_interval(self.operator.poke_interval) or 0.0
        while True:
            core.send(many)
            if many.board.is_over:
                return
            port.report_progress(many)
            if self.operator.deferrable and task_sdk.can_defer():
                self._defer(many, port, patience_seconds)
            core.note_ends(many, many_wait.wait(many, patience_seconds, port.report_watch))

    def _defer(self, many: Many, port: AirflowManyPort, patience_seconds: float) -> None:
        """Wait in the triggerer, if a trigger can carry what is to be known of the items; else return."""
        trigger = many_wait.trigger_of(many, patience_seconds, port.position())
        if trigger is not None:
            self.operator.defer(trigger=trigger, method_name="execute_complete")
        self.operator.log.warning(
            "What is to be known of the items is too large for a deferral, so the wait continues in the worker."
        )

    def _open(self) -> Many:
        if not self.is_own_task:
            # The run ids follow from the task: those of two calls would be the same.
            message = "TriggerDagRunsOperator has to be a task of its own, not called by the code of another one."
            raise RequestInvalidError(message)
        if note_many(self.context):
            raise SecondCallError
        attempt = build_attempt(self.context)
        items, confs = read_items(self.operator)
        journal = open_ledger_journal(self.context)
        goal = build_goal(self.operator, items, attempt, has_store=journal.has_store)
        reporter = ManyReporter(self.operator.log, type(self.operator).__name__, tags_of(self.context))
        return Many(AirflowManyPort(self.context, journal, reporter, confs, self._ask_stock), goal, attempt)

    def _ask_stock(self, run_id: str) -> DagRunTriggerException:
        """
        Let the stock operator build its request for one run, and return it: the others are like it.

        It checks whether the Dag is paused, and adds the OpenLineage parent to an empty conf.

        :raises ChildDagPausedError: with ``fail_when_dag_is_paused``.
        :raises SubmissionRefusedError: with ``fail_when_dag_is_paused``, if there is no such Dag.
        """
        operator = self.operator
        wanted: dict[str, Any] = {
            "trigger_dag_id": operator.trigger_dag_id,
            "trigger_run_id": run_id,
            "conf": {},
            "note": operator.note,
            "fail_when_dag_is_paused": operator.fail_when_dag_is_paused,
            "openlineage_inject_parent_info": operator.openlineage_inject_parent_info,
        }
        given = {name: value for name, value in wanted.items() if name in PARAMETERS}
        stock = StockTriggerDagRunOperator(task_id=operator.task_id, **given)
        # The function itself: Airflow's guard around it warns of an operator that another one calls.
        run = getattr(StockTriggerDagRunOperator.execute, "__wrapped__", StockTriggerDagRunOperator.execute)
        return take_request(lambda: run(stock, self.context), operator.trigger_dag_id, run_id)


def _port_of(many: Many) -> AirflowManyPort:
    return cast("AirflowManyPort", many.port)
