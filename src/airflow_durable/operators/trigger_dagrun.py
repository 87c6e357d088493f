"""The durable TriggerDagRunOperator."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, NoReturn

from airflow_durable.compat import DagRunTriggerException, conf
from airflow_durable.operators.signature import parameters, takes
from airflow_durable.stock import XCOM_RUN_ID, DagIsPaused, StockTriggerDagRunOperator, check

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_durable.core.model import Request
    from airflow_durable.core.record import Record
    from airflow_durable.journal import Journal
    from airflow_durable.port import AirflowPort

# What only a running task needs is imported by the methods that run: a Dag file with this operator is parsed again and
# again.


class DurableRetriesWarning(UserWarning):
    """A durable task without retries: after a crash there is no next try that could find the child again."""


class TriggerDagRunOperator(StockTriggerDagRunOperator):
    """
    Triggers a run of another Dag, and after a crash finds it again instead of starting a second one.

    All that the stock operator takes, this one takes; without ``durable`` it is the stock operator.

    With ``durable`` the child's run id is recorded before the run is requested, in the task state store (Airflow 3.3),
    or it follows from the task instance (3.0 to 3.2). Whatever dies, the next try looks that run up and goes on with
    it: waits on if it is active, succeeds at once if it has finished, submits it again under the same run id if it is
    not there, and starts a fresh one only if it failed. :mod:`airflow_durable.core.decide` has the whole table.

    The synchronous wait looks before it sleeps; it sleeps a tenth of the time waited so far, at least one second and
    at most ``poke_interval`` seconds. ``execution_timeout`` covers it.

    :param durable: find the child again after a crash. The default is ``[durable] default_durable`` (False).
    """

    @takes(parameters)
    def __init__(
        self,
        *,
        durable: bool = conf.getboolean("durable", "default_durable", fallback=False),
        **kwargs: Any,  # noqa: ANN401 - the stock operator's own
    ) -> None:
        super().__init__(**kwargs)
        self.durable = _check_durable(self.task_id, durable)
        if durable:
            check()
        if durable and self.retries == 0:
            warnings.warn(
                f"Task {self.task_id!r} is durable but has retries=0: after a crash there is no next try that could "
                f"find its child run again, until a person clears the task. Set retries.",
                DurableRetriesWarning,
                stacklevel=2,
            )

    def execute(self, context: Context) -> None:
        """
        Trigger, and wait if asked to.

        :raises DurableTriggerError: the attempt failed, and the next try goes on from what is recorded.
        :raises DurableTriggerFailError: the task failed, and another try could change nothing.
        """
        if not self.durable:
            super().execute(context)
            return
        from airflow_durable.core.errors import DurableError
        from airflow_durable.exceptions import as_airflow

        try:
            self._execute_durably(context)
        except DurableError as error:
            raise as_airflow(error) from error

    def execute_complete(self, context: Context, event: Any) -> None:  # noqa: ANN401 - it comes from the database
        """
        Go on after a deferral. One that the stock operator began ends as that would end it.

        :raises DurableTriggerError: as :meth:`execute`.
        """
        data = event[-1] if isinstance(event, (list, tuple)) and event else None
        is_ours = isinstance(data, dict) and "record" in data
        if not is_ours and (not self.durable or self._is_of_stock(event)):
            super().execute_complete(context, event)
            return
        from airflow_durable.core.errors import DurableError, EventInvalidError
        from airflow_durable.exceptions import as_airflow

        try:
            if not isinstance(data, dict) or not is_ours:
                raise EventInvalidError(self.trigger_dag_id, self.trigger_run_id, "it is of no known form")
            self._complete_durably(context, data)
        except DurableError as error:
            raise as_airflow(error) from error

    def _is_of_stock(self, event: Any) -> bool:  # noqa: ANN401 - it comes from the database
        """Tell whether the stock operator can read the event: one that lacks a run's state it takes for success."""
        if not isinstance(event, (list, tuple)) or len(event) != 2 or not isinstance(event[1], dict):  # noqa: PLR2004
            return False
        run_ids = event[1].get("run_ids")
        states = [*self.allowed_states, *self.failed_states]
        return (
            isinstance(run_ids, list)
            and bool(run_ids)
            and all(isinstance(run_id, str) and event[1].get(run_id) in states for run_id in run_ids)
        )

    def _execute_durably(self, context: Context) -> None:
        from airflow_durable import task_sdk
        from airflow_durable.core import protocol
        from airflow_durable.core.model import Mode
        from airflow_durable.request import build_attempt, build_request

        request = build_request(self, context)
        if request.run_id is not None and context.get("task_state_store") is None:
            self.log.warning(
                "This Airflow has no task state store (3.3 has), so a run under a fixed trigger_run_id or "
                "logical_date cannot be told from somebody else's: doing as without durable. dag_id=%s run_id=%s",
                request.dag_id,
                request.run_id,
            )
            super().execute(context)
            return
        with self._open_port(context, request) as port:
            started = protocol.trigger(port, request, build_attempt(context))
            if not port.has_asked_stock:
                # For what the stock operator leaves behind: the link, and the attributes that listeners read.
                self._ask_stock(context, started.record, is_pause_checked=False)
            with task_sdk.undisturbed():
                context["ti"].xcom_push(key=XCOM_RUN_ID, value=started.record.run_id)
            if started.is_settled:
                return
            if request.mode is Mode.DEFER and task_sdk.can_defer():
                self._defer_durably(request, started.record)
            protocol.wait(port, request, started, poke_interval=float(self.poke_interval))

    def _complete_durably(self, context: Context, data: dict[str, Any]) -> None:
        from airflow_durable import task_sdk
        from airflow_durable.core import protocol
        from airflow_durable.core.errors import EventInvalidError, RecordDamagedError
        from airflow_durable.core.record import load
        from airflow_durable.request import rebuild_request

        try:
            record = load(data["record"])
        except RecordDamagedError as error:
            raise EventInvalidError(data.get("dag_id"), data.get("run_ids"), str(error)) from error
        # "state": where the run id is one of the event's own words.
        state = data.get("state", data.get(record.run_id))
        if not isinstance(state, str):
            raise EventInvalidError(record.dag_id, record.run_id, "it tells no state of that run")
        if record.attempts and task_sdk.is_event_left_over(
            deferred_in_try=record.attempts[-1].try_number, try_number=context["ti"].try_number
        ):
            self._execute_durably(context)
            return
        self.trigger_dag_id, self.trigger_run_id = record.dag_id, record.run_id
        request = rebuild_request(self, record)
        with self._open_port(context, request) as port:
            if not protocol.resume(port, request, record, None if data.get("is_missing") else state):
                self._defer_durably(request, record)

    def _open_port(self, context: Context, request: Request) -> AirflowPort:
        from airflow_durable.journal import DerivedJournal, StoreJournal
        from airflow_durable.port import AirflowPort
        from airflow_durable.request import build_attempt, identify_life_of_parent
        from airflow_durable.telling import Teller

        store = context.get("task_state_store")
        journal: Journal = (
            DerivedJournal(identify_life_of_parent(context), request, build_attempt(context))
            if store is None
            else StoreJournal(store, str(context["ti"].id))
        )
        tags = {}
        if team_name := getattr(context["ti"], "stats_tags", {}).get("team_name"):
            tags["team_name"] = team_name
        return AirflowPort(
            journal,
            Teller(self.log, type(self).__name__, tags),
            lambda record: self._ask_stock(context, record, is_pause_checked=True),
        )

    def _ask_stock(self, context: Context, record: Record, *, is_pause_checked: bool) -> DagRunTriggerException:
        """
        Let the stock operator build its request for the recorded run, and return it.

        It hands the request to the task runner as an exception; on the way it checks the parameters, injects the
        OpenLineage parent, sets the extra link and what listeners read. Nothing of that is repeated here.

        :raises ChildDagPausedError: with ``fail_when_dag_is_paused``.
        :raises SubmissionRefusedError: with ``fail_when_dag_is_paused``, if there is no such Dag.
        :raises SubmissionUnknownError: the server cannot be asked just now.
        """
        self.trigger_dag_id, self.trigger_run_id = record.dag_id, record.run_id
        self.logical_date = record.logical_date
        from airflow_durable import task_sdk

        is_failing = self.fail_when_dag_is_paused
        self.fail_when_dag_is_paused = is_failing and is_pause_checked
        try:
            with task_sdk.undisturbed():
                super().execute(context)
        except DagRunTriggerException as request:
            return request
        except DagIsPaused as error:
            from airflow_durable.exceptions import ChildDagPausedError

            raise ChildDagPausedError(record.dag_id, record.run_id) from error
        except Exception as error:
            if is_pause_checked and task_sdk.is_from_server(error):
                raise task_sdk.as_submission_error(record.dag_id, record.run_id, error) from error
            raise
        finally:
            self.fail_when_dag_is_paused = is_failing
        message = "The stock TriggerDagRunOperator did not raise its request: this provider version is not supported."
        raise RuntimeError(message)

    def _defer_durably(self, request: Request, record: Record) -> NoReturn:
        from airflow_durable.triggers.dag_run import DurableDagRunTrigger

        self.defer(
            trigger=DurableDagRunTrigger(
                dag_id=record.dag_id,
                run_id=record.run_id,
                states=sorted(request.allowed_states | request.failed_states),
                poll_interval=float(self.poke_interval),
                record=record.dump(),
            ),
            method_name="execute_complete",
        )


def _check_durable(task_id: str, durable: object) -> bool:
    """Return it if it is a bool: a text is true whatever it says, and ``durable`` is no template field."""
    if isinstance(durable, bool):
        return durable
    message = f"durable of task {task_id!r} is True or False, not {durable!r}."
    raise TypeError(message)
