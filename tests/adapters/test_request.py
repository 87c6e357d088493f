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

from airflow_durable.core.errors import DagIdInvalidError, DateInvalidError, RequestInvalidError, RunIdInvalidError
from airflow_durable.core.model import Attempt, Mode, OnClear, Parent, Proof
from airflow_durable.core.stored import load
from airflow_durable.operators.trigger_dagrun import TriggerDagRunOperator
from airflow_durable.task.calls import Call, Calls
from airflow_durable.task.journal import NoJournal, StoreJournal
from airflow_durable.task.request import (
    build_attempt,
    build_parent,
    build_payload,
    build_request,
    has_next_try,
    poke_interval_of,
    rebuild_request,
)

from .test_trigger_contract import read_golden
from .versions import HAS_RUN_AFTER, needs_parameter, needs_run_after, needs_store, refuses_dates_early

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_durable.core.model import Request
    from airflow_durable.task.request import Payload

DATE = datetime(2025, 6, 1, 12, tzinfo=timezone.utc)
EAST = timezone(timedelta(hours=2))


def context_of(*, map_index: int | None = -1, **further: Any) -> Context:  # noqa: ANN401
    """Return what a context has of the parent."""
    ti = SimpleNamespace(
        id="ti-1", dag_id="parent", run_id="run", task_id="trigger", map_index=map_index, try_number=2, max_tries=3
    )
    dag_run = SimpleNamespace(start_date=DATE, run_after=DATE, clear_number=1)
    context = {"ti": ti, "dag_run": dag_run, "task": SimpleNamespace(retries=3), **further}
    return cast("Context", context)


def make(**kwargs: Any) -> TriggerDagRunOperator:  # noqa: ANN401
    """Return an operator whose parameters have been rendered."""
    with DAG("parent", schedule=None):
        return TriggerDagRunOperator(**{"task_id": "trigger", "trigger_dag_id": "child", **kwargs})


def build(**kwargs: Any) -> Request:  # noqa: ANN401
    """Return the request of an operator whose parameters have been rendered."""
    return build_request(make(**kwargs), Calls("ti-1", NoJournal()).following())


def payload(**kwargs: Any) -> Payload:  # noqa: ANN401
    """Return what the child of an operator is given."""
    return build_payload(make(**kwargs), context_of())


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


@pytest.mark.parametrize("name", ["logical_date", pytest.param("run_after", marks=needs_run_after)])
def test_a_date_without_a_time_zone(name: str) -> None:
    with pytest.raises(
        DateInvalidError, match=f"The {name} for Dag 'child' cannot be used: 2025-06-01T00:00:00 has no"
    ):
        build(**{name: datetime(2025, 6, 1)})  # noqa: DTZ001 - on purpose


@needs_parameter("run_after")
@pytest.mark.skipif(HAS_RUN_AFTER, reason="here run_after is sent, so it needs a time zone")
def test_a_date_that_is_not_sent_needs_no_time_zone() -> None:
    assert build(run_after=datetime(2025, 6, 1)).run_id is None  # noqa: DTZ001 - on purpose


@pytest.mark.skipif(refuses_dates_early(), reason="the stock operator's constructor refuses it")
def test_a_date_of_another_type_is_refused_in_the_words_of_the_stock_operator() -> None:
    with pytest.raises(DateInvalidError, match="Expected str, datetime"):
        build(logical_date=3)


@pytest.mark.parametrize("dag_id", ["", "  ", None], ids=repr)
def test_a_dag_id_that_was_rendered_to_nothing(dag_id: str | None) -> None:
    with pytest.raises(DagIdInvalidError, match="trigger_dag_id cannot be used"):
        payload(trigger_dag_id=dag_id)


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


@pytest.mark.parametrize("name", ["allowed_states", "failed_states"])
def test_a_state_that_airflow_does_not_know(name: str) -> None:
    operator = make()
    setattr(operator, name, ["sucess"])
    with pytest.raises(RequestInvalidError, match=f"{name} has 'sucess', which is not a Dag run state"):
        build_request(operator, Calls("ti-1", NoJournal()).following())


def test_states_that_were_set_as_texts() -> None:
    """A subclass may set them after ``super().__init__()``, which is what makes states of them."""
    operator: Any = make()
    operator.allowed_states, operator.failed_states = ["failed"], ["success"]
    request = build_request(operator, Calls("ti-1", NoJournal()).following())
    assert (request.allowed_states, request.failed_states) == (frozenset({"failed"}), frozenset({"success"}))


@pytest.mark.parametrize(
    ("given", "seconds"),
    [(7, 7.0), (0.5, 0.5), (timedelta(minutes=2), 120.0), (0, 1.0), (timedelta(0), 1.0)],
    ids=["int", "float", "timedelta", "zero", "timedelta of zero"],
)
def test_poke_intervals(given: Any, seconds: float) -> None:  # noqa: ANN401
    assert poke_interval_of(make(poke_interval=given)) == seconds


@pytest.mark.parametrize("given", [-1, timedelta(-1), "60", None, True, float("nan"), float("inf"), 1e10], ids=repr)
def test_a_poke_interval_that_cannot_be_used(given: Any) -> None:  # noqa: ANN401
    operator = make()
    operator.poke_interval = given
    with pytest.raises(RequestInvalidError, match="poke_interval must be a number of seconds, 0 or more"):
        poke_interval_of(operator)


