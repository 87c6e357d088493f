"""From the operator's rendered parameters to the request, and what a parent and an attempt are."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pendulum
import pytest
from airflow.models.dagrun import DagRun
from airflow.sdk import DAG
from airflow.utils.types import DagRunType

from airflow_durable.core.errors import DateInvalidError, RunIdInvalidError
from airflow_durable.core.model import Attempt, Mode
from airflow_durable.operators.trigger_dagrun import TriggerDagRunOperator
from airflow_durable.request import (
    build_attempt,
    build_request,
    identify_life_of_parent,
    identify_parent,
    rebuild_request,
)

from .test_trigger_contract import read_golden
from .versions import lacks_a_parameter, needs_parameter

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_durable.core.model import Request

DATE = datetime(2025, 6, 1, 12, tzinfo=timezone.utc)
EAST = timezone(timedelta(hours=2))


def context_of(*, map_index: int = -1, **further: Any) -> Context:  # noqa: ANN401
    """Return what a context has of the parent."""
    ti = SimpleNamespace(
        dag_id="parent", run_id="run", task_id="trigger", map_index=map_index, try_number=2, max_tries=3
    )
    dag_run = SimpleNamespace(start_date=DATE, clear_number=1)
    context = {"ti": ti, "dag_run": dag_run, "task": SimpleNamespace(retries=3), **further}
    return cast("Context", context)


def build(context: Context | None = None, **kwargs: Any) -> Request:  # noqa: ANN401
    """Return the request of an operator whose parameters have been rendered."""
    with DAG("parent", schedule=None):
        operator = TriggerDagRunOperator(**{"task_id": "trigger", "trigger_dag_id": "child", **kwargs})
    return build_request(operator, context or context_of())


def test_a_generated_identity() -> None:
    request = build()
    assert (request.dag_id, request.run_id, request.logical_date) == ("child", None, None)
    assert request.is_date_ours
    assert (request.allowed_states, request.failed_states) == (frozenset({"success"}), frozenset({"failed"}))
    assert (request.is_reset, request.is_skip) == (False, False)


@pytest.mark.parametrize("run_id", [None, ""])
def test_an_empty_run_id_is_none(run_id: str | None) -> None:
    assert build(trigger_run_id=run_id).run_id is None


def test_a_run_id_that_was_rendered_natively() -> None:
    assert build(trigger_run_id=20250601).run_id == "20250601"


@pytest.mark.parametrize(
    ("given", "run_id"),
    [
        (DATE, "manual__2025-06-01T12:00:00+00:00"),
        (DATE.astimezone(EAST), "manual__2025-06-01T14:00:00+02:00"),
        ("2025-06-01T14:00:00+02:00", "manual__2025-06-01T14:00:00+02:00"),
        ("2025-06-01", "manual__2025-06-01T00:00:00+00:00"),
        (pendulum.datetime(2025, 6, 1, 12, tz="Europe/Berlin"), "manual__2025-06-01T12:00:00+02:00"),
    ],
)
def test_a_fixed_date_makes_the_stock_operators_run_id(given: Any, run_id: str) -> None:  # noqa: ANN401
    request = build(logical_date=given)
    assert request.run_id == run_id
    assert not request.is_date_ours
    assert request.logical_date is not None
    # The same moment, in UTC, as a plain datetime: it is compared with what the server says.
    assert type(request.logical_date) is datetime
    assert request.logical_date.tzinfo is timezone.utc
    assert run_id == DagRun.generate_run_id(
        run_type=DagRunType.MANUAL,
        logical_date=request.logical_date,
        run_after=datetime.fromisoformat(run_id.removeprefix("manual__")),
    )


def test_a_date_keeps_its_microseconds() -> None:
    for year in (1969, 2025, 9998):
        date = datetime(year, 12, 31, 23, 59, 59, 999_999, tzinfo=timezone.utc)
        assert build(logical_date=date).logical_date == date


def test_no_logical_date_is_a_generated_identity_without_a_date() -> None:
    request = build(logical_date=None)
    assert (request.run_id, request.logical_date, request.is_date_ours) == (None, None, False)


@needs_parameter("run_after")
def test_run_after_alone_leaves_no_date_to_choose() -> None:
    request = build(run_after=DATE)
    assert (request.run_id, request.logical_date, request.is_date_ours) == (None, None, False)


@needs_parameter("run_after")
def test_run_after_names_the_run_of_a_fixed_date() -> None:
    request = build(run_after=DATE + timedelta(days=1), logical_date=DATE)
    assert (request.run_id, request.logical_date) == ("manual__2025-06-02T12:00:00+00:00", DATE)


def test_a_run_id_and_no_date_leaves_the_date_to_us() -> None:
    request = build(trigger_run_id="fixed")
    assert (request.run_id, request.is_date_ours) == ("fixed", True)


@pytest.mark.parametrize("name", ["logical_date", pytest.param("run_after", marks=needs_parameter("run_after"))])
def test_a_date_without_a_time_zone(name: str) -> None:
    with pytest.raises(
        DateInvalidError, match=f"The {name} for Dag 'child' cannot be used: 2025-06-01T00:00:00 has no"
    ):
        build(None, **{name: datetime(2025, 6, 1)})  # noqa: DTZ001 - on purpose


def test_a_date_of_another_type_is_refused_as_by_the_stock_operator() -> None:
    with pytest.raises(TypeError, match="Expected str, datetime"):
        build(logical_date=3)


def test_the_configured_pattern_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__SCHEDULER__ALLOWED_RUN_ID_PATTERN", "^nightly-")
    assert build(trigger_run_id="nightly-1").run_id == "nightly-1"
    with pytest.raises(RunIdInvalidError, match="allowed_run_id_pattern"):
        build(trigger_run_id="daily-1")


@pytest.mark.parametrize(
    ("kwargs", "mode"),
    [
        ({}, Mode.FIRE_AND_FORGET),
        ({"wait_for_completion": True}, Mode.WAIT),
        ({"wait_for_completion": True, "deferrable": True}, Mode.DEFER),
    ],
)
def test_modes(kwargs: dict[str, Any], mode: Mode) -> None:
    assert build(**kwargs).mode is mode


def test_states() -> None:
    request = build(allowed_states=["success", "failed"], failed_states=[])
    assert (request.allowed_states, request.failed_states) == (frozenset({"success", "failed"}), frozenset())
    # As the stock operator: no allowed states at all means the default.
    assert build(allowed_states=[]).allowed_states == frozenset({"success"})


def test_what_makes_another_digest() -> None:
    digests = [
        build().digest,
        build(trigger_dag_id="other").digest,
        build(conf={"a": 1}).digest,
        build(trigger_run_id="fixed").digest,
        build(logical_date=DATE).digest,
        build(context_of(map_index=0)).digest,
    ]
    assert len(set(digests)) == len(digests)


def test_what_makes_no_other_digest() -> None:
    others: list[dict[str, Any]] = [
        {"poke_interval": 1},
        {"wait_for_completion": True},
        {"reset_dag_run": True},
        {"note": "text"},
    ]
    for same in others:
        if lacks_a_parameter(same):
            continue
        assert build(**same).digest == build().digest
    assert build(conf='{"a": 1}').digest == build(conf={"a": 1}).digest
    assert build(logical_date=DATE).digest == build(logical_date=DATE.isoformat()).digest


def test_a_parent() -> None:
    assert identify_parent(context_of(map_index=3)) == ("parent", "run", "trigger", "3")
    life = identify_life_of_parent(context_of())
    assert life == ("parent", "run", "trigger", "-1", DATE.isoformat())
    started = context_of(dag_run=SimpleNamespace(start_date=None, clear_number=0))
    assert identify_life_of_parent(started)[-1] == ""


def test_an_attempt() -> None:
    assert build_attempt(context_of()) == Attempt(2, 3, retries=3, clear_number=1)
    bare = context_of(dag_run=SimpleNamespace(clear_number=None), task=SimpleNamespace(retries=None))
    assert build_attempt(bare) == Attempt(2, 3, retries=0, clear_number=0)


def test_a_request_that_goes_on_after_a_deferral() -> None:
    from airflow_durable.core.record import load

    record = load(read_golden("event_v1_success.json")[1]["record"])
    with DAG("parent", schedule=None):
        operator = TriggerDagRunOperator(task_id="trigger", trigger_dag_id="other", allowed_states=["failed"])
    request = rebuild_request(operator, record)
    assert (request.dag_id, request.run_id, request.digest) == ("child", None, record.digest)
    assert (request.mode, request.allowed_states) == (Mode.DEFER, frozenset({"failed"}))
