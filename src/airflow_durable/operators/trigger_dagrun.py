"""The durable TriggerDagRunOperator."""

from __future__ import annotations

import warnings
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, NoReturn

from airflow_durable.compat import DagRunTriggerException, conf
from airflow_durable.durations import SHORTEST_PAUSE_SECONDS, read_interval
from airflow_durable.operators.signature import parameters, takes
from airflow_durable.stock import XCOM_RUN_ID, DagIsPaused, StockTriggerDagRunOperator, check, is_deferrable

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow.providers.common.compat.sdk import Context

    from airflow_durable.core.model import Request
    from airflow_durable.core.record import Record
    from airflow_durable.task.journal import Journal
    from airflow_durable.task.port import AirflowPort
    from airflow_durable.task.request import Payload
    from airflow_durable.triggers.dag_run import DurableDagRunTrigger

# What only a running task needs is imported by the methods that run: a Dag file with this operator is parsed again and
# again.

_ON_CLEAR = ("auto", "adopt", "fresh")
_EVENT_LENGTH = 2
_NEEDED_IN_CONTEXT = ("ti", "task", "dag_run")


class DurableRetriesWarning(UserWarning):
    """A durable task without retries: after a crash there is no next try that could find the child again."""


class TriggerDagRunOperator(StockTriggerDagRunOperator):
    """
    Triggers a run of another Dag, and after a crash finds it again instead of starting a second one.

    It has every parameter of the stock operator. Without ``durable`` it is the stock operator.

    With ``durable`` the child's run id follows from the parent task, and is recorded before the run is requested, in
    the task state store (Airflow 3.3). Whatever dies, the next try looks that run up. If the run is active, it keeps
    waiting; if the run has succeeded, it succeeds at once; if the run does not exist, it submits the run again under
    the same run id. Only if the run failed, it starts a fresh one. :mod:`airflow_durable.core.decide` has the table.

    The synchronous wait checks before it sleeps. It sleeps a tenth of the time waited so far, at least one second and
    at most ``poke_interval`` seconds. ``execution_timeout`` covers it.

    A task may make several calls: ``.execute(context)`` in a loop of a ``@task``, or ``super().execute(context)`` in a
    loop of a subclass. Each has a child of its own; every try has to make the same calls in the same order.

    :param durable: find the child again after a crash. The default is ``[durable] default_durable`` (False).
    :param on_clear: what happens to the child that was started before a person cleared this task. ``"auto"``: it is
        adopted if it carries the present request and nothing upstream of this task has run again. An active one that
        does not is waited for before a fresh one is started. ``"adopt"``: it is adopted whatever has changed, unless
        its success was already used. ``"fresh"``: a fresh one is started at once.
    """

    @takes(parameters)
    def __init__(
        self,
        *,
        durable: bool = conf.getboolean("durable", "default_durable", fallback=False),
        on_clear: str = "auto",
        **kwargs: Any,  # noqa: ANN401 - the stock operator's own
    ) -> None:
        super().__init__(**kwargs)
        self.durable = _check_durable(self.task_id, durable)
        self.on_clear = _check_on_clear(self.task_id, on_clear)
        if durable:
            check()
            # A task that does not wait never uses it; wait_for_completion may be a template by now.
            if self.wait_for_completion or is_deferrable(self):
                _check_poke_interval(self.task_id, self.poke_interval)
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
        task_id = str(kwargs.get("task_id"))
        if "durable" in kwargs:
            _check_durable(task_id, kwargs["durable"])
        if "on_clear" in kwargs:
            _check_on_clear(task_id, kwargs["on_clear"])
        return super().partial(**kwargs)

    def execute(self, context: Context) -> Any:  # noqa: ANN401 - what execute_complete of a subclass returns
        """
        Trigger, and wait if asked to.

        :raises DurableTriggerError: the try failed, and the next one continues from what is recorded.
        :raises DurableTriggerFailError: the task failed, and another try could change nothing.
        """
        # A context without all of these is that of a unit test: there is no try that could be continued.
        missing = [name for name in _NEEDED_IN_CONTEXT if name not in context] if self.durable else []
        if missing:
            self.log.warning("The context lacks %s: continuing without durable.", ", ".join(missing))
        if not self.durable or missing:
            return super().execute(context)
        return self._guarded(context, lambda: self._execute_durably(context, is_resumed=False))

    def execute_complete(self, context: Context, event: Any) -> Any:  # noqa: ANN401 - it comes from the database
        """
        Continue after a deferral. One that the stock operator began ends as that would end it.

        :raises DurableTriggerError: as :meth:`execute`.
        """
        data = _data_of_our_event(event)
        if data is None and (not self.durable or self._is_of_stock(event)):
            return super().execute_complete(context, event)
        return self._guarded(context, lambda: self._complete_durably(context, data))

    @staticmethod
    def _guarded(context: Context, run: Callable[[], Any]) -> Any:  # noqa: ANN401 - what it returns
        from airflow_durable.core.errors import DurableError
        from airflow_durable.exceptions import as_airflow
        from airflow_durable.task.request import has_next_try

        try:
            return run()
        except DurableError as error:
            raised = as_airflow(error, has_next_try=has_next_try(context))
        # Out of the except block: what is raised in it is logged with the error's text a second time.
        raise raised

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
        from airflow_durable.core import protocol, waiting
        from airflow_durable.core.model import Mode
        from airflow_durable.task.calls import next_call
        from airflow_durable.task.request import build_attempt, build_payload, build_request, poke_interval_of

        self._restore_given()
        call = next_call(context)
        payload = build_payload(self)
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
            while True:
                started = self._trigger(context, port, lambda: protocol.trigger(port, request, attempt), request)
                self._leave_traces(context, port, started.record)
                if not started.is_settled and is_deferred:
                    self._defer_durably(request, started.record, call.journal)
                if not started.is_settled:
                    started = waiting.wait(port, request, started, poke_interval=poke_interval)
                if started.is_settled:
                    break
            call.started(started.record, has_record=port.has_record)
            if (
                is_deferred
                and not is_resumed
                and type(self).execute_complete is not TriggerDagRunOperator.execute_complete
            ):
                # The outcome was known at once: what a subclass does after a deferral is done all the same.
                call.known_at_once()
                state = started.run.state if started.run else None
                return self.execute_complete(context, self._event_of(request, started.record, call.journal, state))
            port.report_end(waiting.consume(port, started))
        return None

    def _trigger(self, context: Context, port: AirflowPort, trigger: Callable[[], Any], request: Request) -> Any:  # noqa: ANN401
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
        from airflow_durable.core import waiting
        from airflow_durable.core.errors import EventInvalidError, RecordDamagedError
        from airflow_durable.core.model import Outcome
        from airflow_durable.core.stored import load
        from airflow_durable.task.calls import is_known_at_once, next_call, resume_at
        from airflow_durable.task.request import rebuild_request

        if data is None:
            raise EventInvalidError(self.trigger_dag_id, self.trigger_run_id, "it is of no known form")
        try:
            record = load(data["record"])
        except RecordDamagedError as error:
            raise EventInvalidError(data.get("dag_id"), data.get("run_ids"), str(error)) from error
        # "state": where the run id is one of the event's own words.
        state = data.get("state", data.get(record.run_id))
        if not isinstance(state, str):
            raise EventInvalidError(record.dag_id, record.run_id, "it has no state of that run")
        is_left_over = task_sdk.is_event_left_over(deferred_in_try=record.last_try, try_number=context["ti"].try_number)
        if record.tries and is_left_over and not is_known_at_once(context):
            return self._execute_durably(context, is_resumed=True)
        self._assign(trigger_dag_id=record.dag_id, trigger_run_id=record.run_id)
        request, journal = rebuild_request(self, record), resume_at(context, record.call)
        journal.restore(record.call, data["record"])
        seen = Outcome(
            record.dag_id, record.run_id, None if data.get("is_missing") else state, datetime.now(tz=timezone.utc)
        )
        started = waiting.resume(request, record, seen)
        if started is None:
            self._defer_durably(request, record, journal)
        if started.is_waiting_out:
            return self._execute_durably(context, is_resumed=True)
        # What a subclass calls after this is the next call, not this one again.
        next_call(context).started(record, has_record=False)
        with self._open_port(context, journal, None) as port:
            port.report_end(waiting.consume(port, started))
        return None

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

    def _defer_durably(self, request: Request, record: Record, journal: Journal) -> NoReturn:
        self.defer(trigger=self._trigger_of(request, record, journal), method_name="execute_complete")

    def _trigger_of(self, request: Request, record: Record, journal: Journal) -> DurableDagRunTrigger:
        from airflow_durable.core.model import ENDED_STATES, Phase
        from airflow_durable.core.stored import dump
        from airflow_durable.task.request import poke_interval_of
        from airflow_durable.triggers.dag_run import DurableDagRunTrigger

        # A run that has ended in no listed state has failed. One that is waited out only has to end.
        is_waited_out = record.phase is Phase.WAITED_OUT
        states = ENDED_STATES | (frozenset() if is_waited_out else request.allowed_states | request.failed_states)
        return DurableDagRunTrigger(
            dag_id=record.dag_id,
            run_id=record.run_id,
            states=sorted(states),
            poll_interval=poke_interval_of(self),
            record={**dump(record), **journal.position(record.call)},
        )

    def _event_of(self, request: Request, record: Record, journal: Journal, state: str | None) -> Any:  # noqa: ANN401
        """Return the event that a deferral would have ended with."""
        return self._trigger_of(request, record, journal).payload(state or "success")


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


def _check_durable(task_id: str, durable: object) -> bool:
    """Return it if it is a bool: a text is true whatever it says, and ``durable`` is no template field."""
    if isinstance(durable, bool):
        return durable
    message = f"durable of task {task_id!r} must be True or False, not {durable!r}."
    raise TypeError(message)


def _check_on_clear(task_id: str, on_clear: object) -> str:
    if isinstance(on_clear, str) and on_clear in _ON_CLEAR:
        return on_clear
    message = f"on_clear of task {task_id!r} must be one of {', '.join(_ON_CLEAR)}, not {on_clear!r}."
    raise ValueError(message)


def _check_poke_interval(task_id: str, given: object) -> None:
    """Refuse it when the Dag is parsed, not after the child was started."""
    if read_interval(given) is None:
        message = (
            f"poke_interval of task {task_id!r} must be a number of seconds, 0 or more, or a timedelta, not {given!r}."
        )
        raise ValueError(message)
