"""
Every way in which a try can end without success. Each says what happened, to which run, and what to do.

What comes next depends on whether the task will be tried again, which only Airflow knows. So each error has a sentence
for either case, and :meth:`DurableError.explain` chooses the right one.
"""

from __future__ import annotations


class DurableError(Exception):
    """
    The base of all errors of the protocol.

    :param text: what happened, to which run.
    :param if_retried: what the next try will do; empty: nothing worth saying.
    :param if_final: what a person can do if there is no next try; empty: nothing more than the text says.
    :cvar is_terminal: True: another try can change nothing, so the task fails without one.
    """

    is_terminal = False

    def __init__(self, text: str, *, if_retried: str = "", if_final: str = "") -> None:
        super().__init__(text)
        self._if_retried = if_retried
        self._if_final = if_final

    def explain(self, *, has_next_try: bool) -> str:
        """Return the whole message, true of a task that will, or will not, be tried again."""
        further = self._if_retried if has_next_try and not self.is_terminal else self._if_final
        return f"{self} {further}".rstrip()


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


class ChildRunForeignError(DurableError):
    """
    A run that this parent did not start has the fixed identity.

    :param is_left: the task asks for another run by now; and this one may be its own, as the reply to its request was
        lost.
    :ivar is_run_known: the run has the identity that the task asks for now.
    """

    is_terminal = True

    def __init__(self, dag_id: str, run_id: str, *, state: str | None = None, is_left: bool = False) -> None:
        seen = f" It is {state}." if state else ""
        to_do = (
            "Choose another trigger_run_id or logical_date, delete that run, or set skip_when_already_exists or "
            "reset_dag_run."
        )
        if is_left:
            to_do = (
                "An earlier try asked for that run, and this task asks for another one now. If that run is not this "
                "task's, or has ended, clear this task: it starts the run that it asks for now."
            )
        super().__init__(
            f"Dag {dag_id!r} already has a run {run_id!r}, and it is not known that this task started it.{seen} "
            f"Nothing was triggered. {to_do}"
        )
        self.is_run_known = not is_left


_RUN_AGAIN = (
    "If that run has what this task asks for now, clear it and, while it is active, this task: it waits for that run. "
    "If the conf or the date was edited, delete that run and clear this task: it starts the run again."
)


class RunUsedUpError(DurableError):
    """The run under the fixed identity is this task's own, and its outcome was used before the task was cleared."""

    is_terminal = True

    def __init__(self, dag_id: str, run_id: str, state: str) -> None:
        super().__init__(
            f"Dag {dag_id!r} already has the run {run_id!r}. This task started it before it was cleared; it is "
            f"{state}, and there can be no second run with a fixed trigger_run_id or logical_date. Nothing was "
            f"triggered. {_RUN_AGAIN} Or set reset_dag_run=True and clear this task: it resets that run, which keeps "
            f"its conf."
        )


class LogicalDateTakenError(DurableError):
    """Another run of the child Dag has the fixed logical date, under another run id."""

    is_terminal = True

    def __init__(self, dag_id: str, run_id: str, logical_date: str) -> None:
        super().__init__(
            f"Dag {dag_id!r} already has a run with the logical date {logical_date}, under a run id other than "
            f"{run_id!r}, and this task did not start it. Nothing was triggered. Choose another logical_date, delete "
            f"that run, or set skip_when_already_exists."
        )


class ForeignRunSkipError(DurableError):
    """
    Not a failure: with ``skip_when_already_exists`` the task is skipped, as the stock operator would.

    :param is_run_known: False: another run, whose id is not known, has the logical date.
    """

    is_terminal = True

    def __init__(self, dag_id: str, run_id: str, *, is_run_known: bool = True) -> None:
        self.is_run_known = is_run_known
        super().__init__(
            f"Dag {dag_id!r} already has the run {run_id!r} or one with its logical date: skipped, "
            f"because skip_when_already_exists is set."
        )


class FixedRunFailedError(DurableError):
    """The child under a fixed identity failed, and that identity cannot have a second run."""

    is_terminal = True

    def __init__(self, dag_id: str, run_id: str, state: str) -> None:
        super().__init__(
            f"Child run {run_id!r} of Dag {dag_id!r} is {state}, and its trigger_run_id or logical_date is fixed, so "
            f"there can be no fresh run. Nothing was triggered. {_RUN_AGAIN} Or set reset_dag_run=True and clear this "
            f"task: it resets that run, which keeps its conf."
        )


class CallsDifferError(DurableError):
    """The task makes several calls, and not those that an earlier try made."""

    def __init__(self, dag_id: str, run_id: str, call: int) -> None:
        super().__init__(
            f"Call {call} of this try differs from call {call} of an earlier try, which started run {run_id!r} of "
            f"Dag {dag_id!r}. A task that triggers several runs has to make the same calls in the same order in every "
            f"try: otherwise it is not known which of them are done. Nothing was triggered by this call.",
            if_retried="The next try can continue if it makes the calls of the earlier try.",
            if_final="Make the calls follow from something that does not change between tries; then clear this task. "
            "To start all of them again, delete the task's entries under 'durable_child_run' from its state store.",
        )


