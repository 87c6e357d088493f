"""The child ended badly or too late, is gone, or cannot be read."""

from __future__ import annotations

from airflow_durable.core.errors.base import DurableError


class ChildRunFailedError(DurableError):
    """
    The child ended in a failed state, or in one that is not allowed.

    :ivar failed_tasks: its failed tasks, each as a line for people; empty: they are not known.
    """

    failed_tasks: tuple[str, ...] = ()

    def __init__(  # noqa: PLR0913 - what the message is about
        self,
        dag_id: str,
        run_id: str,
        state: str,
        *,
        is_awaited: bool,
        is_fixed: bool,
        is_reset: bool,
        on_child_failure: str = "fresh",
    ) -> None:
        ended = (
            f"ended in the failed state {state!r}"
            if is_awaited
            else f"has ended in state {state!r}, which is neither in allowed_states nor in failed_states"
        )
        fresh, anew = _after_failure(is_fixed=is_fixed, is_reset=is_reset, on_child_failure=on_child_failure)
        is_terminal = on_child_failure == "fail"
        text = f"Child run {run_id!r} of Dag {dag_id!r} {ended}. Open that run to find the cause."
        super().__init__(
            f"{text} {anew}" if is_terminal else text,
            if_retried=fresh,
            if_final="" if is_terminal else anew,
        )
        self.dag_id = dag_id
        self.run_id = run_id
        self.is_terminal = is_terminal

    def explain(self, *, has_next_try: bool) -> str:
        """Return the whole message, with the tasks that failed."""
        text = super().explain(has_next_try=has_next_try)
        return "\n".join((text, "Its failed tasks:", *self.failed_tasks)) if self.failed_tasks else text


def _after_failure(*, is_fixed: bool, is_reset: bool, on_child_failure: str) -> tuple[str, str]:
    """Return what the next try does about a failed child, and what a person can do where there is none."""
    if on_child_failure == "resume":
        return (
            "The next try of this task resumes that run: what failed in it, and what depends on that, runs again.",
            "Clear this task to resume that run (on Airflow 3.4: keep its task state).",
        )
    if not is_fixed:
        return "The next try of this task starts a new run.", "Clear this task to start a new run."
    if is_reset:
        return "The next try of this task resets that run.", "Clear this task to reset that run."
    return (
        "Its run id is fixed, so the next try of this task fails, too, unless that run is cleared first.",
        "Its run id is fixed: clear that run, then this task.",
    )


class StartTimeoutError(DurableError):
    """
    No task of the child has begun within ``start_timeout``.

    :param where: where the run stands.
    """

    is_terminal = True

    def __init__(self, dag_id: str, run_id: str, seconds: float, where: str) -> None:
        super().__init__(
            f"Child run {run_id!r} of Dag {dag_id!r} has not begun within start_timeout ({seconds:g} s): {where}. "
            f"{_STAYS}"
        )


class RunTimeoutError(DurableError):
    """
    The child has not ended within ``run_timeout``.

    :param where: where the run stands.
    """

    is_terminal = True

    def __init__(self, dag_id: str, run_id: str, seconds: float, where: str) -> None:
        super().__init__(
            f"Child run {run_id!r} of Dag {dag_id!r} has not ended within run_timeout ({seconds:g} s): {where}. "
            f"{_STAYS}"
        )


_STAYS = (
    "This task did nothing to that run; on_parent_end decides what happens to it. Clear this task to wait for it "
    "again (before Airflow 3.2, set on_clear='adopt' first): the timeouts then start again."
)


class ChildRunMissingError(DurableError):
    """The child does not exist any more. The next try submits it again, under the same run id."""

    def __init__(self, dag_id: str, run_id: str) -> None:
        super().__init__(
            f"Child run {run_id!r} of Dag {dag_id!r} does not exist any more: it was deleted while this task waited "
            f"for it.",
            if_retried="The next try of this task starts it again under the same run id. If it should not run at all, "
            "mark this task as success or failed.",
            if_final="Clear this task to start it again under the same run id.",
        )


class ChildStateUnknownError(DurableError):
    """Nothing happens in the child any more, but whether its state is an end is not known: a newer Airflow has it."""

    def __init__(self, dag_id: str, run_id: str, state: str) -> None:
        super().__init__(
            f"Child run {run_id!r} of Dag {dag_id!r} is in the state {state!r}, and nothing happens in it any more. "
            f"This release of airflow-durable does not know whether that is an end, and of which kind. Nothing was "
            f"done to that run.",
            if_retried="The next try of this task waits for that run again.",
            if_final="Mark that run as success or failed, and clear this task (on Airflow 3.4: keep its task state); "
            "it starts no other run beside that one.",
        )


