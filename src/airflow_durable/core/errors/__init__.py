"""
Every way in which a try can end without success. Each says what happened, to which run, and what to do.

What comes next depends on whether the task will be tried again, which only Airflow knows. So each error has a sentence
for either case, and :meth:`DurableError.explain` chooses the right one.
"""

from __future__ import annotations

from airflow_durable.core.errors.base import DurableError
from airflow_durable.core.errors.child import (
    ChildRunFailedError,
    ChildRunMissingError,
    ChildStateUnknownError,
    EventInvalidError,
    LookUpFailedError,
    ReconcilerMissingError,
    ResultMissingError,
    ResultUnreadableError,
    RunTimeoutError,
    StartTimeoutError,
)
from airflow_durable.core.errors.identity import (
    ChildRunForeignError,
    FixedRunFailedError,
    ForeignRunSkipError,
    LogicalDateClashError,
    LogicalDateTakenError,
    RunIdsTakenError,
    RunUsedUpError,
)
from airflow_durable.core.errors.record import (
    CallsDifferError,
    JournalReadError,
    JournalWriteError,
    RecordDamagedError,
)
from airflow_durable.core.errors.request import (
    ConfInvalidError,
    DagIdInvalidError,
    DateInvalidError,
    RequestInvalidError,
    RunIdInvalidError,
    SubmissionRefusedError,
    SubmissionUnknownError,
)

__all__ = [
    "CallsDifferError",
    "ChildRunFailedError",
    "ChildRunForeignError",
    "ChildRunMissingError",
    "ChildStateUnknownError",
    "ConfInvalidError",
    "DagIdInvalidError",
    "DateInvalidError",
    "DurableError",
    "EventInvalidError",
    "FixedRunFailedError",
    "ForeignRunSkipError",
    "JournalReadError",
    "JournalWriteError",
    "LogicalDateClashError",
    "LogicalDateTakenError",
    "LookUpFailedError",
    "ReconcilerMissingError",
    "RecordDamagedError",
    "RequestInvalidError",
    "ResultMissingError",
    "ResultUnreadableError",
    "RunIdInvalidError",
    "RunIdsTakenError",
    "RunTimeoutError",
    "RunUsedUpError",
    "StartTimeoutError",
    "SubmissionRefusedError",
    "SubmissionUnknownError",
]
