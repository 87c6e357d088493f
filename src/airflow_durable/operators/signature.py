"""
The parameters of the operator, for those who read them without running it: type checkers, IDEs, the API reference.

At run time the operator takes ``**kwargs`` and hands them to the stock one, so it takes whatever that takes. Here is
what the newest tested stock operator takes, with its types and defaults; a test compares them on each provider.

A new parameter of ours goes into :func:`parameters` and into the operator's ``__init__``; the test says if one of
them lacks it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime, timedelta

    from airflow.sdk.definitions._internal.types import ArgNotSet
    from airflow.utils.state import DagRunState

    from airflow_durable.stock import StockTriggerDagRunOperator

P = ParamSpec("P")
F = TypeVar("F")


def parameters(  # noqa: PLR0913 - as many as the operator has
    self: StockTriggerDagRunOperator,
    *,
    # The stock operator's, in its order.
    trigger_dag_id: str,
    trigger_run_id: str | None = None,
    conf: dict[str, Any] | None = None,
    logical_date: str | datetime | ArgNotSet | None = ...,  # not given
    run_after: str | datetime | ArgNotSet | None = ...,  # not given
    reset_dag_run: bool = False,
    wait_for_completion: bool = False,
    poke_interval: float | timedelta = 60,  # the stock operator: int
    allowed_states: list[str | DagRunState] | None = None,
    failed_states: list[str | DagRunState] | None = None,
    skip_when_already_exists: bool = False,
    fail_when_dag_is_paused: bool = False,
    note: str | None = None,
    deferrable: bool = ...,  # [operators] default_deferrable
    openlineage_inject_parent_info: bool = True,
    # Ours.
    durable: bool = ...,  # [durable] default_durable
    on_clear: str = "auto",
    on_child_failure: str = ...,  # [durable] on_child_failure
    on_parent_end: str = ...,  # [durable] on_parent_end
    start_timeout: float | timedelta | None = ...,  # [durable] start_timeout
    run_timeout: float | timedelta | None = ...,  # [durable] run_timeout
    defer_after: float | timedelta | None = None,
    result: str | list[str] | None = None,
    partition_key: str | None = None,
    # Those of every operator.
    **kwargs: Any,  # noqa: ANN401 - as the stock operator has them
) -> None:
    """Only to be read; see :func:`takes`."""


def takes(_: Callable[P, None]) -> Callable[[F], Callable[P, None]]:
    """Give a function that takes ``**kwargs`` the signature of another one, for type checkers. At run time: nothing."""

    def as_it_is(function: F) -> F:
        return function

    return cast("Callable[[F], Callable[P, None]]", as_it_is)
