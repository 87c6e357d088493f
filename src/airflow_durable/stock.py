"""
The stock ``TriggerDagRunOperator``, and what differs between the versions of it.

No other module knows the insides of the standard provider. Read in 1.6.0 (the constraints of Airflow 3.0.6), 1.12.0
(3.1.8), 1.13.1 (3.2.2), 1.19.0 (3.3.2) and 1.21.0:

========  =============================================================================
version   what the stock operator learned
========  =============================================================================
1.9.2     a conf that is JSON text
1.10.0    ``openlineage_inject_parent_info``; the run id becomes an attribute
1.10.1    the attribute ``deferrable``, before it ``_defer``
1.12.0    ``note``
1.13.0    ``run_after``
1.14.0    ``fail_when_dag_is_paused`` on Airflow 3.2 and later; from 1.9.1 to here it is an error
1.15.0    the XCom of the extra link is pushed before the run is requested
========  =============================================================================

None of its private functions is called: what it does with dates is a few lines, which the tests compare with the
installed one.
"""

from __future__ import annotations

import inspect
from datetime import datetime
from importlib import metadata
from typing import TYPE_CHECKING, Any

from airflow.models.dagrun import DagRun
from airflow.providers.standard.operators import trigger_dagrun as _module
from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator as StockTriggerDagRunOperator
from airflow.utils.types import DagRunType

from airflow_durable.compat import AirflowException, DagRunTriggerException, timezone

__all__ = [
    "MISSING",
    "NOTSET",
    "PARAMETERS",
    "XCOM_RUN_ID",
    "DagIsPaused",
    "StockOperatorUnsupportedError",
    "StockTriggerDagRunOperator",
    "check",
    "generate_run_id",
    "is_deferrable",
    "is_set",
    "parse_date",
    "request_takes",
    "run_after_of",
]

_PROVIDER = "apache-airflow-providers-standard"
_NEEDED_PARAMETERS = (
    "trigger_dag_id",
    "trigger_run_id",
    "conf",
    "logical_date",
    "reset_dag_run",
    "wait_for_completion",
    "poke_interval",
    "allowed_states",
    "failed_states",
    "skip_when_already_exists",
    "fail_when_dag_is_paused",
    "deferrable",
)
_NEEDED_METHODS = ("execute", "execute_complete")

PARAMETERS: frozenset[str] = frozenset(inspect.signature(StockTriggerDagRunOperator.__init__).parameters) - {
    "self",
    "kwargs",
}
"""The parameters that the installed stock operator has of its own, beside those of every operator."""

NOTSET: Any = getattr(_module, "NOTSET", None)
"""The value of a date that was not given: the stock operator's own default."""

XCOM_RUN_ID: str = getattr(_module, "XCOM_RUN_ID", "")
"""The key of the XCom that holds the child's run id; the extra link reads it."""

if TYPE_CHECKING:

    class DagIsPaused(AirflowException):
        """What the stock operator raises with ``fail_when_dag_is_paused``."""

        def __init__(self, dag_id: str) -> None: ...

        dag_id: str
else:
    DagIsPaused = getattr(_module, "DagIsPaused", AirflowException)

_REQUEST_PARAMETERS = frozenset(inspect.signature(DagRunTriggerException.__init__).parameters)

MISSING: tuple[str, ...] = (
    *(f"the parameter {name!r}" for name in _NEEDED_PARAMETERS if name not in PARAMETERS),
    *(f"the method {name!r}" for name in _NEEDED_METHODS if not hasattr(StockTriggerDagRunOperator, name)),
    *(f"the name {name!r}" for name in ("NOTSET", "XCOM_RUN_ID", "DagIsPaused") if not hasattr(_module, name)),
)
"""What the durable operator needs and the installed stock one lacks: empty with every version that is tested."""


class StockOperatorUnsupportedError(ImportError):
    """The installed standard provider lacks what the durable operator needs of it."""

    def __init__(self, missing: tuple[str, ...]) -> None:
        super().__init__(
            f"The TriggerDagRunOperator of {_PROVIDER} {metadata.version(_PROVIDER)} cannot be made durable: it "
            f"lacks {', '.join(missing)}. Nothing was triggered. Install a version of {_PROVIDER} that this version "
            f"of airflow-durable was tested with (docs: Versions), or remove durable."
        )
        self.missing = missing


def check() -> None:
    """
    Raise if the installed stock operator lacks something. What was found is of import time, so this costs nothing.

    For a durable task only: with ``durable=False`` the operator is the stock one, whatever that has.

    :raises StockOperatorUnsupportedError: it says what is missing.
    """
    if MISSING:
        raise StockOperatorUnsupportedError(MISSING)


def is_set(value: Any) -> bool:  # noqa: ANN401 - it is for the user to get wrong
    """Return whether the user gave the date. None counts as given: it asks for a run without a logical date."""
    return not isinstance(value, type(NOTSET))


def parse_date(name: str, value: Any) -> datetime | None:  # noqa: ANN401 - it is for the user to get wrong
    """
    Return the date that the stock operator would send, None if there is none or it was not given.

    The time zone stays as the user gave it: a fixed run id is made of the date's text. A text without one is in UTC;
    a datetime without one is returned without one.

    :param name: of the parameter, for the error.
    :raises TypeError: it is no date and no text.
    :raises ValueError: the text is no date.
    """
    if not is_set(value) or value is None or isinstance(value, datetime):
        return value if isinstance(value, datetime) else None
    if not isinstance(value, str):
        message = f"Expected str, datetime.datetime, or None for parameter '{name}'. Got {type(value).__name__}"
        raise TypeError(message)
    parsed: datetime = timezone.parse(value)
    return parsed


def generate_run_id(*, logical_date: datetime | None, run_after: datetime | None) -> str:
    """
    Return the run id that the stock operator makes where the user gives none.

    :param logical_date: in the time zone that the user gave. With one, it is the same id every time.
    :param run_after: the same; where it was not given, the logical date. Without both, the id has a random part.
    """
    return str(
        DagRun.generate_run_id(
            run_type=DagRunType.MANUAL, logical_date=logical_date, run_after=run_after or timezone.utcnow()
        )
    )


def is_deferrable(operator: StockTriggerDagRunOperator) -> bool:
    """Return the task's ``deferrable``. The attribute is ``_defer`` before 1.10.1."""
    return bool(operator.deferrable if hasattr(operator, "deferrable") else vars(operator)["_defer"])


def run_after_of(operator: StockTriggerDagRunOperator) -> Any:  # noqa: ANN401 - it is for the user to get wrong
    """Return the task's ``run_after``; :data:`NOTSET` if it was not given, or the stock operator has none (to 1.12)."""
    return getattr(operator, "run_after", NOTSET)


def request_takes(name: str) -> bool:
    """Return whether the request of the installed Airflow has the field: ``note`` (3.2), ``run_after`` (3.3)."""
    return name in _REQUEST_PARAMETERS
