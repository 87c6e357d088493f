"""The record could not be read, written or understood, or another try's calls are in it."""

from __future__ import annotations

from airflow_durable.core.errors.base import DurableError


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
