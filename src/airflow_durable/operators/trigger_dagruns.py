"""The operator that starts a run of another Dag for each of many items."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from airflow_durable.compat import conf
from airflow_durable.durations import read_interval
from airflow_durable.operators.parameters import ON_CHILD_FAILURE, ON_PARENT_END, START_TIMEOUT, check_all
from airflow_durable.operators.trigger_dagrun import DurableRetriesWarning

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import timedelta

    from airflow.providers.common.compat.sdk import Context

    from airflow_durable.task.many_execution import ManyExecution

# What a running task does is in task/, and is imported by the methods that run: a Dag file with this operator is parsed
# again and again.

_ON_CLEAR = ("auto", "failed", "all")


class TriggerDagRunsOperator(BaseOperator):
    """
    Triggers a run of another Dag for each item, waits for all of them, and after a crash finds them again.

    There is exactly one healthy child run for each item, whatever dies and whenever. A retry, or a person's clear,
    starts a new run for what failed, and keeps what succeeded or still runs. It is always durable: on Airflow 3.3 and
    later a ledger of fixed size is kept in the task state store; before, the run ids alone are what a retry goes by.

    The return value has counts and the failed items: ``{"items": 10000, "succeeded": 9969, "failed": 31,
    "failed_items": [{"item": ..., "run_id": ...}, ...]}`` with the first 100 failed ones. With ``result`` it is what
    the children returned.

    :param trigger_dag_id: the Dag to run (templated).
    :param items: a list of confs, one for each run; or a dict of confs by key; or what renders to one of them: the
        output of another task, a template, or its JSON text (templated).
    :param key: what identifies an item: a field of its conf, or a function of its conf, that gives a text or an
        integer. The run id shows it, and so do logs and the return value. None: with a dict, its keys; with a list, the
        position. An item whose key is the same in a later try is the same item, so give a key where the list may
        change.
    :param max_active: so many child runs may be unfinished at once. None: all are started at once, and Airflow's own
        ``max_active_runs`` of the child Dag decides how many run.
    :param tolerated_failures: so many items may fail: a number, or a share as ``"2%"``, rounded down. More fail the
        task as soon as that is certain; runs that are active then are left running, and the next try adopts them.
    :param child_tries: how many runs one try of this task starts for an item that fails, the first one included; or
        how often it lets the item's run begin, if failed runs are resumed.
    :param on_clear: what a person's clear of this task starts anew. ``"auto"``: what failed, and items whose conf
        changed; all, if the task had succeeded or something upstream ran again since. ``"failed"``: what failed, by key
        alone, whatever else changed. ``"all"``: all. Active runs are waited for first, never joined by a second.
    :param on_parent_end: what becomes of the child runs that are active when this task has ended for good, without
        having taken their outcome. ``"abandon"``: they continue. ``"cancel"``: the reconciler in the API server marks
        them as failed, a hundred in each turn (Airflow 3.3 and later). The default is ``[durable] on_parent_end``.
    :param on_child_failure: what becomes of an item whose run failed, in the next try, and in this one if
        ``child_tries`` allows it. ``"fresh"``: it gets a new run. ``"resume"`` (Airflow 3.3): the same run continues
        from where it failed; a reconciler has to run. ``"fail"``: the next try starts no other, and if more have failed
        than are tolerated there is no next try. The default is ``[durable] on_child_failure``.
    :param start_timeout: how long a child run may be queued, from the request for it, in seconds or as a timedelta;
        None: no limit. After that its item counts as failed, and nothing is done to the run. A deferral does not
        restart it, another try does. The default is ``[durable] start_timeout``.
    :param result: a task of the child Dag, or several. Their return values are this task's: a list in the order of the
        items, or a dict by key if there are keys. None for a failed item.
    :param wait_for_completion: False: the task ends when all runs have been started.
    :param poke_interval: the longest time between two looks at a run, and from the end of a run to the start of one
        that waits for room, in seconds or as a timedelta.
    :param allowed_states: Dag run states that mean success. The default is ``["success"]``.
    :param failed_states: Dag run states that mean failure. The default is ``["failed"]``.
    :param note: of each run (Airflow 3.2 and later).
    :param fail_when_dag_is_paused: fail, and start nothing, if the child Dag is paused (Airflow 3.2 and later).
    :param deferrable: wait in the triggerer, in one trigger for all runs. The default is
        ``[operators] default_deferrable``.
    :param openlineage_inject_parent_info: as in the stock ``TriggerDagRunOperator``.
    """

    template_fields: Sequence[str] = ("trigger_dag_id", "items")
    ui_color = "#ffefeb"

    def __init__(  # noqa: PLR0913 - as many as a user may want
        self,
        *,
        trigger_dag_id: str,
        items: Any,  # noqa: ANN401 - what it may be is for the rendered value
        key: str | Callable[[dict[str, Any]], str | int] | None = None,
        max_active: int | None = None,
        tolerated_failures: int | str = 0,
        child_tries: int = 1,
        on_clear: str = "auto",
        on_parent_end: str = ON_PARENT_END,
        on_child_failure: str = ON_CHILD_FAILURE,
        start_timeout: float | timedelta | None = START_TIMEOUT,
        result: str | list[str] | None = None,
        wait_for_completion: bool = True,
        poke_interval: float | timedelta = 60,
        allowed_states: list[str] | None = None,
        failed_states: list[str] | None = None,
        note: str | None = None,
        fail_when_dag_is_paused: bool = False,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        openlineage_inject_parent_info: bool = True,
        **kwargs: Any,  # noqa: ANN401 - those of every operator
    ) -> None:
        super().__init__(**kwargs)
        self.trigger_dag_id = trigger_dag_id
        # What can be read only once would be empty in a second try of one process, as in dag.test().
        self.items = list(items) if isinstance(items, Iterator) else items
        self.key = key
        self.max_active = max_active
        self.tolerated_failures = tolerated_failures
        self.child_tries = child_tries
        self.on_clear = on_clear
        self.on_parent_end = on_parent_end
        self.on_child_failure = on_child_failure
        self.start_timeout = start_timeout
        self.result = result
        self.wait_for_completion = wait_for_completion
        self.poke_interval = poke_interval
        self.allowed_states = allowed_states or ["success"]
        self.failed_states = ["failed"] if failed_states is None else failed_states
        self.note = note
        self.fail_when_dag_is_paused = fail_when_dag_is_paused
        self.deferrable = deferrable
        self.openlineage_inject_parent_info = openlineage_inject_parent_info
        self._check()
        if self.retries == 0:
            warnings.warn(
                f"Task {self.task_id!r} has retries=0: after a crash there is no next try that could find its child "
                f"runs again, until a person clears the task. Set retries.",
                DurableRetriesWarning,
                stacklevel=2,
            )

    def _check(self) -> None:
        """Refuse when the Dag is parsed what can be known to be wrong then."""
        self._require(
            "max_active", self.max_active is None or _is_count(self.max_active, least=1), "1 or more, or None"
        )
        self._require("child_tries", _is_count(self.child_tries, least=1), "1 or more")
        self._require("on_clear", self.on_clear in _ON_CLEAR, f"one of {', '.join(_ON_CLEAR)}")
        own = {name: getattr(self, name) for name in ("on_parent_end", "on_child_failure", "start_timeout")}
        check_all(self.task_id, own, is_durable=True)
        is_interval = read_interval(self.poke_interval) is not None
        self._require("poke_interval", is_interval, "a number of seconds, 0 or more, or a timedelta")
        is_share = isinstance(self.tolerated_failures, str) and self.tolerated_failures.strip().endswith("%")
        is_tolerance = is_share or _is_count(self.tolerated_failures, least=0)
        self._require("tolerated_failures", is_tolerance, "a number, 0 or more, or a share as '2%'")
        is_waiting = self.wait_for_completion
        self._require("max_active", is_waiting or self.max_active is None, "None where the task does not wait")
        self._require("result", is_waiting or self.result is None, "None where the task does not wait")

    def _require(self, name: str, is_met: object, needed: str) -> None:
        if not is_met:
            message = f"{name} of task {self.task_id!r} has to be {needed}, not {getattr(self, name)!r}."
            raise ValueError(message)

    def _do_render_template_fields(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - Airflow's, by version
        """
        Render, then hide the items: what Airflow stores of rendered templates are not ten thousand confs.

        Airflow calls it on the operator itself, also if that was mapped (3.0 to 3.4, ``render_template_fields``).
        """
        from airflow_durable.task.many_request import Hidden

        super()._do_render_template_fields(*args, **kwargs)
        if not isinstance(self.items, Hidden):
            self.items = Hidden(self.items)

    def execute(self, context: Context) -> Any:  # noqa: ANN401 - see the class
        """
        Trigger, and wait if asked to. Where a subclass overrides it, it is called after each deferral, too.

        :raises DurableTriggerError: the try failed, and the next one continues from what is recorded.
        :raises DurableTriggerFailError: the task failed, and another try could change nothing.
        """
        from airflow_durable.task.failures import guarded

        return guarded(context, self._execution(context).run)

    def execute_complete(self, context: Context, event: Any) -> Any:  # noqa: ANN401 - it comes from the database
        """
        Continue after a deferral.

        :raises DurableTriggerError: as :meth:`execute`.
        """
        from airflow_durable.task.calls import continue_with, run_resumed

        continue_with(context, event)
        # Of a subclass, too: it may make its items there, and has not done so in this process.
        return run_resumed(lambda: self.execute(context))

    def _execution(self, context: Context) -> ManyExecution:
        from airflow_durable.task.many_execution import ManyExecution

        task = context["task"]
        is_own_task = isinstance(task, TriggerDagRunsOperator) and task.task_id == self.task_id
        is_overridden = type(self).execute_complete is not TriggerDagRunsOperator.execute_complete
        return ManyExecution(self, context, is_own_task=is_own_task, has_own_completion=is_overridden)


def _is_count(given: object, *, least: int) -> bool:
    return type(given) is int and given >= least