class SubmissionRefusedError(DurableError):
    """
    The API server refused the request: nothing was started, and the next try builds its request again.

    :param status: the status of the HTTP answer; None: the request could not even be built.
    :param is_of_dag: the Dag itself cannot be run, whatever is asked for: it does not exist, has import errors, or
        admits no run that a task starts.
    :param is_reset: the request was to reset the run.
    """

    def __init__(  # noqa: PLR0913 - what the message is about
        self,
        dag_id: str,
        run_id: str,
        reason: str,
        *,
        status: int | None = None,
        is_of_dag: bool = False,
        is_reset: bool = False,
    ) -> None:
        act = "reset" if is_reset else "start"
        super().__init__(
            f"The API server refused to {act} run {run_id!r} of Dag {dag_id!r}: {reason}. Nothing was triggered.",
            if_retried="The next try sends the request that the Dag file describes then.",
            if_final="Correct the cause, and clear this task.",
        )
        self.status = status
        self.is_of_dag = is_of_dag


class SubmissionUnknownError(DurableError):
    """
    The request may or may not have arrived. The run id is known, so the next try finds out.

    :param is_reset: the request was to reset the run.
    """

    def __init__(self, dag_id: str, run_id: str, reason: str, *, is_reset: bool = False) -> None:
        if is_reset:
            super().__init__(
                f"It is not known whether run {run_id!r} of Dag {dag_id!r} was reset: {reason}.",
                if_retried="The next try of this task finds out, and resets that run if this has not been done.",
                if_final="Clear this task: it finds out, and resets that run if this has not been done.",
            )
            return
        super().__init__(
            f"It is not known whether run {run_id!r} of Dag {dag_id!r} was started: {reason}.",
            if_retried="The next try of this task adopts it if it exists, and starts it under the same run id if not.",
            if_final="Clear this task: it finds the run if it exists, and starts it if not.",
        )


class LogicalDateClashError(DurableError):
    """Every logical date that we chose was taken. This happens only with a very busy child Dag."""

    def __init__(self, dag_id: str, run_id: str, times: int) -> None:
        super().__init__(
            f"Run {run_id!r} of Dag {dag_id!r} could not be started: its logical date was taken by another run "
            f"{times} times in a row. Nothing was triggered.",
            if_retried="The next try of this task uses the same run id, with another date.",
            if_final="Clear this task to try another date.",
        )


class RunIdsTakenError(DurableError):
    """Every run id that was tried belongs to a run that an earlier Dag run of the same name started."""

    def __init__(self, dag_id: str, run_id: str) -> None:
        super().__init__(
            f"Dag {dag_id!r} has runs under all run ids up to {run_id!r}. Earlier Dag runs with the same name as this "
            f"task's Dag run started them. Nothing was triggered. Delete those runs, or run this task's Dag under "
            f"another run id."
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


class JournalReadError(DurableError):
    """The journal could not be read, so nothing was triggered."""

    def __init__(self, reason: str, *, is_transient: bool = False) -> None:
        super().__init__(
            f"The record of this task (in its task state store) could not be read: {reason}. Nothing was triggered, "
            f"because a run of an earlier try could be overlooked.",
            if_retried="The next try of this task reads it again.",
            if_final="Clear this task once it can be read.",
        )
        self.is_transient = is_transient


class JournalWriteError(DurableError):
    """The journal could not be written, so nothing was triggered since."""

    def __init__(self, dag_id: str, run_id: str, reason: str, *, is_transient: bool = False) -> None:
        super().__init__(
            f"The record of this task (in its task state store) could not be written for run {run_id!r} of Dag "
            f"{dag_id!r}: {reason}. Nothing was triggered after that. If a newer try of this task runs elsewhere, "
            f"it has taken over.",
            if_retried="Otherwise the next try continues from what was last recorded.",
            if_final="Otherwise clear this task: it continues from what was last recorded.",
        )
        self.is_transient = is_transient


class RecordDamagedError(DurableError):
    """The record is there but cannot be understood. Starting over could be a duplicate."""

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(
            f"The record under the task state store key {key!r} cannot be understood: {reason}. Nothing was "
            f"triggered, because that could start a second child run. Look for a run that this task has already "
            f"started; then delete all keys that begin with 'durable_child_run' from its state store, and clear the "
            f"task."
        )


class RequestInvalidError(DurableError):
    """
    A parameter has a value that Airflow cannot use. Nothing was recorded or sent.

    Another try may render it differently, so the task is retried, as with the stock operator.
    """

    def __init__(self, text: str) -> None:
        super().__init__(
            f"{text} Nothing was triggered.",
            if_retried="The next try renders the parameter again.",
            if_final="Correct it, and clear this task.",
        )


class DagIdInvalidError(RequestInvalidError):
    """The rendered ``trigger_dag_id`` names no Dag."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"trigger_dag_id cannot be used: {reason}.")


class RunIdInvalidError(RequestInvalidError):
    """Airflow would refuse the rendered run id, or take it for another one."""

    def __init__(self, dag_id: str, run_id: str, reason: str) -> None:
        super().__init__(f"trigger_run_id {run_id!r} for Dag {dag_id!r} cannot be used: {reason}.")


class ConfInvalidError(RequestInvalidError):
    """The conf is not JSON. The message never shows its values: they may be secrets."""

    def __init__(self, dag_id: str, reason: str) -> None:
        super().__init__(
            f"The conf for Dag {dag_id!r} is not JSON: {reason}. Pass a dict (or a JSON string of one) of strings, "
            f"numbers, booleans, None, lists and dicts."
        )


class DateInvalidError(RequestInvalidError):
    """
    Airflow cannot use the logical date or the run-after date.

    :ivar is_of_wrong_type: it is neither a date nor a string.
    """

    is_of_wrong_type = False

    def __init__(self, dag_id: str, name: str, reason: str, *, is_of_wrong_type: bool = False) -> None:
        super().__init__(
            f"The {name} for Dag {dag_id!r} cannot be used: {reason}. Pass a date with a time zone, or an ISO 8601 "
            f"string."
        )
        self.is_of_wrong_type = is_of_wrong_type


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