def test_on_clear() -> None:
    assert build().on_clear is OnClear.AUTO
    assert build(on_clear="fresh").on_clear is OnClear.FRESH


@needs_parameter("run_after")
def test_by_what_a_run_is_known_as_ours() -> None:
    run_after = Proof.RUN_AFTER if HAS_RUN_AFTER else Proof.REPLY
    assert build().proof is Proof.RUN_ID
    assert build(trigger_run_id="fixed").proof is Proof.LOGICAL_DATE
    assert build(logical_date=DATE).proof is run_after
    assert build(trigger_run_id="fixed", logical_date=DATE).proof is run_after
    assert build(trigger_run_id="fixed", logical_date=None).proof is run_after
    assert build(trigger_run_id="fixed", run_after=DATE).proof is Proof.REPLY
    assert build(logical_date=DATE, run_after=DATE).proof is Proof.REPLY


def test_what_makes_another_request() -> None:
    of_child = payload(conf={"a": 1})
    assert of_child.is_of("child", {"a": 1})
    assert not of_child.is_of("child", {"a": 2})
    assert not of_child.is_of("child", {})
    assert not of_child.is_of("other", {"a": 1})


@pytest.mark.parametrize("given", [{"a": 1}, '{"a": 1}'], ids=["dict", "text"])
def test_what_makes_no_other_request(given: Any) -> None:  # noqa: ANN401
    """OpenLineage adds the parent's ids, which differ between tries."""
    assert payload(conf=given).is_of("child", {"a": 1, "openlineage": {"parentRunId": "x"}})
    assert payload(conf=None).is_of("child", {})
    assert payload(conf={}).is_of("child", None)
    assert payload(conf={"t": (1, 2.0)}).is_of("child", {"t": [1, 2.0]})


def test_a_payload_shows_nothing() -> None:
    assert "hunter2" not in repr(payload(conf={"password": "hunter2"}))


def test_a_parent() -> None:
    parent = Parent("parent", "run", "trigger", 3, DATE, started_at=DATE)
    assert build_parent(context_of(map_index=3)) == parent
    assert build_parent(context_of(map_index=None)).map_index == -1
    # The zone in which the server says it tells nothing.
    east = SimpleNamespace(start_date=DATE.astimezone(EAST), run_after=DATE.astimezone(EAST), clear_number=0)
    assert build_parent(context_of(map_index=3, dag_run=east)) == parent
    unknown = build_parent(context_of(dag_run=SimpleNamespace(start_date=None, run_after=None, clear_number=0)))
    assert (unknown.started_at, unknown.run_after.tzinfo) == (None, timezone.utc)


def test_a_parent_in_a_task_loop() -> None:
    """3.4: a clear makes the later passes anew, in another region."""
    context = context_of(loop=SimpleNamespace(index=2))
    context["ti"].region_id = "r-1"  # type: ignore[attr-defined] # of Airflow 3.4
    parent = build_parent(context)
    assert (parent.loop_index, parent.region) == (2, "r-1")
    outside = context_of()
    outside["ti"].region_id = "r-1"  # type: ignore[attr-defined] # of Airflow 3.4
    assert (build_parent(outside).loop_index, build_parent(outside).region) == (None, "")


def test_an_attempt() -> None:
    context = context_of()
    parent = build_parent(context)
    assert build_attempt(context) == Attempt(parent, "ti-1", 2, 3, retries=3, clear_number=1)
    bare_run = SimpleNamespace(start_date=DATE, run_after=DATE, clear_number=None)
    bare = context_of(dag_run=bare_run, task=SimpleNamespace(retries=None))
    assert build_attempt(bare) == Attempt(parent, "ti-1", 2, 3, retries=0, clear_number=0)


@pytest.mark.parametrize(("try_number", "max_tries", "has_next"), [(1, 0, False), (1, 1, True), (2, 1, False)])
def test_whether_there_is_a_next_try(try_number: int, max_tries: int, has_next: bool) -> None:  # noqa: FBT001
    context = context_of()
    context["ti"].try_number, context["ti"].max_tries = try_number, max_tries
    assert has_next_try(context) is has_next


def test_a_call_that_follows_the_first_one() -> None:
    calls = Calls("ti-1", NoJournal())
    first = calls.following()
    record = load(read_golden("event_v2_success.json")[1]["record"])
    first.started(record, has_record=True)
    request = build_request(make(), calls.following())
    assert (request.call, request.epoch, request.is_journal_proven) == (2, 0, True)
    third = calls.following()
    assert isinstance(third, Call)
    third.started(record, has_record=False)
    assert build_request(make(), calls.following()).is_journal_proven


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_a_request_that_continues_after_a_deferral(version: str) -> None:
    record = load(read_golden(f"event_{version}_success.json")[1]["record"])
    request = rebuild_request(make(trigger_dag_id="other", allowed_states=["failed"]), record)
    assert (request.dag_id, request.run_id, request.call) == ("child", None, 1)
    assert (request.mode, request.allowed_states) == (Mode.DEFER, frozenset({"failed"}))


@needs_store
@pytest.mark.parametrize(("limit", "seconds"), [(None, 30.0), (timedelta(seconds=20), 5.0), (timedelta(hours=2), 30.0)])
def test_the_wait_for_a_reset_leaves_time_for_the_reset(limit: timedelta | None, seconds: float) -> None:
    call = Calls("ti-1", StoreJournal(None, "ti-1")).following()
    assert build_request(make(execution_timeout=limit), call).reset_timeout_seconds == seconds