class LookUpFailedError(DurableError):
    """
    The child's state could not be read.

    :param is_transient: the same look-up may succeed later (the API server is away, overloaded or restarting).
    :param is_asked: this try had asked the reconciler for something before.
    """

    def __init__(self, dag_id: str, run_id: str, reason: str, *, is_transient: bool, is_asked: bool = False) -> None:
        done = "Nothing was done to that run."
        if is_asked:
            done = "This try had asked the reconciler to let it continue or start over, which may have been done."
        super().__init__(
            f"The state of run {run_id!r} of Dag {dag_id!r} could not be read: {reason}. {done}",
            if_retried="The next try of this task finds it by its run id, if it exists.",
            if_final="Clear this task once the run can be read: it finds the run by its run id, if it exists.",
        )
        self.dag_id = dag_id
        self.run_id = run_id
        self.reason = reason
        self.is_transient = is_transient

    def after_asking(self) -> LookUpFailedError:
        """Return it as of a try that had asked the reconciler for something before."""
        return LookUpFailedError(self.dag_id, self.run_id, self.reason, is_transient=self.is_transient, is_asked=True)


class ReconcilerMissingError(DurableError):
    """
    The reconciler did not do in time what it was asked for. The request is withdrawn.

    :param is_reset: a reset was asked for. Then the task does it itself, so this only goes into its log.
    :param others: of a task with many children: the number of its other runs that were not resumed.
    """

    def __init__(self, dag_id: str, run_id: str, seconds: float, *, is_reset: bool = False, others: int = 0) -> None:
        if is_reset:
            super().__init__(
                f"No reconciler has reset run {run_id!r} of Dag {dag_id!r} within [durable] reset_timeout "
                f"({seconds:g} s). This task resets it itself, as the stock operator does."
            )
            return
        more = f" The same is true of {others} more child runs of this task." if others else ""
        super().__init__(
            f"Child run {run_id!r} of Dag {dag_id!r} has failed, and was not resumed within [durable] "
            f"reconciler_timeout ({seconds:g} s): no reconciler acted.{more} It runs in Airflow's API server "
            f"([durable] reconciler), or as 'airflow-durable reconcile'; its log says if it refused, and why. Nothing "
            f"was done to that run.",
            if_retried="The next try of this task asks for it again.",
            if_final="Once a reconciler runs, clear this task to resume that run (on Airflow 3.4: keep its task "
            "state); or clear the failed tasks of that run yourself, and then this task: it waits for the run.",
        )


class EventInvalidError(DurableError):
    """The event that ended the deferred wait cannot be understood. Nothing was done to the child."""

    def __init__(self, dag_id: object, run_id: object, reason: str) -> None:
        super().__init__(
            f"The event that ended the wait for run {run_id!r} of Dag {dag_id!r} cannot be understood: {reason}. "
            f"Nothing was done to that run.",
            if_retried="The next try of this task finds it by its record.",
            if_final="Clear this task: it finds the run by its record.",
        )


_WITHOUT_RECORD = "Before, a clear starts the run again: if the result is not needed, mark this task as success."


class ResultMissingError(DurableError):
    """The child has done its part, but does not have the requested result. Another try would find the same."""

    is_terminal = True

    def __init__(self, dag_id: str, run_id: str, task_id: str, reason: str) -> None:
        super().__init__(
            f"The result of task {task_id!r} in child run {run_id!r} of Dag {dag_id!r} is missing: {reason}. The run "
            f"itself has done its part. Correct result, or let that task return a value; then clear this task (on "
            f"Airflow 3.4: keep its task state). From Airflow 3.3 on, it reads the result again, and starts no other "
            f"run. {_WITHOUT_RECORD}"
        )


class ResultUnreadableError(DurableError):
    """The child's result could not be read. The outcome is not used up by that."""

    def __init__(self, dag_id: str, run_id: str, task_id: str, reason: str) -> None:
        super().__init__(
            f"The result of task {task_id!r} in child run {run_id!r} of Dag {dag_id!r} could not be read: {reason}. "
            f"The run itself has done its part.",
            if_retried="The next try of this task reads it again.",
            if_final=(
                "Clear this task once the result can be read (on Airflow 3.4: keep its task state). From Airflow 3.3 "
                f"on, it starts no other run. {_WITHOUT_RECORD}"
            ),
        )
